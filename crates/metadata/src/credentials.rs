//! What proves who somebody is: the rows behind logins, robots, app tokens and OAuth tokens, when they were last used, and the columns that hold
//! something encrypted.
//!
//! Nothing is compared or decrypted here: hashes and encrypted fields are handed out as they are stored.

use std::fmt;

use chrono::NaiveDateTime;
use roadstead_runtime::Timestamp;

use crate::accounts::{Account, AccountRow};
use crate::database::{Connection, Database, contended, json_ids, params};
use crate::error::MetadataError;
use crate::ids::{AppTokenId, OauthTokenId, UserId};
use crate::row::FromRow;

/// Whose token it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenOwner {
    /// The account's id.
    pub id: UserId,
    /// The identifier that tokens carry.
    pub uuid: Option<String>,
    /// The name.
    pub username: String,
    /// Whether it may sign in.
    pub enabled: bool,
}

/// A robot, what proves it, and who answers for it.
#[derive(Clone)]
pub struct Robot {
    /// The robot's own account.
    pub account: TokenOwner,
    /// The encrypted token; a robot without one cannot sign in.
    pub token: Option<String>,
    /// Whether the account is enabled that the robot belongs to; none when that account is gone.
    pub owner_enabled: Option<bool>,
    /// When it signed in last, as far as that has been noted.
    pub last_used: Option<Timestamp>,
}

/// An app-specific token of a user.
#[derive(Clone)]
pub struct AppToken {
    /// Its id.
    pub id: AppTokenId,
    /// The identifier that tokens carry.
    pub uuid: String,
    /// The encrypted second half of the token; the first half is its name.
    pub secret: String,
    /// When it ends; none: never.
    pub expires: Option<Timestamp>,
    /// Whose it is.
    pub owner: TokenOwner,
    /// When it was used last, as far as that has been noted.
    pub last_used: Option<Timestamp>,
}

/// An OAuth access token of a user.
#[derive(Clone)]
pub struct OauthToken {
    /// Its id.
    pub id: OauthTokenId,
    /// The identifier that tokens carry.
    pub uuid: String,
    /// The bcrypt hash of the second half of the token; the first half is its name.
    pub code_hash: String,
    /// What it may be used for, as Quay writes it.
    pub scope: String,
    /// When it ends.
    pub expires: Timestamp,
    /// Whose it is.
    pub owner: TokenOwner,
    /// When it was used last, as far as that has been noted.
    pub last_used: Option<Timestamp>,
}

/// What there is now of somebody for whom a registry token was issued.
#[derive(Clone, PartialEq, Eq)]
pub struct Bearer {
    /// The account.
    pub account: TokenOwner,
    /// Whether it is an organisation, which no token is issued for.
    pub organization: bool,
    /// What there is besides, where it is a robot.
    pub robot: Option<BearerRobot>,
    /// Until when the app token is good that was asked about: the end of time for one that does not end. None: the account has no such token.
    pub app_token: Option<Timestamp>,
    /// The OAuth token that was asked about: until when it is good, and its scopes. None: the account has no such token.
    pub oauth_token: Option<(Timestamp, String)>,
}

/// What there is now of a robot.
#[derive(Clone, PartialEq, Eq)]
pub struct BearerRobot {
    /// The encrypted token.
    pub token: Option<String>,
    /// Whether the account is enabled that the robot belongs to; none when that account is gone.
    pub owner_enabled: Option<bool>,
}

/// Without what proves it.
impl fmt::Debug for Bearer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Bearer")
            .field("account", &self.account)
            .field("robot", &self.robot.is_some())
            .finish_non_exhaustive()
    }
}

/// Without what proves it.
impl fmt::Debug for BearerRobot {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("BearerRobot")
            .field("owner_enabled", &self.owner_enabled)
            .finish_non_exhaustive()
    }
}

/// Without what proves it.
impl fmt::Debug for Robot {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Robot")
            .field("account", &self.account)
            .field("owner_enabled", &self.owner_enabled)
            .finish_non_exhaustive()
    }
}

/// Without what proves it.
impl fmt::Debug for AppToken {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("AppToken")
            .field("uuid", &self.uuid)
            .field("owner", &self.owner)
            .field("expires", &self.expires)
            .finish_non_exhaustive()
    }
}

/// Without what proves it.
impl fmt::Debug for OauthToken {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("OauthToken")
            .field("uuid", &self.uuid)
            .field("owner", &self.owner)
            .field("scope", &self.scope)
            .field("expires", &self.expires)
            .finish_non_exhaustive()
    }
}

/// What has been used to sign in since somebody last noted it.
#[derive(Clone, Debug, Default)]
pub struct UsedCredentials {
    /// Robots.
    pub robots: Vec<UserId>,
    /// App tokens.
    pub app_tokens: Vec<AppTokenId>,
    /// OAuth tokens.
    pub oauth_tokens: Vec<OauthTokenId>,
}

/// A column whose values are encrypted.
#[derive(Clone)]
pub struct EncryptedColumn {
    /// The table.
    pub table: &'static str,
    /// The column.
    pub column: &'static str,
    /// How many rows hold an encrypted value.
    pub rows: u64,
    /// The values of the newest of them.
    pub newest: Vec<String>,
}

/// Without the values.
impl fmt::Debug for EncryptedColumn {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("EncryptedColumn")
            .field("table", &self.table)
            .field("column", &self.column)
            .field("rows", &self.rows)
            .finish_non_exhaustive()
    }
}

/// Every column that Quay encrypts.
const ENCRYPTED: [(&str, &str); 12] = [
    ("accesstoken", "token_code"),
    ("appspecificauthtoken", "token_secret"),
    ("oauthapplication", "secure_client_secret"),
    ("orgmirrorconfig", "external_registry_password"),
    ("orgmirrorconfig", "external_registry_username"),
    ("proxycacheconfig", "upstream_registry_password"),
    ("proxycacheconfig", "upstream_registry_username"),
    ("repomirrorconfig", "external_registry_password"),
    ("repomirrorconfig", "external_registry_username"),
    ("repositorybuildtrigger", "secure_auth_token"),
    ("repositorybuildtrigger", "secure_private_key"),
    ("robotaccounttoken", "token"),
];

#[derive(FromRow)]
struct RobotRow {
    id: i32,
    uuid: Option<String>,
    username: String,
    enabled: bool,
    last_accessed: Option<NaiveDateTime>,
    token: Option<String>,
    owner_enabled: Option<bool>,
}

#[derive(FromRow)]
struct AppTokenRow {
    id: i32,
    uuid: String,
    secret: String,
    expiration: Option<NaiveDateTime>,
    last_accessed: Option<NaiveDateTime>,
    owner_id: i32,
    owner_uuid: Option<String>,
    owner_name: String,
    owner_enabled: bool,
}

#[derive(FromRow)]
struct OauthTokenRow {
    id: i32,
    uuid: String,
    code_hash: String,
    scope: String,
    expires_at: NaiveDateTime,
    last_accessed: Option<NaiveDateTime>,
    owner_id: i32,
    owner_uuid: Option<String>,
    owner_name: String,
    owner_enabled: bool,
}

#[derive(FromRow)]
struct BearerRow {
    id: i32,
    uuid: Option<String>,
    username: String,
    enabled: bool,
    organization: bool,
    robot: bool,
    robot_token: Option<String>,
    owner_enabled: Option<bool>,
    app_token_id: Option<i32>,
    app_token_ends: Option<NaiveDateTime>,
    oauth_token_ends: Option<NaiveDateTime>,
    oauth_token_scope: Option<String>,
}

#[derive(FromRow)]
struct EncryptedRow {
    place: i32,
    number: i64,
    value: Option<String>,
}

impl Database {
    /// Finds the account that somebody means who types this to sign in: its name, or else its e-mail address. The case counts in both. Robots are
    /// not found.
    pub async fn find_login(&self, login: &str) -> Result<Option<Account>, MetadataError> {
        let row: Option<AccountRow> = self
            .pull_reader()
            .row(
                "look up a login",
                // An organisation may have the address of a person, who comes first then.
                r#"SELECT id, uuid, username, password_hash, enabled, organization, robot,
                          invalid_login_attempts, last_invalid_login
                   FROM "user" WHERE (username = $1 OR email = $1) AND NOT robot
                   ORDER BY CASE WHEN username = $1 THEN 0 WHEN NOT organization THEN 1 ELSE 2 END, id LIMIT 1"#,
                params![login],
            )
            .await?;
        Ok(row.map(Account::from))
    }

    /// Finds a robot by its name, `owner+short`.
    pub async fn find_robot(&self, username: &str) -> Result<Option<Robot>, MetadataError> {
        let owner = username.split('+').next().unwrap_or_default();
        let row: Option<RobotRow> = self
            .pull_reader()
            .row(
                "look up a robot",
                r#"SELECT u.id, u.uuid, u.username, u.enabled, u.last_accessed, t.token, o.enabled AS owner_enabled
                   FROM "user" u
                   LEFT JOIN robotaccounttoken t ON t.robot_account_id = u.id
                   LEFT JOIN "user" o ON o.username = $2 AND NOT o.robot
                   WHERE u.username = $1 AND u.robot"#,
                params![username, owner],
            )
            .await?;
        Ok(row.map(|row| Robot {
            account: TokenOwner {
                id: UserId(row.id),
                uuid: row.uuid,
                username: row.username,
                enabled: row.enabled,
            },
            token: row.token,
            owner_enabled: row.owner_enabled,
            last_used: row.last_accessed.map(|time| time.and_utc()),
        }))
    }

    /// Finds an app token by its name, the first half of what its user sends.
    pub async fn find_app_token(&self, name: &str) -> Result<Option<AppToken>, MetadataError> {
        let row: Option<AppTokenRow> = self
            .pull_reader()
            .row(
                "look up an app token",
                r#"SELECT t.id, t.uuid, t.token_secret AS secret, t.expiration, t.last_accessed,
                          u.id AS owner_id, u.uuid AS owner_uuid, u.username AS owner_name, u.enabled AS owner_enabled
                   FROM appspecificauthtoken t JOIN "user" u ON u.id = t.user_id WHERE t.token_name = $1"#,
                params![name],
            )
            .await?;
        Ok(row.map(|row| AppToken {
            id: AppTokenId(row.id),
            uuid: row.uuid,
            secret: row.secret,
            expires: row.expiration.map(|time| time.and_utc()),
            owner: TokenOwner {
                id: UserId(row.owner_id),
                uuid: row.owner_uuid,
                username: row.owner_name,
                enabled: row.owner_enabled,
            },
            last_used: row.last_accessed.map(|time| time.and_utc()),
        }))
    }

    /// Finds an OAuth access token by its name, the first half of what its user sends.
    pub async fn find_oauth_token(&self, name: &str) -> Result<Option<OauthToken>, MetadataError> {
        let row: Option<OauthTokenRow> = self
            .pull_reader()
            .row(
                "look up an OAuth token",
                r#"SELECT t.id, t.uuid, t.token_code AS code_hash, t.scope, t.expires_at, t.last_accessed,
                          u.id AS owner_id, u.uuid AS owner_uuid, u.username AS owner_name, u.enabled AS owner_enabled
                   FROM oauthaccesstoken t JOIN "user" u ON u.id = t.authorized_user_id WHERE t.token_name = $1"#,
                params![name],
            )
            .await?;
        Ok(row.map(|row| OauthToken {
            id: OauthTokenId(row.id),
            uuid: row.uuid,
            code_hash: row.code_hash,
            scope: row.scope,
            expires: row.expires_at.and_utc(),
            owner: TokenOwner {
                id: UserId(row.owner_id),
                uuid: row.owner_uuid,
                username: row.owner_name,
                enabled: row.owner_enabled,
            },
            last_used: row.last_accessed.map(|time| time.and_utc()),
        }))
    }

    /// Finds the account of this name with everything that a registry token issued for it stands on. `token` is the identifier of the app token or
    /// OAuth token that it was issued for. One statement.
    pub async fn find_bearer(
        &self,
        username: &str,
        token: Option<&str>,
    ) -> Result<Option<Bearer>, MetadataError> {
        let owner = username.split('+').next().unwrap_or_default();
        let row: Option<BearerRow> = self
            .pull_reader()
            .row(
                "look up the bearer of a token",
                r#"SELECT u.id, u.uuid, u.username, u.enabled, u.organization, u.robot, r.token AS robot_token,
                          o.enabled AS owner_enabled, a.id AS app_token_id, a.expiration AS app_token_ends,
                          t.expires_at AS oauth_token_ends, t.scope AS oauth_token_scope
                   FROM "user" u
                   LEFT JOIN robotaccounttoken r ON r.robot_account_id = u.id AND u.robot
                   LEFT JOIN "user" o ON o.username = $2 AND NOT o.robot AND u.robot
                   LEFT JOIN appspecificauthtoken a ON a.user_id = u.id AND a.uuid = $3
                   LEFT JOIN oauthaccesstoken t ON t.authorized_user_id = u.id AND t.uuid = $3
                   WHERE u.username = $1 ORDER BY t.expires_at DESC LIMIT 1"#,
                params![username, owner, token],
            )
            .await?;
        Ok(row.map(|row| Bearer {
            account: TokenOwner {
                id: UserId(row.id),
                uuid: row.uuid,
                username: row.username,
                enabled: row.enabled,
            },
            organization: row.organization,
            robot: row.robot.then_some(BearerRobot {
                token: row.robot_token,
                owner_enabled: row.owner_enabled,
            }),
            app_token: row.app_token_id.map(|_| {
                row.app_token_ends
                    .map_or(Timestamp::MAX_UTC, |time| time.and_utc())
            }),
            oauth_token: row
                .oauth_token_ends
                .map(|time| time.and_utc())
                .zip(row.oauth_token_scope),
        }))
    }

    /// Notes that these were used just now. Three statements at most, however many there are; a later time is never replaced by an earlier one.
    pub async fn note_used_credentials(
        &self,
        used: &UsedCredentials,
        now: Timestamp,
    ) -> Result<(), MetadataError> {
        contended(|| self.note_used_credentials_once(used, now)).await
    }

    async fn note_used_credentials_once(
        &self,
        used: &UsedCredentials,
        now: Timestamp,
    ) -> Result<(), MetadataError> {
        const OPERATION: &str = "note that credentials were used";
        let transaction = self.begin(OPERATION).await?;
        for (table, ids) in [
            (r#""user""#, json_ids(used.robots.iter().map(|id| id.0))),
            (
                "appspecificauthtoken",
                json_ids(used.app_tokens.iter().map(|id| id.0)),
            ),
            (
                "oauthaccesstoken",
                json_ids(used.oauth_tokens.iter().map(|id| id.0)),
            ),
        ] {
            if ids == "[]" {
                continue;
            }
            transaction
                .execute(
                    OPERATION,
                    &format!(
                        "UPDATE {table} SET last_accessed = $2
                         WHERE id IN @ids($1) AND (last_accessed IS NULL OR last_accessed < $2)"
                    ),
                    params![ids, now.naive_utc()],
                )
                .await?;
        }
        transaction.commit().await
    }

    /// Every column that holds encrypted values, with the number of its rows and the `newest` values. Columns that hold none are left out.
    ///
    /// Counting reads each of these tables once; there is a row for a robot, a token or a mirror, not for an image.
    pub async fn encrypted_columns(
        &self,
        newest: u32,
    ) -> Result<Vec<EncryptedColumn>, MetadataError> {
        let parts: Vec<String> = ENCRYPTED
            .iter()
            .enumerate()
            .map(|(place, (table, column))| {
                let encrypted = format!("FROM {table} WHERE {column} LIKE 'v0$$%'");
                format!(
                    "SELECT {place} AS place, counted.number, sampled.value
                     FROM (SELECT count(*) AS number {encrypted}) AS counted
                     LEFT JOIN (SELECT {column} AS value {encrypted} ORDER BY id DESC LIMIT $1) AS sampled ON true"
                )
            })
            .collect();
        let rows: Vec<EncryptedRow> = self
            .reader()
            .rows(
                "look at encrypted fields",
                &parts.join(" UNION ALL "),
                params![i64::from(newest)],
            )
            .await?;
        let mut columns: Vec<EncryptedColumn> = ENCRYPTED
            .iter()
            .map(|(table, column)| EncryptedColumn {
                table,
                column,
                rows: 0,
                newest: Vec::new(),
            })
            .collect();
        for row in rows {
            let column = usize::try_from(row.place)
                .ok()
                .and_then(|place| columns.get_mut(place));
            if let Some(column) = column {
                column.rows = u64::try_from(row.number).unwrap_or_default();
                column.newest.extend(row.value);
            }
        }
        columns.retain(|column| column.rows > 0);
        Ok(columns)
    }
}
