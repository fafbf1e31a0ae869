//! One attempt at the jobs of one name: their handler, the heartbeats of their leases beside it, and what is written down at the end.

use std::any::Any;
use std::error::Error as StdError;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::FutureExt;
use roadstead_metadata::{Database, Job, MetadataError};
use roadstead_placement::{FailureClass, retry_delay};
use roadstead_runtime::{Environment, Shutdown, Timestamp};

use super::after;
use crate::{Handler, JobOutcome};

/// How often the end of a job is written down before it is left to the lease: with the delays of
/// [`retry_delay`] these are a few seconds, in which a database restarts.
const RECORD_ATTEMPTS_MAX: u32 = 5;

/// Claimed jobs of one name and what it takes to run them.
#[derive(Debug)]
pub(super) struct Attempt {
    pub(super) database: Database,
    pub(super) environment: Environment,
    pub(super) lease: Duration,
    pub(super) grace: Duration,
    pub(super) shutdown: Shutdown,
    pub(super) jobs: Vec<Job>,
}

/// How the handler was stopped, or what it said.
enum End {
    Said(Vec<JobOutcome>),
    LeaseLost,
    OutOfTime,
}

impl Attempt {
    /// Runs the handler while the leases are held. Returns when the first of the jobs is due again, if that is known and one is.
    pub(super) async fn run(&self, handler: &impl Handler) -> Option<Timestamp> {
        if self.shutdown.requested() {
            // Taken just as the end was asked for: nothing is begun any more.
            for job in &self.jobs {
                self.record(job, JobOutcome::Interrupted).await;
            }
            return None;
        }
        let handled = AssertUnwindSafe(handler.handle(&self.jobs, &self.shutdown)).catch_unwind();
        let end = tokio::select! {
            biased;
            handled = handled => End::Said(handled.unwrap_or_else(|panic| {
                self.jobs.iter().map(|_| panicked(panic.as_ref())).collect()
            })),
            () = self.hold_leases() => End::LeaseLost,
            () = self.end_of_grace() => End::OutOfTime,
        };
        let (outcomes, unanswered) = match end {
            End::Said(outcomes) => {
                let silent = JobOutcome::Retry {
                    reason: "the handler said nothing about it".to_owned(),
                    class: FailureClass::Internal,
                };
                (outcomes, silent)
            }
            End::OutOfTime => (Vec::new(), JobOutcome::Interrupted),
            End::LeaseLost => {
                tracing::warn!(job.name = %self.name(), "Lost the lease of a job; another worker has it");
                // Those that are held still are given back.
                (Vec::new(), JobOutcome::Interrupted)
            }
        };
        let outcomes = outcomes.into_iter().chain(std::iter::repeat(unanswered));
        let mut due_again = None;
        for (job, outcome) in self.jobs.iter().zip(outcomes) {
            let due = self.record(job, outcome).await;
            due_again = match (due_again, due) {
                (Some(one), Some(other)) => Some(std::cmp::min::<Timestamp>(one, other)),
                (one, other) => one.or(other),
            };
        }
        due_again
    }

    fn name(&self) -> &str {
        self.jobs.first().map_or("", |job| job.name.as_str())
    }

    /// Extends the leases three times in their length. Returns when one is lost.
    async fn hold_leases(&self) {
        let clock = &self.environment.clock;
        let mut held_until = after(clock.now(), self.lease);
        loop {
            clock.sleep(self.lease / 3).await;
            let now = clock.now();
            let until = after(now, self.lease);
            match self.database.extend_jobs(&self.jobs, until).await {
                Ok(true) => held_until = until,
                Err(error) if clock.now() < held_until => {
                    tracing::warn!(
                        job.name = %self.name(),
                        error = &error as &dyn StdError,
                        "Could not extend the lease of a job; trying again",
                    );
                }
                // Another worker has it; or it has run out by our own clock, so that another may.
                Ok(false) | Err(_) => return,
            }
        }
    }

    async fn end_of_grace(&self) {
        self.shutdown.wait().await;
        self.environment.clock.sleep(self.grace).await;
    }

    /// Writes down how the job ended. What cannot be written is left to the lease: the job comes back when it runs out.
    async fn record(&self, job: &Job, outcome: JobOutcome) -> Option<Timestamp> {
        let due_again = self.due_again(job, &outcome);
        if let JobOutcome::Retry { reason, .. } | JobOutcome::Postpone { reason, .. } = &outcome {
            tracing::warn!(
                job.id = %job.id,
                job.attempt = job.attempts,
                due = ?due_again,
                "Job `{}` is not done: {reason}",
                job.name,
            );
        }
        for attempt in 1..=RECORD_ATTEMPTS_MAX {
            match self.write(job, &outcome, due_again).await {
                Ok(true) => return due_again,
                Ok(false) => {
                    tracing::warn!(job.id = %job.id, job.name = %job.name, "A job ended after its lease was lost");
                    return None;
                }
                Err(error) if error.is_temporary() && attempt < RECORD_ATTEMPTS_MAX => {
                    let delay = retry_delay(attempt, self.environment.ids.fraction());
                    // A process that is ending does not wait between its tries.
                    tokio::select! {
                        () = self.environment.clock.sleep(delay) => {}
                        () = self.shutdown.wait() => {}
                    }
                }
                Err(error) => {
                    tracing::error!(job.id = %job.id, error = &error as &dyn StdError, "Could not write down how a job ended; it comes back when its lease runs out");
                    return None;
                }
            }
        }
        None
    }

    fn due_again(&self, job: &Job, outcome: &JobOutcome) -> Option<Timestamp> {
        let now = self.environment.now();
        match outcome {
            JobOutcome::Done | JobOutcome::Recorded | JobOutcome::Obsolete => None,
            JobOutcome::Retry { class, .. } => {
                let delay = class.retry_delay(
                    job.attempts.saturating_add(1),
                    self.environment.ids.fraction(),
                );
                Some(after(now, delay))
            }
            JobOutcome::Postpone { after: delay, .. } | JobOutcome::Wait { after: delay } => {
                Some(after(now, *delay))
            }
            JobOutcome::Interrupted => Some(now),
        }
    }

    async fn write(
        &self,
        job: &Job,
        outcome: &JobOutcome,
        due_again: Option<Timestamp>,
    ) -> Result<bool, MetadataError> {
        let now = self.environment.now();
        let due = due_again.unwrap_or(now);
        match outcome {
            JobOutcome::Recorded => Ok(true),
            JobOutcome::Done | JobOutcome::Obsolete => self.database.complete_job(job).await,
            JobOutcome::Retry { reason, class } => {
                self.database
                    .postpone_job(job, due, reason, *class, now)
                    .await
            }
            JobOutcome::Postpone { reason, .. } => {
                self.database
                    .postpone_job(job, due, reason, FailureClass::Permanent, now)
                    .await
            }
            JobOutcome::Wait { .. } => self.database.return_job(job, due).await,
            JobOutcome::Interrupted => self.database.return_job(job, now).await,
        }
    }
}

fn panicked(panic: &(dyn Any + Send)) -> JobOutcome {
    let said = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message");
    JobOutcome::Retry {
        reason: format!("the handler panicked: {said}"),
        class: FailureClass::Internal,
    }
}
