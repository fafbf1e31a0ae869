//! Making registry tokens: JSON web tokens with Quay's claims (contract 8.3), signed with this instance's key. Reading them back is the
//! business of [`access`](crate::access).

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jsonwebtoken::{Algorithm, Header};
use roadstead_runtime::Timestamp;
use serde::Serialize;

use crate::authenticator::Authenticator;
use crate::grant::GrantedScope;
use crate::identity::{Identity, Proof, User};
use crate::issued::Said;
use crate::signing_keys::KeyError;
use crate::web_key::PrivateKey;
use roadstead_secrets::Secret;

/// How long a token can be used: Quay's 3600 s.
pub const TOKEN_LIFE: Duration = Duration::from_hours(1);

/// The most bytes of the audience that a client asks for: more than any host name with a port has.
const AUDIENCE_BYTES_MAX: usize = 512;

/// The algorithm of every token.
pub(crate) const ALGORITHM: Algorithm = Algorithm::RS256;

/// Who a token is about when nobody has signed in.
pub(crate) const ANONYMOUS: &str = "(anonymous)";

/// What Quay writes where its signing of images by another service is switched off, which it always is.
const NO_TRUST: &str = "$disabled";

/// A registry token, to be sent as `Authorization: Bearer`.
#[derive(Clone, Debug)]
pub struct Token {
    /// The token itself.
    pub value: Secret,
    /// When it was issued, in whole seconds.
    pub issued: Timestamp,
    /// How long it can be used from then on.
    pub life: Duration,
}

/// Why no token could be issued.
#[derive(Debug, thiserror::Error)]
pub enum IssueError {
    /// The `service` that the client named is longer than any.
    #[error(
        "the service that a token is asked for has {bytes} bytes; at most {AUDIENCE_BYTES_MAX} are allowed"
    )]
    Audience {
        /// Its length.
        bytes: usize,
    },
    /// The address that a grant of the storage proxy is asked for is longer than any store's.
    #[error("the address to be fetched from has {bytes} bytes; at most {bytes_max} are allowed")]
    Address {
        /// Its length.
        bytes: usize,
        /// The most that it may have.
        bytes_max: usize,
    },
    /// There is no key to sign with.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The signature could not be made.
    #[error("could not sign a token")]
    Sign {
        /// What the library said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// The claims of everything that this instance signs. `A` is what one item of `access` is.
#[derive(Debug, Serialize)]
pub(crate) struct Claims<'a, A, C> {
    pub(crate) iss: &'a str,
    pub(crate) aud: &'a str,
    pub(crate) nbf: i64,
    pub(crate) iat: i64,
    pub(crate) exp: i64,
    pub(crate) sub: &'a str,
    pub(crate) access: Vec<A>,
    pub(crate) context: C,
}

#[derive(Debug, Serialize)]
struct AccessClaim<'a> {
    r#type: &'static str,
    name: &'a str,
    actions: Vec<&'static str>,
}

#[derive(Debug, Serialize)]
struct ContextClaim<'a> {
    #[serde(flatten)]
    user: Option<UserClaim<'a>>,
    #[serde(rename = "com.apostille.roots")]
    roots: BTreeMap<String, &'static str>,
    #[serde(rename = "com.apostille.root")]
    root: &'static str,
}

/// How Quay speaks of somebody with an account.
#[derive(Debug, Serialize)]
struct UserClaim<'a> {
    version: u8,
    entity_kind: &'static str,
    entity_reference: Option<&'a str>,
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    oauth: Option<&'a str>,
    user: &'a str,
    /// Ours, which Quay passes over: which of a robot's tokens it was issued on.
    #[serde(skip_serializing_if = "Option::is_none")]
    roadstead_credential: Option<&'a str>,
}

impl<'a> UserClaim<'a> {
    fn of(user: &'a User) -> Self {
        let (entity_kind, entity_reference) = match &user.proof {
            Proof::Password => ("user", user.uuid.as_deref()),
            Proof::Robot { .. } => ("robot", Some(user.username.as_str())),
            Proof::AppToken { uuid } => ("appspecifictoken", Some(uuid.as_str())),
            Proof::OauthToken { uuid, .. } => ("oauthtoken", Some(uuid.as_str())),
        };
        let oauth = match &user.proof {
            Proof::OauthToken { uuid, .. } => Some(uuid.as_str()),
            Proof::Password | Proof::Robot { .. } | Proof::AppToken { .. } => None,
        };
        Self {
            version: 2,
            entity_kind,
            entity_reference,
            kind: if oauth.is_some() { "oauth" } else { "user" },
            oauth,
            user: &user.username,
            roadstead_credential: match &user.proof {
                Proof::Robot { credential } => credential.as_deref(),
                _ => None,
            },
        }
    }
}

impl Authenticator {
    /// Issues a token that says who its bearer is and what was granted.
    ///
    /// `audience` is the service that the client asked for, unchecked as in Quay: a token for another service is refused where it is used.
    /// Without one it is this registry.
    ///
    /// Whoever asks for the same within a minute gets the same token. Waits for the instance's key if that is still being made. A dropped future leaves
    /// nothing behind.
    pub async fn issue(
        &self,
        identity: &Identity,
        grants: &[GrantedScope],
        audience: Option<&str>,
    ) -> Result<Token, IssueError> {
        let options = &self.inner.options;
        let audience = audience.unwrap_or(&options.hostname);
        if audience.len() > AUDIENCE_BYTES_MAX {
            return Err(IssueError::Audience {
                bytes: audience.len(),
            });
        }
        let key = self.inner.keys.current().await?;
        let now = self.inner.environment.now();
        let mut claims = Claims {
            iss: &options.service,
            aud: audience,
            nbf: 0,
            iat: 0,
            exp: 0,
            sub: identity.username().unwrap_or(ANONYMOUS),
            access: grants.iter().map(access_claim).collect(),
            context: self.context_claim(identity, grants),
        };
        let text = serde_json::to_vec(&claims).map_err(|error| IssueError::Sign {
            source: error.into(),
        })?;
        let said = Said::of(&key.kid, &text);
        if let Some(token) = self.inner.issued.get(&said, now) {
            return Ok(token);
        }
        let seconds = now.timestamp();
        (claims.nbf, claims.iat) = (seconds, seconds);
        claims.exp = seconds + TOKEN_LIFE.as_secs().cast_signed();
        let token = Token {
            value: sign(key, &claims).await?,
            issued: Timestamp::from_timestamp(seconds, 0).unwrap_or_default(),
            life: TOKEN_LIFE,
        };
        self.inner.issued.keep(said, &token);
        Ok(token)
    }

    fn context_claim<'a>(
        &self,
        identity: &'a Identity,
        grants: &[GrantedScope],
    ) -> ContextClaim<'a> {
        let user = match identity {
            Identity::Anonymous => None,
            Identity::User(user) => Some(UserClaim::of(user)),
        };
        let paths = grants
            .iter()
            .filter_map(|grant| self.inner.options.path(&grant.name));
        ContextClaim {
            user,
            roots: paths.map(|path| (path.to_string(), NO_TRUST)).collect(),
            root: NO_TRUST,
        }
    }
}

/// A token of these claims.
pub(crate) async fn sign(
    key: Arc<PrivateKey>,
    claims: &impl Serialize,
) -> Result<Secret, IssueError> {
    let header = Header {
        kid: Some(key.kid.clone()),
        ..Header::new(ALGORITHM)
    };
    let failed = |source: Box<dyn std::error::Error + Send + Sync>| IssueError::Sign { source };
    let claims = serde_json::to_value(claims).map_err(|error| failed(error.into()))?;
    // A signature takes 2 ms of one core: too long for a thread that serves other requests.
    let value =
        tokio::task::spawn_blocking(move || jsonwebtoken::encode(&header, &claims, &key.signing))
            .await
            .map_err(|error| failed(error.into()))?
            .map_err(|error| failed(error.into()))?;
    Ok(Secret::new(value))
}

fn access_claim(grant: &GrantedScope) -> AccessClaim<'_> {
    AccessClaim {
        r#type: "repository",
        name: grant.name.as_str(),
        actions: grant.actions.iter().map(|action| action.as_str()).collect(),
    }
}
