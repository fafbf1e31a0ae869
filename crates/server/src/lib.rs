//! Composition: a configuration in, a running registry and replicator out. What an embedding program calls.
//!
//! Invariant: nothing is decided here; every choice is the configuration's or a crate's below.

mod connections;
mod database;
mod deployment;
mod encrypted_fields;
mod error;
mod first_start;
mod garbage;
mod hints;
mod instance;
mod management;
mod metrics;
mod own_key;
mod probes;
mod server;
mod stores;

pub use database::database_options;
pub use deployment::{Deployment, Migrations, OpenLocal};
pub use error::StartError;
pub use first_start::FirstAccount;
pub use hints::redis_options;
pub use server::{Replicator, Running, Settings};
