//! Organisations and their teams: who is in them and what they may do.

use serde_json::json;

use crate::changes::{Change, Changed, Sort, Unchanged, find, made};
use crate::database::{
    Connection, Counted, Database, Identified, Lock, Transaction, contended, json_ids, params,
};
use crate::error::MetadataError;
use crate::garbage::TEAM;
use crate::ids::{TeamId, UserId};
use crate::permissions::{RepositoryRole, TeamRole};
use crate::row::FromRow;
use crate::users::{ACCOUNT_ROW, AccountRecord, AccountRow, NewAccount, free, insert_account};

/// A team.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TeamRecord {
    /// Its id.
    pub id: TeamId,
    /// Its name.
    pub name: String,
    /// What it is for.
    pub description: String,
    /// What its members may do in the organisation.
    pub role: TeamRole,
    /// How many repositories it has a role in.
    pub repositories: i64,
    /// How many members it has.
    pub members: i64,
    /// Whether its members are those of a group elsewhere.
    pub synced: bool,
    /// Whether the one who asks is in it.
    pub includes_viewer: bool,
}

/// A repository in which a robot or a team has a role.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GrantedRepository {
    /// Its name, without the namespace.
    pub name: String,
    /// Whether everybody may pull from it.
    pub public: bool,
    /// The role.
    pub role: RepositoryRole,
}

/// Somebody, and one team or one repository that they have to do with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Belonging {
    /// Who.
    pub account: AccountRecord,
    /// The name of a team that they are in.
    pub team: Option<String>,
    /// The name of a repository that they have a role in of their own.
    pub repository: Option<String>,
}

/// An organisation to be made.
#[derive(Clone, Copy, Debug)]
pub struct NewOrganization<'a> {
    /// The name.
    pub name: &'a str,
    /// The address, if there is one.
    pub email: Option<&'a str>,
    /// Who administers it first.
    pub owner: &'a str,
    /// For how many seconds the namespace keeps deleted tags.
    pub tag_window_s: i64,
}

/// The team of those who administer an organisation, in Quay's words.
const OWNERS: &str = "owners";

impl TeamRole {
    /// The name in Quay's `teamrole`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Member => "member",
            Self::Creator => "creator",
            Self::Admin => "admin",
        }
    }

    pub(crate) fn from_column(name: &str) -> Self {
        match name {
            "admin" => Self::Admin,
            "creator" => Self::Creator,
            _ => Self::Member,
        }
    }
}

pub(crate) fn role_of_column(name: &str) -> RepositoryRole {
    match name {
        "admin" => RepositoryRole::Admin,
        "write" => RepositoryRole::Write,
        _ => RepositoryRole::Read,
    }
}

pub(crate) const fn role_column(role: RepositoryRole) -> &'static str {
    match role {
        RepositoryRole::Admin => "admin",
        RepositoryRole::Write => "write",
        RepositoryRole::Read => "read",
    }
}

#[derive(Debug, FromRow)]
struct TeamRow {
    id: i32,
    name: String,
    description: String,
    role: String,
    repositories: i64,
    members: i64,
    synced: bool,
    includes_viewer: bool,
}

impl From<TeamRow> for TeamRecord {
    fn from(row: TeamRow) -> Self {
        Self {
            id: TeamId(row.id),
            name: row.name,
            description: row.description,
            role: TeamRole::from_column(&row.role),
            repositories: row.repositories,
            members: row.members,
            synced: row.synced,
            includes_viewer: row.includes_viewer,
        }
    }
}

#[derive(Debug, FromRow)]
pub(crate) struct GrantedRow {
    name: String,
    public: bool,
    role: String,
}

impl From<GrantedRow> for GrantedRepository {
    fn from(row: GrantedRow) -> Self {
        Self {
            name: row.name,
            public: row.public,
            role: role_of_column(&row.role),
        }
    }
}

#[derive(Debug, FromRow)]
struct BelongingRow {
    username: String,
    team: Option<String>,
    repository: Option<String>,
}

#[derive(Debug, FromRow)]
struct TeamOf {
    id: i32,
    description: String,
    role: String,
}

const CHANGE: &str = "change a team";

impl Database {
    /// The teams of an organisation, oldest first. At most `limit`. `viewer` is the one who asks.
    pub async fn teams(
        &self,
        organization: UserId,
        viewer: Option<UserId>,
        limit: u32,
    ) -> Result<Vec<TeamRecord>, MetadataError> {
        let rows: Vec<TeamRow> = self
            .reader()
            .rows(
                "list teams",
                "SELECT t.id, t.name, t.description, tr.name AS role,
                        (SELECT count(*) FROM repositorypermission p WHERE p.team_id = t.id) AS repositories,
                        (SELECT count(*) FROM teammember m WHERE m.team_id = t.id) AS members,
                        EXISTS (SELECT 1 FROM teamsync s WHERE s.team_id = t.id) AS synced,
                        EXISTS (SELECT 1 FROM teammember m WHERE m.team_id = t.id AND m.user_id = $2) AS includes_viewer
                 FROM team t JOIN teamrole tr ON tr.id = t.role_id
                 WHERE t.organization_id = $1 ORDER BY t.id LIMIT $3",
                params![
                    organization.0,
                    viewer.map_or(0, |viewer| viewer.0),
                    i64::from(limit),
                ],
            )
            .await?;
        Ok(rows.into_iter().map(TeamRecord::from).collect())
    }

    /// Finds a team by the names of its organisation and its own.
    pub async fn find_team(
        &self,
        organization: &str,
        team: &str,
    ) -> Result<Option<TeamId>, MetadataError> {
        let row: Option<Identified> = self
            .reader()
            .row(
                "look up a team",
                r#"SELECT t.id FROM team t JOIN "user" o ON o.id = t.organization_id
                   WHERE o.username = $1 AND o.organization AND t.name = $2"#,
                params![organization, team],
            )
            .await?;
        Ok(row.map(|row| TeamId(row.id)))
    }

    /// Who is in a team, people and robots, by name. At most `limit`.
    pub async fn team_members(
        &self,
        team: TeamId,
        limit: u32,
    ) -> Result<Vec<AccountRecord>, MetadataError> {
        let rows: Vec<AccountRow> = self
            .reader()
            .rows(
                "list members of a team",
                &format!(
                    r#"SELECT {ACCOUNT_ROW} FROM teammember m JOIN "user" u ON u.id = m.user_id
                       WHERE m.team_id = $1 ORDER BY @bytewise(u.username) LIMIT $2"#
                ),
                params![team.0, i64::from(limit)],
            )
            .await?;
        Ok(rows.into_iter().map(AccountRecord::from).collect())
    }

    /// In which repositories a team has which role, by name. At most `limit`.
    pub async fn team_repositories(
        &self,
        team: TeamId,
        limit: u32,
    ) -> Result<Vec<GrantedRepository>, MetadataError> {
        let rows: Vec<GrantedRow> = self
            .reader()
            .rows(
                "list the repositories of a team",
                "SELECT r.name, v.name = 'public' AS public, o.name AS role
                 FROM repositorypermission p JOIN repository r ON r.id = p.repository_id
                 JOIN visibility v ON v.id = r.visibility_id JOIN role o ON o.id = p.role_id
                 WHERE p.team_id = $1 AND r.state <> 3 ORDER BY @bytewise(r.name) LIMIT $2",
                params![team.0, i64::from(limit)],
            )
            .await?;
        Ok(rows.into_iter().map(GrantedRepository::from).collect())
    }

    /// Who has to do with an organisation: a row for each team that somebody is in, and one for each repository that a person has a role in of their
    /// own. By name; at most `limit` rows of each. `only` one person, or all.
    pub async fn belongings(
        &self,
        organization: UserId,
        only: Option<&str>,
        limit: u32,
    ) -> Result<Vec<Belonging>, MetadataError> {
        const OPERATION: &str = "list who has to do with an organization";
        let values = || params![organization.0, only, i64::from(limit)];
        let mut rows: Vec<BelongingRow> = self
            .reader()
            .rows(
                OPERATION,
                r#"SELECT u.username, t.name AS team, CAST(NULL AS varchar) AS repository
                   FROM team t JOIN teammember m ON m.team_id = t.id JOIN "user" u ON u.id = m.user_id
                   WHERE t.organization_id = $1 AND (CAST($2 AS varchar) IS NULL OR u.username = $2)
                   ORDER BY @bytewise(u.username), t.id LIMIT $3"#,
                values(),
            )
            .await?;
        let of_their_own: Vec<BelongingRow> = self
            .reader()
            .rows(
                OPERATION,
                r#"SELECT u.username, CAST(NULL AS varchar) AS team, r.name AS repository
                   FROM repository r JOIN repositorypermission p ON p.repository_id = r.id JOIN "user" u ON u.id = p.user_id
                   WHERE r.namespace_user_id = $1 AND r.state <> 3 AND (CAST($2 AS varchar) IS NULL OR u.username = $2)
                   ORDER BY @bytewise(u.username), @bytewise(r.name) LIMIT $3"#,
                values(),
            )
            .await?;
        rows.extend(of_their_own);
        let names = crate::database::json_texts(rows.iter().map(|row| row.username.as_str()));
        let accounts: Vec<AccountRow> = self
            .reader()
            .rows(
                OPERATION,
                &format!(r#"SELECT {ACCOUNT_ROW} FROM "user" u WHERE u.username IN @texts($1)"#),
                params![names],
            )
            .await?;
        let accounts: std::collections::HashMap<String, AccountRecord> = accounts
            .into_iter()
            .map(AccountRecord::from)
            .map(|account| (account.username.clone(), account))
            .collect();
        Ok(rows
            .into_iter()
            .filter_map(|row| {
                Some(Belonging {
                    account: accounts.get(&row.username)?.clone(),
                    team: row.team,
                    repository: row.repository,
                })
            })
            .collect())
    }

    /// Makes an organisation whose first team, `owners`, has one member.
    pub async fn create_organization(
        &self,
        organization: &NewOrganization<'_>,
        change: &Change<'_>,
    ) -> Changed<UserId> {
        contended(|| self.create_organization_once(organization, change)).await
    }

    async fn create_organization_once(
        &self,
        organization: &NewOrganization<'_>,
        change: &Change<'_>,
    ) -> Changed<UserId> {
        const OPERATION: &str = "create an organization";
        let transaction = self.begin(OPERATION).await?;
        let owner = made!(find(&transaction, Sort::Person, organization.owner).await?);
        made!(free(&transaction, organization.name, None).await?);
        let id = insert_account(
            &transaction,
            &NewAccount {
                username: organization.name,
                email: organization.email,
                password_hash: None,
                organization: true,
                tag_window_s: organization.tag_window_s,
            },
            change,
        )
        .await?;
        add_admin(&transaction, id, owner).await?;
        change
            .log(
                &transaction,
                "org_create",
                id,
                &[
                    ("email", json!(organization.email)),
                    ("namespace", json!(organization.name)),
                ],
            )
            .await?;
        transaction.commit().await?;
        Ok(Ok(id))
    }

    /// Takes somebody out of every team and every repository of an organisation.
    pub async fn remove_member(
        &self,
        organization: &str,
        member: &str,
        change: &Change<'_>,
    ) -> Changed<()> {
        contended(|| self.remove_member_once(organization, member, change)).await
    }

    async fn remove_member_once(
        &self,
        organization: &str,
        member: &str,
        change: &Change<'_>,
    ) -> Changed<()> {
        let transaction = self.begin(CHANGE).await?;
        let id = made!(find(&transaction, Sort::Organization, organization).await?);
        transaction.lock(Lock::teams_of(id)).await?;
        let member_id = made!(find(&transaction, Sort::Person, member).await?);
        let had_admin = has_admin(&transaction, id).await?;
        for statement in [
            "DELETE FROM repositorypermission WHERE user_id = $2
               AND repository_id IN (SELECT id FROM repository WHERE namespace_user_id = $1)",
            "DELETE FROM teammember WHERE user_id = $2 AND team_id IN (SELECT id FROM team WHERE organization_id = $1)",
        ] {
            transaction
                .execute(CHANGE, statement, params![id.0, member_id.0])
                .await?;
        }
        if had_admin && !has_admin(&transaction, id).await? {
            return Ok(Err(Unchanged::LastAdmin));
        }
        change
            .log(
                &transaction,
                "org_remove_team_member",
                id,
                &[("member", json!(member))],
            )
            .await?;
        transaction.commit().await?;
        Ok(Ok(()))
    }

    /// Makes a team, or gives it another role and description. Tells whether it is new.
    pub async fn put_team(
        &self,
        organization: &str,
        team: &str,
        role: TeamRole,
        description: Option<&str>,
        change: &Change<'_>,
    ) -> Changed<(TeamId, bool)> {
        contended(|| self.put_team_once((organization, team), role, description, change)).await
    }

    async fn put_team_once(
        &self,
        (organization, team): (&str, &str),
        role: TeamRole,
        description: Option<&str>,
        change: &Change<'_>,
    ) -> Changed<(TeamId, bool)> {
        let transaction = self.begin(CHANGE).await?;
        let id = made!(find(&transaction, Sort::Organization, organization).await?);
        transaction.lock(Lock::teams_of(id)).await?;
        let name = ("team", json!(team));
        let put = match team_of(&transaction, id, team).await? {
            None => {
                let made = insert_team(
                    &transaction,
                    id,
                    team,
                    role,
                    description.unwrap_or_default(),
                )
                .await?;
                change
                    .log(&transaction, "org_create_team", id, &[name])
                    .await?;
                (made, true)
            }
            Some(found) => {
                if let Some(description) = description.filter(|text| *text != found.description) {
                    transaction
                        .execute(
                            CHANGE,
                            "UPDATE team SET description = $2 WHERE id = $1",
                            params![found.id, description],
                        )
                        .await?;
                    let members = [name.clone(), ("description", json!(description))];
                    change
                        .log(&transaction, "org_set_team_description", id, &members)
                        .await?;
                }
                if TeamRole::from_column(&found.role) != role {
                    let had_admin = has_admin(&transaction, id).await?;
                    transaction
                        .execute(
                            CHANGE,
                            "UPDATE team SET role_id = (SELECT tr.id FROM teamrole tr WHERE tr.name = $2) WHERE id = $1",
                            params![found.id, role.as_str()],
                        )
                        .await?;
                    if had_admin && !has_admin(&transaction, id).await? {
                        return Ok(Err(Unchanged::LastAdmin));
                    }
                    let members = [name, ("role", json!(role.as_str()))];
                    change
                        .log(&transaction, "org_set_team_role", id, &members)
                        .await?;
                }
                (TeamId(found.id), false)
            }
        };
        transaction.commit().await?;
        Ok(Ok(put))
    }

    /// Removes a team, with its roles in repositories.
    pub async fn delete_team(
        &self,
        organization: &str,
        team: &str,
        change: &Change<'_>,
    ) -> Changed<()> {
        let tables = self.referring_tables().await?;
        contended(async || {
            let transaction = self.begin(CHANGE).await?;
            let id = made!(find(&transaction, Sort::Organization, organization).await?);
            transaction.lock(Lock::teams_of(id)).await?;
            let Some(found) = team_of(&transaction, id, team).await? else {
                return Ok(Err(Unchanged::unknown("team", team)));
            };
            let had_admin = has_admin(&transaction, id).await?;
            tables
                .take(&transaction, TEAM, &json_ids([found.id]))
                .await?;
            transaction
                .execute(CHANGE, "DELETE FROM team WHERE id = $1", params![found.id])
                .await?;
            if had_admin && !has_admin(&transaction, id).await? {
                return Ok(Err(Unchanged::LastAdmin));
            }
            change
                .log(
                    &transaction,
                    "org_delete_team",
                    id,
                    &[("team", json!(team))],
                )
                .await?;
            transaction.commit().await?;
            Ok(Ok(()))
        })
        .await
    }

    /// Takes a person, or a robot of the organisation, into a team. Nothing happens when they are in it.
    pub async fn add_team_member(
        &self,
        organization: &str,
        team: &str,
        member: &str,
        change: &Change<'_>,
    ) -> Changed<()> {
        contended(async || {
            let transaction = self.begin(CHANGE).await?;
            let id = made!(find(&transaction, Sort::Organization, organization).await?);
            let Some(found) = team_of(&transaction, id, team).await? else {
                return Ok(Err(Unchanged::unknown("team", team)));
            };
            let robot = member.contains('+');
            if robot && member.split('+').next() != Some(organization) {
                return Ok(Err(Unchanged::ForeignRobot));
            }
            let member_id = made!(find(&transaction, Sort::Actor, member).await?);
            let added = transaction
                .execute(
                    CHANGE,
                    "INSERT INTO teammember (user_id, team_id) SELECT $1, $2
                     WHERE NOT EXISTS (SELECT 1 FROM teammember m WHERE m.user_id = $1 AND m.team_id = $2)",
                    params![member_id.0, found.id],
                )
                .await?;
            transaction
                .execute(
                    CHANGE,
                    "DELETE FROM teammemberinvite WHERE user_id = $1 AND team_id = $2",
                    params![member_id.0, found.id],
                )
                .await?;
            if added > 0 {
                change
                    .log(
                        &transaction,
                        "org_add_team_member",
                        id,
                        &[("member", json!(member)), ("team", json!(team))],
                    )
                    .await?;
            }
            transaction.commit().await?;
            Ok(Ok(()))
        })
        .await
    }

    /// Takes somebody out of a team, or takes back the invitation.
    pub async fn remove_team_member(
        &self,
        organization: &str,
        team: &str,
        member: &str,
        change: &Change<'_>,
    ) -> Changed<()> {
        contended(async || {
            let transaction = self.begin(CHANGE).await?;
            let id = made!(find(&transaction, Sort::Organization, organization).await?);
            transaction.lock(Lock::teams_of(id)).await?;
            let Some(found) = team_of(&transaction, id, team).await? else {
                return Ok(Err(Unchanged::unknown("team", team)));
            };
            let member_id = made!(find(&transaction, Sort::Actor, member).await?);
            let had_admin = has_admin(&transaction, id).await?;
            let mut removed = 0;
            for statement in [
                "DELETE FROM teammemberinvite WHERE user_id = $1 AND team_id = $2",
                "DELETE FROM teammember WHERE user_id = $1 AND team_id = $2",
            ] {
                removed += transaction
                    .execute(CHANGE, statement, params![member_id.0, found.id])
                    .await?;
            }
            if removed == 0 {
                return Ok(Err(Unchanged::unknown("member", member)));
            }
            if had_admin && !has_admin(&transaction, id).await? {
                return Ok(Err(Unchanged::LastAdmin));
            }
            change
                .log(
                    &transaction,
                    "org_remove_team_member",
                    id,
                    &[("member", json!(member)), ("team", json!(team))],
                )
                .await?;
            transaction.commit().await?;
            Ok(Ok(()))
        })
        .await
    }
}

async fn team_of(
    transaction: &Transaction,
    organization: UserId,
    team: &str,
) -> Result<Option<TeamOf>, MetadataError> {
    transaction
        .row(
            CHANGE,
            "SELECT t.id, t.description, tr.name AS role FROM team t JOIN teamrole tr ON tr.id = t.role_id
             WHERE t.organization_id = $1 AND t.name = $2",
            params![organization.0, team],
        )
        .await
}

async fn insert_team(
    transaction: &Transaction,
    organization: UserId,
    team: &str,
    role: TeamRole,
    description: &str,
) -> Result<TeamId, MetadataError> {
    let row: Option<Identified> = transaction
        .row(
            CHANGE,
            "INSERT INTO team (name, organization_id, role_id, description)
             SELECT $1, $2, tr.id, $4 FROM teamrole tr WHERE tr.name = $3 RETURNING id",
            params![team, organization.0, role.as_str(), description],
        )
        .await?;
    row.map(|row| TeamId(row.id)).ok_or_else(|| {
        MetadataError::corrupt("teamrole", "name", role.as_str(), "there is no such role")
    })
}

/// Whether a person administers the organisation.
async fn has_admin(transaction: &Transaction, organization: UserId) -> Result<bool, MetadataError> {
    let admins: Option<Counted> = transaction
        .row(
            CHANGE,
            r#"SELECT count(*) AS count FROM team t JOIN teamrole tr ON tr.id = t.role_id
               JOIN teammember m ON m.team_id = t.id JOIN "user" u ON u.id = m.user_id
               WHERE t.organization_id = $1 AND tr.name = 'admin' AND NOT u.robot"#,
            params![organization.0],
        )
        .await?;
    Ok(admins.is_some_and(|row| row.count > 0))
}

/// Takes somebody into the first team of those who administer an organisation; it is made if there is none.
pub(crate) async fn add_admin(
    transaction: &Transaction,
    organization: UserId,
    member: UserId,
) -> Result<(), MetadataError> {
    let found: Option<Identified> = transaction
        .row(
            CHANGE,
            "SELECT t.id FROM team t JOIN teamrole tr ON tr.id = t.role_id
             WHERE t.organization_id = $1 AND tr.name = 'admin' ORDER BY t.id LIMIT 1",
            params![organization.0],
        )
        .await?;
    let team = match found {
        Some(row) => TeamId(row.id),
        None => insert_team(transaction, organization, OWNERS, TeamRole::Admin, "").await?,
    };
    transaction
        .execute(
            CHANGE,
            "INSERT INTO teammember (user_id, team_id) SELECT $1, $2
             WHERE NOT EXISTS (SELECT 1 FROM teammember m WHERE m.user_id = $1 AND m.team_id = $2)",
            params![member.0, team.0],
        )
        .await?;
    Ok(())
}
