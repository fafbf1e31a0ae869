//! Images that become complete somewhere: what is noted of them and when, and who has to be told.

use super::*;

/// What is noted, without what changes from run to run.
async fn noted(world: &World) -> Vec<(String, String, Vec<String>)> {
    let events = world.database.image_events(0, 1000).await.unwrap();
    events
        .into_iter()
        .map(|event| {
            assert_eq!(event.kind, IMAGE_COMPLETE);
            (event.repository, event.location.to_string(), event.tags)
        })
        .collect()
}

fn at(location: &LocationName, tags: &[&str]) -> (String, String, Vec<String>) {
    let tags = tags.iter().map(|tag| (*tag).to_owned()).collect();
    ("acme/app".to_owned(), location.to_string(), tags)
}

async fn settle(world: &World, now: Timestamp) -> SettledImages {
    world
        .database
        .settle_awaited_images(100, now)
        .await
        .unwrap()
}

/// A page of the reconciliation over everything.
async fn reconcile(world: &World, defaults: &BTreeSet<LocationName>, now: Timestamp) -> usize {
    let everywhere = both();
    let page = DemandPage {
        demand: Demand {
            defaults,
            configured: &everywhere,
        },
        after: StorageId(0),
        span: 5000,
        queue: QUEUE,
        ids: &world.ids,
        now,
    };
    let copies = world.database.want_demanded_copies(&page).await.unwrap();
    copies.wanted.len()
}

#[tokio::test]
async fn an_image_is_noted_once_at_each_location_when_the_last_of_it_is_there() {
    for world in worlds().await {
        let (config, layer) = (world.blob("{}", &us()).await, world.blob("l", &us()).await);
        world
            .put(&image(&["l"]), &["v1", "latest"], world.now)
            .await;
        let first = settle(&world, world.now).await;
        assert_eq!((first.looked_at, first.complete), (2, 1));
        assert_eq!(noted(&world).await, [at(&us(), &["latest", "v1"])]);

        let soon = later(world.now, 1);
        world.copied(&config, &eu()).await;
        let arrival = [(config.storage, eu())];
        world.database.note_arrivals(&arrival, soon).await.unwrap();
        settle(&world, soon).await;
        assert_eq!(noted(&world).await.len(), 1, "the layer is missing");

        world.copied(&layer, &eu()).await;
        let arrival = [(layer.storage, eu()), (layer.storage, us())];
        let hastened = world.database.note_arrivals(&arrival, soon).await.unwrap();
        assert_eq!(hastened, 1);
        assert_eq!(settle(&world, soon).await.complete, 1);
        let expected = [at(&us(), &["latest", "v1"]), at(&eu(), &["latest", "v1"])];
        assert_eq!(noted(&world).await, expected);
        let events = world.database.image_events(0, 10).await.unwrap();
        let event = &events[1];
        assert_eq!(event.digest, image(&["l"]).digest(Algorithm::Sha256));
        assert_eq!((event.since, event.complete_at), (world.now, soon));

        // Pushed again, by another tag, and reconciled: it was told.
        world
            .put(&image(&["l"]), &["v2"], later(world.now, 60))
            .await;
        reconcile(&world, &both(), later(world.now, 60)).await;
        assert_eq!(
            settle(&world, later(world.now, 9_000)).await,
            SettledImages::default()
        );
        assert_eq!(noted(&world).await, expected);
    }
}

#[tokio::test]
async fn an_index_is_complete_with_everything_below_it_and_what_has_no_tag_is_not_told() {
    for world in worlds().await {
        world.blob("{}", &us()).await;
        let (amd, arm) = (image(&["amd"]), image(&["arm"]));
        let mut blobs = vec![world.blob("{}", &us()).await];
        for (layer, manifest) in [("amd", &amd), ("arm", &arm)] {
            blobs.push(world.blob(layer, &us()).await);
            world.put(manifest, &[], world.now).await;
        }
        let both_of_them = index(&[&amd, &arm]);
        world.put(&both_of_them, &[], world.now).await;
        assert_eq!(
            settle(&world, world.now).await,
            SettledImages::default(),
            "nothing has a tag"
        );
        let now = later(world.now, 5);
        world.put(&both_of_them, &["multi"], now).await;
        assert_eq!(settle(&world, now).await.complete, 1);
        for blob in &blobs {
            assert_eq!(noted(&world).await, [at(&us(), &["multi"])]);
            world.copied(blob, &eu()).await;
            // Nobody said that it came.
            settle(&world, later(now, 3_600)).await;
        }
        settle(&world, later(now, 7_200)).await;
        assert_eq!(
            noted(&world).await,
            [at(&us(), &["multi"]), at(&eu(), &["multi"])]
        );
        let events = world.database.image_events(0, 10).await.unwrap();
        assert!(
            events
                .iter()
                .all(|event| event.digest == both_of_them.digest(Algorithm::Sha256))
        );
    }
}

#[tokio::test]
async fn an_image_is_awaited_at_a_location_that_is_demanded_later() {
    for mut world in worlds().await {
        world.required = BTreeSet::from([us()]);
        let mut blobs = vec![world.blob("{}", &us()).await];
        for layer in ["one", "two"] {
            blobs.push(world.blob(layer, &us()).await);
            world.put(&image(&[layer]), &[layer], world.now).await;
        }
        // Below an index that has a tag, by itself it has none.
        blobs.push(world.blob("child", &us()).await);
        world.put(&image(&["child"]), &[], world.now).await;
        world
            .put(&index(&[&image(&["child"])]), &["multi"], world.now)
            .await;
        settle(&world, world.now).await;
        assert_eq!(noted(&world).await.len(), 3);

        let now = later(world.now, 100);
        assert_eq!(reconcile(&world, &both(), now).await, 4);
        assert_eq!(reconcile(&world, &both(), now).await, 0);
        let awaited = world.database.count_awaited_images().await.unwrap();
        assert_eq!(awaited, [(eu(), 3)]);
        settle(&world, now).await;
        for blob in &blobs {
            world.copied(blob, &eu()).await;
        }
        assert_eq!(settle(&world, later(now, 60)).await.complete, 3);
        let mut tags: Vec<_> = noted(&world).await.split_off(3);
        tags.sort();
        let expected = ["multi", "one", "two"].map(|tag| at(&eu(), &[tag]));
        assert_eq!(tags, expected);
    }
}

#[tokio::test]
async fn what_is_untagged_or_deleted_before_it_is_complete_is_not_told_and_new_names_are() {
    for world in worlds().await {
        let mut blobs = vec![world.blob("{}", &us()).await];
        for layer in ["moved", "deleted", "kept"] {
            blobs.push(world.blob(layer, &us()).await);
        }
        world.put(&image(&["moved"]), &["latest"], world.now).await;
        world.put(&image(&["deleted"]), &["old"], world.now).await;
        world
            .put(&image(&["kept"]), &["latest"], later(world.now, 1))
            .await;
        world.delete("old", later(world.now, 2)).await;
        for blob in &blobs {
            world.copied(blob, &eu()).await;
        }
        world.sql("UPDATE repository SET name = 'renamed'").await;
        let now = later(world.now, 10);
        assert_eq!(settle(&world, now).await.complete, 2);
        let mut told = noted(&world).await;
        told.sort();
        let renamed = |location: &LocationName| {
            let (_, location, tags) = at(location, &["latest"]);
            ("acme/renamed".to_owned(), location, tags)
        };
        assert_eq!(told, [renamed(&eu()), renamed(&us())]);
        assert!(
            world
                .database
                .count_awaited_images()
                .await
                .unwrap()
                .is_empty()
        );

        // A repository on its way out.
        world.blob("late", &us()).await;
        world.put(&image(&["late"]), &["late"], now).await;
        world.sql("UPDATE repository SET state = 3").await;
        assert_eq!(settle(&world, later(now, 10)).await.complete, 0);
    }
}

#[tokio::test]
async fn several_processes_that_look_at_once_note_an_image_once() {
    for world in worlds().await {
        world.blob("{}", &us()).await;
        for n in 0..40 {
            let layer = format!("layer {n}");
            world.blob(&layer, &us()).await;
            world
                .put(&image(&[&layer]), &[&format!("v{n}")], world.now)
                .await;
        }
        let look = || async {
            let mut complete = 0;
            loop {
                let settled = world
                    .database
                    .settle_awaited_images(7, world.now)
                    .await
                    .unwrap();
                if settled.looked_at == 0 {
                    return complete;
                }
                complete += settled.complete;
            }
        };
        let (one, other, third) = tokio::join!(look(), look(), look());
        assert_eq!(one + other + third, 40);
        assert_eq!(noted(&world).await.len(), 40);
    }
}

#[tokio::test]
async fn an_image_that_never_comes_is_awaited_for_thirty_days_and_events_are_kept_as_long() {
    for world in worlds().await {
        world.blob("{}", &us()).await;
        world.blob("l", &us()).await;
        world.put(&image(&["l"]), &["v1"], world.now).await;
        settle(&world, world.now).await;
        let kept = world.now + IMAGE_EVENTS_KEPT;
        let before_the_end = kept - Duration::from_secs(1);
        settle(&world, before_the_end).await;
        let awaited = world.database.count_awaited_images().await.unwrap();
        assert_eq!(awaited, [(eu(), 1)]);
        let forget = |before| world.database.forget_image_events(before, 10);
        assert_eq!(forget(world.now).await.unwrap(), 0);
        assert_eq!(noted(&world).await.len(), 1);
        settle(&world, kept + Duration::from_hours(1)).await;
        assert!(
            world
                .database
                .count_awaited_images()
                .await
                .unwrap()
                .is_empty()
        );
        assert_eq!(forget(later(world.now, 1)).await.unwrap(), 1);
        assert!(noted(&world).await.is_empty());
    }
}
