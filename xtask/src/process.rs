//! Starting other programs: announced, bounded in time, named when they fail.
//!
//! A program that runs over its limit is killed with everything it started, so that nothing outlives a workflow.

use std::ffi::OsStr;
use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// How often a running program is looked at.
const POLL: Duration = Duration::from_millis(50);

/// How long output may still arrive after a program has ended: something that it left behind may hold the pipe open.
const OUTPUT_GRACE: Duration = Duration::from_secs(5);

/// A line to whoever runs the workflow, on standard error. Lost if nobody listens.
pub(crate) fn say(line: &str) {
    writeln!(io::stderr(), "{line}").ok();
}

/// A program about to be run.
#[derive(Debug)]
pub(crate) struct Step {
    command: Command,
    shown: String,
    limit: Duration,
}

impl Step {
    /// `program` with `arguments`, which may take `limit`, without standard input.
    pub(crate) fn new<I>(program: &str, arguments: I, limit: Duration) -> Self
    where
        I: IntoIterator,
        I::Item: AsRef<OsStr>,
    {
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::null());
        let shown = std::iter::once(program.into())
            .chain(command.get_args().map(OsStr::to_string_lossy))
            .collect::<Vec<_>>()
            .join(" ");
        Self {
            command,
            shown,
            limit,
        }
    }

    /// This project's cargo.
    pub(crate) fn cargo<I>(arguments: I, limit: Duration) -> Self
    where
        I: IntoIterator,
        I::Item: AsRef<OsStr>,
    {
        let mut step = Self::new("cargo", arguments, limit);
        // What cargo tells xtask about its package, build scripts take for theirs, and a cargo that is called directly builds them anew.
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy();
            if text.starts_with("CARGO_MANIFEST_") || text.starts_with("CARGO_PKG_") {
                step.command.env_remove(&name);
            }
        }
        step
    }

    /// Sets an environment variable.
    pub(crate) fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        let value = value.as_ref();
        self.shown = format!("{name}={} {}", value.to_string_lossy(), self.shown);
        self.command.env(name, value);
        self
    }

    /// Sets the working directory.
    pub(crate) fn directory(mut self, directory: &Path) -> Self {
        self.command.current_dir(directory);
        self
    }

    /// Runs it with its output where ours goes.
    pub(crate) fn run(mut self) -> Result<()> {
        self.announce();
        let child = self.spawn()?;
        self.finish(child).map(drop)
    }

    /// Runs it, shows each line of its standard output and hands it to `line`.
    pub(crate) fn run_reading(mut self, mut line: impl FnMut(&str)) -> Result<()> {
        self.announce();
        self.command.stdout(Stdio::piped());
        let mut child = self.spawn()?;
        let output = child.stdout.take().context("standard output is piped")?;
        let (sender, receiver) = mpsc::sync_channel(1024);
        thread::spawn(move || {
            for line in BufReader::new(output).split(b'\n').map_while(Result::ok) {
                // Nobody receives any more once the workflow has gone on.
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        let mut show = |bytes: Vec<u8>| {
            let text = String::from_utf8_lossy(&bytes).into_owned();
            writeln!(io::stdout(), "{text}").ok();
            line(&text);
        };
        let result = self.wait(child, |timeout| match receiver.recv_timeout(timeout) {
            Ok(bytes) => show(bytes),
            Err(mpsc::RecvTimeoutError::Timeout) => {}
            // The output has been closed; the end will follow.
            Err(mpsc::RecvTimeoutError::Disconnected) => thread::sleep(timeout),
        });
        while let Ok(bytes) = receiver.recv_timeout(OUTPUT_GRACE) {
            show(bytes);
        }
        self.check(result?)
    }

    /// Runs it without showing anything and returns its standard output.
    pub(crate) fn output(mut self) -> Result<String> {
        self.command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = self.spawn()?;
        let id = child.id();
        // Read while it runs: a pipe holds little.
        let (sender, receiver) = mpsc::sync_channel(1);
        thread::spawn(move || sender.send(child.wait_with_output()));
        let Ok(output) = receiver.recv_timeout(self.limit) else {
            kill_tree(id);
            return Err(self.overrun());
        };
        let output = output.with_context(|| format!("could not wait for `{}`", self.shown))?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            bail!("`{}` failed with {}: {said}", self.shown, output.status);
        }
        String::from_utf8(output.stdout)
            .with_context(|| format!("`{}` printed what is not UTF-8", self.shown))
    }

    fn announce(&self) {
        say(&format!("==> {}", self.shown));
    }

    fn spawn(&mut self) -> Result<Child> {
        self.command
            .spawn()
            .with_context(|| format!("could not start `{}`", self.shown))
    }

    fn finish(&self, child: Child) -> Result<()> {
        let status = self.wait(child, thread::sleep)?;
        self.check(status)
    }

    /// Waits for the end, calling `idle` with the time to spend between two looks.
    fn wait(&self, mut child: Child, mut idle: impl FnMut(Duration)) -> Result<ExitStatus> {
        let started = now();
        loop {
            let status = child
                .try_wait()
                .with_context(|| format!("could not wait for `{}`", self.shown))?;
            if let Some(status) = status {
                return Ok(status);
            }
            if started.elapsed() > self.limit {
                kill_tree(child.id());
                child.wait().ok();
                return Err(self.overrun());
            }
            idle(POLL);
        }
    }

    fn check(&self, status: ExitStatus) -> Result<()> {
        if status.success() {
            Ok(())
        } else {
            bail!("`{}` failed with {status}", self.shown)
        }
    }

    fn overrun(&self) -> anyhow::Error {
        let seconds = self.limit.as_secs();
        anyhow::anyhow!(
            "`{}` was still running after {seconds} s and was killed",
            self.shown
        )
    }
}

/// The time, for limits and reports.
#[expect(
    clippy::disallowed_methods,
    reason = "a workflow runs in real time and nothing simulates it"
)]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// Kills a process and everything below it, children first found by their parent's id in `/proc`.
fn kill_tree(root: u32) {
    let mut tree = vec![root];
    let parents = parents();
    let mut next = 0;
    while let Some(parent) = tree.get(next).copied() {
        tree.extend(
            parents
                .iter()
                .filter(|(_, of)| *of == parent)
                .map(|(id, _)| *id),
        );
        next += 1;
    }
    // The shell's own `kill`: a bare machine need not have another.
    let ids: Vec<_> = tree.iter().map(u32::to_string).collect();
    let script = format!("kill -KILL {}", ids.join(" "));
    if let Err(error) = Command::new("sh")
        .args(["-c", &script])
        .stderr(Stdio::null())
        .status()
    {
        say(&format!(
            "could not kill processes {}: {error}",
            ids.join(" ")
        ));
    }
}

/// Every process with its parent.
fn parents() -> Vec<(u32, u32)> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .filter_map(Result::ok)
        .filter_map(|entry| {
            let id = entry.file_name().to_str()?.parse().ok()?;
            let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
            // `id (name) state parent ...`; the name may hold anything, parentheses too.
            let (_, after_name) = stat.rsplit_once(')')?;
            Some((id, after_name.split_whitespace().nth(1)?.parse().ok()?))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_mins(1);

    #[test]
    fn output_is_returned_and_failure_names_the_program() {
        assert_eq!(
            Step::new("echo", ["one", "two"], LIMIT).output().unwrap(),
            "one two\n"
        );
        let error = Step::new("sh", ["-c", "echo no >&2; exit 3"], LIMIT)
            .output()
            .unwrap_err();
        assert!(error.to_string().contains("exit status: 3: no"), "{error}");
        let error = Step::new("there-is-no-such-program", [""; 0], LIMIT)
            .run()
            .unwrap_err();
        assert!(
            error
                .to_string()
                .contains("could not start `there-is-no-such-program`"),
            "{error}"
        );
    }

    #[test]
    fn every_line_of_output_is_read_however_late() {
        let mut lines = Vec::new();
        let step = Step::new("sh", ["-c", "seq 30; printf last; exit 1"], LIMIT);
        let error = step
            .run_reading(|line| lines.push(line.to_owned()))
            .unwrap_err();
        assert!(error.to_string().contains("exit status: 1"), "{error}");
        assert_eq!(lines.len(), 31);
        assert_eq!(lines.last().map(String::as_str), Some("last"));
    }

    #[test]
    fn what_runs_over_its_limit_is_killed_with_its_children() {
        let directory = tempfile::tempdir().unwrap();
        let script = "sleep 1000 & echo $! > child; wait";
        let step =
            Step::new("sh", ["-c", script], Duration::from_secs(2)).directory(directory.path());
        let error = step.run().unwrap_err();
        assert!(
            error.to_string().contains("still running after 2 s"),
            "{error}"
        );
        let child: u32 = fs::read_to_string(directory.path().join("child"))
            .unwrap()
            .trim()
            .parse()
            .unwrap();
        let deadline = now() + LIMIT;
        // A killed process stays in the table until its new parent has looked at it.
        let alive = || {
            fs::read_to_string(format!("/proc/{child}/stat")).is_ok_and(|stat| {
                !stat
                    .rsplit(')')
                    .next()
                    .unwrap_or_default()
                    .trim_start()
                    .starts_with('Z')
            })
        };
        while alive() {
            assert!(now() < deadline, "process {child} is still alive");
            thread::yield_now();
        }
    }
}
