//! Copies into a bucket: how they are covered on their way, that nothing is written twice, and what is left when they end badly.

use std::time::Duration;

use bytes::Bytes;
use roadstead_oci::{Algorithm, Digest};
use roadstead_runtime::Environment;
use roadstead_secrets::Secret;
use roadstead_storage::{
    Location, ObjectKey, S3Credentials, S3Options, ServerCopy, Staged, StorageError,
    StorageErrorKind, StoreOptions, Verification,
};

use super::middleman::{Middleman, Seen};
use super::{open, options, started};
use crate::{content, digest, id, key, put, read};

const MIB: usize = 1 << 20;

/// Writes on behind what is staged of a copy of `digest`.
async fn copy(
    location: &Location,
    number: u128,
    digest: &Digest,
    staged: &Staged,
    bytes: &[u8],
) -> Result<Staged, StorageError> {
    let mut writer = location.stage_copy(id(number), digest, staged).await?;
    for piece in bytes.chunks(300_001) {
        writer.write(Bytes::copy_from_slice(piece)).await?;
    }
    writer.sync().await?;
    assert_eq!(writer.offset(), writer.staged().offset);
    Ok(writer.staged())
}

/// As the database keeps it.
fn written_down(staged: &Staged) -> Staged {
    Staged {
        offset: staged.offset,
        parts: staged.parts.to_string().parse().unwrap(),
    }
}

async fn intact(location: &Location, bytes: &[u8]) -> bool {
    let size = bytes.len() as u64;
    location.verify(&digest(bytes)).await.unwrap() == Verification::Intact { size }
}

/// How many multipart uploads are open: all of them are given up.
async fn open_uploads(location: &Location) -> u64 {
    let tomorrow = Environment::system().now() + Duration::from_hours(24);
    location.abort_stale_copies(tomorrow).await.unwrap()
}

fn parts(seen: &[Seen]) -> Vec<&Seen> {
    seen.iter()
        .filter(|request| request.method == "PUT" && request.target.contains("partNumber="))
        .collect()
}

#[tokio::test]
async fn a_copy_goes_straight_to_its_key_and_appears_when_it_is_complete() {
    let server = started();
    let middleman = Middleman::before(server.endpoint()).await;
    let location = open(
        &options(&server, middleman.endpoint()),
        StoreOptions::default(),
    );
    for (number, size) in [(1, 20 * MIB + 77), (2, 16 * MIB), (3, 9)] {
        let bytes = content(number, size);
        let before = middleman.seen().len();
        let upload = u128::from(number);
        let staged = copy(&location, upload, &digest(&bytes), &Staged::NOTHING, &bytes)
            .await
            .unwrap();
        assert_eq!(location.stat(&key(&bytes)).await.unwrap(), None);
        let staged = written_down(&staged);
        location
            .publish(id(upload), &staged, &key(&bytes))
            .await
            .unwrap();
        let seen = &middleman.seen()[before..];
        let parts = parts(seen);
        assert_eq!(parts.iter().map(|part| part.bytes).sum::<usize>(), size);
        assert!(
            parts
                .iter()
                .all(|part| part.sha256.is_some() && !part.has_md5)
        );
        assert!(seen.iter().all(|request| !request.is_copy));
        assert!(intact(&location, &bytes).await);
        // A repetition finds what is there.
        location
            .publish(id(upload), &staged, &key(&bytes))
            .await
            .unwrap();
    }
    assert_eq!(open_uploads(&location).await, 0);
    let uploads = location.list_staged(None, 10.try_into().unwrap()).await;
    assert!(uploads.unwrap().uploads.is_empty());
}

#[tokio::test]
async fn another_process_goes_on_with_a_copy_and_sends_no_part_again() {
    let server = started();
    let middleman = Middleman::before(server.endpoint()).await;
    let s3 = options(&server, middleman.endpoint());
    let bytes = content(4, 40 * MIB + 5);
    let digest = digest(&bytes);
    // Whatever memory each has.
    let memory = |mebibytes: u64| StoreOptions {
        upload_memory_bytes: mebibytes << 20,
        ..StoreOptions::default()
    };
    let mut staged = Staged::NOTHING;
    for (piece, mebibytes) in bytes.chunks(16 * MIB).zip([16, 20, 64]) {
        let location = open(&s3, memory(mebibytes));
        let further = copy(&location, 4, &digest, &staged, piece).await.unwrap();
        staged = written_down(&further);
    }
    let sent: usize = parts(&middleman.seen()).iter().map(|part| part.bytes).sum();
    assert_eq!(sent, bytes.len());
    let location = open(&s3, StoreOptions::default());
    location
        .publish(id(4), &staged, &key(&bytes))
        .await
        .unwrap();
    assert!(intact(&location, &bytes).await);
}

#[tokio::test]
async fn a_copy_is_not_gone_on_with_behind_a_part_that_is_too_short() {
    let server = started();
    let location = open(
        &options(&server, server.endpoint()),
        StoreOptions::default(),
    );
    let bytes = content(5, 12 * MIB);
    let (first, second) = bytes.split_at(9 * MIB);
    let digest = digest(&bytes);
    let mut writer = location
        .stage_copy(id(5), &digest, &Staged::NOTHING)
        .await
        .unwrap();
    writer.write(Bytes::copy_from_slice(first)).await.unwrap();
    writer.sync().await.unwrap();
    let short = writer.staged();
    // The one that has the bytes still can.
    writer.write(Bytes::copy_from_slice(second)).await.unwrap();
    writer.sync().await.unwrap();
    let staged = writer.staged();
    drop(writer);
    let refused = copy(&location, 5, &digest, &short, second).await;
    assert!(matches!(
        refused.unwrap_err().kind(),
        StorageErrorKind::StagedShort { .. }
    ));
    // As an upload it is not gone on with either.
    let refused = location.stage(id(5), &staged).await;
    assert!(matches!(
        refused.unwrap_err().kind(),
        StorageErrorKind::StagedShort { .. }
    ));
    location
        .publish(id(5), &staged, &key(&bytes))
        .await
        .unwrap();
    assert!(intact(&location, &bytes).await);
}

#[tokio::test]
async fn a_copy_that_is_given_up_leaves_nothing() {
    let server = started();
    let location = open(
        &options(&server, server.endpoint()),
        StoreOptions::default(),
    );
    let bytes = content(6, 10 * MIB);
    let digest = digest(&bytes);
    let staged = copy(&location, 6, &digest, &Staged::NOTHING, &bytes)
        .await
        .unwrap();
    for staged in [&staged, &staged, &Staged::NOTHING] {
        location.discard_copy(id(6), &digest, staged).await.unwrap();
    }
    assert_eq!(open_uploads(&location).await, 0);
    let refused = location.publish(id(6), &staged, &key(&bytes)).await;
    assert_eq!(refused.unwrap_err().kind(), StorageErrorKind::NotFound);
    assert_eq!(location.stat(&key(&bytes)).await.unwrap(), None);
}

#[tokio::test]
async fn a_forgotten_copy_is_found_when_nothing_was_written_to_it_for_long() {
    let server = started();
    let location = open(
        &options(&server, server.endpoint()),
        StoreOptions::default(),
    );
    let bytes = content(7, 10 * MIB);
    for number in [7, 8] {
        copy(&location, number, &digest(&bytes), &Staged::NOTHING, &bytes)
            .await
            .unwrap();
    }
    let now = Environment::system().now();
    let yesterday = now - Duration::from_hours(24);
    assert_eq!(location.abort_stale_copies(yesterday).await.unwrap(), 0);
    // Another's folder in the same bucket is not looked at.
    let other = S3Options {
        storage_path: "/datastorage".to_owned(),
        ..options(&server, server.endpoint())
    };
    let other = open(&other, StoreOptions::default());
    assert_eq!(open_uploads(&other).await, 0);
    assert_eq!(open_uploads(&location).await, 2);
    assert_eq!(open_uploads(&location).await, 0);
}

/// Both believe to own the copy; one of them has bytes of its own.
#[tokio::test]
async fn what_another_process_writes_into_a_copy_never_becomes_its_object() {
    let server = started();
    let s3 = options(&server, server.endpoint());
    let bytes = content(9, 20 * MIB);
    let (first, second) = bytes.split_at(16 * MIB);
    let digest = digest(&bytes);
    let location = open(&s3, StoreOptions::default());
    let at_first = copy(&location, 9, &digest, &Staged::NOTHING, &first[..8 * MIB])
        .await
        .unwrap();
    let ours = copy(&location, 9, &digest, &at_first, &first[8 * MIB..]).await;
    let ours = copy(&location, 9, &digest, &ours.unwrap(), second)
        .await
        .unwrap();
    let theirs = open(&s3, StoreOptions::default());
    let wrong = content(10, 8 * MIB);
    copy(&theirs, 9, &digest, &at_first, &wrong).await.unwrap();
    let refused = location.publish(id(9), &ours, &key(&bytes)).await;
    assert_eq!(refused.unwrap_err().kind(), StorageErrorKind::NotFound);
    assert_eq!(location.stat(&key(&bytes)).await.unwrap(), None);
}

#[tokio::test]
async fn a_completion_whose_answer_is_lost_or_is_an_error_behind_a_good_status_is_not_misread() {
    let server = started();
    let middleman = Middleman::before(server.endpoint()).await;
    let location = open(
        &options(&server, middleman.endpoint()),
        StoreOptions::default(),
    );
    let staged = async |number: u64| {
        let bytes = content(number, 9 * MIB);
        let upload = u128::from(number);
        let staged = copy(&location, upload, &digest(&bytes), &Staged::NOTHING, &bytes).await;
        (bytes, id(upload), staged.unwrap())
    };
    let (bytes, upload, lost) = staged(11).await;
    middleman.lose_completions(1);
    location.publish(upload, &lost, &key(&bytes)).await.unwrap();
    assert!(intact(&location, &bytes).await);

    let (bytes, upload, failed) = staged(12).await;
    middleman.fail_completions(3);
    let refused = location.publish(upload, &failed, &key(&bytes)).await;
    assert_eq!(refused.unwrap_err().kind(), StorageErrorKind::ServerError);
    assert_eq!(location.stat(&key(&bytes)).await.unwrap(), None);
    middleman.fail_completions(1);
    location
        .publish(upload, &failed, &key(&bytes))
        .await
        .unwrap();
    assert!(intact(&location, &bytes).await);
}

fn covers(seen: &[Seen], key: &ObjectKey) -> (bool, Option<String>) {
    let written = seen
        .iter()
        .rfind(|request| request.method == "PUT" && request.target.ends_with(&key.path()))
        .unwrap();
    (written.has_md5, written.sha256.clone())
}

#[tokio::test]
async fn a_store_that_compares_hashes_is_sent_the_digest_and_refuses_other_bytes() {
    let server = started();
    let middleman = Middleman::before(server.endpoint()).await;
    let location = open(
        &options(&server, middleman.endpoint()),
        StoreOptions::default(),
    );
    let bytes = content(13, 100_000);
    let of_blob = digest(&bytes);
    location
        .put(&of_blob, vec![bytes.clone().into()])
        .await
        .unwrap();
    assert!(intact(&location, &bytes).await);
    let (has_md5, sha256) = covers(&middleman.seen(), &key(&bytes));
    assert_eq!((has_md5, sha256.as_deref()), (false, Some(of_blob.hex())));

    let other = digest(b"other bytes");
    let refused = location.put(&other, vec![bytes.clone().into()]).await;
    assert_eq!(refused.unwrap_err().kind(), StorageErrorKind::ServerError);
    let other = ObjectKey::Blob(other);
    assert_eq!(location.stat(&other).await.unwrap(), None);

    // Another hash is no help to the store. (This server keeps short keys only.)
    let long = Digest::of(Algorithm::Sha512, &bytes);
    location.put(&long, vec![bytes.clone().into()]).await.ok();
    let (has_md5, sha256) = covers(&middleman.seen(), &ObjectKey::Blob(long));
    assert_eq!((has_md5, sha256), (true, None));

    let trials = middleman.seen();
    let trials = trials
        .iter()
        .filter(|request| request.target.ends_with("/checked"));
    let methods: Vec<&str> = trials.map(|request| request.method.as_str()).collect();
    assert_eq!(methods, ["PUT", "PUT", "DELETE"], "it is tried once");
}

#[tokio::test]
async fn a_store_that_compares_no_hashes_is_sent_an_md5_with_everything() {
    let server = started();
    let middleman = Middleman::before(server.endpoint()).await;
    middleman.compares_nothing();
    let location = open(
        &options(&server, middleman.endpoint()),
        StoreOptions::default(),
    );
    let small = content(14, 100_000);
    location
        .put(&digest(&small), vec![small.clone().into()])
        .await
        .unwrap();
    assert_eq!(covers(&middleman.seen(), &key(&small)), (true, None));
    let large = content(15, 9 * MIB);
    let staged = copy(&location, 15, &digest(&large), &Staged::NOTHING, &large).await;
    location
        .publish(id(15), &staged.unwrap(), &key(&large))
        .await
        .unwrap();
    for part in parts(&middleman.seen()) {
        assert!(part.has_md5 && part.sha256.is_none(), "{part:?}");
    }
    assert!(intact(&location, &small).await && intact(&location, &large).await);
    let uploads = location.list_staged(None, 10.try_into().unwrap()).await;
    assert!(uploads.unwrap().uploads.is_empty());
}

#[tokio::test]
async fn a_store_that_cannot_be_tried_just_now_is_sent_an_md5_and_tried_again() {
    let server = started();
    let middleman = Middleman::before(server.endpoint()).await;
    middleman.refuse_trials(1);
    let location = open(
        &options(&server, middleman.endpoint()),
        StoreOptions::default(),
    );
    let bytes = content(16, 1_000);
    for expected in [(true, None), (false, Some(digest(&bytes).hex().to_owned()))] {
        location
            .put(&digest(&bytes), vec![bytes.clone().into()])
            .await
            .unwrap();
        assert_eq!(covers(&middleman.seen(), &key(&bytes)), expected);
    }
}

/// Two buckets of one server, whose requests are seen.
struct Pair {
    _server: roadstead_test_servers::S3Server,
    middleman: Middleman,
    here: Location,
    there: Location,
    options: S3Options,
}

impl Pair {
    async fn new() -> Self {
        let server = started();
        server.create_bucket("another");
        let middleman = Middleman::before(server.endpoint()).await;
        let there = options(&server, middleman.endpoint());
        let here = S3Options {
            bucket: "another".to_owned(),
            storage_path: "/eu images".to_owned(),
            ..there.clone()
        };
        Self {
            here: open(&here, StoreOptions::default()),
            there: open(&there, StoreOptions::default()),
            options: here,
            _server: server,
            middleman,
        }
    }
}

#[tokio::test]
async fn a_store_copies_between_its_buckets_and_no_byte_comes_through_us() {
    let pair = Pair::new().await;
    let bytes = content(17, 20 * MIB);
    put(&pair.there, id(17), &bytes).await.unwrap();
    let ranges = StoreOptions {
        whole_copy_bytes_max: 10 << 20,
        ..StoreOptions::default()
    };
    for here in [pair.here.clone(), open(&pair.options, ranges)] {
        assert!(here.copies_from(&pair.there));
        let before = pair.middleman.seen().len();
        let (digest, size) = (digest(&bytes), bytes.len() as u64);
        let copied = here.copy_within(&pair.there, &digest, size).await;
        assert_eq!(copied.unwrap(), Some(ServerCopy::Unproven));
        let seen = &pair.middleman.seen()[before..];
        assert!(
            seen.iter()
                .all(|request| request.method != "GET" && request.bytes < 1_000)
        );
        assert!(intact(&here, &bytes).await);
        // What is there may be better than what would come.
        let again = here.copy_within(&pair.there, &digest, size).await;
        assert_eq!(again.unwrap(), None);
        here.delete(&key(&bytes)).await.unwrap();
    }
    let copies = pair.middleman.seen();
    let copies = copies.iter().filter(|request| request.is_copy).count();
    assert!(copies >= 4, "one whole and three ranges: {copies}");
}

#[tokio::test]
async fn a_copy_that_the_store_cannot_make_leaves_nothing_and_says_why() {
    let pair = Pair::new().await;
    let missing = digest(b"never pushed");
    let options = StoreOptions {
        whole_copy_bytes_max: 10,
        ..StoreOptions::default()
    };
    for here in [pair.here.clone(), open(&pair.options, options)] {
        let failed = here.copy_within(&pair.there, &missing, 12).await;
        assert_eq!(failed.unwrap_err().kind(), StorageErrorKind::NotFound);
        assert_eq!(open_uploads(&here).await, 0);
    }
    let stranger = S3Options {
        credentials: S3Credentials::Keys {
            access_key: Secret::new("somebody"),
            secret_key: Secret::new("else"),
            session_token: None,
        },
        ..pair.options.clone()
    };
    let stranger = open(&stranger, StoreOptions::default());
    assert!(!stranger.copies_from(&pair.there));
    let none = stranger.copy_within(&pair.there, &missing, 12).await;
    assert_eq!(none.unwrap(), None);
    assert!(
        read(&pair.here, &ObjectKey::Blob(missing), 0..1)
            .await
            .is_err()
    );
}
