//! Handles one replication job: looks again at what is required and what is there, brings the blob to every location that
//! lacks it, and records each copy once it is proven.

#[cfg(test)]
mod tests;

use std::time::Duration;

use futures_util::future::join_all;
use roadstead_metadata::{Blob, MetadataError, Publication, Publishing, Recorded, UserId};
use roadstead_placement::{
    CopyPlan, FailureClass, LocationName, RETRY_DELAY_MAX, plan_copies, required_locations,
};
use roadstead_queue::{Handler, Job, JobOutcome};
use roadstead_runtime::Shutdown;
use roadstead_storage::{Location, Verification};

use crate::Replication;
use crate::copy::{BlobContent, CopyError, holds, stage_copy, stands};
use crate::job_body::JobBody;
use crate::reason::{one_line, reason};

/// When a job that this program cannot read is looked at again: a newer version that can read it may run by then.
const UNREADABLE_AFTER: Duration = Duration::from_hours(1);

/// How long an object is kept that a copy published and did not come to record: its process died.
const PUBLICATION_LIFE: Duration = Duration::from_hours(1);

/// How a blob's journey to one location ended well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Arrival {
    /// It is there and recorded.
    Recorded,
    /// The blob was deleted meanwhile, or the location takes no new bytes: nothing is wanted any more.
    NotWanted,
}

/// Why a blob did not arrive, or why it is not known whether it did.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Copy(#[from] CopyError),
    #[error(transparent)]
    Metadata(#[from] MetadataError),
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

impl Failure {
    /// What kind of failure it is.
    fn class(&self) -> FailureClass {
        match self {
            Self::Copy(error) => error.class(),
            Self::NoSource { .. } => FailureClass::ObjectMissing,
            Self::SourcesFailed { class, .. } => *class,
            Self::Metadata(_) | Self::BeingDeleted { .. } | Self::Lapsed { .. } => {
                FailureClass::Internal
            }
        }
    }
}

#[async_trait::async_trait]
impl Handler for Replication {
    /// Replicates the blob that the jobs name to the job's targets. A row of Quay's, which has none, is turned into one job for each
    /// location that lacks the blob.
    ///
    /// Done twice, it does nothing the second time. Dropped, it leaves at most staged bytes at the targets, which the
    /// cleanup of abandoned uploads finds.
    async fn handle(&self, jobs: &[Job], shutdown: &Shutdown) -> Vec<JobOutcome> {
        join_all(jobs.iter().map(|job| self.handle_one(job, shutdown))).await
    }
}

impl Replication {
    async fn handle_one(&self, job: &Job, shutdown: &Shutdown) -> JobOutcome {
        let body = match JobBody::parse(&job.body) {
            Ok(body) => body,
            Err(problem) => {
                return JobOutcome::Postpone {
                    reason: one_line(&problem),
                    after: UNREADABLE_AFTER,
                };
            }
        };
        match self.replicate(&body, job.target.as_ref(), shutdown).await {
            Ok(outcome) => outcome,
            Err(error) => JobOutcome::Retry {
                reason: reason(&error),
                class: error.class(),
            },
        }
    }

    async fn replicate(
        &self,
        body: &JobBody,
        target: Option<&LocationName>,
        shutdown: &Shutdown,
    ) -> Result<JobOutcome, Failure> {
        let Some(blob) = self.database.find_blob_by_uuid(&body.storage_id).await? else {
            return Ok(JobOutcome::Obsolete);
        };
        let due = self.due(&blob, body).await?;
        if due.is_empty() {
            return Ok(JobOutcome::Obsolete);
        }
        let sources = self.locations.rank_reads(&self.topology, &blob.present);
        let content = BlobContent {
            digest: blob.digest.clone(),
            size: blob.size,
        };
        if sources.is_empty() && !content.is_empty() {
            return match target {
                Some(_) => Err(no_source(&blob)),
                // Nothing counts the attempts of such a row, so that its delay would not grow.
                None => Ok(JobOutcome::Postpone {
                    reason: reason(&no_source(&blob)),
                    after: RETRY_DELAY_MAX,
                }),
            };
        }
        let Some(target) = target else {
            // A row of Quay's stands for every location that lacks the blob, and there may be a dozen of them for one blob. Each
            // location gets a row of its own, once, which keeps its attempts and the reason of the last failure.
            self.want_copies_of(blob.storage).await?;
            return Ok(JobOutcome::Done);
        };
        let Some(target) = due.into_iter().find(|due| due.name() == target) else {
            return Ok(JobOutcome::Obsolete);
        };
        match self
            .bring(&blob, &content, target, &sources, shutdown)
            .await
        {
            Ok(Arrival::Recorded) => Ok(JobOutcome::Done),
            Ok(Arrival::NotWanted) => Ok(JobOutcome::Obsolete),
            Err(Failure::Copy(CopyError::Interrupted)) => Ok(JobOutcome::Interrupted),
            Err(failure) => Err(failure),
        }
    }

    /// The locations that the blob has to be brought to: required, open and without it.
    async fn due(&self, blob: &Blob, body: &JobBody) -> Result<Vec<&Location>, MetadataError> {
        let regions = self
            .database
            .namespace_regions(UserId(body.namespace_user_id))
            .await?;
        let required = required_locations(&self.topology, &regions);
        let targets = match plan_copies(&self.topology, &required, &blob.present) {
            CopyPlan::Copy { targets, .. } | CopyPlan::NoSource { targets } => targets,
            CopyPlan::Complete => return Ok(Vec::new()),
        };
        let closed = self.database.closed_locations().await?;
        let open = targets.iter().filter(|target| !closed.contains(*target));
        Ok(open
            .filter_map(|target| self.locations.get(target))
            .collect())
    }

    /// Brings a blob to one location, from the first of the sources that can give it.
    async fn bring(
        &self,
        blob: &Blob,
        content: &BlobContent,
        target: &Location,
        sources: &[LocationName],
        shutdown: &Shutdown,
    ) -> Result<Arrival, Failure> {
        if holds(target, content).await? {
            let publication = self.begin_publication(blob, target).await?;
            // Looked at again now that nobody deletes it any more.
            if stands(target, content).await? {
                return self.record(blob, target, publication).await;
            }
            self.withdraw(publication).await;
        }
        if content.is_empty() {
            return self.copy_from(None, blob, content, target, shutdown).await;
        }
        let mut failures = Vec::new();
        let mut class = None;
        for source in sources
            .iter()
            .filter_map(|source| self.locations.get(source))
        {
            match self
                .copy_from(Some(source), blob, content, target, shutdown)
                .await
            {
                Err(Failure::Copy(error)) if error.is_sources() => {
                    if error.disproves_source() {
                        self.look_again(blob, source, &error).await?;
                    }
                    failures.push(format!("from `{}`: {}", source.name(), reason(&error)));
                    // What is down may come back; the others wait for somebody.
                    class = class.min(Some(error.class())).or(Some(error.class()));
                }
                arrived => return arrived,
            }
        }
        if failures.is_empty() {
            return Err(no_source(blob));
        }
        Err(Failure::SourcesFailed {
            reasons: failures.join("; "),
            class: class.unwrap_or(FailureClass::SourceDown),
        })
    }

    async fn copy_from(
        &self,
        source: Option<&Location>,
        blob: &Blob,
        content: &BlobContent,
        target: &Location,
        shutdown: &Shutdown,
    ) -> Result<Arrival, Failure> {
        let id = self.environment.ids.uuid();
        let staged = stage_copy(source, target, content, id, shutdown).await?;
        // Looked at again just before the object appears, so that a blob that was deleted while it was copied stays gone.
        match self.database.find_blob_by_uuid(&blob.uuid).await {
            Ok(Some(_)) => {}
            Ok(None) => {
                staged.discard().await;
                return Ok(Arrival::NotWanted);
            }
            Err(error) => {
                staged.discard().await;
                return Err(error.into());
            }
        }
        let publication = match self.begin_publication(blob, target).await {
            Ok(publication) => publication,
            Err(failure) => {
                staged.discard().await;
                return Err(failure);
            }
        };
        // What may appear although this fails is deleted when the publication lapses.
        staged.publish().await?;
        self.record(blob, target, publication).await
    }

    /// Notes that the blob's object is about to appear at the target, so that nobody deletes it before it is recorded.
    async fn begin_publication(
        &self,
        blob: &Blob,
        target: &Location,
    ) -> Result<Publication, Failure> {
        let now = self.environment.now();
        match self
            .database
            .begin_publication(&blob.digest, target.name(), now + PUBLICATION_LIFE, now)
            .await?
        {
            Publishing::Begun(publication) => Ok(publication),
            Publishing::BeingDeleted => Err(Failure::BeingDeleted {
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
        target: &Location,
        publication: Publication,
    ) -> Result<Arrival, Failure> {
        match self
            .database
            .record_copy(blob.storage, &publication, self.environment.now())
            .await?
        {
            Recorded::Yes => {
                tracing::info!(
                    blob.digest = %blob.digest,
                    blob.size_bytes = blob.size,
                    target.location.id = %target.name(),
                    "Replicated {} to {}",
                    blob.digest,
                    target.name(),
                );
                Ok(Arrival::Recorded)
            }
            // The object is on the list of those to be deleted, unless the same bytes were pushed again since.
            Recorded::BlobGone | Recorded::LocationClosed => Ok(Arrival::NotWanted),
            Recorded::Lapsed => Err(Failure::Lapsed {
                digest: blob.digest.to_string(),
                location: target.name().clone(),
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
