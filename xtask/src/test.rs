//! `cargo xtask test`: set-up, then every test of the workspace.

use std::time::Duration;

use anyhow::{Result, bail};

use crate::process::{Step, say};
use crate::tools;
use crate::workspace::Workspace;

/// Tells tests and measurements where the real `registry`, `replicator` and `admin` are, and the S3 server: the directory that holds them.
pub(crate) const BINARIES: &str = "ROADSTEAD_BINARIES";

/// Tells the tests where the programs are that this installs for them.
const PROGRAMS: &str = "ROADSTEAD_TEST_PROGRAMS";

/// How the tests went.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    passed: u64,
    failed: u64,
    /// The tests that failed.
    failures: Vec<String>,
    /// The tests that had been running for long and have not ended.
    running: Vec<String>,
}

impl Tally {
    /// Takes in a line of libtest's output, if it says how a test or all of a program's went.
    fn add(&mut self, line: &str) {
        if let Some(summary) = line.strip_prefix("test result: ") {
            for part in summary.split(['.', ';']) {
                let (count, what) = part.trim().split_once(' ').unwrap_or_default();
                match (count.parse::<u64>(), what) {
                    (Ok(count), "passed") => self.passed += count,
                    (Ok(count), "failed") => self.failed += count,
                    _ => {}
                }
            }
        } else if let Some(test) = line.strip_prefix("test ") {
            if let Some((name, _)) = test.split_once(" has been running for over") {
                self.running.push(name.to_owned());
            } else if let Some((name, outcome)) = test.rsplit_once(" ... ") {
                self.running.retain(|running| running != name);
                if outcome == "FAILED" {
                    self.failures.push(name.to_owned());
                }
            }
        }
    }

    /// Prints itself as the last word on the tests.
    pub(crate) fn say(&self) {
        for test in &self.failures {
            say(&format!("failed: {test}"));
        }
        for test in &self.running {
            say(&format!("has not ended: {test}"));
        }
        say(&format!("{} passed, {} failed", self.passed, self.failed));
    }
}

/// Installs what is missing, builds the binaries and runs the tests whose name contains `filter`. How they went is told in `tally`, also when that
/// is not well.
pub(crate) fn run(workspace: &Workspace, filter: Option<&str>, tally: &mut Tally) -> Result<()> {
    tools::ensure_test_programs()?;
    let programs = workspace.target.join("test-programs");
    tools::ensure_test_program_directory(&programs)?;
    build_programs(workspace, &[])?;
    let arguments = ["test", "--workspace", "--locked", "--no-fail-fast"]
        .into_iter()
        .chain(filter);
    let build = arguments.clone().chain(["--no-run"]);
    Step::cargo(build, Duration::from_mins(40))
        .directory(&workspace.root)
        .run()?;
    Step::cargo(arguments, Duration::from_mins(50))
        .directory(&workspace.root)
        .env(BINARIES, workspace.target.join("debug"))
        .env(PROGRAMS, &programs)
        .run_reading(|line| tally.add(line))?;
    if tally.passed == 0 {
        bail!("no test has run");
    }
    Ok(())
}

/// Builds the programs that ship, the S3 server of the tests and what is wanted besides.
///
/// As part of the whole workspace, so that crates are built once, for programs and tests together: with the failures that tests can order from a
/// store, which no program orders. What ships is built by itself (`cargo xtask image`, `cargo xtask deb`).
pub(crate) fn build_programs(workspace: &Workspace, besides: &[&str]) -> Result<()> {
    let programs = ["registry", "replicator", "admin", "test-s3-server"];
    let build = ["build", "--workspace", "--locked"].into_iter().chain(
        programs
            .iter()
            .chain(besides)
            .flat_map(|program| ["--bin", program]),
    );
    Step::cargo(build, Duration::from_mins(30))
        .directory(&workspace.root)
        .run()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn summaries_are_added_up_and_other_lines_are_not() {
        let mut tally = Tally::default();
        for line in [
            "running 3 tests",
            "test result: ok. 3 passed; 0 failed; 0 ignored; 0 measured; 9 filtered out; finished in 0.01s",
            "test result: FAILED. 1 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.20s",
            "7 passed; 7 failed",
            "test one::works ... ok",
            "test one::breaks ... FAILED",
            "test two::takes long has been running for over 60 seconds",
            "test two::hangs has been running for over 60 seconds",
            "test two::takes long ... ok",
        ] {
            tally.add(line);
        }
        assert_eq!(
            tally,
            Tally {
                passed: 4,
                failed: 2,
                failures: vec!["one::breaks".to_owned()],
                running: vec!["two::hangs".to_owned()],
            }
        );
    }
}
