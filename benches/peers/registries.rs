//! The registry that is measured, in the forms in which it is run.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;

use roadstead_benches::client::Client;
use roadstead_benches::http::{Connection, Request};
use roadstead_benches::process::{cpu_time, watch};
use roadstead_test_servers::{Postgres, PostgresDatabase, PostgresSettings, S3Server, free_port};

use crate::peers::Running;

/// How often a start and a batch of tokens are measured.
const SAMPLES: u32 = 5;

/// How long the registry may take for an answer.
const PATIENCE: Duration = Duration::from_mins(1);

/// A form of the registry: with authentication always, as whoever pushes must sign in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    Embedded,
    Postgres,
    PostgresAndS3,
}

impl Form {
    pub(crate) const ALL: [Self; 3] = [Self::Embedded, Self::Postgres, Self::PostgresAndS3];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Embedded => "embedded",
            Self::Postgres => "postgres",
            Self::PostgresAndS3 => "postgres-s3",
        }
    }

    pub(crate) const fn describe(self) -> &'static str {
        match self {
            Self::Embedded => {
                "SQLite and a directory; every commit, object and directory is flushed before the answer"
            }
            Self::Postgres => {
                "PostgreSQL and a directory; every commit, object and directory is flushed before the answer"
            }
            Self::PostgresAndS3 => {
                "PostgreSQL and an S3 server, which runs on the same processors and is not counted"
            }
        }
    }
}

/// What runs. Ended when dropped.
#[derive(Debug)]
pub(crate) struct Registry {
    running: Running,
    port: u16,
    password: String,
    /// How long it took until it answered, with a database that was there, in milliseconds.
    pub(crate) starts_ms: Vec<f64>,
    _servers: (Option<(Postgres, PostgresDatabase)>, Option<S3Server>),
}

impl Registry {
    /// Starts it several times: the first time it makes its database, the others are measured.
    ///
    /// # Panics
    /// When it does not start.
    pub(crate) fn start(form: Form, program: &Path, scratch: &Path) -> Self {
        let absolute = |path: &Path| std::path::absolute(path).expect("it is a path");
        let (home, program) = (absolute(&scratch.join(form.name())), absolute(program));
        // A store that is missing is never made: it could be one that is not mounted.
        fs::create_dir_all(home.join("blobs")).expect("a directory can be made");
        let postgres = (form != Form::Embedded).then(|| {
            let server = Postgres::start(&PostgresSettings::default());
            let database = server.database();
            (server, database)
        });
        let s3 = (form == Form::PostgresAndS3).then(S3Server::start);
        let port = free_port();
        let database = match &postgres {
            Some((_, database)) => database.uri(),
            None => format!("sqlite:///{}", home.join("registry.db").display()),
        };
        let store = match &s3 {
            Some(server) => {
                server.create_bucket("blobs");
                let (host, port) = server
                    .endpoint()
                    .trim_start_matches("http://")
                    .split_once(':')
                    .map(|(host, port)| (host.to_owned(), port.to_owned()))
                    .expect("an address has a port");
                format!(
                    "[RadosGWStorage, {{hostname: {host}, port: {port}, is_secure: false, access_key: {}, secret_key: {}, \
                     bucket_name: blobs, storage_path: /}}]",
                    server.access_key(),
                    server.secret_key()
                )
            }
            None => format!(
                "[LocalStorage, {{storage_path: {}}}]",
                home.join("blobs").display()
            ),
        };
        // The load generator follows nobody: pulls from S3 would be redirections, to the store or to the registry, which it counts as failed.
        let configuration = format!(
            "SERVER_HOSTNAME: 127.0.0.1:{port}\nPREFERRED_URL_SCHEME: http\nDB_URI: {database}\n\
             DATABASE_SECRET_KEY: \"36661985938452016234567890123456789012\"\n\
             SECRET_KEY: a key for measurements alone\nCREATE_NAMESPACE_ON_PUSH: true\nAUTHENTICATION_TYPE: Database\n\
             DISTRIBUTED_STORAGE_CONFIG: {{local: {store}}}\n\
             ROADSTEAD_REDIRECT_NETWORKS: []\nDISTRIBUTED_STORAGE_PREFERENCE: [local]\nDISTRIBUTED_STORAGE_DEFAULT_LOCATIONS: [local]\n"
        );
        fs::write(home.join("config.yaml"), configuration).expect("a file can be written");
        let start = || {
            let mut command = Command::new(&program);
            // Beside a database that is a server, the first account's password is kept where the registry was started.
            command.current_dir(&home).arg("--config-dir").arg(&home);
            command.args(["--listen", &format!("127.0.0.1:{port}"), "--log", "warn"]);
            Running::start(command, port)
        };
        let first = start();
        wait_for_an_answer(port);
        drop(first);
        let starts_ms = (0..SAMPLES)
            .map(|_| {
                let began = watch();
                let running = start();
                wait_for_an_answer(port);
                let took = began.elapsed();
                drop(running);
                took.as_secs_f64() * 1000.0
            })
            .collect();
        let running = start();
        wait_for_an_answer(port);
        let password =
            fs::read_to_string(home.join("admin-password")).expect("an account was made");
        Self {
            running,
            port,
            password: password.trim().to_owned(),
            starts_ms,
            _servers: (postgres, s3),
        }
    }

    /// As the generator is told of it, with a token for all repositories that it is going to make.
    pub(crate) fn target(&self, tag: &str, rounds: u32) -> String {
        let scopes: Vec<String> = (0..rounds)
            .flat_map(|round| ["", "i", "t"].map(|kind| format!("bench/r{tag}-{round}{kind}")))
            .map(|name| format!("&scope=repository:{name}:pull,push"))
            .collect();
        let scopes = scopes.concat();
        let address = format!(
            "http://127.0.0.1:{}/v2/auth?service=127.0.0.1:{}{scopes}",
            self.port, self.port
        );
        let answer = Command::new("curl")
            .args(["--silent", "--fail", "--user"])
            .args([format!("admin:{}", self.password), address])
            .output()
            .expect("curl runs");
        let answer: serde_json::Value =
            serde_json::from_slice(&answer.stdout).expect("a token is given");
        let token = answer["token"].as_str().expect("a token is given");
        let (port, id) = (self.port, self.running.id());
        format!("us=http://127.0.0.1:{port},pid={id},bearer={token}")
    }

    /// The processor time of a token, in milliseconds, for a password that was checked just before.
    pub(crate) fn times_of_a_token_ms(&self) -> Vec<f64> {
        // Enough for the ticks in which processor time is counted.
        const TOKENS: u32 = 500;
        let mut client = Client::new(address(self.port), &self.password, PATIENCE);
        let process = self.running.id().to_string();
        let sample = |_| {
            let (before, _) = cpu_time(&process);
            for _ in 0..TOKENS {
                client.new_token();
            }
            let (after, _) = cpu_time(&process);
            after.saturating_sub(before).as_secs_f64() * 1000.0 / f64::from(TOKENS)
        };
        (0..SAMPLES).map(sample).collect()
    }
}

fn address(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

/// Returns when the registry tells nobody in particular to sign in.
fn wait_for_an_answer(port: u16) {
    let request = Request {
        method: "GET",
        path: "/v2/",
        headers: &[],
        body: &[],
    };
    let began = watch();
    while !Connection::open(address(port), PATIENCE)
        .and_then(|mut connection| connection.status(request))
        .is_ok_and(|status| status == 401)
    {
        assert!(began.elapsed() < PATIENCE, "the registry does not answer");
        thread::sleep(Duration::from_millis(1));
    }
}
