//! Hashing content piece by piece, with a state that can be kept and taken up by another process. Where a state is kept is the
//! database's business; what it looks like is [`state`]'s, and in Quay's database [`quay`]'s.

mod quay;
mod state;

pub use state::{DigestState, DigestStateError};

use std::fmt;

use digest::common::hazmat::SerializableState;
use sha2::{Digest as _, Sha256, Sha512};

use crate::{Algorithm, Digest};

/// Hashes content that arrives piece by piece.
#[derive(Clone)]
pub struct Digester {
    hasher: Hasher,
    bytes_hashed: u64,
}

#[derive(Clone)]
enum Hasher {
    Sha256(Sha256),
    Sha512(Sha512),
}

impl Digester {
    /// A hasher that has seen nothing yet.
    pub fn new(algorithm: Algorithm) -> Self {
        let hasher = match algorithm {
            Algorithm::Sha256 => Hasher::Sha256(Sha256::new()),
            Algorithm::Sha512 => Hasher::Sha512(Sha512::new()),
        };
        Self {
            hasher,
            bytes_hashed: 0,
        }
    }

    /// Goes on where a hasher was saved. The result does not depend on where the content was cut.
    ///
    /// # Errors
    /// [`DigestStateError::Malformed`] if the hash library refuses the state, which a state made by this crate's functions does
    /// not bring about.
    pub fn resume(state: &DigestState) -> Result<Self, DigestStateError> {
        let bytes_hashed = state.bytes_hashed();
        let hasher = match state.algorithm() {
            Algorithm::Sha256 => Hasher::Sha256(deserialize(state)?),
            Algorithm::Sha512 => Hasher::Sha512(deserialize(state)?),
        };
        Ok(Self {
            hasher,
            bytes_hashed,
        })
    }

    /// The hash function.
    pub const fn algorithm(&self) -> Algorithm {
        match self.hasher {
            Hasher::Sha256(_) => Algorithm::Sha256,
            Hasher::Sha512(_) => Algorithm::Sha512,
        }
    }

    /// Hashes the next piece of the content, on the calling thread: about a millisecond for a megabyte.
    pub fn update(&mut self, piece: &[u8]) {
        match &mut self.hasher {
            Hasher::Sha256(hasher) => hasher.update(piece),
            Hasher::Sha512(hasher) => hasher.update(piece),
        }
        self.bytes_hashed += piece.len() as u64;
    }

    /// How many bytes have been hashed, those before a [`Digester::resume`] included.
    pub const fn bytes_hashed(&self) -> u64 {
        self.bytes_hashed
    }

    /// The digest of all that has been hashed.
    pub fn finish(self) -> Digest {
        let algorithm = self.algorithm();
        match self.hasher {
            Hasher::Sha256(hasher) => Digest::from_hash(algorithm, &hasher.finalize()),
            Hasher::Sha512(hasher) => Digest::from_hash(algorithm, &hasher.finalize()),
        }
    }

    /// The state to keep, from which [`Digester::resume`] goes on. The hasher itself can go on as well.
    pub fn save(&self) -> DigestState {
        match &self.hasher {
            Hasher::Sha256(hasher) => {
                DigestState::from_library(Algorithm::Sha256, self.bytes_hashed, &hasher.serialize())
            }
            Hasher::Sha512(hasher) => {
                DigestState::from_library(Algorithm::Sha512, self.bytes_hashed, &hasher.serialize())
            }
        }
    }
}

impl fmt::Debug for Digester {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The state holds up to a block of the content, which is not for logs.
        formatter
            .debug_struct("Digester")
            .field("algorithm", &self.algorithm())
            .field("bytes_hashed", &self.bytes_hashed)
            .finish_non_exhaustive()
    }
}

fn deserialize<H: SerializableState>(state: &DigestState) -> Result<H, DigestStateError> {
    let refused = || DigestStateError::Malformed {
        reason: "the hash library refuses it",
    };
    let library = state.to_library();
    let array = library.as_slice().try_into().map_err(|_| refused())?;
    H::deserialize(array).map_err(|_| refused())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn algorithm() -> impl Strategy<Value = Algorithm> {
        prop::sample::select(Algorithm::ALL.to_vec())
    }

    #[test]
    fn pieces_have_the_digest_of_the_whole() {
        for algorithm in Algorithm::ALL {
            let mut digester = Digester::new(algorithm);
            digester.update(b"a");
            digester.update(b"");
            digester.update(b"bc");
            assert_eq!(digester.algorithm(), algorithm);
            assert_eq!(digester.bytes_hashed(), 3);
            assert_eq!(digester.finish(), Digest::of(algorithm, b"abc"));
        }
    }

    #[test]
    fn debug_output_does_not_show_the_content() {
        let mut digester = Digester::new(Algorithm::Sha512);
        digester.update(b"secret");
        let shown = format!("{digester:?} {:?}", digester.save());
        assert!(shown.contains("bytes_hashed: 6"), "{shown}");
        assert!(
            !shown.contains("73656372") && !shown.contains("115, 101"),
            "{shown}"
        );
    }

    proptest! {
        #[test]
        fn a_saved_hasher_goes_on_from_any_cut(algorithm in algorithm(), content: Vec<u8>, cuts in prop::collection::vec(0usize..300, 0..6)) {
            let mut digester = Digester::new(algorithm);
            let mut rest = content.as_slice();
            for cut in cuts {
                let (piece, after) = rest.split_at(cut.min(rest.len()));
                rest = after;
                digester.update(piece);
                let state = digester.save();
                prop_assert_eq!(state.bytes_hashed(), digester.bytes_hashed());
                prop_assert_eq!(state.algorithm(), algorithm);
                let read: DigestState = state.to_string().parse().unwrap();
                prop_assert_eq!(&read, &state);
                digester = Digester::resume(&read).unwrap();
                if let Ok(pickle) = state.to_quay_pickle() {
                    prop_assert_eq!(algorithm, Algorithm::Sha256);
                    let read = DigestState::from_quay_pickle(&pickle).unwrap();
                    prop_assert_eq!(&read, &state);
                    digester = Digester::resume(&read).unwrap();
                }
            }
            digester.update(rest);
            prop_assert_eq!(digester.bytes_hashed(), content.len() as u64);
            prop_assert_eq!(digester.finish(), Digest::of(algorithm, &content));
        }
    }
}
