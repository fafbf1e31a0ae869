//! The HTTP client that all object stores of a process are reached with.

mod clock;
mod fetch;

use std::error::Error as StdError;
use std::fmt;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures_util::TryStreamExt;
use http::header::{AUTHORIZATION, CONTENT_LENGTH, HeaderName, HeaderValue};
use http::uri::{Scheme, Uri};
use http::{Method, Request, Response};
use md5::{Digest, Md5};
use opendal::{Buffer, HttpBody, HttpTransport, HttpTransporter, OperationContext};
use opendal_http_transport_reqwest::ReqwestTransport;
use reqwest::Certificate;
use reqwest::redirect::Policy;

pub use fetch::{FetchError, FetchRequest, Fetched};

/// How long a connection may take, its TLS handshake included. Three seconds: twice what a handshake around the world takes.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// How long a connection is kept for the next request.
const IDLE_TIMEOUT: Duration = Duration::from_mins(1);

/// Two pools of connections: one for what is asked of stores in our own name, one for [`HttpClient::fetch`]. Clones share them.
#[derive(Clone, Debug)]
pub struct HttpClient {
    transport: HttpTransporter,
    /// Sends what it is told to where it is told to: follows no redirects.
    untouched: reqwest::Client,
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
        let mut certificates = Vec::new();
        for (name, pem) in authorities {
            let bundle = Certificate::from_pem_bundle(pem).map_err(|source| {
                HttpClientError::Certificate {
                    name: name.clone(),
                    source,
                }
            })?;
            certificates.extend(bundle);
        }
        let client = |redirects: Policy| {
            let builder = reqwest::Client::builder()
                .connect_timeout(CONNECT_TIMEOUT)
                .pool_idle_timeout(IDLE_TIMEOUT)
                .tcp_nodelay(true)
                .redirect(redirects);
            let builder = certificates
                .iter()
                .cloned()
                .fold(builder, reqwest::ClientBuilder::add_root_certificate);
            builder.build().map_err(HttpClientError::Client)
        };
        let transport = ReqwestTransport::new(client(Policy::default())?);
        Ok(Self {
            transport: HttpTransporter::new(Transport(transport)),
            untouched: client(Policy::none())?,
        })
    }

    pub(crate) fn context(&self) -> OperationContext {
        OperationContext::new().with_http_transport(self.transport.clone())
    }

    /// The way of requests in our own name.
    pub(crate) fn transport(&self) -> HttpTransporter {
        self.transport.clone()
    }

    /// Sends a request that the operators of stores do not know of.
    pub(crate) async fn send(&self, request: Request<Buffer>) -> opendal::Result<Response<Buffer>> {
        self.transport.send(request).await
    }
}

/// What every request passes through on its way out, whichever store it is for, and every answer on its way in.
///
/// - An empty body says how long it is. Google's interoperability mode and some proxies refuse a POST or PUT that does not (411).
/// - An S3 object that goes over a connection without TLS carries its `Content-MD5`, which the store compares: nothing else covers the bytes
///   there, unless their SHA-256 is under the signature. The header may be added behind the signature, which names what it covers. With TLS
///   the connection itself is proof.
/// - No error shows the query of a URL: it may hold the token of a store.
struct Transport(ReqwestTransport);

const CONTENT_MD5: HeaderName = HeaderName::from_static("content-md5");

impl HttpTransport for Transport {
    async fn fetch(&self, mut request: Request<Buffer>) -> opendal::Result<Response<HttpBody>> {
        let has_body = matches!(*request.method(), Method::POST | Method::PUT);
        if has_body && request.body().is_empty() {
            request
                .headers_mut()
                .insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
        }
        if wants_md5(&request)
            && let Some(value) = md5_of(request.body().clone()).await
        {
            request.headers_mut().insert(CONTENT_MD5, value);
        }
        let host = request.uri().host().map_or_else(String::new, str::to_owned);
        let fetched = self.0.fetch(request).await;
        let mut response = fetched.map_err(|error| without_url(error, &host))?;
        if let Some(uri) = response.extensions_mut().get_mut::<Uri>() {
            *uri = without_query(uri);
        }
        Ok(response.map(|body| {
            body.map_inner(|chunks| {
                Box::new(chunks.map_err(move |error| without_url(error, &host)))
            })
        }))
    }
}

fn wants_md5(request: &Request<Buffer>) -> bool {
    let is_s3 = request
        .headers()
        .get(AUTHORIZATION)
        .is_some_and(|value| value.as_bytes().starts_with(b"AWS4-HMAC-SHA256 "));
    is_s3
        && request.method() == Method::PUT
        && request.uri().scheme() == Some(&Scheme::HTTP)
        && !request.body().is_empty()
        && !request.headers().contains_key(CONTENT_MD5)
        && request
            .headers()
            .get("x-amz-content-sha256")
            .is_none_or(|hash| hash == "UNSIGNED-PAYLOAD")
}

/// A part takes some hundredths of a second, so it is hashed on a thread that may block.
async fn md5_of(body: Buffer) -> Option<HeaderValue> {
    let hashing = tokio::task::spawn_blocking(move || {
        let mut hasher = Md5::new();
        for chunk in body {
            hasher.update(&chunk);
        }
        STANDARD.encode(hasher.finalize())
    });
    // Without it the request is as good as it was.
    HeaderValue::try_from(hashing.await.ok()?).ok()
}

fn without_query(uri: &Uri) -> Uri {
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = uri.path().parse().ok();
    Uri::from_parts(parts).unwrap_or_default()
}

/// The same failure without the URL that it was made with.
fn without_url(error: opendal::Error, host: &str) -> opendal::Error {
    opendal::Error::new(error.kind(), error.message())
        .with_temporary(error.is_temporary())
        .set_source(Hidden {
            host: host.to_owned(),
            error,
        })
}

/// An error of which only the causes are shown.
struct Hidden {
    host: String,
    error: opendal::Error,
}

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a request to {}", self.host)
    }
}

impl StdError for Hidden {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.error.source()
    }
}

#[cfg(test)]
mod tests;
