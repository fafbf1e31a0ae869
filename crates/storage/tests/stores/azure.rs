//! The Azure driver against Azurite, and against Azurite behind a proxy that adds what it lacks: copying a block from a URL.

mod copying;
mod token;

use std::num::NonZeroU16;
use std::time::Duration;

use roadstead_runtime::{Environment, Timestamp};
use roadstead_secrets::Secret;
use roadstead_storage::{
    AzureCredentials, AzureOptions, HttpClient, Location, ObjectKey, Staged, StorageError,
    StorageErrorKind, StoreOptions, UrlMethod, UrlRequest,
};
use roadstead_test_servers::Azurite;

use crate::{append, content, id, key, put, read, suite};

use copying::CopyingStore;

/// Four parts: three of 8 MiB and a short one.
const LARGE: usize = (24 << 20) + 12_345;

const CONTAINER: &str = "registry";

/// Azurite with a container, and how it is reached.
struct Store {
    azurite: Azurite,
    options: AzureOptions,
}

impl Store {
    fn start() -> Self {
        let azurite = Azurite::start();
        let options = AzureOptions {
            endpoint: azurite.endpoint(),
            account_name: azurite.account_name().to_owned(),
            container: CONTAINER.to_owned(),
            storage_path: "/quay images/eu".to_owned(),
            credentials: AzureCredentials::AccountKey(Secret::new(azurite.account_key())),
        };
        azurite.create_container(CONTAINER);
        Self { azurite, options }
    }

    /// A token with these rights to everything.
    fn token(&self, rights: &str) -> String {
        token::of_account(
            self.azurite.account_name(),
            self.azurite.account_key(),
            rights,
            Environment::system().now() + Duration::from_hours(1),
        )
    }

    fn with_token(&self) -> AzureOptions {
        AzureOptions {
            credentials: AzureCredentials::SasToken(Secret::new(self.token("rwdlac"))),
            ..self.options.clone()
        }
    }
}

fn http() -> HttpClient {
    HttpClient::new(&[]).unwrap()
}

/// A client that knows nothing of Azure.
fn client() -> reqwest::Client {
    // Makes the TLS provider known.
    http();
    reqwest::Client::new()
}

fn location(options: &AzureOptions) -> Location {
    let name = "azure".parse().unwrap();
    let store = StoreOptions::default();
    Location::azure(name, options, store, &http(), Environment::system()).unwrap()
}

#[tokio::test]
async fn a_container_keeps_the_contract() {
    let store = Store::start();
    suite::run(&|| location(&store.options)).await;
}

#[tokio::test]
async fn a_container_that_a_token_opens_keeps_the_contract() {
    let store = Store::start();
    let options = store.with_token();
    suite::run(&|| location(&options)).await;
}

#[tokio::test]
async fn a_container_whose_store_copies_parts_keeps_the_contract() {
    let store = Store::start();
    let copying = CopyingStore::before(&store.options.endpoint).await;
    let options = AzureOptions {
        endpoint: copying.endpoint(),
        ..store.options.clone()
    };
    suite::run(&|| location(&options)).await;
    assert!(copying.counts().copied > 0);
}

#[tokio::test]
async fn a_store_that_copies_puts_objects_together_without_their_bytes_passing_here() {
    let store = Store::start();
    let copying = CopyingStore::before(&store.options.endpoint).await;
    for (number, mut options) in [store.options.clone(), store.with_token()]
        .into_iter()
        .enumerate()
    {
        options.endpoint = copying.endpoint();
        let location = location(&options);
        for length in [1, 5 << 20, LARGE] {
            let content = content(number as u64, length);
            let staged = append(&location, id(1), &Staged::NOTHING, &content).await;
            let (staged, key) = (staged.unwrap(), key(&content));
            let before = copying.counts();
            location.publish(id(1), &staged, &key).await.unwrap();
            let after = copying.counts();
            assert_eq!(after.copied - before.copied, length.div_ceil(8 << 20));
            assert!(
                after.received - before.received < 1024,
                "only the list of blocks is sent"
            );
            assert_eq!(after.read_here, before.read_here);
            let end = length as u64;
            assert_eq!(read(&location, &key, 0..end).await.unwrap(), content);
            // Once more, as after a crash: the parts are gone, the object is there.
            location.publish(id(1), &staged, &key).await.unwrap();
            location.delete(&key).await.unwrap();
            let error = location.publish(id(1), &staged, &key).await.unwrap_err();
            assert_eq!(error.kind(), StorageErrorKind::NotFound, "{error:?}");
        }
    }
}

#[tokio::test]
async fn two_who_publish_the_same_object_at_once_both_succeed() {
    let store = Store::start();
    let copying = CopyingStore::before(&store.options.endpoint).await;
    let options = AzureOptions {
        endpoint: copying.endpoint(),
        ..store.options.clone()
    };
    let location = location(&options);
    let content = content(3, LARGE);
    let publications = (0..3).map(|number| put(&location, id(number), &content));
    let published: Vec<Result<ObjectKey, StorageError>> =
        futures_util::future::join_all(publications).await;
    for key in published {
        let end = LARGE as u64;
        let key = key.unwrap();
        assert_eq!(read(&location, &key, 0..end).await.unwrap(), content);
    }
}

#[tokio::test]
async fn blocks_that_somebody_elses_object_removed_are_copied_again() {
    let store = Store::start();
    let copying = CopyingStore::before(&store.options.endpoint).await;
    let options = AzureOptions {
        endpoint: copying.endpoint(),
        ..store.options.clone()
    };
    let location = location(&options);
    let content = content(4, LARGE);
    copying.lose_blocks(2);
    let key = put(&location, id(1), &content).await.unwrap();
    assert_eq!(copying.counts().copied, 3 * 4);
    let end = LARGE as u64;
    assert_eq!(read(&location, &key, 0..end).await.unwrap(), content);
}

#[tokio::test]
async fn a_store_that_may_not_read_itself_is_written_through_this_process() {
    let store = Store::start();
    let copying = CopyingStore::before(&store.options.endpoint).await;
    let options = AzureOptions {
        endpoint: copying.endpoint(),
        ..store.options.clone()
    };
    let location = location(&options);
    let content = content(8, LARGE);
    copying.wall_off();
    let key = put(&location, id(1), &content).await.unwrap();
    assert_eq!(copying.counts().copied, 0);
    let end = LARGE as u64;
    assert_eq!(read(&location, &key, 0..end).await.unwrap(), content);
}

#[tokio::test]
async fn a_signed_url_reads_one_object_until_it_ends_and_does_nothing_else() {
    let store = Store::start();
    let location = location(&store.options);
    let content = content(5, 100_000);
    let key = put(&location, id(1), &content).await.unwrap();
    let other = put(&location, id(2), b"other").await.unwrap();
    let sign = async |key: &ObjectKey, now: Timestamp| {
        let request = UrlRequest::get(now, Duration::from_mins(1));
        location.signed_url(key, &request).await.unwrap().unwrap()
    };
    let now = Environment::system().now();
    let url = sign(&key, now).await;
    assert_eq!(url.expires_at(), now + Duration::from_mins(1));
    let client = client();
    let whole = client.get(url.expose()).send().await.unwrap();
    assert_eq!(whole.status(), 200);
    assert_eq!(whole.bytes().await.unwrap(), content);
    let part = client.get(url.expose()).header("Range", "bytes=10-19");
    let part = part.send().await.unwrap();
    assert_eq!(part.status(), 206);
    assert_eq!(part.bytes().await.unwrap(), content[10..20]);
    assert_eq!(
        client.head(url.expose()).send().await.unwrap().status(),
        200
    );

    let written = client
        .put(url.expose())
        .header("x-ms-blob-type", "BlockBlob")
        .body("hunter2");
    assert_eq!(written.send().await.unwrap().status(), 403);
    assert_eq!(
        client.delete(url.expose()).send().await.unwrap().status(),
        403
    );
    let elsewhere = url.expose().replace(&key.path(), &other.path());
    assert_eq!(client.get(&elsewhere).send().await.unwrap().status(), 403);
    let ended = sign(&key, now - Duration::from_mins(2)).await;
    assert_eq!(
        client.get(ended.expose()).send().await.unwrap().status(),
        403
    );
    let longer = url.expose().replace("se=20", "se=21");
    assert_ne!(longer, url.expose());
    assert_eq!(client.get(&longer).send().await.unwrap().status(), 403);
}

#[tokio::test]
async fn with_a_token_there_are_no_signed_urls() {
    let store = Store::start();
    let location = location(&store.with_token());
    assert!(!location.capabilities().signed_urls);
    for method in [UrlMethod::Get, UrlMethod::Head] {
        let request = UrlRequest {
            method,
            ..UrlRequest::get(Environment::system().now(), Duration::from_mins(1))
        };
        let url = location
            .signed_url(&ObjectKey::Probe, &request)
            .await
            .unwrap();
        assert!(url.is_none());
    }
}

#[tokio::test]
async fn what_is_wrong_with_a_container_or_its_credentials_is_told_without_the_token() {
    let store = Store::start();
    let good = store.with_token();
    let wrong_key = AzureCredentials::AccountKey(Secret::new("aHVudGVyMg=="));
    let wrong_token = store.token("rwdlac").replace("sig=", "sig=hunter2");
    let poor_token = store.token("r");
    let token = |text: &str| AzureCredentials::SasToken(Secret::new(text));
    for (options, kind) in [
        (
            AzureOptions {
                container: "missing".to_owned(),
                ..good.clone()
            },
            StorageErrorKind::Misconfigured,
        ),
        (
            AzureOptions {
                credentials: wrong_key,
                ..good.clone()
            },
            StorageErrorKind::Denied,
        ),
        (
            AzureOptions {
                credentials: token(&wrong_token),
                ..good.clone()
            },
            StorageErrorKind::Denied,
        ),
        (
            AzureOptions {
                credentials: token(&poor_token),
                ..good.clone()
            },
            StorageErrorKind::Denied,
        ),
        (
            AzureOptions {
                endpoint: "http://127.0.0.1:9/devstoreaccount1".to_owned(),
                ..good.clone()
            },
            StorageErrorKind::Unavailable,
        ),
    ] {
        let location = location(&options);
        let error = location.probe().await.unwrap_err();
        assert_eq!(error.kind(), kind, "{error:?}");
        let mut errors = vec![error];
        errors.extend(put(&location, id(9), b"").await.err());
        errors.extend(location.stat(&key(b"")).await.err());
        errors.extend(location.list_staged(None, NonZeroU16::MIN).await.err());
        for error in errors {
            let text = format!("{error} {error:?} {error:#?}");
            assert!(
                !text.contains("sig=") && !text.contains("hunter2"),
                "{text}"
            );
        }
    }
}

#[tokio::test]
async fn a_key_that_is_not_in_base64_is_refused_at_once() {
    let options = AzureOptions {
        endpoint: "http://127.0.0.1:9/devstoreaccount1".to_owned(),
        account_name: "devstoreaccount1".to_owned(),
        container: CONTAINER.to_owned(),
        storage_path: String::new(),
        credentials: AzureCredentials::AccountKey(Secret::new("hunter2?")),
    };
    let name = "azure".parse().unwrap();
    let store = StoreOptions::default();
    let error = Location::azure(name, &options, store, &http(), Environment::system()).unwrap_err();
    assert_eq!(error.kind(), StorageErrorKind::Misconfigured);
    assert!(!format!("{error:?}").contains("hunter2"), "{error:?}");
}
