//! A container of OpenStack Swift's own.

use std::time::Duration;

use reqwest::{Method, StatusCode};
use roadstead_oci::Algorithm;
use roadstead_runtime::{Clock, Environment, SystemClock};
use roadstead_secrets::Secret;
use roadstead_storage::{
    HttpClient, Location, ObjectKey, OpenStackOptions, PublicationCost, Shard, Staged,
    StorageErrorKind, StoreOptions, SwiftAuthVersion, SwiftOptions, UrlMethod, UrlRequest,
    Verification,
};
use roadstead_test_servers::{Fault, FaultProxy, Swift};
use uuid::Uuid;

use crate::{append, content, digest, id, key, put, read, suite};

const CONTAINER: &str = "registry";
const PREFIX: &str = "data/registry/";

fn options(server: &Swift) -> SwiftOptions {
    SwiftOptions {
        auth_url: server.auth_url(),
        auth_version: SwiftAuthVersion::V1,
        user: server.user().to_owned(),
        password: Secret::new(server.key()),
        os_options: OpenStackOptions::default(),
        container: CONTAINER.to_owned(),
        key_prefix: PREFIX.to_owned(),
        temp_url_key: None,
    }
}

fn open(swift: &SwiftOptions, options: StoreOptions) -> Location {
    let http = HttpClient::new(&[]).unwrap();
    let name = "swift".parse().unwrap();
    Location::swift(name, swift, options, &http, Environment::system()).unwrap()
}

fn started() -> Swift {
    let server = Swift::start();
    server.create_container(CONTAINER);
    server
}

/// The container as an operator sees it, without this crate's help.
struct Raw {
    client: reqwest::Client,
    token: String,
    container: String,
}

impl Raw {
    fn of(server: &Swift) -> Self {
        // The client of the crate installs what TLS needs.
        HttpClient::new(&[]).unwrap();
        let (token, account) = server.token();
        Self {
            client: reqwest::Client::new(),
            token,
            container: format!("{account}/{CONTAINER}"),
        }
    }

    async fn ask(
        &self,
        method: Method,
        path: &str,
        header: Option<(&str, &str)>,
        body: &[u8],
    ) -> (StatusCode, String) {
        let mut request = self
            .client
            .request(method, format!("{}{path}", self.container))
            .header("x-auth-token", &self.token)
            .header("content-length", body.len())
            .body(body.to_vec());
        if let Some((name, value)) = header {
            request = request.header(name, value);
        }
        let answer = request.send().await.unwrap();
        (answer.status(), answer.text().await.unwrap())
    }

    async fn put(&self, name: &str, body: &[u8]) {
        let (status, said) = self.ask(Method::PUT, &format!("/{name}"), None, body).await;
        assert_eq!(status, StatusCode::CREATED, "{said}");
    }

    async fn names(&self) -> Vec<String> {
        let (_, said) = self.ask(Method::GET, "", None, b"").await;
        said.lines().map(str::to_owned).collect()
    }

    /// A blob as Quay writes it.
    async fn quays(&self, upload: Uuid, key: &ObjectKey, bytes: &[u8]) {
        for (number, segment) in bytes.chunks(8_000).enumerate() {
            self.put(&format!("{PREFIX}segments/{upload}/{number:09}"), segment)
                .await;
        }
        let prefix = format!("{CONTAINER}/{PREFIX}segments/{upload}");
        let header = Some(("x-object-manifest", prefix.as_str()));
        let path = format!("/{PREFIX}{key}");
        let (status, _) = self.ask(Method::PUT, &path, header, b"").await;
        assert_eq!(status, StatusCode::CREATED);
    }
}

#[tokio::test]
async fn a_container_keeps_the_contract() {
    let server = started();
    let swift = options(&server);
    suite::run(&|| open(&swift, StoreOptions::default())).await;
}

#[tokio::test]
async fn a_container_whose_prefix_has_no_slash_keeps_the_contract() {
    let server = started();
    let swift = SwiftOptions {
        key_prefix: "registry data".to_owned(),
        ..options(&server)
    };
    suite::run(&|| open(&swift, StoreOptions::default())).await;
}

#[tokio::test]
async fn a_large_blob_is_a_list_of_parts_that_stay_where_they_are() {
    let server = started();
    let raw = Raw::of(&server);
    let location = open(&options(&server), StoreOptions::default());
    assert_eq!(
        location.capabilities().publication,
        PublicationCost::InPlace
    );
    let whole = content(1, (20 << 20) + 5);
    let staged = append(&location, id(1), &Staged::NOTHING, &whole)
        .await
        .unwrap();
    let staged_names = raw.names().await;
    let before = server.requests().len();
    let key = key(&whole);
    location.publish(id(1), &staged, &key).await.unwrap();
    let parts = format!("{PREFIX}segments/{}/", id(1));
    let parts_of = |names: Vec<String>| {
        let parts = names.into_iter().filter(|name| name.starts_with(&parts));
        parts.collect::<Vec<_>>()
    };
    let names = raw.names().await;
    assert_eq!(parts_of(names.clone()), parts_of(staged_names));
    assert_eq!(names.len(), 5, "{names:?}");
    let written = server.requests().split_off(before);
    let written = written
        .iter()
        .filter(|request| request.method == "PUT" && !request.target.contains("owners"));
    assert_eq!(written.count(), 1, "only the list is written");

    // The mark is there again, as after a crash.
    raw.put(&format!("{PREFIX}uploads/{}", id(1)), b"").await;
    location.discard(id(1)).await.unwrap();
    let size = whole.len() as u64;
    let intact = Verification::Intact { size };
    assert_eq!(location.verify(&digest(&whole)).await.unwrap(), intact);
    assert_eq!(
        read(&location, &key, 8_388_600..8_388_620).await.unwrap(),
        whole[8_388_600..8_388_620]
    );
    let shard = Shard::new(Algorithm::Sha256, first_byte(&whole));
    let page = location.list_objects(shard, None, 10.try_into().unwrap());
    assert_eq!(page.await.unwrap().objects[0].size, size);
    location.delete(&key).await.unwrap();
    assert_eq!(raw.names().await, Vec::<String>::new());
}

fn first_byte(bytes: &[u8]) -> u8 {
    let digest = digest(bytes);
    u8::from_str_radix(digest.hex().get(..2).unwrap(), 16).unwrap()
}

#[tokio::test]
async fn very_many_parts_are_lists_of_lists() {
    let server = started();
    let raw = Raw::of(&server);
    let location = open(&options(&server), StoreOptions::default());
    let whole = content(2, 1_060);
    for (number, part) in whole.chunks(2).enumerate() {
        let name = format!("{PREFIX}segments/{}/{:015}-{:016x}", id(2), number * 2, 7);
        raw.put(&name, part).await;
    }
    raw.put(&format!("{PREFIX}uploads/{}", id(2)), b"").await;
    let staged = Staged {
        offset: 1_060,
        parts: "7:0:2:530".parse().unwrap(),
    };
    let key = key(&whole);
    location.publish(id(2), &staged, &key).await.unwrap();
    assert_eq!(location.stat(&key).await.unwrap().unwrap().size, 1_060);
    // Not all at once: the store gives out short segments one a second.
    for range in [0..9_usize, 995..1_005, 1_055..1_060] {
        let asked = range.start as u64..range.end as u64;
        let read = read(&location, &key, asked).await.unwrap();
        assert_eq!(read, whole[range]);
    }
    assert_eq!(raw.names().await.len(), 530 + 2 + 2);
    location.delete(&key).await.unwrap();
    assert_eq!(raw.names().await, Vec::<String>::new());
}

#[tokio::test]
async fn a_part_that_is_missing_or_changed_is_found_out() {
    let server = started();
    let raw = Raw::of(&server);
    let location = open(&options(&server), StoreOptions::default());
    let whole = content(3, 12_000);
    let key = key(&whole);
    let name = |start: usize| {
        let path = format!("segments/{}/{start:015}-{:016x}", id(3), 7);
        format!("{PREFIX}{path}")
    };
    let staged = Staged {
        offset: 12_000,
        parts: "7:0:6000:2".parse().unwrap(),
    };
    raw.put(&name(0), &whole[..6_000]).await;
    let refused = location.publish(id(3), &staged, &key).await.unwrap_err();
    assert_eq!(refused.kind(), StorageErrorKind::NotFound, "{refused:?}");
    raw.put(&name(6_000), b"short").await;
    let refused = location.publish(id(3), &staged, &key).await.unwrap_err();
    assert_eq!(refused.kind(), StorageErrorKind::Corrupt, "{refused:?}");
    assert_eq!(location.stat(&key).await.unwrap(), None);
    raw.put(&name(6_000), &whole[6_000..]).await;
    location.publish(id(3), &staged, &key).await.unwrap();
    assert_eq!(read(&location, &key, 0..12_000).await.unwrap(), whole);
    // As long, and other bytes.
    raw.put(&name(6_000), &whole[..6_000]).await;
    read(&location, &key, 0..12_000).await.unwrap_err();
    let (status, _) = raw
        .ask(Method::DELETE, &format!("/{}", name(0)), None, b"")
        .await;
    assert_eq!(status, StatusCode::NO_CONTENT);
    let lost = read(&location, &key, 0..12_000).await.unwrap_err();
    assert_eq!(lost.kind(), StorageErrorKind::Corrupt, "{lost:?}");
    // And is healed by the next push, and deleted whatever is left of it.
    put(&location, id(4), &whole).await.unwrap();
    assert_eq!(read(&location, &key, 0..12_000).await.unwrap(), whole);
    location.delete(&key).await.unwrap();
    assert_eq!(location.stat(&key).await.unwrap(), None);
}

#[tokio::test]
async fn blobs_of_quays_are_read_listed_replaced_and_deleted() {
    let server = started();
    let raw = Raw::of(&server);
    let location = open(&options(&server), StoreOptions::default());
    let whole = content(5, 30_000);
    let key = key(&whole);
    raw.quays(id(5), &key, &whole).await;
    raw.put(&format!("{PREFIX}segments/{}/000000000", id(6)), b"open")
        .await;
    assert_eq!(location.stat(&key).await.unwrap().unwrap().size, 30_000);
    assert_eq!(read(&location, &key, 0..30_000).await.unwrap(), whole);
    assert_eq!(
        read(&location, &key, 7_990..8_010).await.unwrap(),
        whole[7_990..8_010]
    );
    let shard = Shard::new(Algorithm::Sha256, first_byte(&whole));
    let page = location.list_objects(shard, None, 10.try_into().unwrap());
    assert_eq!(page.await.unwrap().objects[0].size, 30_000);
    for upload in [id(5), id(6)] {
        location.discard(upload).await.unwrap();
    }
    assert_eq!(read(&location, &key, 0..30_000).await.unwrap(), whole);
    location.delete(&key).await.unwrap();
    assert_eq!(
        raw.names().await,
        [format!("{PREFIX}segments/{}/000000000", id(6))]
    );

    raw.quays(id(5), &key, &whole).await;
    put(&location, id(7), &whole).await.unwrap();
    assert_eq!(read(&location, &key, 0..30_000).await.unwrap(), whole);
    // The old segments are still there for whoever reads them, and known.
    let page = location.list_staged(None, 10.try_into().unwrap()).await;
    assert_eq!(page.unwrap().uploads[0].id, id(5));
    location.discard(id(5)).await.unwrap();
    assert!(raw.names().await.len() > 2);
    // A segment that its container has lost, and a manifest without any.
    raw.quays(id(8), &key, b"").await;
    location.delete(&key).await.unwrap();
    assert_eq!(location.stat(&key).await.unwrap(), None);
}

#[tokio::test]
async fn signed_urls_open_one_object_for_a_while() {
    let server = started();
    server.set_temporary_url_key("a key");
    let swift = SwiftOptions {
        temp_url_key: Some(Secret::new("a key")),
        key_prefix: "with space/".to_owned(),
        ..options(&server)
    };
    let location = open(&swift, StoreOptions::default());
    assert!(location.capabilities().signed_urls);
    let small = content(6, 5_000);
    let large = content(7, 20 << 20);
    let client = Raw::of(&server).client;
    let now = SystemClock.now();
    for (number, bytes) in [(6, small), (7, large)] {
        let object = put(&location, id(number), &bytes).await.unwrap();
        let request = UrlRequest::get(now, Duration::from_mins(1));
        let url = location
            .signed_url(&object, &request)
            .await
            .unwrap()
            .unwrap();
        let answer = client.get(url.expose()).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        assert!(answer.bytes().await.unwrap() == bytes);
        let ranged = client.get(url.expose()).header("range", "bytes=5-9");
        let answer = ranged.send().await.unwrap();
        assert_eq!(answer.bytes().await.unwrap(), bytes[5..10]);
        let answer = client.delete(url.expose()).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
        let head = UrlRequest {
            method: UrlMethod::Head,
            ..request
        };
        let url = location.signed_url(&object, &head).await.unwrap().unwrap();
        let answer = client.head(url.expose()).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        let past = UrlRequest::get(now - Duration::from_mins(2), Duration::from_mins(1));
        let url = location.signed_url(&object, &past).await.unwrap().unwrap();
        let answer = client.get(url.expose()).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
        let page = UrlRequest {
            cross_origin: true,
            ..request
        };
        assert!(location.signed_url(&object, &page).await.unwrap().is_none());
    }
    let plain = open(&options(&server), StoreOptions::default());
    let request = UrlRequest::get(now, Duration::from_mins(1));
    let url = plain.signed_url(&key(b""), &request).await.unwrap();
    assert!(url.is_none());
}

/// Deadlines that a test can wait for, of a store that hangs.
fn impatient() -> StoreOptions {
    StoreOptions {
        step_timeout: Duration::from_secs(1),
        probe_timeout: Duration::from_secs(1),
        part_bytes_per_second_min: 64 << 20,
        ..StoreOptions::default()
    }
}

#[tokio::test]
async fn every_failure_of_the_store_has_its_kind_and_passes_with_it() {
    let server = started();
    let proxy = FaultProxy::start(server.port());
    let swift = SwiftOptions {
        auth_url: format!("{}/auth/v1.0", proxy.endpoint()),
        ..options(&server)
    };
    let (patient, hasty) = (
        open(&swift, StoreOptions::default()),
        open(&swift, impatient()),
    );
    let bytes = content(8, 300_000);
    let object = put(&patient, id(8), &bytes).await.unwrap();
    // Its token is there before the store hangs, also where a busy machine does not give it one in time.
    let mut tries_left = 60;
    while let Err(late) = hasty.stat(&object).await {
        assert!(tries_left > 0, "{late:?}");
        tries_left -= 1;
    }
    let size = bytes.len() as u64;
    let unreachable = vec![StorageErrorKind::Unavailable, StorageErrorKind::Interrupted];
    for (fault, kinds) in [
        (Fault::Refuse, unreachable.clone()),
        (Fault::Reset, unreachable.clone()),
        (Fault::BlackHole, vec![StorageErrorKind::Timeout]),
        (
            Fault::Status { code: 500 },
            vec![StorageErrorKind::ServerError],
        ),
        (
            Fault::Status { code: 429 },
            vec![StorageErrorKind::Throttled],
        ),
        (Fault::Status { code: 507 }, vec![StorageErrorKind::Full]),
        (Fault::Status { code: 403 }, vec![StorageErrorKind::Denied]),
        (Fault::CutAfter { bytes: 0 }, unreachable),
    ] {
        proxy.set(fault);
        // What answers may take its time.
        let location = if fault == Fault::BlackHole {
            &hasty
        } else {
            &patient
        };
        for failure in [
            location.stat(&object).await.err(),
            read(location, &object, 0..size).await.err(),
            location.probe().await.err(),
            append(location, id(9), &Staged::NOTHING, b"more")
                .await
                .err(),
            location.delete(&key(b"something")).await.err(),
            location.discard(id(10)).await.err(),
        ] {
            let failure = failure.unwrap_or_else(|| panic!("{fault:?} goes unnoticed"));
            assert!(kinds.contains(&failure.kind()), "{fault:?}: {failure:?}");
        }
        proxy.set(Fault::Pass);
        assert_eq!(read(&patient, &object, 0..size).await.unwrap(), bytes);
    }
    proxy.set(Fault::CutAfter { bytes: 100_000 });
    let cut = read(&patient, &object, 0..size).await.unwrap_err();
    assert_eq!(cut.kind(), StorageErrorKind::Interrupted, "{cut:?}");
}

#[tokio::test]
async fn a_store_that_has_forgotten_its_tokens_is_asked_for_others() {
    let mut server = started();
    let location = open(&options(&server), StoreOptions::default());
    let bytes = content(9, 1_000);
    let object = put(&location, id(9), &bytes).await.unwrap();
    server.kill();
    let dead = location.stat(&object).await.unwrap_err();
    assert_eq!(dead.kind(), StorageErrorKind::Unavailable, "{dead:?}");
    server.restart();
    // A token that was given just now is not asked for again: that takes some seconds.
    let mut tries_left = 200;
    let read = loop {
        match read(&location, &object, 0..1_000).await {
            Ok(read) => break read,
            Err(refused) => {
                assert!(tries_left > 0, "{refused:?}");
                tries_left -= 1;
                SystemClock.sleep(Duration::from_millis(100)).await;
            }
        }
    };
    assert_eq!(read, bytes);
}

#[tokio::test]
async fn what_is_wrong_with_the_configuration_is_told() {
    let server = started();
    let right = options(&server);
    let wrong_container = SwiftOptions {
        container: "no-such-container".to_owned(),
        ..right.clone()
    };
    let wrong_password = SwiftOptions {
        password: Secret::new("hunter2"),
        ..right.clone()
    };
    let wrong_user = SwiftOptions {
        user: "test:nobody".to_owned(),
        ..right.clone()
    };
    let not_keystone = SwiftOptions {
        auth_version: SwiftAuthVersion::V3,
        ..right.clone()
    };
    let nobody = SwiftOptions {
        auth_url: format!(
            "http://127.0.0.1:{}/auth/v1.0",
            roadstead_test_servers::free_port()
        ),
        ..right.clone()
    };
    for (swift, kind) in [
        (&wrong_container, StorageErrorKind::Misconfigured),
        (&wrong_password, StorageErrorKind::Denied),
        (&wrong_user, StorageErrorKind::Denied),
        (&not_keystone, StorageErrorKind::Misconfigured),
        (&nobody, StorageErrorKind::Unavailable),
    ] {
        let location = open(swift, StoreOptions::default());
        for failure in [
            location.probe().await.unwrap_err(),
            location.stat(&key(b"missing")).await.unwrap_err(),
        ] {
            assert_eq!(failure.kind(), kind, "{failure:?}");
            let told = format!("{failure} {failure:?}");
            assert!(!told.contains("hunter2") && !told.contains(server.key()));
        }
    }
}
