//! Two regions on two object stores, each behind a proxy that can make it fail in every way that networks and servers do.
//!
//! Settings: `ROADSTEAD_TEST_FAULT_SECONDS` (6), for how long each failure lasts once it is noticed; `ROADSTEAD_TEST_STORE_LAYER_BYTES` (512 MiB).

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use roadstead_client::{Client, ClientOptions, RequestBody};
use roadstead_oci::{Algorithm, Digest, Reference, RepositoryName};
use roadstead_runtime::{Clock as _, SystemClock};
use roadstead_storage::ObjectKey;
use roadstead_test_servers::{Direction, Fault, FaultProxy, S3Server};
use roadstead_testkit::{
    Content, ImageKind, RegistryProcess, RegistrySettings, Seed, TestImage, eventually, setting,
    within,
};
use roadstead_tests::store_driver;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::deployment::{Deployment, stop};
use crate::upkeep::damage;

const BUCKET: &str = "registry";

/// A store and the proxy in front of it.
struct Store {
    server: S3Server,
    proxy: FaultProxy,
}

impl Store {
    fn start() -> Self {
        let server = S3Server::start();
        server.create_bucket(BUCKET);
        let proxy = FaultProxy::start(server.port());
        Self { server, proxy }
    }

    fn driver(&self) -> Value {
        store_driver(
            &self.server,
            self.proxy.port(),
            BUCKET,
            "/datastorage/registry",
        )
    }

    /// The bytes of a blob as they lie in the store.
    fn object(&self, digest: &Digest) -> Option<Vec<u8>> {
        let path = format!("datastorage/registry/{}", ObjectKey::Blob(digest.clone()));
        std::fs::read(self.server.bucket_directory(BUCKET).join(path)).ok()
    }

    /// How often the object of a blob was read.
    fn reads(&self, digest: &Digest) -> usize {
        let path = format!(
            "/{BUCKET}/datastorage/registry/{}",
            ObjectKey::Blob(digest.clone())
        );
        self.proxy.count("GET", &path)
    }
}

/// A registry of two regions.
struct Regions {
    us: Store,
    eu: Store,
    deployment: Deployment,
}

impl Regions {
    fn new() -> Self {
        Self {
            us: Store::start(),
            eu: Store::start(),
            deployment: Deployment::new(),
        }
    }

    /// How a region's process is started.
    fn settings(&self, preferred: &str, more: &Value) -> RegistrySettings {
        let mut keys = json!({
            "DISTRIBUTED_STORAGE_CONFIG": {"usstorage": self.us.driver(), "eustorage": self.eu.driver()},
            "DISTRIBUTED_STORAGE_DEFAULT_LOCATIONS": ["usstorage", "eustorage"],
            "DISTRIBUTED_STORAGE_PREFERENCE": ["usstorage", "eustorage"],
            "FEATURE_STORAGE_REPLICATION": true,
            "ROADSTEAD_STREAM_NETWORKS": ["127.0.0.0/8"],
        });
        for (key, value) in more.as_object().unwrap() {
            keys[key] = value.clone();
        }
        let mut settings = RegistrySettings::new(&self.deployment.settings.data_dir);
        settings.environment = vec![
            ("QUAY_OVERRIDE_CONFIG".to_owned(), keys.to_string()),
            (
                "QUAY_DISTRIBUTED_STORAGE_PREFERENCE".to_owned(),
                preferred.to_owned(),
            ),
            ("RUST_LOG".to_owned(), "info".to_owned()),
        ];
        settings
    }

    async fn start(&self, preferred: &str) -> (RegistrySettings, RegistryProcess) {
        let settings = self.settings(preferred, &json!({}));
        let process = settings.start().await;
        (settings, process)
    }
}

fn repository() -> RepositoryName {
    "team/app".parse().unwrap()
}

/// How a location is, as a region sees it.
async fn health(client: &Client, location: &str) -> Value {
    let request = http::Request::get("/health/locations")
        .body(RequestBody::bytes(Bytes::new()))
        .unwrap();
    let answer = client.exchange(request, "").await.unwrap();
    let body = answer.bytes(1 << 20).await.unwrap();
    let report: Value = serde_json::from_slice(&body).unwrap();
    let locations = report["data"]["locations"].as_array().unwrap().clone();
    let found = locations
        .into_iter()
        .find(|found| found["location"] == location);
    found.unwrap_or_else(|| panic!("{location} is not in {report}"))
}

/// What clients did while a store failed.
#[derive(Default)]
struct Tally {
    pulls: AtomicU64,
    failed_pulls: AtomicU64,
    pushes: AtomicU64,
    /// Pushes that failed and had begun before the failure was noticed.
    failed_pushes_at_first: AtomicU64,
    /// Pushes that failed and had begun later.
    failed_pushes: AtomicU64,
    slowest_pull_ms: AtomicU64,
    slowest_push_ms: AtomicU64,
    complaints: Mutex<Vec<String>>,
}

impl Tally {
    fn complain(&self, what: &str, error: &dyn std::fmt::Debug) {
        let mut complaints = self.complaints.lock().unwrap();
        if complaints.len() < 10 {
            complaints.push(format!("{what}: {error:?}"));
        }
    }
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

fn milliseconds(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX)
}

/// What the clients of one failure have in common.
struct Shift {
    known: Vec<(TestImage, Reference)>,
    pushed: Mutex<Vec<(TestImage, Reference)>>,
    /// Whether the registry has seen that the store fails.
    noticed: AtomicBool,
    over: AtomicBool,
    tally: Tally,
}

/// Pulls and pushes in turn until told to stop.
async fn work(client: Client, number: u64, shift: Arc<Shift>) {
    let Shift {
        known,
        pushed,
        noticed,
        over,
        tally,
    } = &*shift;
    let seed = Seed::new(number);
    let mut made = 0;
    while !over.load(Ordering::Relaxed) {
        if seed.below(3) == 0 {
            made += 1;
            let sizes: Vec<u64> = (0..=seed.below(2))
                .map(|_| 10_000 + seed.below(1_500_000))
                .collect();
            let image = TestImage::new(number * 1_000 + made, ImageKind::Oci, &sizes);
            let reference: Reference = format!("c{number}-{made}").parse().unwrap();
            let noticed = noticed.load(Ordering::Relaxed);
            let begun = Instant::now();
            count(&tally.pushes);
            match image.push(&client, &repository(), &reference).await {
                Ok(()) => {
                    pushed.lock().unwrap().push((image, reference));
                }
                Err(error) => {
                    if noticed {
                        count(&tally.failed_pushes);
                        tally.complain("push", &error);
                    } else {
                        count(&tally.failed_pushes_at_first);
                    }
                }
            }
            let took = milliseconds(begun);
            tally.slowest_push_ms.fetch_max(took, Ordering::Relaxed);
        } else {
            // Those that both regions hold: what is only at a store that corrupts cannot be right.
            let chosen = seed.below(known.len() as u64);
            let (image, reference) = &known[usize::try_from(chosen).unwrap()];
            let begun = Instant::now();
            count(&tally.pulls);
            // Every byte is compared.
            if let Err(error) = image.pull(&client, &repository(), reference).await {
                count(&tally.failed_pulls);
                tally.complain("pull", &error);
            }
            let took = milliseconds(begun);
            tally.slowest_pull_ms.fetch_max(took, Ordering::Relaxed);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_fails_in_any_way_costs_no_pull_and_no_push_and_is_used_again_when_it_is_back()
{
    const CLIENTS: u64 = 16;
    let seconds = setting("ROADSTEAD_TEST_FAULT_SECONDS", 6);
    let regions = Regions::new();
    let (settings, process) = regions.start("usstorage eustorage").await;
    let (_, other) = regions.start("eustorage usstorage").await;
    let mut known = Vec::new();
    for number in 1..=20 {
        let image = TestImage::new(number, ImageKind::Oci, &[200_000, 50_000 * number]);
        let reference: Reference = format!("v{number}").parse().unwrap();
        let client = settings.client();
        image
            .push(&client, &repository(), &reference)
            .await
            .unwrap();
        known.push((image, reference));
    }
    for (name, fault) in [
        ("killed", Fault::Refuse),
        ("black-holed", Fault::BlackHole),
        (
            "slowed to 10 KB/s",
            Fault::Slow {
                bytes_per_second: 10_000,
                direction: Direction::Both,
            },
        ),
        ("made to answer 500", Fault::Status { code: 500 }),
        ("made to corrupt", Fault::Corrupt { every: 50_000 }),
    ] {
        // What was pushed meanwhile lies in both regions: what is only at the store that fails cannot be pulled from anywhere.
        wait_until_replicated(&settings).await;
        regions.us.proxy.set(fault);
        let shift = Arc::new(Shift {
            known: known.clone(),
            pushed: Mutex::default(),
            noticed: AtomicBool::new(false),
            over: AtomicBool::new(false),
            tally: Tally::default(),
        });
        let mut clients = JoinSet::new();
        for number in 1..=CLIENTS {
            let number = 1_000 * known.len() as u64 + number;
            clients.spawn(work(settings.client(), number, Arc::clone(&shift)));
        }
        let client = settings.client();
        let failing = Instant::now();
        // Wrong bytes are in what is read only: writing has nothing to notice.
        if !matches!(fault, Fault::Corrupt { .. }) {
            eventually("the store is seen to fail", async || {
                let state = health(&client, "usstorage").await;
                (state["write"]["circuit"] != "closed").then_some(())
            })
            .await;
        }
        let unnoticed = failing.elapsed();
        shift.noticed.store(true, Ordering::Relaxed);
        SystemClock.sleep(Duration::from_secs(seconds)).await;
        shift.over.store(true, Ordering::Relaxed);
        clients.join_all().await;
        let tally = &shift.tally;
        regions.us.proxy.set(Fault::Pass);
        let back = Instant::now();
        // Judged as the instance sees it, and by what it does.
        eventually("the store is used again", async || {
            let state = health(&client, "usstorage").await;
            (state["read"]["circuit"] == "closed" && state["write"]["circuit"] == "closed")
                .then_some(())
        })
        .await;
        let home = back.elapsed();
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        println!(
            "store {name}, noticed after {:.1} s, for {seconds} s more: {} pulls, {} failed; {} pushes, {} failed that began unnoticed, \
             {} later; slowest pull {} ms, push {} ms; home after {:.1} s",
            unnoticed.as_secs_f64(),
            of(&tally.pulls),
            of(&tally.failed_pulls),
            of(&tally.pushes),
            of(&tally.failed_pushes_at_first),
            of(&tally.failed_pushes),
            of(&tally.slowest_pull_ms),
            of(&tally.slowest_push_ms),
            home.as_secs_f64(),
        );
        let complaints = tally.complaints.lock().unwrap().join("\n");
        assert_eq!(of(&tally.failed_pulls), 0, "{name}: {complaints}");
        assert_eq!(of(&tally.failed_pushes), 0, "{name}: {complaints}");
        assert!(of(&tally.pulls) > 0 && of(&tally.pushes) > 0, "{name}");
        known.append(&mut shift.pushed.lock().unwrap());
    }
    // Everything that was acknowledged is there, and right, wherever it was put.
    wait_until_replicated(&settings).await;
    let client = settings.client();
    for (image, reference) in &known {
        image.pull(&client, &repository(), reference).await.unwrap();
        for digest in &image.blobs {
            for store in [&regions.us, &regions.eu] {
                let object = store.object(digest).expect("every blob is everywhere");
                assert_eq!(Digest::of(Algorithm::Sha256, &object), *digest);
            }
        }
    }
    stop(process).await;
    stop(other).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damaged_objects_in_a_bucket_are_named_and_repaired() {
    let regions = Regions::new();
    let (settings, process) = regions.start("usstorage eustorage").await;
    let image = TestImage::new(1, ImageKind::Oci, &[300_000, 20_000, 4_000, 50_000, 7_000]);
    let reference: Reference = "v1".parse().unwrap();
    let client = settings.client();
    image
        .push(&client, &repository(), &reference)
        .await
        .unwrap();
    wait_until_replicated(&settings).await;
    let bucket = regions.eu.server.bucket_directory(BUCKET);
    let path = |digest: &Digest| {
        let key = ObjectKey::Blob(digest.clone());
        bucket.join(format!("datastorage/registry/{key}"))
    };
    let damaged = damage(path, &image.blobs);
    let found = settings.admin().run(&["verifyplacements"]).await;
    found.expect_failure();
    assert_eq!(
        found.stdout.lines().count(),
        damaged.len(),
        "{}",
        found.stdout
    );
    for (digest, defect) in &damaged {
        let expected = format!("location `eustorage`: {digest} is {defect}");
        assert!(found.stdout.contains(&expected), "{}", found.stdout);
    }
    wait_until_replicated(&settings).await;
    let verified = settings.admin().run(&["verifyplacements"]).await;
    verified.expect_success();
    for digest in &image.blobs {
        let object = regions.eu.object(digest).unwrap();
        assert_eq!(Digest::of(Algorithm::Sha256, &object), *digest);
    }
    stop(process).await;
}

async fn wait_until_replicated(settings: &RegistrySettings) {
    let waited = settings
        .admin()
        .run(&["replication", "status", "--wait", "--timeout", "5m"])
        .await;
    assert!(
        waited.expect_success().trim_end().ends_with("complete"),
        "{}",
        waited.stdout
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_clients_that_ask_at_once_cost_one_read_in_the_other_region() {
    const CLIENTS: usize = 200;
    let regions = Regions::new();
    // Nothing is copied but what clients ask for.
    let silent = |preferred| {
        let mut settings = regions.settings(preferred, &json!({}));
        settings.arguments = vec!["--no-replicator".to_owned()];
        settings
    };
    let (us, eu) = (silent("usstorage eustorage"), silent("eustorage usstorage"));
    let us_process = us.start().await;
    let eu_process = eu.start().await;
    let layer = Content::new(77, 4_000_000);
    let digest = layer.digest(Algorithm::Sha256);
    let pusher = us.client();
    pusher
        .push_blob(&repository(), &digest, layer.body())
        .await
        .unwrap();
    assert!(regions.eu.object(&digest).is_none());
    let before = regions.us.reads(&digest);
    // One token for all: logging in is not what is asked for here.
    let client = eu.client();
    client.stat_blob(&repository(), &digest).await.unwrap();
    let mut pulls = JoinSet::new();
    for _ in 0..CLIENTS {
        let (client, digest) = (client.clone(), digest.clone());
        pulls.spawn(async move {
            let pulled = client.pull_verified(&repository(), &digest).await?;
            pulled.drain().await
        });
    }
    for pulled in pulls.join_all().await {
        assert_eq!(pulled.unwrap(), layer.size());
    }
    let reads = regions.us.reads(&digest) - before;
    println!("{CLIENTS} clients cost {reads} read in the other region");
    assert_eq!(reads, 1);
    // From then on it lies here.
    let object = within(
        1200,
        "the blob lies in the region that asked for it",
        async || regions.eu.object(&digest),
    )
    .await;
    assert_eq!(Digest::of(Algorithm::Sha256, &object), digest);
    within(1200, "its placement is recorded", async || {
        let status = eu.admin().replication_status().await;
        let eu = crate::deployment::location(&status, "eustorage").clone();
        (eu["present"]["blobs"] == 1).then_some(())
    })
    .await;
    client
        .pull_verified(&repository(), &digest)
        .await
        .unwrap()
        .drain()
        .await
        .unwrap();
    assert_eq!(regions.us.reads(&digest) - before, 1);
    stop(us_process).await;
    stop(eu_process).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_region_starts_and_serves_although_the_other_store_swallows_everything() {
    let regions = Regions::new();
    let (settings, process) = regions.start("usstorage eustorage").await;
    let image = TestImage::new(5, ImageKind::Oci, &[300_000]);
    let reference: Reference = "1.0".parse().unwrap();
    let client = settings.client();
    image
        .push(&client, &repository(), &reference)
        .await
        .unwrap();
    wait_until_replicated(&settings).await;
    stop(process).await;
    regions.eu.proxy.set(Fault::BlackHole);
    let begun = Instant::now();
    let mut process = settings.spawn();
    process.wait_until_ready().await;
    let client = settings.client();
    image
        .pull(&client, &repository(), &reference)
        .await
        .unwrap();
    let serving = begun.elapsed();
    // What waits for the other store is never in time; a busy machine is late now and then.
    let took = within(
        600,
        "the end-to-end check is content within a second",
        async || {
            let asked = Instant::now();
            let request = http::Request::get("/health/endtoend")
                .body(RequestBody::empty())
                .unwrap();
            let answer = client.exchange(request, "").await.unwrap();
            let took = asked.elapsed();
            (answer.status == 200 && took < Duration::from_secs(1)).then_some(took)
        },
    )
    .await;
    println!(
        "serving after {} ms with a store that swallows everything; /health/endtoend took {} ms",
        serving.as_millis(),
        took.as_millis()
    );
    regions.eu.proxy.set(Fault::Pass);
    stop(process).await;
}

/// A layer that comes from nowhere and goes through two instances that are killed on the way.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_layer_survives_its_instances_and_needs_little_memory() {
    let size = setting("ROADSTEAD_TEST_STORE_LAYER_BYTES", 512 << 20);
    let regions = Regions::new();
    let settings = regions.settings("usstorage eustorage", &json!({"MAXIMUM_LAYER_SIZE": "64G"}));
    let mut process = settings.start().await;
    let layer = Content::new(99, size);
    // A store that puts twenty gigabytes together says nothing meanwhile.
    let client = settings.client_with(ClientOptions {
        stall_timeout: Duration::from_mins(15),
        ..ClientOptions::default()
    });
    let mut upload = client.start_upload(&repository()).await.unwrap();
    let mut peaks = BTreeMap::new();
    let mut hasher = roadstead_oci::Digester::new(Algorithm::Sha256);
    for piece in layer.pieces() {
        hasher.update(&piece);
    }
    let digest = hasher.finish();
    for share in [40, 80] {
        let until = size / 100 * share;
        let offset = upload.offset();
        // The connection goes with the process.
        let body = RequestBody::stream(
            futures_util::stream::iter(layer.pieces_from(offset).map(Ok::<Bytes, std::io::Error>)),
            Some(size - offset),
        );
        let watched = process.process_id();
        let killed = async {
            while regions.us.proxy.traffic().bytes_to_server < until {
                SystemClock.sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::select! {
            sent = client.upload_stream(&mut upload, body) => panic!("it was not killed in time: {sent:?}"),
            () = killed => {}
        }
        peaks.insert(
            format!("{share} % ({watched})"),
            process.resident_bytes_peak(),
        );
        process.kill().await;
        process = settings.start().await;
        let acknowledged = client.upload_status(&mut upload).await.unwrap();
        println!("killed at {share} %: {acknowledged} of {size} bytes were acknowledged");
        assert!(acknowledged > 0 && acknowledged <= size);
    }
    let offset = upload.offset();
    let body = RequestBody::stream(
        futures_util::stream::iter(layer.pieces_from(offset).map(Ok::<Bytes, std::io::Error>)),
        Some(size - offset),
    );
    client.upload_stream(&mut upload, body).await.unwrap();
    let begun = Instant::now();
    client.finish_upload(upload, &digest).await.unwrap();
    println!("put together in {} ms", begun.elapsed().as_millis());
    let pulled = client.pull_verified(&repository(), &digest).await.unwrap();
    assert_eq!(pulled.drain().await.unwrap(), size);
    peaks.insert("the end".to_owned(), process.resident_bytes_peak());
    for (when, peak) in peaks {
        println!("at {when} the registry has had {} MiB resident", peak >> 20);
        assert!(peak < 150 << 20, "{} MiB resident", peak >> 20);
    }
    stop(process).await;
}
