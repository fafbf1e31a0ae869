//! OAuth applications of organisations, and access tokens for them.

use std::time::Duration;

use roadstead_auth::Secret;
use roadstead_metadata::{
    Actor, ApplicationAbout, ApplicationRecord, NewApplication, NewOauthToken, OauthTokenId,
    OauthTokenRecord,
};
use roadstead_runtime::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::error::ManagementError;
use crate::forms::{self, Moment, Shown};
use crate::management::{Management, WHOLE_LIST_MAX, done};

/// The scopes of the token that an initialization gives, Quay's.
pub(crate) const EVERY_SCOPE: &str =
    "org:admin repo:admin repo:create repo:read repo:write super:user user:admin user:read";

/// The scopes that there are.
const SCOPES: [&str; 8] = [
    "org:admin",
    "repo:admin",
    "repo:create",
    "repo:read",
    "repo:write",
    "super:user",
    "user:admin",
    "user:read",
];

/// The length of each half of an access token, Quay's.
const TOKEN_HALF_LETTERS: usize = 20;

/// The length of a client's id, Quay's.
const CLIENT_ID_LETTERS: usize = 20;

/// The length of a client's secret, Quay's.
const CLIENT_SECRET_LETTERS: usize = 40;

/// For how long the token of an initialization is good, Quay's.
const INITIAL_TOKEN_LIFE: Duration = Duration::from_mins(150);

/// For how long a token is good unless somebody says otherwise: ten years, as Quay's are that a browser is given.
pub const OAUTH_TOKEN_LIFE: Duration = Duration::from_hours(10 * 365 * 24);

/// The most characters of a name or an address.
const TEXT_CHARS_MAX: usize = 255;

/// The most characters of a description.
const DESCRIPTION_CHARS_MAX: usize = 4096;

/// What is said of a new application.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
pub struct NewApplicationDocument {
    /// Its name.
    #[schemars(length(min = 1, max = 255))]
    pub name: String,
    /// Where its users are sent back to.
    #[serde(default)]
    #[schemars(length(max = 255))]
    pub redirect_uri: String,
    /// Where it is.
    #[serde(default)]
    #[schemars(length(max = 255))]
    pub application_uri: String,
    /// What it is for.
    #[serde(default)]
    #[schemars(length(max = 4096))]
    pub description: String,
    /// Whose picture stands for it.
    #[schemars(length(max = 255))]
    pub avatar_email: Option<String>,
}

/// What is said of an application from now on.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
pub struct ApplicationChanges {
    /// Its name.
    #[schemars(length(min = 1, max = 255))]
    pub name: String,
    /// Where its users are sent back to.
    #[schemars(length(max = 255))]
    pub redirect_uri: String,
    /// Where it is.
    #[schemars(length(max = 255))]
    pub application_uri: String,
    /// What it is for.
    #[serde(default)]
    #[schemars(length(max = 4096))]
    pub description: String,
    /// Whose picture stands for it.
    #[schemars(length(max = 255))]
    pub avatar_email: Option<String>,
}

/// An application.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct ApplicationDocument {
    /// Its name.
    pub name: String,
    /// What it is for.
    pub description: String,
    /// Where it is.
    pub application_uri: String,
    /// By what it is named elsewhere.
    pub client_id: String,
    /// What proves it; null for those who may only look, and where it has none.
    pub client_secret: Option<Shown>,
    /// Where its users are sent back to; null for those who may only look.
    pub redirect_uri: Option<String>,
    /// Whose picture stands for it; null for those who may only look.
    pub avatar_email: Option<String>,
}

/// The applications of an organisation.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct Applications {
    /// Them, oldest first.
    pub applications: Vec<ApplicationDocument>,
}

/// A new access token.
#[derive(Clone, Debug, Serialize)]
pub struct CreatedOauthToken {
    /// Its identifier.
    pub uuid: String,
    /// The token. It is shown this once.
    pub token: Shown,
    /// What it may be used for.
    pub scope: String,
    /// When it ends.
    pub expiration: Moment,
}

/// An access token, without what proves anything.
#[derive(Clone, Debug, Serialize)]
pub struct OauthTokenDocument {
    /// Its identifier.
    pub uuid: String,
    /// Whose it is.
    pub username: String,
    /// The organisation of its application.
    pub organization: String,
    /// The name of its application.
    pub application: String,
    /// What it may be used for.
    pub scope: String,
    /// When it was made, if that is known.
    pub created: Option<Moment>,
    /// When it ends.
    pub expiration: Moment,
    /// When it was used last, as far as that has been noted.
    pub last_accessed: Option<Moment>,
}

/// An access token that was drawn, and what is stored of it.
pub(crate) struct DrawnToken {
    pub(crate) token: Shown,
    name: Secret,
    code_hash: String,
    scope: String,
    expires: Timestamp,
}

impl DrawnToken {
    pub(crate) fn row(&self) -> NewOauthToken<'_> {
        NewOauthToken {
            name: self.name.expose(),
            code_hash: &self.code_hash,
            scope: &self.scope,
            expires: self.expires,
        }
    }
}

impl Management {
    /// The applications of an organisation. `secrets`: whether the asker may see what proves them.
    pub async fn applications(
        &self,
        organization: &str,
        secrets: bool,
    ) -> Result<Applications, ManagementError> {
        let organization = self.organization_account(organization).await?;
        let found = self
            .database
            .applications(organization.id, WHOLE_LIST_MAX)
            .await?;
        let applications = found
            .into_iter()
            .map(|application| self.application_document(application, secrets))
            .collect();
        Ok(Applications { applications })
    }

    /// An application of an organisation.
    pub async fn application(
        &self,
        organization: &str,
        client_id: &str,
        secrets: bool,
    ) -> Result<ApplicationDocument, ManagementError> {
        let organization = forms::known("organization", organization)?;
        let client_id = forms::known("application", client_id)?;
        let found = self.database.application(organization, client_id).await?;
        found
            .map(|application| self.application_document(application, secrets))
            .ok_or_else(|| ManagementError::unknown("application", client_id))
    }

    /// Makes an application of an organisation. Without `DATABASE_SECRET_KEY` it has no secret, which access tokens do not need.
    pub async fn create_application(
        &self,
        organization: &str,
        document: &NewApplicationDocument,
        actor: &Actor,
    ) -> Result<ApplicationDocument, ManagementError> {
        let organization = forms::known("organization", organization)?;
        let about = checked(ApplicationAbout {
            name: &document.name,
            description: &document.description,
            application_uri: &document.application_uri,
            redirect_uri: &document.redirect_uri,
            avatar_email: document.avatar_email.as_deref(),
        })?;
        let client_id = self.authenticator.draw_secret(CLIENT_ID_LETTERS);
        let secret = self.authenticator.draw_secret(CLIENT_SECRET_LETTERS);
        let encrypted = self.authenticator.encrypt_field(&secret);
        let new = NewApplication {
            client_id: client_id.expose(),
            client_secret: encrypted.as_deref(),
            about,
        };
        done(
            self.database
                .create_application(organization, &new, &self.change(actor))
                .await,
        )?;
        self.application(organization, client_id.expose(), true)
            .await
    }

    /// Says other things of an application.
    pub async fn change_application(
        &self,
        organization: &str,
        client_id: &str,
        document: &ApplicationChanges,
        actor: &Actor,
    ) -> Result<ApplicationDocument, ManagementError> {
        let organization = forms::known("organization", organization)?;
        let client_id = forms::known("application", client_id)?;
        let about = checked(ApplicationAbout {
            name: &document.name,
            description: &document.description,
            application_uri: &document.application_uri,
            redirect_uri: &document.redirect_uri,
            avatar_email: document.avatar_email.as_deref(),
        })?;
        done(
            self.database
                .change_application(organization, client_id, &about, &self.change(actor))
                .await,
        )?;
        self.application(organization, client_id, true).await
    }

    /// Gives an application another secret.
    pub async fn reset_client_secret(
        &self,
        organization: &str,
        client_id: &str,
        actor: &Actor,
    ) -> Result<ApplicationDocument, ManagementError> {
        let organization = forms::known("organization", organization)?;
        let client_id = forms::known("application", client_id)?;
        let secret = self.authenticator.draw_secret(CLIENT_SECRET_LETTERS);
        let encrypted = self.encrypted(&secret)?;
        done(
            self.database
                .reset_client_secret(organization, client_id, &encrypted, &self.change(actor))
                .await,
        )?;
        self.application(organization, client_id, true).await
    }

    /// Removes an application with the tokens for it, which end.
    pub async fn delete_application(
        &self,
        organization: &str,
        client_id: &str,
        actor: &Actor,
    ) -> Result<(), ManagementError> {
        let organization = forms::known("organization", organization)?;
        let client_id = forms::known("application", client_id)?;
        done(
            self.database
                .delete_application(organization, client_id, &self.change(actor))
                .await,
        )
    }

    /// Makes an access token of a person for an application, named by its client id or its name.
    pub async fn create_oauth_token(
        &self,
        (organization, application): (&str, &str),
        username: &str,
        scope: &str,
        life: Duration,
        actor: &Actor,
    ) -> Result<CreatedOauthToken, ManagementError> {
        let organization = forms::known("organization", organization)?;
        let application = forms::known("application", application)?;
        let username = forms::known("user", username)?;
        let drawn = self.draw_oauth_token(scope, Some(life)).await?;
        let uuid = done(
            self.database
                .create_oauth_token(
                    (organization, application),
                    username,
                    &drawn.row(),
                    &self.change(actor),
                )
                .await,
        )?;
        Ok(CreatedOauthToken {
            uuid,
            scope: drawn.scope,
            expiration: Moment(drawn.expires),
            token: drawn.token,
        })
    }

    /// The access tokens of somebody, or of everybody, behind `after`. At most `limit`.
    pub async fn oauth_tokens(
        &self,
        username: Option<&str>,
        after: Option<OauthTokenId>,
        limit: u32,
    ) -> Result<Vec<OauthTokenDocument>, ManagementError> {
        let owner = match username {
            Some(username) => Some(self.person(username).await?.id),
            None => None,
        };
        let tokens = self.database.oauth_tokens(owner, after, limit).await?;
        Ok(tokens.into_iter().map(token_document).collect())
    }

    /// Ends an access token.
    pub async fn revoke_oauth_token(
        &self,
        uuid: &str,
        actor: &Actor,
    ) -> Result<(), ManagementError> {
        let uuid = forms::known("OAuth token", uuid)?;
        done(
            self.database
                .revoke_oauth_token(uuid, &self.change(actor))
                .await,
        )
    }

    /// Draws an access token. Without a life it is that of an initialization.
    pub(crate) async fn draw_oauth_token(
        &self,
        scope: &str,
        life: Option<Duration>,
    ) -> Result<DrawnToken, ManagementError> {
        let mut scopes: Vec<&str> = Vec::new();
        for word in scope.split([' ', ',']).filter(|word| !word.is_empty()) {
            let Some(known) = SCOPES.iter().find(|known| **known == word) else {
                return Err(ManagementError::invalid(
                    "scope",
                    format!(
                        "names `{}`; there are {}",
                        word.escape_debug().take(40).collect::<String>(),
                        SCOPES.join(", ")
                    ),
                ));
            };
            scopes.push(known);
        }
        scopes.sort_unstable();
        scopes.dedup();
        if scopes.is_empty() {
            return Err(ManagementError::invalid(
                "scope",
                format!("has to name one or more of {}", SCOPES.join(", ")),
            ));
        }
        let name = self.authenticator.draw_secret(TOKEN_HALF_LETTERS);
        let code = self.authenticator.draw_secret(TOKEN_HALF_LETTERS);
        let code_hash = self.hash_secret(&code).await?;
        Ok(DrawnToken {
            token: Shown(Secret::new(format!("{}{}", name.expose(), code.expose()))),
            name,
            code_hash,
            scope: scopes.join(" "),
            expires: end(self.environment.now(), life.unwrap_or(INITIAL_TOKEN_LIFE)),
        })
    }

    fn application_document(
        &self,
        application: ApplicationRecord,
        secrets: bool,
    ) -> ApplicationDocument {
        let secret = application.client_secret.filter(|_| secrets);
        ApplicationDocument {
            name: application.name,
            description: application.description,
            application_uri: application.application_uri,
            client_id: application.client_id,
            client_secret: secret.and_then(|secret| self.decrypted(&secret)),
            redirect_uri: secrets.then_some(application.redirect_uri),
            avatar_email: application.avatar_email.filter(|_| secrets),
        }
    }
}

/// When something ends that is good for so long from now on.
pub(crate) fn end(now: Timestamp, life: Duration) -> Timestamp {
    // The column takes years up to 9999; nobody needs a token for longer than a century.
    now + life.min(Duration::from_hours(100 * 365 * 24))
}

fn checked(about: ApplicationAbout<'_>) -> Result<ApplicationAbout<'_>, ManagementError> {
    if about.name.trim().is_empty() {
        return Err(ManagementError::invalid("name", "must not be empty"));
    }
    forms::text("name", about.name, TEXT_CHARS_MAX)?;
    forms::text("description", about.description, DESCRIPTION_CHARS_MAX)?;
    forms::text("application_uri", about.application_uri, TEXT_CHARS_MAX)?;
    forms::text("redirect_uri", about.redirect_uri, TEXT_CHARS_MAX)?;
    forms::optional("avatar_email", about.avatar_email, TEXT_CHARS_MAX)?;
    Ok(about)
}

fn token_document(token: OauthTokenRecord) -> OauthTokenDocument {
    OauthTokenDocument {
        uuid: token.uuid,
        username: token.owner,
        organization: token.organization,
        application: token.application,
        scope: token.scope,
        created: token.created.map(Moment),
        expiration: Moment(token.expires),
        last_accessed: token.last_used.map(Moment),
    }
}
