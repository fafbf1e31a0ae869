//! `cargo xtask bench`: the criterion benches, and the registry beside its peers.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use clap::Args;

use crate::process::Step;
use crate::tools::ensure_programs;
use crate::workspace::Workspace;

/// What the measurements beside peers run, and Debian's packages that bring it.
const PEERS: [(&str, &str); 4] = [
    ("docker-registry", "docker-registry"),
    ("nginx", "nginx"),
    ("wrk", "wrk"),
    ("curl", "curl"),
];

/// Which measurements are made.
#[derive(Args, Debug)]
pub(crate) struct Benches {
    /// Measure the registry beside its peers, with the load generator `regbench` of this directory, in place of the benches
    #[arg(long, value_name = "DIRECTORY")]
    peers: Option<PathBuf>,
    /// What is handed on: to criterion a name, `--save-baseline`, `--baseline`; with `--peers` the options of `peers --help`
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

/// Runs the benches, or measures the registry beside its peers.
pub(crate) fn run(workspace: &Workspace, benches: &Benches) -> Result<()> {
    match &benches.peers {
        None => run_criterion(workspace, &benches.arguments),
        Some(harness) => run_peers(workspace, harness, &benches.arguments),
    }
}

fn run_criterion(workspace: &Workspace, arguments: &[String]) -> Result<()> {
    let fixed = [
        "bench",
        "--package",
        "roadstead-benches",
        "--benches",
        "--locked",
        "--",
    ];
    let arguments = fixed
        .into_iter()
        .chain(arguments.iter().map(String::as_str));
    Step::cargo(arguments, Duration::from_hours(2))
        .directory(&workspace.root)
        .run()
}

fn run_peers(workspace: &Workspace, harness: &std::path::Path, arguments: &[String]) -> Result<()> {
    ensure_programs(&PEERS)?;
    let packages = [
        "build",
        "--release",
        "--locked",
        "--package",
        "registry",
        "--package",
        "roadstead-benches",
        "--package",
        "test-s3-server",
        "--bins",
    ];
    Step::cargo(packages, Duration::from_hours(1))
        .directory(&workspace.root)
        .run()?;
    let built = workspace.target.join("release");
    let given = |option: &str, path: PathBuf| [option.to_owned(), path.display().to_string()];
    let fixed = [
        given("--harness", std::path::absolute(harness)?),
        given("--registry", built.join("registry")),
        given("--output", workspace.target.join("peers")),
    ];
    let arguments = fixed.iter().flatten().chain(arguments);
    Step::new(
        &built.join("peers").to_string_lossy(),
        arguments,
        Duration::from_hours(3),
    )
    .directory(&workspace.root)
    .run()
}
