//! Reading registry tokens back: who the bearer is and how far the token reaches. A token is trusted only after every check of contract 8.3.
//!
//! Whether what it grants is enough is decided in [`rights`], and whether it still may be granted in [`present`](crate::present).

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;

use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{DecodingKey, Header, Validation};
use roadstead_metadata::{MetadataError, Repository, RepositoryPath};
use roadstead_oci::RepositoryName;
use roadstead_runtime::Timestamp;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::authenticator::Authenticator;
use crate::bearer::{Claimed, ClaimedProof, Revoked};
use crate::known_keys::{NoKey, Stranger};
use crate::known_tokens::{KNOWN_TOKEN_BYTES_MAX, KnownToken, KnownTokens};
use crate::options::AuthOptions;
use crate::present::Holder;
use crate::rights::{self, Action, Level, Present};
use crate::scope::without_host;
use crate::token::{ALGORITHM, ANONYMOUS};

/// The most bytes of a token: one for [`SCOPES_MAX`](crate::SCOPES_MAX) repositories with the longest names has about 30 KiB.
pub const TOKEN_BYTES_MAX: usize = 64 * 1024;

/// How far the clocks of two regions may be apart, in seconds, as in Quay.
const LEEWAY: i64 = 30;

/// What the bearer of a token may do; without a token, what everybody may.
#[derive(Clone, Debug)]
pub struct Access {
    /// None without a token.
    grant: Option<Arc<TokenGrant>>,
    pub(crate) holder: Holder,
}

/// What a token says that was found good: all that does not depend on when it is used.
#[derive(Debug)]
pub(crate) struct TokenGrant {
    life: Life,
    proof: Option<TokenProof>,
    sees_all: bool,
    granted: HashMap<RepositoryPath, Level>,
    issued: Timestamp,
    /// To whom it was issued; none: to everybody.
    claimed: Option<Claimed>,
    options: Arc<AuthOptions>,
}

impl Access {
    /// The access of those who send no token: what is public.
    pub fn anonymous() -> Self {
        Self {
            grant: None,
            holder: Holder::Anonymous,
        }
    }

    /// Who the token is about; none for the anonymous.
    pub fn username(&self) -> Option<&str> {
        let claimed = self.grant.as_ref()?.claimed.as_ref()?;
        Some(&claimed.username)
    }

    /// What its bearer showed to get the token; none where that was the account's own password or token.
    pub fn proof(&self) -> Option<&TokenProof> {
        self.grant.as_ref()?.proof.as_ref()
    }

    /// Whether the bearer is a superuser who may read everything. It widens listings; in a repository only the token's grants count.
    pub fn sees_all(&self) -> bool {
        // Not on the token's word alone.
        let confirmed = !matches!(self.holder, Holder::Unconfirmed);
        confirmed && self.grant.as_ref().is_some_and(|grant| grant.sees_all)
    }

    /// Whether the token grants `action` in `repository`, which need not exist.
    ///
    /// What is public needs no grant, so ask [`Authenticator::may`] once the repository has been looked up.
    pub fn allows(&self, repository: &RepositoryName, action: Action) -> bool {
        self.level(repository)
            .is_some_and(|level| level.allows(action))
    }

    fn level(&self, repository: &RepositoryName) -> Option<Level> {
        let grant = self.grant.as_ref()?;
        let path = grant.options.path(repository)?;
        grant.granted.get(&path).copied()
    }

    fn issued(&self) -> Timestamp {
        self.grant
            .as_ref()
            .map_or(Timestamp::UNIX_EPOCH, |grant| grant.issued)
    }
}

/// What somebody showed in place of an account's own password or token, by the identifier that Quay gave it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenProof {
    /// An app-specific token.
    AppToken(String),
    /// An OAuth access token.
    OauthToken(String),
}

/// Why a token is refused. The answer is 401 with a challenge, save for [`TokenError::Busy`] and [`TokenError::Backend`]: 503.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// It is no JSON web token of the form that registries issue.
    #[error("token is not a JSON web token of a registry: {reason}")]
    Malformed {
        /// What is wrong with it.
        reason: &'static str,
    },
    /// It is signed by another algorithm than RS256, or not at all.
    #[error("token is not signed with RS256")]
    Algorithm,
    /// It does not name the key that signed it.
    #[error("token does not name its key")]
    MissingKeyId,
    /// No trusted key has the id that it names.
    #[error("token names a key that is not known, not approved, or another service's")]
    UnknownKey,
    /// The key that it names has ended.
    #[error("token names a key whose life is over")]
    EndedKey,
    /// The signature does not fit.
    #[error("token has a wrong signature")]
    Signature,
    /// It was issued by another.
    #[error("token has another issuer")]
    Issuer,
    /// It is for another registry.
    #[error("token is for another service")]
    Audience,
    /// It has ended.
    #[error("token has expired")]
    Expired,
    /// Its time has not come, or it was issued in the future.
    #[error("token is not valid yet")]
    NotYetValid,
    /// It lives longer than tokens may.
    #[error("token lives for {seconds} s, which is longer than tokens may")]
    TooLongLived {
        /// From `iat` to `exp`.
        seconds: i64,
    },
    /// It does not say who it is about.
    #[error("token does not say who it is about")]
    MissingSubject,
    /// It was good, but what it was issued on is not any more.
    #[error("token is not good any more: {reason}")]
    Revoked {
        /// What has changed.
        reason: Revoked,
    },
    /// Too many tokens with unknown keys came just now, and this one's key is not known yet either; or nothing can be asked at the moment.
    #[error("tokens cannot be checked just now; try again in a second")]
    Busy,
    /// The database could not be asked for the key, or for the bearer and its rights.
    #[error("could not look up what a token stands on")]
    Backend {
        /// What it said.
        #[source]
        source: Arc<MetadataError>,
    },
}

impl TokenError {
    /// What to tell the client: Quay's texts, where it has them.
    pub const fn client_message(&self) -> &'static str {
        match self {
            Self::Malformed { .. } | Self::Algorithm => "Invalid bearer token format",
            Self::MissingKeyId => "Missing kid header",
            Self::UnknownKey | Self::EndedKey => "Unknown service key",
            Self::Signature => "Signature verification failed",
            Self::Issuer => "Invalid issuer",
            Self::Audience => "Audience doesn't match",
            Self::Expired => "Signature has expired",
            Self::NotYetValid => "The token is not yet valid (nbf)",
            Self::TooLongLived { .. } => "Token was signed for too long a time",
            Self::MissingSubject => "Missing sub field in JWT",
            Self::Revoked { .. } => "The account or token behind this token is not valid any more",
            Self::Busy | Self::Backend { .. } => {
                "Tokens cannot be checked at the moment. Please try again."
            }
        }
    }
}

impl From<NoKey> for TokenError {
    fn from(reason: NoKey) -> Self {
        match reason {
            NoKey::Stranger(Stranger::Unknown) => Self::UnknownKey,
            NoKey::Stranger(Stranger::Ended) => Self::EndedKey,
            NoKey::TooManyLookups => Self::Busy,
            NoKey::Backend(source) => Self::Backend {
                source: Arc::new(source),
            },
        }
    }
}

/// When a token is good, in seconds since 1970.
#[derive(Clone, Copy, Debug, Deserialize)]
struct Life {
    nbf: i64,
    iat: i64,
    exp: i64,
}

/// The claims of a token whose signature was checked. `A` is what one item of `access` has to be.
#[derive(Debug, Deserialize)]
pub(crate) struct Claims<A> {
    iss: Option<String>,
    aud: Option<Audience>,
    #[serde(flatten)]
    life: Life,
    pub(crate) sub: Option<String>,
    #[serde(default = "Vec::new")]
    pub(crate) access: Vec<A>,
    #[serde(default)]
    context: ContextClaim,
}

/// RFC 7519 section 4.1.3: one audience, or a list of them.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Several(Vec<String>),
}

#[derive(Debug, Deserialize)]
struct AccessClaim {
    r#type: String,
    name: String,
    actions: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
struct ContextClaim {
    entity_kind: Option<String>,
    /// Of any form: what it is depends on the kind.
    #[serde(default)]
    entity_reference: serde_json::Value,
    /// Ours; see [`credential`](crate::bearer::credential).
    #[serde(default)]
    roadstead_credential: Option<String>,
}

impl ContextClaim {
    fn proof(&self) -> Option<TokenProof> {
        let reference = self.entity_reference.as_str()?.to_owned();
        match self.entity_kind.as_deref()? {
            "appspecifictoken" => Some(TokenProof::AppToken(reference)),
            "oauthtoken" => Some(TokenProof::OauthToken(reference)),
            _ => None,
        }
    }

    fn claimed_proof(self) -> ClaimedProof {
        let reference = self.entity_reference.as_str().map(str::to_owned);
        match (self.entity_kind.as_deref(), reference) {
            (Some("user"), uuid) => ClaimedProof::Password { uuid },
            (Some("robot"), _) => ClaimedProof::Robot {
                credential: self.roadstead_credential,
            },
            (Some("appspecifictoken"), Some(uuid)) => ClaimedProof::AppToken { uuid },
            (Some("oauthtoken"), Some(uuid)) => ClaimedProof::OauthToken { uuid },
            _ => ClaimedProof::Unsaid,
        }
    }
}

impl Authenticator {
    /// Checks a token, without the word `Bearer` before it, and says what its bearer may do.
    ///
    /// Tokens of every instance that shares the database are good, Quay's included: the key is looked up by its id, must be approved, alive and of
    /// this service, and is remembered for a minute, which is the bound on honouring that it was deleted. Time is the environment's, with a
    /// leeway of 30 s for `exp`, `nbf` and `iat`.
    ///
    /// Whoever it was issued to must still be there, enabled, and have the password, the robot's token, the app token or the OAuth token that it was issued
    /// on: [`REVOCATION_BOUND`](crate::REVOCATION_BOUND). One statement at most, and none for those whom it is known of.
    pub async fn verify(&self, token: &str) -> Result<Access, TokenError> {
        let grant = self.token_grant(token).await?;
        let holder = match &grant.claimed {
            Some(claimed) => self.holder(claimed).await?,
            None => Holder::Anonymous,
        };
        Ok(Access {
            grant: Some(grant),
            holder,
        })
    }

    /// What a token says that is good now. That its signature fits is remembered for as long as its key is; the rest is looked at every time.
    async fn token_grant(&self, token: &str) -> Result<Arc<TokenGrant>, TokenError> {
        let known_tokens = &self.inner.known_tokens;
        let fingerprint = KnownTokens::fingerprint(token);
        if let Some(known) = known_tokens.get(&fingerprint, self.inner.environment.now()) {
            let key = self.inner.known_keys.find(&known.kid).await?;
            if Arc::ptr_eq(&key, &known.key) {
                self.check_life(known.grant.life)?;
                return Ok(known.grant);
            }
        }
        let (claims, kid, key) = self.verified(token, TOKEN_BYTES_MAX).await?;
        let grant = Arc::new(self.grant_of(claims)?);
        if token.len() <= KNOWN_TOKEN_BYTES_MAX {
            let known = KnownToken {
                kid,
                key,
                grant: Arc::clone(&grant),
            };
            let until = Timestamp::from_timestamp(grant.life.exp.saturating_add(LEEWAY), 0);
            known_tokens.insert(fingerprint, known, until.unwrap_or(Timestamp::MAX_UTC));
        }
        Ok(grant)
    }

    /// Checks everything about a token but what it grants. With its claims come the id of its key, and the key.
    pub(crate) async fn verified<A: DeserializeOwned>(
        &self,
        token: &str,
        bytes_max: usize,
    ) -> Result<(Claims<A>, String, Arc<DecodingKey>), TokenError> {
        let malformed = |reason| TokenError::Malformed { reason };
        if token.len() > bytes_max {
            return Err(malformed("it is too long"));
        }
        let kid = key_id(token)?;
        let key = self.inner.known_keys.find(&kid).await?;
        let decoded =
            jsonwebtoken::decode::<Claims<A>>(token, &key, &signature_only()).map_err(|error| {
                match error.kind() {
                    ErrorKind::InvalidSignature => TokenError::Signature,
                    ErrorKind::InvalidAlgorithm => TokenError::Algorithm,
                    _ => malformed("its claims are not those of a registry's token"),
                }
            })?;
        self.check_claims(&decoded.claims)?;
        Ok((decoded.claims, kid, key))
    }

    fn check_claims<A>(&self, claims: &Claims<A>) -> Result<(), TokenError> {
        let options = &self.inner.options;
        if claims.iss.as_deref() != Some(options.service.as_str()) {
            return Err(TokenError::Issuer);
        }
        let for_us = match &claims.aud {
            None => false,
            Some(Audience::One(audience)) => *audience == options.hostname,
            Some(Audience::Several(audiences)) => audiences.contains(&options.hostname),
        };
        if !for_us {
            return Err(TokenError::Audience);
        }
        self.check_life(claims.life)?;
        match claims.sub.as_deref() {
            None | Some("") => Err(TokenError::MissingSubject),
            Some(_) => Ok(()),
        }
    }

    /// Checks that now is within the time of a token.
    fn check_life(&self, life: Life) -> Result<(), TokenError> {
        let now = self.inner.environment.now().timestamp();
        if life.exp.saturating_add(LEEWAY) <= now {
            return Err(TokenError::Expired);
        }
        if life.nbf.max(life.iat) > now.saturating_add(LEEWAY) {
            return Err(TokenError::NotYetValid);
        }
        let seconds = life.exp.saturating_sub(life.iat);
        let life_max = self.inner.options.token_life_max.as_secs();
        if seconds > i64::try_from(life_max).unwrap_or(i64::MAX) {
            return Err(TokenError::TooLongLived { seconds });
        }
        Ok(())
    }

    /// What a token grants, and to whom, before anybody was asked about them.
    fn grant_of(&self, claims: Claims<AccessClaim>) -> Result<TokenGrant, TokenError> {
        let options = &self.inner.options;
        let malformed = |reason| TokenError::Malformed { reason };
        let mut granted: HashMap<RepositoryPath, Level> = HashMap::new();
        for claim in &claims.access {
            if claim.r#type != "repository" {
                return Err(malformed(
                    "it grants access to something else than repositories",
                ));
            }
            // Quay repeats the scope as it was asked for, with the registry's host if that was before the name.
            let name: RepositoryName = without_host(&claim.name, &options.hostname)
                .parse()
                .map_err(|_| {
                    malformed("it grants access to a repository whose name is not allowed")
                })?;
            let level = claim
                .actions
                .iter()
                .filter_map(|word| Action::from_word(word))
                .map(Level::granted_by)
                .max();
            if let (Some(path), Some(level)) = (options.path(&name), level) {
                let most = granted.entry(path).or_insert(level);
                *most = level.max(*most);
            }
        }
        let username = claims.sub.filter(|subject| subject != ANONYMOUS);
        // Only a token for the user as such: one for an OAuth token of a superuser names the same user and may be limited.
        let is_user = matches!(
            claims.context.entity_kind.as_deref(),
            Some("user" | "appspecifictoken")
        );
        let issued = Timestamp::from_timestamp(claims.life.iat, 0).unwrap_or_default();
        Ok(TokenGrant {
            life: claims.life,
            proof: claims.context.proof(),
            sees_all: is_user
                && username.as_deref().is_some_and(|username| {
                    options.has_full_access(username) || options.reads_all(username)
                }),
            granted,
            issued,
            claimed: username.map(|username| Claimed {
                username,
                by: claims.context.claimed_proof(),
                issued,
            }),
            options: Arc::clone(options),
        })
    }

    /// Whether `action` in the repository of this name may be done now: because the token grants it and its bearer may still do it, or because it is
    /// public. `found` is the repository, if it is there: its present state counts, not the one when the token was issued.
    ///
    /// One statement at most, and none where the answer is no, or for what is public, or while it is known where the bearer stands.
    pub async fn may(
        &self,
        access: &Access,
        action: Action,
        name: &RepositoryName,
        found: Option<&Repository>,
    ) -> Result<bool, TokenError> {
        let present = found.map(|repository| Present {
            public: repository.public,
            state: repository.state,
            // A robot's name is nobody else's: no other account's has a `+` in it.
            mirrors: access.username().is_some()
                && access.username() == repository.mirror_robot.as_deref(),
        });
        let may = |level| {
            let anonymous = access.username().is_none();
            let anonymous_access = self.inner.options.anonymous_access;
            rights::may(level, action, present, anonymous, anonymous_access)
        };
        if may(None) {
            return Ok(true);
        }
        match self.inner.options.path(name) {
            Some(path) if may(access.level(name)) => {
                self.still_may((&access.holder, access.issued()), action, &path, found)
                    .await
            }
            _ => Ok(false),
        }
    }
}

/// The id of the key that the token names, if it may be looked up at all.
fn key_id(token: &str) -> Result<String, TokenError> {
    // An algorithm that the library does not know, `none` above all, is no header to it.
    let header: Header = jsonwebtoken::decode_header(token).map_err(|_| TokenError::Malformed {
        reason: "its header is not that of a signed token",
    })?;
    if header.alg != ALGORITHM {
        return Err(TokenError::Algorithm);
    }
    if header.crit.is_some() {
        // RFC 7515 section 4.1.11: what is critical and not understood, which is everything, makes the token invalid.
        return Err(TokenError::Malformed {
            reason: "it wants extensions to be understood",
        });
    }
    match header.kid {
        None => Err(TokenError::MissingKeyId),
        // The database cannot even be asked for it.
        Some(kid) if kid.contains('\0') => Err(TokenError::UnknownKey),
        Some(kid) => Ok(kid),
    }
}

/// What the library is to check: the signature, by the one algorithm. It would take the time from the system, so that the claims are checked here.
fn signature_only() -> Validation {
    let mut validation = Validation::new(ALGORITHM);
    validation.required_spec_claims.clear();
    validation.validate_exp = false;
    validation.validate_nbf = false;
    validation.validate_aud = false;
    validation
}
