//! Making an upload a blob: the last bytes, the proof of the digest, the object, and then the rows, in this order.
//!
//! A crash leaves the upload where it was acknowledged; after the object was published, that is its end, and the next attempt to
//! finish it finds the object in place of the staged bytes and goes on from there.

use std::pin::pin;

use bytes::Bytes;
use futures_util::{Stream, TryStreamExt};
use roadstead_metadata::{CommitBlob, MetadataError, Publication, Repository, Upload};
use roadstead_oci::{Algorithm, Digest, Digester};
use roadstead_storage::{ObjectKey, StorageError, StorageErrorKind};
use uuid::Uuid;

use super::PushedBlob;
use super::publication::{self, publish, withdraw};
use super::session::{self, Held, Opened, Session};
use super::transfer::{Intake, Stopped, require_digest};
use crate::body::{Announced, BodyError, Incoming};
use crate::error::PushError;
use crate::registry::Inner;

pub(super) async fn finish<B>(
    inner: &Inner,
    repository: &Repository,
    id: Uuid,
    digest: &Digest,
    announced: Announced,
    body: B,
) -> Result<PushedBlob, PushError>
where
    B: Stream<Item = Result<Bytes, BodyError>> + Send,
{
    inner.require_writable(repository)?;
    session::require_room(inner, repository, id).await?;
    let held = session::hold(inner, repository, id, announced).await?;
    let offset = held.upload.offset;
    let mut body = pin!(body);
    let body = Incoming::new(
        body.as_mut(),
        &*inner.environment.clock,
        inner.options.body_idle_timeout,
    );
    let mut intake = Intake::new(body, announced, offset, inner.options.blob_bytes_max)?;
    // What was acknowledged needs no writer when nothing comes behind it.
    let is_whole = offset > 0
        && announced.length == Some(0)
        && held.digester.algorithm() == digest.algorithm();
    if is_whole {
        take_nothing(&mut intake, &held).await?;
        return make_blob_of_acknowledged(inner, repository, held, digest).await;
    }
    match held.open(inner, repository, announced).await? {
        Opened::Ready(mut session) => {
            hash_as_named(&mut session, digest.algorithm()).await?;
            take_last_bytes(inner, &mut session, &mut intake, announced).await?;
            session.sink.require_digest(digest)?;
            make_blob(inner, repository, *session, digest).await
        }
        Opened::Unstaged(held) => {
            take_nothing(&mut intake, &held).await?;
            make_blob_of_acknowledged(inner, repository, *held, digest).await
        }
    }
}

/// Reads a body that must be empty, because there is nothing that it could be added to.
async fn take_nothing<B>(intake: &mut Intake<'_, B>, held: &Held) -> Result<(), PushError>
where
    B: Stream<Item = Result<Bytes, BodyError>>,
{
    let Held { upload, .. } = held;
    let stopped = |stopped: Stopped| stopped.at(upload.offset);
    while let Some(piece) = intake.next().await.map_err(stopped)? {
        if !piece.is_empty() {
            return Err(PushError::UploadLost { id: upload.uuid });
        }
    }
    Ok(())
}

/// Sees to it that the bytes are hashed by the algorithm that the client names the blob by. What has arrived is read once more
/// if it was hashed by another one, a chunk at a time.
async fn hash_as_named(session: &mut Session, algorithm: Algorithm) -> Result<(), PushError> {
    if session.sink.digester().algorithm() == algorithm {
        return Ok(());
    }
    let digester = Digester::new(algorithm);
    if session.upload.offset == 0 {
        session.sink.replace_digester(digester);
        return Ok(());
    }
    let id = session.upload.uuid;
    let staged = session::staged(&session.upload)?;
    let rehashed = hash(session.sink.location().read_staged(id, &staged), digester).await;
    let rehashed = rehashed.map_err(|error| match error.kind() {
        StorageErrorKind::NotFound | StorageErrorKind::Corrupt => PushError::UploadLost { id },
        _ => session::write_failed(error),
    })?;
    session.sink.add_digester(rehashed);
    Ok(())
}

async fn hash(
    mut stream: impl Stream<Item = Result<Bytes, StorageError>> + Unpin,
    mut digester: Digester,
) -> Result<Digester, StorageError> {
    while let Some(chunk) = stream.try_next().await? {
        digester.update(&chunk);
    }
    Ok(digester)
}

/// Takes the bytes that come with the closing request. They are acknowledged only once the digest is proven, so that a wrong one
/// leaves the upload as it was; a body that breaks off by itself is kept as far as it came, like a chunk.
async fn take_last_bytes<B>(
    inner: &Inner,
    session: &mut Session,
    intake: &mut Intake<'_, B>,
    announced: Announced,
) -> Result<(), PushError>
where
    B: Stream<Item = Result<Bytes, BodyError>>,
{
    loop {
        match intake.next().await {
            Ok(Some(piece)) => {
                let taken = session.sink.take_all(inner, piece).await;
                taken.map_err(|error| session.failed(error))?;
            }
            Ok(None) => return Ok(()),
            Err(Stopped::BrokenOff(source)) if announced.range.is_none() => {
                session.acknowledge(inner).await?;
                return Err(Stopped::BrokenOff(source).at(session.upload.offset));
            }
            Err(stopped) => return Err(stopped.at(session.upload.offset)),
        }
    }
}

/// Makes a blob of an upload whose bytes have the digest.
async fn make_blob(
    inner: &Inner,
    repository: &Repository,
    mut session: Session,
    digest: &Digest,
) -> Result<PushedBlob, PushError> {
    // Before the bytes leave the staging area the row has to say that they were there, all of them: that is how a later attempt
    // recognises the object as this upload's. It also keeps other processes off: the staged file's lock is given up for the
    // publication, and whoever takes it then finds the row changed.
    let mut begun = session.close(inner, digest).await?;
    loop {
        let Session { upload, sink, lock } = session;
        let settled = sink.settle();
        let location = settled.location.clone();
        // What was begun is for the location of this first round only.
        let publication = match begun.take() {
            Some(publication) => publication,
            None => publication::begin(inner, location.name(), digest).await?,
        };
        let published = publish(inner, &location, upload.uuid, &settled.staged, publication).await;
        match published {
            Ok(publication) => {
                let blob = commit(inner, repository, publication, &upload).await;
                drop(lock);
                return blob;
            }
            // The location failed at this very moment: its bytes go elsewhere if they came with this request and are few.
            Err(PushError::Storage { source }) => {
                let sink = settled
                    .elsewhere(inner, source)
                    .await
                    .map_err(|source| PushError::Storage { source })?;
                session = Session { upload, sink, lock };
                session.acknowledge_elsewhere(inner).await?;
            }
            Err(error) => return Err(error),
        }
    }
}

/// Makes a blob of an upload whose bytes were all acknowledged, or have even become the object before a crash.
async fn make_blob_of_acknowledged(
    inner: &Inner,
    repository: &Repository,
    held: Held,
    digest: &Digest,
) -> Result<PushedBlob, PushError> {
    let is_known = held.digester.algorithm() == digest.algorithm();
    if is_known {
        require_digest(digest, held.digester.clone().finish())?;
    }
    let staged = held.staged()?;
    // Before the object is looked at: from here on it stays.
    let publication = publication::begin(inner, held.location.name(), digest).await?;
    if !is_known && let Err(error) = prove_published(&held, digest).await {
        withdraw(inner, publication).await;
        return Err(error);
    }
    // Reads the object back and hashes it where nothing is staged.
    let publication = publish(
        inner,
        &held.location,
        held.upload.uuid,
        &staged,
        publication,
    )
    .await?;
    commit(inner, repository, publication, &held.upload).await
}

/// Finds that an upload whose bytes are gone, and known by another algorithm than the digest's only, has become the object of the digest.
async fn prove_published(held: &Held, digest: &Digest) -> Result<(), PushError> {
    let Held {
        upload,
        location,
        digester,
        ..
    } = held;
    let lost = || PushError::UploadLost { id: upload.uuid };
    let key = ObjectKey::Blob(digest.clone());
    let object = async {
        let stream = location.read(&key, 0..upload.offset).await?.read_ahead();
        hash(stream, Digester::new(digester.algorithm())).await
    };
    let object = object.await;
    let object = object.map_err(|error| match error.kind() {
        StorageErrorKind::NotFound | StorageErrorKind::Corrupt => lost(),
        _ => session::write_failed(error),
    })?;
    if object.finish() == digester.clone().finish() {
        Ok(())
    } else {
        Err(lost())
    }
}

async fn commit(
    inner: &Inner,
    repository: &Repository,
    publication: Publication,
    upload: &Upload,
) -> Result<PushedBlob, PushError> {
    let recorded = record(inner, repository, &publication, upload.offset, Some(upload)).await;
    let Err(MetadataError::Conflict { .. }) = recorded else {
        return Ok(recorded?);
    };
    let id = upload.uuid;
    let digest = publication.digest().clone();
    withdraw(inner, publication).await;
    match inner.database.find_upload(repository.id, id).await? {
        Some(current) if current.version == upload.version => {
            let closed = inner.database.closed_locations().await?;
            Err(if closed.contains(&upload.location) {
                PushError::LocationClosed {
                    location: upload.location.clone(),
                }
            } else {
                // So much time has passed that the object may be gone.
                PushError::UploadLost { id }
            })
        }
        Some(_) => Err(PushError::SessionBusy { id }),
        // The session has ended. If that was because another request finished it just so, this one has what it wanted.
        None => match inner
            .database
            .find_blob(repository.id, &digest, inner.now())
            .await?
        {
            Some(blob) => Ok(PushedBlob {
                digest: blob.digest,
                size: blob.size,
            }),
            None => Err(PushError::UploadUnknown { id }),
        },
    }
}

/// Records a blob whose bytes are safe at a location, and ends the session that brought them.
pub(super) async fn record(
    inner: &Inner,
    repository: &Repository,
    publication: &Publication,
    size: u64,
    upload: Option<&Upload>,
) -> Result<PushedBlob, MetadataError> {
    let now = inner.now();
    inner
        .database
        .commit_blob(&CommitBlob {
            repository: repository.id,
            publication,
            size,
            protect_until: inner.hold_until(now),
            upload,
            uuid: inner.environment.ids.uuid(),
            now,
        })
        .await?;
    Ok(PushedBlob {
        digest: publication.digest().clone(),
        size,
    })
}
