//! Digests: the names of content. Computing them piece by piece is the business of [`Digester`](crate::Digester).

use std::fmt::{self, Write as _};
use std::str::FromStr;
use std::sync::Arc;

use sha2::{Digest as _, Sha256, Sha512};

use crate::ErrorCode;
use crate::text::{excerpt, serde_as_text};

/// A hash function that names content: the registered algorithms of the OCI image specification that this registry computes.
///
/// Both have the same standing everywhere. (`blake3`, registered later, is refused as unsupported.)
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Algorithm {
    /// SHA-256, written `sha256`: 64 hex digits.
    Sha256,
    /// SHA-512, written `sha512`: 128 hex digits.
    Sha512,
}

impl Algorithm {
    /// Every supported algorithm.
    pub const ALL: [Self; 2] = [Self::Sha256, Self::Sha512];

    /// The name in front of the colon.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Sha512 => "sha512",
        }
    }

    /// How many hex digits follow the colon.
    pub const fn hex_length(self) -> usize {
        match self {
            Self::Sha256 => 64,
            Self::Sha512 => 128,
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

impl FromStr for Algorithm {
    type Err = DigestError;

    /// Reads an algorithm's name, as in the `digest-algorithm` parameter of an upload.
    fn from_str(text: &str) -> Result<Self, DigestError> {
        Self::ALL
            .into_iter()
            .find(|algorithm| algorithm.as_str() == text)
            .ok_or_else(|| DigestError::UnsupportedAlgorithm {
                algorithm: excerpt(text),
            })
    }
}
serde_as_text!(Algorithm);

/// The name of some content: a supported algorithm and the content's hash, `sha256:<64 hex digits>`.
///
/// Ordered byte-wise by its text. A clone is a reference count.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest {
    algorithm: Algorithm,
    text: Arc<str>,
}

impl Digest {
    /// The digest of `content`, which is hashed here and now.
    pub fn of(algorithm: Algorithm, content: &[u8]) -> Self {
        match algorithm {
            Algorithm::Sha256 => Self::from_hash(algorithm, &Sha256::digest(content)),
            Algorithm::Sha512 => Self::from_hash(algorithm, &Sha512::digest(content)),
        }
    }

    /// The digest whose hash these bytes are; there are as many as the algorithm makes.
    pub(crate) fn from_hash(algorithm: Algorithm, hash: &[u8]) -> Self {
        debug_assert_eq!(hash.len() * 2, algorithm.hex_length());
        let mut text = String::with_capacity(algorithm.as_str().len() + 1 + algorithm.hex_length());
        text.push_str(algorithm.as_str());
        text.push(':');
        push_hex(&mut text, hash);
        Self {
            algorithm,
            text: text.into(),
        }
    }

    /// The hash function.
    pub const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The hash in lower-case hex, without the algorithm.
    pub fn hex(&self) -> &str {
        self.text
            .split_once(':')
            .map_or(&*self.text, |(_, hex)| hex)
    }

    /// The whole digest, `algorithm:hex`.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(&self.text)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Digest({})", self.text)
    }
}

impl FromStr for Digest {
    type Err = DigestError;

    /// Reads a digest by the grammar in section "Digests" of the image specification's `descriptor.md`.
    fn from_str(text: &str) -> Result<Self, DigestError> {
        let malformed = |reason| DigestError::Malformed {
            digest: excerpt(text),
            reason,
        };
        let (name, encoded) = text
            .split_once(':')
            .ok_or_else(|| malformed("it has no colon; write it as sha256:<64 hex digits>"))?;
        let Ok(algorithm) = name.parse::<Algorithm>() else {
            return Err(match grammar_fault(name, encoded) {
                Some(reason) => malformed(reason),
                None => DigestError::UnsupportedAlgorithm {
                    algorithm: excerpt(name),
                },
            });
        };
        if encoded
            .bytes()
            .any(|byte| !matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
        {
            return Err(malformed(
                "its hash may only have the digits 0-9 and a-f, in lower case",
            ));
        }
        if encoded.len() != algorithm.hex_length() {
            return Err(malformed(match algorithm {
                Algorithm::Sha256 => "a sha256 hash has 64 hex digits",
                Algorithm::Sha512 => "a sha512 hash has 128 hex digits",
            }));
        }
        Ok(Self {
            algorithm,
            text: text.into(),
        })
    }
}
serde_as_text!(Digest);

/// Why a text is not a digest of this registry.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DigestError {
    /// The text breaks the grammar of digests, or of its algorithm.
    #[error("digest {digest} is malformed: {reason}")]
    Malformed {
        /// The text, quoted and cut.
        digest: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The text may be a digest, but not one that this registry can verify.
    #[error("digest algorithm {algorithm} is not supported; use sha256 or sha512")]
    UnsupportedAlgorithm {
        /// The algorithm's name, quoted and cut.
        algorithm: String,
    },
}

impl DigestError {
    /// The code to answer a client with.
    #[expect(
        clippy::unused_self,
        reason = "each error says its code, those with one code for all as well"
    )]
    pub const fn code(&self) -> ErrorCode {
        ErrorCode::DigestInvalid
    }
}

/// What is wrong with a digest by the general grammar, whatever its algorithm.
fn grammar_fault(algorithm: &str, encoded: &str) -> Option<&'static str> {
    let component = |text: &str| {
        !text.is_empty()
            && text
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
    };
    if !algorithm.split(['+', '.', '_', '-']).all(component) {
        return Some("what is before the colon is not the name of an algorithm");
    }
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'=' | b'_' | b'-');
    if encoded.is_empty() || !encoded.bytes().all(fits) {
        return Some("what is after the colon is not an encoded hash");
    }
    None
}

/// Appends the bytes in lower-case hex.
pub(crate) fn push_hex(text: &mut String, bytes: &[u8]) {
    for byte in bytes {
        write!(text, "{byte:02x}").expect("writing to a string does not fail");
    }
}

/// The bytes that lower-case hex stands for; `None` if it is anything else.
pub(crate) fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if !rest.is_empty() {
        return None;
    }
    pairs
        .iter()
        .map(|&[high, low]| Some(digit(high)? << 4 | digit(low)?))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const EMPTY_SHA256: &str =
        "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    const ABC_SHA512: &str = "sha512:ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a\
                              2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f";

    #[test]
    fn known_content_has_its_known_digest() {
        assert_eq!(Digest::of(Algorithm::Sha256, b"").as_str(), EMPTY_SHA256);
        assert_eq!(Digest::of(Algorithm::Sha512, b"abc").as_str(), ABC_SHA512);
    }

    #[test]
    fn a_digest_comes_apart_into_algorithm_and_hex() {
        let digest: Digest = EMPTY_SHA256.parse().unwrap();
        assert_eq!(digest.algorithm(), Algorithm::Sha256);
        assert_eq!(format!("sha256:{}", digest.hex()), EMPTY_SHA256);
        let digest: Digest = ABC_SHA512.parse().unwrap();
        assert_eq!(digest.algorithm(), Algorithm::Sha512);
        assert_eq!(digest.hex().len(), 128);
    }

    #[test]
    fn malformed_digests_are_told_from_unsupported_ones() {
        let hex64 = "a".repeat(64);
        let malformed = [
            String::new(),
            ":".into(),
            "sha256".into(),
            "sha256:".into(),
            hex64.clone(),
            format!(":{hex64}"),
            "sha256:baddigeststring".into(),
            format!("sha256:{hex64}a"),
            format!("sha256:{}", "a".repeat(63)),
            format!("sha512:{hex64}"),
            format!("sha256:{}", "A".repeat(64)),
            format!("SHA256:{hex64}"),
            format!("sha256 :{hex64}"),
            format!("sha256:{hex64}\n"),
            format!("sha256::{hex64}"),
            format!("md5:{hex64}/../x"),
            format!("multihash+:{hex64}"),
            format!("sha256:{}é", "a".repeat(62)),
        ];
        for text in malformed {
            let error = text.parse::<Digest>().unwrap_err();
            assert!(
                matches!(error, DigestError::Malformed { .. }),
                "{text:?}: {error}"
            );
            assert_eq!(error.code(), ErrorCode::DigestInvalid);
        }
        for text in [
            "blake3:6c3c624b58dbbcd3c0dd82b4c53f04194d1247c6eebdaab7c610cf7d66709b3b",
            "multihash+base58:QmRZxt2b1FVZPNqd8hsiykDL3TdBDeTSPX9Kv46HmX4Gx8",
            "sha256+b64u:LCa0a2j_xo_5m0U8HTBBNBNCLXBkg7-g-YpeiGJm564",
            "md5:d41d8cd98f00b204e9800998ecf8427e",
        ] {
            let error = text.parse::<Digest>().unwrap_err();
            assert!(
                matches!(error, DigestError::UnsupportedAlgorithm { .. }),
                "{text:?}: {error}"
            );
        }
    }

    #[test]
    fn messages_name_the_digest_and_stay_short() {
        let error = "sha256:xyz".parse::<Digest>().unwrap_err().to_string();
        assert!(error.contains("`sha256:xyz`"), "{error}");
        let error = "x"
            .repeat(1 << 20)
            .parse::<Digest>()
            .unwrap_err()
            .to_string();
        assert!(error.len() < 300, "{} bytes", error.len());
    }

    #[test]
    fn json_holds_the_text_and_checks_it() {
        let digest: Digest = EMPTY_SHA256.parse().unwrap();
        let json = serde_json::to_string(&digest).unwrap();
        assert_eq!(json, format!("\"{EMPTY_SHA256}\""));
        assert_eq!(serde_json::from_str::<Digest>(&json).unwrap(), digest);
        assert!(serde_json::from_str::<Digest>("\"sha256:0\"").is_err());
    }

    proptest! {
        #[test]
        fn every_digest_reads_back_from_its_text(content: Vec<u8>, long: bool) {
            let algorithm = if long { Algorithm::Sha512 } else { Algorithm::Sha256 };
            let digest = Digest::of(algorithm, &content);
            prop_assert_eq!(digest.to_string().parse::<Digest>().unwrap(), digest);
        }

        #[test]
        fn any_text_is_answered_without_a_panic(text in ".*") {
            if let Ok(digest) = text.parse::<Digest>() {
                prop_assert_eq!(digest.as_str(), text);
            }
        }

        #[test]
        fn near_digests_that_are_accepted_keep_their_text(text in "(sha256|sha512|sha1):[0-9a-fA-Fg]{63,65}") {
            let expected = text.len() == 71 && text.starts_with("sha256:")
                && text.bytes().skip(7).all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
            prop_assert_eq!(text.parse::<Digest>().is_ok(), expected);
        }

        #[test]
        fn digests_sort_as_their_texts_do(one: Vec<u8>, two: Vec<u8>) {
            let digests = [Digest::of(Algorithm::Sha256, &one), Digest::of(Algorithm::Sha512, &two)];
            let texts = [digests[0].to_string(), digests[1].to_string()];
            prop_assert_eq!(digests[0].cmp(&digests[1]), texts[0].cmp(&texts[1]));
        }

        #[test]
        fn hex_reads_back(bytes: Vec<u8>) {
            let mut text = String::new();
            push_hex(&mut text, &bytes);
            prop_assert_eq!(from_hex(&text), Some(bytes));
        }
    }
}
