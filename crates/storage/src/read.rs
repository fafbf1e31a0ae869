//! Reading an object: ranges in, a stream of chunks out. Which location is read, and what happens when it fails half
//! way, is the caller's business.

use std::fmt;
use std::ops::{Range, RangeFrom, RangeFull};
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::Stream;

use crate::directory::DirectoryStream;
use crate::error::StorageError;
use crate::objects::BodyStream;
use crate::observer::{Transfer, Watch};

/// Which bytes of an object are wanted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ByteRange {
    /// The first byte.
    pub start: u64,
    /// The byte after the last one; the object's end when `None`, which costs one look-up more.
    pub end: Option<u64>,
}

impl ByteRange {
    /// The whole object.
    pub const ALL: Self = Self {
        start: 0,
        end: None,
    };
}

impl From<Range<u64>> for ByteRange {
    fn from(range: Range<u64>) -> Self {
        Self {
            start: range.start,
            end: Some(range.end),
        }
    }
}

impl From<RangeFrom<u64>> for ByteRange {
    fn from(range: RangeFrom<u64>) -> Self {
        Self {
            start: range.start,
            end: None,
        }
    }
}

impl From<RangeFull> for ByteRange {
    fn from(_: RangeFull) -> Self {
        Self::ALL
    }
}

/// Which bytes an object has, as far as its store tells without reading them: the same for as long as nobody has written or replaced it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ObjectVersion([i64; 7]);

impl ObjectVersion {
    /// Of a file: where it is, how long, and when it and its entry were changed.
    pub(crate) const fn of_file(file: [i64; 7]) -> Self {
        Self(file)
    }
}

/// The bytes of a range, in chunks of at most about a megabyte.
///
/// Yields exactly [`ObjectStream::remaining`] bytes, or an error and then nothing more. An object that is deleted or
/// replaced meanwhile is still read to its end as it was, or fails. A chunk may share its allocation with others, so copy small
/// ones that are kept for long.
pub struct ObjectStream {
    source: Source,
    transfer: Transfer,
}

enum Source {
    Directory(Box<DirectoryStream>),
    Body(Box<BodyStream>),
}

impl ObjectStream {
    pub(crate) fn of_directory(stream: DirectoryStream, watch: Watch) -> Self {
        Self {
            source: Source::Directory(Box::new(stream)),
            transfer: Transfer::of(watch),
        }
    }

    pub(crate) fn of_body(stream: BodyStream, watch: Watch) -> Self {
        Self {
            source: Source::Body(Box::new(stream)),
            transfer: Transfer::of(watch),
        }
    }

    /// How many bytes are still to come.
    pub fn remaining(&self) -> u64 {
        match &self.source {
            Source::Directory(stream) => stream.remaining(),
            Source::Body(stream) => stream.remaining(),
        }
    }

    /// Which version of the object is read; none where the store does not tell, as object stores.
    pub fn version(&self) -> Option<ObjectVersion> {
        match &self.source {
            Source::Directory(stream) => Some(stream.version()),
            Source::Body(_) => None,
        }
    }

    /// Reads one chunk ahead of the consumer, for copies; it doubles the memory that the stream holds. Of an object store the operating
    /// system's socket reads ahead by itself.
    #[must_use]
    pub fn read_ahead(mut self) -> Self {
        self.source = match self.source {
            Source::Directory(stream) => Source::Directory(Box::new(stream.read_ahead())),
            body @ Source::Body(_) => body,
        };
        self
    }
}

impl Stream for ObjectStream {
    type Item = Result<Bytes, StorageError>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        let item = match &mut this.source {
            Source::Directory(stream) => Pin::new(stream.as_mut()).poll_next(context),
            Source::Body(stream) => Pin::new(stream.as_mut()).poll_next(context),
        };
        match &item {
            Poll::Pending => this.transfer.waits(),
            Poll::Ready(Some(Ok(chunk))) => this.transfer.moved(chunk.len()),
            Poll::Ready(Some(Err(error))) => this.transfer.failed(error),
            Poll::Ready(None) => this.transfer.ended(),
        }
        item
    }
}

impl fmt::Debug for ObjectStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("ObjectStream");
        match &self.source {
            Source::Directory(stream) => debug.field("source", stream),
            Source::Body(stream) => debug.field("source", stream),
        };
        debug.finish_non_exhaustive()
    }
}
