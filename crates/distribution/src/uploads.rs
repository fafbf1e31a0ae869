//! Pushing blobs: sessions that are begun, continued and finished, blobs in one request, and mounts. The steps are in the files
//! below; what the bytes go through is `session`.
//!
//! A session's bytes are at one location from its start to its end, and its offset in the database is what was acknowledged: flushed
//! to the disk first, then recorded. Whoever writes holds the session's lock in this process and the staged file's lock among
//! processes, looks at the row again, and changes it only if nobody else has.

mod abandoned;
mod append;
mod finish;
mod lock;
mod monolithic;
mod mount;
mod publication;
mod session;
mod start;
mod transfer;

use bytes::Bytes;
use futures_util::Stream;
use roadstead_metadata::{MountSource, Repository, Upload};
use roadstead_oci::{Algorithm, Digest};
use uuid::Uuid;

pub use self::abandoned::Abandoned;
pub(crate) use self::abandoned::clean_up;
pub(crate) use self::lock::SessionLocks;
use crate::body::{Announced, BodyError};
use crate::error::PushError;
use crate::registry::Inner;

/// Where an upload stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UploadStatus {
    /// The id by which the client goes on.
    pub id: Uuid,
    /// How many bytes are safe; the next chunk begins here.
    pub offset: u64,
    /// The digest algorithm that the bytes are hashed with as they come.
    pub algorithm: Algorithm,
}

impl From<&Upload> for UploadStatus {
    fn from(upload: &Upload) -> Self {
        Self {
            id: upload.uuid,
            offset: upload.offset,
            algorithm: upload.hash_state.algorithm(),
        }
    }
}

/// A blob that the repository now holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PushedBlob {
    /// Its digest, in the algorithm that the client named it by.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
}

/// Pushes blobs. See [`crate::Registry::uploads`].
///
/// Bodies are streams that are read once, piece by piece. The pieces may have any size; none is kept for longer than it takes to
/// write it. A body whose next piece does not come within
/// [`DistributionOptions::body_idle_timeout`](crate::DistributionOptions::body_idle_timeout) counts as broken off.
#[derive(Clone, Copy, Debug)]
pub struct Uploads<'a> {
    inner: &'a Inner,
}

impl<'a> Uploads<'a> {
    pub(crate) const fn new(inner: &'a Inner) -> Self {
        Self { inner }
    }

    /// Begins a session. Its bytes will go to the first location that takes them, by preference; a location that cannot be
    /// written is noticed here and passed over. `algorithm` is what the client announces that it will name the blob by
    /// (`digest-algorithm`), SHA-256 otherwise.
    ///
    /// A dropped future may leave a session that nobody knows, which is cleaned up in time.
    ///
    /// # Errors
    /// [`PushError::Refused`], [`PushError::NoLocation`], [`PushError::Metadata`].
    pub async fn start(
        &self,
        repository: &Repository,
        algorithm: Option<Algorithm>,
    ) -> Result<UploadStatus, PushError> {
        start::start(self.inner, repository, algorithm).await
    }

    /// Tells how far an upload is.
    ///
    /// # Errors
    /// [`PushError::UploadUnknown`], [`PushError::UploadForeign`], [`PushError::Metadata`].
    pub async fn status(
        &self,
        repository: &Repository,
        id: Uuid,
    ) -> Result<UploadStatus, PushError> {
        let upload = session::find(self.inner, repository.id, id).await?;
        Ok(UploadStatus::from(&upload))
    }

    /// Adds a chunk to an upload. What `Ok` tells is safe on the disk and in the database.
    ///
    /// - With a range the chunk counts whole or not at all: it has to begin at the upload's offset and to have exactly the bytes
    ///   that were announced, otherwise the upload stays where it was.
    /// - Without a range every byte that arrives counts, also when the body breaks off in the middle: the offset is then in
    ///   [`PushError::BodyInterrupted`]. A body that ends well and is not as long as was announced counts as far as its last
    ///   checkpoint.
    ///
    /// A dropped future leaves the upload at its last checkpoint
    /// ([`DistributionOptions::checkpoint_bytes`](crate::DistributionOptions::checkpoint_bytes)), so let a request that has begun
    /// come to its end even though its client has gone.
    ///
    /// # Errors
    /// [`PushError::Refused`], [`PushError::UploadUnknown`], [`PushError::UploadForeign`], [`PushError::UploadLost`],
    /// [`PushError::SessionBusy`], [`PushError::RangeNotContiguous`], [`PushError::SizeInvalid`], [`PushError::TooLarge`], [`PushError::BodyInterrupted`],
    /// [`PushError::LocationClosed`], [`PushError::Storage`], [`PushError::Metadata`].
    pub async fn append<B>(
        &self,
        repository: &Repository,
        id: Uuid,
        announced: Announced,
        body: B,
    ) -> Result<UploadStatus, PushError>
    where
        B: Stream<Item = Result<Bytes, BodyError>> + Send,
    {
        append::append(self.inner, repository, id, announced, body).await
    }

    /// Adds the last chunk, which may be empty, and makes the upload a blob of the repository, if its bytes have the `digest`. The
    /// session ends. When it is named by another algorithm than the session was begun with, what had arrived is read once more.
    ///
    /// After any error the session stands where it stood before, or, when a body without a range broke off, where
    /// [`PushError::BodyInterrupted`] says; the client may go on or try again. The same goes for a dropped future and for a crash:
    /// a blob that was published and not yet recorded is recognised when the client finishes the upload again.
    ///
    /// # Errors
    /// Those of [`Uploads::append`], and [`PushError::DigestMismatch`].
    pub async fn finish<B>(
        &self,
        repository: &Repository,
        id: Uuid,
        digest: &Digest,
        announced: Announced,
        body: B,
    ) -> Result<PushedBlob, PushError>
    where
        B: Stream<Item = Result<Bytes, BodyError>> + Send,
    {
        finish::finish(self.inner, repository, id, digest, announced, body).await
    }

    /// Takes a whole blob in one request, without a session. `length` is what was announced, if anything was.
    ///
    /// After an error or a dropped future nothing is left but staged bytes, which are cleaned up in time.
    ///
    /// # Errors
    /// [`PushError::Refused`], [`PushError::SizeInvalid`], [`PushError::TooLarge`], [`PushError::DigestMismatch`],
    /// [`PushError::BodyInterrupted`] with the offset 0, [`PushError::NoLocation`], [`PushError::Storage`],
    /// [`PushError::Metadata`].
    pub async fn monolithic<B>(
        &self,
        repository: &Repository,
        digest: &Digest,
        length: Option<u64>,
        body: B,
    ) -> Result<PushedBlob, PushError>
    where
        B: Stream<Item = Result<Bytes, BodyError>> + Send,
    {
        monolithic::monolithic(self.inner, repository, digest, length, body).await
    }

    /// Ends a session and throws its bytes away. A request that is writing to it at the moment fails.
    ///
    /// A dropped future may have ended the session; bytes that are left are cleaned up in time.
    ///
    /// # Errors
    /// [`PushError::Refused`], [`PushError::UploadUnknown`], [`PushError::UploadForeign`], [`PushError::Metadata`].
    pub async fn cancel(&self, repository: &Repository, id: Uuid) -> Result<(), PushError> {
        session::cancel(self.inner, repository, id).await
    }

    /// Makes a blob that `source` holds part of `repository` too. `None` when it is not there: begin an upload instead. The bytes are
    /// neither moved nor looked at. Whether the client may read `source` is for the caller to settle.
    ///
    /// # Errors
    /// [`PushError::Refused`], [`PushError::Metadata`].
    pub async fn mount(
        &self,
        repository: &Repository,
        digest: &Digest,
        source: MountSource,
    ) -> Result<Option<PushedBlob>, PushError> {
        mount::mount(self.inner, repository, digest, source).await
    }
}
