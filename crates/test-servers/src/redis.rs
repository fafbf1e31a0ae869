//! Redis: a server, a sentinel that watches one, and a small cluster.

use std::ffi::OsString;
use std::fs;
use std::ops::{Deref, DerefMut};
use std::process::Command;
use std::time::Duration;

use crate::certificates::CertificateAuthority;
use crate::ports::free_port;
use crate::server::{Program, Server};
use crate::wait::wait;

/// Debian's names of the programs.
const SERVER: &str = "redis-server";
const CLIENT: &str = "redis-cli";

/// The file in a server's directory that the authority of its certificate is in.
const AUTHORITY: &str = "ca.pem";

/// How long a cluster or a sentinel may take to come about.
const LIMIT: Duration = Duration::from_mins(1);

/// How a server is run.
#[derive(Clone, Debug, Default)]
pub struct RedisSettings {
    /// What it asks for; none: it lets everybody in.
    pub password: Option<String>,
    /// Whether it speaks TLS, and nothing else, with a certificate for `localhost` of an authority of its own.
    pub tls: bool,
    /// The port of the server that it follows.
    pub replica_of: Option<u16>,
    /// Further arguments.
    pub more: Vec<String>,
}

/// A Redis, which keeps nothing over a restart. Dropping it ends it and removes its files.
#[derive(Debug)]
pub struct RedisServer {
    server: Server,
    settings: RedisSettings,
    authority: Option<String>,
}

impl RedisServer {
    /// Starts one. That takes some milliseconds.
    ///
    /// # Panics
    /// When it is not installed or does not start.
    pub fn start(settings: RedisSettings) -> Self {
        let authority = settings.tls.then(CertificateAuthority::default);
        let server = Server::start("redis", |directory, port| {
            let mut arguments: Vec<OsString> = Vec::new();
            let mut set = |name: &str, value: OsString| {
                arguments.extend([OsString::from(format!("--{name}")), value]);
            };
            set("bind", "127.0.0.1".into());
            set("dir", directory.into());
            set("save", "".into());
            if let Some(authority) = &authority {
                let issued = authority.issue(&["localhost"]);
                let file = |name: &str, content: &str| -> OsString {
                    let path = directory.join(name);
                    fs::write(&path, content).expect("a temporary directory can be written");
                    path.into()
                };
                set("port", "0".into());
                set("tls-port", port.to_string().into());
                set("tls-cert-file", file("cert.pem", &issued.certificate));
                set("tls-key-file", file("key.pem", &issued.key));
                set("tls-auth-clients", "no".into());
                set("tls-ca-cert-file", file(AUTHORITY, authority.pem()));
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
            Program {
                path: SERVER.into(),
                arguments,
                environment: Vec::new(),
            }
        });
        Self {
            server,
            authority: authority.map(|authority| authority.pem().to_owned()),
            settings,
        }
    }

    /// The authority of its certificate in PEM, if it speaks TLS.
    pub fn authority(&self) -> Option<&str> {
        self.authority.as_deref()
    }

    /// What a command gives, as `redis-cli` prints it.
    ///
    /// # Panics
    /// When the server does not answer.
    pub fn run(&self, command: &[&str]) -> String {
        let mut client = Command::new(CLIENT);
        client.args(["-h", "localhost", "-p", &self.port().to_string()]);
        if self.authority.is_some() {
            client.arg("--tls").arg("--cacert");
            client.arg(self.directory().join(AUTHORITY));
        }
        if let Some(password) = &self.settings.password {
            client.env("REDISCLI_AUTH", password);
        }
        said_by(client.args(command))
    }
}

impl Deref for RedisServer {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.server
    }
}

impl DerefMut for RedisServer {
    fn deref_mut(&mut self) -> &mut Server {
        &mut self.server
    }
}

/// A sentinel that watches a server and its replicas, and decides alone. Dropping it ends it and removes its files.
#[derive(Debug)]
pub struct RedisSentinel {
    server: Server,
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
        let service = Self::SERVICE;
        let server = Server::start("redis-sentinel", |directory, port| {
            let file = directory.join("sentinel.conf");
            let settings = format!(
                "port {port}\nbind 127.0.0.1\ndir {}\nsentinel monitor {service} 127.0.0.1 {} 1\n\
                 sentinel down-after-milliseconds {service} 5000\nsentinel failover-timeout {service} 3000\n",
                directory.display(),
                primary.port(),
            );
            // It writes into the file what it learns.
            fs::write(&file, settings).expect("a temporary directory can be written");
            Program {
                path: SERVER.into(),
                arguments: vec![file.into(), "--sentinel".into()],
                environment: Vec::new(),
            }
        });
        let port = server.port().to_string();
        let found = wait(LIMIT, || {
            let mut client = Command::new(CLIENT);
            client.args(["-p", &port, "sentinel", "replicas", service]);
            said_by(&mut client).contains("runid")
        });
        assert!(found, "the sentinel finds no replica: {}", server.log());
        Self { server }
    }

    /// The port on 127.0.0.1.
    pub const fn port(&self) -> u16 {
        self.server.port()
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
        let addresses = nodes
            .iter()
            .map(|node| format!("127.0.0.1:{}", node.port()));
        said_by(
            Command::new(CLIENT)
                .args(["--cluster", "create"])
                .args(addresses)
                .arg("--cluster-yes"),
        );
        let come_about = wait(LIMIT, || {
            nodes
                .iter()
                .all(|node| node.run(&["cluster", "info"]).contains("cluster_state:ok"))
        });
        assert!(come_about, "the cluster does not come about");
        Self { nodes }
    }

    /// The ports of its nodes on 127.0.0.1.
    pub fn ports(&self) -> Vec<u16> {
        self.nodes.iter().map(|node| node.port()).collect()
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
