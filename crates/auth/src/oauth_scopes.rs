//! The scopes of OAuth access tokens: what their users let them do. Which rights the users have is not known here.

use roadstead_metadata::RepositoryRole;

/// What an OAuth token's scopes allow, of what its user may do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct OauthScopes {
    repository: Option<RepositoryRole>,
    create: bool,
    organizations: bool,
    superuser: bool,
    reads_account: bool,
    changes_account: bool,
}

impl OauthScopes {
    /// Reads what Quay stores: words divided by blanks, or by commas as it wrote them once. A word that nobody knows allows nothing.
    pub(crate) fn parse(text: &str) -> Self {
        let mut scopes = Self::default();
        for word in text.split([' ', ',']) {
            match word {
                "repo:read" => scopes.raise(RepositoryRole::Read),
                "repo:write" => scopes.raise(RepositoryRole::Write),
                "repo:admin" => scopes.raise(RepositoryRole::Admin),
                "repo:create" => scopes.create = true,
                "org:admin" => scopes.organizations = true,
                "super:user" => scopes.superuser = true,
                "user:read" => scopes.reads_account = true,
                "user:admin" => (scopes.reads_account, scopes.changes_account) = (true, true),
                "direct_user_login" => {
                    scopes = Self {
                        repository: Some(RepositoryRole::Admin),
                        create: true,
                        organizations: true,
                        superuser: true,
                        reads_account: true,
                        changes_account: true,
                    };
                }
                _ => {}
            }
        }
        scopes
    }

    fn raise(&mut self, role: RepositoryRole) {
        self.repository = self.repository.max(Some(role));
    }

    /// The highest role in repositories.
    pub(crate) const fn repository(self) -> Option<RepositoryRole> {
        self.repository
    }

    /// Whether repositories may be made.
    pub(crate) const fn create(self) -> bool {
        self.create || self.organizations
    }

    /// Whether organisations may be made and administered.
    pub(crate) const fn administers_organizations(self) -> bool {
        self.organizations
    }

    /// Whether a superuser's powers may be used.
    pub(crate) const fn superuser(self) -> bool {
        self.superuser
    }

    /// Whether the account may be looked at.
    pub(crate) const fn reads_account(self) -> bool {
        self.reads_account
    }

    /// Whether the account may be changed.
    pub(crate) const fn changes_account(self) -> bool {
        self.changes_account
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_of_the_words_counts() {
        for (text, repository) in [
            ("", None),
            ("user:read user:admin", None),
            ("repo:read", Some(RepositoryRole::Read)),
            ("repo:write,repo:read", Some(RepositoryRole::Write)),
            (
                "org:admin repo:admin repo:create repo:read repo:write super:user user:admin user:read",
                Some(RepositoryRole::Admin),
            ),
            ("direct_user_login", Some(RepositoryRole::Admin)),
            ("repo:read repo:everything", Some(RepositoryRole::Read)),
        ] {
            assert_eq!(OauthScopes::parse(text).repository(), repository, "{text}");
        }
    }

    #[test]
    fn each_word_allows_one_thing() {
        let flags = |text: &str| {
            let scopes = OauthScopes::parse(text);
            (
                scopes.create(),
                scopes.administers_organizations(),
                scopes.superuser(),
            )
        };
        assert_eq!(flags("repo:admin"), (false, false, false));
        assert_eq!(flags("repo:create"), (true, false, false));
        assert_eq!(flags("org:admin"), (true, true, false));
        assert_eq!(flags("super:user"), (false, false, true));
        assert_eq!(flags("direct_user_login"), (true, true, true));
    }
}
