//! Trying a location out: everything that a push does to a store, and the deletion.

use bytes::Bytes;
use roadstead_oci::{Algorithm, Digest};
use uuid::Uuid;

use crate::error::StorageError;
use crate::inspect::Verification;
use crate::location::Location;
use crate::object_key::ObjectKey;
use crate::staged::Staged;

impl Location {
    /// Writes an object of a few bytes that nobody else has, reads it back and deletes it. [`Verification::Missing`] also for one that is still there
    /// after it was deleted. What a failure or a dropped future leaves behind is an object of a few bytes that nothing accounts for.
    pub async fn try_out(&self, id: Uuid) -> Result<Verification, StorageError> {
        let content = Bytes::from(format!("roadstead tries this location: {id}"));
        let digest = Digest::of(Algorithm::Sha256, &content);
        let key = ObjectKey::Blob(digest.clone());
        let mut writer = self.stage(id, &Staged::NOTHING).await?;
        writer.write(content).await?;
        writer.sync().await?;
        let staged = writer.staged();
        drop(writer);
        self.publish(id, &staged, &key).await?;
        let verified = self.verify(&digest).await?;
        self.delete(&key).await?;
        if self.stat(&key).await?.is_some() {
            return Ok(Verification::Missing);
        }
        Ok(verified)
    }
}
