//! What a run is told.

use std::path::PathBuf;

use clap::Parser;

/// Measures how the registry takes size, connections, processors and too much load.
#[derive(Debug, Parser)]
pub(crate) struct Arguments {
    /// The program that is measured, built for release
    #[arg(long)]
    pub(crate) registry: PathBuf,
    /// Where raw data is written, one file for each measurement
    #[arg(long)]
    pub(crate) output: PathBuf,
    /// How often everything is measured, in turns
    #[arg(long, default_value_t = 5)]
    pub(crate) rounds: u32,
    /// Of how many images the large registries are, besides the ten that are pushed into each: from small to large
    #[arg(long, value_delimiter = ',', default_value = "0,10000,1000000")]
    pub(crate) images: Vec<u64>,
    /// How long a load lasts that is put for a time, in seconds
    #[arg(long, default_value_t = 8)]
    pub(crate) seconds: u64,
    /// Only these measurements, by their names; all of them without it
    #[arg(long)]
    pub(crate) only: Vec<String>,
}

impl Arguments {
    pub(crate) fn wants(&self, measurement: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|wanted| wanted == measurement)
    }
}
