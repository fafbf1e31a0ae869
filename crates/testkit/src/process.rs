//! Real programs: ours and other people's, run to their end or until they are killed.

mod binaries;
mod registry;

pub use binaries::binary;
pub use registry::{AdminProgram, RegistryProcess, RegistrySettings};

use std::ffi::OsStr;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

/// A program that has come to its end.
#[derive(Clone, Debug)]
pub struct Finished {
    /// The program and its arguments.
    pub command: String,
    /// How it ended.
    pub status: ExitStatus,
    /// What it printed. What is not UTF-8 is replaced.
    pub stdout: String,
    /// What it complained of. What is not UTF-8 is replaced.
    pub stderr: String,
}

impl Finished {
    /// Its standard output, if it ended well.
    ///
    /// # Panics
    /// When it did not, with all that it said.
    #[track_caller]
    pub fn expect_success(&self) -> &str {
        assert!(
            self.status.success(),
            "{} ended with {}\nstdout: {}\nstderr: {}",
            self.command,
            self.status,
            self.stdout,
            self.stderr
        );
        &self.stdout
    }

    /// Its standard error, if it ended badly.
    ///
    /// # Panics
    /// When it ended well, or by a signal.
    #[track_caller]
    pub fn expect_failure(&self) -> &str {
        assert!(
            self.status.code().is_some_and(|code| code != 0),
            "{} ended with {}\nstdout: {}\nstderr: {}",
            self.command,
            self.status,
            self.stdout,
            self.stderr
        );
        &self.stderr
    }
}

/// Runs a program to its end, with nothing on its standard input. It is killed when this future is dropped.
///
/// # Panics
/// When it cannot be started, or is not done after `limit`.
pub async fn run(command: &mut Command, limit: Duration) -> Finished {
    run_answering(command, "", limit).await
}

/// As [`run`], with this text on its standard input.
///
/// # Panics
/// When it cannot be started, or is not done after `limit`.
pub async fn run_answering(command: &mut Command, input: &str, limit: Duration) -> Finished {
    let standard = command.as_std();
    let words: Vec<&OsStr> = std::iter::once(standard.get_program())
        .chain(standard.get_args())
        .collect();
    let shown = words.join(OsStr::new(" ")).to_string_lossy().into_owned();
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap_or_else(|error| panic!("{shown}: could not be started: {error}"));
    let mut stdin = child.stdin.take().expect("standard input is a pipe");
    let finished = async {
        // A program may end without reading its input.
        stdin.write_all(input.as_bytes()).await.ok();
        drop(stdin);
        child.wait_with_output().await
    };
    let output = tokio::time::timeout(limit, finished)
        .await
        .unwrap_or_else(|_| panic!("{shown}: not done after {} s", limit.as_secs()))
        .unwrap_or_else(|error| panic!("{shown}: {error}"));
    Finished {
        command: shown,
        status: output.status,
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}
