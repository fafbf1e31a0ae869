//! Who may manage what: accounts, namespaces and repositories as wholes, as against pushing and pulling, which are [`rights`](crate::rights)' business.
//! What an operation demands is a [`Need`]; [`allows`] is the one place that says who meets it.
//!
//! | who | may |
//! |---|---|
//! | superuser (`SUPER_USERS`) | [`Need::Superuser`], [`Need::SuperuserRead`] |
//! | the same, with `FEATURE_SUPERUSERS_FULL_ACCESS` | everything in every namespace too |
//! | global read-only superuser | [`Need::SuperuserRead`], and whatever only reads |
//! | the user of a namespace, member of a team `admin` | everything in it |
//! | member of a team `creator` | make repositories |
//! | who has a role in a repository | what the role says |
//! | everybody, if it is public | read it; without an account only where anonymous access is on |
//!
//! What somebody came with limits it: an OAuth token to its scopes; an app token, which programs hold, to repositories and to looking at the account; a
//! robot to repositories. A disabled namespace is closed to all but superusers with full access.

#[cfg(test)]
mod tests;

use roadstead_metadata::{
    Credential, MetadataError, NamespaceStanding, PathStanding, RepositoryPath, RepositoryRole,
    RepositoryStanding, TeamRole, UserId,
};

use crate::authenticator::Authenticator;
use crate::identity::{Identity, Proof, User};
use crate::oauth_scopes::OauthScopes;
use crate::options::AuthOptions;

/// What an operation demands of the one who wants it. `...Read` and `...Inspect` are for looking only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Need {
    /// Nothing: everybody may.
    Nothing,
    /// An account.
    Account,
    /// To be the person whose account it is.
    OwnAccount,
    /// A person, who may make organisations.
    NewOrganization,
    /// To belong to the namespace.
    NamespaceMember,
    /// To make repositories in the namespace.
    NamespaceCreate,
    /// To see everything about the namespace.
    NamespaceInspect,
    /// To administer the namespace.
    NamespaceAdmin,
    /// To read the repository.
    RepositoryRead,
    /// To write into the repository.
    RepositoryWrite,
    /// To see everything about the repository.
    RepositoryInspect,
    /// To administer the repository.
    RepositoryAdmin,
    /// To see what superusers see.
    SuperuserRead,
    /// To be a superuser.
    Superuser,
}

impl Need {
    /// Every need there is.
    pub const ALL: [Self; 14] = [
        Self::Nothing,
        Self::Account,
        Self::OwnAccount,
        Self::NewOrganization,
        Self::NamespaceMember,
        Self::NamespaceCreate,
        Self::NamespaceInspect,
        Self::NamespaceAdmin,
        Self::RepositoryRead,
        Self::RepositoryWrite,
        Self::RepositoryInspect,
        Self::RepositoryAdmin,
        Self::SuperuserRead,
        Self::Superuser,
    ];

    /// Who meets it, in words for the API's document.
    pub const fn description(self) -> &'static str {
        match self {
            Self::Nothing => "Everybody.",
            Self::Account => {
                "Everybody with an account; OAuth tokens with `user:read` or `org:admin`."
            }
            Self::OwnAccount => {
                "The person whose account it is, by the password or an OAuth token with `user:admin`."
            }
            Self::NewOrganization => {
                "Every person whom the operator lets make organizations, by the password or an OAuth token with `org:admin`."
            }
            Self::NamespaceMember => "Members of the namespace's teams.",
            Self::NamespaceCreate => {
                "Administrators of the namespace and members of its `creator` teams; OAuth tokens with `repo:create`."
            }
            Self::NamespaceInspect => {
                "Administrators of the namespace, and read-only superusers; OAuth tokens with `org:admin`."
            }
            Self::NamespaceAdmin => {
                "Administrators of the namespace; OAuth tokens with `org:admin`."
            }
            Self::RepositoryRead => {
                "Whoever may pull from the repository; OAuth tokens with `repo:read`."
            }
            Self::RepositoryWrite => {
                "Whoever may push to the repository; OAuth tokens with `repo:write`."
            }
            Self::RepositoryInspect => {
                "Administrators of the repository, and read-only superusers; OAuth tokens with `repo:admin`."
            }
            Self::RepositoryAdmin => {
                "Administrators of the repository; OAuth tokens with `repo:admin`."
            }
            Self::SuperuserRead => {
                "Superusers and read-only superusers; OAuth tokens with `super:user`."
            }
            Self::Superuser => "Superusers; OAuth tokens with `super:user`.",
        }
    }
}

/// What it is to be done to.
#[derive(Clone, Copy, Debug)]
pub enum Subject<'a> {
    /// The registry, or the one's own account.
    Registry,
    /// A namespace.
    Namespace(&'a str),
    /// A repository.
    Repository(&'a RepositoryPath),
}

/// Why somebody may not.
#[derive(Debug, thiserror::Error)]
pub enum NotPermitted {
    /// Nobody has signed in.
    #[error("sign in first")]
    SignIn,
    /// The one who signed in may not. It is not said whether the thing exists.
    #[error("you may not do this")]
    Forbidden,
    /// The database could not be asked.
    #[error("could not look up what you may do")]
    Backend {
        /// What it said.
        #[from]
        source: MetadataError,
    },
}

/// What was found out on the way to a permission.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Grounds {
    /// The namespace, if there is one of this name.
    pub namespace: Option<NamespaceStanding>,
    /// The repository, if there is one of this name that is not being deleted.
    pub repository: Option<RepositoryStanding>,
    /// The highest role in the repository, or in every repository of the namespace.
    pub role: Option<RepositoryRole>,
    /// Whether the asker administers the namespace.
    pub rules_namespace: bool,
}

/// Somebody who manages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Manager {
    id: UserId,
    superuser: bool,
    full_access: bool,
    reads_all: bool,
    /// Whether repositories in the namespace of one's own are not to be made.
    restricted: bool,
    makes_organizations: bool,
    reach: Reach,
}

/// How far what somebody came with reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Reach {
    repository: Option<RepositoryRole>,
    create: bool,
    organizations: bool,
    reads_account: bool,
    changes_account: bool,
}

impl Reach {
    const fn of(proof: &Proof) -> Self {
        match proof {
            Proof::Password => Self {
                repository: Some(RepositoryRole::Admin),
                create: true,
                organizations: true,
                reads_account: true,
                changes_account: true,
            },
            Proof::Robot { .. } | Proof::AppToken { .. } => Self {
                repository: Some(RepositoryRole::Admin),
                create: true,
                organizations: false,
                reads_account: true,
                changes_account: false,
            },
            Proof::OauthToken { scopes, .. } => Self {
                repository: scopes.repository(),
                create: scopes.create(),
                organizations: scopes.administers_organizations(),
                reads_account: scopes.reads_account(),
                changes_account: scopes.changes_account(),
            },
        }
    }
}

impl Manager {
    fn of(user: &User, options: &AuthOptions) -> Self {
        let superpowers = match user.proof {
            Proof::Password => true,
            Proof::OauthToken { scopes, .. } => OauthScopes::superuser(scopes),
            Proof::Robot { .. } | Proof::AppToken { .. } => false,
        };
        Self {
            id: user.id,
            superuser: superpowers && options.is_superuser(&user.username),
            full_access: superpowers && options.has_full_access(&user.username),
            reads_all: superpowers && options.reads_all(&user.username),
            restricted: options.is_restricted(&user.username),
            makes_organizations: options.creates_organizations(&user.username),
            reach: Reach::of(&user.proof),
        }
    }

    fn rules(self, namespace: &NamespaceStanding) -> bool {
        self.full_access || self.id == namespace.id || namespace.team_role == Some(TeamRole::Admin)
    }

    /// The highest role, `given` being what permissions say.
    fn role(self, standing: &PathStanding) -> Option<RepositoryRole> {
        let rules = standing
            .namespace
            .as_ref()
            .is_some_and(|namespace| self.rules(namespace));
        let given = standing
            .repository
            .as_ref()
            .and_then(|repository| repository.role);
        [
            rules.then_some(RepositoryRole::Admin),
            self.reads_all.then_some(RepositoryRole::Read),
            given,
        ]
        .into_iter()
        .max()
        .flatten()
        .min(self.reach.repository)
    }
}

/// Whether `manager`, or somebody without an account, meets the need where things stand like that.
fn allows(
    manager: Option<Manager>,
    need: Need,
    standing: &PathStanding,
    anonymous_access: bool,
) -> bool {
    if need == Need::Nothing {
        return true;
    }
    let closed = standing
        .namespace
        .as_ref()
        .is_some_and(|namespace| !namespace.enabled);
    let public = standing
        .repository
        .as_ref()
        .is_some_and(|repository| repository.public && repository.state.is_some());
    let Some(manager) = manager else {
        return need == Need::RepositoryRead && public && anonymous_access && !closed;
    };
    if closed && !manager.full_access {
        return false;
    }
    let namespace = standing.namespace.as_ref();
    let reach = manager.reach;
    let rules = namespace.is_some_and(|namespace| manager.rules(namespace))
        // So that a superuser is told that there is no such namespace.
        || manager.full_access;
    let role = manager.role(standing);
    match need {
        Need::Nothing => true,
        Need::Account => reach.reads_account || reach.organizations,
        Need::OwnAccount => reach.changes_account,
        Need::NewOrganization => manager.makes_organizations && reach.organizations,
        Need::NamespaceMember => {
            let member = namespace.is_some_and(|namespace| namespace.team_role.is_some());
            (rules || member || manager.reads_all) && (reach.organizations || reach.reads_account)
        }
        Need::NamespaceCreate => {
            let creator =
                namespace.is_some_and(|namespace| namespace.team_role >= Some(TeamRole::Creator));
            let own = namespace.is_some_and(|namespace| namespace.id == manager.id);
            (rules || creator) && reach.create && !(own && manager.restricted)
        }
        Need::NamespaceInspect => (rules || manager.reads_all) && reach.organizations,
        Need::NamespaceAdmin => rules && reach.organizations,
        Need::RepositoryRead => {
            role.is_some()
                || public && reach.repository.is_some()
                || manager.full_access && reach.repository.is_some()
        }
        Need::RepositoryWrite => {
            role >= Some(RepositoryRole::Write)
                || manager.full_access && reach.repository >= Some(RepositoryRole::Write)
        }
        Need::RepositoryInspect => {
            let admin = reach.repository == Some(RepositoryRole::Admin);
            role == Some(RepositoryRole::Admin)
                || (manager.reads_all || manager.full_access) && admin
        }
        Need::RepositoryAdmin => {
            role == Some(RepositoryRole::Admin)
                || manager.full_access && reach.repository == Some(RepositoryRole::Admin)
        }
        Need::SuperuserRead => manager.superuser || manager.reads_all,
        Need::Superuser => manager.superuser,
    }
}

impl Authenticator {
    /// Whether `identity` meets the need, by what the database says now: at most one statement.
    pub async fn permit(
        &self,
        identity: &Identity,
        need: Need,
        subject: Subject<'_>,
    ) -> Result<Grounds, NotPermitted> {
        let options = &self.inner.options;
        let (id, manager) = match identity {
            Identity::Anonymous => (None, None),
            Identity::User(user) => (Some(user.id), Some(Manager::of(user, options))),
        };
        let path = match subject {
            Subject::Registry => None,
            // No repository has an empty name.
            Subject::Namespace(name) => Some(RepositoryPath {
                namespace: name.to_owned(),
                name: String::new(),
            }),
            Subject::Repository(path) => Some(path.clone()),
        };
        let mut standing = match &path {
            None => PathStanding::default(),
            Some(path) => {
                let found = self
                    .inner
                    .database
                    .standings(id, std::slice::from_ref(path));
                found.await?.into_iter().next().unwrap_or_default()
            }
        };
        standing.repository = standing
            .repository
            .filter(|repository| repository.state.is_some());
        if allows(manager, need, &standing, options.anonymous_access) {
            let rules_namespace = match (manager, &standing.namespace) {
                (Some(manager), Some(namespace)) => {
                    manager.rules(namespace) && manager.reach.organizations
                }
                _ => false,
            };
            Ok(Grounds {
                role: manager.and_then(|manager| manager.role(&standing)),
                rules_namespace,
                namespace: standing.namespace,
                repository: standing.repository,
            })
        } else if manager.is_none() {
            Err(NotPermitted::SignIn)
        } else {
            Err(NotPermitted::Forbidden)
        }
    }

    /// Whether the one who signed in is a superuser, and came as such.
    pub fn is_superuser(&self, identity: &Identity) -> bool {
        match identity {
            Identity::Anonymous => false,
            Identity::User(user) => Manager::of(user, &self.inner.options).superuser,
        }
    }

    /// Whether the one who signed in may see everything that is in the registry.
    pub fn sees_all(&self, identity: &Identity) -> bool {
        match identity {
            Identity::Anonymous => false,
            Identity::User(user) => {
                let manager = Manager::of(user, &self.inner.options);
                manager.full_access || manager.reads_all
            }
        }
    }
}

impl Identity {
    /// The account's id; none for the anonymous.
    pub const fn id(&self) -> Option<UserId> {
        match self {
            Self::Anonymous => None,
            Self::User(user) => Some(user.id),
        }
    }

    /// Whether what they came with reaches repositories at all: an OAuth token may not.
    pub fn reaches_repositories(&self) -> bool {
        match self {
            Self::Anonymous => true,
            Self::User(user) => Reach::of(&user.proof).repository.is_some(),
        }
    }

    /// What it was proved with, as the log of actions tells it.
    pub fn credential(&self) -> Credential {
        match self {
            Self::Anonymous => Credential::Account,
            Self::User(user) => match &user.proof {
                Proof::Password | Proof::Robot { .. } => Credential::Account,
                Proof::AppToken { uuid } => Credential::AppToken(uuid.clone()),
                Proof::OauthToken { uuid, .. } => Credential::OauthToken(uuid.clone()),
            },
        }
    }
}
