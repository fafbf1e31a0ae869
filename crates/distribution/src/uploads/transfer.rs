//! Bytes on their way from a client into the staging area: counted, limited, hashed, written. When they are acknowledged, and
//! what becomes of them, is decided by those who call.

use bytes::Bytes;
use futures_util::Stream;
use roadstead_oci::{Digest, Digester};
use roadstead_storage::{StagedWriter, StorageError};

use crate::body::{Announced, BodyError, Incoming};
use crate::error::PushError;

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

/// Where the bytes go: into the hasher and into the staging area, at the same offset of both.
#[derive(Debug)]
pub(super) struct Sink {
    writer: StagedWriter,
    digester: Digester,
    /// Hashes by another algorithm, when the client names the blob by one that the session was not begun with.
    other: Option<Digester>,
}

impl Sink {
    /// `digester` has hashed what `writer` has before it.
    pub(super) fn new(writer: StagedWriter, digester: Digester) -> Self {
        debug_assert_eq!(writer.offset(), digester.bytes_hashed());
        Self {
            writer,
            digester,
            other: None,
        }
    }

    pub(super) async fn take(&mut self, piece: Bytes) -> Result<(), StorageError> {
        self.digester.update(&piece);
        if let Some(other) = &mut self.other {
            other.update(&piece);
        }
        self.writer.write(piece).await
    }

    /// Flushes what was taken to the disk.
    pub(super) async fn sync(&mut self) -> Result<(), StorageError> {
        self.writer.sync().await
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
