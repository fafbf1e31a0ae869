//! Whose token it is: what a token says about that, and whether it still is so. Pure; the facts are fetched by [`present`](crate::present).

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use roadstead_metadata::Bearer;
use roadstead_runtime::Timestamp;
use sha2::{Digest, Sha256};

use crate::identity::{Proof, User};
use crate::oauth_scopes::OauthScopes;
use crate::options::AuthOptions;

/// What a token says about its bearer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Claimed {
    pub(crate) username: String,
    pub(crate) by: ClaimedProof,
    /// When it was issued, by the clock of whoever issued it.
    pub(crate) issued: Timestamp,
}

/// What its bearer showed to get it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ClaimedProof {
    /// A password. The account has a new uuid whenever its password is changed.
    Password { uuid: Option<String> },
    /// A robot's token, and which one, where the token was issued here: Quay's do not say.
    Robot { credential: Option<String> },
    /// An app token.
    AppToken { uuid: String },
    /// An OAuth token.
    OauthToken { uuid: String },
    /// It does not say.
    Unsaid,
}

impl ClaimedProof {
    /// The identifier of the app token or OAuth token.
    pub(crate) fn token(&self) -> Option<&str> {
        match self {
            Self::AppToken { uuid } | Self::OauthToken { uuid } => Some(uuid),
            Self::Password { .. } | Self::Robot { .. } | Self::Unsaid => None,
        }
    }
}

/// Why a token is not good any more, before its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Revoked {
    /// There is no such account, or it is another one now.
    #[error("the account is gone")]
    AccountGone,
    /// The account is disabled.
    #[error("the account is disabled")]
    AccountDisabled,
    /// The account has another password, or was made anew under its name.
    #[error("the password was changed")]
    PasswordChanged,
    /// The robot has another token.
    #[error("the robot's token was made anew")]
    RobotTokenChanged,
    /// The account that the robot belongs to is gone or disabled.
    #[error("the robot's owner is gone or disabled")]
    OwnerGone,
    /// The app token or OAuth token was withdrawn or has ended, or such tokens are not taken any more.
    #[error("the app token or OAuth token behind it was withdrawn or has ended")]
    TokenGone,
    /// The operator lets no robots in, or not this one.
    #[error("robots are not let in any more")]
    RobotsDisallowed,
}

/// Which token of a robot's it is: the same for as long as the stored field is the same. It says nothing of the token, whose encrypted form has a nonce
/// of its own.
pub(crate) fn credential(field: &str) -> String {
    let hash = Sha256::digest(field);
    URL_SAFE_NO_PAD.encode(&hash[..16])
}

/// The user whom a token is good for now. `found` is the account of the claimed name.
pub(crate) fn bearer(
    claimed: &Claimed,
    found: Option<&Bearer>,
    options: &AuthOptions,
    now: Timestamp,
) -> Result<User, Revoked> {
    let found = found
        .filter(|found| !found.organization)
        .ok_or(Revoked::AccountGone)?;
    if !found.account.enabled {
        return Err(Revoked::AccountDisabled);
    }
    let proof = match (&claimed.by, &found.robot) {
        (ClaimedProof::Robot { .. } | ClaimedProof::Unsaid, Some(robot)) => {
            if !options.admits_robot(&found.account.username) {
                return Err(Revoked::RobotsDisallowed);
            }
            if robot.owner_enabled != Some(true) {
                return Err(Revoked::OwnerGone);
            }
            let present = robot.token.as_deref().map(credential);
            match &claimed.by {
                ClaimedProof::Robot {
                    credential: Some(credential),
                } if present.as_ref() != Some(credential) => {
                    return Err(Revoked::RobotTokenChanged);
                }
                _ => Proof::Robot {
                    credential: present,
                },
            }
        }
        (_, Some(_)) | (ClaimedProof::Robot { .. }, None) => return Err(Revoked::AccountGone),
        (ClaimedProof::Password { uuid }, None) => {
            if *uuid != found.account.uuid {
                return Err(Revoked::PasswordChanged);
            }
            Proof::Password
        }
        (ClaimedProof::Unsaid, None) => Proof::Password,
        (ClaimedProof::AppToken { uuid }, None) => {
            let ends = found.app_token.filter(|_| options.app_tokens);
            match ends {
                Some(ends) if now < ends => Proof::AppToken { uuid: uuid.clone() },
                _ => return Err(Revoked::TokenGone),
            }
        }
        (ClaimedProof::OauthToken { uuid }, None) => match &found.oauth_token {
            Some((ends, scope)) if now < *ends => Proof::OauthToken {
                uuid: uuid.clone(),
                scopes: OauthScopes::parse(scope),
            },
            _ => return Err(Revoked::TokenGone),
        },
    };
    Ok(User::proved(found.account.clone(), proof))
}
