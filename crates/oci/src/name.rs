//! Repository names. Which namespaces and repositories there are is the database's business.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::ErrorCode;
use crate::text::{excerpt, serde_as_text};

/// The name of a repository, by the grammar of section "Pulling manifests" of the distribution specification:
/// segments of `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*`, divided by slashes, at most [`RepositoryName::LENGTH_MAX`] characters.
///
/// So it holds no `..`, no `%`, no empty segment. Ordered byte-wise. A clone is a reference count.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RepositoryName(Arc<str>);

impl RepositoryName {
    /// The most characters of a name. The specification leaves the limit to the registry and advises to stay below 255 together
    /// with the registry's host name, which clients count in; Quay's columns hold 255.
    pub const LENGTH_MAX: usize = 255;

    /// The whole name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The first segment, if there are others after it: the user or organisation that owns the repository.
    pub fn namespace(&self) -> Option<&str> {
        self.0.split_once('/').map(|(namespace, _)| namespace)
    }

    /// What follows the namespace and its slash; the whole name if there is no namespace. It may hold slashes itself.
    pub fn rest(&self) -> &str {
        self.0.split_once('/').map_or(&*self.0, |(_, rest)| rest)
    }
}

impl fmt::Display for RepositoryName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(&self.0)
    }
}

impl fmt::Debug for RepositoryName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "RepositoryName({})", self.0)
    }
}

impl FromStr for RepositoryName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        if text.is_empty() {
            return Err(NameError::Empty);
        }
        if text.len() > Self::LENGTH_MAX {
            return Err(NameError::TooLong {
                name: excerpt(text),
                bytes: text.len(),
            });
        }
        match text.split('/').find_map(segment_fault) {
            Some(reason) => Err(NameError::Malformed {
                name: excerpt(text),
                reason,
            }),
            None => Ok(Self(text.into())),
        }
    }
}
serde_as_text!(RepositoryName);

/// Why a text is not the name of a repository.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// There is no text.
    #[error("repository name is empty")]
    Empty,
    /// The text is longer than [`RepositoryName::LENGTH_MAX`].
    #[error(
        "repository name {name} has {bytes} characters; at most {} are allowed",
        RepositoryName::LENGTH_MAX
    )]
    TooLong {
        /// The text, quoted and cut.
        name: String,
        /// Its length in bytes.
        bytes: usize,
    },
    /// The text breaks the grammar.
    #[error("repository name {name} is not allowed: {reason}")]
    Malformed {
        /// The text, quoted and cut.
        name: String,
        /// What is wrong with it.
        reason: &'static str,
    },
}

impl NameError {
    /// The code to answer a client with.
    #[expect(
        clippy::unused_self,
        reason = "each error says its code, those with one code for all as well"
    )]
    pub const fn code(&self) -> ErrorCode {
        ErrorCode::NameInvalid
    }
}

/// What is wrong with one segment of a name.
fn segment_fault(segment: &str) -> Option<&'static str> {
    let bytes = segment.as_bytes();
    let (Some(first), Some(last)) = (bytes.first(), bytes.last()) else {
        return Some("it has an empty segment; remove the slash too many");
    };
    if bytes.iter().any(u8::is_ascii_uppercase) {
        return Some("use lower-case letters only");
    }
    if bytes
        .iter()
        .any(|byte| !is_plain(*byte) && !matches!(byte, b'.' | b'_' | b'-'))
    {
        return Some("use only the letters a-z, the digits 0-9, `.`, `_`, `-` and slashes");
    }
    if !is_plain(*first) || !is_plain(*last) {
        return Some("each segment begins and ends with a letter or a digit");
    }
    let mut separators = segment.split(|character: char| character.is_ascii_alphanumeric());
    let allowed =
        |run: &str| matches!(run, "" | "." | "_" | "__") || run.bytes().all(|byte| byte == b'-');
    if separators.all(allowed) {
        None
    } else {
        Some("between letters and digits stands one `.`, one or two `_`, or any number of `-`")
    }
}

/// Whether the byte is a letter or a digit of the grammar.
const fn is_plain(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_of_the_grammar_are_accepted() {
        for text in [
            "a",
            "0",
            "library/busybox",
            "a/b/c/d/e/f",
            "a.b/c_d/e__f/g-h/i---j",
            "a-b.c_d__e--f0",
            "conformance/repo1",
            "1/2/3",
        ] {
            assert_eq!(text.parse::<RepositoryName>().unwrap().as_str(), text);
        }
    }

    #[test]
    fn names_outside_the_grammar_are_refused() {
        for text in [
            "/", "/a", "a/", "a//b", ".", "..", "a/../b", "a/.b", "a/b.", "a..b", "a___b", "a.-b",
            "a-.b", "a_-b", "-a", "a-", "_a", "A", "a/B", "a b", " a", "a%2e%2eb", "a\0b", "a\nb",
            "ä", "a:b", "a@b", "a\\b", "a/_", "a/-/b", "ａ",
        ] {
            let error = text.parse::<RepositoryName>().unwrap_err();
            assert!(
                matches!(error, NameError::Malformed { .. }),
                "{text:?}: {error}"
            );
            assert_eq!(error.code(), ErrorCode::NameInvalid);
        }
        assert_eq!("".parse::<RepositoryName>().unwrap_err(), NameError::Empty);
    }

    #[test]
    fn two_hundred_and_fifty_five_characters_are_allowed_and_one_more_is_not() {
        let longest = format!("a/{}", "b".repeat(253));
        assert_eq!(longest.parse::<RepositoryName>().unwrap().as_str(), longest);
        let error = format!("{longest}b").parse::<RepositoryName>().unwrap_err();
        assert!(
            matches!(error, NameError::TooLong { bytes: 256, .. }),
            "{error}"
        );
        assert!(error.to_string().contains("at most 255"), "{error}");
    }

    #[test]
    fn the_first_of_several_segments_is_the_namespace() {
        for (text, namespace, rest) in [
            ("busybox", None, "busybox"),
            ("library/busybox", Some("library"), "busybox"),
            ("a/b/c", Some("a"), "b/c"),
        ] {
            let name: RepositoryName = text.parse().unwrap();
            assert_eq!((name.namespace(), name.rest()), (namespace, rest));
        }
    }

    proptest! {
        #[test]
        fn whatever_the_grammar_makes_is_accepted(
            text in "[a-z0-9]{1,4}((\\.|_|__|-{1,3})[a-z0-9]{1,4}){0,3}(/[a-z0-9]{1,4}((\\.|_|__|-{1,3})[a-z0-9]{1,4}){0,3}){0,3}",
        ) {
            let name: RepositoryName = text.parse().unwrap();
            let joined = name.namespace().map_or_else(|| name.rest().to_owned(), |namespace| format!("{namespace}/{}", name.rest()));
            prop_assert_eq!(joined, text);
        }

        #[test]
        fn what_is_accepted_holds_nothing_that_a_path_or_a_url_would_read_otherwise(text in "[a-c./_-]{1,12}") {
            if let Ok(name) = text.parse::<RepositoryName>() {
                for bad in ["..", "//", "/.", "./", "___", "._", "_.", "-.", ".-", "-_", "_-", "/-", "-/", "/_", "_/"] {
                    prop_assert!(!name.as_str().contains(bad), "{}", text);
                }
                prop_assert!(name.as_str().starts_with(|first: char| first.is_ascii_alphanumeric()));
                prop_assert!(name.as_str().ends_with(|last: char| last.is_ascii_alphanumeric()));
            }
        }

        #[test]
        fn any_text_is_answered_without_a_panic(text in ".*") {
            match text.parse::<RepositoryName>() {
                Ok(name) => prop_assert_eq!(name.as_str(), text),
                Err(error) => prop_assert!(error.to_string().len() < 1000),
            }
        }
    }
}
