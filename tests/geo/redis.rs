//! Redis is killed, flushed and stopped where it stands under pushes and pulls in two regions: nothing fails, and nobody waits for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use roadstead_client::{Client, Credentials};
use roadstead_oci::{Reference, RepositoryName};
use roadstead_runtime::{Clock as _, SystemClock};
use roadstead_test_servers::{Postgres, RedisServer, RedisSettings};
use roadstead_testkit::{
    ImageKind, RegistryProcess, RegistrySettings, TestImage, UniverseOptions, setting, within,
};
use roadstead_tests::call;
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::deployment::Deployment;

/// How often a condition is looked at, 50 ms apart: five minutes, for a debug build on a busy machine.
const CHECKS_MAX: u32 = 6_000;

/// How many clients there are in each region.
const CLIENTS: u64 = 2;

/// What a client does between two images, so that the machine has time for the others.
const PAUSE: Duration = Duration::from_millis(10);

/// What is done to Redis, one after the other.
const PHASES: [&str; 6] = ["before", "flushed", "killed", "back again", "hung", "after"];

/// How long pushes and pulls took, by phase.
#[derive(Default)]
struct Load {
    stop: AtomicBool,
    phase: AtomicUsize,
    took: Mutex<[Vec<Duration>; PHASES.len()]>,
    failures: Mutex<Vec<String>>,
}

impl Load {
    fn note(&self, phase: usize, took: Duration) {
        let mut all = self.took.lock().unwrap_or_else(PoisonError::into_inner);
        all[phase].push(took);
    }

    fn count(&self, phase: usize) -> usize {
        self.took.lock().unwrap()[phase].len()
    }

    /// The longest that 99 of 100 took.
    fn p99(&self, phase: usize) -> Duration {
        let mut took = self.took.lock().unwrap()[phase].clone();
        took.sort_unstable();
        took[(took.len() * 99).div_ceil(100) - 1]
    }
}

/// Pushes and pulls images until it is told to stop. What is pulled is compared byte by byte.
async fn push_and_pull(load: Arc<Load>, client: Client, number: u64) {
    let repository: RepositoryName = format!("team/app{number}").parse().unwrap();
    let mut round = 0;
    while !load.stop.load(Ordering::Relaxed) {
        let image = TestImage::new(number * 1_000_000 + round, ImageKind::Oci, &[20_000, 3_000]);
        let reference: Reference = format!("v{round}").parse().unwrap();
        let phase = load.phase.load(Ordering::Relaxed);
        let begun = Instant::now();
        let pushed = image.push(&client, &repository, &reference).await;
        load.note(phase, begun.elapsed());
        let begun = Instant::now();
        let pulled = image.pull(&client, &repository, &reference).await;
        load.note(phase, begun.elapsed());
        for failed in [
            pushed.map(drop).map_err(|error| format!("push: {error:?}")),
            pulled.map(drop).map_err(|error| format!("pull: {error:?}")),
        ] {
            if let Err(failure) = failed {
                load.failures
                    .lock()
                    .unwrap()
                    .push(format!("{}: {failure}", PHASES[phase]));
            }
        }
        round += 1;
        SystemClock.sleep(PAUSE).await;
    }
}

/// Two regions over one database, with a Redis.
async fn regions(redis: &RedisServer) -> (Deployment, Vec<RegistryProcess>) {
    let deployment = Deployment::new();
    let database = Postgres::shared().database();
    let redis = json!({"host": "127.0.0.1", "port": redis.port()});
    let keys = json!({
        "DB_URI": database.uri(),
        "BUILDLOGS_REDIS": redis,
        "USER_EVENTS_REDIS": redis,
        "FEATURE_USER_EVENTS": true,
    });
    let mut processes = Vec::new();
    for preference in ["usstorage eustorage", "eustorage usstorage"] {
        let mut settings = RegistrySettings::new(&deployment.settings.data_dir);
        settings.environment = vec![
            ("QUAY_OVERRIDE_CONFIG".to_owned(), keys.to_string()),
            (
                "QUAY_DISTRIBUTED_STORAGE_PREFERENCE".to_owned(),
                preference.to_owned(),
            ),
        ];
        processes.push(settings.start().await);
    }
    (deployment, processes)
}

/// Redis decides nothing, whatever happens to it. The others do: a busy machine may hear of one too late.
async fn check(client: &Client) {
    let reply = call("GET", "/health/endtoend").send(client).await;
    let services = reply.json()["data"]["services"].clone();
    let others = ["auth", "database", "storage"]
        .iter()
        .all(|name| services[name] == true);
    assert_eq!(reply.status == 200, others, "{services}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_is_flushed_killed_and_stopped_under_load_and_no_request_fails() {
    let images = usize::try_from(setting("ROADSTEAD_TEST_REDIS_REQUESTS", 60)).unwrap();
    let mut redis = RedisServer::start(RedisSettings::default());
    let (deployment, processes) = regions(&redis).await;
    let observer = processes[0].settings().anonymous();
    let seen = async |works: bool| {
        within(CHECKS_MAX, "Redis is seen as it is", async || {
            let reply = call("GET", "/health/endtoend").send(&observer).await;
            let services = reply.json()["data"]["services"].clone();
            (reply.status == 200 && services["redis"] == works).then_some(())
        })
        .await;
    };
    seen(true).await;

    let load = Arc::new(Load::default());
    let mut clients = JoinSet::new();
    for (region, process) in (0..).zip(&processes) {
        let password = deployment.settings.password();
        for client in 0..CLIENTS {
            let url = process.settings().url();
            let credentials = Credentials::new("admin", password.clone());
            let client_of = Client::new(&url, Some(credentials)).unwrap();
            let number = region * CLIENTS + client;
            clients.spawn(push_and_pull(Arc::clone(&load), client_of, number));
        }
    }
    for (phase, name) in PHASES.into_iter().enumerate() {
        match name {
            "flushed" => {
                redis.run(&["FLUSHALL"]);
            }
            "killed" => redis.kill(),
            "back again" => redis.restart(),
            "hung" => redis.freeze(),
            "after" => redis.thaw(),
            _ => {}
        }
        load.phase.store(phase, Ordering::Relaxed);
        within(CHECKS_MAX, name, async || {
            check(&observer).await;
            (load.count(phase) >= images).then_some(())
        })
        .await;
        seen(!matches!(name, "killed" | "hung")).await;
    }
    load.stop.store(true, Ordering::Relaxed);
    while let Some(ended) = clients.join_next().await {
        ended.unwrap();
    }
    assert_eq!(*load.failures.lock().unwrap(), Vec::<String>::new());
    for (phase, name) in PHASES.iter().enumerate() {
        println!(
            "Redis {name}: {} pushes and pulls, 0 failed, p99 {} ms",
            load.count(phase),
            load.p99(phase).as_millis()
        );
    }
    let waited = processes[0]
        .settings()
        .admin()
        .run(&["replication", "status", "--wait", "--timeout", "9m"])
        .await;
    waited.expect_success();
    for process in processes {
        assert!(process.stop().await.success());
    }
}

/// What is changed in one region counts in the other as soon as it has heard of it, and without Redis by itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_permission_that_is_taken_away_in_one_region_is_gone_in_the_other_at_a_word() {
    let redis = RedisServer::start(RedisSettings::default());
    let universe = UniverseOptions::two_regions()
        .key(
            "USER_EVENTS_REDIS",
            json!({"host": "127.0.0.1", "port": redis.port()}),
        )
        .start()
        .await;
    for region in [0, 1] {
        let client = universe.client_as(region, None);
        within(CHECKS_MAX, "the region is ready", async || {
            let reply = call("GET", "/health/endtoend").send(&client).await;
            (reply.status == 200).then_some(())
        })
        .await;
    }
    // Both listen, each to the hints and to itself.
    within(CHECKS_MAX, "both regions listen", async || {
        let listening = redis.run(&["PUBSUB", "NUMSUB", "roadstead//hints"]);
        listening.ends_with('2').then_some(())
    })
    .await;
    let basic = |name: &str, password: &str| {
        format!("Basic {}", STANDARD.encode(format!("{name}:{password}")))
    };
    let admin = basic("admin", &universe.password());
    let here = universe.client_as(0, None);
    let ask = async |method: &str, path: &str, body: serde_json::Value, status: u16| {
        let asking = call(method, format!("/api/v1{path}"))
            .header("authorization", &admin)
            .header("content-type", "application/json")
            .body(body.to_string());
        asking.send(&here).await.expect(status)
    };
    let image = TestImage::new(7, ImageKind::Oci, &[1_000]);
    let (repository, reference) = ("admin/app".parse().unwrap(), "v1".parse().unwrap());
    image
        .push(&universe.client(), &repository, &reference)
        .await
        .unwrap();
    let robot = ask("PUT", "/user/robots/reader", json!({}), 201)
        .await
        .json();
    let permission = "/repository/admin/app/permissions/user/admin+reader";
    ask("PUT", permission, json!({"role": "read"}), 200).await;

    let credentials = Credentials::new("admin+reader", robot["token"].as_str().unwrap().to_owned());
    let there = universe.client_as(1, Some(credentials));
    let pull = async || {
        let reply = call("HEAD", "/v2/admin/app/manifests/v1")
            .send(&there)
            .await;
        reply.status.as_u16()
    };
    assert_eq!(pull().await, 200);
    ask("DELETE", permission, json!({}), 204).await;
    let begun = Instant::now();
    within(CHECKS_MAX, "the permission is gone", async || {
        (pull().await != 200).then_some(())
    })
    .await;
    println!(
        "a permission that was taken away in the other region was gone after {} ms",
        begun.elapsed().as_millis()
    );
    universe.finish().await;
}
