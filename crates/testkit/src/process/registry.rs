//! The registry and the admin tool as processes.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File, OpenOptions};
use std::io::{Seek as _, SeekFrom};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use http::Request;
use roadstead_client::{Client, ClientOptions, Credentials, RequestBody};
use tokio::process::{Child, Command};

use super::{Finished, binary, run, run_answering};
use crate::universe::read_password;
use crate::{StoreFiles, free_port, within};

/// How often a starting registry is asked whether it is there, 50 ms apart: a minute, for a debug build on a busy machine.
const READY_CHECKS_MAX: u32 = 1200;

/// The longest that an admin command may take: some wait for gigabytes to be copied by a debug build on a busy machine.
const ADMIN_LIMIT: Duration = Duration::from_mins(10);

/// The longest that a registry which was asked to stop may take.
const STOP_LIMIT: Duration = Duration::from_secs(30);

/// How a registry is started.
#[derive(Clone, Debug)]
pub struct RegistrySettings {
    /// Its data directory, which the program makes if it is not there.
    pub data_dir: PathBuf,
    /// The directory of a `config.yaml` to serve instead.
    pub configuration: Option<PathBuf>,
    /// Where it listens. The same after a restart.
    pub address: SocketAddr,
    /// Further arguments.
    pub arguments: Vec<String>,
    /// Environment variables. Of the test's own only `PATH` is passed on.
    pub environment: Vec<(String, String)>,
    /// Shell commands that run before it, as root in a mount namespace of its own: what they mount, nobody else sees, and it is
    /// gone with the process.
    pub setup: Option<String>,
}

impl RegistrySettings {
    /// A registry on this data directory and a free port.
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        Self {
            data_dir: data_dir.into(),
            configuration: None,
            address: (Ipv4Addr::LOCALHOST, free_port()).into(),
            arguments: Vec::new(),
            environment: Vec::new(),
            setup: None,
        }
    }

    /// Starts it and waits until it answers.
    ///
    /// # Panics
    /// When it ends instead, or does not answer within a minute.
    pub async fn start(&self) -> RegistryProcess {
        let mut registry = self.spawn();
        registry.wait_until_ready().await;
        registry
    }

    /// Starts it and waits for nothing.
    ///
    /// # Panics
    /// When the program cannot be started.
    pub fn spawn(&self) -> RegistryProcess {
        let parent = self
            .data_dir
            .parent()
            .expect("a data directory lies in a directory");
        let name = self
            .data_dir
            .file_name()
            .expect("a data directory has a name");
        let log_path = parent.join(format!("{}-{}.log", name.display(), self.address.port()));
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&log_path)
            .unwrap_or_else(|error| panic!("{}: {error}", log_path.display()));
        let log_start = log.metadata().map_or(0, |metadata| metadata.len());
        let mut command = self.command();
        command
            .env_clear()
            .envs(std::env::var_os("PATH").map(|path| ("PATH", path)))
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .current_dir(parent)
            .args(self.configuration.as_ref().map(|_| "serve"))
            .args(self.source())
            .args(["--listen", &self.address.to_string()])
            .args(&self.arguments)
            .stdin(Stdio::null())
            .stdout(
                log.try_clone()
                    .expect("an open file can be opened once more"),
            )
            .stderr(log)
            .kill_on_drop(true);
        let child = command
            .spawn()
            .unwrap_or_else(|error| panic!("the registry could not be started: {error}"));
        RegistryProcess {
            settings: self.clone(),
            child,
            log_path,
            log_start,
        }
    }

    /// The arguments that say where everything is.
    fn source(&self) -> Vec<OsString> {
        match &self.configuration {
            None => vec!["--data-dir".into(), self.data_dir.clone().into()],
            Some(directory) => vec!["--config-dir".into(), directory.clone().into()],
        }
    }

    /// The program, after its setup if it has one.
    fn command(&self) -> Command {
        let program = binary("registry");
        let Some(setup) = &self.setup else {
            return Command::new(program);
        };
        let mut command = Command::new("unshare");
        command.arg("--mount");
        let own = fs::metadata("/proc/self").expect("Linux has /proc");
        if own.uid() != 0 {
            command.arg("--map-root-user");
        }
        // `exec` keeps the process id, so that whoever kills the child kills the registry.
        command
            .args(["sh", "-c", &format!("{setup} && exec \"$0\" \"$@\"")])
            .arg(program);
        command
    }

    /// The admin tool on the same data directory or configuration.
    pub fn admin(&self) -> AdminProgram {
        AdminProgram {
            data_dir: self.data_dir.clone(),
            source: self.source(),
            environment: self.environment.clone(),
        }
    }

    /// What lies in a location's directory.
    pub fn files(&self, location: &str) -> StoreFiles {
        StoreFiles::new(self.data_dir.join(location))
    }

    /// A client that says it is `admin`.
    ///
    /// # Panics
    /// When the registry has never been started, so that there is no password.
    pub fn client(&self) -> Client {
        self.client_with(ClientOptions::default())
    }

    /// As [`RegistrySettings::client`], with the caller's deadlines.
    ///
    /// # Panics
    /// When the registry has never been started, so that there is no password.
    pub fn client_with(&self, options: ClientOptions) -> Client {
        let credentials = Credentials::new("admin", self.password());
        Client::with_options(&self.url(), Some(credentials), options)
            .expect("a loopback address is one")
    }

    /// A client that says nothing of who it is.
    pub fn anonymous(&self) -> Client {
        Client::new(&self.url(), None).expect("a loopback address is one")
    }

    /// The password of `admin`.
    ///
    /// # Panics
    /// When the registry has never been started.
    pub fn password(&self) -> String {
        read_password(&self.data_dir)
    }

    /// `http://HOST:PORT`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

/// A registry that runs. Killed when dropped; its log is shown if that is because a test fails.
#[derive(Debug)]
pub struct RegistryProcess {
    settings: RegistrySettings,
    child: Child,
    log_path: PathBuf,
    log_start: u64,
}

impl RegistryProcess {
    /// How it was started.
    pub fn settings(&self) -> &RegistrySettings {
        &self.settings
    }

    /// Returns once it answers requests.
    ///
    /// # Panics
    /// When it ends instead, or does not answer within a minute.
    pub async fn wait_until_ready(&mut self) {
        let client = self.settings.anonymous();
        within(READY_CHECKS_MAX, "the registry answers", async || {
            if let Some(status) = self
                .child
                .try_wait()
                .expect("the state of a child can be read")
            {
                panic!("the registry ended with {status}:\n{}", self.log());
            }
            // Any answer will do.
            let request = Request::new(RequestBody::empty());
            client.exchange(request, "").await.ok().map(drop)
        })
        .await;
    }

    /// Returns how it ended by itself.
    ///
    /// # Panics
    /// When it has not after `limit`.
    pub async fn wait(&mut self, limit: Duration) -> ExitStatus {
        tokio::time::timeout(limit, self.child.wait())
            .await
            .unwrap_or_else(|_| {
                panic!(
                    "the registry still runs after {} s:\n{}",
                    limit.as_secs(),
                    self.log()
                )
            })
            .expect("the state of a child can be read")
    }

    /// Ends it as a power cut would, at once, and waits until it is gone.
    ///
    /// # Panics
    /// When the system does not let us.
    pub async fn kill(&mut self) {
        self.child
            .kill()
            .await
            .expect("a child of ours can be killed");
    }

    /// Sends it a signal, in `kill`'s words: `-HUP`.
    ///
    /// # Panics
    /// When it has ended.
    pub async fn signal(&self, name: &str) {
        let id = self.process_id().to_string();
        let sent = run(Command::new("kill").args([name, &id]), STOP_LIMIT).await;
        sent.expect_success();
    }

    /// Asks it to stop (SIGTERM) and returns how it ended.
    ///
    /// # Panics
    /// When it does not stop within half a minute.
    pub async fn stop(mut self) -> ExitStatus {
        self.signal("-TERM").await;
        let status = self.wait(STOP_LIMIT).await;
        if !status.success() {
            self.show_log();
        }
        status
    }

    /// Its process id.
    ///
    /// # Panics
    /// When it has ended.
    pub fn process_id(&self) -> u32 {
        self.child.id().expect("the registry runs")
    }

    /// The most memory it has ever had resident, in bytes: `VmHWM` of `/proc/PID/status`.
    ///
    /// # Panics
    /// When it has ended, or the system has no such file.
    pub fn resident_bytes_peak(&self) -> u64 {
        self.status_bytes("VmHWM:")
    }

    /// The memory that it has resident now besides the pages of its program and of files, in bytes: `RssAnon` of `/proc/PID/status`.
    ///
    /// # Panics
    /// When it has ended, or the system has no such file.
    pub fn anonymous_bytes(&self) -> u64 {
        self.status_bytes("RssAnon:")
    }

    fn status_bytes(&self, name: &str) -> u64 {
        let path = format!("/proc/{}/status", self.process_id());
        let status = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
        let kibibytes: u64 = status
            .lines()
            .find_map(|line| {
                line.strip_prefix(name)?
                    .trim()
                    .strip_suffix(" kB")?
                    .parse()
                    .ok()
            })
            .unwrap_or_else(|| panic!("{path} has no {name}"));
        kibibytes * 1024
    }

    /// What it has written to standard output and standard error since it was started.
    ///
    /// # Panics
    /// When the log cannot be read.
    pub fn log(&self) -> String {
        self.read_log()
            .unwrap_or_else(|error| panic!("{}: {error}", self.log_path.display()))
    }

    fn read_log(&self) -> std::io::Result<String> {
        let mut file = File::open(&self.log_path)?;
        file.seek(SeekFrom::Start(self.log_start))?;
        std::io::read_to_string(file)
    }

    #[expect(
        clippy::print_stdout,
        reason = "a test's output is shown when it fails"
    )]
    fn show_log(&self) {
        // The log may be gone already, with its directory.
        let log = self.read_log().unwrap_or_default();
        println!(
            "--- log of the registry at {}\n{log}",
            self.settings.address
        );
    }
}

impl Drop for RegistryProcess {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.show_log();
        }
    }
}

/// The admin tool on a data directory or a configuration.
#[derive(Clone, Debug)]
pub struct AdminProgram {
    data_dir: PathBuf,
    source: Vec<OsString>,
    environment: Vec<(String, String)>,
}

impl AdminProgram {
    /// Runs it with these arguments.
    ///
    /// # Panics
    /// When it is not done within ten minutes.
    pub async fn run<A: AsRef<OsStr>>(&self, arguments: &[A]) -> Finished {
        self.run_answering(arguments, "").await
    }

    /// Runs it with these arguments and this text on its standard input.
    ///
    /// # Panics
    /// When it is not done within ten minutes.
    pub async fn run_answering<A: AsRef<OsStr>>(&self, arguments: &[A], input: &str) -> Finished {
        let mut command = Command::new(binary("admin"));
        command
            .env_clear()
            .envs(std::env::var_os("PATH").map(|path| ("PATH", path)))
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .current_dir(self.data_dir.parent().unwrap_or(Path::new("/")))
            .args(arguments)
            .args(&self.source);
        run_answering(&mut command, input, ADMIN_LIMIT).await
    }

    /// `replication status --json`, read. It fails when something is missing, and says what all the same.
    ///
    /// # Panics
    /// When it prints something else than JSON.
    pub async fn replication_status(&self) -> serde_json::Value {
        let finished = self.run(&["replication", "status", "--json"]).await;
        serde_json::from_str(&finished.stdout)
            .unwrap_or_else(|error| panic!("{error}: {finished:?}"))
    }
}
