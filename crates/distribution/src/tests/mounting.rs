//! Mounting a blob from another repository, from any, and not at all.

use roadstead_metadata::MountSource;

use super::world::{World, sha256};
use crate::PullError;

#[tokio::test]
async fn a_blob_is_mounted_from_the_repository_that_has_it() {
    let world = World::new().await;
    let digest = world.push_into(&world.other, b"layer").await;
    assert!(matches!(
        world.pull(&digest).await,
        Err(PullError::BlobUnknown { .. })
    ));
    let uploads = world.registry.uploads();
    let source = MountSource::Repository(world.other.id);
    let mounted = uploads
        .mount(&world.repository, &digest, source)
        .await
        .unwrap();
    assert_eq!(mounted.unwrap().size, 5);
    assert_eq!(world.pull(&digest).await.unwrap(), b"layer");
}

#[tokio::test]
async fn what_the_source_does_not_have_is_not_mounted() {
    let world = World::new().await;
    let hidden = world.private_repository().await;
    let digest = world.push_into(&hidden, b"secret").await;
    let uploads = world.registry.uploads();
    for (digest, source) in [
        (&digest, MountSource::Repository(world.other.id)),
        (&digest, MountSource::AnyPublic),
        (&sha256(b"nobody's"), MountSource::Any),
        (
            &sha256(b"nobody's"),
            MountSource::Repository(world.other.id),
        ),
    ] {
        let mounted = uploads
            .mount(&world.repository, digest, source)
            .await
            .unwrap();
        assert_eq!(mounted, None, "{source:?}");
    }
    let mounted = uploads
        .mount(&world.repository, &digest, MountSource::Any)
        .await
        .unwrap();
    assert!(mounted.is_some());
}

#[tokio::test]
async fn a_blob_of_a_public_image_is_mounted_without_naming_its_repository() {
    let world = World::new().await;
    world.push_image(Some("latest"), &[b"layer"]).await;
    let uploads = world.registry.uploads();
    let mounted = uploads
        .mount(&world.other, &sha256(b"layer"), MountSource::AnyPublic)
        .await
        .unwrap();
    assert!(mounted.is_some());
    let blobs = world.registry.blobs();
    assert!(blobs.find(&world.other, &sha256(b"layer")).await.is_ok());
}

#[tokio::test]
async fn what_the_repository_has_already_needs_no_source_and_is_held_anew() {
    let world = World::new().await;
    let digest = world.push(b"layer").await;
    world.clock.advance(std::time::Duration::from_mins(50));
    let source = MountSource::Repository(world.other.id);
    let uploads = world.registry.uploads();
    let mounted = uploads
        .mount(&world.repository, &digest, source)
        .await
        .unwrap();
    assert!(mounted.is_some());
    world.clock.advance(std::time::Duration::from_mins(50));
    assert_eq!(world.pull(&digest).await.unwrap(), b"layer");
}

#[tokio::test]
async fn a_deleted_blob_that_is_mounted_again_is_back() {
    let world = World::new().await;
    let digest = world.push(b"layer").await;
    world.push_into(&world.other, b"layer").await;
    world
        .registry
        .blobs()
        .delete(&world.repository, &digest)
        .await
        .unwrap();
    let source = MountSource::Repository(world.other.id);
    let uploads = world.registry.uploads();
    let mounted = uploads
        .mount(&world.repository, &digest, source)
        .await
        .unwrap();
    assert!(mounted.is_some());
    assert_eq!(world.pull(&digest).await.unwrap(), b"layer");
}
