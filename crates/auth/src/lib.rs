//! Who is asking, and what they may do: passwords, registry tokens, the keys that sign them, rights.
//!
//! A client proves who it is with a password or a token of its own ([`Authenticator::authenticate`]), is granted what it asks for and may do
//! ([`Authenticator::grant`]) and gets a token that says so ([`Authenticator::issue`]); [`Authenticator::token`] is the three in turn. With each further
//! request it sends the token, which [`Authenticator::verify`] turns into an [`Access`], and [`Authenticator::may`] decides.
//! Tokens are Quay's: every instance on the same database, of Quay or of this program, takes the others' tokens.
//!
//! Invariant: there are no HTTP types here, every decision about rights is made by the pure functions of `rights`, and no secret is ever printed.

mod access;
mod answers;
mod authenticator;
mod bearer;
mod encrypted_fields;
mod first_account;
mod grant;
mod identity;
mod issued;
mod known_keys;
mod known_tokens;
mod last_use;
mod login;
mod management;
mod metrics;
mod names;
mod new_secrets;
mod oauth_scopes;
mod options;
mod outage;
mod passwords;
mod present;
mod proxy_grant;
mod rights;
#[cfg(test)]
mod sample;
mod scope;
mod signing_keys;
#[cfg(test)]
mod testing;
mod token;
mod web_key;

pub use access::{Access, TOKEN_BYTES_MAX, TokenError, TokenProof};
pub use authenticator::Authenticator;
pub use bearer::Revoked;
pub use encrypted_fields::{EncryptedFieldsError, UnreadableColumn};
pub use first_account::{FirstAccountDraft, FirstAccountError};
pub use grant::{GrantError, GrantedScope, IssuedToken, TokenRefusal, TokenRequest};
pub use identity::{Identity, User};
pub use login::{CredentialKind, Credentials, LoginError};
pub use management::{Grounds, Need, NotPermitted, Subject};
pub use names::Names;
pub use new_secrets::HashError;
pub use options::AuthOptions;
pub use present::REVOCATION_BOUND;
pub use proxy_grant::{PROXY_GRANT_BYTES_MAX, PROXY_GRANT_LIFE, ProxiedAddress, ProxyGrantError};
pub use rights::Action;
pub use roadstead_secrets::{FieldKey, KeyTextError, PasswordKey, Secret};
pub use scope::{RequestedScope, SCOPE_BYTES_MAX, SCOPES_MAX, ScopeError};
pub use signing_keys::{KEY_LIFE, KEY_REFRESH, KeyError, SigningKeyOptions, SigningKeys};
pub use token::{IssueError, TOKEN_LIFE, Token};
