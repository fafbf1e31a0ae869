//! Namespaces and repositories. What their owners change and list is in [`changes`] and [`listing`].

mod changes;
mod listing;

use std::time::Duration;

use chrono::TimeDelta;
use roadstead_runtime::{Ids, Timestamp};

use crate::accounts::window_column;
use crate::database::{
    Connection, Database, Identified, Transaction, contended, json_pairs, params,
};
use crate::error::MetadataError;
use crate::ids::{RepositoryId, UserId};
use crate::lookups::Found;
use crate::row::FromRow;

pub use self::changes::{ChangeRepository, CreateRepository, RepositoryChange, RepositoryCreation};
pub use self::listing::{ListRepositories, ListedRepository, RepositoryActions, RepositoryDetails};

/// The place of a repository: a namespace, and a name within it that may hold `/`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RepositoryPath {
    /// The user or organisation.
    pub namespace: String,
    /// The name within the namespace.
    pub name: String,
}

impl std::fmt::Display for RepositoryPath {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}/{}", self.namespace, self.name)
    }
}

/// What may be done with a repository, whoever asks. The numbers are Quay's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RepositoryState {
    /// Pushes and pulls.
    Normal,
    /// Pulls only.
    ReadOnly,
    /// Pushes by its mirror robot only.
    Mirror,
    /// Pushes by its organisation's mirror only.
    OrganizationMirror,
}

/// A row of `repository`. Repositories that are marked for deletion are not found.
#[derive(Clone, Debug)]
pub struct Repository {
    /// Its id.
    pub id: RepositoryId,
    /// The namespace's id.
    pub namespace_id: UserId,
    /// Where it is.
    pub path: RepositoryPath,
    /// Whether everybody may pull.
    pub public: bool,
    /// What may be done with it.
    pub state: RepositoryState,
    /// False for the few that hold something else than images.
    pub holds_images: bool,
    /// The name of the robot that may push while the repository is a mirror.
    pub mirror_robot: Option<String>,
}

/// A repository to be made if it is not there.
#[derive(Debug)]
pub struct NewRepository<'a> {
    /// Where.
    pub path: &'a RepositoryPath,
    /// Who makes it, and becomes its administrator.
    pub creator: UserId,
    /// Whether only those with rights may pull.
    pub private: bool,
    /// Whether a missing namespace becomes an organisation of the creator's.
    pub create_namespace: bool,
    /// For how long such an organisation keeps deleted tags.
    pub tag_window: Duration,
    /// Source of the tokens that Quay's schema wants.
    pub ids: &'a dyn Ids,
    /// Now.
    pub now: Timestamp,
}

/// What became of [`Database::ensure_repository`].
#[derive(Clone, Debug)]
pub enum Ensured {
    /// It was there.
    Found(Repository),
    /// It is there now.
    Created(Repository),
    /// Its namespace does not exist and was not to be made.
    NoNamespace,
}

#[derive(Debug, FromRow)]
struct RepositoryRow {
    id: i32,
    namespace_user_id: i32,
    namespace: String,
    name: String,
    visibility: String,
    state: i32,
    kind: String,
    mirror_robot: Option<String>,
}

/// The namespaces are looked up first: in a plain join PostgreSQL may begin with the name, in the index of Quay's search, where `app` finds every
/// name with `app` in it. Only of a mirror is its robot looked up.
const FIND: &str = r#"
    WITH asked(namespace_id, name) AS MATERIALIZED (
        SELECT (SELECT n.id FROM "user" n WHERE n.username = a.first), a.second FROM @pairs($1) AS a)
    SELECT r.id, r.namespace_user_id, u.username AS namespace, r.name, v.name AS visibility, r.state, k.name AS kind,
           CASE r.state
               WHEN 2 THEN (SELECT b.username FROM repomirrorconfig m JOIN "user" b ON b.id = m.internal_robot_id
                            WHERE m.repository_id = r.id)
               WHEN 4 THEN (SELECT b.username FROM orgmirrorconfig m JOIN "user" b ON b.id = m.internal_robot_id
                            WHERE m.organization_id = r.namespace_user_id)
           END AS mirror_robot
    FROM asked
    JOIN repository r ON r.namespace_user_id = asked.namespace_id AND r.name = asked.name
    JOIN "user" u ON u.id = r.namespace_user_id
    JOIN visibility v ON v.id = r.visibility_id
    JOIN repositorykind k ON k.id = r.kind_id"#;

/// The state in which Quay keeps a repository until it is really deleted.
const MARKED_FOR_DELETION: i32 = 3;

impl TryFrom<RepositoryRow> for Repository {
    type Error = MetadataError;

    fn try_from(row: RepositoryRow) -> Result<Self, MetadataError> {
        let state = RepositoryState::from_column(row.id, row.state)?.ok_or_else(|| {
            MetadataError::corrupt("repository", "state", row.id, MARKED_FOR_DELETION)
        })?;
        Ok(Self {
            id: RepositoryId(row.id),
            namespace_id: UserId(row.namespace_user_id),
            path: RepositoryPath {
                namespace: row.namespace,
                name: row.name,
            },
            public: row.visibility == "public",
            state,
            holds_images: row.kind == "image",
            mirror_robot: row.mirror_robot,
        })
    }
}

impl RepositoryState {
    /// Quay's name of it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Normal => "NORMAL",
            Self::ReadOnly => "READ_ONLY",
            Self::Mirror => "MIRROR",
            Self::OrganizationMirror => "ORG_MIRROR",
        }
    }

    const fn column(self) -> i32 {
        match self {
            Self::Normal => 0,
            Self::ReadOnly => 1,
            Self::Mirror => 2,
            Self::OrganizationMirror => 4,
        }
    }

    /// What a row's number says; none: the repository is being deleted.
    pub(crate) fn from_column(id: i32, state: i32) -> Result<Option<Self>, MetadataError> {
        Ok(Some(match state {
            0 => Self::Normal,
            1 => Self::ReadOnly,
            2 => Self::Mirror,
            MARKED_FOR_DELETION => return Ok(None),
            4 => Self::OrganizationMirror,
            other => return Err(MetadataError::corrupt("repository", "state", id, other)),
        }))
    }
}

impl Database {
    /// Finds a repository that is not marked for deletion.
    pub async fn find_repository(
        &self,
        path: &RepositoryPath,
    ) -> Result<Option<Repository>, MetadataError> {
        // Whether it is there does not depend on the time.
        let now = Timestamp::UNIX_EPOCH;
        self.lookups()
            .repositories
            .find(self, path.clone(), now, |database, paths, _| {
                Box::pin(find_all(database.pull_reader(), paths))
            })
            .await
    }

    /// Finds a namespace.
    pub async fn find_namespace(&self, name: &str) -> Result<Option<UserId>, MetadataError> {
        let row: Option<Identified> = self
            .reader()
            .row("look up a namespace", FIND_NAMESPACE, params![name])
            .await?;
        Ok(row.map(|row| UserId(row.id)))
    }

    /// Finds a repository or makes it, with its namespace if that is wanted, in one transaction.
    ///
    /// Its maker becomes its administrator, and whoever the organisation's default permissions name gets what they say.
    pub async fn ensure_repository(
        &self,
        new: &NewRepository<'_>,
    ) -> Result<Ensured, MetadataError> {
        contended(|| self.ensure_repository_once(new)).await
    }

    async fn ensure_repository_once(
        &self,
        new: &NewRepository<'_>,
    ) -> Result<Ensured, MetadataError> {
        const OPERATION: &str = "create a repository";
        if let Some(found) = find(self.reader(), new.path).await? {
            return Ok(Ensured::Found(found));
        }
        let transaction = self.begin(OPERATION).await?;
        if let Some(found) = find(&transaction, new.path).await? {
            return Ok(Ensured::Found(found));
        }
        let namespace: Option<Identified> = transaction
            .row(
                OPERATION,
                FIND_NAMESPACE,
                params![new.path.namespace.as_str()],
            )
            .await?;
        let namespace = match namespace {
            Some(row) => UserId(row.id),
            None if new.create_namespace => create_organization(&transaction, new).await?,
            None => return Ok(Ensured::NoNamespace),
        };
        let created = insert(&transaction, namespace, new, "").await?;
        transaction.commit().await?;
        Ok(Ensured::Created(created))
    }
}

const FIND_NAMESPACE: &str = r#"SELECT id FROM "user" WHERE username = $1 AND NOT robot"#;

async fn find(
    connection: &impl Connection,
    path: &RepositoryPath,
) -> Result<Option<Repository>, MetadataError> {
    let mut found = find_all(connection, std::slice::from_ref(path)).await?;
    found.remove(path).transpose()
}

async fn find_all(
    connection: &impl Connection,
    paths: &[RepositoryPath],
) -> Result<Found<RepositoryPath, Repository>, MetadataError> {
    let asked = paths
        .iter()
        .map(|path| (path.namespace.as_str(), path.name.as_str()));
    let rows: Vec<RepositoryRow> = connection
        .rows("look up a repository", FIND, params![json_pairs(asked)])
        .await?;
    Ok(rows
        .into_iter()
        .filter(|row| row.state != MARKED_FOR_DELETION)
        .map(|row| {
            let path = RepositoryPath {
                namespace: row.namespace.clone(),
                name: row.name.clone(),
            };
            (path, Repository::try_from(row))
        })
        .collect())
}

/// Makes a repository that is not there, with its maker as its administrator.
async fn insert(
    transaction: &Transaction,
    namespace: UserId,
    new: &NewRepository<'_>,
    description: &str,
) -> Result<Repository, MetadataError> {
    const OPERATION: &str = "create a repository";
    let repository: Option<Identified> = transaction
        .row(
            OPERATION,
            "INSERT INTO repository (namespace_user_id, name, visibility_id, description, badge_token, kind_id)
             SELECT $1, $2, v.id, $5, $4, k.id FROM visibility v, repositorykind k
             WHERE v.name = $3 AND k.name = 'image' RETURNING id",
            params![
                namespace.0,
                new.path.name.as_str(),
                if new.private { "private" } else { "public" },
                new.ids.uuid().to_string(),
                description,
            ],
        )
        .await?;
    if let Some(repository) = repository {
        transaction
            .execute(
                OPERATION,
                "INSERT INTO repositorypermission (user_id, repository_id, role_id)
                 SELECT $1, $2, id FROM role WHERE name = 'admin'",
                params![new.creator.0, repository.id],
            )
            .await?;
        furnish(transaction, namespace, repository.id, new).await?;
    }
    find(transaction, new.path).await?.ok_or_else(|| {
        MetadataError::corrupt(
            "visibility",
            "name",
            new.path,
            "the rows `public`, `private` or `image` are missing",
        )
    })
}

/// What belongs to a new repository besides its maker's permission: the organisation's default permissions, and the two rows that Quay's search
/// expects of every repository.
async fn furnish(
    transaction: &Transaction,
    namespace: UserId,
    repository: i32,
    new: &NewRepository<'_>,
) -> Result<(), MetadataError> {
    const OPERATION: &str = "create a repository";
    transaction
        .execute(
            OPERATION,
            // Of several for the same user or team, one for this maker goes before those for any, then the older before the younger; the maker is
            // its administrator whatever they say.
            "INSERT INTO repositorypermission (user_id, team_id, repository_id, role_id)
             SELECT p.delegate_user_id, p.delegate_team_id, $3, p.role_id
             FROM permissionprototype p
             WHERE p.org_id = $1 AND (p.activating_user_id IS NULL OR p.activating_user_id = $2)
               AND (p.delegate_user_id IS NULL OR p.delegate_user_id <> $2)
               AND NOT EXISTS (
                   SELECT 1 FROM permissionprototype q
                   WHERE q.org_id = $1 AND (q.activating_user_id IS NULL OR q.activating_user_id = $2)
                     AND (q.delegate_user_id = p.delegate_user_id OR q.delegate_team_id = p.delegate_team_id)
                     AND (CASE WHEN q.activating_user_id IS NULL THEN 1 ELSE 0 END < CASE WHEN p.activating_user_id IS NULL THEN 1 ELSE 0 END
                          OR (q.activating_user_id IS NULL) = (p.activating_user_id IS NULL) AND q.id < p.id))",
            params![namespace.0, new.creator.0, repository],
        )
        .await?;
    transaction
        .execute(
            OPERATION,
            "INSERT INTO repositorysearchscore (repository_id, score) VALUES ($1, 0)",
            params![repository],
        )
        .await?;
    let yesterday = (new.now - TimeDelta::days(1)).date_naive();
    transaction
        .execute(
            OPERATION,
            "INSERT INTO repositoryactioncount (repository_id, count, date) VALUES ($1, 0, $2)",
            params![repository, yesterday],
        )
        .await?;
    Ok(())
}

/// An organisation as Quay makes it: an account that nobody signs in as, with a team `owners` that holds its maker.
async fn create_organization(
    transaction: &Transaction,
    new: &NewRepository<'_>,
) -> Result<UserId, MetadataError> {
    const OPERATION: &str = "create an organisation";
    let missing = || MetadataError::corrupt("teamrole", "name", "admin", "the row is missing");
    let organization: Option<Identified> = transaction
        .row(
            OPERATION,
            r#"INSERT INTO "user" (uuid, username, email, verified, organization, robot, invoice_email,
                                   last_invalid_login, creation_date, removed_tag_expiration_s)
               VALUES ($1, $2, $3, false, true, false, false, $4, $4, $5) RETURNING id"#,
            params![
                new.ids.uuid().to_string(),
                new.path.namespace.as_str(),
                // Quay's column is not null; its own organisations without an address hold a random one.
                new.ids.uuid().to_string(),
                new.now.naive_utc(),
                window_column(new.tag_window),
            ],
        )
        .await?;
    let organization = organization.ok_or_else(missing)?;
    let team: Option<Identified> = transaction
        .row(
            OPERATION,
            "INSERT INTO team (name, organization_id, role_id, description)
             SELECT 'owners', $1, id, '' FROM teamrole WHERE name = 'admin' RETURNING id",
            params![organization.id],
        )
        .await?;
    let team = team.ok_or_else(missing)?;
    transaction
        .execute(
            OPERATION,
            "INSERT INTO teammember (user_id, team_id) VALUES ($1, $2)",
            params![new.creator.0, team.id],
        )
        .await?;
    Ok(UserId(organization.id))
}
