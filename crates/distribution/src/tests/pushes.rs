//! Every way to push a blob.

use roadstead_metadata::Repository;
use roadstead_oci::{Algorithm, Digest};
use uuid::Uuid;

use super::world::{World, chunk, content, sha256, whole};
use crate::{Announced, PushError, Registry};

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

/// Servers run these on any of their threads.
#[test]
fn what_a_request_waits_for_can_move_between_threads() {
    fn movable<T: Send>(_: impl Fn(&'static Registry, &'static Repository) -> T) {}

    let id = Uuid::nil();
    movable(|registry, repository| async move { registry.uploads().start(repository, None).await });
    movable(move |registry, repository| async move {
        let uploads = registry.uploads();
        uploads
            .append(repository, id, Announced::NOTHING, whole(b""))
            .await
    });
    movable(move |registry, repository| async move {
        let uploads = registry.uploads();
        uploads
            .finish(repository, id, &sha256(b""), Announced::NOTHING, whole(b""))
            .await
    });
    movable(|registry, repository| async move {
        let uploads = registry.uploads();
        uploads
            .monolithic(repository, &sha256(b""), None, whole(b""))
            .await
    });
    movable(|registry, repository| async move {
        let blobs = registry.blobs();
        let blob = blobs.find(repository, &sha256(b"")).await?;
        blobs.open(&blob, 0..0).await
    });
    movable(|registry, _| registry.clean_up_uploads());
}
