//! What a handler is asked and what it may answer.

use std::time::Duration;

use roadstead_metadata::Job;
use roadstead_runtime::Shutdown;

/// How the handling of a job ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JobOutcome {
    /// What the job asked for has been brought about. Its row is deleted.
    Done,
    /// What the job asked for is no longer wanted, or was there already. Its row is deleted.
    Obsolete,
    /// It failed in a way that may pass. The row is kept and is due again after [`roadstead_placement::retry_delay`].
    Retry {
        /// Why, for an operator: one line.
        reason: String,
    },
    /// It cannot be done by this program as it is now; another version, or an operator, may change that.
    Postpone {
        /// Why, for an operator: one line.
        reason: String,
        /// When to look at it again.
        after: Duration,
    },
    /// The process is ending. The row is given back at once and the attempt does not count.
    Interrupted,
}

/// Handles the jobs of one queue.
#[async_trait::async_trait]
pub trait Handler: Send + Sync + 'static {
    /// Handles one job, which may have been handled before, wholly or in part.
    ///
    /// The future is dropped when the job's lease is lost, and when it has not ended [`crate::WorkerOptions::grace`] after
    /// `shutdown`: what it leaves behind must do no harm. A panic counts as [`JobOutcome::Retry`].
    async fn handle(&self, job: &Job, shutdown: &Shutdown) -> JobOutcome;
}
