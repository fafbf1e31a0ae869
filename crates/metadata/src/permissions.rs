//! Where somebody stands: the facts that decide about rights in repositories and namespaces, fetched for any number of paths at once.
//!
//! Nothing is decided here. How permissions are given and taken is in [`changes`].

mod changes;

use std::collections::HashMap;

use crate::database::{Connection, Database, params};
use crate::error::MetadataError;
use crate::ids::{RepositoryId, UserId};
use crate::repositories::{RepositoryPath, RepositoryState};
use crate::row::FromRow;

pub use self::changes::{
    AccountPermission, ChangePermission, Grantee, PermissionChange, TeamPermission,
};

/// What somebody may do with one repository. Each role includes the ones before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RepositoryRole {
    /// Pull.
    Read,
    /// Push.
    Write,
    /// Everything.
    Admin,
}

/// What a team may do in its organisation. Each role includes the ones before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TeamRole {
    /// What the permissions of single repositories say.
    Member,
    /// Make repositories too.
    Creator,
    /// Everything, in all of them.
    Admin,
}

/// A namespace, and where somebody stands in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamespaceStanding {
    /// Whose it is: the user, or the organisation.
    pub id: UserId,
    /// Whether it is in use.
    pub enabled: bool,
    /// Whether it is a cache of another registry.
    pub proxy_cache: bool,
    /// The highest role of the teams in it that the asker belongs to.
    pub team_role: Option<TeamRole>,
}

/// A repository, and where somebody stands in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RepositoryStanding {
    /// Its id.
    pub id: RepositoryId,
    /// Whether everybody may pull.
    pub public: bool,
    /// What may be done with it; none: it is being deleted, and its name is not free yet.
    pub state: Option<RepositoryState>,
    /// False for the few that hold something else than images.
    pub holds_images: bool,
    /// The highest role that the asker has in it, alone or as the member of a team.
    pub role: Option<RepositoryRole>,
    /// Who may push to it while it is a mirror.
    pub mirror_robot: Option<UserId>,
}

/// What is at a path, and where somebody stands there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PathStanding {
    /// None: there is no such namespace.
    pub namespace: Option<NamespaceStanding>,
    /// None: there is no such repository.
    pub repository: Option<RepositoryStanding>,
}

#[derive(FromRow)]
struct StandingRow {
    namespace_id: i32,
    namespace: String,
    enabled: bool,
    proxy_cache: bool,
    team_role: Option<i32>,
    repository_id: Option<i32>,
    repository: Option<String>,
    public: Option<bool>,
    state: Option<i32>,
    holds_images: Option<bool>,
    role: Option<i32>,
    mirror_robot: Option<i32>,
}

impl Database {
    /// What is at each path and where the asker stands there, in the order of `paths`. One statement, however many there are; its text grows with
    /// them, so they are to be few: the scopes of one request.
    pub async fn standings(
        &self,
        asker: Option<UserId>,
        paths: &[RepositoryPath],
    ) -> Result<Vec<PathStanding>, MetadataError> {
        if paths.is_empty() {
            return Ok(Vec::new());
        }
        // The asker, and then a namespace and a name for each path. The numbers of paths are powers of two, so that there are few statements to prepare.
        let mut values = params![asker.map(|id| id.0)];
        let padding = paths.len().next_power_of_two() - paths.len();
        for path in paths.iter().chain(paths.iter().take(padding)) {
            values.extend(params![path.namespace.as_str(), path.name.as_str()]);
        }
        let wanted: Vec<String> = (2..=values.len())
            .step_by(2)
            .map(|parameter| format!("(${parameter}, ${})", parameter + 1))
            .collect();
        let rows: Vec<StandingRow> = self
            .pull_reader()
            .rows(
                "look up rights",
                // The paths are rows and no JSON array, so that PostgreSQL knows how few they are; and it looks for each by itself, in the index
                // of namespace and name. A plain join would read whole namespaces.
                &format!(
                    r#"SELECT n.id AS namespace_id, n.username AS namespace, n.enabled,
                          EXISTS (SELECT 1 FROM proxycacheconfig c WHERE c.organization_id = n.id) AS proxy_cache,
                          (SELECT max(CASE tr.name WHEN 'admin' THEN 3 WHEN 'creator' THEN 2 ELSE 1 END)
                           FROM teammember tm JOIN team t ON t.id = tm.team_id JOIN teamrole tr ON tr.id = t.role_id
                           WHERE tm.user_id = $1 AND t.organization_id = n.id) AS team_role,
                          r.id AS repository_id, r.name AS repository, v.name = 'public' AS public, r.state,
                          k.name = 'image' AS holds_images,
                          (SELECT max(CASE ro.name WHEN 'admin' THEN 3 WHEN 'write' THEN 2 WHEN 'read' THEN 1 END)
                           FROM repositorypermission p JOIN role ro ON ro.id = p.role_id
                           WHERE p.repository_id = r.id
                             AND (p.user_id = $1 OR p.team_id IN (SELECT tm.team_id FROM teammember tm WHERE tm.user_id = $1))) AS role,
                          CASE r.state
                              WHEN 2 THEN (SELECT m.internal_robot_id FROM repomirrorconfig m WHERE m.repository_id = r.id)
                              WHEN 4 THEN (SELECT m.internal_robot_id FROM orgmirrorconfig m WHERE m.organization_id = n.id)
                          END AS mirror_robot
                   FROM (VALUES {}) AS wanted
                   JOIN "user" n ON n.username = wanted.column1 AND NOT n.robot
                   LEFT JOIN repository r ON r.id =
                       (SELECT x.id FROM repository x WHERE x.namespace_user_id = n.id AND x.name = wanted.column2)
                   LEFT JOIN visibility v ON v.id = r.visibility_id
                   LEFT JOIN repositorykind k ON k.id = r.kind_id"#,
                    wanted.join(", ")
                ),
                values,
            )
            .await?;
        let mut namespaces: HashMap<String, NamespaceStanding> = HashMap::new();
        let mut repositories: HashMap<RepositoryPath, RepositoryStanding> = HashMap::new();
        for row in rows {
            if let Some((path, standing)) = repository(&row)? {
                repositories.insert(path, standing);
            }
            namespaces.insert(
                row.namespace,
                NamespaceStanding {
                    id: UserId(row.namespace_id),
                    enabled: row.enabled,
                    proxy_cache: row.proxy_cache,
                    team_role: row.team_role.map(|rank| match rank {
                        3 => TeamRole::Admin,
                        2 => TeamRole::Creator,
                        _ => TeamRole::Member,
                    }),
                },
            );
        }
        Ok(paths
            .iter()
            .map(|path| PathStanding {
                namespace: namespaces.get(&path.namespace).cloned(),
                repository: repositories.get(path).cloned(),
            })
            .collect())
    }
}

fn repository(
    row: &StandingRow,
) -> Result<Option<(RepositoryPath, RepositoryStanding)>, MetadataError> {
    let (Some(id), Some(name), Some(state)) = (row.repository_id, &row.repository, row.state)
    else {
        return Ok(None);
    };
    let path = RepositoryPath {
        namespace: row.namespace.clone(),
        name: name.clone(),
    };
    let standing = RepositoryStanding {
        id: RepositoryId(id),
        public: row.public.unwrap_or(false),
        state: RepositoryState::from_column(id, state)?,
        holds_images: row.holds_images.unwrap_or(false),
        role: match row.role {
            Some(3) => Some(RepositoryRole::Admin),
            Some(2) => Some(RepositoryRole::Write),
            Some(1) => Some(RepositoryRole::Read),
            _ => None,
        },
        mirror_robot: row.mirror_robot.map(UserId),
    };
    Ok(Some((path, standing)))
}
