//! The commands, a file each: they ask, call, and print.

pub(crate) mod backfill;
pub(crate) mod drain;
pub(crate) mod gc;
pub(crate) mod location_add;
pub(crate) mod location_list;
pub(crate) mod remove_location;
pub(crate) mod replication_status;
pub(crate) mod verify_placements;
#[cfg(test)]
mod world;
