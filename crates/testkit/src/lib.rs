//! What whole-system tests are made of.
//!
//! - [`Universe`]: a registry of one region or more in this process, with faults to order.
//! - [`RegistryProcess`] and [`AdminProgram`]: the real programs, to be killed and asked.
//! - [`Content`] and [`TestImage`]: blobs and images made from a seed, streamed, never held whole.
//! - [`StoreFiles`]: what really lies in a location's directory.
//! - [`eventually()`]: waits for a condition, a bounded number of times.
//!
//! Everything here panics with a sentence when the world is not as a test needs it: it is called by tests only.
//!
//! Invariant: no release build contains this crate.

#![expect(
    clippy::missing_panics_doc,
    reason = "everything here panics when the world is not as a test needs it; said once, above"
)]

mod content;
mod eventually;
mod image;
mod process;
mod seed;
mod store_files;
mod universe;

pub use content::{Content, HashedBody};
pub use eventually::{attempt, eventually, within};
pub use image::{ImageKind, TestImage};
pub use process::{
    AdminProgram, Finished, RegistryProcess, RegistrySettings, binary, run, run_answering,
};
pub use roadstead_test_servers::free_port;
pub use seed::{Seed, setting};
pub use store_files::StoreFiles;
pub use universe::{LOCATIONS, Universe, UniverseOptions};
