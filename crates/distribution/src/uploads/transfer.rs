//! Bytes on their way from a client into the staging area: counted, limited, hashed, written. When they are acknowledged, and
//! what becomes of them, is decided by those who call.

use std::collections::BTreeSet;
use std::pin::pin;

use bytes::Bytes;
use futures_util::Stream;
use futures_util::future::{Either, select};
use roadstead_oci::{Digest, Digester};
use roadstead_placement::{LocationName, Use};
use roadstead_storage::{Location, Staged, StagedHold, StagedWriter, StorageError};
use uuid::Uuid;

use super::session::discard;
use super::start::Writable;
use crate::body::{Announced, BodyError, Incoming};
use crate::error::PushError;
use crate::memory::Share;
use crate::registry::Inner;

/// How a body is held to what was said about it.
pub(super) struct Intake<'a, B> {
    body: Incoming<'a, B>,
    announced: Option<u64>,
    received: u64,
    /// The most bytes that may come.
    room: u64,
    /// The size limit that `room` is what is left of.
    limit: u64,
}

/// Why no more bytes come. Those that came before are counted and passed on.
#[derive(Debug)]
pub(super) enum Stopped {
    /// The body broke off.
    BrokenOff(BodyError),
    /// The body ended before it had the bytes that were announced, or goes on after it.
    Lied { announced: u64, received: u64 },
    /// The blob is too large.
    TooLarge { limit: u64 },
}

impl Stopped {
    /// The error for the client, whose upload has `offset` bytes.
    pub(super) fn at(self, offset: u64) -> PushError {
        match self {
            Self::BrokenOff(source) => PushError::BodyInterrupted { offset, source },
            Self::Lied {
                announced,
                received,
            } => PushError::SizeInvalid {
                announced,
                received,
            },
            Self::TooLarge { limit } => PushError::TooLarge { limit },
        }
    }
}

impl<'a, B: Stream<Item = Result<Bytes, BodyError>>> Intake<'a, B> {
    /// Takes a body that begins at `offset` of a blob of at most `limit` bytes. Refuses what cannot come right.
    pub(super) fn new(
        body: Incoming<'a, B>,
        announced: Announced,
        offset: u64,
        limit: u64,
    ) -> Result<Self, PushError> {
        let announced =
            announced
                .bytes()
                .map_err(|(announced, received)| PushError::SizeInvalid {
                    announced,
                    received,
                })?;
        let room = limit.saturating_sub(offset);
        if announced.is_some_and(|bytes| bytes > room) {
            return Err(PushError::TooLarge { limit });
        }
        Ok(Self {
            body,
            announced,
            received: 0,
            room,
            limit,
        })
    }

    /// The next bytes, never more than were announced or fit.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, Stopped> {
        let piece = self.body.next().await.map_err(Stopped::BrokenOff)?;
        let Some(piece) = piece else {
            return match self.announced {
                Some(announced) if announced != self.received => Err(Stopped::Lied {
                    announced,
                    received: self.received,
                }),
                _ => Ok(None),
            };
        };
        self.received = self.received.saturating_add(piece.len() as u64);
        match self.announced {
            Some(announced) if self.received > announced => Err(Stopped::Lied {
                announced,
                received: self.received,
            }),
            _ if self.received > self.room => Err(Stopped::TooLarge { limit: self.limit }),
            _ => Ok(Some(piece)),
        }
    }
}

/// Where the bytes go: into the hasher and into the staging area of a location, at the same offset of both.
///
/// While all bytes of the upload came through this sink and there are few of them, they are kept: when the location fails, they go to the
/// next one, and the client notices nothing.
#[derive(Debug)]
pub(super) struct Sink {
    id: Uuid,
    location: Location,
    writer: StagedWriter,
    digester: Digester,
    /// Hashes by another algorithm, when the client names the blob by one that the session was not begun with.
    other: Option<Digester>,
    kept: Kept,
}

/// Every byte of an upload from its start, as long as there are few and there is memory for them.
#[derive(Debug)]
struct Kept {
    pieces: Option<Vec<Bytes>>,
    bytes: u64,
    bytes_max: u64,
    memory: Share,
    /// Where they must not go, or could not stay.
    excluded: BTreeSet<LocationName>,
}

impl Kept {
    fn new(
        inner: &Inner,
        offset: u64,
        location: &LocationName,
        excluded: BTreeSet<LocationName>,
    ) -> Self {
        let mut others = inner.topology.locations().iter();
        let is_another = |name: &LocationName| name != location && !excluded.contains(name);
        let of_use = offset == 0 && others.any(is_another);
        Self {
            pieces: of_use.then(Vec::new),
            bytes: 0,
            bytes_max: inner.options.kept_bytes_max,
            memory: inner.kept_memory.share(),
            excluded,
        }
    }

    fn keep(&mut self, piece: &Bytes) {
        let Some(pieces) = &mut self.pieces else {
            return;
        };
        self.bytes += piece.len() as u64;
        if self.bytes <= self.bytes_max && self.memory.cover(self.bytes) {
            pieces.push(piece.clone());
        } else {
            self.pieces = None;
            self.memory.give_back();
        }
    }

    /// Writes the bytes at another location because `from` has failed. `None` if the bytes are not at hand, or no location takes them: each is
    /// tried once.
    async fn write_elsewhere(
        &mut self,
        inner: &Inner,
        id: Uuid,
        from: &LocationName,
    ) -> Option<(Location, StagedWriter)> {
        let pieces = self.pieces.as_ref()?;
        self.excluded.insert(from.clone());
        let mut left = Vec::from_iter(inner.locations.get(from).cloned());
        let mut writable = Writable::without(inner, &self.excluded).await.ok()?;
        while let Ok((location, mut writer)) = writable.stage(id).await {
            let written = async {
                for piece in pieces {
                    writer.write(piece.clone()).await?;
                }
                Ok::<(), StorageError>(())
            };
            let Err(another) = written.await else {
                tracing::info!(
                    upload.id = %id,
                    location.id = %location.name(),
                    "Upload {id} goes on at location {} because {from} failed",
                    location.name()
                );
                throw_away(inner, id, left);
                return Some((location, writer));
            };
            tracing::debug!(
                upload.id = %id,
                error = &another as &dyn std::error::Error,
                "Another location failed too"
            );
            self.excluded.insert(location.name().clone());
            writable.exclude(location.name());
            left.push(location);
        }
        None
    }

    /// Returns when a location is not used any more and the bytes can go to a better one, which may be never.
    async fn given_up(&self, inner: &Inner, location: &LocationName) {
        if self.pieces.is_some() {
            inner.locations.shut(location, Use::Write).await;
            let mut excluded = self.excluded.clone();
            excluded.insert(location.clone());
            let better = inner.locations.choose_write(&inner.topology, &excluded);
            let standings = inner.locations.standings();
            if better.is_ok_and(|better| standings.get(&better).write.admits()) {
                return;
            }
        }
        std::future::pending::<()>().await;
    }
}

/// Discards what an upload that went on elsewhere has left. Nobody waits for it, for these locations have just failed; what stays is
/// found by the cleanup of abandoned uploads.
fn throw_away(inner: &Inner, id: Uuid, left: Vec<Location>) {
    let shutdown = inner.tasks.shutdown();
    inner.tasks.spawn(async move {
        let discarded = async {
            for location in &left {
                discard(location, id).await;
            }
        };
        tokio::select! {
            () = discarded => (),
            () = shutdown.wait() => (),
        }
    });
}

/// Bytes that are safe at a location, with nobody writing to them any more.
#[derive(Debug)]
pub(super) struct Settled {
    pub(super) id: Uuid,
    pub(super) location: Location,
    pub(super) staged: Staged,
    digester: Digester,
    other: Option<Digester>,
    kept: Kept,
}

impl Settled {
    /// Writes the bytes at another location after they could not be published at theirs. The failure comes back where that is of no use.
    pub(super) async fn elsewhere(
        self,
        inner: &Inner,
        failure: StorageError,
    ) -> Result<Sink, StorageError> {
        let Self {
            id,
            location: _,
            staged: _,
            digester,
            other,
            mut kept,
        } = self;
        if !failure.kind().is_the_locations() {
            return Err(failure);
        }
        let elsewhere = kept.write_elsewhere(inner, id, failure.location()).await;
        let (location, writer) = elsewhere.ok_or(failure)?;
        Ok(Sink {
            id,
            location,
            writer,
            digester,
            other,
            kept,
        })
    }
}

impl Sink {
    /// `digester` has hashed what `writer` has before it. The bytes never go to what is `excluded`, also when their location fails.
    pub(super) fn new(
        inner: &Inner,
        id: Uuid,
        (location, writer): (Location, StagedWriter),
        digester: Digester,
        excluded: BTreeSet<LocationName>,
    ) -> Self {
        debug_assert_eq!(writer.offset(), digester.bytes_hashed());
        Self {
            id,
            kept: Kept::new(inner, writer.offset(), location.name(), excluded),
            location,
            writer,
            digester,
            other: None,
        }
    }

    /// Takes bytes, at most as many as there are until [`Sink::at_boundary`] becomes true, and returns the others.
    pub(super) async fn take(
        &mut self,
        inner: &Inner,
        mut piece: Bytes,
    ) -> Result<Bytes, StorageError> {
        let room = self.writer.to_boundary().map_or(usize::MAX, |bytes| {
            usize::try_from(bytes).unwrap_or(usize::MAX)
        });
        let taken = piece.split_to(room.min(piece.len()));
        self.digester.update(&taken);
        if let Some(other) = &mut self.other {
            other.update(&taken);
        }
        self.kept.keep(&taken);
        if let Err(failure) = self.writer.write(taken).await {
            self.move_on(inner, failure).await?;
        }
        Ok(piece)
    }

    /// Takes all of the bytes.
    pub(super) async fn take_all(
        &mut self,
        inner: &Inner,
        mut piece: Bytes,
    ) -> Result<(), StorageError> {
        while !piece.is_empty() {
            piece = self.take(inner, piece).await?;
        }
        Ok(())
    }

    /// Whether this is a good moment to sync.
    pub(super) fn at_boundary(&self) -> bool {
        self.writer.at_boundary()
    }

    /// Makes what was taken survive a crash.
    pub(super) async fn sync(&mut self, inner: &Inner) -> Result<(), StorageError> {
        loop {
            let location = self.location.name().clone();
            // `None`: it was given up before it had answered.
            let synced = {
                let syncing = pin!(self.writer.sync());
                let given_up = pin!(self.kept.given_up(inner, &location));
                match select(syncing, given_up).await {
                    Either::Left((synced, _)) => Some(synced),
                    Either::Right(((), _)) => None,
                }
            };
            match synced {
                Some(Ok(())) => return Ok(()),
                Some(Err(failure)) => self.move_on(inner, failure).await?,
                None => match self.kept.write_elsewhere(inner, self.id, &location).await {
                    Some(elsewhere) => (self.location, self.writer) = elsewhere,
                    // Fails: its writer was interrupted.
                    None => return self.writer.sync().await,
                },
            }
        }
    }

    /// Goes on at another location after a failure of this one, if that is possible.
    async fn move_on(&mut self, inner: &Inner, failure: StorageError) -> Result<(), StorageError> {
        if !failure.kind().is_the_locations() {
            return Err(failure);
        }
        let elsewhere = self
            .kept
            .write_elsewhere(inner, self.id, failure.location())
            .await;
        (self.location, self.writer) = elsewhere.ok_or(failure)?;
        Ok(())
    }

    /// Keeps the staged bytes out of others' hands until it is dropped, even where the writer is gone.
    pub(super) fn hold(&self) -> StagedHold {
        self.writer.hold()
    }

    /// Lets go of the staged bytes, which were synced.
    pub(super) fn settle(self) -> Settled {
        let Self {
            id,
            location,
            writer,
            digester,
            other,
            kept,
        } = self;
        Settled {
            id,
            location,
            staged: writer.staged(),
            digester,
            other,
            kept,
        }
    }

    /// Where the bytes are.
    pub(super) fn location(&self) -> &Location {
        &self.location
    }

    /// What is safe after [`Sink::sync`].
    pub(super) fn staged(&self) -> Staged {
        self.writer.staged()
    }

    /// How many bytes of the blob have been taken, those before this request included.
    pub(super) fn offset(&self) -> u64 {
        self.digester.bytes_hashed()
    }

    /// The session's own hasher.
    pub(super) const fn digester(&self) -> &Digester {
        &self.digester
    }

    /// Hashes by another algorithm instead, as long as nothing has been hashed.
    pub(super) fn replace_digester(&mut self, digester: Digester) {
        debug_assert_eq!(self.digester.bytes_hashed(), digester.bytes_hashed());
        self.digester = digester;
    }

    /// Hashes by another algorithm as well. `other` has hashed what came before.
    pub(super) fn add_digester(&mut self, other: Digester) {
        debug_assert_eq!(self.digester.bytes_hashed(), other.bytes_hashed());
        self.other = Some(other);
    }

    /// The digest of all that was taken, by the algorithm that the client names the blob by.
    pub(super) fn digest(&self) -> Digest {
        self.other
            .as_ref()
            .unwrap_or(&self.digester)
            .clone()
            .finish()
    }

    /// The digest of all that was taken has to be this one.
    pub(super) fn require_digest(&self, expected: &Digest) -> Result<(), PushError> {
        require_digest(expected, self.digest())
    }
}

pub(super) fn require_digest(expected: &Digest, actual: Digest) -> Result<(), PushError> {
    if actual == *expected {
        Ok(())
    } else {
        Err(PushError::DigestMismatch {
            expected: expected.clone(),
            actual,
        })
    }
}
