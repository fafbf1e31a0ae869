//! The sections of a configuration: which keys there are, what they mean, their defaults and what they may hold.
//!
//! Each section reads its own keys; what one section needs of another is handed to it.

mod accounts;
mod audit;
mod database;
mod delivery;
mod garbage;
mod health;
mod hosting;
mod limits;
mod management;
mod quota;
mod redis;
mod registry;
mod replication;
mod storage;
mod tags;
mod telemetry;

use std::path::Path;

pub use accounts::Accounts;
pub use database::{
    ConnectionPool, Database, DatabaseUri, Postgres, PostgresHost, PostgresTls, SslMode,
    TargetServer,
};
pub use delivery::{Delivery, Network, NotANetwork};
pub use garbage::Garbage;
pub use health::{Health, StorageCheck};
pub use hosting::{Balancers, Hosting, IpVersion, Tls, TlsVersion, UrlScheme};
pub use limits::{Concurrency, Limits, Rate, RateLimits};
pub use management::Management;
pub use quota::Quota;
pub use redis::{Redis, RedisServer, RedisServers, RedisTls};
pub use registry::{Registry, RegistryState};
pub use replication::{Replication, Scrub};
pub(crate) use storage::drivers;
pub use storage::{
    Akamai, AzureCredentials, AzureStorage, Cdn, CdnProvider, CdnRule, CloudFlare, CloudFront,
    Continent, Driver, Endpoint, LocalStorage, Location, MultiCdnStorage, OpenStackOptions,
    S3Credentials, S3Keys, S3Store, Storage, SwiftAuthVersion, SwiftStorage,
};
pub use tags::Tags;
pub use telemetry::{Export, Sampling, Telemetry};

use crate::env::Environment;
use crate::finding::{Finding, Origin};
use crate::reader::Keys;

/// A whole configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// The name under which clients reach the registry.
    pub hosting: Hosting,
    /// How much is taken from one client, and how long requests may take to end.
    pub limits: Limits,
    /// Where the metadata is.
    pub database: Database,
    /// Where the blobs are.
    pub storage: Storage,
    /// How blobs get from their stores to clients.
    pub delivery: Delivery,
    /// Copying blobs between locations.
    pub replication: Replication,
    /// What health checks ask for.
    pub health: Health,
    /// Where Redis is.
    pub redis: Redis,
    /// What clients may push, pull and see.
    pub registry: Registry,
    /// Who there is, and how they prove it.
    pub accounts: Accounts,
    /// For how long deleted tags come back, and which tags cannot be moved.
    pub tags: Tags,
    /// What is given up for good, and when.
    pub garbage: Garbage,
    /// How much a namespace holds.
    pub quota: Quota,
    /// What owners may do to their accounts and namespaces through the API.
    pub management: Management,
    /// What the process tells of itself.
    pub telemetry: Telemetry,
}

impl Config {
    pub(crate) fn read(keys: &mut Keys, environment: &Environment) -> Self {
        audit::check_model(keys);
        let hosting = Hosting::read(keys);
        let database = Database::read(keys);
        let replication = Replication::read(keys);
        Self {
            hosting,
            limits: Limits::read(keys),
            database,
            storage: Storage::read(keys, replication.enabled),
            delivery: Delivery::read(keys),
            replication,
            health: Health::read(keys),
            redis: Redis::read(keys),
            registry: Registry::read(keys),
            accounts: Accounts::read(keys),
            tags: Tags::read(keys),
            garbage: Garbage::read(keys),
            quota: Quota::read(keys),
            management: Management::read(keys),
            telemetry: Telemetry::read(keys, environment),
        }
    }
}

/// Warns of the file beside `config.yaml` that Quay would use and this version does not.
pub(crate) fn warn_of_neighbours(directory: &Path, warnings: &mut Vec<Finding>) {
    let path = directory.join("config.py");
    if path.exists() {
        warnings.push(Finding {
            origin: Origin::File { path, line: None },
            key: String::new(),
            value: None,
            problem: "not executed: only config.yaml is read".to_owned(),
            allowed: String::new(),
            action: "move its settings into config.yaml".to_owned(),
        });
    }
}
