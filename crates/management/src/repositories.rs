//! Repositories: made, listed, described, shown and hidden, set to take no pushes, deleted.

use std::collections::BTreeMap;

use chrono::TimeDelta;
use roadstead_metadata::{
    Actor, CatalogViewer, ChangeRepository, CreateRepository, ListRepositories, ListedRepository,
    MarkDeleted, NewRepository, Repository, RepositoryChange, RepositoryCreation, RepositoryId,
    RepositoryPath, RepositoryState, TAG_WINDOW, TagFilter, TagPage, UserId,
};
use roadstead_oci::RepositoryName;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::error::ManagementError;
use crate::forms::{Moment, text};
use crate::management::Management;

/// The most characters of a description. Quay has no bound; the longest in use are README files of some kilobytes.
const DESCRIPTION_CHARS_MAX: usize = 10_000;

/// How many repositories a page has.
const PAGE: u32 = 100;

/// How many it has of one namespace. Quay gives all of them, and clients that know Quay do not ask for a second page there.
const NAMESPACE_PAGE: u32 = 1_000;

/// How many tags are told with a repository, as in Quay.
const TAGS_MAX: u32 = 500;

/// How many days of statistics there are, as in Quay: three months.
const STATS_DAYS: i64 = 92;

/// Over how many days what happened counts as popularity, as in Quay.
const POPULARITY_DAYS: i64 = 7;

/// A repository to be made.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[schemars(rename = "NewRepo")]
pub struct NewRepositoryDocument {
    /// Its name in the namespace. It may hold slashes.
    #[schemars(length(min = 1, max = 255))]
    pub repository: String,
    /// The namespace; the caller's own if left out.
    #[schemars(length(min = 1, max = 255))]
    pub namespace: Option<String>,
    /// Whether everybody may pull.
    pub visibility: Visibility,
    /// What it is for.
    #[schemars(length(max = 10_000))]
    pub description: String,
    /// What it holds: images.
    pub repo_kind: Option<RepositoryKind>,
}

/// Whether everybody may pull.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Visibility {
    /// Everybody may.
    Public,
    /// Only those with a permission may.
    Private,
}

/// What a repository holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum RepositoryKind {
    /// Images, and other things with manifests.
    Image,
}

/// What an owner says of a repository.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[schemars(rename = "RepoUpdate")]
pub struct DescriptionDocument {
    /// What it is for.
    #[schemars(length(max = 10_000))]
    pub description: String,
}

/// Another visibility.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[schemars(rename = "ChangeVisibility")]
pub struct VisibilityDocument {
    /// Whether everybody may pull.
    pub visibility: Visibility,
}

/// Another state.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[schemars(rename = "ChangeRepoState")]
pub struct StateDocument {
    /// Who may push.
    pub state: WantedState,
}

/// Who may push.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
pub enum WantedState {
    /// Those with a permission.
    #[serde(rename = "NORMAL")]
    Normal,
    /// Nobody.
    #[serde(rename = "READ_ONLY")]
    ReadOnly,
    /// The mirror's robot.
    #[serde(rename = "MIRROR")]
    Mirror,
}

/// A repository that was made.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct CreatedRepository {
    /// Its namespace.
    pub namespace: String,
    /// Its name in there.
    pub name: String,
    /// What it holds.
    pub kind: String,
}

/// That something was done.
#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
pub struct Success {
    /// True.
    pub success: bool,
}

impl Success {
    /// It was.
    pub const DONE: Self = Self { success: true };
}

/// Which repositories to list.
#[derive(Clone, Debug)]
pub struct RepositoryListing<'a> {
    /// Which may be shown.
    pub viewer: CatalogViewer,
    /// Who asks, for the stars.
    pub asker: Option<UserId>,
    /// Only those of this namespace.
    pub namespace: Option<&'a str>,
    /// Only those that the asker has starred.
    pub starred: bool,
    /// Whether the times of the last changes are told.
    pub last_modified: bool,
    /// Whether it is told how much they are used.
    pub popularity: bool,
    /// Behind which the page begins: what the page before said.
    pub after: Option<i32>,
}

/// A page of a list of repositories.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct RepositoryList {
    /// The repositories.
    pub repositories: Vec<RepositoryEntry>,
    /// By which the next page is asked for, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_page: Option<String>,
}

/// A repository in a list.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct RepositoryEntry {
    /// Its namespace.
    pub namespace: String,
    /// Its name in there.
    pub name: String,
    /// What it is for.
    pub description: Option<String>,
    /// Whether everybody may pull.
    pub is_public: bool,
    /// What it holds.
    pub kind: String,
    /// Who may push.
    pub state: String,
    /// When one of its tags was last changed, in seconds since 1970, if that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_modified: Option<LastModified>,
    /// How many pulls and pushes there were in a week, if that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub popularity: Option<f64>,
    /// Whether the caller has starred it; not told to the anonymous.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub is_starred: Option<bool>,
}

/// A time in seconds since 1970; null if there is none.
#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
#[serde(transparent)]
pub struct LastModified(pub Option<i64>);

/// What is told of a repository, and who asks.
#[derive(Clone, Copy, Debug)]
pub struct RepositoryQuestion {
    /// Who asks, for the star.
    pub asker: Option<UserId>,
    /// Whether the asker may push.
    pub can_write: bool,
    /// Whether the asker administers it.
    pub can_admin: bool,
    /// Whether its tags are told, at most 500.
    pub tags: bool,
    /// Whether it is told how much it was used.
    pub stats: bool,
}

/// All about a repository.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct RepositoryView {
    /// Its namespace.
    pub namespace: String,
    /// Its name in there.
    pub name: String,
    /// What it holds.
    pub kind: String,
    /// What it is for.
    pub description: Option<String>,
    /// Whether everybody may pull.
    pub is_public: bool,
    /// Whether its namespace is an organisation.
    pub is_organization: bool,
    /// Whether the caller has starred it.
    pub is_starred: bool,
    /// By which Quay shows its badge while it is private.
    pub status_token: String,
    /// Always false.
    pub trust_enabled: bool,
    /// For how many seconds deleted tags can be brought back.
    pub tag_expiration_s: i64,
    /// Always true: nobody is billed here.
    pub is_free_account: bool,
    /// Who may push.
    pub state: String,
    /// Its tags by name, if they were asked for; at most 500, the youngest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tags: Option<BTreeMap<String, RepositoryTag>>,
    /// Whether the caller may push.
    pub can_write: bool,
    /// Whether the caller administers it.
    pub can_admin: bool,
    /// How much it was used on each of the last days, if that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stats: Option<Vec<RepositoryDay>>,
}

/// A tag of a repository.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct RepositoryTag {
    /// Its name.
    pub name: String,
    /// How many bytes the layers have; unknown of an index.
    pub size: Option<u64>,
    /// Since when it points there.
    pub last_modified: Moment,
    /// When it ends, if it does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expiration: Option<Moment>,
    /// What it points to.
    pub manifest_digest: String,
}

/// How much a repository was used on a day.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct RepositoryDay {
    /// The day: `2026-11-25`.
    pub date: String,
    /// How many pulls and pushes.
    pub count: u64,
}

impl Management {
    /// Finds a repository that is not being deleted.
    pub async fn repository(&self, path: &RepositoryPath) -> Result<Repository, ManagementError> {
        let found = self.database.find_repository(path).await?;
        found.ok_or_else(|| ManagementError::unknown("repository", path.to_string()))
    }

    /// Makes a repository. Its creator becomes its administrator, and the organisation's default permissions apply.
    pub async fn create_repository(
        &self,
        namespace: &str,
        new: &NewRepositoryDocument,
        creator: UserId,
        actor: &Actor,
    ) -> Result<CreatedRepository, ManagementError> {
        let path = RepositoryPath {
            namespace: namespace.to_owned(),
            name: new.repository.clone(),
        };
        // What could not be pushed to is not made.
        let full = path.to_string();
        full.parse::<RepositoryName>().map_err(|error| {
            ManagementError::invalid("repository", format!("is no name: {error}"))
        })?;
        text("description", &new.description, DESCRIPTION_CHARS_MAX)?;
        let created = self
            .database
            .create_repository(&CreateRepository {
                new: NewRepository {
                    path: &path,
                    creator,
                    private: new.visibility == Visibility::Private,
                    create_namespace: false,
                    tag_window: TAG_WINDOW,
                    ids: &*self.environment.ids,
                    now: self.environment.now(),
                },
                description: &new.description,
                actor,
            })
            .await?;
        match created {
            RepositoryCreation::Created(repository) => Ok(CreatedRepository {
                namespace: repository.path.namespace,
                name: repository.path.name,
                kind: IMAGE.to_owned(),
            }),
            RepositoryCreation::Taken => Err(ManagementError::Taken {
                what: "a repository",
                name: full,
            }),
            RepositoryCreation::NoNamespace => {
                Err(ManagementError::unknown("namespace", namespace))
            }
        }
    }

    /// Lists repositories: 100 a page, or 1,000 of one namespace.
    pub async fn list_repositories(
        &self,
        listing: &RepositoryListing<'_>,
    ) -> Result<RepositoryList, ManagementError> {
        let now = self.environment.now();
        let limit = if listing.namespace.is_some() {
            NAMESPACE_PAGE
        } else {
            PAGE
        };
        let week = now.checked_sub_signed(TimeDelta::days(POPULARITY_DAYS));
        let mut found = self
            .database
            .list_repositories(&ListRepositories {
                viewer: &listing.viewer,
                namespace: listing.namespace,
                starred_only: listing.starred,
                asker: listing.asker,
                after: RepositoryId(listing.after.unwrap_or_default()),
                limit: limit + 1,
                last_modified: listing.last_modified,
                actions_since: week
                    .filter(|_| listing.popularity)
                    .map(|week| week.date_naive()),
                now,
            })
            .await?;
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let more = found.len() > limit;
        found.truncate(limit);
        Ok(RepositoryList {
            next_page: found
                .last()
                .filter(|_| more)
                .map(|last| last.id.to_string()),
            repositories: found.into_iter().map(|one| entry(one, listing)).collect(),
        })
    }

    /// Tells all about a repository.
    pub async fn view_repository(
        &self,
        repository: &Repository,
        question: RepositoryQuestion,
    ) -> Result<RepositoryView, ManagementError> {
        let details = self
            .database
            .repository_details(repository, question.asker)
            .await?
            .ok_or_else(|| ManagementError::unknown("repository", repository.path.to_string()))?;
        let tags = if question.tags {
            Some(self.live_tags(repository).await?)
        } else {
            None
        };
        let stats = if question.stats {
            Some(self.days(repository).await?)
        } else {
            None
        };
        Ok(RepositoryView {
            namespace: repository.path.namespace.clone(),
            name: repository.path.name.clone(),
            kind: kind(repository).to_owned(),
            description: details.description,
            is_public: repository.public,
            is_organization: details.in_organization,
            is_starred: details.starred,
            status_token: if repository.public {
                String::new()
            } else {
                details.badge_token
            },
            trust_enabled: false,
            tag_expiration_s: details.tag_window_seconds,
            is_free_account: true,
            state: repository.state.name().to_owned(),
            tags,
            can_write: question.can_write && repository.state == RepositoryState::Normal,
            can_admin: question.can_admin,
            stats,
        })
    }

    async fn live_tags(
        &self,
        repository: &Repository,
    ) -> Result<BTreeMap<String, RepositoryTag>, ManagementError> {
        let live = self
            .database
            .tag_history(&TagPage {
                repository: repository.id,
                filter: TagFilter::All,
                live_only: true,
                skip: 0,
                limit: TAGS_MAX,
                now: self.environment.now(),
            })
            .await?;
        Ok(live
            .into_iter()
            .map(|tag| {
                let told = RepositoryTag {
                    name: tag.name.clone(),
                    size: tag.layers_size,
                    last_modified: Moment(tag.start),
                    expiration: tag.end.map(Moment),
                    manifest_digest: tag.digest,
                };
                (tag.name, told)
            })
            .collect())
    }

    /// Each of the last days, the oldest first, without today.
    async fn days(&self, repository: &Repository) -> Result<Vec<RepositoryDay>, ManagementError> {
        let today = self.environment.now().date_naive();
        let days: Vec<_> = (1..STATS_DAYS)
            .rev()
            .filter_map(|back| today.checked_sub_signed(TimeDelta::days(back)))
            .collect();
        let since = days.first().copied().unwrap_or(today);
        let counted: BTreeMap<_, _> = self
            .database
            .repository_actions(repository.id, since)
            .await?
            .into_iter()
            .map(|actions| (actions.day, actions.count))
            .collect();
        Ok(days
            .into_iter()
            .map(|day| RepositoryDay {
                date: day.to_string(),
                count: counted.get(&day).copied().unwrap_or_default(),
            })
            .collect())
    }

    /// Says what a repository is for.
    pub async fn describe_repository(
        &self,
        repository: &Repository,
        document: &DescriptionDocument,
        actor: &Actor,
    ) -> Result<Success, ManagementError> {
        text("description", &document.description, DESCRIPTION_CHARS_MAX)?;
        let change = RepositoryChange::Description(&document.description);
        self.change_repository(repository, change, actor).await
    }

    /// Shows a repository to everybody, or hides it.
    pub async fn change_visibility(
        &self,
        repository: &Repository,
        visibility: Visibility,
        actor: &Actor,
    ) -> Result<Success, ManagementError> {
        let change = RepositoryChange::Public(visibility == Visibility::Public);
        self.change_repository(repository, change, actor).await
    }

    /// Says who may push.
    pub async fn change_state(
        &self,
        repository: &Repository,
        state: WantedState,
        actor: &Actor,
    ) -> Result<Success, ManagementError> {
        let state = match state {
            WantedState::Normal => RepositoryState::Normal,
            WantedState::ReadOnly => RepositoryState::ReadOnly,
            WantedState::Mirror => RepositoryState::Mirror,
        };
        let change = RepositoryChange::State(state);
        self.change_repository(repository, change, actor).await
    }

    async fn change_repository(
        &self,
        repository: &Repository,
        change: RepositoryChange<'_>,
        actor: &Actor,
    ) -> Result<Success, ManagementError> {
        let changed = self
            .database
            .change_repository(&ChangeRepository {
                repository,
                change,
                actor,
                now: self.environment.now(),
            })
            .await?;
        if changed {
            Ok(Success::DONE)
        } else {
            Err(ManagementError::unknown(
                "repository",
                repository.path.to_string(),
            ))
        }
    }

    /// Deletes a repository: nobody finds it from now on, and the collection of garbage removes what was in it.
    pub async fn delete_repository(
        &self,
        repository: &Repository,
        actor: &Actor,
    ) -> Result<(), ManagementError> {
        let now = self.environment.now();
        let mark = MarkDeleted {
            subject: repository.id,
            ids: &*self.environment.ids,
            available_at: now,
            now,
        };
        if self.database.mark_repository_deleted(&mark, actor).await? {
            Ok(())
        } else {
            Err(ManagementError::unknown(
                "repository",
                repository.path.to_string(),
            ))
        }
    }
}

/// Quay's name of what repositories hold.
const IMAGE: &str = "image";

fn kind(repository: &Repository) -> &'static str {
    if repository.holds_images {
        IMAGE
    } else {
        "application"
    }
}

fn entry(found: ListedRepository, listing: &RepositoryListing<'_>) -> RepositoryEntry {
    RepositoryEntry {
        namespace: found.path.namespace,
        name: found.path.name,
        description: found.description,
        is_public: found.public,
        kind: IMAGE.to_owned(),
        state: found.state.name().to_owned(),
        last_modified: listing
            .last_modified
            .then(|| LastModified(found.last_modified.map(|time| time.timestamp()))),
        popularity: listing
            .popularity
            .then(|| f64::from(u32::try_from(found.actions).unwrap_or(u32::MAX))),
        is_starred: listing.asker.map(|_| found.starred),
    }
}
