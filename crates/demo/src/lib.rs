//! The product in under two minutes, with nothing beside it: two regions over one database, an image, a store that fails.
//!
//! Everything here goes through the same doors that users have: HTTP clients, configuration, the replication's own report.

mod image;
mod story;

pub use story::{Demo, DemoError, DemoOptions, run};
