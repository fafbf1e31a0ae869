//! What can go wrong, in the terms that a caller acts on.

use std::error::Error;
use std::fmt;
use std::time::Duration;

use http::StatusCode;
use roadstead_oci::Digest;
use serde::Deserialize;

/// Why an operation failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The address given to [`crate::Client::new`] is not one.
    #[error("`{address}` is not the address of a registry: {reason}; write it as http://HOST:PORT")]
    Address {
        /// What was given.
        address: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// No connection came about.
    #[error("could not connect to {address}")]
    Connect {
        /// The host and port.
        address: String,
        /// Why not.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// The connection broke, or the answer was not HTTP. Whether the server did what was asked is not known.
    #[error("the connection failed: {request}")]
    Transport {
        /// Method and path.
        request: String,
        /// What happened.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// No byte moved for the whole of [`crate::ClientOptions::stall_timeout`]. Whether the server did what was asked is not known.
    #[error("no byte moved for {} s: {request}", .after.as_secs_f64())]
    Stalled {
        /// Method and path.
        request: String,
        /// The limit.
        after: Duration,
    },
    /// The server answered, with a status that the operation does not expect.
    #[error("the registry answered {status} to {request}{}", Listed(.errors))]
    Refused {
        /// Method and path.
        request: String,
        /// The status.
        status: StatusCode,
        /// The errors in the body, if it has the form of the distribution specification.
        errors: Vec<RegistryError>,
        /// The seconds in `Retry-After`.
        retry_after: Option<Duration>,
    },
    /// The server's answer breaks the protocol.
    #[error("the registry's answer to {request} breaks the protocol: {reason}")]
    Protocol {
        /// Method and path.
        request: String,
        /// How.
        reason: String,
    },
    /// What came is more than [`crate::ClientOptions`] allows.
    #[error("the registry's answer to {request} is longer than {limit} {unit}")]
    TooLong {
        /// Method and path.
        request: String,
        /// The limit.
        limit: u64,
        /// Of what.
        unit: &'static str,
    },
    /// What came is not what its digest says.
    #[error("content of {expected} hashes to {actual}")]
    DigestMismatch {
        /// What was asked for.
        expected: Digest,
        /// What came.
        actual: Digest,
    },
    /// The caller's own body failed while it was sent.
    #[error("could not read what was to be sent: {request}")]
    Body {
        /// Method and path.
        request: String,
        /// The stream's error.
        #[source]
        source: std::io::Error,
    },
}

impl ClientError {
    /// The status, if the server answered with one that was not expected.
    pub fn status(&self) -> Option<StatusCode> {
        match self {
            Self::Refused { status, .. } => Some(*status),
            _ => None,
        }
    }

    /// The first error code in the answer's body, such as `BLOB_UNKNOWN`.
    pub fn code(&self) -> Option<&str> {
        match self {
            Self::Refused { errors, .. } => errors.first().map(|error| error.code.as_str()),
            _ => None,
        }
    }
}

/// One error in an answer's body: section "Error Codes" of the distribution specification.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
pub struct RegistryError {
    /// The code, such as `MANIFEST_UNKNOWN`.
    pub code: String,
    /// The words for people.
    #[serde(default)]
    pub message: String,
    /// Anything else, `null` if there is nothing.
    #[serde(default)]
    pub detail: serde_json::Value,
}

#[derive(Deserialize)]
struct ErrorBody {
    errors: Vec<RegistryError>,
}

impl RegistryError {
    /// The errors in a body; none if it has another form.
    pub(crate) fn parse(body: &[u8]) -> Vec<Self> {
        serde_json::from_slice::<ErrorBody>(body)
            .map(|body| body.errors)
            .unwrap_or_default()
    }
}

/// Errors after the status: `: CODE message; CODE message`.
struct Listed<'a>(&'a [RegistryError]);

impl fmt::Display for Listed<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.0.iter().enumerate() {
            let separator = if index == 0 { ": " } else { "; " };
            write!(formatter, "{separator}{} {}", error.code, error.message)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_says_what_the_registry_said() {
        let body = br#"{"errors":[{"code":"DENIED","message":"no"},{"code":"UNKNOWN"}]}"#;
        let error = ClientError::Refused {
            request: "GET /v2/".to_owned(),
            status: StatusCode::FORBIDDEN,
            errors: RegistryError::parse(body),
            retry_after: None,
        };
        assert_eq!(
            error.to_string(),
            "the registry answered 403 Forbidden to GET /v2/: DENIED no; UNKNOWN "
        );
        assert_eq!(error.code(), Some("DENIED"));
        assert_eq!(error.status(), Some(StatusCode::FORBIDDEN));
    }

    #[test]
    fn a_body_of_another_form_has_no_errors() {
        for body in [&b""[..], b"<html>", b"{}", br#"{"errors":3}"#, b"\xff"] {
            assert_eq!(RegistryError::parse(body), []);
        }
    }
}
