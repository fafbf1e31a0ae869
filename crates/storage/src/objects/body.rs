//! Reading an object as the body of one response: nothing is asked for twice, and nothing is held but what has just come.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_util::stream::{BoxStream, unfold};
use futures_util::{Stream, StreamExt, TryStreamExt};
use opendal::FuturesBytesStream;

use super::calls::Calls;
use crate::error::{Failure, Operation, StorageError, StorageErrorKind};
use crate::read::ByteRange;

/// The bytes of a range of an object. Ends after [`BodyStream::remaining`] bytes or with an error.
pub(crate) struct BodyStream {
    chunks: BoxStream<'static, Result<Bytes, StorageError>>,
    remaining: u64,
}

impl BodyStream {
    /// Returns when the first bytes are there.
    pub(super) async fn open(
        calls: &Arc<Calls>,
        path: String,
        range: ByteRange,
    ) -> Result<Self, StorageError> {
        let refused = |failure: Failure| calls.error(Operation::Read, &path, failure);
        let end = if let Some(end) = range.end {
            end
        } else {
            let deadline = calls.options().step_timeout;
            let request = calls.operator().stat(&path);
            calls
                .once(Operation::Read, &path, deadline, request)
                .await?
                .content_length()
        };
        if end < range.start {
            return Err(refused(match range.end {
                Some(end) => Failure::because(
                    StorageErrorKind::Unexpected,
                    format!(
                        "the range ends at byte {end}, before its start at {}",
                        range.start
                    ),
                ),
                None => Failure::because(
                    StorageErrorKind::Corrupt,
                    format!(
                        "the object has {end} bytes and ends before byte {}",
                        range.start
                    ),
                ),
            }));
        }
        let remaining = end - range.start;
        if remaining == 0 {
            // There is nothing to ask for but whether the object is there.
            let deadline = calls.options().step_timeout;
            let request = calls.operator().stat(&path);
            calls
                .once(Operation::Read, &path, deadline, request)
                .await?;
            return Ok(Self {
                chunks: futures_util::stream::empty().boxed(),
                remaining,
            });
        }
        let opening = async {
            let reader = calls.operator().reader(&path).await?;
            let mut body = reader.into_bytes_stream(range.start..end).await?;
            let first = body.try_next().await.map_err(io_cause)?;
            Ok((first, body))
        };
        let deadline = calls.options().step_timeout;
        let (first, body) = calls
            .once(Operation::Read, &path, deadline, opening)
            .await?;
        let Some(first) = first else {
            return Err(refused(ended_early(remaining)));
        };
        let reading = Reading {
            calls: Arc::clone(calls),
            path,
            body,
            first: Some(first),
            missing: remaining,
        };
        let chunks = unfold(Some(reading), |reading| async {
            let mut reading = reading?;
            match reading.next().await.transpose()? {
                Ok(chunk) => Some((Ok(chunk), Some(reading))),
                Err(error) => Some((Err(error), None)),
            }
        });
        Ok(Self {
            chunks: chunks.boxed(),
            remaining,
        })
    }

    pub(crate) fn remaining(&self) -> u64 {
        self.remaining
    }
}

impl Stream for BodyStream {
    type Item = Result<Bytes, StorageError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let item = ready!(self.chunks.poll_next_unpin(context));
        self.remaining = match &item {
            Some(Ok(chunk)) => self.remaining.saturating_sub(chunk.len() as u64),
            Some(Err(_)) | None => 0,
        };
        Poll::Ready(item)
    }
}

impl fmt::Debug for BodyStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BodyStream")
            .field("remaining", &self.remaining)
            .finish_non_exhaustive()
    }
}

struct Reading {
    calls: Arc<Calls>,
    path: String,
    body: FuturesBytesStream,
    first: Option<Bytes>,
    missing: u64,
}

impl Reading {
    async fn next(&mut self) -> Result<Option<Bytes>, StorageError> {
        if self.missing == 0 {
            return Ok(None);
        }
        let chunk = if let Some(first) = self.first.take() {
            Some(first)
        } else {
            // Only the store is timed: between two chunks the consumer may take as long as it likes.
            let deadline = self.calls.options().step_timeout;
            match tokio::time::timeout(deadline, self.body.try_next()).await {
                Ok(chunk) => chunk.map_err(|error| self.failed(io_cause(error)))?,
                Err(_) => return Err(self.failed(StorageErrorKind::Timeout)),
            }
        };
        let Some(mut chunk) = chunk else {
            return Err(self.failed(ended_early(self.missing)));
        };
        // A store that sends more than was asked for is not believed.
        chunk.truncate(usize::try_from(self.missing).unwrap_or(usize::MAX));
        self.missing -= chunk.len() as u64;
        Ok(Some(chunk))
    }

    fn failed(&self, failure: impl Into<Failure>) -> StorageError {
        self.calls.error(Operation::Read, &self.path, failure)
    }
}

/// The operator's error behind the one of the stream.
fn io_cause(error: std::io::Error) -> opendal::Error {
    match error.downcast::<opendal::Error>() {
        Ok(error) => error,
        Err(error) => opendal::Error::new(opendal::ErrorKind::Unexpected, "reading the response")
            .set_temporary()
            .set_source(error),
    }
}

fn ended_early(missing: u64) -> Failure {
    Failure::because(
        StorageErrorKind::Corrupt,
        format!("the object ended {missing} bytes early"),
    )
}
