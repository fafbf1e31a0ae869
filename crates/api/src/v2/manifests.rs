//! `/v2/<name>/manifests/<tag or digest>` (end-3, end-7, end-9).
//!
//! **Accept.** A manifest is answered as it was pushed, whatever `Accept` says. Where the stored type is listed, or `*/*`, or
//! nothing, that is what was asked for. Where it is not, there is no other form of the same manifest: conversions change the digest, which
//! is what clients check; Docker's registry sends the stored bytes too; 404 and 406 would break old clients that list
//! fewer types than they can read. The `Content-Type` tells what was sent.

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, HeaderMap, HeaderValue};
use http::{Method, Response, StatusCode};
use roadstead_auth::Action;
use roadstead_oci::{Manifest, ManifestLimits, MediaType, Reference, RepositoryName, Tag};

use crate::activity::ClientEvent;
use crate::authorization::Wants;
use crate::body::Body;
use crate::conditional::{Condition, entity_tag, evaluate};
use crate::error::ApiError;
use crate::headers::{SUBJECT, TAG};
use crate::links::Links;
use crate::request_body::RequestBody;
use crate::response::{With as _, digest_value, empty};
use crate::service::{Head, Inner};

/// Manifests of more bytes than this are read on a thread of their own: at the worst rate known (30 ms for 4 MiB) smaller ones hold
/// up other requests for less than 1 ms.
const INLINE_BYTES_MAX: usize = 128 << 10;

/// A tag moves and a manifest can be deleted, so clients ask again, with what they have in `If-None-Match`.
const ASKED_AGAIN: HeaderValue = HeaderValue::from_static("private, no-cache");

pub(crate) async fn answer(
    inner: &Inner,
    head: &Head,
    body: RequestBody,
    name: &RepositoryName,
    reference: &Reference,
) -> Result<Response<Body>, ApiError> {
    match head.method {
        Method::GET | Method::HEAD => pull(inner, head, name, reference).await,
        Method::PUT => push(inner, head, body, name, reference).await,
        Method::DELETE => {
            let admitted = inner.admit(head, Wants::to(Action::Delete, name)).await?;
            inner
                .registry
                .manifests()
                .delete(
                    &admitted.repository,
                    reference,
                    &head.actor(&admitted.caller.access),
                )
                .await?;
            Ok(empty(StatusCode::ACCEPTED))
        }
        _ => Err(ApiError::Method {
            allowed: "GET, HEAD, PUT, DELETE".into(),
        }),
    }
}

async fn pull(
    inner: &Inner,
    head: &Head,
    name: &RepositoryName,
    reference: &Reference,
) -> Result<Response<Body>, ApiError> {
    let (admitted, asked) = inner.admit_to_read(head, name).await?;
    let manifest = inner
        .registry
        .manifests()
        .asked(asked)
        .get(&admitted.repository, reference)
        .await?;
    // As in Quay, asking for the head only is a pull too, and so is hearing that nothing has changed.
    inner.registry.note_pull(
        &admitted.repository,
        reference,
        &manifest.media_type,
        &head.actor(&admitted.caller.access),
    );
    inner.client_event(
        admitted.caller.access.username(),
        ClientEvent {
            action: "pull_repo",
            repository: Some(&admitted.repository.path),
        },
    );
    let described = |status| {
        empty(status)
            .with_digest(&manifest.digest)
            .with(ETAG, entity_tag(&manifest.digest))
            .with(CACHE_CONTROL, ASKED_AGAIN)
    };
    match evaluate(&head.headers, &manifest.digest) {
        Condition::Proceed => {
            let content_type = HeaderValue::try_from(manifest.media_type.as_str())
                .expect("a media type is visible ASCII");
            let mut response = described(StatusCode::OK).with(CONTENT_TYPE, content_type);
            *response.body_mut() = Body::whole(manifest.bytes);
            Ok(response)
        }
        Condition::NotModified => Ok(described(StatusCode::NOT_MODIFIED)),
        Condition::Failed => Err(ApiError::PreconditionFailed),
    }
}

/// Takes a manifest, with the tags of `?tag=` in the same step.
async fn push(
    inner: &Inner,
    head: &Head,
    body: RequestBody,
    name: &RepositoryName,
    reference: &Reference,
) -> Result<Response<Body>, ApiError> {
    let query = head.query()?;
    let mut tags: Vec<Tag> = Vec::new();
    for tag in query.values("tag") {
        tags.push(tag?.parse()?);
    }
    let content_type = content_type(&head.headers)?;
    let admitted = inner.admit(head, Wants::to(Action::Push, name)).await?;
    let options = &inner.options;
    let clock = &*inner.environment.clock;
    let bytes = body
        .collect(options.manifest_bytes_max, options.body_idle_timeout, clock)
        .await?;
    let limits = ManifestLimits {
        bytes_max: options.manifest_bytes_max,
        ..ManifestLimits::default()
    };
    let manifest = parse(content_type, bytes, limits).await?;
    let pushed = inner
        .registry
        .manifests()
        .put(
            &admitted.repository,
            reference,
            &tags,
            &manifest,
            &head.actor(&admitted.caller.access),
        )
        .await?;
    if pushed.copies > 0 {
        inner.wake_up.wake();
    }
    inner.client_event(
        admitted.caller.access.username(),
        ClientEvent {
            action: "push_repo",
            repository: Some(&admitted.repository.path),
        },
    );
    inner
        .registry
        .manifests()
        .wait_until_spread(&admitted.repository, &pushed)
        .await?;
    let mut response = empty(StatusCode::CREATED)
        .with_digest(&pushed.digest)
        .with_location(Links(options.external_url.as_ref()).manifest(name, &pushed.digest));
    if let Some(subject) = &pushed.subject {
        response = response.with(SUBJECT, digest_value(subject));
    }
    if !tags.is_empty() {
        for tag in &pushed.tags {
            let tag = HeaderValue::from_str(tag.as_str()).expect("a tag is visible ASCII");
            response.headers_mut().append(TAG, tag);
        }
    }
    Ok(response)
}

/// The `Content-Type`, without its parameters.
fn content_type(headers: &HeaderMap) -> Result<Option<MediaType>, ApiError> {
    let Some(value) = headers.get(CONTENT_TYPE) else {
        return Ok(None);
    };
    // Text that is not ASCII is no media type either: let it fail as one.
    Ok(Some(MediaType::from_header(&String::from_utf8_lossy(
        value.as_bytes(),
    ))?))
}

async fn parse(
    content_type: Option<MediaType>,
    bytes: Bytes,
    limits: ManifestLimits,
) -> Result<Manifest, ApiError> {
    let inline = bytes.len() <= INLINE_BYTES_MAX;
    let parse = move || Manifest::parse(content_type.as_ref(), bytes, &limits);
    let manifest = if inline {
        parse()
    } else {
        tokio::task::spawn_blocking(parse)
            .await
            .map_err(|_| ApiError::CutOff)?
    };
    Ok(manifest?)
}
