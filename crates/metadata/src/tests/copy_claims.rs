//! In which order wanted copies are taken, by whom, and what becomes of those that nobody has.

use super::*;
use crate::blobs::find_blobs_by_uuid;

/// Wants the copy of a new blob to `eu`, as if it had been pushed into this namespace; tells its row.
async fn wanted(world: &World, content: &str, namespace: i32, urgency: Urgency) -> StorageId {
    let blob = world.blob(content, &us()).await;
    let all = Demand {
        defaults: &BTreeSet::from([eu()]),
        configured: &both(),
    };
    let page = DemandPage {
        demand: all,
        after: StorageId(blob.storage.0 - 1),
        span: 1,
        queue: QUEUE,
        ids: &world.ids,
        now: world.now,
    };
    let demanded = world.database.want_demanded_copies(&page).await.unwrap();
    assert_eq!(demanded.wanted.len(), 1);
    world
        .sql(&format!(
            "UPDATE roadstead_copy SET namespace_id = {namespace} WHERE storage_id = {}",
            blob.storage
        ))
        .await;
    let urged = world
        .database
        .urge_copies(&[blob.storage], &eu(), urgency)
        .await
        .unwrap();
    assert_eq!(urged, u64::from(urgency < Urgency::Backfill));
    blob.storage
}

/// Takes what there is, so many blobs at a time, and tells the blobs in that order.
async fn order(world: &World, blobs: u32) -> Vec<BTreeSet<StorageId>> {
    let mut cursor = ClaimCursor::default();
    let mut order = Vec::new();
    loop {
        let claim = ClaimCopies {
            queue: QUEUE,
            blobs,
            region: Some(&us()),
            elsewhere: &BTreeSet::new(),
            now: world.now,
            lease_until: later(world.now, 60),
            token: world.ids.uuid(),
        };
        let jobs = world
            .database
            .claim_copies(&claim, &mut cursor)
            .await
            .unwrap();
        if jobs.is_empty() {
            return order;
        }
        let mut taken = BTreeSet::new();
        for job in jobs {
            taken.insert(storage_of(world, &job).await);
        }
        order.push(taken);
    }
}

async fn storage_of(world: &World, job: &Job) -> StorageId {
    let uuid = job.name.split('/').nth(1).unwrap();
    let uuids = [uuid.to_owned()];
    let mut blobs = find_blobs_by_uuid(world.database.reader(), &uuids)
        .await
        .unwrap();
    blobs.remove(uuid).unwrap().unwrap().storage
}

fn each(storages: &[StorageId]) -> Vec<BTreeSet<StorageId>> {
    storages
        .iter()
        .map(|storage| BTreeSet::from([*storage]))
        .collect()
}

#[tokio::test]
async fn what_somebody_waits_for_comes_first_then_the_newest_push_then_the_oldest_gap() {
    for world in worlds().await {
        let gap = wanted(&world, "old gap", 7, Urgency::Backfill).await;
        let newer_gap = wanted(&world, "newer gap", 7, Urgency::Backfill).await;
        let push = wanted(&world, "push", 7, Urgency::Pushed).await;
        let newer_push = wanted(&world, "newer push", 7, Urgency::Pushed).await;
        let asked = wanted(&world, "asked for", 7, Urgency::Asked).await;
        assert_eq!(
            order(&world, 1).await,
            each(&[asked, newer_push, push, gap, newer_gap])
        );
    }
}

#[tokio::test]
async fn namespaces_take_turns_however_much_one_of_them_has() {
    for world in worlds().await {
        let mut of_many = Vec::new();
        for number in 0..20 {
            let content = format!("many {number}");
            of_many.push(wanted(&world, &content, 3, Urgency::Backfill).await);
        }
        let one = wanted(&world, "one", 5, Urgency::Backfill).await;
        let other = wanted(&world, "other", 9, Urgency::Backfill).await;
        let order = order(&world, 3).await;
        assert_eq!(
            order[0],
            BTreeSet::from([of_many[0], one, other]),
            "each has a turn"
        );
        assert_eq!(order[1], BTreeSet::from_iter(of_many[1..4].to_vec()));
        let all: usize = order.iter().map(BTreeSet::len).sum();
        assert_eq!(all, 22);
    }
}

#[tokio::test]
async fn workers_that_take_one_blob_each_serve_the_namespaces_in_turn() {
    for world in worlds().await {
        let mut storages = Vec::new();
        for (number, namespace) in [3, 3, 3, 5, 5, 9].into_iter().enumerate() {
            let content = format!("blob {number}");
            storages.push(wanted(&world, &content, namespace, Urgency::Backfill).await);
        }
        assert_eq!(
            order(&world, 1).await,
            each(&[
                storages[0],
                storages[3],
                storages[5],
                storages[1],
                storages[4],
                storages[2]
            ])
        );
    }
}

#[tokio::test]
async fn what_one_blob_lacks_in_several_locations_is_taken_together() {
    for world in worlds().await {
        let ap = LocationName::new("ap").unwrap();
        world
            .database
            .ensure_locations(std::slice::from_ref(&ap))
            .await
            .unwrap();
        let everywhere = BTreeSet::from([us(), eu(), ap.clone()]);
        let blob = world.blob("content", &us()).await;
        world.blob("another", &us()).await;
        let page = DemandPage {
            demand: Demand {
                defaults: &everywhere,
                configured: &everywhere,
            },
            after: StorageId(0),
            span: 100,
            queue: QUEUE,
            ids: &world.ids,
            now: world.now,
        };
        world.database.want_demanded_copies(&page).await.unwrap();
        let jobs = world.claim_copies(1, world.now, &BTreeSet::new()).await;
        let targets: BTreeSet<_> = jobs.iter().filter_map(|job| job.target.clone()).collect();
        assert_eq!(targets, BTreeSet::from([eu(), ap]));
        for job in &jobs {
            assert_eq!(storage_of(&world, job).await, blob.storage);
        }
    }
}

#[tokio::test]
async fn what_another_region_lacks_is_left_to_it_unless_its_source_is_here_or_it_has_failed() {
    for world in worlds().await {
        let elsewhere = BTreeSet::from([eu()]);
        let old = wanted(&world, "an old gap", 1, Urgency::Backfill).await;
        assert!(
            world
                .claim_copies(9, world.now, &elsewhere)
                .await
                .is_empty()
        );
        // Its source is here: it is read once, here, as soon as it was pushed.
        let pushed = wanted(&world, "pushed here", 1, Urgency::Pushed).await;
        let jobs = world.claim_copies(9, world.now, &elsewhere).await;
        assert_eq!(jobs.len(), 1);
        assert_eq!(storage_of(&world, &jobs[0]).await, pushed);

        // Its own region takes it, and fails again and again: another may reach both ends.
        for attempt in 0..3 {
            let now = later(world.now, attempt + 1);
            assert!(world.claim_copies(9, now, &elsewhere).await.is_empty());
            let jobs = world.claim_copies(9, now, &BTreeSet::new()).await;
            assert_eq!(jobs.len(), 1);
            assert_eq!(storage_of(&world, &jobs[0]).await, old);
            let (class, until) = (FailureClass::SourceDown, later(now, 1));
            let put_off = world
                .database
                .postpone_job(&jobs[0], until, "no route", class, now)
                .await;
            assert!(put_off.unwrap());
        }
        let jobs = world.claim_copies(9, later(world.now, 9), &elsewhere).await;
        assert_eq!(jobs.len(), 1);
        assert_eq!(jobs[0].attempts, 3);
        let classes = world
            .texts(
                "SELECT failure_class AS name FROM roadstead_copy WHERE failure_class IS NOT NULL",
            )
            .await;
        assert_eq!(classes, ["source-down"]);
    }
}

#[tokio::test]
async fn regions_know_of_each_other_while_their_workers_say_that_they_are_there() {
    for world in worlds().await {
        let database = &world.database;
        let note = async |instance: &str, region: Option<LocationName>, at: u64| {
            let (since, now) = (
                later(world.now, at.saturating_sub(60)),
                later(world.now, at),
            );
            let heard = database
                .note_replicator(instance, region.as_ref(), since, now)
                .await
                .unwrap();
            (heard.processes.get(), heard.elsewhere)
        };
        let (of_us, of_eu) = (|| Some(us()), || Some(eu()));
        let [nowhere, at_us, at_eu] = [
            BTreeSet::new(),
            BTreeSet::from([us()]),
            BTreeSet::from([eu()]),
        ];
        assert_eq!(note("a", of_us(), 0).await, (1, nowhere.clone()));
        assert_eq!(note("b", of_us(), 1).await, (2, nowhere.clone()));
        assert_eq!(note("c", of_eu(), 2).await, (3, at_us));
        assert_eq!(note("a", of_us(), 50).await, (3, at_eu.clone()));
        assert_eq!(note("a", of_us(), 100).await, (1, nowhere.clone()));
        // One of no region counts, and is nobody's reason to leave anything.
        let everywhere = BTreeSet::from([us(), eu()]);
        assert_eq!(note("c", of_eu(), 101).await.0, 2);
        assert_eq!(note("d", None, 101).await, (3, everywhere));
        assert_eq!(note("a", of_us(), 102).await, (3, at_eu));
        database.forget_replicator("a").await.unwrap();
        assert_eq!(note("c", of_eu(), 103).await, (2, nowhere));
    }
}

#[tokio::test]
async fn rows_that_quay_made_are_found_among_any_number_of_ours_and_taken_once() {
    for world in worlds().await {
        for number in 0..30 {
            wanted(&world, &format!("ours {number}"), 1, Urgency::Backfill).await;
        }
        let quays = |name: &str, free: &str| {
            format!(
                "INSERT INTO queueitem (queue_name, body, available_after, available, processing_expires, retries_remaining, state_id)
                 VALUES ('{name}', '{{}}', '2020-01-01 00:00:00', {free}, 0, '{name}')"
            )
        };
        for name in ["one", "two"] {
            let name = format!("{QUEUE}/{name}/");
            world.sql(&quays(&name, "true, NULL")).await;
        }
        // Of these one is being worked on by Quay, and one was given up: its worker died.
        world
            .sql(&quays(
                &format!("{QUEUE}/busy/"),
                "false, '2999-01-01 00:00:00'",
            ))
            .await;
        world
            .sql(&quays(
                &format!("{QUEUE}/left/"),
                "false, '2020-01-01 00:20:00'",
            ))
            .await;
        let mut cursor = ClaimCursor::default();
        let mut names = Vec::new();
        for _ in 0..20 {
            let claim = ClaimCopies {
                queue: QUEUE,
                blobs: 5,
                region: None,
                elsewhere: &BTreeSet::new(),
                now: world.now,
                lease_until: later(world.now, 60),
                token: world.ids.uuid(),
            };
            let jobs = world
                .database
                .claim_copies(&claim, &mut cursor)
                .await
                .unwrap();
            names.extend(
                jobs.into_iter()
                    .filter(|job| job.target.is_none())
                    .map(|job| job.name),
            );
        }
        names.sort();
        assert_eq!(
            names,
            [
                format!("{QUEUE}/left/"),
                format!("{QUEUE}/one/"),
                format!("{QUEUE}/two/")
            ]
        );
    }
}

#[tokio::test]
async fn a_copy_whose_row_a_worker_of_quays_has_is_left_to_it_and_taken_when_it_fails() {
    for world in worlds().await {
        wanted(&world, "content", 1, Urgency::Backfill).await;
        world
            .sql("UPDATE queueitem SET available = false, processing_expires = '2999-01-01 00:00:00', state_id = 'quay'")
            .await;
        assert!(world.claim(world.now).await.is_empty());
        // It puts the row off, as Quay does: available, and its old lease still written.
        world
            .sql("UPDATE queueitem SET available = true, available_after = '2020-01-01 00:05:00', state_id = 'quay2'")
            .await;
        assert!(world.claim(later(world.now, 10)).await.is_empty());
        let jobs = world.claim(later(world.now, 301)).await;
        assert_eq!(jobs.len(), 1);
        assert_eq!(jobs[0].target, Some(eu()));
    }
}

#[tokio::test]
async fn a_copy_that_was_wanted_by_a_clock_that_is_ahead_is_taken_at_once() {
    for world in worlds().await {
        wanted(&world, "content", 1, Urgency::Pushed).await;
        let earlier = world.now - std::time::Duration::from_millis(1);
        assert_eq!(world.claim(earlier).await.len(), 1);
    }
}
