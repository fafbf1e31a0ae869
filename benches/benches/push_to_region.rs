//! How long after a push is acknowledged in one region its layer is recorded, checked, in the other.
//!
//! Two registries, each in front of an S3 server of its own, over one PostgreSQL database. Images of one layer of 1 MiB are pushed to the first by a fixed
//! schedule, whether or not those before have been answered. Settings: `ROADSTEAD_BENCH_PUSHES` a second (20) and `ROADSTEAD_BENCH_SECONDS` (60).
//! The programs are built first, unless `ROADSTEAD_BINARIES` says where they are.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use roadstead_benches::database;
use roadstead_benches::process::{cpu_time, number, peak_mib, watch};
use roadstead_metadata::Database;
use roadstead_oci::{Digest, Reference, RepositoryName};
use roadstead_placement::LocationName;
use roadstead_runtime::{Clock as _, SystemClock};
use roadstead_storage::ObjectKey;
use roadstead_test_servers::{Postgres, PostgresDatabase, PostgresSettings, S3Server};
use roadstead_testkit::{ImageKind, RegistryProcess, RegistrySettings, TestImage};
use tokio::task::JoinSet;

const LAYER_BYTES: u64 = 1 << 20;

const BUCKET: &str = "registry";

/// How often it is looked what has arrived.
const LOOK: Duration = Duration::from_millis(2);

/// How long after the last push everything has to be there.
const PATIENCE: Duration = Duration::from_mins(2);

/// What was acknowledged and has not arrived, and how long what has arrived took.
#[derive(Default)]
struct Arrivals {
    awaited: HashMap<Digest, Instant>,
    took: Vec<Duration>,
}

#[expect(clippy::print_stdout, reason = "what a bench is for")]
#[tokio::main]
async fn main() {
    let rate = number("ROADSTEAD_BENCH_PUSHES", 20);
    let seconds = number("ROADSTEAD_BENCH_SECONDS", 60);
    let images: Vec<TestImage> = (0..rate * seconds)
        .map(|number| TestImage::new(number as u64, ImageKind::Oci, &[LAYER_BYTES]))
        .collect();
    let server = Postgres::start(&PostgresSettings {
        durable: true,
        more: Vec::new(),
    });
    let rows = server.database();
    let database = database::open(&rows).await;
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("there is room");
    let stores = [S3Server::start(), S3Server::start()];
    for store in &stores {
        store.create_bucket(BUCKET);
    }
    let [us, eu] = ["usstorage", "eustorage"]
        .map(|preferred| settings(directory.path(), &rows, &stores, preferred));
    let registries = [us.start().await, eu.start().await];
    let client = us.client();

    let before: Vec<Duration> = processes(&registries, &stores)
        .iter()
        .map(|(_, id)| cpu_time(id).0)
        .collect();
    let arrivals = Arc::new(Mutex::new(Arrivals::default()));
    let mut pushes = JoinSet::new();
    let began = watch();
    let pushing = async {
        let mut turns =
            tokio::time::interval(Duration::from_secs(1) / u32::try_from(rate).unwrap_or(1));
        // By the schedule: a push that is slow does not hold up those that follow.
        turns.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Burst);
        let repository: RepositoryName = "team/app".parse().expect("it is a name");
        for (number, image) in images.iter().enumerate() {
            turns.tick().await;
            let (client, image, repository) = (client.clone(), image.clone(), repository.clone());
            let arrivals = Arc::clone(&arrivals);
            pushes.spawn(async move {
                let tag: Reference = format!("v{number}").parse().expect("it is a tag");
                let began = watch();
                let pushed = image.push(&client, &repository, &tag).await;
                pushed.expect("the registry takes it");
                let layer = image.blobs.last().cloned().expect("it has a layer");
                let mut arrivals = arrivals.lock().expect("nobody panics with it");
                arrivals.awaited.insert(layer, watch());
                began.elapsed()
            });
        }
        let mut took: Vec<Duration> = Vec::new();
        while let Some(pushed) = pushes.join_next().await {
            took.push(pushed.expect("it was pushed"));
        }
        took
    };
    let all = images.len();
    let watching = look_for_arrivals(&database, &arrivals, all);
    let (mut pushed, ()) = tokio::join!(pushing, watching);
    let wall = began.elapsed();

    let mut arrived = std::mem::take(&mut arrivals.lock().expect("nobody panics with it").took);
    println!("{all} images of one layer of 1 MiB, {rate} a second, pushed to one region:\n");
    println!("| | p50 ms | p99 ms | p99.9 ms | longest ms |");
    println!("|---|---|---|---|---|");
    for (what, times) in [
        ("push", &mut pushed),
        ("acknowledged -> recorded in the other region", &mut arrived),
    ] {
        times.sort_unstable();
        let [p50, p99, p999, longest] = [500, 990, 999, 1000].map(|part| permille(times, part));
        println!("| {what} | {p50:.0} | {p99:.0} | {p999:.0} | {longest:.0} |");
    }
    println!(
        "\n| process | CPU s | of {:.0} s | peak MiB |",
        wall.as_secs_f64()
    );
    println!("|---|---|---|---|");
    for ((name, id), before) in processes(&registries, &stores).into_iter().zip(before) {
        let cpu = cpu_time(&id).0.saturating_sub(before).as_secs_f64();
        println!(
            "| {name} | {cpu:.1} | {:.0} % | {} |",
            100.0 * cpu / wall.as_secs_f64(),
            peak_mib(&id).unwrap_or_default()
        );
    }
    for image in &images {
        for digest in &image.blobs {
            let path = format!("registry/{}", ObjectKey::Blob(digest.clone()));
            let [_, eu] = &stores;
            assert!(eu.bucket_directory(BUCKET).join(path).is_file(), "{digest}");
        }
    }
    for registry in registries {
        registry.stop().await;
    }
}

fn settings(
    directory: &std::path::Path,
    rows: &PostgresDatabase,
    stores: &[S3Server; 2],
    preferred: &str,
) -> RegistrySettings {
    let driver = |store: &S3Server| {
        format!(
            r#"["RadosGWStorage", {{"hostname": "127.0.0.1", "port": {}, "is_secure": false, "storage_path": "/registry",
                "access_key": "{}", "secret_key": "{}", "bucket_name": "{BUCKET}"}}]"#,
            store.endpoint().rsplit(':').next().unwrap_or_default(),
            store.access_key(),
            store.secret_key()
        )
    };
    let [us, eu] = stores;
    let keys = format!(
        r#"{{"DB_URI": "{}", "FEATURE_STORAGE_REPLICATION": true,
            "DISTRIBUTED_STORAGE_CONFIG": {{"usstorage": {}, "eustorage": {}}},
            "DISTRIBUTED_STORAGE_DEFAULT_LOCATIONS": ["usstorage", "eustorage"],
            "DISTRIBUTED_STORAGE_PREFERENCE": ["usstorage", "eustorage"]}}"#,
        rows.uri(),
        driver(us),
        driver(eu)
    );
    let mut settings = RegistrySettings::new(directory.join("data"));
    settings.environment = [
        ("QUAY_OVERRIDE_CONFIG", keys.as_str()),
        ("QUAY_DISTRIBUTED_STORAGE_PREFERENCE", preferred),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into();
    settings
}

/// Looks again and again which of what is awaited the database has at the other location, until all has come.
async fn look_for_arrivals(database: &Database, arrivals: &Mutex<Arrivals>, all: usize) {
    let other = LocationName::new("eustorage").expect("it is a name");
    let mut last = watch();
    loop {
        let awaited: Vec<Digest> = {
            let arrivals = arrivals.lock().expect("nobody panics with it");
            arrivals.awaited.keys().cloned().collect()
        };
        for digest in awaited {
            let blob = database.find_blob_anywhere(&digest).await;
            let there = blob
                .expect("the database answers")
                .is_some_and(|blob| blob.present.contains(&other));
            if there {
                let now = watch();
                last = now;
                let mut arrivals = arrivals.lock().expect("nobody panics with it");
                if let Some(acknowledged) = arrivals.awaited.remove(&digest) {
                    arrivals.took.push(now - acknowledged);
                }
            }
        }
        if arrivals.lock().expect("nobody panics with it").took.len() == all {
            return;
        }
        assert!(last.elapsed() < PATIENCE, "nothing arrives any more");
        SystemClock.sleep(LOOK).await;
    }
}

/// Every process that takes part, by what it is, and its id.
fn processes(registries: &[RegistryProcess; 2], stores: &[S3Server; 2]) -> Vec<(String, String)> {
    let names = ["first region", "other region"];
    let ids = registries.iter().map(RegistryProcess::process_id);
    let of_registries = names
        .iter()
        .zip(ids)
        .map(|(name, id)| (format!("registry, {name}"), id.to_string()));
    let of_stores = names
        .iter()
        .zip(stores.iter().map(|store| store.process_id()))
        .map(|(name, id)| (format!("S3 server, {name}"), id.to_string()));
    of_registries
        .chain(of_stores)
        .chain([("this bench".to_owned(), "self".to_owned())])
        .collect()
}

/// In milliseconds, the time within which so many thousandths are.
fn permille(sorted: &[Duration], part: usize) -> f64 {
    let index = (sorted.len() * part).div_ceil(1000).saturating_sub(1);
    sorted.get(index).copied().unwrap_or_default().as_secs_f64() * 1e3
}
