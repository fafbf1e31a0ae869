//! The database goes away: what was pulled lately can still be pulled, for a while, and nothing else can be done.

use std::time::Duration;

use roadstead_metadata::{Actor, EpochsNow, ManifestLookup, MetadataError};
use roadstead_oci::{Digest, ErrorCode, Reference, RepositoryName};
use roadstead_runtime::Clock as _;

use super::world::{World, content, image, manifest, sha256};
use crate::{ManifestPushError, PullError, PushError};

const LAYER: &[u8] = b"layer";

fn tag(tag: &str) -> Reference {
    Reference::Tag(tag.parse().unwrap())
}

fn name(name: &str) -> RepositoryName {
    name.parse().unwrap()
}

/// Pulls an image as a client does: the repository, the manifest by tag and by digest, its blobs.
async fn pull(world: &World, reference: &Reference) -> Result<Digest, PullError> {
    let found = world.registry.find_repository(&name("admin/app")).await?;
    let repository = found.expect("the repository is there");
    let manifests = world.registry.manifests();
    let by_tag = manifests.get(&repository, reference).await?;
    let by_digest = Reference::Digest(by_tag.digest.clone());
    let by_digest = manifests.get(&repository, &by_digest).await?;
    assert_eq!(by_tag.bytes, by_digest.bytes);
    assert_eq!(world.pull(&sha256(LAYER)).await?, LAYER);
    Ok(by_digest.digest)
}

fn unavailable<T: std::fmt::Debug>(outcome: Result<T, PullError>) {
    let error = outcome.expect_err("the database is away");
    assert_eq!(error.code(), ErrorCode::Unavailable, "{error}");
    let PullError::Metadata { source } = error else {
        panic!("{error}");
    };
    assert!(matches!(source, MetadataError::Unavailable { .. }));
}

#[tokio::test]
async fn what_was_pulled_lately_can_be_pulled_while_the_database_is_away_and_nothing_else() {
    let world = World::new().await;
    let digest = world.push_image(Some("latest"), &[LAYER]).await;
    world
        .push_image(Some("never-pulled"), &[LAYER, b"more"])
        .await;
    pull(&world, &tag("latest")).await.unwrap();

    world.database.close().await;
    for _ in 0..3 {
        assert_eq!(pull(&world, &tag("latest")).await.unwrap(), digest);
    }
    let manifests = world.registry.manifests();
    // Not 404: whether it is there is not known.
    unavailable(manifests.get(&world.repository, &tag("never-pulled")).await);
    unavailable(world.pull(&sha256(b"more")).await);
    // Known in one repository is not known in another.
    unavailable(manifests.get(&world.other, &tag("latest")).await);
    let elsewhere = world.registry.find_repository(&name("admin/other")).await;
    assert!(matches!(elsewhere, Err(MetadataError::Unavailable { .. })));

    let refused = world
        .registry
        .uploads()
        .start(&world.repository, None)
        .await;
    assert!(
        matches!(&refused, Err(error @ PushError::Metadata { .. }) if error.code() == ErrorCode::Unavailable)
    );
    let refused = manifests
        .put(
            &world.repository,
            &tag("latest"),
            &[],
            &manifest(&image(&[LAYER], "")),
            &Actor::default(),
        )
        .await;
    assert!(
        matches!(&refused, Err(error @ ManifestPushError::Metadata { .. }) if error.code() == ErrorCode::Unavailable)
    );
    let refused = manifests
        .delete(&world.repository, &tag("latest"), &Actor::default())
        .await
        .unwrap_err();
    assert_eq!(refused.code(), ErrorCode::Unavailable);
}

#[tokio::test]
async fn what_the_database_said_counts_for_an_hour_and_that_a_repository_is_public_for_ten_minutes()
{
    let world = World::new().await;
    world.push_image(Some("latest"), &[LAYER]).await;
    pull(&world, &tag("latest")).await.unwrap();
    world.database.close().await;

    let public = async || {
        let found = world.registry.find_repository(&name("admin/app")).await;
        found.unwrap().unwrap().public
    };
    assert!(public().await);
    world.clock.advance(Duration::from_mins(10));
    assert!(!public().await);
    pull(&world, &tag("latest")).await.unwrap();
    world.clock.advance(Duration::from_secs(50 * 60 - 1));
    pull(&world, &tag("latest")).await.unwrap();
    world.clock.advance(Duration::from_secs(1));
    unavailable(pull(&world, &tag("latest")).await);
}

#[tokio::test]
async fn a_pull_that_the_outage_cut_short_is_answered_from_what_a_later_one_was_told() {
    let world = World::new().await;
    let digest = world.push_image(Some("latest"), &[LAYER]).await;
    let references = [tag("latest"), Reference::Digest(digest.clone())];
    let path = world.repository.path.clone();

    let lately = &world.registry.inner.lately;
    let early = lately.asking(EpochsNow::default());
    world.clock.advance(Duration::from_millis(1));
    pull(&world, &tag("latest")).await.unwrap();
    world.database.close().await;

    let said = world.database.find_repository(&path).await;
    let found = lately.repository(&path, early, said).unwrap();
    assert!(found.unwrap().public);
    for reference in &references {
        let now = world.clock.now();
        let said = world
            .database
            .find_manifest(world.repository.id, reference, now);
        let found = lately.manifest(world.repository.id, reference, early, said.await);
        assert!(matches!(found, Ok(ManifestLookup::Found(manifest)) if manifest.digest == digest));
    }
    let layer = sha256(LAYER);
    let now = world.clock.now();
    let said = world.database.find_blob(world.repository.id, &layer, now);
    let found = lately.blob(world.repository.id, &layer, early, said.await);
    assert_eq!(found.unwrap().unwrap().digest, layer);
}

#[tokio::test]
async fn an_answering_database_is_always_right() {
    let world = World::new().await;
    world.push_image(Some("latest"), &[LAYER]).await;
    pull(&world, &tag("latest")).await.unwrap();
    let another = world.another_registry().await;

    // Another process moves the tag.
    another
        .uploads()
        .monolithic(
            &world.repository,
            &sha256(b"new"),
            None,
            super::world::whole(b"new"),
        )
        .await
        .unwrap();
    let moved = manifest(&image(&[LAYER, b"new"], ""));
    another
        .manifests()
        .put(
            &world.repository,
            &tag("latest"),
            &[],
            &moved,
            &Actor::default(),
        )
        .await
        .unwrap();
    let manifests = world.registry.manifests();
    let found = manifests
        .get(&world.repository, &tag("latest"))
        .await
        .unwrap();
    assert_eq!(&found.bytes, moved.bytes());

    // Another process deletes it, and this one has heard of that.
    world.clock.advance(Duration::from_secs(1));
    another
        .manifests()
        .delete(&world.repository, &tag("latest"), &Actor::default())
        .await
        .unwrap();
    let gone = manifests.get(&world.repository, &tag("latest")).await;
    assert!(matches!(gone, Err(PullError::TagExpired { .. })));
    world.database.close().await;
    unavailable(manifests.get(&world.repository, &tag("latest")).await);
}

#[tokio::test]
async fn what_was_moved_or_deleted_here_is_not_answered_from_memory() {
    let world = World::new().await;
    let layers = [content(1, 100), content(2, 100)];
    let old = world.push_image(Some("moved"), &[&layers[0]]).await;
    let deleted = world
        .push_image(Some("deleted"), &[&layers[0], &layers[1]])
        .await;
    world.push(b"unused").await;
    let manifests = world.registry.manifests();
    for reference in [tag("moved"), tag("deleted"), Reference::Digest(old.clone())] {
        manifests.get(&world.repository, &reference).await.unwrap();
    }
    world.pull(&sha256(b"unused")).await.unwrap();

    world.push_image(Some("moved"), &[&layers[1]]).await;
    manifests
        .delete(
            &world.repository,
            &Reference::Digest(deleted.clone()),
            &Actor::default(),
        )
        .await
        .unwrap();
    world
        .registry
        .blobs()
        .delete(&world.repository, &sha256(b"unused"))
        .await
        .unwrap();
    world.database.close().await;
    unavailable(manifests.get(&world.repository, &tag("moved")).await);
    unavailable(manifests.get(&world.repository, &tag("deleted")).await);
    unavailable(
        manifests
            .get(&world.repository, &Reference::Digest(deleted))
            .await,
    );
    unavailable(world.pull(&sha256(b"unused")).await);
    // What the tag pointed to before is still there under its digest.
    manifests
        .get(&world.repository, &Reference::Digest(old))
        .await
        .unwrap();
}
