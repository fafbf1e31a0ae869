//! More than one location: what survives the loss of one, of the process, and of patience. All with the real programs.
//!
//! Settings of the longer ones: `ROADSTEAD_TEST_SEED`, `ROADSTEAD_TEST_CRASHES` (25), `ROADSTEAD_TEST_IMAGES` (100),
//! `ROADSTEAD_TEST_LAYER_BYTES` (2 GiB), `ROADSTEAD_TEST_REDIS_REQUESTS` (60).
//!
//! (The modules are marked as tests for the linter's sake, which lets tests unwrap.)

#[cfg(test)]
mod backfill;
#[cfg(test)]
mod black_holes;
#[cfg(test)]
mod chapter;
#[cfg(test)]
mod crashes;
#[cfg(test)]
mod demands;
#[cfg(test)]
mod deployment;
#[cfg(test)]
mod failover;
#[cfg(test)]
mod large_layer;
#[cfg(test)]
mod loss;
#[cfg(test)]
mod object_stores;
#[cfg(test)]
mod observability;
#[cfg(test)]
mod redis;
#[cfg(test)]
mod regions;
#[cfg(test)]
mod removal;
#[cfg(test)]
mod traces;
#[cfg(test)]
mod upkeep;
