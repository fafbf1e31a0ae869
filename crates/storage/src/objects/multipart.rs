//! Copies on their way into a bucket: a multipart upload straight to the key, its parts sent several at a time. Nothing appears at the key before
//! the parts are completed, so nothing is written twice.
//!
//! What is staged is the upload's id and the tags of its parts. A part that somebody else has written anew since has another tag, and is refused
//! when the upload is completed.

use std::sync::Arc;

use bytes::Bytes;
use opendal::Buffer;
use roadstead_oci::Digest;
use tokio::task::JoinSet;
use tracing::Instrument as _;
use uuid::Uuid;

use super::ObjectStore;
use super::calls::Calls;
use super::checks::compares_sha256;
use super::segments::{COPIED_PART_BYTES_MIN, at_once, gathered_part};
use crate::drivers::{Bucket, Checksum};
use crate::error::{Failure, Operation, StorageError, StorageErrorKind};
use crate::exclusive::Exclusive;
use crate::gathered::Gathered;
use crate::object_key::ObjectKey;
use crate::observer::Watch;
use crate::options::{StoreOptions, part_bytes};
use crate::staged::{MultipartPart, MultipartUpload, Staged, StagedParts};

/// Writes the parts of one multipart upload.
///
/// Holds at most [`StoreOptions::upload_memory_bytes`]. Dropped, it stops what is on its way.
#[derive(Debug)]
pub(crate) struct MultipartWriter {
    calls: Arc<Calls>,
    bucket: Arc<Bucket>,
    watch: Watch,
    path: String,
    /// What is written to find out whether the store compares what it is sent.
    probe: String,
    /// None before the first part is sent.
    upload: Option<Arc<str>>,
    /// By number, which is one more than the index; none are those on their way.
    parts: Vec<Option<MultipartPart>>,
    /// What was gathered behind `parts`, or is the last of them.
    gathered: Gathered,
    gathered_from: u64,
    /// Whether what is gathered was sent too, by a sync, and is too short for a part with more behind it.
    tail: bool,
    offset: u64,
    on_their_way: JoinSet<Result<(usize, MultipartPart), StorageError>>,
    failed: bool,
    _exclusive: Exclusive,
}

impl ObjectStore {
    /// Opens a copy to go on behind what is staged. None where copies are staged as uploads are. Asks the store for nothing.
    pub(crate) async fn stage_multipart(
        &self,
        id: Uuid,
        digest: &Digest,
        staged: &Staged,
        watch: Watch,
    ) -> Result<Option<MultipartWriter>, StorageError> {
        let begun = staged.parts.multipart();
        let Some(bucket) = &self.bucket else {
            return Ok(None);
        };
        // One that an older version began goes on as it began.
        if begun.is_none() && staged.parts.count() > 0 {
            return Ok(None);
        }
        let path = ObjectKey::Blob(digest.clone()).path();
        let exclusive = self.exclusively(Operation::Stage, id, &path).await?;
        let parts = begun.map_or(&[][..], |upload| &upload.parts);
        // Nobody can read a part, so nothing can go behind a short one.
        let long = |MultipartPart(bytes, _): &MultipartPart| *bytes >= COPIED_PART_BYTES_MIN;
        if staged.parts.end() != staged.offset || !parts.iter().all(long) {
            let failure = StorageErrorKind::StagedShort {
                staged: staged.parts.end(),
                expected: staged.offset,
            };
            return Err(self.calls.error(Operation::Stage, &path, failure));
        }
        Ok(Some(MultipartWriter {
            calls: Arc::clone(&self.calls),
            bucket: Arc::clone(bucket),
            watch,
            path,
            probe: self.hash_probe(),
            upload: begun.map(|upload| upload.id.as_str().into()),
            parts: parts.iter().cloned().map(Some).collect(),
            gathered: gathered_part(),
            gathered_from: staged.offset,
            tail: false,
            offset: staged.offset,
            on_their_way: JoinSet::new(),
            failed: false,
            _exclusive: exclusive,
        }))
    }

    /// Makes the parts of a multipart upload the object at `path`.
    ///
    /// [`StorageErrorKind::NotFound`] when there is no such upload: it may have been completed before.
    pub(super) async fn complete(
        &self,
        bucket: &Bucket,
        upload: &MultipartUpload,
        path: &str,
    ) -> Result<(), StorageError> {
        let deadline = self.calls.options().assembly_timeout;
        self.calls
            .retried_within(Operation::Publish, path, deadline, || {
                let tags = upload
                    .parts
                    .iter()
                    .map(|MultipartPart(_, tag)| tag.as_str());
                bucket.complete_multipart(path, &upload.id, tags, false)
            })
            .await
    }

    /// Gives up a multipart upload.
    pub(super) async fn abort(
        &self,
        bucket: &Bucket,
        path: &str,
        upload: &str,
    ) -> Result<(), StorageError> {
        self.calls
            .retried(Operation::Discard, path, || {
                bucket.abort_multipart(path, upload)
            })
            .await
    }
}

impl MultipartWriter {
    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    /// What the store holds. After [`MultipartWriter::sync`] that is everything.
    pub(crate) fn staged(&self) -> Staged {
        let Some(id) = &self.upload else {
            return Staged::NOTHING;
        };
        let upload = MultipartUpload {
            id: id.to_string(),
            parts: self.parts.iter().map_while(Clone::clone).collect(),
        };
        Staged {
            offset: upload.end(),
            parts: StagedParts::of_multipart(upload),
        }
    }

    /// How many bytes are missing until a part is full.
    pub(crate) fn to_boundary(&self) -> u64 {
        self.boundary().saturating_sub(self.offset)
    }

    /// Whether nothing is gathered.
    pub(crate) fn at_boundary(&self) -> bool {
        self.offset == self.gathered_from
    }

    /// Where the part that is gathered ends: parts lie at multiples of their size, so that any two writers that are synced at large round
    /// numbers find themselves between two parts.
    fn boundary(&self) -> u64 {
        let memory = self.calls.options().upload_memory_bytes;
        let bytes = 1 << part_bytes(self.gathered_from, memory).ilog2();
        let next = (self.gathered_from / bytes + 1) * bytes;
        if next - self.gathered_from < COPIED_PART_BYTES_MIN {
            next + bytes
        } else {
            next
        }
    }

    pub(crate) async fn write(&mut self, mut chunk: Bytes) -> Result<(), StorageError> {
        self.refuse_after_failure(Operation::Write)?;
        self.failed = true;
        if self.tail && !chunk.is_empty() {
            // It is written anew, and longer.
            self.parts.pop();
            self.tail = false;
        }
        while !chunk.is_empty() {
            let room = usize::try_from(self.to_boundary()).unwrap_or(usize::MAX);
            let piece = chunk.split_to(room.min(chunk.len()));
            self.offset += piece.len() as u64;
            self.gathered.push(piece);
            if self.to_boundary() == 0 {
                let gathered = self.gathered.take();
                self.send(gathered).await?;
                self.gathered_from = self.offset;
            }
        }
        self.failed = false;
        Ok(())
    }

    pub(crate) async fn sync(&mut self) -> Result<(), StorageError> {
        self.refuse_after_failure(Operation::Sync)?;
        self.failed = true;
        let gathered = self.offset - self.gathered_from;
        if gathered > 0 && !self.tail {
            let chunks = self.gathered.chunks().to_vec();
            self.send(chunks).await?;
            self.tail = gathered < COPIED_PART_BYTES_MIN;
            if !self.tail {
                self.gathered.take();
                self.gathered_from = self.offset;
            }
        }
        while let Some(arrived) = self.on_their_way.join_next().await {
            self.take(arrived)?;
        }
        self.failed = false;
        Ok(())
    }

    /// Sends what was gathered as the next part, once there is room for one more on its way.
    async fn send(&mut self, chunks: Vec<Bytes>) -> Result<(), StorageError> {
        let body: Buffer = chunks.into_iter().collect();
        let bytes = body.len() as u64;
        let upload = self.begun().await?;
        let with_sha256 = compares_sha256(&self.calls, &self.bucket, || self.probe.clone()).await;
        let most = StoreOptions::COPY_PARTS_AT_ONCE_MAX;
        let most = at_once(self.calls.options(), bytes, most);
        while self.on_their_way.len() >= most
            && let Some(arrived) = self.on_their_way.join_next().await
        {
            self.take(arrived)?;
        }
        self.parts.push(None);
        let number = self.parts.len();
        let (calls, bucket) = (Arc::clone(&self.calls), Arc::clone(&self.bucket));
        let (watch, path) = (self.watch.clone(), self.path.clone());
        let sent = async move {
            let failed =
                |error: opendal::Error| calls.error(Operation::Write, &path, Failure::from(error));
            let checksum = Checksum::of(body.clone(), with_sha256)
                .await
                .map_err(failed)?;
            let deadline = calls.options().part_deadline(bytes);
            let sent = calls.retried_within(Operation::Write, &path, deadline, || {
                bucket.upload_part(&path, &upload, number, body.clone(), &checksum)
            });
            let tag = watch.over_bytes(Operation::Write, bytes, sent).await?;
            Ok((number, MultipartPart(bytes, tag)))
        };
        self.on_their_way.spawn(sent.in_current_span());
        Ok(())
    }

    async fn begun(&mut self) -> Result<Arc<str>, StorageError> {
        if let Some(upload) = &self.upload {
            return Ok(Arc::clone(upload));
        }
        let begun = self.calls.retried(Operation::Stage, &self.path, || {
            self.bucket.begin_multipart(&self.path)
        });
        let upload: Arc<str> = begun.await?.into();
        self.upload = Some(Arc::clone(&upload));
        Ok(upload)
    }

    fn take(
        &mut self,
        arrived: Result<Result<(usize, MultipartPart), StorageError>, tokio::task::JoinError>,
    ) -> Result<(), StorageError> {
        let (number, part) = arrived.unwrap_or_else(|ended| {
            let failure = Failure::because(StorageErrorKind::Unavailable, ended);
            Err(self.calls.error(Operation::Write, &self.path, failure))
        })?;
        if let Some(place) = self.parts.get_mut(number - 1) {
            *place = Some(part);
        }
        Ok(())
    }

    fn refuse_after_failure(&self, operation: Operation) -> Result<(), StorageError> {
        if self.failed {
            let problem = "an earlier write failed; begin the copy again";
            let failure = Failure::because(StorageErrorKind::Unexpected, problem);
            return Err(self.calls.error(operation, &self.path, failure));
        }
        Ok(())
    }
}
