//! valgrind's callgrind, which counts what a program executes.
//!
//! It is told what to do by `vgdb`, which also stands behind `callgrind_control`, and unlike that says by its status whether it reached the program.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The most seconds that a running program may take to heed a command: it does so between two of its instructions, and writes a dump at once.
const HEEDED_WITHIN_SECONDS: u32 = 120;

/// Counts the instructions of a process.
#[derive(Debug)]
pub(crate) struct Callgrind {
    process: u32,
    directory: PathBuf,
    /// How many dumps it has written.
    dumps: u32,
}

impl Callgrind {
    /// A program under callgrind, which counts nothing until it is switched on: a start is long, and not what is counted.
    pub(crate) fn command(program: &Path, directory: &Path) -> Command {
        let mut command = Command::new("valgrind");
        command.args([
            "--tool=callgrind",
            "--instr-atstart=no",
            // Only totals are read.
            "--dump-line=no",
        ]);
        command.arg(format!(
            "--callgrind-out-file={}",
            dump_file(directory).display()
        ));
        command.arg(pipe_option(directory)).arg(program);
        command
    }

    /// Of a process that was started by [`Callgrind::command`].
    pub(crate) fn new(process: u32, directory: &Path) -> Self {
        Self {
            process,
            directory: directory.to_owned(),
            dumps: 0,
        }
    }

    /// Begins to count.
    ///
    /// # Panics
    /// When the process does not heed it.
    pub(crate) fn switch_on(&self) {
        self.tell(&["instrumentation", "on"]);
    }

    /// Forgets what was counted.
    ///
    /// # Panics
    /// When the process does not heed it.
    pub(crate) fn zero(&self) {
        self.tell(&["zero"]);
    }

    /// The instructions of all threads since the last [`Callgrind::zero`].
    ///
    /// # Panics
    /// When the process does not tell.
    pub(crate) fn counted(&mut self) -> u64 {
        self.tell(&["dump"]);
        self.dumps += 1;
        let file = dump_file(&self.directory).with_added_extension(self.dumps.to_string());
        let dump = fs::read_to_string(&file)
            .unwrap_or_else(|error| panic!("{} cannot be read: {error}", file.display()));
        // The last line, so that a dump with one is whole.
        dump.lines()
            .rev()
            .find_map(|line| line.strip_prefix("totals: ")?.trim().parse().ok())
            .unwrap_or_else(|| panic!("{} has no total", file.display()))
    }

    fn tell(&self, command: &[&str]) {
        let output = Command::new("vgdb")
            .arg(pipe_option(&self.directory))
            .arg(format!("--pid={}", self.process))
            .arg(format!("--cmd-time-out={HEEDED_WITHIN_SECONDS}"))
            .args(command)
            // The names of the pipes are made of the environment, and the process has nothing else of it either.
            .env_clear()
            .envs(std::env::var_os("PATH").map(|path| ("PATH", path)))
            .output()
            .expect("vgdb can be started");
        assert!(
            output.status.success(),
            "callgrind did not heed {command:?} within {HEEDED_WITHIN_SECONDS} s: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
}

/// Dumps have a number behind this.
fn dump_file(directory: &Path) -> PathBuf {
    directory.join("callgrind")
}

/// Where process and `vgdb` meet: not in `/tmp`, where the pipes of a process that was killed would stay.
fn pipe_option(directory: &Path) -> String {
    format!("--vgdb-prefix={}", directory.join("vgdb").display())
}
