//! A blob in one request: the way of an upload, without a session. Nobody else knows its id, and there is nothing to go on with.

use std::pin::pin;

use bytes::Bytes;
use futures_util::Stream;
use roadstead_metadata::{MetadataError, Publication, Repository};
use roadstead_oci::{Digest, Digester};

use super::PushedBlob;
use super::finish::record;
use super::publication::{self, publish, withdraw};
use super::session::{discard, write_failed};
use super::start::Writable;
use super::transfer::{Intake, Settled, Sink};
use crate::body::{Announced, BodyError, Incoming};
use crate::error::PushError;
use crate::quota::{Uploads, require_room};
use crate::registry::Inner;

pub(super) async fn monolithic<B>(
    inner: &Inner,
    repository: &Repository,
    digest: &Digest,
    length: Option<u64>,
    body: B,
) -> Result<PushedBlob, PushError>
where
    B: Stream<Item = Result<Bytes, BodyError>> + Send,
{
    inner.require_writable(repository)?;
    require_room(inner, repository, Uploads::LeftOut).await?;
    let mut body = pin!(body);
    let body = Incoming::new(
        body.as_mut(),
        &*inner.environment.clock,
        inner.options.body_idle_timeout,
    );
    let announced = Announced {
        range: None,
        length,
    };
    let mut intake = Intake::new(body, announced, 0, inner.options.blob_bytes_max)?;

    let id = inner.environment.ids.uuid();
    let mut writable = Writable::new(inner, repository).await?;
    let staged = writable.stage(id).await?;
    let digester = Digester::new(digest.algorithm());
    let mut sink = Sink::new(inner, id, staged, digester, writable.into_excluded());
    let taken = take_all(inner, &mut sink, &mut intake, digest).await;
    let size = sink.offset();
    let published = match taken {
        Ok(()) => publish_somewhere(inner, sink, digest).await,
        Err(error) => {
            let Settled { location, .. } = sink.settle();
            discard(&location, id).await;
            Err(error)
        }
    };
    let publication = published?;
    match record(inner, repository, &publication, size, None).await {
        // It was closed while the bytes came, or they took too long. Another will take them.
        Err(MetadataError::Conflict { .. }) => {
            withdraw(inner, publication).await;
            Err(PushError::NoLocation { source: None })
        }
        recorded => Ok(recorded?),
    }
}

/// Publishes synced bytes, at another location if theirs fails at this moment and they are few.
async fn publish_somewhere(
    inner: &Inner,
    mut sink: Sink,
    digest: &Digest,
) -> Result<Publication, PushError> {
    loop {
        let settled = sink.settle();
        let (id, location) = (settled.id, settled.location.clone());
        let published = match publication::begin(inner, location.name(), digest).await {
            Ok(publication) => publish(inner, &location, id, &settled.staged, publication).await,
            Err(error) => Err(error),
        };
        let error = match published {
            Ok(publication) => return Ok(publication),
            Err(error) => error,
        };
        let PushError::Storage { source } = error else {
            discard(&location, id).await;
            return Err(error);
        };
        sink = settled
            .elsewhere(inner, source)
            .await
            .map_err(|source| PushError::Storage { source })?;
        sink.sync(inner).await.map_err(write_failed)?;
    }
}

/// Takes the whole body, safe on the disk, if it has the digest.
async fn take_all<B>(
    inner: &Inner,
    sink: &mut Sink,
    intake: &mut Intake<'_, B>,
    digest: &Digest,
) -> Result<(), PushError>
where
    B: Stream<Item = Result<Bytes, BodyError>>,
{
    while let Some(piece) = intake.next().await.map_err(|stopped| stopped.at(0))? {
        let taken = sink.take_all(inner, piece).await;
        taken.map_err(write_failed)?;
    }
    sink.require_digest(digest)?;
    sink.sync(inner).await.map_err(write_failed)
}
