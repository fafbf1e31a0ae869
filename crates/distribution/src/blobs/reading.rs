//! Reading a blob from whichever of its locations can deliver it, and from the next when one fails on the way, falls silent or crawls.
//!
//! A read of the whole blob is hashed as it goes, and its last chunk is held back until the digest is right: nobody ever has
//! all of a blob whose bytes are wrong. A part of a blob cannot be checked; and what was right a short while ago and was not touched since is not
//! hashed again ([`ReadRight`](super::read_right::ReadRight)). If another location has to take over in the middle of that, its part is like any other.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::{BoxStream, unfold};
use roadstead_metadata::{Blob, LostObjects};
use roadstead_oci::{Digest, Digester};
use roadstead_placement::{FailureKind, LocationName, Outcome, Progress, Use};
use roadstead_storage::{ObjectKey, ObjectVersion, StorageError, StorageErrorKind};

use super::candidates::Candidates;
use super::opening::{self, NotOpened, Opened, Source};
use super::pace::{Pace, SILENCE_MAX};
use crate::body::within;
use crate::error::PullError;
use crate::metrics::Served;
use crate::registry::Inner;

/// One way through the bytes of a blob.
#[derive(Debug)]
pub(super) struct Reading {
    inner: Arc<Inner>,
    blob: Blob,
    /// What has not been delivered yet.
    wanted: Range<u64>,
    candidates: Candidates,
    source: Option<Source>,
    pace: Pace,
    /// Locations whose bytes were delivered.
    read_from: Vec<LocationName>,
    /// Hashes what is read, when that is all of the blob.
    digester: Option<Digester>,
    /// Which version of the object was read, once all of it has been.
    version: Option<ObjectVersion>,
    last_failure: Option<StorageError>,
    /// Whether a location was read already, so that the next one takes over.
    began: bool,
}

impl Reading {
    /// Opens `range`, which the blob has. When this returns, the first bytes have come.
    pub(super) async fn open(
        inner: &Arc<Inner>,
        blob: &Blob,
        range: Range<u64>,
    ) -> Result<Self, PullError> {
        let whole = range == (0..blob.size);
        let digester = whole.then(|| Digester::new(blob.digest.algorithm()));
        let mut reading = Self::begin(inner, blob, range, digester, Vec::new()).await?;
        if reading.is_known_to_be_right() {
            reading.digester = None;
        }
        Ok(reading)
    }

    /// Whether what is read is known to have the digest, so that it need not be hashed.
    fn is_known_to_be_right(&self) -> bool {
        let Some(Source {
            location, stream, ..
        }) = &self.source
        else {
            return false;
        };
        stream.version().is_some_and(|version| {
            let (inner, storage) = (&self.inner, self.blob.storage);
            inner
                .read_right
                .knows(storage, location, version, inner.now())
        })
    }

    /// Whether its digest will be looked at.
    pub(super) fn is_hashed(&self) -> bool {
        self.digester.is_some()
    }

    /// Opens the rest of a blob of which `digester` has hashed what came before, from `before` or by way of it.
    pub(super) async fn go_on(
        inner: &Arc<Inner>,
        blob: &Blob,
        position: u64,
        digester: Digester,
        before: LocationName,
    ) -> Result<Self, PullError> {
        let rest = position..blob.size;
        Self::begin(inner, blob, rest, Some(digester), vec![before]).await
    }

    async fn begin(
        inner: &Arc<Inner>,
        blob: &Blob,
        wanted: Range<u64>,
        digester: Option<Digester>,
        read_from: Vec<LocationName>,
    ) -> Result<Self, PullError> {
        let mut reading = Self {
            candidates: Candidates::of(inner, &blob.present),
            digester,
            inner: Arc::clone(inner),
            blob: blob.clone(),
            wanted,
            source: None,
            version: None,
            pace: Pace::default(),
            read_from,
            last_failure: None,
            began: false,
        };
        if !reading.wanted.is_empty() || !reading.is_empty_blob() {
            reading.source = Some(reading.next_source().await?);
        }
        Ok(reading)
    }

    /// The chunks as they come; after an error nothing.
    pub(super) fn into_chunks(self) -> BoxStream<'static, Result<Bytes, PullError>> {
        unfold(Some(self), |reading| async {
            let mut reading = reading?;
            match reading.next_chunk().await.transpose()? {
                Ok(chunk) => Some((Ok(chunk), Some(reading))),
                Err(error) => Some((Err(error), None)),
            }
        })
        .boxed()
    }

    /// The bytes of nothing are known without asking, and Quay keeps no object for them.
    fn is_empty_blob(&self) -> bool {
        self.blob.digest == Digest::of(self.blob.digest.algorithm(), b"")
    }

    /// The next chunk; the last one only if all bytes were right.
    pub(super) async fn next_chunk(&mut self) -> Result<Option<Bytes>, PullError> {
        loop {
            let mut source = match self.source.take() {
                Some(source) => source,
                None if self.wanted.is_empty() => return self.finish().await.map(|()| None),
                None => self.next_source().await?,
            };
            let (chunk, goes_on) = match self.read(&mut source).await {
                Got::Chunk(chunk) => (chunk, true),
                Got::TooSlow(chunk) => (chunk, false),
                Got::Failed => continue,
            };
            self.wanted.start += chunk.len() as u64;
            if let Some(digester) = &mut self.digester {
                digester.update(&chunk);
            }
            if self.read_from.last() != Some(&source.location) {
                self.read_from.push(source.location.clone());
            }
            if self.wanted.is_empty() {
                self.version = source.stream.version();
                self.finish().await?;
            } else if goes_on {
                self.source = Some(source);
            } else {
                self.give_up(&source.location, "is slow");
            }
            return Ok(Some(chunk));
        }
    }

    /// Reads all of the blob before any of it is passed on. Wrong bytes are followed by another location's.
    pub(super) async fn read_all(mut self) -> Result<Vec<Bytes>, PullError> {
        let mut chunks = Vec::new();
        loop {
            match self.next_chunk().await {
                Ok(Some(chunk)) => chunks.push(chunk),
                Ok(None) => return Ok(chunks),
                Err(corrupt @ PullError::Corrupt { .. }) => {
                    chunks.clear();
                    self.wanted = 0..self.blob.size;
                    self.digester = Some(Digester::new(self.blob.digest.algorithm()));
                    let read_from = std::mem::take(&mut self.read_from);
                    // Of several it is not known which one is wrong: each is asked for all of it, when there is no other.
                    if read_from.len() > 1 {
                        // The first of them failed in the middle and is the likeliest to be wrong.
                        for location in read_from.into_iter().rev() {
                            self.candidates.put_back(location);
                        }
                    }
                    self.source = match self.next_source().await {
                        Ok(source) => Some(source),
                        Err(_) => return Err(corrupt),
                    };
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Opens the next location that can deliver what is still wanted.
    async fn next_source(&mut self) -> Result<Source, PullError> {
        let key = ObjectKey::Blob(self.blob.digest.clone());
        let inner = Arc::clone(&self.inner);
        let Opened {
            source,
            overtook,
            failures,
        } = opening::open(&inner, &mut self.candidates, &key, &self.wanted).await;
        let failed_before = !failures.is_empty() || self.began;
        self.began = true;
        if let Some(source) = &source {
            let served = if failed_before {
                Served::Failover
            } else if overtook {
                Served::Hedged
            } else if source.location == *inner.topology.preferred() {
                Served::Local
            } else {
                Served::Other
            };
            inner.counters.note_read(&source.location, served);
        }
        for failure in failures {
            match failure {
                NotOpened::Failed(error) => self.note_failure(error).await,
                NotOpened::Silent(location) => self.note_silence(&location),
            }
        }
        self.pace = Pace::default();
        source.ok_or_else(|| PullError::NoCopy {
            digest: self.blob.digest.clone(),
            source: self.last_failure.take(),
        })
    }

    /// The next bytes of a location.
    async fn read(&mut self, source: &mut Source) -> Got {
        let clock = Arc::clone(&self.inner.environment.clock);
        let silence_max = SILENCE_MAX.min(self.inner.options.read_idle_timeout);
        let mut waited = Duration::ZERO;
        loop {
            let since = clock.now();
            let next = within(&*clock, silence_max, source.stream.next()).await;
            waited += (clock.now() - since).to_std().unwrap_or_default();
            match next {
                Some(Some(Ok(chunk))) if chunk.is_empty() => {}
                // A store that delivers more than was asked for is not believed.
                Some(Some(Ok(mut chunk))) => {
                    let wanted =
                        usize::try_from(self.wanted.end - self.wanted.start).unwrap_or(usize::MAX);
                    chunk.truncate(wanted);
                    let too_slow = self.pace.is_too_slow(chunk.len(), waited);
                    return if too_slow && self.candidates.has_another() {
                        Got::TooSlow(chunk)
                    } else {
                        Got::Chunk(chunk)
                    };
                }
                Some(Some(Err(error))) => {
                    self.note_failure(error).await;
                    return Got::Failed;
                }
                Some(None) if self.wanted.is_empty() => return Got::Failed,
                Some(None) => {
                    tracing::warn!(
                        blob.digest = %self.blob.digest,
                        location.id = %source.location,
                        "Location {} ended blob {} early; going on at the next",
                        source.location,
                        self.blob.digest
                    );
                    return Got::Failed;
                }
                // Whoever else has the blob may say something.
                None if self.candidates.has_another() => {
                    self.give_up(&source.location, "is silent");
                    return Got::Failed;
                }
                None if waited >= self.inner.options.read_idle_timeout => {
                    self.note_silence(&source.location);
                    return Got::Failed;
                }
                None => {}
            }
        }
    }

    /// Goes on at another location. This one may be asked again when there is no other.
    fn give_up(&mut self, location: &LocationName, problem: &str) {
        tracing::warn!(
            blob.digest = %self.blob.digest,
            location.id = %location,
            "Location {location} {problem}; blob {} goes on at another",
            self.blob.digest
        );
        self.candidates.put_back(location.clone());
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
            .tell(location, Use::Read, Outcome::Failed(FailureKind::Timeout));
    }

    /// Checks the digest, when all of the blob was read.
    async fn finish(&mut self) -> Result<(), PullError> {
        let Some(digester) = self.digester.take() else {
            return Ok(());
        };
        let actual = digester.finish();
        if actual == self.blob.digest {
            // Of several locations none is known to have all of it right.
            if let [location] = self.read_from.as_slice() {
                let verified = Outcome::Transferred {
                    bytes: 0,
                    waited: Duration::ZERO,
                    progress: Progress::Verified,
                };
                for wanted in [Use::Read, Use::Write] {
                    self.inner.locations.tell(location, wanted, verified);
                }
                if let Some(version) = self.version {
                    let (storage, now) = (self.blob.storage, self.inner.now());
                    self.inner.read_right.note(storage, location, version, now);
                }
            }
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
            let location = location.clone();
            let damaged = Outcome::Damaged {
                object: number_of(&self.blob.digest),
            };
            // What returns wrong bytes is not given any, either.
            for wanted in [Use::Read, Use::Write] {
                self.inner.locations.tell(&location, wanted, damaged);
            }
            report_lost(
                &self.inner,
                &self.blob,
                &location,
                "the object had another digest when it was read",
            )
            .await;
        }
    }
}

/// What came of reading on at a location.
enum Got {
    Chunk(Bytes),
    /// It came too slowly, and there is another location.
    TooSlow(Bytes),
    Failed,
}

/// Tells objects apart where a few may be taken for the same.
fn number_of(digest: &Digest) -> u64 {
    let mut hasher = DefaultHasher::new();
    digest.as_str().hash(&mut hasher);
    hasher.finish()
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
