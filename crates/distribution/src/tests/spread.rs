//! Pushes that wait until several locations hold them, and pushes into repositories that are confined.

use std::collections::BTreeSet;
use std::pin::pin;
use std::time::Duration;

use roadstead_metadata::{Actor, MinLocations};
use roadstead_oci::{Algorithm, Digest, ErrorCode, Reference};
use roadstead_placement::{PlacementRule, RuleScope};
use roadstead_runtime::Clock;
use roadstead_storage::{ObjectKey, Operation, StorageErrorKind};

use super::world::{
    Plan, World, content, image, index, manifest, name, settle, sha256, still_waits,
};
use crate::{ManifestPushError, PushError, PushedManifest, Shortfall};

async fn demand(world: &World, locations: u32, deadline: Duration) {
    world
        .database
        .set_min_locations(
            world.repository.namespace_id,
            Some(MinLocations {
                locations,
                deadline,
            }),
        )
        .await
        .unwrap();
}

/// Stores a manifest of blobs that are there.
async fn put(world: &World, text: &str) -> PushedManifest {
    let manifest = manifest(text);
    let reference = Reference::Digest(manifest.digest(Algorithm::Sha256));
    let manifests = world.registry.manifests();
    manifests
        .put(
            &world.repository,
            &reference,
            &[],
            &manifest,
            &Actor::default(),
        )
        .await
        .unwrap()
}

async fn wait(world: &World, pushed: &PushedManifest) -> Result<(), ManifestPushError> {
    let manifests = world.registry.manifests();
    manifests.wait_until_spread(&world.repository, pushed).await
}

/// Lets time pass until the work has ended.
async fn in_time<T>(world: &World, work: impl Future<Output = T>) -> (T, Duration) {
    let began = world.clock.now();
    let mut work = pin!(work);
    loop {
        tokio::select! {
            biased;
            done = &mut work => {
                let took = world.clock.now().signed_duration_since(began);
                return (done, took.to_std().unwrap());
            }
            () = settle() => {}
        }
        // What waits for the database and not for the clock goes on first.
        roadstead_runtime::SystemClock
            .sleep(Duration::from_millis(5))
            .await;
        world.clock.advance(Duration::from_millis(50));
    }
}

fn holds(world: &World, location: &str, digest: &Digest) -> bool {
    world
        .file(location, &ObjectKey::Blob(digest.clone()))
        .exists()
}

#[tokio::test]
async fn a_push_is_acknowledged_when_enough_locations_hold_its_bytes() {
    let world = World::new().await;
    demand(&world, 2, Duration::from_mins(1)).await;
    let layer = content(300, 3_000);
    let blobs = [world.push(b"{}").await, world.push(&layer).await];
    let pushed = put(&world, &image(&[&layer], "")).await;
    assert_eq!(pushed.copies, 2);
    let mut waiting = Box::pin(wait(&world, &pushed));
    for blob in &blobs {
        assert!(!holds(&world, "eu", blob));
        let some_time = async {
            for _ in 0..40 {
                settle().await;
                roadstead_runtime::SystemClock
                    .sleep(Duration::from_millis(2))
                    .await;
                world.clock.advance(Duration::from_millis(100));
            }
        };
        assert!(still_waits(&mut waiting, some_time).await);
        world.replicate(blob).await;
    }
    let (waited, _) = in_time(&world, waiting).await;
    waited.unwrap();
    assert!(blobs.iter().all(|blob| holds(&world, "eu", blob)));
    // An index of it has no blobs of its own, and is held where its manifests are.
    let list = put(&world, &index(&[&image(&[&layer], "")])).await;
    wait(&world, &list).await.unwrap();
}

#[tokio::test]
async fn a_push_that_waited_in_vain_says_how_far_it_is_and_the_next_attempt_waits_again() {
    let world = World::new().await;
    demand(&world, 2, Duration::from_secs(7)).await;
    let layer = content(301, 3_000);
    let blobs = [world.push(b"{}").await, world.push(&layer).await];
    let text = image(&[&layer], "");
    let pushed = put(&world, &text).await;
    world.replicate(&blobs[0]).await;
    let (waited, took) = in_time(&world, wait(&world, &pushed)).await;
    let Err(ManifestPushError::TooFewLocations(shortfall)) = waited else {
        panic!("{waited:?}");
    };
    assert!(took >= Duration::from_secs(7), "{took:?}");
    let Shortfall {
        demanded,
        blobs: all,
        short,
        waited,
        ref lacking,
        ..
    } = *shortfall;
    assert_eq!(
        (demanded, all, short, waited),
        (2, 2, 1, Duration::from_secs(7))
    );
    assert_eq!(lacking.len(), 1);
    assert_eq!(
        shortfall.to_string(),
        format!(
            "manifest {} is stored, but 1 of its 2 blobs are in fewer than 2 locations after 7 s: `eu` still lacks 1; \
             copying goes on: push it again to wait on",
            pushed.digest
        )
    );
    assert_eq!(
        ManifestPushError::TooFewLocations(shortfall).code(),
        ErrorCode::Unavailable
    );
    // It can be pulled, and the same push again is the same manifest.
    let again = put(&world, &text).await;
    assert_eq!((again.created, again.copies), (false, 0));
    let waiting = wait(&world, &again);
    world.replicate(&blobs[1]).await;
    let (waited, _) = in_time(&world, waiting).await;
    waited.unwrap();
}

#[tokio::test]
async fn a_location_that_is_down_does_not_matter_when_enough_others_hold_the_blobs() {
    let world = World::of(Plan {
        locations: &["us", "eu", "ap"],
        required: &["us", "eu", "ap"],
        ..Plan::default()
    })
    .await;
    demand(&world, 2, Duration::from_mins(1)).await;
    let layer = content(302, 2_000);
    let blobs = [world.push(b"{}").await, world.push(&layer).await];
    let pushed = put(&world, &image(&[&layer], "")).await;
    world.eu.take_down();
    for blob in &blobs {
        world.copy(blob, "us", "ap").await;
    }
    wait(&world, &pushed).await.unwrap();
}

#[tokio::test]
async fn no_push_waits_longer_than_the_registry_allows_and_none_without_a_demand() {
    let world = World::with(|options| options.push_wait_max = Duration::from_secs(2)).await;
    world.push(b"{}").await;
    let pushed = put(&world, &image(&[], "")).await;
    wait(&world, &pushed).await.unwrap();
    demand(&world, 2, Duration::from_mins(10)).await;
    let pushed = put(&world, &image(&[], "")).await;
    let (waited, took) = in_time(&world, wait(&world, &pushed)).await;
    assert!(matches!(waited, Err(ManifestPushError::TooFewLocations(_))));
    assert!(took < Duration::from_secs(10), "{took:?}");
    // A process that ends lets its clients go to another.
    assert!(world.stop().await);
    let waited = wait(&world, &pushed).await;
    assert!(matches!(waited, Err(ManifestPushError::TooFewLocations(_))));
}

async fn confine(world: &World, locations: &[&str]) {
    let rule = PlacementRule {
        scope: RuleScope {
            namespace: world.repository.namespace_id.0,
            repository: Some(world.repository.id.0),
            tags: None,
        },
        locations: locations.iter().map(|location| name(location)).collect(),
        copies: 0,
        only: true,
    };
    world.database.set_placement_rule(&rule).await.unwrap();
}

#[tokio::test]
async fn a_confined_repository_is_written_where_it_may_be_and_else_nowhere() {
    let world = World::of(Plan {
        locations: &["us", "eu", "ap"],
        required: &["us", "eu"],
        ..Plan::default()
    })
    .await;
    confine(&world, &["eu"]).await;
    let digest = world.push(b"in one request").await;
    assert_eq!(world.placements(&digest).await, ["eu"]);
    let id = world.start().await;
    world
        .finish(id, b"in a session", &sha256(b"in a session"))
        .await
        .unwrap();
    assert_eq!(world.placements(&sha256(b"in a session")).await, ["eu"]);
    // Another repository goes where it always went.
    let digest = world.push_into(&world.other, b"other").await;
    assert_eq!(world.placements(&digest).await, ["us"]);

    // In the middle of an upload too.
    let id = world.start().await;
    world
        .eu
        .fail_always(Operation::Write, StorageErrorKind::Unavailable);
    let refused = world.append(id, None, b"abc").await.unwrap_err();
    assert!(matches!(refused, PushError::Storage { .. }), "{refused:?}");
    world.eu.heal();
    world.eu.take_down();
    let refused = world.append(id, None, b"abc").await.unwrap_err();
    assert!(
        refused
            .to_string()
            .starts_with("the repository may only be stored at `eu`, and no location of these"),
        "{refused}"
    );
    assert_eq!(refused.code(), ErrorCode::Unavailable);
    for location in ["us", "ap"] {
        assert_eq!(world.staged(location).await, 0, "{location}");
    }
}

#[tokio::test]
async fn a_pull_does_not_bring_a_confined_blob_to_where_it_may_not_be() {
    let world = World::new().await;
    confine(&world, &["eu"]).await;
    let digest = world.push_at_eu(b"stays where it is").await;
    for _ in 0..3 {
        assert_eq!(world.pull(&digest).await.unwrap(), b"stays where it is");
    }
    assert!(world.stop().await);
    assert_eq!(world.placements(&digest).await, ["eu"]);
    assert!(!holds(&world, "us", &digest));
    let all: BTreeSet<_> = world.placements(&digest).await.into_iter().collect();
    assert_eq!(all.len(), 1);
}
