//! Writing the bytes of an upload. Which offset is acknowledged, and to whom an upload belongs, is in the database and not here.

use bytes::Bytes;

use crate::directory::{FileHold, FileWriter};
use crate::error::{Operation, StorageError};
use crate::objects::{MultipartWriter, SegmentWriter};
use crate::observer::Watch;
use crate::staged::Staged;

/// Writes the staged bytes of one upload, in order.
///
/// Holds the upload: until it is dropped and its last write has ended, nobody else in this process can stage or publish it, nor, with a
/// directory, in another. Memory is bounded by the location's options.
///
/// Dropping it stops after the write that is under way; what was written since the last [`StagedWriter::sync`] may or
/// may not be there afterwards, and does not count when the upload is next written behind what was acknowledged.
#[derive(Debug)]
pub struct StagedWriter {
    target: Target,
    watch: Watch,
}

/// Keeps staged bytes out of other processes' hands. See [`StagedWriter::hold`].
#[derive(Debug)]
pub struct StagedHold {
    _file: Option<FileHold>,
}

#[derive(Debug)]
enum Target {
    File(Box<FileWriter>),
    Segments(Box<SegmentWriter>),
    Multipart(Box<MultipartWriter>),
}

impl StagedWriter {
    /// At most so many bytes of a directory are written and not flushed, however much is written between two [`StagedWriter::sync`]s
    /// (128 MiB, and a batch).
    pub const UNSYNCED_BYTES_MAX: u64 = FileWriter::UNSYNCED_BYTES_MAX;

    pub(crate) fn in_file(writer: FileWriter, watch: Watch) -> Self {
        Self {
            target: Target::File(Box::new(writer)),
            watch,
        }
    }

    pub(crate) fn in_segments(writer: SegmentWriter, watch: Watch) -> Self {
        Self {
            target: Target::Segments(Box::new(writer)),
            watch,
        }
    }

    pub(crate) fn in_multipart(writer: MultipartWriter, watch: Watch) -> Self {
        Self {
            target: Target::Multipart(Box::new(writer)),
            watch,
        }
    }

    /// The number of bytes of the upload that this writer has taken, those before it included.
    pub fn offset(&self) -> u64 {
        match &self.target {
            Target::File(writer) => writer.offset(),
            Target::Segments(writer) => writer.offset(),
            Target::Multipart(writer) => writer.offset(),
        }
    }

    /// Keeps the upload to its holder until it is dropped, where another process could take it: in a directory.
    pub fn hold(&self) -> StagedHold {
        StagedHold {
            _file: match &self.target {
                Target::File(writer) => Some(writer.hold()),
                Target::Segments(_) | Target::Multipart(_) => None,
            },
        }
    }

    /// What may be acknowledged. Says all of it only after [`StagedWriter::sync`].
    pub fn staged(&self) -> Staged {
        match &self.target {
            Target::File(writer) => Staged::at(writer.offset()),
            Target::Segments(writer) => writer.staged(),
            Target::Multipart(writer) => writer.staged(),
        }
    }

    /// After how many more bytes a [`StagedWriter::sync`] costs nothing but the wait, where the store has such places. Elsewhere it writes a
    /// short part, which will be written again.
    pub fn to_boundary(&self) -> Option<u64> {
        match &self.target {
            Target::File(_) => None,
            Target::Segments(writer) => Some(writer.to_boundary()),
            Target::Multipart(writer) => Some(writer.to_boundary()),
        }
    }

    /// Whether a [`StagedWriter::sync`] now would write no short part.
    pub fn at_boundary(&self) -> bool {
        match &self.target {
            Target::File(_) => true,
            Target::Segments(writer) => writer.at_boundary(),
            Target::Multipart(writer) => writer.at_boundary(),
        }
    }

    /// Appends a chunk of any size. Waits only while as much as may be on its way is.
    ///
    /// A failure may belong to an earlier chunk, and is final: only bytes of the last successful
    /// [`StagedWriter::sync`] count, and every later call fails too. A dropped future may have taken the chunk, and is as final with an
    /// object store.
    pub async fn write(&mut self, chunk: Bytes) -> Result<(), StorageError> {
        let Self { target, watch } = self;
        match target {
            Target::File(writer) => {
                let written = writer.write(chunk).await;
                if let Err(error) = &written {
                    watch.failed(error, true);
                }
                written
            }
            // Each part is told of by itself.
            Target::Segments(writer) => writer.write(chunk).await,
            Target::Multipart(writer) => writer.write(chunk).await,
        }
    }

    /// Makes everything taken so far survive a power cut: flushed to the disk with its directory entry, or accepted by the store. After
    /// `Ok`, that is [`StagedWriter::staged`]. A dropped future leaves that open; with a directory, calling again finishes it.
    pub async fn sync(&mut self) -> Result<(), StorageError> {
        let Self { target, watch } = self;
        match target {
            Target::File(writer) => {
                let bytes = writer.unsynced();
                watch
                    .over_bytes(Operation::Sync, bytes, writer.sync())
                    .await
            }
            Target::Segments(writer) => writer.sync().await,
            Target::Multipart(writer) => writer.sync().await,
        }
    }
}
