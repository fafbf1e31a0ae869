//! One location and what can be asked of its objects, wherever they lie.

use std::num::NonZeroU16;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream::{BoxStream, try_unfold};
use futures_util::{Stream, StreamExt, TryStreamExt};
use roadstead_oci::Digest;
use roadstead_placement::LocationName;
use roadstead_runtime::Timestamp;
use uuid::Uuid;

use crate::directory::Directory;
use crate::directory::hook::Hook;
use crate::error::{Failure, Operation, StorageError, StorageErrorKind};
#[cfg(feature = "faults")]
use crate::faults::Faults;
use crate::inspect::{ObjectPage, StagedPage, Verification};
use crate::object_key::{ObjectKey, Shard};
use crate::objects::ObjectStore;
use crate::observer::{Observer, Watch};
use crate::options::LocalOptions;
use crate::read::{ByteRange, ObjectStream};
use crate::signed_url::{SignedUrl, UrlRequest};
use crate::staged::{Part, Staged};
use crate::writer::StagedWriter;

/// One place where objects are kept. Clones are the same location.
///
/// While the root directory of a local one is missing, everything but [`Location::create_root`] fails with
/// [`StorageErrorKind::Unavailable`], also what otherwise takes an absent object for success. To have that notice a file system that is not mounted, let the root be
/// a directory inside of it and not the mount point itself.
#[derive(Clone, Debug)]
pub struct Location {
    name: LocationName,
    capabilities: Capabilities,
    backing: Backing,
    watch: Watch,
}

/// Where the objects lie.
#[derive(Clone, Debug)]
enum Backing {
    Directory(Arc<Directory>),
    Objects(Arc<ObjectStore>),
}

/// What the store behind a location can do by itself. Upper layers branch on this and on nothing else.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Capabilities {
    /// Clients can be sent to the store with a signed URL, as a rule: see [`Location::signed_url`]. A local directory: no.
    pub signed_urls: bool,
    /// The store compares what it was sent with a checksum that was sent along, so that what it has accepted need not be read back.
    pub checked_writes: bool,
    /// What becoming an object costs staged bytes.
    pub publication: PublicationCost,
}

/// What happens to staged bytes when they become an object.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum PublicationCost {
    /// They are renamed.
    Rename,
    /// The store copies them by itself.
    StoreCopies,
    /// They are read and written once more, through this process.
    Streamed,
    /// They stay where they are: the object is a list of them. Those of a small object, a few megabytes, are copied by the store.
    InPlace,
}

/// What is known of an object that its store has copied by itself.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ServerCopy {
    /// The store says that the SHA-256 of the whole is the digest.
    Proven,
    /// Nothing.
    Unproven,
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
        let directory = Directory::new(name.clone(), root, options, hook)?;
        Ok(Self {
            watch: Watch::unobserved(name.clone()),
            name,
            capabilities: Capabilities {
                signed_urls: false,
                checked_writes: false,
                publication: PublicationCost::Rename,
            },
            backing: Backing::Directory(Arc::new(directory)),
        })
    }

    pub(crate) fn in_objects(
        name: LocationName,
        capabilities: Capabilities,
        store: ObjectStore,
    ) -> Self {
        Self {
            watch: Watch::unobserved(name.clone()),
            name,
            capabilities,
            backing: Backing::Objects(Arc::new(store)),
        }
    }

    #[cfg(test)]
    pub(crate) fn directory(&self) -> &Directory {
        match &self.backing {
            Backing::Directory(directory) => directory,
            Backing::Objects(_) => panic!("the location is not a directory"),
        }
    }

    /// The same location, whose calls `observer` is told of.
    #[must_use]
    pub fn observed_by(mut self, observer: Arc<dyn Observer>) -> Self {
        self.watch = self.watch.by(observer);
        self
    }

    /// The name by which configuration and database know it.
    pub fn name(&self) -> &LocationName {
        &self.name
    }

    /// The root directory of a local one as configured, made absolute.
    pub fn root(&self) -> Option<&Path> {
        match &self.backing {
            Backing::Directory(directory) => Some(directory.root()),
            Backing::Objects(_) => None,
        }
    }

    /// What the store can do by itself.
    pub fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    /// Looks an object up. `None` when it is not there.
    pub async fn stat(&self, key: &ObjectKey) -> Result<Option<ObjectStat>, StorageError> {
        let size = self
            .watch
            .over(Operation::Stat, async {
                match &self.backing {
                    Backing::Directory(directory) => directory.stat(key).await,
                    Backing::Objects(store) => Box::pin(store.stat(key)).await,
                }
            })
            .await?;
        Ok(size.map(|size| ObjectStat { size }))
    }

    /// Reads a range of an object. When this returns, the first chunk has been read: an object that is missing fails here and not in
    /// the middle of a response.
    ///
    /// A range with an end costs one request or two short calls, one without a look-up more. Nothing is tried again: the caller may
    /// have a better location. A dropped future or stream leaves nothing behind but a read that ends by itself.
    ///
    /// # Errors
    ///
    /// [`StorageErrorKind::NotFound`]; [`StorageErrorKind::Corrupt`] for a range that the object does not have, which an object store
    /// may tell at the end of the stream only; [`StorageErrorKind::Unexpected`] for a range that ends before its start.
    pub async fn read(
        &self,
        key: &ObjectKey,
        range: impl Into<ByteRange> + Send,
    ) -> Result<ObjectStream, StorageError> {
        let range = range.into();
        self.watch
            .over(Operation::Read, async {
                Ok(match &self.backing {
                    Backing::Directory(directory) => {
                        let stream = Box::pin(directory.read(key, range)).await?;
                        ObjectStream::of_directory(stream, self.watch.clone())
                    }
                    Backing::Objects(store) => {
                        let stream = Box::pin(store.read(key, range)).await?;
                        ObjectStream::of_body(stream, self.watch.clone())
                    }
                })
            })
            .await
    }

    /// Signs a URL that a client can read an object with, without any credentials of its own. `None` where the store has none for such a
    /// request; then the object goes through this process. Whether the object is there is not asked.
    ///
    /// Asks nobody anything, unless credentials of the machine or of a role have to be fetched first. Not told to an observer: it says
    /// nothing about the store.
    ///
    /// # Errors
    ///
    /// When there are no credentials that live long enough; a caller streams instead.
    pub async fn signed_url(
        &self,
        key: &ObjectKey,
        request: &UrlRequest<'_>,
    ) -> Result<Option<SignedUrl>, StorageError> {
        match &self.backing {
            Backing::Directory(_) => Ok(None),
            Backing::Objects(store) => {
                let url = Box::pin(store.signed_url(key, request)).await?;
                Ok(url.map(|url| url.of(&self.name)))
            }
        }
    }

    /// Opens the staged bytes of upload `id` to go on behind exactly those that were acknowledged; behind [`Staged::NOTHING`]
    /// the upload starts, or starts again.
    ///
    /// The caller owns the upload's session. A second writer in this process is kept out all the same: it waits for
    /// [`LocalOptions::lock_timeout`] and is then refused. What was staged and not acknowledged does not count; a directory cuts it off
    /// when the first byte is written or the writer is synced: whoever staged with an offset that is out of date and then looks
    /// again has destroyed nothing.
    ///
    /// # Errors
    ///
    /// [`StorageErrorKind::StagedShort`] when fewer bytes are there (an object store tells when they are needed),
    /// [`StorageErrorKind::Busy`] while another writer, of this process or with a directory of another, has the upload open.
    pub async fn stage(&self, id: Uuid, staged: &Staged) -> Result<StagedWriter, StorageError> {
        let watch = self.watch.clone();
        Ok(match &self.backing {
            Backing::Directory(directory) => {
                let staging = directory.stage(id, staged.offset);
                let writer = self.watch.over(Operation::Stage, staging).await?;
                StagedWriter::in_file(writer, watch)
            }
            // Nothing is asked of the store, so that there is nothing to tell.
            Backing::Objects(store) => {
                let writer = Box::pin(store.stage(id, staged, watch.clone())).await?;
                StagedWriter::in_segments(writer, watch)
            }
        })
    }

    /// As [`Location::stage`], of a copy of the blob `digest`: bytes that come from another location, in one go. A store that speaks S3 takes
    /// them as a multipart upload to the blob's key, which costs half of what staging as an upload does. [`Location::publish`] ends it as it ends any
    /// other, [`Location::discard_copy`] gives it up, and [`Location::abort_stale_copies`] finds it when it was forgotten.
    ///
    /// What is synced elsewhere than at a multiple of 256 MiB, or at the end, may not be gone on with by another process there. Staged bytes of
    /// a store with [`Capabilities::checked_writes`] are not for [`Location::read_staged`].
    ///
    /// # Errors
    ///
    /// As [`Location::stage`].
    pub async fn stage_copy(
        &self,
        id: Uuid,
        digest: &Digest,
        staged: &Staged,
    ) -> Result<StagedWriter, StorageError> {
        if let Backing::Objects(store) = &self.backing {
            let watch = self.watch.clone();
            let writer = Box::pin(store.stage_multipart(id, digest, staged, watch)).await?;
            if let Some(writer) = writer {
                return Ok(StagedWriter::in_multipart(writer, self.watch.clone()));
            }
        }
        self.stage(id, staged).await
    }

    /// Reads the acknowledged bytes of an upload that is not published, in order and to their end.
    pub fn read_staged(
        &self,
        id: Uuid,
        staged: &Staged,
    ) -> impl Stream<Item = Result<Bytes, StorageError>> + Send + Unpin + use<> {
        self.read_staged_from(id, staged, 0)
    }

    /// As [`Location::read_staged`], from byte `start` on.
    pub fn read_staged_from(
        &self,
        id: Uuid,
        staged: &Staged,
        start: u64,
    ) -> impl Stream<Item = Result<Bytes, StorageError>> + Send + Unpin + use<> {
        let watch = self.watch.clone();
        let bytes: BoxStream<'static, Result<Bytes, StorageError>> = match &self.backing {
            Backing::Directory(directory) => {
                let (directory, size) = (Arc::clone(directory), staged.offset);
                let opening = async move {
                    let key = ObjectKey::Upload(id);
                    let stream = directory.read(&key, (start.min(size)..size).into()).await?;
                    Ok(ObjectStream::of_directory(stream.read_ahead(), watch))
                };
                futures_util::stream::once(opening).try_flatten().boxed()
            }
            Backing::Objects(store) => {
                let parts: Vec<Part> = staged
                    .parts
                    .iter()
                    .filter(|part| part.end() > start)
                    .collect();
                let unread = (Arc::clone(store), watch, parts.into_iter());
                let streams = try_unfold(unread, move |(store, watch, mut parts)| async move {
                    let Some(part) = parts.next() else {
                        return Ok(None);
                    };
                    let skipped = start.saturating_sub(part.start);
                    let stream = Box::pin(store.read_part(id, part, skipped)).await?;
                    let stream = ObjectStream::of_body(stream, watch.clone());
                    Ok(Some((stream, (store, watch, parts))))
                });
                streams.try_flatten().boxed()
            }
        };
        bytes
    }

    /// Makes the acknowledged bytes of upload `id` the object `key`, and returns when that survives a power cut.
    ///
    /// Bytes staged beyond them are cut off: nobody acknowledged them. An object that is there already is replaced,
    /// whatever its size: that costs the same as keeping it, readers that have it open read on undisturbed, and
    /// an object that was damaged is healed instead of poisoning every later push of its digest.
    ///
    /// Safe to repeat after a crash: when the staged bytes are gone because they were published before, the object is
    /// read back and hashed, and only then is the answer `Ok`.
    ///
    /// Drop the upload's [`crate::StagedWriter`] first. A dropped future may or may not have published.
    ///
    /// # Errors
    ///
    /// [`StorageErrorKind::StagedShort`] with fewer bytes staged, [`StorageErrorKind::NotFound`] with none
    /// and no such object, [`StorageErrorKind::Busy`] while a writer is at work, [`StorageErrorKind::Unexpected`] for
    /// a `key` that is not a blob's.
    pub async fn publish(
        &self,
        id: Uuid,
        staged: &Staged,
        key: &ObjectKey,
    ) -> Result<(), StorageError> {
        let ObjectKey::Blob(digest) = key else {
            let failure =
                Failure::because(StorageErrorKind::Unexpected, "only blobs are published");
            return Err(StorageError::new(
                Operation::Publish,
                &self.name,
                key.path(),
                failure,
            ));
        };
        // How long it takes goes by the size, and says nothing of the location.
        let publishing = async {
            match &self.backing {
                Backing::Directory(directory) => directory.publish(id, staged.offset, key).await,
                Backing::Objects(store) => Box::pin(store.publish(id, staged, key)).await,
            }
        };
        let moved = self
            .watch
            .over_bytes(Operation::Publish, staged.offset, publishing)
            .await?;
        if moved {
            return Ok(());
        }
        self.confirm_published(digest, staged.offset).await
    }

    /// Whether an upload without staged bytes has become its object before.
    async fn confirm_published(&self, digest: &Digest, size: u64) -> Result<(), StorageError> {
        if self.verify(digest).await? != (Verification::Intact { size }) {
            let failure = Failure::because(
                StorageErrorKind::NotFound,
                "nothing is staged and no such object was published before",
            );
            let key = ObjectKey::Blob(digest.clone());
            return Err(StorageError::new(
                Operation::Publish,
                &self.name,
                key.path(),
                failure,
            ));
        }
        match &self.backing {
            Backing::Directory(directory) => directory.flush(digest).await,
            Backing::Objects(_) => Ok(()),
        }
    }

    /// Writes a small object in one step, over whatever is at its key: for stores with [`Capabilities::checked_writes`], which compare the
    /// bytes with a checksum before the object appears. It appears whole or not at all, and survives from then on. Whether the bytes are those
    /// of the digest is for the caller to know.
    ///
    /// A dropped future may or may not have written it.
    ///
    /// # Errors
    ///
    /// [`StorageErrorKind::Unexpected`] for a directory, whose objects are staged and published.
    pub async fn put(&self, digest: &Digest, chunks: Vec<Bytes>) -> Result<(), StorageError> {
        let key = ObjectKey::Blob(digest.clone());
        match &self.backing {
            Backing::Directory(_) => {
                let failure =
                    Failure::because(StorageErrorKind::Unexpected, "a directory has no such step");
                Err(StorageError::new(
                    Operation::Write,
                    &self.name,
                    key.path(),
                    failure,
                ))
            }
            Backing::Objects(store) => {
                let size = chunks.iter().map(|chunk| chunk.len() as u64).sum();
                self.watch
                    .over_bytes(Operation::Write, size, Box::pin(store.put(digest, chunks)))
                    .await
            }
        }
    }

    /// Throws the staged bytes of an upload away. `Ok` when there are none. A writer that has them open can go on
    /// writing; what it stages in a directory after this cannot be synced. Do not stage the same id again afterwards; a new upload has a
    /// new one.
    pub async fn discard(&self, id: Uuid) -> Result<(), StorageError> {
        self.watch
            .over(Operation::Discard, async {
                match &self.backing {
                    Backing::Directory(directory) => directory.discard(id).await,
                    Backing::Objects(store) => Box::pin(store.discard(id)).await,
                }
            })
            .await
    }

    /// Throws away what was staged with [`Location::stage_copy`], acknowledged or not. `Ok` when there is nothing.
    pub async fn discard_copy(
        &self,
        id: Uuid,
        digest: &Digest,
        staged: &Staged,
    ) -> Result<(), StorageError> {
        match &self.backing {
            Backing::Directory(_) => self.discard(id).await,
            Backing::Objects(store) => {
                let discarding = Box::pin(store.discard_copy(id, digest, staged));
                self.watch.over(Operation::Discard, discarding).await
            }
        }
    }

    /// Gives up copies that were staged as multipart uploads and to which nothing was written since `before`, by the clock of the store. Returns how
    /// many. Multipart uploads to other keys than those of blobs are left alone.
    ///
    /// Memory is bounded by a page of a thousand. Not told to an observer: credentials that lack this right may serve for everything else. A
    /// dropped future has given up some.
    pub async fn abort_stale_copies(&self, before: Timestamp) -> Result<u64, StorageError> {
        match &self.backing {
            Backing::Directory(_) => Ok(0),
            Backing::Objects(store) => Box::pin(store.abort_stale_copies(before)).await,
        }
    }

    /// Whether this location's store can copy objects of `source` by itself: both are buckets of one service, and we go there with the same
    /// credentials.
    pub fn copies_from(&self, source: &Self) -> bool {
        match (&self.backing, &source.backing) {
            (Backing::Objects(here), Backing::Objects(there)) => here.copies_from(there),
            _ => false,
        }
    }

    /// Lets the store copy a blob of so many bytes from `source` to its key here; no byte comes through this process. None where it cannot,
    /// or where an object is there already: that may be good, and what the source holds is not known to be.
    ///
    /// The object appears before anybody has seen that its bytes are right: unless the answer is [`ServerCopy::Proven`], read it back
    /// before relying on it.
    ///
    /// Not told to an observer: whoever may write to one bucket and read another may not be let copy between them. A dropped future may or may not have made the object, and may leave a multipart upload that [`Location::abort_stale_copies`] finds.
    pub async fn copy_within(
        &self,
        source: &Self,
        digest: &Digest,
        size: u64,
    ) -> Result<Option<ServerCopy>, StorageError> {
        let (Backing::Objects(here), Backing::Objects(there)) = (&self.backing, &source.backing)
        else {
            return Ok(None);
        };
        Box::pin(here.copy_within(there, digest, size)).await
    }

    /// Deletes an object and returns when that survives a power cut. `Ok` when it is not there. Readers that have it open
    /// read on undisturbed. A dropped future may or may not have deleted.
    pub async fn delete(&self, key: &ObjectKey) -> Result<(), StorageError> {
        self.watch
            .over(Operation::Delete, async {
                match &self.backing {
                    Backing::Directory(directory) => directory.delete(key).await,
                    Backing::Objects(store) => Box::pin(store.delete(key)).await,
                }
            })
            .await
    }

    /// Lists uploads that have staged bytes, `limit` at a time, beginning after `after`.
    ///
    /// Memory is bounded by `limit`, at about 64 bytes each. Every page of a directory reads the whole folder, so take large ones.
    pub async fn list_staged(
        &self,
        after: Option<Uuid>,
        limit: NonZeroU16,
    ) -> Result<StagedPage, StorageError> {
        self.watch
            .over(Operation::List, async {
                match &self.backing {
                    Backing::Directory(directory) => directory.list_staged(after, limit).await,
                    Backing::Objects(store) => Box::pin(store.list_staged(after, limit)).await,
                }
            })
            .await
    }

    /// Lists the objects of one shard, `limit` at a time, beginning after `after`. A shard without objects is empty.
    ///
    /// Memory is bounded by `limit`, at about 200 bytes each. Every page of a directory reads the whole shard, so take large ones.
    pub async fn list_objects(
        &self,
        shard: Shard,
        after: Option<&Digest>,
        limit: NonZeroU16,
    ) -> Result<ObjectPage, StorageError> {
        self.watch
            .over(Operation::List, async {
                match &self.backing {
                    Backing::Directory(directory) => {
                        directory.list_objects(shard, after, limit).await
                    }
                    Backing::Objects(store) => {
                        Box::pin(store.list_objects(shard, after, limit)).await
                    }
                }
            })
            .await
    }

    /// Writes `_verify` and reads it back, each within the probe's own deadline. Costs a flush or two requests, so ask on a schedule and not for every
    /// health request.
    ///
    /// A full disk is not noticed, because eleven bytes are overwritten in place.
    pub async fn probe(&self) -> Result<(), StorageError> {
        self.watch
            .over(Operation::Probe, async {
                match &self.backing {
                    Backing::Directory(directory) => directory.probe().await,
                    Backing::Objects(store) => Box::pin(store.probe()).await,
                }
            })
            .await
    }

    /// How many bytes more the location takes, where its store says so: the free space of a directory's disk.
    pub async fn free_bytes(&self) -> Result<Option<u64>, StorageError> {
        match &self.backing {
            Backing::Directory(directory) => directory.free_bytes().await.map(Some),
            Backing::Objects(_) => Ok(None),
        }
    }

    /// Makes the root directory of a local location, and those above it, where they are missing. For the very first start only: a root that
    /// has gone missing later is a store that is not mounted, and a new one in its place would look like an empty store. Nothing for an
    /// object store: buckets and containers are made by whoever owns them.
    pub async fn create_root(&self) -> Result<(), StorageError> {
        match &self.backing {
            Backing::Directory(directory) => directory.create_root().await,
            Backing::Objects(_) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
