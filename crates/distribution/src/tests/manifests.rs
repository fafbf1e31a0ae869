//! Manifests: pushed, found, deleted.

use std::time::Duration;

use roadstead_metadata::Actor;
use roadstead_oci::{Algorithm, Digest, ErrorCode, Manifest, MediaType, Reference, Tag};

use super::world::{World, descriptor, image, index, manifest, sha256};
use crate::{DeleteError, ManifestPushError, PullError, PushedManifest, Writes};

fn tag(text: &str) -> Reference {
    Reference::Tag(text.parse().unwrap())
}

fn tags(texts: &[&str]) -> Vec<Tag> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

pub(super) async fn put(
    world: &World,
    reference: &Reference,
    besides: &[&str],
    manifest: &Manifest,
) -> Result<PushedManifest, ManifestPushError> {
    let manifests = world.registry.manifests();
    manifests
        .put(
            &world.repository,
            reference,
            &tags(besides),
            manifest,
            &Actor::default(),
        )
        .await
}

async fn found(world: &World, reference: &Reference) -> bool {
    let manifests = world.registry.manifests();
    manifests.get(&world.repository, reference).await.is_ok()
}

#[tokio::test]
async fn a_manifest_comes_back_by_tag_and_digest_byte_for_byte() {
    let world = World::new().await;
    world.push(b"{}").await;
    world.push(b"layer").await;
    let text = image(&[b"layer"], "") + " \n ";
    let manifest = manifest(&text);
    let pushed = put(&world, &tag("v1"), &[], &manifest).await.unwrap();
    assert_eq!(pushed.digest, sha256(text.as_bytes()));
    assert_eq!(pushed.tags, tags(&["v1"]));
    assert!(pushed.created);
    assert_eq!(pushed.subject, None);
    // Two blobs, each wanted at the one location that lacks it.
    assert_eq!(pushed.copies, 2);
    for reference in [tag("v1"), Reference::Digest(pushed.digest.clone())] {
        let stored = world
            .registry
            .manifests()
            .get(&world.repository, &reference)
            .await
            .unwrap();
        assert_eq!(stored.bytes, text.as_bytes());
        assert_eq!(stored.media_type, MediaType::OCI_MANIFEST);
        assert_eq!(stored.digest, pushed.digest);
    }
    let again = put(&world, &tag("v1"), &[], &manifest).await.unwrap();
    assert_eq!((again.created, again.copies), (false, 0));
}

#[tokio::test]
async fn without_replication_no_copies_become_wanted() {
    let world = World::with(|options| options.replication_queue = None).await;
    world.push(b"{}").await;
    let pushed = put(&world, &tag("v1"), &[], &manifest(&image(&[], "")))
        .await
        .unwrap();
    assert_eq!(pushed.copies, 0);
}

#[tokio::test]
async fn a_push_by_digest_takes_tags_along_each_once() {
    let world = World::new().await;
    world.push(b"{}").await;
    let manifest = manifest(&image(&[], ""));
    for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
        let digest = manifest.digest(algorithm);
        let reference = Reference::Digest(digest.clone());
        let pushed = put(&world, &reference, &["b", "a", "b"], &manifest)
            .await
            .unwrap();
        assert_eq!(pushed.digest, digest);
        assert_eq!(pushed.tags, tags(&["b", "a"]));
        for reference in [reference, tag("a"), tag("b")] {
            let stored = world
                .registry
                .manifests()
                .get(&world.repository, &reference)
                .await
                .unwrap();
            assert_eq!(stored.digest, digest);
        }
    }
    let pushed = put(&world, &tag("a"), &["c", "a"], &manifest)
        .await
        .unwrap();
    assert_eq!(pushed.tags, tags(&["a", "c"]));
}

#[tokio::test]
async fn a_digest_that_is_not_the_manifests_is_refused_in_its_own_algorithm() {
    let world = World::new().await;
    world.push(b"{}").await;
    let manifest = manifest(&image(&[], ""));
    for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
        let wrong = Digest::of(algorithm, b"else");
        let refused = put(
            &world,
            &Reference::Digest(wrong.clone()),
            &["v1"],
            &manifest,
        )
        .await
        .unwrap_err();
        let ManifestPushError::DigestMismatch { expected, actual } = &refused else {
            panic!("{refused:?}");
        };
        assert_eq!((expected, actual), (&wrong, &manifest.digest(algorithm)));
        assert_eq!(refused.code(), ErrorCode::DigestInvalid);
        assert!(!found(&world, &tag("v1")).await);
    }
}

#[tokio::test]
async fn too_many_tags_at_once_are_refused() {
    let world = World::with(|options| options.tags_per_push_max = 10).await;
    world.push(b"{}").await;
    let manifest = manifest(&image(&[], ""));
    let names: Vec<String> = (0..11).map(|tag| format!("t{tag}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let reference = Reference::Digest(manifest.digest(Algorithm::Sha256));
    let refused = put(&world, &reference, &names, &manifest).await;
    assert!(
        matches!(
            refused,
            Err(ManifestPushError::TooManyTags {
                tags: 11,
                limit: 10
            })
        ),
        "{refused:?}"
    );
    assert!(
        put(&world, &reference, &names[..10], &manifest)
            .await
            .is_ok()
    );
}

#[tokio::test]
async fn a_manifest_whose_blobs_are_missing_is_refused_and_names_them() {
    let world = World::new().await;
    world.push(b"{}").await;
    world.push_into(&world.other, b"elsewhere").await;
    let refused = put(
        &world,
        &tag("v1"),
        &[],
        &manifest(&image(&[b"elsewhere"], "")),
    )
    .await
    .unwrap_err();
    assert_eq!(refused.code(), ErrorCode::ManifestBlobUnknown);
    let ManifestPushError::BlobsUnknown(unknown) = refused else {
        panic!("{refused:?}");
    };
    assert_eq!(unknown, [sha256(b"elsewhere")]);
    assert!(!found(&world, &tag("v1")).await);
}

#[tokio::test]
async fn layers_that_are_not_to_be_pushed_may_be_missing() {
    let world = World::new().await;
    world.push(b"{}").await;
    let layer = descriptor(
        "application/vnd.oci.image.layer.nondistributable.v1.tar",
        b"foreign",
    );
    let text = image(&[], "").replace(r#""layers":[]"#, &format!(r#""layers":[{layer}]"#));
    put(&world, &tag("v1"), &[], &manifest(&text))
        .await
        .unwrap();
    assert!(found(&world, &tag("v1")).await);
}

#[tokio::test]
async fn an_index_of_blobs_needs_its_blobs() {
    let world = World::new().await;
    // As BuildKit lists a build cache.
    let cache = descriptor("application/vnd.oci.image.layer.v1.tar+gzip", b"cache");
    let text = index(&[]).replace(r#""manifests":[]"#, &format!(r#""manifests":[{cache}]"#));
    let refused = put(&world, &tag("cache"), &[], &manifest(&text)).await;
    assert!(
        matches!(&refused, Err(ManifestPushError::BlobsUnknown(unknown)) if *unknown == [sha256(b"cache")])
    );
    world.push(b"cache").await;
    put(&world, &tag("cache"), &[], &manifest(&text))
        .await
        .unwrap();
    world.clock.advance(Duration::from_hours(2));
    assert_eq!(world.pull(&sha256(b"cache")).await.unwrap(), b"cache");
}

#[tokio::test]
async fn indexes_may_be_empty_or_nested_and_need_their_manifests() {
    let world = World::new().await;
    put(&world, &tag("empty"), &[], &manifest(&index(&[])))
        .await
        .unwrap();
    let child = image(&[], "");
    let refused = put(&world, &tag("all"), &[], &manifest(&index(&[&child])))
        .await
        .unwrap_err();
    assert_eq!(refused.code(), ErrorCode::ManifestBlobUnknown);
    assert!(
        matches!(&refused, ManifestPushError::ManifestsUnknown(unknown) if *unknown == [sha256(child.as_bytes())])
    );
    let by_digest = world.push_image(None, &[]).await;
    assert_eq!(by_digest, sha256(child.as_bytes()));
    put(&world, &tag("all"), &[], &manifest(&index(&[&child])))
        .await
        .unwrap();
    let inner = index(&[&child]);
    let nested = index(&[]).replace(
        r#""manifests":[]"#,
        &format!(
            r#""manifests":[{}]"#,
            descriptor("application/vnd.oci.image.index.v1+json", inner.as_bytes())
        ),
    );
    put(&world, &tag("nested"), &[], &manifest(&nested))
        .await
        .unwrap();
    // What an index holds stays for as long as the index does.
    world.clock.advance(Duration::from_hours(2));
    assert!(found(&world, &Reference::Digest(by_digest)).await);
}

#[tokio::test]
async fn a_manifest_without_a_tag_is_held_for_an_hour() {
    let world = World::new().await;
    let digest = Reference::Digest(world.push_image(None, &[]).await);
    world.clock.advance(Duration::from_mins(59));
    assert!(found(&world, &digest).await);
    world.clock.advance(Duration::from_mins(2));
    assert!(!found(&world, &digest).await);
}

#[tokio::test]
async fn a_moved_tag_points_to_the_new_manifest() {
    let world = World::new().await;
    let one = world.push_image(Some("v1"), &[]).await;
    let two = world.push_image(Some("v1"), &[b"layer"]).await;
    assert_ne!(one, two);
    let stored = world
        .registry
        .manifests()
        .get(&world.repository, &tag("v1"))
        .await
        .unwrap();
    assert_eq!(stored.digest, two);
}

#[tokio::test]
async fn a_deleted_tag_is_gone_at_once_and_known_to_have_expired() {
    let world = World::new().await;
    let digest = world.push_image(Some("v1"), &[]).await;
    let manifests = world.registry.manifests();
    let unknown = manifests
        .get(&world.repository, &tag("v2"))
        .await
        .unwrap_err();
    assert!(
        matches!(unknown, PullError::ManifestUnknown { .. }),
        "{unknown:?}"
    );
    manifests
        .delete(&world.repository, &tag("v1"), &Actor::default())
        .await
        .unwrap();
    let expired = manifests
        .get(&world.repository, &tag("v1"))
        .await
        .unwrap_err();
    assert!(
        matches!(expired, PullError::TagExpired { .. }),
        "{expired:?}"
    );
    assert_eq!(expired.code(), ErrorCode::TagExpired);
    let again = manifests
        .delete(&world.repository, &tag("v1"), &Actor::default())
        .await;
    assert!(
        matches!(again, Err(DeleteError::ManifestUnknown { .. })),
        "{again:?}"
    );
    world.push_image(Some("v1"), &[]).await;
    let stored = manifests.get(&world.repository, &tag("v1")).await.unwrap();
    assert_eq!(stored.digest, digest);
}

#[tokio::test]
async fn a_deleted_manifest_is_gone_at_once_with_its_tags() {
    let world = World::new().await;
    let digest = Reference::Digest(world.push_image(Some("v1"), &[b"layer"]).await);
    world.push_image(Some("v2"), &[b"layer"]).await;
    let kept = world.push_image(Some("kept"), &[b"layer", b"more"]).await;
    let manifests = world.registry.manifests();
    manifests
        .delete(&world.repository, &digest, &Actor::default())
        .await
        .unwrap();
    for reference in [digest.clone(), tag("v1"), tag("v2")] {
        assert!(!found(&world, &reference).await, "{reference}");
        let again = manifests
            .delete(&world.repository, &reference, &Actor::default())
            .await
            .unwrap_err();
        assert_eq!(again.code(), ErrorCode::ManifestUnknown);
    }
    assert!(found(&world, &Reference::Digest(kept)).await);
    let page = world
        .registry
        .tags()
        .list(&world.repository, None, None)
        .await
        .unwrap();
    assert_eq!(page.entries, ["kept"]);
    world.push_image(Some("v1"), &[b"layer"]).await;
    assert!(found(&world, &digest).await);
}

#[tokio::test]
async fn a_blob_of_a_manifest_cannot_be_deleted_before_it() {
    let world = World::new().await;
    let digest = world.push_image(Some("v1"), &[b"layer"]).await;
    let layer = sha256(b"layer");
    let blobs = world.registry.blobs();
    let refused = blobs.delete(&world.repository, &layer).await.unwrap_err();
    assert!(
        matches!(&refused, DeleteError::BlobInUse { manifests, .. } if *manifests == [digest.to_string()]),
        "{refused:?}"
    );
    assert_eq!(world.pull(&layer).await.unwrap(), b"layer");
    let manifests = world.registry.manifests();
    manifests
        .delete(
            &world.repository,
            &Reference::Digest(digest),
            &Actor::default(),
        )
        .await
        .unwrap();
    blobs.delete(&world.repository, &layer).await.unwrap();
    assert!(matches!(
        world.pull(&layer).await,
        Err(PullError::BlobUnknown { .. })
    ));
}

#[tokio::test]
async fn nothing_is_stored_or_deleted_where_nothing_may_change() {
    let world = World::with(|options| options.writes = Writes::PushesDisabled).await;
    let manifests = world.registry.manifests();
    let refused = put(&world, &tag("v1"), &[], &manifest(&index(&[]))).await;
    assert!(
        matches!(refused, Err(ManifestPushError::Refused(_))),
        "{refused:?}"
    );
    let refused = manifests
        .delete(&world.repository, &tag("v1"), &Actor::default())
        .await;
    assert!(
        matches!(refused, Err(DeleteError::Refused(_))),
        "{refused:?}"
    );
    let refused = world
        .registry
        .blobs()
        .delete(&world.repository, &sha256(b"x"))
        .await;
    assert!(
        matches!(refused, Err(DeleteError::Refused(_))),
        "{refused:?}"
    );
}
