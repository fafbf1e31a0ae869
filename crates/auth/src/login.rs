//! Signing in: a name and what proves it. Passwords of people are checked here, those that came encrypted are unsealed in [`encrypted`], what robots and
//! tokens send is checked in [`tokens`]. What the one who signed in may do is not decided here.

mod encrypted;
mod lockout;
#[cfg(test)]
mod tests;
mod tokens;

use std::time::Duration;

use roadstead_metadata::{Account, MetadataError};
use tokio::sync::oneshot;

use crate::authenticator::{Authenticator, Inner};
use crate::identity::{Identity, Proof, User};
use roadstead_secrets::Secret;

/// The most bytes of a user name: Quay's column holds 255 characters.
const USERNAME_BYTES_MAX: usize = 255;

/// The most bytes of a password. bcrypt reads 72; longer ones are common among generated tokens, these are not.
const PASSWORD_BYTES_MAX: usize = 4096;

/// What to tell those for whom there is no place in the queue of password checks: it is empty again after about this time.
const BUSY_RETRY_AFTER: Duration = Duration::from_secs(10);

/// A name and what is to prove it.
#[derive(Clone, Debug)]
pub struct Credentials {
    /// The name, or the e-mail address; the case counts in both. `$app` and `$oauthtoken` for tokens.
    pub username: String,
    /// The password, or the token.
    pub password: Secret,
}

/// What sort of account a user name speaks of, by its form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CredentialKind {
    /// A user with a password.
    Password,
    /// `$token`: a repository's access token.
    AccessToken,
    /// `$app`: an app-specific token.
    AppToken,
    /// `$oauthtoken`: an OAuth access token.
    OauthToken,
    /// `namespace+name`: a robot.
    Robot {
        /// Its name; empty if it holds what no name can.
        username: String,
    },
}

impl CredentialKind {
    fn of(username: &str) -> Self {
        match username {
            "$token" => Self::AccessToken,
            "$app" => Self::AppToken,
            "$oauthtoken" => Self::OauthToken,
            robot if robot.contains('+') => Self::Robot {
                username: shown(robot),
            },
            _ => Self::Password,
        }
    }
}

/// Why somebody could not sign in. No variant tells whether a person's account exists, save [`LoginError::Locked`], which Quay's clients know.
#[derive(Debug, thiserror::Error)]
pub enum LoginError {
    /// The name or the password is wrong, or accounts of this kind cannot sign in. Quay's answer is 401.
    #[error("wrong user name or password")]
    Invalid {
        /// What the name speaks of.
        kind: CredentialKind,
    },
    /// No robot has this name, which Quay's clients are told. The answer is 401.
    #[error("there is no robot of this name")]
    NoSuchRobot,
    /// The robot's token is right, but the account that it belongs to is disabled. Quay's answer is 401.
    #[error(
        "robot `{robot}` belongs to `{owner}`, which is disabled; an administrator can enable it"
    )]
    RobotOwnerDisabled {
        /// The robot.
        robot: String,
        /// The account that it belongs to.
        owner: String,
    },
    /// The operator lets no robots in, or not this one. The answer is 401.
    #[error(
        "robots cannot sign in: ROBOTS_DISALLOW is set, and ROBOTS_WHITELIST does not name this one"
    )]
    RobotsDisallowed,
    /// The OAuth token was right once. Quay's answer is 401.
    #[error("OAuth token has expired; its user can make another")]
    Expired,
    /// The password came as it is, and the operator wants it encrypted. It was not looked at. Quay's answer is 401.
    #[error("passwords are taken encrypted only: FEATURE_REQUIRE_ENCRYPTED_BASIC_AUTH is set")]
    Unencrypted,
    /// The password is right, but the account is disabled. Quay's answer is 401.
    #[error("account is disabled; an administrator can enable it")]
    Disabled,
    /// Too many wrong passwords, this one was not looked at. Quay's answer is 429 with `Retry-After`.
    #[error("account is closed for {retry_after:?} after too many wrong passwords")]
    Locked {
        /// When to try again.
        retry_after: Duration,
    },
    /// Too many others are signing in, or the program is ending. The answer is 503 with `Retry-After`.
    #[error("too many logins at once; try again in {retry_after:?}")]
    Busy {
        /// When to try again.
        retry_after: Duration,
    },
    /// The database could not be asked.
    #[error("could not look up the account")]
    Backend {
        /// What it said.
        #[from]
        source: MetadataError,
    },
}

impl LoginError {
    const BUSY: Self = Self::Busy {
        retry_after: BUSY_RETRY_AFTER,
    };

    /// Whether what was sent proves nobody, or nobody who may sign in: the answers with 401.
    pub const fn is_refusal(&self) -> bool {
        match self {
            Self::Invalid { .. }
            | Self::NoSuchRobot
            | Self::RobotOwnerDisabled { .. }
            | Self::RobotsDisallowed
            | Self::Expired
            | Self::Unencrypted
            | Self::Disabled => true,
            Self::Locked { .. } | Self::Busy { .. } | Self::Backend { .. } => false,
        }
    }

    /// What to tell the client: Quay's texts, where it has them.
    pub fn client_message(&self) -> String {
        match self {
            Self::Invalid { kind } => match kind {
                CredentialKind::Password => "Invalid Username or Password".to_owned(),
                CredentialKind::AccessToken => "Invalid access token".to_owned(),
                CredentialKind::AppToken => "Invalid token".to_owned(),
                CredentialKind::OauthToken => {
                    "OAuth access token could not be validated".to_owned()
                }
                CredentialKind::Robot { username } => {
                    format!("Could not find robot with username: {username} and supplied password.")
                }
            },
            Self::NoSuchRobot => "Could not find robot with specified username".to_owned(),
            Self::RobotOwnerDisabled { robot, owner } => {
                format!("Robot {robot} owner {owner} is disabled")
            }
            Self::RobotsDisallowed => {
                "Robot accounts have been disabled. Please contact your administrator.".to_owned()
            }
            Self::Expired => "OAuth access token has expired".to_owned(),
            Self::Unencrypted => {
                "Client login with unencrypted passwords is disabled. Please generate an encrypted \
                                  password in the user admin panel for use here."
                    .to_owned()
            }
            Self::Disabled => {
                "This user has been disabled. Please contact your administrator.".to_owned()
            }
            Self::Locked { .. } => "Too many login attempts. Please wait and try again.".to_owned(),
            Self::Busy { .. } | Self::Backend { .. } => {
                "Logins are not possible at the moment. Please try again.".to_owned()
            }
        }
    }
}

impl Authenticator {
    /// Finds out who somebody is.
    ///
    /// A wrong password closes the account for 0.5 × (2^n − 1) s, n being the number of wrong ones in a row, at most 24 h; until then even the right
    /// one is refused. At most two checks run at once in a process, so that many attempts made at the same moment gain one guess.
    /// Unknown names and wrong passwords cost one bcrypt check each; a right password is remembered for five minutes and costs none meanwhile,
    /// but is remembered together with the stored hash, so that a changed password and a disabled account count at once.
    ///
    /// A password may come as a client keeps it: encrypted with `SECRET_KEY`. One that is not to be decrypted costs what a wrong one does.
    ///
    /// A robot's token and an app token are compared with what the database holds, encrypted, each time, so that a new token and a disabled owner count at
    /// once; there is no waiting after wrong ones, of which nobody can try enough. The second half of an OAuth token is checked and remembered as a
    /// password is. When robots and tokens were last used is noted later, at most once a minute each.
    ///
    /// A dropped future leaves an attempt with a password running to its end: a wrong one counts whether or not somebody waits for the answer.
    pub async fn authenticate(&self, credentials: Credentials) -> Result<Identity, LoginError> {
        let kind = CredentialKind::of(&credentials.username);
        let Credentials { username, password } = &credentials;
        if password.expose().len() > PASSWORD_BYTES_MAX {
            return Err(LoginError::Invalid { kind });
        }
        match kind {
            CredentialKind::Password => {
                let credentials = self.inner.unsealed(credentials)?;
                self.log_in_detached(credentials).await
            }
            CredentialKind::Robot { .. } => self.inner.robot(username, password).await,
            CredentialKind::AppToken => self.inner.app_token(password).await,
            CredentialKind::OauthToken => self.inner.oauth_token(password).await,
            CredentialKind::AccessToken => Err(LoginError::Invalid { kind }),
        }
    }

    async fn log_in_detached(&self, credentials: Credentials) -> Result<Identity, LoginError> {
        let (answer, answered) = oneshot::channel();
        let authenticator = self.clone();
        self.inner.tasks.spawn(async move {
            let outcome = authenticator.inner.log_in(&credentials).await;
            // Nobody waits any more: the attempt has been counted, which was the point of going on.
            answer.send(outcome).ok();
        });
        answered.await.unwrap_or(Err(LoginError::BUSY))
    }
}

impl Inner {
    async fn log_in(&self, credentials: &Credentials) -> Result<Identity, LoginError> {
        let Credentials { username, password } = credentials;
        if let Some(account) = self.open_account(username).await?
            && self.remembers(&account, password)
        {
            return self.welcome(&account).await;
        }
        let turn = self.passwords.turn().await.map_err(|_| LoginError::BUSY)?;
        // While this one waited for its turn, others may have failed, or succeeded with the same password, or the password may have been changed.
        let account = self.open_account(username).await?;
        if let Some(account) = &account
            && self.remembers(account, password)
        {
            return self.welcome(account).await;
        }
        let hash = account.as_ref().and_then(usable_hash);
        let (right, turn) = self
            .passwords
            .check(turn, hash, password)
            .await
            .map_err(|_| LoginError::BUSY)?;
        let now = self.environment.now();
        if let (true, Some(account), Some(hash)) = (right, &account, hash) {
            self.passwords.remember(hash, password, now);
            return self.welcome(account).await;
        }
        if let Some(account) = account {
            self.database.note_failed_login(account.id, now).await?;
            tracing::info!(user.name = %account.username, "Refused a wrong password for {}", account.username);
        }
        // Only now, so that whoever comes next sees that the account is closed.
        drop(turn);
        Err(LoginError::Invalid {
            kind: CredentialKind::Password,
        })
    }

    fn remembers(&self, account: &Account, password: &Secret) -> bool {
        let now = self.environment.now();
        usable_hash(account).is_some_and(|hash| self.passwords.remembers(hash, password, now))
    }

    /// The account of this name, if it is not closed after wrong passwords.
    async fn open_account(&self, username: &str) -> Result<Option<Account>, LoginError> {
        if !can_be_stored(username) || username.len() > USERNAME_BYTES_MAX {
            return Ok(None);
        }
        let account = self.database.find_login(username).await?;
        let remaining = account.as_ref().and_then(|account| {
            lockout::remaining(
                account.invalid_login_attempts,
                account.last_invalid_login,
                self.environment.now(),
            )
        });
        match remaining {
            Some(retry_after) => Err(LoginError::Locked { retry_after }),
            None => Ok(account),
        }
    }

    /// Lets the owner of the account in, now that the password was right.
    async fn welcome(&self, account: &Account) -> Result<Identity, LoginError> {
        if account.invalid_login_attempts != 0 {
            self.database.clear_failed_logins(account.id).await?;
        }
        if !account.enabled {
            return Err(LoginError::Disabled);
        }
        Ok(Identity::User(User {
            id: account.id,
            uuid: account.uuid.clone(),
            username: account.username.clone(),
            proof: Proof::Password,
        }))
    }
}

/// The hash of an account that people sign in to.
fn usable_hash(account: &Account) -> Option<&str> {
    account
        .password_hash
        .as_deref()
        .filter(|_| !account.organization)
}

/// Whether the database can hold such a text at all: PostgreSQL takes no zero byte.
fn can_be_stored(text: &str) -> bool {
    !text.is_empty() && !text.contains('\0')
}

/// The name as an answer may repeat it: what no account can be called is left out.
fn shown(username: &str) -> String {
    let plain = username.len() <= USERNAME_BYTES_MAX
        && username.bytes().all(|byte| byte.is_ascii_graphic());
    if plain {
        username.to_owned()
    } else {
        String::new()
    }
}
