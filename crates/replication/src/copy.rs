//! What a copy of a blob is, from when it is staged at its target to when it is proven to be there, and what can go wrong.

#[cfg(test)]
mod tests;

use bytes::Bytes;
use futures_util::{Stream, TryStreamExt};
use roadstead_oci::{Digest, Digester};
use roadstead_placement::{FailureClass, LocationName};
use roadstead_runtime::{Ids, Shutdown};
use roadstead_storage::{
    Location, ObjectKey, Staged, StorageError, StorageErrorKind, Verification,
};
use uuid::Uuid;

use crate::fan_out::{Ended, FanOut, FannedOut, Unattended, discard};

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
    pub(crate) fn key(&self) -> ObjectKey {
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
    /// An operator has paused copies between these locations.
    #[error("copying is paused")]
    Paused,
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
            Self::Interrupted | Self::Paused => FailureClass::Internal,
        }
    }

    pub(crate) fn from_source(error: StorageError) -> Self {
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

    pub(crate) fn from_target(error: StorageError) -> Self {
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

/// Copies `blob` from `source` to `target`. Returns when the object is at the target, survives a power cut there, and was seen to have the
/// right bytes.
///
/// The bytes are read once at the source and hashed on the way. A store that compares what it is sent with a checksum is believed; elsewhere they
/// are read back and hashed at the target. (What a local directory gives back may come from the kernel's memory: that proves what was written,
/// not what the disk will say later.) Nothing appears at the blob's key before all of that has succeeded.
///
/// Holds at most [`CHUNKS_IN_FLIGHT_MAX`] chunks, or what an upload to an object store may hold. It takes as long as bytes move: each step has
/// the location's deadline, the whole has none. A failed copy discards what it staged. A dropped future leaves staged bytes, which the cleanup of
/// abandoned uploads finds, and no object; dropped in the very last step, it may leave a whole object.
pub async fn copy_blob(
    source: &Location,
    target: &Location,
    blob: &BlobContent,
    ids: &dyn Ids,
) -> Result<(), CopyError> {
    let never = Shutdown::default();
    stage_copy(Some(source), target, blob, ids, &never)
        .await?
        .publish()
        .await
}

/// A verified copy that is not published yet.
#[derive(Debug)]
pub(crate) struct StagedCopy<'a> {
    pub(crate) target: &'a Location,
    pub(crate) blob: &'a BlobContent,
    pub(crate) prepared: Prepared,
}

/// Where the bytes of a copy are until it is published.
#[derive(Debug)]
pub(crate) enum Prepared {
    /// At the target.
    Staged {
        /// As this upload.
        upload: Uuid,
        /// Where in it.
        staged: Staged,
    },
    /// In memory, for a store that takes them in one step.
    Whole(Vec<Bytes>),
}

/// The part of [`copy_blob`] before anything appears at the blob's key; ended early by `shutdown`. Without a source only the
/// empty blob can be copied.
pub(crate) async fn stage_copy<'a>(
    source: Option<&'a Location>,
    target: &'a Location,
    blob: &'a BlobContent,
    ids: &'a dyn Ids,
    shutdown: &Shutdown,
) -> Result<StagedCopy<'a>, CopyError> {
    let fan_out = FanOut {
        blob,
        sources: source.into_iter().collect(),
        targets: vec![(target, None)],
        digester: None,
        ids,
        attend: &Unattended,
    };
    let FannedOut { arms, mut failures } = fan_out.run(shutdown).await;
    match arms {
        Ok(mut arms) => arms.pop().unwrap_or(Err(CopyError::Interrupted)),
        Err(Ended::Stopped(error)) => Err(error),
        Err(Ended::NoSource) => Err(failures
            .pop()
            .map_or(CopyError::Interrupted, |(_, error)| error)),
    }
}

impl StagedCopy<'_> {
    /// Makes the prepared bytes the blob's object.
    pub(crate) async fn publish(self) -> Result<(), CopyError> {
        let Self {
            target,
            blob,
            ref prepared,
        } = self;
        let key = blob.key();
        let published = match prepared {
            Prepared::Staged { upload, staged } => target.publish(*upload, staged, &key).await,
            Prepared::Whole(chunks) => target.put(&blob.digest, chunks.clone()).await,
        };
        if let Err(error) = published {
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

    /// Throws the prepared bytes away.
    pub(crate) async fn discard(self) {
        if let Prepared::Staged { upload, staged } = self.prepared {
            discard(self.target, self.blob, upload, &staged).await;
        }
    }
}

impl BlobContent {
    /// Reads staged bytes back and hashes them.
    pub(crate) async fn check_target(
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
