//! An upload session in the hands of one request: locked, staged at the acknowledged offset, moved on together with its row.

use std::collections::BTreeSet;
use std::sync::Arc;

use roadstead_metadata::{
    AdvanceUpload, MetadataError, Publication, Repository, RepositoryId, Upload,
};
use roadstead_oci::{Digest, DigestState, Digester};
use roadstead_placement::LocationName;
use roadstead_runtime::Timestamp;
use roadstead_storage::{Location, Staged, StagedPartsError, StorageError, StorageErrorKind};
use tokio::sync::oneshot;
use tracing::Instrument as _;
use uuid::Uuid;

use super::lock::SessionLock;
use super::start::{Writable, barred};
use super::transfer::Sink;
use crate::body::{Announced, ChunkRange, within};
use crate::error::PushError;
use crate::quota::{self, Uploads};
use crate::registry::Inner;

/// How often ending a session is tried again when its writer moves it on at that moment.
const CANCEL_ATTEMPTS: usize = 3;

/// A session that this request alone may change.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) upload: Upload,
    pub(super) sink: Sink,
    /// Goes last, after the staged file is closed.
    pub(super) lock: Arc<SessionLock>,
}

/// A session that nobody else in this process may change, as its row is.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) upload: Upload,
    pub(super) location: Location,
    pub(super) digester: Digester,
    lock: SessionLock,
}

/// What [`Held::open`] finds.
#[derive(Debug)]
pub(super) enum Opened {
    Ready(Box<Session>),
    /// Fewer bytes are staged than were acknowledged: either they were published and the session did not end, or the store has lost them.
    Unstaged(Box<Held>),
}

/// The session, or that there is none in this repository, or that it is Quay's.
pub(super) async fn find(
    inner: &Inner,
    repository: RepositoryId,
    id: Uuid,
) -> Result<Upload, PushError> {
    if let Some(upload) = inner.database.find_upload(repository, id).await? {
        return Ok(upload);
    }
    Err(if inner.database.is_quays_upload(repository, id).await? {
        PushError::UploadForeign { id }
    } else {
        PushError::UploadUnknown { id }
    })
}

/// Takes hold of a session for a request that brings what `announced` says.
pub(super) async fn hold(
    inner: &Inner,
    repository: &Repository,
    id: Uuid,
    announced: Announced,
) -> Result<Held, PushError> {
    let lock = within(
        &*inner.environment.clock,
        inner.options.session_wait,
        inner.sessions.lock(id),
    )
    .await
    .ok_or(PushError::SessionBusy { id })?;
    let upload = find(inner, repository.id, id).await?;
    require_contiguous(&upload, announced.range)?;
    let location = inner
        .locations
        .get(&upload.location)
        .ok_or_else(|| PushError::LocationClosed {
            location: upload.location.clone(),
        })?
        .clone();
    Ok(Held {
        digester: digester(&upload)?,
        upload,
        location,
        lock,
    })
}

impl Held {
    /// Opens the staged bytes, to go on behind those that were acknowledged.
    pub(super) async fn open(
        self,
        inner: &Inner,
        repository: &Repository,
        announced: Announced,
    ) -> Result<Opened, PushError> {
        let id = self.upload.uuid;
        let busy = || PushError::SessionBusy { id };
        let is_empty = self.upload.offset == 0;
        // Only an upload whose bytes all come with this request can go elsewhere.
        let mut excluded = if is_empty {
            barred(inner, repository).await?
        } else {
            BTreeSet::new()
        };
        let staged = match self.location.stage(id, &self.staged()?).await {
            Ok(writer) => Some((self.location.clone(), writer)),
            Err(error) => match error.kind() {
                StorageErrorKind::Busy => return Err(busy()),
                StorageErrorKind::StagedShort { .. } => None,
                kind if is_empty && kind.is_the_locations() => {
                    let mut writable = Writable::new(inner, repository).await?;
                    writable.failed(error);
                    let staged = writable.stage(id).await?;
                    excluded = writable.into_excluded();
                    Some(staged)
                }
                _ => return Err(write_failed(error)),
            },
        };
        // Another process may have moved the session on before the staged file was ours. From here on nobody does.
        let current = find(inner, repository.id, id).await?;
        if current.version != self.upload.version {
            require_contiguous(&current, announced.range)?;
            return Err(busy());
        }
        let Some(staged) = staged else {
            return Ok(Opened::Unstaged(Box::new(self)));
        };
        Ok(Opened::Ready(Box::new(Session {
            upload: self.upload,
            sink: Sink::new(inner, id, staged, self.digester, excluded),
            lock: Arc::new(self.lock),
        })))
    }

    /// What was acknowledged of the session's bytes.
    pub(super) fn staged(&self) -> Result<Staged, MetadataError> {
        staged(&self.upload)
    }
}

/// An [`AdvanceUpload`] that owns what it says.
struct Note {
    upload: Upload,
    offset: u64,
    hash_state: DigestState,
    staged_parts: String,
    location: LocationName,
    now: Timestamp,
}

impl Note {
    fn advance(&self) -> AdvanceUpload<'_> {
        AdvanceUpload {
            upload: &self.upload,
            offset: self.offset,
            hash_state: &self.hash_state,
            staged_parts: &self.staged_parts,
            location: &self.location,
            now: self.now,
        }
    }
}

impl Session {
    /// Makes everything taken so far safe, and acknowledges it: flushed to the disk first, recorded then. Until the row says so,
    /// a crash takes the upload back to where it was before.
    pub(super) async fn acknowledge(&mut self, inner: &Inner) -> Result<(), PushError> {
        let offset = self.sink.offset();
        if offset == self.upload.offset {
            return Ok(());
        }
        self.sink
            .sync(inner)
            .await
            .map_err(|error| self.failed(error))?;
        self.record(inner).await
    }

    /// As [`Session::acknowledge`], and in the same step begins the publication of the object that the bytes are to become. None where that is
    /// still to be done: everything had been acknowledged before, or an object of the digest is being deleted there at this moment.
    pub(super) async fn close(
        &mut self,
        inner: &Inner,
        digest: &Digest,
    ) -> Result<Option<Publication>, PushError> {
        if self.unacknowledged() == 0 {
            return Ok(None);
        }
        self.sink
            .sync(inner)
            .await
            .map_err(|error| self.failed(error))?;
        let (note, digest) = (self.note(inner), digest.clone());
        let until = inner.publication_until(note.now);
        let database = inner.database.clone();
        let closing = async move { database.close_upload(&note.advance(), &digest, until).await };
        let (upload, publishing) = self.by_itself(inner, closing).await?;
        self.upload = upload;
        Ok(publishing.begun())
    }

    /// Makes all bytes safe at the location that they were moved to, and records that they are there.
    pub(super) async fn acknowledge_elsewhere(&mut self, inner: &Inner) -> Result<(), PushError> {
        self.sink
            .sync(inner)
            .await
            .map_err(|error| self.failed(error))?;
        self.record(inner).await
    }

    /// Records that everything taken so far is safe where it is.
    async fn record(&mut self, inner: &Inner) -> Result<(), PushError> {
        let (note, database) = (self.note(inner), inner.database.clone());
        let recording = async move { database.advance_upload(&note.advance()).await };
        self.upload = self.by_itself(inner, recording).await?;
        Ok(())
    }

    /// Moves the row on in a task of its own, because that is done even if the request is dropped: until the row says that the bytes are there, nobody
    /// else may get hold of them, who would go on from where it said before.
    async fn by_itself<T: Send + 'static>(
        &self,
        inner: &Inner,
        moving: impl Future<Output = Result<Option<T>, MetadataError>> + Send + 'static,
    ) -> Result<T, PushError> {
        let busy = || PushError::SessionBusy {
            id: self.upload.uuid,
        };
        let held = (self.sink.hold(), Arc::clone(&self.lock));
        let (sender, receiver) = oneshot::channel();
        let moving = async move {
            let moved = moving.await;
            drop(held);
            // Nobody may be waiting any more.
            sender.send(moved).ok();
        };
        inner.tasks.spawn(moving.in_current_span());
        receiver.await.map_err(|_| busy())??.ok_or_else(busy)
    }

    /// What the row is to say.
    fn note(&self, inner: &Inner) -> Note {
        let (hash_state, staged_parts) = self.state();
        Note {
            upload: self.upload.clone(),
            offset: self.sink.offset(),
            hash_state,
            staged_parts,
            location: self.sink.location().name().clone(),
            now: inner.now(),
        }
    }

    /// What the row keeps of the digester and of how the bytes lie.
    fn state(&self) -> (DigestState, String) {
        (
            self.sink.digester().save(),
            self.sink.staged().parts.to_string(),
        )
    }

    /// How many bytes have been taken and not acknowledged.
    pub(super) fn unacknowledged(&self) -> u64 {
        self.sink.offset().saturating_sub(self.upload.offset)
    }

    /// The error for a failure of the session's location.
    pub(super) fn failed(&self, error: StorageError) -> PushError {
        match error.kind() {
            // Its bytes were thrown away while it was being written: the session was cancelled or given up.
            StorageErrorKind::NotFound => PushError::UploadUnknown {
                id: self.upload.uuid,
            },
            StorageErrorKind::StagedShort { .. } => PushError::UploadLost {
                id: self.upload.uuid,
            },
            _ => write_failed(error),
        }
    }
}

/// Checks that the namespace may take what has arrived and more. If it may not, the session ends, as in Quay.
pub(super) async fn require_room(
    inner: &Inner,
    repository: &Repository,
    id: Uuid,
) -> Result<(), PushError> {
    let room = quota::require_room(inner, repository, Uploads::Counted).await;
    if matches!(room, Err(PushError::Refused(_))) {
        // The client hears of the quota, whatever becomes of the session.
        cancel(inner, repository, id).await.ok();
    }
    room
}

/// Ends a session and throws its bytes away.
pub(super) async fn cancel(
    inner: &Inner,
    repository: &Repository,
    id: Uuid,
) -> Result<(), PushError> {
    inner.require_writable(repository)?;
    for _ in 0..CANCEL_ATTEMPTS {
        let upload = find(inner, repository.id, id).await?;
        if inner.database.forget_upload(&upload).await? {
            if let Some(location) = inner.locations.get(&upload.location) {
                discard(location, id).await;
            }
            return Ok(());
        }
    }
    Err(PushError::SessionBusy { id })
}

/// Throws away the bytes of an upload that has ended or did not come about. What is left over is cleaned up in time. False if
/// something is.
pub(super) async fn discard(location: &Location, id: Uuid) -> bool {
    let discarded = location.discard(id).await;
    if let Err(error) = &discarded {
        tracing::warn!(
            upload.id = %id,
            location.id = %location.name(),
            error = error as &dyn std::error::Error,
            "Could not discard the bytes of upload {id}; they are cleaned up later"
        );
    }
    discarded.is_ok()
}

/// A failure to write. If it is the location's, the next session begins elsewhere, because its store was seen to fail.
pub(super) fn write_failed(source: StorageError) -> PushError {
    PushError::Storage { source }
}

/// The hasher as it was when the session's bytes were acknowledged.
fn digester(upload: &Upload) -> Result<Digester, MetadataError> {
    let corrupt = |problem: String| MetadataError::Corrupt {
        table: "roadstead_upload",
        column: "hash_state",
        row: upload.id.to_string(),
        problem,
    };
    let digester =
        Digester::resume(&upload.hash_state).map_err(|error| corrupt(error.to_string()))?;
    if digester.bytes_hashed() != upload.offset {
        return Err(corrupt(format!(
            "it has hashed {} bytes where {} were acknowledged",
            digester.bytes_hashed(),
            upload.offset
        )));
    }
    Ok(digester)
}

/// What was acknowledged of the session's bytes.
pub(super) fn staged(upload: &Upload) -> Result<Staged, MetadataError> {
    let parts = upload
        .staged_parts
        .parse()
        .map_err(|error: StagedPartsError| MetadataError::Corrupt {
            table: "roadstead_upload",
            column: "staged_parts",
            row: upload.id.to_string(),
            problem: error.to_string(),
        })?;
    Ok(Staged {
        offset: upload.offset,
        parts,
    })
}

fn require_contiguous(upload: &Upload, range: Option<ChunkRange>) -> Result<(), PushError> {
    match range {
        Some(range) if range.start() != upload.offset => Err(PushError::RangeNotContiguous {
            offset: upload.offset,
        }),
        _ => Ok(()),
    }
}
