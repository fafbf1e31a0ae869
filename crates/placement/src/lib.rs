//! Where blobs are written, in which order they are read, which copies are due, and what may be given up: the decisions of a
//! registry with several storage locations.
//!
//! Whoever asks hands in what is known, the configuration as a [`Topology`] and the locations that hold a blob, and carries out
//! what comes back. Equal questions have equal answers, on every machine and in whatever order the locations were listed.
//!
//! Invariant: pure functions; no clock, no chance, no I/O, no database rows. The last copy of a blob is never given up.

mod copies;
mod location;
mod reads;
mod removal;
mod retry;
mod topology;
mod writes;

pub use copies::{CopyPlan, RequiredLocations, plan_copies, required_locations};
pub use location::{LocationName, LocationNameError};
pub use reads::rank_reads;
pub use removal::{RemovalStep, plan_removal};
pub use retry::{RETRY_DELAY_MAX, RETRY_DELAY_MIN, retry_delay};
pub use topology::{Topology, TopologyError};
pub use writes::{PlacementError, choose_write};
