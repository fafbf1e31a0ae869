//! What is remembered of what was read is nothing old: whatever another registry has changed is read the next time, however often it was read before.

use std::time::Duration;

use roadstead_metadata::Actor;
use roadstead_oci::{Digest, Reference, RepositoryName};
use roadstead_test_servers::Postgres;

use super::world::{Plan, World, image, manifest, sha256, whole};
use crate::{PullError, Registry};

/// Pulls what a tag points to, and looks for a blob and at the tags, as requests do.
async fn read(registry: &Registry, tag: &str, blob: &Digest) -> (Option<Digest>, bool, usize) {
    let name: RepositoryName = "admin/app".parse().unwrap();
    let reference: Reference = tag.parse().unwrap();
    let (found, asked) = registry.find_repository_to_read(&name).await.unwrap();
    let found = found.expect("the repository is there");
    let manifest = match registry
        .manifests()
        .asked(asked)
        .get(&found, &reference)
        .await
    {
        Ok(manifest) => Some(manifest.digest),
        Err(PullError::ManifestUnknown { .. } | PullError::TagExpired { .. }) => None,
        Err(error) => panic!("{error}"),
    };
    let blob = match registry.blobs().asked(asked).find(&found, blob).await {
        Ok(_) => true,
        Err(PullError::BlobUnknown { .. }) => false,
        Err(error) => panic!("{error}"),
    };
    let tags = registry.tags().asked(asked).list(&found, None, None).await;
    (manifest, blob, tags.unwrap().entries.len())
}

#[tokio::test]
async fn what_another_registry_changes_is_read_at_once_however_often_it_was_read_before() {
    let server = Plan {
        server: Some(Postgres::shared().database()),
        ..Plan::default()
    };
    for plan in [Plan::default(), server] {
        let world = World::of(plan).await;
        let there = world.another_registry().await;
        let actor = Actor::default();
        let mut last = world.push_image(Some("latest"), &[b"layer"]).await;
        for round in 0..5_usize {
            let layer = format!("layer {round}");
            let digest = sha256(layer.as_bytes());
            for _ in 0..4 {
                let expected = (Some(last.clone()), false, 1 + round);
                assert_eq!(read(&world.registry, "latest", &digest).await, expected);
            }
            let uploads = there.uploads();
            let body = whole(layer.as_bytes());
            uploads
                .monolithic(&world.repository, &digest, None, body)
                .await
                .unwrap();
            let (found, is_there, _) = read(&world.registry, "latest", &digest).await;
            assert_eq!((found, is_there), (Some(last), true));
            let pushed = manifest(&image(&[layer.as_bytes()], ""));
            let also = [format!("v{round}").parse().unwrap()];
            last = there
                .manifests()
                .put(
                    &world.repository,
                    &"latest".parse().unwrap(),
                    &also,
                    &pushed,
                    &actor,
                )
                .await
                .unwrap()
                .digest;
            let expected = (Some(last.clone()), true, 2 + round);
            assert_eq!(read(&world.registry, "latest", &digest).await, expected);
            // Nor does what was read long ago count because nothing was committed since.
            world.clock.advance(Duration::from_secs(round as u64 % 3));
        }
        // No two of a name end in the same millisecond.
        world.clock.advance(Duration::from_secs(1));
        there
            .manifests()
            .delete(&world.repository, &"latest".parse().unwrap(), &actor)
            .await
            .unwrap();
        let digest = sha256(b"layer");
        for _ in 0..4 {
            let (found, _, tags) = read(&world.registry, "latest", &digest).await;
            assert_eq!((found, tags), (None, 5));
        }
    }
}
