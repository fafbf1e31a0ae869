//! A certificate and its key: read from PEM, held against each other, a name and a time.

mod x509;

use std::fmt;
use std::io;
use std::path::PathBuf;

use chrono::TimeDelta;
use roadstead_runtime::Timestamp;
use rustls::client::verify_server_name;
use rustls::crypto::ring;
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::ParsedCertificate;
use rustls::sign::CertifiedKey;
use rustls::{Error as TlsError, InconsistentKeys};

pub(crate) use x509::{Leaf, read_leaf};

/// How long before its end a certificate is warned of.
const SOON: TimeDelta = TimeDelta::days(30);

/// Why a certificate cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// A file cannot be read.
    #[error("could not read `{}`: put it there, readable for this user", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The chain is no text of PEM.
    #[error("the certificate is not in PEM form")]
    Pem(#[source] pem::Error),
    /// There is no certificate in it.
    #[error("the file of the certificate holds none: it begins with -----BEGIN CERTIFICATE-----")]
    NoCertificate,
    /// There is no key.
    #[error(
        "the file of the key holds none that can be used: give it in PEM form and not encrypted, as PKCS#8, PKCS#1 or SEC1"
    )]
    NoKey,
    /// The certificate is for another key.
    #[error(
        "the key does not belong to the certificate: replace both together, and let the server's own certificate be the first of its file"
    )]
    Mismatch,
    /// The library does not take it.
    #[error("the certificate cannot be used")]
    Unusable(#[source] TlsError),
    /// The certificate is no certificate.
    #[error("the certificate cannot be read as X.509")]
    Malformed,
}

/// What is wrong with a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CertificateProblem {
    /// It cannot be served at all.
    Unusable {
        /// Why.
        reason: String,
    },
    /// It is for the future.
    NotYetValid {
        /// Since when it will hold.
        not_before: Timestamp,
    },
    /// It has expired.
    Expired {
        /// Until when it held.
        not_after: Timestamp,
    },
    /// It expires within thirty days.
    ExpiresSoon {
        /// Until when it holds.
        not_after: Timestamp,
    },
    /// It is for other names.
    WrongName {
        /// The name that clients use.
        hostname: String,
        /// The names that it has.
        names: Vec<String>,
    },
}

impl CertificateProblem {
    /// Whether a process does not start with it, so that it is an error and not a warning.
    pub const fn is_fatal(&self) -> bool {
        matches!(self, Self::Unusable { .. })
    }

    /// Whether clients refuse it now.
    pub const fn keeps_clients_out(&self) -> bool {
        !matches!(self, Self::ExpiresSoon { .. })
    }
}

impl fmt::Display for CertificateProblem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unusable { reason } => formatter.write_str(reason),
            Self::NotYetValid { not_before } => write!(
                formatter,
                "the certificate is not valid before {not_before}: check the clock of this machine, or wait"
            ),
            Self::Expired { not_after } => write!(
                formatter,
                "the certificate has expired at {not_after}: clients refuse it; replace ssl.cert and ssl.key"
            ),
            Self::ExpiresSoon { not_after } => write!(
                formatter,
                "the certificate expires at {not_after}: replace ssl.cert and ssl.key before; no restart is needed"
            ),
            Self::WrongName { hostname, names } => write!(
                formatter,
                "the certificate is not for {hostname}, the name in SERVER_HOSTNAME, but for {}: clients refuse it",
                if names.is_empty() {
                    "no name".to_owned()
                } else {
                    names.join(", ")
                }
            ),
        }
    }
}

/// A certificate with its key, fit for each other.
#[derive(Debug)]
pub(crate) struct Pair {
    pub(crate) key: CertifiedKey,
    pub(crate) leaf: Leaf,
}

/// Everything that is wrong with what was read as a certificate and its key.
pub(crate) fn check(
    pair: Result<Pair, CertificateError>,
    hostname: Option<&str>,
    now: Timestamp,
) -> Vec<CertificateProblem> {
    match pair {
        Ok(pair) => problems(&pair, hostname, now),
        Err(error) => vec![CertificateProblem::Unusable {
            reason: with_cause(&error),
        }],
    }
}

/// What is wrong with a pair that can be served.
pub(crate) fn problems(
    pair: &Pair,
    hostname: Option<&str>,
    now: Timestamp,
) -> Vec<CertificateProblem> {
    let mut problems = Vec::from_iter(problem_of_time(&pair.leaf, now));
    if let Some(hostname) = hostname
        && !is_for(pair, hostname)
    {
        problems.push(CertificateProblem::WrongName {
            hostname: hostname.to_owned(),
            names: pair.leaf.names.clone(),
        });
    }
    problems
}

/// What is wrong with the time of a certificate.
pub(crate) fn problem_of_time(leaf: &Leaf, now: Timestamp) -> Option<CertificateProblem> {
    let (not_before, not_after) = (leaf.not_before, leaf.not_after);
    if now > not_after {
        Some(CertificateProblem::Expired { not_after })
    } else if now < not_before {
        Some(CertificateProblem::NotYetValid { not_before })
    } else if not_after.signed_duration_since(now) < SOON {
        Some(CertificateProblem::ExpiresSoon { not_after })
    } else {
        None
    }
}

/// Reads a chain and a key in PEM form and holds them against each other.
pub(crate) fn read_pair(chain: &[u8], key: &[u8]) -> Result<Pair, CertificateError> {
    let chain = CertificateDer::pem_slice_iter(chain)
        .collect::<Result<Vec<_>, _>>()
        .map_err(CertificateError::Pem)?;
    let first = chain.first().ok_or(CertificateError::NoCertificate)?;
    let leaf = read_leaf(first).ok_or(CertificateError::Malformed)?;
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| CertificateError::NoKey)?;
    let key =
        CertifiedKey::from_der(chain, key, &ring::default_provider()).map_err(
            |error| match error {
                TlsError::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
                    CertificateError::Mismatch
                }
                TlsError::General(_) => CertificateError::NoKey,
                error => CertificateError::Unusable(error),
            },
        )?;
    Ok(Pair { key, leaf })
}

fn is_for(pair: &Pair, hostname: &str) -> bool {
    let host = match hostname.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => host,
        _ => hostname,
    };
    let host = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
        .unwrap_or(host);
    let (Ok(name), Ok(certificate)) = (ServerName::try_from(host), pair.key.end_entity_cert())
    else {
        return false;
    };
    ParsedCertificate::try_from(certificate)
        .is_ok_and(|certificate| verify_server_name(&certificate, &name).is_ok())
}

/// An error with its causes.
pub(crate) fn with_cause(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
