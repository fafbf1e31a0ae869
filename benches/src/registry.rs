//! The registry that is measured: in its embedded form, with as little to do by itself as it can be told to have.

use std::fs::{self, OpenOptions};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use roadstead_test_servers::free_port;

use crate::client::{ACCOUNT, Client};
use crate::http::{Connection, Request};
use crate::process::watch;

/// How long a registry may take to start, to answer or to end on a busy machine: the first start makes the tables and an RSA key.
const NATIVE: Duration = Duration::from_mins(2);

/// The pause between two looks.
const PAUSE: Duration = Duration::from_millis(50);

/// Where a registry keeps everything, and how it is started.
#[derive(Debug)]
pub struct Home {
    program: PathBuf,
    directory: PathBuf,
    address: SocketAddr,
    environment: Vec<(&'static str, String)>,
}

impl Home {
    /// Writes the configuration into a directory that is there, and makes the store's.
    ///
    /// # Panics
    /// When that cannot be.
    pub fn new(program: &Path, directory: &Path) -> Self {
        let home = Self {
            program: program.to_owned(),
            directory: directory.to_owned(),
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, free_port())),
            environment: Vec::new(),
        };
        home.configure("");
        // A store that is missing is never made: it could be one that is not mounted.
        fs::create_dir_all(directory.join("blobs")).expect("a directory can be made");
        home
    }

    /// With a variable that a registry finds in its environment.
    #[must_use]
    pub fn with_environment(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.environment.push((name, value.into()));
        self
    }

    /// Writes the configuration anew, with these lines added. The next start reads them.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn configure(&self, more: &str) {
        let configuration = format!(
            "SERVER_HOSTNAME: {}\nPREFERRED_URL_SCHEME: http\nDB_URI: sqlite:///{}\n\
             DATABASE_SECRET_KEY: \"36661985938452016234567890123456789012\"\n\
             SECRET_KEY: a key for measurements alone\nCREATE_NAMESPACE_ON_PUSH: true\nAUTHENTICATION_TYPE: Database\n\
             DISTRIBUTED_STORAGE_CONFIG: {{local: [LocalStorage, {{storage_path: {}}}]}}\n\
             DISTRIBUTED_STORAGE_PREFERENCE: [local]\nDISTRIBUTED_STORAGE_DEFAULT_LOCATIONS: [local]\n\
             FEATURE_GARBAGE_COLLECTION: false\nFEATURE_REPOSITORY_GARBAGE_COLLECTION: false\n\
             FEATURE_NAMESPACE_GARBAGE_COLLECTION: false\n{more}",
            self.address,
            self.database().display(),
            self.directory.join("blobs").display()
        );
        fs::write(self.directory.join("config.yaml"), configuration)
            .expect("a file can be written");
    }

    /// Where it listens without TLS, which is also what it is called.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The file of the database.
    pub fn database(&self) -> PathBuf {
        self.directory.join("registry.db")
    }

    /// Starts it as it is.
    ///
    /// # Panics
    /// When it does not start.
    pub fn start(&self) -> Registry {
        self.start_by(Command::new(&self.program), NATIVE)
    }

    /// Starts it on these processors alone.
    ///
    /// # Panics
    /// When it does not start.
    pub fn start_on(&self, processors: &str) -> Registry {
        let mut command = Command::new("taskset");
        command.args(["--cpu-list", processors]).arg(&self.program);
        self.start_by(command, NATIVE)
    }

    /// Starts it by a command that becomes it and may take as long as `patience` for anything. Arguments and environment are added.
    ///
    /// # Panics
    /// When it does not start.
    pub fn start_by(&self, mut command: Command, patience: Duration) -> Registry {
        let log_path = self.directory.join("registry.log");
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&log_path)
            .expect("a file can be written");
        let child = command
            .arg("--config-dir")
            .arg(&self.directory)
            .args(["--listen", &self.address.to_string()])
            .args(["--log", "warn", "--no-replicator"])
            .env_clear()
            .envs(std::env::var_os("PATH").map(|path| ("PATH", path)))
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(
                log.try_clone()
                    .expect("an open file can be opened once more"),
            )
            .stderr(log)
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?} does not start: {error}"));
        let mut registry = Registry {
            child,
            address: self.address,
            password_path: self.directory.join(format!("{ACCOUNT}-password")),
            log_path,
            patience,
        };
        registry.wait_until_ready();
        registry
    }
}

/// A registry that runs. Killed when dropped; its log is shown if that is because something failed.
#[derive(Debug)]
pub struct Registry {
    child: Child,
    address: SocketAddr,
    password_path: PathBuf,
    log_path: PathBuf,
    patience: Duration,
}

impl Registry {
    /// The id of its process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Where it listens without TLS.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// A client with a token.
    ///
    /// # Panics
    /// When it gets none.
    pub fn client(&self) -> Client {
        let password = fs::read_to_string(&self.password_path).expect("an account was made");
        Client::new(self.address, password.trim(), self.patience)
    }

    /// Asks it to stop, and waits until it has.
    ///
    /// # Panics
    /// When it does not, or fails at it.
    pub fn stop(mut self) {
        let asked = Command::new("kill")
            .arg(self.child.id().to_string())
            .status()
            .expect("kill can be started");
        assert!(asked.success(), "the registry cannot be asked to stop");
        within(self.patience, "the registry to stop", || {
            let ended = self.child.try_wait();
            ended.expect("the state of a child can be read").is_some()
        });
        let status = self.child.wait();
        let status = status.expect("the state of a child can be read");
        assert!(status.success(), "the registry ended with {status}");
    }

    fn wait_until_ready(&mut self) {
        within(self.patience, "the registry to answer", || {
            let ended = self.child.try_wait();
            let ended = ended.expect("the state of a child can be read");
            assert!(ended.is_none(), "the registry ended instead of serving");
            let request = Request {
                method: "GET",
                path: "/v2/",
                headers: &[],
                body: &[],
            };
            Connection::open(self.address, self.patience)
                .and_then(|mut connection| connection.exchange(request))
                // Nobody in particular is told to sign in, or to come over TLS where there is a certificate.
                .is_ok_and(|answer| matches!(answer.status, 401 | 301))
        });
    }
}

impl Drop for Registry {
    #[expect(
        clippy::print_stderr,
        reason = "what a program said is shown where it failed"
    )]
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
        if thread::panicking() {
            let log = fs::read_to_string(&self.log_path).unwrap_or_default();
            eprintln!("--- log of the registry at {}\n{log}", self.address);
        }
    }
}

fn within(limit: Duration, what: &str, mut so: impl FnMut() -> bool) {
    let began = watch();
    while !so() {
        assert!(
            began.elapsed() < limit,
            "waited {} s for {what}, in vain",
            limit.as_secs()
        );
        thread::sleep(PAUSE);
    }
}
