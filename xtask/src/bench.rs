//! `cargo xtask bench`: the criterion benches.

use std::time::Duration;

use anyhow::Result;

use crate::process::Step;
use crate::workspace::Workspace;

/// Runs the benches with criterion's `arguments`.
pub(crate) fn run(workspace: &Workspace, arguments: &[String]) -> Result<()> {
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
