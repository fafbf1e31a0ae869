//! What a run is told.

use std::path::PathBuf;

use clap::Parser;

/// Measures the registry beside its peers.
#[derive(Debug, Parser)]
pub(crate) struct Arguments {
    /// The directory of the load generator: `regbench.py`, and `Cargo.toml` of the program that it runs
    #[arg(long)]
    pub(crate) harness: PathBuf,
    /// The program that is measured, built for release
    #[arg(long)]
    pub(crate) registry: PathBuf,
    /// Where raw data is written, one file for each form of the registry
    #[arg(long)]
    pub(crate) output: PathBuf,
    /// The directory of an earlier run, to be compared with
    #[arg(long)]
    pub(crate) before: Option<PathBuf>,
    /// How often every phase is put to every target
    #[arg(long, default_value_t = 5)]
    pub(crate) rounds: u32,
    /// The size of a large blob
    #[arg(long, default_value = "256M")]
    pub(crate) big: String,
    /// Only phases whose name fits this regular expression
    #[arg(long, default_value = ".")]
    pub(crate) only: String,
    /// Only these forms of the registry: embedded, postgres, postgres-s3, embedded-tls, embedded-anonymous; all of them without it
    #[arg(long)]
    pub(crate) form: Vec<String>,
}

impl Arguments {
    pub(crate) fn wants(&self, form: &str) -> bool {
        self.form.is_empty() || self.form.iter().any(|wanted| wanted == form)
    }
}
