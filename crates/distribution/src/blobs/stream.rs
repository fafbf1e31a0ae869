//! The bytes of a blob as they go to a client, wherever they come from: read before or while they are passed on, or followed as they are being
//! brought to this region.

use std::fmt;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::stream::{BoxStream, iter};
use futures_util::{Stream, StreamExt};
use roadstead_metadata::Blob;

use super::fill;
use super::read_right::KEPT_BYTES_MAX;
use super::reading::Reading;
use crate::error::PullError;
use crate::memory::Share;
use crate::registry::Inner;

/// The bytes of a blob, in chunks of at most about a megabyte; one or two of them are in memory, or all of a small blob.
///
/// Ends after [`BlobStream::remaining`] bytes, or with an error, after which nothing comes. Whoever passes it on must let an
/// error end the transfer short of its announced length. A dropped stream leaves nothing behind.
pub struct BlobStream {
    chunks: BoxStream<'static, Result<Bytes, PullError>>,
    remaining: u64,
}

impl BlobStream {
    /// How many bytes are still to come.
    pub fn remaining(&self) -> u64 {
        self.remaining
    }
}

impl Stream for BlobStream {
    type Item = Result<Bytes, PullError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let item = self.chunks.poll_next_unpin(context);
        if let Poll::Ready(Some(Ok(chunk))) = &item {
            self.remaining = self.remaining.saturating_sub(chunk.len() as u64);
        }
        item
    }
}

impl fmt::Debug for BlobStream {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("BlobStream")
            .field("remaining", &self.remaining)
            .finish_non_exhaustive()
    }
}

/// Whether a blob that belongs to this region is brought there when it is read elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OnTheWay {
    /// It is.
    Kept,
    /// It is left to replication.
    Passed,
}

/// Opens a blob.
pub(super) async fn open(
    inner: &Arc<Inner>,
    blob: &Blob,
    range: Range<u64>,
    on_the_way: OnTheWay,
) -> Result<BlobStream, PullError> {
    if range.start > range.end || range.end > blob.size {
        return Err(PullError::RangeNotSatisfiable { size: blob.size });
    }
    let remaining = range.end - range.start;
    let whole = range == (0..blob.size);
    if whole
        && on_the_way == OnTheWay::Kept
        && let Some(mut follower) = fill::follow(inner, blob)
    {
        // As of any other read, the first bytes have come when this returns.
        let first = follower.next_chunk().await?;
        return Ok(BlobStream {
            chunks: iter(first.map(Ok)).chain(follower.into_chunks()).boxed(),
            remaining,
        });
    }
    let chunks = read(inner, blob, range).await?;
    Ok(BlobStream { chunks, remaining })
}

/// Reads a range, which the blob has, all of it before any is passed on if the blob is small.
pub(super) async fn read(
    inner: &Arc<Inner>,
    blob: &Blob,
    range: Range<u64>,
) -> Result<BoxStream<'static, Result<Bytes, PullError>>, PullError> {
    let whole = range == (0..blob.size);
    if whole
        && blob.size <= KEPT_BYTES_MAX
        && let Some(content) = inner.read_right.kept(blob.storage, inner.now())
    {
        return Ok(iter([Ok(content)]).boxed());
    }
    let reading = Reading::open(inner, blob, range).await?;
    if !reading.is_hashed() {
        return Ok(reading.into_chunks());
    }
    let Some(memory) = memory_for(inner, blob.size) else {
        return Ok(reading.into_chunks());
    };
    let chunks = reading.read_all().await?;
    inner.read_right.keep(blob.storage, &chunks, inner.now());
    // The memory is given back with the last chunk.
    Ok(iter(chunks)
        .map(move |chunk| {
            let _held = &memory;
            Ok(chunk)
        })
        .boxed())
}

/// Memory for a blob that is small enough to be read before any of it is passed on, if there is any left.
fn memory_for(inner: &Inner, bytes: u64) -> Option<Share> {
    if bytes > inner.options.verified_bytes_max {
        return None;
    }
    inner.verified_memory.take(bytes)
}
