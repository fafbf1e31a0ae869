//! A PostgreSQL database: its servers, who we are there, and how far the connection is trusted.

use std::fs::File;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use figment::value::Value;

use super::parameters::{Given, Parameters};
use super::settings;
use super::uri::{self, is_number};
use crate::reader::{Keys, Remark, did_you_mean};
use crate::secret::Secret;
use crate::sections::hosting::is_dns_name;

/// A PostgreSQL database and how to connect to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Postgres {
    /// Its servers in the order of the URI, 1 to 16.
    pub hosts: Vec<PostgresHost>,
    /// The database's name; without one in the URI that of the role, as in libpq.
    pub database: String,
    /// The role.
    pub username: String,
    /// The role's password; none where the server asks for none, or for a certificate.
    pub password: Option<Secret<String>>,
    /// Encryption and its checks.
    pub tls: PostgresTls,
    /// `target_session_attrs`: which of the servers will do (default: `any`).
    pub target: TargetServer,
    /// `connect_timeout`: how long one attempt to connect may take, 1 to 300 s (default: 10 s, as in Quay).
    pub connect_timeout: Duration,
    /// `application_name`: what the server calls our sessions. Default: the program's own choice.
    pub application_name: Option<String>,
    /// `options`: settings for every session, such as `search_path`, in their order.
    pub settings: Vec<(String, String)>,
    /// The connections that one process keeps.
    pub pool: ConnectionPool,
}

/// One server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PostgresHost {
    /// A name, an address without brackets, or the directory of a Unix socket, which begins with a slash.
    pub host: String,
    /// Its port (default: 5432).
    pub port: u16,
}

/// `sslmode` and its files, each of which could be read when the configuration was.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PostgresTls {
    /// `sslmode`
    pub mode: SslMode,
    /// `sslrootcert`: a file with the certificates of authorities, besides the system's. `system` means those alone.
    pub root_certificate: Option<PathBuf>,
    /// `sslcert`: the file of our certificate. Only with a key.
    pub certificate: Option<PathBuf>,
    /// `sslkey`: the file of its key, not encrypted. Only with a certificate.
    pub key: Option<PathBuf>,
}

/// `sslmode`: how far the server is trusted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SslMode {
    /// `disable`: not encrypted.
    Disable,
    /// `prefer` (the default), `allow`: encrypted if the server can, whoever it is.
    #[default]
    Prefer,
    /// `require`: encrypted, whoever the server is. With `sslrootcert` it is read as `verify-ca`, as in libpq.
    Require,
    /// `verify-ca`: encrypted, and the server's certificate is from a known authority.
    VerifyCa,
    /// `verify-full`: as `verify-ca`, and the certificate names the host.
    VerifyFull,
}

/// `target_session_attrs`: which of several servers will do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TargetServer {
    /// `any`: the first that answers.
    #[default]
    Any,
    /// `read-write`: one whose sessions may write.
    ReadWrite,
    /// `read-only`: one whose sessions may not write. For read replicas.
    ReadOnly,
    /// `primary`: one that is not a standby.
    Primary,
    /// `standby`: a standby. For read replicas.
    Standby,
    /// `prefer-standby`: a standby if one answers, else any. For read replicas.
    PreferStandby,
}

/// The arguments of Quay's connection pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionPool {
    /// `max_connections`: the most that one process keeps, 2 to 1000 (default: 20).
    pub connections: u32,
    /// `timeout`: how long a request waits for a free one, 1 to 300 s. Default: the program's own choice.
    pub wait: Option<Duration>,
    /// `stale_timeout`: after how long one is closed and made anew, 1 to 604800 s. Default: the program's own choice.
    pub lifetime: Option<Duration>,
}

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Everything.
    Primary,
    /// Reading.
    Replica,
}

/// Where a connection is described.
pub(super) struct Described<'a> {
    /// The path of the URI.
    pub(super) path: &'a str,
    /// The URI.
    pub(super) value: &'a Value,
    /// What stands behind its `://`.
    pub(super) rest: &'a str,
    /// The path of the arguments.
    pub(super) arguments_path: &'a str,
    /// The arguments.
    pub(super) arguments: &'a [(String, Value)],
}

/// More servers than any cluster has; each may be waited for.
const HOSTS_MAX: usize = 16;

/// The port of PostgreSQL.
const PORT: u16 = 5432;

/// Quay's default for `connect_timeout`.
const CONNECT_SECONDS: u64 = 10;

/// The default of the pool in Quay. Two of them at least: one request may need a second connection while it holds one.
const CONNECTIONS: u32 = 20;

/// The longest wait that a request may be given.
const WAIT_SECONDS: RangeInclusive<u64> = 1..=300;

pub(super) const ALLOWED: &str = "postgresql://USER:PASSWORD@HOST:PORT/DATABASE, with several HOST:PORT separated by commas if there are";

impl Postgres {
    /// Reads what is described. `None`: what is wrong has been noted.
    pub(super) fn read(
        keys: &mut Keys,
        described: &Described<'_>,
        purpose: Purpose,
    ) -> Option<Self> {
        let errors = keys.errors.len();
        let Described { path, value, .. } = described;
        let parts = match uri::split(described.rest) {
            Ok(parts) => parts,
            Err((problem, action)) => {
                keys.refuse(path, Some(value), Remark::new(problem, ALLOWED, action));
                return None;
            }
        };
        let mut parameters = Parameters::default();
        parameters.take_uri(keys, path, value, parts.parameters);
        let (hosts, ports) = joined(parts.hosts);
        for part in [
            ("host", hosts),
            ("port", ports),
            ("user", parts.username),
            ("password", parts.password),
            ("dbname", parts.database),
        ] {
            parameters.take_part(keys, path, value, part);
        }
        parameters.take_arguments(keys, described.arguments_path, described.arguments);

        let mut reader = Reader { keys, parameters };
        let hosts = reader.hosts(described);
        let username = reader.text("user");
        if username.is_none() {
            let remark = Remark::new("it names no role", ALLOWED, "write USER@ before the host");
            reader.keys.refuse(path, Some(value), remark);
        }
        let username = username.unwrap_or_default();
        let read = Self {
            hosts,
            database: reader.text("dbname").unwrap_or_else(|| username.clone()),
            username,
            password: reader.text("password").map(Secret::new),
            tls: reader.tls(),
            target: reader.target(purpose),
            connect_timeout: reader
                .seconds("connect_timeout", WAIT_SECONDS)
                .unwrap_or(Duration::from_secs(CONNECT_SECONDS)),
            application_name: reader
                .text("application_name")
                .or_else(|| reader.text("fallback_application_name")),
            settings: reader.settings(),
            pool: ConnectionPool {
                connections: reader
                    .number("max_connections", 2..=1000)
                    .and_then(|number| u32::try_from(number).ok())
                    .unwrap_or(CONNECTIONS),
                wait: reader.seconds("timeout", WAIT_SECONDS),
                lifetime: reader.seconds("stale_timeout", 1..=604_800),
            },
        };
        (keys.errors.len() == errors).then_some(read)
    }
}

/// Hosts and ports as libpq's parameters `host` and `port` have them.
fn joined(hosts: Vec<(String, Option<String>)>) -> (Option<String>, Option<String>) {
    if hosts.is_empty() {
        return (None, None);
    }
    let any_port = hosts.iter().any(|(_, port)| port.is_some());
    let (hosts, ports): (Vec<_>, Vec<_>) = hosts
        .into_iter()
        .map(|(host, port)| (host, port.unwrap_or_default()))
        .unzip();
    (Some(hosts.join(",")), any_port.then(|| ports.join(",")))
}

/// Reads parameters one by one.
struct Reader<'a> {
    keys: &'a mut Keys,
    parameters: Parameters,
}

impl Reader<'_> {
    fn text(&self, name: &'static str) -> Option<String> {
        let given = self.parameters.get(name)?;
        (!given.text.is_empty()).then(|| given.text.clone())
    }

    /// Notes that what was given for `name` cannot be used.
    fn refuse(
        &mut self,
        given: &Given,
        problem: impl Into<String>,
        allowed: impl Into<String>,
        action: impl Into<String>,
    ) {
        given.refuse(self.keys, Remark::new(problem, allowed, action));
    }

    fn number(&mut self, name: &'static str, range: RangeInclusive<u64>) -> Option<u64> {
        let given = self.parameters.get(name)?.clone();
        let number = given.text.parse().ok().filter(|_| is_number(&given.text));
        if number.is_some_and(|number| range.contains(&number)) {
            return number;
        }
        let allowed = format!("a whole number from {} to {}", range.start(), range.end());
        self.refuse(
            &given,
            format!("{name} is out of range"),
            allowed,
            "change it",
        );
        None
    }

    fn seconds(&mut self, name: &'static str, range: RangeInclusive<u64>) -> Option<Duration> {
        self.number(name, range).map(Duration::from_secs)
    }

    fn hosts(&mut self, described: &Described<'_>) -> Vec<PostgresHost> {
        let Some(given) = self.parameters.get("host").cloned() else {
            let action =
                "name a host, or the directory of a Unix socket as in ?host=/run/postgresql";
            let remark = Remark::new("it names no host", ALLOWED, action);
            self.keys
                .refuse(described.path, Some(described.value), remark);
            return Vec::new();
        };
        let hosts: Vec<&str> = given.text.split(',').collect();
        if hosts.len() > HOSTS_MAX {
            let allowed = format!("up to {HOSTS_MAX}");
            self.refuse(&given, "it names too many hosts", allowed, "name fewer");
            return Vec::new();
        }
        let ports = self.ports(hosts.len());
        for host in &hosts {
            if let Some((problem, action)) = host_fault(host) {
                self.refuse(&given, problem, ALLOWED, action);
            }
        }
        hosts
            .into_iter()
            .zip(ports)
            .map(|(host, port)| PostgresHost {
                host: host.to_owned(),
                port,
            })
            .collect()
    }

    /// The port of each of `count` hosts: one for all, or as many as there are hosts.
    fn ports(&mut self, count: usize) -> Vec<u16> {
        let Some(given) = self.parameters.get("port").cloned() else {
            return vec![PORT; count];
        };
        let ports: Vec<Option<u16>> = given
            .text
            .split(',')
            .map(|port| match port {
                "" => Some(PORT),
                port if is_number(port) => port.parse().ok().filter(|port| *port > 0),
                _ => None,
            })
            .collect();
        if ports.contains(&None) {
            let action = "correct it, and write : / ? # @ in a password as %3A %2F %3F %23 %40";
            self.refuse(&given, "a port is not a number", "1 to 65535", action);
        }
        let ports: Vec<u16> = ports.into_iter().flatten().collect();
        match ports.as_slice() {
            [port] => vec![*port; count],
            _ if ports.len() == count => ports,
            [] => vec![PORT; count],
            _ => {
                let problem = "there are not as many ports as hosts";
                self.refuse(
                    &given,
                    problem,
                    "one port, or one for each host",
                    "correct it",
                );
                vec![PORT; count]
            }
        }
    }

    fn tls(&mut self) -> PostgresTls {
        let root_certificate = self.text("sslrootcert");
        let mode = self.ssl_mode(root_certificate.is_some());
        let system = root_certificate.as_deref() == Some("system");
        if system
            && mode != SslMode::VerifyFull
            && let Some(given) = self.parameters.get("sslrootcert").cloned()
        {
            let problem = "the system's authorities vouch for any host";
            let action = "set sslmode to verify-full with it, or name a file";
            self.refuse(&given, problem, "", action);
        }
        let tls = PostgresTls {
            mode,
            root_certificate: if system {
                None
            } else {
                self.file("sslrootcert")
            },
            certificate: self.file("sslcert"),
            key: self.file("sslkey"),
        };
        for (name, partner) in [("sslcert", "sslkey"), ("sslkey", "sslcert")] {
            if self.parameters.get(partner).is_none()
                && let Some(given) = self.parameters.get(name).cloned()
            {
                self.refuse(
                    &given,
                    format!("{name} needs {partner}"),
                    "",
                    format!("name {partner} too"),
                );
            }
        }
        tls
    }

    fn ssl_mode(&mut self, root_certificate: bool) -> SslMode {
        const MODES: [(&str, SslMode); 6] = [
            ("disable", SslMode::Disable),
            // libpq tries without encryption first. Tried the other way round, the connection is made to the same servers.
            ("allow", SslMode::Prefer),
            ("prefer", SslMode::Prefer),
            ("require", SslMode::Require),
            ("verify-ca", SslMode::VerifyCa),
            ("verify-full", SslMode::VerifyFull),
        ];
        match self.choice("sslmode", &MODES).unwrap_or_default() {
            SslMode::Require if root_certificate => SslMode::VerifyCa,
            mode => mode,
        }
    }

    fn target(&mut self, purpose: Purpose) -> TargetServer {
        const TARGETS: [(&str, TargetServer); 6] = [
            ("any", TargetServer::Any),
            ("read-write", TargetServer::ReadWrite),
            ("primary", TargetServer::Primary),
            ("read-only", TargetServer::ReadOnly),
            ("standby", TargetServer::Standby),
            ("prefer-standby", TargetServer::PreferStandby),
        ];
        let choices = match purpose {
            Purpose::Primary => TARGETS.split_at(3).0,
            Purpose::Replica => &TARGETS,
        };
        let given = self.parameters.get("target_session_attrs").cloned();
        if let (Purpose::Primary, Some(given)) = (purpose, given)
            && ["read-only", "standby", "prefer-standby"].contains(&given.text.as_str())
        {
            let problem = format!(
                "target_session_attrs={} finds a server that takes no writes",
                given.text
            );
            let allowed = names(choices);
            self.refuse(
                &given,
                problem,
                allowed,
                "name servers for reading in DB_READ_REPLICAS",
            );
            return TargetServer::Any;
        }
        self.choice("target_session_attrs", choices)
            .unwrap_or_default()
    }

    /// One of `choices`.
    fn choice<T: Copy>(&mut self, name: &'static str, choices: &[(&'static str, T)]) -> Option<T> {
        let given = self.parameters.get(name)?.clone();
        let chosen = choices.iter().find(|(choice, _)| *choice == given.text);
        if let Some((_, chosen)) = chosen {
            return Some(*chosen);
        }
        let hint = did_you_mean(&given.text, choices.iter().map(|(choice, _)| *choice));
        self.refuse(&given, format!("unknown {name}"), names(choices), hint);
        None
    }

    /// A file that can be read now.
    fn file(&mut self, name: &'static str) -> Option<PathBuf> {
        let given = self.parameters.get(name)?.clone();
        let path = PathBuf::from(&given.text);
        // Asked first, because opening a pipe would wait for somebody to write to it.
        let opened = std::fs::metadata(&path).and_then(|found| {
            if found.is_file() {
                File::open(&path).map(|_| ())
            } else {
                Err(std::io::Error::other("it is not a file"))
            }
        });
        if let Err(error) = opened {
            let problem = format!(
                "the file {:?} of {name} cannot be read: {error}",
                given.text
            );
            self.refuse(&given, problem, "", "put it there, readable by this user");
        }
        Some(path)
    }

    fn settings(&mut self) -> Vec<(String, String)> {
        let Some(given) = self.parameters.get("options").cloned() else {
            return Vec::new();
        };
        settings::read(&given.text).unwrap_or_else(|fault| {
            self.refuse(&given, fault, settings::ALLOWED, "change options");
            Vec::new()
        })
    }
}

fn names<T>(choices: &[(&str, T)]) -> String {
    let names: Vec<_> = choices.iter().map(|(name, _)| *name).collect();
    names.join(", ")
}

/// What is wrong with a host, and what to do.
fn host_fault(host: &str) -> Option<(&'static str, &'static str)> {
    if host.is_empty() {
        return Some(("a host has no name", "name every host"));
    }
    let fits =
        host.starts_with('/') || host.parse::<std::net::Ipv6Addr>().is_ok() || is_dns_name(host);
    (!fits).then_some((
        "a host is neither a name nor an address nor a directory",
        "correct it, and write : / ? # @ in a password as %3A %2F %3F %23 %40",
    ))
}
