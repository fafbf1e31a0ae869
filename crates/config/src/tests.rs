//! Whole configurations: what loads, what is refused and how that is said.

mod chapter;
mod databases;
mod delivery;
mod health;
mod hosting;
mod keys;
mod locations;
mod quay;
mod redis;
mod stores;
mod telemetry;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;

use super::*;

/// The smallest configuration that loads.
const SMALL: &str = "\
SERVER_HOSTNAME: registry.example.org
DB_URI: sqlite:////var/lib/roadstead.db
DISTRIBUTED_STORAGE_CONFIG:
  us: [LocalStorage, {storage_path: /srv/us}]
  eu: [LocalStorage, {storage_path: /srv/eu}]
";

struct Fixture {
    directory: TempDir,
    environment: Environment,
}

impl Fixture {
    fn new(text: impl AsRef<[u8]>) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        fs::write(directory.path().join("config.yaml"), text).expect("a file in it");
        Self {
            directory,
            environment: Environment::empty(),
        }
    }

    fn with(mut self, variables: &[(&str, &str)]) -> Self {
        self.environment = variables.iter().copied().collect();
        self
    }

    fn load(&self) -> Result<Loaded, ConfigErrors> {
        load(
            &Source::Directory(self.directory.path().to_owned()),
            &self.environment,
        )
    }

    fn loaded(&self) -> Loaded {
        self.load()
            .unwrap_or_else(|errors| panic!("refused:\n{errors}"))
    }

    /// Each error on a line, without the directory.
    fn refused(&self) -> Vec<String> {
        let errors = self.load().expect_err("it has errors").to_string();
        self.lines(&errors)
    }

    fn warnings(&self) -> Vec<String> {
        let warnings: Vec<_> = self
            .loaded()
            .warnings
            .iter()
            .map(ToString::to_string)
            .collect();
        self.lines(&warnings.join("\n"))
    }

    fn lines(&self, text: &str) -> Vec<String> {
        let prefix = format!("{}/", self.directory.path().display());
        text.lines().map(|line| line.replace(&prefix, "")).collect()
    }
}

/// `SMALL` with `lines` behind it.
fn small_and(lines: &str) -> Fixture {
    Fixture::new(format!("{SMALL}{lines}\n"))
}

/// The part of a line that says what is wrong.
fn assert_refused(fixture: &Fixture, expected: &[&str]) {
    let lines = fixture.refused();
    assert_eq!(lines.len(), expected.len(), "{lines:#?}");
    for (line, expected) in lines.iter().zip(expected) {
        assert!(line.contains(expected), "{line}\nlacks {expected}");
    }
}

#[test]
fn the_smallest_configuration_has_quays_defaults_and_no_warnings() {
    let loaded = Fixture::new(SMALL).loaded();
    assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
    let Config {
        hosting,
        limits,
        database,
        storage,
        delivery,
        replication,
        registry,
        accounts,
        tags,
        garbage,
        quota,
        management,
        telemetry,
        health: _,
        redis: _,
    } = loaded.config;
    assert_eq!(
        hosting.server_hostname.as_deref(),
        Some("registry.example.org")
    );
    assert_eq!(hosting.preferred_url_scheme, UrlScheme::Http);
    assert_eq!((hosting.tls, hosting.ip_version), (None, None));
    assert_eq!(limits.shutdown, Duration::from_secs(30));
    assert_eq!(limits.rates, None);
    assert_eq!(telemetry.refresh, Duration::from_mins(5));
    assert_eq!(telemetry.export, None, "off costs nothing");
    let path = PathBuf::from("/var/lib/roadstead.db");
    assert_eq!(database.uri, DatabaseUri::Sqlite { path });
    assert_eq!(storage.preference, ["us", "eu"], "the order of the file");
    assert!(storage.default_locations.is_empty());
    assert_eq!(storage.upload_memory_bytes, 64 << 20);
    assert_eq!(delivery, Delivery::default());
    assert!(!replication.enabled);
    assert_eq!(replication.queue_name, "imagestoragereplication");
    assert_eq!(replication.concurrency.get(), 32);
    assert_eq!(replication.memory_bytes, 256 << 20);
    assert_eq!(registry.state, RegistryState::Normal);
    assert_eq!(registry.maximum_layer_size, Some(20 << 30));
    assert_eq!(registry.manifest_size_limit, 4 << 20);
    assert_eq!(registry.pagination_size, 50);
    assert_eq!(registry.blob_upload_threshold, Duration::from_hours(48));
    let days = |days: u64| Duration::from_hours(days * 24);
    assert_eq!(tags.default_expiration, days(14));
    assert_eq!(tags.expiration_options, [0, 1, 7, 14, 28].map(days));
    assert!(!tags.immutable && !tags.immutable_can_expire);
    assert!(garbage.enabled && garbage.repositories && garbage.namespaces);
    assert_eq!(garbage.pause, Duration::from_secs(30));
    assert_eq!(garbage.namespace_grace, Duration::ZERO);
    assert!(!quota.enabled && quota.verified && quota.invalidated && quota.editable);
    assert!(!management.user_initialize);
    assert!(management.change_tag_expiration);
    assert_eq!(
        (management.app_token_life, quota.default_bytes),
        (None, None)
    );
    assert_eq!(registry.library_namespace.as_deref(), Some("library"));
    assert!(registry.create_private_repo_on_push && !registry.create_namespace_on_push);
    assert!(registry.anonymous_access && !registry.public_catalog);
    assert!(registry.upload_chunk_min_length.is_none());
    assert!(accounts.super_users.is_empty() && accounts.secret_key.is_none());
    assert_eq!(accounts.token_service, "quay");
}

#[test]
fn without_a_configuration_everything_is_under_the_data_directory() {
    let source = Source::Standalone {
        data_dir: "data".into(),
    };
    let Loaded {
        config,
        warnings,
        raw,
    } = load(&source, &Environment::empty()).expect("it loads");
    assert!(warnings.is_empty() && raw.iter().next().is_none());
    let path = PathBuf::from("data/roadstead.db");
    assert_eq!(config.database.uri, DatabaseUri::Sqlite { path });
    assert_eq!(config.storage.preference, ["usstorage", "eustorage"]);
    assert_eq!(config.storage.default_locations, ["usstorage", "eustorage"]);
    let driver = Driver::LocalStorage(LocalStorage {
        storage_path: "data/eustorage".into(),
    });
    assert_eq!(config.storage.locations[1].driver, driver);
    assert!(config.replication.enabled && config.registry.create_namespace_on_push);
    assert_eq!(config.accounts.super_users, ["admin"]);
    assert_eq!(config.hosting.server_hostname, None);

    let environment = [
        (
            env::QUAY_DISTRIBUTED_STORAGE_PREFERENCE,
            "eustorage usstorage",
        ),
        (
            env::QUAY_OVERRIDE_CONFIG,
            r#"{"SUPER_USERS": ["root"], "V2_PAGINATION_SIZE": "7"}"#,
        ),
    ];
    let errors =
        load(&source, &environment.into_iter().collect()).expect_err("a text is no number");
    assert_eq!(
        errors.to_string(),
        "QUAY_OVERRIDE_CONFIG: V2_PAGINATION_SIZE: text does not fit here (found \"7\"); \
         allowed: a whole number from 1 to 10000; write the number, without quotes"
    );
    let environment = environment[..1].iter().copied().collect();
    let config = load(&source, &environment).expect("it loads").config;
    assert_eq!(config.storage.preference, ["eustorage", "usstorage"]);
}

#[test]
fn what_is_given_up_and_how_much_may_be_held_is_read() {
    let fixture = small_and(
        "FEATURE_GARBAGE_COLLECTION: false\nFEATURE_REPOSITORY_GARBAGE_COLLECTION: 'False'\n\
         GARBAGE_COLLECTION_FREQUENCY: 5\nNAMESPACE_GC_GRACE_PERIOD_SECONDS: 60\nDEFAULT_TAG_EXPIRATION: 3d\n\
         TAG_EXPIRATION_OPTIONS: [0s, 3d, 1y]\nFEATURE_QUOTA_MANAGEMENT: true\nFEATURE_VERIFY_QUOTA: false\n\
         FEATURE_IMMUTABLE_TAGS: true\nLOGS_MODEL: database",
    );
    let Loaded {
        config, warnings, ..
    } = fixture.loaded();
    assert!(warnings.is_empty(), "{warnings:?}");
    assert!(!config.garbage.enabled && !config.garbage.repositories && config.garbage.namespaces);
    assert_eq!(config.garbage.pause, Duration::from_secs(5));
    assert_eq!(config.garbage.namespace_grace, Duration::from_mins(1));
    assert_eq!(
        config.tags.expiration_options[2],
        Duration::from_hours(365 * 24)
    );
    assert!(config.quota.enabled && !config.quota.verified && config.tags.immutable);

    assert_refused(
        &small_and(
            "TAG_EXPIRATION_OPTIONS: [2 weeks, 2w, 7]\nGARBAGE_COLLECTION_FREQUENCY: 0\nLOGS_MODEL: databse",
        ),
        &[
            "TAG_EXPIRATION_OPTIONS: \"2 weeks\" is not a duration",
            "TAG_EXPIRATION_OPTIONS[2]: a number does not fit here",
            "GARBAGE_COLLECTION_FREQUENCY: out of range",
            "LOGS_MODEL: unknown value (found \"databse\"); allowed: database; did you mean database?",
        ],
    );
    assert_eq!(
        small_and(
            "TAG_EXPIRATION_OPTIONS: [1d]\nLOGS_MODEL: splunk\nFEATURE_QUOTA_MANAGEMENT: true"
        )
        .warnings(),
        [
            "config.yaml:6: TAG_EXPIRATION_OPTIONS: DEFAULT_TAG_EXPIRATION is none of TAG_EXPIRATION_OPTIONS: \
             a namespace that changes its duration cannot go back to it; add it to them",
            "config.yaml:7: LOGS_MODEL: splunk is not in this version: what happens here is logged in the database; \
             allowed: database",
        ]
    );
}

#[test]
fn booleans_are_read_as_pyyaml_and_quay_read_them() {
    for (written, expected) in [
        ("yes", true),
        ("On", true),
        ("TRUE", true),
        ("'True'", true),
        ("1", true),
        ("no", false),
        ("OFF", false),
        ("\"false\"", false),
        ("0", false),
    ] {
        let config = small_and(&format!("DISABLE_PUSHES: {written}"))
            .loaded()
            .config;
        assert_eq!(config.registry.disable_pushes, expected, "{written}");
    }
    for written in ["'yes'", "2", "y", "~", "[true]", "maybe"] {
        assert_refused(
            &small_and(&format!("DISABLE_PUSHES: {written}")),
            &["allowed: true or false; write one of them, without quotes"],
        );
    }
}

#[test]
fn numbers_and_booleans_where_text_belongs_are_refused_with_the_advice_to_quote_them() {
    assert_refused(
        &Fixture::new(
            "SERVER_HOSTNAME: 10\nDB_URI: yes\nDATABASE_SECRET_KEY: 30060361640793187613697366923211113205676925\n\
             DISTRIBUTED_STORAGE_CONFIG: {us: [LocalStorage, {storage_path: 7}]}\n",
        ),
        &[
            "config.yaml:1: SERVER_HOSTNAME: a number does not fit here (found 10); allowed: text; put it in quotes",
            "config.yaml:2: DB_URI: a boolean does not fit here (found true)",
            "config.yaml:3: DATABASE_SECRET_KEY: a number does not fit here (found ***)",
            "config.yaml:4: DISTRIBUTED_STORAGE_CONFIG.us[1].storage_path: a number does not fit here (found 7)",
        ],
    );
}

#[test]
fn values_out_of_range_and_unknown_choices_say_what_is_allowed() {
    assert_refused(
        &small_and(
            "PREFERRED_URL_SCHEME: htps\nREGISTRY_STATE: [normal]\nV2_PAGINATION_SIZE: 0\nMAXIMUM_LAYER_SIZE: 20GB\n\
             DEFAULT_TAG_EXPIRATION: 2 weeks\nAUTHENTICATION_TYPE: LDAP\nSUPER_USERS: admin\nSETUP_COMPLETE: false\n\
             ROADSTEAD_MANIFEST_SIZE_LIMIT: 1K\nROADSTEAD_REPLICATION_CONCURRENCY: -1",
        ),
        &[
            "(found \"htps\"); allowed: http, https; did you mean https?",
            "REGISTRY_STATE: a list does not fit here (found [\"normal\"]); allowed: text",
            "V2_PAGINATION_SIZE: out of range (found 0); allowed: a whole number from 1 to 10000",
            "MAXIMUM_LAYER_SIZE: not a size that can be used (found \"20GB\")",
            "DEFAULT_TAG_EXPIRATION: not a duration (found \"2 weeks\"); allowed: digits and a unit",
            "AUTHENTICATION_TYPE: LDAP is not in this version (found \"LDAP\"); allowed: Database",
            "SUPER_USERS: text does not fit here (found \"admin\"); allowed: a list of user names; \
             write it as a list, such as [one, two]",
            "SETUP_COMPLETE: this configuration says that it is unfinished (found false); allowed: true",
            "ROADSTEAD_MANIFEST_SIZE_LIMIT: not a size that can be used (found \"1K\"); allowed: 65536 to 67108864 bytes",
            "ROADSTEAD_REPLICATION_CONCURRENCY: out of range (found -1)",
        ],
    );
}

#[test]
fn layer_sizes_may_be_larger_than_any_disk_or_unlimited() {
    for (written, expected) in [
        ("150G", Some(150 << 30)),
        ("10P", Some(10 << 50)),
        ("~", None),
        ("512M", Some(512 << 20)),
    ] {
        let config = small_and(&format!("MAXIMUM_LAYER_SIZE: {written}"))
            .loaded()
            .config;
        assert_eq!(config.registry.maximum_layer_size, expected, "{written}");
    }
}

#[test]
fn the_override_replaces_keys_as_a_whole() {
    let environment = [(
        env::QUAY_OVERRIDE_CONFIG,
        r#"{"DISTRIBUTED_STORAGE_CONFIG": {"zz": ["LocalStorage", {"storage_path": "/z"}],
            "aa": ["LocalStorage", {"storage_path": "/a"}]}, "FEATURE_PUBLIC_CATALOG": true}"#,
    )];
    let config = small_and("").with(&environment).loaded().config;
    let names: Vec<_> = config
        .storage
        .locations
        .iter()
        .map(|location| location.name.as_str())
        .collect();
    assert_eq!(
        names,
        ["zz", "aa"],
        "nothing of the file's map is left, and the order is that of the text"
    );
    assert!(config.registry.public_catalog);
    let nothing = small_and("")
        .with(&[(env::QUAY_OVERRIDE_CONFIG, "{}")])
        .loaded();
    assert_eq!(nothing.config.storage.locations.len(), 2);
    for (text, problem) in [
        ("{", "QUAY_OVERRIDE_CONFIG: not valid JSON: EOF"),
        ("[]", "QUAY_OVERRIDE_CONFIG: the top level is a list"),
        (
            "SECRET_KEY: hunter2",
            "QUAY_OVERRIDE_CONFIG: not valid JSON",
        ),
    ] {
        let fixture = small_and("").with(&[(env::QUAY_OVERRIDE_CONFIG, text)]);
        assert_refused(&fixture, &[problem]);
        assert!(!fixture.refused().concat().contains("hunter2"));
    }
}

#[test]
fn keys_without_effect_are_kept_and_named() {
    let fixture = small_and(
        "FEATURE_REPO_MIRROR: true\nSUPER_USER: [admin]\nsecret_stash: 1\nMY_OWN_KEY: {a: [1]}\n\
         ROADSTEAD_RECONCILE_SECOND: 9\nBRANDING: {}\nserver_hostname: other.example.org\n",
    )
    .with(&[(
        env::QUAY_OVERRIDE_CONFIG,
        r#"{"FEATURE_ORG_MIRROR": "true"}"#,
    )]);
    assert_eq!(
        fixture.warnings(),
        [
            "config.yaml: known to Quay, without effect here: FEATURE_REPO_MIRROR",
            "config.yaml:7: SUPER_USER: unknown, without effect; did you mean SUPER_USERS?",
            "config.yaml:8: secret_stash: ignored, as Quay ignores keys that are not in upper case",
            "config.yaml:9: MY_OWN_KEY: unknown, without effect",
            "config.yaml:10: ROADSTEAD_RECONCILE_SECOND: unknown, without effect; did you mean ROADSTEAD_RECONCILE_SECONDS?",
            "config.yaml:12: server_hostname: ignored, as Quay ignores keys that are not in upper case; did you mean SERVER_HOSTNAME?",
            "QUAY_OVERRIDE_CONFIG: known to Quay, without effect here: FEATURE_ORG_MIRROR",
        ]
    );
    let raw = fixture.loaded().raw;
    assert_eq!(raw.get("MY_OWN_KEY"), Some(&serde_json::json!({"a": [1]})));
    assert_eq!(raw.iter().count(), 11);
    assert!(!format!("{raw:?}").contains("admin"));
}

#[test]
fn everything_is_read_back_once_a_month_unless_it_is_said_otherwise() {
    let scrub = |lines: &str| small_and(lines).loaded().config.replication.scrub;
    let by_default = scrub("").unwrap();
    assert_eq!(by_default.period, Duration::from_hours(30 * 24));
    assert_eq!(by_default.bytes_per_second.get(), 16 << 20);
    let faster = scrub("ROADSTEAD_SCRUB_DAYS: 7\nROADSTEAD_SCRUB_BYTES_PER_SECOND: 1G").unwrap();
    assert_eq!(faster.period, Duration::from_hours(7 * 24));
    assert_eq!(faster.bytes_per_second.get(), 1 << 30);
    assert_eq!(scrub("ROADSTEAD_SCRUB_DAYS: 0"), None);
    assert_refused(
        &small_and("ROADSTEAD_SCRUB_DAYS: 4000\nROADSTEAD_SCRUB_BYTES_PER_SECOND: 10"),
        &[
            "ROADSTEAD_SCRUB_DAYS: out of range (found 4000)",
            "ROADSTEAD_SCRUB_BYTES_PER_SECOND: not a size that can be used (found 10)",
        ],
    );
}

#[test]
fn secrets_appear_in_no_debug_output() {
    let loaded = small_and("SECRET_KEY: hunter2\nDATABASE_SECRET_KEY: '42424242'\n").loaded();
    let printed = format!("{loaded:?}");
    assert!(
        !printed.contains("hunter2") && !printed.contains("42424242"),
        "{printed}"
    );
    let secret = loaded.config.accounts.secret_key.expect("it is set");
    assert_eq!(secret.expose(), "hunter2");
}

#[test]
fn encrypted_passwords_need_a_key_and_restrictions_are_read() {
    let lines = "FEATURE_REQUIRE_ENCRYPTED_BASIC_AUTH: true\n";
    assert_refused(
        &small_and(lines),
        &[
            "FEATURE_REQUIRE_ENCRYPTED_BASIC_AUTH: nothing can be decrypted (found true); allowed: a SECRET_KEY",
        ],
    );
    let accounts = small_and(&format!(
        "{lines}SECRET_KEY: hunter2\nFEATURE_USER_CREATION: false\nFEATURE_SUPERUSERS_ORG_CREATION_ONLY: true\n\
         FEATURE_RESTRICTED_USERS: true\nRESTRICTED_USERS_WHITELIST: [alice]"
    ))
    .loaded()
    .config
    .accounts;
    assert!(accounts.encrypted_passwords_only && !accounts.user_creation);
    assert!(accounts.superusers_create_organizations && accounts.restricted_users);
    assert_eq!(accounts.restricted_users_whitelist, ["alice"]);
}

#[test]
fn missing_keys_are_all_named() {
    assert_refused(
        &Fixture::new("FEATURE_MAILING: false\n"),
        &[
            "config.yaml: DB_URI: it is missing",
            "config.yaml: DISTRIBUTED_STORAGE_CONFIG: it is missing",
            "config.yaml: SERVER_HOSTNAME: it is missing",
        ],
    );
}

#[test]
fn files_that_are_no_configuration_are_refused_with_the_reason() {
    for (text, problem) in [
        (&b""[..], "config.yaml: it is empty; correct it"),
        (
            b"just a string",
            "config.yaml: the top level is a single value",
        ),
        (b"- a\n", "config.yaml: the top level is a list"),
        (
            b"A: 1\nB: [\xff]\n",
            "config.yaml:2: it is not UTF-8; save it as UTF-8",
        ),
        (b"A:\n\tB: 1\n", "config.yaml:2: not valid YAML"),
        (b"A: 'unclosed\n", "not valid YAML"),
    ] {
        assert_refused(&Fixture::new(text), &[problem]);
    }
    let large = Fixture::new(vec![b'#'; (1 << 20) + 1]);
    assert_refused(
        &large,
        &["config.yaml: it is larger than 1 MiB; check that this is the right file"],
    );
}

#[test]
fn keys_given_twice_are_reported_together_with_everything_else() {
    assert_refused(
        &small_and("DB_URI: sqlite:////other.db\nDISABLE_PUSHES: perhaps"),
        &[
            "config.yaml:6: DB_URI: given twice, first in line 2; keep one of the two",
            "config.yaml:7: DISABLE_PUSHES: text does not fit here",
        ],
    );
}

#[test]
fn directories_and_files_that_are_not_there_are_told_apart() {
    let load_from = |path: &Path| {
        let errors = load(&Source::Directory(path.to_owned()), &Environment::empty());
        errors.expect_err("nothing to load").to_string()
    };
    let directory = tempfile::tempdir().expect("a temporary directory");
    let missing = load_from(&directory.path().join("missing"));
    assert!(
        missing.contains("missing/config.yaml: its directory does not exist"),
        "{missing}"
    );
    let empty = load_from(directory.path());
    assert!(
        empty.contains("config.yaml: cannot be read: No such file"),
        "{empty}"
    );
    fs::create_dir(directory.path().join("config.yaml")).expect("a directory in the way");
    let occupied = load_from(directory.path());
    assert!(occupied.contains("it is not a file"), "{occupied}");
}

#[test]
fn files_that_quay_would_use_and_this_version_does_not_are_named() {
    let fixture = small_and("");
    fs::write(fixture.directory.path().join("config.py"), "").expect("a file");
    assert_eq!(
        fixture.warnings(),
        ["config.py: not executed: only config.yaml is read; move its settings into config.yaml"]
    );
}

#[test]
fn findings_come_in_the_same_order_every_time() {
    let fixture = small_and("Z_Z: 1\nA_A: 2\nSUPER_USERS: 3\nDISABLE_PUSHES: x");
    let first = fixture.refused();
    for _ in 0..5 {
        assert_eq!(fixture.refused(), first);
    }
}
