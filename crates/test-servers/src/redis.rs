//! Redis: a server, a sentinel that watches one, and a small cluster.

use std::ffi::OsString;
use std::fs;
use std::process::Command;
use std::thread;
use std::time::Duration;

use crate::ports::free_port;
use crate::process::{Process, Program};
use crate::spawn::TemporaryDirectory;

/// Debian's names of the programs.
const SERVER: &str = "redis-server";
const CLIENT: &str = "redis-cli";

/// How often a cluster or a sentinel is asked whether it has come about, and how long between: a minute in all.
const ATTEMPTS: u32 = 600;
const PAUSE: Duration = Duration::from_millis(100);

/// How a server is run.
#[derive(Clone, Debug, Default)]
pub struct RedisSettings {
    /// What it asks for; none: it lets everybody in.
    pub password: Option<String>,
    /// Whether it speaks TLS, and nothing else, with a certificate of its own making for `localhost`.
    pub tls: bool,
    /// The port of the server that it follows.
    pub replica_of: Option<u16>,
    /// Further arguments.
    pub more: Vec<String>,
}

/// A Redis. Dropping it ends it and removes its files.
#[derive(Debug)]
pub struct RedisServer {
    // Dropped in this order: the files go when nobody writes any more.
    process: Process,
    port: u16,
    settings: RedisSettings,
    certificate: Option<String>,
    directory: TemporaryDirectory,
}

impl RedisServer {
    /// Starts one. That takes some milliseconds.
    ///
    /// # Panics
    /// When it is not installed or does not start.
    pub fn start(settings: RedisSettings) -> Self {
        let directory = TemporaryDirectory::new("redis");
        let port = free_port();
        let mut arguments: Vec<OsString> = Vec::new();
        let mut set = |name: &str, value: OsString| {
            arguments.extend([OsString::from(format!("--{name}")), value]);
        };
        set("bind", "127.0.0.1".into());
        set("dir", directory.path().into());
        set("save", "".into());
        let certificate = settings.tls.then(|| {
            let made = rcgen::generate_simple_self_signed(["localhost".to_owned()])
                .expect("a certificate can be made");
            let (certificate, key) = (made.cert.pem(), made.signing_key.serialize_pem());
            for (name, content) in [("cert.pem", &certificate), ("key.pem", &key)] {
                fs::write(directory.path().join(name), content)
                    .expect("a temporary directory can be written");
            }
            certificate
        });
        if certificate.is_some() {
            set("port", "0".into());
            set("tls-port", port.to_string().into());
            set("tls-cert-file", directory.path().join("cert.pem").into());
            set("tls-key-file", directory.path().join("key.pem").into());
            set("tls-auth-clients", "no".into());
            set("tls-ca-cert-file", directory.path().join("cert.pem").into());
        } else {
            set("port", port.to_string().into());
        }
        if let Some(password) = &settings.password {
            set("requirepass", password.into());
            set("masterauth", password.into());
        }
        if let Some(primary) = settings.replica_of {
            set("replicaof", format!("127.0.0.1 {primary}").into());
        }
        arguments.extend(settings.more.iter().map(OsString::from));
        let mut process = Process::start(Program {
            name: "redis",
            path: SERVER.into(),
            arguments,
            environment: Vec::new(),
            port,
            log: directory.path().join("output"),
        });
        process.wait_until_ready();
        Self {
            process,
            port,
            settings,
            certificate,
            directory,
        }
    }

    /// The port on 127.0.0.1.
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// The certificate in PEM, which is its own authority, if it speaks TLS.
    pub fn certificate(&self) -> Option<&str> {
        self.certificate.as_deref()
    }

    /// What a command gives, as `redis-cli` prints it.
    ///
    /// # Panics
    /// When the server does not answer.
    pub fn run(&self, command: &[&str]) -> String {
        let mut client = Command::new(CLIENT);
        client.args(["-h", "localhost", "-p", &self.port.to_string()]);
        if self.certificate.is_some() {
            client.arg("--tls").arg("--cacert");
            client.arg(self.directory.path().join("cert.pem"));
        }
        if let Some(password) = &self.settings.password {
            client.env("REDISCLI_AUTH", password);
        }
        said_by(client.args(command))
    }

    /// Ends it at once (SIGKILL).
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Starts it again, on the same port, empty.
    ///
    /// # Panics
    /// When it does not start.
    pub fn restart(&mut self) {
        self.process.restart();
        self.process.wait_until_ready();
    }

    /// Stops it where it stands: connections stay open and are taken, and nothing answers.
    ///
    /// # Panics
    /// When it does not run.
    pub fn freeze(&self) {
        self.process.freeze();
    }

    /// Lets it go on.
    ///
    /// # Panics
    /// When it does not run.
    pub fn thaw(&self) {
        self.process.thaw();
    }
}

/// A sentinel that watches a server and its replicas, and decides alone. Dropping it ends it and removes its files.
#[derive(Debug)]
pub struct RedisSentinel {
    _process: Process,
    port: u16,
    _directory: TemporaryDirectory,
}

impl RedisSentinel {
    /// What it calls the servers that it watches.
    pub const SERVICE: &'static str = "registry";

    /// Starts one that watches `primary` without a password, and returns when it knows of a replica. It takes a server that is silent for five
    /// seconds for lost: one that is only slow stays.
    ///
    /// # Panics
    /// When it is not installed, does not start or finds no replica.
    pub fn start(primary: &RedisServer) -> Self {
        let directory = TemporaryDirectory::new("redis-sentinel");
        let port = free_port();
        let service = Self::SERVICE;
        let file = directory.path().join("sentinel.conf");
        let settings = format!(
            "port {port}\nbind 127.0.0.1\ndir {}\nsentinel monitor {service} 127.0.0.1 {} 1\n\
             sentinel down-after-milliseconds {service} 5000\nsentinel failover-timeout {service} 3000\n",
            directory.path().display(),
            primary.port(),
        );
        // It writes into the file what it learns.
        fs::write(&file, settings).expect("a temporary directory can be written");
        let mut process = Process::start(Program {
            name: "redis-sentinel",
            path: SERVER.into(),
            arguments: vec![file.into(), "--sentinel".into()],
            environment: Vec::new(),
            port,
            log: directory.path().join("output"),
        });
        process.wait_until_ready();
        let sentinel = Self {
            _process: process,
            port,
            _directory: directory,
        };
        wait("the sentinel finds a replica", || {
            let known = said_by(
                Command::new(CLIENT)
                    .args(["-p", &port.to_string()])
                    .args(["sentinel", "replicas", service]),
            );
            known.contains("runid")
        });
        sentinel
    }

    /// The port on 127.0.0.1.
    pub const fn port(&self) -> u16 {
        self.port
    }
}

/// Three nodes that share the keys. Dropping it ends them and removes their files.
#[derive(Debug)]
pub struct RedisCluster {
    nodes: Vec<RedisServer>,
}

impl RedisCluster {
    /// Starts one. That takes some seconds.
    ///
    /// # Panics
    /// When it does not come about.
    pub fn start() -> Self {
        let nodes: Vec<RedisServer> = (0..3)
            .map(|_| {
                // Nodes talk to each other on a port of their own, by default 10,000 higher.
                let more = ["--cluster-enabled", "yes", "--cluster-port"].map(str::to_owned);
                let mut more = more.to_vec();
                more.push(free_port().to_string());
                RedisServer::start(RedisSettings {
                    more,
                    ..RedisSettings::default()
                })
            })
            .collect();
        let addresses = nodes.iter().map(|node| format!("127.0.0.1:{}", node.port));
        said_by(
            Command::new(CLIENT)
                .args(["--cluster", "create"])
                .args(addresses)
                .arg("--cluster-yes"),
        );
        wait("the cluster comes about", || {
            nodes
                .iter()
                .all(|node| node.run(&["cluster", "info"]).contains("cluster_state:ok"))
        });
        Self { nodes }
    }

    /// The ports of its nodes on 127.0.0.1.
    pub fn ports(&self) -> Vec<u16> {
        self.nodes.iter().map(RedisServer::port).collect()
    }
}

fn said_by(command: &mut Command) -> String {
    let said = command.output().expect("`redis-cli` can be run");
    assert!(
        said.status.success(),
        "{command:?} failed: {}{}",
        String::from_utf8_lossy(&said.stdout),
        String::from_utf8_lossy(&said.stderr)
    );
    String::from_utf8_lossy(&said.stdout).trim().to_owned()
}

fn wait(what: &str, mut so: impl FnMut() -> bool) {
    for _ in 0..ATTEMPTS {
        if so() {
            return;
        }
        thread::sleep(PAUSE);
    }
    panic!("{what}: not within a minute");
}
