//! Publication, repeated, over damage and with too few bytes.

use std::os::unix::fs::MetadataExt;

use roadstead_oci::{Algorithm, Digest};

use super::*;
use crate::Staged;
use crate::fixture::{Fixture, id, key_of, put, read, stage};

#[tokio::test]
async fn published_bytes_are_the_object_and_no_longer_an_upload() {
    let fixture = Fixture::new().await;
    stage(&fixture.location, id(1), b"layer").await.unwrap();
    for key in [
        key_of(b"layer"),
        ObjectKey::Blob(Digest::of(Algorithm::Sha512, b"layer")),
    ] {
        stage(&fixture.location, id(1), b"layer").await.unwrap();
        fixture
            .location
            .publish(id(1), &Staged::at(5), &key)
            .await
            .unwrap();
        assert_eq!(fixture.content(&key).unwrap(), b"layer");
        assert!(fixture.content(&ObjectKey::Upload(id(1))).is_none());
    }
}

#[tokio::test]
async fn publishing_twice_is_as_good_as_once() {
    let fixture = Fixture::new().await;
    let key = fixture.put(b"layer").await;
    // Pushed again by somebody else.
    assert_eq!(fixture.put(b"layer").await, key);
    assert_eq!(fixture.content(&key).unwrap(), b"layer");
    // Repeated after a crash that came before the database heard of it.
    stage(&fixture.location, id(1), b"layer").await.unwrap();
    fixture
        .location
        .publish(id(1), &Staged::at(5), &key)
        .await
        .unwrap();
    fixture
        .another()
        .publish(id(1), &Staged::at(5), &key)
        .await
        .unwrap();
}

#[tokio::test]
async fn publishing_without_staged_bytes_does_not_trust_what_lies_at_the_key() {
    let fixture = Fixture::new().await;
    let key = key_of(b"layer");
    let error = fixture
        .location
        .publish(id(1), &Staged::at(5), &key)
        .await
        .unwrap_err();
    assert_eq!(error.kind(), StorageErrorKind::NotFound);
    fixture.put(b"layer").await;
    std::fs::write(fixture.path(&key.path()), b"liar!").unwrap();
    let error = fixture
        .location
        .publish(id(1), &Staged::at(5), &key)
        .await
        .unwrap_err();
    assert_eq!(error.kind(), StorageErrorKind::NotFound);
}

#[tokio::test]
async fn a_damaged_object_is_healed_by_the_next_push_of_its_digest() {
    let fixture = Fixture::new().await;
    let key = fixture.put(b"layer").await;
    for damaged in [b"lay".as_slice(), b"liar!", b"longer than the layer"] {
        std::fs::write(fixture.path(&key.path()), damaged).unwrap();
        put(&fixture.location, b"layer").await.unwrap();
        assert_eq!(fixture.content(&key).unwrap(), b"layer");
    }
}

#[tokio::test]
async fn a_reader_of_a_replaced_or_deleted_object_reads_on_undisturbed() {
    let options = crate::LocalOptions {
        read_chunk_bytes: 2,
        ..crate::LocalOptions::default()
    };
    let fixture = Fixture::with_options(options).await;
    let key = fixture.put(b"layer").await;
    let one = fixture.location.read(&key, ..).await.unwrap();
    put(&fixture.location, b"layer").await.unwrap();
    let two = fixture.location.read(&key, ..).await.unwrap();
    fixture.location.delete(&key).await.unwrap();
    for stream in [one, two] {
        let chunks: Vec<bytes::Bytes> = futures_util::TryStreamExt::try_collect(stream)
            .await
            .unwrap();
        assert_eq!(chunks.concat(), b"layer");
    }
}

#[tokio::test]
async fn fewer_staged_bytes_than_published_are_refused_and_kept() {
    let fixture = Fixture::new().await;
    stage(&fixture.location, id(1), b"lay").await.unwrap();
    let key = key_of(b"layer");
    let error = fixture
        .location
        .publish(id(1), &Staged::at(5), &key)
        .await
        .unwrap_err();
    assert_eq!(
        error.kind(),
        StorageErrorKind::StagedShort {
            staged: 3,
            expected: 5
        }
    );
    assert!(fixture.content(&key).is_none());
    assert_eq!(fixture.content(&ObjectKey::Upload(id(1))).unwrap(), b"lay");
}

#[tokio::test]
async fn bytes_beyond_the_published_size_are_cut_off() {
    let fixture = Fixture::new().await;
    stage(
        &fixture.location,
        id(1),
        b"layer and what nobody acknowledged",
    )
    .await
    .unwrap();
    fixture
        .location
        .publish(id(1), &Staged::at(5), &key_of(b"layer"))
        .await
        .unwrap();
    assert_eq!(
        read(&fixture.location, &key_of(b"layer"), ..)
            .await
            .unwrap(),
        b"layer"
    );
}

#[tokio::test]
async fn an_empty_blob_is_an_object() {
    let fixture = Fixture::new().await;
    let key = fixture.put(b"").await;
    assert_eq!(fixture.location.stat(&key).await.unwrap().unwrap().size, 0);
    assert_eq!(read(&fixture.location, &key, ..).await.unwrap(), b"");
}

#[tokio::test]
async fn bytes_are_moved_and_not_copied() {
    let fixture = Fixture::new().await;
    stage(&fixture.location, id(1), b"layer").await.unwrap();
    let inode = |path: &str| std::fs::metadata(fixture.path(path)).unwrap().ino();
    let staged = inode(&ObjectKey::Upload(id(1)).path());
    let key = key_of(b"layer");
    fixture
        .location
        .publish(id(1), &Staged::at(5), &key)
        .await
        .unwrap();
    assert_eq!(inode(&key.path()), staged);
}

#[tokio::test]
async fn only_blobs_are_published() {
    let fixture = Fixture::new().await;
    stage(&fixture.location, id(1), b"layer").await.unwrap();
    for key in [ObjectKey::Upload(id(2)), ObjectKey::Probe] {
        let error = fixture
            .location
            .publish(id(1), &Staged::at(5), &key)
            .await
            .unwrap_err();
        assert_eq!(error.kind(), StorageErrorKind::Unexpected);
    }
    assert_eq!(
        fixture.content(&ObjectKey::Upload(id(1))).unwrap(),
        b"layer"
    );
}
