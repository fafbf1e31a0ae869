//! The commands, a file each: they ask, call, and print.

mod accounts;
pub(crate) mod backfill;
pub(crate) mod config;
pub(crate) mod drain;
pub(crate) mod gc;
pub(crate) mod location_add;
pub(crate) mod location_list;
pub(crate) mod org;
pub(crate) mod placement;
pub(crate) mod remove_location;
pub(crate) mod replication_at_risk;
pub(crate) mod replication_control;
pub(crate) mod replication_failed;
pub(crate) mod replication_status;
pub(crate) mod replication_webhook;
pub(crate) mod robot;
pub(crate) mod site;
pub(crate) mod token;
pub(crate) mod user;
pub(crate) mod verify_placements;
#[cfg(test)]
mod world;
