//! The form in which Quay keeps a half-finished SHA-256 in its database: column `blobupload.sha_state`.
//!
//! It is base64 of a Python pickle (protocol 4) of Quay's hasher object, always 160 bytes: [`PREFIX`], which names the class and
//! announces 112 bytes; those 112 bytes, a C structure of a 64-bit little-endian machine; [`SUFFIX`], which hands them to the
//! object. The structure is: the block buffer (64 bytes, what is behind the bytes in use is left over from the block before),
//! the bytes in use (u32 and four bytes of padding), the bits hashed in whole blocks (u64), the eight words of the chaining value.
//!
//! A pickle is a program. It is not run here: anything but this exact frame is refused.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::state::{DigestState, DigestStateError, swap_words};
use crate::Algorithm;

/// Protocol 4, a frame of 149 bytes, class `resumablesha256.sha256`, a new object of it, 112 bytes to follow.
const PREFIX: &[u8; 45] =
    b"\x80\x04\x95\x95\0\0\0\0\0\0\0\x8c\x0fresumablesha256\x94\x8c\x06sha256\x94\x93\x94)\x81\x94Cp";
/// Give the bytes to the object, end.
const SUFFIX: &[u8; 3] = b"\x94b.";

const BLOCK_BYTES: usize = 64;
const WORD_BYTES: usize = 4;
const STRUCTURE_BYTES: usize = 112;

impl DigestState {
    /// The state as Quay keeps it, for `blobupload.sha_state`. Always 216 characters.
    ///
    /// # Errors
    /// [`DigestStateError::NotInQuay`] for other algorithms than SHA-256.
    pub fn to_quay_pickle(&self) -> Result<String, DigestStateError> {
        if self.algorithm() != Algorithm::Sha256 {
            return Err(DigestStateError::NotInQuay {
                algorithm: self.algorithm(),
            });
        }
        let tail_length = self.tail().len() as u64;
        let bits_in_blocks = (self.bytes_hashed() - tail_length) * 8;
        let mut pickle = PREFIX.to_vec();
        pickle.extend(self.tail());
        pickle.resize(PREFIX.len() + BLOCK_BYTES, 0);
        pickle.extend(tail_length.to_le_bytes());
        pickle.extend(bits_in_blocks.to_le_bytes());
        pickle.extend(swap_words(self.chaining(), WORD_BYTES));
        pickle.extend(SUFFIX);
        Ok(STANDARD.encode(pickle))
    }

    /// Reads a state that Quay, or [`Self::to_quay_pickle`], wrote to `blobupload.sha_state`.
    ///
    /// # Errors
    /// [`DigestStateError::Malformed`] if it is anything else.
    pub fn from_quay_pickle(text: &str) -> Result<Self, DigestStateError> {
        let malformed = |reason| DigestStateError::Malformed { reason };
        let pickle = STANDARD
            .decode(text)
            .map_err(|_| malformed("it is not base64"))?;
        let structure: &[u8; STRUCTURE_BYTES] = pickle
            .strip_prefix(PREFIX)
            .and_then(|rest| rest.strip_suffix(SUFFIX))
            .and_then(|structure| structure.try_into().ok())
            .ok_or_else(|| malformed("it is not a pickle of Quay's SHA-256 hasher"))?;
        let (buffer, rest) = structure.split_at(BLOCK_BYTES);
        let (counts, words) = rest.split_at(16);
        // Only the low half of the first count: the other half is padding that Quay does not set.
        let in_use = counts[..4]
            .iter()
            .rev()
            .fold(0_usize, |count, byte| count << 8 | usize::from(*byte));
        let bits_in_blocks = counts[8..]
            .iter()
            .rev()
            .fold(0_u64, |count, byte| count << 8 | u64::from(*byte));
        let tail = buffer
            .get(..in_use)
            .filter(|tail| tail.len() < BLOCK_BYTES)
            .ok_or_else(|| malformed("it has more bytes in its buffer than fit"))?;
        if bits_in_blocks % (BLOCK_BYTES as u64 * 8) != 0 {
            return Err(malformed("it counts a part of a block as a whole one"));
        }
        let bytes_hashed = bits_in_blocks / 8 + tail.len() as u64;
        Self::new(
            Algorithm::Sha256,
            bytes_hashed,
            swap_words(words, WORD_BYTES),
            tail.to_vec(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Digester;
    use proptest::prelude::*;

    /// Written by Quay after the first chunk of an upload, the 40 000 bytes that `random.Random(99).randbytes(40000)` gives in
    /// Python. The buffer holds the last whole block, none of it in use.
    const WRITTEN_BY_QUAY: &str = "gASVlQAAAAAAAACMD3Jlc3VtYWJsZXNoYTI1NpSMBnNoYTI1NpSTlCmBlENwdPaJy1GAfGTo8Mo8LuibtZ6Ololw4DDlhHKJ\
                                   kYKI4j4FRNANLddIOL+dhe2+lahLCrXItHVV48Xfoj42a8TLigAAAAAAAAAAAOIEAAAAAADSGt+KrcjgY9ryUMOgShT2+Id/\
                                   FJzfRGG1CKZmDpOPJpRiLg==";
    const SHA256_OF_THE_40000_BYTES: &str =
        "sha256:5ff0399122054deb77f8d1f819c599b1bb9f327e9d43626870a6e1994b6d168b";

    fn pickle_bytes(text: &str) -> Vec<u8> {
        STANDARD.decode(text).unwrap()
    }

    #[test]
    fn a_state_that_quay_wrote_is_taken_up() {
        let state = DigestState::from_quay_pickle(WRITTEN_BY_QUAY).unwrap();
        assert_eq!(state.algorithm(), Algorithm::Sha256);
        assert_eq!(state.bytes_hashed(), 40_000);
        let digester = Digester::resume(&state).unwrap();
        assert_eq!(digester.bytes_hashed(), 40_000);
        assert_eq!(digester.finish().as_str(), SHA256_OF_THE_40000_BYTES);
    }

    #[test]
    fn a_state_goes_back_to_quay_as_it_came_but_for_the_bytes_not_in_use() {
        let state = DigestState::from_quay_pickle(WRITTEN_BY_QUAY).unwrap();
        let written = state.to_quay_pickle().unwrap();
        assert_eq!(DigestState::from_quay_pickle(&written).unwrap(), state);
        let mut expected = pickle_bytes(WRITTEN_BY_QUAY);
        expected[PREFIX.len()..PREFIX.len() + BLOCK_BYTES].fill(0);
        assert_eq!(pickle_bytes(&written), expected);
        assert_eq!(written.len(), 216);
    }

    #[test]
    fn left_over_bytes_and_padding_do_not_matter() {
        let mut digester = Digester::new(Algorithm::Sha256);
        digester.update(b"0123456789");
        let state = digester.save();
        let mut pickle = pickle_bytes(&state.to_quay_pickle().unwrap());
        pickle[PREFIX.len() + 10..PREFIX.len() + BLOCK_BYTES].fill(0xaa);
        pickle[PREFIX.len() + BLOCK_BYTES + 4..PREFIX.len() + BLOCK_BYTES + 8].fill(0xbb);
        assert_eq!(
            DigestState::from_quay_pickle(&STANDARD.encode(pickle)).unwrap(),
            state
        );
    }

    #[test]
    fn quay_has_no_form_for_sha512() {
        let error = Digester::new(Algorithm::Sha512)
            .save()
            .to_quay_pickle()
            .unwrap_err();
        assert_eq!(
            error,
            DigestStateError::NotInQuay {
                algorithm: Algorithm::Sha512
            }
        );
    }

    #[test]
    fn other_pickles_and_damaged_ones_are_refused() {
        let whole = pickle_bytes(WRITTEN_BY_QUAY);
        let mut cases = vec![
            Vec::new(),
            b"\x80\x04N.".to_vec(),
            whole[1..].to_vec(),
            whole[..159].to_vec(),
        ];
        let with = |position: usize, value: u8| {
            let mut pickle = whole.clone();
            pickle[position] = value;
            pickle
        };
        // Each byte of the frame.
        cases.extend(
            (0..PREFIX.len())
                .chain(157..160)
                .map(|position| with(position, whole[position] ^ 1)),
        );
        let counts = PREFIX.len() + BLOCK_BYTES;
        cases.extend([
            with(counts, 64),
            with(counts + 1, 1),
            with(counts + 8, 1),
            with(counts + 15, 0x80),
        ]);
        for pickle in cases {
            let error = DigestState::from_quay_pickle(&STANDARD.encode(&pickle)).unwrap_err();
            assert!(
                matches!(error, DigestStateError::Malformed { .. }),
                "{pickle:02x?}: {error}"
            );
        }
        for text in ["", "%", "gASVlQ", "None"] {
            DigestState::from_quay_pickle(text).unwrap_err();
        }
    }

    proptest! {
        #[test]
        fn any_pickle_of_the_right_frame_is_answered_without_a_panic(structure in prop::collection::vec(any::<u8>(), STRUCTURE_BYTES)) {
            let pickle = [PREFIX.as_slice(), &structure, SUFFIX].concat();
            if let Ok(state) = DigestState::from_quay_pickle(&STANDARD.encode(pickle)) {
                let mut digester = Digester::resume(&state).unwrap();
                digester.update(b"more");
                digester.finish();
            }
        }

        #[test]
        fn any_text_is_answered_without_a_panic(text in ".{0,300}") {
            prop_assert!(text.parse::<DigestState>().is_err());
            prop_assert!(DigestState::from_quay_pickle(&text).is_err());
        }
    }
}
