//! From staged bytes to an object: by a rename, so that an object is there whole or not at all. That the bytes are what
//! the key says was checked by whoever hashed them on their way in.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use uuid::Uuid;

use crate::calls::Call;
use crate::directories::sync_directory;
use crate::error::{Failure, Operation, StorageError, StorageErrorKind};
use crate::inspect::Verification;
use crate::location::Location;
use crate::object_key::{ObjectKey, Shard, UPLOADS};
use crate::staging::open_locked;

impl Location {
    /// Makes the first `size` staged bytes of upload `id` the object `key`, and returns when that survives a power cut.
    ///
    /// Bytes staged beyond `size` are cut off: nobody acknowledged them. An object that is there already is replaced,
    /// whatever its size: the rename costs the same as keeping it, readers that have it open read on undisturbed, and
    /// an object that was damaged is healed instead of poisoning every later push of its digest.
    ///
    /// Safe to repeat after a crash: when the staged bytes are gone because they were published before, the object is
    /// read back and hashed, and only then is the answer `Ok`.
    ///
    /// Drop the upload's [`crate::StagedWriter`] first. A dropped future may or may not have published.
    ///
    /// # Errors
    ///
    /// [`StorageErrorKind::StagedShort`] with fewer than `size` bytes staged, [`StorageErrorKind::NotFound`] with none
    /// and no such object, [`StorageErrorKind::Busy`] while a writer is at work, [`StorageErrorKind::Unexpected`] for
    /// a `key` that is not a blob's.
    pub async fn publish(&self, id: Uuid, size: u64, key: &ObjectKey) -> Result<(), StorageError> {
        let call = Call::new(Operation::Publish, key.path(), self.options().sync_timeout);
        let ObjectKey::Blob(digest) = key else {
            let failure =
                Failure::because(StorageErrorKind::Unexpected, "only blobs are published");
            return Err(self.calls().error(&call, failure));
        };
        let exclusive =
            tokio::time::timeout(self.options().lock_timeout, self.uploads().exclusively(id))
                .await
                .map_err(|_| self.calls().error(&call, StorageErrorKind::Busy))?;
        let directories = Arc::clone(self.directories());
        let (shard, name) = (Shard::of(digest), digest.hex().to_owned());
        let lost = self.calls().hook.loses_publication();
        let moved = self
            .calls()
            .blocking(&call, move |store| {
                let _exclusive = exclusive;
                let uploads = store.root.join(UPLOADS);
                let path = uploads.join(id.hyphenated().to_string());
                let Some(file) = open_locked(&path, false)? else {
                    return Ok(false);
                };
                let staged = file.metadata()?.len();
                if staged < size {
                    return Err(StorageErrorKind::StagedShort {
                        staged,
                        expected: size,
                    }
                    .into());
                }
                if staged > size {
                    file.set_len(size)?;
                }
                file.sync_all()?;
                if lost {
                    fs::remove_file(&path)?;
                    return Ok(true);
                }
                let folder = directories.ensure(&store.root, &shard.to_string())?;
                let object = folder.join(name);
                report_damage(&object, size);
                fs::rename(&path, &object)?;
                sync_directory(&folder)?;
                sync_directory(&uploads)?;
                Ok(true)
            })
            .await?;
        if moved {
            return Ok(());
        }
        self.confirm_published(&call, key, size).await
    }

    /// Whether an upload without staged bytes has become its object before.
    async fn confirm_published(
        &self,
        call: &Call,
        key: &ObjectKey,
        size: u64,
    ) -> Result<(), StorageError> {
        let ObjectKey::Blob(digest) = key else {
            return Err(self.calls().error(call, StorageErrorKind::NotFound));
        };
        if self.verify(digest).await? != (Verification::Intact { size }) {
            let failure = Failure::because(
                StorageErrorKind::NotFound,
                "nothing is staged and no such object was published before",
            );
            return Err(self.calls().error(call, failure));
        }
        // The crash may have come between the rename and the flush.
        let shard = Shard::of(digest).to_string();
        self.calls()
            .blocking(call, move |store| {
                sync_directory(&store.root.join(shard))?;
                Ok(())
            })
            .await
    }

    /// Throws the staged bytes of an upload away. `Ok` when there are none. A writer that has them open can go on
    /// writing but not [`crate::StagedWriter::sync`]. Do not stage the same id again afterwards; a new upload has a new one.
    pub async fn discard(&self, id: Uuid) -> Result<(), StorageError> {
        let key = ObjectKey::Upload(id);
        let call = Call::new(Operation::Discard, key.path(), self.options().step_timeout);
        let removed = self
            .calls()
            .blocking(&call, move |store| {
                Ok(fs::remove_file(
                    store.root.join(UPLOADS).join(id.hyphenated().to_string()),
                )?)
            })
            .await;
        match removed {
            Err(error) if error.kind() == StorageErrorKind::NotFound => Ok(()),
            removed => removed,
        }
    }
}

/// Tells the operator that an object is about to be healed. Only its size can be compared for free.
fn report_damage(object: &Path, size: u64) {
    if let Ok(metadata) = fs::metadata(object)
        && metadata.len() != size
    {
        let (path, found) = (object.display(), metadata.len());
        tracing::warn!(
            object.path = %path,
            object.size_bytes = found,
            "Replacing the damaged object {path}: it has {found} bytes instead of {size}"
        );
    }
}

#[cfg(test)]
mod tests;
