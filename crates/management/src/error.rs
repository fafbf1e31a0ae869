//! Why something was not done.

use roadstead_metadata::MetadataError;

/// Why something was not done. What it says is meant for the one who asked.
#[derive(Debug, thiserror::Error)]
pub enum ManagementError {
    /// There is no such thing.
    #[error("there is no {what} `{name}`")]
    Unknown {
        /// What sort of thing.
        what: &'static str,
        /// Its name.
        name: String,
    },
    /// The name is in use.
    #[error("there is already {what} `{name}`; choose another name")]
    Taken {
        /// What sort of thing, with its article.
        what: &'static str,
        /// The name.
        name: String,
    },
    /// A part of what was sent is not what it has to be.
    #[error("`{field}` {problem}")]
    Invalid {
        /// The part.
        field: &'static str,
        /// What is wrong, and what would be right: the rest of a sentence.
        problem: String,
    },
    /// It is understood and known, and not done to this one or in this state.
    #[error("{reason}")]
    Refused {
        /// Why, and what to do.
        reason: String,
    },
    /// The setting that it needs is missing: an operator's business.
    #[error("this needs `{key}` in config.yaml")]
    NotConfigured {
        /// The key.
        key: &'static str,
    },
    /// Too much of it at once, or the program is ending.
    #[error("this is not possible just now; try again in some seconds")]
    Busy,
    /// The database could not be asked, or did not take it.
    #[error("the metadata could not be read or changed")]
    Metadata(#[from] MetadataError),
}

impl ManagementError {
    /// There is no `what` of this name.
    pub(crate) fn unknown(what: &'static str, name: impl Into<String>) -> Self {
        Self::Unknown {
            what,
            name: name.into(),
        }
    }

    /// `field` is wrong.
    pub(crate) fn invalid(field: &'static str, problem: impl Into<String>) -> Self {
        Self::Invalid {
            field,
            problem: problem.into(),
        }
    }
}
