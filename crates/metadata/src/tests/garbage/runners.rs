//! Several who collect, push and delete at the same time, on a real database.

use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::future::join_all;

use super::*;

#[tokio::test]
async fn several_collectors_remove_everything_once() {
    for world in worlds().await {
        for number in 0..40 {
            let own = format!("layer {number}");
            let tag = format!("v{number}");
            world
                .image_in(&world.repository, &["base", &own], &[&tag])
                .await;
            world.delete(&tag, world.now).await;
        }
        let past = later(world.now, WINDOW);
        let removed = join_all((0..4).map(|_| world.collect(past))).await;
        let mut total = Removed::default();
        for part in removed {
            total += part;
        }
        // What one of them left to another that was at it.
        total += world.collect(later(past, 60)).await;
        assert_eq!((total.tags, total.manifests, total.blobs), (40, 40, 42));
        assert_eq!(world.doomed().await.len(), 42);
        assert_eq!(world.count("imagestorage").await, 0);
        let location = us();
        let claims = [0; 4].map(|_| ClaimObjects {
            location: &location,
            limit: 20,
            now: past,
            lease_until: later(past, 300),
            token: world.ids.uuid(),
        });
        let claimed = claims
            .iter()
            .map(|claim| world.database.claim_doomed_objects(claim));
        let claims: Vec<_> = join_all(claimed)
            .await
            .into_iter()
            .collect::<Result<_, _>>()
            .unwrap();
        let digests: Vec<Digest> = claims
            .iter()
            .flatten()
            .map(|object| object.digest.clone())
            .collect();
        let different: BTreeSet<&Digest> = digests.iter().collect();
        assert!(!digests.is_empty());
        assert_eq!(different.len(), digests.len(), "two were given one object");
    }
}

/// The collectors live two hours after the pushers, so that for them every protection has ended: only what refers to a blob at this moment
/// holds it. A push may find its blob gone; a manifest that was taken never does.
#[tokio::test]
async fn a_manifest_that_was_taken_has_all_of_its_blobs_however_many_collect_meanwhile() {
    for world in worlds().await {
        let world = &world;
        let pushing = AtomicUsize::new(4);
        let [taken, refused, pushes] = [0; 3].map(AtomicUsize::new);
        let push = async |pusher: usize| {
            for round in 0..12 {
                let shared = format!("shared {}", (pusher + round) % 3);
                let own = format!("own {pusher} {round}");
                for content in ["{}", &shared, &own] {
                    world.record_in(&world.repository, content, &us()).await;
                }
                let manifest = image(&[&shared, &own]);
                let tag = format!("tag{pusher}");
                match world.put(&manifest, &[&tag], world.now).await {
                    PutManifestOutcome::Stored { .. } => taken.fetch_add(1, Ordering::Relaxed),
                    PutManifestOutcome::BlobsUnknown(_) => refused.fetch_add(1, Ordering::Relaxed),
                    other => panic!("{other:?}"),
                };
                pushes.fetch_add(1, Ordering::Relaxed);
                if round % 3 == 2 {
                    world.delete(&tag, world.now).await;
                }
            }
            pushing.fetch_sub(1, Ordering::Relaxed);
        };
        // Every third push or so meets a collection.
        let collect = async || {
            let mut seen = 0;
            while pushing.load(Ordering::Relaxed) > 0 {
                if pushes.load(Ordering::Relaxed) < seen + 3 {
                    tokio::task::yield_now().await;
                    continue;
                }
                seen = pushes.load(Ordering::Relaxed);
                world.collect(later(world.now, WINDOW + 7200)).await;
            }
        };
        tokio::join!(
            join_all((0..4).map(push)),
            join_all((0..2).map(|_| collect()))
        );
        println!(
            "taken {}, refused {}",
            taken.load(Ordering::Relaxed),
            refused.load(Ordering::Relaxed)
        );
        assert_eq!(
            world
                .count(
                    "manifest m WHERE 3 <> (
                         SELECT count(*) FROM manifestblob mb
                         JOIN imagestorageplacement p ON p.storage_id = mb.blob_id WHERE mb.manifest_id = m.id)"
                )
                .await,
            0
        );
        assert!(taken.into_inner() > 0);
        // Later than what was put off because somebody was at work. The last round deleted every tag.
        world.collect(later(world.now, WINDOW + 7300)).await;
        assert_eq!(world.count("manifest").await, 0);
        assert_eq!(world.count("imagestorage").await, 0);
    }
}
