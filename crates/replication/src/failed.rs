//! The copies whose last attempt failed: listed, and made due at once.

#[cfg(test)]
mod tests;

use roadstead_metadata::{FailedCopiesOf, FailedCopy};
use roadstead_oci::Digest;
use roadstead_placement::{FailureClass, LocationName};
use roadstead_runtime::Timestamp;
use serde::Serialize;

use crate::Replication;
use crate::control::ControlError;

/// The most copies in one answer.
pub const FAILED_PAGE_MAX: u32 = 1_000;

/// How many jobs one statement makes due.
const BATCH: u32 = 1_000;

/// Which failed copies are asked for.
#[derive(Clone, Copy, Debug, Default)]
pub struct FailedQuery<'a> {
    /// Only those to this location.
    pub location: Option<&'a str>,
    /// Only those behind this one of [`FailedCopies::next`].
    pub after: i64,
    /// At most so many, and no more than [`FAILED_PAGE_MAX`].
    pub limit: u32,
}

/// Copies whose last attempt failed, those that were wanted first in front.
#[derive(Clone, Debug, Serialize)]
pub struct FailedCopies {
    /// When it was asked.
    pub at: Timestamp,
    /// The copies.
    pub copies: Vec<FailedCopyDocument>,
    /// Where the next ones begin; none after the last.
    #[serde(rename = "next_page")]
    pub next: Option<i64>,
}

/// A copy whose last attempt failed.
#[derive(Clone, Debug, Serialize)]
pub struct FailedCopyDocument {
    /// The blob.
    pub digest: Digest,
    /// Its bytes.
    pub bytes: u64,
    /// The location that lacks it.
    pub location: LocationName,
    /// How often it was tried.
    pub attempts: u32,
    /// Since when it is wanted.
    pub wanted_since: Timestamp,
    /// When it was tried last.
    pub last_attempt: Option<Timestamp>,
    /// Why that failed.
    pub reason: String,
    /// Of which class that is, in a word.
    pub class: Option<&'static str>,
    /// When it is tried next, at the earliest. None while a worker is trying it.
    pub next_attempt: Option<Timestamp>,
    /// Whether a worker is trying it.
    pub running: bool,
    /// One of the images that need it.
    pub image: Option<String>,
}

impl Replication {
    /// The copies whose last attempt failed. A copy that fails or arrives meanwhile may be on the next page or not.
    pub async fn failed(&self, query: FailedQuery<'_>) -> Result<FailedCopies, ControlError> {
        let location = self.known(query.location).await?;
        let of = FailedCopiesOf {
            location: location.as_ref(),
            digest: None,
        };
        let at = self.environment.now();
        let limit = query.limit.clamp(1, FAILED_PAGE_MAX);
        // One more than is listed: it begins the next page.
        let mut copies = self
            .database
            .failed_copies(&of, query.after, limit + 1, at)
            .await?;
        let more = copies.len() > limit as usize;
        copies.truncate(limit as usize);
        let next = copies.last().filter(|_| more).map(|last| last.id);
        Ok(FailedCopies {
            at,
            copies: copies.into_iter().map(FailedCopyDocument::from).collect(),
            next,
        })
    }

    /// Makes copies due at once that failed and were put off, and says how many, in batches of short transactions. Dropped, it leaves
    /// some as they were.
    pub async fn retry(
        &self,
        location: Option<&str>,
        digest: Option<&Digest>,
    ) -> Result<u64, ControlError> {
        let location = self.known(location).await?;
        let of = FailedCopiesOf {
            location: location.as_ref(),
            digest,
        };
        // Those that fail again meanwhile are put off beyond this moment and found again, so that it would not end without one.
        let now = self.environment.now();
        let mut left = self.database.count_jobs(&self.queue).await?;
        let mut hastened = 0;
        loop {
            let jobs = self.database.hasten_failed_copies(&of, BATCH, now).await?;
            hastened += jobs;
            if jobs > 0 {
                self.wake_up.wake();
            }
            left = left.saturating_sub(u64::from(BATCH));
            if jobs < u64::from(BATCH) || left == 0 {
                return Ok(hastened);
            }
        }
    }
}

impl From<FailedCopy> for FailedCopyDocument {
    fn from(copy: FailedCopy) -> Self {
        Self {
            digest: copy.digest,
            bytes: copy.size,
            location: copy.location,
            attempts: copy.attempts,
            wanted_since: copy.wanted_since,
            last_attempt: copy.last_attempt,
            reason: copy.failure,
            class: copy.class.map(FailureClass::as_str),
            next_attempt: copy.next_attempt,
            running: copy.running,
            image: copy.image,
        }
    }
}
