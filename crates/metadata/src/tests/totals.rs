//! What there is, counted, and the trace that a copy keeps.

use super::*;
use crate::QueueState;

const TRACE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

async fn pushed(world: &World) {
    world.blob("{}", &us()).await;
    world.blob("layer", &us()).await;
    world.put(&image(&["layer"]), &["v1"], world.now).await;
}

#[tokio::test]
async fn the_copies_of_a_push_keep_its_trace() {
    for mut world in worlds().await {
        world.actor = world.actor.clone().with_trace(Some(TRACE.to_owned()));
        pushed(&world).await;
        let jobs = world.claim(world.now).await;
        assert_eq!(jobs.len(), 2);
        assert!(jobs.iter().all(|job| job.trace.as_deref() == Some(TRACE)));
    }
}

#[tokio::test]
async fn a_push_without_a_trace_leaves_none() {
    for world in worlds().await {
        pushed(&world).await;
        let jobs = world.claim(world.now).await;
        assert!(jobs.iter().all(|job| job.trace.is_none()), "{jobs:?}");
    }
}

#[tokio::test]
async fn rows_and_the_queue_are_counted_as_quay_counts_them() {
    for world in worlds().await {
        let before = world.database.totals().await.unwrap();
        assert_eq!((before.repositories, before.uploads), (1, 0));
        assert!(before.users + before.organizations > 0, "{before:?}");
        world.repository("another").await;
        let after = world.database.totals().await.unwrap();
        assert_eq!(after.repositories, 2);

        let state = async |now| world.database.queue_state(QUEUE, now).await.unwrap();
        assert_eq!(state(world.now).await, QueueState::default());
        pushed(&world).await;
        let waiting = QueueState {
            available: 2,
            available_unlocked: 2,
            ..QueueState::default()
        };
        assert_eq!(state(world.now).await, waiting);
        assert_eq!(world.claim(world.now).await.len(), 2);
        let leased = QueueState {
            locked: 2,
            ..QueueState::default()
        };
        assert_eq!(state(world.now).await, leased);
        // Leases that have run out may be taken.
        assert_eq!(state(later(world.now, 86_400)).await, waiting);
        let other = world.database.queue_state("imagestorage", world.now).await;
        assert_eq!(other.unwrap(), QueueState::default());
    }
}

#[tokio::test]
async fn statements_are_counted_and_the_pools_told() {
    for world in worlds().await {
        world.database.ping().await.unwrap();
        let families = world.database.metrics();
        let family = |name: &str| {
            let found = families.iter().find(|family| family.name() == name);
            found.unwrap_or_else(|| panic!("{name}")).get_metric()
        };
        let steps = family("roadstead_database_statement_seconds");
        assert_eq!(steps.len(), 4);
        assert!(
            steps
                .iter()
                .all(|step| step.get_histogram().get_sample_count() > 0)
        );
        let up = family("roadstead_database_up")[0].get_gauge().get_value();
        assert!(up > 0.5);
        assert!(!family("roadstead_database_connections").is_empty());
    }
}
