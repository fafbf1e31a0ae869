//! Staged uploads: bytes that are written once, at the offset that was acknowledged, and that survive a power cut once
//! they are. Which offset is acknowledged, and to whom an upload belongs, is in the database and not here.

mod open;
mod write;

use std::io::{Seek, SeekFrom};
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use uuid::Uuid;

pub(crate) use self::open::{is_at, open_locked};
use self::write::write_chunks;
use crate::directory::calls::{Call, Calls, Running, Store};
use crate::directory::directories::{Directories, sync_directory};
use crate::error::{Failure, Operation, StorageError, StorageErrorKind};
use crate::exclusive::{Exclusive, Uploads};
use crate::gathered::Gathered;
use crate::object_key::{ObjectKey, UPLOADS};
use crate::options::LocalOptions;

/// From this many bytes on the disk is made to work while more arrive, so that the flush at the end is short.
const WRITEBACK_BYTES: u64 = 32 * 1024 * 1024;
/// From this many bytes behind a flush that is still at work, the writer waits for it.
const WRITEBACK_BEHIND_BYTES: u64 = 64 * 1024 * 1024;

/// Frames below this are copied together: copying 16 KiB costs about as much as one more entry in a vectored write.
const COPIED_BELOW: usize = 16 * 1024;

/// Writes the staged file of one upload. Memory is bounded by twice [`LocalOptions::write_chunk_bytes`] and two chunks of the caller's: one
/// batch is gathered while the one before is being written.
#[derive(Debug)]
pub(crate) struct FileWriter {
    calls: Arc<Calls>,
    options: LocalOptions,
    object: String,
    staged: Arc<StagedFile>,
    gathered: Gathered,
    flush: Option<Running<()>>,
    writeback: Option<Running<()>>,
    /// Where the next byte of the caller's goes.
    offset: u64,
    /// Up to here bytes were handed to the disk.
    handed: u64,
    /// Up to here a flush has been asked for.
    flushing: u64,
    /// Up to here bytes survive a power cut.
    synced: u64,
    /// Whether the directory entry survives one.
    entry_synced: bool,
    failed: bool,
    /// Whether bytes lie beyond the acknowledged ones, to be cut off before anything is written.
    surplus: bool,
}

/// The open file. Field order matters: the file's lock goes before the process's.
#[derive(Debug)]
struct StagedFile {
    file: open::LockedFile,
    path: PathBuf,
    _exclusive: Exclusive,
}

/// The staged file, still locked.
#[derive(Debug)]
pub(crate) struct FileHold {
    _staged: Arc<StagedFile>,
}

impl FileWriter {
    /// At most so many bytes are written and not flushed, however much is written between two [`FileWriter::sync`]s
    /// (128 MiB, and a batch).
    pub(crate) const UNSYNCED_BYTES_MAX: u64 = 2 * WRITEBACK_BEHIND_BYTES;

    pub(crate) async fn open(
        calls: &Arc<Calls>,
        directories: &Arc<Directories>,
        options: &LocalOptions,
        uploads: &Uploads,
        id: Uuid,
        at: u64,
    ) -> Result<Self, StorageError> {
        let object = ObjectKey::Upload(id).path();
        let call = Call::new(Operation::Stage, object.clone(), options.step_timeout);
        let exclusive = tokio::time::timeout(options.lock_timeout, uploads.exclusively(id))
            .await
            .map_err(|_| calls.error(&call, StorageErrorKind::Busy))?;
        let directories = Arc::clone(directories);
        let (staged, surplus) = calls
            .blocking(&call, move |store| {
                let path = directories
                    .ensure(&store.root, UPLOADS)?
                    .join(id.hyphenated().to_string());
                let short = |staged| {
                    Failure::from(StorageErrorKind::StagedShort {
                        staged,
                        expected: at,
                    })
                };
                let file = open_locked(&path, at == 0)?.ok_or_else(|| short(0))?;
                let length = file.metadata()?.len();
                if length < at {
                    return Err(short(length));
                }
                (&*file).seek(SeekFrom::Start(at))?;
                let staged = StagedFile {
                    file,
                    path,
                    _exclusive: exclusive,
                };
                Ok((staged, length > at))
            })
            .await?;
        Ok(Self {
            calls: Arc::clone(calls),
            options: options.clone(),
            object,
            staged: Arc::new(staged),
            gathered: Gathered::copying_below(COPIED_BELOW),
            flush: None,
            writeback: None,
            offset: at,
            handed: at,
            flushing: at,
            synced: at,
            // Bytes that were acknowledged were flushed together with their entry.
            entry_synced: at > 0,
            failed: false,
            surplus,
        })
    }

    pub(crate) fn hold(&self) -> FileHold {
        FileHold {
            _staged: Arc::clone(&self.staged),
        }
    }

    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    /// How many bytes a sync would make safe.
    pub(crate) fn unsynced(&self) -> u64 {
        self.offset - self.synced
    }

    /// Waits only while the batch before the last is still being written.
    pub(crate) async fn write(&mut self, chunk: Bytes) -> Result<(), StorageError> {
        self.refuse_after_failure(Operation::Write)?;
        self.offset += chunk.len() as u64;
        self.gathered.push(chunk);
        if self.gathered.bytes() < self.options.write_chunk_bytes {
            return Ok(());
        }
        let written = self.hand_over().await;
        self.remember(written)
    }

    /// Flushes everything taken so far, and its directory entry, to the disk.
    pub(crate) async fn sync(&mut self) -> Result<(), StorageError> {
        self.refuse_after_failure(Operation::Sync)?;
        let synced = self.sync_all().await;
        self.remember(synced)
    }

    async fn sync_all(&mut self) -> Result<(), StorageError> {
        let entry_synced = self.entry_synced;
        let flush = move |staged: &StagedFile, store: &Store| {
            staged.file.sync_all()?;
            if !entry_synced {
                sync_directory(&store.root.join(UPLOADS))?;
            }
            // Bytes of a file that was discarded meanwhile must not be acknowledged.
            if !is_at(&staged.file, &staged.path)? {
                return Err(StorageErrorKind::NotFound.into());
            }
            Ok(())
        };
        if self.flush.is_none() && self.writeback.is_none() && self.gathered.bytes() > 0 {
            // All of it goes with one call, as a small blob does.
            self.calls.spared(&self.call(Operation::Sync)).await?;
            self.hand_over_and(flush).await?;
            self.finish(Operation::Sync).await?;
        } else {
            self.hand_over().await?;
            self.finish_flush().await?;
            self.finish_writeback().await?;
            if self.entry_synced && self.synced == self.offset && !self.surplus {
                return Ok(());
            }
            let call = self.call(Operation::Sync);
            let staged = Arc::clone(&self.staged);
            let cut_to = self.surplus.then_some(self.offset);
            self.calls
                .blocking(&call, move |store| {
                    if let Some(length) = cut_to {
                        staged.file.set_len(length)?;
                    }
                    flush(&staged, store)
                })
                .await?;
        }
        self.entry_synced = true;
        self.surplus = false;
        self.synced = self.offset;
        Ok(())
    }

    /// Hands what was gathered to a blocking thread, after the batch before.
    async fn hand_over(&mut self) -> Result<(), StorageError> {
        self.finish_flush().await?;
        self.steer_writeback().await?;
        if self.gathered.bytes() == 0 {
            return Ok(());
        }
        self.hand_over_and(|_, _| Ok(())).await
    }

    /// Hands what was gathered to a blocking thread, and what is to be done once it is written.
    async fn hand_over_and(
        &mut self,
        then: impl FnOnce(&StagedFile, &Store) -> Result<(), Failure> + Send + 'static,
    ) -> Result<(), StorageError> {
        let call = self.call(Operation::Write);
        let permit = self.calls.admit(&call).await?;
        // From here on nothing waits, so that a dropped future never loses a batch.
        let at = self.handed;
        self.handed = self.offset;
        let mut chunks = self.gathered.take();
        self.calls
            .hook
            .writing(at, &mut chunks)
            .map_err(|failure| self.calls.error(&call, failure))?;
        let (staged, synced) = (Arc::clone(&self.staged), self.synced);
        let surplus = std::mem::take(&mut self.surplus);
        self.flush = Some(self.calls.start(permit, move |store| {
            if surplus {
                staged.file.set_len(at)?;
            }
            let written = write_chunks(&staged.file, &chunks).map_err(Failure::from);
            if let Err(failure) = &written
                && failure.kind == StorageErrorKind::Full
            {
                // A full disk gets back what was not acknowledged; that this helps is a bonus.
                staged.file.set_len(synced).ok();
            }
            written?;
            then(&staged, store)
        }));
        Ok(())
    }

    async fn finish_flush(&mut self) -> Result<(), StorageError> {
        self.finish(Operation::Write).await
    }

    /// Waits for what a blocking thread does, as long as this may take.
    async fn finish(&mut self, operation: Operation) -> Result<(), StorageError> {
        let call = self.call(operation);
        if let Some(flush) = &mut self.flush {
            self.calls.finish(&call, flush).await?;
            self.flush = None;
        }
        Ok(())
    }

    async fn finish_writeback(&mut self) -> Result<(), StorageError> {
        let call = self.call(Operation::Sync);
        if let Some(writeback) = &mut self.writeback {
            self.calls.finish(&call, writeback).await?;
            self.writeback = None;
        }
        Ok(())
    }

    async fn steer_writeback(&mut self) -> Result<(), StorageError> {
        let behind = self.handed - self.flushing;
        if let Some(writeback) = &self.writeback
            && (writeback.has_ended() || behind >= WRITEBACK_BEHIND_BYTES)
        {
            self.finish_writeback().await?;
        }
        if self.writeback.is_none() && behind >= WRITEBACK_BYTES {
            let mut call = self.call(Operation::Sync);
            call.continues = true;
            let permit = self.calls.admit(&call).await?;
            let staged = Arc::clone(&self.staged);
            self.flushing = self.handed;
            self.writeback = Some(
                self.calls
                    .start(permit, move |_| Ok(staged.file.sync_data()?)),
            );
        }
        Ok(())
    }

    fn call(&self, operation: Operation) -> Call {
        let timeout = match operation {
            Operation::Sync => self.options.sync_timeout,
            _ => self.options.step_timeout,
        };
        Call::new(operation, self.object.clone(), timeout)
    }

    fn refuse_after_failure(&self, operation: Operation) -> Result<(), StorageError> {
        if self.failed {
            let failure = Failure::because(
                StorageErrorKind::Unexpected,
                "an earlier write failed; stage the upload again",
            );
            return Err(self.calls.error(&self.call(operation), failure));
        }
        Ok(())
    }

    fn remember<T>(&mut self, result: Result<T, StorageError>) -> Result<T, StorageError> {
        self.failed |= result.is_err();
        result
    }
}

#[cfg(test)]
mod tests;
