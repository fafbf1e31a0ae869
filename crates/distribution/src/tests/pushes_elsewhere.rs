//! Pushes whose location fails on the way: they go on at the next one while their bytes are few, and lose nothing of what was acknowledged
//! when they are many.

use std::pin::pin;

use roadstead_metadata::Upload;
use roadstead_oci::ErrorCode;
use roadstead_storage::{Operation, Staged, StorageErrorKind};
use uuid::Uuid;

use super::world::{Plan, World, content, name, sha256, still_waits, until, whole};
use crate::{DistributionOptions, PushError};

/// Where in an upload of some kilobytes `us` fails.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Failing {
    FirstByte,
    Middle,
    Sync,
    Publication,
}

impl Failing {
    const ALL: [Self; 4] = [Self::FirstByte, Self::Middle, Self::Sync, Self::Publication];

    fn order(self, world: &World) {
        let us = &world.us;
        match self {
            Self::FirstByte => us.fail_next(Operation::Write, 1, StorageErrorKind::Unavailable),
            Self::Middle => us.fill_after(4_000),
            Self::Sync => us.fail_next(Operation::Sync, 1, StorageErrorKind::ServerError),
            Self::Publication => us.fail_next(Operation::Publish, 1, StorageErrorKind::Timeout),
        }
    }
}

async fn session(world: &World, id: Uuid) -> Upload {
    let found = world.database.find_upload(world.repository.id, id).await;
    found.unwrap().unwrap()
}

#[tokio::test]
async fn a_session_goes_on_at_the_next_location_and_its_row_says_so() {
    for failing in [Failing::FirstByte, Failing::Middle, Failing::Sync] {
        let world = World::new().await;
        let blob = content(60, 9_000);
        let id = world.start().await;
        assert_eq!(session(&world, id).await.location, name("us"));
        failing.order(&world);
        assert_eq!(world.append(id, None, &blob).await.unwrap(), 9_000);
        let row = session(&world, id).await;
        assert_eq!((row.location, row.offset), (name("eu"), 9_000));
        // Another process finds the bytes where the row says.
        let elsewhere = world.another_registry().await;
        let status = elsewhere.uploads().status(&world.repository, id).await;
        assert_eq!(status.unwrap().offset, 9_000);
        let more = content(61, 3_000);
        world.append(id, None, &more).await.unwrap();
        let all = [blob, more].concat();
        world.finish(id, b"", &sha256(&all)).await.unwrap();
        assert_eq!(world.placements(&sha256(&all)).await, ["eu"], "{failing:?}");
        assert_eq!(world.pull(&sha256(&all)).await.unwrap(), all);
    }
}

#[tokio::test]
async fn the_last_request_of_a_session_and_a_whole_blob_go_to_the_next_location_too() {
    for failing in Failing::ALL {
        let world = World::new().await;
        let (first, second) = (content(62, 9_000), content(63, 9_000));
        let id = world.start().await;
        failing.order(&world);
        let pushed = world.finish(id, &first, &sha256(&first)).await;
        assert_eq!(pushed.unwrap().size, 9_000, "{failing:?}");
        assert_eq!(world.placements(&sha256(&first)).await, ["eu"]);

        let world = World::new().await;
        failing.order(&world);
        let digest = world.push(&second).await;
        assert_eq!(world.placements(&digest).await, ["eu"], "{failing:?}");
        assert_eq!(world.pull(&digest).await.unwrap(), second);
        until("nothing is left where it failed", async || {
            world.staged("us").await == 0
        })
        .await;
    }
}

#[tokio::test]
async fn a_publication_that_fails_everywhere_leaves_the_session_where_its_bytes_are() {
    let world = World::new().await;
    let blob = content(64, 9_000);
    let id = world.start().await;
    for faults in [&world.us, &world.eu] {
        faults.fail_next(Operation::Publish, 1, StorageErrorKind::Unavailable);
    }
    let refused = world.finish(id, &blob, &sha256(&blob)).await.unwrap_err();
    assert!(matches!(refused, PushError::Storage { .. }), "{refused:?}");
    assert_eq!(refused.code(), ErrorCode::Unavailable);
    let row = session(&world, id).await;
    assert_eq!((row.location, row.offset), (name("eu"), 9_000));
    world.finish(id, b"", &sha256(&blob)).await.unwrap();
    assert_eq!(world.placements(&sha256(&blob)).await, ["eu"]);
    assert_eq!(world.pull(&sha256(&blob)).await.unwrap(), blob);
}

#[tokio::test]
async fn two_locations_may_fail_one_after_the_other() {
    let world = World::of(Plan {
        locations: &["us", "eu", "ap"],
        ..Plan::default()
    })
    .await;
    let blob = content(65, 9_000);
    world.us.fill_after(5_000);
    world.eu.fill_after(2_000);
    let digest = world.push(&blob).await;
    assert_eq!(world.placements(&digest).await, ["ap"]);
    assert_eq!(world.pull(&digest).await.unwrap(), blob);
}

#[tokio::test]
async fn a_location_that_hangs_and_is_given_up_meanwhile_is_left() {
    let world = World::new().await;
    let blob = content(69, 9_000);
    world.us.stall(Operation::Sync);
    let given_up = async {
        world.us.until_stalled(1).await;
        // By whoever else writes there.
        world
            .us
            .fail_next(Operation::Stage, 2, StorageErrorKind::Denied);
        for _ in 0..2 {
            let location = world.location("us");
            let staged = location.stage(Uuid::nil(), &Staged::NOTHING).await;
            staged.unwrap_err();
        }
    };
    let (digest, ()) = tokio::join!(world.push(&blob), given_up);
    assert_eq!(world.placements(&digest).await, ["eu"]);
    assert_eq!(world.pull(&digest).await.unwrap(), blob);
}

#[tokio::test]
async fn with_more_bytes_than_are_kept_the_push_fails_and_what_was_acknowledged_stays() {
    let world = World::of(Plan {
        options: DistributionOptions {
            kept_bytes_max: 2_000,
            checkpoint_bytes: 3_000,
            ..DistributionOptions::default()
        },
        ..Plan::default()
    })
    .await;
    let blob = content(66, 20_000);
    let id = world.start().await;
    world.us.fill_after(10_000);
    let refused = world.append(id, None, &blob).await.unwrap_err();
    let PushError::Storage { source } = &refused else {
        panic!("{refused:?}");
    };
    assert_eq!(source.kind(), StorageErrorKind::Full);
    assert_eq!(source.location(), &name("us"));
    assert_eq!(refused.code(), ErrorCode::Unavailable);
    let row = session(&world, id).await;
    assert_eq!(row.location, name("us"));
    assert!((6_000..10_000).contains(&row.offset), "{}", row.offset);
    assert_eq!(world.staged("eu").await, 0);

    world.us.heal();
    let from = usize::try_from(row.offset).unwrap();
    world.append(id, None, &blob[from..]).await.unwrap();
    world.finish(id, b"", &sha256(&blob)).await.unwrap();
    assert_eq!(world.placements(&sha256(&blob)).await, ["us"]);
    assert_eq!(world.pull(&sha256(&blob)).await.unwrap(), blob);
}

#[tokio::test]
async fn a_whole_blob_of_more_bytes_than_are_kept_fails_with_its_location_and_the_next_push_goes_elsewhere()
 {
    let world = World::with(|options| options.kept_bytes_max = 2_000).await;
    let blob = content(67, 9_000);
    world.us.fill_after(5_000);
    let uploads = world.registry.uploads();
    let pushed = uploads
        .monolithic(&world.repository, &sha256(&blob), None, whole(&blob))
        .await;
    assert!(
        matches!(pushed, Err(PushError::Storage { .. })),
        "{pushed:?}"
    );
    assert!(world.pull(&sha256(&blob)).await.is_err());
    let digest = world.push(&blob).await;
    assert_eq!(world.placements(&digest).await, ["eu"]);
}

#[tokio::test]
async fn uploads_share_the_memory_for_what_is_kept_and_give_it_back() {
    const UNIT: u64 = 64 << 10;
    let world = World::with(|options| options.kept_memory_bytes = UNIT).await;
    let is_free = || world.registry.inner.kept_memory.take(UNIT).is_some();
    let (one, other) = (content(80, 9_000), content(81, 9_000));
    world.us.stall(Operation::Publish);
    let mut first = pin!(world.push(&one));
    assert!(still_waits(&mut first, world.us.until_stalled(1)).await);
    assert!(!is_free());
    world.us.fill_after(5_000);
    let uploads = world.registry.uploads();
    let pushed = uploads
        .monolithic(&world.repository, &sha256(&other), None, whole(&other))
        .await;
    assert!(
        matches!(pushed, Err(PushError::Storage { .. })),
        "{pushed:?}"
    );
    world.us.heal();
    let digest = first.await;
    assert_eq!(world.placements(&digest).await, ["us"]);
    assert!(is_free());
}

#[tokio::test]
async fn a_failure_that_is_not_the_locations_moves_nothing() {
    let world = World::new().await;
    let id = world.start().await;
    world
        .us
        .fail_next(Operation::Write, 1, StorageErrorKind::Unexpected);
    let refused = world.append(id, None, b"abc").await;
    assert!(
        matches!(refused, Err(PushError::Storage { .. })),
        "{refused:?}"
    );
    assert_eq!(session(&world, id).await.location, name("us"));
    assert_eq!(world.staged("eu").await, 0);
}

#[tokio::test]
async fn wrong_bytes_are_refused_wherever_they_went() {
    let world = World::new().await;
    let blob = content(68, 9_000);
    let id = world.start().await;
    world.us.fill_after(4_000);
    let refused = world.finish(id, &blob, &sha256(b"else")).await;
    assert!(
        matches!(refused, Err(PushError::DigestMismatch { .. })),
        "{refused:?}"
    );
    assert_eq!(world.offset(id).await, 0);
    // The session is where it was, and works again.
    world.us.heal();
    world.finish(id, &blob, &sha256(&blob)).await.unwrap();
    assert_eq!(world.pull(&sha256(&blob)).await.unwrap(), blob);
}
