//! What a half-finished hash is kept as, between requests, processes and versions of this program.
//!
//! The hash library promises to read back only what the same minor version wrote. So a state is kept in the terms of the hash
//! functions' standard (FIPS 180-4), and put into and taken out of the library's form here alone.

use std::fmt;
use std::str::FromStr;

use crate::Algorithm;
use crate::digest::{from_hex, push_hex};
use crate::text::serde_as_text;

/// The first field of the text form. A reader refuses what it does not know.
const VERSION: &str = "1";

/// The longest content whose state is read back: 1 EiB. Far beyond any blob, and far below where the hash library's counters,
/// in bits, would overflow.
const BYTES_HASHED_MAX: u64 = 1 << 60;

/// The state of a hasher that has seen part of some content: opaque, small (at most about 450 characters), portable.
///
/// The text form (`Display`, `FromStr`, serde) has five fields divided by colons: its version, the algorithm, the number of
/// bytes hashed, the chaining value in hex and, in hex, the bytes after the last whole block. It holds up to 127 bytes of the
/// content, so it belongs where the content may be kept; `Debug` does not show them.
#[derive(Clone, PartialEq, Eq)]
pub struct DigestState {
    algorithm: Algorithm,
    bytes_hashed: u64,
    /// The words of the chaining value, each in big-endian order as the standard writes them.
    chaining: Vec<u8>,
    /// The bytes after the last whole block, fewer than a block.
    tail: Vec<u8>,
}

/// Sizes in bytes.
struct Layout {
    word: usize,
    block: usize,
    /// The library's count of whole blocks.
    counter: usize,
}

impl Layout {
    const WORDS: usize = 8;

    const fn of(algorithm: Algorithm) -> Self {
        match algorithm {
            Algorithm::Sha256 => Self {
                word: 4,
                block: 64,
                counter: 8,
            },
            Algorithm::Sha512 => Self {
                word: 8,
                block: 128,
                counter: 16,
            },
        }
    }

    const fn chaining(&self) -> usize {
        self.word * Self::WORDS
    }
}

impl DigestState {
    /// The hash function.
    pub const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// How many bytes have been hashed.
    pub const fn bytes_hashed(&self) -> u64 {
        self.bytes_hashed
    }

    pub(super) fn chaining(&self) -> &[u8] {
        &self.chaining
    }

    pub(super) fn tail(&self) -> &[u8] {
        &self.tail
    }

    /// Puts a state together, if the parts fit each other.
    pub(super) fn new(
        algorithm: Algorithm,
        bytes_hashed: u64,
        chaining: Vec<u8>,
        tail: Vec<u8>,
    ) -> Result<Self, DigestStateError> {
        let malformed = |reason| Err(DigestStateError::Malformed { reason });
        let layout = Layout::of(algorithm);
        if bytes_hashed > BYTES_HASHED_MAX {
            return malformed("it counts more bytes than any content has");
        }
        if chaining.len() != layout.chaining() {
            return malformed("its chaining value has another length than the algorithm's");
        }
        if tail.len() as u64 != bytes_hashed % layout.block as u64 {
            return malformed("its last bytes do not fit the number of bytes hashed");
        }
        Ok(Self {
            algorithm,
            bytes_hashed,
            chaining,
            tail,
        })
    }

    /// Takes a state out of the library's form: words (little-endian), count of whole blocks, length of the tail (one byte),
    /// the tail filled up with zeros.
    pub(super) fn from_library(algorithm: Algorithm, bytes_hashed: u64, library: &[u8]) -> Self {
        let layout = Layout::of(algorithm);
        let (words, rest) = library.split_at(layout.chaining());
        let (_, buffer) = rest.split_at(layout.counter);
        let tail_length = usize::from(buffer[0]);
        Self {
            algorithm,
            bytes_hashed,
            chaining: swap_words(words, layout.word),
            tail: buffer[1..=tail_length].to_vec(),
        }
    }

    /// Puts the state into the library's form, the reverse of [`Self::from_library`].
    pub(super) fn to_library(&self) -> Vec<u8> {
        let layout = Layout::of(self.algorithm);
        let blocks = self.bytes_hashed / layout.block as u64;
        let mut library = swap_words(&self.chaining, layout.word);
        library.extend(&u128::from(blocks).to_le_bytes()[..layout.counter]);
        library.push(
            u8::try_from(self.tail.len()).expect("a tail is shorter than a block of 128 bytes"),
        );
        library.extend(&self.tail);
        library.resize(layout.chaining() + layout.counter + layout.block, 0);
        library
    }
}

/// Reverses the bytes of each word.
pub(super) fn swap_words(words: &[u8], word: usize) -> Vec<u8> {
    words
        .chunks(word)
        .flat_map(|word| word.iter().rev())
        .copied()
        .collect()
}

impl fmt::Display for DigestState {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = format!("{VERSION}:{}:{}:", self.algorithm, self.bytes_hashed);
        push_hex(&mut text, &self.chaining);
        text.push(':');
        push_hex(&mut text, &self.tail);
        formatter.write_str(&text)
    }
}

impl FromStr for DigestState {
    type Err = DigestStateError;

    fn from_str(text: &str) -> Result<Self, DigestStateError> {
        let malformed = |reason| DigestStateError::Malformed { reason };
        let mut fields = text.split(':');
        let mut next = || {
            fields
                .next()
                .ok_or_else(|| malformed("it has too few fields"))
        };
        if next()? != VERSION {
            return Err(malformed(
                "it is of a version that this program does not know",
            ));
        }
        let algorithm = next()?
            .parse()
            .map_err(|_| malformed("it is of an algorithm that this program does not know"))?;
        let bytes_hashed = next()?
            .parse()
            .map_err(|_| malformed("its number of bytes hashed is not a number"))?;
        let chaining =
            from_hex(next()?).ok_or_else(|| malformed("its chaining value is not hex"))?;
        let tail = from_hex(next()?).ok_or_else(|| malformed("its last bytes are not hex"))?;
        if fields.next().is_some() {
            return Err(malformed("it has too many fields"));
        }
        Self::new(algorithm, bytes_hashed, chaining, tail)
    }
}
serde_as_text!(DigestState);

impl fmt::Debug for DigestState {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("DigestState")
            .field("algorithm", &self.algorithm)
            .field("bytes_hashed", &self.bytes_hashed)
            .finish_non_exhaustive()
    }
}

/// Why a hash cannot go on from a kept state. The state came from the database, not from a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DigestStateError {
    /// The state was not written by this crate, nor by Quay, or it was damaged.
    #[error("kept hash state is malformed: {reason}; the upload has to start again")]
    Malformed {
        /// What is wrong with it.
        reason: &'static str,
    },
    /// Quay's form was asked of an algorithm that Quay does not hash uploads with.
    #[error("a {algorithm} hash state has no form that Quay reads")]
    NotInQuay {
        /// The state's algorithm.
        algorithm: Algorithm,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Digest, Digester};

    /// After 64 times `x` and then `ab`. The chaining value was computed from the standard by another program.
    const KEPT: &str =
        "1:sha256:66:8b32cd46d0772d44e4158e19ed1472e235a42a1836eccee0e292295b85adffde:6162";

    #[test]
    fn the_text_of_a_state_is_stable() {
        let mut digester = Digester::new(Algorithm::Sha256);
        assert_eq!(
            digester.save().to_string(),
            "1:sha256:0:6a09e667bb67ae853c6ef372a54ff53a510e527f9b05688c1f83d9ab5be0cd19:"
        );
        digester.update(&[b'x'; 64]);
        digester.update(b"ab");
        assert_eq!(digester.save().to_string(), KEPT);
        let state: DigestState = Digester::new(Algorithm::Sha512).save();
        assert_eq!(
            state.to_string(),
            "1:sha512:0:6a09e667f3bcc908bb67ae8584caa73b3c6ef372fe94f82ba54ff53a5f1d36f1\
             510e527fade682d19b05688c2b3e6c1f1f83d9abfb41bd6b5be0cd19137e2179:"
        );
    }

    #[test]
    fn a_text_written_by_an_earlier_build_still_resumes() {
        let state: DigestState = KEPT.parse().unwrap();
        let mut digester = Digester::resume(&state).unwrap();
        digester.update(b"c");
        let mut content = vec![b'x'; 64];
        content.extend(b"abc");
        assert_eq!(digester.finish(), Digest::of(Algorithm::Sha256, &content));
    }

    #[test]
    fn damaged_states_are_refused() {
        let chaining = "6a09e667bb67ae853c6ef372a54ff53a510e527f9b05688c1f83d9ab5be0cd19";
        for text in [
            String::new(),
            "1".into(),
            "1:sha256".into(),
            format!("2:sha256:0:{chaining}:"),
            format!("1:md5:0:{chaining}:"),
            format!("1:sha512:0:{chaining}:"),
            format!("1:sha256:-1:{chaining}:"),
            format!("1:sha256:1:{chaining}:"),
            format!("1:sha256:0:{chaining}:00"),
            format!("1:sha256:64:{chaining}:{}", "00".repeat(64)),
            format!("1:sha256:0:{chaining}00:"),
            format!("1:sha256:0:{chaining}"),
            format!("1:sha256:0:{chaining}::"),
            format!("1:sha256:0:{}:", chaining.to_uppercase()),
            format!("1:sha256:1:{chaining}:0"),
            format!("1:sha256:18446744073709551552:{chaining}:"),
            format!("1:sha256:99999999999999999999:{chaining}:"),
        ] {
            let error = text.parse::<DigestState>().unwrap_err();
            assert!(
                matches!(error, DigestStateError::Malformed { .. }),
                "{text}: {error}"
            );
        }
    }

    #[test]
    fn the_longest_content_does_not_overflow_the_counters() {
        for algorithm in Algorithm::ALL {
            let chaining = vec![0; Layout::of(algorithm).chaining()];
            let state = DigestState::new(algorithm, BYTES_HASHED_MAX, chaining.clone(), Vec::new())
                .unwrap();
            let mut digester = Digester::resume(&state).unwrap();
            digester.update(&[0; 1000]);
            assert_eq!(digester.bytes_hashed(), BYTES_HASHED_MAX + 1000);
            digester.finish();
            DigestState::new(algorithm, BYTES_HASHED_MAX + 128, chaining, Vec::new()).unwrap_err();
        }
    }
}
