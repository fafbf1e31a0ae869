//! What the benchmarks measure, as a library, so that `cargo test` builds it and runs each case once on little data.
//! The benchmarks themselves, with their bounds, are in `benches/`.

pub mod blob_copy;
