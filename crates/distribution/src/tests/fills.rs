//! Blobs that belong at this region's own location and are elsewhere: the first pull brings them here, once, however many ask, and whatever
//! happens to the location, no client notices.

use std::collections::BTreeSet;
use std::pin::pin;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::join_all;
use roadstead_metadata::{ClaimCopies, ClaimCursor, Demand, DemandPage, LocationState, StorageId};
use roadstead_oci::{Digest, ErrorCode};
use roadstead_runtime::{Clock, Ids as _, SeededIds};
use roadstead_storage::{ObjectKey, Operation, StorageErrorKind};

use super::world::{
    PIECE, Plan, World, collect, content, name, settle, sha256, still_waits, until,
};
use crate::{BlobStream, DistributionOptions, PullError, Writes};

/// Every blob is large: it is passed on as it comes.
async fn world() -> World {
    World::with(|options| options.verified_bytes_max = 0).await
}

async fn open(world: &World, digest: &Digest) -> Result<BlobStream, PullError> {
    let blobs = world.registry.blobs();
    let blob = blobs.find(&world.repository, digest).await?;
    blobs.open(&blob, 0..blob.size).await
}

/// How many reads a location has answered in the last seconds.
fn answers(world: &World, location: &str) -> u32 {
    let standings = world.registry.locations().standings();
    standings.get(&name(location)).read.outcomes
}

fn followers(world: &World, digest: &Digest) -> Option<usize> {
    world.registry.inner.fills.followers(digest)
}

/// Returns when nothing is being brought here any more.
async fn until_filled(world: &World, digest: &Digest) {
    until("the fill has ended", async || {
        followers(world, digest).is_none()
    })
    .await;
}

fn object(world: &World, location: &str, digest: &Digest) -> Option<Vec<u8>> {
    std::fs::read(world.file(location, &ObjectKey::Blob(digest.clone()))).ok()
}

#[tokio::test]
async fn however_many_pull_a_blob_it_is_read_once_elsewhere_and_is_here_then() {
    for verified_bytes_max in [0, 8 << 20] {
        let world = World::with(|options| options.verified_bytes_max = verified_bytes_max).await;
        let blob = content(100, 40 * PIECE + 7);
        let digest = world.push_at_eu(&blob).await;
        world.eu.stall(Operation::Read);
        let pulls = join_all((0..8).map(|_| world.pull(&digest)));
        let all_have_asked = async {
            world.eu.until_stalled(1).await;
            until("all follow", async || followers(&world, &digest) == Some(8)).await;
            world.eu.heal();
        };
        let (pulled, ()) = tokio::join!(pulls, all_have_asked);
        for bytes in pulled {
            assert!(bytes.unwrap() == blob);
        }
        assert_eq!(answers(&world, "eu"), 1);
        until_filled(&world, &digest).await;
        assert_eq!(world.placements(&digest).await, ["eu", "us"]);
        assert!(object(&world, "us", &digest).unwrap() == blob);
        assert_eq!(world.staged("us").await, 0);
        world.eu.take_down();
        assert!(world.pull(&digest).await.unwrap() == blob);
    }
}

#[tokio::test]
async fn whoever_looked_a_blob_up_before_it_came_reads_it_here() {
    let world = world().await;
    let content = content(118, 40 * PIECE + 7);
    let digest = world.push_at_eu(&content).await;
    let blobs = world.registry.blobs();
    let as_it_was = blobs.find(&world.repository, &digest).await.unwrap();
    assert!(world.pull(&digest).await.unwrap() == content);
    until_filled(&world, &digest).await;
    let all = 0..as_it_was.size;
    let late = join_all((0..8).map(|_| blobs.open(&as_it_was, all.clone()))).await;
    for opened in late {
        assert!(collect(opened.unwrap()).await.unwrap() == content);
    }
    assert_eq!(answers(&world, "eu"), 1);
    assert_eq!(followers(&world, &digest), None);
}

#[tokio::test]
async fn what_came_serves_whoever_asks_for_a_while_until_another_needs_the_room() {
    let world = World::with(|options| {
        options.verified_bytes_max = 0;
        options.fills_max = 1;
    })
    .await;
    let (first, second) = (content(119, 7 * PIECE), content(120, 7 * PIECE));
    let digest = world.push_at_eu(&first).await;
    let another = world.push_at_eu(&second).await;
    let slow = open(&world, &digest).await.unwrap();
    until_filled(&world, &digest).await;
    // Nobody but the memory is asked.
    drop(open(&world, &digest).await.unwrap());
    for faults in [&world.us, &world.eu] {
        faults.take_down();
    }
    for _ in 0..3 {
        assert!(world.pull(&digest).await.unwrap() == first);
    }
    for faults in [&world.us, &world.eu] {
        faults.heal();
    }
    assert_eq!(answers(&world, "eu"), 1);
    // There is room for one.
    assert!(world.pull(&another).await.unwrap() == second);
    until_filled(&world, &another).await;
    assert_eq!(world.placements(&another).await, ["eu", "us"]);
    world.eu.take_down();
    assert!(collect(slow).await.unwrap() == first);
}

#[tokio::test]
async fn what_came_and_nobody_asks_for_leaves_the_memory() {
    let world = world().await;
    let blob = content(121, 7 * PIECE);
    let digest = world.push_at_eu(&blob).await;
    assert!(world.pull(&digest).await.unwrap() == blob);
    until_filled(&world, &digest).await;
    world.eu.take_down();
    world.us.take_down();
    assert!(world.pull(&digest).await.unwrap() == blob);
    settle().await;
    world.clock.advance(Duration::from_secs(10));
    until("it is read at a location again", async || {
        world.pull(&digest).await.is_err()
    })
    .await;
    world.us.heal();
    assert!(world.pull(&digest).await.unwrap() == blob);
}

#[tokio::test]
async fn a_client_that_goes_away_does_not_end_it() {
    let world = world().await;
    let blob = content(101, 40 * PIECE);
    let digest = world.push_at_eu(&blob).await;
    drop(open(&world, &digest).await.unwrap());
    until_filled(&world, &digest).await;
    assert_eq!(world.placements(&digest).await, ["eu", "us"]);
    assert!(object(&world, "us", &digest).unwrap() == blob);
}

#[tokio::test]
async fn a_client_that_falls_behind_reads_what_is_safe_here() {
    let world = world().await;
    let blob = content(102, 40 * PIECE + 7);
    let digest = world.push_at_eu(&blob).await;
    // All of it has come, and it has not become an object.
    world.us.stall(Operation::Publish);
    let slow = open(&world, &digest).await.unwrap();
    world.us.until_stalled(1).await;
    world.eu.take_down();
    assert!(collect(slow).await.unwrap() == blob);
    world.us.heal();
    until_filled(&world, &digest).await;
    assert_eq!(world.placements(&digest).await, ["eu", "us"]);
}

#[tokio::test]
async fn a_client_that_falls_behind_reads_the_object_once_it_is_here() {
    let world = world().await;
    let blob = content(103, 40 * PIECE + 7);
    let digest = world.push_at_eu(&blob).await;
    let slow = open(&world, &digest).await.unwrap();
    until_filled(&world, &digest).await;
    world.eu.take_down();
    assert!(collect(slow).await.unwrap() == blob);
}

#[tokio::test]
async fn a_client_that_falls_behind_reads_on_elsewhere_when_what_was_safe_cannot_be_read() {
    let world = world().await;
    let blob = content(104, 40 * PIECE + 7);
    let digest = world.push_at_eu(&blob).await;
    world.us.stall(Operation::Publish);
    let slow = open(&world, &digest).await.unwrap();
    world.us.until_stalled(1).await;
    world.us.fail_reads_at(5_000, StorageErrorKind::Unavailable);
    assert!(collect(slow).await.unwrap() == blob);

    // With nobody left to ask, it ends with an error.
    let world = self::world().await;
    let digest = world.push_at_eu(&content(105, 40 * PIECE)).await;
    world.us.stall(Operation::Publish);
    let slow = open(&world, &digest).await.unwrap();
    world.us.until_stalled(1).await;
    world
        .us
        .fail_always(Operation::Read, StorageErrorKind::Unavailable);
    world.eu.take_down();
    let ended = collect(slow).await;
    assert!(matches!(ended, Err(PullError::NoCopy { .. })), "{ended:?}");
}

#[tokio::test]
async fn what_is_damaged_here_is_neither_passed_on_whole_nor_recorded() {
    let world = world().await;
    let blob = content(106, 40 * PIECE + 7);
    let digest = world.push_at_eu(&blob).await;
    world.us.flip_written_byte(3_000);
    world.us.stall(Operation::Discard);
    let slow = open(&world, &digest).await.unwrap();
    world.us.until_stalled(1).await;
    // It has fallen behind, and reads here what is wrong.
    let ended = collect(slow).await;
    assert!(matches!(ended, Err(PullError::Corrupt { .. })), "{ended:?}");
    world.us.heal();
    until_filled(&world, &digest).await;
    assert_eq!(world.placements(&digest).await, ["eu"]);
    assert_eq!(object(&world, "us", &digest), None);
    assert_eq!(world.staged("us").await, 0);
    assert!(world.pull(&digest).await.unwrap() == blob);
    until_filled(&world, &digest).await;
    assert_eq!(world.placements(&digest).await, ["eu", "us"]);
}

#[tokio::test]
async fn a_location_that_fails_here_fails_no_pull() {
    for failing in [
        Operation::Stage,
        Operation::Write,
        Operation::Sync,
        Operation::Publish,
    ] {
        let world = world().await;
        let blob = content(107, 40 * PIECE + 7);
        let digest = world.push_at_eu(&blob).await;
        world.us.fail_always(failing, StorageErrorKind::Unavailable);
        for bytes in join_all((0..4).map(|_| world.pull(&digest))).await {
            assert!(bytes.unwrap() == blob, "{failing:?}");
        }
        until_filled(&world, &digest).await;
        assert_eq!(world.placements(&digest).await, ["eu"], "{failing:?}");
        assert_eq!(object(&world, "us", &digest), None);
        assert_eq!(world.staged("us").await, 0, "{failing:?}");
        // It is not tried again so soon.
        world.us.heal();
        assert!(world.pull(&digest).await.unwrap() == blob);
        assert_eq!(followers(&world, &digest), None);
    }
    let world = world().await;
    let blob = content(108, 40 * PIECE + 7);
    let digest = world.push_at_eu(&blob).await;
    world.us.fill_after(10 * PIECE as u64);
    for bytes in join_all((0..4).map(|_| world.pull(&digest))).await {
        assert!(bytes.unwrap() == blob);
    }
    until_filled(&world, &digest).await;
    assert_eq!(world.placements(&digest).await, ["eu"]);
    assert_eq!(world.staged("us").await, 0);
}

#[tokio::test]
async fn a_location_that_hangs_here_holds_no_pull_up_for_long() {
    for hanging in [Operation::Stage, Operation::Write, Operation::Sync] {
        let world = world().await;
        let blob = content(109, 40 * PIECE + 7);
        let digest = world.push_at_eu(&blob).await;
        world.us.stall(hanging);
        let mut pull = pin!(world.pull(&digest));
        let almost = async {
            world.us.until_stalled(1).await;
            settle().await;
            world.clock.advance(Duration::from_millis(1_999));
            settle().await;
        };
        assert!(still_waits(&mut pull, almost).await, "{hanging:?}");
        world.clock.advance(Duration::from_millis(1));
        assert!(pull.await.unwrap() == blob, "{hanging:?}");
        world.us.heal();
        until_filled(&world, &digest).await;
        assert_eq!(world.placements(&digest).await, ["eu"], "{hanging:?}");
    }
}

#[tokio::test]
async fn wrong_bytes_are_never_passed_on_whole_and_nothing_is_recorded() {
    for (at, room) in [(100, None), (100, Some(10 * PIECE as u64)), (40_000, None)] {
        let world = world().await;
        let blob = content(110, 40 * PIECE + 7);
        let digest = world.push_at_eu(&blob).await;
        world.eu.flip_read_byte(at);
        if let Some(room) = room {
            // What is read before the location here fails is wrong, and what is read after it is right.
            world.us.fill_after(room);
        }
        for pulled in join_all((0..4).map(|_| world.pull(&digest))).await {
            assert!(
                matches!(pulled, Err(PullError::Corrupt { .. })),
                "byte {at}: {:?}",
                pulled.map(|bytes| bytes.len())
            );
        }
        until_filled(&world, &digest).await;
        assert_eq!(world.placements(&digest).await, ["eu"]);
        assert_eq!(object(&world, "us", &digest), None);
        assert_eq!(world.staged("us").await, 0);
    }
}

#[tokio::test]
async fn a_small_blob_with_wrong_bytes_at_one_location_comes_from_another() {
    let world = World::of(Plan {
        locations: &["us", "eu", "ap"],
        ..Plan::default()
    })
    .await;
    let blob = content(111, 5 * PIECE);
    let digest = world.push_at_eu(&blob).await;
    world.copy(&digest, "eu", "ap").await;
    world.eu.flip_read_byte(100);
    assert!(world.pull(&digest).await.unwrap() == blob);
    until_filled(&world, &digest).await;
    assert_eq!(world.placements(&digest).await, ["ap", "us"]);
    assert!(object(&world, "us", &digest).unwrap() == blob);
}

#[tokio::test]
async fn a_blob_that_cannot_be_read_is_refused_before_its_first_byte() {
    let world = world().await;
    let digest = world.push_at_eu(&content(112, 5 * PIECE)).await;
    world.eu.take_down();
    let refused = open(&world, &digest).await.unwrap_err();
    assert!(matches!(refused, PullError::NoCopy { .. }), "{refused:?}");
    assert_eq!(refused.code(), ErrorCode::Unavailable);
    until_filled(&world, &digest).await;
    assert_eq!(world.staged("us").await, 0);
}

#[tokio::test]
async fn a_blob_that_is_deleted_meanwhile_is_not_brought_back() {
    let world = world().await;
    let blob = content(113, 20 * PIECE);
    let digest = world.push_at_eu(&blob).await;
    world.us.stall(Operation::Publish);
    assert!(world.pull(&digest).await.unwrap() == blob);
    world.us.until_stalled(1).await;
    world.clock.advance(Duration::from_mins(61));
    let collector = world.collector();
    collector.run_to_end(|_| {}).await.unwrap();
    let found = world.database.find_blob_anywhere(&digest).await.unwrap();
    assert_eq!(found, None);
    world.us.heal();
    until_filled(&world, &digest).await;
    let found = world.database.find_blob_anywhere(&digest).await.unwrap();
    assert_eq!(found, None);
    // What appeared all the same goes with the next collections.
    for _ in 0..3 {
        world.clock.advance(Duration::from_hours(2));
        collector.run_to_end(|_| {}).await.unwrap();
    }
    assert_eq!(object(&world, "us", &digest), None);
    assert_eq!(world.staged("us").await, 0);
}

#[tokio::test]
async fn nothing_is_brought_where_it_does_not_belong_or_nothing_is_taken() {
    let required = Plan {
        required: &["eu"],
        ..Plan::default()
    };
    let read_only = Plan {
        options: DistributionOptions {
            writes: Writes::ReadOnly,
            ..DistributionOptions::default()
        },
        ..Plan::default()
    };
    let no_room = Plan {
        options: DistributionOptions {
            fills_max: 0,
            ..DistributionOptions::default()
        },
        ..Plan::default()
    };
    for (case, plan, closed) in [
        ("not required", required, false),
        ("read only", read_only, false),
        ("no room", no_room, false),
        ("closed", Plan::default(), true),
    ] {
        let world = World::of(plan).await;
        let blob = content(114, 5 * PIECE);
        let digest = sha256(&blob);
        world.push_at_eu(&blob).await;
        if closed {
            let us = name("us");
            let now = world.clock.now();
            let close = world
                .database
                .set_location_state(&us, LocationState::Removing, now);
            close.await.unwrap();
        }
        assert!(world.pull(&digest).await.unwrap() == blob, "{case}");
        assert_eq!(followers(&world, &digest), None, "{case}");
        assert_eq!(world.placements(&digest).await, ["eu"], "{case}");
        assert_eq!(object(&world, "us", &digest), None, "{case}");
        let standings = world.registry.locations().standings();
        assert_eq!(standings.get(&name("us")).write.outcomes, 0, "{case}");
    }
}

#[tokio::test]
async fn a_part_of_a_blob_brings_nothing() {
    let world = world().await;
    let bytes = content(115, 5 * PIECE);
    let digest = world.push_at_eu(&bytes).await;
    let blobs = world.registry.blobs();
    let blob = blobs.find(&world.repository, &digest).await.unwrap();
    let part = blobs.open(&blob, 1..blob.size).await;
    assert!(collect(part.unwrap()).await.unwrap() == bytes[1..]);
    assert_eq!(followers(&world, &digest), None);
    assert_eq!(world.placements(&digest).await, ["eu"]);
}

#[tokio::test]
async fn the_empty_blob_is_not_brought_anywhere() {
    let world = world().await;
    let digest = world.push_at_eu(b"").await;
    assert!(world.pull(&digest).await.unwrap().is_empty());
    assert_eq!(followers(&world, &digest), None);
    assert_eq!(world.placements(&digest).await, ["eu"]);
}

#[tokio::test]
async fn the_end_of_the_process_ends_it_and_its_clients_read_on() {
    let world = world().await;
    let blob = content(116, 40 * PIECE);
    let digest = world.push_at_eu(&blob).await;
    world.us.stall(Operation::Write);
    let pull = world.pull(&digest);
    let ending = async {
        world.us.until_stalled(1).await;
        assert!(world.stop().await);
    };
    let (pulled, ()) = tokio::join!(pull, ending);
    assert!(pulled.unwrap() == blob);
    assert_eq!(world.placements(&digest).await, ["eu"]);
}

#[tokio::test]
async fn the_first_chunk_has_come_when_a_blob_is_opened() {
    let world = world().await;
    let blob = content(117, 5 * PIECE);
    let digest = world.push_at_eu(&blob).await;
    world.eu.stall(Operation::Read);
    let mut opening = pin!(open(&world, &digest));
    assert!(still_waits(&mut opening, world.eu.until_stalled(1)).await);
    world.eu.heal();
    let mut stream = opening.await.unwrap();
    assert_eq!(stream.remaining(), blob.len() as u64);
    assert!(stream.next().await.unwrap().unwrap() == blob[..PIECE]);
}

#[tokio::test]
async fn what_could_not_be_brought_is_copied_before_what_nobody_asked_for() {
    let world = world().await;
    let mut digests = Vec::new();
    for number in 0..3 {
        digests.push(world.push_at_eu(&content(130 + number, 2 * PIECE)).await);
    }
    let both = BTreeSet::from([name("us"), name("eu")]);
    let wanted = world
        .database
        .want_demanded_copies(&DemandPage {
            demand: Demand {
                defaults: &both,
                configured: &both,
            },
            after: StorageId(0),
            span: 1000,
            queue: "copies",
            ids: &SeededIds::new(7),
            now: world.clock.now(),
        })
        .await
        .unwrap()
        .wanted;
    assert_eq!(wanted.len(), 3);
    world
        .us
        .fail_always(Operation::Write, StorageErrorKind::Full);
    world.pull(&digests[1]).await.unwrap();
    until_filled(&world, &digests[1]).await;
    let asked = world.registry.blobs();
    let asked = asked.find(&world.repository, &digests[1]).await.unwrap();
    until("the copy is urgent", async || {
        let claim = ClaimCopies {
            queue: "copies",
            blobs: 1,
            region: None,
            elsewhere: &BTreeSet::new(),
            now: world.clock.now(),
            lease_until: world.clock.now(),
            token: SeededIds::new(8).uuid(),
        };
        let mut cursor = ClaimCursor::default();
        let claimed = world.database.claim_copies(&claim, &mut cursor).await;
        let first = claimed.unwrap().remove(0);
        first.name.split('/').nth(1) == Some(asked.uuid.as_str())
    })
    .await;
}
