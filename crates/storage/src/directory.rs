//! A location in a directory of this machine: what it is made of, and objects looked up, read and deleted. Uploads, publication, probes and
//! inspection add their methods in the files below.

mod buffers;
mod calls;
mod directories;
pub(crate) mod hook;
mod inspect;
mod probe;
mod publish;
mod read;
mod staging;

use std::path::Path;
use std::sync::Arc;

use roadstead_placement::LocationName;
use uuid::Uuid;

use self::buffers::Buffers;
use self::calls::{Call, Calls};
use self::directories::{Directories, sync_directory};
use self::hook::Hook;
pub(crate) use self::read::DirectoryStream;
pub(crate) use self::staging::{FileHold, FileWriter};
use crate::error::{Failure, Operation, StorageError, StorageErrorKind};
use crate::exclusive::Uploads;
use crate::object_key::ObjectKey;
use crate::options::LocalOptions;
use crate::read::ByteRange;

/// The directory and what this process has open below it.
#[derive(Debug)]
pub(crate) struct Directory {
    calls: Arc<Calls>,
    directories: Arc<Directories>,
    uploads: Uploads,
    buffers: Arc<Buffers>,
    options: LocalOptions,
}

impl Directory {
    pub(crate) fn new(
        name: LocationName,
        root: &Path,
        options: LocalOptions,
        hook: Hook,
    ) -> Result<Self, StorageError> {
        let refused = |failure: Failure| {
            StorageError::new(Operation::Open, &name, root.display().to_string(), failure)
        };
        if root.to_str().is_none() {
            let failure =
                Failure::because(StorageErrorKind::Unexpected, "the root's path is not UTF-8");
            return Err(refused(failure));
        }
        let absolute = std::path::absolute(root).map_err(|error| refused(error.into()))?;
        Ok(Self {
            calls: Arc::new(Calls::new(name, absolute, options.calls_max, hook)),
            directories: Arc::default(),
            uploads: Uploads::default(),
            buffers: Arc::new(Buffers::new(options.read_chunk_bytes)),
            options,
        })
    }

    pub(crate) fn root(&self) -> &Path {
        self.calls.configured_root()
    }

    pub(crate) async fn stat(&self, key: &ObjectKey) -> Result<Option<u64>, StorageError> {
        let call = Call::new(Operation::Stat, key.path(), self.options.step_timeout);
        match self.size(&call).await {
            Ok(size) => Ok(Some(size)),
            Err(error) if error.kind() == StorageErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// An object smaller than a chunk costs one call and memory of its own size.
    pub(crate) async fn read(
        &self,
        key: &ObjectKey,
        range: ByteRange,
    ) -> Result<DirectoryStream, StorageError> {
        let call = Call::new(Operation::Read, key.path(), self.options.step_timeout);
        let (calls, buffers) = (Arc::clone(&self.calls), Arc::clone(&self.buffers));
        DirectoryStream::open(calls, call, range, buffers).await
    }

    pub(crate) async fn stage(&self, id: Uuid, at: u64) -> Result<FileWriter, StorageError> {
        FileWriter::open(
            &self.calls,
            &self.directories,
            &self.options,
            &self.uploads,
            id,
            at,
        )
        .await
    }

    /// Deletes an object and flushes its directory.
    pub(crate) async fn delete(&self, key: &ObjectKey) -> Result<(), StorageError> {
        let path = key.path();
        let mut call = Call::new(Operation::Delete, path.clone(), self.options.step_timeout);
        let target = path.clone();
        self.calls
            .operate(&call, move |operator| async move {
                operator.delete(&target).await
            })
            .await?;
        // The operator takes a missing directory for success; flushing it tells whether that was the root.
        call.continues = true;
        let flushed = self
            .calls
            .blocking(&call, move |store| {
                let folder = store.root.join(path);
                Ok(folder.parent().map_or(Ok(()), sync_directory)?)
            })
            .await;
        match flushed {
            Err(error) if error.kind() == StorageErrorKind::NotFound => Ok(()),
            flushed => flushed,
        }
    }

    async fn size(&self, call: &Call) -> Result<u64, StorageError> {
        let path = call.object.clone();
        let metadata = self
            .calls
            .operate(
                call,
                move |operator| async move { operator.stat(&path).await },
            )
            .await?;
        if !metadata.is_file() {
            let failure = Failure::because(StorageErrorKind::Unexpected, "it is not a file");
            return Err(self.calls.error(call, failure));
        }
        Ok(metadata.content_length())
    }
}
