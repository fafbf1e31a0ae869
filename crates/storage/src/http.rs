//! The HTTP client that all object stores of a process are reached with.

use std::time::Duration;

use http::header::{CONTENT_LENGTH, HeaderValue};
use http::{Method, Request, Response};
use opendal::{Buffer, HttpBody, HttpTransport, HttpTransporter, OperationContext};
use opendal_http_transport_reqwest::ReqwestTransport;
use reqwest::Certificate;

/// How long a connection may take, its TLS handshake included. Three seconds: twice what a handshake around the world takes.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// How long a connection is kept for the next request.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);

/// A pool of connections. Clones share it.
#[derive(Clone, Debug)]
pub struct HttpClient {
    transport: HttpTransporter,
}

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub enum HttpClientError {
    /// A certificate cannot be read.
    #[error("`{name}` holds no certificate in PEM form; take it away or replace it")]
    Certificate {
        /// Where it is from.
        name: String,
        /// What is wrong.
        #[source]
        source: reqwest::Error,
    },
    /// The client cannot be made: the system's certificates cannot be read, or the like.
    #[error("could not make the client for object stores")]
    Client(#[source] reqwest::Error),
}

impl HttpClient {
    /// A client that trusts the system's certificate authorities and `authorities`, named and in PEM form.
    pub fn new(authorities: &[(String, Vec<u8>)]) -> Result<Self, HttpClientError> {
        // One provider for the whole process; whoever was faster installed the same one.
        rustls::crypto::ring::default_provider()
            .install_default()
            .ok();
        let mut builder = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .pool_idle_timeout(IDLE_TIMEOUT)
            .tcp_nodelay(true);
        for (name, pem) in authorities {
            let certificates = Certificate::from_pem_bundle(pem).map_err(|source| {
                HttpClientError::Certificate {
                    name: name.clone(),
                    source,
                }
            })?;
            for certificate in certificates {
                builder = builder.add_root_certificate(certificate);
            }
        }
        let client = builder.build().map_err(HttpClientError::Client)?;
        Ok(Self {
            transport: HttpTransporter::new(Transport(ReqwestTransport::new(client))),
        })
    }

    pub(crate) fn context(&self) -> OperationContext {
        OperationContext::new().with_http_transport(self.transport.clone())
    }
}

/// Says how long an empty body is. Google's interoperability mode and some proxies refuse a POST or PUT that does not (411).
struct Transport(ReqwestTransport);

impl HttpTransport for Transport {
    async fn fetch(&self, mut request: Request<Buffer>) -> opendal::Result<Response<HttpBody>> {
        let has_body = matches!(*request.method(), Method::POST | Method::PUT);
        if has_body && request.body().is_empty() {
            request
                .headers_mut()
                .insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
        }
        self.0.fetch(request).await
    }
}
