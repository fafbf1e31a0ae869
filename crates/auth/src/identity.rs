//! Who somebody is, once a password has proved it.

use roadstead_metadata::UserId;

/// Somebody who asks for a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Identity {
    /// Nobody in particular.
    Anonymous,
    /// Somebody with an account.
    User(User),
}

/// The owner of an account. Values come from [`Authenticator::authenticate`](crate::Authenticator::authenticate) only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    pub(crate) id: UserId,
    pub(crate) uuid: Option<String>,
    pub(crate) username: String,
}

impl User {
    /// The account's id.
    pub const fn id(&self) -> UserId {
        self.id
    }

    /// The name, which is also the user's own namespace.
    pub fn username(&self) -> &str {
        &self.username
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
