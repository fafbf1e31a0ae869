//! What owners do with repositories: make them, describe them, show and hide them, let nobody push. Deletion is `garbage`'s.

use roadstead_runtime::Timestamp;
use serde_json::json;

use super::{FIND_NAMESPACE, NewRepository, Repository, RepositoryState, find, insert};
use crate::audit::{self, Actor, LogEntry};
use crate::database::{Connection, Database, Identified, Transaction, contended, params};
use crate::error::MetadataError;
use crate::ids::UserId;

/// A repository that somebody asks for, and not a push.
#[derive(Debug)]
pub struct CreateRepository<'a> {
    /// The repository. A missing namespace is not made.
    pub new: NewRepository<'a>,
    /// What its owner says of it.
    pub description: &'a str,
    /// Who makes it, for the log.
    pub actor: &'a Actor,
}

/// What became of [`Database::create_repository`].
#[derive(Clone, Debug)]
pub enum RepositoryCreation {
    /// It is there now.
    Created(Repository),
    /// It was there. Nothing was changed.
    Taken,
    /// There is no such namespace.
    NoNamespace,
}

/// What is changed of a repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RepositoryChange<'a> {
    /// What its owner says of it.
    Description(&'a str),
    /// Whether everybody may pull.
    Public(bool),
    /// What may be done with it.
    State(RepositoryState),
}

/// A change of a repository.
#[derive(Clone, Copy, Debug)]
pub struct ChangeRepository<'a> {
    /// The repository.
    pub repository: &'a Repository,
    /// What is changed.
    pub change: RepositoryChange<'a>,
    /// Who changes it, for the log.
    pub actor: &'a Actor,
    /// Now.
    pub now: Timestamp,
}

impl Database {
    /// Makes a repository in a namespace that there is, with its maker's permission, the organisation's default permissions and an entry in the log.
    pub async fn create_repository(
        &self,
        create: &CreateRepository<'_>,
    ) -> Result<RepositoryCreation, MetadataError> {
        contended(|| self.create_repository_once(create)).await
    }

    async fn create_repository_once(
        &self,
        create: &CreateRepository<'_>,
    ) -> Result<RepositoryCreation, MetadataError> {
        const OPERATION: &str = "create a repository";
        let path = create.new.path;
        let transaction = self.begin(OPERATION).await?;
        let namespace: Option<Identified> = transaction
            .row(OPERATION, FIND_NAMESPACE, params![path.namespace.as_str()])
            .await?;
        let Some(namespace) = namespace else {
            return Ok(RepositoryCreation::NoNamespace);
        };
        if find(&transaction, path).await?.is_some() {
            return Ok(RepositoryCreation::Taken);
        }
        let namespace = UserId(namespace.id);
        let created = insert(&transaction, namespace, &create.new, create.description).await?;
        log(
            &transaction,
            &created,
            create.actor,
            "create_repo",
            &[],
            create.new.now,
        )
        .await?;
        transaction.commit().await?;
        Ok(RepositoryCreation::Created(created))
    }

    /// Changes a repository. False when it is gone.
    pub async fn change_repository(
        &self,
        change: &ChangeRepository<'_>,
    ) -> Result<bool, MetadataError> {
        const OPERATION: &str = "change a repository";
        let id = change.repository.id.0;
        let transaction = self.begin(OPERATION).await?;
        let (changed, kind, member) = match change.change {
            RepositoryChange::Description(text) => (
                transaction
                    .execute(
                        OPERATION,
                        "UPDATE repository SET description = $2 WHERE id = $1 AND state <> 3",
                        params![id, text],
                    )
                    .await?,
                "set_repo_description",
                ("description", json!(text)),
            ),
            RepositoryChange::Public(public) => {
                let visibility = if public { "public" } else { "private" };
                (
                    transaction
                        .execute(
                            OPERATION,
                            "UPDATE repository SET visibility_id = (SELECT v.id FROM visibility v WHERE v.name = $2)
                             WHERE id = $1 AND state <> 3",
                            params![id, visibility],
                        )
                        .await?,
                    "change_repo_visibility",
                    ("visibility", json!(visibility)),
                )
            }
            RepositoryChange::State(state) => (
                transaction
                    .execute(
                        OPERATION,
                        "UPDATE repository SET state = $2 WHERE id = $1 AND state <> 3",
                        params![id, state.column()],
                    )
                    .await?,
                "change_repo_state",
                ("state_changed", json!(state.name())),
            ),
        };
        if changed == 0 {
            return Ok(false);
        }
        log(
            &transaction,
            change.repository,
            change.actor,
            kind,
            &[member],
            change.now,
        )
        .await?;
        transaction.commit().await?;
        Ok(true)
    }
}

/// Writes that something happened to a repository, as Quay's API does.
async fn log(
    transaction: &Transaction,
    repository: &Repository,
    actor: &Actor,
    kind: &'static str,
    more: &[(&str, serde_json::Value)],
    now: Timestamp,
) -> Result<(), MetadataError> {
    let mut members = vec![
        ("repo", json!(repository.path.name)),
        ("namespace", json!(repository.path.namespace)),
    ];
    members.extend_from_slice(more);
    let entry = LogEntry::change(
        actor,
        kind,
        repository.namespace_id,
        Some(repository.id),
        &members,
        now,
    );
    audit::write(transaction, &[entry]).await
}
