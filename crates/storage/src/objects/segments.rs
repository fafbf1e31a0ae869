//! Staged uploads in an object store: parts that are written as objects of their own, several at a time, and named by the acknowledged list.
//!
//! An object store cannot append and has no locks. So nothing that was acknowledged is ever written again: every writer names its parts after
//! itself, and a part counts when the session's row in the database names it. A part that is too short to become a part of the final object
//! is read again by the next writer and goes on in a new one.

use std::sync::Arc;

use bytes::Bytes;
use opendal::Buffer;
use roadstead_runtime::Ids;
use tokio::task::JoinSet;
use tracing::Instrument as _;
use uuid::Uuid;

use super::calls::Calls;
use super::{ObjectStore, PartsFolder};
use crate::error::{Failure, Operation, StorageError, StorageErrorKind};
use crate::exclusive::Exclusive;
use crate::gathered::Gathered;
use crate::observer::Watch;
use crate::options::{StoreOptions, part_bytes};
use crate::staged::{Part, Staged, StagedParts};

/// The shortest part that can be copied into an object by the store: the least part of a multipart upload to S3, the last excepted
/// (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html>).
pub(super) const COPIED_PART_BYTES_MIN: u64 = 5 << 20;

/// Writes the parts of one upload.
///
/// Holds at most [`StoreOptions::upload_memory_bytes`]: the parts that are on their way and the one that is gathered. Dropped, it stops what
/// is on its way.
#[derive(Debug)]
pub(crate) struct SegmentWriter {
    calls: Arc<Calls>,
    watch: Watch,
    folder: PartsFolder,
    /// Whether a mark has to say that there is an upload before its first part is written.
    unmarked: bool,
    id: Uuid,
    /// Names what this writer writes.
    writer: u64,
    /// What the store holds, in order and without gaps.
    parts: StagedParts,
    /// The last part of `parts`, whose bytes still have to be read because more will come behind them.
    unread: Option<Part>,
    /// What was gathered behind `parts` and what is on its way, or in place of the last part if that is short.
    gathered: Gathered,
    gathered_from: u64,
    /// Where the next byte of the caller's goes.
    offset: u64,
    /// With their bytes, whose memory is used again.
    on_their_way: JoinSet<Result<(Part, Vec<Bytes>), StorageError>>,
    /// Parts that have arrived and wait for one before them.
    arrived: Vec<Part>,
    /// The last of `parts`, if its bytes are gathered still: it was written early, by a sync.
    tail: Option<Part>,
    failed: bool,
    _exclusive: Exclusive,
}

impl SegmentWriter {
    /// Asks the store for nothing: what an acknowledged list names is there unless the store has lost it, which shows when it is used.
    pub(super) async fn open(
        store: &ObjectStore,
        id: Uuid,
        staged: &Staged,
        watch: Watch,
    ) -> Result<Self, StorageError> {
        let calls = &store.calls;
        let path = store.parts.of(id);
        let exclusive = store.exclusively(Operation::Stage, id, &path).await?;
        let end = staged.parts.last().map_or(0, Part::end);
        if end != staged.offset {
            let failure = StorageErrorKind::StagedShort {
                staged: end,
                expected: staged.offset,
            };
            return Err(calls.error(Operation::Stage, &path, failure));
        }
        let last = staged.parts.last();
        Ok(Self {
            calls: Arc::clone(calls),
            watch,
            folder: store.parts,
            unmarked: staged.offset == 0 && store.assembly.lists_parts().is_some(),
            id,
            writer: new_writer(&*store.environment.ids),
            parts: staged.parts.clone(),
            unread: last.filter(|part| part.bytes < COPIED_PART_BYTES_MIN),
            gathered: gathered_part(),
            gathered_from: staged.offset,
            offset: staged.offset,
            on_their_way: JoinSet::new(),
            arrived: Vec::new(),
            tail: None,
            failed: false,
            _exclusive: exclusive,
        })
    }

    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    /// What the store holds. After [`SegmentWriter::sync`] that is everything.
    pub(crate) fn staged(&self) -> Staged {
        Staged {
            offset: self.parts.end(),
            parts: self.parts.clone(),
        }
    }

    /// How many bytes are missing until a part is full.
    pub(crate) fn to_boundary(&self) -> u64 {
        let begun = self.unread.map_or(self.gathered_from, |part| part.start);
        (begun + self.part_bytes(begun)).saturating_sub(self.offset)
    }

    /// Whether nothing is gathered.
    pub(crate) fn at_boundary(&self) -> bool {
        self.unread.is_none() && self.offset == self.gathered_from
    }

    pub(crate) async fn write(&mut self, mut chunk: Bytes) -> Result<(), StorageError> {
        self.refuse_after_failure(Operation::Write)?;
        self.failed = true;
        self.read_tail().await?;
        while !chunk.is_empty() {
            let room = usize::try_from(self.to_boundary()).unwrap_or(usize::MAX);
            let piece = chunk.split_to(room.min(chunk.len()));
            self.offset += piece.len() as u64;
            self.gathered.push(piece);
            if self.to_boundary() == 0 {
                self.send().await?;
            }
        }
        self.failed = false;
        Ok(())
    }

    pub(crate) async fn sync(&mut self) -> Result<(), StorageError> {
        self.refuse_after_failure(Operation::Sync)?;
        self.failed = true;
        let written_to = self.tail.map_or(self.gathered_from, Part::end);
        if self.offset > written_to {
            let chunks = self.gathered.chunks().to_vec();
            self.start(chunks).await?;
        }
        while let Some(arrived) = self.on_their_way.join_next().await {
            self.take(arrived)?;
        }
        // What is gathered has been written as a part. It stays gathered if that part is too short to be copied.
        let gathered = self.offset - self.gathered_from;
        if gathered >= COPIED_PART_BYTES_MIN {
            self.gathered.take();
            self.gathered_from = self.offset;
            self.tail = None;
        } else if gathered > 0 {
            self.tail = self.parts.last();
        }
        self.failed = false;
        Ok(())
    }

    /// Reads a short last part, so that what comes goes behind its bytes.
    async fn read_tail(&mut self) -> Result<(), StorageError> {
        let Some(part) = self.unread else {
            return Ok(());
        };
        let path = self.folder.path_of(self.id, part);
        let read = self
            .calls
            .retried(Operation::Write, &path, || {
                self.calls.operator().read(&path)
            })
            .await;
        let bytes = match read {
            Ok(bytes) if bytes.len() as u64 == part.bytes => bytes.to_bytes(),
            Err(error) if error.kind() != StorageErrorKind::NotFound => return Err(error),
            _ => {
                let failure = StorageErrorKind::StagedShort {
                    staged: part.start,
                    expected: part.end(),
                };
                return Err(self.calls.error(Operation::Write, &path, failure));
            }
        };
        self.unread = None;
        self.gathered_from = part.start;
        self.gathered.push(bytes);
        self.tail = Some(part);
        Ok(())
    }

    /// Sends a full part on its way.
    async fn send(&mut self) -> Result<(), StorageError> {
        let chunks = self.gathered.take();
        self.start(chunks).await?;
        self.gathered_from = self.offset;
        Ok(())
    }

    /// Starts to write what was gathered, once there is room for one more on its way.
    async fn start(&mut self, chunks: Vec<Bytes>) -> Result<(), StorageError> {
        if self.tail.take().is_some() {
            // The session still names it; from the next acknowledgement on only the longer one counts.
            self.parts.pop();
            self.writer = next_writer(self.writer);
        }
        let part = Part {
            writer: self.writer,
            start: self.gathered_from,
            bytes: self.offset - self.gathered_from,
        };
        if self.unmarked {
            super::listed::mark_upload(&self.calls, self.id).await?;
            self.unmarked = false;
        }
        let most = StoreOptions::UPLOAD_PARTS_AT_ONCE_MAX;
        let most = at_once(self.calls.options(), part.bytes, most);
        while self.on_their_way.len() >= most
            && let Some(arrived) = self.on_their_way.join_next().await
        {
            self.take(arrived)?;
        }
        let path = self.folder.path_of(self.id, part);
        let (calls, watch) = (Arc::clone(&self.calls), self.watch.clone());
        let buffer: Buffer = chunks.iter().cloned().collect();
        let sent = async move {
            let written = calls.write(Operation::Write, &path, buffer);
            watch
                .over_bytes(Operation::Write, part.bytes, written)
                .await?;
            Ok((part, chunks))
        };
        self.on_their_way.spawn(sent.in_current_span());
        Ok(())
    }

    fn take(
        &mut self,
        arrived: Result<Result<(Part, Vec<Bytes>), StorageError>, tokio::task::JoinError>,
    ) -> Result<(), StorageError> {
        let (part, chunks) = arrived.unwrap_or_else(|ended| {
            let path = self.folder.of(self.id);
            let failure = Failure::because(StorageErrorKind::Unavailable, ended);
            Err(self.calls.error(Operation::Write, &path, failure))
        })?;
        self.gathered.reuse(chunks);
        self.arrived.push(part);
        while let Some(next) = self
            .arrived
            .iter()
            .position(|part| part.start == self.parts.end())
        {
            self.parts.push(self.arrived.swap_remove(next));
        }
        Ok(())
    }

    fn part_bytes(&self, start: u64) -> u64 {
        part_bytes(start, self.calls.options().upload_memory_bytes)
    }

    fn refuse_after_failure(&self, operation: Operation) -> Result<(), StorageError> {
        if self.failed {
            let failure = Failure::because(
                StorageErrorKind::Unexpected,
                "an earlier write failed; stage the upload again",
            );
            let path = self.folder.of(self.id);
            return Err(self.calls.error(operation, &path, failure));
        }
        Ok(())
    }
}

/// How many parts of this size may be on their way while one more is gathered.
pub(super) fn at_once(options: &StoreOptions, bytes: u64, most: usize) -> usize {
    let parts = options.upload_memory_bytes / bytes.max(1);
    usize::try_from(parts.saturating_sub(1))
        .unwrap_or(usize::MAX)
        .clamp(1, most)
}

/// A part that is gathered. Of a network buffer, which may be held for a few bytes of it, nobody reads half a MiB at once (hyper not more than
/// 408 KiB); longer chunks are all of what they hold.
pub(super) fn gathered_part() -> Gathered {
    Gathered::copying_below(512 << 10)
}

/// A number that nobody else has drawn.
pub(super) fn new_writer(ids: &dyn Ids) -> u64 {
    let mut bytes = [0; 8];
    ids.fill(&mut bytes);
    u64::from_le_bytes(bytes)
}

/// A name for a part that begins where an older one of the same writer does.
const fn next_writer(writer: u64) -> u64 {
    writer.wrapping_add(1)
}
