//! Upload sessions and the blobs that they become.

use uuid::Uuid;

use super::*;

async fn begin(world: &World) -> Upload {
    let state = Digester::new(Algorithm::Sha256).save();
    world
        .database
        .create_upload(&NewUpload {
            uuid: world.ids.uuid(),
            repository: world.repository.id,
            location: &us(),
            hash_state: &state,
            now: world.now,
        })
        .await
        .unwrap()
}

#[tokio::test]
async fn a_writer_that_was_overtaken_changes_nothing() {
    for world in worlds().await {
        let upload = begin(&world).await;
        let mut digester = Digester::new(Algorithm::Sha256);
        digester.update(b"hello");
        let state = digester.save();
        let advanced = world
            .database
            .advance_upload(&advance(&upload, 5, &state, world.now))
            .await
            .unwrap()
            .expect("the first writer wins");
        assert_eq!(advanced.offset, 5);
        assert!(
            world
                .database
                .advance_upload(&advance(&upload, 7, &state, world.now))
                .await
                .unwrap()
                .is_none()
        );
        assert!(!world.database.forget_upload(&upload).await.unwrap());
        let found = world
            .database
            .find_upload(world.repository.id, upload.uuid)
            .await
            .unwrap()
            .unwrap();
        assert_eq!((found.offset, found.version), (5, 2));
        assert_eq!(
            Digester::resume(&found.hash_state).unwrap().finish(),
            digest_of("hello")
        );
    }
}

#[tokio::test]
async fn a_session_is_found_in_its_own_repository_only() {
    for world in worlds().await {
        let other = world.repository("other").await;
        let upload = begin(&world).await;
        assert!(
            world
                .database
                .find_upload(other.id, upload.uuid)
                .await
                .unwrap()
                .is_none()
        );
    }
}

#[tokio::test]
async fn committing_ends_the_session_and_a_second_commit_is_refused_without_a_trace() {
    for world in worlds().await {
        let upload = begin(&world).await;
        let digest = digest_of("");
        let publication = world.publication("", &us()).await;
        let mut commit = CommitBlob {
            repository: world.repository.id,
            publication: &publication,
            size: 0,
            protect_until: later(world.now, 10),
            upload: Some(&upload),
            uuid: world.ids.uuid(),
            now: world.now,
        };
        world.database.commit_blob(&commit).await.unwrap();
        let publication = world.publication("", &eu()).await;
        commit.publication = &publication;
        assert!(matches!(
            world.database.commit_blob(&commit).await.unwrap_err(),
            MetadataError::Conflict { .. }
        ));
        let found = world
            .database
            .find_blob(world.repository.id, &digest, world.now)
            .await
            .unwrap()
            .unwrap();
        assert_eq!(found.present, BTreeSet::from([us()]));
        assert!(
            world
                .database
                .find_blob(world.repository.id, &digest, later(world.now, 11))
                .await
                .unwrap()
                .is_none(),
            "an upload that no manifest took is visible only while it is protected"
        );
    }
}

#[tokio::test]
async fn a_location_that_is_being_removed_takes_no_uploads_and_no_blobs() {
    for world in worlds().await {
        world
            .database
            .set_location_state(&us(), LocationState::Removing, world.now)
            .await
            .unwrap();
        let state = Digester::new(Algorithm::Sha256).save();
        let refused = world
            .database
            .create_upload(&NewUpload {
                uuid: world.ids.uuid(),
                repository: world.repository.id,
                location: &us(),
                hash_state: &state,
                now: world.now,
            })
            .await
            .unwrap_err();
        assert!(
            matches!(refused, MetadataError::Conflict { .. }),
            "{refused}"
        );
    }
}

#[tokio::test]
async fn sessions_that_nobody_adds_to_are_found_as_abandoned() {
    for world in worlds().await {
        let upload = begin(&world).await;
        let mut found = world
            .database
            .abandoned_uploads(world.now, 10)
            .await
            .unwrap();
        assert!(found.is_empty());
        found = world
            .database
            .abandoned_uploads(later(world.now, 1), 10)
            .await
            .unwrap();
        assert_eq!(found.len(), 1);
        assert!(world.database.upload_exists(upload.uuid).await.unwrap());
        assert!(world.database.forget_upload(&found[0]).await.unwrap());
        assert!(!world.database.upload_exists(upload.uuid).await.unwrap());
    }
}

#[tokio::test]
async fn a_blob_is_mounted_only_from_where_the_caller_may_read() {
    for world in worlds().await {
        let other = world.repository("other").await;
        let blob = world.blob("layer", &us()).await;
        let found = |source| {
            let database = world.database.clone();
            let digest = blob.digest.clone();
            let now = world.now;
            async move {
                database
                    .mountable_blob(&digest, source, now)
                    .await
                    .unwrap()
                    .is_some()
            }
        };
        assert!(found(MountSource::Any).await);
        assert!(!found(MountSource::AnyPublic).await);
        assert!(found(MountSource::Repository(world.repository.id)).await);
        assert!(!found(MountSource::Repository(other.id)).await);
        world
            .database
            .link_blob(other.id, blob.storage, later(world.now, 10), world.now)
            .await
            .unwrap();
        assert!(found(MountSource::Repository(other.id)).await);
    }
}

/// A session as Quay leaves it, of 40000 bytes.
async fn quays_session(world: &World, uuid: Uuid) {
    world
        .sql(&format!(
            r#"INSERT INTO blobupload (repository_id, uuid, byte_count, location_id, storage_metadata, chunk_count, created)
               SELECT {}, '{uuid}', 40000, id, '{{"chunks": [["uploads/a7632e4f", 0, 40000]]}}', 1, '2020-01-01 00:00:00'
               FROM imagestoragelocation WHERE name = 'usstorage'"#,
            world.repository.id
        ))
        .await;
}

#[tokio::test]
async fn a_session_that_quay_began_is_known_as_such_and_left_alone() {
    for world in worlds().await {
        let uuid = world.ids.uuid();
        quays_session(&world, uuid).await;
        let database = &world.database;
        let other = world.repository("other").await;
        let found = database.find_upload(world.repository.id, uuid).await;
        assert!(found.unwrap().is_none());
        assert!(
            database
                .is_quays_upload(world.repository.id, uuid)
                .await
                .unwrap()
        );
        assert!(!database.is_quays_upload(other.id, uuid).await.unwrap());
        assert!(database.upload_exists(uuid).await.unwrap());
        let abandoned = database.abandoned_uploads(later(world.now, 1), 10).await;
        assert!(abandoned.unwrap().is_empty(), "however old it is");
    }
}

#[tokio::test]
async fn quay_does_not_find_a_session_of_ours_and_takes_one_that_is_added_to_for_a_young_one() {
    for world in worlds().await {
        let database = &world.database;
        let upload = begin(&world).await;
        let uuid = upload.uuid;
        assert!(
            !database
                .is_quays_upload(world.repository.id, uuid)
                .await
                .unwrap()
        );
        assert!(database.upload_exists(uuid).await.unwrap());
        // How Quay looks a session up, and what its clean-up goes by.
        let found = world
            .texts(&format!(
                "SELECT uuid AS name FROM blobupload WHERE uuid = '{uuid}'"
            ))
            .await;
        assert!(found.is_empty(), "{found:?}");
        let days = later(world.now, 3 * 24 * 3600);
        let upload = database
            .advance_upload(&advance(
                &upload,
                5,
                &Digester::new(Algorithm::Sha256).save(),
                days,
            ))
            .await
            .unwrap()
            .unwrap();
        let created = world
            .texts("SELECT substr(CAST(created AS varchar), 1, 19) AS name FROM blobupload")
            .await;
        assert_eq!(created, [days.format("%F %T").to_string()]);

        // Quay's clean-up takes the row.
        world.sql("DELETE FROM blobupload").await;
        assert!(
            database
                .find_upload(world.repository.id, uuid)
                .await
                .unwrap()
                .is_none()
        );
        let forget = async |seconds| {
            database
                .forget_lost_uploads(later(days, seconds))
                .await
                .unwrap()
        };
        assert_eq!(
            (forget(0).await, forget(1).await, forget(1).await),
            (0, 1, 0)
        );
        assert!(!database.forget_upload(&upload).await.unwrap());
    }
}
