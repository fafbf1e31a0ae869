//! Real servers for tests: started on free loopback ports when a test asks for one, and gone with the test process, however it ends.
//!
//! A server that cannot be started is a failed test, never a skipped one. Nothing here is part of a release.

mod ports;
mod postgres;
mod spawn;

pub use ports::free_port;
pub use postgres::{Postgres, PostgresDatabase, PostgresSettings};
