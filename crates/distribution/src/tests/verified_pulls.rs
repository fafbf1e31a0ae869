//! Small blobs: all of their bytes are checked before the first is passed on, so that wrong ones are followed by right ones.

use std::time::Duration;

use futures_util::StreamExt;
use roadstead_oci::Digest;
use roadstead_storage::{ObjectKey, StorageErrorKind};

use super::world::{PIECE, Plan, World, collect, content};
use crate::{BlobStream, DistributionOptions, PullError};

async fn replicated(world: &World, seed: u64) -> (Vec<u8>, Digest) {
    let blob = content(seed, 10 * PIECE + 7);
    let digest = world.push(&blob).await;
    world.replicate(&digest).await;
    (blob, digest)
}

async fn open(world: &World, digest: &Digest) -> Result<BlobStream, PullError> {
    let blobs = world.registry.blobs();
    let blob = blobs.find(&world.repository, digest).await?;
    blobs.open(&blob, 0..blob.size).await
}

#[tokio::test]
async fn wrong_bytes_of_one_location_are_followed_by_the_right_ones_of_another_and_reported() {
    for at in [0, 5_000, 10 * PIECE as u64 + 6] {
        let world = World::new().await;
        let (blob, digest) = replicated(&world, 90).await;
        world.us.flip_read_byte(at);
        assert!(world.pull(&digest).await.unwrap() == blob, "byte {at}");
        assert_eq!(world.placements(&digest).await, ["eu"]);
        assert!(world.pull(&digest).await.unwrap() == blob);
    }
}

#[tokio::test]
async fn wrong_bytes_everywhere_are_refused_before_the_first_byte_and_the_last_copy_stays_recorded()
{
    let world = World::new().await;
    let (_, digest) = replicated(&world, 91).await;
    world.us.flip_read_byte(1);
    world.eu.flip_read_byte(2);
    let refused = open(&world, &digest).await;
    assert!(
        matches!(refused, Err(PullError::Corrupt { .. })),
        "{refused:?}"
    );
    assert_eq!(world.placements(&digest).await.len(), 1);
}

#[tokio::test]
async fn a_location_with_wrong_bytes_that_also_breaks_off_does_not_spoil_what_the_next_one_has() {
    let world = World::new().await;
    let (blob, digest) = replicated(&world, 92).await;
    world.us.flip_read_byte(1_000);
    world.us.fail_reads_at(5_000, StorageErrorKind::Interrupted);
    assert!(world.pull(&digest).await.unwrap() == blob);
}

#[tokio::test]
async fn without_memory_for_it_a_small_blob_is_passed_on_as_it_comes_and_its_end_held_back() {
    let world = World::of(Plan {
        options: DistributionOptions {
            verified_memory_bytes: 64 << 10,
            hashed_again_after: Duration::ZERO,
            ..DistributionOptions::default()
        },
        ..Plan::default()
    })
    .await;
    let (blob, digest) = replicated(&world, 93).await;
    let (other, other_digest) = replicated(&world, 94).await;
    // A client that takes its time holds all the memory that there is.
    let held = open(&world, &digest).await.unwrap();
    world.us.flip_read_byte(9_000);
    let mut stream = open(&world, &other_digest).await.unwrap();
    let mut delivered = 0;
    let error = loop {
        match stream.next().await {
            Some(Ok(chunk)) => delivered += chunk.len(),
            Some(Err(error)) => break error,
            None => panic!("the stream ended as if all were well"),
        }
    };
    assert!(matches!(error, PullError::Corrupt { .. }), "{error:?}");
    assert!((1..other.len()).contains(&delivered), "{delivered}");
    assert!(collect(held).await.unwrap() == blob);
    // The memory is back.
    let (third, third_digest) = replicated(&world, 95).await;
    assert!(world.pull(&third_digest).await.unwrap() == third);
}

#[tokio::test]
async fn a_blob_that_is_larger_is_passed_on_as_it_comes() {
    let world = World::with(|options| options.verified_bytes_max = 10 * PIECE as u64).await;
    let (_, digest) = replicated(&world, 96).await;
    world.us.flip_read_byte(9_000);
    let mut stream = open(&world, &digest).await.unwrap();
    assert!(stream.next().await.unwrap().is_ok());
    let ended = collect(stream).await;
    assert!(matches!(ended, Err(PullError::Corrupt { .. })), "{ended:?}");
}

#[tokio::test]
async fn a_file_that_was_right_is_hashed_again_once_it_was_touched_or_after_ten_minutes() {
    let minutes = Duration::from_mins(10);
    for verified_bytes_max in [0, 8 << 20] {
        let world = World::with(|options| {
            options.hashed_again_after = minutes;
            options.verified_bytes_max = verified_bytes_max;
        })
        .await;
        let blob = content(97, 10 * PIECE + 7);
        let digest = world.push(&blob).await;
        assert!(world.pull(&digest).await.unwrap() == blob);
        // Nobody looks: what changes is what is read, and not the file.
        world.us.flip_read_byte(9_000);
        assert!(world.pull(&digest).await.unwrap() != blob);
        world.us.heal();
        assert!(world.pull(&digest).await.unwrap() == blob);
        let file = world.file("us", &ObjectKey::Blob(digest.clone()));
        let mut damaged = blob.clone();
        damaged[9_000] ^= 1;
        std::fs::write(file, damaged).unwrap();
        let pulled = world.pull(&digest).await;
        assert!(
            matches!(pulled, Err(PullError::Corrupt { .. })),
            "{pulled:?}"
        );

        let other = content(98, 10 * PIECE + 7);
        let digest = world.push(&other).await;
        assert!(world.pull(&digest).await.unwrap() == other);
        world.us.flip_read_byte(9_000);
        world.clock.advance(minutes);
        let pulled = world.pull(&digest).await;
        assert!(
            matches!(pulled, Err(PullError::Corrupt { .. })),
            "{pulled:?}"
        );
    }
}

#[tokio::test]
async fn a_very_small_blob_that_was_right_is_not_read_again_for_ten_minutes() {
    let minutes = Duration::from_mins(10);
    let world = World::with(|options| options.hashed_again_after = minutes).await;
    let (blob, larger) = (content(99, 5_000), content(100, 10_000));
    let (digest, larger_digest) = (world.push(&blob).await, world.push(&larger).await);
    for (digest, content) in [(&digest, &blob), (&larger_digest, &larger)] {
        assert!(world.pull(digest).await.unwrap() == *content);
        std::fs::remove_file(world.file("us", &ObjectKey::Blob(digest.clone()))).unwrap();
    }
    assert!(world.pull(&digest).await.unwrap() == blob);
    assert!(world.pull(&larger_digest).await.is_err());
    world.clock.advance(minutes);
    assert!(world.pull(&digest).await.is_err());
}
