//! What is asked about replication: which copies failed, where an image is, and what would be lost with a location.

use roadstead_placement::FailureClass;

use super::*;

async fn pushed(world: &World, contents: &[&str], tags: &[&str]) -> Manifest {
    world.blob("{}", &us()).await;
    for content in contents {
        world.blob(content, &us()).await;
    }
    let image = image(contents);
    world.put(&image, tags, world.now).await;
    image
}

/// Takes all jobs and puts them off for an hour, with a reason.
async fn fail_all(world: &World, reason: &str) -> usize {
    let jobs = world.claim(world.now).await;
    for job in &jobs {
        let until = later(world.now, 3600);
        assert!(
            world
                .database
                .postpone_job(job, until, reason, FailureClass::TargetFull, world.now)
                .await
                .unwrap()
        );
    }
    jobs.len()
}

#[tokio::test]
async fn copies_that_failed_are_listed_in_pages_with_what_is_known_of_them() {
    for world in worlds().await {
        let database = &world.database;
        let all = FailedCopiesOf::default();
        pushed(&world, &["one", "two"], &["v1"]).await;
        assert!(
            database
                .failed_copies(&all, 0, 10, world.now)
                .await
                .unwrap()
                .is_empty()
        );
        assert_eq!(fail_all(&world, "the disk is full").await, 3);
        let first = database.failed_copies(&all, 0, 2, world.now).await.unwrap();
        let rest = database
            .failed_copies(&all, first[1].id, 2, world.now)
            .await
            .unwrap();
        assert_eq!((first.len(), rest.len()), (2, 1));
        let copy = rest.first().unwrap();
        assert_eq!(
            *copy,
            FailedCopy {
                id: copy.id,
                digest: digest_of("two"),
                size: 3,
                location: eu(),
                attempts: 1,
                wanted_since: world.now,
                last_attempt: Some(world.now),
                failure: "the disk is full".to_owned(),
                class: Some(FailureClass::TargetFull),
                next_attempt: Some(later(world.now, 3600)),
                running: false,
                image: Some("acme/app:v1".to_owned()),
            }
        );
        let two = digest_of("two");
        for (location, digest, expected) in [
            (Some(eu()), None, 3),
            (Some(us()), None, 0),
            (Some(eu()), Some(&two), 1),
            (None, Some(&digest_of("three")), 0),
        ] {
            let of = FailedCopiesOf {
                location: location.as_ref(),
                digest,
            };
            let found = database.failed_copies(&of, 0, 10, world.now).await.unwrap();
            assert_eq!(found.len(), expected, "{of:?}");
        }
    }
}

#[tokio::test]
async fn failed_copies_are_due_at_once_in_batches_when_somebody_says_so_and_others_are_not() {
    for world in worlds().await {
        let database = &world.database;
        pushed(&world, &["one", "two"], &["v1"]).await;
        fail_all(&world, "the disk is full").await;
        world.blob("new", &us()).await;
        world.put(&image(&["new"]), &["v2"], world.now).await;
        world
            .sql("UPDATE queueitem SET available_after = '2099-01-01 00:00:00' WHERE id = (SELECT max(id) FROM queueitem)")
            .await;
        world
            .sql("UPDATE roadstead_copy SET ready = false, due = '2099-01-01 00:00:00' WHERE queueitem_id = (SELECT max(id) FROM queueitem)")
            .await;
        let two = digest_of("two");
        let of = FailedCopiesOf {
            location: None,
            digest: Some(&two),
        };
        assert_eq!(
            database
                .hasten_failed_copies(&of, 10, world.now)
                .await
                .unwrap(),
            1
        );
        let jobs = world.claim(world.now).await;
        assert_eq!(jobs.len(), 1);
        let running = database.failed_copies(&of, 0, 10, world.now).await.unwrap();
        assert_eq!((running[0].running, running[0].next_attempt), (true, None));
        let everywhere = FailedCopiesOf {
            location: Some(&eu()),
            digest: None,
        };
        for expected in [1, 1, 0] {
            assert_eq!(
                database
                    .hasten_failed_copies(&everywhere, 1, world.now)
                    .await
                    .unwrap(),
                expected
            );
        }
        assert_eq!(world.claim(world.now).await.len(), 2);
    }
}

#[tokio::test]
async fn the_blobs_of_an_image_are_those_of_all_manifests_below_it() {
    for world in worlds().await {
        let database = &world.database;
        let one = pushed(&world, &["one"], &[]).await;
        let two = pushed(&world, &["two"], &["two"]).await;
        let list = index(&[&one, &two]);
        world.put(&list, &["v1"], world.now).await;
        fail_all(&world, "the disk is full").await;
        let blob = world.blob("one", &us()).await;
        world.copied(&blob, &eu()).await;
        let find = async |reference: &str| {
            let found = database
                .find_manifest(world.repository.id, &reference.parse().unwrap(), world.now)
                .await
                .unwrap();
            match found {
                ManifestLookup::Found(manifest) => manifest.id,
                other => panic!("{other:?}"),
            }
        };
        let blobs = database.image_blobs(find("v1").await).await.unwrap();
        let digests: BTreeSet<Digest> = blobs.iter().map(|blob| blob.digest.clone()).collect();
        assert_eq!(digests, ["{}", "one", "two"].map(digest_of).into());
        assert_eq!(blobs.len(), 3);
        for blob in blobs {
            if blob.digest == digest_of("one") {
                assert_eq!((blob.present, blob.wanted.len()), (both(), 0));
            } else {
                assert_eq!(blob.present, BTreeSet::from([us()]));
                let failure = blob.wanted[&eu()].failure.as_deref();
                assert_eq!(failure, Some("the disk is full"));
            }
        }
        assert_eq!(
            database.image_blobs(find("two").await).await.unwrap().len(),
            2
        );
        assert!(
            database
                .image_blobs(ManifestId(1_000_000))
                .await
                .unwrap()
                .is_empty()
        );
    }
}

/// Every image at risk, in pages of this many.
async fn at_risk(world: &World, of: &AtRiskOf<'_>, limit: u32) -> Vec<AtRiskImage> {
    let mut images = Vec::new();
    let mut position = AtRiskPosition::default();
    loop {
        let page = world
            .database
            .at_risk_images(of, position, limit)
            .await
            .unwrap();
        assert!(page.images.len() <= limit as usize);
        images.extend(page.images);
        match page.next {
            Some(next) => position = next,
            None => return images,
        }
    }
}

#[tokio::test]
async fn every_image_that_would_be_lost_is_named_once_whatever_the_pages() {
    for world in worlds().await {
        let of = AtRiskOf {
            location: &us(),
            counted: &both(),
            now: world.now,
        };
        assert_eq!(
            world.database.at_risk_totals(&of).await.unwrap(),
            AtRiskTotals::default()
        );
        // Safe but for the configuration that all images share.
        let safe = world.blob("safe", &us()).await;
        pushed(&world, &["safe"], &["safe"]).await;
        world.copied(&safe, &eu()).await;
        let config = world.blob("{}", &us()).await;
        world.copied(&config, &eu()).await;
        // Two tags over one manifest, a list of two of which one is tagged too, and one that lost its tag.
        let plain = pushed(&world, &["plain", "layer"], &["v1", "v2"]).await;
        let arm = pushed(&world, &["arm", "layer"], &[]).await;
        let amd = pushed(&world, &["amd"], &["amd"]).await;
        world.put(&index(&[&arm, &amd]), &["many"], world.now).await;
        let old = pushed(&world, &["old"], &["old"]).await;
        pushed(&world, &["young"], &["old"]).await;
        world.blob("of nobody", &us()).await;
        let risk = |image: &str, blobs, bytes| AtRiskImage {
            image: image.to_owned(),
            blobs,
            bytes,
        };
        let old = format!("acme/app@{}", old.digest(Algorithm::Sha256));
        let expected = [
            risk("acme/app:v1", 2, 10),
            risk("acme/app:v2", 2, 10),
            risk("acme/app:many", 3, 11),
            risk("acme/app:amd", 1, 3),
            risk(&old, 1, 3),
            risk("acme/app:old", 1, 5),
        ];
        for limit in [1, 2, 3, 4, 100] {
            let mut images = at_risk(&world, &of, limit).await;
            // Those of one manifest come in the order of their tags' rows.
            images.sort_by(|one, other| one.image.cmp(&other.image));
            let mut expected = expected.to_vec();
            expected.sort_by(|one, other| one.image.cmp(&other.image));
            assert_eq!(images, expected, "pages of {limit}");
        }
        assert_eq!(
            world.database.at_risk_totals(&of).await.unwrap(),
            AtRiskTotals {
                images: 6,
                blobs: 6,
                bytes: 5 + 5 + 3 + 3 + 3 + 5,
                other_blobs: 1,
            }
        );
        let none = AtRiskOf {
            location: &eu(),
            ..of
        };
        assert!(at_risk(&world, &none, 10).await.is_empty());
        // A copy at a location that does not count is none.
        let alone = AtRiskOf {
            counted: &BTreeSet::from([us()]),
            ..of
        };
        assert_eq!(at_risk(&world, &alone, 10).await.len(), 7);
        let blob = world.blob("plain", &us()).await;
        world.copied(&blob, &eu()).await;
        assert_eq!(at_risk(&world, &of, 10).await.first().unwrap().blobs, 1);
        drop((plain, arm, amd));
    }
}
