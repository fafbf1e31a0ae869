//! Accounts of people and organisations as their owners and superusers see and change them.

use chrono::NaiveDateTime;
use serde_json::json;

use crate::applications::{self, NewApplication, NewOauthToken};
use crate::changes::{Change, Changed, Sort, Unchanged, find, made};
use crate::database::{
    Connection, Counted, Database, Identified, Lock, Transaction, contended, json_ids, params,
};
use crate::error::MetadataError;
use crate::garbage::{MarkDeleted, mark_deleted};
use crate::ids::UserId;
use crate::permissions::TeamRole;
use crate::row::FromRow;

/// An account of a person, an organisation or a robot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountRecord {
    /// Its id.
    pub id: UserId,
    /// Its name.
    pub username: String,
    /// Its address; accounts without one have an identifier there.
    pub email: String,
    /// Whether the address was confirmed.
    pub verified: bool,
    /// Whether it may be used.
    pub enabled: bool,
    /// Whether it is an organisation.
    pub organization: bool,
    /// Whether it is a robot.
    pub robot: bool,
    /// Whether it has a password.
    pub has_password: bool,
    /// For how many seconds its namespace keeps deleted tags.
    pub tag_window_s: i64,
    /// Whether invoices are sent.
    pub invoice_email: bool,
    /// Where they are sent.
    pub invoice_email_address: Option<String>,
    /// What a person says of themselves.
    pub about: About,
    /// Whether nobody pays for it.
    pub free: bool,
}

/// What a person says of themselves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct About {
    /// The given name.
    pub given_name: Option<String>,
    /// The family name.
    pub family_name: Option<String>,
    /// The company.
    pub company: Option<String>,
    /// The place.
    pub location: Option<String>,
}

/// A person's account to be made.
#[derive(Clone, Copy)]
pub struct NewUser<'a> {
    /// The name.
    pub username: &'a str,
    /// The address, if there is one.
    pub email: Option<&'a str>,
    /// The bcrypt hash of the password.
    pub password_hash: &'a str,
    /// For how many seconds the namespace keeps deleted tags.
    pub tag_window_s: i64,
}

/// Without the password's hash.
impl std::fmt::Debug for NewUser<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("NewUser")
            .field("username", &self.username)
            .finish_non_exhaustive()
    }
}

/// Which accounts a page shows.
#[derive(Clone, Copy, Debug)]
pub struct AccountsOf {
    /// Organisations, or else people.
    pub organizations: bool,
    /// Whether those are shown that may not be used.
    pub disabled: bool,
    /// Behind which id.
    pub after: Option<UserId>,
    /// At most how many.
    pub limit: u32,
}

/// The columns of [`AccountRow`].
pub(crate) const ACCOUNT_ROW: &str = "u.id, u.username, u.email, u.verified, u.enabled, u.organization, u.robot, \
     u.password_hash IS NOT NULL AS has_password, u.removed_tag_expiration_s, u.invoice_email, u.invoice_email_address, \
     u.given_name, u.family_name, u.company, u.location, u.stripe_id IS NULL AS free";

#[derive(Debug, FromRow)]
pub(crate) struct AccountRow {
    id: i32,
    username: String,
    email: String,
    verified: bool,
    enabled: bool,
    organization: bool,
    robot: bool,
    has_password: bool,
    removed_tag_expiration_s: i64,
    invoice_email: bool,
    invoice_email_address: Option<String>,
    given_name: Option<String>,
    family_name: Option<String>,
    company: Option<String>,
    location: Option<String>,
    free: bool,
}

impl From<AccountRow> for AccountRecord {
    fn from(row: AccountRow) -> Self {
        Self {
            id: UserId(row.id),
            username: row.username,
            email: row.email,
            verified: row.verified,
            enabled: row.enabled,
            organization: row.organization,
            robot: row.robot,
            has_password: row.has_password,
            tag_window_s: row.removed_tag_expiration_s,
            invoice_email: row.invoice_email,
            invoice_email_address: row.invoice_email_address,
            about: About {
                given_name: row.given_name,
                family_name: row.family_name,
                company: row.company,
                location: row.location,
            },
            free: row.free,
        }
    }
}

#[derive(Debug, FromRow)]
struct TakenRow {
    name_taken: bool,
    email_taken: bool,
}

#[derive(Debug, FromRow)]
struct RankRow {
    id: i32,
    rank: i32,
}

#[derive(Debug, FromRow)]
struct FoundRow {
    id: i32,
    organization: bool,
}

const CREATE: &str = "create an account";

impl Database {
    /// The account of a person, an organisation or a robot. Those that are being deleted have other names.
    pub async fn account(&self, username: &str) -> Result<Option<AccountRecord>, MetadataError> {
        let row: Option<AccountRow> = self
            .reader()
            .row(
                "look up an account",
                &format!(r#"SELECT {ACCOUNT_ROW} FROM "user" u WHERE u.username = $1"#),
                params![username],
            )
            .await?;
        Ok(row.map(AccountRecord::from))
    }

    /// A page of people or organisations, by id. Those that are being deleted are left out.
    pub async fn accounts(&self, of: AccountsOf) -> Result<Vec<AccountRecord>, MetadataError> {
        let rows: Vec<AccountRow> = self
            .reader()
            .rows(
                "list accounts",
                &format!(
                    r#"SELECT {ACCOUNT_ROW} FROM "user" u
                       WHERE u.id > $1 AND NOT u.robot AND u.organization = $2 AND (u.enabled OR $3)
                         AND NOT EXISTS (SELECT 1 FROM deletednamespace d WHERE d.namespace_id = u.id)
                       ORDER BY u.id LIMIT $4"#
                ),
                params![
                    of.after.map_or(0, |id| id.0),
                    of.organizations,
                    of.disabled,
                    i64::from(of.limit),
                ],
            )
            .await?;
        Ok(rows.into_iter().map(AccountRecord::from).collect())
    }

    /// People whose names begin so, and robots of `owner` whose short names do. By name, at most `limit`.
    pub async fn accounts_like(
        &self,
        prefix: &str,
        owner: Option<&str>,
        limit: u32,
    ) -> Result<Vec<AccountRecord>, MetadataError> {
        let rows: Vec<AccountRow> = self
            .reader()
            .rows(
                "look for accounts",
                &format!(
                    r#"SELECT {ACCOUNT_ROW} FROM "user" u
                       WHERE u.enabled AND NOT u.organization
                         AND (NOT u.robot AND @prefix(u.username, $1) OR u.robot AND $2 <> '' AND @prefix(u.username, $2))
                       ORDER BY @bytewise(u.username) LIMIT $3"#
                ),
                params![
                    prefix,
                    owner.map_or_else(String::new, |owner| format!("{owner}+{prefix}")),
                    i64::from(limit),
                ],
            )
            .await?;
        Ok(rows.into_iter().map(AccountRecord::from).collect())
    }

    /// The organisations in whose teams somebody is, by name, with the highest role that they have there. At most `limit`.
    pub async fn organizations_of(
        &self,
        member: UserId,
        limit: u32,
    ) -> Result<Vec<(AccountRecord, TeamRole)>, MetadataError> {
        const OPERATION: &str = "list somebody's organizations";
        let rows: Vec<AccountRow> = self
            .reader()
            .rows(
                OPERATION,
                &format!(
                    r#"SELECT {ACCOUNT_ROW} FROM "user" u
                       WHERE u.id IN (SELECT t.organization_id FROM teammember m JOIN team t ON t.id = m.team_id WHERE m.user_id = $1)
                       ORDER BY @bytewise(u.username) LIMIT $2"#
                ),
                params![member.0, i64::from(limit)],
            )
            .await?;
        let roles: Vec<RankRow> = self
            .reader()
            .rows(
                OPERATION,
                "SELECT t.organization_id AS id, max(CASE tr.name WHEN 'admin' THEN 3 WHEN 'creator' THEN 2 ELSE 1 END) AS rank
                 FROM teammember m JOIN team t ON t.id = m.team_id JOIN teamrole tr ON tr.id = t.role_id
                 WHERE m.user_id = $1 GROUP BY t.organization_id",
                params![member.0],
            )
            .await?;
        let role = |id: i32| match roles.iter().find(|row| row.id == id).map(|row| row.rank) {
            Some(3) => TeamRole::Admin,
            Some(2) => TeamRole::Creator,
            _ => TeamRole::Member,
        };
        Ok(rows
            .into_iter()
            .map(|row| (role(row.id), AccountRecord::from(row)))
            .map(|(role, account)| (account, role))
            .collect())
    }

    /// Those of the accounts that are in teams of an organisation.
    pub async fn members_among(
        &self,
        organization: UserId,
        accounts: impl IntoIterator<Item = UserId> + Send,
    ) -> Result<Vec<UserId>, MetadataError> {
        let rows: Vec<Identified> = self
            .reader()
            .rows(
                "look for members of an organization",
                "SELECT DISTINCT m.user_id AS id FROM teammember m JOIN team t ON t.id = m.team_id
                 WHERE t.organization_id = $1 AND m.user_id IN @ids($2)",
                params![
                    organization.0,
                    json_ids(accounts.into_iter().map(|id| id.0)),
                ],
            )
            .await?;
        Ok(rows.into_iter().map(|row| UserId(row.id)).collect())
    }

    /// Makes a person's account.
    pub async fn create_user(&self, user: &NewUser<'_>, change: &Change<'_>) -> Changed<UserId> {
        contended(|| self.create_user_once(user, change)).await
    }

    async fn create_user_once(&self, user: &NewUser<'_>, change: &Change<'_>) -> Changed<UserId> {
        let transaction = self.begin(CREATE).await?;
        let id = made!(insert_user(&transaction, user, change).await?);
        transaction.commit().await?;
        Ok(Ok(id))
    }

    /// Makes the first account of a registry, and an application of its with a token if that is given. Of several that try at once one does.
    pub async fn initialize(
        &self,
        user: &NewUser<'_>,
        token: Option<(&NewApplication<'_>, &NewOauthToken<'_>)>,
        change: &Change<'_>,
    ) -> Changed<UserId> {
        contended(|| self.initialize_once(user, token, change)).await
    }

    async fn initialize_once(
        &self,
        user: &NewUser<'_>,
        token: Option<(&NewApplication<'_>, &NewOauthToken<'_>)>,
        change: &Change<'_>,
    ) -> Changed<UserId> {
        let transaction = self.begin(CREATE).await?;
        transaction.lock(Lock::first_account()).await?;
        let existing: Option<Counted> = transaction
            .row(
                CREATE,
                r#"SELECT count(*) AS count FROM (SELECT id FROM "user" LIMIT 1) AS somebody"#,
                params![],
            )
            .await?;
        if existing.is_some_and(|row| row.count > 0) {
            return Ok(Err(Unchanged::NotEmpty));
        }
        let id = made!(insert_user(&transaction, user, change).await?);
        if let Some((application, token)) = token {
            let application = applications::insert(&transaction, id, application).await?;
            applications::insert_token(&transaction, application, id, token, change).await?;
        }
        transaction.commit().await?;
        Ok(Ok(id))
    }

    /// Marks a person or an organisation as deleted: its name is free, nobody finds it, and its content is removed in time.
    pub async fn delete_account(
        &self,
        username: &str,
        organization: bool,
        change: &Change<'_>,
    ) -> Changed<()> {
        let tables = self.referring_tables().await?;
        contended(async || {
            const OPERATION: &str = "delete an account";
            let sort = if organization {
                Sort::Organization
            } else {
                Sort::Person
            };
            let transaction = self.begin(OPERATION).await?;
            let id = made!(find(&transaction, sort, username).await?);
            let (kind, member) = if organization {
                ("org_delete", "namespace")
            } else {
                ("user_delete", "username")
            };
            // Before the name is gone: whoever deletes themselves is in the log.
            change
                .log(&transaction, kind, id, &[(member, json!(username))])
                .await?;
            let mark = MarkDeleted {
                subject: id,
                ids: change.ids,
                available_at: change.now,
                now: change.now,
            };
            if !mark_deleted(&transaction, &tables, &mark).await? {
                return Ok(Err(Unchanged::unknown(sort.name(), username)));
            }
            transaction.commit().await?;
            Ok(Ok(()))
        })
        .await
    }

    /// Gives an organisation another name, and its robots with it.
    pub async fn rename_organization(
        &self,
        name: &str,
        new_name: &str,
        change: &Change<'_>,
    ) -> Changed<()> {
        contended(|| self.rename_organization_once(name, new_name, change)).await
    }

    async fn rename_organization_once(
        &self,
        name: &str,
        new_name: &str,
        change: &Change<'_>,
    ) -> Changed<()> {
        const OPERATION: &str = "rename an organization";
        let transaction = self.begin(OPERATION).await?;
        let id = made!(find(&transaction, Sort::Organization, name).await?);
        made!(free(&transaction, new_name, None).await?);
        transaction
            .execute(
                OPERATION,
                r#"UPDATE "user" SET username = $2 || substr(username, length($1) + 1)
                   WHERE robot AND @prefix(username, $3)"#,
                params![name, new_name, format!("{name}+")],
            )
            .await?;
        transaction
            .execute(
                OPERATION,
                r#"UPDATE "user" SET username = $2 WHERE id = $1"#,
                params![id.0, new_name],
            )
            .await?;
        change
            .log(
                &transaction,
                "org_change_name",
                id,
                &[
                    ("old_name", json!(name)),
                    ("new_name", json!(new_name)),
                    ("superuser", json!(change.actor.username())),
                ],
            )
            .await?;
        transaction.commit().await?;
        Ok(Ok(()))
    }

    /// Makes `owner` an administrator of an organisation. A person's namespace becomes an organisation, which nobody signs in as any more.
    pub async fn take_ownership(
        &self,
        namespace: &str,
        owner: &str,
        change: &Change<'_>,
    ) -> Changed<()> {
        contended(|| self.take_ownership_once(namespace, owner, change)).await
    }

    async fn take_ownership_once(
        &self,
        namespace: &str,
        owner: &str,
        change: &Change<'_>,
    ) -> Changed<()> {
        const OPERATION: &str = "take ownership of a namespace";
        let transaction = self.begin(OPERATION).await?;
        let found: Option<FoundRow> = transaction
            .row(
                OPERATION,
                r#"SELECT id, organization FROM "user" WHERE username = $1 AND NOT robot @lock"#,
                params![namespace],
            )
            .await?;
        let Some(found) = found else {
            return Ok(Err(Unchanged::unknown("namespace", namespace)));
        };
        let id = UserId(found.id);
        let owner_id = made!(find(&transaction, Sort::Person, owner).await?);
        transaction.lock(Lock::teams_of(id)).await?;
        if !found.organization {
            // What proved the person proves nobody any more.
            for (condition, table) in [
                ("user_id", "federatedlogin"),
                ("user_id", "appspecificauthtoken"),
                ("authorized_user_id", "oauthaccesstoken"),
                ("user_id", "repositorypermission"),
            ] {
                transaction
                    .execute(
                        OPERATION,
                        &format!("DELETE FROM {table} WHERE {condition} = $1"),
                        params![id.0],
                    )
                    .await?;
            }
            transaction
                .execute(
                    OPERATION,
                    r#"UPDATE "user" SET organization = true, password_hash = NULL, uuid = $2 WHERE id = $1"#,
                    params![id.0, change.ids.uuid().to_string()],
                )
                .await?;
        }
        crate::teams::add_admin(&transaction, id, owner_id).await?;
        change
            .log(
                &transaction,
                "take_ownership",
                owner_id,
                &[
                    ("entity_id", json!(id.0)),
                    ("namespace", json!(namespace)),
                    ("was_user", json!(!found.organization)),
                    ("superuser", json!(change.actor.username())),
                ],
            )
            .await?;
        transaction.commit().await?;
        Ok(Ok(()))
    }
}

async fn insert_user(
    transaction: &Transaction,
    user: &NewUser<'_>,
    change: &Change<'_>,
) -> Changed<UserId> {
    made!(free(transaction, user.username, user.email).await?);
    let id = insert_account(
        transaction,
        &NewAccount {
            username: user.username,
            email: user.email,
            password_hash: Some(user.password_hash),
            organization: false,
            tag_window_s: user.tag_window_s,
        },
        change,
    )
    .await?;
    let mut members = vec![
        ("email", json!(user.email)),
        ("username", json!(user.username)),
    ];
    if let Some(actor) = change.actor.username() {
        members.push(("superuser", json!(actor)));
    }
    change.log(transaction, "user_create", id, &members).await?;
    Ok(Ok(id))
}

/// A row of `user` to be made.
pub(crate) struct NewAccount<'a> {
    pub(crate) username: &'a str,
    pub(crate) email: Option<&'a str>,
    pub(crate) password_hash: Option<&'a str>,
    pub(crate) organization: bool,
    pub(crate) tag_window_s: i64,
}

pub(crate) async fn insert_account(
    transaction: &Transaction,
    account: &NewAccount<'_>,
    change: &Change<'_>,
) -> Result<UserId, MetadataError> {
    let now: NaiveDateTime = change.now.naive_utc();
    let row: Option<Identified> = transaction
        .row(
            CREATE,
            r#"INSERT INTO "user" (uuid, username, password_hash, email, verified, organization, robot, invoice_email,
                                   last_invalid_login, creation_date, removed_tag_expiration_s)
               VALUES ($1, $2, $3, $4, $5, $6, false, false, $7, $7, $8) RETURNING id"#,
            params![
                change.ids.uuid().to_string(),
                account.username,
                account.password_hash,
                account
                    .email
                    .map_or_else(|| change.ids.uuid().to_string(), ToOwned::to_owned),
                !account.organization,
                account.organization,
                now,
                account.tag_window_s,
            ],
        )
        .await?;
    row.map(|row| UserId(row.id)).ok_or_else(|| {
        MetadataError::corrupt("user", "id", account.username, "a row without an id")
    })
}

/// Whether a name may be given to a new account, and an address to a new person's.
pub(crate) async fn free(
    transaction: &Transaction,
    username: &str,
    email: Option<&str>,
) -> Changed<()> {
    let taken: Option<TakenRow> = transaction
        .row(
            CREATE,
            // The name of a namespace whose content is still being removed is not free yet, as in Quay.
            r#"SELECT EXISTS (SELECT 1 FROM "user" u WHERE u.username = $1)
                      OR EXISTS (SELECT 1 FROM deletednamespace d WHERE d.original_username = $1) AS name_taken,
                      EXISTS (SELECT 1 FROM "user" u WHERE u.email = $2 AND NOT u.organization) AS email_taken"#,
            params![username, email.unwrap_or_default()],
        )
        .await?;
    Ok(match taken {
        Some(row) if row.name_taken => Err(Unchanged::taken("a user or an organization", username)),
        Some(row) if row.email_taken && email.is_some() => Err(Unchanged::taken(
            "an account with the e-mail address",
            email.unwrap_or_default(),
        )),
        _ => Ok(()),
    })
}
