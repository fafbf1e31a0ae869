//! What a run is told.

use std::path::PathBuf;

use clap::Parser;

/// Counts the instructions that the registry executes for each of a fixed set of operations.
#[derive(Debug, Parser)]
pub(crate) struct Arguments {
    /// The program that is counted
    #[arg(long)]
    pub(crate) registry: PathBuf,
    /// Where it keeps its data meanwhile
    #[arg(long)]
    pub(crate) scratch: PathBuf,
    /// Where the counts are written, a line for each operation: its name and the instructions of one request
    #[arg(long)]
    pub(crate) output: PathBuf,
}
