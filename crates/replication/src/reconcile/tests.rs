//! Every gap gets a job, however it came about.

use roadstead_runtime::Tasks;

use super::*;
use crate::world::{PATIENCE, World, name};

#[tokio::test]
async fn every_gap_is_queued_once_and_shown_once_however_many_locations_lack_the_blob() {
    let world = World::new(&["us", "eu", "ap"]).await;
    let one = world.push_blob("us", b"one").await;
    let two = world.push_blob("eu", b"the second").await;
    let mut shown = Vec::new();
    let reconciled = world
        .replication
        .reconcile(|uuid| shown.push(uuid.to_owned()))
        .await
        .unwrap();
    assert_eq!(shown, [one.uuid.clone(), two.uuid.clone()]);
    assert_eq!(reconciled.blobs, 2);
    let expected = [("ap", 2, 13), ("eu", 1, 3), ("us", 1, 10)]
        .map(|(location, blobs, bytes)| (name(location), Amount { blobs, bytes }));
    assert_eq!(reconciled.wanted, BTreeMap::from(expected));

    let again = world
        .replication
        .reconcile(|uuid| panic!("{uuid} was queued already"))
        .await
        .unwrap();
    assert_eq!(again, Reconciled::default());
    world.work().await;
    assert_eq!(world.present(&one).await, ["ap", "eu", "us"]);
    assert_eq!(world.present(&two).await, ["ap", "eu", "us"]);
}

#[tokio::test]
async fn only_the_default_locations_are_filled() {
    let world = World::with_defaults(&["us", "eu", "ap"], &["eu"]).await;
    let blob = world.push_blob("us", b"content").await;
    world.replication.reconcile(|_| ()).await.unwrap();
    world.work().await;
    assert_eq!(world.present(&blob).await, ["eu", "us"]);
}

#[tokio::test]
async fn it_reconciles_at_once_and_again_after_the_interval() {
    let world = World::new(&["us", "eu"]).await;
    world.push_blob("us", b"pushed before").await;
    let tasks = Tasks::new();
    let (replication, shutdown) = (world.replication.clone(), tasks.shutdown());
    tasks.spawn(async move {
        replication
            .keep_reconciled(Duration::from_mins(1), &shutdown)
            .await;
    });
    until_jobs(&world, 1, Duration::ZERO).await;
    world.push_blob("us", b"pushed after").await;
    until_jobs(&world, 2, Duration::from_secs(10)).await;
    assert!(tasks.stop(PATIENCE).await);
}

async fn until_jobs(world: &World, jobs: u64, advance: Duration) {
    tokio::time::timeout(PATIENCE, async {
        while world.jobs().await != jobs {
            world.clock.advance(advance);
        }
    })
    .await
    .unwrap();
}
