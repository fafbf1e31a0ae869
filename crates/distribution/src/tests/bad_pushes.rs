//! Every way to get a push wrong: a clear answer, and nothing lost.

use std::time::Duration;

use roadstead_metadata::{MountSource, RepositoryState};
use roadstead_oci::{Algorithm, Digest, ErrorCode};
use uuid::Uuid;

use super::world::{World, broken, by_hand, chunk, content, sha256, whole};
use crate::{Announced, BodyError, ChunkRange, PushError, Refusal, Writes};

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
async fn nothing_is_taken_where_nothing_may_change() {
    let world = World::new().await;
    let mut repository = world.repository.clone();
    repository.state = RepositoryState::ReadOnly;
    let refused = world
        .registry
        .uploads()
        .start(&repository, None)
        .await
        .unwrap_err();
    assert!(matches!(refused, PushError::Refused(_)), "{refused:?}");
    assert!(refused.to_string().contains("read-only"), "{refused}");
    // A mirror takes what whoever may push to it pushes.
    for state in [RepositoryState::Mirror, RepositoryState::OrganizationMirror] {
        let mut repository = world.repository.clone();
        repository.state = state;
        world
            .registry
            .uploads()
            .start(&repository, None)
            .await
            .unwrap();
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
        let source = MountSource::Any;
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
