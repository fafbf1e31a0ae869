//! Composition: a configuration in, a running registry and replicator out. What an embedding program calls.
//!
//! Invariant: nothing is decided here; every choice is the configuration's or a crate's below.

mod database;
mod deployment;
mod drift;
mod encrypted_fields;
mod error;
mod first_start;
mod front_door;
mod garbage;
mod gauges;
mod hints;
mod instance;
mod management;
mod metrics;
mod online;
mod options;
mod own_key;
mod probes;
mod process;
mod reload;
mod replicator;
mod server;
mod stores;
mod trust;

pub use database::database_options;
pub use deployment::{Deployment, Migrations, OpenLocal, migrate};
pub use drift::{ConfigurationDrift, DriftReport};
pub use error::StartError;
pub use first_start::FirstAccount;
pub use metrics::MetricsOptions;
pub use online::{Outcome, Verdict, check_online};
pub use reload::Origin;
pub use replicator::Replicator;
pub use roadstead_listener::{CertificateProblem, CertificateState, Certificates};
pub use server::{Running, Settings};
pub use trust::Trust;
