//! One request: its deadline, and what counts as taken.

use std::time::Duration;

use http::header::{CONTENT_TYPE, HeaderName, HeaderValue, USER_AGENT};
use reqwest::Certificate;
use reqwest::redirect::Policy;
use roadstead_secrets::Secret;

use crate::address::{Address, Lookup};
use crate::message::{SIGNATURE, signature};

/// How long a request may take, from looking the host up to the head of the answer.
const DEADLINE: Duration = Duration::from_secs(10);

/// How long a connection is kept for the next request.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);

/// Sends. Clones share the connections.
#[derive(Clone, Debug)]
pub(crate) struct Sender {
    client: reqwest::Client,
    deadline: Duration,
}

/// Why nothing can be sent by this process.
#[derive(Debug, thiserror::Error)]
#[error("could not make the client for webhooks")]
pub struct SenderError(#[source] reqwest::Error);

/// Why a message was not taken. Shows nothing of the address.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SendError {
    #[error("it cannot be connected to")]
    Connect(#[source] reqwest::Error),
    #[error("the connection broke off")]
    Interrupted(#[source] reqwest::Error),
    #[error("it did not answer within {} s", after.as_secs())]
    TimedOut { after: Duration },
    #[error(
        "it answered {status}, and redirects are not followed: give the address that it points to"
    )]
    Redirect { status: u16 },
    #[error("it answered {status}")]
    Refused { status: u16 },
}

impl Sender {
    /// Trusts the system's certificate authorities and these, in PEM form.
    pub(crate) fn new(authorities: &[u8]) -> Result<Self, SenderError> {
        // One provider for the whole process; whoever was faster installed the same one.
        rustls::crypto::ring::default_provider()
            .install_default()
            .ok();
        let authorities = Certificate::from_pem_bundle(authorities).map_err(SenderError)?;
        let builder = authorities.into_iter().fold(
            reqwest::Client::builder(),
            reqwest::ClientBuilder::add_root_certificate,
        );
        let client = builder
            .dns_resolver(Lookup)
            // A proxy would look the host up in our place.
            .no_proxy()
            .redirect(Policy::none())
            .pool_idle_timeout(IDLE_TIMEOUT)
            .build()
            .map_err(SenderError)?;
        Ok(Self {
            client,
            deadline: DEADLINE,
        })
    }

    #[cfg(test)]
    pub(crate) fn with_deadline(self, deadline: Duration) -> Self {
        Self { deadline, ..self }
    }

    /// Sends a document. Any status of 200 to 299 is taken; of the answer nothing but the status is read.
    ///
    /// Dropped, it may have been taken or not.
    pub(crate) async fn send(
        &self,
        address: &Address,
        secret: Option<&Secret>,
        kind: &str,
        body: Vec<u8>,
    ) -> Result<(), SendError> {
        let mut request = self
            .client
            .post(address.url())
            .header(CONTENT_TYPE, HeaderValue::from_static("application/json"))
            .header(
                USER_AGENT,
                HeaderValue::from_static(concat!("roadstead/", env!("CARGO_PKG_VERSION"))),
            )
            .header(HeaderName::from_static("roadstead-event"), kind);
        if let Some(secret) = secret {
            request = request.header(SIGNATURE, signature(secret, &body));
        }
        let sent = request.body(body).send();
        let answer = tokio::time::timeout(self.deadline, sent)
            .await
            .map_err(|_| SendError::TimedOut {
                after: self.deadline,
            })?
            .map_err(|error| {
                let connecting = error.is_connect();
                let error = error.without_url();
                if connecting {
                    SendError::Connect(error)
                } else {
                    SendError::Interrupted(error)
                }
            })?;
        match answer.status() {
            status if status.is_success() => Ok(()),
            status if status.is_redirection() => Err(SendError::Redirect {
                status: status.as_u16(),
            }),
            status => Err(SendError::Refused {
                status: status.as_u16(),
            }),
        }
    }
}
