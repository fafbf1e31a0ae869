//! `registry serve --config-dir`: what a configuration may say, and what it may not.

use std::fs;
use std::path::Path;
use std::time::Duration;

use roadstead_testkit::{ImageKind, RegistrySettings, TestImage};

use crate::wire::send_bytes;

/// The longest that a registry may take to find out that it cannot start.
const REFUSAL_LIMIT: Duration = Duration::from_secs(30);

/// A registry of this `config.yaml`, in which `DATA` stands for its data directory.
fn configured(directory: &Path, yaml: &str) -> RegistrySettings {
    let mut settings = RegistrySettings::new(directory.join("data"));
    fs::create_dir(&settings.data_dir).unwrap();
    let configuration = directory.join("stack");
    fs::create_dir(&configuration).unwrap();
    let yaml = yaml.replace("DATA", settings.data_dir.to_str().unwrap());
    fs::write(configuration.join("config.yaml"), yaml).unwrap();
    settings.configuration = Some(configuration);
    settings
}

#[tokio::test]
async fn a_configuration_is_served_and_keys_without_an_effect_are_named() {
    let directory = tempfile::tempdir().unwrap();
    let settings = configured(
        directory.path(),
        "
SERVER_HOSTNAME: registry.example.org
PREFERRED_URL_SCHEME: https
DB_URI: sqlite:///DATA/registry.db
DISTRIBUTED_STORAGE_CONFIG:
  west: [LocalStorage, {storage_path: DATA/west}]
  east: [LocalStorage, {storage_path: DATA/east}]
DISTRIBUTED_STORAGE_PREFERENCE: [east, west]
DISTRIBUTED_STORAGE_DEFAULT_LOCATIONS: [east, west]
FEATURE_STORAGE_REPLICATION: true
SOME_KEY_OF_TOMORROW: {with: [a, value]}
",
    );
    let registry = settings.start().await;
    assert!(
        registry.log().contains("SOME_KEY_OF_TOMORROW"),
        "{}",
        registry.log()
    );
    let challenge = b"GET /v2/ HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n";
    let answer = send_bytes(settings.address, challenge)
        .await
        .text
        .to_lowercase();
    let realm =
        r#"bearer realm="https://registry.example.org/v2/auth",service="registry.example.org""#;
    assert!(answer.contains(realm), "{answer}");
    assert!(settings.data_dir.join("west").is_dir() && settings.data_dir.join("east").is_dir());
    assert!(registry.stop().await.success());
}

#[tokio::test]
async fn the_preferred_location_of_the_configuration_gets_the_bytes() {
    let directory = tempfile::tempdir().unwrap();
    let settings = configured(
        directory.path(),
        "
DB_URI: sqlite:///DATA/registry.db
SERVER_HOSTNAME: ADDRESS
DISTRIBUTED_STORAGE_CONFIG:
  west: [LocalStorage, {storage_path: DATA/west}]
  east: [LocalStorage, {storage_path: DATA/east}]
DISTRIBUTED_STORAGE_PREFERENCE: [east, west]
",
    );
    let file = settings.configuration.as_ref().unwrap().join("config.yaml");
    let yaml = fs::read_to_string(&file)
        .unwrap()
        .replace("ADDRESS", &settings.address.to_string());
    fs::write(&file, yaml).unwrap();
    let registry = settings.start().await;
    let image = TestImage::new(1, ImageKind::Oci, &[1000]);
    let (repository, reference) = ("admin/app".parse().unwrap(), "v1".parse().unwrap());
    image
        .push(&settings.client(), &repository, &reference)
        .await
        .unwrap();
    image
        .pull(&settings.client(), &repository, &reference)
        .await
        .unwrap();
    assert_eq!(settings.files("east").objects().len(), image.blobs.len());
    assert!(
        settings.files("west").objects().is_empty(),
        "replication is not switched on"
    );
    assert!(registry.stop().await.success());
}

#[tokio::test]
async fn everything_that_is_wrong_with_a_configuration_is_said_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let settings = configured(
        directory.path(),
        "
DB_URI: mysql://root@db/quay
SERVER_HOSTNAME: registry.example.org
DISTRIBUTED_STORAGE_CONFIG:
  west: [LocalStorage, {storage_path: DATA/west}]
  east: [FloppyStorage, {drive: a}]
DISTRIBUTED_STORAGE_PREFERENCE: [west, moon]
FEATURE_STORAGE_REPLICATION: perhaps
",
    );
    let mut registry = settings.spawn();
    let status = registry.wait(REFUSAL_LIMIT).await;
    let log = registry.log();
    assert!(
        status.code().is_some_and(|code| code != 0),
        "it ended with {status}:\n{log}"
    );
    // The key, what it says, and what it might say.
    for words in [
        "DB_URI",
        "sqlite:///",
        "DISTRIBUTED_STORAGE_CONFIG.east",
        "FloppyStorage",
        "LocalStorage",
        "DISTRIBUTED_STORAGE_PREFERENCE",
        "moon",
        "west",
        "FEATURE_STORAGE_REPLICATION",
        "perhaps",
    ] {
        assert!(log.contains(words), "{words:?} is not in:\n{log}");
    }
    assert!(
        fs::read_dir(&settings.data_dir).unwrap().next().is_none(),
        "nothing was begun"
    );
}

#[tokio::test]
async fn a_configuration_that_is_not_there_or_no_yaml_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let mut settings = configured(directory.path(), "DB_URI: [unclosed");
    for words in ["config.yaml", "nowhere"] {
        let mut registry = settings.spawn();
        let status = registry.wait(REFUSAL_LIMIT).await;
        assert!(
            status.code().is_some_and(|code| code != 0),
            "{}",
            registry.log()
        );
        assert!(registry.log().contains(words), "{}", registry.log());
        settings.configuration = Some(directory.path().join("nowhere"));
    }
}
