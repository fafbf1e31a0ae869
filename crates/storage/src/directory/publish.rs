//! From staged bytes to an object: by a rename, so that an object is there whole or not at all. That the bytes are what
//! the key says was checked by whoever hashed them on their way in.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use roadstead_oci::Digest;
use uuid::Uuid;

use crate::directory::Directory;
use crate::directory::calls::Call;
use crate::directory::directories::sync_directory;
use crate::directory::staging::open_locked;
use crate::error::{Failure, Operation, StorageError, StorageErrorKind};
use crate::object_key::{ObjectKey, Shard, UPLOADS};

impl Directory {
    /// Makes the first `size` staged bytes of an upload the object `key`. False when nothing is staged: it may have been published before.
    pub(crate) async fn publish(
        &self,
        id: Uuid,
        size: u64,
        key: &ObjectKey,
    ) -> Result<bool, StorageError> {
        let call = Call::new(Operation::Publish, key.path(), self.options.sync_timeout);
        let ObjectKey::Blob(digest) = key else {
            let failure =
                Failure::because(StorageErrorKind::Unexpected, "only blobs are published");
            return Err(self.calls.error(&call, failure));
        };
        let exclusive =
            tokio::time::timeout(self.options.lock_timeout, self.uploads.exclusively(id))
                .await
                .map_err(|_| self.calls.error(&call, StorageErrorKind::Busy))?;
        let directories = Arc::clone(&self.directories);
        let (shard, name) = (Shard::of(digest), digest.hex().to_owned());
        let lost = self.calls.hook.loses_publication();
        self.calls
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
                // What counts of it was flushed when it was staged.
                if staged > size {
                    file.set_len(size)?;
                    file.sync_all()?;
                }
                if lost {
                    fs::remove_file(&path)?;
                    return Ok(true);
                }
                let folder = directories.ensure(&store.root, &shard.to_string())?;
                let object = folder.join(name);
                report_damage(&object, size);
                fs::rename(&path, &object)?;
                // That it is gone from where it was staged need not survive: what comes back there after a crash belongs to no upload.
                sync_directory(&folder)?;
                Ok(true)
            })
            .await
    }

    /// Flushes the entry of an object that an earlier process published: the crash may have come between the rename and the flush.
    pub(crate) async fn flush(&self, digest: &Digest) -> Result<(), StorageError> {
        let key = ObjectKey::Blob(digest.clone());
        let call = Call::new(Operation::Publish, key.path(), self.options.sync_timeout);
        let shard = Shard::of(digest).to_string();
        self.calls
            .blocking(&call, move |store| {
                sync_directory(&store.root.join(shard))?;
                Ok(())
            })
            .await
    }

    pub(crate) async fn discard(&self, id: Uuid) -> Result<(), StorageError> {
        let key = ObjectKey::Upload(id);
        let call = Call::new(Operation::Discard, key.path(), self.options.step_timeout);
        let removed = self
            .calls
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
