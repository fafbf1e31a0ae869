//! Where Redis is, and how it is reached.

use std::fmt;
use std::path::PathBuf;

use roadstead_secrets::Secret;

/// Where Redis is, and how it is reached.
#[derive(Clone, Debug)]
pub struct RedisOptions {
    /// The servers.
    pub servers: Servers,
    /// The user; none: the default one.
    pub username: Option<String>,
    /// The password of the user, if there is one.
    pub password: Option<Secret>,
    /// The number of the database, 0 as a rule. It concerns keys: channels are the same in all.
    pub database: u8,
    /// TLS, if it is spoken.
    pub tls: Option<TlsOptions>,
}

/// The servers of one Redis.
#[derive(Clone, Debug)]
pub enum Servers {
    /// One.
    One(Address),
    /// One that these sentinels name, another when they say so.
    Sentinels {
        /// The sentinels, of which one that answers will do.
        sentinels: Vec<Address>,
        /// What they call the servers that they watch.
        service: String,
        /// The user of the sentinels, where they have their own.
        username: Option<String>,
        /// The password of that user.
        password: Option<Secret>,
    },
    /// A cluster, of which one node that answers will do.
    Cluster(Vec<Address>),
}

/// A host and a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// A name or an address.
    pub host: String,
    /// 6379 as a rule, 26379 for sentinels.
    pub port: u16,
}

/// How TLS is spoken. Certificates are checked always.
#[derive(Clone, Debug, Default)]
pub struct TlsOptions {
    /// Certificate authorities besides the machine's, in PEM.
    pub authorities: Vec<Vec<u8>>,
    /// Files of such, read at each connection.
    pub authority_files: Vec<PathBuf>,
    /// Files of the certificate and the key that this side shows, read at each connection; none: it shows none.
    pub identity: Option<(PathBuf, PathBuf)>,
}

impl RedisOptions {
    /// One server, without a password.
    pub fn new(host: impl Into<String>, port: u16) -> Self {
        Self {
            servers: Servers::One(Address {
                host: host.into(),
                port,
            }),
            username: None,
            password: None,
            database: 0,
            tls: None,
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}", self.host, self.port)
    }
}

/// For messages: where it is, without who asks.
impl fmt::Display for Servers {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |addresses: &[Address]| {
            let texts: Vec<String> = addresses.iter().map(ToString::to_string).collect();
            texts.join(", ")
        };
        match self {
            Self::One(address) => address.fmt(formatter),
            Self::Sentinels {
                sentinels, service, ..
            } => write!(
                formatter,
                "`{service}` of the sentinels {}",
                list(sentinels)
            ),
            Self::Cluster(nodes) => write!(formatter, "the cluster {}", list(nodes)),
        }
    }
}
