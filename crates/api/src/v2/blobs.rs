//! `/v2/<name>/blobs/<digest>` (end-2, end-10).

use std::time::Duration;

use futures_util::{StreamExt as _, TryStreamExt as _};
use http::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, HOST,
    HeaderValue, LOCATION, ORIGIN, RANGE,
};
use http::{Method, Response, StatusCode};
use roadstead_auth::Action;
use roadstead_metadata::{Blob, Repository};
use roadstead_oci::{Digest, RepositoryName};
use roadstead_storage::UrlRequest;

use crate::authorization::{Admitted, Wants};
use crate::body::{Body, BodyError};
use crate::conditional::{Condition, entity_tag, evaluate, range_counts};
use crate::error::ApiError;
use crate::headers::OCTET_STREAM;
use crate::range::RangeRequest;
use crate::response::{With as _, empty};
use crate::service::{Head, Inner};
use crate::storage_proxy;

/// Content that a digest names never changes, so that who has it may keep it. Only the client's own cache may: what others may see
/// can change.
const KEPT_BY_CLIENT: HeaderValue =
    HeaderValue::from_static("private, max-age=31536000, immutable");

/// How long a URL of a store works: Quay's 600 s, enough to begin a download that was queued behind others.
const URL_LIFE: Duration = Duration::from_mins(10);

/// How much sooner a client has to forget it: for clocks that differ.
const URL_MARGIN_SECONDS: i64 = 60;

pub(crate) async fn answer(
    inner: &Inner,
    head: &Head,
    name: &RepositoryName,
    digest: &Digest,
) -> Result<Response<Body>, ApiError> {
    match head.method {
        Method::GET | Method::HEAD => pull(inner, head, name, digest).await,
        Method::DELETE => {
            let admitted = inner.admit(head, Wants::to(Action::Delete, name)).await?;
            inner
                .registry
                .blobs()
                .delete(&admitted.repository, digest)
                .await?;
            Ok(empty(StatusCode::ACCEPTED).with_digest(digest))
        }
        _ => Err(ApiError::Method {
            allowed: "GET, HEAD, DELETE".into(),
        }),
    }
}

/// A blob, or a range of it. HEAD asks no location, so that it answers what the repository holds and not what can be read at the moment.
async fn pull(
    inner: &Inner,
    head: &Head,
    name: &RepositoryName,
    digest: &Digest,
) -> Result<Response<Body>, ApiError> {
    let (admitted, asked) = inner.admit_to_read(head, name).await?;
    let blob = inner
        .registry
        .blobs()
        .asked(asked)
        .find(&admitted.repository, digest)
        .await?;
    let described = |status| {
        empty(status)
            .with_digest(digest)
            .with(ETAG, entity_tag(digest))
            .with(CACHE_CONTROL, KEPT_BY_CLIENT)
            .with(ACCEPT_RANGES, HeaderValue::from_static("bytes"))
    };
    match evaluate(&head.headers, digest) {
        Condition::Proceed => {}
        Condition::NotModified => return Ok(described(StatusCode::NOT_MODIFIED)),
        Condition::Failed => return Err(ApiError::PreconditionFailed),
    }
    if head.method == Method::GET {
        inner.counters.note_blob_pull(blob.size);
    }
    if head.method == Method::GET
        && let Some(redirect) = redirect(inner, head, &admitted, &blob).await
    {
        return Ok(redirect.with_digest(digest));
    }
    // RFC 9110, section 14.2: a range means something to GET only.
    let range = if head.method == Method::GET && range_counts(&head.headers, digest) {
        RangeRequest::of(head.headers.get(RANGE), blob.size)
    } else {
        RangeRequest::Whole
    };
    let (range, status) = match range {
        RangeRequest::Whole => (0..blob.size, StatusCode::OK),
        RangeRequest::Part(range) => (range, StatusCode::PARTIAL_CONTENT),
        RangeRequest::Unsatisfiable => {
            return Err(ApiError::RangeNotSatisfiable { size: blob.size });
        }
    };
    let mut response = described(status)
        .with(CONTENT_TYPE, OCTET_STREAM)
        .with(CONTENT_LENGTH, HeaderValue::from(range.end - range.start));
    if status == StatusCode::PARTIAL_CONTENT {
        let text = format!("bytes {}-{}/{}", range.start, range.end - 1, blob.size);
        response = response.with(
            CONTENT_RANGE,
            HeaderValue::try_from(text).expect("numbers are visible ASCII"),
        );
    }
    if head.method == Method::GET {
        let blobs = inner.registry.blobs();
        let content = blobs.open(&blob, range).await?;
        let length = content.remaining();
        let content = content
            .map_err(|error| BodyError::Source(Box::new(error)))
            .boxed();
        *response.body_mut() = Body::stream(content, length);
    }
    Ok(response)
}

/// Sends the client to the store, or to the storage proxy in front of it, if it is one that may be sent there and the store can be relied on at the moment. Ranges are the store's to
/// answer.
async fn redirect(
    inner: &Inner,
    head: &Head,
    admitted: &Admitted,
    blob: &Blob,
) -> Option<Response<Body>> {
    if !inner.options.redirects.apply_to(head.client) {
        return None;
    }
    let Repository { path, .. } = &admitted.repository;
    let request = UrlRequest {
        client: head.client,
        host: head.headers.get(HOST).and_then(|host| host.to_str().ok()),
        username: admitted.caller.access.username(),
        namespace: Some(&path.namespace),
        repository: Some(&path.name),
        via_cdn: inner.options.cdn_namespaces.contains(&path.namespace),
        cross_origin: head.headers.contains_key(ORIGIN),
        ..UrlRequest::get(inner.environment.now(), URL_LIFE)
    };
    let blobs = inner.registry.blobs();
    let url = blobs.direct_url(blob, &request).await?;
    let (location, ends) = if inner.options.storage_proxy.is_some() {
        storage_proxy::wrap(inner, &url).await?
    } else {
        let mut location = HeaderValue::try_from(url.expose()).ok()?;
        location.set_sensitive(true);
        (location, url.expires_at())
    };
    let life = ends - request.now;
    // Never kept for longer than the URL works.
    let kept = (life.num_seconds() - URL_MARGIN_SECONDS).max(0);
    let kept = HeaderValue::try_from(format!("private, max-age={kept}")).ok()?;
    Some(
        empty(StatusCode::FOUND)
            .with(LOCATION, location)
            .with(CACHE_CONTROL, kept)
            .with(ACCEPT_RANGES, HeaderValue::from_static("bytes")),
    )
}
