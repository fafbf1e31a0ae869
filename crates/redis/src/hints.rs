//! What processes tell each other, in words: small, with a version, and bounded. What cannot be read is nobody's.

use serde::{Deserialize, Serialize};

/// The version of the words. A later one may say the same in others; whoever does not know it looks for itself, as without Redis.
const VERSION: u32 = 1;

/// The most bytes of a hint.
pub(crate) const HINT_BYTES_MAX: usize = 4 << 10;

/// The most tags that one hint names; more are several hints.
pub(crate) const TAGS_MAX: usize = 16;

/// Something that makes whoever hears it look again. It says where, and never what is there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Hint {
    /// There are copies to be made.
    Copies,
    /// Accounts, permissions or repositories are not what they were.
    Rights,
    /// What a repository holds is not what it was.
    Content(Changed),
}

/// What of a repository has changed. Repositories go by the database's number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Changed {
    /// Where tags point to.
    Tags {
        /// The repository.
        repository: i32,
        /// The tags.
        tags: Vec<String>,
    },
    /// A manifest was deleted.
    Manifest {
        /// The repository.
        repository: i32,
        /// Its digest.
        digest: String,
    },
    /// A blob was deleted.
    Blob {
        /// The repository.
        repository: i32,
        /// Its digest.
        digest: String,
    },
}

/// A hint with its sender, as it goes through Redis.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sealed {
    version: u32,
    /// Who says it: a process does not listen to itself.
    pub sender: String,
    /// What is said.
    pub hint: Hint,
}

/// Why something that was heard is no hint.
#[derive(Debug, thiserror::Error)]
pub enum HintError {
    /// Too much of it.
    #[error("it has {bytes} bytes, more than any hint")]
    TooLong {
        /// How many.
        bytes: usize,
    },
    /// Something else.
    #[error("it cannot be read")]
    Unreadable {
        /// Why not.
        #[from]
        source: serde_json::Error,
    },
    /// Words of another version.
    #[error("it is of version {version}")]
    Version {
        /// Which one.
        version: u32,
    },
}

impl Sealed {
    /// A hint of this process.
    pub fn new(sender: impl Into<String>, hint: Hint) -> Self {
        Self {
            version: VERSION,
            sender: sender.into(),
            hint,
        }
    }

    /// As it goes through Redis.
    ///
    /// # Panics
    /// Never: texts and numbers can be written.
    pub fn to_text(&self) -> String {
        serde_json::to_string(self).expect("texts and numbers can be written")
    }

    /// Reads what was heard.
    pub fn read(heard: &[u8]) -> Result<Self, HintError> {
        #[derive(Deserialize)]
        struct Versioned {
            version: u32,
        }
        if heard.len() > HINT_BYTES_MAX {
            return Err(HintError::TooLong { bytes: heard.len() });
        }
        let Versioned { version } = serde_json::from_slice(heard)?;
        if version != VERSION {
            return Err(HintError::Version { version });
        }
        Ok(serde_json::from_slice(heard)?)
    }
}

impl Changed {
    /// The same in pieces that each fit into a hint.
    pub fn in_pieces(self) -> Vec<Self> {
        match self {
            Self::Tags { repository, tags } if tags.len() > TAGS_MAX => tags
                .chunks(TAGS_MAX)
                .map(|tags| Self::Tags {
                    repository,
                    tags: tags.to_vec(),
                })
                .collect(),
            small => vec![small],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> Vec<Hint> {
        vec![
            Hint::Copies,
            Hint::Rights,
            Hint::Content(Changed::Tags {
                repository: 7,
                tags: vec!["latest".to_owned()],
            }),
            Hint::Content(Changed::Manifest {
                repository: 7,
                digest: "sha256:ab".to_owned(),
            }),
            Hint::Content(Changed::Blob {
                repository: 7,
                digest: "sha256:ab".to_owned(),
            }),
        ]
    }

    #[test]
    fn every_hint_is_read_as_it_was_written_and_no_part_of_it_is() {
        for hint in all() {
            let sealed = Sealed::new("one", hint);
            let text = sealed.to_text();
            assert_eq!(Sealed::read(text.as_bytes()).expect("a hint"), sealed);
            for end in 0..text.len() {
                let part = text.as_bytes().get(..end).expect("a part");
                assert!(Sealed::read(part).is_err());
            }
        }
        assert_eq!(
            Sealed::new("one", Hint::Copies).to_text(),
            r#"{"version":1,"sender":"one","hint":"copies"}"#
        );
    }

    #[test]
    fn what_is_no_hint_is_refused_and_the_longest_tags_fit() {
        for nonsense in [
            &b""[..],
            b"\xff\xfe",
            b"hello",
            b"[]",
            b"{}",
            br#"{"version":2,"sender":"one","hint":"copies"}"#,
            br#"{"version":1,"sender":"one","hint":"everything"}"#,
            br#"{"version":1,"sender":1,"hint":"copies"}"#,
        ] {
            assert!(Sealed::read(nonsense).is_err(), "{nonsense:?}");
        }
        let long = vec![b' '; HINT_BYTES_MAX + 1];
        assert!(matches!(
            Sealed::read(&long),
            Err(HintError::TooLong { .. })
        ));
        let tags: Vec<String> = (0..100).map(|tag| format!("{tag:0128}")).collect();
        let pieces = Changed::Tags {
            repository: i32::MAX,
            tags: tags.clone(),
        }
        .in_pieces();
        let mut told = Vec::new();
        for piece in pieces {
            let text = Sealed::new("f".repeat(36), Hint::Content(piece.clone())).to_text();
            Sealed::read(text.as_bytes()).expect("a hint");
            let Changed::Tags { tags, .. } = piece else {
                panic!("tags are tags")
            };
            told.extend(tags);
        }
        assert_eq!(told, tags);
    }
}
