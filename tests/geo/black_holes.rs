//! A store, a database and a Redis that take everything and answer nothing: health checks answer all the same, and say what is wrong.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use roadstead_client::Client;
use roadstead_test_servers::{
    Fault, FaultProxy, Postgres, PostgresSettings, RedisServer, RedisSettings, S3Server,
};
use roadstead_testkit::{RegistrySettings, within};
use roadstead_tests::{call, store_driver};
use serde_json::json;
use tokio::time::Instant;

use crate::deployment::Deployment;

/// Every path that health checks have.
const PATHS: [&str; 9] = [
    "/health",
    "/health/instance",
    "/health/endtoend",
    "/status",
    "/health/warning",
    "/health/locations",
    "/health/dbrevision",
    "/health/ready/pull",
    "/health/ready/push",
];

/// How often a condition is looked at, 50 ms apart: two minutes.
const CHECKS_MAX: u32 = 2_400;

/// The longest that an answer may take.
const LIMIT: Duration = Duration::from_secs(1);

/// Those that are content when everything works, however full the disk of this machine is.
fn content() -> impl Iterator<Item = &'static str> {
    PATHS.into_iter().filter(|path| *path != "/health/warning")
}

/// How often a health check is asked for an answer in time.
const TRIES_MAX: u32 = 60;

/// Every health check answers in time, without a password and with this one: how long each took at most. What waits for something that hangs
/// is never in time; a busy machine is late now and then.
async fn all_in_time(client: &Client, authorization: &str) -> [Duration; 2] {
    let mut slowest = [Duration::ZERO; 2];
    for path in PATHS {
        for (number, authorization) in [None, Some(authorization)].into_iter().enumerate() {
            let took = within(TRIES_MAX, path, async || {
                let begun = Instant::now();
                let mut asking = call("GET", path);
                if let Some(authorization) = authorization {
                    asking = asking.header("authorization", authorization);
                }
                asking.send(client).await;
                let took = begun.elapsed();
                (took < LIMIT).then_some(took)
            })
            .await;
            slowest[number] = slowest[number].max(took);
        }
    }
    slowest
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn health_checks_answer_within_a_second_whatever_stands_still() {
    let store = S3Server::start();
    store.create_bucket("registry");
    let proxy = FaultProxy::start(store.port());
    let postgres = Postgres::start(&PostgresSettings::default());
    let redis = RedisServer::start(RedisSettings::default());
    let deployment = Deployment::new();
    let mut settings = RegistrySettings::new(&deployment.settings.data_dir);
    let bucket = store_driver(&store, proxy.port(), "registry", "/datastorage/registry");
    let keys = json!({
        "DB_URI": postgres.database().uri(),
        "BUILDLOGS_REDIS": {"host": "127.0.0.1", "port": redis.port()},
        "USER_EVENTS_REDIS": {"host": "127.0.0.1", "port": redis.port()},
        "FEATURE_BILLING": true,
        "DISTRIBUTED_STORAGE_CONFIG": {"usstorage": bucket},
        "DISTRIBUTED_STORAGE_DEFAULT_LOCATIONS": ["usstorage"],
        "DISTRIBUTED_STORAGE_PREFERENCE": ["usstorage"],
    });
    settings.environment = vec![("QUAY_OVERRIDE_CONFIG".to_owned(), keys.to_string())];
    let process = settings.start().await;
    let client = settings.anonymous();
    for path in content() {
        call("GET", path).until(&client, 200).await;
    }
    let healthy = call("GET", "/health/endtoend").until(&client, 200).await;
    assert_eq!(healthy.json()["data"]["services"]["redis"], true);
    // A balancer may look for this, in what it reads first.
    let text = String::from_utf8_lossy(&healthy.body).into_owned();
    assert!(
        text.find(r#""storage":true"#).is_some_and(|at| at < 5120),
        "{text}"
    );

    // Redis alone is nobody's trouble.
    redis.freeze();
    within(CHECKS_MAX, "Redis is seen to stand still", async || {
        let reply = call("GET", "/health/endtoend").send(&client).await;
        (reply.status == 200 && reply.json()["data"]["services"]["redis"] == false).then_some(())
    })
    .await;

    proxy.set(Fault::BlackHole);
    postgres.freeze();
    let basic = format!(
        "Basic {}",
        STANDARD.encode(format!("admin:{}", settings.password()))
    );
    let at_first = all_in_time(&client, &basic).await;
    let services = within(
        CHECKS_MAX,
        "everything is seen to stand still",
        async || {
            let reply = call("GET", "/health/endtoend").send(&client).await;
            let services = reply.json()["data"]["services"].clone();
            let all = ["auth", "database", "redis", "storage"];
            (reply.status == 503 && all.iter().all(|name| services[name] == false))
                .then_some(services)
        },
    )
    .await;
    assert_eq!(services.as_object().unwrap().len(), 4, "{services}");
    for (path, service) in [
        ("/health/instance", "database"),
        ("/health/ready/push", "database"),
        ("/health/ready/push", "storage_write"),
        ("/health/ready/pull", "storage_read"),
    ] {
        let body = call("GET", path).until(&client, 503).await.json();
        assert_eq!(body["data"]["services"][service], false, "{path}: {body}");
    }
    // Whoever got a token lately is let in for some time.
    let pull = call("GET", "/health/ready/pull")
        .until(&client, 503)
        .await
        .json();
    assert_eq!(pull["data"]["services"]["rights"], true, "{pull}");
    let later = all_in_time(&client, &basic).await;

    redis.thaw();
    postgres.thaw();
    proxy.set(Fault::Pass);
    for path in content() {
        call("GET", path).until(&client, 200).await;
    }
    for (when, [without, with]) in [("at first", at_first), ("later", later)] {
        println!(
            "with a black-holed store, database and Redis every health check answered {when} within {} ms, with a password within {} ms",
            without.as_millis(),
            with.as_millis()
        );
    }
    assert!(process.stop().await.success());
}
