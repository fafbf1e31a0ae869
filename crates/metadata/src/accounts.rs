//! Accounts: who exists, and how often they have been guessed at.

use std::time::Duration;

use chrono::NaiveDateTime;
use roadstead_runtime::Timestamp;
use uuid::Uuid;

use crate::database::{Connection, Counted, Database, Identified, Lock, contended, params};
use crate::error::MetadataError;
use crate::ids::UserId;
use crate::row::FromRow;

/// A row of `user`.
#[derive(Clone)]
pub struct Account {
    /// Its id.
    pub id: UserId,
    /// The identifier that tokens carry.
    pub uuid: Option<String>,
    /// The name, which is also the namespace.
    pub username: String,
    /// The bcrypt hash; organisations and robots have none.
    pub password_hash: Option<String>,
    /// Whether it may sign in.
    pub enabled: bool,
    /// Whether it is an organisation, which nobody signs in as.
    pub organization: bool,
    /// Whether it is a robot.
    pub robot: bool,
    /// Wrong passwords since the last right one.
    pub invalid_login_attempts: i32,
    /// When the last wrong password came.
    pub last_invalid_login: Timestamp,
}

/// Without the password's hash.
impl std::fmt::Debug for Account {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Account")
            .field("id", &self.id)
            .field("username", &self.username)
            .field("enabled", &self.enabled)
            .field("organization", &self.organization)
            .field("robot", &self.robot)
            .finish_non_exhaustive()
    }
}

/// The account that an empty database gets.
pub struct FirstAccount<'a> {
    /// The name.
    pub username: &'a str,
    /// The address that Quay's schema wants.
    pub email: &'a str,
    /// The bcrypt hash of the password.
    pub password_hash: &'a str,
    /// The identifier that tokens carry.
    pub uuid: Uuid,
    /// Now.
    pub now: Timestamp,
    /// For how long its namespace keeps deleted tags.
    pub tag_window: Duration,
}

/// Quay's `DEFAULT_TAG_EXPIRATION`: for how long a new namespace keeps deleted tags.
pub const TAG_WINDOW: Duration = Duration::from_hours(14 * 24);

/// A namespace's window as its column has it: whole seconds.
pub(crate) fn window_column(window: Duration) -> i64 {
    window.as_secs().try_into().unwrap_or(i64::MAX)
}

/// Without the password's hash.
impl std::fmt::Debug for FirstAccount<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("FirstAccount")
            .field("username", &self.username)
            .finish_non_exhaustive()
    }
}

#[derive(FromRow)]
pub(crate) struct AccountRow {
    id: i32,
    uuid: Option<String>,
    username: String,
    password_hash: Option<String>,
    enabled: bool,
    organization: bool,
    robot: bool,
    invalid_login_attempts: i32,
    last_invalid_login: NaiveDateTime,
}

impl From<AccountRow> for Account {
    fn from(row: AccountRow) -> Self {
        Self {
            id: UserId(row.id),
            uuid: row.uuid,
            username: row.username,
            password_hash: row.password_hash,
            enabled: row.enabled,
            organization: row.organization,
            robot: row.robot,
            invalid_login_attempts: row.invalid_login_attempts,
            last_invalid_login: row.last_invalid_login.and_utc(),
        }
    }
}

impl Database {
    /// Finds an account by its name, whose case counts.
    pub async fn find_account(&self, username: &str) -> Result<Option<Account>, MetadataError> {
        let row: Option<AccountRow> = self
            .pull_reader()
            .row(
                "look up an account",
                r#"SELECT id, uuid, username, password_hash, enabled, organization, robot,
                          invalid_login_attempts, last_invalid_login
                   FROM "user" WHERE username = $1"#,
                params![username],
            )
            .await?;
        Ok(row.map(Account::from))
    }

    /// Whether there is any account.
    pub async fn has_accounts(&self) -> Result<bool, MetadataError> {
        let found: Option<Identified> = self
            .reader()
            .row(
                "look for an account",
                r#"SELECT id FROM "user" LIMIT 1"#,
                params![],
            )
            .await?;
        Ok(found.is_some())
    }

    /// Makes the first account. Does nothing and says false when there is any account already.
    pub async fn create_first_account(
        &self,
        account: &FirstAccount<'_>,
    ) -> Result<bool, MetadataError> {
        contended(|| self.create_first_account_once(account)).await
    }

    async fn create_first_account_once(
        &self,
        account: &FirstAccount<'_>,
    ) -> Result<bool, MetadataError> {
        const OPERATION: &str = "create the first account";
        let transaction = self.begin(OPERATION).await?;
        transaction.lock(Lock::first_account()).await?;
        let existing: Option<Counted> = transaction
            .row(
                OPERATION,
                r#"SELECT count(*) AS count FROM "user""#,
                params![],
            )
            .await?;
        if existing.is_some_and(|row| row.count > 0) {
            return Ok(false);
        }
        transaction
            .execute(
                OPERATION,
                r#"INSERT INTO "user" (uuid, username, password_hash, email, verified, organization, robot,
                                       invoice_email, last_invalid_login, creation_date, removed_tag_expiration_s)
                   VALUES ($1, $2, $3, $4, true, false, false, false, $5, $5, $6)"#,
                params![
                    account.uuid.to_string(),
                    account.username,
                    account.password_hash,
                    account.email,
                    account.now.naive_utc(),
                    window_column(account.tag_window),
                ],
            )
            .await?;
        transaction.commit().await?;
        Ok(true)
    }

    /// Counts a wrong password.
    pub async fn note_failed_login(
        &self,
        account: UserId,
        now: Timestamp,
    ) -> Result<(), MetadataError> {
        self.execute(
            "note a wrong password",
            r#"UPDATE "user" SET invalid_login_attempts = invalid_login_attempts + 1, last_invalid_login = $2
               WHERE id = $1"#,
            params![account.0, now.naive_utc()],
        )
        .await?;
        Ok(())
    }

    /// Forgets the wrong passwords, after a right one.
    pub async fn clear_failed_logins(&self, account: UserId) -> Result<(), MetadataError> {
        self.execute(
            "forget wrong passwords",
            r#"UPDATE "user" SET invalid_login_attempts = 0 WHERE id = $1 AND invalid_login_attempts <> 0"#,
            params![account.0],
        )
        .await?;
        Ok(())
    }
}
