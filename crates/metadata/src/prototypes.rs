//! Prototypes: the roles that people, robots and teams get in every new repository of an organisation.

use serde_json::{Value, json};

use crate::changes::{Change, Changed, Sort, Unchanged, find, made};
use crate::database::{Connection, Database, Identified, Transaction, contended, json_ids, params};
use crate::error::MetadataError;
use crate::ids::UserId;
use crate::permissions::RepositoryRole;
use crate::row::FromRow;
use crate::teams::{role_column, role_of_column};
use crate::users::{ACCOUNT_ROW, AccountRecord, AccountRow};

/// Who gets a role.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Delegate<Account = String> {
    /// A person or a robot.
    User(Account),
    /// The team of this name.
    Team(String),
}

/// A prototype.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PrototypeRecord {
    /// Its identifier.
    pub uuid: String,
    /// Whose new repositories it is for, and whether they are in the organisation; none: everybody's.
    pub maker: Option<(AccountRecord, bool)>,
    /// Who gets the role; of an account, whether it is in the organisation.
    pub delegate: Delegate<(AccountRecord, bool)>,
    /// The role.
    pub role: RepositoryRole,
}

#[derive(FromRow)]
struct PrototypeRow {
    uuid: String,
    maker: Option<i32>,
    user_id: Option<i32>,
    team: Option<String>,
    role: String,
}

const CHANGE: &str = "change a default permission";

impl Database {
    /// The prototypes of an organisation, oldest first. At most `limit`.
    pub async fn prototypes(
        &self,
        organization: UserId,
        limit: u32,
    ) -> Result<Vec<PrototypeRecord>, MetadataError> {
        const OPERATION: &str = "list default permissions";
        let rows: Vec<PrototypeRow> = self
            .reader()
            .rows(
                OPERATION,
                "SELECT p.uuid, p.activating_user_id AS maker, p.delegate_user_id AS user_id, t.name AS team, o.name AS role
                 FROM permissionprototype p JOIN role o ON o.id = p.role_id LEFT JOIN team t ON t.id = p.delegate_team_id
                 WHERE p.org_id = $1 ORDER BY p.id LIMIT $2",
                params![organization.0, i64::from(limit)],
            )
            .await?;
        let ids = json_ids(
            rows.iter()
                .flat_map(|row| [row.maker, row.user_id])
                .flatten(),
        );
        let accounts: Vec<AccountRow> = self
            .reader()
            .rows(
                OPERATION,
                &format!(r#"SELECT {ACCOUNT_ROW} FROM "user" u WHERE u.id IN @ids($1)"#),
                params![ids],
            )
            .await?;
        let wanted = rows.iter().flat_map(|row| [row.maker, row.user_id]);
        let wanted: Vec<UserId> = wanted.flatten().map(UserId).collect();
        let members = self.members_among(organization, wanted).await?;
        let accounts: Vec<AccountRecord> = accounts.into_iter().map(AccountRecord::from).collect();
        let account = |id: i32| {
            let account = accounts.iter().find(|account| account.id.0 == id)?;
            let inside = account.robot || members.contains(&UserId(id));
            Some((account.clone(), inside))
        };
        Ok(rows
            .into_iter()
            .filter_map(|row| {
                let delegate = match (row.user_id, row.team) {
                    (Some(user), _) => Delegate::User(account(user)?),
                    (None, Some(team)) => Delegate::Team(team),
                    (None, None) => return None,
                };
                Some(PrototypeRecord {
                    uuid: row.uuid,
                    maker: row.maker.and_then(account),
                    delegate,
                    role: role_of_column(&row.role),
                })
            })
            .collect())
    }

    /// Makes a prototype and gives its identifier.
    pub async fn create_prototype(
        &self,
        organization: &str,
        maker: Option<&str>,
        delegate: &Delegate,
        role: RepositoryRole,
        change: &Change<'_>,
    ) -> Changed<String> {
        contended(async || {
            let transaction = self.begin(CHANGE).await?;
            let id = made!(find(&transaction, Sort::Organization, organization).await?);
            let maker_id = match maker {
                None => None,
                Some(name) => Some(made!(find(&transaction, Sort::Actor, name).await?)),
            };
            let (user, team) = match delegate {
                Delegate::User(name) => (
                    Some(made!(find(&transaction, Sort::Actor, name).await?).0),
                    None,
                ),
                Delegate::Team(name) => {
                    let found: Option<Identified> = transaction
                        .row(
                            CHANGE,
                            "SELECT id FROM team WHERE organization_id = $1 AND name = $2",
                            params![id.0, name.as_str()],
                        )
                        .await?;
                    let Some(found) = found else {
                        return Ok(Err(Unchanged::unknown("team", name)));
                    };
                    (None, Some(found.id))
                }
            };
            let uuid = change.ids.uuid().to_string();
            transaction
                .execute(
                    CHANGE,
                    "INSERT INTO permissionprototype (org_id, uuid, activating_user_id, delegate_user_id, delegate_team_id, role_id)
                     SELECT $1, $2, $3, $4, $5, o.id FROM role o WHERE o.name = $6",
                    params![
                        id.0,
                        uuid.as_str(),
                        maker_id.map(|id| id.0),
                        user,
                        team,
                        role_column(role),
                    ],
                )
                .await?;
            log(
                &transaction,
                (id, "create_prototype_permission"),
                &uuid,
                change,
                vec![],
            )
            .await?;
            transaction.commit().await?;
            Ok(Ok(uuid))
        })
        .await
    }

    /// Gives a prototype another role.
    pub async fn change_prototype(
        &self,
        organization: &str,
        uuid: &str,
        role: RepositoryRole,
        change: &Change<'_>,
    ) -> Changed<()> {
        contended(async || {
            let transaction = self.begin(CHANGE).await?;
            let id = made!(find(&transaction, Sort::Organization, organization).await?);
            let Some(before) = find_prototype(&transaction, id, uuid).await? else {
                return Ok(Err(Unchanged::unknown("default permission", uuid)));
            };
            transaction
                .execute(
                    CHANGE,
                    "UPDATE permissionprototype SET role_id = (SELECT o.id FROM role o WHERE o.name = $3)
                     WHERE org_id = $1 AND uuid = $2",
                    params![id.0, uuid, role_column(role)],
                )
                .await?;
            let original = vec![("original_role", json!(before.role))];
            log(
                &transaction,
                (id, "modify_prototype_permission"),
                uuid,
                change,
                original,
            )
            .await?;
            transaction.commit().await?;
            Ok(Ok(()))
        })
        .await
    }

    /// Removes a prototype. Repositories that are there keep what they have.
    pub async fn delete_prototype(
        &self,
        organization: &str,
        uuid: &str,
        change: &Change<'_>,
    ) -> Changed<()> {
        contended(async || {
            let transaction = self.begin(CHANGE).await?;
            let id = made!(find(&transaction, Sort::Organization, organization).await?);
            if find_prototype(&transaction, id, uuid).await?.is_none() {
                return Ok(Err(Unchanged::unknown("default permission", uuid)));
            }
            log(
                &transaction,
                (id, "delete_prototype_permission"),
                uuid,
                change,
                vec![],
            )
            .await?;
            transaction
                .execute(
                    CHANGE,
                    "DELETE FROM permissionprototype WHERE org_id = $1 AND uuid = $2",
                    params![id.0, uuid],
                )
                .await?;
            transaction.commit().await?;
            Ok(Ok(()))
        })
        .await
    }
}

#[derive(FromRow)]
struct ToldRow {
    maker: Option<String>,
    delegate: Option<String>,
    team: Option<String>,
    role: String,
}

async fn find_prototype(
    transaction: &Transaction,
    organization: UserId,
    uuid: &str,
) -> Result<Option<ToldRow>, MetadataError> {
    transaction
        .row(
            CHANGE,
            r#"SELECT a.username AS maker, d.username AS delegate, t.name AS team, o.name AS role
               FROM permissionprototype p JOIN role o ON o.id = p.role_id
               LEFT JOIN "user" a ON a.id = p.activating_user_id LEFT JOIN "user" d ON d.id = p.delegate_user_id
               LEFT JOIN team t ON t.id = p.delegate_team_id WHERE p.org_id = $1 AND p.uuid = $2"#,
            params![organization.0, uuid],
        )
        .await
}

async fn log(
    transaction: &Transaction,
    (organization, kind): (UserId, &'static str),
    uuid: &str,
    change: &Change<'_>,
    more: Vec<(&'static str, Value)>,
) -> Result<(), MetadataError> {
    let Some(told) = find_prototype(transaction, organization, uuid).await? else {
        return Ok(());
    };
    let mut members = vec![
        ("prototypeid", json!(uuid)),
        ("username", json!(change.actor.username())),
        ("activating_username", json!(told.maker)),
        ("role", json!(told.role)),
    ];
    members.extend(more);
    if let Some(delegate) = told.delegate {
        members.push(("delegate_user", json!(delegate)));
    } else if let Some(team) = told.team {
        members.push(("delegate_team", json!(team)));
    }
    change.log(transaction, kind, organization, &members).await
}
