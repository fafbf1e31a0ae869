//! What a handler is asked and what it may answer.

use std::num::NonZeroU32;
use std::time::Duration;

use roadstead_metadata::Job;
use roadstead_placement::FailureClass;
use roadstead_runtime::Shutdown;

/// How the handling of a job ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JobOutcome {
    /// What the job asked for has been brought about. Its row is deleted.
    Done,
    /// As [`JobOutcome::Done`], and the handler has deleted the row together with what the job brought about: there is nothing to write down.
    Recorded,
    /// What the job asked for is no longer wanted, or was there already. Its row is deleted.
    Obsolete,
    /// It failed. The row is kept and is due again after [`FailureClass::retry_delay`].
    Retry {
        /// Why, for an operator: one line.
        reason: String,
        /// What kind of failure it is.
        class: FailureClass,
    },
    /// It cannot be done by this program as it is now; another version, or an operator, may change that.
    Postpone {
        /// Why, for an operator: one line.
        reason: String,
        /// When to look at it again.
        after: Duration,
    },
    /// It is not to be done now, as an operator wishes. The row is due again then, and nothing counts as failed.
    Wait {
        /// When to look at it again.
        after: Duration,
    },
    /// The process is ending. The row is given back at once and the attempt does not count.
    Interrupted,
}

/// Handles the jobs of one queue. Jobs of one name are about the same thing and are handled together.
#[async_trait::async_trait]
pub trait Handler: Send + Sync + 'static {
    /// Handles the jobs of one name, at least one, each of which may have been handled before, wholly or in part. Returns how each ended, in
    /// their order; what has no answer counts as [`JobOutcome::Retry`].
    ///
    /// The future is dropped when a lease is lost, and when it has not ended [`crate::WorkerOptions::grace`] after
    /// `shutdown`: what it leaves behind must do no harm. A panic counts as [`JobOutcome::Retry`] of all.
    async fn handle(&self, jobs: &[Job], shutdown: &Shutdown) -> Vec<JobOutcome>;

    /// Takes in how many workers, this one among them, are at work on the queue: told every twenty seconds while the database answers, so that what is
    /// limited for all of them can be shared.
    fn note_workers(&self, workers: NonZeroU32) {
        let _ = workers;
    }

    /// Whether jobs are to be taken at present. Asked before each look into the queue.
    async fn is_open(&self) -> bool {
        true
    }
}
