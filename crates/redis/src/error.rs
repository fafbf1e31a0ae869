//! Why something could not be had of Redis.

use std::fmt;
use std::path::PathBuf;

use fred::error::ErrorKind;

/// Why something could not be had of Redis. No message holds a password.
#[derive(Debug, thiserror::Error)]
pub enum RedisError {
    /// There is no connection to be had.
    #[error(
        "could not connect to Redis at {servers}: check host, port and TLS, and whether it runs"
    )]
    Unreachable {
        /// Where it is.
        servers: String,
        /// What is known of why.
        #[source]
        source: ServerFailure,
    },
    /// It does not let us in.
    #[error("Redis at {servers} does not let us in: check the user name and the password")]
    NotLetIn {
        /// Where it is.
        servers: String,
        /// What it said.
        #[source]
        source: ServerFailure,
    },
    /// It did not answer in time.
    #[error("Redis at {servers} did not {operation} within {milliseconds} ms")]
    Late {
        /// Where it is.
        servers: String,
        /// What it was asked for.
        operation: &'static str,
        /// How long that may take.
        milliseconds: u128,
    },
    /// It refused.
    #[error("Redis at {servers} failed to {operation}")]
    Failed {
        /// Where it is.
        servers: String,
        /// What it was asked for.
        operation: &'static str,
        /// What it said.
        #[source]
        source: ServerFailure,
    },
    /// It does not say what a Redis says.
    #[error("what answers as Redis at {servers} is none: check host and port")]
    NoRedis {
        /// Where it is.
        servers: String,
    },
    /// A file cannot be read.
    #[error("could not read `{}` for the connection to Redis: put it there, readable for this user", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The files of certificates could not be read in time.
    #[error(
        "could not read the certificates for the connection to Redis at {servers} within {milliseconds} ms: check the disk that they lie on"
    )]
    SlowFiles {
        /// Where it is.
        servers: String,
        /// How long that may take.
        milliseconds: u128,
    },
    /// What should be certificates or a key is not.
    #[error("`{what}` holds no usable certificate or key in PEM")]
    Certificate {
        /// The file, or what it was handed as.
        what: String,
        /// What is wrong.
        #[source]
        source: Option<rustls::pki_types::pem::Error>,
    },
    /// TLS cannot be set up with what was given.
    #[error("could not prepare TLS for the connection to Redis")]
    Tls {
        /// What is wrong.
        #[from]
        source: rustls::Error,
    },
}

/// What a server or the way to it said.
#[derive(Debug)]
pub struct ServerFailure(fred::error::Error);

impl ServerFailure {
    /// Whether it is about who we are.
    pub(crate) fn is_refusal(&self) -> bool {
        let details = self.0.details();
        *self.0.kind() == ErrorKind::Auth
            || [
                "WRONGPASS",
                "NOAUTH",
                "NOPERM",
                "ERR AUTH",
                "invalid password",
            ]
            .iter()
            .any(|word| details.contains(word))
    }

    /// Whether a server answered so: the way to it is all right.
    pub(crate) fn is_answer(&self) -> bool {
        matches!(
            self.0.kind(),
            ErrorKind::Auth
                | ErrorKind::InvalidArgument
                | ErrorKind::InvalidCommand
                | ErrorKind::Unknown
        )
    }
}

impl From<fred::error::Error> for ServerFailure {
    fn from(error: fred::error::Error) -> Self {
        Self(error)
    }
}

/// The most of what a server says that is repeated: it may be any other server, or nobody's.
const DETAILS_MAX: usize = 200;

impl fmt::Display for ServerFailure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let details = self.0.details();
        let shown: String = details.chars().take(DETAILS_MAX).collect();
        write!(formatter, "{}", shown.escape_debug())
    }
}

impl std::error::Error for ServerFailure {}
