//! Quay's `config.yaml` and its environment variables: read, checked as a whole and handed out as plain structs.
//!
//! [`load`] reads what Quay reads, as Quay reads it (YAML 1.1, upper-case keys, `QUAY_OVERRIDE_CONFIG` and
//! `QUAY_DISTRIBUTED_STORAGE_PREFERENCE` on top), and either returns a [`Config`] or every reason why not, all at once.
//! [`schema`] knows every key, used or not. New keys of ours begin with `ROADSTEAD_`.
//!
//! Adding a key: a documented field in its section under `sections/`, its name and default in that section's `read`, and its line in the table
//! under `schema/`; a test tells where the two differ.
//!
//! Invariant: only `server` and what stands above it sees this crate; the other crates take small option structs of their
//! own. Nothing here connects to anything: whether a database or a store answers is found out by those that use it.

mod comparison;
mod document;
pub mod env;
mod finding;
mod layers;
mod reader;
pub mod schema;
mod secret;
mod sections;
mod spelling;
mod units;

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

pub use comparison::{Difference, Drift, Fingerprint, differences, drift};
pub use env::{Environment, default_directory};
pub use finding::{ConfigErrors, Finding, Origin};
pub use secret::Secret;
pub use sections::{
    Accounts, Akamai, AzureCredentials, AzureStorage, Balancers, Cdn, CdnProvider, CdnRule,
    CloudFlare, CloudFront, Concurrency, Config, ConnectionPool, Continent, Database, DatabaseUri,
    Delivery, Driver, Endpoint, Export, Garbage, Health, Hosting, IpVersion, Limits, LocalStorage,
    Location, Management, MultiCdnStorage, Network, NotANetwork, OpenStackOptions, Postgres,
    PostgresHost, PostgresTls, Quota, Rate, RateLimits, Redis, RedisServer, RedisServers, RedisTls,
    Registry, RegistryState, Replication, S3Credentials, S3Keys, S3Store, Sampling, Scrub, SslMode,
    Storage, StorageCheck, SwiftAuthVersion, SwiftStorage, Tags, TargetServer, Telemetry, Tls,
    TlsVersion, UrlScheme,
};
pub use spelling::nearest;

use layers::Layers;
use reader::{Base, Keys};

/// Where a configuration comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// `config.yaml` in this directory.
    Directory(PathBuf),
    /// No file: a SQLite database and two local directories, `usstorage` and `eustorage`, under `data_dir`. The environment
    /// variables apply here too.
    Standalone {
        /// The directory that holds everything.
        data_dir: PathBuf,
    },
}

impl Source {
    /// What `config.yaml` holds, as far as a configuration may go; `None` while it cannot be read, and where there is none.
    pub fn file_content(&self) -> Option<Vec<u8>> {
        match self {
            Self::Directory(directory) => layers::read_bytes(directory),
            Self::Standalone { .. } => None,
        }
    }
}

/// A configuration that can be used.
#[derive(Debug)]
pub struct Loaded {
    /// What the keys say.
    pub config: Config,
    /// What an operator should know, in the order of the file: keys without an effect, and what looks like a mistake.
    pub warnings: Vec<Finding>,
    /// Every key as it was read, known or not.
    pub raw: RawKeys,
}

/// The top-level keys with their values as they were read, secrets included. Its `Debug` form has the names only.
#[derive(Clone)]
pub struct RawKeys(BTreeMap<String, serde_json::Value>);

impl RawKeys {
    /// The keys and their values.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &serde_json::Value)> {
        self.0.iter().map(|(key, value)| (key.as_str(), value))
    }

    /// These, with the keys of `other` in place of those that a running process takes a change of.
    #[must_use]
    pub fn with_live_keys_of(&self, other: &Self) -> Self {
        let is_live = |name: &str| schema::key(name).is_some_and(schema::Key::is_live);
        let rest = self.0.iter().filter(|(name, _)| !is_live(name));
        let live = other.0.iter().filter(|(name, _)| is_live(name));
        let keys = rest.chain(live);
        Self(
            keys.map(|(key, value)| (key.clone(), value.clone()))
                .collect(),
        )
    }

    /// The value of `key`.
    pub fn get(&self, key: &str) -> Option<&serde_json::Value> {
        self.0.get(key)
    }
}

impl fmt::Debug for RawKeys {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_set().entries(self.0.keys()).finish()
    }
}

/// Everything that there is to say of a configuration, whether or not it can be used.
#[derive(Debug)]
pub struct Checked {
    /// What the keys say, if nothing stops a start.
    pub config: Option<Config>,
    /// What stops a start, in the order of the file.
    pub errors: Vec<Finding>,
    /// What an operator should know: keys without an effect that something was expected of, and what looks like a mistake.
    pub warnings: Vec<Finding>,
    /// What an operator may want to know: keys without an effect that nobody misses, and what Quay would miss.
    pub notes: Vec<Finding>,
    /// Every key as it was read, known or not.
    pub raw: RawKeys,
    origins: BTreeMap<String, Origin>,
}

impl Checked {
    /// Where the value of a key was read; `None`: it is not given.
    pub fn origin(&self, key: &str) -> Option<&Origin> {
        self.origins.get(key)
    }

    /// The value of a key as findings show it: shortened, secrets masked. `None`: it is not given.
    pub fn shown(&self, key: &str) -> Option<String> {
        self.raw
            .get(key)
            .map(|value| finding::shown_json(key, value))
    }
}

/// Reads and checks the whole configuration.
pub fn check(source: &Source, environment: &Environment) -> Checked {
    let (directory, base) = match source {
        Source::Directory(directory) => (
            Some(directory.as_path()),
            Base::Configuration(directory.clone()),
        ),
        Source::Standalone { data_dir } => (None, Base::Data(data_dir.clone())),
    };
    let mut errors = Vec::new();
    let layers = Layers::read(directory, environment, &mut errors);
    if errors.iter().any(|finding| finding.key.is_empty()) {
        // A layer is missing, so that what the keys lack would say nothing.
        return Checked {
            config: None,
            errors: in_order(errors),
            warnings: Vec::new(),
            notes: Vec::new(),
            raw: RawKeys(BTreeMap::new()),
            origins: BTreeMap::new(),
        };
    }
    let mut keys = Keys::new(layers, base, errors);
    let config = Config::read(&mut keys, environment);
    keys.finish();
    if environment.get(env::IGNORE_VALIDATION).is_some() {
        keys.let_numbers_give_way();
    }
    if let Some(directory) = directory {
        sections::warn_of_neighbours(directory, &mut keys.warnings);
    }
    let values = keys.values().iter();
    let raw = values
        .map(|(key, value)| (key.clone(), serde_json::to_value(value).unwrap_or_default()))
        .collect();
    let values = keys.values().keys();
    let origins = values
        .filter_map(|key| Some((key.clone(), keys.origin(key)?)))
        .collect();
    Checked {
        config: keys.errors.is_empty().then_some(config),
        errors: in_order(keys.errors),
        warnings: in_order(keys.warnings),
        notes: in_order(keys.notes),
        raw: RawKeys(raw),
        origins,
    }
}

/// By file or variable, line and key; each once, since what several parameters share is read once for each of them.
fn in_order(mut findings: Vec<Finding>) -> Vec<Finding> {
    findings.sort();
    findings.dedup();
    findings
}

/// As [`check`], for whoever can use nothing but a configuration that can be used.
///
/// # Errors
///
/// Everything that is wrong, at once and in the order of the file. A file that is not YAML at all is one finding.
pub fn load(source: &Source, environment: &Environment) -> Result<Loaded, ConfigErrors> {
    let Checked {
        config,
        errors,
        warnings,
        raw,
        ..
    } = check(source, environment);
    config
        .map(|config| Loaded {
            config,
            warnings,
            raw,
        })
        .ok_or(ConfigErrors::new(errors))
}

#[cfg(test)]
mod tests;
