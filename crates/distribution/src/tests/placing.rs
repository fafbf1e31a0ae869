//! Where pushes go, and what becomes of them when their location fails.

use std::time::Duration;

use roadstead_metadata::LocationState;
use roadstead_oci::ErrorCode;
use roadstead_runtime::Clock;
use roadstead_storage::{ObjectKey, Operation, StorageErrorKind};

use super::world::{World, content, name, sha256};
use crate::PushError;

#[tokio::test]
async fn a_full_disk_costs_nothing_that_was_acknowledged() {
    let world = World::new().await;
    let blob = content(14, 20_000);
    let id = world.start().await;
    world.append(id, None, &blob[..5_000]).await.unwrap();
    world.us.fill_after(4_000);
    let refused = world.append(id, None, &blob[5_000..]).await.unwrap_err();
    let PushError::Storage { source } = &refused else {
        panic!("{refused:?}");
    };
    assert_eq!(source.kind(), StorageErrorKind::Full);
    assert_eq!(refused.code(), ErrorCode::Unavailable);
    assert_eq!(world.offset(id).await, 5_000);
    world.us.heal();
    world.append(id, None, &blob[5_000..]).await.unwrap();
    world.finish(id, b"", &sha256(&blob)).await.unwrap();
    assert_eq!(world.pull(&sha256(&blob)).await.unwrap(), blob);
}

#[tokio::test]
async fn a_push_goes_to_the_next_location_when_the_preferred_one_cannot_be_written() {
    for kind in [
        StorageErrorKind::Unavailable,
        StorageErrorKind::Denied,
        StorageErrorKind::Full,
    ] {
        let world = World::new().await;
        world.us.fail_always(Operation::Stage, kind);
        let digest = world.push(b"first").await;
        assert_eq!(world.placements(&digest).await, ["eu"], "{kind:?}");
        let id = world.start().await;
        world
            .finish(id, b"second", &sha256(b"second"))
            .await
            .unwrap();
        assert_eq!(world.placements(&sha256(b"second")).await, ["eu"]);
        // It stays passed over for a while, and no longer.
        world.us.heal();
        let digest = world.push(b"third").await;
        assert_eq!(world.placements(&digest).await, ["eu"]);
        world.clock.advance(Duration::from_secs(11));
        let digest = world.push(b"fourth").await;
        assert_eq!(world.placements(&digest).await, ["us"]);
    }
}

#[tokio::test]
async fn a_location_that_failed_in_an_upload_is_passed_over_by_the_next() {
    let world = World::with(|options| options.kept_bytes_max = 0).await;
    let id = world.start().await;
    world.us.fill_after(0);
    world.append(id, None, b"abc").await.unwrap_err();
    let digest = world.push(b"next").await;
    assert_eq!(world.placements(&digest).await, ["eu"]);
}

#[tokio::test]
async fn without_any_location_a_push_is_refused_and_one_in_trouble_is_better_than_none() {
    let world = World::new().await;
    world.us.take_down();
    world.eu.take_down();
    let refused = world
        .registry
        .uploads()
        .start(&world.repository, None)
        .await
        .unwrap_err();
    assert!(
        matches!(refused, PushError::NoLocation { source: Some(_) }),
        "{refused:?}"
    );
    assert_eq!(refused.code(), ErrorCode::Unavailable);
    world.us.heal();
    let digest = world.push(b"again").await;
    assert_eq!(world.placements(&digest).await, ["us"]);
}

#[tokio::test]
async fn a_location_that_is_being_removed_takes_nothing_new() {
    let world = World::new().await;
    let id = world.start().await;
    let us = name("us");
    let close = world
        .database
        .set_location_state(&us, LocationState::Removing, world.clock.now());
    close.await.unwrap();
    let digest = world.push(b"new").await;
    assert_eq!(world.placements(&digest).await, ["eu"]);
    // An upload that was begun there before cannot end there.
    let refused = world.finish(id, b"old", &sha256(b"old")).await;
    assert!(
        matches!(
            refused,
            Err(PushError::LocationClosed { .. } | PushError::UploadUnknown { .. })
        ),
        "{refused:?}"
    );
}

#[tokio::test]
async fn a_location_that_is_being_emptied_takes_only_what_was_begun_there() {
    let world = World::new().await;
    let id = world.start().await;
    let us = name("us");
    let close = world
        .database
        .set_location_state(&us, LocationState::Draining, world.clock.now());
    close.await.unwrap();
    let digest = world.push(b"new").await;
    assert_eq!(world.placements(&digest).await, ["eu"]);
    world.finish(id, b"old", &sha256(b"old")).await.unwrap();
    assert_eq!(world.placements(&sha256(b"old")).await, ["us"]);
}

#[tokio::test]
async fn an_object_that_is_damaged_is_healed_by_the_next_push_of_its_bytes() {
    let world = World::new().await;
    let blob = content(16, 3_000);
    let digest = world.push(&blob).await;
    let file = world.file("us", &ObjectKey::Blob(digest.clone()));
    std::fs::write(&file, b"damaged").unwrap();
    world.push_into(&world.other, &blob).await;
    assert_eq!(world.pull(&digest).await.unwrap(), blob);
}
