//! Leave to fetch one object of a store through the registry, in the form of Quay's storage proxy (contract 2.2): a JSON web token, signed and
//! checked like a registry's (contract 8.3), that names one address. Fetching from there is `api`'s work.
//!
//! What keeps somebody from having the registry fetch whatever they like is that only a service key of this deployment makes a grant, and
//! that a grant is good for the very address that was signed, to the byte. A registry's token is no grant, and a grant is no registry's token.

#[cfg(test)]
mod tests;

use std::fmt;
use std::time::Duration;

use roadstead_runtime::Timestamp;
use serde::{Deserialize, Serialize};

use crate::access::TokenError;
use crate::authenticator::Authenticator;
use crate::token::{Claims, IssueError, Token, sign};

/// How long a grant can be used at most: Quay's 600 s, as long as the address that it is for.
pub const PROXY_GRANT_LIFE: Duration = Duration::from_mins(10);

/// The most bytes of a grant: one for a signed address of 8 KiB, which is more than any store writes, and the signature.
pub const PROXY_GRANT_BYTES_MAX: usize = 16 * 1024;

/// The most bytes of an address that is granted. A grant has four thirds of them and less than 1 KiB besides.
const ADDRESS_BYTES_MAX: usize = 8 * 1024;

/// Who every grant is about.
const SUBJECT: &str = "storageproxy";

/// What every grant gives access to.
const ACCESS_TYPE: &str = "storageproxy";

/// Where an object is, in the parts that Quay signs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ProxiedAddress<'a> {
    /// `http` or `https`.
    pub scheme: &'a str,
    /// The store's host, with the port if there is one in the address.
    pub host: &'a str,
    /// The path without its first slash, and the query behind its question mark: as they are sent, neither decoded nor tidied up.
    pub uri: &'a str,
}

impl fmt::Debug for ProxiedAddress<'_> {
    /// Without the query, which holds the store's own signature.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.uri.split('?').next().unwrap_or_default();
        write!(formatter, "{}://{}/{path}", self.scheme, self.host)
    }
}

/// Why a grant is refused. The answer is 401, save for [`ProxyGrantError::is_refusal`].
#[derive(Debug, thiserror::Error)]
pub enum ProxyGrantError {
    /// It is no good token at all.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// It is about somebody: a registry's token.
    #[error("token is not one of the storage proxy")]
    Subject,
    /// It grants more than one thing, or nothing.
    #[error("grant is for {addresses} addresses and not for one")]
    Addresses {
        /// How many.
        addresses: usize,
    },
    /// It grants something else.
    #[error("grant is for something else than an address")]
    Kind,
    /// It is for another address.
    #[error("grant is for another {part}")]
    Address {
        /// In which part they differ.
        part: &'static str,
    },
}

impl ProxyGrantError {
    /// Whether the grant is bad, rather than not to be checked at present.
    pub const fn is_refusal(&self) -> bool {
        !matches!(
            self,
            Self::Token(TokenError::Busy | TokenError::Backend { .. })
        )
    }

    /// What to tell the client.
    pub const fn client_message(&self) -> &'static str {
        match self {
            Self::Token(error) => error.client_message(),
            Self::Subject | Self::Addresses { .. } | Self::Kind | Self::Address { .. } => {
                "this address was not given out by the registry"
            }
        }
    }
}

/// What a grant gives access to, in Quay's members and order.
#[derive(Debug, Serialize)]
struct NewAccess<'a> {
    r#type: &'static str,
    uri: &'a str,
    host: &'a str,
    scheme: &'a str,
}

#[derive(Debug, Deserialize)]
struct Access {
    r#type: String,
    uri: String,
    host: String,
    scheme: String,
}

/// A grant is about nobody.
#[derive(Debug, Serialize)]
struct NoContext {}

impl Authenticator {
    /// Grants fetching from this address, for [`PROXY_GRANT_LIFE`] and not beyond `until`, when the address itself ends.
    ///
    /// Waits for the instance's key if that is still being made. A dropped future leaves nothing behind.
    pub async fn grant_proxying(
        &self,
        address: &ProxiedAddress<'_>,
        until: Timestamp,
    ) -> Result<Token, IssueError> {
        let ProxiedAddress { scheme, host, uri } = *address;
        let bytes = scheme.len() + host.len() + uri.len();
        if bytes > ADDRESS_BYTES_MAX {
            return Err(IssueError::Address {
                bytes,
                bytes_max: ADDRESS_BYTES_MAX,
            });
        }
        let options = self.options();
        let key = self.keys().current().await?;
        let now = self.inner.environment.now().timestamp();
        let longest = now + PROXY_GRANT_LIFE.as_secs().cast_signed();
        let ends = longest.min(until.timestamp()).max(now);
        let claims = Claims {
            iss: &options.service,
            aud: &options.hostname,
            nbf: now,
            iat: now,
            exp: ends,
            sub: SUBJECT,
            access: vec![NewAccess {
                r#type: ACCESS_TYPE,
                uri,
                host,
                scheme,
            }],
            context: NoContext {},
        };
        Ok(Token {
            value: sign(key, &claims).await?,
            issued: Timestamp::from_timestamp(now, 0).unwrap_or_default(),
            life: Duration::from_secs((ends - now).unsigned_abs()),
        })
    }

    /// Checks that a grant is good now and for exactly this address. Grants of every instance that shares the database are, Quay's included: what
    /// is said of keys and times at [`Authenticator::verify`] holds here.
    pub async fn check_proxy_grant(
        &self,
        grant: &str,
        address: &ProxiedAddress<'_>,
    ) -> Result<(), ProxyGrantError> {
        let (claims, ..) = self
            .verified::<Access>(grant, PROXY_GRANT_BYTES_MAX)
            .await?;
        if claims.sub.as_deref() != Some(SUBJECT) {
            return Err(ProxyGrantError::Subject);
        }
        let [granted] = &*claims.access else {
            return Err(ProxyGrantError::Addresses {
                addresses: claims.access.len(),
            });
        };
        if granted.r#type != ACCESS_TYPE {
            return Err(ProxyGrantError::Kind);
        }
        for (part, granted, asked) in [
            ("scheme", &granted.scheme, address.scheme),
            ("host", &granted.host, address.host),
            ("path or query", &granted.uri, address.uri),
        ] {
            if granted != asked {
                return Err(ProxyGrantError::Address { part });
            }
        }
        Ok(())
    }
}
