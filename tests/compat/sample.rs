//! The database and the buckets that a real Quay wrote (`fixtures/quay-s3`), restored for one test, and a registry on them.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use roadstead_client::{Client, ClientOptions, Credentials};
use roadstead_test_servers::S3Server;
use roadstead_testkit::{RegistrySettings, StoreFiles};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::database::TestDatabase;
use crate::invariants::World;

/// The locations of the sample, each with its bucket.
pub(crate) const BUCKETS: [(&str, &str); 2] =
    [("us_east", "quay-us-east"), ("eu_west", "quay-eu-west")];

/// What is collected.
const COLLECTIONS: [&str; 3] = [
    "FEATURE_GARBAGE_COLLECTION",
    "FEATURE_REPOSITORY_GARBAGE_COLLECTION",
    "FEATURE_NAMESPACE_GARBAGE_COLLECTION",
];

/// `storage_path` of the sample's configuration, in the bucket.
const STORAGE_PATH: &str = "datastorage/registry";

/// How old a restored sample is: what Quay let expire that day has expired, what it kept for days has not.
const AGE_MS: i64 = 6 * 60 * 60 * 1000;

/// When the last row of the sample was written: 2026-11-22 11:47 UTC.
const WRITTEN_MS: i64 = 1_795_348_020_000;

/// Where the sample is.
pub(crate) fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fixtures/quay-s3")
        .join(name)
}

/// A restored sample.
#[derive(Debug)]
pub(crate) struct Sample {
    pub(crate) database: TestDatabase,
    /// What is in it, as Quay told it.
    pub(crate) contents: Value,
    /// Keys of the configuration with other values than Quay ran with.
    pub(crate) overrides: serde_json::Map<String, Value>,
    /// The server of its buckets, if it is not in directories.
    pub(crate) server: Option<S3Server>,
    directory: TempDir,
}

impl Sample {
    /// Restores it: a database and two directories of its own.
    pub(crate) fn restore() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let database = template().copy(&format!("sample_{number}"));
        let directory = tempfile::tempdir().unwrap();
        let unpacked = Command::new("tar")
            .arg("-xf")
            .arg(fixture("buckets.tar"))
            .arg("-C")
            .arg(directory.path())
            .status()
            .expect("tar can be run");
        assert!(unpacked.success(), "the buckets cannot be unpacked");
        let contents = fs::read_to_string(fixture("contents.json")).unwrap();
        let mut sample = Self {
            database,
            contents: serde_json::from_str(&contents).unwrap(),
            overrides: serde_json::Map::new(),
            server: None,
            directory,
        };
        sample.set("DB_URI", sample.database.uri());
        let locations: serde_json::Map<String, Value> = BUCKETS
            .iter()
            .map(|(location, _)| {
                let parameters = json!({"storage_path": sample.store(location).root()});
                ((*location).to_owned(), json!(["LocalStorage", parameters]))
            })
            .collect();
        sample.set("DISTRIBUTED_STORAGE_CONFIG", locations);
        // As a deployment that moves region by region has it, so that nothing of Quay's goes before somebody says so.
        for key in COLLECTIONS {
            sample.set(key, false);
        }
        sample
    }

    /// Restores it with its buckets in an S3 server, as Quay had them: only where the server is, and its keys, are others than in Quay's
    /// `config.yaml`.
    pub(crate) fn restore_in_buckets() -> Self {
        let mut sample = Self::restore();
        let server = S3Server::start();
        let mut locations = serde_json::Map::new();
        for (location, bucket) in BUCKETS {
            let copied = Command::new("cp")
                .arg("-r")
                .arg(sample.directory.path().join(bucket))
                .arg(server.bucket_directory(bucket))
                .status()
                .expect("cp can be run");
            assert!(copied.success(), "the bucket cannot be copied");
            let parameters = json!({
                "hostname": "127.0.0.1",
                "is_secure": false,
                "port": server.port(),
                "storage_path": format!("/{STORAGE_PATH}"),
                "access_key": server.access_key(),
                "secret_key": server.secret_key(),
                "bucket_name": bucket,
                "signature_version": "s3v4",
                "region_name": "us-east-1",
            });
            locations.insert(location.to_owned(), json!(["RadosGWStorage", parameters]));
        }
        sample.set("DISTRIBUTED_STORAGE_CONFIG", locations);
        sample.server = Some(server);
        sample
    }

    /// Switches garbage collection on.
    pub(crate) fn collect(&mut self) {
        for key in COLLECTIONS {
            self.set(key, true);
        }
    }

    /// Gives a key of the configuration another value.
    pub(crate) fn set(&mut self, key: &str, value: impl Into<Value>) {
        self.overrides.insert(key.to_owned(), value.into());
    }

    /// How a registry is started on it: with Quay's own `config.yaml`, in which only the database, the stores and the address are
    /// other ones. Each call has another address.
    pub(crate) fn settings(&self) -> RegistrySettings {
        let mut settings = RegistrySettings::new(self.directory.path().join("data"));
        let configuration = self.directory.path().join("stack");
        fs::create_dir_all(&configuration).unwrap();
        fs::copy(fixture("config.yaml"), configuration.join("config.yaml")).unwrap();
        settings.configuration = Some(configuration);
        let mut overrides = self.overrides.clone();
        overrides.insert(
            "SERVER_HOSTNAME".to_owned(),
            settings.address.to_string().into(),
        );
        settings.environment.push((
            "QUAY_OVERRIDE_CONFIG".to_owned(),
            Value::Object(overrides).to_string(),
        ));
        settings
    }

    /// What lies in a location.
    pub(crate) fn store(&self, location: &str) -> StoreFiles {
        let bucket = BUCKETS.iter().find(|(name, _)| *name == location);
        let (_, bucket) = bucket.unwrap_or_else(|| panic!("the sample has no {location}"));
        let root = match &self.server {
            Some(server) => server.bucket_directory(bucket),
            None => self.directory.path().join(bucket),
        };
        StoreFiles::new(root.join(STORAGE_PATH))
    }

    /// What lies in each location.
    pub(crate) fn stores(&self) -> BTreeMap<String, StoreFiles> {
        BUCKETS
            .iter()
            .map(|(location, _)| ((*location).to_owned(), self.store(location)))
            .collect()
    }

    /// The whole of it, for the checker. Quay kept quota sizes.
    pub(crate) fn world(&self) -> World<'_> {
        World {
            database: &self.database,
            stores: self.stores(),
            protected_seconds: 3600,
            quota: true,
            collected: false,
        }
    }

    /// The secret of an account: a user's password, a robot's token, the code of the application token (`$app`).
    pub(crate) fn secret(&self, account: &str) -> &str {
        let contents = &self.contents;
        let secret = match account {
            "$app" => &contents["app_token"]["code"],
            "$oauthtoken" => &contents["users"]["admin"]["oauth_access_token"],
            robot if robot.contains('+') => &contents["robots"][robot],
            user => &contents["users"][user]["password"],
        };
        secret
            .as_str()
            .unwrap_or_else(|| panic!("the sample has no account {account}"))
    }

    /// A client of a registry on it, as one of its accounts.
    pub(crate) fn client(&self, settings: &RegistrySettings, account: &str) -> Client {
        let credentials = Credentials::new(account, self.secret(account));
        Client::with_options(&settings.url(), Some(credentials), ClientOptions::default())
            .expect("a loopback address is one")
    }

    /// Every tag, as repository, name and digest.
    pub(crate) fn tags(&self) -> Vec<(String, String, String)> {
        let repositories = self.contents["tags"].as_object().unwrap();
        repositories
            .iter()
            .flat_map(|(repository, tags)| {
                tags.as_array().unwrap().iter().map(move |tag| {
                    let text = |key: &str| tag[key].as_str().unwrap().to_owned();
                    (repository.clone(), text("name"), text("manifest_digest"))
                })
            })
            .collect()
    }
}

/// The sample, restored once and copied for every test. Nobody else connects to it.
pub(crate) fn template() -> &'static TestDatabase {
    static TEMPLATE: OnceLock<TestDatabase> = OnceLock::new();
    TEMPLATE.get_or_init(|| {
        let database = TestDatabase::empty();
        database.restore(&fixture("quay.sql"));
        let now: i64 =
            database.number("SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint");
        move_times(&database, now - AGE_MS - WRITTEN_MS);
        database
    })
}

/// Moves every time in the database, so that the sample is as old whenever it is restored.
fn move_times(database: &TestDatabase, milliseconds: i64) {
    database.run(&format!(
        "DO $$ DECLARE c record; BEGIN
            FOR c IN SELECT table_name, column_name FROM information_schema.columns
                     WHERE table_schema = 'public' AND data_type = 'timestamp without time zone' LOOP
                EXECUTE format('UPDATE %I SET %I = %I + interval ''{milliseconds} milliseconds''',
                               c.table_name, c.column_name, c.column_name);
            END LOOP;
         END $$;
         UPDATE tag SET lifetime_start_ms = lifetime_start_ms + {milliseconds},
                        lifetime_end_ms = lifetime_end_ms + {milliseconds};"
    ));
}
