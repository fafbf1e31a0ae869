//! App-specific tokens: passwords of people for single programs.

use roadstead_auth::Secret;
use roadstead_metadata::{Actor, AppTokenId, AppTokenRecord, NewAppToken};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::applications::end;
use crate::error::ManagementError;
use crate::forms::{self, Moment, Shown};
use crate::management::{Management, WHOLE_LIST_MAX, done};

/// The length of each half of a token, Quay's.
const HALF_LETTERS: usize = 60;

/// The most characters of a title.
const TITLE_CHARS_MAX: usize = 255;

/// A token that is wanted.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
pub struct NewAppTokenDocument {
    /// What its owner calls it.
    #[schemars(length(min = 1, max = 255))]
    pub title: String,
}

/// The tokens of somebody.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct AppTokens {
    /// Them, oldest first.
    pub tokens: Vec<AppTokenInList>,
    /// Whether only those were asked for that end soon.
    pub only_expiring: bool,
}

/// A token in a list, without what proves anything.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct AppTokenInList {
    /// Its identifier.
    pub uuid: String,
    /// What its owner calls it.
    pub title: String,
    /// When it was used last, as far as that has been noted.
    pub last_accessed: Option<Moment>,
    /// When it was made.
    pub created: Moment,
    /// When it ends; null: never.
    pub expiration: Option<Moment>,
    /// Whose it is, in a list of everybody's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
}

/// A token with what proves it.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct OneAppToken {
    /// It.
    pub token: AppTokenDocument,
}

/// A token with what proves it.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct AppTokenDocument {
    /// Its identifier.
    pub uuid: String,
    /// What its owner calls it.
    pub title: String,
    /// When it was used last, as far as that has been noted.
    pub last_accessed: Option<Moment>,
    /// When it was made.
    pub created: Moment,
    /// When it ends; null: never.
    pub expiration: Option<Moment>,
    /// The token, the password to the name `$app`; null where it cannot be decrypted.
    pub token_code: Option<Shown>,
}

impl Management {
    /// The tokens of somebody, or of those only that end soon: within a tenth of the time that new ones are good for.
    pub async fn app_tokens(
        &self,
        username: &str,
        only_expiring: bool,
    ) -> Result<AppTokens, ManagementError> {
        let owner = self.person(username).await?.id;
        let tokens = self
            .database
            .app_tokens(Some(owner), None, WHOLE_LIST_MAX)
            .await?;
        let tokens = self.soon(tokens, only_expiring);
        Ok(AppTokens {
            tokens: tokens.map(|token| in_list(token, false)).collect(),
            only_expiring,
        })
    }

    /// The tokens of everybody behind `after`, for superusers. At most `limit`.
    pub async fn all_app_tokens(
        &self,
        only_expiring: bool,
        after: Option<AppTokenId>,
        limit: u32,
    ) -> Result<AppTokens, ManagementError> {
        let tokens = self
            .database
            .app_tokens(None, after, limit.min(WHOLE_LIST_MAX))
            .await?;
        let tokens = self.soon(tokens, only_expiring);
        Ok(AppTokens {
            tokens: tokens.map(|token| in_list(token, true)).collect(),
            only_expiring,
        })
    }

    /// A token of somebody, with what proves it.
    pub async fn app_token(
        &self,
        username: &str,
        uuid: &str,
    ) -> Result<OneAppToken, ManagementError> {
        let username = forms::known("user", username)?;
        let uuid = forms::known("app token", uuid)?;
        let found = self
            .database
            .app_token(username, uuid, self.environment.now())
            .await?;
        let token = found.ok_or_else(|| ManagementError::unknown("app token", uuid))?;
        let secret = self.decrypted(&token.secret);
        let code =
            secret.map(|secret| Shown(Secret::new(format!("{}{}", token.name, secret.expose()))));
        Ok(OneAppToken {
            token: AppTokenDocument {
                uuid: token.uuid,
                title: token.title,
                last_accessed: token.last_used.map(Moment),
                created: Moment(token.created),
                expiration: token.expires.map(Moment),
                token_code: code,
            },
        })
    }

    /// Makes a token.
    pub async fn create_app_token(
        &self,
        username: &str,
        document: &NewAppTokenDocument,
        actor: &Actor,
    ) -> Result<OneAppToken, ManagementError> {
        if !self.authenticator.options().app_tokens {
            return Err(ManagementError::NotConfigured {
                key: "FEATURE_APP_SPECIFIC_TOKENS",
            });
        }
        let owner = forms::known("user", username)?;
        let title = forms::text("title", &document.title, TITLE_CHARS_MAX)?;
        if title.is_empty() {
            return Err(ManagementError::invalid("title", "must not be empty"));
        }
        let name = self.authenticator.draw_secret(HALF_LETTERS);
        let secret = self.authenticator.draw_secret(HALF_LETTERS);
        let encrypted = self.encrypted(&secret)?;
        let life = self.options.app_token_life;
        let new = NewAppToken {
            owner,
            title,
            name: name.expose(),
            secret: &encrypted,
            expires: life.map(|life| end(self.environment.now(), life)),
        };
        let uuid = done(
            self.database
                .create_app_token(&new, &self.change(actor))
                .await,
        )?;
        self.app_token(owner, &uuid).await
    }

    /// Ends a token of somebody, or of whoever has it.
    pub async fn revoke_app_token(
        &self,
        username: Option<&str>,
        uuid: &str,
        actor: &Actor,
    ) -> Result<(), ManagementError> {
        let username = match username {
            Some(username) => Some(forms::known("user", username)?),
            None => None,
        };
        let uuid = forms::known("app token", uuid)?;
        done(
            self.database
                .revoke_app_token(username, uuid, &self.change(actor))
                .await,
        )
    }

    /// Those of the tokens that end soon, or all.
    fn soon(
        &self,
        tokens: Vec<AppTokenRecord>,
        only_expiring: bool,
    ) -> impl Iterator<Item = AppTokenRecord> {
        let four_weeks = std::time::Duration::from_hours(28 * 24);
        let life = self.options.app_token_life.unwrap_or(four_weeks);
        let now = self.environment.now();
        let soon = end(now, life / 10);
        tokens.into_iter().filter(move |token| {
            !only_expiring
                || token
                    .expires
                    .is_some_and(|expires| expires > now && expires <= soon)
        })
    }
}

fn in_list(token: AppTokenRecord, with_owner: bool) -> AppTokenInList {
    AppTokenInList {
        uuid: token.uuid,
        title: token.title,
        last_accessed: token.last_used.map(Moment),
        created: Moment(token.created),
        expiration: token.expires.map(Moment),
        username: with_owner.then_some(token.owner),
    }
}
