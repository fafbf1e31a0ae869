//! Rounds of reading back, what they find, and objects that nothing accounts for.

use super::*;

const END: &str = "sha512:g";

fn found(digest: &Digest, kept: bool, now: Timestamp) -> ScrubFinding {
    ScrubFinding {
        digest: digest.clone(),
        location: eu(),
        defect: "swapped".to_owned(),
        size: 3,
        found_size: Some(5),
        found_digest: Some(digest_of("other").to_string()),
        kept,
        found_at: now,
        repaired_at: None,
    }
}

#[tokio::test]
async fn a_round_has_one_holder_and_goes_on_where_it_was() {
    for world in worlds().await {
        let database = &world.database;
        let claim = async |location: &LocationName, now| {
            database
                .claim_scrub(location, world.ids.uuid(), later(now, 300), now)
                .await
                .unwrap()
        };
        let now = world.now;
        let lease = claim(&us(), now).await.unwrap();
        assert_eq!(
            (lease.state.round_began, lease.state.after.as_str()),
            (now, "")
        );
        assert!(claim(&us(), later(now, 299)).await.is_none());
        assert!(
            claim(&eu(), now).await.is_some(),
            "each location has its own"
        );
        // The first holder went silent.
        let second = claim(&us(), later(now, 300)).await.unwrap();
        assert!(!database.extend_scrub(&lease, None).await.unwrap());
        let step = ScrubStep {
            after: digest_of("x").to_string(),
            shards: 3,
            objects: 10,
            bytes: 1 << 40,
            found: 2,
        };
        assert!(!database.advance_scrub(lease, &step).await.unwrap());
        assert!(database.advance_scrub(second, &step).await.unwrap());
        let third = claim(&us(), later(now, 301)).await.unwrap();
        assert!(database.advance_scrub(third, &step).await.unwrap());
        let states = database.scrub_states().await.unwrap();
        assert_eq!(states.len(), 2);
        let state = &states[1];
        assert_eq!(
            (&state.location, &state.after, state.shards),
            (&us(), &step.after, 3)
        );
        assert_eq!(
            (state.objects, state.bytes, state.found, state.last_ended),
            (20, 2 << 40, 4, None)
        );
        let fourth = claim(&us(), later(now, 302)).await.unwrap();
        assert!(
            database
                .end_scrub_round(fourth, later(now, 302))
                .await
                .unwrap()
        );
        let states = database.scrub_states().await.unwrap();
        let state = &states[1];
        assert_eq!(
            (state.after.as_str(), state.shards, state.objects),
            ("", 0, 0)
        );
        assert_eq!(
            (state.round_began, state.last_ended),
            (later(now, 302), Some(later(now, 302)))
        );
    }
}

#[tokio::test]
async fn what_a_location_promises_is_paged_by_digest_each_object_once() {
    for world in worlds().await {
        let mut blobs = Vec::new();
        for n in 0..7 {
            blobs.push(world.blob(&format!("blob {n}"), &us()).await);
        }
        world.blob("elsewhere", &eu()).await;
        // Quay may have several rows of one digest.
        world
            .sql(&format!(
                "INSERT INTO imagestorage (uuid, image_size, uploading, cas_path, content_checksum)
                 VALUES ('another', 6, false, true, '{}')",
                blobs[0].digest
            ))
            .await;
        world
            .sql(
                "INSERT INTO imagestorageplacement (storage_id, location_id)
                 SELECT s.id, l.id FROM imagestorage s, imagestoragelocation l WHERE s.uuid = 'another' AND l.name = 'usstorage'",
            )
            .await;
        let mut expected: Vec<Digest> = blobs.iter().map(|blob| blob.digest.clone()).collect();
        expected.sort();
        let mut listed = Vec::new();
        let mut after = String::new();
        loop {
            let page = world
                .database
                .placements_between(&us(), &after, END, 3)
                .await
                .unwrap();
            let Some(last) = page.last() else { break };
            after = last.digest.to_string();
            listed.extend(page.into_iter().map(|blob| blob.digest));
        }
        assert_eq!(listed, expected);
        let until = expected[3].to_string();
        let page = world
            .database
            .placements_between(&us(), "", &until, 10)
            .await
            .unwrap();
        assert_eq!(page.len(), 4);
        let rows = world
            .database
            .placed_of_digest(&us(), &blobs[0].digest)
            .await
            .unwrap();
        assert_eq!(rows.len(), 2);
    }
}

#[tokio::test]
async fn a_finding_stays_until_a_copy_is_recorded_or_the_object_is_whole() {
    for world in worlds().await {
        let database = &world.database;
        let (one, two) = (
            world.blob("one", &us()).await,
            world.blob("two", &eu()).await,
        );
        let now = world.now;
        let week = Duration::from_hours(7 * 24);
        // The first was lost and is to be copied again, the second is the only copy.
        database
            .note_finding(&found(&one.digest, false, now))
            .await
            .unwrap();
        database
            .note_finding(&found(&two.digest, true, now))
            .await
            .unwrap();
        database
            .note_finding(&found(&two.digest, true, later(now, 60)))
            .await
            .unwrap();
        let settle = async |now: Timestamp| {
            database
                .settle_findings(now - week, now - week, now)
                .await
                .unwrap()
        };
        assert_eq!(settle(later(now, 60)).await, []);
        assert_eq!(database.open_findings().await.unwrap()[&eu()], 2);
        let listed = database.scrub_findings(10).await.unwrap();
        assert_eq!(listed.len(), 2);
        assert!(
            listed.contains(&found(&two.digest, true, now)),
            "{listed:?}"
        );

        world.copied(&one, &eu()).await;
        let repaired = settle(later(now, 120)).await;
        assert_eq!(repaired.len(), 1);
        assert_eq!(
            (&repaired[0].digest, repaired[0].repaired_at),
            (&one.digest, Some(later(now, 120)))
        );
        let whole = [two.digest.clone(), digest_of("another")];
        let settled = database.settle_intact(&us(), &whole, now).await.unwrap();
        assert_eq!(settled, [], "that is another location");
        let settled = database
            .settle_intact(&eu(), &whole, later(now, 180))
            .await
            .unwrap();
        assert_eq!(settled.len(), 1);
        assert!(database.open_findings().await.unwrap().is_empty());

        // Found again, it is new; what was repaired long ago is forgotten.
        let much_later = now + week * 2;
        database
            .note_finding(&found(&two.digest, true, much_later))
            .await
            .unwrap();
        assert_eq!(settle(much_later).await, []);
        let listed = database.scrub_findings(10).await.unwrap();
        assert_eq!(listed, [found(&two.digest, true, much_later)]);
    }
}

#[tokio::test]
async fn what_was_found_and_is_no_longer_wanted_is_forgotten() {
    for world in worlds().await {
        let database = &world.database;
        let now = world.now;
        let placed = world.blob("placed elsewhere", &us()).await;
        let gone = digest_of("deleted meanwhile");
        for digest in [&placed.digest, &gone] {
            database
                .note_finding(&found(digest, false, now))
                .await
                .unwrap();
        }
        let day = Duration::from_hours(24);
        assert_eq!(
            database
                .settle_findings(now - day, now - day, now)
                .await
                .unwrap(),
            []
        );
        let left = database.scrub_findings(10).await.unwrap();
        assert_eq!(left.len(), 1, "its copy may not be queued yet");
        assert_eq!(left[0].digest, placed.digest);
        let next = now + day * 2;
        assert_eq!(
            database
                .settle_findings(next - day, next - day, next)
                .await
                .unwrap(),
            []
        );
        assert_eq!(database.scrub_findings(10).await.unwrap(), []);
    }
}

#[tokio::test]
async fn only_what_no_row_accounts_for_is_an_orphan() {
    for world in worlds().await {
        let database = &world.database;
        let placed = world.blob("placed", &us()).await;
        let appearing = world.publication("appearing", &us()).await;
        let given_up = world.publication("given up", &us()).await;
        database
            .withdraw_publication(given_up, world.now)
            .await
            .unwrap();
        let wanted = world.blob("wanted", &eu()).await;
        let demand = Demand {
            defaults: &BTreeSet::from([us()]),
            configured: &both(),
        };
        database
            .want_demanded_copies(&DemandPage {
                demand,
                after: StorageId(0),
                span: 1000,
                queue: QUEUE,
                ids: &world.ids,
                now: world.now,
            })
            .await
            .unwrap();
        let orphan = digest_of("orphan");
        let asked = [
            placed.digest.clone(),
            appearing.digest().clone(),
            digest_of("given up"),
            wanted.digest.clone(),
            orphan.clone(),
        ];
        let unaccounted = database.unaccounted_objects(&us(), &asked).await.unwrap();
        assert_eq!(unaccounted, std::slice::from_ref(&orphan));
        let unaccounted = database.unaccounted_objects(&eu(), &asked).await.unwrap();
        assert_eq!(unaccounted.len(), 4, "all but one are strangers there");
        assert_eq!(database.unaccounted_objects(&eu(), &[]).await.unwrap(), []);
    }
}

#[tokio::test]
async fn orphans_keep_the_time_when_they_were_first_seen_and_go_only_after_it() {
    for world in worlds().await {
        let database = &world.database;
        let (one, two) = (digest_of("one"), digest_of("two"));
        let (now, next) = (world.now, later(world.now, 3600));
        let both = [(one.clone(), 3), (two.clone(), 1 << 40)];
        let seen = database.note_orphans(&us(), &both, now).await.unwrap();
        assert!(seen.iter().all(|orphan| orphan.first_seen == now));
        let again = [(one.clone(), 3)];
        let seen = database.note_orphans(&us(), &again, next).await.unwrap();
        assert_eq!(
            seen,
            [OrphanObject {
                digest: one.clone(),
                size: 3,
                first_seen: now
            }]
        );
        assert_eq!(database.note_orphans(&us(), &[], next).await.unwrap(), []);
        let shard = |digest: &Digest| {
            digest
                .as_str()
                .chars()
                .take("sha256:00".len())
                .collect::<String>()
        };
        let doom = async |location: &LocationName, digest: &Digest, until| {
            database
                .doom_orphans(location, &shard(digest), until, next)
                .await
                .unwrap()
        };
        // The second was not seen again, so that it is not deleted either.
        assert_eq!(doom(&us(), &two, now).await, 0);
        let forgotten = database.forget_orphans(&us(), &shard(&two), next).await;
        assert_eq!(forgotten.unwrap(), 1);
        assert_eq!(doom(&us(), &one, now - Duration::from_secs(1)).await, 0);
        assert_eq!(doom(&eu(), &one, now).await, 0);
        assert_eq!(doom(&us(), &one, now).await, 1);
        assert_eq!(doom(&us(), &one, now).await, 0);
        let doomed = world
            .texts(
                "SELECT digest AS name FROM roadstead_doomed_object WHERE location = 'usstorage'",
            )
            .await;
        assert_eq!(doomed, [one.to_string()]);
    }
}
