//! Handles the replication jobs of one blob: looks again at what is required and what is there, brings the blob to every location that
//! lacks it, and records each copy once it is proven.

#[cfg(test)]
mod tests;
mod under_way;
mod within;

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;
use std::time::Duration;

use futures_util::future::join_all;
use roadstead_metadata::{
    BeginCopy, Blob, CopyBeginning, CopyOrder, JobId, MetadataError, Publication, Recorded,
};
use roadstead_placement::{
    CopyLimit, CopyPlan, FailureClass, LocationName, RETRY_DELAY_MAX, RequiredLocations,
    plan_copies, plan_refuge,
};
use roadstead_queue::{Handler, Job, JobOutcome};
use roadstead_runtime::Shutdown;
use roadstead_storage::{Location, Verification};
use roadstead_telemetry::TraceParent;
use tokio::sync::SemaphorePermit;
use tracing::{Instrument as _, Span};

use crate::Replication;
use crate::copy::{BlobContent, CopyError, StagedCopy, holds, stands};
use crate::fan_out::{Ended, FanOut, FannedOut, SMALL_BYTES};
use crate::job_body::JobBody;
use crate::ledger::{Completed, LedgerError};
use crate::reason::{one_line, reason};
use crate::throttle::minute_of_day;
use under_way::Attendant;
use within::Within;

/// When a job that this program cannot read is looked at again: a newer version that can read it may run by then.
const UNREADABLE_AFTER: Duration = Duration::from_hours(1);

/// When a job is looked at again whose copy is paused. Whoever takes the pause back makes it due.
const PAUSED_AFTER: Duration = Duration::from_mins(10);

/// What one copy to a directory holds at most: [`CHUNKS_IN_FLIGHT_MAX`](crate::CHUNKS_IN_FLIGHT_MAX) chunks.
const DIRECTORY_BYTES: u64 = 7 << 20;

/// What one copy to an object store holds at most by default: the memory of an upload.
const UPLOAD_BYTES: u64 = 64 << 20;

/// How a blob's journey to one location ended well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Arrival {
    /// It is there and recorded, and the job ended with that.
    Recorded,
    /// It was there before, the blob was deleted meanwhile, or the location takes no new bytes: nothing is wanted any more.
    NotWanted,
}

/// Why a blob did not arrive, or why it is not known whether it did.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Copy(#[from] CopyError),
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    #[error("no configured location holds `{digest}`; it is recorded at: {recorded}")]
    NoSource { digest: String, recorded: String },
    #[error("no source could be read: {reasons}")]
    SourcesFailed {
        reasons: String,
        class: FailureClass,
    },
    #[error("an older object of `{digest}` is being deleted at location `{location}`")]
    BeingDeleted {
        digest: String,
        location: LocationName,
    },
    #[error(
        "too much time passed before the copy of `{digest}` at location `{location}` could be recorded"
    )]
    Lapsed {
        digest: String,
        location: LocationName,
    },
}

impl From<MetadataError> for Failure {
    fn from(error: MetadataError) -> Self {
        Self::Ledger(error.into())
    }
}

impl Failure {
    /// What kind of failure it is.
    fn class(&self) -> FailureClass {
        match self {
            Self::Copy(error) => error.class(),
            Self::NoSource { .. } => FailureClass::ObjectMissing,
            Self::SourcesFailed { class, .. } => *class,
            Self::Ledger(_) | Self::BeingDeleted { .. } | Self::Lapsed { .. } => {
                FailureClass::Internal
            }
        }
    }
}

#[async_trait::async_trait]
impl Handler for Replication {
    /// Replicates the blob that the jobs name to their targets, reading it once. A row of Quay's, which has none, is turned into one job for
    /// each location that lacks the blob.
    ///
    /// Done twice, it does nothing the second time. Dropped, it leaves at most staged bytes at the targets, which the
    /// cleanup of abandoned uploads finds, or whoever goes on with them.
    async fn handle(&self, jobs: &[Job], shutdown: &Shutdown) -> Vec<JobOutcome> {
        let began = self.environment.now();
        let mut outcomes: BTreeMap<JobId, JobOutcome> = BTreeMap::new();
        let mut of_blobs: BTreeMap<String, Vec<&Job>> = BTreeMap::new();
        for job in jobs {
            match JobBody::parse(&job.body) {
                Ok(body) => of_blobs.entry(body.storage_id).or_default().push(job),
                Err(problem) => {
                    let unreadable = JobOutcome::Postpone {
                        reason: one_line(&problem),
                        after: UNREADABLE_AFTER,
                    };
                    outcomes.insert(job.id, unreadable);
                }
            }
        }
        for (storage, jobs) in of_blobs {
            let span = span_of(&jobs);
            let replicated = self.replicate(&storage, &jobs, shutdown);
            match replicated.instrument(span).await {
                Ok(ended) => outcomes.extend(ended),
                Err(failure) => {
                    for job in jobs {
                        outcomes.insert(job.id, outcome_of(&failure));
                    }
                }
            }
        }
        let took = self.environment.now() - began;
        jobs.iter()
            .map(|job| {
                let outcome = outcomes.remove(&job.id).unwrap_or(JobOutcome::Retry {
                    reason: "nothing is known of how it ended".to_owned(),
                    class: FailureClass::Internal,
                });
                self.counters.note_job(job, &outcome, took);
                outcome
            })
            .collect()
    }

    fn note_workers(&self, workers: NonZeroU32) {
        self.throttle.share(workers);
    }

    /// Nothing is taken while everything is paused.
    async fn is_open(&self) -> bool {
        let control = self
            .throttle
            .control(&self.database, self.environment.clock.as_ref());
        !control.await.paused.everything
    }
}

/// The span of the copying of one blob: it goes on with the trace of one of the pushes that wanted the copies, and points to those of the others.
fn span_of(jobs: &[&Job]) -> Span {
    let span = tracing::debug_span!(
        "replication.copy",
        otel.kind = "consumer",
        messaging.operation.name = "copy",
        roadstead.copies = jobs.len(),
    );
    let mut traces: Vec<&str> = jobs.iter().filter_map(|job| job.trace.as_deref()).collect();
    traces.sort_unstable();
    traces.dedup();
    let mut traces = traces
        .into_iter()
        .filter_map(|trace| trace.parse::<TraceParent>().ok());
    if let Some(first) = traces.next() {
        first.begin(&span);
    }
    traces.for_each(|other| other.link(&span));
    span
}

/// What becomes of a job that ended like this.
fn outcome_of(failure: &Failure) -> JobOutcome {
    match failure {
        Failure::Copy(CopyError::Interrupted) => JobOutcome::Interrupted,
        Failure::Copy(CopyError::Paused) => JobOutcome::Wait {
            after: PAUSED_AFTER,
        },
        failure => JobOutcome::Retry {
            reason: reason(failure),
            class: failure.class(),
        },
    }
}

fn outcome_of_arrival(arrival: &Result<Arrival, Failure>) -> JobOutcome {
    match arrival {
        Ok(Arrival::Recorded) => JobOutcome::Recorded,
        Ok(Arrival::NotWanted) => JobOutcome::Obsolete,
        Err(failure) => outcome_of(failure),
    }
}

impl Replication {
    async fn replicate(
        &self,
        storage: &str,
        jobs: &[&Job],
        shutdown: &Shutdown,
    ) -> Result<BTreeMap<JobId, JobOutcome>, Failure> {
        let all = |outcome: &JobOutcome| {
            let ended = jobs.iter().map(|job| (job.id, outcome.clone()));
            Ok(ended.collect())
        };
        let Some(order) = self.copy_order(storage).await? else {
            return all(&JobOutcome::Obsolete);
        };
        let due = self.due(&order);
        let blob = order.blob;
        let content = BlobContent {
            digest: blob.digest.clone(),
            size: blob.size,
        };
        let ranked = self.locations.rank_reads(&self.topology, &blob.present);
        let lost = ranked.is_empty() && !content.is_empty();
        let mut ended = BTreeMap::new();
        let mut wanted: Vec<(&Job, &Location)> = Vec::new();
        for job in jobs {
            let outcome = match &job.target {
                _ if due.is_empty() => JobOutcome::Obsolete,
                None if lost => JobOutcome::Postpone {
                    // Nothing counts the attempts of such a row, so that its delay would not grow.
                    reason: reason(&no_source(&blob)),
                    after: RETRY_DELAY_MAX,
                },
                None => {
                    // A row of Quay's stands for every location that lacks the blob, and there may be a dozen of them for one blob. Each
                    // location gets a row of its own, once, which keeps its attempts and the reason of the last failure.
                    self.want_copies_of(blob.storage).await?;
                    JobOutcome::Done
                }
                Some(target) => match due.iter().find(|due| due.name() == target) {
                    None => JobOutcome::Obsolete,
                    Some(_) if lost => outcome_of(&no_source(&blob)),
                    Some(target) => {
                        wanted.push((job, target));
                        continue;
                    }
                },
            };
            ended.insert(job.id, outcome);
        }
        if !wanted.is_empty() {
            ended.extend(
                self.bring(&blob, &content, &wanted, &ranked, shutdown)
                    .await?,
            );
        }
        Ok(ended)
    }

    /// The locations that the blob has to be brought to: required, open and without it. What the job says of a namespace does not matter:
    /// another may hold the blob too, or hold it instead. Of a blob that only leaving locations hold, those that it may be brought to.
    fn due(&self, order: &CopyOrder) -> Vec<&Location> {
        let CopyOrder {
            blob,
            required,
            closed,
        } = order;
        let required = RequiredLocations::of(required.clone());
        let refuge = plan_refuge(&self.topology, &required, closed, &blob.present);
        let targets = if refuge.is_empty() {
            match plan_copies(&self.topology, &required, &blob.present) {
                CopyPlan::Copy { targets, .. } | CopyPlan::NoSource { targets } => targets,
                CopyPlan::Complete => Vec::new(),
            }
        } else {
            refuge.into_iter().collect()
        };
        let due = targets.iter();
        due.filter_map(|target| self.locations.get(target))
            .collect()
    }

    /// Brings a blob to the locations that lack it. Those that share the same limits share one reading; one that has a limit of its own does not
    /// hold the others up.
    async fn bring(
        &self,
        blob: &Blob,
        content: &BlobContent,
        wanted: &[(&Job, &Location)],
        ranked: &[LocationName],
        shutdown: &Shutdown,
    ) -> Result<BTreeMap<JobId, JobOutcome>, Failure> {
        let clock = self.environment.clock.as_ref();
        let control = self.throttle.control(&self.database, clock).await;
        let minute = minute_of_day(clock.now());
        let mut outcomes = BTreeMap::new();
        // A source that is paused is as good as none; another will do.
        let sources: Vec<&LocationName> = ranked
            .iter()
            .filter(|source| !control.is_paused(None, source))
            .collect();
        let mut groups: BTreeMap<BTreeSet<&CopyLimit>, Vec<(&Job, &Location)>> = BTreeMap::new();
        for (job, target) in wanted {
            if control.is_paused(None, target.name()) || (sources.is_empty() && !content.is_empty())
            {
                outcomes.insert(job.id, outcome_of(&CopyError::Paused.into()));
                continue;
            }
            let first = sources.first().copied();
            let limits = control.limits_on(first, target.name(), minute).collect();
            groups.entry(limits).or_default().push((job, target));
        }
        let groups = groups.into_values().map(|wanted| {
            let sources = &sources;
            async move {
                // The permits go by what may be held at once.
                let _held = self.memory_for(content, &wanted).await;
                self.bring_together(blob, content, &wanted, sources, shutdown)
                    .await
            }
        });
        for brought in join_all(groups).await {
            outcomes.extend(brought?);
        }
        Ok(outcomes)
    }

    /// Waits until there is memory for a copy to these targets.
    async fn memory_for(
        &self,
        content: &BlobContent,
        wanted: &[(&Job, &Location)],
    ) -> Option<SemaphorePermit<'_>> {
        let of_target = |target: &Location| match target.root() {
            Some(_) => DIRECTORY_BYTES,
            None => content.size.min(UPLOAD_BYTES),
        };
        let bytes: u64 = if content.size <= SMALL_BYTES {
            content.size
        } else {
            wanted.iter().map(|(_, target)| of_target(target)).sum()
        };
        let kibibytes = u32::try_from(bytes / 1024 + 1).unwrap_or(u32::MAX);
        // More than there is at all waits for all of it.
        self.memory
            .acquire_many(kibibytes.min(self.memory_kibibytes))
            .await
            .ok()
    }

    async fn bring_together(
        &self,
        blob: &Blob,
        content: &BlobContent,
        wanted: &[(&Job, &Location)],
        sources: &[&LocationName],
        shutdown: &Shutdown,
    ) -> Result<BTreeMap<JobId, JobOutcome>, Failure> {
        let there = wanted
            .iter()
            .map(|(job, target)| self.already_there(blob, content, job, target));
        let there = join_all(there).await;
        let mut ended = BTreeMap::new();
        let mut lacking: Vec<(&Job, &Location)> = Vec::new();
        for ((job, target), there) in wanted.iter().zip(there) {
            match there.transpose() {
                Some(there) => drop(ended.insert(job.id, outcome_of_arrival(&there))),
                None => lacking.push((job, target)),
            }
        }
        let best = sources.first().and_then(|best| self.locations.get(best));
        let Within { arrived, lacking } = self
            .copy_within(blob, content, lacking, best, shutdown)
            .await;
        let arrived = arrived.iter();
        ended.extend(arrived.map(|(job, arrival)| (job.id, outcome_of_arrival(arrival))));
        if lacking.is_empty() {
            return Ok(ended);
        }
        let (targets, digester) = self.begun(content, &lacking).await?;
        let attendant = Attendant {
            replication: self,
            jobs: lacking
                .iter()
                .map(|(job, target)| (target.name(), job.id))
                .collect(),
        };
        let fan_out = FanOut {
            blob: content,
            sources: sources
                .iter()
                .filter_map(|source| self.locations.get(source))
                .collect(),
            targets,
            digester,
            ids: self.environment.ids.as_ref(),
            attend: &attendant,
        };
        let FannedOut { arms, failures } = fan_out.run(shutdown).await;
        for (source, error) in &failures {
            if error.disproves_source()
                && let Some(source) = self.locations.get(source)
            {
                self.look_again(blob, source, error).await?;
            }
        }
        let staged = match arms {
            Ok(staged) => staged,
            Err(none) => {
                let failure = match none {
                    Ended::Stopped(error) => error.into(),
                    Ended::NoSource => sources_failed(blob, &failures),
                };
                let outcome = outcome_of(&failure);
                ended.extend(lacking.iter().map(|(job, _)| (job.id, outcome.clone())));
                return Ok(ended);
            }
        };
        let published =
            join_all(
                lacking
                    .iter()
                    .zip(staged)
                    .map(async |((job, _), staged)| match staged {
                        Ok(staged) => self.publish(blob, staged, job).await,
                        Err(error) => Err(error.into()),
                    }),
            );
        let arrivals: Vec<(JobId, Result<Arrival, Failure>)> = lacking
            .iter()
            .map(|(job, _)| job.id)
            .zip(published.await)
            .collect();
        self.begin_anew(content, &arrivals).await?;
        let outcomes = arrivals.iter();
        ended.extend(outcomes.map(|(job, arrival)| (*job, outcome_of_arrival(arrival))));
        Ok(ended)
    }

    /// Records an object that is there whole already: an earlier attempt published it and did not come to record it. A first attempt at a small
    /// blob just writes it, which costs as much as to look.
    async fn already_there(
        &self,
        blob: &Blob,
        content: &BlobContent,
        job: &Job,
        target: &Location,
    ) -> Result<Option<Arrival>, Failure> {
        let cheap = content.size <= SMALL_BYTES && target.capabilities().checked_writes;
        if (cheap && job.attempts == 0) || !holds(target, content).await? {
            return Ok(None);
        }
        let Some(publication) = self.begin_publication(blob, target).await? else {
            return Ok(Some(Arrival::NotWanted));
        };
        // Looked at again now that nobody deletes it any more.
        if stands(target, content).await? {
            return self.record(blob, publication, job).await.map(Some);
        }
        self.withdraw(publication).await;
        Ok(None)
    }

    /// Makes a staged copy the blob's object at its target, and records it.
    async fn publish(
        &self,
        blob: &Blob,
        staged: StagedCopy<'_>,
        job: &Job,
    ) -> Result<Arrival, Failure> {
        let publication = match self.begin_publication(blob, staged.target).await {
            Ok(Some(publication)) => publication,
            Ok(None) => {
                staged.discard().await;
                return Ok(Arrival::NotWanted);
            }
            Err(failure) => {
                staged.discard().await;
                return Err(failure);
            }
        };
        // What may appear although this fails is deleted when the publication lapses.
        staged.publish().await?;
        self.record(blob, publication, job).await
    }

    /// Notes that the blob's object is about to appear at the target, so that nobody deletes it before it is recorded. None if the blob was
    /// deleted while it was copied: it stays gone.
    async fn begin_publication(
        &self,
        blob: &Blob,
        target: &Location,
    ) -> Result<Option<Publication>, Failure> {
        let copy = BeginCopy {
            storage: blob.storage,
            digest: blob.digest.clone(),
            location: target.name().clone(),
        };
        match self.begin_copy(copy).await? {
            CopyBeginning::Begun(publication) => Ok(Some(publication)),
            CopyBeginning::BlobGone => Ok(None),
            CopyBeginning::BeingDeleted => Err(Failure::BeingDeleted {
                digest: blob.digest.to_string(),
                location: target.name().clone(),
            }),
        }
    }

    /// Ends a publication that came to nothing. If that fails, it lapses.
    async fn withdraw(&self, publication: Publication) {
        let withdrawn = self
            .database
            .withdraw_publication(publication, self.environment.now())
            .await;
        if let Err(error) = withdrawn {
            tracing::debug!(
                error = &error as &dyn std::error::Error,
                "Could not end a publication; it lapses",
            );
        }
    }

    async fn record(
        &self,
        blob: &Blob,
        publication: Publication,
        job: &Job,
    ) -> Result<Arrival, Failure> {
        let target = publication.location().clone();
        let completed = Completed {
            storage: blob.storage,
            publication,
            job: job.clone(),
        };
        let span = tracing::debug_span!("placement.record", roadstead.location = target.as_str(),);
        match self.record_copy(completed).instrument(span).await? {
            Recorded::Yes => {
                self.throughput
                    .note(&target, blob.size, self.environment.now());
                self.arrivals.note(blob.storage, &target);
                self.counters.note_copy(&target, blob.size);
                tracing::info!(
                    blob.digest = %blob.digest,
                    blob.size_bytes = blob.size,
                    target.location.id = %target,
                    "Replicated {} to {target}",
                    blob.digest,
                );
                Ok(Arrival::Recorded)
            }
            // Somebody brought it there meanwhile; the job ended all the same.
            Recorded::Before => Ok(Arrival::Recorded),
            // The object is on the list of those to be deleted, unless the same bytes were pushed again since.
            Recorded::BlobGone | Recorded::LocationClosed => Ok(Arrival::NotWanted),
            Recorded::Lapsed => Err(Failure::Lapsed {
                digest: blob.digest.to_string(),
                location: target,
            }),
        }
    }

    /// Reads an object that seemed missing or damaged once more, and reports it if it is: a copy that was disturbed on its way
    /// must not cost the source its placement.
    async fn look_again(
        &self,
        blob: &Blob,
        source: &Location,
        error: &CopyError,
    ) -> Result<(), Failure> {
        match source.verify(&blob.digest).await {
            Ok(Verification::Missing | Verification::Damaged { .. }) => {}
            // It is intact, or nothing is known about it.
            Ok(Verification::Intact { .. }) | Err(_) => return Ok(()),
        }
        tracing::error!(
            blob.digest = %blob.digest,
            location.id = %source.name(),
            error = error as &dyn std::error::Error,
            "Location {} does not hold {} although it should; it will be copied there again",
            source.name(),
            blob.digest,
        );
        self.report_lost(source.name(), &[blob.storage], &reason(error))
            .await?;
        Ok(())
    }
}

fn sources_failed(blob: &Blob, failures: &[(LocationName, CopyError)]) -> Failure {
    // What is down may come back; the others wait for somebody.
    let Some(class) = failures.iter().map(|(_, error)| error.class()).min() else {
        return no_source(blob);
    };
    let reasons: Vec<String> = failures
        .iter()
        .map(|(source, error)| format!("from `{source}`: {}", reason(error)))
        .collect();
    Failure::SourcesFailed {
        reasons: reasons.join("; "),
        class,
    }
}

fn no_source(blob: &Blob) -> Failure {
    let names: Vec<&str> = blob.present.iter().map(LocationName::as_str).collect();
    Failure::NoSource {
        digest: blob.digest.to_string(),
        recorded: if names.is_empty() {
            "none".to_owned()
        } else {
            names.join(", ")
        },
    }
}
