//! `/v2/<name>/blobs/uploads/` and `/v2/<name>/blobs/uploads/<id>` (end-4, end-5, end-6, end-11, end-13, end-14): pushing blobs.

use std::sync::Arc;

use http::header::{CONTENT_RANGE, HeaderValue, RANGE};
use http::{Method, Response, StatusCode};
use roadstead_auth::Action;
use roadstead_distribution::{Announced, PushError, PushedBlob, UploadStatus};
use roadstead_metadata::{MountSource, Repository};
use roadstead_oci::{Digest, RepositoryName};
use uuid::Uuid;

use crate::authorization::{Admitted, Wants};
use crate::body::Body;
use crate::error::{ApiError, UploadState};
use crate::headers::{CHUNK_MIN_LENGTH, UPLOAD_UUID};
use crate::links::Links;
use crate::query::Query;
use crate::range::{content_range, upload_range};
use crate::request_body::RequestBody;
use crate::response::{With as _, empty};
use crate::service::{Head, Inner};

/// POST: mounts a blob, takes a whole one, or starts an upload.
pub(crate) async fn start(
    inner: &Arc<Inner>,
    head: &Head,
    body: RequestBody,
    name: &RepositoryName,
) -> Result<Response<Body>, ApiError> {
    if head.method != Method::POST {
        return Err(ApiError::Method {
            allowed: "POST".into(),
        });
    }
    let query = head.query()?;
    let digest = digest_parameter(&query, "digest")?;
    let algorithm = query
        .get("digest-algorithm")?
        .map(|algorithm| algorithm.parse())
        .transpose()?;
    let mount = match digest_parameter(&query, "mount")? {
        Some(digest) => Some(Mount {
            digest,
            from: query
                .get("from")?
                .filter(|from| !from.is_empty())
                .map(|from| from.parse())
                .transpose()?,
        }),
        None => None,
    };
    let from = mount.as_ref().and_then(|mount| mount.from.as_ref());
    let wants = Wants {
        reading: from,
        ..Wants::to(Action::Push, name)
    };
    let admitted = inner.admit(head, wants).await?;
    if let Some(mount) = &mount
        && let Some(source) = source(inner, head, &admitted, wants, mount).await?
        && let Some(blob) = inner
            .registry
            .uploads()
            .mount(&admitted.repository, &mount.digest, source)
            .await?
    {
        return Ok(created(inner, name, &blob));
    }
    let repository = admitted.repository;
    match digest {
        // A client that asked for a mount has sent no blob with it.
        Some(digest) if mount.is_none() => {
            let (registry, length) = (inner.registry.clone(), body.length());
            let pushed = inner
                .to_the_end(async move {
                    registry
                        .uploads()
                        .monolithic(&repository, &digest, length, body)
                        .await
                })
                .await??;
            Ok(created(inner, name, &pushed))
        }
        Some(_) | None => {
            let algorithm = algorithm.or(digest
                .or(mount.map(|mount| mount.digest))
                .map(|digest| digest.algorithm()));
            let upload = inner
                .registry
                .uploads()
                .start(&repository, algorithm)
                .await?;
            let response = progress(inner, name, StatusCode::ACCEPTED, &upload);
            Ok(match inner.options.chunk_bytes_min {
                Some(length) => response.with(CHUNK_MIN_LENGTH, HeaderValue::from(length)),
                None => response,
            })
        }
    }
}

/// What is done with an upload that has been started.
pub(crate) async fn answer(
    inner: &Arc<Inner>,
    head: &Head,
    body: RequestBody,
    name: &RepositoryName,
    id: Uuid,
) -> Result<Response<Body>, ApiError> {
    let admit = async || {
        Ok::<_, ApiError>(
            inner
                .admit(head, Wants::to(Action::Push, name))
                .await?
                .repository,
        )
    };
    match head.method {
        Method::GET | Method::HEAD => {
            let upload = inner.registry.uploads().status(&admit().await?, id).await?;
            Ok(progress(inner, name, StatusCode::NO_CONTENT, &upload))
        }
        Method::PATCH => {
            let announced = announced(head, &body)?;
            let (repository, registry) = (admit().await?, inner.registry.clone());
            let appended = inner
                .to_the_end(async move {
                    registry
                        .uploads()
                        .append(&repository, id, announced, body)
                        .await
                })
                .await?;
            let upload = appended.map_err(|error| upload_error(inner, name, id, error))?;
            Ok(progress(inner, name, StatusCode::ACCEPTED, &upload))
        }
        Method::PUT => {
            let digest =
                digest_parameter(&head.query()?, "digest")?.ok_or(ApiError::DigestMissing)?;
            let announced = announced(head, &body)?;
            let repository = admit().await?;
            let finished = finish(inner, repository, id, digest, announced, body).await?;
            let pushed = finished.map_err(|error| upload_error(inner, name, id, error))?;
            Ok(created(inner, name, &pushed))
        }
        Method::DELETE => {
            inner.registry.uploads().cancel(&admit().await?, id).await?;
            Ok(empty(StatusCode::NO_CONTENT))
        }
        _ => Err(ApiError::Method {
            allowed: "GET, HEAD, PATCH, PUT, DELETE".into(),
        }),
    }
}

async fn finish(
    inner: &Inner,
    repository: Repository,
    id: Uuid,
    digest: Digest,
    announced: Announced,
    body: RequestBody,
) -> Result<Result<PushedBlob, PushError>, ApiError> {
    let registry = inner.registry.clone();
    inner
        .to_the_end(async move {
            registry
                .uploads()
                .finish(&repository, id, &digest, announced, body)
                .await
        })
        .await
}

/// A blob that the client hopes to be there.
struct Mount {
    digest: Digest,
    from: Option<RepositoryName>,
}

/// Where a blob may be mounted from. Without `from` it is anywhere that the client may read.
async fn source(
    inner: &Inner,
    head: &Head,
    admitted: &Admitted,
    wants: Wants<'_>,
    mount: &Mount,
) -> Result<Option<MountSource>, ApiError> {
    let caller = &admitted.caller;
    match &mount.from {
        Some(from) => {
            let found = inner.readable(head, caller, wants, from).await?;
            Ok(found.map(|repository| MountSource::Repository(repository.id)))
        }
        None if caller.access.sees_all() => Ok(Some(MountSource::Any)),
        None => Ok(Some(MountSource::AnyPublic)),
    }
}

fn digest_parameter(query: &Query<'_>, name: &'static str) -> Result<Option<Digest>, ApiError> {
    match query.get(name)? {
        Some(digest) => Ok(Some(digest.parse()?)),
        None => Ok(None),
    }
}

/// What the headers say about the body.
fn announced(head: &Head, body: &RequestBody) -> Result<Announced, ApiError> {
    Ok(Announced {
        range: head
            .headers
            .get(CONTENT_RANGE)
            .map(content_range)
            .transpose()?,
        length: body.length(),
    })
}

/// An upload that goes on.
fn progress(
    inner: &Inner,
    name: &RepositoryName,
    status: StatusCode,
    upload: &UploadStatus,
) -> Response<Body> {
    let range =
        HeaderValue::try_from(upload_range(upload.offset)).expect("numbers are visible ASCII");
    let id = HeaderValue::try_from(upload.id.to_string()).expect("an id is visible ASCII");
    empty(status)
        .with_location(Links(inner.options.external_url.as_ref()).upload(name, upload.id))
        .with(RANGE, range)
        .with(UPLOAD_UUID, id)
}

/// A blob that is there now.
fn created(inner: &Inner, name: &RepositoryName, blob: &PushedBlob) -> Response<Body> {
    empty(StatusCode::CREATED)
        .with_digest(&blob.digest)
        .with_location(Links(inner.options.external_url.as_ref()).blob(name, &blob.digest))
}

/// An error that a client recovers from by going on elsewhere is answered with where that is.
fn upload_error(inner: &Inner, name: &RepositoryName, id: Uuid, error: PushError) -> ApiError {
    let offset = match &error {
        PushError::RangeNotContiguous { offset } | PushError::BodyInterrupted { offset, .. } => {
            Some(*offset)
        }
        PushError::SessionBusy { .. } => None,
        _ => return error.into(),
    };
    ApiError::Upload {
        source: error,
        upload: Box::new(UploadState {
            location: Links(inner.options.external_url.as_ref()).upload(name, id),
            id,
            offset,
        }),
    }
}
