//! Pulling and deleting blobs. Which location is read, and what happens when it fails, is `reading`'s; who waits for it is `stream`'s.

mod candidates;
mod direct;
mod fill;
mod opening;
mod pace;
mod read_right;
mod reading;
mod stream;

use std::ops::Range;
use std::sync::Arc;

use roadstead_metadata::{Blob, BlobDeletion, Repository};
use roadstead_oci::Digest;
use roadstead_storage::{SignedUrl, UrlRequest};

pub(crate) use self::fill::Fills;
pub(crate) use self::read_right::ReadRight;
pub use self::stream::BlobStream;
use self::stream::OnTheWay;
use crate::error::{DeleteError, PullError};
use crate::lately::Asked;
use crate::registry::Inner;

/// Pulls and deletes blobs. See [`crate::Registry::blobs`].
#[derive(Clone, Copy, Debug)]
pub struct Blobs<'a> {
    inner: &'a Arc<Inner>,
    asked: Option<Asked>,
}

impl<'a> Blobs<'a> {
    pub(crate) const fn new(inner: &'a Arc<Inner>) -> Self {
        Self { inner, asked: None }
    }

    /// What is read through this was asked for when its repository was: it may be what it was then.
    #[must_use]
    pub const fn asked(self, asked: Asked) -> Self {
        Self {
            asked: Some(asked),
            ..self
        }
    }

    /// Finds a blob that the repository holds, for [`Blobs::open`] or to tell its size. No location is asked. While the
    /// database is not available, what it said lately counts, within [`OutageOptions`](crate::OutageOptions).
    ///
    /// # Errors
    /// [`PullError::BlobUnknown`], [`PullError::Metadata`].
    pub async fn find(&self, repository: &Repository, digest: &Digest) -> Result<Blob, PullError> {
        let inner = self.inner;
        let now = inner.now();
        let asked = self.asked.unwrap_or_else(|| inner.asking());
        if let Some(known) = inner.lately.known_blob(repository.id, digest, asked) {
            return Ok(known);
        }
        let said = inner.database.find_blob(repository.id, digest, now).await;
        let found = inner.lately.blob(repository.id, digest, asked, said)?;
        found.ok_or_else(|| PullError::BlobUnknown {
            digest: digest.clone(),
        })
    }

    /// Opens the bytes `range` of a blob, from the best location that can deliver them. When this returns, the first of
    /// them have been read.
    ///
    /// A location that fails, falls silent or crawls is followed by the next, also in the middle of the stream. A location that turns out
    /// not to have the object is reported, so that the copy is made again. Of a small blob
    /// ([`DistributionOptions::verified_bytes_max`](crate::DistributionOptions::verified_bytes_max)) all bytes are checked before the first is
    /// passed on. A file that was right within [`DistributionOptions::hashed_again_after`](crate::DistributionOptions::hashed_again_after) and was not touched
    /// since is not checked again. A blob that belongs at this region's own location and is not there is brought there on the way, once, however many ask.
    ///
    /// # Errors
    /// [`PullError::RangeNotSatisfiable`], [`PullError::NoCopy`], [`PullError::Metadata`].
    pub async fn open(&self, blob: &Blob, range: Range<u64>) -> Result<BlobStream, PullError> {
        stream::open(self.inner, blob, range, OnTheWay::Kept).await
    }

    /// A URL under which the client gets a blob from its store, if that is where it would be read from now: at the best location, which is
    /// healthy and has signed URLs. `None` when the blob is to be streamed: also when it is to be brought to this region on the way.
    pub async fn direct_url(&self, blob: &Blob, request: &UrlRequest<'_>) -> Option<SignedUrl> {
        direct::url(self.inner, blob, request).await
    }

    /// Takes a blob out of the repository. It is gone from there at once; its bytes stay for the other repositories that hold it.
    ///
    /// # Errors
    /// [`DeleteError::Refused`], [`DeleteError::BlobUnknown`], [`DeleteError::BlobInUse`], [`DeleteError::Metadata`].
    pub async fn delete(
        &self,
        repository: &Repository,
        digest: &Digest,
    ) -> Result<(), DeleteError> {
        self.inner.require_writable(repository)?;
        let deleted = self
            .inner
            .database
            .delete_blob(repository.id, digest, self.inner.now())
            .await?;
        self.inner.lately.blob_deleted(repository.id, digest);
        match deleted {
            BlobDeletion::Deleted => Ok(()),
            BlobDeletion::Unknown => Err(DeleteError::BlobUnknown {
                digest: digest.clone(),
            }),
            BlobDeletion::InUse(manifests) => Err(DeleteError::BlobInUse {
                digest: digest.clone(),
                manifests,
            }),
        }
    }
}

/// Opens a whole blob.
pub(crate) async fn open(inner: &Arc<Inner>, blob: &Blob) -> Result<BlobStream, PullError> {
    stream::open(inner, blob, 0..blob.size, OnTheWay::Passed).await
}
