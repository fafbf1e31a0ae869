//! Copies one blob from one location to another and proves that it arrived. Which blob, from where, and what is written down
//! about it is decided elsewhere.

#[cfg(test)]
mod tests;

use bytes::Bytes;
use futures_util::{Stream, TryStreamExt};
use roadstead_oci::{Digest, Digester};
use roadstead_placement::{FailureClass, LocationName};
use roadstead_runtime::Shutdown;
use roadstead_storage::{
    Location, ObjectKey, ObjectStream, Staged, StorageError, StorageErrorKind, Verification,
};
use uuid::Uuid;

/// How many chunks of a location's chunk size one copy holds at most: at the source the one in hand and one read ahead, at
/// the target the batch that is written and the one that is gathered, each with a chunk of overlap. With the default
/// chunk of 1 MiB a copy never holds more than 7 MiB, however large its blob.
pub const CHUNKS_IN_FLIGHT_MAX: usize = 7;

/// What is to be copied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlobContent {
    /// What its bytes hash to.
    pub digest: Digest,
    /// How many bytes the database says it has.
    pub size: u64,
}

impl BlobContent {
    fn key(&self) -> ObjectKey {
        ObjectKey::Blob(self.digest.clone())
    }

    /// Whether the digest is that of no bytes at all. Such a blob needs no source, and Quay keeps no object for it.
    pub(crate) fn is_empty(&self) -> bool {
        self.digest == Digest::of(self.digest.algorithm(), b"")
    }
}

/// Why a blob was not copied. The message names the location; the cause is the source.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// The source could not be read now. Another source may do.
    #[error("the source is not available")]
    SourceUnavailable(#[source] StorageError),
    /// The source's store is there and the object is not. Another source may do; the placement is wrong.
    #[error("location `{location}` does not hold the object")]
    SourceMissing {
        /// The source.
        location: LocationName,
    },
    /// The source's object has other bytes than its digest says. Another source may do; the placement is wrong.
    #[error("the object at location `{location}` is damaged{}", found(actual.as_ref()))]
    SourceDamaged {
        /// The source.
        location: LocationName,
        /// What its bytes hash to, if it could be read to its end.
        actual: Option<Digest>,
    },
    /// The source's object ended before as many bytes had come as its store had announced. Another source may do.
    #[error("location `{location}` stopped after {read} of {announced} bytes")]
    SourceCutOff {
        /// The source.
        location: LocationName,
        /// How many bytes came.
        read: u64,
        /// How many should have.
        announced: u64,
    },
    /// The source's bytes hash to the digest, and there are not as many as the database says. No location is at fault.
    #[error(
        "the database says that the blob has {recorded} bytes, but its intact object at location `{location}` has {actual}; \
         correct `image_size` of its row in `imagestorage`"
    )]
    SizeDisagrees {
        /// The source.
        location: LocationName,
        /// The database's number.
        recorded: u64,
        /// The object's.
        actual: u64,
    },
    /// The target cannot take the blob now.
    #[error("the target is not available")]
    TargetUnavailable(#[source] StorageError),
    /// The target has no room.
    #[error("the target is full")]
    TargetFull(#[source] StorageError),
    /// The target refuses: an operator has to act.
    #[error("the target refuses the blob")]
    TargetRefused(#[source] StorageError),
    /// The target took the bytes and gave back others. Nothing was published.
    #[error("location `{location}` took the blob and gave back other bytes{}", found(actual.as_ref()))]
    TargetDamaged {
        /// The target.
        location: LocationName,
        /// What it gave back hashes to, if it could be read to its end.
        actual: Option<Digest>,
    },
    /// The target said that the object is published, and does not have it.
    #[error("location `{location}` accepted the object and does not hold it")]
    TargetLost {
        /// The target.
        location: LocationName,
    },
    /// The process is ending.
    #[error("the copy was interrupted by the end of the process")]
    Interrupted,
}

impl CopyError {
    /// Whether another source may succeed where this one failed.
    pub fn is_sources(&self) -> bool {
        matches!(
            self,
            Self::SourceUnavailable(_)
                | Self::SourceMissing { .. }
                | Self::SourceDamaged { .. }
                | Self::SourceCutOff { .. }
                | Self::SizeDisagrees { .. }
        )
    }

    /// Whether the source does not hold what its placement promises.
    pub fn disproves_source(&self) -> bool {
        matches!(
            self,
            Self::SourceMissing { .. } | Self::SourceDamaged { .. }
        )
    }

    /// What kind of failure it is.
    pub fn class(&self) -> FailureClass {
        let or_throttled = |error: &StorageError, class| {
            if error.kind() == StorageErrorKind::Throttled {
                FailureClass::Throttled
            } else {
                class
            }
        };
        match self {
            Self::SourceUnavailable(error) => or_throttled(error, FailureClass::SourceDown),
            Self::SourceCutOff { .. } => FailureClass::SourceDown,
            Self::SourceMissing { .. } => FailureClass::ObjectMissing,
            Self::SourceDamaged { .. } => FailureClass::ObjectDamaged,
            Self::TargetUnavailable(error) => or_throttled(error, FailureClass::TargetDown),
            Self::TargetDamaged { .. } | Self::TargetLost { .. } => FailureClass::TargetDown,
            Self::TargetFull(_) => FailureClass::TargetFull,
            Self::TargetRefused(_) | Self::SizeDisagrees { .. } => FailureClass::Permanent,
            Self::Interrupted => FailureClass::Internal,
        }
    }

    fn from_source(error: StorageError) -> Self {
        let location = error.location().clone();
        match error.kind() {
            StorageErrorKind::NotFound => Self::SourceMissing { location },
            StorageErrorKind::Corrupt => Self::SourceDamaged {
                location,
                actual: None,
            },
            _ => Self::SourceUnavailable(error),
        }
    }

    fn from_target(error: StorageError) -> Self {
        match error.kind() {
            StorageErrorKind::Full => Self::TargetFull(error),
            StorageErrorKind::Denied
            | StorageErrorKind::Misconfigured
            | StorageErrorKind::Unexpected => Self::TargetRefused(error),
            StorageErrorKind::Corrupt | StorageErrorKind::StagedShort { .. } => {
                Self::TargetDamaged {
                    location: error.location().clone(),
                    actual: None,
                }
            }
            StorageErrorKind::Unavailable
            | StorageErrorKind::Timeout
            | StorageErrorKind::Interrupted
            | StorageErrorKind::Throttled
            | StorageErrorKind::ServerError
            | StorageErrorKind::Busy
            | StorageErrorKind::NotFound => Self::TargetUnavailable(error),
        }
    }
}

fn found(actual: Option<&Digest>) -> String {
    actual.map_or_else(
        || ": it ends too early".to_owned(),
        |actual| format!(": it hashes to {actual}"),
    )
}

/// Copies `blob` from `source` to `target`, staged there as the upload `id`, which must be new. Returns when the object is
/// at the target, survives a power cut there, and was seen to have the right bytes.
///
/// The bytes are read once at the source and hashed on the way; then they are read back and hashed at the target. (What a local
/// directory gives back may come from the kernel's memory: that proves what was written, not what the disk will say later.)
/// Nothing appears at the blob's key before all of that has succeeded.
///
/// Holds at most [`CHUNKS_IN_FLIGHT_MAX`] chunks. It takes as long as bytes move: each step has the location's deadline, the
/// whole has none. A failed copy discards what it staged. A dropped future leaves staged bytes, which the cleanup of
/// abandoned uploads finds, and no object; dropped in the very last step, it may leave a whole object.
pub async fn copy_blob(
    source: &Location,
    target: &Location,
    blob: &BlobContent,
    id: Uuid,
) -> Result<(), CopyError> {
    let never = Shutdown::default();
    stage_copy(Some(source), target, blob, id, &never)
        .await?
        .publish()
        .await
}

/// A verified copy that is not published yet.
#[derive(Debug)]
pub(crate) struct StagedCopy<'a> {
    target: &'a Location,
    blob: &'a BlobContent,
    id: Uuid,
    /// Where the bytes lie at the target, once they were written.
    staged: Staged,
}

/// The part of [`copy_blob`] before anything appears at the blob's key; ended early by `shutdown`. Without a source only the
/// empty blob can be copied.
pub(crate) async fn stage_copy<'a>(
    source: Option<&Location>,
    target: &'a Location,
    blob: &'a BlobContent,
    id: Uuid,
    shutdown: &Shutdown,
) -> Result<StagedCopy<'a>, CopyError> {
    let mut staged = StagedCopy {
        target,
        blob,
        id,
        staged: Staged::NOTHING,
    };
    let filled = tokio::select! {
        filled = staged.fill(source) => filled,
        () = shutdown.wait() => Err(CopyError::Interrupted),
    };
    match filled {
        Ok(()) => Ok(staged),
        Err(error) => {
            staged.discard().await;
            Err(error)
        }
    }
}

impl StagedCopy<'_> {
    /// Makes the staged bytes the blob's object.
    pub(crate) async fn publish(self) -> Result<(), CopyError> {
        let Self {
            target,
            blob,
            id,
            ref staged,
        } = self;
        let key = blob.key();
        if let Err(error) = target.publish(id, staged, &key).await {
            self.discard().await;
            return Err(CopyError::from_target(error));
        }
        match target.stat(&key).await.map_err(CopyError::from_target)? {
            Some(stat) if stat.size == blob.size => Ok(()),
            _ => Err(CopyError::TargetLost {
                location: target.name().clone(),
            }),
        }
    }

    /// Throws the staged bytes away. What cannot be thrown away now is found by the cleanup of abandoned uploads.
    pub(crate) async fn discard(self) {
        if let Err(error) = self.target.discard(self.id).await {
            tracing::debug!(
                upload.id = %self.id,
                error = &error as &dyn std::error::Error,
                "Could not discard the staged bytes of a copy",
            );
        }
    }

    async fn fill(&mut self, source: Option<&Location>) -> Result<(), CopyError> {
        let Self {
            target, blob, id, ..
        } = *self;
        let mut stream = match source {
            Some(source) if !blob.is_empty() => Some(
                source
                    .read(&blob.key(), ..)
                    .await
                    .map_err(CopyError::from_source)?
                    .read_ahead(),
            ),
            _ => None,
        };
        let mut writer = target
            .stage(id, &Staged::NOTHING)
            .await
            .map_err(CopyError::from_target)?;
        let mut digester = Digester::new(blob.digest.algorithm());
        let announced = stream.as_ref().map_or(0, ObjectStream::remaining);
        if let Some(stream) = &mut stream {
            while let Some(chunk) = stream.try_next().await.map_err(CopyError::from_source)? {
                // The write goes on in the background while this thread hashes.
                writer
                    .write(chunk.clone())
                    .await
                    .map_err(CopyError::from_target)?;
                digester.update(&chunk);
            }
        }
        if let Some(source) = source {
            blob.check_source(source.name(), digester, announced)?;
        }
        writer.sync().await.map_err(CopyError::from_target)?;
        self.staged = writer.staged();
        drop(writer);
        blob.check_target(target.name(), target.read_staged(id, &self.staged))
            .await
    }
}

impl BlobContent {
    fn check_source(
        &self,
        location: &LocationName,
        digester: Digester,
        announced: u64,
    ) -> Result<(), CopyError> {
        let size = digester.bytes_hashed();
        if size < announced {
            return Err(CopyError::SourceCutOff {
                location: location.clone(),
                read: size,
                announced,
            });
        }
        let actual = digester.finish();
        if actual != self.digest {
            return Err(CopyError::SourceDamaged {
                location: location.clone(),
                actual: Some(actual),
            });
        }
        if size != self.size {
            return Err(CopyError::SizeDisagrees {
                location: location.clone(),
                recorded: self.size,
                actual: size,
            });
        }
        Ok(())
    }

    async fn check_target(
        &self,
        location: &LocationName,
        mut staged: impl Stream<Item = Result<Bytes, StorageError>> + Unpin,
    ) -> Result<(), CopyError> {
        let mut digester = Digester::new(self.digest.algorithm());
        while let Some(chunk) = staged.try_next().await.map_err(CopyError::from_target)? {
            digester.update(&chunk);
        }
        let actual = digester.finish();
        if actual == self.digest {
            Ok(())
        } else {
            Err(CopyError::TargetDamaged {
                location: location.clone(),
                actual: Some(actual),
            })
        }
    }
}

/// Whether an object of the blob's size is at its key in `target`. Says nothing about its bytes.
pub(crate) async fn stands(target: &Location, blob: &BlobContent) -> Result<bool, CopyError> {
    let found = target
        .stat(&blob.key())
        .await
        .map_err(CopyError::from_target)?;
    Ok(found.is_some_and(|stat| stat.size == blob.size))
}

/// Whether `target` already holds `blob`, whole: an object that an earlier attempt published and did not get to record. It is
/// read and hashed, since an object of the right size may still be damaged.
pub(crate) async fn holds(target: &Location, blob: &BlobContent) -> Result<bool, CopyError> {
    if !stands(target, blob).await? {
        return Ok(false);
    }
    let verified = target
        .verify(&blob.digest)
        .await
        .map_err(CopyError::from_target)?;
    Ok(matches!(verified, Verification::Intact { .. }))
}
