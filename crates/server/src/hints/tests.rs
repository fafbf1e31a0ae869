//! Hints between two processes, through a real Redis.

use roadstead_config::{Environment as Variables, Source};
use roadstead_metadata::RepositoryPath;
use roadstead_oci::{Algorithm, Digest};
use roadstead_test_servers::{RedisServer, RedisSettings};
use tempfile::TempDir;

use super::*;

/// How long a condition is waited for before a test fails; far more than any takes.
const PATIENCE: Duration = Duration::from_mins(1);

fn config(keys: &serde_json::Value) -> Config {
    let directory = TempDir::new().unwrap();
    let source = Source::Standalone {
        data_dir: directory.path().to_owned(),
    };
    let variables = [("QUAY_OVERRIDE_CONFIG", keys.to_string())];
    let variables: Variables = variables
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .collect();
    roadstead_config::load(&source, &variables).unwrap().config
}

/// A process without a registry.
struct Process {
    hints: Hints,
    wake_up: WakeUp,
    tasks: Tasks,
}

impl Process {
    async fn start(config: &Config) -> Self {
        let parts = Hints::of(config, &Trust::default(), &Environment::system()).unwrap();
        let (hints, wake_up, tasks) = (parts.hints(), WakeUp::default(), Tasks::new());
        let hearers = Hearers {
            wake_up: wake_up.clone(),
            serving: None,
        };
        parts.start(hearers, &tasks);
        // What may have been missed before there was a connection.
        woken(&wake_up).await;
        Self {
            hints,
            wake_up,
            tasks,
        }
    }
}

async fn woken(wake_up: &WakeUp) {
    tokio::time::timeout(PATIENCE, wake_up.woken())
        .await
        .expect("the worker is woken");
}

#[tokio::test]
async fn a_process_wakes_the_workers_of_its_registry_and_of_no_other_and_not_its_own() {
    let server = RedisServer::start(RedisSettings::default());
    let keys = |host: &str| {
        let redis = serde_json::json!({"host": "localhost", "port": server.port()});
        config(&serde_json::json!({"SERVER_HOSTNAME": host, "USER_EVENTS_REDIS": redis}))
    };
    let (ours, theirs) = (keys("registry.example.org"), keys("other.example.org"));
    let one = Process::start(&ours).await;
    let two = Process::start(&ours).await;
    let other = Process::start(&theirs).await;
    one.hints.call();
    woken(&two.wake_up).await;
    // By the time the answer is here, what was said before has been heard.
    two.hints.call();
    woken(&one.wake_up).await;
    other.hints.call();
    for bystander in [&one, &two, &other] {
        assert_undisturbed(&bystander.wake_up).await;
    }
    for process in [one, two, other] {
        assert!(process.tasks.stop(PATIENCE).await);
    }
}

/// Nobody has woken it so far.
async fn assert_undisturbed(wake_up: &WakeUp) {
    tokio::select! {
        biased;
        () = wake_up.woken() => panic!("somebody woke the worker"),
        () = std::future::ready(()) => {}
    }
}

#[tokio::test]
async fn what_is_no_hint_wakes_nobody_and_ends_nothing() {
    let server = RedisServer::start(RedisSettings::default());
    let redis = serde_json::json!({"host": "localhost", "port": server.port()});
    let config =
        config(&serde_json::json!({"SERVER_HOSTNAME": "r.example.org", "ROADSTEAD_REDIS": redis}));
    let one = Process::start(&config).await;
    let two = Process::start(&config).await;
    let heard = || two.hints.0.bus.state().heard;
    let before = heard();
    let long = "x".repeat(100_000);
    let nonsense = [
        "",
        "hello",
        "{}",
        r#"{"version":9,"sender":"x","hint":"copies"}"#,
        r#"{"version":1,"sender":"x","hint":{"content":{"tags":{"repository":1,"tags":["a tag that is none"]}}}}"#,
        r#"{"version":1,"sender":"x","hint":{"content":{"blob":{"repository":-7,"digest":"md5:x"}}}}"#,
        &long,
    ];
    for message in nonsense {
        let told = server.run(&["PUBLISH", "roadstead/r.example.org/hints", message]);
        assert_eq!(told, "2");
    }
    let all = async {
        while heard() < before + nonsense.len() as u64 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, all)
        .await
        .expect("all of it is heard");
    assert_undisturbed(&two.wake_up).await;
    one.hints.call();
    woken(&two.wake_up).await;
    for process in [one, two] {
        assert!(process.tasks.stop(PATIENCE).await);
    }
}

#[test]
fn changes_go_through_hints_unchanged_and_what_can_be_none_is_dropped() {
    let digest = Digest::of(Algorithm::Sha256, b"content");
    let good = Changed::Tags {
        repository: 7,
        tags: vec!["latest".to_owned()],
    };
    assert_eq!(
        content_change(good),
        Some(ContentChange::Tags {
            repository: RepositoryId(7),
            tags: vec!["latest".parse().unwrap()],
        })
    );
    assert_eq!(
        content_change(Changed::Manifest {
            repository: 7,
            digest: digest.to_string(),
        }),
        Some(ContentChange::Manifest {
            repository: RepositoryId(7),
            digest,
        })
    );
    for bad in [
        Changed::Tags {
            repository: 7,
            tags: vec!["good".to_owned(), "not good".to_owned()],
        },
        Changed::Blob {
            repository: 7,
            digest: "sha256:short".to_owned(),
        },
    ] {
        assert_eq!(content_change(bad), None);
    }
}

#[tokio::test]
async fn people_hear_what_their_clients_do_where_quays_pages_listen() {
    let server = RedisServer::start(RedisSettings::default());
    let redis = serde_json::json!({"host": "localhost", "port": server.port()});
    let config = config(&serde_json::json!({
        "USER_EVENTS_REDIS": redis, "FEATURE_USER_EVENTS": true,
    }));
    let process = Process::start(&config).await;
    // Somebody's page.
    let (bus, parts) = Bus::new(
        redis_options(
            config.redis.user_events.as_ref().unwrap(),
            &Trust::default(),
        ),
        vec!["user/alice/events/docker-cli".to_owned()],
        Environment::system(),
    );
    let page = Arc::new(Page::default());
    let (listener, tasks) = (Arc::clone(&page), Tasks::new());
    let shutdown = tasks.shutdown();
    tasks.spawn(async move { Box::pin(parts.run(listener, &shutdown)).await });
    while !bus.state().connected {
        tokio::task::yield_now().await;
    }
    let path = RepositoryPath {
        namespace: "acme".to_owned(),
        name: "app".to_owned(),
    };
    process.hints.client_event(
        "alice",
        &ClientEvent {
            action: "push_repo",
            repository: Some(&path),
        },
    );
    let told = tokio::time::timeout(PATIENCE, page.told.notified()).await;
    assert!(told.is_ok());
    assert_eq!(
        *page.text.lock().unwrap(),
        r#"{"action":"push_repo","repository":"app","namespace":"acme"}"#
    );
    assert!(tasks.stop(PATIENCE).await);
    assert!(process.tasks.stop(PATIENCE).await);
}

#[derive(Debug, Default)]
struct Page {
    text: std::sync::Mutex<String>,
    told: Notify,
}

impl Listener for Page {
    fn heard(&self, _channel: &str, payload: &[u8]) {
        *self.text.lock().unwrap() = String::from_utf8_lossy(payload).into_owned();
        self.told.notify_one();
    }

    fn connected(&self) {}
}
