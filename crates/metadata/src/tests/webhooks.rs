//! What webhooks are told, by whom, and what is kept of how it went.

use super::*;

async fn add(world: &World, location: Option<&LocationName>, namespace: Option<UserId>) -> i64 {
    let new = NewWebhook {
        url: "as it is kept",
        shown: "https://hooks.example/",
        secret: None,
        location,
        namespace,
        now: world.now,
    };
    world.database.add_webhook(&new).await.unwrap()
}

/// Makes so many images complete at `us`.
async fn complete(world: &World, images: u32) {
    world.blob("{}", &us()).await;
    for n in 0..images {
        let layer = format!("layer {n}");
        world.blob(&layer, &us()).await;
        world
            .put(&image(&[&layer]), &[&format!("v{n}")], world.now)
            .await;
    }
    world
        .database
        .settle_awaited_images(1000, world.now)
        .await
        .unwrap();
}

async fn claim(world: &World, now: Timestamp) -> Option<WebhookLease> {
    world
        .database
        .claim_webhook(2, world.ids.uuid(), later(now, 60), now)
        .await
        .unwrap()
}

#[tokio::test]
async fn a_webhook_is_told_of_its_location_and_namespace_alone() {
    for world in worlds().await {
        let everything = add(&world, None, None).await;
        let here = add(&world, Some(&us()), Some(world.repository.namespace_id)).await;
        let elsewhere = add(&world, Some(&eu()), None).await;
        let others = add(&world, None, Some(world.creator)).await;
        complete(&world, 3).await;
        let webhooks = world.database.webhooks().await.unwrap();
        let pending: Vec<_> = webhooks
            .iter()
            .map(|webhook| (webhook.id, webhook.pending))
            .collect();
        assert_eq!(
            pending,
            [(everything, 3), (here, 3), (elsewhere, 0), (others, 0)]
        );
        assert_eq!(webhooks[1].namespace.as_deref(), Some("acme"));
        assert_eq!(webhooks[1].location, Some(us()));
        assert!(!webhooks[1].signed);
    }
}

#[tokio::test]
async fn one_process_at_a_time_delivers_to_a_webhook_and_the_others_have_the_next() {
    for world in worlds().await {
        let (one, two) = (add(&world, None, None).await, add(&world, None, None).await);
        complete(&world, 3).await;
        let first = claim(&world, world.now).await.unwrap();
        let second = claim(&world, world.now).await.unwrap();
        assert_eq!((first.id, second.id), (one, two));
        assert!(claim(&world, world.now).await.is_none());
        assert_eq!(first.deliveries.len(), 2, "as many as were asked for");
        assert!(first.deliveries.is_sorted_by_key(|due| due.event.id));
        // All are due since the same moment: which of them come first is not determined.
        let tags: BTreeSet<_> = first
            .deliveries
            .iter()
            .flat_map(|due| due.event.tags.iter().map(String::as_str))
            .collect();
        assert!(
            tags.len() == 2 && tags.is_subset(&BTreeSet::from(["v0", "v1", "v2"])),
            "{tags:?}"
        );

        // The lease of one that died runs out, and it has no say any more.
        let again = claim(&world, later(world.now, 61)).await.unwrap();
        assert_eq!(again.id, one);
        let ended = |lease: &WebhookLease| DeliveriesEnded {
            delivered: lease.deliveries.iter().map(|due| due.id).collect(),
            ..DeliveriesEnded::default()
        };
        let now = later(world.now, 62);
        assert!(
            !world
                .database
                .end_deliveries(&first, &ended(&first), now)
                .await
                .unwrap()
        );
        assert!(
            world
                .database
                .end_deliveries(&again, &ended(&again), now)
                .await
                .unwrap()
        );
        let webhooks = world.database.webhooks().await.unwrap();
        assert_eq!((webhooks[0].delivered, webhooks[0].pending), (2, 1));
        assert_eq!(webhooks[0].last_delivered, Some(now));
    }
}

#[tokio::test]
async fn what_failed_waits_is_given_up_or_gone_with_its_webhook() {
    for world in worlds().await {
        let id = add(&world, None, None).await;
        complete(&world, 3).await;
        let lease = claim(&world, world.now).await.unwrap();
        let [one, two] = &lease.deliveries[..] else {
            panic!("{lease:?}");
        };
        let ended = DeliveriesEnded {
            given_up: vec![one.id],
            put_off: vec![(two.id, later(world.now, 100))],
            failure: Some("it answered 500".to_owned()),
            rests_until: Some(later(world.now, 10)),
            ..DeliveriesEnded::default()
        };
        assert!(
            world
                .database
                .end_deliveries(&lease, &ended, world.now)
                .await
                .unwrap()
        );
        let webhook = world.database.webhooks().await.unwrap().remove(0);
        assert_eq!((webhook.given_up, webhook.pending), (1, 2));
        assert_eq!(webhook.last_failure.as_deref(), Some("it answered 500"));
        assert_eq!(webhook.last_failed, Some(world.now));
        assert!(claim(&world, later(world.now, 9)).await.is_none());
        let lease = claim(&world, later(world.now, 10)).await.unwrap();
        assert_eq!((lease.failures, lease.deliveries.len()), (1, 1));
        let nothing = DeliveriesEnded::default();
        assert!(
            world
                .database
                .end_deliveries(&lease, &nothing, later(world.now, 11))
                .await
                .unwrap()
        );
        let lease = claim(&world, later(world.now, 100)).await.unwrap();
        let mut attempts: Vec<_> = lease.deliveries.iter().map(|due| due.attempts).collect();
        attempts.sort_unstable();
        assert_eq!((lease.failures, attempts), (0, vec![0, 1]));

        assert!(world.database.remove_webhook(id).await.unwrap());
        assert!(!world.database.remove_webhook(id).await.unwrap());
        assert!(
            !world
                .database
                .end_deliveries(&lease, &nothing, world.now)
                .await
                .unwrap()
        );
        assert!(claim(&world, later(world.now, 999)).await.is_none());
        let left = world
            .texts("SELECT CAST(count(*) AS varchar) AS name FROM roadstead_webhook_delivery")
            .await;
        assert_eq!(left, ["0"]);
    }
}

#[tokio::test]
async fn webhooks_are_limited_in_number() {
    for world in worlds().await {
        for _ in 0..100 {
            add(&world, None, None).await;
        }
        let new = NewWebhook {
            url: "as it is kept",
            shown: "https://hooks.example/",
            secret: None,
            location: None,
            namespace: None,
            now: world.now,
        };
        let error = world.database.add_webhook(&new).await.unwrap_err();
        assert!(error.to_string().contains("remove one first"), "{error}");
    }
}
