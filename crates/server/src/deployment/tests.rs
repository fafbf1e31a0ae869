//! Starts on a real PostgreSQL: who brings the schema up to date, who waits for that, and what is written where.

use std::net::Ipv4Addr;
use std::path::Path;
use std::time::Duration;

use roadstead_config::{Environment as Variables, Source, env};
use roadstead_metadata::{MetadataError, SchemaError};
use roadstead_test_servers::{CertificateAuthority, Postgres, PostgresDatabase, PostgresSettings};

use super::*;
use crate::{MetricsOptions, Replicator, Running, Settings};

/// How many relations a database has that are not the server's own.
const RELATIONS: &str = "SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace";

/// A registry without a configuration but with this database.
fn config(database: &PostgresDatabase, data_dir: &Path) -> Config {
    let source = Source::Standalone {
        data_dir: data_dir.to_owned(),
    };
    let keys = format!(
        r#"{{"DB_URI": "{}", "DEFAULT_TAG_EXPIRATION": "1w"}}"#,
        database.uri()
    );
    let variables: Variables = [(env::QUAY_OVERRIDE_CONFIG, keys)].into_iter().collect();
    roadstead_config::load(&source, &variables)
        .unwrap_or_else(|errors| panic!("{errors}"))
        .config
}

async fn start(config: &Config, migrations: Migrations) -> Result<Running, StartError> {
    Running::start(Settings {
        migrations,
        ..Settings::new(config.clone(), (Ipv4Addr::LOCALHOST, 0).into())
    })
    .await
}

fn assert_wants_a_registry<T: std::fmt::Debug>(started: Result<T, StartError>) {
    match started {
        Err(StartError::Database {
            source: error @ MetadataError::Schema(SchemaError::TooOld),
        }) => assert!(error.to_string().contains("start `registry`"), "{error}"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn only_a_registry_that_may_makes_the_tables_and_the_others_refuse_until_then() {
    let directory = tempfile::tempdir().unwrap();
    let database = Postgres::shared().database();
    let config = config(&database, directory.path());
    let environment = Environment::system();

    assert_wants_a_registry(start(&config, Migrations::Refuse).await);
    assert_wants_a_registry(
        Replicator::start(
            &config,
            None,
            MetricsOptions::default(),
            environment.clone(),
        )
        .await,
    );
    let opened = Deployment::open(&config, Migrations::Refuse, environment.clone()).await;
    assert_wants_a_registry(opened);
    assert_eq!(database.psql(RELATIONS), "0", "nothing has been made");

    let running = start(&config, Migrations::Apply).await.unwrap();
    let account = running
        .first_account
        .as_ref()
        .expect("there was no account");
    assert_eq!(
        account.password_file,
        directory.path().join("admin-password")
    );
    assert!(account.password_file.is_file());
    let window = database.psql("SELECT removed_tag_expiration_s FROM \"user\"");
    assert_eq!(window, "604800", "a week, as configured");

    let second = start(&config, Migrations::Refuse).await.unwrap();
    assert!(second.first_account.is_none());
    assert!(second.stop().await);
    let replicator = Replicator::start(&config, None, MetricsOptions::default(), environment)
        .await
        .unwrap();
    assert!(replicator.expect("replication is on").stop().await);
    assert!(running.stop().await);
}

#[tokio::test]
async fn of_two_registries_that_start_at_once_one_makes_the_tables_and_one_the_account() {
    let directory = tempfile::tempdir().unwrap();
    let config = config(&Postgres::shared().database(), directory.path());
    let (one, two) = tokio::join!(
        start(&config, Migrations::Apply),
        start(&config, Migrations::Apply)
    );
    let (one, two) = (one.unwrap(), two.unwrap());
    let accounts = [&one, &two].map(|running| usize::from(running.first_account.is_some()));
    assert_eq!(accounts.iter().sum::<usize>(), 1);
    assert!(one.stop().await);
    assert!(two.stop().await);
}

#[tokio::test]
async fn a_registry_that_finds_accounts_writes_no_password() {
    let directory = tempfile::tempdir().unwrap();
    let database = Postgres::shared().database();
    let config = config(&database, directory.path());
    let environment = Environment::system();
    let deployment = Deployment::open(&config, Migrations::Apply, environment)
        .await
        .unwrap();
    database.psql(
        "INSERT INTO \"user\" (username, email, verified, organization, robot, invoice_email, last_invalid_login)
         VALUES ('bob', 'bob@example.org', true, false, false, false, now())",
    );
    deployment.database.close().await;
    let running = start(&config, Migrations::Refuse).await.unwrap();
    assert!(running.first_account.is_none());
    assert!(running.stop().await);
    let written = std::fs::read_dir(directory.path()).unwrap();
    let names: Vec<_> = written.map(|entry| entry.unwrap().file_name()).collect();
    assert!(
        names
            .iter()
            .all(|name| !name.to_string_lossy().contains("password")),
        "{names:?}"
    );
}

#[tokio::test]
async fn a_process_that_may_not_migrate_makes_no_file() {
    let directory = tempfile::tempdir().unwrap();
    let source = Source::Standalone {
        data_dir: directory.path().to_owned(),
    };
    let config = roadstead_config::load(&source, &Variables::empty())
        .unwrap()
        .config;
    let refused = start(&config, Migrations::Refuse).await.unwrap_err();
    assert!(
        matches!(refused, StartError::NoDatabase { .. }),
        "{refused:?}"
    );
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn a_server_of_postgresql_is_trusted_by_the_extra_authorities_and_not_without() {
    let server = Postgres::start(&PostgresSettings::default());
    let authority = CertificateAuthority::default();
    server.speak_tls(&authority.issue(&["127.0.0.1"]));
    let database = server.database();
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().display();
    let yaml = format!(
        "SERVER_HOSTNAME: localhost
DB_URI: {}?sslmode=verify-full
ROADSTEAD_DATA_DIRECTORY: {data}
DISTRIBUTED_STORAGE_CONFIG:
  us: [LocalStorage, {{storage_path: {data}/us}}]
",
        database.uri()
    );
    std::fs::write(directory.path().join("config.yaml"), yaml).unwrap();
    std::fs::write(directory.path().join("extra_ca_certs"), authority.pem()).unwrap();
    let source = Source::Directory(directory.path().to_owned());
    let config = roadstead_config::load(&source, &Variables::empty())
        .unwrap_or_else(|errors| panic!("{errors}"))
        .config;

    let mut without = trusting(database_options(&config.database), &Trust::default());
    if let DatabaseOptions::Postgres(postgres) = &mut without {
        postgres.startup_wait = Duration::from_secs(1);
    }
    let refused = async { Database::open(&without).await?.ping().await };
    refused.await.expect_err("nobody knows its authority");
    let opened = Deployment::open(&config, Migrations::Apply, Environment::system())
        .await
        .unwrap();
    assert_eq!(opened.trust.certificates().len(), 1);
    opened.database.close().await;
}
