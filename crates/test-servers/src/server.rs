//! A server's process, with a port and a directory of its own: started, killed, stopped where it stands, and started again with the same arguments.

use std::ffi::OsString;
use std::fs::{self, OpenOptions};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::ports::free_port;
use crate::spawn::{TemporaryDirectory, spawn_from_kept_thread};
use crate::wait::wait;

/// How long a server may take to answer after its start.
const START_LIMIT: Duration = Duration::from_secs(90);

/// How long a server may take to end after it was asked to.
const STOP_LIMIT: Duration = Duration::from_secs(30);

/// The file in a server's directory that its output goes to.
const LOG: &str = "output";

/// What a server runs.
#[derive(Clone, Debug)]
pub(crate) struct Program {
    pub(crate) path: PathBuf,
    pub(crate) arguments: Vec<OsString>,
    /// Its environment, besides `PATH`.
    pub(crate) environment: Vec<(&'static str, OsString)>,
}

/// A server that runs, or did until it was killed. Dropping it ends it and removes its files.
#[derive(Debug)]
pub struct Server {
    /// What it is called in messages.
    name: &'static str,
    program: Program,
    port: u16,
    child: Child,
    // The files go after the drop below, when nobody writes any more.
    directory: TemporaryDirectory,
}

impl Server {
    /// Starts what `program` says for an empty directory and a free port of 127.0.0.1, and returns once it takes connections there.
    ///
    /// # Panics
    /// When it cannot be started, ends instead, or does not answer within a minute and a half.
    pub(crate) fn start(name: &'static str, program: impl FnOnce(&Path, u16) -> Program) -> Self {
        let directory = TemporaryDirectory::new(name);
        let port = free_port();
        let program = program(directory.path(), port);
        let child = spawn(&program, &directory.path().join(LOG));
        let mut server = Self {
            name,
            program,
            port,
            child,
            directory,
        };
        server.wait_until_ready();
        server
    }

    fn wait_until_ready(&mut self) {
        let (name, log) = (self.name, self.directory.path().join(LOG));
        let address: SocketAddr = (Ipv4Addr::LOCALHOST, self.port).into();
        let ready = wait(START_LIMIT, || {
            if let Ok(Some(status)) = self.child.try_wait() {
                panic!(
                    "{name} ended with {status} while starting: {}",
                    read_text(&log)
                );
            }
            TcpStream::connect(address).is_ok()
        });
        assert!(ready, "{name} does not start: {}", self.log());
    }

    /// The port on 127.0.0.1.
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// What it has printed so far.
    pub fn log(&self) -> String {
        read_text(&self.directory.path().join(LOG))
    }

    /// Its process id, for measurements.
    pub fn process_id(&self) -> u32 {
        self.child.id()
    }

    /// Where its files are.
    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Ends it at once (SIGKILL). Nobody listens on its port then, and connections are reset.
    pub fn kill(&mut self) {
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
        let ended = wait(STOP_LIMIT, || !matches!(self.child.try_wait(), Ok(None)));
        assert!(ended, "{} does not end: {}", self.name, self.log());
    }

    /// Starts it again, on the same port and with the same files, after killing it if it runs.
    ///
    /// # Panics
    /// When it does not start.
    pub fn restart(&mut self) {
        self.kill();
        self.child = spawn(&self.program, &self.directory.path().join(LOG));
        self.wait_until_ready();
    }

    /// Stops it where it stands: connections stay open and are still taken, and nothing answers.
    ///
    /// # Panics
    /// When it does not run.
    pub fn freeze(&self) {
        self.signal("STOP");
    }

    /// Lets it go on.
    ///
    /// # Panics
    /// When it does not run.
    pub fn thaw(&self) {
        self.signal("CONT");
    }

    fn signal(&self, signal: &str) {
        let sent = Command::new("kill")
            .args([&format!("-{signal}"), &self.process_id().to_string()])
            .status();
        assert!(
            sent.is_ok_and(|status| status.success()),
            "{} does not run",
            self.name
        );
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// What a file holds; nothing if it is not there. What is not UTF-8 is replaced.
pub(crate) fn read_text(path: &Path) -> String {
    String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned()
}

fn spawn(program: &Program, log: &Path) -> Child {
    let log = OpenOptions::new()
        .create(true)
        .append(true)
        .open(log)
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
