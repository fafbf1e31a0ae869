//! One round over the metadata, in an order in which each step finds what the one before it let go of. Every step is a short transaction over a
//! bounded batch, and the round as a whole is bounded.

use std::collections::BTreeSet;
use std::time::Duration;

use roadstead_metadata::{
    ClaimJobs, Collection, Job, ManifestId, MetadataError, NAMESPACE_QUEUE, NamespacePurge,
    REPOSITORY_QUEUE, Removed, RepositoryId, StorageId, Sweep, SweepProgress, UserId,
};
use roadstead_placement::FailureClass;

use super::{GarbageRound, Inner};

/// Rows of short tables taken in one transaction.
const ROWS: u32 = 1000;

/// Tags, with the manifests that go with them, taken in one transaction: some 200 manifests of 60 blobs, 12,000 rows, some 0.2 s.
const TAGS: u32 = 200;

/// Blobs looked at in one transaction. Each needs a lock of the database's, of which there are some thousands.
const BLOBS: u32 = 100;

/// Rows of a deleted repository removed in one transaction.
const PURGED_ROWS: u32 = 500;

/// How many ids one page of the search for strays spans, and how many tags that have ended one of the search for those whose time is over.
const PAGE: u32 = 1000;

/// How many pages of tags a round looks through: some 0.1 s. Only where namespaces have windows of different lengths are there many that shall stay.
const TAG_PAGES: usize = 20;

/// How long the search for strays rests when it has come to the end: they are rare.
const SWEEP_REST: Duration = Duration::from_hours(24);

/// How many transactions a step of a round takes at most, before the others have their turn.
const STEPS_MAX: usize = 200;

/// The lease of a deleted repository's or namespace's queue row, extended after so many steps: each takes some 0.1 s.
const JOB_LEASE: Duration = Duration::from_mins(10);
const STEPS_PER_LEASE: usize = 50;

/// When the removal of a repository or a namespace that failed is tried again.
const JOB_AGAIN: Duration = Duration::from_mins(15);

/// How long a blob is left alone that somebody was at work with.
const AGAIN: Duration = Duration::from_mins(1);

/// How far a round searches for what no note was made of.
#[derive(Clone, Copy, Debug)]
pub(super) enum Search {
    /// From where whatever process came to: strays a page at a time, and nothing for a day after the last; tags that have ended some pages at a time,
    /// over and over.
    Gentle,
    /// From the beginning to the end; behind which ids, or ends of tags, the next pages begin.
    Whole {
        tags: Option<i64>,
        manifests: Option<i64>,
        blobs: Option<i64>,
    },
}

impl Search {
    /// A search that is about to begin.
    pub(super) const fn whole() -> Self {
        Self::Whole {
            tags: Some(0),
            manifests: Some(0),
            blobs: Some(0),
        }
    }
}

impl Inner {
    pub(super) async fn collect(&self, search: &mut Search) -> Result<GarbageRound, MetadataError> {
        let mut round = GarbageRound::default();
        let collection = self.collection().await?;
        if self.options.namespaces {
            self.purge_namespaces(collection, &mut round).await?;
        }
        if self.options.repositories {
            self.purge_repositories(collection, &mut round).await?;
        }
        if !self.options.content {
            return Ok(round);
        }
        round.more |= self.end_protections().await?;
        self.sweep_tags(collection, search, &mut round).await?;
        self.sweep_manifests(collection, search, &mut round).await?;
        self.sweep_blobs(search, &mut round).await?;
        self.collect_blobs(collection, &mut round).await?;
        Ok(round)
    }

    /// Ends what has lapsed. True when there is more of it.
    async fn end_protections(&self) -> Result<bool, MetadataError> {
        let mut more = true;
        for _ in 0..STEPS_MAX {
            let ended = self
                .database
                .end_upload_protections(self.now(), ROWS)
                .await?;
            more = ended >= u64::from(ROWS);
            if !more {
                break;
            }
        }
        for _ in 0..STEPS_MAX {
            let ended = self
                .database
                .end_lapsed_publications(self.now(), BLOBS)
                .await?;
            if ended < u64::from(BLOBS) {
                return Ok(more);
            }
        }
        Ok(true)
    }

    /// Removes tags whose time is over, some pages of those that have ended.
    async fn sweep_tags(
        &self,
        collection: &Collection,
        search: &mut Search,
        round: &mut GarbageRound,
    ) -> Result<(), MetadataError> {
        let Some(began) = self.next_page(Sweep::Tags, search).await? else {
            return Ok(());
        };
        let removed_before = round.removed.tags;
        let until = self.database.latest_past_end(self.now()).await?;
        let mut next = Some(began);
        let mut steps = STEPS_MAX;
        for _ in 0..TAG_PAGES {
            let Some(after) = next else { break };
            let page = self
                .database
                .repositories_with_past_tags(after, until, self.now(), PAGE)
                .await?;
            for repository in page.repositories {
                self.collect_tags(collection, repository, &mut steps, round)
                    .await?;
            }
            let removing = round.removed.tags > removed_before;
            // A page that there were too few steps for is looked through again, unless nothing in it can be removed.
            if steps > 0 || !removing {
                next = page.next;
            }
            if steps == 0 {
                break;
            }
        }
        round.more |= next.is_some() && round.removed.tags > removed_before;
        if began == 0 && next.is_none() && matches!(search, Search::Gentle) {
            // Whole in one go, as nearly always: nothing to note.
            return Ok(());
        }
        self.turn_page(Sweep::Tags, search, next, round).await
    }

    /// Removes the tags of a repository whose time is over, as long as the round has steps left.
    async fn collect_tags(
        &self,
        collection: &Collection,
        repository: RepositoryId,
        steps: &mut usize,
        round: &mut GarbageRound,
    ) -> Result<(), MetadataError> {
        while *steps > 0 {
            *steps -= 1;
            match self
                .database
                .collect_tags(collection, repository, self.now(), TAGS)
                .await
            {
                Ok(collected) => {
                    round.removed.tags += collected.tags;
                    round.removed.manifests += collected.manifests;
                    if collected.tags < u64::from(TAGS) {
                        break;
                    }
                }
                Err(error) => {
                    tolerate(repository, error)?;
                    break;
                }
            }
        }
        Ok(())
    }

    /// Behind which id, or which end of a tag, the next page of a search begins, if it goes on.
    async fn next_page(&self, sweep: Sweep, search: &Search) -> Result<Option<i64>, MetadataError> {
        match (search, sweep) {
            (Search::Whole { tags, .. }, Sweep::Tags) => Ok(*tags),
            (Search::Whole { manifests, .. }, Sweep::Manifests) => Ok(*manifests),
            (Search::Whole { blobs, .. }, _) => Ok(*blobs),
            (Search::Gentle, _) => {
                let progress = self.database.sweep_progress(sweep).await?;
                // Strays are rare, but tags come to their ends all the time.
                let resting = sweep != Sweep::Tags
                    && progress
                        .finished_at
                        .is_some_and(|at| self.now() < at + SWEEP_REST);
                Ok((!resting).then_some(progress.position))
            }
        }
    }

    /// Notes where the next page begins.
    async fn turn_page(
        &self,
        sweep: Sweep,
        search: &mut Search,
        next: Option<i64>,
        round: &mut GarbageRound,
    ) -> Result<(), MetadataError> {
        match (search, sweep) {
            (Search::Whole { tags, .. }, Sweep::Tags) => *tags = next,
            (Search::Whole { manifests, .. }, Sweep::Manifests) => *manifests = next,
            (Search::Whole { blobs, .. }, _) => *blobs = next,
            (Search::Gentle, _) => {
                let progress = match next {
                    Some(position) => SweepProgress {
                        position,
                        finished_at: None,
                    },
                    None => SweepProgress {
                        position: 0,
                        finished_at: Some(self.now()),
                    },
                };
                return self.database.note_sweep(sweep, progress).await;
            }
        }
        round.more |= next.is_some();
        Ok(())
    }

    async fn sweep_manifests(
        &self,
        collection: &Collection,
        search: &mut Search,
        round: &mut GarbageRound,
    ) -> Result<(), MetadataError> {
        let Some(position) = self.next_page(Sweep::Manifests, search).await? else {
            return Ok(());
        };
        let page = self
            .database
            .stray_manifests(ManifestId(id_of(position)), PAGE)
            .await?;
        let repositories: BTreeSet<RepositoryId> = page
            .strays
            .iter()
            .map(|(repository, _)| *repository)
            .collect();
        for repository in repositories {
            let manifests: Vec<ManifestId> = page
                .strays
                .iter()
                .filter(|(of, _)| *of == repository)
                .map(|(_, manifest)| *manifest)
                .collect();
            match self
                .database
                .collect_manifests(collection, repository, &manifests, self.now())
                .await
            {
                Ok(removed) => round.removed.manifests += removed,
                Err(error) => tolerate(repository, error)?,
            }
        }
        round.more |= !page.strays.is_empty();
        self.turn_page(
            Sweep::Manifests,
            search,
            page.next.map(|next| next.0.into()),
            round,
        )
        .await
    }

    async fn sweep_blobs(
        &self,
        search: &mut Search,
        round: &mut GarbageRound,
    ) -> Result<(), MetadataError> {
        let Some(position) = self.next_page(Sweep::Blobs, search).await? else {
            return Ok(());
        };
        let next = self
            .database
            .note_stray_blobs(StorageId(id_of(position)), PAGE, self.now())
            .await?;
        if next.is_none() {
            self.database.forget_notes_of_the_gone().await?;
        }
        self.turn_page(Sweep::Blobs, search, next.map(|next| next.0.into()), round)
            .await
    }

    async fn collect_blobs(
        &self,
        collection: &Collection,
        round: &mut GarbageRound,
    ) -> Result<(), MetadataError> {
        for _ in 0..STEPS_MAX {
            let now = self.now();
            let collected = self
                .database
                .collect_blobs(collection, now, now + AGAIN, BLOBS)
                .await?;
            round.removed.blobs += collected.blobs;
            round.removed.bytes = round.removed.bytes.saturating_add(collected.bytes);
            if collected.looked_at < u64::from(BLOBS) {
                return Ok(());
            }
        }
        round.more = true;
        Ok(())
    }

    async fn claim(&self, queue: &str) -> Result<Option<Job>, MetadataError> {
        let now = self.now();
        let claimed = self
            .database
            .claim_jobs(&ClaimJobs {
                queue,
                limit: 1,
                now,
                lease_until: now + JOB_LEASE,
                token: self.environment.ids.uuid(),
            })
            .await?;
        Ok(claimed.into_iter().next())
    }

    async fn purge_repositories(
        &self,
        collection: &Collection,
        round: &mut GarbageRound,
    ) -> Result<(), MetadataError> {
        let waiting = self
            .database
            .requeue_deleted_repositories(self.environment.ids.as_ref(), self.now())
            .await?;
        if waiting == 0 {
            return Ok(());
        }
        let mut steps = 0;
        while let Some(job) = self.claim(REPOSITORY_QUEUE).await? {
            let purged = match self.database.deleted_repository(&job).await? {
                None => self.database.complete_job(&job).await.map(|_| true),
                Some(repository) => {
                    self.purge_repository(
                        collection,
                        repository,
                        &job,
                        &mut steps,
                        &mut round.removed,
                    )
                    .await
                }
            };
            if !self.settle_job(&job, purged).await? {
                round.more = true;
                return Ok(());
            }
        }
        Ok(())
    }

    async fn purge_namespaces(
        &self,
        collection: &Collection,
        round: &mut GarbageRound,
    ) -> Result<(), MetadataError> {
        let waiting = self
            .database
            .requeue_deleted_namespaces(self.environment.ids.as_ref(), self.now())
            .await?;
        if waiting == 0 {
            return Ok(());
        }
        let mut steps = 0;
        while let Some(job) = self.claim(NAMESPACE_QUEUE).await? {
            let purged = match self.database.deleted_namespace(&job).await? {
                None => self.database.complete_job(&job).await.map(|_| true),
                Some(namespace) => {
                    self.purge_namespace(
                        collection,
                        namespace,
                        &job,
                        &mut steps,
                        &mut round.removed,
                    )
                    .await
                }
            };
            if !self.settle_job(&job, purged).await? {
                round.more = true;
                return Ok(());
            }
        }
        Ok(())
    }

    /// Gives a job back that is not finished. One that failed is put off, so that it does not keep the others from being done. False when the
    /// round has done enough.
    async fn settle_job(
        &self,
        job: &Job,
        purged: Result<bool, MetadataError>,
    ) -> Result<bool, MetadataError> {
        match purged {
            Ok(true) => Ok(true),
            Ok(false) => {
                self.database.return_job(job, self.now()).await?;
                Ok(false)
            }
            Err(error @ MetadataError::Unavailable { .. }) => Err(error),
            Err(error) => {
                tracing::error!(
                    job.name = job.name,
                    error = &error as &dyn std::error::Error,
                    "Could not work off {}; trying again later",
                    job.name
                );
                let now = self.now();
                self.database
                    .postpone_job(
                        job,
                        now + JOB_AGAIN,
                        &error.to_string(),
                        FailureClass::Internal,
                        now,
                    )
                    .await?;
                Ok(true)
            }
        }
    }

    /// Removes a deleted namespace repository by repository. False when the round has done enough before the end.
    async fn purge_namespace(
        &self,
        collection: &Collection,
        namespace: UserId,
        job: &Job,
        steps: &mut usize,
        removed: &mut Removed,
    ) -> Result<bool, MetadataError> {
        loop {
            match self.database.purge_namespace(collection, namespace).await? {
                NamespacePurge::Finished => {
                    removed.namespaces += 1;
                    return Ok(true);
                }
                NamespacePurge::Repository(repository) => {
                    if !self
                        .purge_repository(collection, repository, job, steps, removed)
                        .await?
                    {
                        return Ok(false);
                    }
                }
            }
        }
    }

    /// Removes a deleted repository batch by batch. False when the round has done enough before the end.
    async fn purge_repository(
        &self,
        collection: &Collection,
        repository: RepositoryId,
        job: &Job,
        steps: &mut usize,
        removed: &mut Removed,
    ) -> Result<bool, MetadataError> {
        while *steps < STEPS_MAX {
            *steps += 1;
            let now = self.now();
            if (*steps).is_multiple_of(STEPS_PER_LEASE) {
                self.database
                    .extend_jobs(std::slice::from_ref(job), now + JOB_LEASE)
                    .await?;
            }
            let purged = match self
                .database
                .purge_repository(collection, repository, now, PURGED_ROWS)
                .await
            {
                Ok(purged) => purged,
                // Another process was faster.
                Err(MetadataError::Conflict { .. }) => return Ok(true),
                Err(error) => return Err(error),
            };
            removed.tags += purged.tags;
            removed.manifests += purged.manifests;
            if purged.finished {
                removed.repositories += 1;
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// The id that a page begins behind. What is no id lies behind all of them, and ends the search.
fn id_of(position: i64) -> i32 {
    position.try_into().unwrap_or(i32::MAX)
}

/// Logs a failure that concerns one repository, so that it does not keep the others from being cleaned. One of the database as a whole ends the
/// round.
fn tolerate(repository: RepositoryId, error: MetadataError) -> Result<(), MetadataError> {
    if matches!(error, MetadataError::Unavailable { .. }) {
        return Err(error);
    }
    tracing::error!(
        repository.id = %repository,
        error = &error as &dyn std::error::Error,
        "Could not collect the garbage of repository {repository}; trying again in the next round"
    );
    Ok(())
}
