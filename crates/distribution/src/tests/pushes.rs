//! Every way to push a blob, and every way to get it wrong.

use std::time::Duration;

use roadstead_metadata::{LocationState, RepositoryState};
use roadstead_oci::{Algorithm, Digest, ErrorCode};
use roadstead_runtime::Clock;
use roadstead_storage::{ObjectKey, Operation, StorageErrorKind};
use uuid::Uuid;

use super::world::{World, broken, by_hand, chunk, content, name, sha256, whole};
use crate::{Announced, BodyError, ChunkRange, PushError, Refusal, Writes};

#[tokio::test]
async fn a_blob_of_post_and_put_can_be_pulled_and_its_session_is_over() {
    let world = World::new().await;
    let blob = content(1, 10_000);
    let id = world.start().await;
    let pushed = world.finish(id, &blob, &sha256(&blob)).await.unwrap();
    assert_eq!(
        (pushed.digest.clone(), pushed.size),
        (sha256(&blob), 10_000)
    );
    assert_eq!(world.pull(&pushed.digest).await.unwrap(), blob);
    let status = world.registry.uploads().status(&world.repository, id).await;
    assert!(
        matches!(status, Err(PushError::UploadUnknown { .. })),
        "{status:?}"
    );
    assert_eq!(world.staged("us").await, 0);
    assert_eq!(world.placements(&pushed.digest).await, ["us"]);
}

#[tokio::test]
async fn chunks_with_and_without_ranges_make_one_blob() {
    let world = World::new().await;
    let blob = content(2, 9_000);
    let id = world.start().await;
    assert_eq!(
        world
            .append(id, Some((0, 2_999)), &blob[..3_000])
            .await
            .unwrap(),
        3_000
    );
    assert_eq!(
        world.append(id, None, &blob[3_000..5_000]).await.unwrap(),
        5_000
    );
    assert_eq!(world.append(id, None, b"").await.unwrap(), 5_000);
    assert_eq!(
        world
            .append(id, Some((5_000, 5_000)), &blob[5_000..5_001])
            .await
            .unwrap(),
        5_001
    );
    assert_eq!(world.offset(id).await, 5_001);
    let uploads = world.registry.uploads();
    let last = chunk(5_001, 8_999);
    uploads
        .finish(
            &world.repository,
            id,
            &sha256(&blob),
            last,
            whole(&blob[5_001..]),
        )
        .await
        .unwrap();
    assert_eq!(world.pull(&sha256(&blob)).await.unwrap(), blob);
}

#[tokio::test]
async fn a_blob_in_one_request_leaves_no_session_and_nothing_staged() {
    let world = World::new().await;
    let blob = content(3, 5_000);
    let uploads = world.registry.uploads();
    let pushed = uploads
        .monolithic(&world.repository, &sha256(&blob), Some(5_000), whole(&blob))
        .await
        .unwrap();
    assert_eq!(pushed.size, 5_000);
    assert_eq!(world.pull(&pushed.digest).await.unwrap(), blob);
    assert_eq!(world.staged("us").await, 0);
}

#[tokio::test]
async fn empty_blobs_are_blobs_in_every_way_of_pushing() {
    let world = World::new().await;
    let (empty256, empty512) = (sha256(b""), Digest::of(Algorithm::Sha512, b""));
    let id = world.start().await;
    assert_eq!(world.finish(id, b"", &empty256).await.unwrap().size, 0);
    assert_eq!(world.pull(&empty256).await.unwrap(), b"");
    let id = world.start().await;
    world.finish(id, b"", &empty512).await.unwrap();
    assert_eq!(world.pull(&empty512).await.unwrap(), b"");
    let uploads = world.registry.uploads();
    let pushed = uploads
        .monolithic(&world.other, &empty256, Some(0), whole(b""))
        .await
        .unwrap();
    assert_eq!(pushed.size, 0);
}

#[tokio::test]
async fn sha512_works_announced_or_not_and_with_bytes_hashed_otherwise() {
    let world = World::new().await;
    let uploads = world.registry.uploads();
    for (seed, announced, before) in [
        (4, true, 2_000),
        (5, false, 0),
        (6, false, 2_000),
        (7, false, 4_000),
    ] {
        let blob = content(seed, 4_000);
        let digest = Digest::of(Algorithm::Sha512, &blob);
        let algorithm = announced.then_some(Algorithm::Sha512);
        let begun = uploads.start(&world.repository, algorithm).await.unwrap();
        assert_eq!(begun.algorithm, algorithm.unwrap_or(Algorithm::Sha256));
        if before > 0 {
            world.append(begun.id, None, &blob[..before]).await.unwrap();
        }
        let pushed = world
            .finish(begun.id, &blob[before..], &digest)
            .await
            .unwrap();
        assert_eq!(pushed.digest, digest);
        assert_eq!(world.pull(&digest).await.unwrap(), blob, "seed {seed}");
    }
    // A session that was begun for SHA-512 may end with SHA-256 too.
    let blob = content(8, 3_000);
    let begun = uploads
        .start(&world.repository, Some(Algorithm::Sha512))
        .await
        .unwrap();
    world.append(begun.id, None, &blob[..1_000]).await.unwrap();
    world
        .finish(begun.id, &blob[1_000..], &sha256(&blob))
        .await
        .unwrap();
    assert_eq!(world.pull(&sha256(&blob)).await.unwrap(), blob);
}

#[tokio::test]
async fn chunks_out_of_order_overlapping_or_with_a_gap_are_refused_with_the_offset() {
    let world = World::new().await;
    let blob = content(9, 3_000);
    let id = world.start().await;
    let refused = world.append(id, Some((1, 1_000)), &blob[1..1_001]).await;
    assert!(
        matches!(refused, Err(PushError::RangeNotContiguous { offset: 0 })),
        "{refused:?}"
    );
    world
        .append(id, Some((0, 999)), &blob[..1_000])
        .await
        .unwrap();
    for (first, last) in [
        (0, 999),
        (500, 1_499),
        (999, 1_998),
        (1_001, 2_000),
        (u64::MAX - 1, u64::MAX - 1),
    ] {
        let refused = world.append(id, Some((first, last)), b"x").await;
        assert!(
            matches!(
                refused,
                Err(PushError::RangeNotContiguous { offset: 1_000 })
            ),
            "{first}-{last}: {refused:?}"
        );
        let uploads = world.registry.uploads();
        let announced = chunk(first, last);
        let refused = uploads
            .finish(
                &world.repository,
                id,
                &sha256(&blob),
                announced,
                whole(b"x"),
            )
            .await;
        assert!(
            matches!(
                refused,
                Err(PushError::RangeNotContiguous { offset: 1_000 })
            ),
            "{first}-{last}: {refused:?}"
        );
    }
    assert_eq!(world.offset(id).await, 1_000);
    world
        .append(id, Some((1_000, 2_999)), &blob[1_000..])
        .await
        .unwrap();
    world.finish(id, b"", &sha256(&blob)).await.unwrap();
    assert_eq!(world.pull(&sha256(&blob)).await.unwrap(), blob);
}

#[tokio::test]
async fn a_range_that_lies_about_its_length_changes_nothing() {
    let world = World::with(|options| options.checkpoint_bytes = 1_000).await;
    let blob = content(10, 9_000);
    let id = world.start().await;
    world
        .append(id, Some((0, 999)), &blob[..1_000])
        .await
        .unwrap();
    let long = world.append(id, Some((1_000, 3_999)), &blob[1_000..]).await;
    assert!(
        matches!(
            long,
            Err(PushError::SizeInvalid {
                announced: 3_000,
                ..
            })
        ),
        "{long:?}"
    );
    assert_eq!(world.offset(id).await, 1_000);
    let short = world
        .append(id, Some((1_000, 8_999)), &blob[1_000..5_000])
        .await;
    assert!(
        matches!(
            short,
            Err(PushError::SizeInvalid {
                announced: 8_000,
                received: 4_000
            })
        ),
        "{short:?}"
    );
    assert_eq!(world.offset(id).await, 1_000);
    let announced = Announced {
        length: Some(8_001),
        ..chunk(1_000, 8_999)
    };
    let uploads = world.registry.uploads();
    let contradiction = uploads
        .append(&world.repository, id, announced, whole(&blob[1_000..]))
        .await;
    assert!(
        matches!(contradiction, Err(PushError::SizeInvalid { .. })),
        "{contradiction:?}"
    );
    for announced in [chunk(1_000, 8_000), chunk(1_000, 9_999)] {
        let lie = uploads
            .finish(
                &world.repository,
                id,
                &sha256(&blob),
                announced,
                whole(&blob[1_000..]),
            )
            .await;
        assert!(matches!(lie, Err(PushError::SizeInvalid { .. })), "{lie:?}");
        assert_eq!(world.offset(id).await, 1_000);
    }
    world
        .finish(id, &blob[1_000..], &sha256(&blob))
        .await
        .unwrap();
    assert_eq!(world.pull(&sha256(&blob)).await.unwrap(), blob);
}

#[tokio::test]
async fn a_length_that_is_not_the_bodys_is_refused() {
    let world = World::new().await;
    let blob = content(11, 2_000);
    let uploads = world.registry.uploads();
    for length in [0, 1_999, 2_001] {
        let refused = uploads
            .monolithic(
                &world.repository,
                &sha256(&blob),
                Some(length),
                whole(&blob),
            )
            .await;
        let error = refused.unwrap_err();
        assert!(
            matches!(error, PushError::SizeInvalid { .. }),
            "{length}: {error:?}"
        );
        assert_eq!(error.code(), ErrorCode::SizeInvalid);
        assert_eq!(world.staged("us").await, 0);
    }
    let id = world.start().await;
    let announced = Announced {
        range: None,
        length: Some(1_000),
    };
    let long = uploads
        .append(&world.repository, id, announced, whole(&blob))
        .await;
    assert!(
        matches!(
            long,
            Err(PushError::SizeInvalid {
                announced: 1_000,
                ..
            })
        ),
        "{long:?}"
    );
    assert_eq!(world.offset(id).await, 0);
}

#[tokio::test]
async fn a_wrong_digest_leaves_the_upload_as_it_was() {
    let world = World::new().await;
    let blob = content(12, 4_000);
    let id = world.start().await;
    world.append(id, None, &blob[..1_000]).await.unwrap();
    for wrong in [sha256(b"else"), Digest::of(Algorithm::Sha512, b"else")] {
        let refused = world.finish(id, &blob[1_000..], &wrong).await.unwrap_err();
        let PushError::DigestMismatch { expected, actual } = &refused else {
            panic!("{refused:?}");
        };
        assert_eq!(
            (expected, actual),
            (&wrong, &Digest::of(wrong.algorithm(), &blob))
        );
        assert_eq!(refused.code(), ErrorCode::DigestInvalid);
        assert_eq!(world.offset(id).await, 1_000);
    }
    world
        .finish(id, &blob[1_000..], &sha256(&blob))
        .await
        .unwrap();
    assert_eq!(world.pull(&sha256(&blob)).await.unwrap(), blob);

    let uploads = world.registry.uploads();
    let refused = uploads
        .monolithic(&world.repository, &sha256(b"else"), None, whole(&blob))
        .await;
    assert!(
        matches!(refused, Err(PushError::DigestMismatch { .. })),
        "{refused:?}"
    );
    assert_eq!(world.staged("us").await, 0);
    assert!(world.pull(&sha256(b"else")).await.is_err());
}

#[tokio::test]
async fn a_body_that_breaks_off_keeps_what_arrived_unless_it_had_a_range() {
    let world = World::new().await;
    let uploads = world.registry.uploads();
    let blob = content(13, 6_000);
    let id = world.start().await;
    let cut = uploads
        .append(
            &world.repository,
            id,
            Announced::NOTHING,
            broken(&blob[..2_000]),
        )
        .await;
    assert!(
        matches!(cut, Err(PushError::BodyInterrupted { offset: 2_000, .. })),
        "{cut:?}"
    );
    let cut = uploads
        .append(
            &world.repository,
            id,
            chunk(2_000, 5_999),
            broken(&blob[2_000..4_000]),
        )
        .await;
    assert!(
        matches!(cut, Err(PushError::BodyInterrupted { offset: 2_000, .. })),
        "{cut:?}"
    );
    let digest = sha256(&blob);
    let cut = uploads
        .finish(
            &world.repository,
            id,
            &digest,
            chunk(2_000, 5_999),
            broken(&blob[2_000..4_000]),
        )
        .await;
    assert!(
        matches!(cut, Err(PushError::BodyInterrupted { offset: 2_000, .. })),
        "{cut:?}"
    );
    let announced = Announced {
        range: None,
        length: Some(4_000),
    };
    let cut = uploads
        .finish(
            &world.repository,
            id,
            &digest,
            announced,
            broken(&blob[2_000..5_000]),
        )
        .await;
    assert!(
        matches!(cut, Err(PushError::BodyInterrupted { offset: 5_000, .. })),
        "{cut:?}"
    );
    assert_eq!(world.offset(id).await, 5_000);
    world.finish(id, &blob[5_000..], &digest).await.unwrap();
    assert_eq!(world.pull(&digest).await.unwrap(), blob);

    let cut = uploads
        .monolithic(
            &world.repository,
            &digest,
            Some(6_000),
            broken(&blob[..1_000]),
        )
        .await;
    assert!(
        matches!(cut, Err(PushError::BodyInterrupted { offset: 0, .. })),
        "{cut:?}"
    );
    assert_eq!(world.staged("us").await, 0);
}

#[tokio::test]
async fn a_body_that_falls_silent_counts_as_broken_off() {
    let world = World::new().await;
    let id = world.start().await;
    let (sender, body) = by_hand();
    let uploads = world.registry.uploads();
    let appending = uploads.append(&world.repository, id, Announced::NOTHING, body);
    let silence = async {
        // The third piece fits into the channel only when the second has been read.
        for piece in [b"abc", b"def", b"ghi"] {
            sender.send(Ok(piece.as_slice().into())).await.unwrap();
        }
        loop {
            world.clock.advance(Duration::from_secs(61));
            tokio::task::yield_now().await;
        }
    };
    let result = tokio::select! { result = appending => result, () = silence => unreachable!() };
    let Err(PushError::BodyInterrupted { offset, source }) = result else {
        panic!("{result:?}");
    };
    assert!(matches!(source, BodyError::TimedOut), "{source:?}");
    assert_eq!((offset, world.offset(id).await), (9, 9));
}

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
async fn a_blob_above_the_limit_is_refused_before_or_while_it_comes() {
    let world = World::with(|options| options.blob_bytes_max = 3_000).await;
    let uploads = world.registry.uploads();
    let blob = content(15, 3_001);
    let id = world.start().await;
    let announced = Announced {
        range: None,
        length: Some(3_001),
    };
    for announced in [announced, chunk(0, 3_000), Announced::NOTHING] {
        let refused = uploads
            .append(&world.repository, id, announced, whole(&blob))
            .await;
        assert!(
            matches!(refused, Err(PushError::TooLarge { limit: 3_000 })),
            "{refused:?}"
        );
        assert_eq!(world.offset(id).await, 0);
    }
    for length in [Some(3_001), None] {
        let refused = uploads
            .monolithic(&world.repository, &sha256(&blob), length, whole(&blob))
            .await;
        assert!(
            matches!(refused, Err(PushError::TooLarge { limit: 3_000 })),
            "{refused:?}"
        );
    }
    world.append(id, None, &blob[..2_000]).await.unwrap();
    let refused = world.finish(id, &blob[2_000..], &sha256(&blob)).await;
    assert!(
        matches!(refused, Err(PushError::TooLarge { .. })),
        "{refused:?}"
    );
    world
        .finish(id, &blob[2_000..3_000], &sha256(&blob[..3_000]))
        .await
        .unwrap();
}

#[tokio::test]
async fn an_upload_is_known_in_its_own_repository_only() {
    let world = World::new().await;
    let uploads = world.registry.uploads();
    let id = world.start().await;
    let stranger = &world.other;
    let unknown =
        |result: Result<(), PushError>| matches!(result, Err(PushError::UploadUnknown { .. }));
    for id in [id, Uuid::from_u128(7)] {
        assert!(unknown(uploads.status(stranger, id).await.map(drop)));
        assert!(unknown(
            uploads
                .append(stranger, id, Announced::NOTHING, whole(b"x"))
                .await
                .map(drop)
        ));
        let finished = uploads
            .finish(stranger, id, &sha256(b"x"), Announced::NOTHING, whole(b"x"))
            .await;
        assert!(unknown(finished.map(drop)));
        assert!(unknown(uploads.cancel(stranger, id).await));
    }
    assert_eq!(world.offset(id).await, 0);
}

#[tokio::test]
async fn a_cancelled_upload_is_gone_with_its_bytes() {
    let world = World::new().await;
    let id = world.start().await;
    world.append(id, None, b"abc").await.unwrap();
    world
        .registry
        .uploads()
        .cancel(&world.repository, id)
        .await
        .unwrap();
    let gone = world.append(id, None, b"def").await;
    assert!(
        matches!(gone, Err(PushError::UploadUnknown { .. })),
        "{gone:?}"
    );
    assert_eq!(world.staged("us").await, 0);
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
    let world = World::new().await;
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
async fn an_object_that_is_damaged_is_healed_by_the_next_push_of_its_bytes() {
    let world = World::new().await;
    let blob = content(16, 3_000);
    let digest = world.push(&blob).await;
    let file = world.file("us", &ObjectKey::Blob(digest.clone()));
    std::fs::write(&file, b"damaged").unwrap();
    world.push_into(&world.other, &blob).await;
    assert_eq!(world.pull(&digest).await.unwrap(), blob);
}

#[tokio::test]
async fn nothing_is_taken_where_nothing_may_change() {
    let world = World::new().await;
    for (state, expected) in [
        (RepositoryState::ReadOnly, "read-only"),
        (RepositoryState::Mirror, "mirror"),
        (RepositoryState::OrganizationMirror, "mirror"),
    ] {
        let mut repository = world.repository.clone();
        repository.state = state;
        let refused = world
            .registry
            .uploads()
            .start(&repository, None)
            .await
            .unwrap_err();
        assert!(matches!(refused, PushError::Refused(_)), "{refused:?}");
        assert!(refused.to_string().contains(expected), "{refused}");
    }
    let mut repository = world.repository.clone();
    repository.holds_images = false;
    let refused = world.registry.uploads().start(&repository, None).await;
    assert!(
        matches!(
            refused,
            Err(PushError::Refused(Refusal::NotForImages { .. }))
        ),
        "{refused:?}"
    );

    for (writes, refusal) in [
        (Writes::PushesDisabled, Refusal::PushesDisabled),
        (Writes::ReadOnly, Refusal::RegistryReadOnly),
    ] {
        let world = World::with(|options| options.writes = writes).await;
        let uploads = world.registry.uploads();
        let (repository, id, digest) = (&world.repository, Uuid::from_u128(1), sha256(b"x"));
        let refused = |result: Result<(), PushError>| matches!(result, Err(PushError::Refused(why)) if why == refusal);
        assert!(refused(uploads.start(repository, None).await.map(drop)));
        assert!(refused(
            uploads
                .append(repository, id, Announced::NOTHING, whole(b"x"))
                .await
                .map(drop)
        ));
        // Quay lets the closing request pass.
        let finished = uploads.finish(repository, id, &digest, Announced::NOTHING, whole(b"x"));
        assert!(refused(finished.await.map(drop)));
        assert!(refused(
            uploads
                .monolithic(repository, &digest, None, whole(b"x"))
                .await
                .map(drop)
        ));
        assert!(refused(uploads.cancel(repository, id).await));
        let source = roadstead_metadata::MountSource::Any;
        assert!(refused(
            uploads.mount(repository, &digest, source).await.map(drop)
        ));
    }
}

#[test]
fn ranges_are_counted_with_both_ends() {
    let range = ChunkRange::inclusive(5, 9).unwrap();
    assert_eq!((range.start(), range.length()), (5, 5));
    assert_eq!(ChunkRange::inclusive(5, 4).unwrap().length(), 0);
    assert_eq!(ChunkRange::inclusive(0, 0).unwrap().length(), 1);
    assert!(ChunkRange::inclusive(5, 3).is_none());
    assert!(ChunkRange::inclusive(0, u64::MAX).is_none());
}
