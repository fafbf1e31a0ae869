//! The registry: what its functions work on, and the handles by which they are reached.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use chrono::TimeDelta;
use roadstead_locations::Locations;
use roadstead_metadata::{
    Actor, CatalogViewer, Database, Demand, Engine, LogEntry, MetadataError, Repository,
    RepositoryPath,
};
use roadstead_oci::{MediaType, Reference, RepositoryName};
use roadstead_placement::{LocationName, Topology};
use roadstead_runtime::{Environment, Shutdown, Tasks, Timestamp};
use tokio::sync::Semaphore;

use crate::blobs::{Blobs, Fills, ReadRight};
use crate::catalog;
use crate::labels;
use crate::lately::{Asked, ContentChange, ContentListener, Lately};
use crate::manifests::Manifests;
use crate::memory::Budget;
use crate::metrics::PullCounters;
use crate::options::{DistributionOptions, Writes};
use crate::pull_log::PullLog;
use crate::refusal::{Refusal, require_own, require_writable};
use crate::tags::Tags;
use crate::uploads::{Abandoned, SessionLocks, Uploads};

/// What a [`Registry`] is put together from.
#[derive(Clone, Debug)]
pub struct RegistryParts {
    /// Where the metadata is.
    pub database: Database,
    /// The locations that this registry can reach.
    pub locations: Locations,
    /// In which order they are used.
    pub topology: Arc<Topology>,
    /// Time and ids.
    pub environment: Environment,
    /// What goes on after its request, and what a shutdown waits for.
    pub tasks: Tasks,
    /// Limits.
    pub options: DistributionOptions,
}

/// One registry. Clones are the same registry. Any number of registries, in any number of processes, may work on the same
/// database and locations.
#[derive(Clone, Debug)]
pub struct Registry {
    pub(crate) inner: Arc<Inner>,
}

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) database: Database,
    pub(crate) locations: Locations,
    pub(crate) topology: Arc<Topology>,
    /// The locations of the topology, as a set.
    configured: BTreeSet<LocationName>,
    pub(crate) environment: Environment,
    pub(crate) options: DistributionOptions,
    /// Whether pushes are taken; without effect where nothing is written at all.
    takes_pushes: AtomicBool,
    pub(crate) sessions: SessionLocks,
    pub(crate) pull_log: PullLog,
    pub(crate) lately: Lately,
    pub(crate) tasks: Tasks,
    pub(crate) fills: Fills,
    pub(crate) fill_permits: Arc<Semaphore>,
    pub(crate) verified_memory: Budget,
    pub(crate) kept_memory: Budget,
    pub(crate) read_right: ReadRight,
    pub(crate) counters: PullCounters,
}

impl Inner {
    pub(crate) fn now(&self) -> Timestamp {
        self.environment.now()
    }

    /// Begins to ask the database, without asking a server whether anything was committed.
    pub(crate) fn asking(&self) -> Asked {
        self.lately.asking(self.database.epochs_at_hand())
    }

    pub(crate) fn require_writable(&self, repository: &Repository) -> Result<(), Refusal> {
        require_writable(self.writes(), repository)
    }

    pub(crate) fn require_own(&self, repository: &Repository) -> Result<(), Refusal> {
        require_own(self.writes(), repository)
    }

    fn writes(&self) -> Writes {
        match (
            self.options.writes,
            self.takes_pushes.load(Ordering::Relaxed),
        ) {
            (Writes::ReadOnly, _) => Writes::ReadOnly,
            (Writes::Taken | Writes::PushesDisabled, true) => Writes::Taken,
            (Writes::Taken | Writes::PushesDisabled, false) => Writes::PushesDisabled,
        }
    }

    /// What every blob must reach, besides what the database says.
    pub(crate) fn demand(&self) -> Demand<'_> {
        Demand {
            defaults: self.topology.defaults(),
            configured: &self.configured,
        }
    }

    /// Until when something stays without anything that refers to it.
    pub(crate) fn hold_until(&self, now: Timestamp) -> Timestamp {
        after(now, self.options.unreferenced_hold)
    }

    /// Until when a publication of which nothing more is heard counts.
    pub(crate) fn publication_until(&self, now: Timestamp) -> Timestamp {
        after(now, self.options.publication_life)
    }

    /// Uploads that have rested since before this are given up.
    pub(crate) fn abandoned_before(&self) -> Timestamp {
        TimeDelta::from_std(self.options.abandoned_after)
            .ok()
            .and_then(|delta| self.now().checked_sub_signed(delta))
            .unwrap_or(Timestamp::MIN_UTC)
    }

    /// How many entries a page has of which a client asks for so many.
    pub(crate) fn page_limit(&self, entries: Option<u64>) -> u32 {
        let limit = self.options.page_entries_max;
        entries.map_or(limit, |entries| {
            u32::try_from(entries).unwrap_or(u32::MAX).min(limit)
        })
    }
}

/// `now` and so much later, or the end of time.
fn after(now: Timestamp, duration: Duration) -> Timestamp {
    TimeDelta::from_std(duration)
        .ok()
        .and_then(|delta| now.checked_add_signed(delta))
        .unwrap_or(Timestamp::MAX_UTC)
}

/// Some entries of a list that may be longer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page<T> {
    /// The entries.
    pub entries: Vec<T>,
    /// Whether there are more behind the last of them.
    pub more: bool,
}

impl<T> Page<T> {
    /// No entries, and none behind them.
    pub(crate) const fn empty() -> Self {
        Self {
            entries: Vec::new(),
            more: false,
        }
    }

    /// The first `limit` of what was found. One more of them tells that there are more.
    pub(crate) fn cut(mut found: Vec<T>, limit: u32) -> Self {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let more = found.len() > limit;
        found.truncate(limit);
        Self {
            entries: found,
            more,
        }
    }
}

impl Registry {
    /// A registry on these parts. Asks nobody yet.
    #[must_use]
    pub fn new(parts: RegistryParts) -> Self {
        let RegistryParts {
            database,
            locations,
            topology,
            environment,
            tasks,
            options,
        } = parts;
        Self {
            inner: Arc::new(Inner {
                database,
                locations,
                configured: topology.locations().iter().cloned().collect(),
                topology,
                lately: Lately::new(options.outage, Arc::clone(&environment.clock)),
                environment,
                tasks,
                fills: Fills::default(),
                fill_permits: Arc::new(Semaphore::new(options.fills_max)),
                verified_memory: Budget::of(options.verified_memory_bytes),
                kept_memory: Budget::of(options.kept_memory_bytes),
                read_right: ReadRight::new(options.hashed_again_after),
                takes_pushes: AtomicBool::new(options.writes != Writes::PushesDisabled),
                options,
                sessions: SessionLocks::default(),
                pull_log: PullLog::default(),
                counters: PullCounters::default(),
            }),
        }
    }

    /// Has somebody told of every change of content that is made here. The first one counts.
    pub fn tell_changes(&self, listener: Arc<dyn ContentListener>) {
        self.inner.lately.tell(listener);
    }

    /// Forgets what another process has changed: it is not answered with while the database is away.
    pub fn changed_elsewhere(&self, change: &ContentChange) {
        self.inner.lately.changed(change);
    }

    /// What it keeps to.
    pub fn options(&self) -> &DistributionOptions {
        &self.inner.options
    }

    /// The locations that it can reach.
    pub fn locations(&self) -> &Locations {
        &self.inner.locations
    }

    /// Where a repository of this name is kept: a name of a single segment belongs to the library namespace.
    pub fn path_of(&self, name: &RepositoryName) -> RepositoryPath {
        RepositoryPath {
            namespace: name
                .namespace()
                .unwrap_or(&self.inner.options.library_namespace)
                .to_owned(),
            name: name.rest().to_owned(),
        }
    }

    /// Finds a repository by the name that a client gives it. `None` also while it is being deleted. While the database is not available,
    /// as it was lately, within [`OutageOptions`](crate::OutageOptions).
    pub async fn find_repository(
        &self,
        name: &RepositoryName,
    ) -> Result<Option<Repository>, MetadataError> {
        let asked = self.inner.asking();
        self.find_repository_as_of(&self.path_of(name), asked).await
    }

    /// As [`Registry::find_repository`] for whoever reads in it right behind that, and what spares them further questions: see
    /// [`Manifests::asked`], [`Blobs::asked`] and [`Tags::asked`].
    pub async fn find_repository_to_read(
        &self,
        name: &RepositoryName,
    ) -> Result<(Option<Repository>, Asked), MetadataError> {
        let inner = &self.inner;
        let path = self.path_of(name);
        let mut asked = inner.asking();
        if inner.database.engine() == Engine::Postgres && inner.lately.worth_asking(&path) {
            let epochs = inner.database.epochs_now().await;
            asked = inner.lately.told(asked, epochs);
        }
        Ok((self.find_repository_as_of(&path, asked).await?, asked))
    }

    async fn find_repository_as_of(
        &self,
        path: &RepositoryPath,
        asked: Asked,
    ) -> Result<Option<Repository>, MetadataError> {
        let inner = &self.inner;
        if let Some(known) = inner.lately.known_repository(path, asked) {
            return Ok(Some(known));
        }
        let said = inner.database.find_repository(path).await;
        inner.lately.repository(path, asked, said)
    }

    /// Pushing blobs.
    pub fn uploads(&self) -> Uploads<'_> {
        Uploads::new(&self.inner)
    }

    /// Pulling and deleting blobs.
    pub fn blobs(&self) -> Blobs<'_> {
        Blobs::new(&self.inner)
    }

    /// Pushing, pulling and deleting manifests, and their referrers.
    pub fn manifests(&self) -> Manifests<'_> {
        Manifests::new(&self.inner)
    }

    /// Listing tags, and changing them. They are set by pushing too, and deleted like manifests.
    pub fn tags(&self) -> Tags<'_> {
        Tags::new(&self.inner)
    }

    /// Lists the repositories that `viewer` may see, in byte order from behind `after`, which need not exist. At most `entries`, and
    /// never more than [`DistributionOptions::page_entries_max`]; with 0 the page is empty and has no more behind it. Names are
    /// `namespace/name`, also those of the library.
    pub async fn catalog(
        &self,
        viewer: &CatalogViewer,
        after: Option<&str>,
        entries: Option<u64>,
    ) -> Result<Page<String>, MetadataError> {
        catalog::list(&self.inner, viewer, after, entries).await
    }

    /// Gives up uploads that rested for longer than [`DistributionOptions::abandoned_after`] and deletes their bytes, at every
    /// location of this registry that can be reached. Meant to run about once an hour, in one process or in several.
    ///
    /// Failures of single locations are logged and counted, and do not keep the others from being cleaned. Works through its
    /// list in bounded steps; a dropped future leaves a part of it to the next run.
    ///
    /// # Errors
    /// When the metadata cannot be read or changed.
    pub async fn clean_up_uploads(&self) -> Result<Abandoned, MetadataError> {
        crate::uploads::clean_up(&self.inner).await
    }

    /// Whether the registry is one that only reads, so that nothing in its database may be changed by anybody.
    pub fn only_reads(&self) -> bool {
        self.inner.options.writes == Writes::ReadOnly
    }

    /// What may be written now.
    pub fn writes(&self) -> Writes {
        self.inner.writes()
    }

    /// Says whether pushes are taken from now on; requests that were let in before go on. A registry that only reads goes on doing so.
    pub fn take_pushes(&self, taken: bool) {
        self.inner.takes_pushes.store(taken, Ordering::Relaxed);
    }

    /// Notes that somebody pulled a manifest, for the log. Never waits: [`Registry::keep_books`] writes it. A registry that only reads notes
    /// nothing.
    pub fn note_pull(
        &self,
        repository: &Repository,
        reference: &Reference,
        media_type: &MediaType,
        actor: &Actor,
    ) {
        if !self.only_reads() {
            let entry = LogEntry::pull(actor, repository, reference, media_type, self.inner.now());
            self.inner.pull_log.note(entry);
        }
    }

    /// How many notes of pulls were dropped since the start of the process, because the database did not take them for too long.
    pub fn dropped_pull_notes(&self) -> u64 {
        self.inner.pull_log.dropped()
    }

    /// Writes what was noted so far. [`Registry::keep_books`] does it every second.
    ///
    /// # Errors
    /// When the database does not take it. It is kept for the next attempt.
    pub async fn write_pull_notes(&self) -> Result<(), MetadataError> {
        self.inner.pull_log.write(&self.inner.database).await
    }

    /// Reads configurations that could not be read when their images were pushed, and stores their labels. Tells for how many manifests.
    /// [`Registry::keep_books`] does it every minute.
    ///
    /// # Errors
    /// When the metadata cannot be read or changed.
    pub async fn pay_labels(&self) -> Result<u64, MetadataError> {
        labels::pay(&self.inner).await
    }

    /// Writes the notes of pulls and pays owed labels until the shutdown; what was noted before it is written still. Run it once in a process
    /// that takes requests. A registry that only reads has no books to keep.
    pub async fn keep_books(&self, shutdown: &Shutdown) {
        let inner = &self.inner;
        if inner.options.writes == Writes::ReadOnly {
            return;
        }
        let clock = &*inner.environment.clock;
        tokio::join!(
            inner
                .pull_log
                .keep_written(&inner.database, clock, shutdown),
            labels::keep_paid(inner, shutdown),
        );
    }
}
