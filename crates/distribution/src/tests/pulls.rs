//! Reading: ranges, the next location when one fails, and wrong bytes that are never delivered whole.

use std::time::Duration;

use futures_util::StreamExt;
use roadstead_oci::{Algorithm, Digest, ErrorCode};
use roadstead_storage::{ObjectKey, Operation, StorageErrorKind};

use super::world::{PIECE, World, collect, content, sha256, whole};
use crate::PullError;

/// A blob of several pieces in both locations.
async fn replicated(world: &World, seed: u64) -> (Vec<u8>, Digest) {
    let blob = content(seed, 10 * PIECE + 7);
    let digest = world.push(&blob).await;
    world.replicate(&digest).await;
    assert_eq!(world.placements(&digest).await, ["eu", "us"]);
    (blob, digest)
}

#[tokio::test]
async fn a_part_of_a_blob_is_exactly_that_part() {
    let world = World::new().await;
    let bytes = content(40, 5_000);
    let digest = world.push(&bytes).await;
    let blobs = world.registry.blobs();
    let blob = blobs.find(&world.repository, &digest).await.unwrap();
    for (start, end) in [
        (0, 5_000),
        (0, 1),
        (4_999, 5_000),
        (1_000, 3_500),
        (5_000, 5_000),
        (0, 0),
    ] {
        let stream = blobs.open(&blob, start as u64..end as u64).await.unwrap();
        assert_eq!(stream.remaining(), (end - start) as u64);
        assert_eq!(
            collect(stream).await.unwrap(),
            &bytes[start..end],
            "{start}..{end}"
        );
    }
    #[expect(clippy::reversed_empty_ranges, reason = "clients send such ranges too")]
    for range in [0..5_001, 5_001..5_001, 3..2, u64::MAX..u64::MAX] {
        let refused = blobs.open(&blob, range.clone()).await;
        assert!(
            matches!(refused, Err(PullError::RangeNotSatisfiable { size: 5_000 })),
            "{range:?}: {refused:?}"
        );
    }
}

#[tokio::test]
async fn a_blob_is_known_where_it_was_pushed_and_for_as_long_as_it_is_held() {
    let world = World::new().await;
    let digest = world.push(b"mine").await;
    let blobs = world.registry.blobs();
    for (repository, digest) in [
        (&world.other, &digest),
        (&world.repository, &sha256(b"nobody's")),
        (&world.repository, &Digest::of(Algorithm::Sha512, b"mine")),
    ] {
        let unknown = blobs.find(repository, digest).await.unwrap_err();
        assert!(
            matches!(unknown, PullError::BlobUnknown { .. }),
            "{unknown:?}"
        );
        assert_eq!(unknown.code(), ErrorCode::BlobUnknown);
    }
    world.clock.advance(Duration::from_mins(59));
    assert!(blobs.find(&world.repository, &digest).await.is_ok());
    world.clock.advance(Duration::from_mins(2));
    assert!(blobs.find(&world.repository, &digest).await.is_err());
}

#[tokio::test]
async fn knowing_a_blobs_size_asks_no_location() {
    let world = World::new().await;
    let digest = world.push(b"blob").await;
    world.us.take_down();
    world.eu.take_down();
    let found = world
        .registry
        .blobs()
        .find(&world.repository, &digest)
        .await;
    assert_eq!(found.unwrap().size, 4);
}

#[tokio::test]
async fn a_location_that_fails_at_the_first_byte_is_followed_by_the_next() {
    for kind in [
        StorageErrorKind::Unavailable,
        StorageErrorKind::Denied,
        StorageErrorKind::Timeout,
        StorageErrorKind::Unexpected,
    ] {
        let world = World::new().await;
        let (blob, digest) = replicated(&world, 41).await;
        world.us.fail_always(Operation::Read, kind);
        assert_eq!(world.pull(&digest).await.unwrap(), blob, "{kind:?}");
        assert_eq!(world.placements(&digest).await, ["eu", "us"], "{kind:?}");
    }
}

#[tokio::test]
async fn a_location_that_failed_is_asked_last_for_a_while() {
    let world = World::new().await;
    let (blob, digest) = replicated(&world, 42).await;
    world.us.take_down();
    assert_eq!(world.pull(&digest).await.unwrap(), blob);
    world.us.heal();
    // Nobody asks `us` now, so its damage does not show.
    world.us.flip_read_byte(3);
    assert_eq!(world.pull(&digest).await.unwrap(), blob);
    // But it is asked when the other one fails.
    world.us.heal();
    world.eu.take_down();
    assert_eq!(world.pull(&digest).await.unwrap(), blob);
    world.clock.advance(Duration::from_secs(11));
    assert_eq!(world.pull(&digest).await.unwrap(), blob);
}

#[tokio::test]
async fn a_location_that_fails_in_the_middle_is_followed_by_the_rest_from_the_next() {
    let world = World::new().await;
    let (blob, digest) = replicated(&world, 43).await;
    for at in [1, PIECE as u64, 3 * PIECE as u64 + 5, 10 * PIECE as u64 + 6] {
        world.us.fail_reads_at(at, StorageErrorKind::Unexpected);
        assert_eq!(world.pull(&digest).await.unwrap(), blob, "{at}");
        world.us.heal();
        world.us.end_reads_at(at);
        assert_eq!(world.pull(&digest).await.unwrap(), blob, "{at}");
        world.us.heal();
    }
    let blobs = world.registry.blobs();
    let found = blobs.find(&world.repository, &digest).await.unwrap();
    world.us.fail_reads_at(5_000, StorageErrorKind::Unexpected);
    let part = blobs.open(&found, 3_000..9_000).await.unwrap();
    assert_eq!(collect(part).await.unwrap(), &blob[3_000..9_000]);
}

#[tokio::test]
async fn a_location_that_falls_silent_is_followed_by_the_next() {
    let world = World::new().await;
    let (blob, digest) = replicated(&world, 44).await;
    world.us.stall(Operation::Read);
    let passing = async {
        world.us.until_stalled(1).await;
        world.clock.advance(Duration::from_secs(31));
    };
    let (pulled, ()) = tokio::join!(world.pull(&digest), passing);
    assert_eq!(pulled.unwrap(), blob);
}

#[tokio::test]
async fn without_a_location_that_can_deliver_the_pull_fails_and_comes_back_with_the_location() {
    let world = World::new().await;
    let (blob, digest) = replicated(&world, 45).await;
    world.us.take_down();
    world.eu.take_down();
    let failed = world.pull(&digest).await.unwrap_err();
    assert!(
        matches!(
            failed,
            PullError::NoCopy {
                source: Some(_),
                ..
            }
        ),
        "{failed:?}"
    );
    assert_eq!(failed.code(), ErrorCode::Unavailable);
    world.us.heal();
    world.eu.fail_reads_at(0, StorageErrorKind::Unexpected);
    assert_eq!(world.pull(&digest).await.unwrap(), blob);
    // Both in the middle: an error in the stream, never an early end.
    world.clock.advance(Duration::from_secs(11));
    world.us.fail_reads_at(2_000, StorageErrorKind::Unavailable);
    world.eu.heal();
    world.eu.fail_reads_at(4_000, StorageErrorKind::Unavailable);
    let failed = world.pull(&digest).await.unwrap_err();
    assert!(
        matches!(
            failed,
            PullError::NoCopy {
                source: Some(_),
                ..
            }
        ),
        "{failed:?}"
    );
}

#[tokio::test]
async fn an_object_that_is_not_where_it_should_be_is_reported_and_read_elsewhere() {
    let world = World::new().await;
    let (blob, digest) = replicated(&world, 46).await;
    std::fs::remove_file(world.file("us", &ObjectKey::Blob(digest.clone()))).unwrap();
    assert_eq!(world.pull(&digest).await.unwrap(), blob);
    assert_eq!(world.placements(&digest).await, ["eu"]);

    let (blob, digest) = replicated(&world, 47).await;
    std::fs::write(
        world.file("us", &ObjectKey::Blob(digest.clone())),
        &blob[..4_000],
    )
    .unwrap();
    assert_eq!(world.pull(&digest).await.unwrap(), blob);
    assert_eq!(world.placements(&digest).await, ["eu"]);
}

#[tokio::test]
async fn a_location_whose_root_is_gone_has_lost_nothing_yet() {
    let world = World::new().await;
    let (blob, digest) = replicated(&world, 48).await;
    let root = world.location("us").root().unwrap().to_owned();
    let aside = root.with_file_name("aside");
    std::fs::rename(&root, &aside).unwrap();
    assert_eq!(world.pull(&digest).await.unwrap(), blob);
    assert_eq!(world.placements(&digest).await, ["eu", "us"]);
    std::fs::rename(&aside, &root).unwrap();
    assert_eq!(world.pull(&digest).await.unwrap(), blob);
}

#[tokio::test]
async fn the_last_copy_of_a_blob_stays_recorded_although_it_is_gone() {
    let world = World::new().await;
    let digest = world.push(b"only here").await;
    std::fs::remove_file(world.file("us", &ObjectKey::Blob(digest.clone()))).unwrap();
    let failed = world.pull(&digest).await.unwrap_err();
    assert!(
        matches!(
            failed,
            PullError::NoCopy {
                source: Some(_),
                ..
            }
        ),
        "{failed:?}"
    );
    assert_eq!(world.placements(&digest).await, ["us"]);
}

#[tokio::test]
async fn wrong_bytes_are_never_delivered_whole_and_are_reported() {
    for at in [0, 5_000, 10 * PIECE as u64 + 6] {
        let world = World::with(|options| options.verified_bytes_max = 0).await;
        let (blob, digest) = replicated(&world, 49).await;
        world.us.flip_read_byte(at);
        let blobs = world.registry.blobs();
        let found = blobs.find(&world.repository, &digest).await.unwrap();
        let mut stream = blobs.open(&found, 0..found.size).await.unwrap();
        let mut delivered = 0;
        let error = loop {
            match stream.next().await {
                Some(Ok(chunk)) => delivered += chunk.len(),
                Some(Err(error)) => break error,
                None => panic!("byte {at}: the stream ended as if all were well"),
            }
        };
        assert!(
            matches!(&error, PullError::Corrupt { expected, .. } if *expected == digest),
            "{error:?}"
        );
        assert!(delivered < blob.len(), "byte {at}");
        assert!(stream.next().await.is_none());
        // The next pull has it from the other location.
        assert_eq!(world.placements(&digest).await, ["eu"]);
        assert_eq!(world.pull(&digest).await.unwrap(), blob);
    }
}

#[tokio::test]
async fn small_blobs_with_wrong_bytes_are_not_delivered_at_all() {
    let world = World::new().await;
    let digest = world.push(b"small").await;
    world.us.flip_read_byte(0);
    let blobs = world.registry.blobs();
    let found = blobs.find(&world.repository, &digest).await.unwrap();
    let refused = blobs.open(&found, 0..5).await;
    assert!(
        matches!(refused, Err(PullError::Corrupt { .. })),
        "{refused:?}"
    );
}

#[tokio::test]
async fn an_object_with_bytes_behind_the_blobs_end_still_delivers_the_blob() {
    let world = World::new().await;
    let blob = content(50, 3_000);
    let digest = world.push(&blob).await;
    let longer = [blob.as_slice(), b"and more"].concat();
    std::fs::write(world.file("us", &ObjectKey::Blob(digest.clone())), longer).unwrap();
    assert_eq!(world.pull(&digest).await.unwrap(), blob);
}

#[tokio::test]
async fn a_blob_at_a_location_that_is_not_configured_is_read_elsewhere() {
    let world = World::new().await;
    let (blob, digest) = replicated(&world, 51).await;
    world
        .database
        .ensure_locations(&["mars".parse().unwrap()])
        .await
        .unwrap();
    let found = world
        .database
        .find_blob_anywhere(&digest)
        .await
        .unwrap()
        .unwrap();
    let mars = "mars".parse().unwrap();
    world.record_copy(&found, &mars).await;
    assert_eq!(world.placements(&digest).await, ["eu", "mars", "us"]);
    assert_eq!(world.pull(&digest).await.unwrap(), blob);
    world.us.take_down();
    world.eu.take_down();
    assert!(matches!(
        world.pull(&digest).await,
        Err(PullError::NoCopy { .. })
    ));
}

#[tokio::test]
async fn a_deleted_blob_is_gone_at_once_from_its_repository_only_and_can_be_pushed_again() {
    let world = World::new().await;
    let digest = world.push(b"shared").await;
    world.push_into(&world.other, b"shared").await;
    let blobs = world.registry.blobs();
    blobs.delete(&world.repository, &digest).await.unwrap();
    assert!(matches!(
        world.pull(&digest).await,
        Err(PullError::BlobUnknown { .. })
    ));
    let again = blobs.delete(&world.repository, &digest).await;
    assert!(
        matches!(again, Err(crate::DeleteError::BlobUnknown { .. })),
        "{again:?}"
    );
    assert!(blobs.find(&world.other, &digest).await.is_ok());
    let uploads = world.registry.uploads();
    uploads
        .monolithic(&world.repository, &digest, None, whole(b"shared"))
        .await
        .unwrap();
    assert_eq!(world.pull(&digest).await.unwrap(), b"shared");
}
