//! Development workflows, one subcommand each: `cargo xtask --help` lists them.
//!
//! Everything here only starts other programs and reads files; what is slow to build stays out of this crate, because
//! every workflow waits for it. Every program that is started has a time limit and is named when it fails.

mod bench;
mod ci;
mod dev;
mod instructions;
mod packages;
mod process;
mod regions;
mod test;
mod tidy;
mod tools;
mod workspace;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

use workspace::Workspace;

/// Development workflows of Roadstead.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    workflow: Workflow,
}

#[derive(Debug, Subcommand)]
enum Workflow {
    /// Install what the tests need, build the binaries and run every test.
    Test {
        /// Run only tests whose name contains this.
        filter: Option<String>,
    },
    /// Run two regions on this machine, over one database, until Ctrl-C.
    Dev {
        /// Where their configuration, database and blobs are kept (default: `target/dev`).
        #[arg(long)]
        data_dir: Option<PathBuf>,
        /// Forget what earlier runs left there.
        #[arg(long)]
        reset: bool,
        /// Build with optimisations.
        #[arg(long)]
        release: bool,
    },
    /// Build the container image with buildah, which needs root and debootstrap.
    Image {
        /// What it is called.
        #[arg(long, default_value = "localhost/roadstead")]
        tag: String,
    },
    /// Build the Debian package.
    Deb,
    /// Check the shape of the tree: layers, manifests, file openings, module names, links.
    Tidy,
    /// Count the instructions that the registry executes for each of its operations, and hold them against `benches/instructions.txt`.
    Instructions {
        /// Store what was counted, instead.
        #[arg(long)]
        write: bool,
    },
    /// Everything that has to pass before a change lands: test, fmt, clippy, deny, tidy, doc.
    Ci,
    /// Run the benches, or measure the registry beside its peers.
    Bench(bench::Benches),
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(arguments.workflow) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            process::say(&format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run(workflow: Workflow) -> Result<()> {
    let workspace = Workspace::find()?;
    match workflow {
        Workflow::Test { filter } => {
            let mut tally = test::Tally::default();
            let outcome = test::run(&workspace, filter.as_deref(), &mut tally);
            tally.say();
            outcome
        }
        Workflow::Dev {
            data_dir,
            reset,
            release,
        } => dev::run(&workspace, data_dir, reset, release),
        Workflow::Image { tag } => packages::image(&workspace, &tag),
        Workflow::Deb => packages::deb(&workspace),
        Workflow::Tidy => tidy::run(&workspace),
        Workflow::Instructions { write: false } => instructions::check(&workspace),
        Workflow::Instructions { write: true } => instructions::store(&workspace),
        Workflow::Ci => ci::run(&workspace),
        Workflow::Bench(benches) => bench::run(&workspace, &benches),
    }
}
