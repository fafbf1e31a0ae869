//! Answering a request for a token: what of the wanted is granted, and the repositories that a wish to push makes.
//!
//! Who may do what is decided in [`rights`](crate::rights); this fetches the facts and acts on the decision.

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use roadstead_metadata::{
    CatalogViewer, Ensured, MetadataError, NewRepository, Repository, RepositoryPath,
};
use roadstead_oci::RepositoryName;

use crate::access::Access;
use crate::authenticator::Authenticator;
use crate::identity::{Identity, User};
use crate::login::{Credentials, LoginError};
use crate::rights::{Action, Asker, Policy, Rights, Target, rights};
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

/// What was found where a scope points.
struct Found {
    target: Target,
    holds_images: bool,
}

impl Authenticator {
    /// Answers a request for a token: [`Authenticator::authenticate`], [`Authenticator::grant`] and [`Authenticator::issue`] in turn.
    pub async fn token(&self, request: TokenRequest<'_>) -> Result<Token, TokenRefusal> {
        let options = &self.inner.options;
        let identity = match request.credentials {
            Some(credentials) => self.authenticate(credentials).await?,
            None => Identity::Anonymous,
        };
        let nothing_asked = request.scopes.iter().all(|scope| scope.is_empty());
        if identity == Identity::Anonymous && (nothing_asked || !options.anonymous_access) {
            return Err(TokenRefusal::LoginRequired);
        }
        let scopes = RequestedScope::parse_all(request.scopes, &options.hostname)?;
        let grants = self.grant(&identity, &scopes).await?;
        Ok(self.issue(&identity, &grants, request.service).await?)
    }

    /// Grants of every requested scope what its asker may do; [`RequestedScope::Catalog`] needs no grant and gets none.
    ///
    /// Whoever wants to push to a repository that does not exist, and may make it, makes it by asking, as in Quay: Docker's clients push right
    /// after. It is private or not by [`AuthOptions::private_on_push`](crate::AuthOptions), and so are namespaces made where
    /// [`AuthOptions::create_namespace_on_push`](crate::AuthOptions) allows it. `delete` is granted as `push`, which includes it, and makes nothing.
    ///
    /// Asking again gives the same. A dropped future, or an error, leaves the repositories that have been made.
    pub async fn grant(
        &self,
        identity: &Identity,
        requested: &[RequestedScope],
    ) -> Result<Vec<GrantedScope>, GrantError> {
        let mut granted = Vec::new();
        for scope in requested {
            match scope {
                RequestedScope::Repository { name, actions } => {
                    granted.push(GrantedScope {
                        name: name.clone(),
                        actions: self.granted_actions(identity, name, actions).await?,
                    });
                }
                RequestedScope::Catalog => {}
            }
        }
        Ok(granted)
    }

    async fn granted_actions(
        &self,
        identity: &Identity,
        name: &RepositoryName,
        wanted: &BTreeSet<Action>,
    ) -> Result<BTreeSet<Action>, GrantError> {
        let Some(path) = self.inner.options.path(name) else {
            return Ok(BTreeSet::new());
        };
        let mut found = self.find(&path).await?;
        let mut allowed = self.rights(identity, found.target);
        if let Identity::User(user) = identity
            && allowed.create
            && wanted.contains(&Action::Push)
            && let Some(made) = self.make_repository(user, &path, found.target).await?
        {
            found = Found::from(&made);
            allowed = self.rights(identity, found.target);
        }
        if !found.holds_images && wanted.iter().any(|action| allowed.allow(*action)) {
            return Err(GrantError::NoImages { path });
        }
        Ok(wanted
            .iter()
            .filter(|action| allowed.allow(**action))
            .map(|action| action.in_tokens())
            .collect())
    }

    fn rights(&self, identity: &Identity, target: Target) -> Rights {
        let options = &self.inner.options;
        let asker = match identity {
            Identity::Anonymous => Asker::Anonymous,
            Identity::User(user) => Asker::User {
                id: user.id,
                full_access: options.has_full_access(&user.username),
            },
        };
        let policy = Policy {
            anonymous_access: options.anonymous_access,
            create_namespace_on_push: options.create_namespace_on_push,
        };
        rights(asker, target, policy)
    }

    async fn find(&self, path: &RepositoryPath) -> Result<Found, GrantError> {
        let database = &self.inner.database;
        let namespace = database
            .find_account(&path.namespace)
            .await?
            .filter(|account| !account.robot);
        let Some(account) = namespace else {
            return Ok(Found::missing(Target::MissingNamespace));
        };
        if !account.enabled {
            return Err(GrantError::NamespaceDisabled {
                namespace: account.username,
            });
        }
        let missing = Target::MissingRepository { owner: account.id };
        let repository = database.find_repository(path).await?;
        Ok(repository.map_or(Found::missing(missing), |repository| {
            Found::from(&repository)
        }))
    }

    async fn make_repository(
        &self,
        user: &User,
        path: &RepositoryPath,
        missing: Target,
    ) -> Result<Option<Repository>, GrantError> {
        let options = &self.inner.options;
        let ensured = self
            .inner
            .database
            .ensure_repository(&NewRepository {
                path,
                creator: user.id,
                private: options.private_on_push,
                create_namespace: missing == Target::MissingNamespace,
                ids: self.inner.environment.ids.as_ref(),
                now: self.inner.environment.now(),
            })
            .await?;
        Ok(match ensured {
            Ensured::Created(repository) => {
                tracing::info!(repository.name = %path, user.name = %user.username, "Made repository {path} on a push");
                Some(repository)
            }
            Ensured::Found(repository) => Some(repository),
            Ensured::NoNamespace => None,
        })
    }

    /// Whose listing of repositories the bearer may see; none: an empty one.
    pub async fn catalog_viewer(
        &self,
        access: &Access,
    ) -> Result<Option<CatalogViewer>, MetadataError> {
        if access.is_superuser() {
            return Ok(Some(CatalogViewer::All));
        }
        let account = match access.username() {
            Some(username) => self.inner.database.find_namespace(username).await?,
            None => None,
        };
        Ok(match account {
            Some(account) => Some(CatalogViewer::Account(account)),
            None if self.inner.options.public_catalog => Some(CatalogViewer::PublicOnly),
            None => None,
        })
    }
}

impl Found {
    const fn missing(target: Target) -> Self {
        Self {
            target,
            holds_images: true,
        }
    }
}

impl From<&Repository> for Found {
    fn from(repository: &Repository) -> Self {
        Self {
            target: Target::Repository {
                owner: repository.namespace_id,
                public: repository.public,
                state: repository.state,
            },
            holds_images: repository.holds_images,
        }
    }
}
