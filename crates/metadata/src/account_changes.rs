//! What their owners and superusers change in accounts of people and organisations.

use serde_json::{Value, json};

use crate::changes::{Change, Changed, Unchanged, made};
use crate::database::{Connection, Database, Identified, Transaction, contended, params};
use crate::error::MetadataError;
use crate::users::{ACCOUNT_ROW, AccountRecord, AccountRow};

const OPERATION: &str = "change an account";

/// What is to be another in an account. What is none stays.
#[derive(Clone, Copy, Default)]
pub struct AccountChanges<'a> {
    /// The bcrypt hash of another password. Wrong ones are forgotten, and tokens that were handed out end.
    pub password_hash: Option<&'a str>,
    /// Another address; an empty one takes it away. Tokens that were handed out to a person end.
    pub email: Option<&'a str>,
    /// Whether it may be used.
    pub enabled: Option<bool>,
    /// For how many seconds its namespace keeps deleted tags.
    pub tag_window_s: Option<i64>,
    /// Whether invoices are sent.
    pub invoice_email: Option<bool>,
    /// Where they are sent; an empty address: nowhere.
    pub invoice_email_address: Option<&'a str>,
    /// What a person says of themselves: each of it that is to be another.
    pub about: [Option<&'a str>; 4],
    /// Whether a superuser changes somebody else's account, which the log tells in other words.
    pub by_superuser: bool,
}

/// Without the password's hash.
impl std::fmt::Debug for AccountChanges<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("AccountChanges")
            .field("password", &self.password_hash.is_some())
            .field("email", &self.email)
            .field("enabled", &self.enabled)
            .finish_non_exhaustive()
    }
}

/// What [`AccountChanges::about`] is about, in its order.
const ABOUT: [&str; 4] = ["given_name", "family_name", "company", "location"];

impl Database {
    /// Changes the account of a person or an organisation.
    pub async fn change_account(
        &self,
        username: &str,
        changes: &AccountChanges<'_>,
        change: &Change<'_>,
    ) -> Changed<()> {
        contended(|| self.change_account_once(username, changes, change)).await
    }

    async fn change_account_once(
        &self,
        username: &str,
        changes: &AccountChanges<'_>,
        change: &Change<'_>,
    ) -> Changed<()> {
        let transaction = self.begin(OPERATION).await?;
        let row: Option<AccountRow> = transaction
            .row(
                OPERATION,
                &format!(
                    r#"SELECT {ACCOUNT_ROW} FROM "user" u WHERE u.username = $1 AND NOT u.robot @lock"#
                ),
                params![username],
            )
            .await?;
        let Some(account) = row.map(AccountRecord::from) else {
            return Ok(Err(Unchanged::unknown("user", username)));
        };
        let made = Changing {
            transaction: &transaction,
            account: &account,
            by_superuser: changes.by_superuser,
            change,
        };
        if let Some(hash) = changes.password_hash {
            made.password(hash).await?;
        }
        if let Some(email) = changes.email {
            made!(
                made.email(Some(email).filter(|email| !email.is_empty()))
                    .await?
            );
        }
        made.rest(changes).await?;
        transaction.commit().await?;
        Ok(Ok(()))
    }
}

/// An account in the middle of a change.
struct Changing<'a> {
    transaction: &'a Transaction,
    account: &'a AccountRecord,
    by_superuser: bool,
    change: &'a Change<'a>,
}

impl Changing<'_> {
    async fn password(&self, hash: &str) -> Result<(), MetadataError> {
        self.set(
            "password_hash = $2, invalid_login_attempts = 0, uuid = $3",
            params![hash, self.change.ids.uuid().to_string()],
        )
        .await?;
        if self.by_superuser {
            self.log("user_change_password", vec![]).await
        } else {
            self.change
                .log(
                    self.transaction,
                    "account_change_password",
                    self.account.id,
                    &[],
                )
                .await
        }
    }

    async fn email(&self, email: Option<&str>) -> Changed<()> {
        let account = self.account;
        if email == Some(account.email.as_str()) {
            return Ok(Ok(()));
        }
        if let Some(email) = email.filter(|_| !account.organization) {
            made!(free_email(self.transaction, email).await?);
        }
        let stored = email.map_or_else(|| self.change.ids.uuid().to_string(), ToOwned::to_owned);
        if account.organization {
            self.set("email = $2", params![stored]).await?;
            self.log_org(
                "org_change_email",
                vec![
                    ("email", json!(email.unwrap_or_default())),
                    ("old_email", json!(account.email)),
                ],
            )
            .await?;
        } else {
            self.set(
                "email = $2, verified = true, uuid = $3",
                params![stored, self.change.ids.uuid().to_string()],
            )
            .await?;
            self.log(
                "user_change_email",
                vec![("email", json!(email)), ("old_email", json!(account.email))],
            )
            .await?;
        }
        Ok(Ok(()))
    }

    async fn rest(&self, changes: &AccountChanges<'_>) -> Result<(), MetadataError> {
        let organization = self.account.organization;
        if let Some(enabled) = changes.enabled {
            self.set("enabled = $2", params![enabled]).await?;
            let kind = if enabled {
                "user_enable"
            } else {
                "user_disable"
            };
            self.log(kind, vec![]).await?;
        }
        if let Some(seconds) = changes.tag_window_s {
            self.set("removed_tag_expiration_s = $2", params![seconds])
                .await?;
            let member = vec![("tag_expiration", json!(seconds))];
            if organization {
                self.log_org("org_change_tag_expiration", member).await?;
            } else {
                self.log("user_change_tag_expiration", member).await?;
            }
        }
        if let Some(sent) = changes.invoice_email {
            self.set("invoice_email = $2", params![sent]).await?;
            self.log_invoicing(("invoice_email", json!(sent))).await?;
        }
        if let Some(address) = changes.invoice_email_address {
            let address = Some(address).filter(|address| !address.is_empty());
            self.set("invoice_email_address = $2", params![address])
                .await?;
            self.log_invoicing(("invoice_email_address", json!(address)))
                .await?;
        }
        let mut about = Vec::new();
        for (column, value) in ABOUT.into_iter().zip(changes.about) {
            if let Some(value) = value {
                self.set(&format!("{column} = $2"), params![value]).await?;
                about.push((column, json!(value)));
            }
        }
        if !about.is_empty() {
            self.log("user_change_metadata", about).await?;
        }
        Ok(())
    }

    async fn set(
        &self,
        columns: &str,
        mut values: Vec<sea_orm::Value>,
    ) -> Result<(), MetadataError> {
        values.insert(0, self.account.id.0.into());
        self.transaction
            .execute(
                OPERATION,
                &format!(r#"UPDATE "user" SET {columns} WHERE id = $1"#),
                values,
            )
            .await?;
        Ok(())
    }

    async fn log_invoicing(&self, member: (&'static str, Value)) -> Result<(), MetadataError> {
        if self.account.organization {
            self.log_org("org_change_invoicing", vec![member]).await
        } else {
            self.log("user_change_invoicing", vec![member]).await
        }
    }

    async fn log_org(
        &self,
        kind: &'static str,
        mut members: Vec<(&'static str, Value)>,
    ) -> Result<(), MetadataError> {
        members.push(("namespace", json!(self.account.username)));
        self.change
            .log(self.transaction, kind, self.account.id, &members)
            .await
    }

    /// Of a person's account: a superuser's change tells whose and who.
    async fn log(
        &self,
        kind: &'static str,
        mut members: Vec<(&'static str, Value)>,
    ) -> Result<(), MetadataError> {
        if self.by_superuser {
            members.push(("username", json!(self.account.username)));
            members.push(("superuser", json!(self.change.actor.username())));
        }
        self.change
            .log(self.transaction, kind, self.account.id, &members)
            .await
    }
}

async fn free_email(transaction: &Transaction, email: &str) -> Changed<()> {
    let taken: Option<Identified> = transaction
        .row(
            OPERATION,
            r#"SELECT id FROM "user" WHERE email = $1 AND NOT organization LIMIT 1"#,
            params![email],
        )
        .await?;
    Ok(match taken {
        Some(_) => Err(Unchanged::taken(
            "an account with the e-mail address",
            email,
        )),
        None => Ok(()),
    })
}
