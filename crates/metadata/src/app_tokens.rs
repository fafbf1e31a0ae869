//! App-specific tokens as their owners see and change them.

use chrono::NaiveDateTime;
use roadstead_runtime::Timestamp;
use serde_json::json;

use crate::changes::{Change, Changed, Sort, Unchanged, find, made};
use crate::database::{Connection, Database, contended, params};
use crate::error::MetadataError;
use crate::ids::{AppTokenId, UserId};
use crate::row::FromRow;

/// An app-specific token.
#[derive(Clone, PartialEq, Eq)]
pub struct AppTokenRecord {
    /// Its id.
    pub id: AppTokenId,
    /// Its identifier.
    pub uuid: String,
    /// The name of its owner.
    pub owner: String,
    /// What its owner calls it.
    pub title: String,
    /// The first half of it.
    pub name: String,
    /// The second half, encrypted.
    pub secret: String,
    /// When it was made.
    pub created: Timestamp,
    /// When it ends; none: never.
    pub expires: Option<Timestamp>,
    /// When it was used last, as far as that has been noted.
    pub last_used: Option<Timestamp>,
}

/// Without what proves anything.
impl std::fmt::Debug for AppTokenRecord {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("AppTokenRecord")
            .field("uuid", &self.uuid)
            .field("owner", &self.owner)
            .finish_non_exhaustive()
    }
}

/// An app-specific token to be made.
#[derive(Clone, Copy)]
pub struct NewAppToken<'a> {
    /// Whose it is.
    pub owner: &'a str,
    /// What its owner calls it.
    pub title: &'a str,
    /// The first half of it.
    pub name: &'a str,
    /// The second half, encrypted.
    pub secret: &'a str,
    /// When it ends; none: never.
    pub expires: Option<Timestamp>,
}

/// Without what proves anything.
impl std::fmt::Debug for NewAppToken<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("NewAppToken")
            .field("owner", &self.owner)
            .field("title", &self.title)
            .finish_non_exhaustive()
    }
}

#[derive(FromRow)]
struct TokenRow {
    id: i32,
    uuid: String,
    owner: String,
    title: String,
    name: String,
    secret: String,
    created: NaiveDateTime,
    expiration: Option<NaiveDateTime>,
    last_accessed: Option<NaiveDateTime>,
}

impl From<TokenRow> for AppTokenRecord {
    fn from(row: TokenRow) -> Self {
        Self {
            id: AppTokenId(row.id),
            uuid: row.uuid,
            owner: row.owner,
            title: row.title,
            name: row.name,
            secret: row.secret,
            created: row.created.and_utc(),
            expires: row.expiration.map(|time| time.and_utc()),
            last_used: row.last_accessed.map(|time| time.and_utc()),
        }
    }
}

const TOKEN: &str = r#"SELECT t.id, t.uuid, u.username AS owner, t.title, t.token_name AS name, t.token_secret AS secret,
            t.created, t.expiration, t.last_accessed
     FROM appspecificauthtoken t JOIN "user" u ON u.id = t.user_id"#;

impl Database {
    /// The app tokens of somebody, or of everybody, oldest first from behind `after`. At most `limit`. Those that ended are among them.
    pub async fn app_tokens(
        &self,
        owner: Option<UserId>,
        after: Option<AppTokenId>,
        limit: u32,
    ) -> Result<Vec<AppTokenRecord>, MetadataError> {
        let rows: Vec<TokenRow> = self
            .reader()
            .rows(
                "list app tokens",
                &format!(
                    "{TOKEN} WHERE t.id > $2 AND {} ORDER BY t.id LIMIT $3",
                    if owner.is_some() {
                        "t.user_id = $1"
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
        Ok(rows.into_iter().map(AppTokenRecord::from).collect())
    }

    /// An app token of somebody that has not ended.
    pub async fn app_token(
        &self,
        owner: &str,
        uuid: &str,
        now: Timestamp,
    ) -> Result<Option<AppTokenRecord>, MetadataError> {
        let row: Option<TokenRow> = self
            .reader()
            .row(
                "look up an app token",
                &format!(
                    "{TOKEN} WHERE u.username = $1 AND t.uuid = $2 AND (t.expiration IS NULL OR t.expiration > $3)"
                ),
                params![owner, uuid, now.naive_utc()],
            )
            .await?;
        Ok(row.map(AppTokenRecord::from))
    }

    /// Makes an app token, and gives its identifier.
    pub async fn create_app_token(
        &self,
        token: &NewAppToken<'_>,
        change: &Change<'_>,
    ) -> Changed<String> {
        contended(|| self.create_app_token_once(token, change)).await
    }

    async fn create_app_token_once(
        &self,
        token: &NewAppToken<'_>,
        change: &Change<'_>,
    ) -> Changed<String> {
        const OPERATION: &str = "create an app token";
        let transaction = self.begin(OPERATION).await?;
        let owner = made!(find(&transaction, Sort::Person, token.owner).await?);
        let uuid = change.ids.uuid().to_string();
        transaction
            .execute(
                OPERATION,
                "INSERT INTO appspecificauthtoken (user_id, uuid, title, created, expiration, token_name, token_secret)
                 VALUES ($1, $2, $3, $4, $5, $6, $7)",
                params![
                    owner.0,
                    uuid.as_str(),
                    token.title,
                    change.now.naive_utc(),
                    token.expires.map(|time| time.naive_utc()),
                    token.name,
                    token.secret,
                ],
            )
            .await?;
        change
            .log(
                &transaction,
                "create_app_specific_token",
                owner,
                &[
                    ("app_specific_token_title", json!(token.title)),
                    ("app_specific_token", json!(uuid)),
                ],
            )
            .await?;
        transaction.commit().await?;
        Ok(Ok(uuid))
    }

    /// Removes an app token of somebody, or of whoever has it.
    pub async fn revoke_app_token(
        &self,
        owner: Option<&str>,
        uuid: &str,
        change: &Change<'_>,
    ) -> Changed<()> {
        contended(async || {
            const OPERATION: &str = "revoke an app token";
            let transaction = self.begin(OPERATION).await?;
            let row: Option<TokenRow> = transaction
                .row(
                    OPERATION,
                    &format!(
                        "{TOKEN} WHERE (CAST($1 AS varchar) IS NULL OR u.username = $1) AND t.uuid = $2"
                    ),
                    params![owner, uuid],
                )
                .await?;
            let Some(token) = row else {
                return Ok(Err(Unchanged::unknown("app token", uuid)));
            };
            let owner = made!(find(&transaction, Sort::Namespace, &token.owner).await?);
            change
                .log(
                    &transaction,
                    "revoke_app_specific_token",
                    owner,
                    &[
                        ("app_specific_token_title", json!(token.title)),
                        ("app_specific_token", json!(uuid)),
                    ],
                )
                .await?;
            transaction
                .execute(
                    OPERATION,
                    "DELETE FROM appspecificauthtoken WHERE id = $1",
                    params![token.id],
                )
                .await?;
            transaction.commit().await?;
            Ok(Ok(()))
        })
        .await
    }
}
