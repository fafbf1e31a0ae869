//! Requests to one container, with a token that is fetched anew when the store refuses it, and what the answers mean. Paths are those below
//! the configured prefix. Nothing is tried again here, and no deadline is kept.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use chrono::{DateTime, TimeDelta};
use http::header::{CONTENT_LENGTH, DATE, HeaderName, HeaderValue, LAST_MODIFIED, RANGE};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use opendal::raw::oio::ReadStream;
use opendal::raw::percent_encode_path;
use opendal::{Buffer, HttpBody, HttpTransporter};
use roadstead_runtime::{Clock, Environment, Timestamp};
use roadstead_secrets::Secret;
use serde::Deserialize;
use tokio::sync::OnceCell;

use super::SwiftOptions;
use super::temp_url::{self, Algorithm};
use super::tokens::{Access, Tokens};
use crate::error::{Failure, Refusal, StorageErrorKind};
use crate::http::HttpClient;

/// The most of an answer that is held: twice the longest list of segments that Swift takes. Ours have 500 lines of about 300 bytes.
const ANSWER_BYTES_MAX: usize = 16 << 20;

/// How many names one page of a listing holds. The default limit of a cluster is 10,000.
const PAGE_NAMES: usize = 1000;

/// For how long a container that was seen is taken to be there, so that a missing object costs one request and not two.
const CONTAINER_TRUSTED_FOR: TimeDelta = TimeDelta::seconds(10);

const NEWEST: HeaderName = HeaderName::from_static("x-newest");
const COPY_FROM: HeaderName = HeaderName::from_static("x-copy-from");
const AUTH_TOKEN: HeaderName = HeaderName::from_static("x-auth-token");

#[derive(Debug)]
pub(crate) struct Container {
    name: String,
    prefix: String,
    tokens: Tokens,
    transport: HttpTransporter,
    clock: Arc<dyn Clock>,
    /// Until when the container is taken to be there.
    trusted: Mutex<Option<Timestamp>>,
    temp_url_key: Option<Secret>,
    temp_url_algorithm: OnceCell<Algorithm>,
}

/// What is known of an object without reading it.
#[derive(Debug)]
pub(crate) struct Held {
    pub(super) headers: HeaderMap,
}

/// One line of a listing.
#[derive(Debug, Deserialize)]
pub(super) struct Entry {
    /// With the prefix.
    pub(super) name: String,
    #[serde(default)]
    pub(super) bytes: u64,
    pub(super) last_modified: Option<String>,
}

impl Container {
    pub(super) fn new(
        swift: &SwiftOptions,
        http: &HttpClient,
        environment: &Environment,
    ) -> Result<Self, Failure> {
        if swift.container.is_empty() || swift.container.contains('/') {
            let problem = format!("`{}` is no name of a container", swift.container);
            return Err(Failure::because(StorageErrorKind::Misconfigured, problem));
        }
        let transport = http.context().http_transport().clone();
        let clock = Arc::clone(&environment.clock);
        let tokens = Tokens::new(swift.clone(), transport.clone(), Arc::clone(&clock));
        Ok(Self {
            name: swift.container.clone(),
            prefix: swift.key_prefix.trim_start_matches('/').to_owned(),
            tokens,
            transport,
            clock,
            trusted: Mutex::new(None),
            temp_url_key: swift.temp_url_key.clone(),
            temp_url_algorithm: OnceCell::new(),
        })
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Looks at an object. With `newest`, all its replicas are asked, so that what was written last is what is seen.
    pub(crate) async fn head(&self, path: &str, newest: bool) -> opendal::Result<Option<Held>> {
        let request = self.on(Method::HEAD, path).newest(newest);
        self.headers(&request).await
    }

    pub(super) async fn headers(&self, request: &Planned) -> opendal::Result<Option<Held>> {
        let answer = self.send(request).await?;
        if answer.status() == StatusCode::NOT_FOUND {
            self.see_container().await?;
            return Ok(None);
        }
        let (answer, _) = self.accepted(request, answer).await?.into_parts();
        Ok(Some(Held {
            headers: answer.headers,
        }))
    }

    pub(super) async fn read(
        &self,
        path: &str,
        range: Option<String>,
    ) -> opendal::Result<Response<HttpBody>> {
        let mut request = self.on(Method::GET, path);
        if let Some(range) = range {
            request = request.with(RANGE, &range)?;
        }
        let answer = self.send(&request).await?;
        self.accepted(&request, answer).await
    }

    /// Reads a small object as it was last written.
    pub(crate) async fn read_note(&self, path: &str) -> opendal::Result<Option<(Held, Bytes)>> {
        let request = self.on(Method::GET, path).newest(true);
        let answer = self.send(&request).await?;
        if answer.status() == StatusCode::NOT_FOUND {
            self.see_container().await?;
            return Ok(None);
        }
        let (answer, body) = self.accepted(&request, answer).await?.into_parts();
        let held = Held {
            headers: answer.headers,
        };
        Ok(Some((held, whole(body).await?)))
    }

    pub(crate) async fn write(&self, path: &str, body: Buffer) -> opendal::Result<()> {
        let mut request = self.on(Method::PUT, path);
        request.body = body;
        let answer = self.send(&request).await?;
        self.accepted(&request, answer).await?;
        Ok(())
    }

    pub(super) async fn copy(&self, from: &str, to: &str) -> opendal::Result<()> {
        let source = format!("/{}/{}{from}", self.name, self.prefix);
        let request = self.on(Method::PUT, to);
        let request = request.with(COPY_FROM, &percent_encode_path(&source))?;
        let answer = self.send(&request).await?;
        self.accepted(&request, answer).await?;
        Ok(())
    }

    /// Deletes an object as such: segments stay.
    pub(crate) async fn delete(&self, path: &str) -> opendal::Result<()> {
        let request = self.on(Method::DELETE, path);
        let answer = self.send(&request).await?;
        if answer.status() == StatusCode::NOT_FOUND {
            return self.see_container().await;
        }
        self.accepted(&request, answer).await?;
        Ok(())
    }

    /// One page of the names that begin with the configured prefix and `path`, from behind `marker`, in order. The last page is empty.
    pub(super) async fn list(&self, path: &str, marker: &str) -> opendal::Result<Vec<Entry>> {
        let encoded = |text: &str| percent_encode_path(text);
        let mut query = format!(
            "format=json&limit={PAGE_NAMES}&prefix={}{}",
            encoded(&self.prefix),
            encoded(path)
        );
        if !marker.is_empty() {
            query = format!("{query}&marker={}", encoded(marker));
        }
        let request = Planned::of_container(Method::GET, query);
        let answer = self.send(&request).await?;
        let answer = self.accepted(&request, answer).await?;
        let body = whole(answer.into_body()).await?;
        serde_json::from_slice(&body).map_err(|error| not_understood("a listing", &error))
    }

    /// The path of a listed name.
    pub(super) fn path_of<'a>(&self, name: &'a str) -> Option<&'a str> {
        name.strip_prefix(&self.prefix)
    }

    /// The listed name of a path.
    pub(super) fn name_of(&self, path: &str) -> String {
        format!("{}{path}", self.prefix)
    }

    /// A URL that whoever has it can make one request with until `expires`, and HEAD as well as GET.
    ///
    /// Asks the store once what it signs by. Nothing says whether the key is the account's: a wrong one shows when the URL is used.
    pub(crate) async fn temp_url(
        &self,
        path: &str,
        method: &Method,
        expires: Timestamp,
    ) -> opendal::Result<String> {
        let Some(key) = &self.temp_url_key else {
            return Err(misconfigured("no temp_url_key is configured"));
        };
        let access = self.tokens.access().await?;
        let algorithm = self
            .temp_url_algorithm
            .get_or_try_init(|| self.ask_algorithm(&access))
            .await?;
        let path = format!("/{}/{}{path}", self.name, self.prefix);
        let url = temp_url::sign(
            *algorithm,
            key,
            &access.storage_url,
            &path,
            method,
            expires.timestamp(),
        );
        url.ok_or_else(|| misconfigured("the storage URL is not one of HTTP"))
    }

    async fn ask_algorithm(&self, access: &Access) -> opendal::Result<Algorithm> {
        let Some(url) = temp_url::info_url(&access.storage_url) else {
            return Ok(Algorithm::Sha1);
        };
        let request = Request::get(url).body(Buffer::new());
        let answer = self
            .transport
            .fetch(request.map_err(not_a_request)?)
            .await?;
        if !answer.status().is_success() {
            // A store that does not say what it can is taken to do what Quay relies on.
            return Ok(Algorithm::Sha1);
        }
        Ok(temp_url::algorithm(&whole(answer.into_body()).await?))
    }

    /// Finds out why something is not there: an error when it is the container that is missing.
    pub(super) async fn see_container(&self) -> opendal::Result<()> {
        let now = self.clock.now();
        let trusted = *self.trusted.lock().unwrap_or_else(PoisonError::into_inner);
        if trusted.is_some_and(|until| now < until) {
            return Ok(());
        }
        let request = Planned::of_container(Method::HEAD, String::new());
        let answer = self.send(&request).await?;
        self.accepted(&request, answer).await?;
        *self.trusted.lock().unwrap_or_else(PoisonError::into_inner) =
            Some(now + CONTAINER_TRUSTED_FOR);
        Ok(())
    }

    pub(super) fn on(&self, method: Method, path: &str) -> Planned {
        Planned {
            method,
            object: Some(format!("{}{path}", self.prefix)),
            query: String::new(),
            headers: HeaderMap::new(),
            body: Buffer::new(),
        }
    }

    pub(super) async fn send(&self, planned: &Planned) -> opendal::Result<Response<HttpBody>> {
        let access = self.tokens.access().await?;
        let answer = self
            .transport
            .fetch(self.request(&access, planned)?)
            .await?;
        if answer.status() != StatusCode::UNAUTHORIZED {
            return Ok(answer);
        }
        let Some(access) = self.tokens.renewed(&access).await? else {
            return Ok(answer);
        };
        self.transport.fetch(self.request(&access, planned)?).await
    }

    fn request(&self, access: &Access, planned: &Planned) -> opendal::Result<Request<Buffer>> {
        let mut url = format!("{}/{}", access.storage_url, percent_encode_path(&self.name));
        if let Some(object) = &planned.object {
            url = format!("{url}/{}", percent_encode_path(object));
        }
        if !planned.query.is_empty() {
            url = format!("{url}?{}", planned.query);
        }
        let mut token = HeaderValue::from_str(access.token.expose()).map_err(not_a_request)?;
        token.set_sensitive(true);
        let mut request = Request::builder()
            .method(&planned.method)
            .uri(url)
            .body(planned.body.clone())
            .map_err(not_a_request)?;
        *request.headers_mut() = planned.headers.clone();
        request.headers_mut().insert(AUTH_TOKEN, token);
        Ok(request)
    }

    /// The answer, if it is good news.
    pub(super) async fn accepted(
        &self,
        request: &Planned,
        answer: Response<HttpBody>,
    ) -> opendal::Result<Response<HttpBody>> {
        let status = answer.status();
        if status.is_success() {
            return Ok(answer);
        }
        let container_is_missing = request.object.is_none() || request.method == Method::PUT;
        if status == StatusCode::NOT_FOUND {
            let is_copy = request.headers.contains_key(COPY_FROM);
            if container_is_missing && !is_copy {
                let message = format!("there is no container `{}`", self.name);
                return Err(misconfigured(message));
            }
            Box::pin(self.see_container()).await?;
        }
        let body = start_of(answer.into_body()).await;
        Err(self.error(&request.method, status, &body))
    }

    /// What a refusal means.
    pub(super) fn error(&self, method: &Method, status: StatusCode, body: &[u8]) -> opendal::Error {
        let kind = match status.as_u16() {
            401 | 403 => StorageErrorKind::Denied,
            404 => StorageErrorKind::NotFound,
            // A segment is missing or not the one that was listed.
            409 if method.is_safe() => StorageErrorKind::Corrupt,
            // The container's or account's quota, or the disks.
            413 | 507 => StorageErrorKind::Full,
            // With 409, somebody else's write was later; it will have settled in a moment.
            408 | 409 | 499..=599 => StorageErrorKind::ServerError,
            416 => StorageErrorKind::Corrupt,
            429 | 498 => StorageErrorKind::Throttled,
            _ => StorageErrorKind::Unexpected,
        };
        let said = String::from_utf8_lossy(body);
        let said = said.trim();
        let message = format!(
            "container `{}` answers {status} to {method}: {said}",
            self.name
        );
        Refusal { kind, message }.into()
    }
}

impl Held {
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    pub(super) fn is_list(&self) -> bool {
        self.text("x-static-large-object")
            .is_some_and(|value| value.eq_ignore_ascii_case("true"))
    }

    pub(super) fn size(&self) -> Option<u64> {
        self.text(CONTENT_LENGTH.as_str())?.parse().ok()
    }

    /// For how long the object has been as it is, by the clock of the store; if it says so.
    pub(crate) fn age(&self) -> Option<TimeDelta> {
        let moment = |name: HeaderName| {
            let text = self.headers.get(name)?.to_str().ok()?;
            DateTime::parse_from_rfc2822(text).ok()
        };
        Some(moment(DATE)? - moment(LAST_MODIFIED)?)
    }
}

/// A request before it is known where it goes.
pub(super) struct Planned {
    method: Method,
    /// With the prefix; the container itself if there is none.
    object: Option<String>,
    pub(super) query: String,
    headers: HeaderMap,
    pub(super) body: Buffer,
}

impl Planned {
    fn of_container(method: Method, query: String) -> Self {
        Self {
            method,
            object: None,
            query,
            headers: HeaderMap::new(),
            body: Buffer::new(),
        }
    }

    pub(super) fn newest(mut self, newest: bool) -> Self {
        if newest {
            self.headers
                .insert(NEWEST, HeaderValue::from_static("true"));
        }
        self
    }

    pub(super) fn with(mut self, name: HeaderName, value: &str) -> opendal::Result<Self> {
        let value = HeaderValue::from_str(value).map_err(not_a_request)?;
        self.headers.insert(name, value);
        Ok(self)
    }
}

/// Reads a body that has to be small.
pub(super) async fn whole(mut body: HttpBody) -> opendal::Result<Bytes> {
    let mut chunks = Vec::new();
    let mut bytes = 0;
    loop {
        let chunk = body.read().await?;
        if chunk.is_empty() {
            return Ok(Buffer::from(chunks).to_bytes());
        }
        bytes += chunk.len();
        if bytes > ANSWER_BYTES_MAX {
            let message = format!("an answer has more than {ANSWER_BYTES_MAX} bytes");
            return Err(misconfigured(message));
        }
        chunks.extend(chunk);
    }
}

/// What a refusal says, as far as it fits a log line.
pub(super) async fn start_of(mut body: HttpBody) -> Bytes {
    const SHOWN_BYTES: usize = 4096;
    let mut start = Vec::new();
    while start.len() < SHOWN_BYTES {
        match body.read().await {
            Ok(chunk) if !chunk.is_empty() => start.extend_from_slice(&chunk.to_bytes()),
            _ => break,
        }
    }
    start.into()
}

pub(super) fn not_understood(what: &str, error: &serde_json::Error) -> opendal::Error {
    misconfigured(format!("{what} of the store is not understood: {error}"))
}

fn not_a_request(error: impl Into<http::Error>) -> opendal::Error {
    let error: http::Error = error.into();
    misconfigured(format!(
        "no request can be made of the configuration: {error}"
    ))
}

pub(super) fn misconfigured(message: impl Into<String>) -> opendal::Error {
    Refusal {
        kind: StorageErrorKind::Misconfigured,
        message: message.into(),
    }
    .into()
}
