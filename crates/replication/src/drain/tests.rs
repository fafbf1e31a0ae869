//! What leaves first, where it goes, and what is refused.

use roadstead_queue::JobOutcome;

use super::*;
use crate::world::{World, name};

async fn state(world: &World, location: &str) -> LocationState {
    let (_, state) = world
        .replication
        .removable_location(location)
        .await
        .unwrap();
    state
}

async fn drain(world: &World, location: &str) -> DrainProgress {
    let (_, progress) = world.replication.drain_location(location).await.unwrap();
    progress
}

#[tokio::test]
async fn what_nothing_demands_elsewhere_goes_to_the_first_location_that_takes_bytes() {
    // No default location: one copy anywhere is enough.
    let world = World::with_defaults(&["us", "eu", "asia"], &[]).await;
    let sole = world.push_image("us", "v1", &[b"only in us"]).await;
    let elsewhere = world.push_blob("eu", b"in eu").await;
    let progress = drain(&world, "us").await;
    assert_eq!((progress.only_here.blobs, progress.failing), (2, 0));
    assert_eq!(state(&world, "us").await, LocationState::Draining);
    assert_eq!(world.jobs().await, 2);
    drain(&world, "us").await;
    assert_eq!(world.jobs().await, 2, "what is queued is queued once");
    assert_eq!(
        world.work().await,
        [JobOutcome::Recorded, JobOutcome::Recorded]
    );
    for blob in &sole {
        assert_eq!(world.present(blob).await, ["eu", "us"]);
    }
    assert_eq!(world.present(&elsewhere).await, ["eu"]);
    let drained = world
        .replication
        .wait_until_drained(&name("us"), None, |_| ())
        .await
        .unwrap();
    assert!(drained.only_here.is_none());
    world
        .replication
        .remove_location(&name("us"), |_| ())
        .await
        .unwrap();
    assert_eq!(world.present(&sole[1]).await, ["eu"]);
}

#[tokio::test]
async fn what_is_demanded_elsewhere_goes_there_and_nowhere_else() {
    let world = World::with_defaults(&["us", "eu", "asia"], &["us", "asia"]).await;
    let blobs = world.push_image("us", "v1", &[b"layer"]).await;
    drain(&world, "us").await;
    world.work().await;
    assert_eq!(world.present(&blobs[1]).await, ["asia", "us"]);
    assert_eq!(world.jobs().await, 0);
}

#[tokio::test]
async fn sole_copies_leave_before_everything_else() {
    let world = World::with_defaults(&["us", "eu", "asia"], &["asia"]).await;
    let safe = world.push_image("eu", "v1", &[b"safe"]).await;
    world.clock.advance(Duration::from_secs(1));
    let sole = world.push_image("us", "v2", &[b"sole"]).await;
    drain(&world, "us").await;
    let now = world.replication.environment.now();
    let claim = roadstead_metadata::ClaimCopies {
        queue: crate::QUEUE,
        blobs: 2,
        region: None,
        elsewhere: &std::collections::BTreeSet::new(),
        now,
        lease_until: now + Duration::from_mins(1),
        token: world.replication.environment.ids.uuid(),
    };
    let first = world
        .database()
        .claim_copies(&claim, &mut roadstead_metadata::ClaimCursor::default())
        .await
        .unwrap();
    assert_eq!(first.len(), 2);
    for job in first {
        assert!(
            sole.iter().any(|blob| job.name.contains(&blob.uuid)),
            "{job:?}"
        );
        assert!(
            !safe.iter().any(|blob| job.name.contains(&blob.uuid)),
            "{job:?}"
        );
    }
}

#[tokio::test]
async fn it_goes_on_without_the_command_and_is_taken_back() {
    let world = World::with_defaults(&["us", "eu"], &["us"]).await;
    let blob = world.push_blob("us", b"layer").await;
    let now = world.replication.environment.now();
    let draining = LocationState::Draining;
    world
        .database()
        .set_location_state(&name("us"), draining, now)
        .await
        .unwrap();
    // As a replicator does every minute.
    world.replication.reconcile(|_| ()).await.unwrap();
    assert_eq!(world.jobs().await, 1);
    let undrained = world.replication.undrain_location("us").await.unwrap();
    assert_eq!(undrained, (name("us"), draining));
    assert_eq!(state(&world, "us").await, LocationState::Active);
    assert_eq!(world.work().await, [JobOutcome::Obsolete]);
    assert_eq!(world.present(&blob).await, ["us"]);
}

#[tokio::test]
async fn a_removal_that_is_refused_leaves_the_location_being_emptied() {
    let world = World::with_defaults(&["us", "eu"], &[]).await;
    world.push_blob("us", b"layer").await;
    drain(&world, "us").await;
    let refused = world.replication.remove_location(&name("us"), |_| ()).await;
    assert!(
        matches!(refused, Err(RemovalError::SoleCopies(_))),
        "{refused:?}"
    );
    assert_eq!(state(&world, "us").await, LocationState::Draining);
}

#[tokio::test]
async fn the_last_location_that_takes_bytes_cannot_be_emptied() {
    let world = World::new(&["us", "eu"]).await;
    drain(&world, "us").await;
    let refused = world.replication.drain_location("eu").await.unwrap_err();
    assert!(
        matches!(refused, DrainError::NowhereElse { .. }),
        "{refused:?}"
    );
    assert_eq!(state(&world, "eu").await, LocationState::Active);
    let unknown = world.replication.drain_location("mars").await.unwrap_err();
    assert!(
        unknown.to_string().contains("no location `mars`"),
        "{unknown}"
    );
}

#[tokio::test]
async fn a_failure_is_told_and_the_wait_ends_when_its_time_is_up() {
    let world = World::with_defaults(&["us", "eu"], &[]).await;
    world.push_blob("us", b"layer").await;
    world.unmount("eu");
    drain(&world, "us").await;
    world.work().await;
    let progress = world
        .replication
        .wait_until_drained(&name("us"), Some(Duration::ZERO), |_| ())
        .await
        .unwrap();
    assert_eq!((progress.only_here.blobs, progress.failing), (1, 1));
    let failure = progress.last_failure.unwrap();
    assert!(failure.contains("eu"), "{failure}");
}
