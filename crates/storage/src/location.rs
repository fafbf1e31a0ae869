//! One location and what can be asked of its objects. Uploads, publication, probes and inspection add their methods in
//! their own files.

use std::path::Path;
use std::sync::Arc;

use roadstead_placement::LocationName;
use uuid::Uuid;

use crate::calls::{Call, Calls};
use crate::directories::{Directories, sync_directory};
use crate::error::{Failure, Operation, StorageError, StorageErrorKind};
#[cfg(feature = "faults")]
use crate::faults::Faults;
use crate::hook::Hook;
use crate::object_key::ObjectKey;
use crate::options::LocalOptions;
use crate::read::{ByteRange, ObjectStream, bounded};
use crate::staging::{StagedWriter, Uploads};

/// One place where objects are kept. Clones are the same location.
///
/// While the root directory is missing, everything but [`Location::create_root`] fails with
/// [`StorageErrorKind::Unavailable`], also what otherwise takes an absent object for success. To have that notice a file system that is not mounted, let the root be
/// a directory inside of it and not the mount point itself.
#[derive(Clone, Debug)]
pub struct Location {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    calls: Arc<Calls>,
    directories: Arc<Directories>,
    uploads: Uploads,
    options: LocalOptions,
    capabilities: Capabilities,
}

/// What the store behind a location can do by itself.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Capabilities {
    /// Clients can be sent to the store with a signed URL. A local directory: no.
    pub signed_urls: bool,
    /// The smallest chunk an upload may arrive in, except for its last. A local directory: 0, any size will do.
    pub upload_chunk_bytes_min: u64,
}

/// What is known of an object without reading it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ObjectStat {
    /// Bytes.
    pub size: u64,
}

impl Location {
    /// A location in a local directory. The directory is looked at only when it is first used, so that a process starts
    /// although a store is down, and is never made: see [`Location::create_root`]. A relative path is taken from the
    /// working directory of this moment; a symbolic link is followed when the root is first used, and that directory
    /// is kept to until the process ends.
    ///
    /// # Errors
    ///
    /// [`StorageErrorKind::Unexpected`] for a path that is empty or not UTF-8.
    pub fn local(
        name: LocationName,
        root: impl AsRef<Path>,
        options: LocalOptions,
    ) -> Result<Self, StorageError> {
        Self::with_hook(name, root.as_ref(), options, Hook::none())
    }

    /// A location in a local directory that fails as `faults` says. For tests only.
    #[cfg(feature = "faults")]
    pub fn local_with_faults(
        name: LocationName,
        root: impl AsRef<Path>,
        options: LocalOptions,
        faults: &Faults,
    ) -> Result<Self, StorageError> {
        Self::with_hook(name, root.as_ref(), options, Hook::from(faults.clone()))
    }

    fn with_hook(
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
            inner: Arc::new(Inner {
                calls: Arc::new(Calls::new(name, absolute, options.calls_max, hook)),
                directories: Arc::default(),
                uploads: Uploads::default(),
                options,
                capabilities: Capabilities {
                    signed_urls: false,
                    upload_chunk_bytes_min: 0,
                },
            }),
        })
    }

    /// The name by which configuration and database know it.
    pub fn name(&self) -> &LocationName {
        self.inner.calls.location()
    }

    /// The root directory as configured, made absolute.
    pub fn root(&self) -> &Path {
        self.inner.calls.configured_root()
    }

    /// What the store can do by itself.
    pub fn capabilities(&self) -> Capabilities {
        self.inner.capabilities
    }

    /// Looks an object up. `None` when it is not there.
    pub async fn stat(&self, key: &ObjectKey) -> Result<Option<ObjectStat>, StorageError> {
        let call = Call::new(Operation::Stat, key.path(), self.options().step_timeout);
        match self.size(&call).await {
            Ok(size) => Ok(Some(ObjectStat { size })),
            Err(error) if error.kind() == StorageErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Reads a range of an object. When this returns, the first chunk has been read: an object that is missing or shorter
    /// than the range fails here and not in the middle of a response.
    ///
    /// An object smaller than a chunk, asked for with its end, costs two short calls and memory of its own size.
    /// A dropped future or stream leaves nothing behind but a read that ends by itself.
    ///
    /// # Errors
    ///
    /// [`StorageErrorKind::NotFound`]; [`StorageErrorKind::Corrupt`] for a range that the object does not have;
    /// [`StorageErrorKind::Unexpected`] for a range that ends before its start.
    pub async fn read(
        &self,
        key: &ObjectKey,
        range: impl Into<ByteRange> + Send,
    ) -> Result<ObjectStream, StorageError> {
        let range = range.into();
        let chunk_bytes = self.options().read_chunk_bytes;
        let calls = self.calls();
        let mut call = Call::new(Operation::Read, key.path(), self.options().step_timeout);
        // The first chunk proves a short range; a longer one is proven by the object's size.
        let proven_by_reading = range
            .end
            .is_some_and(|end| end > range.start && end - range.start <= chunk_bytes as u64);
        let size = if proven_by_reading {
            None
        } else {
            let size = self.size(&call).await?;
            call.continues = true;
            Some(size)
        };
        let range = bounded(range, size).map_err(|failure| calls.error(&call, failure))?;
        ObjectStream::open(Arc::clone(calls), call, range, chunk_bytes).await
    }

    /// Opens the staged bytes of upload `id` to go on at exactly `at`, the offset that was acknowledged; `0`
    /// starts the upload, or starts it again.
    ///
    /// The caller owns the upload's session. A second writer is kept out all the same: it waits for
    /// [`LocalOptions::lock_timeout`] and is then refused. What lies beyond `at` is cut off
    /// when the first byte is written or the writer is synced: whoever staged with an offset that is out of date and then looks
    /// again has destroyed nothing.
    ///
    /// # Errors
    ///
    /// [`StorageErrorKind::StagedShort`] when fewer bytes are there, [`StorageErrorKind::Busy`] while another writer,
    /// of this process or another, has the upload open.
    pub async fn stage(&self, id: Uuid, at: u64) -> Result<StagedWriter, StorageError> {
        let Inner {
            calls,
            directories,
            uploads,
            options,
            capabilities: _,
        } = &*self.inner;
        StagedWriter::open(calls, directories, options, uploads, id, at).await
    }

    /// Deletes an object and returns when that survives a power cut. `Ok` when it is not there. Readers that have it open
    /// read on undisturbed. A dropped future may or may not have deleted.
    pub async fn delete(&self, key: &ObjectKey) -> Result<(), StorageError> {
        let path = key.path();
        let mut call = Call::new(Operation::Delete, path.clone(), self.options().step_timeout);
        let target = path.clone();
        self.calls()
            .operate(&call, move |operator| async move {
                operator.delete(&target).await
            })
            .await?;
        // The operator takes a missing directory for success; flushing it tells whether that was the root.
        call.continues = true;
        let flushed = self
            .calls()
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
            .calls()
            .operate(
                call,
                move |operator| async move { operator.stat(&path).await },
            )
            .await?;
        if !metadata.is_file() {
            let failure = Failure::because(StorageErrorKind::Unexpected, "it is not a file");
            return Err(self.calls().error(call, failure));
        }
        Ok(metadata.content_length())
    }

    pub(crate) fn calls(&self) -> &Arc<Calls> {
        &self.inner.calls
    }

    pub(crate) fn directories(&self) -> &Arc<Directories> {
        &self.inner.directories
    }

    pub(crate) fn uploads(&self) -> &Uploads {
        &self.inner.uploads
    }

    pub(crate) fn options(&self) -> &LocalOptions {
        &self.inner.options
    }
}

#[cfg(test)]
mod tests;
