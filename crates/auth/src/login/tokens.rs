//! Signing in with what is no password of a person's: a robot's token, an app token, an OAuth token.

use roadstead_secrets::Secret;

use crate::authenticator::Inner;
use crate::bearer::credential;
use crate::identity::{Identity, Proof, User};
use crate::last_use::Used;
use crate::login::{CredentialKind, LoginError, can_be_stored, shown};
use crate::oauth_scopes::OauthScopes;

/// How many characters of an app token are its name, by which it is looked up; the rest is its secret.
const APP_TOKEN_NAME: usize = 60;

/// How many characters of an OAuth token are its name.
const OAUTH_TOKEN_NAME: usize = 20;

impl Inner {
    pub(super) async fn robot(
        &self,
        username: &str,
        token: &Secret,
    ) -> Result<Identity, LoginError> {
        // What no name can hold is not looked up.
        if shown(username).is_empty() {
            return Err(LoginError::NoSuchRobot);
        }
        if !self.options.admits_robot(username) {
            return Err(LoginError::RobotsDisallowed);
        }
        let found = self.database.find_robot(username).await?;
        let robot = found.ok_or(LoginError::NoSuchRobot)?;
        let stored = robot.token.as_deref().and_then(|field| {
            self.decrypt(field, "robotaccounttoken.token", &robot.account.username)
        });
        if !stored.is_some_and(|stored| stored.matches(token)) {
            return Err(LoginError::Invalid {
                kind: CredentialKind::Robot {
                    username: username.to_owned(),
                },
            });
        }
        match robot.owner_enabled {
            Some(true) => {}
            Some(false) => {
                return Err(LoginError::RobotOwnerDisabled {
                    robot: username.to_owned(),
                    owner: username.split('+').next().unwrap_or_default().to_owned(),
                });
            }
            None => return Err(LoginError::NoSuchRobot),
        }
        if !robot.account.enabled {
            return Err(LoginError::Disabled);
        }
        self.note_use(Used::Robot(robot.account.id), robot.last_used);
        let credential = robot.token.as_deref().map(credential);
        Ok(Identity::User(User::proved(
            robot.account,
            Proof::Robot { credential },
        )))
    }

    pub(super) async fn app_token(&self, token: &Secret) -> Result<Identity, LoginError> {
        let invalid = || LoginError::Invalid {
            kind: CredentialKind::AppToken,
        };
        let (name, secret) = halves(token, APP_TOKEN_NAME).ok_or_else(invalid)?;
        if !self.options.app_tokens {
            return Err(invalid());
        }
        let found = self.database.find_app_token(&name).await?;
        let row = found.ok_or_else(invalid)?;
        let stored = self.decrypt(&row.secret, "appspecificauthtoken.token_secret", &row.uuid);
        let now = self.environment.now();
        let right = stored.is_some_and(|stored| stored.matches(&secret))
            && row.expires.is_none_or(|expires| now < expires);
        if !right {
            return Err(invalid());
        }
        if !row.owner.enabled {
            return Err(LoginError::Disabled);
        }
        self.note_use(Used::AppToken(row.id), row.last_used);
        let proof = Proof::AppToken { uuid: row.uuid };
        Ok(Identity::User(User::proved(row.owner, proof)))
    }

    pub(super) async fn oauth_token(&self, token: &Secret) -> Result<Identity, LoginError> {
        let invalid = || LoginError::Invalid {
            kind: CredentialKind::OauthToken,
        };
        let (name, code) = halves(token, OAUTH_TOKEN_NAME).ok_or_else(invalid)?;
        // A name that nobody has costs no check: whoever knows one has half of a token already.
        let find = async || {
            let found = self.database.find_oauth_token(&name).await?;
            found.ok_or_else(invalid)
        };
        let mut row = find().await?;
        let remembered = self
            .passwords
            .remembers(&row.code_hash, &code, self.environment.now());
        if !remembered {
            let turn = self.passwords.turn().await.map_err(|_| LoginError::BUSY)?;
            // While this one waited for its turn the token may have been withdrawn.
            row = find().await?;
            let (right, _turn) = self
                .passwords
                .check(turn, Some(&row.code_hash), &code)
                .await
                .map_err(|_| LoginError::BUSY)?;
            if !right {
                return Err(invalid());
            }
            self.passwords
                .remember(&row.code_hash, &code, self.environment.now());
        }
        if row.expires <= self.environment.now() {
            return Err(LoginError::Expired);
        }
        if !row.owner.enabled {
            return Err(LoginError::Disabled);
        }
        self.note_use(Used::OauthToken(row.id), row.last_used);
        let proof = Proof::OauthToken {
            uuid: row.uuid,
            scopes: OauthScopes::parse(&row.scope),
        };
        Ok(Identity::User(User::proved(row.owner, proof)))
    }

    /// What an encrypted field holds; none when it cannot be read, which the log says: the one who signs in cannot do anything about it.
    fn decrypt(&self, field: &str, column: &'static str, of: &str) -> Option<Secret> {
        let Some(key) = &self.options.field_key else {
            tracing::error!(
                column,
                "Refused {of}: {column} is encrypted and DATABASE_SECRET_KEY is not set"
            );
            return None;
        };
        match key.decrypt(field) {
            Ok(text) => Some(text),
            Err(error) => {
                tracing::error!(column, %error, "Refused {of}: {column} cannot be decrypted: {error}");
                None
            }
        }
    }
}

/// The name and the secret that a token consists of; none when it is too short or holds what no token does.
fn halves(token: &Secret, name: usize) -> Option<(String, Secret)> {
    let text = token.expose();
    if !text.is_ascii() || !can_be_stored(text) {
        return None;
    }
    let (name, secret) = text.split_at_checked(name)?;
    (!secret.is_empty()).then(|| (name.to_owned(), Secret::new(secret)))
}
