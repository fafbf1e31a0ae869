//! Reading a file by chunks, each within its deadline. It is opened, measured and begun in one call: most objects that are asked for are small.

use std::fmt;
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::ops::Range;
use std::os::unix::fs::MetadataExt as _;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_util::Stream;

use crate::directory::buffers::Buffers;
use crate::directory::calls::{Call, Calls};
use crate::error::{Failure, StorageError, StorageErrorKind};
use crate::read::{ByteRange, ObjectVersion};

type Step = Pin<Box<dyn Future<Output = Result<Bytes, StorageError>> + Send>>;

/// The bytes of a range, in chunks of at most [`crate::LocalOptions::read_chunk_bytes`].
///
/// Yields exactly [`DirectoryStream::remaining`] bytes, or an error and then nothing more. An object that is deleted or
/// replaced meanwhile is still read to its end as it was. A chunk may share its allocation with others, so copy small
/// ones that are kept for long.
pub(crate) struct DirectoryStream {
    calls: Arc<Calls>,
    call: Call,
    /// Read by one step at a time.
    file: Arc<File>,
    version: ObjectVersion,
    buffers: Arc<Buffers>,
    /// What no step has brought yet.
    unread: Range<u64>,
    /// What the reader has not been given yet.
    remaining: u64,
    read_ahead: bool,
    step: Option<Step>,
    ready: Option<Result<Bytes, StorageError>>,
}

impl DirectoryStream {
    /// Reads the first chunk, so that whoever holds a stream knows that the object is there and can be read.
    pub(crate) async fn open(
        calls: Arc<Calls>,
        mut call: Call,
        range: ByteRange,
        buffers: Arc<Buffers>,
    ) -> Result<Self, StorageError> {
        let (path, into) = (call.object.clone(), Arc::clone(&buffers));
        let (file, version, range, first) = calls
            .blocking_apart(&call, move |store| {
                let file = File::open(store.root.join(path))?;
                let metadata = file.metadata()?;
                if !metadata.is_file() {
                    return Err(Failure::because(
                        StorageErrorKind::Unexpected,
                        "it is not a file",
                    ));
                }
                let range = bounded(range, metadata.len())?;
                let first = read(&file, &range, &into)?;
                let version = ObjectVersion::of_file([
                    metadata.dev().cast_signed(),
                    metadata.ino().cast_signed(),
                    metadata.len().cast_signed(),
                    metadata.mtime(),
                    metadata.mtime_nsec(),
                    metadata.ctime(),
                    metadata.ctime_nsec(),
                ]);
                Ok((file, version, range, first))
            })
            .await?;
        let ready = calls
            .hook
            .reading(range.start, first)
            .map_err(|failure| calls.error(&call, failure))?;
        call.continues = true;
        let remaining = range.end - range.start;
        let mut stream = Self {
            calls,
            call,
            file: Arc::new(file),
            version,
            buffers,
            unread: range,
            remaining,
            read_ahead: false,
            step: None,
            ready: None,
        };
        stream.advance(&ready);
        stream.ready = Some(Ok(ready));
        Ok(stream)
    }

    /// How many bytes are still to come.
    pub(crate) fn remaining(&self) -> u64 {
        self.remaining
    }

    /// Which file is read, and as of when.
    pub(crate) fn version(&self) -> ObjectVersion {
        self.version
    }

    /// Reads one chunk ahead of the consumer, for copies; it doubles the memory that the stream holds.
    #[must_use]
    pub(crate) fn read_ahead(mut self) -> Self {
        self.read_ahead = true;
        self
    }

    fn next_step(&self) -> Option<Step> {
        if self.unread.is_empty() {
            return None;
        }
        let (calls, call) = (Arc::clone(&self.calls), self.call.clone());
        let (file, buffers) = (Arc::clone(&self.file), Arc::clone(&self.buffers));
        let unread = self.unread.clone();
        Some(Box::pin(async move {
            let start = unread.start;
            let work = move |_: &_| read(&file, &unread, &buffers);
            let chunk = calls.blocking_apart(&call, work).await?;
            calls
                .hook
                .reading(start, chunk)
                .map_err(|failure| calls.error(&call, failure))
        }))
    }

    fn poll_chunk(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, StorageError>>> {
        if let Some(ready) = self.ready.take() {
            return Poll::Ready(Some(ready));
        }
        if self.step.is_none() {
            self.step = self.next_step();
        }
        let Some(step) = &mut self.step else {
            return Poll::Ready(None);
        };
        let result = ready!(step.as_mut().poll(context));
        self.step = None;
        if let Ok(chunk) = &result {
            self.advance(chunk);
        }
        Poll::Ready(Some(result))
    }

    /// Starts the next step: its thread reads while the consumer is busy with the chunk it is being given.
    fn start_ahead(&mut self, context: &mut Context<'_>) {
        if self.step.is_some() || self.ready.is_some() {
            return;
        }
        if let Some(mut step) = self.next_step() {
            match step.as_mut().poll(context) {
                Poll::Ready(result) => {
                    if let Ok(chunk) = &result {
                        self.advance(chunk);
                    }
                    self.ready = Some(result);
                }
                Poll::Pending => self.step = Some(step),
            }
        }
    }

    /// Goes on after the bytes that came, which are those that were asked for unless a fault took some away.
    fn advance(&mut self, chunk: &Bytes) {
        self.unread.start += chunk.len() as u64;
    }

    fn end(&mut self) {
        self.unread.start = self.unread.end;
        self.remaining = 0;
        self.step = None;
        self.ready = None;
    }
}

impl Stream for DirectoryStream {
    type Item = Result<Bytes, StorageError>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        let item = ready!(this.poll_chunk(context));
        match &item {
            Some(Ok(chunk)) if !chunk.is_empty() => {
                this.remaining = this.remaining.saturating_sub(chunk.len() as u64);
                if this.read_ahead {
                    this.start_ahead(context);
                }
            }
            Some(Ok(_)) | None => {
                this.end();
                return Poll::Ready(None);
            }
            Some(Err(_)) => this.end(),
        }
        Poll::Ready(item)
    }
}

impl fmt::Debug for DirectoryStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DirectoryStream")
            .field("call", &self.call)
            .field("remaining", &self.remaining)
            .finish_non_exhaustive()
    }
}

/// The first chunk of what is unread.
fn read(mut file: &File, unread: &Range<u64>, buffers: &Arc<Buffers>) -> Result<Bytes, Failure> {
    let length = usize::try_from(unread.end - unread.start).unwrap_or(usize::MAX);
    let length = length.min(buffers.chunk_bytes());
    let mut buffer = buffers.take(length);
    file.seek(SeekFrom::Start(unread.start))?;
    file.by_ref()
        .take(length as u64)
        .read_to_end(buffer.bytes())?;
    let missing = length - buffer.bytes().len();
    if missing > 0 {
        return Err(Failure::because(
            StorageErrorKind::Corrupt,
            format!(
                "the object ends {missing} bytes before byte {}",
                unread.start + length as u64
            ),
        ));
    }
    Ok(buffer.into_bytes())
}

/// The range of an object of this size, or what is wrong with it.
fn bounded(range: ByteRange, size: u64) -> Result<Range<u64>, Failure> {
    let end = range.end.unwrap_or(size);
    if range.end.is_some_and(|end| end < range.start) {
        return Err(Failure::because(
            StorageErrorKind::Unexpected,
            format!(
                "the range ends at byte {end}, before its start at {}",
                range.start
            ),
        ));
    }
    if size < end.max(range.start) {
        return Err(Failure::because(
            StorageErrorKind::Corrupt,
            format!(
                "the object has {size} bytes and ends before byte {}",
                end.max(range.start)
            ),
        ));
    }
    Ok(range.start..end)
}

#[cfg(test)]
mod tests {
    use futures_util::{StreamExt, TryStreamExt};

    use super::*;
    use crate::LocalOptions;
    use crate::fixture::{Fixture, content};

    #[tokio::test]
    async fn a_stream_knows_what_is_still_to_come_and_keeps_its_chunks_to_size() {
        let fixture = Fixture::with_options(LocalOptions {
            read_chunk_bytes: 1000,
            ..LocalOptions::default()
        })
        .await;
        let whole = content(2500);
        let key = fixture.put(&whole).await;
        for read_ahead in [false, true] {
            let mut stream = fixture.location.read(&key, 100..).await.unwrap();
            if read_ahead {
                stream = stream.read_ahead();
            }
            let (mut left, mut lengths, mut bytes) = (2400, Vec::new(), Vec::new());
            while let Some(chunk) = stream.try_next().await.unwrap() {
                left -= chunk.len() as u64;
                assert_eq!(stream.remaining(), left);
                lengths.push(chunk.len());
                bytes.extend_from_slice(&chunk);
            }
            assert_eq!(lengths, [1000, 1000, 400]);
            assert_eq!(bytes, whole[100..]);
            assert!(stream.next().await.is_none(), "an ended stream stays ended");
        }
    }

    #[tokio::test]
    async fn an_object_that_shrinks_while_it_is_read_is_damaged() {
        let fixture = Fixture::with_options(LocalOptions {
            read_chunk_bytes: 1000,
            ..LocalOptions::default()
        })
        .await;
        let key = fixture.put(&content(2500)).await;
        let mut stream = fixture.location.read(&key, ..).await.unwrap();
        let file = std::fs::OpenOptions::new()
            .write(true)
            .open(fixture.path(&key.path()))
            .unwrap();
        file.set_len(1500).unwrap();
        assert_eq!(stream.next().await.unwrap().unwrap().len(), 1000);
        let error = stream.next().await.unwrap().unwrap_err();
        assert_eq!(error.kind(), StorageErrorKind::Corrupt);
        assert!(stream.next().await.is_none());
    }

    #[tokio::test]
    async fn reading_ahead_goes_on_while_the_consumer_is_busy() {
        let fixture = Fixture::with_options(LocalOptions {
            read_chunk_bytes: 1000,
            ..LocalOptions::default()
        })
        .await;
        let key = fixture.put(&content(2000)).await;
        let mut stream = fixture
            .location
            .directory()
            .read(&key, (..).into())
            .await
            .unwrap()
            .read_ahead();
        stream.next().await.unwrap().unwrap();
        // The second chunk is being read although nobody has asked for it.
        assert!(stream.step.is_some() || stream.ready.is_some());
        assert_eq!(stream.next().await.unwrap().unwrap().len(), 1000);
    }
}
