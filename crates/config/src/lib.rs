//! Quay's `config.yaml` and its environment variables: read, checked as a whole and handed out as plain structs.
//!
//! [`load`] reads what Quay reads, as Quay reads it (YAML 1.1, upper-case keys, `QUAY_OVERRIDE_CONFIG` and
//! `QUAY_DISTRIBUTED_STORAGE_PREFERENCE` on top), and either returns a [`Config`] or every reason why not, all at once.
//! Keys without an effect here are kept and named in a warning. New keys of ours begin with `ROADSTEAD_`.
//!
//! The doc comment of each field is the reference of its key. Adding a key: a documented field in its section under
//! `sections/`, its name and default in that section's `read`, and, if it is ours alone, its name in `keys.rs`.
//!
//! Invariant: only `server` and what stands above it sees this crate; the other crates take small option structs of their
//! own. Nothing here connects to anything: whether a database or a store answers is found out by those that use it.

mod document;
pub mod env;
mod finding;
mod keys;
mod layers;
mod reader;
mod secret;
mod sections;
mod units;

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

pub use env::{Environment, default_directory};
pub use finding::{ConfigErrors, Finding, Origin};
pub use secret::Secret;
pub use sections::{
    Accounts, Akamai, AzureCredentials, AzureStorage, Cdn, CdnProvider, CdnRule, CloudFlare,
    CloudFront, Config, ConnectionPool, Continent, Database, DatabaseUri, Delivery, Driver,
    Endpoint, Garbage, Health, Hosting, LocalStorage, Location, Management, MultiCdnStorage,
    Network, NotANetwork, OpenStackOptions, Postgres, PostgresHost, PostgresTls, Quota, Redis,
    RedisServer, RedisServers, RedisTls, Registry, RegistryState, Replication, S3Credentials,
    S3Keys, S3Store, Scrub, SslMode, Storage, StorageCheck, SwiftAuthVersion, SwiftStorage, Tags,
    TargetServer, UrlScheme,
};

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

/// Reads and checks the whole configuration.
///
/// # Errors
///
/// Everything that is wrong, at once and in the order of the file. A file that is not YAML at all is one finding.
pub fn load(source: &Source, environment: &Environment) -> Result<Loaded, ConfigErrors> {
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
        return Err(ConfigErrors::new(errors));
    }
    let mut keys = Keys::new(layers, base, errors);
    let config = Config::read(&mut keys);
    keys.warn_of_unused();
    if let Some(directory) = directory {
        sections::warn_of_neighbours(directory, &mut keys.warnings);
    }
    if !keys.errors.is_empty() {
        return Err(ConfigErrors::new(keys.errors));
    }
    let raw = keys
        .values()
        .iter()
        .map(|(key, value)| (key.clone(), serde_json::to_value(value).unwrap_or_default()))
        .collect();
    let mut warnings = keys.warnings;
    warnings.sort();
    // What several parameters share is read once for each of them.
    warnings.dedup();
    Ok(Loaded {
        config,
        warnings,
        raw: RawKeys(raw),
    })
}

#[cfg(test)]
mod tests;
