//! Reading a blob from whichever of its locations can deliver it, and from the next when one fails on the way.
//!
//! A read of the whole blob is hashed as it goes, and its last chunk is held back until the digest is right: a client never has
//! all of a blob whose bytes are wrong. A part of a blob cannot be checked.

use std::collections::{BTreeSet, VecDeque};
use std::fmt;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::stream::{BoxStream, unfold};
use futures_util::{Stream, StreamExt};
use roadstead_metadata::{Blob, LostObjects};
use roadstead_oci::{Digest, Digester};
use roadstead_placement::{LocationName, rank_reads};
use roadstead_storage::{ObjectKey, ObjectStream, StorageError, StorageErrorKind};

use crate::body::within;
use crate::error::PullError;
use crate::locations::Use;
use crate::registry::Inner;

/// The bytes of a blob, in chunks of at most about a megabyte; one or two of them are in memory.
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

pub(super) async fn open(
    inner: &Arc<Inner>,
    blob: &Blob,
    range: Range<u64>,
) -> Result<BlobStream, PullError> {
    if range.start > range.end || range.end > blob.size {
        return Err(PullError::RangeNotSatisfiable { size: blob.size });
    }
    let remaining = range.end - range.start;
    let mut reading = Reading {
        candidates: candidates(inner, &blob.present),
        digester: (range == (0..blob.size)).then(|| Digester::new(blob.digest.algorithm())),
        inner: Arc::clone(inner),
        blob: blob.clone(),
        wanted: range,
        source: None,
        read_from: Vec::new(),
        last_failure: None,
    };
    let source = reading.next_source().await?;
    reading.source = Some(source);
    let chunks = unfold(Some(reading), |reading| async {
        let mut reading = reading?;
        match reading.next_chunk().await.transpose()? {
            Ok(chunk) => Some((Ok(chunk), Some(reading))),
            Err(error) => Some((Err(error), None)),
        }
    });
    Ok(BlobStream {
        chunks: chunks.boxed(),
        remaining,
    })
}

/// The locations to be asked, best first; those that have just failed come last.
fn candidates(inner: &Inner, present: &BTreeSet<LocationName>) -> VecDeque<LocationName> {
    let in_trouble = inner.locations.in_trouble(Use::Read, inner.now());
    let ranked = rank_reads(&inner.topology, present);
    let (last, first): (Vec<_>, Vec<_>) = ranked
        .into_iter()
        .partition(|name| in_trouble.contains(name));
    first.into_iter().chain(last).collect()
}

/// A location that is being read.
struct Source {
    location: LocationName,
    stream: ObjectStream,
}

struct Reading {
    inner: Arc<Inner>,
    blob: Blob,
    /// What has not been delivered yet.
    wanted: Range<u64>,
    /// Locations that have not been asked yet.
    candidates: VecDeque<LocationName>,
    source: Option<Source>,
    /// Locations whose bytes were delivered.
    read_from: Vec<LocationName>,
    /// Hashes what is read, when that is all of the blob.
    digester: Option<Digester>,
    last_failure: Option<StorageError>,
}

impl Reading {
    /// The next chunk; the last one only if all bytes were right.
    async fn next_chunk(&mut self) -> Result<Option<Bytes>, PullError> {
        loop {
            let mut source = match self.source.take() {
                Some(source) => source,
                None if self.wanted.is_empty() => return self.finish().await.map(|()| None),
                None => self.next_source().await?,
            };
            let Some(chunk) = self.read(&mut source).await else {
                continue;
            };
            self.wanted.start += chunk.len() as u64;
            if let Some(digester) = &mut self.digester {
                digester.update(&chunk);
            }
            if self.read_from.last() != Some(&source.location) {
                self.read_from.push(source.location.clone());
            }
            if self.wanted.is_empty() {
                self.finish().await?;
            } else {
                self.source = Some(source);
            }
            return Ok(Some(chunk));
        }
    }

    /// Opens the next location that can deliver what is still wanted.
    async fn next_source(&mut self) -> Result<Source, PullError> {
        while let Some(name) = self.candidates.pop_front() {
            let inner = Arc::clone(&self.inner);
            let Some(location) = inner.locations.get(&name) else {
                continue;
            };
            let key = ObjectKey::Blob(self.blob.digest.clone());
            let opening = location.read(&key, self.wanted.clone());
            match Self::in_time(&inner, opening).await {
                Some(Ok(stream)) => {
                    return Ok(Source {
                        location: name,
                        // The next chunk comes from the disk while the client takes this one.
                        stream: stream.read_ahead(),
                    });
                }
                Some(Err(error)) => self.note_failure(error).await,
                None => self.note_silence(&name),
            }
        }
        Err(PullError::NoCopy {
            digest: self.blob.digest.clone(),
            source: self.last_failure.take(),
        })
    }

    /// The next bytes of a location. `None` when it fails.
    async fn read(&mut self, source: &mut Source) -> Option<Bytes> {
        loop {
            match Self::in_time(&self.inner, source.stream.next()).await {
                Some(Some(Ok(chunk))) if chunk.is_empty() => {}
                // A store that delivers more than was asked for is not believed.
                Some(Some(Ok(mut chunk))) => {
                    let wanted =
                        usize::try_from(self.wanted.end - self.wanted.start).unwrap_or(usize::MAX);
                    chunk.truncate(wanted);
                    return Some(chunk);
                }
                Some(Some(Err(error))) => {
                    self.note_failure(error).await;
                    return None;
                }
                Some(None) if self.wanted.is_empty() => return None,
                Some(None) => {
                    tracing::warn!(
                        blob.digest = %self.blob.digest,
                        location.id = %source.location,
                        "Location {} ended blob {} early; going on at the next",
                        source.location,
                        self.blob.digest
                    );
                    return None;
                }
                None => {
                    self.note_silence(&source.location);
                    return None;
                }
            }
        }
    }

    async fn in_time<T>(inner: &Inner, work: impl Future<Output = T>) -> Option<T> {
        within(
            &*inner.environment.clock,
            inner.options.read_idle_timeout,
            work,
        )
        .await
    }

    /// Goes on to the next location after a failure, and reports an object that is not there or not whole.
    async fn note_failure(&mut self, error: StorageError) {
        tracing::warn!(
            blob.digest = %self.blob.digest,
            location.id = %error.location(),
            error = &error as &dyn std::error::Error,
            "Could not read blob {} at location {}; going on at the next",
            self.blob.digest,
            error.location()
        );
        self.inner
            .locations
            .note_failure(Use::Read, &error, self.inner.cool_until());
        // "Not there" is said only by a location that is there itself.
        let lost = match error.kind() {
            StorageErrorKind::NotFound => Some("the object was not there when it was read"),
            StorageErrorKind::Corrupt => {
                Some("the object was shorter than the blob when it was read")
            }
            _ => None,
        };
        if let Some(reason) = lost {
            report_lost(&self.inner, &self.blob, error.location(), reason).await;
        }
        self.last_failure = Some(error);
    }

    fn note_silence(&self, location: &LocationName) {
        tracing::warn!(
            blob.digest = %self.blob.digest,
            location.id = %location,
            "Location {location} did not deliver blob {} in time; going on at the next",
            self.blob.digest
        );
        self.inner
            .locations
            .pass_over(Use::Read, location, self.inner.cool_until());
    }

    /// Checks the digest, when all of the blob was read.
    async fn finish(&mut self) -> Result<(), PullError> {
        let Some(digester) = self.digester.take() else {
            return Ok(());
        };
        let actual = digester.finish();
        if actual == self.blob.digest {
            return Ok(());
        }
        self.note_corruption(&actual).await;
        Err(PullError::Corrupt {
            expected: self.blob.digest.clone(),
            actual,
        })
    }

    async fn note_corruption(&mut self, actual: &Digest) {
        let from: Vec<&str> = self.read_from.iter().map(LocationName::as_str).collect();
        tracing::error!(
            blob.digest = %self.blob.digest,
            location.id = ?from,
            "Blob {} was read from {} with the digest {actual}; its end was not delivered",
            self.blob.digest,
            from.join(", ")
        );
        // Of several locations it is not known which one is wrong; the store check finds out.
        if let [location] = self.read_from.as_slice() {
            report_lost(
                &self.inner,
                &self.blob,
                location,
                "the object had another digest when it was read",
            )
            .await;
        }
    }
}

/// Reports that a location does not have what it should, so that the copy is made again. The read does not depend on it.
async fn report_lost(inner: &Inner, blob: &Blob, location: &LocationName, reason: &str) {
    let Some(queue) = inner.options.replication_queue.as_deref() else {
        return;
    };
    let reported = inner
        .database
        .report_lost(&LostObjects {
            location,
            storages: &[blob.storage],
            reason,
            queue,
            ids: &*inner.environment.ids,
            now: inner.now(),
        })
        .await;
    if let Err(error) = reported {
        tracing::warn!(
            blob.digest = %blob.digest,
            location.id = %location,
            error = &error as &dyn std::error::Error,
            "Could not report that location {location} lost blob {}",
            blob.digest
        );
    }
}
