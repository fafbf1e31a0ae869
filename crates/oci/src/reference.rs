//! Tags, and what may stand behind `/manifests/` in a URL.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::text::{excerpt, serde_as_text};
use crate::{Digest, DigestError, ErrorCode};

/// The name of a tag, by the grammar of section "Pulling manifests" of the distribution specification:
/// `[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}`.
///
/// Ordered byte-wise, the order of tag lists. A clone is a reference count.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tag(Arc<str>);

impl Tag {
    /// The most characters of a tag.
    pub const LENGTH_MAX: usize = 128;

    /// The tag's name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(&self.0)
    }
}

impl fmt::Debug for Tag {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Tag({})", self.0)
    }
}

impl FromStr for Tag {
    type Err = TagError;

    fn from_str(text: &str) -> Result<Self, TagError> {
        let malformed = |reason| {
            Err(TagError::Malformed {
                tag: excerpt(text),
                reason,
            })
        };
        let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        let Some(first) = text.bytes().next() else {
            return Err(TagError::Empty);
        };
        if text.len() > Self::LENGTH_MAX {
            return Err(TagError::TooLong {
                tag: excerpt(text),
                bytes: text.len(),
            });
        }
        if !text
            .bytes()
            .all(|byte| word(byte) || matches!(byte, b'.' | b'-'))
        {
            return malformed("use only the letters a-z and A-Z, the digits 0-9, `_`, `.` and `-`");
        }
        if !word(first) {
            return malformed("it begins with a letter, a digit or `_`");
        }
        Ok(Self(text.into()))
    }
}
serde_as_text!(Tag);

/// Why a text is not the name of a tag.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TagError {
    /// There is no text.
    #[error("tag is empty")]
    Empty,
    /// The text is longer than [`Tag::LENGTH_MAX`].
    #[error(
        "tag {tag} has {bytes} characters; at most {} are allowed",
        Tag::LENGTH_MAX
    )]
    TooLong {
        /// The text, quoted and cut.
        tag: String,
        /// Its length in bytes.
        bytes: usize,
    },
    /// The text breaks the grammar.
    #[error("tag {tag} is not allowed: {reason}")]
    Malformed {
        /// The text, quoted and cut.
        tag: String,
        /// What is wrong with it.
        reason: &'static str,
    },
}

impl TagError {
    /// The code to answer a client with.
    #[expect(
        clippy::unused_self,
        reason = "each error says its code, those with one code for all as well"
    )]
    pub const fn code(&self) -> ErrorCode {
        ErrorCode::TagInvalid
    }
}

/// What names a manifest in a repository: a tag, or the manifest's digest.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reference {
    /// Whatever the tag points to at the time.
    Tag(Tag),
    /// The manifest with that digest.
    Digest(Digest),
}

impl Reference {
    /// The tag, if it is one.
    pub const fn tag(&self) -> Option<&Tag> {
        match self {
            Self::Tag(tag) => Some(tag),
            Self::Digest(_) => None,
        }
    }

    /// The digest, if it is one.
    pub const fn digest(&self) -> Option<&Digest> {
        match self {
            Self::Tag(_) => None,
            Self::Digest(digest) => Some(digest),
        }
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tag(tag) => tag.fmt(formatter),
            Self::Digest(digest) => digest.fmt(formatter),
        }
    }
}

impl FromStr for Reference {
    type Err = ReferenceError;

    /// Reads a text with a colon as a digest, any other as a tag: no text is both.
    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        if text.contains(':') {
            Ok(Self::Digest(text.parse()?))
        } else {
            Ok(Self::Tag(text.parse()?))
        }
    }
}
serde_as_text!(Reference);

impl From<Tag> for Reference {
    fn from(tag: Tag) -> Self {
        Self::Tag(tag)
    }
}

impl From<Digest> for Reference {
    fn from(digest: Digest) -> Self {
        Self::Digest(digest)
    }
}

/// Why a text names no manifest.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReferenceError {
    /// It has no colon, and is not a tag.
    #[error(transparent)]
    Tag(#[from] TagError),
    /// It has a colon, and is not a digest.
    #[error(transparent)]
    Digest(#[from] DigestError),
}

impl ReferenceError {
    /// The code to answer a client with.
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::Tag(error) => error.code(),
            Self::Digest(error) => error.code(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Algorithm;
    use proptest::prelude::*;

    #[test]
    fn tags_of_the_grammar_are_accepted_and_others_refused() {
        let longest = "t".repeat(128);
        for text in [
            "a",
            "_",
            "0",
            "latest",
            "V1.2.3-rc_4",
            "A..b--c__",
            "a.",
            longest.as_str(),
        ] {
            assert_eq!(text.parse::<Tag>().unwrap().as_str(), text);
        }
        for text in [
            ".", "..", "-", ".a", "-a", "a b", "a/b", "a\0", "a%2e", "é", "a\n", "a+b",
        ] {
            let error = text.parse::<Tag>().unwrap_err();
            assert!(
                matches!(error, TagError::Malformed { .. }),
                "{text:?}: {error}"
            );
            assert_eq!(error.code(), ErrorCode::TagInvalid);
        }
        assert_eq!("".parse::<Tag>().unwrap_err(), TagError::Empty);
        let error = "t".repeat(129).parse::<Tag>().unwrap_err();
        assert!(
            matches!(error, TagError::TooLong { bytes: 129, .. }),
            "{error}"
        );
    }

    #[test]
    fn a_colon_makes_a_reference_a_digest() {
        let digest = Digest::of(Algorithm::Sha512, b"x");
        assert_eq!(
            digest.to_string().parse::<Reference>().unwrap(),
            Reference::Digest(digest.clone())
        );
        let reference: Reference = "latest".parse().unwrap();
        assert_eq!(reference.tag().unwrap().as_str(), "latest");
        assert_eq!(reference.digest(), None);
        assert_eq!(Reference::from(digest.clone()).digest(), Some(&digest));

        let error = "sha256:baddigeststring".parse::<Reference>().unwrap_err();
        assert_eq!(error.code(), ErrorCode::DigestInvalid);
        let error = "not~a~tag".parse::<Reference>().unwrap_err();
        assert_eq!(error.code(), ErrorCode::TagInvalid);
    }

    proptest! {
        #[test]
        fn references_read_back_from_their_text(text in "[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}") {
            let reference: Reference = text.parse().unwrap();
            prop_assert_eq!(reference.to_string(), text);
        }

        #[test]
        fn any_text_is_answered_without_a_panic(text in ".*") {
            match text.parse::<Reference>() {
                Ok(reference) => prop_assert_eq!(reference.to_string(), text),
                Err(error) => prop_assert!(error.to_string().len() < 1000),
            }
        }
    }
}
