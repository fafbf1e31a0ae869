//! OAuth applications of organisations, and the access tokens of people for them.

use chrono::NaiveDateTime;
use roadstead_runtime::Timestamp;
use serde_json::{Value, json};

use crate::changes::{Change, Changed, Sort, Unchanged, find, made};
use crate::database::{Connection, Database, Identified, Transaction, contended, json_ids, params};
use crate::error::MetadataError;
use crate::garbage::APPLICATION;
use crate::ids::{ApplicationId, OauthTokenId, UserId};
use crate::row::FromRow;

/// An application.
#[derive(Clone, PartialEq, Eq)]
pub struct ApplicationRecord {
    /// Its id.
    pub id: ApplicationId,
    /// By what it is named elsewhere.
    pub client_id: String,
    /// What proves it, encrypted.
    pub client_secret: Option<String>,
    /// Its name.
    pub name: String,
    /// What it is for.
    pub description: String,
    /// Where it is.
    pub application_uri: String,
    /// Where its users are sent back to.
    pub redirect_uri: String,
    /// Whose picture stands for it.
    pub avatar_email: Option<String>,
}

/// Without what proves it.
impl std::fmt::Debug for ApplicationRecord {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("ApplicationRecord")
            .field("client_id", &self.client_id)
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// An application to be made.
#[derive(Clone, Copy)]
pub struct NewApplication<'a> {
    /// By what it is named elsewhere.
    pub client_id: &'a str,
    /// What proves it, encrypted.
    pub client_secret: Option<&'a str>,
    /// The rest.
    pub about: ApplicationAbout<'a>,
}

/// What is said of an application.
#[derive(Clone, Copy, Debug, Default)]
pub struct ApplicationAbout<'a> {
    /// Its name.
    pub name: &'a str,
    /// What it is for.
    pub description: &'a str,
    /// Where it is.
    pub application_uri: &'a str,
    /// Where its users are sent back to.
    pub redirect_uri: &'a str,
    /// Whose picture stands for it.
    pub avatar_email: Option<&'a str>,
}

/// Without what proves it.
impl std::fmt::Debug for NewApplication<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("NewApplication")
            .field("client_id", &self.client_id)
            .field("about", &self.about)
            .finish_non_exhaustive()
    }
}

/// An access token to be made.
#[derive(Clone, Copy)]
pub struct NewOauthToken<'a> {
    /// The first half of it.
    pub name: &'a str,
    /// The bcrypt hash of the second half.
    pub code_hash: &'a str,
    /// What it may be used for, words with spaces between them.
    pub scope: &'a str,
    /// When it ends.
    pub expires: Timestamp,
}

/// Without what proves anything.
impl std::fmt::Debug for NewOauthToken<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("NewOauthToken")
            .field("scope", &self.scope)
            .field("expires", &self.expires)
            .finish_non_exhaustive()
    }
}

/// An access token, without what proves it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OauthTokenRecord {
    /// Its id.
    pub id: OauthTokenId,
    /// Its identifier.
    pub uuid: String,
    /// Whose it is.
    pub owner: String,
    /// The organisation of its application.
    pub organization: String,
    /// The name of its application.
    pub application: String,
    /// What it may be used for.
    pub scope: String,
    /// When it was made, if that is known.
    pub created: Option<Timestamp>,
    /// When it ends.
    pub expires: Timestamp,
    /// When it was used last, as far as that has been noted.
    pub last_used: Option<Timestamp>,
}

#[derive(FromRow)]
struct ApplicationRow {
    id: i32,
    client_id: String,
    client_secret: Option<String>,
    name: String,
    description: String,
    application_uri: String,
    redirect_uri: String,
    avatar_email: Option<String>,
}

impl From<ApplicationRow> for ApplicationRecord {
    fn from(row: ApplicationRow) -> Self {
        Self {
            id: ApplicationId(row.id),
            client_id: row.client_id,
            client_secret: row.client_secret,
            name: row.name,
            description: row.description,
            application_uri: row.application_uri,
            redirect_uri: row.redirect_uri,
            avatar_email: row.avatar_email,
        }
    }
}

#[derive(FromRow)]
struct OauthTokenRow {
    id: i32,
    uuid: String,
    owner: String,
    organization: String,
    application: String,
    scope: String,
    created: Option<NaiveDateTime>,
    expires_at: NaiveDateTime,
    last_accessed: Option<NaiveDateTime>,
}

impl From<OauthTokenRow> for OauthTokenRecord {
    fn from(row: OauthTokenRow) -> Self {
        Self {
            id: OauthTokenId(row.id),
            uuid: row.uuid,
            owner: row.owner,
            organization: row.organization,
            application: row.application,
            scope: row.scope,
            created: row.created.map(|time| time.and_utc()),
            expires: row.expires_at.and_utc(),
            last_used: row.last_accessed.map(|time| time.and_utc()),
        }
    }
}

#[derive(FromRow)]
struct RevokedRow {
    id: i32,
    organization_id: i32,
    application: String,
    owner: String,
}

const COLUMNS: &str = "a.id, a.client_id, a.secure_client_secret AS client_secret, a.name, a.description, a.application_uri, \
     a.redirect_uri, a.gravatar_email AS avatar_email";
const CHANGE: &str = "change an OAuth application";

impl Database {
    /// The applications of a namespace, oldest first. At most `limit`.
    pub async fn applications(
        &self,
        organization: UserId,
        limit: u32,
    ) -> Result<Vec<ApplicationRecord>, MetadataError> {
        let rows: Vec<ApplicationRow> = self
            .reader()
            .rows(
                "list OAuth applications",
                &format!(
                    "SELECT {COLUMNS} FROM oauthapplication a WHERE a.organization_id = $1 ORDER BY a.id LIMIT $2"
                ),
                params![organization.0, i64::from(limit)],
            )
            .await?;
        Ok(rows.into_iter().map(ApplicationRecord::from).collect())
    }

    /// An application of a namespace.
    pub async fn application(
        &self,
        organization: &str,
        client_id: &str,
    ) -> Result<Option<ApplicationRecord>, MetadataError> {
        let row: Option<ApplicationRow> = self
            .reader()
            .row(
                "look up an OAuth application",
                &format!(
                    r#"SELECT {COLUMNS} FROM oauthapplication a JOIN "user" u ON u.id = a.organization_id
                       WHERE u.username = $1 AND a.client_id = $2 ORDER BY a.id LIMIT 1"#
                ),
                params![organization, client_id],
            )
            .await?;
        Ok(row.map(ApplicationRecord::from))
    }

    /// Makes an application of an organisation.
    pub async fn create_application(
        &self,
        organization: &str,
        application: &NewApplication<'_>,
        change: &Change<'_>,
    ) -> Changed<ApplicationId> {
        contended(async || {
            let transaction = self.begin(CHANGE).await?;
            let id = made!(find(&transaction, Sort::Organization, organization).await?);
            let made = insert(&transaction, id, application).await?;
            let members = told(&application.about, application.client_id);
            change
                .log(&transaction, "create_application", id, &members)
                .await?;
            transaction.commit().await?;
            Ok(Ok(made))
        })
        .await
    }

    /// Says other things of an application.
    pub async fn change_application(
        &self,
        organization: &str,
        client_id: &str,
        about: &ApplicationAbout<'_>,
        change: &Change<'_>,
    ) -> Changed<()> {
        contended(async || {
            let transaction = self.begin(CHANGE).await?;
            let id = made!(find(&transaction, Sort::Organization, organization).await?);
            let changed = transaction
                .execute(
                    CHANGE,
                    "UPDATE oauthapplication SET name = $3, description = $4, application_uri = $5, redirect_uri = $6, gravatar_email = $7
                     WHERE organization_id = $1 AND client_id = $2",
                    params![
                        id.0,
                        client_id,
                        about.name,
                        about.description,
                        about.application_uri,
                        about.redirect_uri,
                        about.avatar_email,
                    ],
                )
                .await?;
            if changed == 0 {
                return Ok(Err(Unchanged::unknown("application", client_id)));
            }
            change
                .log(
                    &transaction,
                    "update_application",
                    id,
                    &told(about, client_id),
                )
                .await?;
            transaction.commit().await?;
            Ok(Ok(()))
        })
        .await
    }

    /// Gives an application another secret, encrypted.
    pub async fn reset_client_secret(
        &self,
        organization: &str,
        client_id: &str,
        secret: &str,
        change: &Change<'_>,
    ) -> Changed<()> {
        contended(async || {
            let transaction = self.begin(CHANGE).await?;
            let id = made!(find(&transaction, Sort::Organization, organization).await?);
            let found = made!(find_application(&transaction, id, client_id).await?);
            transaction
                .execute(
                    CHANGE,
                    "UPDATE oauthapplication SET secure_client_secret = $2 WHERE id = $1",
                    params![found.id.0, secret],
                )
                .await?;
            change
                .log(
                    &transaction,
                    "reset_application_client_secret",
                    id,
                    &[
                        ("application_name", json!(found.name)),
                        ("client_id", json!(client_id)),
                    ],
                )
                .await?;
            transaction.commit().await?;
            Ok(Ok(()))
        })
        .await
    }

    /// Removes an application with the tokens for it.
    pub async fn delete_application(
        &self,
        organization: &str,
        client_id: &str,
        change: &Change<'_>,
    ) -> Changed<()> {
        let tables = self.referring_tables().await?;
        contended(async || {
            let transaction = self.begin(CHANGE).await?;
            let id = made!(find(&transaction, Sort::Organization, organization).await?);
            let found = made!(find_application(&transaction, id, client_id).await?);
            tables
                .take(&transaction, APPLICATION, &json_ids([found.id.0]))
                .await?;
            transaction
                .execute(
                    CHANGE,
                    "DELETE FROM oauthapplication WHERE id = $1",
                    params![found.id.0],
                )
                .await?;
            change
                .log(
                    &transaction,
                    "delete_application",
                    id,
                    &[
                        ("application_name", json!(found.name)),
                        ("client_id", json!(client_id)),
                    ],
                )
                .await?;
            transaction.commit().await?;
            Ok(Ok(()))
        })
        .await
    }

    /// Makes an access token of a person for an application, named by its client id or its name. Gives the token's identifier.
    pub async fn create_oauth_token(
        &self,
        (organization, application): (&str, &str),
        owner: &str,
        token: &NewOauthToken<'_>,
        change: &Change<'_>,
    ) -> Changed<String> {
        contended(async || {
            const OPERATION: &str = "create an OAuth token";
            let transaction = self.begin(OPERATION).await?;
            let namespace = made!(find(&transaction, Sort::Namespace, organization).await?);
            let owner_id = made!(find(&transaction, Sort::Person, owner).await?);
            let found: Option<ApplicationRow> = transaction
                .row(
                    OPERATION,
                    &format!(
                        "SELECT {COLUMNS} FROM oauthapplication a
                         WHERE a.organization_id = $1 AND (a.client_id = $2 OR a.name = $2)
                         ORDER BY CASE WHEN a.client_id = $2 THEN 0 ELSE 1 END, a.id LIMIT 1"
                    ),
                    params![namespace.0, application],
                )
                .await?;
            let Some(found) = found else {
                return Ok(Err(Unchanged::unknown("application", application)));
            };
            let id = ApplicationId(found.id);
            let uuid = insert_token(&transaction, id, owner_id, token, change).await?;
            change
                .log(
                    &transaction,
                    "create_oauth_api_token",
                    namespace,
                    &[
                        ("application_name", json!(found.name)),
                        ("client_id", json!(found.client_id)),
                        ("token_uuid", json!(uuid)),
                        ("username", json!(owner)),
                        ("scope", json!(token.scope)),
                    ],
                )
                .await?;
            transaction.commit().await?;
            Ok(Ok(uuid))
        })
        .await
    }

    /// The access tokens of somebody, or of everybody, oldest first from behind `after`. At most `limit`. Those that ended are among them.
    pub async fn oauth_tokens(
        &self,
        owner: Option<UserId>,
        after: Option<OauthTokenId>,
        limit: u32,
    ) -> Result<Vec<OauthTokenRecord>, MetadataError> {
        let rows: Vec<OauthTokenRow> = self
            .reader()
            .rows(
                "list OAuth tokens",
                &format!(
                    r#"SELECT t.id, t.uuid, u.username AS owner, o.username AS organization, a.name AS application, t.scope,
                              t.created, t.expires_at, t.last_accessed
                       FROM oauthaccesstoken t JOIN "user" u ON u.id = t.authorized_user_id
                       JOIN oauthapplication a ON a.id = t.application_id JOIN "user" o ON o.id = a.organization_id
                       WHERE t.id > $2 AND {} ORDER BY t.id LIMIT $3"#,
                    if owner.is_some() {
                        "t.authorized_user_id = $1"
                    } else {
                        "$1 = 0"
                    }
                ),
                params![
                    owner.map_or(0, |owner| owner.0),
                    after.map_or(0, |after| after.0),
                    i64::from(limit),
                ],
            )
            .await?;
        Ok(rows.into_iter().map(OauthTokenRecord::from).collect())
    }

    /// Removes an access token.
    pub async fn revoke_oauth_token(&self, uuid: &str, change: &Change<'_>) -> Changed<()> {
        contended(async || {
            const OPERATION: &str = "revoke an OAuth token";
            let transaction = self.begin(OPERATION).await?;
            let found: Option<RevokedRow> = transaction
                .row(
                    OPERATION,
                    r#"SELECT t.id, a.organization_id, a.name AS application, u.username AS owner
                       FROM oauthaccesstoken t JOIN oauthapplication a ON a.id = t.application_id
                       JOIN "user" u ON u.id = t.authorized_user_id WHERE t.uuid = $1"#,
                    params![uuid],
                )
                .await?;
            let Some(found) = found else {
                return Ok(Err(Unchanged::unknown("OAuth token", uuid)));
            };
            transaction
                .execute(
                    OPERATION,
                    "DELETE FROM oauthaccesstoken WHERE id = $1",
                    params![found.id],
                )
                .await?;
            change
                .log(
                    &transaction,
                    "revoke_oauth_api_token",
                    UserId(found.organization_id),
                    &[
                        ("application_name", json!(found.application)),
                        ("token_uuid", json!(uuid)),
                        ("username", json!(found.owner)),
                    ],
                )
                .await?;
            transaction.commit().await?;
            Ok(Ok(()))
        })
        .await
    }
}

fn told(about: &ApplicationAbout<'_>, client_id: &str) -> [(&'static str, Value); 7] {
    [
        ("name", json!(about.name)),
        ("description", json!(about.description)),
        ("application_uri", json!(about.application_uri)),
        ("redirect_uri", json!(about.redirect_uri)),
        ("avatar_email", json!(about.avatar_email)),
        ("application_name", json!(about.name)),
        ("client_id", json!(client_id)),
    ]
}

async fn find_application(
    transaction: &Transaction,
    organization: UserId,
    client_id: &str,
) -> Changed<ApplicationRecord> {
    let row: Option<ApplicationRow> = transaction
        .row(
            CHANGE,
            &format!(
                "SELECT {COLUMNS} FROM oauthapplication a WHERE a.organization_id = $1 AND a.client_id = $2 ORDER BY a.id LIMIT 1"
            ),
            params![organization.0, client_id],
        )
        .await?;
    Ok(row
        .map(ApplicationRecord::from)
        .ok_or_else(|| Unchanged::unknown("application", client_id)))
}

pub(crate) async fn insert(
    transaction: &Transaction,
    organization: UserId,
    application: &NewApplication<'_>,
) -> Result<ApplicationId, MetadataError> {
    let about = &application.about;
    let row: Option<Identified> = transaction
        .row(
            CHANGE,
            "INSERT INTO oauthapplication (client_id, redirect_uri, application_uri, organization_id, name, description,
                                           gravatar_email, secure_client_secret, fully_migrated)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, true) RETURNING id",
            params![
                application.client_id,
                about.redirect_uri,
                about.application_uri,
                organization.0,
                about.name,
                about.description,
                about.avatar_email,
                application.client_secret,
            ],
        )
        .await?;
    Ok(ApplicationId(row.map_or(0, |row| row.id)))
}

pub(crate) async fn insert_token(
    transaction: &Transaction,
    application: ApplicationId,
    owner: UserId,
    token: &NewOauthToken<'_>,
    change: &Change<'_>,
) -> Result<String, MetadataError> {
    let uuid = change.ids.uuid().to_string();
    transaction
        .execute(
            "create an OAuth token",
            "INSERT INTO oauthaccesstoken (uuid, application_id, authorized_user_id, scope, token_type, expires_at, data,
                                           token_code, token_name, created)
             VALUES ($1, $2, $3, $4, 'token', $5, '', $6, $7, $8)",
            params![
                uuid.as_str(),
                application.0,
                owner.0,
                token.scope,
                token.expires.naive_utc(),
                token.code_hash,
                token.name,
                change.now.naive_utc(),
            ],
        )
        .await?;
    Ok(uuid)
}
