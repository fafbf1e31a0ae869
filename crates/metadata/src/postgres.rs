//! Where a PostgreSQL database is. Which of its servers is worked with, and what happens when that is lost, is the business of [`servers`].

mod advice;
mod choice;
mod probe;
mod servers;
mod snapshots;

use std::path::PathBuf;
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgSslMode};

pub(crate) use self::servers::{Live, Servers, Times};
pub(crate) use self::snapshots::Snapshots;
use crate::database::ACQUIRE_TIMEOUT;

/// How long one attempt to connect may take unless the configuration says otherwise: time for two retransmissions
/// of a lost packet, which come after 1 s and 3 s.
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How many connections a process holds at most unless the configuration says otherwise: a server takes 100 by default, enough for four
/// processes and an operator.
pub(crate) const CONNECTIONS: u32 = 20;

/// How long a start waits for the database unless told otherwise: a server that was restarted beside us is there by then, and whoever
/// supervises this process tries again after that.
pub(crate) const STARTUP_WAIT: Duration = Duration::from_secs(30);

/// Where a PostgreSQL database is and who we are there.
#[derive(Clone, PartialEq, Eq)]
pub struct PostgresOptions {
    /// Its servers, at least one. Of several the one that `target_session_attrs` asks for is found, again whenever it is lost.
    pub hosts: Vec<PostgresHost>,
    /// Which of the servers is wanted.
    pub target_session_attrs: TargetSessionAttrs,
    /// Copies of the database that reads may be sent to: standbys, each with servers and a role of its own. Their own `replicas` are not
    /// looked at.
    pub replicas: Vec<Self>,
    /// The database's name.
    pub database: String,
    /// The role.
    pub username: String,
    /// The role's password; none where the server asks for none, or a certificate.
    pub password: Option<String>,
    /// Encryption and its checks.
    pub tls: PostgresTls,
    /// How long one attempt to connect may take.
    pub connect_timeout: Duration,
    /// How many connections this process may hold.
    pub connections: u32,
    /// How long a statement waits for one of them.
    pub acquire_timeout: Duration,
    /// After how long one is closed and made anew; none: as the driver sees fit.
    pub connection_age_max: Option<Duration>,
    /// What the server calls our sessions.
    pub application_name: String,
    /// The server's settings for every session, after our own: names and values.
    pub settings: Vec<(String, String)>,
    /// How long a start waits for a server that does not answer yet.
    pub startup_wait: Duration,
}

/// libpq's `target_session_attrs`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TargetSessionAttrs {
    /// libpq's default. A single server is taken as it is; of several, one that takes writes, as with `ReadWrite`: a registry that
    /// settled on a standby could be pushed to by nobody.
    #[default]
    Any,
    /// A server that takes writes.
    ReadWrite,
    /// A server that takes no writes.
    ReadOnly,
    /// A server that is not in recovery.
    Primary,
    /// A server that is in recovery.
    Standby,
    /// A server that is in recovery, or any other when there is none.
    PreferStandby,
}

/// One server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PostgresHost {
    /// A name, an address, or the directory of a Unix socket.
    pub host: String,
    /// Its port.
    pub port: u16,
}

/// `host:port`.
impl std::fmt::Display for PostgresHost {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}:{}", self.host, self.port)
    }
}

/// libpq's `sslmode` with its files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PostgresTls {
    /// How far the server is trusted.
    pub mode: SslMode,
    /// Certificates of authorities besides the system's.
    pub root_certificate: Option<PathBuf>,
    /// More of them, in PEM form; used only where no file is named. Empty: none.
    pub authorities: String,
    /// Our certificate.
    pub certificate: Option<PathBuf>,
    /// Its key.
    pub key: Option<PathBuf>,
}

/// libpq's `sslmode`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SslMode {
    /// Never encrypted.
    Disable,
    /// Encrypted only if the server insists.
    Allow,
    /// Encrypted if the server can.
    #[default]
    Prefer,
    /// Encrypted; with a root certificate, checked as with `VerifyCa`.
    Require,
    /// Encrypted, and the server's certificate is from a known authority.
    VerifyCa,
    /// As `VerifyCa`, and the certificate names the host.
    VerifyFull,
}

/// Without the password.
impl std::fmt::Debug for PostgresOptions {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("PostgresOptions")
            .field("hosts", &self.hosts)
            .field("database", &self.database)
            .field("username", &self.username)
            .field("tls", &self.tls)
            .finish_non_exhaustive()
    }
}

/// `host:port/database`, without the role and its password.
impl std::fmt::Display for PostgresOptions {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("postgresql://")?;
        for (position, host) in self.hosts.iter().enumerate() {
            let comma = if position == 0 { "" } else { "," };
            write!(formatter, "{comma}{host}")?;
        }
        write!(formatter, "/{}", self.database)
    }
}

impl PostgresOptions {
    /// A database on these servers, without a password, encrypted if the server can, with this crate's defaults.
    pub fn new(
        hosts: Vec<PostgresHost>,
        database: impl Into<String>,
        username: impl Into<String>,
    ) -> Self {
        Self {
            hosts,
            target_session_attrs: TargetSessionAttrs::default(),
            replicas: Vec::new(),
            database: database.into(),
            username: username.into(),
            password: None,
            tls: PostgresTls::default(),
            connect_timeout: CONNECT_TIMEOUT,
            connections: CONNECTIONS,
            acquire_timeout: ACQUIRE_TIMEOUT,
            connection_age_max: None,
            application_name: "roadstead".to_owned(),
            settings: Vec::new(),
            startup_wait: STARTUP_WAIT,
        }
    }

    fn connect_options(&self, server: &PostgresHost) -> PgConnectOptions {
        let mut options = PgConnectOptions::new_without_pgpass()
            .host(&server.host)
            .port(server.port)
            .database(&self.database)
            .username(&self.username)
            .application_name(&self.application_name)
            .ssl_mode(match self.tls.mode {
                SslMode::Disable => PgSslMode::Disable,
                SslMode::Allow => PgSslMode::Allow,
                SslMode::Prefer => PgSslMode::Prefer,
                SslMode::Require => PgSslMode::Require,
                SslMode::VerifyCa => PgSslMode::VerifyCa,
                SslMode::VerifyFull => PgSslMode::VerifyFull,
            })
            // Every bound that Quay's own sessions lack: a statement that hangs must not hold a request for ever.
            .options([
                ("statement_timeout", "30s"),
                ("idle_in_transaction_session_timeout", "60s"),
                // What a registry asks for is in memory or on a disk without a head to move: an index is worth it even on a small table.
                ("random_page_cost", "1.1"),
                // Compiling takes seconds before the first row, for statements that take seconds.
                ("jit", "off"),
            ])
            .options(self.settings.iter().map(|(name, value)| (name, value)))
            .statement_cache_capacity(256);
        if let Some(password) = &self.password {
            options = options.password(password);
        }
        if let Some(path) = &self.tls.root_certificate {
            options = options.ssl_root_cert(path);
        } else if !self.tls.authorities.is_empty() {
            options = options.ssl_root_cert_from_pem(self.tls.authorities.clone().into_bytes());
        }
        if let Some(path) = &self.tls.certificate {
            options = options.ssl_client_cert(path);
        }
        if let Some(path) = &self.tls.key {
            options = options.ssl_client_key(path);
        }
        options
    }
}
