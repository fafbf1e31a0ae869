//! Garbage collection: what nobody can want any more leaves, while the registry goes on.
//!
//! | file | does |
//! |---|---|
//! | `round` | one bounded round over the metadata: ended protections, deleted repositories and namespaces, tags, strays, blobs |
//! | `objects` | deletes what a location has still to lose |
//! | `verdict` | decides what follows from a deletion that failed |
//! | `report` | says what a collection would remove and what waits |
//!
//! What is garbage is decided by `roadstead_metadata`, transaction by transaction; here it is done. The metadata lets go of a blob and notes
//! its objects in one step; the locations lose the objects later, each at its own pace. Any number of processes may collect at once.

mod objects;
mod report;
mod round;
mod verdict;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use roadstead_locations::Locations;
use roadstead_metadata::{
    Collection, Database, Features, GarbageRun, MetadataError, Removed, Sweep, SweepProgress,
};
use roadstead_runtime::{Environment, Shutdown, Timestamp};
use roadstead_storage::Location;
use tokio::sync::OnceCell;

use crate::metrics::GarbageCounters;

use self::objects::Deleted;
pub use self::report::{GarbageReport, WaitingAt};
use self::round::Search;
use self::verdict::pause_after;

/// How often it is written down that somebody looks for garbage although there is none.
const LOOK_NOTED_EVERY: Duration = Duration::from_mins(5);

/// What is collected, and how often it is looked for.
#[derive(Clone, Debug)]
pub struct GarbageOptions {
    /// Whether tags, manifests, blobs and their objects are (`FEATURE_GARBAGE_COLLECTION`). Default true.
    pub content: bool,
    /// Whether deleted repositories are (`FEATURE_REPOSITORY_GARBAGE_COLLECTION`). Default true.
    pub repositories: bool,
    /// Whether deleted namespaces are (`FEATURE_NAMESPACE_GARBAGE_COLLECTION`). Default true.
    pub namespaces: bool,
    /// The pause after a round that found nothing more to do (`GARBAGE_COLLECTION_FREQUENCY`). Default 30 s.
    pub pause: Duration,
    /// Which of Quay's optional bookkeeping is kept: the sizes of repositories and namespaces. Default Quay's.
    pub features: Features,
    /// The replication queue, into which the copy of an object goes that another program recorded while it was being deleted.
    pub replication_queue: String,
}

impl GarbageOptions {
    /// Whether nothing at all is collected.
    pub const fn is_off(&self) -> bool {
        !(self.content || self.repositories || self.namespaces)
    }
}

impl Default for GarbageOptions {
    fn default() -> Self {
        Self {
            content: true,
            repositories: true,
            namespaces: true,
            pause: Duration::from_secs(30),
            features: Features::default(),
            replication_queue: "imagestoragereplication".to_owned(),
        }
    }
}

/// What a [`GarbageCollector`] works on.
#[derive(Clone, Debug)]
pub struct GarbageParts {
    /// Where the metadata is.
    pub database: Database,
    /// The locations whose objects are deleted from here. What others have to lose waits for a process that can reach them.
    pub locations: Locations,
    /// Time, ids, chance.
    pub environment: Environment,
    /// What is collected.
    pub options: GarbageOptions,
}

/// Collects garbage. Clones are the same collector.
#[derive(Clone, Debug)]
pub struct GarbageCollector {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    database: Database,
    locations: Locations,
    environment: Environment,
    options: GarbageOptions,
    collection: OnceCell<Collection>,
    /// Objects that were deleted since the last run was noted.
    deleted: AtomicU64,
    counters: GarbageCounters,
}

/// What one round did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GarbageRound {
    /// What went.
    pub removed: Removed,
    /// Objects that could not be deleted now.
    pub failures: u64,
    /// Whether the round ended because it had done enough, not because there was nothing more to do.
    pub more: bool,
}

impl GarbageCollector {
    /// A collector on these parts. Asks nobody yet.
    #[must_use]
    pub fn new(parts: GarbageParts) -> Self {
        let GarbageParts {
            database,
            locations,
            environment,
            options,
        } = parts;
        Self {
            inner: Arc::new(Inner {
                database,
                locations,
                environment,
                options,
                collection: OnceCell::new(),
                deleted: AtomicU64::new(0),
                counters: GarbageCounters::default(),
            }),
        }
    }

    pub(crate) fn counters(&self) -> &GarbageCounters {
        &self.inner.counters
    }

    /// What it keeps to.
    pub fn options(&self) -> &GarbageOptions {
        &self.inner.options
    }

    /// Does one round: the metadata first, then every location beside the others, each until it has nothing due or does not answer.
    ///
    /// The round is bounded; [`GarbageRound::more`] says that another is worth while at once. A dropped future leaves nothing undone that
    /// another round does not find.
    pub async fn run_once(&self) -> Result<GarbageRound, MetadataError> {
        self.run(&mut Search::Gentle).await
    }

    /// Does rounds until nothing is left that can be collected now, a search for strays from beginning to end included, and tells `each`
    /// round. Objects that could not be deleted wait for later rounds.
    pub async fn run_to_end(
        &self,
        mut each: impl FnMut(&GarbageRound) + Send,
    ) -> Result<GarbageRound, MetadataError> {
        let mut total = GarbageRound::default();
        let mut search = Search::whole();
        loop {
            let round = self.run(&mut search).await?;
            each(&round);
            total.removed += round.removed;
            total.failures = total.failures.saturating_add(round.failures);
            if !round.more && round.removed.is_nothing() {
                return Ok(total);
            }
        }
    }

    async fn run(&self, search: &mut Search) -> Result<GarbageRound, MetadataError> {
        let started = self.inner.environment.now();
        if self.inner.options.is_off() {
            return Ok(GarbageRound::default());
        }
        let mut round = self.inner.collect(search).await?;
        let locations = self
            .inner
            .locations
            .iter()
            .filter(|_| self.inner.options.content)
            .map(|location| self.inner.delete_due(location));
        for deleted in join_all(locations).await {
            let deleted = deleted?;
            round.removed.objects += deleted.objects;
            round.failures += deleted.failures;
        }
        self.inner.note_run(started, round.removed).await?;
        Ok(round)
    }

    /// Collects until the shutdown. A location that does not answer delays neither the metadata nor the other locations.
    pub async fn keep_collecting(&self, shutdown: &Shutdown) {
        if self.inner.options.is_off() {
            tracing::info!("Garbage collection is switched off; nothing is removed");
            return;
        }
        let locations = self
            .inner
            .locations
            .iter()
            .filter(|_| self.inner.options.content)
            .map(|location| self.keep_deleting(location, shutdown));
        tokio::join!(self.keep_looking(shutdown), join_all(locations));
    }

    async fn keep_looking(&self, shutdown: &Shutdown) {
        let mut failing = false;
        while !shutdown.requested() {
            let started = self.inner.environment.now();
            let looked = async {
                let mut round = self.inner.collect(&mut Search::Gentle).await?;
                round.removed.objects = self.inner.deleted.swap(0, Ordering::Relaxed);
                self.inner.note_run(started, round.removed).await?;
                Ok::<_, MetadataError>(round)
            };
            let looked = looked.await;
            let failed_before = std::mem::replace(&mut failing, looked.is_err());
            let more = match looked {
                Ok(round) => {
                    if failed_before {
                        tracing::info!("Garbage can be collected again");
                    }
                    round.more
                }
                Err(error) => {
                    // Once, however many follow.
                    if !failed_before {
                        tracing::warn!(
                            error = &error as &dyn std::error::Error,
                            "Could not collect garbage; trying again"
                        );
                    }
                    false
                }
            };
            if !more {
                self.rest(self.inner.options.pause, shutdown).await;
            }
        }
    }

    async fn keep_deleting(&self, location: &Location, shutdown: &Shutdown) {
        let mut failures_in_a_row = 0;
        let mut failing = false;
        while !shutdown.requested() {
            let deleted = self.inner.delete_due(location).await;
            let failed_before = std::mem::replace(&mut failing, deleted.is_err());
            let deleted = deleted.unwrap_or_else(|error| {
                // Once, however many follow.
                if !failed_before {
                    tracing::warn!(
                        location.id = %location.name(),
                        error = &error as &dyn std::error::Error,
                        "Could not go on deleting objects at location {}; trying again",
                        location.name()
                    );
                }
                Deleted::default()
            });
            self.inner
                .deleted
                .fetch_add(deleted.objects, Ordering::Relaxed);
            failures_in_a_row = if deleted.unreachable {
                failures_in_a_row + 1
            } else {
                0
            };
            let pause = pause_after(
                failures_in_a_row,
                self.inner.environment.ids.fraction(),
                self.inner.options.pause,
            );
            self.rest(pause, shutdown).await;
        }
    }

    async fn rest(&self, pause: Duration, shutdown: &Shutdown) {
        tokio::select! {
            () = shutdown.wait() => {}
            () = self.inner.environment.clock.sleep(pause) => {}
        }
    }
}

impl Inner {
    fn now(&self) -> Timestamp {
        self.environment.now()
    }

    async fn collection(&self) -> Result<&Collection, MetadataError> {
        self.collection
            .get_or_try_init(|| self.database.collection(self.options.features))
            .await
    }

    /// Keeps the figures of a run that removed something, and that somebody looked at all.
    async fn note_run(&self, started_at: Timestamp, removed: Removed) -> Result<(), MetadataError> {
        let now = self.now();
        self.counters.note_round(&removed);
        if !removed.is_nothing() {
            self.database
                .note_garbage_run(&GarbageRun {
                    started_at,
                    finished_at: now,
                    removed,
                })
                .await?;
            tracing::info!(
                garbage.tags = removed.tags,
                garbage.manifests = removed.manifests,
                garbage.blobs = removed.blobs,
                garbage.bytes = removed.bytes,
                garbage.objects = removed.objects,
                "Collected garbage: {} tags, {} manifests, {} blobs, {} objects",
                removed.tags,
                removed.manifests,
                removed.blobs,
                removed.objects,
            );
        }
        let looked = self.database.sweep_progress(Sweep::Looks).await?;
        if looked
            .finished_at
            .is_none_or(|at| now - LOOK_NOTED_EVERY >= at)
        {
            let progress = SweepProgress {
                position: 0,
                finished_at: Some(now),
            };
            self.database.note_sweep(Sweep::Looks, progress).await?;
        }
        Ok(())
    }
}
