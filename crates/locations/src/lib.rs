//! The locations that one process can reach, and how each of them fares.
//!
//! [`Locations`] holds every [`Location`](roadstead_storage::Location) by its name. Whatever is asked of one of them is seen here, by whoever
//! it was asked, and goes into the health of that location ([`LocationHealth`](roadstead_placement::LocationHealth)); a probe asks those that
//! nobody asks. In which order locations are used is decided by `roadstead_placement` on what [`Locations::standings`] says.
//!
//! Invariant: what is known of a location is one thing in a process, and nothing here decides.

mod document;
mod locations;
mod metrics;
mod probing;
mod recoveries;
mod report;
mod seen;

pub use document::{LocationDocument, UseDocument};
pub use locations::{Admitted, Locations, Wish};
pub use probing::ProbeOptions;
pub use recoveries::Recoveries;
pub use report::LocationReport;

#[cfg(test)]
mod tests;
