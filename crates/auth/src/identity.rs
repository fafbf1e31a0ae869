//! Who somebody is, once a password or a token has proved it.

use roadstead_metadata::{TokenOwner, UserId};

use crate::oauth_scopes::OauthScopes;

/// Somebody who asks for a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Identity {
    /// Nobody in particular.
    Anonymous,
    /// Somebody with an account: a person or a robot.
    User(User),
}

/// The owner of an account. Values come from [`Authenticator::authenticate`](crate::Authenticator::authenticate) only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    pub(crate) id: UserId,
    pub(crate) uuid: Option<String>,
    pub(crate) username: String,
    pub(crate) proof: Proof,
}

/// What proved who somebody is, and what comes with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Proof {
    /// A person's password.
    Password,
    /// A robot's token.
    Robot {
        /// Which of its tokens; none: it has none any more.
        credential: Option<String>,
    },
    /// An app token: as good as its user's password.
    AppToken {
        /// The token's identifier.
        uuid: String,
    },
    /// An OAuth token: its user, within its scopes.
    OauthToken {
        /// The token's identifier.
        uuid: String,
        scopes: OauthScopes,
    },
}

impl User {
    pub(crate) fn proved(owner: TokenOwner, proof: Proof) -> Self {
        Self {
            id: owner.id,
            uuid: owner.uuid,
            username: owner.username,
            proof,
        }
    }

    /// The account's id.
    pub const fn id(&self) -> UserId {
        self.id
    }

    /// The name. A person's is also the name of a namespace.
    pub fn username(&self) -> &str {
        &self.username
    }

    /// Whether it is a robot.
    pub const fn is_robot(&self) -> bool {
        matches!(self.proof, Proof::Robot { .. })
    }

    /// What limits the user: only an OAuth token does.
    pub(crate) const fn limits(&self) -> Option<OauthScopes> {
        match self.proof {
            Proof::OauthToken { scopes, .. } => Some(scopes),
            Proof::Password | Proof::Robot { .. } | Proof::AppToken { .. } => None,
        }
    }
}

impl Identity {
    /// The user's name; none for the anonymous.
    pub fn username(&self) -> Option<&str> {
        match self {
            Self::Anonymous => None,
            Self::User(user) => Some(&user.username),
        }
    }
}
