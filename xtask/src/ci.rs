//! `cargo xtask ci`: everything that has to pass before a change lands, in one order, each step reported with its time.

use std::time::Duration;

use anyhow::{Result, bail};

use crate::process::{Step, now, say};
use crate::workspace::Workspace;
use crate::{instructions, test, tidy, tools};

/// Runs every step, also after one has failed, and fails if any has.
pub(crate) fn run(workspace: &Workspace) -> Result<()> {
    let mut tally = test::Tally::default();
    let mut report = Report::default();
    report.step("test", || test::run(workspace, None, &mut tally));
    report.step("instructions", || instructions::check(workspace));
    report.step("fmt", || {
        cargo(
            workspace,
            &["fmt", "--all", "--check"],
            Duration::from_mins(5),
        )
    });
    report.step("clippy", || {
        let lint = [
            "clippy",
            "--workspace",
            "--all-targets",
            "--locked",
            "--",
            "-D",
            "warnings",
        ];
        cargo(workspace, &lint, Duration::from_mins(30))
    });
    report.step("deny", || deny(workspace));
    report.step("tidy", || tidy::run(workspace));
    report.step("doc", || {
        let document = [
            "doc",
            "--workspace",
            "--no-deps",
            "--locked",
            "--document-private-items",
        ];
        Step::cargo(document, Duration::from_mins(20))
            .env("RUSTDOCFLAGS", "-D warnings")
            .directory(&workspace.root)
            .run()
    });
    report.say();
    tally.say();
    report.outcome()
}

fn cargo(workspace: &Workspace, arguments: &[&str], limit: Duration) -> Result<()> {
    Step::cargo(arguments, limit)
        .directory(&workspace.root)
        .run()
}

/// Licences, bans and sources always; advisories where their database can be had, which is not on crates.io.
fn deny(workspace: &Workspace) -> Result<()> {
    let program = tools::cargo_deny()?;
    let program = program.to_string_lossy();
    let deny = |arguments: &[&str], limit| {
        Step::new(&program, arguments, limit).directory(&workspace.root)
    };
    // Two versions of one crate are worth a look, not a page each in every log.
    let quietly = [
        "--locked",
        "check",
        "--hide-inclusion-graph",
        "--allow",
        "duplicate",
    ];
    let always = [&quietly[..], &["bans", "licenses", "sources"]].concat();
    deny(&always, Duration::from_mins(5)).run()?;
    match deny(&["fetch", "db"], Duration::from_mins(2)).output() {
        Ok(_) => deny(
            &[&quietly[..], &["advisories"]].concat(),
            Duration::from_mins(5),
        )
        .run(),
        Err(error) => {
            say(&format!(
                "advisories NOT CHECKED: their database cannot be fetched from here ({error:#})"
            ));
            Ok(())
        }
    }
}

/// What each step came to.
#[derive(Debug, Default)]
struct Report {
    lines: Vec<String>,
    failed: Vec<&'static str>,
}

impl Report {
    fn step(&mut self, name: &'static str, step: impl FnOnce() -> Result<()>) {
        say(&format!("\n=== {name}"));
        let started = now();
        let outcome = step();
        let seconds = started.elapsed().as_secs();
        let word = match outcome {
            Ok(()) => "ok",
            Err(error) => {
                say(&format!("error: {error:#}"));
                self.failed.push(name);
                "FAILED"
            }
        };
        let line = format!("{name:<12} {word:<8} {seconds} s");
        say(&format!("=== {line}"));
        self.lines.push(line);
    }

    fn say(&self) {
        say("\n=== summary");
        for line in &self.lines {
            say(line);
        }
    }

    fn outcome(&self) -> Result<()> {
        if self.failed.is_empty() {
            Ok(())
        } else {
            bail!("failed: {}", self.failed.join(", "))
        }
    }
}
