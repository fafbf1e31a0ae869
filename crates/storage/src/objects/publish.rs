//! From staged parts to an object. The store copies the parts by itself where it can; where it cannot, their bytes go through us once more.
//! Either way the object appears whole or not at all.

use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::{StreamExt, TryStreamExt, stream};
use uuid::Uuid;

use super::segments::new_writer;
use super::{BodyStream, ObjectStore};
use crate::drivers::Assembly;
use crate::drivers::azure::{AzureBlocks, BlockCopy, BlockId, Commit};
use crate::error::{Failure, Operation, StorageError, StorageErrorKind};
use crate::object_key::ObjectKey;
use crate::staged::{Part, Staged};

/// How many parts are copied or deleted at a time.
pub(super) const AT_ONCE: usize = 8;

/// How often blocks are copied anew because somebody else wrote the object in the meantime, which removes them. Whoever did wrote the same
/// bytes, so that it does not go on for long.
const BLOCK_ATTEMPTS: u32 = 3;

/// How many bytes are gathered for a part of the object where the store cannot copy.
const STREAMED_PART_BYTES: usize = 16 << 20;

impl ObjectStore {
    /// Makes the acknowledged parts of an upload the object `key`. False when parts are missing: they may have been published before.
    pub(crate) async fn publish(
        &self,
        id: Uuid,
        staged: &Staged,
        key: &ObjectKey,
    ) -> Result<bool, StorageError> {
        let path = key.path();
        let calls = &self.calls;
        if staged.parts.end() != staged.offset {
            let failure = StorageErrorKind::StagedShort {
                staged: staged.parts.end(),
                expected: staged.offset,
            };
            return Err(calls.error(Operation::Publish, &path, failure));
        }
        let _exclusive = self.exclusively(Operation::Publish, id, &path).await?;
        if let Some(container) = self.assembly.lists_parts() {
            self.keep_replaced(container, id, &path).await?;
        }
        let multipart = self.bucket.as_deref().zip(staged.parts.multipart());
        let assembled = match (&self.assembly, staged.parts.last()) {
            _ if let Some((bucket, upload)) = multipart => {
                self.complete(bucket, upload, &path).await
            }
            (_, None) => {
                let empty = opendal::Buffer::new();
                let written = calls.retried(Operation::Publish, &path, || {
                    calls.operator().write(&path, empty.clone())
                });
                written.await.map(|_| ())
            }
            (Assembly::CopyBlocks(blocks), Some(_)) => {
                self.assemble_blocks(blocks, id, staged, &path).await
            }
            (Assembly::ListParts(container), Some(_)) if staged.parts.count() > 1 => {
                self.list_parts(container, id, staged, &path).await
            }
            (_, Some(part)) if staged.parts.count() == 1 => {
                let from = self.parts.path_of(id, part);
                let deadline = calls.options().assembly_timeout;
                let copied = calls.retried_within(Operation::Publish, &path, deadline, || {
                    calls.operator().copy(&from, &path)
                });
                copied.await.map(|_| ())
            }
            _ => self.assemble(id, staged, &path).await,
        };
        match assembled {
            Err(error) if error.kind() == StorageErrorKind::NotFound => return Ok(false),
            assembled => assembled?,
        }
        // A store that says "done" and holds something else is found out here, before anybody relies on it.
        let size = self.stat(key).await?;
        if size != Some(staged.offset) {
            let found = size.map_or("nothing".to_owned(), |size| format!("{size} bytes"));
            let problem = format!(
                "{} bytes were put together and {found} lie at the key",
                staged.offset
            );
            let failure = Failure::because(StorageErrorKind::Corrupt, problem);
            return Err(calls.error(Operation::Publish, &path, failure));
        }
        let tidied = match self.assembly.lists_parts() {
            _ if multipart.is_some() => Ok(()),
            Some(_) => self.delete_unlisted(id, staged).await,
            None => self.discard(id).await,
        };
        if let Err(error) = tidied {
            tracing::debug!(
                upload.id = %id,
                error = &error as &dyn std::error::Error,
                "Could not delete the parts of a published upload; they are cleaned up later"
            );
        }
        Ok(true)
    }

    /// Lets the store make a block of each part, and an object of the blocks.
    async fn assemble_blocks(
        &self,
        blocks: &AzureBlocks,
        id: Uuid,
        staged: &Staged,
        path: &str,
    ) -> Result<(), StorageError> {
        let calls = &self.calls;
        let deadline = calls.options().assembly_timeout;
        for _ in 0..BLOCK_ATTEMPTS {
            let attempt = new_writer(&*self.environment.ids);
            let given_up = AtomicBool::new(blocks.are_lacking());
            let given_up = &given_up;
            let copies = staged.parts.iter().map(|part| async move {
                if given_up.load(Ordering::Relaxed) {
                    return Ok::<_, StorageError>(None);
                }
                let (from, block) = (
                    self.parts.path_of(id, part),
                    BlockId::new(attempt, part.start),
                );
                let copied = calls
                    .retried_within(Operation::Publish, path, deadline, || {
                        blocks.copy(&from, path, &block, part.bytes, self.environment.now())
                    })
                    .await?;
                if copied == BlockCopy::NotOffered {
                    given_up.store(true, Ordering::Relaxed);
                    return Ok(None);
                }
                Ok(Some(block))
            });
            let copied: Vec<Option<BlockId>> =
                stream::iter(copies).buffered(AT_ONCE).try_collect().await?;
            let Some(copied) = copied.into_iter().collect::<Option<Vec<BlockId>>>() else {
                break;
            };
            let committed = calls
                .retried_within(Operation::Publish, path, deadline, || {
                    blocks.commit(path, &copied, self.environment.now())
                })
                .await?;
            if committed == Commit::Done {
                return Ok(());
            }
        }
        self.assemble(id, staged, path).await
    }

    async fn assemble(&self, id: Uuid, staged: &Staged, path: &str) -> Result<(), StorageError> {
        let calls = &self.calls;
        let deadline = calls.options().assembly_timeout;
        let opening = match self.assembly {
            // Without a size of its own the operator copies each part as it is.
            Assembly::CopyParts => calls.operator().writer_with(path).concurrent(AT_ONCE),
            Assembly::CopyBlocks(_) | Assembly::Stream | Assembly::ListParts(_) => calls
                .operator()
                .writer_with(path)
                .chunk(STREAMED_PART_BYTES)
                .concurrent(2),
        };
        let mut writer = calls
            .once(Operation::Publish, path, deadline, opening)
            .await?;
        let written = async {
            for part in staged.parts.iter() {
                let from = self.parts.path_of(id, part);
                calls
                    .once(
                        Operation::Publish,
                        path,
                        deadline,
                        writer.copy_from(&from, 0..part.bytes),
                    )
                    .await?;
            }
            calls
                .once(Operation::Publish, path, deadline, writer.close())
                .await
        }
        .await;
        if let Err(error) = written {
            // What cannot be aborted now is the store's to expire; it is not visible.
            if let Err(leftover) = calls
                .once(Operation::Publish, path, deadline, writer.abort())
                .await
            {
                tracing::debug!(
                    upload.id = %id,
                    error = &leftover as &dyn std::error::Error,
                    "Could not abort a multipart upload"
                );
            }
            return Err(error);
        }
        Ok(())
    }

    /// Deletes whatever was staged of an upload, acknowledged or not.
    pub(crate) async fn discard(&self, id: Uuid) -> Result<(), StorageError> {
        if let Some(container) = self.assembly.lists_parts() {
            return self.discard_unlisted(container, id).await;
        }
        self.delete_below(&self.parts.of(id), |_| true).await?;
        // What Quay staged lies at the name of the folder.
        self.delete_all(vec![ObjectKey::Upload(id).path()]).await
    }

    /// Deletes what lies in a folder, as far as the store lists it and it is `unwanted`.
    pub(super) async fn delete_below(
        &self,
        folder: &str,
        unwanted: impl Fn(&str) -> bool,
    ) -> Result<(), StorageError> {
        let calls = &self.calls;
        let mut paths = vec![];
        let mut lister = calls
            .once(
                Operation::Discard,
                folder,
                calls.options().step_timeout,
                calls.operator().lister_with(folder).recursive(true),
            )
            .await?;
        loop {
            let next = calls.once(
                Operation::Discard,
                folder,
                calls.options().step_timeout,
                lister.try_next(),
            );
            match next.await? {
                Some(entry) if entry.path() == folder || !unwanted(entry.path()) => {}
                Some(entry) => paths.push(entry.path().to_owned()),
                None => break,
            }
            if paths.len() >= 1000 {
                self.delete_all(std::mem::take(&mut paths)).await?;
            }
        }
        self.delete_all(paths).await
    }

    pub(super) async fn delete_all(&self, paths: Vec<String>) -> Result<(), StorageError> {
        stream::iter(paths)
            .map(|path| async move { self.delete_path(Operation::Discard, &path).await })
            .buffer_unordered(AT_ONCE)
            .try_collect()
            .await
    }

    /// Reads one part of an upload that is not published, but for its first bytes.
    pub(crate) async fn read_part(
        &self,
        id: Uuid,
        part: Part,
        skipped: u64,
    ) -> Result<BodyStream, StorageError> {
        let range = skipped..part.bytes;
        BodyStream::open(&self.calls, self.parts.path_of(id, part), range.into()).await
    }
}
