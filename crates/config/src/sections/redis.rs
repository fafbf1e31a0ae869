//! Where Redis is, in Quay's forms and one of ours.

use std::path::PathBuf;

use figment::value::{Dict, Value};

use crate::reader::{Keys, Remark, did_you_mean};
use crate::secret::Secret;
use crate::sections::hosting::is_host_and_port;

/// Where Redis is. It holds nothing: it carries hints between processes, and without it they find out by themselves, within seconds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Redis {
    /// `ROADSTEAD_REDIS`, or else `USER_EVENTS_REDIS`, or else the Redis of `DATA_MODEL_CACHE_CONFIG`: through which processes wake each other and
    /// tell each other what has changed (default: none). `ROADSTEAD_REDIS` takes what the others take, and instead of `host` and `port` also
    /// `sentinels` (a list of `host:port`) with `service`, `sentinel_username` and `sentinel_password`, or `nodes` (a list of `host:port`) of a cluster.
    pub hints: Option<RedisServer>,
    /// `BUILDLOGS_REDIS`: what health checks report on as `redis`, as in Quay (default: that of the hints).
    pub checked: Option<RedisServer>,
    /// `USER_EVENTS_REDIS`, where `FEATURE_USER_EVENTS` is on (default: off): where people's browsers hear what their clients do.
    pub user_events: Option<RedisServer>,
}

/// A Redis and how it is reached: the arguments of Quay's client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedisServer {
    /// The servers.
    pub servers: RedisServers,
    /// `username`: the user (default: Redis' own default).
    pub username: Option<String>,
    /// `password`: its password (default: none).
    pub password: Option<Secret<String>>,
    /// `db`: the number of the database, 0 to 255 (default: 0).
    pub database: u8,
    /// `ssl`: whether TLS is spoken (default: false).
    pub tls: Option<RedisTls>,
}

/// The servers of a Redis, each a host and a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RedisServers {
    /// `host` and `port` (default: `localhost`, 6379).
    One((String, u16)),
    /// Whichever these sentinels name.
    Sentinels {
        /// `sentinels`: their hosts, each with a port (default: 26379).
        sentinels: Vec<(String, u16)>,
        /// `service`: what they call the servers that they watch.
        service: String,
        /// `sentinel_username`: their own user, if they have one.
        username: Option<String>,
        /// `sentinel_password`: its password.
        password: Option<Secret<String>>,
    },
    /// The nodes of a cluster, of which one will do.
    Cluster(Vec<(String, u16)>),
}

/// How TLS is spoken to a Redis. Certificates are always checked, with names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RedisTls {
    /// `ssl_ca_certs`: a file of certificate authorities besides the machine's.
    pub authorities: Option<PathBuf>,
    /// `ssl_certfile` and `ssl_keyfile`: the certificate that this side shows, and its key.
    pub identity: Option<(PathBuf, PathBuf)>,
}

const PORT: u16 = 6379;
const SENTINEL_PORT: u16 = 26_379;

/// What a Redis of Quay's is described by.
const QUAYS: [&str; 10] = [
    "host",
    "port",
    "username",
    "password",
    "db",
    "ssl",
    "ssl_ca_certs",
    "ssl_certfile",
    "ssl_keyfile",
    "ssl_cert_reqs",
];

/// What ours alone is described by.
const OURS: [&str; 5] = [
    "sentinels",
    "service",
    "sentinel_username",
    "sentinel_password",
    "nodes",
];

/// What Quay's client takes besides, and what changes nothing here: deadlines and retries are this program's own.
const WITHOUT_EFFECT: [&str; 19] = [
    "charset",
    "client_name",
    "decode_responses",
    "encoding",
    "encoding_errors",
    "errors",
    "health_check_interval",
    "max_connections",
    "protocol",
    "read_from_replicas",
    "readonly_mode",
    "retry_on_error",
    "retry_on_timeout",
    "single_connection_client",
    "socket_connect_timeout",
    "socket_keepalive",
    "socket_timeout",
    "skip_full_coverage_check",
    "ssl_check_hostname",
];

/// What stands behind a key.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Quays,
    Ours,
    /// One whose hosts stand elsewhere.
    Cluster,
}

impl Redis {
    pub(super) fn read(keys: &mut Keys) -> Self {
        let ours = read(keys, "ROADSTEAD_REDIS", Form::Ours);
        let checked = read(keys, "BUILDLOGS_REDIS", Form::Quays);
        let events = read(keys, "USER_EVENTS_REDIS", Form::Quays);
        // Counts of pulls are not kept in Redis here.
        read(keys, "PULL_METRICS_REDIS", Form::Quays);
        let cache = read_cache(keys);
        let events_wanted = keys.flag("FEATURE_USER_EVENTS", false);
        let hints = ours.or_else(|| events.clone()).or(cache);
        Self {
            checked: checked.or_else(|| hints.clone()),
            hints,
            user_events: events.filter(|_| events_wanted),
        }
    }
}

fn read(keys: &mut Keys, key: &'static str, form: Form) -> Option<RedisServer> {
    let value = keys.value(key)?;
    if matches!(value, Value::Empty(..)) {
        return None;
    }
    server(keys, key, &value, form)
}

/// The cache of Quay's that is in a Redis. There is none here; what it is shared through may carry hints.
fn read_cache(keys: &mut Keys) -> Option<RedisServer> {
    const KEY: &str = "DATA_MODEL_CACHE_CONFIG";
    const ENGINES: [&str; 5] = ["inmemory", "memcached", "noop", "redis", "rediscluster"];
    let value = keys.value(KEY)?;
    let Value::Dict(_, config) = &value else {
        if !matches!(value, Value::Empty(..)) {
            keys.mismatch(KEY, &value, "a map with an engine", "change it");
        }
        return None;
    };
    let engine = match config.get("engine") {
        None => return None,
        Some(engine) => keys.text_of(&format!("{KEY}.engine"), engine)?,
    };
    if !ENGINES.contains(&&*engine) {
        let path = format!("{KEY}.engine");
        let remark = Remark::new(
            "there is no such engine",
            ENGINES.join(", "),
            did_you_mean(&engine, ENGINES),
        );
        keys.refuse(&path, config.get("engine"), remark);
        return None;
    }
    let path = format!("{KEY}.redis_config");
    let missing = |keys: &mut Keys, path: &str, what: &str| {
        keys.refuse_absent(
            path,
            &value,
            Remark::new("it is missing", what, "fill it in"),
        );
    };
    match (&*engine, config.get("redis_config")) {
        ("redis" | "rediscluster", None) => {
            missing(keys, &path, "a map of where Redis is");
            None
        }
        ("redis", Some(found)) => {
            let Some(primary) = entry(found, "primary") else {
                missing(keys, &format!("{path}.primary"), "a map with host and port");
                return None;
            };
            if let Some(replica) = entry(found, "replica") {
                server(keys, &format!("{path}.replica"), replica, Form::Quays);
            }
            server(keys, &format!("{path}.primary"), primary, Form::Quays)
        }
        ("rediscluster", Some(found)) => {
            let path_of_nodes = format!("{path}.startup_nodes");
            let nodes = match entry(found, "startup_nodes") {
                Some(Value::Array(_, nodes)) => nodes
                    .iter()
                    .enumerate()
                    .filter_map(|(index, node)| {
                        let path = format!("{path_of_nodes}[{index}]");
                        match server(keys, &path, node, Form::Quays)?.servers {
                            RedisServers::One(address) => Some(address),
                            RedisServers::Sentinels { .. } | RedisServers::Cluster(_) => None,
                        }
                    })
                    .collect(),
                Some(other) => {
                    keys.mismatch(
                        &path_of_nodes,
                        other,
                        "a list of hosts and ports",
                        "change it",
                    );
                    return None;
                }
                None => Vec::new(),
            };
            if nodes.is_empty() {
                missing(keys, &path_of_nodes, "a list of hosts and ports");
                return None;
            }
            let found = server(keys, &path, found, Form::Cluster)?;
            Some(RedisServer {
                servers: RedisServers::Cluster(nodes),
                ..found
            })
        }
        _ => None,
    }
}

fn entry<'v>(value: &'v Value, name: &str) -> Option<&'v Value> {
    match value {
        Value::Dict(_, entries) => entries.get(name),
        _ => None,
    }
}

/// The Redis that `value`, which stands at `path`, describes.
fn server(keys: &mut Keys, path: &str, value: &Value, form: Form) -> Option<RedisServer> {
    let Value::Dict(_, entries) = value else {
        keys.mismatch(
            path,
            value,
            "a map such as {host: redis.example.org, port: 6379, password: ...}",
            "change it",
        );
        return None;
    };
    let before = keys.errors.len();
    refuse_unknown(keys, path, entries, form);
    let mut reader = Entries {
        keys,
        path,
        given: entries,
    };
    let servers = match form {
        Form::Ours if entries.contains_key("sentinels") => RedisServers::Sentinels {
            sentinels: reader.addresses("sentinels", SENTINEL_PORT),
            service: reader.required("service", "what the sentinels call what they watch"),
            username: reader.text("sentinel_username"),
            password: reader.text("sentinel_password").map(Secret::new),
        },
        Form::Ours if entries.contains_key("nodes") => {
            RedisServers::Cluster(reader.addresses("nodes", PORT))
        }
        Form::Cluster => RedisServers::Cluster(Vec::new()),
        Form::Quays | Form::Ours => RedisServers::One((
            reader
                .text("host")
                .unwrap_or_else(|| "localhost".to_owned()),
            u16::try_from(reader.number("port", PORT.into(), 1..=65_535)).unwrap_or(PORT),
        )),
    };
    let server = RedisServer {
        servers,
        username: reader.text("username"),
        password: reader.text("password").map(Secret::new),
        database: u8::try_from(reader.number("db", 0, 0..=255)).unwrap_or_default(),
        tls: reader.tls(),
    };
    (keys.errors.len() == before).then_some(server)
}

fn refuse_unknown(keys: &mut Keys, path: &str, entries: &Dict, form: Form) {
    for (name, value) in entries {
        let inside = format!("{path}.{name}");
        let known = QUAYS.contains(&name.as_str())
            || (form == Form::Ours && OURS.contains(&name.as_str()))
            || (form == Form::Cluster && name == "startup_nodes");
        if known {
            continue;
        }
        if WITHOUT_EFFECT.contains(&name.as_str()) {
            let remark = Remark::new("without effect here", "", "leave it or remove it");
            keys.warn(&inside, Some(value), remark);
            continue;
        }
        let names = QUAYS
            .iter()
            .chain(OURS.iter().filter(|_| form == Form::Ours));
        let names: Vec<&str> = names.copied().collect();
        let remark = Remark::new("unknown", names.join(", "), did_you_mean(name, names));
        // It may be a misspelt password.
        keys.refuse_absent(&inside, value, remark);
    }
}

/// The entries of one map.
struct Entries<'k, 'v> {
    keys: &'k mut Keys,
    path: &'v str,
    given: &'v Dict,
}

impl<'v> Entries<'_, 'v> {
    /// What stands there, if it is more than nothing.
    fn given(&self, name: &str) -> Option<(String, &'v Value)> {
        let value = self.given.get(name)?;
        let nothing = match value {
            Value::Empty(..) => true,
            Value::String(_, text) => text.is_empty(),
            _ => false,
        };
        (!nothing).then(|| (format!("{}.{name}", self.path), value))
    }

    /// A text.
    fn text(&mut self, name: &str) -> Option<String> {
        let (path, value) = self.given(name)?;
        self.keys.text_of(&path, value)
    }

    fn required(&mut self, name: &str, what: &str) -> String {
        self.text(name).unwrap_or_else(|| {
            let path = format!("{}.{name}", self.path);
            if let Some(around) = self.given.values().next() {
                let remark = Remark::new("it is missing", what, "fill it in");
                self.keys.refuse_absent(&path, around, remark);
            }
            String::new()
        })
    }

    fn number(&mut self, name: &str, default: u64, range: std::ops::RangeInclusive<u64>) -> u64 {
        let Some((path, value)) = self.given(name) else {
            return default;
        };
        // Templates put numbers in quotes, and Quay's client takes them.
        if let Value::String(_, text) = value
            && let Ok(number) = text.parse()
            && range.contains(&number)
        {
            return number;
        }
        self.keys.number_of(&path, value, range).unwrap_or(default)
    }

    /// A list of hosts with or without ports, of which there has to be one.
    fn addresses(&mut self, name: &str, port: u16) -> Vec<(String, u16)> {
        let path = format!("{}.{name}", self.path);
        let allowed = "a list of hosts with their ports, such as [redis1:6379, redis2:6379]";
        let mut addresses = Vec::new();
        match self.given.get(name) {
            Some(Value::Array(_, items)) if !items.is_empty() => {
                for (index, item) in items.iter().enumerate() {
                    let path = format!("{path}[{index}]");
                    let Some(text) = self.keys.text_of(&path, item) else {
                        continue;
                    };
                    if !is_host_and_port(&text) {
                        let remark = Remark::new("not a host with a port", allowed, "correct it");
                        self.keys.refuse(&path, Some(item), remark);
                        continue;
                    }
                    addresses.push(divided(&text, port));
                }
            }
            Some(value) => {
                let remark = Remark::new("not a list of hosts", allowed, "change it");
                self.keys.refuse(&path, Some(value), remark);
            }
            None => {}
        }
        addresses
    }

    fn tls(&mut self) -> Option<RedisTls> {
        let spoken = self
            .given("ssl")
            .and_then(|(path, value)| self.keys.flag_of(&path, value))
            .unwrap_or(false);
        if let Some((path, value)) = self.given("ssl_cert_reqs") {
            let verified = matches!(value, Value::String(_, text) if text == "required");
            if !verified {
                let remark = Remark::new(
                    "certificates are checked all the same",
                    "required",
                    "put the authority into ssl_ca_certs",
                );
                self.keys.warn(&path, Some(value), remark);
            }
        }
        let authorities = self.text("ssl_ca_certs").map(PathBuf::from);
        let certificate = self.text("ssl_certfile").map(PathBuf::from);
        let key = self.text("ssl_keyfile").map(PathBuf::from);
        let identity = match (certificate, key) {
            (Some(certificate), Some(key)) => Some((certificate, key)),
            (None, None) => None,
            (given, _) => {
                let (there, missing) = if given.is_some() {
                    ("ssl_certfile", "ssl_keyfile")
                } else {
                    ("ssl_keyfile", "ssl_certfile")
                };
                if let Some(around) = self.given.get(there) {
                    let remark = Remark::new(
                        "it is missing",
                        format!("a file, as there is a {there}"),
                        "fill it in",
                    );
                    let path = format!("{}.{missing}", self.path);
                    self.keys.refuse_absent(&path, around, remark);
                }
                None
            }
        };
        spoken.then_some(RedisTls {
            authorities,
            identity,
        })
    }
}

/// A host with a port as its two parts.
fn divided(text: &str, port: u16) -> (String, u16) {
    match text.rsplit_once(':') {
        Some((host, number)) if !host.contains(':') || host.ends_with(']') => (
            host.trim_matches(['[', ']']).to_owned(),
            number.parse().unwrap_or(port),
        ),
        _ => (text.trim_matches(['[', ']']).to_owned(), port),
    }
}
