//! Answering a request for a token: what of the wanted is granted, and the repositories that a wish to push makes.
//!
//! Who may do what is decided in [`rights`](crate::rights); this fetches the facts and acts on the decision.

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use roadstead_metadata::{
    CatalogViewer, Ensured, MetadataError, NewRepository, PathStanding, RepositoryPath,
    RepositoryStanding,
};
use roadstead_oci::RepositoryName;

use crate::access::Access;
use crate::authenticator::Authenticator;
use crate::identity::{Identity, User};
use crate::login::{Credentials, LoginError};
use crate::oauth_scopes::OauthScopes;
use crate::options::AuthOptions;
use crate::outage::{Decision, is_outage};
use crate::present::Holder;
use crate::rights::{Action, Asker, Namespace, Policy, Rights, Target, rights};
use crate::scope::{RequestedScope, ScopeError};
use crate::token::{IssueError, Token};

/// What is granted of one requested scope.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GrantedScope {
    /// The repository, as the client spelt it, without the registry's host.
    pub name: RepositoryName,
    /// The actions: those of push, pull and `*` that were asked for and are allowed, in this order. May be empty.
    pub actions: BTreeSet<Action>,
}

/// Why a request for scopes is refused as a whole. Missing rights are no reason: less is granted then.
#[derive(Debug, thiserror::Error)]
pub enum GrantError {
    /// The namespace is disabled. Quay's answer is 405 `DENIED`, to everybody.
    #[error("namespace `{namespace}` is disabled")]
    NamespaceDisabled {
        /// The namespace.
        namespace: String,
    },
    /// The repository holds something else than images. Quay's answer is 405 `UNSUPPORTED`, to those with rights.
    #[error("repository `{path}` does not hold images")]
    NoImages {
        /// The repository.
        path: RepositoryPath,
    },
    /// The database could not be asked, or did not take the new repository.
    #[error("could not look up or make a repository")]
    Backend {
        /// What it said.
        #[from]
        source: MetadataError,
    },
}

impl GrantError {
    /// What to tell the client: Quay's texts, where it has them.
    pub fn client_message(&self) -> String {
        match self {
            Self::NamespaceDisabled { namespace } => {
                format!(
                    "Namespace {namespace} has been disabled. Please contact a system administrator."
                )
            }
            Self::NoImages { .. } => "This repository does not hold container images.".to_owned(),
            Self::Backend { .. } => {
                "Tokens cannot be issued at the moment. Please try again.".to_owned()
            }
        }
    }
}

/// A request for a token, as `GET /v2/auth` and the form of OAuth2 carry it.
#[derive(Clone, Debug, Default)]
pub struct TokenRequest<'a> {
    /// The name and the password, if any were sent.
    pub credentials: Option<Credentials>,
    /// Every `scope` parameter, as it came.
    pub scopes: Vec<&'a str>,
    /// The `service` parameter.
    pub service: Option<&'a str>,
}

/// A token, and whose it is.
#[derive(Clone, Debug)]
pub struct IssuedToken {
    /// The token.
    pub token: Token,
    /// The account that it was issued to, which need not have the name that was sent; none for nobody in particular.
    pub username: Option<String>,
}

/// Why there is no token.
#[derive(Debug, thiserror::Error)]
pub enum TokenRefusal {
    /// Nobody signed in, and either nothing was asked for or the anonymous have no access. The answer is 401 with a challenge.
    #[error("a token without a login needs a scope and anonymous access")]
    LoginRequired,
    /// The login failed. There is no falling back to an anonymous token.
    #[error(transparent)]
    Login(#[from] LoginError),
    /// A scope cannot be read.
    #[error(transparent)]
    Scope(#[from] ScopeError),
    /// The scopes are refused as a whole.
    #[error(transparent)]
    Grant(#[from] GrantError),
    /// The token could not be made.
    #[error(transparent)]
    Issue(#[from] IssueError),
}

/// A scope of a repository, and what was found where it points.
struct Asked<'a> {
    name: &'a RepositoryName,
    wanted: &'a BTreeSet<Action>,
    /// None: names of this form are nobody's here.
    found: Option<Found>,
}

pub(crate) struct Found {
    path: RepositoryPath,
    pub(crate) target: Target,
    holds_images: bool,
}

impl Authenticator {
    /// Answers a request for a token: [`Authenticator::authenticate`], [`Authenticator::grant`] and [`Authenticator::issue`] in turn.
    ///
    /// While the database is not available, what it granted to the same asker in the last ten minutes is granted again, for pulling only;
    /// anything else is refused as a failure of the database.
    pub async fn token(&self, request: TokenRequest<'_>) -> Result<IssuedToken, TokenRefusal> {
        let inner = &self.inner;
        let TokenRequest {
            credentials,
            scopes,
            service,
        } = request;
        let asker = inner.outage.asker(credentials.as_ref());
        let decided = self.decide(credentials, &scopes).await;
        let now = inner.environment.now();
        let (identity, grants) = match decided {
            Ok(decision) => {
                inner.outage.remember(&asker, &decision, now);
                decision
            }
            Err(refusal) if is_outage(&refusal) => {
                let scopes = RequestedScope::parse_all(scopes, &inner.options.hostname)?;
                match inner.outage.recall(&asker, &scopes, now) {
                    Some(decision) => decision,
                    None => return Err(refusal),
                }
            }
            Err(refusal) => {
                if let TokenRefusal::Login(_) = &refusal {
                    inner.outage.forget(&asker, now);
                }
                return Err(refusal);
            }
        };
        Ok(IssuedToken {
            token: self.issue(&identity, &grants, service).await?,
            username: identity.username().map(str::to_owned),
        })
    }

    async fn decide(
        &self,
        credentials: Option<Credentials>,
        scopes: &[&str],
    ) -> Result<Decision, TokenRefusal> {
        let options = &self.inner.options;
        let identity = match credentials {
            Some(credentials) => self.authenticate(credentials).await?,
            None => Identity::Anonymous,
        };
        let nothing_asked = scopes.iter().all(|scope| scope.is_empty());
        if identity == Identity::Anonymous && (nothing_asked || !options.anonymous_access) {
            return Err(TokenRefusal::LoginRequired);
        }
        let scopes = RequestedScope::parse_all(scopes.iter().copied(), &options.hostname)?;
        let grants = self.grant(&identity, &scopes).await?;
        Ok((identity, grants))
    }

    /// Grants of every requested scope what its asker may do; [`RequestedScope::Catalog`] needs no grant and gets none.
    ///
    /// Whoever wants to push to a repository that does not exist, and may make it, makes it by asking, as in Quay: Docker's clients push right
    /// after. It is private or not by [`AuthOptions::private_on_push`](crate::AuthOptions), and so are namespaces made where
    /// [`AuthOptions::create_namespace_on_push`](crate::AuthOptions) allows it. `delete` is granted as `push`, which includes it, and makes nothing.
    ///
    /// What decides is read in one statement, however many the scopes, and read once more when a repository was made. Asking again gives the same.
    /// A dropped future, or an error, leaves the repositories that have been made.
    pub async fn grant(
        &self,
        identity: &Identity,
        requested: &[RequestedScope],
    ) -> Result<Vec<GrantedScope>, GrantError> {
        let mut asked = self.find(identity, requested).await?;
        let mut made = false;
        if let Identity::User(user) = identity {
            for found in asked
                .iter()
                .filter_map(|asked| asked.wish_to_make(self, identity))
            {
                made |= self.make_repository(user, found).await?;
            }
        }
        if made {
            asked = self.find(identity, requested).await?;
        }
        asked
            .iter()
            .map(|asked| {
                Ok(GrantedScope {
                    name: asked.name.clone(),
                    actions: self.granted_actions(identity, asked)?,
                })
            })
            .collect()
    }

    fn granted_actions(
        &self,
        identity: &Identity,
        asked: &Asked<'_>,
    ) -> Result<BTreeSet<Action>, GrantError> {
        let Some(found) = &asked.found else {
            return Ok(BTreeSet::new());
        };
        let allowed = self.rights(identity, found.target);
        if !found.holds_images && asked.wanted.iter().any(|action| allowed.allow(*action)) {
            return Err(GrantError::NoImages {
                path: found.path.clone(),
            });
        }
        Ok(asked
            .wanted
            .iter()
            .filter(|action| allowed.allow(**action))
            .map(|action| action.in_tokens())
            .collect())
    }

    pub(crate) fn rights(&self, identity: &Identity, target: Target) -> Rights {
        let options = &self.inner.options;
        let asker = match identity {
            Identity::Anonymous => Asker::Anonymous,
            Identity::User(user) => {
                let limits = user.limits();
                let superpowers = limits.is_none_or(OauthScopes::superuser);
                Asker::Account {
                    id: user.id,
                    robot: user.is_robot(),
                    full_access: superpowers && options.has_full_access(&user.username),
                    reads_all: superpowers && options.reads_all(&user.username),
                    limits,
                }
            }
        };
        let policy = Policy {
            anonymous_access: options.anonymous_access,
            create_namespace_on_push: options.create_namespace_on_push,
            proxy_cache: options.proxy_cache,
        };
        let rights = rights(asker, target, policy);
        match identity {
            Identity::Anonymous => rights,
            Identity::User(user) => Rights {
                create: rights.create && may_create(user, target, options),
                ..rights
            },
        }
    }

    /// What every scope of a repository points at, and where the asker stands there.
    async fn find<'a>(
        &self,
        identity: &Identity,
        requested: &'a [RequestedScope],
    ) -> Result<Vec<Asked<'a>>, GrantError> {
        let asker = match identity {
            Identity::Anonymous => None,
            Identity::User(user) => Some(user.id),
        };
        let mut asked = Vec::new();
        let mut paths = Vec::new();
        for scope in requested {
            match scope {
                RequestedScope::Repository { name, actions } => {
                    let path = self.inner.options.path(name);
                    asked.push((name, actions, path.is_some()));
                    paths.extend(path);
                }
                RequestedScope::Catalog => {}
            }
        }
        let standings = self.inner.database.standings(asker, &paths).await?;
        let mut found = paths
            .into_iter()
            .zip(standings)
            .map(|(path, standing)| Found::new(path, standing))
            .collect::<Result<Vec<_>, _>>()?
            .into_iter();
        Ok(asked
            .into_iter()
            .map(|(name, wanted, has_path)| Asked {
                name,
                wanted,
                found: has_path.then(|| found.next()).flatten(),
            })
            .collect())
    }

    /// False when there is no namespace to make it in.
    async fn make_repository(&self, user: &User, missing: &Found) -> Result<bool, GrantError> {
        let options = &self.inner.options;
        let path = &missing.path;
        let ensured = self
            .inner
            .database
            .ensure_repository(&NewRepository {
                path,
                creator: user.id,
                private: options.private_on_push,
                create_namespace: missing.target == Target::MissingNamespace,
                tag_window: options.tag_window,
                ids: self.inner.environment.ids.as_ref(),
                now: self.inner.environment.now(),
            })
            .await?;
        Ok(match ensured {
            Ensured::Created(_) => {
                tracing::info!(repository.name = %path, user.name = %user.username, "Made repository {path} on a push");
                true
            }
            Ensured::Found(_) => true,
            Ensured::NoNamespace => false,
        })
    }

    /// Whose listing of repositories the bearer may see; none: an empty one.
    pub async fn catalog_viewer(
        &self,
        access: &Access,
    ) -> Result<Option<CatalogViewer>, MetadataError> {
        if access.sees_all() {
            return Ok(Some(CatalogViewer::All));
        }
        let account = match (&access.holder, access.username()) {
            (Holder::Known(user), _) => Some(user.id),
            (Holder::Unconfirmed, Some(username)) => {
                let found = self.inner.database.find_account(username).await?;
                found.map(|account| account.id)
            }
            (Holder::Anonymous | Holder::Unconfirmed, _) => None,
        };
        Ok(match (account, self.inner.options.public_catalog) {
            (Some(account), true) => Some(CatalogViewer::AccountAndPublic(account)),
            (Some(account), false) => Some(CatalogViewer::Account(account)),
            (None, true) => Some(CatalogViewer::PublicOnly),
            (None, false) => None,
        })
    }
}

/// Whether the operator's restrictions leave somebody the making of what is missing.
fn may_create(user: &User, target: Target, options: &AuthOptions) -> bool {
    match target {
        Target::MissingNamespace => options.creates_organizations(&user.username),
        Target::MissingRepository { namespace } => {
            namespace.owner != user.id || !options.is_restricted(&user.username)
        }
        Target::Repository { .. } | Target::DeletedRepository { .. } => true,
    }
}

impl Asked<'_> {
    /// Where a repository is to be made because its asker wants to push to it and may make it.
    fn wish_to_make(&self, authenticator: &Authenticator, identity: &Identity) -> Option<&Found> {
        let found = self.found.as_ref()?;
        let wanted = self.wanted.contains(&Action::Push)
            && authenticator.rights(identity, found.target).create;
        wanted.then_some(found)
    }
}

impl Found {
    pub(crate) fn new(path: RepositoryPath, standing: PathStanding) -> Result<Self, GrantError> {
        let Some(namespace) = standing.namespace else {
            return Ok(Self {
                path,
                target: Target::MissingNamespace,
                holds_images: true,
            });
        };
        if !namespace.enabled {
            return Err(GrantError::NamespaceDisabled {
                namespace: path.namespace,
            });
        }
        let namespace = Namespace {
            owner: namespace.id,
            team_role: namespace.team_role,
            proxy_cache: namespace.proxy_cache,
        };
        let holds_images = standing
            .repository
            .as_ref()
            .is_none_or(|repository| repository.holds_images);
        let target = match standing.repository {
            None => Target::MissingRepository { namespace },
            Some(RepositoryStanding { state: None, .. }) => Target::DeletedRepository { namespace },
            Some(RepositoryStanding {
                public,
                state: Some(state),
                role,
                mirror_robot,
                ..
            }) => Target::Repository {
                namespace,
                public,
                state,
                role,
                mirror_robot,
            },
        };
        Ok(Self {
            path,
            target,
            holds_images,
        })
    }
}
