//! What was read to its end a short while ago and had its digest: a file that nobody has touched since is not hashed again, which costs more than
//! everything else that a pull does, and a very small blob is not read again.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use roadstead_metadata::StorageId;
use roadstead_placement::LocationName;
use roadstead_runtime::{Recent, Timestamp};
use roadstead_storage::ObjectVersion;

/// How many objects are remembered. One takes some 200 bytes.
const OBJECTS_MAX: usize = 16_384;

/// The largest blob that is kept itself: configurations of images, signatures, and the like.
pub(super) const KEPT_BYTES_MAX: u64 = 8 << 10;

/// How many of these are kept: 4 MiB at most.
const KEPT_MAX: usize = 512;

/// Objects whose bytes were right, by blob and location, and the bytes of the smallest.
#[derive(Debug)]
pub(crate) struct ReadRight {
    objects: Mutex<Recent<(StorageId, LocationName), ObjectVersion>>,
    kept: Mutex<Recent<StorageId, Bytes>>,
    counts_for: Duration,
}

impl ReadRight {
    /// Objects are hashed again when they are read after this time.
    pub(crate) fn new(counts_for: Duration) -> Self {
        Self {
            objects: Mutex::new(Recent::new(OBJECTS_MAX)),
            kept: Mutex::new(Recent::new(KEPT_MAX)),
            counts_for,
        }
    }

    /// Notes that this version was read and was right.
    pub(super) fn note(
        &self,
        storage: StorageId,
        location: &LocationName,
        version: ObjectVersion,
        now: Timestamp,
    ) {
        if self.counts_for.is_zero() {
            return;
        }
        let key = (storage, location.clone());
        let mut objects = self.objects.lock().unwrap_or_else(PoisonError::into_inner);
        objects.insert(key, version, now + self.counts_for);
    }

    /// Keeps the bytes of a blob, if they are few.
    pub(super) fn keep(&self, storage: StorageId, chunks: &[Bytes], now: Timestamp) {
        let bytes: usize = chunks.iter().map(Bytes::len).sum();
        if self.counts_for.is_zero() || bytes as u64 > KEPT_BYTES_MAX {
            return;
        }
        // A copy: what was read may be a part of something larger.
        let content = Bytes::from(chunks.concat());
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.insert(storage, content, now + self.counts_for);
    }

    /// The bytes of a blob, if they are kept.
    pub(super) fn kept(&self, storage: StorageId, now: Timestamp) -> Option<Bytes> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.get(&storage, now).cloned()
    }

    /// Whether just this version was right.
    pub(super) fn knows(
        &self,
        storage: StorageId,
        location: &LocationName,
        version: ObjectVersion,
        now: Timestamp,
    ) -> bool {
        let key = (storage, location.clone());
        let objects = self.objects.lock().unwrap_or_else(PoisonError::into_inner);
        objects.get(&key, now) == Some(&version)
    }
}
