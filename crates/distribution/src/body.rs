//! The bytes that a client sends, and what it says about them beforehand. How they come over the wire is the API's business.

use std::error::Error as StdError;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use roadstead_runtime::Clock;

/// Why a body ended before its end.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// The connection broke, or the client went away.
    #[error("the connection ended before the body did")]
    Interrupted {
        /// What the connection says.
        #[source]
        source: Box<dyn StdError + Send + Sync>,
    },
    /// No bytes came for too long.
    #[error("no bytes came for too long")]
    TimedOut,
}

impl BodyError {
    /// A broken connection.
    pub fn interrupted(source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self::Interrupted {
            source: source.into(),
        }
    }
}

/// The bytes of a blob that one request brings, as its `Content-Range` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChunkRange {
    start: u64,
    length: u64,
}

impl ChunkRange {
    /// The range from byte `first` to byte `last`, both included, as it is written in the header. `last` may be the byte before
    /// `first`: no bytes (Quay takes that too). `None` if it is before even that, or the range has more bytes than can be counted.
    pub const fn inclusive(first: u64, last: u64) -> Option<Self> {
        let Some(end) = last.checked_add(1) else {
            return None;
        };
        match end.checked_sub(first) {
            Some(length) => Some(Self {
                start: first,
                length,
            }),
            None => None,
        }
    }

    /// Where the range begins in the blob.
    pub const fn start(self) -> u64 {
        self.start
    }

    /// How many bytes it has.
    pub const fn length(self) -> u64 {
        self.length
    }
}

/// What a request says about its body before it comes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Announced {
    /// `Content-Range`.
    pub range: Option<ChunkRange>,
    /// `Content-Length`.
    pub length: Option<u64>,
}

impl Announced {
    /// Nothing is known about the body.
    pub const NOTHING: Self = Self {
        range: None,
        length: None,
    };

    /// How many bytes are announced, or the two numbers that contradict each other.
    pub(crate) fn bytes(self) -> Result<Option<u64>, (u64, u64)> {
        match (self.range.map(ChunkRange::length), self.length) {
            (Some(range), Some(length)) if range != length => Err((range, length)),
            (range, length) => Ok(range.or(length)),
        }
    }
}

/// A body that is read with a deadline for each piece.
pub(crate) struct Incoming<'a, B> {
    body: Pin<&'a mut B>,
    clock: &'a dyn Clock,
    idle_timeout: Duration,
}

impl<'a, B: Stream<Item = Result<Bytes, BodyError>>> Incoming<'a, B> {
    pub(crate) fn new(body: Pin<&'a mut B>, clock: &'a dyn Clock, idle_timeout: Duration) -> Self {
        Self {
            body,
            clock,
            idle_timeout,
        }
    }

    /// The next piece. `None` at the end.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, BodyError> {
        match within(self.clock, self.idle_timeout, self.body.next()).await {
            Some(piece) => piece.transpose(),
            None => Err(BodyError::TimedOut),
        }
    }
}

/// Waits for `work`, at most `limit`.
pub(crate) async fn within<T>(
    clock: &dyn Clock,
    limit: Duration,
    work: impl Future<Output = T>,
) -> Option<T> {
    use futures_util::future::{Either, select};

    let work = std::pin::pin!(work);
    // The work is asked first, so that the clock is bothered only while there is something to wait for.
    match select(work, clock.sleep(limit)).await {
        Either::Left((output, _)) => Some(output),
        Either::Right(((), _)) => None,
    }
}
