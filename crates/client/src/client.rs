//! The client itself: its address, its connections, and the sending of one request.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, LOCATION, RETRY_AFTER};
use http::{HeaderValue, Method, Request, StatusCode, Uri};
use hyper_util::client::legacy::Client as Connections;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};

use crate::authorization::{Authorizations, Scope};
use crate::error::RegistryError;
use crate::exchange::{AnswerBody, Progress, RequestBody, WatchedBody, describe};
use crate::link::{resolve, same_server};
use crate::{Answer, ClientError, ClientOptions, Credentials};

/// How long an idle connection is kept: less than the 60 s after which servers usually close it, so that few requests meet a
/// connection that is just being closed.
const IDLE_TIMEOUT: Duration = Duration::from_secs(50);

/// The largest error body that is read; a longer one counts as no body.
const ERROR_BYTES_MAX: usize = 64 * 1024;

/// A client of one registry, for one user. A clone is a reference count and shares connections and tokens.
///
/// Every method may be dropped at any time; then it is not known whether the registry did what was asked.
#[derive(Clone)]
pub struct Client {
    shared: Arc<Shared>,
}

struct Shared {
    base: Uri,
    credentials: Option<Credentials>,
    options: ClientOptions,
    connections: Connections<HttpConnector, WatchedBody>,
    authorizations: Authorizations,
}

impl Client {
    /// A client of the registry at `address` (`http://HOST:PORT`) with the default [`ClientOptions`]. Connects when it is used.
    ///
    /// # Errors
    /// [`ClientError::Address`].
    pub fn new(address: &str, credentials: Option<Credentials>) -> Result<Self, ClientError> {
        Self::with_options(address, credentials, ClientOptions::default())
    }

    /// As [`Client::new`], with deadlines and limits of the caller's choice.
    pub fn with_options(
        address: &str,
        credentials: Option<Credentials>,
        options: ClientOptions,
    ) -> Result<Self, ClientError> {
        let base = base_of(address).map_err(|reason| ClientError::Address {
            address: address.to_owned(),
            reason,
        })?;
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(options.connect_timeout));
        connector.set_nodelay(true);
        let connections = Connections::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_TIMEOUT)
            .pool_max_idle_per_host(options.idle_connections_max)
            .build(connector);
        Ok(Self {
            shared: Arc::new(Shared {
                base,
                credentials,
                options,
                connections,
                authorizations: Authorizations::default(),
            }),
        })
    }

    /// Asks the base endpoint whether it speaks the protocol and knows the user: end-1 of the distribution specification.
    pub async fn ping(&self) -> Result<(), ClientError> {
        let answer = self.request(Method::GET, "/v2/", &Scope::none()).await?;
        let answer = answer.expect([StatusCode::OK]).await?;
        answer.bytes(ERROR_BYTES_MAX).await?;
        Ok(())
    }

    /// Sends any request and hands back any answer, whatever its status: for tests and tools.
    ///
    /// The request's address is a path with an optional query, or absolute. `scope` is what a token is asked for when the
    /// registry wants one and does not say which (`repository:NAME:pull,push`).
    pub async fn exchange(
        &self,
        request: Request<RequestBody>,
        scope: &str,
    ) -> Result<Answer, ClientError> {
        let mut request = request;
        if request.uri().authority().is_none() {
            let path = request
                .uri()
                .path_and_query()
                .map_or("/", |path| path.as_str());
            *request.uri_mut() = self.uri(path);
        }
        self.send_authorized(request, &Scope::of(scope)).await
    }

    pub(crate) fn base(&self) -> &Uri {
        &self.shared.base
    }

    pub(crate) fn credentials(&self) -> Option<&Credentials> {
        self.shared.credentials.as_ref()
    }

    pub(crate) fn options(&self) -> &ClientOptions {
        &self.shared.options
    }

    pub(crate) fn authorizations(&self) -> &Authorizations {
        &self.shared.authorizations
    }

    /// The address of `path`, which is an absolute path with an optional query.
    pub(crate) fn uri(&self, path: &str) -> Uri {
        resolve(&self.shared.base, path)
            .expect("paths are made of names, digests and escaped text, which addresses may have")
    }

    /// A request without a body.
    pub(crate) async fn request(
        &self,
        method: Method,
        path: &str,
        scope: &Scope,
    ) -> Result<Answer, ClientError> {
        let mut request = Request::new(RequestBody::empty());
        *request.method_mut() = method;
        *request.uri_mut() = self.uri(path);
        self.send_authorized(request, scope).await
    }

    /// A GET or HEAD that goes where it is redirected to, without credentials when that is another server.
    pub(crate) async fn read(
        &self,
        request: Request<()>,
        scope: &Scope,
    ) -> Result<Answer, ClientError> {
        let mut parts = request.into_parts().0;
        for _ in 0..=self.options().redirects_max {
            let request = Request::from_parts(parts.clone(), RequestBody::empty());
            let answer = if same_server(&parts.uri, self.base()) {
                self.send_authorized(request, scope).await?
            } else {
                self.send(request).await?
            };
            let redirected = matches!(
                answer.status,
                StatusCode::MOVED_PERMANENTLY
                    | StatusCode::FOUND
                    | StatusCode::TEMPORARY_REDIRECT
                    | StatusCode::PERMANENT_REDIRECT
            );
            if !redirected {
                return Ok(answer);
            }
            parts.uri = answer.location()?;
        }
        Err(ClientError::Protocol {
            request: describe(&parts.method, &parts.uri),
            reason: format!(
                "it redirects more than {} times",
                self.options().redirects_max
            ),
        })
    }

    /// Sends a request as it is. Returns when the answer's headers are there.
    pub(crate) async fn send(&self, request: Request<RequestBody>) -> Result<Answer, ClientError> {
        let (mut parts, body) = request.into_parts();
        let described = describe(&parts.method, &parts.uri);
        let uri = parts.uri.clone();
        if let Some(length) = body.length()
            && (length > 0 || !matches!(parts.method, Method::GET | Method::HEAD))
            && !parts.headers.contains_key(CONTENT_LENGTH)
        {
            parts
                .headers
                .insert(CONTENT_LENGTH, HeaderValue::from(length));
        }
        let trace = self.options().traceparent.as_deref();
        if let Some(trace) = trace.and_then(|trace| HeaderValue::from_str(trace).ok()) {
            parts.headers.insert("traceparent", trace);
        }
        let progress = Arc::new(Progress::default());
        let watched = WatchedBody::new(body, Arc::clone(&progress));
        let sending = self
            .shared
            .connections
            .request(Request::from_parts(parts, watched));
        let stall_timeout = self.options().stall_timeout;
        let Some(sent) = progress.watch(sending, stall_timeout).await else {
            return Err(ClientError::Stalled {
                request: described,
                after: stall_timeout,
            });
        };
        match sent {
            Ok(response) => {
                let (parts, incoming) = response.into_parts();
                Ok(Answer {
                    status: parts.status,
                    headers: parts.headers,
                    uri,
                    body: AnswerBody::new(incoming, stall_timeout, described),
                })
            }
            Err(error) => Err(match progress.take_failure() {
                Some(source) => ClientError::Body {
                    request: described,
                    source,
                },
                None if error.is_connect() => ClientError::Connect {
                    address: uri.authority().map(ToString::to_string).unwrap_or_default(),
                    source: error.into(),
                },
                None => ClientError::Transport {
                    request: described,
                    source: error.into(),
                },
            }),
        }
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Client")
            .field("base", &self.shared.base)
            .field("credentials", &self.shared.credentials)
            .finish_non_exhaustive()
    }
}

impl Answer {
    /// This answer if its status is among `expected`, else what the registry said was wrong.
    pub(crate) async fn expect<const N: usize>(
        self,
        expected: [StatusCode; N],
    ) -> Result<Self, ClientError> {
        if expected.contains(&self.status) {
            return Ok(self);
        }
        Err(self.refused().await)
    }

    /// The answer as an error, with what its body says.
    pub(crate) async fn refused(self) -> ClientError {
        let request = self.body.request.clone();
        let status = self.status;
        let retry_after = self
            .header(RETRY_AFTER.as_str())
            .and_then(|seconds| seconds.parse().ok())
            .map(Duration::from_secs);
        // A body that cannot be read does not hide the status.
        let body = self
            .bytes(ERROR_BYTES_MAX)
            .await
            .unwrap_or_else(|_| Bytes::new());
        ClientError::Refused {
            request,
            status,
            errors: RegistryError::parse(&body),
            retry_after,
        }
    }

    /// The error of an answer that breaks the protocol.
    pub(crate) fn breach(&self, reason: impl Into<String>) -> ClientError {
        ClientError::Protocol {
            request: self.body.request.clone(),
            reason: reason.into(),
        }
    }

    /// Where the `Location` header points.
    pub(crate) fn location(&self) -> Result<Uri, ClientError> {
        let location = self
            .header(LOCATION.as_str())
            .ok_or_else(|| self.breach("it has no Location"))?;
        resolve(&self.uri, location)
            .ok_or_else(|| self.breach(format!("its Location {location:?} is not an address")))
    }
}

/// `http://HOST:PORT` with or without a slash behind it, as an address with the path `/`.
fn base_of(address: &str) -> Result<Uri, &'static str> {
    let uri = Uri::try_from(address).map_err(|_| "it has another form")?;
    match uri.scheme_str() {
        Some("http") => {}
        Some("https") => return Err("this client does not speak TLS"),
        _ => return Err("it does not begin with http://"),
    }
    if uri.path() != "/" || uri.query().is_some() {
        return Err("it has a path");
    }
    if uri
        .authority()
        .is_some_and(|authority| authority.as_str().contains('@'))
    {
        return Err("it has a user name in it");
    }
    Ok(uri)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_addresses_are_taken() {
        for address in [
            "http://127.0.0.1:5000",
            "http://registry/",
            "http://[::1]:80",
        ] {
            assert!(base_of(address).is_ok(), "{address}");
        }
        for address in [
            "",
            "registry",
            "registry:5000",
            "https://registry",
            "http://",
            "http://r/v2/",
            "http://r/?x",
            "http://u:p@r",
            "ftp://r",
            "http://r\u{0}",
        ] {
            assert!(Client::new(address, None).is_err(), "{address}");
        }
    }
}
