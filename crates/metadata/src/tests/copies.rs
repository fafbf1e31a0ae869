//! Wanted copies, the queue, lost objects and the removal of a location.

use super::*;

async fn demand_all(world: &World, defaults: &BTreeSet<LocationName>) -> Vec<WantedCopy> {
    let mut wanted = Vec::new();
    let mut after = StorageId(0);
    loop {
        let page = world
            .database
            .want_demanded_copies(&DemandPage {
                demand: Demand {
                    defaults,
                    configured: &both(),
                },
                after,
                span: 2,
                queue: QUEUE,
                ids: &world.ids,
                now: world.now,
            })
            .await
            .unwrap();
        wanted.extend(page.wanted);
        match page.next {
            Some(next) => after = next,
            None => return wanted,
        }
    }
}

async fn pushed(world: &World, contents: &[&str]) -> Vec<Blob> {
    let mut blobs = vec![world.blob("{}", &us()).await];
    for content in contents {
        blobs.push(world.blob(content, &us()).await);
    }
    world.put(&image(contents), &["v1"], world.now).await;
    blobs
}

#[tokio::test]
async fn a_queue_row_has_quays_name_and_body() {
    for world in worlds().await {
        let blobs = pushed(&world, &[]).await;
        let jobs = world.claim(world.now).await;
        assert_eq!(jobs.len(), 1);
        assert_eq!(jobs[0].name, format!("{QUEUE}/{}/", blobs[0].uuid));
        assert_eq!(
            jobs[0].body,
            format!(
                r#"{{"namespace_user_id": {}, "storage_id": "{}"}}"#,
                world.repository.namespace_id, blobs[0].uuid
            )
        );
        assert_eq!(jobs[0].target, Some(eu()));
    }
}

#[tokio::test]
async fn rows_of_other_queues_are_never_taken() {
    for world in worlds().await {
        pushed(&world, &[]).await;
        // As the sample that Quay wrote has them, and some that only look like the replication's.
        for name in [
            "notification/acme/app/repo_push/",
            "repositorygc/acme/7/",
            "proxycacheblob/cache/9/sha256:5969b468/",
            "imagestoragereplication",
            "imagestoragereplications/5a435026/",
            "ImageStorageReplication/5a435026/",
            "x/imagestoragereplication/5a435026/",
        ] {
            world
                .sql(&format!(
                    "INSERT INTO queueitem (queue_name, body, available_after, available, retries_remaining, state_id)
                     VALUES ('{name}', '{{}}', '2020-01-01 00:00:00', true, 5, '{name}')"
                ))
                .await;
        }
        let others = async || {
            world
                .texts("SELECT queue_name || state_id || CASE WHEN available THEN ' available' ELSE '' END AS name
                        FROM queueitem WHERE state_id LIKE '%/%' OR state_id = queue_name ORDER BY 1")
                .await
        };
        let before = others().await;
        assert_eq!(before.len(), 7);
        let jobs = world.claim(later(world.now, 1)).await;
        assert_eq!(jobs.len(), 1, "{jobs:?}");
        assert_eq!(world.database.count_jobs(QUEUE).await.unwrap(), 1);
        assert!(world.database.complete_job(&jobs[0]).await.unwrap());
        assert_eq!(others().await, before);
    }
}

#[tokio::test]
async fn jobs_that_were_put_off_can_be_made_due_and_leased_ones_stay_with_their_holder() {
    for world in worlds().await {
        pushed(&world, &["one", "two"]).await;
        let jobs = world.claim(world.now).await;
        assert_eq!(jobs.len(), 3);
        for (job, seconds) in [(&jobs[0], 100), (&jobs[1], 900)] {
            let until = later(world.now, seconds);
            let put_off = world
                .database
                .postpone_job(
                    job,
                    until,
                    "it is down",
                    FailureClass::TargetDown,
                    world.now,
                )
                .await;
            assert!(put_off.unwrap());
        }
        let now = later(world.now, 1);
        assert!(world.claim(now).await.is_empty());
        let hasten = async |queue, limit| {
            let hastened = world.database.hasten_jobs(queue, limit, now).await;
            hastened.unwrap()
        };
        assert_eq!(hasten("another", 10).await, 0);
        assert_eq!(hasten(QUEUE, 1).await, 1);
        let first = world.claim(now).await;
        assert_eq!(first.len(), 1);
        assert_eq!((first[0].id, first[0].attempts), (jobs[0].id, 1));
        assert_eq!(hasten(QUEUE, 10).await, 1);
        assert_eq!(hasten(QUEUE, 10).await, 0);
        let second = world.claim(now).await;
        assert_eq!(second.len(), 1);
        assert_eq!(second[0].id, jobs[1].id);
        // Whoever had it has it.
        assert!(world.database.complete_job(&jobs[2]).await.unwrap());
    }
}

#[tokio::test]
async fn a_job_has_one_holder_until_its_lease_ends_and_keeps_the_reason_of_its_failure() {
    for world in worlds().await {
        pushed(&world, &["one"]).await;
        let jobs = world.claim(world.now).await;
        assert_eq!(jobs.len(), 2);
        assert!(world.claim(world.now).await.is_empty());

        let again = world.claim(later(world.now, 61)).await;
        assert_eq!(again.len(), 2);
        assert!(
            !world.database.complete_job(&jobs[0]).await.unwrap(),
            "the first holder lost its lease"
        );
        let until = later(world.now, 100);
        assert!(
            world
                .database
                .postpone_job(
                    &again[0],
                    until,
                    "the store is full",
                    FailureClass::TargetDown,
                    world.now
                )
                .await
                .unwrap()
        );
        assert!(
            world
                .database
                .return_job(&again[1], world.now)
                .await
                .unwrap()
        );
        let missing = world
            .database
            .missing_copies(Demand {
                defaults: &both(),
                configured: &both(),
            })
            .await
            .unwrap();
        assert_eq!(missing.len(), 1);
        assert_eq!(
            (missing[0].blobs, missing[0].queued, missing[0].failing),
            (2, 2, 1)
        );
        assert_eq!(
            missing[0].last_failure.as_deref(),
            Some("the store is full")
        );
        assert_eq!(missing[0].oldest, Some(world.now));
        let third = world.claim(later(world.now, 101)).await;
        assert_eq!(third.iter().map(|job| job.attempts).max(), Some(1));
    }
}

#[tokio::test]
async fn a_recorded_copy_is_present_and_no_longer_wanted() {
    for world in worlds().await {
        let blobs = pushed(&world, &[]).await;
        let jobs = world.claim(world.now).await;
        assert_eq!(world.copied(&blobs[0], &eu()).await, Recorded::Yes);
        assert!(world.database.complete_job(&jobs[0]).await.unwrap());
        let blob = world
            .database
            .find_blob_anywhere(&blobs[0].digest)
            .await
            .unwrap()
            .unwrap();
        assert_eq!(blob.present, both());
        assert!(demand_all(&world, &both()).await.is_empty());
        assert_eq!(
            world
                .copied(
                    &Blob {
                        storage: StorageId(999),
                        ..blob
                    },
                    &eu()
                )
                .await,
            Recorded::BlobGone
        );
        world
            .database
            .set_location_state(&eu(), LocationState::Removing, world.now)
            .await
            .unwrap();
        assert_eq!(
            world.copied(&blobs[0], &eu()).await,
            Recorded::LocationClosed
        );
    }
}

#[tokio::test]
async fn a_backfill_wants_every_missing_copy_once_and_honours_the_regions_of_namespaces() {
    for world in worlds().await {
        let blobs = [
            world.blob("{}", &us()).await,
            world.blob("one", &us()).await,
            world.blob("two", &eu()).await,
            world.blob("three", &us()).await,
            world.blob("four", &us()).await,
        ];
        world
            .database
            .put_manifest(&PutManifest {
                repository: &world.repository,
                digest: &image(&["one"]).digest(Algorithm::Sha256),
                manifest: &image(&["one"]),
                labels: PushedLabels::NONE,
                tags: &["v1".parse().unwrap()],
                untagged_until: world.now,
                demand: None,
                queue: QUEUE,
                features: Features::default(),
                actor: &Actor::default(),
                ids: &world.ids,
                now: world.now,
            })
            .await
            .unwrap();
        assert!(demand_all(&world, &BTreeSet::new()).await.is_empty());
        world
            .sql(&format!(
                "INSERT INTO userregion (user_id, location_id)
             SELECT {}, id FROM imagestoragelocation WHERE name = 'eustorage'",
                world.repository.namespace_id
            ))
            .await;
        let by_region = demand_all(&world, &BTreeSet::new()).await;
        assert_eq!(
            by_region
                .iter()
                .map(|copy| copy.storage)
                .collect::<Vec<_>>(),
            [blobs[0].storage, blobs[1].storage],
            "only what the namespace's manifests need"
        );
        let rest = demand_all(&world, &both()).await;
        assert_eq!(rest.len(), 3);
        assert!(demand_all(&world, &both()).await.is_empty());
        assert_eq!(world.database.count_jobs(QUEUE).await.unwrap(), 5);

        // A Quay worker's purge takes a queue row: the copy becomes wanted again.
        world
            .sql("DELETE FROM queueitem WHERE id IN (SELECT id FROM queueitem LIMIT 1)")
            .await;
        assert_eq!(world.database.forget_orphaned_copies().await.unwrap(), 1);
        assert_eq!(demand_all(&world, &both()).await.len(), 1);
    }
}

#[tokio::test]
async fn a_lost_object_is_wanted_again_unless_it_was_the_last() {
    for world in worlds().await {
        let blobs = pushed(&world, &["one"]).await;
        world.copied(&blobs[0], &eu()).await;
        let storages: Vec<_> = blobs.iter().map(|blob| blob.storage).collect();
        let report = world
            .database
            .report_lost(&LostObjects {
                location: &us(),
                storages: &storages,
                reason: "the object is not there",
                queue: QUEUE,
                ids: &world.ids,
                now: world.now,
            })
            .await
            .unwrap();
        assert_eq!(report.wanted, [blobs[0].storage]);
        assert_eq!(report.kept, [blobs[1].storage]);
        let missing = world
            .database
            .missing_copies(Demand {
                defaults: &both(),
                configured: &both(),
            })
            .await
            .unwrap();
        let at_us = missing
            .iter()
            .find(|missing| missing.location == us())
            .unwrap();
        assert_eq!((at_us.blobs, at_us.queued, at_us.failing), (1, 1, 1));
        assert_eq!(
            at_us.last_failure.as_deref(),
            Some("the object is not there")
        );
    }
}

#[tokio::test]
async fn the_last_placement_of_a_blob_never_goes_with_its_location() {
    for world in worlds().await {
        let blobs = pushed(&world, &["one"]).await;
        world.copied(&blobs[0], &eu()).await;
        let trusted = BTreeSet::from([eu()]);
        let sole = world
            .database
            .sole_copies(&us(), &trusted, 10)
            .await
            .unwrap();
        assert_eq!((sole.blobs, sole.bytes), (1, 3));
        let images = world
            .database
            .images_of(&sole.some, world.now, 10)
            .await
            .unwrap();
        assert_eq!(
            images.iter().map(ToString::to_string).collect::<Vec<_>>(),
            ["acme/app:v1"]
        );

        assert_eq!(
            world
                .database
                .forget_placements(&us(), &trusted, 0, 10)
                .await
                .unwrap()
                .len(),
            1
        );
        assert!(
            world
                .database
                .forget_placements(&us(), &trusted, 0, 10)
                .await
                .unwrap()
                .is_empty()
        );
        assert!(matches!(
            world
                .database
                .forget_location(&us(), world.now)
                .await
                .unwrap_err(),
            MetadataError::Conflict { .. }
        ));

        world.copied(&blobs[1], &eu()).await;
        assert_eq!(
            world
                .database
                .forget_placements(&us(), &trusted, 0, 10)
                .await
                .unwrap()
                .len(),
            1
        );
        world
            .database
            .forget_location(&us(), world.now)
            .await
            .unwrap();
        assert_eq!(
            world
                .database
                .ensure_locations(&[us(), eu()])
                .await
                .unwrap(),
            BTreeSet::from([us()]),
            "a configuration that still names it does not bring it back"
        );
        let rows = world.database.locations().await.unwrap();
        let gone = rows.iter().find(|row| row.name == us()).unwrap();
        assert_eq!((gone.id, gone.state), (None, LocationState::Removed));
    }
}

#[tokio::test]
async fn the_blobs_of_a_shard_are_listed_by_digest() {
    for world in worlds().await {
        for number in 0..200 {
            world.blob(&format!("blob {number}"), &us()).await;
        }
        let mut all = Vec::new();
        for shard in 0..=255u8 {
            let shard = world
                .database
                .placements_in_shard(&us(), Algorithm::Sha256, &format!("{shard:02x}"))
                .await
                .unwrap();
            all.extend(shard.into_iter().map(|placed| placed.digest));
        }
        assert_eq!(all.len(), 200);
        assert!(all.is_sorted());
    }
}

#[tokio::test]
async fn locations_that_hold_something_are_told_from_those_that_do_not() {
    for world in worlds().await {
        world.blob("only here", &us()).await;
        let known = world.database.known_locations().await.unwrap();
        assert_eq!(known.get(&us()), Some(&true));
        assert_eq!(known.get(&eu()), Some(&false));
    }
}
