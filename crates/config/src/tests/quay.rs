//! Configurations that were written for Quay.

use super::*;

/// The configuration that Quay's documentation of geo-replication shows, with other keys.
const CHAPTER: &str = "\
SERVER_HOSTNAME: <georep.quayteam.org or any other name>
DB_CONNECTION_ARGS:
  autorollback: true
  threadlocals: true
DB_URI: postgresql://postgres:password@10.19.0.1:5432/quay
BUILDLOGS_REDIS:
  host: 10.19.0.2
  port: 6379
USER_EVENTS_REDIS:
  host: 10.19.0.2
  port: 6379
DISTRIBUTED_STORAGE_CONFIG:
  usstorage:
    - GoogleCloudStorage
    - access_key: GOOGAAAA
      bucket_name: georep-test-bucket-0
      secret_key: SECRETAAAA
      storage_path: /quaygcp
  eustorage:
    - GoogleCloudStorage
    - access_key: GOOGBBBB
      bucket_name: georep-test-bucket-1
      secret_key: SECRETBBBB
      storage_path: /quaygcp
DISTRIBUTED_STORAGE_DEFAULT_LOCATIONS:
  - usstorage
  - eustorage
DISTRIBUTED_STORAGE_PREFERENCE:
  - usstorage
  - eustorage
FEATURE_STORAGE_REPLICATION: true
";

/// What a real Quay ran with.
const QUAY: &str = include_str!("../../../../tests/fixtures/quay-s3/config.yaml");

#[test]
fn the_documented_geo_replication_example_is_refused_for_exactly_what_this_version_lacks() {
    let storage = "DISTRIBUTED_STORAGE_CONFIG";
    assert_eq!(
        Fixture::new(CHAPTER).refused(),
        [
            "config.yaml:1: SERVER_HOSTNAME: not a host name (found \"<georep.quayteam.org or any other name>\"); \
             allowed: a host name or address, with a port if needed, such as registry.example.org:8443; \
             put the name that clients use in every region"
                .to_owned(),
            format!(
                "config.yaml:13: {storage}.usstorage[0]: the driver GoogleCloudStorage is not in this version \
                 (found \"GoogleCloudStorage\"); allowed: LocalStorage; \
                 use LocalStorage, or wait for the version that has this driver"
            ),
            format!(
                "config.yaml:19: {storage}.eustorage[0]: the driver GoogleCloudStorage is not in this version \
                 (found \"GoogleCloudStorage\"); allowed: LocalStorage; \
                 use LocalStorage, or wait for the version that has this driver"
            ),
        ]
    );
}

#[test]
fn the_documented_example_loads_once_it_names_a_host_and_local_directories() {
    let text = CHAPTER
        .replace(
            "<georep.quayteam.org or any other name>",
            "georep.example.org",
        )
        .replace("GoogleCloudStorage", "LocalStorage");
    let mut lines: Vec<String> = text
        .lines()
        .filter(|line| {
            !["bucket_name", "secret_key"]
                .iter()
                .any(|word| line.contains(word))
        })
        .map(str::to_owned)
        .collect();
    for (index, directory) in ["/srv/us", "/srv/eu"].into_iter().enumerate() {
        let at = lines
            .iter()
            .position(|line| line.contains("access_key"))
            .expect("two stores");
        lines[at] = format!("    - storage_path: {directory}");
        lines.remove(at + 1);
        assert!(index < 2);
    }
    let fixture = Fixture::new(lines.join("\n"));
    let config = fixture.loaded().config;
    assert!(config.replication.enabled);
    assert_eq!(config.storage.default_locations, ["usstorage", "eustorage"]);
    assert_eq!(
        fixture.warnings(),
        ["config.yaml: known to Quay, without effect here: BUILDLOGS_REDIS, USER_EVENTS_REDIS"]
    );
}

#[test]
fn a_configuration_that_a_real_quay_ran_with_loads_once_its_stores_are_local() {
    let fixture = Fixture::new(QUAY).with(&[(
        env::QUAY_OVERRIDE_CONFIG,
        r#"{"DISTRIBUTED_STORAGE_CONFIG": {"us_east": ["LocalStorage", {"storage_path": "/srv/us"}],
            "eu_west": ["LocalStorage", {"storage_path": "/srv/eu"}]}}"#,
    )]);
    let config = fixture.loaded().config;
    let DatabaseUri::Postgres(postgres) = config.database.uri else {
        panic!("a PostgreSQL database");
    };
    assert_eq!(postgres.database, "quay");
    assert_eq!(config.storage.preference, ["us_east", "eu_west"]);
    assert!(config.replication.enabled && config.tags.immutable && config.quota.enabled);
    let warnings = fixture.warnings();
    let [keys, quota] = warnings.as_slice() else {
        panic!("every key is known: {warnings:#?}");
    };
    assert!(quota.contains("no push is refused for them"), "{quota}");
    assert!(
        keys.contains("without effect here: ") && keys.contains("FEATURE_REPO_MIRROR"),
        "{keys}"
    );
}
