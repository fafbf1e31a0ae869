//! Robots as their owners see and change them.

use chrono::NaiveDateTime;
use roadstead_runtime::Timestamp;
use serde_json::{Value, json};

use crate::changes::{Change, Changed, Sort, Unchanged, find, made};
use crate::database::{
    Connection, Counted, Database, Identified, Transaction, contended, json_ids, params,
};
use crate::error::MetadataError;
use crate::garbage::remove_accounts;
use crate::ids::UserId;
use crate::row::FromRow;
use crate::teams::{GrantedRepository, GrantedRow};

/// A robot.
#[derive(Clone, PartialEq, Eq)]
pub struct RobotRecord {
    /// The id of its account.
    pub id: UserId,
    /// Its name, `owner+short`.
    pub username: String,
    /// Its token, encrypted.
    pub token: Option<String>,
    /// What it is for.
    pub description: String,
    /// What its maker noted, a JSON object as it is stored.
    pub metadata: String,
    /// When it was made.
    pub created: Option<Timestamp>,
    /// When it was used last, as far as that has been noted.
    pub last_used: Option<Timestamp>,
}

/// Without the token.
impl std::fmt::Debug for RobotRecord {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("RobotRecord")
            .field("username", &self.username)
            .finish_non_exhaustive()
    }
}

/// A robot to be made.
#[derive(Clone, Copy)]
pub struct NewRobot<'a> {
    /// Whose it is.
    pub owner: &'a str,
    /// Its name without the owner's.
    pub short: &'a str,
    /// Its token, encrypted.
    pub token: &'a str,
    /// What it is for.
    pub description: &'a str,
    /// What is noted of it, an object.
    pub metadata: &'a Value,
}

/// Without the token.
impl std::fmt::Debug for NewRobot<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("NewRobot")
            .field("owner", &self.owner)
            .field("short", &self.short)
            .finish_non_exhaustive()
    }
}

/// A robot, and a team that it is in or a repository that it has a role in.
#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub struct RobotPlace {
    /// The robot's name.
    pub robot: String,
    /// The name of a team.
    pub team: Option<String>,
    /// The name of a repository.
    pub repository: Option<String>,
}

#[derive(FromRow)]
struct RobotRow {
    id: i32,
    username: String,
    token: Option<String>,
    description: Option<String>,
    metadata: Option<String>,
    creation_date: Option<NaiveDateTime>,
    last_accessed: Option<NaiveDateTime>,
}

impl From<RobotRow> for RobotRecord {
    fn from(row: RobotRow) -> Self {
        Self {
            id: UserId(row.id),
            username: row.username,
            token: row.token,
            description: row.description.unwrap_or_default(),
            metadata: row.metadata.unwrap_or_else(|| "{}".to_owned()),
            created: row.creation_date.map(|time| time.and_utc()),
            last_used: row.last_accessed.map(|time| time.and_utc()),
        }
    }
}

const ROBOT: &str = r#"SELECT u.id, u.username, t.token, m.description, m.unstructured_json AS metadata, u.creation_date, u.last_accessed
     FROM "user" u LEFT JOIN robotaccounttoken t ON t.robot_account_id = u.id
     LEFT JOIN robotaccountmetadata m ON m.robot_account_id = u.id"#;

impl Database {
    /// The robots of a namespace, by name. At most `limit`.
    pub async fn robots(&self, owner: &str, limit: u32) -> Result<Vec<RobotRecord>, MetadataError> {
        let rows: Vec<RobotRow> = self
            .reader()
            .rows(
                "list robots",
                &format!(
                    "{ROBOT} WHERE u.robot AND @prefix(u.username, $1) ORDER BY @bytewise(u.username) LIMIT $2"
                ),
                params![format!("{owner}+"), i64::from(limit)],
            )
            .await?;
        Ok(rows.into_iter().map(RobotRecord::from).collect())
    }

    /// One robot of a namespace.
    pub async fn robot(
        &self,
        owner: &str,
        short: &str,
    ) -> Result<Option<RobotRecord>, MetadataError> {
        let row: Option<RobotRow> = self
            .reader()
            .row(
                "look up a robot",
                &format!("{ROBOT} WHERE u.robot AND u.username = $1"),
                params![format!("{owner}+{short}")],
            )
            .await?;
        Ok(row.map(RobotRecord::from))
    }

    /// In which teams and repositories these robots are, by name. At most `limit` of each.
    pub async fn robot_places(
        &self,
        robots: impl IntoIterator<Item = UserId> + Send,
        limit: u32,
    ) -> Result<Vec<RobotPlace>, MetadataError> {
        const OPERATION: &str = "list where robots are";
        let ids = json_ids(robots.into_iter().map(|id| id.0));
        let mut places: Vec<RobotPlace> = self
            .reader()
            .rows(
                OPERATION,
                r#"SELECT u.username AS robot, t.name AS team, CAST(NULL AS varchar) AS repository
                   FROM teammember m JOIN "user" u ON u.id = m.user_id JOIN team t ON t.id = m.team_id
                   WHERE m.user_id IN @ids($1) ORDER BY m.user_id, t.id LIMIT $2"#,
                params![ids.as_str(), i64::from(limit)],
            )
            .await?;
        let repositories: Vec<RobotPlace> = self
            .reader()
            .rows(
                OPERATION,
                r#"SELECT u.username AS robot, CAST(NULL AS varchar) AS team, r.name AS repository
                   FROM repositorypermission p JOIN "user" u ON u.id = p.user_id JOIN repository r ON r.id = p.repository_id
                   WHERE p.user_id IN @ids($1) AND r.state <> 3 ORDER BY p.user_id, @bytewise(r.name) LIMIT $2"#,
                params![ids, i64::from(limit)],
            )
            .await?;
        places.extend(repositories);
        Ok(places)
    }

    /// In which repositories a robot has which role of its own, by name. At most `limit`.
    pub async fn robot_repositories(
        &self,
        robot: UserId,
        limit: u32,
    ) -> Result<Vec<GrantedRepository>, MetadataError> {
        let rows: Vec<GrantedRow> = self
            .reader()
            .rows(
                "list the repositories of a robot",
                "SELECT r.name, v.name = 'public' AS public, o.name AS role
                 FROM repositorypermission p JOIN repository r ON r.id = p.repository_id
                 JOIN visibility v ON v.id = r.visibility_id JOIN role o ON o.id = p.role_id
                 WHERE p.user_id = $1 AND r.state <> 3 ORDER BY @bytewise(r.name) LIMIT $2",
                params![robot.0, i64::from(limit)],
            )
            .await?;
        Ok(rows.into_iter().map(GrantedRepository::from).collect())
    }

    /// Makes a robot.
    pub async fn create_robot(&self, robot: &NewRobot<'_>, change: &Change<'_>) -> Changed<()> {
        contended(|| self.create_robot_once(robot, change)).await
    }

    async fn create_robot_once(&self, robot: &NewRobot<'_>, change: &Change<'_>) -> Changed<()> {
        const OPERATION: &str = "create a robot";
        let username = format!("{}+{}", robot.owner, robot.short);
        let transaction = self.begin(OPERATION).await?;
        let namespace = made!(find(&transaction, Sort::Namespace, robot.owner).await?);
        if find_robot(&transaction, &username).await?.is_some() {
            return Ok(Err(Unchanged::taken("a robot", username)));
        }
        let made: Option<Identified> = transaction
            .row(
                OPERATION,
                r#"INSERT INTO "user" (uuid, username, email, verified, organization, robot, invoice_email, last_invalid_login, creation_date)
                   VALUES ($1, $2, $3, false, false, true, false, $4, $4) RETURNING id"#,
                params![
                    change.ids.uuid().to_string(),
                    username.as_str(),
                    change.ids.uuid().to_string(),
                    change.now.naive_utc(),
                ],
            )
            .await?;
        let id = made.map_or(0, |row| row.id);
        set_token(&transaction, id, robot.token).await?;
        transaction
            .execute(
                OPERATION,
                "INSERT INTO robotaccountmetadata (robot_account_id, description, unstructured_json) VALUES ($1, $2, $3)",
                params![id, robot.description, robot.metadata.to_string()],
            )
            .await?;
        transaction
            .execute(
                OPERATION,
                "INSERT INTO federatedlogin (user_id, service_id, service_ident, metadata_json)
                 SELECT $1, id, $2, '{}' FROM loginservice WHERE name = 'quayrobot'",
                params![id, format!("robot:{id}")],
            )
            .await?;
        change
            .log(
                &transaction,
                "create_robot",
                namespace,
                &[
                    ("robot", json!(robot.short)),
                    ("description", json!(robot.description)),
                    ("unstructured_metadata", robot.metadata.clone()),
                ],
            )
            .await?;
        transaction.commit().await?;
        Ok(Ok(()))
    }

    /// Gives a robot another token. What it had, and what was handed out for it, ends.
    pub async fn regenerate_robot(
        &self,
        owner: &str,
        short: &str,
        token: &str,
        change: &Change<'_>,
    ) -> Changed<()> {
        contended(async || {
            const OPERATION: &str = "give a robot another token";
            let username = format!("{owner}+{short}");
            let transaction = self.begin(OPERATION).await?;
            let namespace = made!(find(&transaction, Sort::Namespace, owner).await?);
            let Some(robot) = find_robot(&transaction, &username).await? else {
                return Ok(Err(Unchanged::unknown("robot", username)));
            };
            transaction
                .execute(
                    OPERATION,
                    r#"UPDATE "user" SET uuid = $2, email = $3 WHERE id = $1"#,
                    params![
                        robot.id,
                        change.ids.uuid().to_string(),
                        change.ids.uuid().to_string(),
                    ],
                )
                .await?;
            set_token(&transaction, robot.id, token).await?;
            change
                .log(
                    &transaction,
                    "regenerate_robot_token",
                    namespace,
                    &[("robot", json!(short))],
                )
                .await?;
            transaction.commit().await?;
            Ok(Ok(()))
        })
        .await
    }

    /// Removes a robot, with everything that refers to it.
    pub async fn delete_robot(&self, owner: &str, short: &str, change: &Change<'_>) -> Changed<()> {
        let tables = self.referring_tables().await?;
        contended(async || {
            const OPERATION: &str = "delete a robot";
            let username = format!("{owner}+{short}");
            let transaction = self.begin(OPERATION).await?;
            let namespace = made!(find(&transaction, Sort::Namespace, owner).await?);
            let Some(robot) = find_robot(&transaction, &username).await? else {
                return Ok(Err(Unchanged::unknown("robot", username)));
            };
            let mirrors: Option<Counted> = transaction
                .row(
                    OPERATION,
                    "SELECT (SELECT count(*) FROM repomirrorconfig WHERE internal_robot_id = $1)
                          + (SELECT count(*) FROM orgmirrorconfig WHERE internal_robot_id = $1) AS count",
                    params![robot.id],
                )
                .await?;
            if mirrors.is_some_and(|row| row.count > 0) {
                return Ok(Err(Unchanged::UsedByMirror));
            }
            remove_accounts(
                &transaction,
                &tables,
                &json_ids([robot.id]),
            )
            .await?;
            change
                .log(
                    &transaction,
                    "delete_robot",
                    namespace,
                    &[("robot", json!(short))],
                )
                .await?;
            transaction.commit().await?;
            Ok(Ok(()))
        })
        .await
    }
}

async fn find_robot(
    transaction: &Transaction,
    username: &str,
) -> Result<Option<Identified>, MetadataError> {
    transaction
        .row(
            "look up a robot",
            r#"SELECT id FROM "user" WHERE username = $1 AND robot @lock"#,
            params![username],
        )
        .await
}

async fn set_token(
    transaction: &Transaction,
    robot: i32,
    token: &str,
) -> Result<(), MetadataError> {
    transaction
        .execute(
            "store a robot's token",
            "INSERT INTO robotaccounttoken (robot_account_id, token, fully_migrated) VALUES ($1, $2, true)
             ON CONFLICT (robot_account_id) DO UPDATE SET token = excluded.token, fully_migrated = true",
            params![robot, token],
        )
        .await?;
    Ok(())
}
