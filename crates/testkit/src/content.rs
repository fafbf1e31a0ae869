//! Content from a seed: any size, made as it is read.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, stream};
use roadstead_client::RequestBody;
use roadstead_oci::{Algorithm, Digest, Digester};
use roadstead_runtime::{Ids as _, SeededIds};

/// Size of the pieces in which content is made.
const PIECE_BYTES: usize = 1024 * 1024;

/// Bytes that a seed and a size decide. Holds one piece (1 MiB) at most; making it costs a copy of memory.
#[derive(Clone, Debug)]
pub struct Content {
    size: u64,
    /// Chance, of which every piece is a copy with its own number in front.
    block: Bytes,
}

impl Content {
    /// The content of this seed and size. Content of another seed or size has no piece in common with it.
    pub fn new(seed: u64, size: u64) -> Self {
        let length = usize::try_from(size.min(PIECE_BYTES as u64)).expect("at most a piece");
        let mut block = vec![0; length];
        SeededIds::new(seed ^ size.rotate_left(40)).fill(&mut block);
        Self {
            size,
            block: block.into(),
        }
    }

    /// How many bytes there are.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The pieces, in order.
    pub fn pieces(&self) -> impl Iterator<Item = Bytes> + Send + Sync + use<> {
        self.pieces_from(0)
    }

    /// The pieces of what follows the first `offset` bytes.
    pub fn pieces_from(&self, offset: u64) -> impl Iterator<Item = Bytes> + Send + Sync + use<> {
        let (size, block) = (self.size, self.block.clone());
        let piece_bytes = PIECE_BYTES as u64;
        let mut position = offset.min(size);
        std::iter::from_fn(move || {
            if position == size {
                return None;
            }
            let number = position / piece_bytes;
            let start = number * piece_bytes;
            let end = size.min(start + piece_bytes);
            let length = usize::try_from(end - start).expect("at most a piece");
            let piece = if number == 0 {
                block.slice(..length)
            } else {
                let mut piece = block.slice(..length).to_vec();
                for (byte, mark) in piece.iter_mut().zip(number.to_le_bytes()) {
                    *byte ^= mark;
                }
                piece.into()
            };
            let skipped = usize::try_from(position - start).expect("within a piece");
            position = end;
            Some(piece.slice(skipped..))
        })
    }

    /// The pieces as a stream.
    pub fn stream(&self) -> impl Stream<Item = io::Result<Bytes>> + Send + Unpin + use<> {
        stream::iter(self.pieces().map(Ok))
    }

    /// A request's body that announces its length.
    pub fn body(&self) -> RequestBody {
        RequestBody::stream(self.stream(), Some(self.size))
    }

    /// A request's body, and what will have been its digest once it has been sent: content that is read once and never known
    /// beforehand.
    pub fn body_hashed(&self, algorithm: Algorithm) -> (RequestBody, HashedBody) {
        let hashed = HashedBody(Arc::new(Mutex::new(Digester::new(algorithm))));
        let digester = Arc::clone(&hashed.0);
        let stream = self.stream().inspect(move |piece| {
            if let Ok(piece) = piece {
                digester
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .update(piece);
            }
        });
        (RequestBody::stream(stream, Some(self.size)), hashed)
    }

    /// All of it, in memory.
    pub fn bytes(&self) -> Bytes {
        self.pieces().collect::<Vec<_>>().concat().into()
    }

    /// Its digest: reads all of it.
    pub fn digest(&self, algorithm: Algorithm) -> Digest {
        let mut digester = Digester::new(algorithm);
        self.pieces().for_each(|piece| digester.update(&piece));
        digester.finish()
    }
}

/// The digest of a body that is being sent.
#[derive(Clone, Debug)]
pub struct HashedBody(Arc<Mutex<Digester>>);

impl HashedBody {
    /// The digest of what has been sent so far.
    pub fn digest(&self) -> Digest {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_is_the_same_each_time_and_from_any_offset() {
        let content = Content::new(7, 2 * PIECE_BYTES as u64 + 5);
        let bytes = content.bytes();
        assert_eq!(bytes.len() as u64, content.size());
        assert_eq!(Content::new(7, content.size()).bytes(), bytes);
        assert_eq!(
            content.digest(Algorithm::Sha256),
            Digest::of(Algorithm::Sha256, &bytes)
        );
        for offset in [
            0,
            1,
            PIECE_BYTES - 1,
            PIECE_BYTES,
            2 * PIECE_BYTES + 4,
            bytes.len(),
            bytes.len() + 1,
        ] {
            let rest: Vec<Bytes> = content.pieces_from(offset as u64).collect();
            assert_eq!(
                rest.concat(),
                bytes.slice(offset.min(bytes.len())..),
                "{offset}"
            );
        }
    }

    #[test]
    fn pieces_seeds_and_sizes_differ() {
        let content = Content::new(7, 2 * PIECE_BYTES as u64);
        let pieces: Vec<Bytes> = content.pieces().collect();
        assert_ne!(pieces[0], pieces[1]);
        assert_ne!(Content::new(8, 100).bytes(), Content::new(7, 100).bytes());
        assert_ne!(
            Content::new(7, 101).bytes()[..100],
            Content::new(7, 100).bytes()
        );
        assert_eq!(Content::new(7, 0).bytes(), Bytes::new());
    }
}
