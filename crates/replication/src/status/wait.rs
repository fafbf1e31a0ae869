//! Waiting until nothing is missing any more: every gap gets a job, every lost object is reported, and the stores have the last word.

use std::time::Duration;

use chrono::TimeDelta;
use roadstead_metadata::{MetadataError, MissingCopies, StorageId};
use roadstead_runtime::{Shutdown, Timestamp};

use super::{LostObjects, StatusError, StatusOptions, StatusReport};
use crate::copy::{BlobContent, stage_copy};
use crate::{Amount, Replication};

/// How often the database is asked what is missing.
const POLL: Duration = Duration::from_secs(1);

/// How long it is at least until everything is compared again while something is missing that no copy brings about.
const FULL_LOOK_PAUSE: TimeDelta = TimeDelta::seconds(15);

/// The pause is at least so many times as long as the last look took, so that looking takes a tenth of the time at most.
const LOOK_SHARE: i32 = 9;

/// Lost objects that are reported in one transaction.
const REPORT_BATCH: usize = 500;

/// How to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WaitOptions {
    /// How long at most; without end if `None`.
    pub timeout: Option<Duration>,
    /// What each look is at.
    pub status: StatusOptions,
}

/// How far it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Copies that the database says are missing.
    pub missing: Amount,
    /// Those that were missing at some time since the wait began, and are there now.
    pub arrived: Amount,
    /// Copies whose last attempt failed.
    pub failing: u64,
    /// Why the latest failed.
    pub last_failure: Option<String>,
    /// Since when nothing has arrived although something is missing.
    pub still_since: Timestamp,
    /// Now.
    pub at: Timestamp,
}

impl Replication {
    /// Queues what is missing and waits until nothing is, or until the time is up: the last report says which. What the store check
    /// finds lost is taken from the placements and queued. `show` is called about once a second, and must not block for long.
    ///
    /// The copies themselves are made by a replication worker, of this process or another. It may be dropped at any time.
    pub async fn wait(
        &self,
        options: WaitOptions,
        mut show: impl FnMut(&Progress) + Send,
    ) -> Result<StatusReport, StatusError> {
        let began = self.environment.now();
        let deadline = options
            .timeout
            .and_then(|timeout| TimeDelta::from_std(timeout).ok())
            .and_then(|timeout| began.checked_add_signed(timeout));
        let mut tally = Tally::new(began);
        loop {
            let look_began = self.environment.now();
            let report = self.status(options.status).await?;
            self.repair(&report.lost).await?;
            self.reconcile(|_| ()).await?;
            let looked = self.environment.now();
            if report.complete || deadline.is_some_and(|deadline| looked >= deadline) {
                return Ok(report);
            }
            let look_again = looked + FULL_LOOK_PAUSE.max((looked - look_began) * LOOK_SHARE);
            let mut copies_missing = report.copies_missing();
            loop {
                let now = self.environment.now();
                let missing = self.database.missing_copies(self.demand()).await?;
                let progress = tally.take(&missing, now);
                show(&progress);
                // The last missing copy has arrived: the stores have the last word. What no copy can bring about, such as the return
                // of a location that is down, is looked for from time to time.
                let arrived = copies_missing && progress.missing.is_none();
                if arrived || now >= look_again || deadline.is_some_and(|deadline| now >= deadline)
                {
                    break;
                }
                copies_missing |= !progress.missing.is_none();
                self.environment.clock.sleep(POLL).await;
            }
        }
    }

    /// Has lost objects copied again. The empty blob needs no other copy: it is put back at once.
    async fn repair(&self, lost: &LostObjects) -> Result<(), MetadataError> {
        for (name, objects) in &lost.0 {
            for batch in objects.chunk_by(|one, other| one.defect == other.defect) {
                for batch in batch.chunks(REPORT_BATCH) {
                    let storages: Vec<StorageId> =
                        batch.iter().map(|object| object.blob.storage).collect();
                    let reason = batch.first().map(ToString::to_string).unwrap_or_default();
                    self.report_lost(name, &storages, &reason).await?;
                }
            }
            let Some(location) = self.locations.get(name) else {
                continue;
            };
            for object in objects {
                let content = BlobContent {
                    digest: object.blob.digest.clone(),
                    size: 0,
                };
                if content.is_empty() {
                    let ids = self.environment.ids.as_ref();
                    let put = async {
                        stage_copy(None, location, &content, ids, &Shutdown::default())
                            .await?
                            .publish()
                            .await
                    };
                    if let Err(error) = put.await {
                        tracing::warn!(
                            error = &error as &dyn std::error::Error,
                            "Could not put the empty blob back at location {name}",
                        );
                    }
                }
            }
        }
        Ok(())
    }
}

/// What has arrived so far.
struct Tally {
    last: Option<Amount>,
    arrived: Amount,
    still_since: Timestamp,
}

impl Tally {
    fn new(now: Timestamp) -> Self {
        Self {
            last: None,
            arrived: Amount::default(),
            still_since: now,
        }
    }

    fn take(&mut self, missing: &[MissingCopies], now: Timestamp) -> Progress {
        let sum: Amount = missing
            .iter()
            .map(|missing| Amount {
                blobs: missing.blobs,
                bytes: missing.bytes,
            })
            .sum();
        let fewer = self.last.unwrap_or(sum).without(sum);
        self.arrived += fewer;
        if !fewer.is_none() || sum.is_none() {
            self.still_since = now;
        }
        self.last = Some(sum);
        Progress {
            missing: sum,
            arrived: self.arrived,
            failing: missing.iter().map(|missing| missing.failing).sum(),
            last_failure: missing
                .iter()
                .find_map(|missing| missing.last_failure.clone()),
            still_since: self.still_since,
            at: now,
        }
    }
}
