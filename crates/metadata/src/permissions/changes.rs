//! The permissions of a repository as its administrators see and change them: of users and robots, and of teams.

use roadstead_runtime::Timestamp;
use serde_json::{Value, json};

use super::RepositoryRole;
use crate::audit::{self, Actor, LogEntry};
use crate::database::{Connection, Database, Identified, Named, Transaction, contended, params};
use crate::error::MetadataError;
use crate::ids::RepositoryId;
use crate::locations::limit_column;
use crate::repositories::Repository;
use crate::row::FromRow;

/// Who has a permission.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grantee<'a> {
    /// A user or a robot, by name.
    Account(&'a str),
    /// A team of the repository's organisation, by name.
    Team(&'a str),
}

/// A permission of a user or a robot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountPermission {
    /// Whose.
    pub username: String,
    /// The account's address.
    pub email: String,
    /// Whether that is a robot.
    pub robot: bool,
    /// Whether it belongs to the repository's organisation, as a robot or by a team. None: the namespace is a user's.
    pub in_organization: Option<bool>,
    /// What it may do.
    pub role: RepositoryRole,
}

/// A permission of a team.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TeamPermission {
    /// The team's name.
    pub team: String,
    /// What its members may do.
    pub role: RepositoryRole,
}

/// A permission to be given, changed or taken.
#[derive(Clone, Copy, Debug)]
pub struct ChangePermission<'a> {
    /// The repository.
    pub repository: &'a Repository,
    /// Whose permission.
    pub grantee: Grantee<'a>,
    /// What it allows from now on; none: it is taken.
    pub role: Option<RepositoryRole>,
    /// Who changes it, for the log.
    pub actor: &'a Actor,
    /// Now.
    pub now: Timestamp,
}

/// What became of [`Database::change_permission`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PermissionChange {
    /// It is as was asked for.
    Changed,
    /// There is no such user, robot or team. Nothing was changed.
    NoGrantee,
    /// There was no permission to be taken.
    NoPermission,
}

impl RepositoryRole {
    /// Quay's name of it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Admin => "admin",
        }
    }

    fn named(name: &str) -> Result<Self, MetadataError> {
        match name {
            "read" => Ok(Self::Read),
            "write" => Ok(Self::Write),
            "admin" => Ok(Self::Admin),
            other => Err(MetadataError::corrupt(
                "role",
                "name",
                other,
                "no such role is known",
            )),
        }
    }
}

#[derive(Debug, FromRow)]
struct AccountRow {
    username: String,
    email: String,
    robot: bool,
    in_organization: bool,
    organization: bool,
    role: String,
}

#[derive(Debug, FromRow)]
struct TeamRow {
    team: String,
    role: String,
}

impl Database {
    /// The permissions of users and robots in a repository, by name; of one, or at most `limit`.
    pub async fn account_permissions(
        &self,
        repository: RepositoryId,
        username: Option<&str>,
        limit: u32,
    ) -> Result<Vec<AccountPermission>, MetadataError> {
        let rows: Vec<AccountRow> = self
            .reader()
            .rows(
                "list the permissions of accounts",
                r#"SELECT u.username, u.email, u.robot, ro.name AS role, o.organization,
                          (u.robot OR EXISTS (SELECT 1 FROM teammember tm JOIN team t ON t.id = tm.team_id
                                              WHERE tm.user_id = u.id AND t.organization_id = o.id)) AS in_organization
                   FROM repositorypermission p
                   JOIN "user" u ON u.id = p.user_id
                   JOIN role ro ON ro.id = p.role_id
                   JOIN repository r ON r.id = p.repository_id
                   JOIN "user" o ON o.id = r.namespace_user_id
                   WHERE p.repository_id = $1 AND u.username = COALESCE($2, u.username)
                   ORDER BY u.username LIMIT $3"#,
                params![repository.0, username, limit_column(limit)],
            )
            .await?;
        rows.into_iter()
            .map(|row| {
                Ok(AccountPermission {
                    role: RepositoryRole::named(&row.role)?,
                    in_organization: row.organization.then_some(row.in_organization),
                    username: row.username,
                    email: row.email,
                    robot: row.robot,
                })
            })
            .collect()
    }

    /// The permissions of teams in a repository, by name; of one, or at most `limit`.
    pub async fn team_permissions(
        &self,
        repository: RepositoryId,
        team: Option<&str>,
        limit: u32,
    ) -> Result<Vec<TeamPermission>, MetadataError> {
        let rows: Vec<TeamRow> = self
            .reader()
            .rows(
                "list the permissions of teams",
                "SELECT t.name AS team, ro.name AS role FROM repositorypermission p
                 JOIN team t ON t.id = p.team_id JOIN role ro ON ro.id = p.role_id
                 WHERE p.repository_id = $1 AND t.name = COALESCE($2, t.name)
                 ORDER BY t.name LIMIT $3",
                params![repository.0, team, limit_column(limit)],
            )
            .await?;
        rows.into_iter()
            .map(|row| {
                Ok(TeamPermission {
                    role: RepositoryRole::named(&row.role)?,
                    team: row.team,
                })
            })
            .collect()
    }

    /// The roles that an account has in a repository, by its own permission and by those of its teams, each once; at most as many as there are.
    pub async fn transitive_roles(
        &self,
        repository: RepositoryId,
        username: &str,
    ) -> Result<Vec<RepositoryRole>, MetadataError> {
        let rows: Vec<Named> = self
            .reader()
            .rows(
                "list the roles of an account",
                r#"SELECT DISTINCT ro.name FROM "user" u
                   JOIN repositorypermission p ON p.repository_id = $1
                    AND (p.user_id = u.id OR p.team_id IN (SELECT tm.team_id FROM teammember tm WHERE tm.user_id = u.id))
                   JOIN role ro ON ro.id = p.role_id
                   WHERE u.username = $2"#,
                params![repository.0, username],
            )
            .await?;
        rows.iter()
            .map(|row| RepositoryRole::named(&row.name))
            .collect()
    }

    /// Gives, changes or takes a permission, with an entry in the log. An organisation has none: its teams have.
    pub async fn change_permission(
        &self,
        change: &ChangePermission<'_>,
    ) -> Result<PermissionChange, MetadataError> {
        contended(|| self.change_permission_once(change)).await
    }

    async fn change_permission_once(
        &self,
        change: &ChangePermission<'_>,
    ) -> Result<PermissionChange, MetadataError> {
        const OPERATION: &str = "change a permission";
        let repository = change.repository;
        let transaction = self.begin(OPERATION).await?;
        let (column, find, values) = match change.grantee {
            Grantee::Account(name) => (
                "user_id",
                r#"SELECT id FROM "user" WHERE username = $1 AND NOT organization"#,
                params![name],
            ),
            Grantee::Team(name) => (
                "team_id",
                "SELECT id FROM team WHERE name = $1 AND organization_id = $2",
                params![name, repository.namespace_id.0],
            ),
        };
        let grantee: Option<Identified> = transaction.row(OPERATION, find, values).await?;
        let Some(grantee) = grantee else {
            return Ok(PermissionChange::NoGrantee);
        };
        if let Some(role) = change.role {
            transaction
                .execute(
                    OPERATION,
                    &format!(
                        "INSERT INTO repositorypermission ({column}, repository_id, role_id)
                         SELECT $1, $2, id FROM role WHERE name = $3
                         ON CONFLICT ({column}, repository_id) DO UPDATE SET role_id = excluded.role_id"
                    ),
                    params![grantee.id, repository.id.0, role.name()],
                )
                .await?;
        } else {
            let taken = transaction
                .execute(
                    OPERATION,
                    &format!(
                        "DELETE FROM repositorypermission WHERE {column} = $1 AND repository_id = $2"
                    ),
                    params![grantee.id, repository.id.0],
                )
                .await?;
            if taken == 0 {
                return Ok(PermissionChange::NoPermission);
            }
        }
        log(&transaction, change).await?;
        transaction.commit().await?;
        Ok(PermissionChange::Changed)
    }
}

/// Writes the change as Quay does: `username` or `team` is whom it is about.
async fn log(
    transaction: &Transaction,
    change: &ChangePermission<'_>,
) -> Result<(), MetadataError> {
    let path = &change.repository.path;
    let about = match change.grantee {
        Grantee::Account(name) => ("username", json!(name)),
        Grantee::Team(name) => ("team", json!(name)),
    };
    let mut members: Vec<(&str, Value)> = vec![
        about,
        ("repo", json!(path.name)),
        ("namespace", json!(path.namespace)),
    ];
    let kind = match change.role {
        Some(role) => {
            members.push(("role", json!(role.name())));
            "change_repo_permission"
        }
        None => "delete_repo_permission",
    };
    let entry = LogEntry::change(
        change.actor,
        kind,
        change.repository.namespace_id,
        Some(change.repository.id),
        &members,
        change.now,
    );
    audit::write(transaction, &[entry]).await
}
