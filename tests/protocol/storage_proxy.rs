//! Blobs in an S3 store that clients reach through the registry only: a real store, a real registry, Quay's URLs.

use http::StatusCode;
use roadstead_client::Client;
use roadstead_test_servers::{Fault, FaultProxy, S3Server};
use roadstead_testkit::{ImageKind, TestImage, Universe, UniverseOptions};
use roadstead_tests::{Reply, call, sha256, store_driver};
use serde_json::{Value, json};
use tempfile::TempDir;

/// More failures than a location needs to be passed over.
const FAILURES_MAX: usize = 20;

/// A registry whose first location is a bucket and whose second is a directory.
struct Setting {
    universe: Universe,
    store: S3Server,
    /// Between the registry and the store.
    line: FaultProxy,
    _directory: TempDir,
}

impl Setting {
    async fn start() -> Self {
        let store = S3Server::start();
        store.create_bucket("registry");
        let line = FaultProxy::start(store.port());
        let directory = tempfile::tempdir().unwrap();
        let bucket = store_driver(&store, line.port(), "registry", "/datastorage/registry");
        let local = json!(["LocalStorage", {"storage_path": directory.path().join("eu")}]);
        let options = UniverseOptions::default()
            .key(
                "DISTRIBUTED_STORAGE_CONFIG",
                json!({"usstorage": bucket, "eustorage": local}),
            )
            .key("FEATURE_PROXY_STORAGE", Value::Bool(true));
        let universe = options.start().await;
        Self {
            universe,
            store,
            line,
            _directory: directory,
        }
    }

    async fn finish(self) {
        self.line.set(Fault::Pass);
        // The universe looks for what is left where a registry without a configuration has its locations.
        for name in ["usstorage", "eustorage"] {
            std::fs::create_dir_all(self.universe.data_dir().join(name)).unwrap();
        }
        self.universe.finish().await;
    }
}

async fn get(client: &Client, path: &str) -> Reply {
    call("GET", path).send(client).await
}

#[tokio::test]
async fn a_blob_in_a_bucket_is_fetched_through_the_registry() {
    let setting = Setting::start().await;
    let client = setting.universe.client();
    let nobody = setting.universe.client_as(0, None);
    let content: Vec<u8> = (0..300_000_u32).flat_map(u32::to_le_bytes).collect();
    let digest = sha256(&content);
    call(
        "POST",
        format!("/v2/team/app/blobs/uploads/?digest={digest}"),
    )
    .body(content.clone())
    .send(&client)
    .await
    .expect(201);

    let path = format!("/v2/team/app/blobs/{digest}");
    let redirect = get(&client, &path).await.expect(302);
    let url = redirect.header("location").to_owned();
    assert!(url.starts_with("/_storage_proxy/"), "{url}");
    let store = format!(
        "/http/127.0.0.1:{}/registry/datastorage/registry/sha256/",
        setting.line.port()
    );
    assert!(
        url.contains(&store) && url.contains("X-Amz-Expires=600"),
        "{url}"
    );
    let kept = redirect.header("cache-control");
    let seconds = kept.strip_prefix("private, max-age=").unwrap();
    assert!((530..=540).contains(&seconds.parse().unwrap()), "{kept}");
    assert_eq!(redirect.header("docker-content-digest"), digest.as_str());

    let whole = get(&nobody, &url).await.expect(200);
    assert_eq!(whole.body, content);
    let part = call("GET", &url)
        .header("range", "bytes=1000-1999")
        .send(&nobody)
        .await
        .expect(206);
    assert_eq!(part.body, content[1000..2000]);
    assert_eq!(
        part.header("content-range"),
        format!("bytes 1000-1999/{}", content.len())
    );
    let outside = call("GET", &url)
        .header("range", "bytes=9000000-")
        .send(&nobody)
        .await;
    outside.refused(416, "RANGE_INVALID");
    let head = call("HEAD", &url).send(&nobody).await.expect(200);
    assert_eq!(head.header("content-length"), content.len().to_string());
    let etag = whole.header("etag").to_owned();
    let kept = call("GET", &url)
        .header("if-none-match", &etag)
        .send(&nobody)
        .await;
    kept.expect(304);

    get(&client, &format!("{url}&x=y"))
        .await
        .refused(401, "UNAUTHORIZED");
    let asked = call("GET", "/_storage_proxy_auth")
        .header("x-original-uri", &url)
        .send(&nobody)
        .await
        .expect(200);
    assert_eq!(&*asked.body, b"OK");

    // HEAD asks no store.
    let before = setting.store.requests().len();
    call("HEAD", &path).send(&client).await.expect(200);
    let since = setting.store.requests().split_off(before);
    assert!(
        since.iter().all(|request| request.method != "GET"),
        "{since:?}"
    );
    let mut setting = setting;
    setting.universe.expect_leftovers();
    setting.finish().await;
}

#[tokio::test]
async fn after_a_few_failures_of_the_store_its_blobs_come_from_elsewhere() {
    let setting = Setting::start().await;
    let client = setting.universe.client();
    let image = TestImage::new(1, ImageKind::Oci, &[50_000]);
    let (repository, reference) = ("team/app".parse().unwrap(), "latest".parse().unwrap());
    image.push(&client, &repository, &reference).await.unwrap();
    setting.universe.wait_until_replicated().await;
    // A client that follows redirects notices nothing.
    image.pull(&client, &repository, &reference).await.unwrap();

    let manifest = get(&client, "/v2/team/app/manifests/latest").await.json();
    let layer = manifest["layers"][0]["digest"].as_str().unwrap();
    let path = format!("/v2/team/app/blobs/{layer}");
    let first = get(&client, &path).await.expect(302).location();
    setting.line.set(Fault::Refuse);
    let mut failures = 0;
    let streamed = loop {
        let reply = get(&client, &path).await;
        if reply.status == StatusCode::OK {
            break reply;
        }
        let url = reply.expect(302).location();
        let failed = get(&client, &url).await.refused(503, "UNAVAILABLE");
        assert!(!failed.header("retry-after").is_empty());
        failures += 1;
        assert!(failures < FAILURES_MAX, "still redirected");
    };
    assert_eq!(streamed.body.len(), 50_000);
    // Who has a URL already is told to come again.
    get(&client, &first).await.refused(503, "UNAVAILABLE");
    setting.finish().await;
}
