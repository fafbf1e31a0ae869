//! A server's process: started, killed, stopped where it stands, and started again with the same arguments.

use std::ffi::OsString;
use std::fs::{self, OpenOptions};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use crate::spawn::spawn_from_kept_thread;

/// How often a starting server is asked, and how long between: a minute and a half in all.
const START_ATTEMPTS: u32 = 4500;
const START_PAUSE: Duration = Duration::from_millis(20);

/// How often a server that was asked to end is looked at, with the same pause between: half a minute in all.
const STOP_ATTEMPTS: u32 = 1500;

/// How a server is run.
#[derive(Clone, Debug)]
pub(crate) struct Program {
    /// What it is called in messages.
    pub(crate) name: &'static str,
    pub(crate) path: PathBuf,
    pub(crate) arguments: Vec<OsString>,
    /// Its environment, besides `PATH`.
    pub(crate) environment: Vec<(&'static str, OsString)>,
    /// The port of 127.0.0.1 on which it answers once it is ready.
    pub(crate) port: u16,
    /// Where its output goes.
    pub(crate) log: PathBuf,
}

/// A server that runs, or did until it was killed. Killed when dropped.
#[derive(Debug)]
pub(crate) struct Process {
    program: Program,
    child: Child,
}

impl Process {
    /// Starts it, and waits for nothing.
    ///
    /// # Panics
    /// When it cannot be started.
    pub(crate) fn start(program: Program) -> Self {
        let child = spawn(&program);
        Self { program, child }
    }

    /// Returns once it takes connections.
    ///
    /// # Panics
    /// When it ends instead, or does not within a minute and a half.
    pub(crate) fn wait_until_ready(&mut self) {
        let name = self.program.name;
        let address: SocketAddr = (Ipv4Addr::LOCALHOST, self.program.port).into();
        for _ in 0..START_ATTEMPTS {
            if TcpStream::connect(address).is_ok() {
                return;
            }
            if let Ok(Some(status)) = self.child.try_wait() {
                panic!("{name} ended with {status} while starting: {}", self.log());
            }
            thread::sleep(START_PAUSE);
        }
        panic!("{name} does not start: {}", self.log());
    }

    /// Ends it at once. Nobody listens on its port then.
    pub(crate) fn kill(&mut self) {
        // One that has ended is as good as killed.
        self.child.kill().ok();
        self.child.wait().ok();
    }

    /// Asks it to end, if it runs, and waits until it has.
    ///
    /// # Panics
    /// When it does not within half a minute.
    pub(crate) fn stop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            self.signal("TERM");
        }
        for _ in 0..STOP_ATTEMPTS {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            thread::sleep(START_PAUSE);
        }
        panic!("{} does not end: {}", self.program.name, self.log());
    }

    /// Starts it again, on the same port, after killing it if it runs.
    pub(crate) fn restart(&mut self) {
        self.kill();
        self.child = spawn(&self.program);
    }

    /// Stops it where it stands: connections stay open, and nothing answers.
    pub(crate) fn freeze(&self) {
        self.signal("STOP");
    }

    /// Lets it go on.
    pub(crate) fn thaw(&self) {
        self.signal("CONT");
    }

    fn signal(&self, signal: &str) {
        let sent = Command::new("kill")
            .args([&format!("-{signal}"), &self.id().to_string()])
            .status();
        assert!(
            sent.is_ok_and(|status| status.success()),
            "{} does not run",
            self.program.name
        );
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it has printed so far.
    pub(crate) fn log(&self) -> String {
        read_text(&self.program.log)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// What a file holds; nothing if it is not there. What is not UTF-8 is replaced.
pub(crate) fn read_text(path: &Path) -> String {
    String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned()
}

fn spawn(program: &Program) -> Child {
    let log = OpenOptions::new()
        .create(true)
        .append(true)
        .open(&program.log)
        .expect("a temporary directory can be written");
    let mut command = Command::new("setpriv");
    command
        .args(["--pdeathsig", "KILL"])
        .arg(&program.path)
        .args(&program.arguments)
        .env_clear()
        .envs(std::env::var_os("PATH").map(|path| ("PATH", path)))
        .envs(
            program
                .environment
                .iter()
                .map(|(name, value)| (name, value)),
        )
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(
            log.try_clone()
                .expect("an open file can be opened once more"),
        )
        .stderr(log);
    spawn_from_kept_thread(command).expect("`setpriv` of util-linux can be run")
}
