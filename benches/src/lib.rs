//! What the benchmarks measure, as a library, so that `cargo test` builds it and runs each case once on little data.
//! The benchmarks themselves, with their bounds, are in `benches/`.
//!
//! | module | |
//! | --- | --- |
//! | [`blob_copy`] | two locations and one blob to be copied between them |
//! | [`database`] | a PostgreSQL database with an account and a repository |
//! | [`process`] | what a process costs: processor time, memory; settings of a run |
//! | [`statements`] | what a PostgreSQL server was asked, by its log |

pub mod blob_copy;
pub mod database;
pub mod process;
pub mod statements;
