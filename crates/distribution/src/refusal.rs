//! Whether a repository takes changes at all: the one place that looks at its state and the registry's.

use roadstead_metadata::{Repository, RepositoryPath, RepositoryState};
use roadstead_oci::ErrorCode;

use crate::options::Writes;

/// Why nothing may be changed, whoever asks.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The registry only reads.
    #[error("the registry is read-only at present; try again later")]
    RegistryReadOnly,
    /// The registry takes no pushes.
    #[error("pushes are disabled at present; try again later")]
    PushesDisabled,
    /// The repository only reads.
    #[error("repository `{repository}` is read-only; ask its owner to change its state")]
    RepositoryReadOnly {
        /// The repository.
        repository: RepositoryPath,
    },
    /// The repository follows another registry, and only its mirroring may change it.
    #[error("repository `{repository}` is a mirror; change the repository that it follows")]
    RepositoryMirrored {
        /// The repository.
        repository: RepositoryPath,
    },
    /// The namespace holds as much as its quota allows. Quay's words.
    #[error("Quota has been exceeded on namespace")]
    QuotaExceeded,
    /// The repository does not hold images.
    #[error("repository `{repository}` does not hold images; choose another name")]
    NotForImages {
        /// The repository.
        repository: RepositoryPath,
    },
}

impl Refusal {
    /// The code to answer a client with.
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::RegistryReadOnly
            | Self::RepositoryReadOnly { .. }
            | Self::RepositoryMirrored { .. }
            | Self::QuotaExceeded => ErrorCode::Denied,
            Self::PushesDisabled | Self::NotForImages { .. } => ErrorCode::Unsupported,
        }
    }
}

/// Checks that `repository` takes changes.
pub(crate) fn require_writable(writes: Writes, repository: &Repository) -> Result<(), Refusal> {
    match writes {
        Writes::Taken => {}
        Writes::PushesDisabled => return Err(Refusal::PushesDisabled),
        Writes::ReadOnly => return Err(Refusal::RegistryReadOnly),
    }
    let repository_path = || repository.path.clone();
    match repository.state {
        RepositoryState::ReadOnly => Err(Refusal::RepositoryReadOnly {
            repository: repository_path(),
        }),
        // Who may change a mirror is the one who mirrors, which is a question of rights.
        RepositoryState::Normal | RepositoryState::Mirror | RepositoryState::OrganizationMirror
            if repository.holds_images =>
        {
            Ok(())
        }
        RepositoryState::Normal | RepositoryState::Mirror | RepositoryState::OrganizationMirror => {
            Err(Refusal::NotForImages {
                repository: repository_path(),
            })
        }
    }
}

/// Checks that owners may change what `repository` holds: as pushes, but not while it is a mirror, whose robot changes it by pushing.
pub(crate) fn require_own(writes: Writes, repository: &Repository) -> Result<(), Refusal> {
    require_writable(writes, repository)?;
    match repository.state {
        RepositoryState::Mirror | RepositoryState::OrganizationMirror => {
            Err(Refusal::RepositoryMirrored {
                repository: repository.path.clone(),
            })
        }
        RepositoryState::Normal | RepositoryState::ReadOnly => Ok(()),
    }
}
