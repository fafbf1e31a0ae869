//! Repositories as their users look them up: lists of those that somebody may see, and all about one.

use chrono::NaiveDate;
use roadstead_runtime::Timestamp;
use sea_orm::Value;

use super::{Repository, RepositoryPath, RepositoryState};
use crate::catalog::{CatalogViewer, PUBLIC, VISIBLE};
use crate::database::{Connection, Database, params};
use crate::error::MetadataError;
use crate::ids::{RepositoryId, UserId};
use crate::locations::limit_column;
use crate::row::FromRow;

/// Which repositories to list. Those that do not hold images are left out, and those that are being deleted.
#[derive(Clone, Copy, Debug)]
pub struct ListRepositories<'a> {
    /// Which may be shown.
    pub viewer: &'a CatalogViewer,
    /// Only those of this namespace.
    pub namespace: Option<&'a str>,
    /// Only those that the asker has starred.
    pub starred_only: bool,
    /// Who asks, for the stars.
    pub asker: Option<UserId>,
    /// Only those behind this one; `RepositoryId(0)` for the first page.
    pub after: RepositoryId,
    /// How many at most.
    pub limit: u32,
    /// Whether the times of the last changes are looked up.
    pub last_modified: bool,
    /// Whether the pulls and pushes since this day are counted.
    pub actions_since: Option<NaiveDate>,
    /// Now.
    pub now: Timestamp,
}

/// A repository in a list.
#[derive(Clone, Debug)]
pub struct ListedRepository {
    /// Its row, by which the next page begins.
    pub id: RepositoryId,
    /// Where it is.
    pub path: RepositoryPath,
    /// What its owner says of it.
    pub description: Option<String>,
    /// Whether everybody may pull.
    pub public: bool,
    /// What may be done with it.
    pub state: RepositoryState,
    /// Whether the asker has starred it.
    pub starred: bool,
    /// When the youngest of its live tags began, if that was asked for and there is one.
    pub last_modified: Option<Timestamp>,
    /// How many pulls and pushes there were, if that was asked for.
    pub actions: u64,
}

/// All about one repository that is not in [`Repository`].
#[derive(Clone, Debug)]
pub struct RepositoryDetails {
    /// What its owner says of it.
    pub description: Option<String>,
    /// Whether its namespace is an organisation.
    pub in_organization: bool,
    /// For how many seconds its namespace keeps deleted tags.
    pub tag_window_seconds: i64,
    /// By which its state can be asked for in Quay without an account.
    pub badge_token: String,
    /// Whether the asker has starred it.
    pub starred: bool,
}

/// What happened in a repository on a day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RepositoryActions {
    /// The day.
    pub day: NaiveDate,
    /// How many pulls and pushes.
    pub count: u64,
}

#[derive(Debug, FromRow)]
struct ListedRow {
    id: i32,
    namespace: String,
    name: String,
    description: Option<String>,
    public: bool,
    state: i32,
    starred: bool,
    last_modified: Option<i64>,
    actions: Option<i64>,
}

#[derive(Debug, FromRow)]
struct DetailsRow {
    description: Option<String>,
    organization: bool,
    removed_tag_expiration_s: i64,
    badge_token: String,
    starred: bool,
}

#[derive(Debug, FromRow)]
struct ActionsRow {
    date: NaiveDate,
    count: i32,
}

impl Database {
    /// Lists repositories in the order in which they were made.
    pub async fn list_repositories(
        &self,
        list: &ListRepositories<'_>,
    ) -> Result<Vec<ListedRepository>, MetadataError> {
        let mut values = params![
            list.after.0,
            limit_column(list.limit),
            list.asker.map(|asker| asker.0)
        ];
        let mut parameter = |value: Value| {
            values.push(value);
            format!("${}", values.len())
        };
        let seen = match list.viewer {
            CatalogViewer::All => "true".to_owned(),
            CatalogViewer::PublicOnly => PUBLIC.to_owned(),
            CatalogViewer::Account(account) => {
                format!(
                    "r.id IN ({})",
                    VISIBLE.replace("$4", &parameter(account.0.into()))
                )
            }
            CatalogViewer::AccountAndPublic(account) => {
                let visible = VISIBLE.replace("$4", &parameter(account.0.into()));
                format!("({PUBLIC} OR r.id IN ({visible}))")
            }
        };
        let namespace = list.namespace.map_or_else(
            || "true".to_owned(),
            |name| {
                format!(
                    r#"r.namespace_user_id = (SELECT n.id FROM "user" n WHERE n.username = {})"#,
                    parameter(name.into())
                )
            },
        );
        let starred = if list.starred_only {
            "r.id IN (SELECT s.repository_id FROM star s WHERE s.user_id = $3)"
        } else {
            "true"
        };
        let last_modified = if list.last_modified {
            format!(
                "(SELECT max(t.lifetime_start_ms) FROM tag t WHERE t.repository_id = r.id AND NOT t.hidden
                  AND (t.lifetime_end_ms IS NULL OR t.lifetime_end_ms > {}))",
                parameter(list.now.timestamp_millis().into())
            )
        } else {
            "CAST(NULL AS bigint)".to_owned()
        };
        let actions = list.actions_since.map_or_else(
            || "CAST(NULL AS bigint)".to_owned(),
            |day| {
                format!(
                    "(SELECT CAST(sum(c.count) AS bigint) FROM repositoryactioncount c
                      WHERE c.repository_id = r.id AND c.date >= {})",
                    parameter(day.into())
                )
            },
        );
        let rows: Vec<ListedRow> = self
            .reader()
            .rows(
                "list repositories",
                &format!(
                    r#"SELECT r.id, u.username AS namespace, r.name, r.description, r.state, {PUBLIC} AS public,
                              EXISTS (SELECT 1 FROM star s WHERE s.repository_id = r.id AND s.user_id = $3) AS starred,
                              {last_modified} AS last_modified, {actions} AS actions
                       FROM (SELECT r.* FROM repository r
                             WHERE r.id > $1 AND r.state <> 3 AND r.kind_id = 1 AND {namespace} AND {starred} AND {seen}
                             ORDER BY r.id LIMIT $2) r
                       JOIN "user" u ON u.id = r.namespace_user_id
                       ORDER BY r.id"#
                ),
                values,
            )
            .await?;
        rows.into_iter().map(ListedRepository::try_from).collect()
    }

    /// All about a repository. None when it is gone.
    pub async fn repository_details(
        &self,
        repository: &Repository,
        asker: Option<UserId>,
    ) -> Result<Option<RepositoryDetails>, MetadataError> {
        let row: Option<DetailsRow> = self
            .reader()
            .row(
                "look up a repository",
                r#"SELECT r.description, u.organization, u.removed_tag_expiration_s, r.badge_token,
                          EXISTS (SELECT 1 FROM star s WHERE s.repository_id = r.id AND s.user_id = $2) AS starred
                   FROM repository r JOIN "user" u ON u.id = r.namespace_user_id WHERE r.id = $1 AND r.state <> 3"#,
                params![repository.id.0, asker.map(|asker| asker.0)],
            )
            .await?;
        Ok(row.map(|row| RepositoryDetails {
            description: row.description,
            in_organization: row.organization,
            tag_window_seconds: row.removed_tag_expiration_s,
            badge_token: row.badge_token,
            starred: row.starred,
        }))
    }

    /// What happened in a repository since a day, day by day; at most 1,000 days.
    pub async fn repository_actions(
        &self,
        repository: RepositoryId,
        since: NaiveDate,
    ) -> Result<Vec<RepositoryActions>, MetadataError> {
        let rows: Vec<ActionsRow> = self
            .reader()
            .rows(
                "count what happened in a repository",
                "SELECT date, count FROM repositoryactioncount WHERE repository_id = $1 AND date >= $2
                 ORDER BY date LIMIT 1000",
                params![repository.0, since],
            )
            .await?;
        Ok(rows
            .into_iter()
            .map(|row| RepositoryActions {
                day: row.date,
                count: row.count.try_into().unwrap_or_default(),
            })
            .collect())
    }
}

impl TryFrom<ListedRow> for ListedRepository {
    type Error = MetadataError;

    fn try_from(row: ListedRow) -> Result<Self, MetadataError> {
        let state = RepositoryState::from_column(row.id, row.state)?.ok_or_else(|| {
            MetadataError::corrupt("repository", "state", row.id, "it is being deleted")
        })?;
        Ok(Self {
            id: RepositoryId(row.id),
            path: RepositoryPath {
                namespace: row.namespace,
                name: row.name,
            },
            description: row.description,
            public: row.public,
            state,
            starred: row.starred,
            last_modified: row.last_modified.and_then(Timestamp::from_timestamp_millis),
            actions: row
                .actions
                .unwrap_or_default()
                .try_into()
                .unwrap_or_default(),
        })
    }
}
