//! PostgreSQL clusters, and databases in them.

use std::fs;
use std::io::{self, Seek as _, SeekFrom};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use crate::certificates::IssuedCertificate;
use crate::ports::free_port;
use crate::spawn::spawn;
use crate::wait::wait;

/// The directory with `postgres` and `initdb`, for tests against another version than the newest installed one.
const PROGRAMS: &str = "ROADSTEAD_TEST_POSTGRES_PROGRAMS";

/// Everybody's password. Nothing but a test ever listens with it, on the loopback interface.
const PASSWORD: &str = "not a secret";

/// What the server keeps of it ([RFC 5803](https://www.rfc-editor.org/rfc/rfc5803)): one round of hashing in place of the usual 4096, which cost
/// clients that are not optimised more than what most tests ask over the connection, and on a slow machine so long that a server seemed gone.
const PASSWORD_KEPT: &str = "SCRAM-SHA-256$1:cm9hZHN0ZWFkJ3MgdGVzdA==$5QuGBtS0o27tqqeK6Tv/jZVlprbKypVWUtKB7HJjRcQ=:JV4EpxNccoNpqrSIdrECHKexMKKAgGVq5z9cdFFh3cc=";

/// How long a server may take to answer as it should, once it was started or told of something new.
const START_LIMIT: Duration = Duration::from_mins(1);

/// How long a process may take to stand still once it was told to.
const STOP_LIMIT: Duration = Duration::from_secs(30);

/// What a cluster is for.
#[derive(Clone, Debug, Default)]
pub struct PostgresSettings {
    /// Whether commits wait for the disk. Tests that kill the server need it, others are faster without.
    pub durable: bool,
    /// Further settings, as `postgres -c name=value`.
    pub more: Vec<(String, String)>,
}

/// A running cluster. Dropping it ends it and removes its files.
#[derive(Debug)]
pub struct Postgres {
    port: u16,
    directory: PathBuf,
    process: Child,
}

/// A database in a cluster.
#[derive(Clone, Debug)]
pub struct PostgresDatabase {
    /// The port of its server on 127.0.0.1.
    pub port: u16,
    /// Its name.
    pub name: String,
    /// The role that owns it: a superuser.
    pub user: String,
    /// The role's password.
    pub password: String,
}

impl Postgres {
    /// The cluster that all tests of this process share, started for the first that asks.
    ///
    /// # Panics
    /// When PostgreSQL is not installed or does not start.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<Postgres> = OnceLock::new();
        SHARED.get_or_init(|| Self::start(&PostgresSettings::default()))
    }

    /// Starts a cluster.
    ///
    /// # Panics
    /// When PostgreSQL is not installed or does not start.
    pub fn start(settings: &PostgresSettings) -> Self {
        let directory = new_directory();
        let passwords = directory.join("password");
        fs::write(&passwords, PASSWORD_KEPT).expect("a temporary directory can be written");
        fs::set_permissions(&passwords, fs::Permissions::from_mode(0o644))
            .expect("the mode of our own file can be set");
        let made = as_server_user(&program("initdb"))
            .arg("--pgdata")
            .arg(directory.join("data"))
            .arg("--pwfile")
            .arg(&passwords)
            .args(["--username", "postgres", "--auth", "scram-sha-256"])
            .args(["--encoding", "UTF8", "--locale", "C.UTF-8", "--no-sync"])
            .output()
            .expect("initdb can be run");
        assert!(made.status.success(), "initdb failed: {}", said(&made));
        Self::run(directory, settings)
    }

    /// Starts a standby that follows this cluster from now on. It serves reads.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn standby(&self, settings: &PostgresSettings) -> Self {
        let directory = new_directory();
        let copied = as_server_user(&program("pg_basebackup"))
            .args(["-h", "127.0.0.1", "-p", &self.port.to_string()])
            .args(["-U", "postgres", "--checkpoint", "fast", "--no-sync"])
            // With the settings that make it a standby of this cluster.
            .args(["--write-recovery-conf", "--wal-method", "stream"])
            .arg("--pgdata")
            .arg(directory.join("data"))
            .env("PGPASSWORD", PASSWORD)
            .output()
            .expect("pg_basebackup can be run");
        assert!(
            copied.status.success(),
            "pg_basebackup failed: {}",
            said(&copied)
        );
        Self::run(directory, settings)
    }

    /// Lets no commit return before a standby of this cluster has applied it: what is acknowledged survives the loss of this server. Needs
    /// [`PostgresSettings::durable`].
    ///
    /// # Panics
    /// When the server refuses, or does not wait for commits at all.
    pub fn wait_for_standbys(&self) {
        let administration = self.administration();
        assert_eq!(
            administration.psql("SHOW synchronous_commit"),
            "on",
            "a server whose commits wait for nothing cannot wait for standbys"
        );
        administration.psql("ALTER SYSTEM SET synchronous_commit = 'remote_apply'");
        administration.psql("ALTER SYSTEM SET synchronous_standby_names = '*'");
        administration.psql("SELECT pg_reload_conf()");
    }

    /// Makes a standby take writes, on a timeline of its own. Returns when it does.
    ///
    /// # Panics
    /// When it does not within a minute.
    pub fn promote(&self) {
        // A commit of its own must not wait for standbys that it does not have.
        let administration = self.administration();
        administration.psql("ALTER SYSTEM RESET synchronous_standby_names");
        administration.psql("SELECT pg_reload_conf()");
        assert_eq!(administration.psql("SELECT pg_promote()"), "t");
    }

    /// Lets the server speak TLS with this certificate. Returns when it does.
    ///
    /// # Panics
    /// When it does not within a minute.
    pub fn speak_tls(&self, issued: &IssuedCertificate) {
        let data = self.directory.join("data");
        let owner = fs::metadata(&data).expect("the data directory is there");
        for (name, content) in [
            ("server.crt", &issued.certificate),
            ("server.key", &issued.key),
        ] {
            let path = data.join(name);
            fs::write(&path, content).expect("the data directory can be written");
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600))
                .expect("the mode of our own file can be set");
            chown(&path, Some(owner.uid()), Some(owner.gid()))
                .expect("root may give a file away, and it is ours otherwise");
        }
        let administration = self.administration();
        administration.psql("ALTER SYSTEM SET ssl = on");
        administration.psql("SELECT pg_reload_conf()");
        assert!(
            wait(START_LIMIT, || administration.psql("SHOW ssl") == "on"),
            "PostgreSQL does not speak TLS: {}",
            self.log()
        );
    }

    /// Ends every process of the server at once, as a power cut would. Nobody listens on its port then.
    ///
    /// # Panics
    /// When it does not run.
    pub fn kill(&self) {
        self.signal("KILL");
    }

    /// Stops every process of the server where it stands: connections stay open, and nothing answers.
    ///
    /// # Panics
    /// When it does not run.
    pub fn freeze(&self) {
        self.signal("STOP");
    }

    /// Lets a frozen server go on.
    ///
    /// # Panics
    /// When it does not run.
    pub fn thaw(&self) {
        self.signal("CONT");
    }

    /// Sends a signal to the server's first process and to all that it has started.
    ///
    /// # Panics
    /// When the first one cannot be made to stand still.
    fn signal(&self, signal: &str) {
        let path = self.directory.join("data/postmaster.pid");
        let first = fs::read_to_string(&path).expect("a running server keeps its process id");
        let first = first
            .lines()
            .next()
            .expect("the process id is on the first line");
        let children = |id: &str| {
            fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap_or_default()
        };
        let send = |signal: &str, id: &str| {
            // One that has ended by itself is no failure.
            Command::new("kill")
                .args([&format!("-{signal}"), id])
                .stderr(std::process::Stdio::null())
                .status()
                .expect("`kill` can be run");
        };
        // The first one stands still before its children are read, so that it starts no others meanwhile. They lose it when it is gone.
        send("STOP", first);
        assert!(
            wait(STOP_LIMIT, || stands_still(first)),
            "PostgreSQL does not stand still: {}",
            self.log()
        );
        let more = children(first);
        for id in std::iter::once(first).chain(more.split_whitespace()) {
            send(signal, id);
        }
    }

    /// Starts the server of a data directory, `directory/data`.
    fn run(directory: PathBuf, settings: &PostgresSettings) -> Self {
        let port = free_port();
        let mut arguments = vec!["-D".to_owned(), path_text(&directory.join("data"))];
        let mut set = |name: &str, value: &str| {
            arguments.extend(["-c".to_owned(), format!("{name}={value}")]);
        };
        set("listen_addresses", "127.0.0.1");
        set("port", &port.to_string());
        set("unix_socket_directories", "");
        set("max_connections", "400");
        set("shared_buffers", "64MB");
        if !settings.durable {
            for name in ["fsync", "synchronous_commit", "full_page_writes"] {
                set(name, "off");
            }
        }
        for (name, value) in &settings.more {
            set(name, value);
        }
        let process = spawn(&program("postgres"), arguments, server_user(), &directory)
            .expect("`setpriv` of util-linux can be run");
        let mut server = Self {
            port,
            directory,
            process,
        };
        server.wait_until_ready();
        server
    }

    /// An empty database of its own name, whose collation is not byte order, so that what relies on byte order is found out. Servers before
    /// version 15 have no such collation without a locale of the machine's.
    ///
    /// # Panics
    /// When the server refuses to make it.
    pub fn database(&self) -> PostgresDatabase {
        let collation = if self.version() >= 15 {
            "LOCALE_PROVIDER icu ICU_LOCALE 'en-US'"
        } else {
            ""
        };
        self.create(&format!("TEMPLATE template0 ENCODING 'UTF8' {collation}"))
    }

    /// The server's major version.
    fn version(&self) -> u32 {
        let number = self.administration().psql("SHOW server_version_num");
        number.parse::<u32>().unwrap_or_default() / 10_000
    }

    /// A copy of a database of this server that nobody is connected to, under a name of its own.
    ///
    /// # Panics
    /// When the server refuses to make it.
    pub fn copy_of(&self, original: &PostgresDatabase) -> PostgresDatabase {
        self.create(&format!("TEMPLATE {}", original.name))
    }

    fn create(&self, options: &str) -> PostgresDatabase {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("test_{}", COUNT.fetch_add(1, Ordering::Relaxed));
        self.administration()
            .psql(&format!("CREATE DATABASE {name} {options}"));
        self.named(&name)
    }

    /// The database that administrators connect to.
    pub fn administration(&self) -> PostgresDatabase {
        self.named("postgres")
    }

    /// The port on 127.0.0.1.
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// What the server has logged so far.
    ///
    /// # Panics
    /// When its log cannot be read.
    pub fn log(&self) -> String {
        self.log_behind(0)
    }

    /// How long the server's log is, in bytes.
    ///
    /// # Panics
    /// When there is none.
    pub fn log_bytes(&self) -> u64 {
        fs::metadata(self.directory.join("log"))
            .expect("the server's log is there")
            .len()
    }

    /// What the server has logged behind so many bytes.
    ///
    /// # Panics
    /// When its log cannot be read.
    pub fn log_behind(&self, bytes: u64) -> String {
        let mut log =
            fs::File::open(self.directory.join("log")).expect("the server's log is there");
        let mut new = Vec::new();
        log.seek(SeekFrom::Start(bytes))
            .and_then(|_| io::copy(&mut log, &mut new))
            .expect("the server's log can be read");
        String::from_utf8_lossy(&new).into_owned()
    }

    fn named(&self, name: &str) -> PostgresDatabase {
        PostgresDatabase {
            port: self.port,
            name: name.to_owned(),
            user: "postgres".to_owned(),
            password: PASSWORD.to_owned(),
        }
    }

    fn wait_until_ready(&mut self) {
        let administration = self.administration();
        let ready = wait(START_LIMIT, || {
            if let Ok(Some(status)) = self.process.try_wait() {
                panic!("PostgreSQL ended with {status} while starting");
            }
            let asked = administration.command().arg("-c").arg("SELECT 1").output();
            asked.is_ok_and(|output| output.status.success())
        });
        assert!(ready, "PostgreSQL does not start: {}", self.log());
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        let stopped = Command::new("kill")
            .arg(self.process.id().to_string())
            .status();
        if stopped.is_ok() {
            self.process.wait().ok();
        }
    }
}

impl PostgresDatabase {
    /// As `DB_URI` has it.
    pub fn uri(&self) -> String {
        format!(
            "postgresql://{}:{}@127.0.0.1:{}/{}",
            self.user,
            self.password.replace(' ', "%20"),
            self.port,
            self.name
        )
    }

    /// Makes a role of the whole cluster that may log in and nothing else, unless it is there; several may do so at once.
    ///
    /// # Panics
    /// When the server refuses.
    pub fn ensure_role(&self, role: &str) {
        self.psql(&format!(
            "DO $do$ BEGIN CREATE ROLE {role} LOGIN PASSWORD '{PASSWORD_KEPT}';
             EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $do$"
        ));
    }

    /// The same database, asked by a role of [`PostgresDatabase::ensure_role`].
    #[must_use]
    pub fn as_role(&self, role: &str) -> Self {
        Self {
            user: role.to_owned(),
            ..self.clone()
        }
    }

    /// Runs statements and returns their rows: columns separated by `|`, one row a line, nothing else.
    ///
    /// # Panics
    /// When one fails.
    pub fn psql(&self, sql: &str) -> String {
        let output = self
            .command()
            .args(["-c", sql])
            .output()
            .expect("psql can be run");
        assert!(output.status.success(), "`{sql}` failed: {}", said(&output));
        String::from_utf8_lossy(&output.stdout)
            .trim_end()
            .to_owned()
    }

    /// Restores a dump.
    ///
    /// # Panics
    /// When a statement fails.
    pub fn restore(&self, dump: &Path) {
        self.run_file(dump, &[]);
    }

    /// Runs a file of statements, with psql's variables in it.
    ///
    /// # Panics
    /// When one fails.
    pub fn run_file(&self, file: &Path, variables: &[(&str, &str)]) {
        let mut command = self.command();
        for (name, value) in variables {
            command.args(["-v", &format!("{name}={value}")]);
        }
        let output = command
            .arg("-f")
            .arg(file)
            .output()
            .expect("psql can be run");
        assert!(
            output.status.success(),
            "{} cannot be run: {}",
            file.display(),
            said(&output)
        );
    }

    /// All rows and definitions as statements, with `pg_dump` of the server's own version, which refuses newer ones.
    ///
    /// # Panics
    /// When it fails.
    pub fn dump(&self, arguments: &[&str]) -> String {
        let output = self
            .client("pg_dump")
            .args(arguments)
            .output()
            .expect("pg_dump can be run");
        assert!(output.status.success(), "pg_dump failed: {}", said(&output));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn command(&self) -> Command {
        let mut command = self.client("psql");
        command.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1"]);
        command
    }

    /// A program of the server's, connected to this database.
    fn client(&self, name: &str) -> Command {
        // The program itself: Debian's `psql` in PATH is a script that looks for it first, ten times as long as a query takes.
        let mut command = Command::new(program(name));
        command
            .args(["-h", "127.0.0.1", "-p", &self.port.to_string()])
            .args(["-U", &self.user, "-d", &self.name])
            .env("PGPASSWORD", &self.password);
        command
    }
}

/// Whether a process is stopped, or gone.
fn stands_still(id: &str) -> bool {
    let Ok(stat) = fs::read_to_string(format!("/proc/{id}/stat")) else {
        return true;
    };
    // Behind the name, which is in parentheses.
    let state = stat.rsplit_once(") ").map_or("", |(_, state)| state);
    state.starts_with(['T', 'Z'])
}

/// A directory that the server's user owns.
fn new_directory() -> PathBuf {
    let directory = tempfile::Builder::new()
        .prefix("roadstead-postgres-")
        .tempdir()
        .expect("a temporary directory can be made")
        .keep();
    if let Some(user) = server_user() {
        let id = |flag| {
            let output = Command::new("id").args([flag, user]).output();
            let output = output.expect("`id` can be run");
            let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
            text.parse::<u32>().ok()
        };
        chown(&directory, id("-u"), id("-g")).expect("root may give a directory away");
    }
    directory
}

/// PostgreSQL refuses to run as root; Debian's packages make a user for it.
fn server_user() -> Option<&'static str> {
    static USER: OnceLock<Option<&'static str>> = OnceLock::new();
    *USER.get_or_init(|| {
        let root = fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0);
        if !root {
            return None;
        }
        let exists = Command::new("id")
            .args(["-u", "postgres"])
            .output()
            .is_ok_and(|output| output.status.success());
        Some(if exists { "postgres" } else { "nobody" })
    })
}

fn as_server_user(program: &Path) -> Command {
    match server_user() {
        Some(user) => {
            let mut command = Command::new("setpriv");
            command
                .args(["--reuid", user, "--regid", user, "--clear-groups"])
                .arg(program)
                .current_dir("/");
            command
        }
        None => Command::new(program),
    }
}

/// A program of the server: where the environment says, of the newest version that Debian's packages installed, or in PATH.
fn program(name: &str) -> PathBuf {
    if let Some(directory) = std::env::var_os(PROGRAMS) {
        return Path::new(&directory).join(name);
    }
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten();
    let newest = versions
        .filter_map(Result::ok)
        .filter_map(|entry| {
            let version: u32 = entry.file_name().to_str()?.parse().ok()?;
            let path = entry.path().join("bin").join(name);
            path.is_file().then_some((version, path))
        })
        .max();
    newest.map_or_else(|| PathBuf::from(name), |(_, path)| path)
}

fn path_text(path: &Path) -> String {
    path.to_str().expect("temporary paths are UTF-8").to_owned()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn databases_are_apart_and_the_files_go_with_the_server() {
        let server = Postgres::start(&PostgresSettings::default());
        let (one, two) = (server.database(), server.database());
        one.psql("CREATE TABLE things (id integer)");
        assert_eq!(one.psql("SELECT count(*) FROM things"), "0");
        assert_eq!(two.psql("SELECT count(to_regclass('things'))"), "0");
        let directory = server.directory.clone();
        assert!(directory.exists());
        drop(server);
        assert!(!directory.exists());
    }
}
