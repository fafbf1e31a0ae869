//! What the benchmarks measure, as a library, so that `cargo test` builds it and runs each case once on little data.
//! The benchmarks themselves, with their bounds, are in `benches/`.
//!
//! | module | |
//! | --- | --- |
//! | [`blob_copy`] | two locations and one blob to be copied between them |
//! | [`client`] | who asks a registry for something |
//! | [`content`] | what is pushed |
//! | [`database`] | a PostgreSQL database with an account and a repository |
//! | [`figures`] | what is made of several measurements |
//! | [`http`] | as much of HTTP as that takes |
//! | [`process`] | what a process costs: processor time, memory; settings of a run |
//! | [`registry`] | the embedded form of the registry, started for a measurement |
//! | [`statements`] | what a PostgreSQL server was asked, by its log |

pub mod blob_copy;
pub mod client;
pub mod content;
pub mod database;
pub mod figures;
pub mod http;
pub mod process;
pub mod registry;
pub mod statements;
