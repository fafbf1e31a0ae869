//! Who may do what. Every decision about rights is made here, by pure functions over facts that others fetched; nothing else in the
//! registry compares owners, roles, superusers or visibility.
//!
//! What somebody may do in a repository is the most of these, and then what the repository's state leaves of it:
//!
//! | who | role in the repository |
//! |---|---|
//! | owner of the namespace, member of a team `admin` of it, superuser with full access | admin |
//! | who has a permission in it, alone or as the member of a team | what it says |
//! | global read-only superuser | read |
//! | member of any team of an organisation that caches another registry | read |
//! | everybody, if it is public; without an account only where anonymous access is on | pull |
//!
//! New repositories are made by the first row's, and by members of a team `creator`. Where pushes may make namespaces, every user may. An OAuth
//! token has of its user's rights what its scopes name and no more.
//!
//! A repository that is read-only can be pulled from only, whoever asks; while it is a mirror its robot may push, if it has the role to. Nobody
//! administers either (facts taken from a running Quay, as everything here).

#[cfg(test)]
mod tests;

use std::fmt;

use roadstead_metadata::{RepositoryRole, RepositoryState, TeamRole, UserId};

use crate::oauth_scopes::OauthScopes;

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
    Account {
        id: UserId,
        robot: bool,
        /// A superuser, where superusers may do everything.
        full_access: bool,
        /// A superuser who may read everything.
        reads_all: bool,
        /// What an OAuth token limits its user to.
        limits: Option<OauthScopes>,
    },
}

/// What is asked about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    Repository {
        namespace: Namespace,
        public: bool,
        state: RepositoryState,
        /// The asker's permission in it.
        role: Option<RepositoryRole>,
        /// Who may push while it is a mirror.
        mirror_robot: Option<UserId>,
    },
    /// The namespace is there, the repository is not.
    MissingRepository {
        namespace: Namespace,
    },
    /// A repository of the name is being deleted.
    DeletedRepository {
        namespace: Namespace,
    },
    MissingNamespace,
}

/// A namespace and where the asker stands in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Namespace {
    pub(crate) owner: UserId,
    pub(crate) team_role: Option<TeamRole>,
    pub(crate) proxy_cache: bool,
}

/// What the operator allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Policy {
    pub(crate) anonymous_access: bool,
    pub(crate) create_namespace_on_push: bool,
    /// Whether organisations may be caches of other registries.
    pub(crate) proxy_cache: bool,
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
    match target {
        Target::Repository {
            namespace,
            public,
            state,
            role,
            mirror_robot,
        } => {
            let role = asker.role(namespace, role, policy);
            let mirrors = mirror_robot.is_some() && mirror_robot == asker.id();
            Rights {
                pull: role.is_some()
                    || public_pull(asker == Asker::Anonymous, public, policy.anonymous_access),
                push: role >= Some(RepositoryRole::Write) && takes_pushes(state, mirrors),
                admin: role >= Some(RepositoryRole::Admin) && state == RepositoryState::Normal,
                create: false,
            }
        }
        Target::MissingRepository { namespace } => Rights {
            // So that the answer to a pull is that there is no such repository, and not that they may not know.
            pull: asker.role(namespace, None, policy).is_some(),
            create: asker.creates(namespace),
            ..Rights::default()
        },
        Target::DeletedRepository { namespace } => Rights {
            pull: asker.role(namespace, None, policy).is_some(),
            ..Rights::default()
        },
        // Where pushes make no namespaces, nobody is granted anything, superusers included.
        Target::MissingNamespace if policy.create_namespace_on_push => Rights {
            pull: asker.has_full_access(),
            create: asker.creates_namespaces(),
            ..Rights::default()
        },
        Target::MissingNamespace => Rights::default(),
    }
}

impl Asker {
    const fn id(self) -> Option<UserId> {
        match self {
            Self::Anonymous => None,
            Self::Account { id, .. } => Some(id),
        }
    }

    /// The highest role in a repository of the namespace, `given` being what permissions say.
    fn role(
        self,
        namespace: Namespace,
        given: Option<RepositoryRole>,
        policy: Policy,
    ) -> Option<RepositoryRole> {
        let Self::Account {
            reads_all, limits, ..
        } = self
        else {
            return None;
        };
        let member_of_cache =
            policy.proxy_cache && namespace.proxy_cache && namespace.team_role.is_some();
        let role = [
            self.rules(namespace).then_some(RepositoryRole::Admin),
            (reads_all || member_of_cache).then_some(RepositoryRole::Read),
            given,
        ]
        .into_iter()
        .max()
        .flatten();
        match limits {
            Some(scopes) => role.min(scopes.repository()),
            None => role,
        }
    }

    const fn has_full_access(self) -> bool {
        matches!(
            self,
            Self::Account {
                full_access: true,
                ..
            }
        )
    }

    /// Whether everything in the namespace is the asker's to do.
    fn rules(self, namespace: Namespace) -> bool {
        self.has_full_access()
            || self.id() == Some(namespace.owner)
            || self.id().is_some() && namespace.team_role == Some(TeamRole::Admin)
    }

    fn creates(self, namespace: Namespace) -> bool {
        match self {
            Self::Anonymous => false,
            Self::Account { limits, .. } => {
                let may = self.rules(namespace) || namespace.team_role >= Some(TeamRole::Creator);
                may && limits.is_none_or(OauthScopes::create)
            }
        }
    }

    fn creates_namespaces(self) -> bool {
        match self {
            Self::Anonymous => false,
            Self::Account { robot, limits, .. } => {
                !robot && limits.is_none_or(OauthScopes::administers_organizations)
            }
        }
    }
}

/// Whether a repository in this state takes pushes from those who may push at all. `mirrors`: whether it is its own mirror's robot who asks.
const fn takes_pushes(state: RepositoryState, mirrors: bool) -> bool {
    match state {
        RepositoryState::Normal => true,
        RepositoryState::ReadOnly => false,
        RepositoryState::Mirror | RepositoryState::OrganizationMirror => mirrors,
    }
}

/// What there is now of a repository for which somebody has a token.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Present {
    pub(crate) public: bool,
    pub(crate) state: RepositoryState,
    /// Whether the bearer is the robot that mirrors into it.
    pub(crate) mirrors: bool,
}

/// Whether the bearer of a token may do `action` now. `level` is what the token grants in the repository; `found` is the repository as it is
/// now, if it is there: what has changed since the token was issued counts.
pub(crate) fn may(
    level: Option<Level>,
    action: Action,
    found: Option<Present>,
    anonymous: bool,
    anonymous_access: bool,
) -> bool {
    let granted = level.is_some_and(|level| level.allows(action));
    match (action, found) {
        (Action::Pull, Some(Present { public, .. })) => {
            granted || public_pull(anonymous, public, anonymous_access)
        }
        (Action::Push | Action::Delete, Some(Present { state, mirrors, .. })) => {
            granted && takes_pushes(state, mirrors)
        }
        (Action::Admin, Some(Present { state, .. })) => granted && state == RepositoryState::Normal,
        (_, None) => granted,
    }
}

const fn public_pull(anonymous: bool, public: bool, anonymous_access: bool) -> bool {
    public && (!anonymous || anonymous_access)
}
