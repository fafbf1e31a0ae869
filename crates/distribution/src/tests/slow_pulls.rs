//! Locations that fall silent or crawl in the middle of a large blob: they are left for another, and waited for when there is none.

use std::num::NonZeroU64;
use std::pin::pin;
use std::time::Duration;

use futures_util::StreamExt;
use roadstead_oci::Digest;
use roadstead_placement::HedgeOptions;
use roadstead_storage::Operation;

use super::world::{PIECE, World, collect, content, name, settle, still_waits};
use crate::{BlobStream, PullError};

const SILENCE: Duration = Duration::from_secs(2);
const SECOND: Duration = Duration::from_secs(1);

/// Every blob is large: it is passed on as it comes.
async fn world() -> World {
    World::with(|options| options.verified_bytes_max = 0).await
}

/// Opens a blob and takes its first chunk, of a stream that has not come to its end yet.
async fn begin(world: &World, digest: &Digest) -> (Vec<u8>, BlobStream) {
    let blobs = world.registry.blobs();
    let blob = blobs.find(&world.repository, digest).await.unwrap();
    let opened = blobs.open(&blob, 0..blob.size).await;
    let mut stream = opened.unwrap();
    let first = stream.next().await.unwrap().unwrap();
    assert!(stream.remaining() > 0);
    (first.to_vec(), stream)
}

#[tokio::test]
async fn a_location_that_falls_silent_in_the_middle_is_left_for_another() {
    let world = world().await;
    let blob = content(80, 20 * PIECE + 7);
    let digest = world.push(&blob).await;
    world.replicate(&digest).await;
    let (mut pulled, stream) = begin(&world, &digest).await;
    world.us.stall(Operation::Read);
    let mut rest = pin!(collect(stream));
    let almost = async {
        world.us.until_stalled(1).await;
        settle().await;
        world
            .clock
            .advance(SILENCE.saturating_sub(Duration::from_millis(1)));
        settle().await;
    };
    assert!(still_waits(&mut rest, almost).await);
    world.clock.advance(Duration::from_millis(1));
    pulled.extend(rest.await.unwrap());
    assert!(pulled == blob);
}

#[tokio::test]
async fn a_location_that_answers_first_and_falls_silent_then_is_left_for_the_one_that_was_asked_too()
 {
    let world = world().await;
    let blob = content(83, 20 * PIECE + 7);
    let digest = world.push(&blob).await;
    world.replicate(&digest).await;
    world.us.stall(Operation::Read);
    world.eu.stall(Operation::Read);
    let mut opening = pin!(begin(&world, &digest));
    let both_are_asked = async {
        world.us.until_stalled(1).await;
        world.clock.advance(HedgeOptions::default().ceiling);
        world.eu.until_stalled(1).await;
        settle().await;
    };
    assert!(still_waits(&mut opening, both_are_asked).await);
    world.us.heal();
    let (mut pulled, stream) = opening.await;
    world.eu.heal();
    world.us.stall(Operation::Read);
    let silence = async {
        world.us.until_stalled(1).await;
        settle().await;
        world.clock.advance(SILENCE);
    };
    let (rest, ()) = tokio::join!(collect(stream), silence);
    pulled.extend(rest.unwrap());
    assert!(pulled == blob);
    // It was left, not waited for until the storage's own deadline.
    let standings = world.registry.locations().standings();
    assert_eq!(standings.get(&name("us")).read.last_failure, None);
}

#[tokio::test]
async fn a_part_of_a_blob_goes_on_elsewhere_too() {
    let world = world().await;
    let bytes = content(81, 20 * PIECE);
    let digest = world.push(&bytes).await;
    world.replicate(&digest).await;
    let blobs = world.registry.blobs();
    let blob = blobs.find(&world.repository, &digest).await.unwrap();
    let opened = blobs.open(&blob, 3_000..15_000).await;
    let mut stream = opened.unwrap();
    let mut pulled = stream.next().await.unwrap().unwrap().to_vec();
    world.us.stall(Operation::Read);
    let silence = async {
        world.us.until_stalled(1).await;
        settle().await;
        world.clock.advance(SILENCE);
    };
    let (rest, ()) = tokio::join!(collect(stream), silence);
    pulled.extend(rest.unwrap());
    assert!(pulled == bytes[3_000..15_000]);
}

#[tokio::test]
async fn a_silent_location_is_waited_for_when_there_is_no_other_and_not_for_ever() {
    let world = world().await;
    let blob = content(82, 20 * PIECE + 7);
    let digest = world.push(&blob).await;
    for comes_back in [true, false] {
        let (mut pulled, stream) = begin(&world, &digest).await;
        world.us.stall(Operation::Read);
        let mut rest = pin!(collect(stream));
        let silence = async {
            world.us.until_stalled(1).await;
            settle().await;
            for _ in 0..29 {
                world.clock.advance(SECOND);
                settle().await;
            }
        };
        assert!(still_waits(&mut rest, silence).await);
        if comes_back {
            world.us.heal();
            pulled.extend(rest.await.unwrap());
            assert!(pulled == blob);
        } else {
            world.clock.advance(SECOND);
            let ended = rest.await;
            assert!(matches!(ended, Err(PullError::NoCopy { .. })), "{ended:?}");
        }
    }
}

/// Lets `us` deliver one chunk a second until `work` is done. Says how many it took.
async fn crawl<T>(world: &World, work: impl Future<Output = T>) -> (T, usize) {
    world.us.throttle(NonZeroU64::new(PIECE as u64).unwrap());
    let mut chunks = 0;
    let crawling = async {
        loop {
            world.us.until_stalled(1).await;
            settle().await;
            world.clock.advance(SECOND);
            chunks += 1;
            settle().await;
        }
    };
    let done = tokio::select! {
        biased;
        done = work => done,
        () = crawling => unreachable!(),
    };
    world.us.heal();
    (done, chunks)
}

#[tokio::test]
async fn a_location_that_crawls_is_left_for_another_after_two_seconds() {
    let world = world().await;
    let blob = content(83, 20 * PIECE + 7);
    let digest = world.push(&blob).await;
    world.replicate(&digest).await;
    let (mut pulled, stream) = begin(&world, &digest).await;
    let (rest, chunks) = crawl(&world, collect(stream)).await;
    pulled.extend(rest.unwrap());
    assert!(pulled == blob);
    assert!((2..=4).contains(&chunks), "{chunks} chunks were waited for");
}

#[tokio::test]
async fn a_location_that_crawls_is_read_to_the_end_when_there_is_no_other() {
    let world = world().await;
    let blob = content(84, 20 * PIECE + 7);
    let digest = world.push(&blob).await;
    let (mut pulled, stream) = begin(&world, &digest).await;
    let (rest, chunks) = crawl(&world, collect(stream)).await;
    pulled.extend(rest.unwrap());
    assert!(pulled == blob);
    assert!(chunks >= 17, "{chunks} chunks were waited for");
}

#[tokio::test]
async fn a_location_that_was_left_is_asked_again_when_the_other_one_fails() {
    let world = world().await;
    let blob = content(85, 20 * PIECE + 7);
    let digest = world.push(&blob).await;
    world.replicate(&digest).await;
    let (mut pulled, stream) = begin(&world, &digest).await;
    world
        .eu
        .fail_reads_at(15_000, roadstead_storage::StorageErrorKind::Unavailable);
    world.us.stall(Operation::Read);
    let silence = async {
        world.us.until_stalled(1).await;
        settle().await;
        world.clock.advance(SILENCE);
        world.us.heal();
    };
    let (rest, ()) = tokio::join!(collect(stream), silence);
    pulled.extend(rest.unwrap());
    assert!(pulled == blob);
}

#[tokio::test]
async fn slow_clients_are_not_taken_for_slow_locations() {
    let world = world().await;
    let blob = content(86, 20 * PIECE + 7);
    let digest = world.push(&blob).await;
    world.replicate(&digest).await;
    // Whoever goes there gets wrong bytes.
    world.eu.flip_read_byte(19_000);
    let (mut pulled, mut stream) = begin(&world, &digest).await;
    while let Some(chunk) = stream.next().await {
        pulled.extend(chunk.unwrap());
        settle().await;
        world.clock.advance(SECOND * 10);
    }
    assert!(pulled == blob);
}
