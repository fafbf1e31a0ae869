//! A location in Swift. All but the last are against the stand-in.

mod fate;
mod tokens;

use std::num::NonZeroU16;
use std::time::Duration;

use bytes::Bytes;
use futures_util::TryStreamExt;
use http::Method;
use roadstead_oci::{Algorithm, Digest};
use roadstead_runtime::Timestamp;
use uuid::Uuid;

use super::mock::{CONTAINER, Mock, Object, PASSWORD, USER};
use super::*;
use crate::fixture::{content, id, key_of, name, read};
use crate::staged::Staged;
use crate::{ObjectKey, Shard, StorageErrorKind, Verification};

const PREFIX: &str = "data/registry/";

fn options(mock: &Mock) -> SwiftOptions {
    SwiftOptions {
        auth_url: mock.url("/auth/v1.0"),
        auth_version: SwiftAuthVersion::V1,
        user: USER.to_owned(),
        password: Secret::new(PASSWORD),
        os_options: OpenStackOptions::default(),
        container: CONTAINER.to_owned(),
        key_prefix: PREFIX.to_owned(),
        temp_url_key: None,
    }
}

/// Few bytes in flight and little patience.
fn store_options() -> StoreOptions {
    StoreOptions {
        step_timeout: Duration::from_secs(20),
        upload_memory_bytes: StoreOptions::UPLOAD_MEMORY_BYTES_MIN,
        ..StoreOptions::default()
    }
}

fn at(swift: &SwiftOptions) -> Location {
    in_environment(swift, Environment::system())
}

fn in_environment(swift: &SwiftOptions, environment: Environment) -> Location {
    let http = HttpClient::new(&[]).unwrap();
    Location::swift(name(), swift, store_options(), &http, environment).unwrap()
}

/// A blob that was pushed in the ordinary way.
async fn put(location: &Location, id: Uuid, bytes: &[u8]) -> ObjectKey {
    let staged = stage(location, id, bytes).await;
    let key = key_of(bytes);
    location.publish(id, &staged, &key).await.unwrap();
    key
}

async fn stage(location: &Location, id: Uuid, bytes: &[u8]) -> Staged {
    let mut writer = location.stage(id, &Staged::NOTHING).await.unwrap();
    for chunk in bytes.chunks(1 << 20) {
        writer.write(Bytes::copy_from_slice(chunk)).await.unwrap();
    }
    writer.sync().await.unwrap();
    writer.staged()
}

fn page() -> NonZeroU16 {
    NonZeroU16::new(1000).unwrap()
}

fn shard_of(bytes: &[u8]) -> Shard {
    Shard::of(&Digest::of(Algorithm::Sha256, bytes))
}

#[tokio::test]
async fn a_large_blob_is_a_list_of_parts_where_they_are() {
    let mock = Mock::start().await;
    let location = at(&options(&mock));
    let bytes = content((20 << 20) + 5);
    let staged = stage(&location, id(1), &bytes).await;
    assert_eq!(staged.parts.count(), 3);
    let listed = location.list_staged(None, page()).await.unwrap();
    assert_eq!(listed.foreign, 0);
    let [upload] = listed.uploads.as_slice() else {
        panic!("{listed:?}");
    };
    assert_eq!((upload.id, upload.size), (id(1), bytes.len() as u64));
    let read_back: Vec<Bytes> = location
        .read_staged(id(1), &staged)
        .try_collect()
        .await
        .unwrap();
    assert!(read_back.concat() == bytes);

    let key = key_of(&bytes);
    location.publish(id(1), &staged, &key).await.unwrap();
    assert_eq!(mock.count(&Method::PUT, "multipart-manifest=put"), 1);
    let expected = [
        format!("{PREFIX}segments/{}/000000000000000", id(1)),
        format!("{PREFIX}segments/{}/000000008388608", id(1)),
        format!("{PREFIX}segments/{}/000000016777216", id(1)),
        format!("{PREFIX}segments/owners/{}", id(1)),
        format!("{PREFIX}{key}"),
    ];
    let names = mock.names();
    assert_eq!(names.len(), expected.len(), "{names:?}");
    for (name, expected) in names.iter().zip(&expected) {
        assert!(name.starts_with(expected), "{name}");
    }

    let digest = Digest::of(Algorithm::Sha256, &bytes);
    let size = bytes.len() as u64;
    assert_eq!(
        location.verify(&digest).await.unwrap(),
        Verification::Intact { size }
    );
    assert_eq!(
        read(&location, &key, 8_388_600..8_388_620).await.unwrap(),
        bytes[8_388_600..8_388_620]
    );
    let objects = location
        .list_objects(shard_of(&bytes), None, page())
        .await
        .unwrap();
    assert_eq!(objects.objects[0].size, size);
    let listed = location.list_staged(None, page()).await.unwrap();
    assert_eq!(listed, crate::StagedPage::default());

    location.delete(&key).await.unwrap();
    assert_eq!(mock.names(), Vec::<String>::new());
    location.delete(&key).await.unwrap();
}

#[tokio::test]
async fn small_and_empty_blobs_are_objects_of_their_own() {
    let mock = Mock::start().await;
    let location = at(&options(&mock));
    for (number, bytes) in [(1, b"layer".as_slice()), (2, b"")] {
        let staged = stage(&location, id(number), bytes).await;
        let key = key_of(bytes);
        // Once before a crash, and once more.
        for _ in 0..2 {
            location.publish(id(number), &staged, &key).await.unwrap();
            assert_eq!(mock.names(), [format!("{PREFIX}{key}")]);
            assert_eq!(read(&location, &key, ..).await.unwrap(), bytes);
        }
        // Bytes of which nobody knows where they are do not replace it.
        let nowhere = Staged::at(staged.offset + 1);
        let error = location
            .publish(id(number), &nowhere, &key)
            .await
            .unwrap_err();
        assert!(matches!(error.kind(), StorageErrorKind::StagedShort { .. }));
        assert_eq!(read(&location, &key, ..).await.unwrap(), bytes);
        location.delete(&key).await.unwrap();
        assert_eq!(location.stat(&key).await.unwrap(), None);
        assert_eq!(mock.names(), Vec::<String>::new());
    }
}

#[tokio::test]
async fn another_process_goes_on_from_what_was_acknowledged() {
    let mock = Mock::start().await;
    let bytes = content(21 << 20);
    let (begun, rest) = bytes.split_at((9 << 20) + 7);
    let staged = stage(&at(&options(&mock)), id(1), begun).await;
    // A writer that was overtaken.
    let mut stray = at(&options(&mock)).stage(id(1), &staged).await.unwrap();
    stray.write(Bytes::from(vec![0; 6 << 20])).await.unwrap();
    stray.sync().await.unwrap();
    drop(stray);

    let location = at(&options(&mock));
    let staged: Staged = Staged {
        offset: staged.offset,
        parts: staged.parts.to_string().parse().unwrap(),
    };
    let mut writer = location.stage(id(1), &staged).await.unwrap();
    writer.write(Bytes::copy_from_slice(rest)).await.unwrap();
    writer.sync().await.unwrap();
    let staged = writer.staged();
    drop(writer);
    let key = key_of(&bytes);
    location.publish(id(1), &staged, &key).await.unwrap();
    assert!(read(&location, &key, ..).await.unwrap() == bytes);
    // What was not acknowledged is gone.
    let parts = format!("{PREFIX}segments/{}/", id(1));
    let left = mock
        .names()
        .iter()
        .filter(|name| name.starts_with(&parts))
        .count();
    assert_eq!(left as u64, staged.parts.count());
    // Once more, after a crash before the database knew.
    location.publish(id(1), &staged, &key).await.unwrap();
    assert!(read(&location, &key, ..).await.unwrap() == bytes);
}

#[tokio::test]
async fn a_prefix_needs_no_slash() {
    for prefix in ["registry", "", "with space/\u{fc}"] {
        let mock = Mock::start().await;
        let mut swift = options(&mock);
        prefix.clone_into(&mut swift.key_prefix);
        let location = at(&swift);
        let key = put(&location, id(1), b"layer").await;
        assert_eq!(mock.names(), [format!("{prefix}{key}")]);
        mock.put(&format!("{prefix}somebody/else's"), Object::plain("x"));
        assert_eq!(read(&location, &key, 1..3).await.unwrap(), b"ay");
        let staged = stage(&location, id(2), b"more").await;
        assert_eq!(staged.offset, 4);
        let listed = location.list_staged(None, page()).await.unwrap();
        assert_eq!(listed.uploads[0].id, id(2));
        location.discard(id(2)).await.unwrap();
        let listed = location
            .list_objects(shard_of(b"layer"), None, page())
            .await;
        assert_eq!(listed.unwrap().objects.len(), 1);
        location.probe().await.unwrap();
    }
}

#[tokio::test]
async fn listings_come_in_pages_as_short_as_the_store_likes() {
    let mock = Mock::start().await;
    let location = at(&options(&mock));
    let shard = Shard::new(Algorithm::Sha256, 0xab);
    let hex = |number: u32| format!("ab{number:062x}");
    for number in 0..40 {
        mock.put(
            &format!("{PREFIX}sha256/ab/{}", hex(number)),
            Object::plain(vec![0; number as usize + 1]),
        );
        mock.put(
            &format!("{PREFIX}uploads/{}", id(u128::from(number))),
            Object::plain(""),
        );
    }
    mock.put(&format!("{PREFIX}sha256/ab/"), Object::plain(""));
    mock.put(&format!("{PREFIX}sha256/ab/strange"), Object::plain(""));
    let (mut after, mut sizes, limit) = (None, vec![], NonZeroU16::new(16).unwrap());
    loop {
        let page = location
            .list_objects(shard, after.as_ref(), limit)
            .await
            .unwrap();
        sizes.extend(page.objects.iter().map(|object| object.size));
        after = page.next;
        if after.is_none() {
            assert_eq!(page.foreign, 1);
            break;
        }
    }
    assert_eq!(sizes, (1..=40).collect::<Vec<u64>>());
    let (mut after, mut ids) = (None, vec![]);
    loop {
        let page = location.list_staged(after, limit).await.unwrap();
        ids.extend(page.uploads.iter().map(|upload| upload.id));
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(ids, (0..40).map(id).collect::<Vec<_>>());
}

#[tokio::test]
async fn ranges_that_the_object_does_not_have_are_reported() {
    let mock = Mock::start().await;
    let location = at(&options(&mock));
    let key = put(&location, id(1), &content(10)).await;
    for range in [10..12, 20..21] {
        let error = location.read(&key, range).await.unwrap_err();
        assert_eq!(error.kind(), StorageErrorKind::Corrupt);
    }
    let missing = key_of(b"missing");
    let error = location.read(&missing, 0..1).await.unwrap_err();
    assert_eq!(error.kind(), StorageErrorKind::NotFound);
    let error = location.read(&missing, ..).await.unwrap_err();
    assert_eq!(error.kind(), StorageErrorKind::NotFound);
}

#[tokio::test]
async fn a_container_that_is_missing_is_never_an_empty_store() {
    let mock = Mock::start().await;
    let location = at(&options(&mock));
    let key = put(&location, id(1), b"layer").await;
    assert_eq!(location.stat(&key_of(b"missing")).await.unwrap(), None);
    mock.state().container_exists = false;
    let location = at(&options(&mock));
    let staged: Staged = Staged {
        offset: 5,
        parts: "1:0:5:1".parse().unwrap(),
    };
    let mut writer = location.stage(id(2), &Staged::NOTHING).await.unwrap();
    writer.write(Bytes::from_static(b"more")).await.unwrap();
    let answers = [
        location.stat(&key).await.err(),
        location.read(&key, ..).await.err(),
        location.read(&key, 0..5).await.err(),
        writer.sync().await.err(),
        location.publish(id(3), &staged, &key).await.err(),
        location.discard(id(3)).await.err(),
        location.delete(&key).await.err(),
        location.list_staged(None, page()).await.err(),
        location
            .list_objects(shard_of(b"layer"), None, page())
            .await
            .err(),
        location.probe().await.err(),
    ];
    let kinds: Vec<_> = answers
        .iter()
        .map(|error| error.as_ref().map(StorageError::kind))
        .collect();
    assert_eq!(kinds, [Some(StorageErrorKind::Misconfigured); 10]);
}

#[tokio::test]
async fn refusals_are_told_apart_by_what_a_caller_does_about_them() {
    let mock = Mock::start().await;
    let location = at(&options(&mock));
    let key = put(&location, id(1), b"layer").await;
    for (status, kind) in [
        (403, StorageErrorKind::Denied),
        (413, StorageErrorKind::Full),
        (507, StorageErrorKind::Full),
        (429, StorageErrorKind::Throttled),
        (498, StorageErrorKind::Throttled),
        (500, StorageErrorKind::ServerError),
        (503, StorageErrorKind::ServerError),
        (418, StorageErrorKind::Unexpected),
    ] {
        let refusals = [Method::HEAD, Method::GET, Method::PUT, Method::DELETE]
            .map(|method| (method, PREFIX.to_owned(), status, u64::MAX));
        mock.state().refusals = refusals.to_vec();
        let mut writer = location.stage(id(2), &Staged::NOTHING).await.unwrap();
        writer.write(Bytes::from_static(b"more")).await.unwrap();
        for error in [
            location.stat(&key).await.unwrap_err(),
            location.read(&key, 0..5).await.unwrap_err(),
            writer.sync().await.unwrap_err(),
            location.delete(&key).await.unwrap_err(),
        ] {
            assert_eq!(error.kind(), kind, "{status}: {error:?}");
        }
    }
    // What passes is not noticed.
    let refusals = [Method::HEAD, Method::PUT, Method::DELETE]
        .map(|method| (method, PREFIX.to_owned(), 503, 2));
    mock.state().refusals = refusals.to_vec();
    let key = put(&location, id(3), b"more").await;
    location.delete(&key).await.unwrap();
    // A list whose segments are gone is damaged.
    let staged = fate::parts(&mock, id(4), &[5, 5]);
    location.publish(id(4), &staged, &key).await.unwrap();
    mock.state()
        .objects
        .retain(|name, _| !name.contains("000000000000005"));
    let error = location.read(&key, 0..5).await.unwrap_err();
    assert_eq!(error.kind(), StorageErrorKind::Corrupt);
}

#[tokio::test]
async fn temporary_urls_are_signed_by_what_the_store_takes() {
    let mock = Mock::start().await;
    let mut swift = options(&mock);
    assert!(!at(&swift).capabilities().signed_urls);
    swift.temp_url_key = Some(Secret::new("mykey"));
    assert!(at(&swift).capabilities().signed_urls);
    let expires: Timestamp = "2017-12-05T21:16:03Z".parse().unwrap();
    let http = HttpClient::new(&[]).unwrap();
    let environment = Environment::system();
    for (info, digits) in [
        (None, 40),
        (
            Some(serde_json::json!({ "tempurl": { "allowed_digests": ["sha1", "sha256"] } })),
            64,
        ),
    ] {
        mock.state().info = info;
        let container = Container::new(&swift, &http, &environment).unwrap();
        let url = container.temp_url("sha256/ab/cd", &Method::GET, expires);
        let url = url.await.unwrap();
        let path = mock.url("/v1/AUTH_test/registry/data/registry/sha256/ab/cd?temp_url_sig=");
        let signed = url.strip_prefix(&path).unwrap();
        let (signature, rest) = signed.split_once('&').unwrap();
        assert_eq!(signature.len(), digits);
        assert_eq!(rest, "temp_url_expires=1512508563");
        // Asked once.
        container
            .temp_url("sha256/ab/cd", &Method::GET, expires)
            .await
            .unwrap();
    }
    assert_eq!(mock.count(&Method::GET, "/info"), 2);
}

#[test]
fn names_of_containers_are_looked_at() {
    for container in ["", "a/b"] {
        let http = HttpClient::new(&[]).unwrap();
        let swift = SwiftOptions {
            auth_url: "http://127.0.0.1:1/auth/v1.0".to_owned(),
            auth_version: SwiftAuthVersion::V1,
            user: USER.to_owned(),
            password: Secret::new(PASSWORD),
            os_options: OpenStackOptions::default(),
            container: container.to_owned(),
            key_prefix: String::new(),
            temp_url_key: None,
        };
        let environment = Environment::system();
        let made = Location::swift(name(), &swift, store_options(), &http, environment);
        assert_eq!(made.unwrap_err().kind(), StorageErrorKind::Misconfigured);
    }
}
