//! Scopes: what a client asks a token for. What it gets is decided in [`rights`](crate::rights).
//!
//! The grammar is that of the token specification of Docker's registry (`repository:[HOST/]NAME:ACTION,...`,
//! <https://distribution.github.io/distribution/spec/auth/scope/>), of which Quay accepts a part (contract 8.2). Both are accepted here:
//! actions that nobody knows ask for nothing, `delete` is known, and `registry:catalog:*`, which Quay refuses, asks for nothing either, because
//! what a listing shows depends on who lists and not on what the token grants.

use std::collections::BTreeSet;

use roadstead_oci::{NameError, RepositoryName};

use crate::rights::Action;

/// The most scopes of one request. Clients ask for the repository that they push to and for those that they mount from.
pub const SCOPES_MAX: usize = 32;

/// The most bytes of one scope: the longest name, with a host of 253 characters and a port before it, and a few actions.
pub const SCOPE_BYTES_MAX: usize = 1024;

/// The most characters of a client's text that an error repeats.
const EXCERPT_CHARACTERS_MAX: usize = 128;

/// One thing that a client asks a token for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RequestedScope {
    /// Actions in a repository, which need not exist.
    Repository {
        /// The name, without the registry's host.
        name: RepositoryName,
        /// The actions that are known. May be empty.
        actions: BTreeSet<Action>,
    },
    /// `registry:catalog:*`: the list of repositories. It needs no grant.
    Catalog,
}

impl RequestedScope {
    /// Reads one scope. `hostname` is the registry's own name, which may stand before the repository's.
    pub fn parse(text: &str, hostname: &str) -> Result<Self, ScopeError> {
        let malformed = || ScopeError::Malformed {
            scope: excerpt(text),
        };
        if text.len() > SCOPE_BYTES_MAX {
            return Err(malformed());
        }
        // The last colon: a host may have a port.
        let (resource, actions) = text.rsplit_once(':').ok_or_else(malformed)?;
        if resource == "registry:catalog" {
            return Ok(Self::Catalog);
        }
        let name = resource.strip_prefix("repository:").ok_or_else(malformed)?;
        if !actions.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(malformed());
        }
        Ok(Self::Repository {
            name: without_host(name, hostname)
                .parse()
                .map_err(|source| ScopeError::Name { source })?,
            actions: actions.split(',').filter_map(Action::from_word).collect(),
        })
    }

    /// Reads all `scope` parameters of a request: one scope each, or several divided by spaces; empty ones are left out.
    pub fn parse_all<'a>(
        parameters: impl IntoIterator<Item = &'a str>,
        hostname: &str,
    ) -> Result<Vec<Self>, ScopeError> {
        let mut scopes = Vec::new();
        for text in parameters
            .into_iter()
            .flat_map(|parameter| parameter.split(' '))
        {
            if text.is_empty() {
                continue;
            }
            if scopes.len() == SCOPES_MAX {
                return Err(ScopeError::TooMany);
            }
            scopes.push(Self::parse(text, hostname)?);
        }
        Ok(scopes)
    }
}

/// The name without the registry's own host before it.
pub(crate) fn without_host<'a>(name: &'a str, hostname: &str) -> &'a str {
    name.strip_prefix(hostname)
        .and_then(|rest| rest.strip_prefix('/'))
        .unwrap_or(name)
}

/// Why a scope cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScopeError {
    /// It breaks the grammar. Quay's answer is 400 `INVALID_REQUEST`.
    #[error("scope `{scope}` is not `repository:NAME:ACTION,...`")]
    Malformed {
        /// The scope, escaped and cut.
        scope: String,
    },
    /// The repository's name breaks its grammar. Quay's answer is 400 `NAME_INVALID`.
    #[error("scope with a repository name that is not allowed")]
    Name {
        /// What is wrong with it.
        #[source]
        source: NameError,
    },
    /// There are more than [`SCOPES_MAX`].
    #[error("more than {SCOPES_MAX} scopes in one request; ask for fewer at a time")]
    TooMany,
}

impl ScopeError {
    /// What to tell the client.
    pub fn client_message(&self) -> String {
        match self {
            Self::Malformed { scope } => {
                format!("Unable to decode repository and actions: {scope}")
            }
            Self::Name { source } => source.to_string(),
            Self::TooMany => self.to_string(),
        }
    }
}

/// The text on one line, cut.
fn excerpt(text: &str) -> String {
    let mut shown = String::new();
    let mut characters = text.chars();
    for character in characters.by_ref().take(EXCERPT_CHARACTERS_MAX) {
        if character.is_control() {
            shown.extend(character.escape_default());
        } else {
            shown.push(character);
        }
    }
    if characters.next().is_some() {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;
    use Action::{Admin, Delete, Pull, Push};
    use proptest::prelude::*;

    const HOST: &str = "registry.example:5000";

    fn repository(name: &str, actions: &[Action]) -> RequestedScope {
        RequestedScope::Repository {
            name: name.parse().unwrap(),
            actions: actions.iter().copied().collect(),
        }
    }

    #[test]
    fn scopes_of_the_grammar_are_read() {
        for (text, expected) in [
            ("repository:acme/app:pull", repository("acme/app", &[Pull])),
            (
                "repository:acme/app:pull,push,*",
                repository("acme/app", &[Push, Pull, Admin]),
            ),
            (
                "repository:acme/deep/er/app:push",
                repository("acme/deep/er/app", &[Push]),
            ),
            ("repository:busybox:pull", repository("busybox", &[Pull])),
            (
                "repository:acme/app:delete",
                repository("acme/app", &[Delete]),
            ),
            (
                "repository:acme/app:pull,metadata_read",
                repository("acme/app", &[Pull]),
            ),
            ("repository:acme/app:", repository("acme/app", &[])),
            (
                "repository:registry.example:5000/acme/app:pull",
                repository("acme/app", &[Pull]),
            ),
            ("registry:catalog:*", RequestedScope::Catalog),
            ("registry:catalog:", RequestedScope::Catalog),
        ] {
            assert_eq!(
                RequestedScope::parse(text, HOST).unwrap(),
                expected,
                "{text}"
            );
        }
    }

    #[test]
    fn scopes_outside_the_grammar_are_refused() {
        for text in [
            "pull",
            "repository",
            "repository:acme/app",
            "repository(plugin):acme/app:pull",
            "registry:other:*",
            "REPOSITORY:acme/app:pull",
            "repository:acme/app:pull\n",
            "repository:acme/app:püll",
        ] {
            let error = RequestedScope::parse(text, HOST).unwrap_err();
            assert!(
                matches!(error, ScopeError::Malformed { .. }),
                "{text}: {error:?}"
            );
            assert!(!error.client_message().contains('\n'));
        }
        for text in [
            "repository:acme/App:pull",
            "repository::pull",
            "repository:acme/../app:pull",
            "repository:other.example:5000/acme/app:pull",
            "repository:registry.example:5000:pull",
        ] {
            let error = RequestedScope::parse(text, HOST).unwrap_err();
            assert!(
                matches!(error, ScopeError::Name { .. }),
                "{text}: {error:?}"
            );
        }
    }

    #[test]
    fn a_scope_of_any_length_is_answered_in_a_few_words() {
        for length in [SCOPE_BYTES_MAX, SCOPE_BYTES_MAX + 1, 1_000_000] {
            let error = RequestedScope::parse(&"ä".repeat(length), HOST).unwrap_err();
            assert!(error.client_message().chars().count() < 256);
        }
    }

    #[test]
    fn parameters_may_hold_several_scopes_and_empty_ones_count_for_nothing() {
        let scopes = RequestedScope::parse_all(
            [
                "",
                "repository:a/a:pull  repository:b/b:push",
                "repository:c/c:*",
            ],
            HOST,
        )
        .unwrap();
        let expected = [
            repository("a/a", &[Pull]),
            repository("b/b", &[Push]),
            repository("c/c", &[Admin]),
        ];
        assert_eq!(scopes, expected);
        assert_eq!(RequestedScope::parse_all([], HOST).unwrap(), []);
    }

    proptest! {
        #[test]
        fn any_text_is_answered_and_what_is_accepted_is_a_name_and_known_actions(
            text in "(repository|registry|.{0,3}):?.{0,20}:?[a-z,*]{0,8}.{0,2}",
        ) {
            match RequestedScope::parse(&text, HOST) {
                Ok(RequestedScope::Repository { name, .. }) => prop_assert!(text.contains(name.as_str())),
                Ok(RequestedScope::Catalog) => prop_assert!(text.starts_with("registry:catalog:")),
                Err(error) => prop_assert!(error.client_message().len() < 1000),
            }
        }
    }

    #[test]
    fn the_number_of_scopes_is_bounded() {
        let scopes = "repository:a/a:pull ".repeat(SCOPES_MAX);
        assert_eq!(
            RequestedScope::parse_all([scopes.as_str()], HOST)
                .unwrap()
                .len(),
            SCOPES_MAX
        );
        let error =
            RequestedScope::parse_all([scopes.as_str(), "registry:catalog:*"], HOST).unwrap_err();
        assert_eq!(error, ScopeError::TooMany);
    }
}
