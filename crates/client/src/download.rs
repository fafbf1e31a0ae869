//! Blobs as they come in, checked or not.

use bytes::Bytes;
use futures_util::{Stream, TryStreamExt as _};
use roadstead_oci::{Digest, Digester};

use crate::ClientError;
use crate::exchange::AnswerBody;

/// The bytes of a blob, or of a part of it, as the registry sends them. Nothing checks that they are the blob's.
#[derive(Debug)]
pub struct BlobStream {
    /// How many bytes the registry announced, if it did.
    pub length: Option<u64>,
    pub(crate) body: AnswerBody,
}

impl BlobStream {
    /// The next piece; `None` at the end. Cancel-safe.
    ///
    /// # Errors
    /// [`ClientError::Transport`] also when fewer bytes come than were announced; [`ClientError::Stalled`].
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, ClientError> {
        self.body.chunk().await
    }

    /// The same as a stream. It ends after an error.
    pub fn into_stream(
        self,
    ) -> impl Stream<Item = Result<Bytes, ClientError>> + Send + Unpin + 'static {
        let pieces = futures_util::stream::try_unfold(self, async |mut blob| {
            Ok(blob.chunk().await?.map(|piece| (piece, blob)))
        });
        Box::pin(pieces)
    }
}

/// The bytes of a whole blob, hashed on the way: what has been read to the end is the blob.
#[derive(Debug)]
pub struct VerifiedStream {
    blob: BlobStream,
    expected: Digest,
    digester: Option<Digester>,
}

impl VerifiedStream {
    pub(crate) fn new(blob: BlobStream, expected: Digest) -> Self {
        let digester = Digester::new(expected.algorithm());
        Self {
            blob,
            expected,
            digester: Some(digester),
        }
    }

    /// How many bytes the registry announced, if it did.
    pub fn length(&self) -> Option<u64> {
        self.blob.length
    }

    /// The next piece, hashed on the calling task (about a millisecond for a megabyte); `None` at the end. Cancel-safe.
    ///
    /// # Errors
    /// As [`BlobStream::chunk`]; [`ClientError::DigestMismatch`] in place of the end when the bytes are not those of the digest.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, ClientError> {
        if self.digester.is_none() {
            return Ok(None);
        }
        if let Some(piece) = self.blob.chunk().await? {
            if let Some(digester) = &mut self.digester {
                digester.update(&piece);
            }
            return Ok(Some(piece));
        }
        if let Some(actual) = self.digester.take().map(Digester::finish)
            && actual != self.expected
        {
            return Err(ClientError::DigestMismatch {
                expected: self.expected.clone(),
                actual,
            });
        }
        Ok(None)
    }

    /// The same as a stream. It ends after an error.
    pub fn into_stream(
        self,
    ) -> impl Stream<Item = Result<Bytes, ClientError>> + Send + Unpin + 'static {
        let pieces = futures_util::stream::try_unfold(self, async |mut blob| {
            Ok(blob.chunk().await?.map(|piece| (piece, blob)))
        });
        Box::pin(pieces)
    }

    /// Reads to the end and keeps nothing. Returns how many bytes there were.
    pub async fn drain(self) -> Result<u64, ClientError> {
        self.into_stream()
            .try_fold(0, async |total, piece| Ok(total + piece.len() as u64))
            .await
    }
}
