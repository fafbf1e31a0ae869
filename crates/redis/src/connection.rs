//! One connection to Redis, with a deadline for everything. It is not mended when it breaks: another is made.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use fred::clients::{Client, SubscriberClient};
use fred::interfaces::{ClientLike, PubsubInterface as _};
use fred::types::ConnectHandle;
use fred::types::config::{
    Config, ConnectionConfig, PerformanceConfig, Server, ServerConfig, TcpConfig, TlsConfig,
};
use roadstead_runtime::Clock;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::sync::Semaphore;

use crate::error::{RedisError, ServerFailure};
use crate::options::{Address, RedisOptions, Servers, TlsOptions};

/// How long it may take to have a connection: with a sentinel and TLS a few round trips around the world.
const CONNECT: Duration = Duration::from_secs(3);

/// How long any command may take.
pub(crate) const COMMAND: Duration = Duration::from_secs(1);

/// Messages that are heard and not looked at yet; beyond that some are missed.
const HEARD_MAX: usize = 1024;

/// The largest file that is read, in bytes.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Who may read files at once, over all connections: a disk that hangs takes no more threads than these.
static READING: Semaphore = Semaphore::const_new(4);

/// What a client is made of.
type Settings = (Config, PerformanceConfig, ConnectionConfig);

/// A connection. Dropped, it is closed.
#[derive(Debug)]
pub(crate) struct Connection<C> {
    pub(crate) client: C,
    task: ConnectHandle,
    servers: String,
}

impl Connection<Client> {
    /// A connection for commands.
    pub(crate) async fn open(
        options: &RedisOptions,
        clock: &dyn Clock,
    ) -> Result<Self, RedisError> {
        let client = |(config, performance, connection): Settings| {
            Client::new(config, Some(performance), Some(connection), None)
        };
        Self::connect(client, options, clock).await
    }
}

impl Connection<SubscriberClient> {
    /// A connection that hears these channels.
    pub(crate) async fn open_to_hear(
        options: &RedisOptions,
        channels: &[String],
        clock: &dyn Clock,
    ) -> Result<Self, RedisError> {
        let client = |(config, performance, connection): Settings| {
            SubscriberClient::new(config, Some(performance), Some(connection), None)
        };
        let connection = Self::connect(client, options, clock).await?;
        connection
            .within(
                "let us listen",
                clock,
                connection.client.subscribe(channels.to_vec()),
            )
            .await?;
        Ok(connection)
    }
}

impl<C: ClientLike> Connection<C> {
    async fn connect(
        client: fn(Settings) -> C,
        options: &RedisOptions,
        clock: &dyn Clock,
    ) -> Result<Self, RedisError> {
        let servers = options.servers.to_string();
        let mut deadline = clock.sleep(CONNECT);
        let settings = tokio::select! {
            settings = read_settings(options) => settings?,
            () = &mut deadline => {
                return Err(RedisError::SlowFiles {
                    servers,
                    milliseconds: CONNECT.as_millis(),
                });
            }
        };
        let client = client(settings);
        let mut connection = Self {
            task: client.connect(),
            client,
            servers: servers.clone(),
        };
        let Self { client, task, .. } = &mut connection;
        let outcome = tokio::select! {
            connected = client.wait_for_connect() => connected,
            // It ends when there is no connection.
            ended = task => match ended {
                Ok(Err(error)) => Err(error),
                Ok(Ok(())) | Err(_) => Err(fred::error::Error::new_canceled()),
            },
            () = &mut deadline => {
                return Err(RedisError::Late {
                    servers,
                    operation: "take a connection",
                    milliseconds: CONNECT.as_millis(),
                });
            }
        };
        match outcome {
            Ok(()) => Ok(connection),
            Err(error) => {
                let source = ServerFailure::from(error);
                Err(if source.is_refusal() {
                    RedisError::NotLetIn { servers, source }
                } else {
                    RedisError::Unreachable { servers, source }
                })
            }
        }
    }

    /// The answer to a command, if it comes in time.
    pub(crate) async fn within<T>(
        &self,
        operation: &'static str,
        clock: &dyn Clock,
        answer: impl Future<Output = Result<T, fred::error::Error>>,
    ) -> Result<T, RedisError> {
        let servers = || self.servers.clone();
        tokio::select! {
            answer = answer => answer.map_err(|error| {
                let source = ServerFailure::from(error);
                let servers = servers();
                if source.is_refusal() {
                    RedisError::NotLetIn { servers, source }
                } else {
                    RedisError::Failed { servers, operation, source }
                }
            }),
            () = clock.sleep(COMMAND) => Err(RedisError::Late {
                servers: servers(),
                operation,
                milliseconds: COMMAND.as_millis(),
            }),
        }
    }

    /// Returns when the connection is lost.
    pub(crate) async fn lost(&mut self) -> RedisError {
        let source = match (&mut self.task).await {
            Ok(Err(error)) => error,
            Ok(Ok(())) | Err(_) => fred::error::Error::new_canceled(),
        };
        self.lost_by(source)
    }
}

impl<C> Connection<C> {
    /// There is no connection any more.
    pub(crate) fn lost_by(&self, source: fred::error::Error) -> RedisError {
        RedisError::Unreachable {
            servers: self.servers.clone(),
            source: source.into(),
        }
    }
}

impl<C> Drop for Connection<C> {
    fn drop(&mut self) {
        // What it drives is closed with it.
        self.task.abort();
    }
}

/// The settings for a connection. Certificates are read on a thread that may wait for a disk.
async fn read_settings(options: &RedisOptions) -> Result<Settings, RedisError> {
    let turn = READING.acquire().await;
    let owned = options.clone();
    let reading = tokio::task::spawn_blocking(move || {
        let settings = settings(&owned);
        drop(turn);
        settings
    });
    reading.await.unwrap_or_else(|_| {
        Err(RedisError::Unreachable {
            servers: options.servers.to_string(),
            source: fred::error::Error::new_canceled().into(),
        })
    })
}

fn settings(options: &RedisOptions) -> Result<Settings, RedisError> {
    let server = |address: &Address| Server::new(address.host.clone(), address.port);
    let config = Config {
        fail_fast: true,
        username: options.username.clone(),
        password: options
            .password
            .as_ref()
            .map(|password| password.expose().to_owned()),
        server: match &options.servers {
            Servers::One(address) => ServerConfig::Centralized {
                server: server(address),
            },
            Servers::Sentinels {
                sentinels,
                service,
                username,
                password,
            } => ServerConfig::Sentinel {
                hosts: sentinels.iter().map(server).collect(),
                service_name: service.clone(),
                username: username.clone(),
                password: password
                    .as_ref()
                    .map(|password| password.expose().to_owned()),
            },
            Servers::Cluster(nodes) => ServerConfig::Clustered {
                hosts: nodes.iter().map(server).collect(),
                policy: fred::types::config::ClusterDiscoveryPolicy::default(),
            },
        },
        database: (options.database > 0).then_some(options.database),
        tls: options.tls.as_ref().map(tls).transpose()?,
        ..Config::default()
    };
    let performance = PerformanceConfig {
        default_command_timeout: COMMAND,
        broadcast_channel_capacity: HEARD_MAX,
        ..PerformanceConfig::default()
    };
    let connection = ConnectionConfig {
        connection_timeout: CONNECT,
        internal_command_timeout: COMMAND,
        max_command_attempts: 1,
        tcp: TcpConfig {
            nodelay: Some(true),
            ..TcpConfig::default()
        },
        ..ConnectionConfig::default()
    };
    Ok((config, performance, connection))
}

fn tls(options: &TlsOptions) -> Result<TlsConfig, RedisError> {
    let mut roots = rustls::RootCertStore::empty();
    // What of the machine's cannot be read is missed when it is needed.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    for pem in &options.authorities {
        roots.add_parsable_certificates(certificates("a certificate authority", pem)?);
    }
    for path in &options.authority_files {
        roots.add_parsable_certificates(certificates(&path.display().to_string(), &read(path)?)?);
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots);
    let config = match &options.identity {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => {
            let chain = certificates(&certificate.display().to_string(), &read(certificate)?)?;
            let what = key.display().to_string();
            let key = PrivateKeyDer::from_pem_slice(&read(key)?).map_err(|source| {
                RedisError::Certificate {
                    what,
                    source: Some(source),
                }
            })?;
            builder.with_client_auth_cert(chain, key)?
        }
    };
    Ok(fred::types::config::TlsConnector::from(config).into())
}

fn read(path: &Path) -> Result<Vec<u8>, RedisError> {
    let reading = || {
        // Asked first, because opening a pipe would wait for somebody to write to it.
        if !std::fs::metadata(path)?.is_file() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "it is not a file",
            ));
        }
        let mut bytes = Vec::new();
        File::open(path)?
            .take(FILE_BYTES_MAX + 1)
            .read_to_end(&mut bytes)?;
        if bytes.len() as u64 > FILE_BYTES_MAX {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "it is larger than 1 MiB",
            ));
        }
        Ok(bytes)
    };
    reading().map_err(|source| RedisError::File {
        path: path.to_owned(),
        source,
    })
}

fn certificates(what: &str, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, RedisError> {
    let unusable = |source| RedisError::Certificate {
        what: what.to_owned(),
        source,
    };
    let found = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|source| unusable(Some(source)))?;
    if found.is_empty() {
        return Err(unusable(None));
    }
    Ok(found)
}
