//! Quay's storage proxy (`FEATURE_PROXY_STORAGE`), without nginx: clients that cannot or must not reach the stores are redirected to the registry
//! itself, which fetches for them. A URL of it is
//!
//! ```text
//! <scheme>://<SERVER_HOSTNAME>/_storage_proxy/<base64url of a grant>/<scheme>/<host>/<path and query>
//! ```
//!
//! where what follows the grant is the address that the store or its CDN signed, to the byte. Nothing of it is decoded or tidied up, here or on the
//! way out, or a URL could mean another address to whoever checks it than to whoever fetches it. The grant names that very address, and only
//! instances of this deployment make one, Quay's included: see [`ProxiedAddress`]. So whoever has the URL may fetch, without any other proof,
//! for ten minutes; and nobody can make the registry fetch anything else.
//!
//! `GET /_storage_proxy_auth` checks the URL in `X-Original-URI`, for deployments that keep Quay's nginx in front, which then fetches by itself.
//!
//! Of the client's headers only those about ranges and conditions are passed on, and of the store's those about the content. Redirects of a
//! store are failures. HEAD is answered from the head of a GET, because addresses are signed for GET.
//!
//! What is better than in Quay: a store that fails before the first byte is answered with 503 and `Retry-After` or with 502, in the protocol's form,
//! instead of an error page, and it counts against the location, so that the client's next attempt is streamed from another one.

mod stores;

use base64::Engine as _;
use base64::alphabet::URL_SAFE;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use futures_util::{StreamExt as _, TryStreamExt as _};
use http::header::{
    ACCEPT_ENCODING, ACCEPT_RANGES, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE,
    ETAG, HeaderMap, HeaderName, HeaderValue, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE,
    LAST_MODIFIED, RANGE, USER_AGENT, X_CONTENT_TYPE_OPTIONS,
};
use http::{Method, Response, StatusCode};
use roadstead_auth::{PROXY_GRANT_BYTES_MAX, ProxiedAddress, ProxyGrantError, TokenError};
use roadstead_runtime::Timestamp;
use roadstead_storage::{FetchError, FetchRequest, SignedUrl};

use crate::body::{Body, BodyError};
use crate::error::ApiError;
use crate::headers::{OCTET_STREAM, ORIGINAL_URI};
use crate::links::Links;
use crate::options::is_host;
use crate::request_log::Chain;
use crate::response::{With as _, empty};
use crate::route::{RouteError, STORAGE_PROXY};
use crate::service::{Head, Inner};

pub(crate) use stores::KnownStores;

/// As Quay writes it: with padding, which some ways of sending a URL lose.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &URL_SAFE,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// What the client's headers say about which part of the content it wants, and whether.
const PASSED_ON: [HeaderName; 4] = [RANGE, IF_RANGE, IF_NONE_MATCH, IF_MODIFIED_SINCE];

/// What the store's headers say about the content.
const PASSED_BACK: [HeaderName; 7] = [
    CONTENT_LENGTH,
    CONTENT_RANGE,
    CONTENT_TYPE,
    ETAG,
    LAST_MODIFIED,
    ACCEPT_RANGES,
    CACHE_CONTROL,
];

/// What the proxy calls itself: some CDNs refuse whoever has no name.
const AGENT: HeaderValue = HeaderValue::from_static("roadstead");

/// Why the proxy has nothing to pass on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProxyError {
    /// The store cannot be reached, is silent or breaks off.
    #[error("a store could not be fetched from")]
    Fetch(#[from] FetchError),
    /// The store answers something that is none of the client's business.
    #[error("{host} answered {}", status.as_u16())]
    Answer {
        /// Who.
        host: String,
        /// What.
        status: StatusCode,
    },
    /// The store does not say where its answer ends.
    #[error("{host} does not say how long its answer is")]
    Length {
        /// Who.
        host: String,
    },
    /// The content has no such range.
    #[error("the range is not inside the blob")]
    Range {
        /// How long the content is, as the store says it.
        size: Option<HeaderValue>,
    },
}

impl ProxyError {
    /// Whether the same address may work a little later.
    pub(crate) fn is_temporary(&self) -> bool {
        match self {
            Self::Fetch(error) => !matches!(error, FetchError::Address { .. }),
            Self::Answer { status, .. } => {
                status.is_server_error()
                    || *status == StatusCode::TOO_MANY_REQUESTS
                    || *status == StatusCode::REQUEST_TIMEOUT
            }
            Self::Length { .. } | Self::Range { .. } => false,
        }
    }
}

/// A URL of the proxy, in its parts. Whether the grant is good is another question.
#[derive(Debug)]
struct ProxyUrl<'a> {
    grant: String,
    address: ProxiedAddress<'a>,
}

impl<'a> ProxyUrl<'a> {
    /// Reads the path and the query of a request, as they were sent.
    fn parse(url: &'a str) -> Option<Self> {
        let mut parts = url.strip_prefix(STORAGE_PROXY)?.splitn(4, '/');
        let encoded = parts.next()?;
        let address = ProxiedAddress {
            scheme: parts.next()?,
            host: parts.next()?,
            uri: parts.next()?,
        };
        // Four characters for three bytes.
        if encoded.len() > PROXY_GRANT_BYTES_MAX.div_ceil(3) * 4 || !is_fit(&address) {
            return None;
        }
        let grant = String::from_utf8(BASE64.decode(encoded).ok()?).ok()?;
        Some(Self { grant, address })
    }
}

/// Whether the address is one of the web, at a host with an optional port and nothing else.
fn is_fit(address: &ProxiedAddress<'_>) -> bool {
    matches!(address.scheme, "http" | "https") && is_host(address.host)
}

/// Where to send a client instead of to this URL of a store, and until when that works: never longer than the store's URL. `None`, with a line in
/// the log, where it cannot be granted; the blob is streamed then.
pub(crate) async fn wrap(inner: &Inner, url: &SignedUrl) -> Option<(HeaderValue, Timestamp)> {
    let text = url.expose();
    let address = parts_of(text)?;
    let granted = inner
        .authenticator
        .grant_proxying(&address, url.expires_at())
        .await;
    let grant = match granted {
        Ok(grant) => grant,
        Err(error) => {
            tracing::warn!(
                error = %Chain(&error),
                "Could not grant a client to fetch through the storage proxy; streaming the blob"
            );
            return None;
        }
    };
    if let Some(location) = url.location() {
        inner.known_stores.learn(&address, location);
    }
    let ProxiedAddress { scheme, host, uri } = address;
    let encoded = BASE64.encode(grant.value.expose());
    let path = format!("{STORAGE_PROXY}{encoded}/{scheme}/{host}/{uri}");
    let location = Links(inner.options.external_url.as_ref()).proxied(&path)?;
    Some((location, grant.issued + grant.life))
}

/// The parts of a store's URL. None where a part could not be told from the next.
fn parts_of(url: &str) -> Option<ProxiedAddress<'_>> {
    let (scheme, rest) = url.split_once("://")?;
    let (host, uri) = rest.split_once('/')?;
    let address = ProxiedAddress { scheme, host, uri };
    (is_fit(&address) && !uri.contains('#')).then_some(address)
}

/// `/_storage_proxy_auth`: whether the URL in `X-Original-URI` may be fetched from.
pub(crate) async fn authorize(inner: &Inner, head: &Head) -> Result<Response<Body>, ApiError> {
    require_proxy(inner, head)?;
    let url = head.headers.get(ORIGINAL_URI);
    let url = url.and_then(|url| url.to_str().ok()).unwrap_or_default();
    check(inner, head, url).await?;
    Ok(Response::new(Body::whole("OK"))
        .with(
            CONTENT_TYPE,
            HeaderValue::from_static("text/html; charset=utf-8"),
        )
        .with(CACHE_CONTROL, HeaderValue::from_static("no-store")))
}

/// `/_storage_proxy/...`: what is at the granted address.
pub(crate) async fn answer(inner: &Inner, head: &Head) -> Result<Response<Body>, ApiError> {
    let options = require_proxy(inner, head)?;
    let url = head.uri.path_and_query();
    let url = url.map_or("", http::uri::PathAndQuery::as_str);
    let address = check(inner, head, url).await?;
    let watch = inner
        .known_stores
        .watch(&address, inner.registry.locations(), &inner.environment);
    let asked = inner.environment.now();
    let fetched = options
        .http
        .fetch(FetchRequest {
            scheme: address.scheme,
            host: address.host,
            uri: address.uri,
            headers: headers_for_store(head),
            answer_timeout: options.answer_timeout,
            idle_timeout: options.idle_timeout,
        })
        .await
        .inspect_err(|error| watch.failed(error))
        .map_err(ProxyError::from)?;
    watch.answered(fetched.status, inner.environment.now() - asked);
    let mut response = empty(fetched.status);
    match fetched.status {
        StatusCode::OK | StatusCode::PARTIAL_CONTENT | StatusCode::NOT_MODIFIED => {}
        StatusCode::RANGE_NOT_SATISFIABLE => {
            let size = fetched.headers.get(CONTENT_RANGE).cloned();
            return Err(ProxyError::Range { size }.into());
        }
        status => {
            let host = address.host.to_owned();
            return Err(ProxyError::Answer { host, status }.into());
        }
    }
    for name in PASSED_BACK {
        if let Some(value) = fetched.headers.get(&name) {
            response.headers_mut().insert(name, value.clone());
        }
    }
    // A URL that works for everybody is still one client's: no cache between is to keep what it leads to.
    response
        .headers_mut()
        .entry(CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("private"));
    if fetched.status == StatusCode::NOT_MODIFIED {
        return Ok(response);
    }
    let Some(length) = content_length(&fetched.headers) else {
        let host = address.host.to_owned();
        return Err(ProxyError::Length { host }.into());
    };
    response
        .headers_mut()
        .entry(CONTENT_TYPE)
        .or_insert(OCTET_STREAM);
    // What somebody pushed is never a page of the registry, whatever a store calls it.
    let mut response = response.with(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if head.method == Method::GET {
        let content = watch
            .over(fetched.into_body().boxed())
            .map_err(|error| BodyError::Source(Box::new(error)));
        *response.body_mut() = Body::stream(content, length);
    }
    Ok(response)
}

/// The proxy's options. As in Quay there is no proxy where it is switched off, also not for what others have granted.
fn require_proxy<'a>(
    inner: &'a Inner,
    head: &Head,
) -> Result<&'a crate::options::StorageProxy, ApiError> {
    let Some(options) = &inner.options.storage_proxy else {
        return Err(RouteError::NotFound.into());
    };
    if !head.is_read() {
        return Err(ApiError::Method {
            allowed: "GET, HEAD".into(),
        });
    }
    Ok(options)
}

/// The address that a URL of the proxy leads to, if the grant in it is good for that. Everything else is 401, with the registry's challenge: the
/// client begins anew where it got the URL from.
async fn check<'a>(
    inner: &Inner,
    head: &Head,
    url: &'a str,
) -> Result<ProxiedAddress<'a>, ApiError> {
    let refused =
        |message: &str| Err(inner.unauthorized(head, &[], Some("invalid_token"), message));
    let Some(ProxyUrl { grant, address }) = ProxyUrl::parse(url) else {
        return refused("this is no address of the storage proxy");
    };
    match inner
        .authenticator
        .check_proxy_grant(&grant, &address)
        .await
    {
        Ok(()) => Ok(address),
        Err(ProxyGrantError::Token(error @ (TokenError::Busy | TokenError::Backend { .. }))) => {
            Err(ApiError::Token(error))
        }
        Err(error) => {
            tracing::debug!(error = %Chain(&error), "Refused a grant of the storage proxy");
            refused(error.client_message())
        }
    }
}

/// What the store is told of the client's request.
fn headers_for_store(head: &Head) -> HeaderMap {
    let mut headers = HeaderMap::from_iter([
        (USER_AGENT, AGENT),
        // The bytes that the digest is of.
        (ACCEPT_ENCODING, HeaderValue::from_static("identity")),
    ]);
    for name in PASSED_ON {
        // RFC 9110, section 14.2: a range means something to GET only.
        let about_ranges = name == RANGE || name == IF_RANGE;
        if let Some(value) = head.headers.get(&name)
            && (head.method == Method::GET || !about_ranges)
        {
            headers.insert(name, value.clone());
        }
    }
    headers
}

fn content_length(headers: &HeaderMap) -> Option<u64> {
    let length = headers.get(CONTENT_LENGTH)?.to_str().ok()?;
    length.parse().ok()
}
