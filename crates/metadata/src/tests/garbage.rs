//! What leaves, what stays and in which order, whoever is at work at the same time.

mod deleted;
mod interleavings;
mod objects;
mod runners;

use roadstead_oci::Tag;

use super::*;
use crate::database::{Connection, Counted, Named};

/// Quay's window of a new namespace, in seconds.
const WINDOW: u64 = 1_209_600;

fn milliseconds(now: Timestamp, milliseconds: u64) -> Timestamp {
    now + Duration::from_millis(milliseconds)
}

impl World {
    async fn collection(&self) -> Collection {
        self.database.collection(self.features).await.unwrap()
    }

    /// Everything that a collection removes from the metadata at this time, notes of strays not included.
    async fn collect(&self, now: Timestamp) -> Removed {
        let collection = self.collection().await;
        let database = &self.database;
        let mut removed = Removed::default();
        while database.end_upload_protections(now, 10).await.unwrap() > 0 {}
        let until = database.latest_past_end(now).await.unwrap();
        let mut after = 0;
        loop {
            let page = database
                .repositories_with_past_tags(after, until, now, 3)
                .await
                .unwrap();
            for repository in page.repositories {
                loop {
                    let collected = database
                        .collect_tags(&collection, repository, now, 10)
                        .await
                        .unwrap();
                    removed.tags += collected.tags;
                    removed.manifests += collected.manifests;
                    if collected.tags < 10 {
                        break;
                    }
                }
            }
            match page.next {
                Some(next) => after = next,
                None => break,
            }
        }
        loop {
            let collected = database
                .collect_blobs(&collection, now, later(now, 60), 7)
                .await
                .unwrap();
            removed.blobs += collected.blobs;
            removed.bytes += collected.bytes;
            if collected.looked_at == 0 {
                return removed;
            }
        }
    }

    async fn put_in(&self, repository: &Repository, manifest: &Manifest, tags: &[&str]) {
        let mut world_tags: Vec<Tag> = Vec::new();
        for tag in tags {
            world_tags.push(tag.parse().unwrap());
        }
        let outcome = self
            .database
            .put_manifest(&PutManifest {
                repository,
                digest: &manifest.digest(Algorithm::Sha256),
                manifest,
                labels: PushedLabels::NONE,
                tags: &world_tags,
                untagged_until: later(self.now, 3600),
                demand: Some(Demand {
                    defaults: &both(),
                    configured: &both(),
                }),
                queue: QUEUE,
                features: self.features,
                actor: &Actor::default(),
                ids: &self.ids,
                now: self.now,
            })
            .await
            .unwrap();
        assert!(
            matches!(outcome, PutManifestOutcome::Stored { .. }),
            "{outcome:?}"
        );
    }

    /// Pushes an image of this config-less layer and the config `{}` under tags of the repository.
    async fn image_in(&self, repository: &Repository, layers: &[&str], tags: &[&str]) -> Manifest {
        self.blob_in(repository, "{}", &us()).await;
        for layer in layers {
            self.blob_in(repository, layer, &us()).await;
        }
        let manifest = image(layers);
        self.put_in(repository, &manifest, tags).await;
        manifest
    }

    async fn has_manifest(&self, manifest: &Manifest) -> bool {
        self.database
            .knows_manifest(self.repository.id, &manifest.digest(Algorithm::Sha256))
            .await
            .unwrap()
    }

    async fn has_blob(&self, content: &str) -> bool {
        self.database
            .find_blob_anywhere(&digest_of(content))
            .await
            .unwrap()
            .is_some()
    }

    async fn count(&self, from: &str) -> i64 {
        let row: Option<Counted> = self
            .database
            .reader()
            .row(
                "look into a test's database",
                &format!("SELECT count(*) AS count FROM {from}"),
                params![],
            )
            .await
            .unwrap();
        row.unwrap().count
    }

    /// What waits to be deleted, as `location digest`.
    async fn doomed(&self) -> Vec<String> {
        let rows: Vec<Named> = self
            .database
            .reader()
            .rows(
                "look into a test's database",
                "SELECT location || ' ' || digest AS name FROM roadstead_doomed_object ORDER BY location, digest",
                params![],
            )
            .await
            .unwrap();
        rows.into_iter().map(|row| row.name).collect()
    }
}

#[tokio::test]
async fn a_tag_leaves_in_the_millisecond_in_which_its_window_is_over_and_its_manifest_with_it() {
    for world in worlds().await {
        let pushed = world.image_in(&world.repository, &["layer"], &["v1"]).await;
        let ended = milliseconds(world.now, 1_234_567);
        assert_eq!(world.delete("v1", ended).await, Deletion::Deleted);
        let over = later(ended, WINDOW);
        assert_eq!(
            world.collect(milliseconds(ended, WINDOW * 1000 - 1)).await,
            Removed::default()
        );
        assert!(world.has_manifest(&pushed).await);
        let removed = world.collect(over).await;
        assert_eq!(
            (
                removed.tags,
                removed.manifests,
                removed.blobs,
                removed.bytes
            ),
            (1, 1, 2, 7)
        );
        assert!(!world.has_manifest(&pushed).await);
        assert!(!world.has_blob("layer").await);
    }
}

#[tokio::test]
async fn each_namespace_has_its_own_window_however_long_or_short() {
    for world in worlds().await {
        world
            .image_in(&world.repository, &["one"], &["gone", "kept"])
            .await;
        let ended = later(world.now, 10);
        world.delete("gone", ended).await;
        for (seconds, at, expected) in [
            (i64::MAX, later(ended, 10 * WINDOW), 0),
            (86_400, later(ended, 86_399), 0),
            (0, milliseconds(ended, 0), 1),
        ] {
            world
                .sql(&format!(
                    r#"UPDATE "user" SET removed_tag_expiration_s = {seconds} WHERE username = 'acme'"#
                ))
                .await;
            assert_eq!(world.collect(at).await.tags, expected, "{seconds}");
        }
        // A live tag has no end, and the manifest is its.
        assert_eq!(world.count("manifest").await, 1);
    }
}

#[tokio::test]
async fn a_namespace_with_many_lengths_of_windows_beside_it_is_not_overlooked() {
    for world in worlds().await {
        for length in 0..40 {
            world
                .sql(&format!(
                    r#"INSERT INTO "user" (uuid, username, email, verified, organization, robot, invoice_email,
                                           last_invalid_login, removed_tag_expiration_s)
                       VALUES ('{length}', 'other{length}', '{length}', true, true, false, false, '2026-01-01 00:00:00', {length})"#
                ))
                .await;
        }
        world.image_in(&world.repository, &["layer"], &["v1"]).await;
        world.delete("v1", world.now).await;
        assert_eq!(world.collect(later(world.now, WINDOW - 1)).await.tags, 0);
        assert_eq!(world.collect(later(world.now, WINDOW)).await.tags, 1);
    }
}

#[tokio::test]
async fn a_moved_tag_comes_back_within_its_window_and_shared_blobs_stay_as_long_as_one_manifest_does()
 {
    for world in worlds().await {
        let first = world
            .image_in(&world.repository, &["base", "first"], &["v1"])
            .await;
        let second = world
            .image_in(&world.repository, &["base", "second"], &["v1"])
            .await;
        let removed = world.collect(later(world.now, WINDOW - 1)).await;
        assert_eq!(removed, Removed::default());
        assert!(world.has_manifest(&first).await);
        let removed = world.collect(later(world.now, WINDOW)).await;
        assert_eq!((removed.manifests, removed.blobs), (1, 1));
        assert!(!world.has_manifest(&first).await);
        assert!(world.has_manifest(&second).await);
        assert!(!world.has_blob("first").await);
        assert!(world.has_blob("base").await);
    }
}

#[tokio::test]
async fn children_stay_with_the_last_index_that_has_them_and_leave_with_it_level_by_level() {
    for world in worlds().await {
        let shared = world.image_in(&world.repository, &["shared"], &[]).await;
        let own = world.image_in(&world.repository, &["own"], &[]).await;
        let inner = index(&[&own]);
        world.put_in(&world.repository, &inner, &[]).await;
        let one = index(&[&shared, &inner]);
        world.put_in(&world.repository, &one, &["one"]).await;
        let two = index(&[&shared]);
        world.put_in(&world.repository, &two, &["two"]).await;
        world.delete("one", world.now).await;
        // The hidden tags of what was pushed by digest ended an hour after the push.
        let past = later(world.now, WINDOW + 3600);
        let removed = world.collect(past).await;
        assert_eq!(removed.manifests, 3);
        for gone in [&one, &inner, &own] {
            assert!(!world.has_manifest(gone).await);
        }
        assert!(world.has_manifest(&shared).await);
        world.delete("two", past).await;
        let removed = world.collect(later(past, WINDOW)).await;
        assert_eq!(removed.manifests, 2);
        assert_eq!(world.count("manifest").await, 0);
        assert_eq!(world.count("imagestorage").await, 0);
        assert_eq!(world.count("manifestchild").await, 0);
    }
}

#[tokio::test]
async fn referrers_follow_their_subject_and_those_that_a_tag_holds_stay() {
    for world in worlds().await {
        let subject = world
            .image_in(&world.repository, &["subject"], &["v1"])
            .await;
        let referrer = |of: &Manifest, note: &str| {
            image_with(
                &[note],
                &format!(
                    r#","subject":{{"mediaType":"{}","digest":"{}","size":{}}}"#,
                    of.media_type(),
                    of.digest(Algorithm::Sha256),
                    of.bytes().len()
                ),
            )
        };
        for note in ["sbom", "signature", "tagged", "early"] {
            world.blob(note, &us()).await;
        }
        let sbom = referrer(&subject, "sbom");
        world.put_in(&world.repository, &sbom, &[]).await;
        let signature = referrer(&sbom, "signature");
        world.put_in(&world.repository, &signature, &[]).await;
        let tagged = referrer(&subject, "tagged");
        world
            .put_in(&world.repository, &tagged, &["attestation"])
            .await;
        let early = referrer(&image(&["never pushed"]), "early");
        world.put_in(&world.repository, &early, &[]).await;

        let window_over = later(world.now, WINDOW + 3600);
        assert_eq!(world.collect(window_over).await.manifests, 0);
        world.delete("v1", window_over).await;
        let past = later(window_over, WINDOW);
        let forecast = world.database.garbage_forecast(past).await.unwrap();
        let removed = world.collect(past).await;
        assert_eq!(removed.manifests, 3);
        assert_eq!(
            (
                forecast.tags,
                forecast.manifests,
                forecast.blobs,
                forecast.bytes
            ),
            (
                removed.tags,
                removed.manifests,
                removed.blobs,
                removed.bytes
            )
        );
        for gone in [&subject, &sbom, &signature] {
            assert!(!world.has_manifest(gone).await);
        }
        assert!(world.has_manifest(&tagged).await);
        assert!(world.has_manifest(&early).await);
    }
}

#[tokio::test]
async fn everything_that_was_kept_about_a_manifest_goes_with_it() {
    for world in worlds().await {
        let manifest = world.image_in(&world.repository, &["layer"], &["v1"]).await;
        let digest = manifest.digest(Algorithm::Sha256);
        world
            .sql("INSERT INTO label (uuid, key, value, media_type_id, source_type_id) VALUES ('l', 'k', 'v', 1, 1)")
            .await;
        for statement in [
            "INSERT INTO manifestlabel (repository_id, manifest_id, label_id) SELECT m.repository_id, m.id, l.id FROM manifest m, label l",
            "INSERT INTO manifestpullstatistics (repository_id, manifest_digest, manifest_pull_count, last_manifest_pull_date)
             SELECT repository_id, digest, 3, '2026-01-01 00:00:00' FROM manifest",
            "INSERT INTO roadstead_owed_labels (manifest_id, due, attempts) SELECT id, '2026-01-01 00:00:00', 0 FROM manifest",
            "INSERT INTO tag (name, repository_id, manifest_id, lifetime_start_ms, lifetime_end_ms, tag_kind_id, linked_tag_id)
             SELECT 'linked', repository_id, NULL, 1, NULL, tag_kind_id, id FROM tag",
        ] {
            world.sql(statement).await;
        }
        world.delete(&digest.to_string(), world.now).await;
        assert_eq!(world.count("roadstead_hidden_manifest").await, 1);
        assert_eq!(world.count("roadstead_copy").await, 2);
        world.collect(later(world.now, WINDOW)).await;
        for table in [
            "manifest",
            "manifestblob",
            "manifestlabel",
            "label",
            "manifestsecuritystatus",
            "manifestpullstatistics",
            "roadstead_owed_labels",
            "roadstead_hidden_manifest",
            "roadstead_copy",
            "queueitem",
            "imagestorage",
            "imagestorageplacement",
            "uploadedblob",
            "roadstead_freed_blob",
        ] {
            assert_eq!(world.count(table).await, 0, "{table}");
        }
        assert_eq!(world.count("tag WHERE linked_tag_id IS NULL").await, 1);
    }
}

#[tokio::test]
async fn a_pushed_blob_is_kept_to_the_end_of_its_protection_and_a_deleted_one_is_not() {
    for world in worlds().await {
        world.blob("protected", &us()).await;
        world.blob("deleted", &us()).await;
        let deleted = world
            .database
            .delete_blob(world.repository.id, &digest_of("deleted"), world.now)
            .await
            .unwrap();
        assert_eq!(deleted, BlobDeletion::Deleted);
        assert_eq!(world.collect(world.now).await.blobs, 1);
        assert!(!world.has_blob("deleted").await);
        assert_eq!(world.count("roadstead_hidden_blob").await, 0);
        let before = milliseconds(world.now, 3_600_000 - 1);
        assert_eq!(world.collect(before).await.blobs, 0);
        assert_eq!(world.collect(later(world.now, 3600)).await.blobs, 1);
        assert_eq!(
            world.doomed().await,
            [
                format!("usstorage {}", digest_of("deleted")),
                format!("usstorage {}", digest_of("protected"))
            ]
        );
    }
}

#[tokio::test]
async fn rows_of_the_first_image_format_and_rows_without_a_digest_are_never_touched() {
    for world in worlds().await {
        for (uuid, cas_path, checksum) in [
            (
                "a",
                "false",
                "'sha256:0000000000000000000000000000000000000000000000000000000000000000'",
            ),
            ("b", "true", "NULL"),
            ("c", "true", "'tarsum+sha256:1'"),
        ] {
            world
                .sql(&format!(
                    "INSERT INTO imagestorage (uuid, image_size, uploading, cas_path, content_checksum)
                     VALUES ('{uuid}', 5, false, {cas_path}, {checksum})"
                ))
                .await;
        }
        world
            .sql("INSERT INTO imagestorageplacement (storage_id, location_id) SELECT s.id, l.id FROM imagestorage s, imagestoragelocation l")
            .await;
        let placements = world.count("imagestorageplacement").await;
        let mut after = StorageId(0);
        while let Some(next) = world
            .database
            .note_stray_blobs(after, 2, world.now)
            .await
            .unwrap()
        {
            after = next;
        }
        assert_eq!(world.collect(world.now).await, Removed::default());
        assert_eq!(world.count("imagestorage").await, 3);
        assert_eq!(world.count("imagestorageplacement").await, placements);
        assert!(world.doomed().await.is_empty());
        assert_eq!(world.count("roadstead_freed_blob").await, 0);
        let forecast = world.database.garbage_forecast(world.now).await.unwrap();
        assert_eq!(forecast.left_alone, 2);
    }
}

#[tokio::test]
async fn strays_that_nobody_noted_are_found_page_by_page() {
    for world in worlds().await {
        let kept = world.image_in(&world.repository, &["kept"], &["v1"]).await;
        let stray = world.image_in(&world.repository, &["stray"], &["v2"]).await;
        // As Quay may leave it: the tag is gone, and nobody looked at what it held.
        world.sql("DELETE FROM tag WHERE name = 'v2'").await;
        world.sql("DELETE FROM uploadedblob").await;
        let collection = world.collection().await;
        let mut after = ManifestId(0);
        let mut found = Vec::new();
        loop {
            let page = world.database.stray_manifests(after, 1).await.unwrap();
            found.extend(page.strays);
            match page.next {
                Some(next) => after = next,
                None => break,
            }
        }
        assert_eq!(found.len(), 1);
        let (repository, manifest) = found[0];
        let removed = world
            .database
            .collect_manifests(&collection, repository, &[manifest], world.now)
            .await
            .unwrap();
        assert_eq!(removed, 1);
        assert!(world.has_manifest(&kept).await);
        assert!(!world.has_manifest(&stray).await);
        world.sql("DELETE FROM roadstead_freed_blob").await;
        let mut after = StorageId(0);
        while let Some(next) = world
            .database
            .note_stray_blobs(after, 1, world.now)
            .await
            .unwrap()
        {
            after = next;
        }
        assert_eq!(world.collect(world.now).await.blobs, 1);
        assert!(!world.has_blob("stray").await);
        assert!(world.has_blob("kept").await);
    }
}

#[tokio::test]
async fn quota_sizes_follow_what_leaves() {
    for mut world in worlds().await {
        world.features.quota = QuotaSizes::Kept;
        world
            .image_in(&world.repository, &["base", "one"], &["v1"])
            .await;
        world
            .image_in(&world.repository, &["base", "more"], &["v2"])
            .await;
        let size = |table: &str| format!("SELECT size_bytes AS count FROM {table}");
        let read = async |world: &World, table: &str| {
            let row: Option<Counted> = world
                .database
                .reader()
                .row("look into a test's database", &size(table), params![])
                .await
                .unwrap();
            row.unwrap().count
        };
        for table in ["quotanamespacesize", "quotarepositorysize"] {
            assert_eq!(read(&world, table).await, 2 + 4 + 3 + 4, "{table}");
        }
        world.delete("v1", world.now).await;
        world.collect(later(world.now, WINDOW)).await;
        for table in ["quotanamespacesize", "quotarepositorysize"] {
            assert_eq!(read(&world, table).await, 2 + 4 + 4, "{table}");
        }
    }
}
