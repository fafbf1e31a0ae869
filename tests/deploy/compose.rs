//! The compose file. Its images cannot be fetched where the tests run, so that it is read, not run: what it mounts is there, what it names fits
//! together, and the registry takes the configuration.

use std::collections::BTreeSet;
use std::time::Duration;

use roadstead_testkit::{binary, run};
use serde_json::Value;
use tokio::process::Command;

use crate::shipped;

fn compose() -> Value {
    let text = std::fs::read_to_string(shipped("compose/compose.yaml")).unwrap();
    let mut value: serde_norway::Value = serde_norway::from_str(&text).unwrap();
    value.apply_merge().unwrap();
    serde_json::to_value(value).unwrap()
}

#[tokio::test]
async fn every_file_volume_network_and_service_that_it_names_is_there() {
    let compose = compose();
    let names = |key: &str| -> BTreeSet<String> {
        compose[key].as_object().unwrap().keys().cloned().collect()
    };
    let (services, volumes, networks) = (names("services"), names("volumes"), names("networks"));
    let list = |value: &Value| -> Vec<String> {
        let items = value.as_array().cloned().unwrap_or_default();
        items
            .iter()
            .map(|item| item.as_str().unwrap().to_owned())
            .collect()
    };
    for (name, service) in compose["services"].as_object().unwrap() {
        assert!(service["image"].is_string(), "{name}");
        for needed in list(&service["depends_on"]) {
            assert!(services.contains(&needed), "{name} depends on {needed}");
        }
        for network in list(&service["networks"]) {
            assert!(networks.contains(&network), "{name} is in {network}");
        }
        for mounted in list(&service["volumes"]) {
            let (source, _) = mounted.split_once(':').unwrap();
            let there = match source.strip_prefix("./") {
                Some(file) => shipped("compose").join(file).exists(),
                None => volumes.contains(source),
            };
            assert!(there, "{name} mounts {source}");
        }
    }
    // The regions differ in their preference and in nothing else that a registry reads.
    let preference = |region: &str| {
        compose["services"][region]["environment"]["QUAY_DISTRIBUTED_STORAGE_PREFERENCE"].clone()
    };
    assert_eq!(preference("region-us"), "usstorage eustorage");
    assert_eq!(preference("region-eu"), "eustorage usstorage");
}

#[tokio::test]
async fn the_registry_takes_its_configuration_and_finds_only_the_servers_missing() {
    let compose = compose();
    let environment = &compose["services"]["region-us"]["environment"];
    let keys = environment["QUAY_OVERRIDE_CONFIG"].as_str().unwrap();
    let keys: String = keys
        .split("${")
        .enumerate()
        .map(|(index, part)| match index {
            0 => part.to_owned(),
            _ => format!("0123456789abcdef{}", part.split_once('}').unwrap().1),
        })
        .collect();
    let mut registry = Command::new(binary("registry"));
    registry
        .args([
            "registry-nomigrate",
            "--listen",
            "127.0.0.1:0",
            "--config-dir",
        ])
        .arg(shipped("compose/config"))
        .env("QUAY_OVERRIDE_CONFIG", keys)
        .env("QUAY_DISTRIBUTED_STORAGE_PREFERENCE", "usstorage eustorage");
    let told = run(&mut registry, Duration::from_mins(2)).await;
    assert!(
        told.expect_failure().contains("postgresql"),
        "{}",
        told.stderr
    );
    assert!(
        !told.stderr.contains("configuration cannot be used"),
        "{}",
        told.stderr
    );
}
