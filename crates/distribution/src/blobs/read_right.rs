//! What was read to its end a short while ago and had its digest. Hashing costs more than everything else that a pull does, and a file that nobody has
//! touched since is not going to be another one.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use roadstead_metadata::StorageId;
use roadstead_placement::LocationName;
use roadstead_runtime::{Recent, Timestamp};
use roadstead_storage::ObjectVersion;

/// How many objects are remembered. One takes some 200 bytes.
const OBJECTS_MAX: usize = 16_384;

/// Objects whose bytes were right, by blob and location.
#[derive(Debug)]
pub(crate) struct ReadRight {
    objects: Mutex<Recent<(StorageId, LocationName), ObjectVersion>>,
    counts_for: Duration,
}

impl ReadRight {
    /// Objects are hashed again when they are read after this time.
    pub(crate) fn new(counts_for: Duration) -> Self {
        Self {
            objects: Mutex::new(Recent::new(OBJECTS_MAX)),
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
