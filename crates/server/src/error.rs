//! Why a process could not start.

use std::net::SocketAddr;
use std::path::PathBuf;

use roadstead_auth::{EncryptedFieldsError, FirstAccountError, KeyTextError};
use roadstead_listener::CertificateError;
use roadstead_metadata::MetadataError;
use roadstead_placement::{LocationNameError, TopologyError};
use roadstead_storage::StorageError;
use roadstead_webhooks::SenderError;

/// Why a deployment could not be opened or a server not started. The text says what to do.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A directory that is needed cannot be made.
    #[error("could not make the directory `{}`: make it yourself, or choose another with --data-dir", path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// There is no SQLite file, and this process makes none.
    #[error(
        "there is no registry here: its database `{}` does not exist; start `registry` first, or choose another with --data-dir or --config-dir",
        path.display()
    )]
    NoDatabase {
        /// The file.
        path: PathBuf,
    },
    /// The database cannot be opened, is from another version, or does not answer.
    #[error("could not start on the database")]
    Database {
        /// Why.
        #[from]
        source: MetadataError,
    },
    /// `DATABASE_SECRET_KEY` or `SECRET_KEY` makes no key.
    #[error("could not make a key of {key}")]
    SecretKey {
        /// Which one.
        key: &'static str,
        /// Why not.
        #[source]
        source: KeyTextError,
    },
    /// Nothing can be sent to webhooks.
    #[error("could not prepare to send to webhooks")]
    Webhooks {
        /// Why not.
        #[from]
        source: SenderError,
    },
    /// Nothing that the database holds encrypted can be read.
    #[error("could not read the database's encrypted fields")]
    EncryptedFields {
        /// Why not.
        #[from]
        source: EncryptedFieldsError,
    },
    /// A configured location has a name that cannot be one.
    #[error("DISTRIBUTED_STORAGE_CONFIG names a location `{name}`")]
    LocationName {
        /// The name.
        name: String,
        /// Why not.
        #[source]
        source: LocationNameError,
    },
    /// The locations of the configuration do not fit together.
    #[error("the locations of the configuration do not fit together")]
    Topology {
        /// How.
        #[from]
        source: TopologyError,
    },
    /// A new location's store could not be set up.
    #[error("could not set up the store of a new location")]
    Storage {
        /// Why.
        #[from]
        source: StorageError,
    },
    /// A key or certificate that the configuration names cannot be read.
    #[error("could not read `{}`: put it there, readable for this user", path.display())]
    KeyFile {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// Object stores cannot be reached.
    #[error("could not prepare for object stores")]
    Http {
        /// Why.
        #[from]
        source: roadstead_storage::HttpClientError,
    },
    /// The first account could not be made.
    #[error("could not make the first account")]
    FirstAccount {
        /// Why.
        #[from]
        source: FirstAccountError,
    },
    /// The first account's password could not be put into its file.
    #[error("could not write the first account's password to `{}`: make the directory writable, or name another in ROADSTEAD_DATA_DIRECTORY", path.display())]
    PasswordFile {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The key of a registry without a configuration could not be read or written.
    #[error("could not read or write the key of the database in `{}`: make it and its directory readable and writable", path.display())]
    OwnKey {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The address cannot be listened on.
    #[error("could not listen on {address}: free the port, or choose another with {option}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The option that names another.
        option: &'static str,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The address for metrics cannot be listened on.
    #[error(
        "could not listen on {address} for metrics: free the port, or choose another with --metrics-listen"
    )]
    ListenForMetrics {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The certificate for HTTPS cannot be served.
    #[error("could not serve HTTPS with ssl.cert and ssl.key")]
    Certificate {
        /// Why not.
        #[from]
        source: CertificateError,
    },
    /// `SERVER_HOSTNAME` is no host.
    #[error("SERVER_HOSTNAME")]
    Hostname {
        /// Why not.
        #[from]
        source: roadstead_api::ExternalUrlError,
    },
}

/// What went wrong with this key of the configuration.
pub(crate) fn secret_key(key: &'static str) -> impl FnOnce(KeyTextError) -> StartError {
    move |source| StartError::SecretKey { key, source }
}
