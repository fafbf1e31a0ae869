//! The sizes of repositories and namespaces.

use super::*;
use crate::quota;

/// Every size there is: whose, how many bytes, and whether it is complete.
async fn sizes(world: &World) -> Vec<String> {
    world
        .texts(
            "SELECT 'repository ' || r.name || ' ' || CAST(q.size_bytes AS varchar)
                    || CASE WHEN q.backfill_complete THEN '' ELSE ' incomplete' END AS name
             FROM quotarepositorysize q JOIN repository r ON r.id = q.repository_id
             UNION ALL
             SELECT 'namespace ' || CAST(q.size_bytes AS varchar)
                    || CASE WHEN q.backfill_complete THEN '' ELSE ' incomplete' END
             FROM quotanamespacesize q ORDER BY 1",
        )
        .await
}

async fn push(world: &World, repository: &Repository, layers: &[&str]) {
    world.blob_in(repository, "{}", &us()).await;
    for layer in layers {
        world.blob_in(repository, layer, &us()).await;
    }
    let outcome = world
        .put_into(
            repository,
            &image(layers),
            PushedLabels::NONE,
            &["latest"],
            world.now,
        )
        .await;
    assert!(matches!(outcome, PutManifestOutcome::Stored { .. }));
}

async fn kept_worlds() -> [World; 2] {
    let mut worlds = worlds().await;
    for world in &mut worlds {
        world.features.quota = QuotaSizes::Kept;
    }
    worlds
}

#[tokio::test]
async fn a_blob_weighs_once_in_its_repository_and_once_in_its_namespace() {
    for world in kept_worlds().await {
        let other = world.repository("other").await;
        push(&world, &world.repository, &["aaaa", "bbbb"]).await;
        assert_eq!(sizes(&world).await, ["namespace 10", "repository app 10"]);
        push(&world, &world.repository, &["aaaa", "bbbb"]).await;
        push(&world, &world.repository, &["aaaa", "cc"]).await;
        assert_eq!(sizes(&world).await, ["namespace 12", "repository app 12"]);
        push(&world, &other, &["bbbb", "ddddd"]).await;
        assert_eq!(
            sizes(&world).await,
            ["namespace 17", "repository app 12", "repository other 11"]
        );
        world
            .put(&index(&[&image(&["aaaa", "cc"])]), &["multi"], world.now)
            .await;
        assert_eq!(sizes(&world).await.len(), 3, "an index weighs nothing");
    }
}

#[tokio::test]
async fn what_the_backfill_has_not_finished_is_left_to_it() {
    for mut world in kept_worlds().await {
        // Content from before there were sizes.
        world.features.quota = QuotaSizes::Left;
        push(&world, &world.repository, &["aaaa"]).await;
        world.features.quota = QuotaSizes::Kept;
        push(&world, &world.repository, &["bbbb"]).await;
        assert_eq!(
            sizes(&world).await,
            [""; 0],
            "no row is made with half a sum"
        );
        let other = world.repository("other").await;
        push(&world, &other, &["cc"]).await;
        assert_eq!(sizes(&world).await, ["repository other 4"]);

        world
            .sql("INSERT INTO quotanamespacesize (namespace_user_id, size_bytes, backfill_start_ms, backfill_complete) SELECT DISTINCT namespace_user_id, 7, 1, false FROM repository")
            .await;
        push(&world, &other, &["dd"]).await;
        assert_eq!(
            sizes(&world).await,
            ["namespace 7 incomplete", "repository other 6"]
        );
        // Whose account is disabled is not weighed.
        world
            .sql(r#"UPDATE "user" SET enabled = false WHERE organization"#)
            .await;
        push(&world, &other, &["ee"]).await;
        assert_eq!(
            sizes(&world).await,
            ["namespace 7 incomplete", "repository other 6"]
        );
    }
}

#[tokio::test]
async fn sizes_that_are_not_kept_are_marked_for_the_backfill() {
    for mut world in kept_worlds().await {
        push(&world, &world.repository, &["aaaa"]).await;
        world.features.quota = QuotaSizes::Left;
        push(&world, &world.repository, &["bbbb"]).await;
        assert_eq!(sizes(&world).await, ["namespace 6", "repository app 6"]);
        world.features.quota = QuotaSizes::Invalidated;
        push(&world, &world.repository, &["bbbb"]).await;
        assert_eq!(
            sizes(&world).await,
            ["namespace 6", "repository app 6"],
            "nothing new was linked"
        );
        push(&world, &world.repository, &["cccc"]).await;
        assert_eq!(
            sizes(&world).await,
            ["namespace 0 incomplete", "repository app 0 incomplete"]
        );
    }
}

#[tokio::test]
async fn what_leaves_a_repository_leaves_its_sizes() {
    for world in kept_worlds().await {
        let other = world.repository("other").await;
        push(&world, &world.repository, &["aaaa", "bb"]).await;
        push(&world, &world.repository, &["aaaa", "ccc"]).await;
        push(&world, &other, &["bb"]).await;
        assert_eq!(
            sizes(&world).await,
            ["namespace 11", "repository app 11", "repository other 4"]
        );
        let gone = image(&["aaaa", "bb"]).digest(Algorithm::Sha256);
        let collect = async |repository: &Repository, digest: &Digest, storages: &[StorageId]| {
            let transaction = world.database.begin("collect a manifest").await.unwrap();
            transaction
                .execute(
                    "collect a manifest",
                    "DELETE FROM manifestblob WHERE manifest_id IN (SELECT id FROM manifest WHERE digest = $1 AND repository_id = $2)",
                    params![digest.to_string(), repository.id.0],
                )
                .await
                .unwrap();
            quota::blobs_unlinked(
                &transaction,
                world.features.quota,
                repository.namespace_id,
                repository.id,
                storages,
            )
            .await
            .unwrap();
            transaction.commit().await.unwrap();
        };
        let mut storages = Vec::new();
        for content in ["{}", "aaaa", "bb", "ccc"] {
            let blob = world.database.find_blob_anywhere(&digest_of(content)).await;
            storages.push(blob.unwrap().unwrap().storage);
        }
        collect(&world.repository, &gone, &storages[..3]).await;
        assert_eq!(
            sizes(&world).await,
            ["namespace 11", "repository app 9", "repository other 4"],
            "the other repository still has it"
        );
        let gone = image(&["bb"]).digest(Algorithm::Sha256);
        collect(&other, &gone, &[storages[0], storages[2]]).await;
        assert_eq!(
            sizes(&world).await,
            ["namespace 9", "repository app 9", "repository other 0"]
        );
        world
            .sql("UPDATE quotanamespacesize SET size_bytes = 3")
            .await;
        let gone = image(&["aaaa", "ccc"]).digest(Algorithm::Sha256);
        collect(&world.repository, &gone, &storages).await;
        assert_eq!(
            sizes(&world).await,
            ["namespace 0", "repository app 0", "repository other 0"],
            "a size that was wrong does not become negative"
        );
    }
}

#[tokio::test]
async fn pushes_of_one_blob_into_two_repositories_at_once_weigh_it_once_in_the_namespace() {
    for mut world in kept_worlds().await {
        // Nothing else of theirs keeps the two from going on side by side.
        world.required.clear();
        let other = world.repository("other").await;
        push(&world, &world.repository, &[]).await;
        push(&world, &other, &[]).await;
        for number in 10..30 {
            let layer = format!("layer {number}");
            let us = us();
            let (one, two) = tokio::join!(
                world.blob_in(&world.repository, &layer, &us),
                world.blob_in(&other, &layer, &us)
            );
            assert_eq!(one.storage, two.storage);
            let manifest = image(&[&layer]);
            let put = |repository| {
                world.put_into(
                    repository,
                    &manifest,
                    PushedLabels::NONE,
                    &["latest"],
                    world.now,
                )
            };
            tokio::join!(put(&world.repository), put(&other));
        }
        assert_eq!(
            sizes(&world).await,
            [
                "namespace 162",
                "repository app 162",
                "repository other 162"
            ]
        );
    }
}

#[tokio::test]
async fn the_first_pushes_into_a_namespace_make_one_row_though_they_come_at_once() {
    for world in kept_worlds().await {
        let mut repositories = vec![world.repository.clone()];
        for number in 1..4 {
            repositories.push(world.repository(&format!("app{number}")).await);
        }
        for repository in &repositories {
            world.blob_in(repository, "{}", &us()).await;
        }
        let manifest = image(&[]);
        let pushes = repositories.iter().map(|repository| {
            world.put_into(
                repository,
                &manifest,
                PushedLabels::NONE,
                &["latest"],
                world.now,
            )
        });
        for outcome in futures_util::future::join_all(pushes).await {
            assert!(matches!(
                outcome,
                PutManifestOutcome::Stored { created: true, .. }
            ));
        }
        assert_eq!(
            sizes(&world).await,
            [
                "namespace 2",
                "repository app 2",
                "repository app1 2",
                "repository app2 2",
                "repository app3 2",
            ]
        );
    }
}
