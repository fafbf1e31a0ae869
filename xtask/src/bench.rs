//! `cargo xtask bench`: the criterion benches, the registry beside its peers, and the registry at its limits.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;
use clap::Args;

use crate::process::Step;
use crate::test::BINARIES;
use crate::tools::ensure_programs;
use crate::workspace::Workspace;

/// What the benches run, and Debian's packages that bring it.
const BENCHES: [(&str, &str); 1] = [("rclone", "rclone")];

/// What the measurements beside peers run, and Debian's packages that bring it.
const PEERS: [(&str, &str); 4] = [
    ("docker-registry", "docker-registry"),
    ("nginx", "nginx"),
    ("wrk", "wrk"),
    ("curl", "curl"),
];

/// What the measurements of limits run, and Debian's packages that bring it.
const LIMITS: [(&str, &str); 4] = [
    ("sqlite3", "sqlite3"),
    ("kill", "procps"),
    ("prlimit", "util-linux"),
    ("taskset", "util-linux"),
];

/// What is always built together, so that features agree and no dependency is built again for a bench.
const BUILT_TOGETHER: [&str; 6] = [
    "--package",
    "registry",
    "--package",
    "roadstead-benches",
    "--package",
    "test-s3-server",
];

/// Which measurements are made.
#[derive(Args, Debug)]
pub(crate) struct Benches {
    /// Run this one of the benches alone
    #[arg(long, value_name = "NAME", conflicts_with_all = ["peers", "limits"])]
    bench: Option<String>,
    /// Measure the registry beside its peers, with the load generator `regbench` of this directory, in place of the benches
    #[arg(long, value_name = "DIRECTORY", conflicts_with = "limits")]
    peers: Option<PathBuf>,
    /// Measure how the registry takes size, connections, processors and too much load, in place of the benches
    #[arg(long)]
    limits: bool,
    /// What is handed on: to criterion a name, `--save-baseline`, `--baseline`; with `--peers` and `--limits` the options of `peers --help` and
    /// `limits --help`
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

/// Runs the benches, or measures the registry beside its peers or at its limits.
pub(crate) fn run(workspace: &Workspace, benches: &Benches) -> Result<()> {
    match &benches.peers {
        None if benches.limits => run_limits(workspace, &benches.arguments),
        None => run_criterion(workspace, benches.bench.as_deref(), &benches.arguments),
        Some(harness) => run_peers(workspace, harness, &benches.arguments),
    }
}

fn run_criterion(workspace: &Workspace, bench: Option<&str>, arguments: &[String]) -> Result<()> {
    ensure_programs(&BENCHES)?;
    // Copies are made between servers of it.
    build(workspace, &["--bin", "test-s3-server"])?;
    let which = bench.map_or(vec!["--benches"], |name| vec!["--bench", name]);
    let arguments = ["bench", "--locked"]
        .into_iter()
        .chain(BUILT_TOGETHER)
        .chain(which)
        .chain(["--"])
        .chain(arguments.iter().map(String::as_str));
    Step::cargo(arguments, Duration::from_hours(2))
        .directory(&workspace.root)
        .run()
}

fn run_peers(workspace: &Workspace, harness: &std::path::Path, arguments: &[String]) -> Result<()> {
    ensure_programs(&PEERS)?;
    let harness = given("--harness", &std::path::absolute(harness)?);
    measure(workspace, "peers", &harness, arguments)
}

fn run_limits(workspace: &Workspace, arguments: &[String]) -> Result<()> {
    ensure_programs(&LIMITS)?;
    measure(workspace, "limits", &[], arguments)
}

/// Builds everything for release and runs the program that measures.
fn measure(
    workspace: &Workspace,
    program: &str,
    more: &[String],
    arguments: &[String],
) -> Result<()> {
    build(workspace, &["--bins"])?;
    let built = workspace.target.join("release");
    let fixed = [
        given("--registry", &built.join("registry")),
        given("--output", &workspace.target.join(program)),
    ];
    let arguments = more.iter().chain(fixed.iter().flatten()).chain(arguments);
    Step::new(
        &built.join(program).to_string_lossy(),
        arguments,
        Duration::from_hours(3),
    )
    .directory(&workspace.root)
    .env(BINARIES, &built)
    .run()
}

fn build(workspace: &Workspace, which: &[&str]) -> Result<()> {
    let arguments = ["build", "--release", "--locked"]
        .into_iter()
        .chain(BUILT_TOGETHER)
        .chain(which.iter().copied());
    Step::cargo(arguments, Duration::from_hours(1))
        .directory(&workspace.root)
        .run()
}

fn given(option: &str, path: &Path) -> [String; 2] {
    [option.to_owned(), path.display().to_string()]
}
