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
fn the_documented_geo_replication_example_is_refused_for_its_placeholder_alone() {
    assert_eq!(
        Fixture::new(CHAPTER).refused(),
        [
            "config.yaml:1: SERVER_HOSTNAME: not a host name (found \"<georep.quayteam.org or any other name>\"); \
          allowed: a host name or address, with a port if needed, such as registry.example.org:8443; \
          put the name that clients use in every region"
        ]
    );
}

#[test]
fn the_documented_example_loads_once_it_names_a_host() {
    let fixture = Fixture::new(CHAPTER.replace(
        "<georep.quayteam.org or any other name>",
        "georep.example.org",
    ));
    let config = fixture.loaded().config;
    assert!(config.replication.enabled);
    assert_eq!(config.storage.preference, ["usstorage", "eustorage"]);
    assert_eq!(config.storage.default_locations, ["usstorage", "eustorage"]);
    let [us, eu] = config.storage.locations.as_slice() else {
        panic!("{:?}", config.storage.locations);
    };
    for (location, bucket, access_key) in [
        (us, "georep-test-bucket-0", "GOOGAAAA"),
        (eu, "georep-test-bucket-1", "GOOGBBBB"),
    ] {
        let Driver::GoogleCloudStorage(store) = &location.driver else {
            panic!("{location:?}");
        };
        assert_eq!(store.endpoint.to_string(), "https://storage.googleapis.com");
        assert_eq!(store.bucket, bucket);
        assert_eq!(store.key_prefix, "quaygcp/");
        let S3Credentials::Keys(keys) = &store.credentials else {
            panic!("{store:?}");
        };
        assert_eq!(keys.access_key.expose(), access_key);
    }
    let redis = config.redis.hints.expect("a Redis");
    let at = ("10.19.0.2".to_owned(), 6379);
    assert_eq!(redis.servers, RedisServers::One(at));
    assert_eq!(fixture.warnings(), Vec::<String>::new());
}

#[test]
fn a_configuration_that_a_real_quay_ran_with_loads_as_it_stands() {
    let fixture = Fixture::new(QUAY);
    let config = fixture.loaded().config;
    let DatabaseUri::Postgres(postgres) = config.database.uri else {
        panic!("a PostgreSQL database");
    };
    assert_eq!(postgres.database, "quay");
    assert_eq!(config.storage.preference, ["us_east", "eu_west"]);
    assert!(
        config.replication.enabled
            && config.tags.immutable
            && config.quota.enabled
            && config.quota.verified
    );
    assert!(!config.delivery.proxy_storage);
    let stores: Vec<_> = config
        .storage
        .locations
        .iter()
        .map(|location| {
            let store = location.driver.s3().expect("a bucket");
            assert_eq!(location.driver.name(), "RadosGWStorage");
            assert_eq!(store.region.as_deref(), Some("us-east-1"));
            format!("{}/{}/{}", store.endpoint, store.bucket, store.key_prefix)
        })
        .collect();
    assert_eq!(
        stores,
        [
            "http://127.0.0.1:53900/quay-us-east/datastorage/registry/",
            "http://127.0.0.1:53900/quay-eu-west/datastorage/registry/",
        ]
    );
    let warnings = fixture.warnings();
    let [keys, balancer] = warnings.as_slice() else {
        panic!("every key is known: {warnings:#?}");
    };
    assert!(balancer.contains("TRUSTED_PROXY_CIDR"), "{balancer}");
    assert!(
        keys.contains("without effect here: ") && keys.contains("FEATURE_REPO_MIRROR"),
        "{keys}"
    );
}
