//! The checker checked: it finds nothing in what Quay wrote, and every damage that is done to a copy.

use std::fs;

use roadstead_testkit::StoreFiles;

use crate::sample::Sample;

/// The layer that is in most images of the sample.
const BASE: &str = "sha256:5969b468a847973527d11ae2ad276e8e79e99e1f4be4f1011dfd4b7ad4554ea1";

#[test]
fn nothing_is_wrong_with_what_quay_wrote() {
    Sample::restore().world().assert_sound();
}

/// A statement that damages a database, and what the checker has to say of it.
const DAMAGED_ROWS: [(&str, &str); 27] = [
    // What the database itself would refuse from anybody but a superuser.
    (
        "SET session_replication_role = replica; DELETE FROM repository WHERE id = 3",
        "its repository_id 3 is not in repository",
    ),
    (
        "INSERT INTO tag (name, repository_id, manifest_id, lifetime_start_ms, tag_kind_id)
         SELECT name, repository_id, manifest_id, lifetime_start_ms + 1000, 1 FROM tag WHERE id = 4",
        "tag latest of repository 1 has 2 live rows",
    ),
    (
        "UPDATE tag SET lifetime_end_ms = lifetime_start_ms - 1 WHERE id = 21",
        "tag 21 (stable) ends before it begins",
    ),
    (
        "UPDATE tag SET lifetime_end_ms = lifetime_end_ms + 5000 WHERE id = 2",
        "tag 2 (latest) goes on while the next row of its name has begun",
    ),
    (
        "UPDATE tag SET manifest_id = 6 WHERE id = 4",
        "tag 4 (latest) has no manifest of its repository",
    ),
    (
        "UPDATE tag SET hidden = true WHERE id = 4",
        "tag 4 (latest) is hidden or named as if it was",
    ),
    (
        "DELETE FROM manifestblob WHERE manifest_id = 1 AND blob_id = 4",
        "manifest 1: its blobs are linked as",
    ),
    (
        "DELETE FROM manifestchild WHERE id = 2",
        "manifest 5: its children are linked as",
    ),
    (
        "UPDATE manifestblob SET repository_id = 2 WHERE id = 1",
        "manifestblob 1 is of repository 2, its manifest_id of 1",
    ),
    (
        "UPDATE manifest SET manifest_bytes = manifest_bytes || ' ' WHERE id = 9",
        "manifest 9: its digest is",
    ),
    (
        "UPDATE manifest SET layers_compressed_size = 1 WHERE id = 2",
        "manifest 2: its layers' size is 1",
    ),
    (
        "UPDATE manifest SET layers_compressed_size = 0 WHERE id = 5",
        "manifest 5: its layers' size is 0",
    ),
    (
        "UPDATE manifest SET subject = NULL WHERE id = 16",
        "manifest 16: its subject is null",
    ),
    (
        "UPDATE label SET value = 'nobody' WHERE id = 2",
        "manifest 1: its labels are",
    ),
    (
        "DELETE FROM manifestlabel WHERE label_id = 12",
        "label 12 (quay.expires-after) is on no manifest",
    ),
    (
        "UPDATE imagestorage SET image_size = image_size + 1 WHERE id = 1",
        "and its row says 200264",
    ),
    (
        "INSERT INTO imagestorage (uuid, image_size, uploading, cas_path, content_checksum)
         SELECT '00000000-0000-4000-8000-000000000000', image_size, true, true, content_checksum FROM imagestorage WHERE id = 1",
        "2 rows for the blob sha256:5969b468",
    ),
    (
        "DELETE FROM imagestorageplacement WHERE storage_id = 2",
        "imagestorage 2 (sha256:827316a2",
    ),
    (
        "UPDATE uploadedblob SET expires_at = expires_at + interval '1 year' WHERE id = 5",
        "uploadedblob 5 is protected from",
    ),
    (
        "UPDATE quotarepositorysize SET size_bytes = size_bytes + 7 WHERE repository_id = 6",
        "quotarepositorysize of 6 has 401710 bytes",
    ),
    (
        "DELETE FROM quotanamespacesize WHERE namespace_user_id = 2",
        "quotanamespacesize of 2 has  bytes, and its blobs have 120591",
    ),
    (
        "UPDATE queueitem SET body = 'copy it' WHERE id = 62",
        "queueitem 62: its body is no JSON object: copy it",
    ),
    (
        "INSERT INTO queueitem (queue_name, body, available_after, available, retries_remaining, state_id)
         VALUES ('imagestoragereplication/11111111-1111-4111-8111-111111111111/',
                 '{\"namespace_user_id\": 5, \"storage_id\": \"11111111-1111-4111-8111-111111111111\"}', now(), true, 5,
                 '11111111-1111-4111-8111-111111111111')",
        "is no copy of a blob: imagestoragereplication/11111111",
    ),
    (
        "UPDATE servicekey SET approval_id = NULL",
        "servicekey 1 (xGTO-2hxO-Fsroj1NNcDJ6rAGgOVoclwRe16g_ltBy8) is not approved",
    ),
    (
        "UPDATE mediatype SET name = 'text/html' WHERE id = 1",
        "an enumeration has what Quay's has not, mediatype: {\"id\": 1, \"name\": \"text/html\"}",
    ),
    (
        "SELECT setval('tag_id_seq', 3)",
        "tag has the id 23, and its sequence is at 3",
    ),
    (
        "DELETE FROM deletedrepository",
        "repository 7 is marked for deletion, or has a mark, and not both",
    ),
];

#[test]
fn every_damaged_row_is_found() {
    // All in one copy: what is wrong in one place hides nothing in another.
    let sample = Sample::restore();
    for (statement, _) in DAMAGED_ROWS {
        sample.database.run(statement);
    }
    let violations = sample.world().violations();
    for (statement, sentence) in DAMAGED_ROWS {
        assert!(
            violations
                .iter()
                .any(|violation| violation.contains(sentence)),
            "after `{statement}` nobody says `{sentence}`: {violations:#?}"
        );
    }
}

/// A deed that damages a store, and what the checker has to say of it.
type StoreDamage = (fn(&StoreFiles), &'static str);

const DAMAGED_OBJECTS: [StoreDamage; 4] = [
    (
        |store| fs::remove_file(store.path(&BASE.parse().unwrap())).unwrap(),
        "eu_west has no sha256:5969b468",
    ),
    (
        |store| fs::write(store.path(&BASE.parse().unwrap()), "short").unwrap(),
        "has 5 bytes in eu_west, and its row says 200263",
    ),
    (
        |store| {
            let path = store.path(&BASE.parse().unwrap());
            let mut bytes = fs::read(&path).unwrap();
            bytes[1000] ^= 1;
            fs::write(path, bytes).unwrap();
        },
        "eu_west has other bytes under sha256:5969b468",
    ),
    (
        |store| {
            let digest = roadstead_oci::Digest::of(roadstead_oci::Algorithm::Sha256, b"orphan");
            let path = store.path(&digest);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "orphan").unwrap();
        },
        "which no row knows",
    ),
];

#[test]
fn every_damaged_object_is_found() {
    for (damage, sentence) in DAMAGED_OBJECTS {
        let sample = Sample::restore();
        damage(&sample.store("eu_west"));
        let violations = sample.world().violations();
        assert!(
            violations
                .iter()
                .any(|violation| violation.contains(sentence)),
            "nobody says `{sentence}`: {violations:#?}"
        );
    }
}
