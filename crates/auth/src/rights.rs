//! Who may do what. Every decision about rights is made here, by pure functions over facts that others fetched; nothing else in the
//! registry compares owners, superusers or visibility.
//!
//! The rules, until teams, robots and permissions on single repositories come:
//!
//! | who | existing repository | missing repository | missing namespace |
//! |---|---|---|---|
//! | superuser with full access | everything | create, pull | pull; create, where pushes may make namespaces |
//! | owner of the namespace | everything | create, pull | - |
//! | everybody with an account | pull if public | - | - |
//! | anonymous | pull if public and anonymous access is on | - | - |
//!
//! A repository that is not in its normal state can be pulled from only, whoever asks (facts taken from a running Quay: `*` and push are
//! granted to nobody, superusers included; the robot of a mirror comes with mirrors).

use std::fmt;

use roadstead_metadata::{RepositoryState, UserId};

/// What can be done with a repository. In the order in which Quay lists granted actions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Action {
    /// Upload blobs, put manifests and tags. Includes pulling.
    Push,
    /// Read.
    Pull,
    /// Remove tags, manifests and blobs. Whoever may push may do it, as in Quay, whose tokens have no word for it.
    Delete,
    /// Everything, written `*`.
    Admin,
}

impl Action {
    /// The word of scopes and tokens.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Push => "push",
            Self::Pull => "pull",
            Self::Delete => "delete",
            Self::Admin => "*",
        }
    }

    /// The action of this word, if it is one.
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::Push, Self::Pull, Self::Delete, Self::Admin]
            .into_iter()
            .find(|action| action.as_str() == word)
    }

    /// The action that tokens carry for this one: their words are `push`, `pull` and `*` only, since a Quay beside us refuses a token with any other.
    pub(crate) const fn in_tokens(self) -> Self {
        match self {
            Self::Delete => Self::Push,
            Self::Push | Self::Pull | Self::Admin => self,
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.as_str())
    }
}

/// How far a token reaches in one repository. Each level includes the ones before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    Pull,
    Push,
    Admin,
}

impl Level {
    /// The level that an action in a token stands for.
    pub(crate) const fn granted_by(action: Action) -> Self {
        match action {
            Action::Pull => Self::Pull,
            Action::Push | Action::Delete => Self::Push,
            Action::Admin => Self::Admin,
        }
    }

    /// Whether it is enough for `action`.
    pub(crate) fn allows(self, action: Action) -> bool {
        self >= Self::granted_by(action)
    }
}

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asker {
    Anonymous,
    User { id: UserId, full_access: bool },
}

/// What is asked about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    Repository {
        owner: UserId,
        public: bool,
        state: RepositoryState,
    },
    /// The namespace is there, the repository is not.
    MissingRepository {
        owner: UserId,
    },
    MissingNamespace,
}

/// What the operator allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Policy {
    pub(crate) anonymous_access: bool,
    pub(crate) create_namespace_on_push: bool,
}

/// What the asker may do with the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(crate) struct Rights {
    pub(crate) pull: bool,
    pub(crate) push: bool,
    pub(crate) admin: bool,
    /// Make the repository, with its namespace if that is missing too.
    pub(crate) create: bool,
}

impl Rights {
    pub(crate) const fn allow(self, action: Action) -> bool {
        match action {
            Action::Pull => self.pull,
            Action::Push | Action::Delete => self.push,
            Action::Admin => self.admin,
        }
    }
}

/// What `asker` may do with `target`.
pub(crate) fn rights(asker: Asker, target: Target, policy: Policy) -> Rights {
    let full_access = matches!(
        asker,
        Asker::User {
            full_access: true,
            ..
        }
    );
    let rules =
        |owner: UserId| full_access || matches!(asker, Asker::User { id, .. } if id == owner);
    match target {
        Target::Repository {
            owner,
            public,
            state,
        } => {
            let change = rules(owner) && state == RepositoryState::Normal;
            Rights {
                pull: rules(owner)
                    || public_pull(asker == Asker::Anonymous, public, policy.anonymous_access),
                push: change,
                admin: change,
                create: false,
            }
        }
        Target::MissingRepository { owner } => Rights {
            // So that the answer to a pull is that there is no such repository, and not that they may not know.
            pull: rules(owner),
            create: rules(owner),
            ..Rights::default()
        },
        Target::MissingNamespace => Rights {
            pull: full_access,
            create: full_access && policy.create_namespace_on_push,
            ..Rights::default()
        },
    }
}

/// Whether the bearer of a token may do `action` now. `level` is what the token grants in the repository; `found` is the repository's
/// visibility and state, if it is there: what has changed since the token was issued counts.
pub(crate) fn may(
    level: Option<Level>,
    action: Action,
    found: Option<(bool, RepositoryState)>,
    anonymous: bool,
    anonymous_access: bool,
) -> bool {
    let granted = level.is_some_and(|level| level.allows(action));
    match (action, found) {
        (Action::Pull, Some((public, _))) => {
            granted || public_pull(anonymous, public, anonymous_access)
        }
        (Action::Push | Action::Delete | Action::Admin, Some((_, state))) => {
            granted && state == RepositoryState::Normal
        }
        (_, None) => granted,
    }
}

const fn public_pull(anonymous: bool, public: bool, anonymous_access: bool) -> bool {
    public && (!anonymous || anonymous_access)
}

#[cfg(test)]
mod tests {
    use super::*;
    use RepositoryState::{Mirror, Normal, OrganizationMirror, ReadOnly};

    const OWNER: UserId = UserId(1);
    const OTHER: UserId = UserId(2);
    const POLICY: Policy = Policy {
        anonymous_access: true,
        create_namespace_on_push: true,
    };

    fn user(id: UserId) -> Asker {
        Asker::User {
            id,
            full_access: false,
        }
    }

    const SUPERUSER: Asker = Asker::User {
        id: UserId(9),
        full_access: true,
    };

    fn repository(public: bool, state: RepositoryState) -> Target {
        Target::Repository {
            owner: OWNER,
            public,
            state,
        }
    }

    fn words(rights: Rights) -> String {
        [
            (rights.push, "push "),
            (rights.pull, "pull "),
            (rights.admin, "* "),
            (rights.create, "create "),
        ]
        .into_iter()
        .filter_map(|(allowed, word)| allowed.then_some(word))
        .collect::<String>()
        .trim_end()
        .to_owned()
    }

    #[test]
    fn rights_follow_the_table() {
        let missing = Target::MissingRepository { owner: OWNER };
        for (asker, target, expected) in [
            (SUPERUSER, repository(false, Normal), "push pull *"),
            (SUPERUSER, missing, "pull create"),
            (SUPERUSER, Target::MissingNamespace, "pull create"),
            (user(OWNER), repository(false, Normal), "push pull *"),
            (user(OWNER), missing, "pull create"),
            (user(OWNER), Target::MissingNamespace, ""),
            (user(OTHER), repository(false, Normal), ""),
            (user(OTHER), repository(true, Normal), "pull"),
            (user(OTHER), missing, ""),
            (user(OTHER), Target::MissingNamespace, ""),
            (Asker::Anonymous, repository(false, Normal), ""),
            (Asker::Anonymous, repository(true, Normal), "pull"),
            (Asker::Anonymous, missing, ""),
            (Asker::Anonymous, Target::MissingNamespace, ""),
        ] {
            assert_eq!(
                words(rights(asker, target, POLICY)),
                expected,
                "{asker:?} {target:?}"
            );
        }
    }

    #[test]
    fn a_repository_that_is_not_in_its_normal_state_can_only_be_pulled_from() {
        for state in [ReadOnly, Mirror, OrganizationMirror] {
            for asker in [SUPERUSER, user(OWNER)] {
                assert_eq!(
                    words(rights(asker, repository(false, state), POLICY)),
                    "pull",
                    "{state:?}"
                );
            }
            assert_eq!(
                words(rights(user(OTHER), repository(true, state), POLICY)),
                "pull"
            );
            assert_eq!(
                words(rights(user(OTHER), repository(false, state), POLICY)),
                ""
            );
        }
    }

    #[test]
    fn without_anonymous_access_only_accounts_pull_public_repositories() {
        let closed = Policy {
            anonymous_access: false,
            ..POLICY
        };
        assert_eq!(
            words(rights(Asker::Anonymous, repository(true, Normal), closed)),
            ""
        );
        assert_eq!(
            words(rights(user(OTHER), repository(true, Normal), closed)),
            "pull"
        );
    }

    #[test]
    fn nobody_makes_a_namespace_where_pushes_may_not() {
        let policy = Policy {
            create_namespace_on_push: false,
            ..POLICY
        };
        assert_eq!(
            words(rights(SUPERUSER, Target::MissingNamespace, policy)),
            "pull"
        );
    }

    #[test]
    fn an_action_in_a_token_includes_the_lesser_ones() {
        use Action::{Admin, Delete, Pull, Push};
        for (granted, allowed) in [
            (Pull, &[Pull][..]),
            (Push, &[Push, Pull, Delete]),
            (Admin, &[Push, Pull, Delete, Admin]),
        ] {
            for action in [Push, Pull, Delete, Admin] {
                let level = Level::granted_by(granted);
                assert_eq!(
                    level.allows(action),
                    allowed.contains(&action),
                    "{granted} for {action}"
                );
            }
        }
    }

    #[test]
    fn what_changed_after_a_token_was_issued_counts() {
        use Action::{Admin, Delete, Pull, Push};
        let admin = Some(Level::Admin);
        for action in [Push, Delete, Admin] {
            assert!(may(admin, action, None, false, true));
            assert!(may(admin, action, Some((false, Normal)), false, true));
            assert!(!may(admin, action, Some((false, ReadOnly)), false, true));
            assert!(!may(None, action, Some((true, Normal)), false, true));
        }
        assert!(may(admin, Pull, Some((false, ReadOnly)), false, true));
        assert!(may(None, Pull, Some((true, Normal)), true, true));
        assert!(!may(None, Pull, Some((true, Normal)), true, false));
        assert!(may(None, Pull, Some((true, Normal)), false, false));
        assert!(!may(None, Pull, Some((false, Normal)), false, true));
        assert!(!may(None, Pull, None, false, true));
    }
}
