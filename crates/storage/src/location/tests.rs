//! Objects, and roots that are missing, denied or not a directory.

use std::fs;
use std::num::NonZeroU16;
use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::Shard;
use crate::Staged;
use crate::fixture::{Fixture, content, id, key_of, name, read, stage};

#[tokio::test]
async fn a_missing_root_is_unavailable_for_every_operation_and_is_not_made_again() {
    let fixture = Fixture::new().await;
    let key = fixture.put(b"layer").await;
    let mut writer = fixture
        .location
        .stage(id(1), &Staged::NOTHING)
        .await
        .unwrap();
    writer
        .write(bytes::Bytes::from_static(b"abc"))
        .await
        .unwrap();
    fixture.remove_root();

    assert_eq!(
        writer.sync().await.unwrap_err().kind(),
        StorageErrorKind::Unavailable,
        "sync"
    );
    drop(writer);
    let shard = Shard::new(roadstead_oci::Algorithm::Sha256, 0);
    let page = NonZeroU16::MIN;
    // One that has seen its root, and one that never has.
    for location in [fixture.location.clone(), fixture.another()] {
        let answers = [
            location.stat(&key).await.err(),
            location.read(&key, ..).await.err(),
            location.read(&key, 0..5).await.err(),
            location.stage(id(2), &Staged::NOTHING).await.err(),
            location.stage(id(2), &Staged::at(7)).await.err(),
            location.publish(id(2), &Staged::at(5), &key).await.err(),
            location.discard(id(2)).await.err(),
            location.delete(&key).await.err(),
            location.list_staged(None, page).await.err(),
            location.list_objects(shard, None, page).await.err(),
            location.probe().await.err(),
        ];
        let kinds: Vec<_> = answers
            .iter()
            .map(|error| error.as_ref().map(StorageError::kind))
            .collect();
        assert_eq!(kinds, [Some(StorageErrorKind::Unavailable); 11]);
        assert!(answers.iter().flatten().all(StorageError::retryable));
    }
    assert!(!fixture.path("").exists());
}

#[tokio::test]
async fn a_root_that_comes_back_is_used_again() {
    let fixture = Fixture::new().await;
    let key = fixture.put(b"layer").await;
    let away = fixture.path("").with_file_name("away");
    fs::rename(fixture.path(""), &away).unwrap();
    let newcomer = fixture.another();
    for location in [&fixture.location, &newcomer] {
        assert_eq!(
            location.stat(&key).await.unwrap_err().kind(),
            StorageErrorKind::Unavailable
        );
    }
    fs::rename(&away, fixture.path("")).unwrap();
    for location in [&fixture.location, &newcomer] {
        assert_eq!(read(location, &key, ..).await.unwrap(), b"layer");
    }
}

#[tokio::test]
async fn a_file_where_the_root_should_be_is_an_unavailable_store() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("root");
    fs::write(&root, b"").unwrap();
    let location = Location::local(name(), &root, LocalOptions::default()).unwrap();
    let error = location.stat(&key_of(b"layer")).await.unwrap_err();
    assert_eq!(error.kind(), StorageErrorKind::Unavailable);
    location.probe().await.unwrap_err();
    location.create_root().await.unwrap_err();
    assert_eq!(fs::read(&root).unwrap(), b"");
}

#[tokio::test]
async fn a_root_that_may_not_be_used_is_denied() {
    let fixture = Fixture::new().await;
    fs::set_permissions(fixture.path(""), fs::Permissions::from_mode(0o000)).unwrap();
    // The superuser passes every mode, but even it may not make files in the kernel's own file system.
    let superuser = fs::read_dir(fixture.path("")).is_ok();
    let location = if superuser {
        Location::local(name(), "/sys", LocalOptions::default()).unwrap()
    } else {
        fixture.another()
    };
    let answers = [
        location.stage(id(1), &Staged::NOTHING).await.err(),
        location.probe().await.err(),
    ];
    fs::set_permissions(fixture.path(""), fs::Permissions::from_mode(0o700)).unwrap();
    for error in answers {
        let error = error.unwrap();
        assert_eq!(error.kind(), StorageErrorKind::Denied);
        assert!(!error.retryable());
    }
}

#[tokio::test]
async fn an_absent_object_is_no_error_to_look_up_or_delete() {
    let fixture = Fixture::new().await;
    let key = key_of(b"layer");
    assert_eq!(fixture.location.stat(&key).await.unwrap(), None);
    fixture.location.delete(&key).await.unwrap();
    fixture.location.discard(id(1)).await.unwrap();
    let error = fixture.location.read(&key, ..).await.unwrap_err();
    assert_eq!(error.kind(), StorageErrorKind::NotFound);
    let error = fixture.location.read(&key, 0..5).await.unwrap_err();
    assert_eq!(error.kind(), StorageErrorKind::NotFound);
}

#[tokio::test]
async fn a_deleted_object_is_gone_and_its_neighbours_are_not() {
    let fixture = Fixture::new().await;
    let (gone, kept) = (fixture.put(b"gone").await, fixture.put(b"kept").await);
    fixture.location.delete(&gone).await.unwrap();
    assert_eq!(fixture.location.stat(&gone).await.unwrap(), None);
    assert_eq!(
        fixture.location.stat(&kept).await.unwrap(),
        Some(ObjectStat { size: 4 })
    );
}

#[tokio::test]
async fn ranges_are_exact_at_every_edge() {
    let options = LocalOptions {
        read_chunk_bytes: 4,
        ..LocalOptions::default()
    };
    let fixture = Fixture::with_options(options).await;
    let whole = content(10);
    let key = fixture.put(&whole).await;
    for start in 0..=10_usize {
        for end in start..=10 {
            let range = start as u64..end as u64;
            let stream = fixture.location.read(&key, range.clone()).await.unwrap();
            assert_eq!(stream.remaining(), range.end - range.start);
            assert_eq!(
                read(&fixture.location, &key, range).await.unwrap(),
                whole[start..end]
            );
        }
        let rest = read(&fixture.location, &key, start as u64..).await.unwrap();
        assert_eq!(rest, whole[start..]);
    }
}

#[tokio::test]
async fn a_range_that_the_object_does_not_have_is_reported_before_the_first_byte() {
    let options = LocalOptions {
        read_chunk_bytes: 4,
        ..LocalOptions::default()
    };
    let fixture = Fixture::with_options(options).await;
    let key = fixture.put(&content(10)).await;
    for range in [8..11, 0..11, 11..11, 11..12, 0..u64::MAX] {
        let error = fixture
            .location
            .read(&key, range.clone())
            .await
            .unwrap_err();
        assert_eq!(error.kind(), StorageErrorKind::Corrupt, "{range:?}");
    }
    let error = fixture.location.read(&key, 11..).await.unwrap_err();
    assert_eq!(error.kind(), StorageErrorKind::Corrupt);
    let backwards = ByteRange {
        start: 4,
        end: Some(3),
    };
    let error = fixture.location.read(&key, backwards).await.unwrap_err();
    assert_eq!(error.kind(), StorageErrorKind::Unexpected);
}

#[tokio::test]
async fn a_folder_in_an_objects_place_is_not_an_object() {
    let fixture = Fixture::new().await;
    let key = key_of(b"layer");
    fs::create_dir_all(fixture.path(&key.path())).unwrap();
    let error = fixture.location.stat(&key).await.unwrap_err();
    assert_eq!(error.kind(), StorageErrorKind::Unexpected);
    fixture.location.read(&key, ..).await.unwrap_err();
    stage(&fixture.location, id(1), b"layer").await.unwrap();
    fixture
        .location
        .publish(id(1), &Staged::at(5), &key)
        .await
        .unwrap_err();
    assert!(fixture.content(&ObjectKey::Upload(id(1))).is_some());
}

#[test]
fn a_root_without_a_usable_path_is_refused() {
    use std::os::unix::ffi::OsStrExt;

    let not_utf8 = std::ffi::OsStr::from_bytes(b"/srv/\xff");
    for root in [Path::new(""), Path::new(not_utf8)] {
        let error = Location::local(name(), root, LocalOptions::default()).unwrap_err();
        assert_eq!(error.kind(), StorageErrorKind::Unexpected);
        assert_eq!(error.operation(), Operation::Open);
    }
}
