//! What several processes on one database know of each other's configurations.

use roadstead_config::{Environment as Variables, Source, env};
use roadstead_metadata::{DatabaseOptions, Instance};
use roadstead_runtime::{ManualClock, SeededIds};
use roadstead_test_servers::Postgres;

use super::*;

fn raw(keys: &str) -> RawKeys {
    let source = Source::Standalone {
        data_dir: "data".into(),
    };
    let variables: Variables = [(env::QUAY_OVERRIDE_CONFIG, keys)].into_iter().collect();
    roadstead_config::load(&source, &variables)
        .unwrap_or_else(|errors| panic!("{errors}"))
        .raw
}

struct Process {
    name: &'static str,
    comparison: Comparison,
    drift: ConfigurationDrift,
}

impl Process {
    fn new(name: &'static str, keys: &str) -> Self {
        let drift = ConfigurationDrift::default();
        Self {
            name,
            comparison: Comparison::new(watch::channel(raw(keys)).1, drift.clone()),
            drift,
        }
    }

    async fn tell(&mut self, database: &Database, environment: &Environment) {
        let instance = Instance {
            name: self.name.to_owned(),
            region: "us".parse().unwrap(),
            seen_at: environment.now(),
            locations: "[]".to_owned(),
        };
        let before = environment.now() - ENDED_AFTER;
        database.note_instance(&instance, before).await.unwrap();
        let told = self.comparison.tell(database, environment, self.name);
        told.await.unwrap();
    }
}

/// On either database: processes that differ are told by key, values are nowhere, and a process that has ended is forgotten.
async fn processes_know_in_what_they_differ(database: &Database, dump: impl Fn() -> String) {
    let clock = Arc::new(ManualClock::at("2026-01-01T00:00:00Z".parse().unwrap()));
    let environment = Environment {
        clock: Arc::<ManualClock>::clone(&clock),
        ids: Arc::new(SeededIds::new(7)),
    };
    let common = r#""DATABASE_SECRET_KEY": "not-a-number", "DISABLE_PUSHES": false"#;
    let mut us = Process::new(
        "us-1",
        &format!(r#"{{{common}, "SUPER_USERS": ["walrus"]}}"#),
    );
    let mut eu = Process::new(
        "eu-1",
        &format!(
            r#"{{{common}, "SUPER_USERS": ["penguin"], "DISTRIBUTED_STORAGE_PREFERENCE": ["eustorage"]}}"#
        ),
    );
    us.tell(database, &environment).await;
    assert_eq!(us.drift.differing_keys(), 0, "alone");
    eu.tell(database, &environment).await;
    us.tell(database, &environment).await;
    assert_eq!(
        (us.drift.differing_keys(), eu.drift.differing_keys()),
        (1, 1)
    );
    let report = compare(database, environment.now()).await.unwrap();
    let keys: Vec<&str> = report.keys.iter().map(|drift| drift.key.as_str()).collect();
    assert_eq!(keys, ["SUPER_USERS"], "a region's preference is its own");
    assert_eq!(report.processes.len(), 2);
    let dump = dump();
    for secret in ["walrus", "penguin", "not-a-number"] {
        assert!(!dump.contains(secret), "{dump}");
    }

    clock.advance(ENDED_AFTER + std::time::Duration::from_secs(1));
    us.tell(database, &environment).await;
    assert_eq!(us.drift.differing_keys(), 0, "the other has ended");
    let told = database
        .configurations(Timestamp::UNIX_EPOCH)
        .await
        .unwrap();
    assert_eq!(told.len(), 1, "and is forgotten");
    eu.tell(database, &environment).await;
    assert_eq!(eu.drift.differing_keys(), 1, "until it is heard of again");
}

#[tokio::test]
async fn processes_on_postgres_know_in_what_they_differ() {
    let server = Postgres::shared().database();
    let source = Source::Standalone {
        data_dir: "data".into(),
    };
    let uri = format!(r#"{{"DB_URI": "{}"}}"#, server.uri());
    let variables = [(env::QUAY_OVERRIDE_CONFIG, uri)].into_iter().collect();
    let config = roadstead_config::load(&source, &variables).unwrap().config;
    let options = crate::database::database_options(&config.database);
    let database = Database::open(&options).await.unwrap();
    database.migrate().await.unwrap();
    let dump = || server.psql("SELECT * FROM roadstead_configuration");
    processes_know_in_what_they_differ(&database, dump).await;
}

#[tokio::test]
async fn processes_on_sqlite_know_in_what_they_differ() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("registry.db");
    let options = DatabaseOptions::Sqlite { path };
    let database = Database::open(&options).await.unwrap();
    database.migrate().await.unwrap();
    let dump = || {
        let files = std::fs::read_dir(directory.path()).unwrap();
        let bytes = files.flat_map(|file| std::fs::read(file.unwrap().path()).unwrap());
        String::from_utf8_lossy(&bytes.collect::<Vec<u8>>()).into_owned()
    };
    processes_know_in_what_they_differ(&database, dump).await;
}

#[tokio::test]
async fn without_a_secret_key_nothing_is_told_and_nothing_is_compared() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("registry.db");
    let database = Database::open(&DatabaseOptions::Sqlite { path })
        .await
        .unwrap();
    database.migrate().await.unwrap();
    let environment = Environment {
        clock: Arc::new(ManualClock::at("2026-01-01T00:00:00Z".parse().unwrap())),
        ids: Arc::new(SeededIds::new(7)),
    };
    for keys in [
        r#"{"SUPER_USERS": ["walrus"]}"#,
        r#"{"SUPER_USERS": ["penguin"]}"#,
    ] {
        let mut process = Process::new("us-1", keys);
        process.tell(&database, &environment).await;
        assert_eq!(process.drift.differing_keys(), 0);
    }
    let told = database.configurations(Timestamp::UNIX_EPOCH).await;
    assert_eq!(told.unwrap(), []);
}

#[tokio::test]
async fn a_change_is_told_even_if_the_database_fails_at_first() {
    let directory = tempfile::tempdir().unwrap();
    let open = async |name: &str| {
        let path = directory.path().join(name);
        let options = DatabaseOptions::Sqlite { path };
        Database::open(&options).await.unwrap()
    };
    // The other has no tables.
    let (database, failing) = (open("registry.db").await, open("empty.db").await);
    database.migrate().await.unwrap();
    let environment = Environment::system();
    let with = |superuser: &str| {
        raw(&format!(
            r#"{{"DATABASE_SECRET_KEY": "not-a-number", "SUPER_USERS": ["{superuser}"]}}"#
        ))
    };
    let (changes, in_effect) = watch::channel(with("walrus"));
    let mut process = Process::new("us-1", "{}");
    process.comparison = Comparison::new(in_effect, process.drift.clone());
    let told = async || {
        let told = database.configurations(Timestamp::UNIX_EPOCH).await;
        told.unwrap().remove(0).fingerprint
    };
    process.tell(&database, &environment).await;
    let before = told().await;
    changes.send_replace(with("penguin"));
    let failed = process.comparison.tell(&failing, &environment, "us-1");
    assert!(failed.await.is_err());
    process.tell(&database, &environment).await;
    assert_ne!(told().await, before);
}
