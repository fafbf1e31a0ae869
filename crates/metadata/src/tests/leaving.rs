//! Emptying a location: what leaves it, in which order, and what is given up.

use super::*;

async fn want_leaving(world: &World, defaults: &BTreeSet<LocationName>) -> Vec<WantedCopy> {
    let page = DemandPage {
        demand: Demand {
            defaults,
            configured: &both(),
        },
        after: StorageId(0),
        span: 1000,
        queue: QUEUE,
        ids: &world.ids,
        now: world.now,
    };
    let wanted = world.database.want_leaving_copies(&page, &eu()).await;
    wanted.unwrap().wanted
}

async fn set_state(world: &World, location: &LocationName, state: LocationState) {
    world
        .database
        .set_location_state(location, state, world.now)
        .await
        .unwrap();
}

#[tokio::test]
async fn only_what_leaves_and_is_demanded_nowhere_else_is_wanted_at_the_refuge_and_once() {
    for world in worlds().await {
        let nowhere = BTreeSet::new();
        let sole = world.blob("sole", &us()).await;
        let safe = world.blob("safe", &us()).await;
        world.copied(&safe, &eu()).await;
        world.blob("elsewhere", &eu()).await;
        assert_eq!(
            want_leaving(&world, &nowhere).await,
            [],
            "nothing leaves yet"
        );
        set_state(&world, &us(), LocationState::Draining).await;
        assert_eq!(
            world.database.closed_locations().await.unwrap(),
            BTreeSet::from([us()])
        );
        assert_eq!(
            world.database.draining_locations().await.unwrap(),
            BTreeSet::from([us()])
        );
        assert_eq!(
            want_leaving(&world, &both()).await,
            [],
            "it is demanded at a location that takes it"
        );
        let wanted = want_leaving(&world, &nowhere).await;
        assert_eq!(wanted.len(), 1);
        assert_eq!(
            (wanted[0].storage, &wanted[0].location),
            (sole.storage, &eu())
        );
        assert_eq!(want_leaving(&world, &nowhere).await, []);
        assert_eq!(world.database.count_jobs(QUEUE).await.unwrap(), 1);
        // Nothing new gets there.
        assert_eq!(world.copied(&safe, &us()).await, Recorded::LocationClosed);
        let rows = world.database.locations().await.unwrap();
        let row = rows.iter().find(|row| row.name == us()).unwrap();
        assert_eq!(row.state, LocationState::Draining);
    }
}

#[tokio::test]
async fn what_only_the_leaving_location_holds_is_due_first() {
    for world in worlds().await {
        let demand = BTreeSet::from([eu(), LocationName::new("third").unwrap()]);
        world
            .database
            .ensure_locations(&Vec::from_iter(demand.clone()))
            .await
            .unwrap();
        let (safe, sole) = (
            world.blob("safe", &us()).await,
            world.blob("sole", &us()).await,
        );
        world.copied(&safe, &eu()).await;
        world
            .database
            .want_demanded_copies(&DemandPage {
                demand: Demand {
                    defaults: &demand,
                    configured: &demand,
                },
                after: StorageId(0),
                span: 1000,
                queue: QUEUE,
                ids: &world.ids,
                now: world.now,
            })
            .await
            .unwrap();
        set_state(&world, &us(), LocationState::Draining).await;
        let trusted = BTreeSet::from([eu()]);
        let hasten = async |after| {
            world
                .database
                .hasten_sole_copies(&us(), &trusted, after, 1)
                .await
                .unwrap()
        };
        assert_eq!(hasten(StorageId(0)).await, (0, Some(safe.storage)));
        assert_eq!(hasten(safe.storage).await, (2, Some(sole.storage)));
        assert_eq!(hasten(sole.storage).await, (0, None));
        let first = world.claim_copies(1, world.now, &BTreeSet::new()).await;
        assert_eq!(first.len(), 2);
        assert!(
            first.iter().all(|job| job.name.contains(&sole.uuid)),
            "{first:?}"
        );
        let until = later(world.now, 60);
        let put_off = world
            .database
            .postpone_job(
                &first[0],
                until,
                "no room",
                FailureClass::TargetDown,
                world.now,
            )
            .await;
        assert!(put_off.unwrap());
        let failing = world
            .database
            .failing_refuges(&us(), &trusted)
            .await
            .unwrap();
        assert_eq!(failing, (1, Some("no room".to_owned())));
        assert_eq!(hasten(StorageId(0)).await.0, 0, "it was tried");
    }
}

#[tokio::test]
async fn only_what_was_agreed_to_is_given_up() {
    for world in worlds().await {
        let mut sole = Vec::new();
        for n in 0..5 {
            sole.push(world.blob(&format!("sole {n}"), &us()).await);
        }
        let safe = world.blob("safe", &us()).await;
        world.copied(&safe, &eu()).await;
        let trusted = BTreeSet::from([eu()]);
        let database = &world.database;
        let mut listed = Vec::new();
        let mut after = StorageId(0);
        loop {
            let page = database
                .sole_copies_after(&us(), &trusted, after, 2)
                .await
                .unwrap();
            let Some(last) = page.last() else { break };
            after = last.storage;
            listed.extend(page);
        }
        let names: Vec<_> = listed.iter().map(|blob| blob.name.clone()).collect();
        let digests: Vec<_> = sole.iter().map(|blob| blob.digest.to_string()).collect();
        assert_eq!(names, digests);
        let late = world.blob("late", &us()).await;
        let mut given_up = 0;
        loop {
            let some = database
                .give_up_placements(&us(), &trusted, after, 2)
                .await
                .unwrap();
            if some.is_empty() {
                break;
            }
            given_up += some.len();
        }
        assert_eq!(given_up, 5);
        for blob in [&safe, &late] {
            let blob = database
                .find_blob_anywhere(&blob.digest)
                .await
                .unwrap()
                .unwrap();
            assert!(blob.present.contains(&us()));
        }
    }
}
