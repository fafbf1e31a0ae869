//! Whether a store compares what it is sent with the SHA-256 under the signature. All that speak S3 have to, and are not believed before they
//! have been seen to.

use opendal::Buffer;
use roadstead_oci::{Algorithm, Digest};

use super::ObjectStore;
use super::calls::Calls;
use crate::drivers::{Bucket, Checksum};
use crate::error::{Operation, StorageError};

const WRITTEN: &[u8] = b"These bytes are written to see whether the store compares them.";
const EXPECTED: &[u8] = b"These bytes are not.";

impl ObjectStore {
    /// Where the store is tried: below the uploads, so that what cannot be deleted is found by their cleanup.
    pub(super) fn hash_probe(&self) -> String {
        format!("{}checked", self.parts.of(self.environment.ids.uuid()))
    }
}

/// Whether the store compares. It is asked once for each location of a process, at the object `probe`. While it is being asked, or when it cannot
/// be just now, the answer is no for this time.
pub(super) async fn compares_sha256(
    calls: &Calls,
    bucket: &Bucket,
    probe: impl FnOnce() -> String,
) -> bool {
    let known = &bucket.compares_sha256;
    if let Some(compares) = known.get() {
        return *compares;
    }
    let Ok(_asking) = bucket.asking.try_lock() else {
        return false;
    };
    match ask(calls, bucket, &probe()).await {
        Ok(compares) => *known.get_or_init(|| compares),
        Err(error) => {
            tracing::debug!(
                error = &error as &dyn std::error::Error,
                "Could not see whether a store compares what it is sent with a SHA-256",
            );
            false
        }
    }
}

/// A store that takes bytes with their own hash and refuses them with another compares them.
async fn ask(calls: &Calls, bucket: &Bucket, probe: &str) -> Result<bool, StorageError> {
    let deadline = calls.options().step_timeout;
    let checksum = |hashed: &[u8]| {
        let digest = Digest::of(Algorithm::Sha256, hashed);
        Checksum::Sha256(digest.hex().to_owned())
    };
    let (right, wrong) = (checksum(WRITTEN), checksum(EXPECTED));
    let taken = bucket.put(probe, Buffer::from(WRITTEN), &right);
    calls.once(Operation::Probe, probe, deadline, taken).await?;
    let refused = bucket.refuses(probe, Buffer::from(WRITTEN), &wrong);
    let compares = calls.once(Operation::Probe, probe, deadline, refused).await;
    let deleted = calls.retried(Operation::Probe, probe, || calls.operator().delete(probe));
    if let Err(error) = deleted.await {
        tracing::debug!(
            error = &error as &dyn std::error::Error,
            "Could not delete what was written to try a store; it is cleaned up later",
        );
    }
    if let Ok(false) = compares {
        tracing::info!(
            "A store does not compare what it is sent with the SHA-256 under the signature; it is given an MD5"
        );
    }
    compares
}
