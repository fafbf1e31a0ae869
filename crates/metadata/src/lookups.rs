//! What pushes and pulls look up all the time. Of a server it is asked for many requests with one statement: whoever asks while an answer is awaited
//! is asked for together with the others who do. Nobody is told what was read before they asked.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::time::Duration;

use futures_util::future::BoxFuture;
use roadstead_oci::{Digest, Tag};
use roadstead_runtime::{Gather, Timestamp};
use sea_orm::DbErr;

use crate::blobs::Blob;
use crate::database::{Database, json_pairs};
use crate::dialect::Engine;
use crate::error::{DriverError, MetadataError};
use crate::ids::RepositoryId;
use crate::manifests::{ManifestLookup, StoredManifest};
use crate::reader::Reader;
use crate::repositories::{Repository, RepositoryPath};

/// How many are looked up with one statement. Manifests come with their bytes, of which as many are in memory as are asked for anyway.
const TOGETHER_MAX: usize = 256;

/// From a server that answers so soon, nobody waits long for their turn: it is asked for all together, which costs both sides less. As long as
/// statements take over a local network, busy or not.
pub(crate) const NEAR: Duration = Duration::from_millis(3);

/// Statements at once, of each kind. SQLite answers within the time that its statement costs; a server may be a long way off, and then who comes
/// just behind a statement waits for a quarter of the way there and back.
pub(crate) const fn at_once_max(engine: Engine) -> usize {
    match engine {
        Engine::Sqlite => 1,
        Engine::Postgres => 4,
    }
}

/// What was found of some things, by what they were asked for. A row that cannot be read is an error of its own.
pub(crate) type Found<K, T> = BTreeMap<K, Result<T, MetadataError>>;

/// Looks some things up with as many statements as it takes for one.
pub(crate) type LookUp<K, T> = for<'a> fn(
    &'a Database,
    &'a [K],
    Timestamp,
) -> BoxFuture<'a, Result<Found<K, T>, MetadataError>>;

/// Where those meet who look for the same kind of thing.
#[derive(Debug)]
pub(crate) struct Lookups {
    pub(crate) repositories: Lookup<RepositoryPath, Repository>,
    pub(crate) tags: Lookup<(RepositoryId, Tag), ManifestLookup>,
    pub(crate) manifests: Lookup<(RepositoryId, Digest), StoredManifest>,
    pub(crate) blobs: Lookup<(RepositoryId, Digest), Blob>,
}

impl Lookups {
    pub(crate) fn new(engine: Engine) -> Self {
        Self {
            repositories: Lookup::new("look up a repository", engine),
            tags: Lookup::new("look up a tag", engine),
            manifests: Lookup::new("look up a manifest", engine),
            blobs: Lookup::new("look up a blob", engine),
        }
    }
}

/// Where those meet who look for one kind of thing.
#[derive(Debug)]
pub(crate) struct Lookup<K, T> {
    gather: Gather<(K, Timestamp), Result<Option<T>, MetadataError>>,
    operation: &'static str,
}

impl<K, T> Lookup<K, T>
where
    K: Clone + Debug + Ord + Send + Sync + 'static,
    T: Clone + Debug + Send + Sync + 'static,
{
    fn new(operation: &'static str, engine: Engine) -> Self {
        Self {
            gather: Gather::new(TOGETHER_MAX, at_once_max(engine)).one_by_one_within(NEAR),
            operation,
        }
    }

    /// Looks something up, at the latest of the times of all who ask together.
    pub(crate) async fn find(
        &self,
        database: &Database,
        key: K,
        now: Timestamp,
        look_up: LookUp<K, T>,
    ) -> Result<Option<T>, MetadataError> {
        if let Some(database) = database.for_looking_up() {
            // It takes less time than to meet others.
            let mut found = look_up_all(database, vec![(key, now)], look_up).await;
            return found.pop().unwrap_or(Ok(None));
        }
        let database = database.clone();
        let ask = move |asked| look_up_all(database.clone(), asked, look_up);
        let answer = self.gather.ask((key, now), ask);
        answer.await.unwrap_or_else(|| Err(unasked(self.operation)))
    }
}

/// Looks up what some ask for, at the latest of their times, in their order.
async fn look_up_all<K, T>(
    database: Database,
    asked: Vec<(K, Timestamp)>,
    look_up: LookUp<K, T>,
) -> Vec<Result<Option<T>, MetadataError>>
where
    K: Clone + Ord,
    T: Clone,
{
    let now = asked.iter().map(|(_, now)| *now).max().unwrap_or_default();
    // Several may ask about one.
    let keys: BTreeSet<&K> = asked.iter().map(|(key, _)| key).collect();
    let keys: Vec<K> = keys.into_iter().cloned().collect();
    match look_up(&database, &keys, now).await {
        Ok(found) => asked
            .iter()
            .map(|(key, _)| found.get(key).cloned().transpose())
            .collect(),
        Err(error) => vec![Err(error); asked.len()],
    }
}

/// What is told to somebody whose question was lost on its way.
pub(crate) fn unasked(operation: &'static str) -> MetadataError {
    MetadataError::Unavailable {
        operation,
        source: DriverError::from(DbErr::Custom("nobody asked it".to_owned())),
    }
}

/// Looks up what digests name: at a replica, and what that does not know in the database itself.
pub(crate) async fn by_digest<K, T>(
    database: &Database,
    keys: &[K],
    look_up: impl for<'a> Fn(&'a Reader, &'a [K]) -> BoxFuture<'a, Result<Found<K, T>, MetadataError>>,
) -> Result<Found<K, T>, MetadataError>
where
    K: Clone + Ord,
{
    let mut found = look_up(database.named_reader(), keys).await?;
    // Without replicas it was the database itself that answered.
    if database.has_replicas() && found.len() < keys.len() {
        let unknown: Vec<K> = keys
            .iter()
            .filter(|key| !found.contains_key(key))
            .cloned()
            .collect();
        found.extend(look_up(database.pull_reader(), &unknown).await?);
    }
    Ok(found)
}

/// Names in repositories, as a table with the columns `repository_id` and `name`, of the parameter `$1`: see [`names_in_repositories`].
pub(crate) const NAMES: &str =
    "(SELECT CAST(first AS integer) AS repository_id, second AS name FROM @pairs($1) AS pairs)";

/// The parameter of [`NAMES`].
pub(crate) fn names_in_repositories<'a>(
    names: impl Iterator<Item = (RepositoryId, &'a str)>,
) -> String {
    let names: Vec<(String, &str)> = names
        .map(|(repository, name)| (repository.to_string(), name))
        .collect();
    json_pairs(
        names
            .iter()
            .map(|(repository, name)| (repository.as_str(), *name)),
    )
}

/// The parameter of [`NAMES`] for digests.
pub(crate) fn digests_in_repositories(digests: &[(RepositoryId, Digest)]) -> String {
    names_in_repositories(
        digests
            .iter()
            .map(|(repository, digest)| (*repository, digest.as_str())),
    )
}
