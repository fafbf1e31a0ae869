//! Waiting until nothing is missing any more: every gap gets a job, every lost object is reported, and the stores have the last word.

use std::time::Duration;

use chrono::TimeDelta;
use roadstead_metadata::{MetadataError, MissingCopies, StorageId};
use roadstead_runtime::{Shutdown, Timestamp};

use roadstead_placement::LocationName;

use super::image::{ImageName, ImageStatus, ImageStatusError};
use super::{LostObjects, StatusError, StatusOptions, StatusReport};
use crate::copy::{BlobContent, stage_copy};
use crate::throughput::{Arrivals, time_left};
use crate::{Amount, Replication};

/// How often the database is asked what is missing.
const POLL: Duration = Duration::from_secs(1);

/// How long it is until the stores are asked again for an image that is complete by the database and not by them.
const STORES_PAUSE: Duration = Duration::from_secs(15);

/// How long it is at least until everything is compared again while something is missing that no copy brings about.
const FULL_LOOK_PAUSE: TimeDelta = TimeDelta::seconds(15);

/// The pause is at least so many times as long as the last look took, so that looking takes a tenth of the time at most.
const LOOK_SHARE: i32 = 9;

/// Lost objects that are reported in one transaction.
const REPORT_BATCH: usize = 500;

/// How to wait.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WaitOptions {
    /// How long at most; without end if `None`.
    pub timeout: Option<Duration>,
    /// What each look is at.
    pub status: StatusOptions,
    /// The only location that counts; every one if `None`.
    pub location: Option<LocationName>,
}

impl WaitOptions {
    fn deadline(&self, began: Timestamp) -> Option<Timestamp> {
        self.timeout
            .and_then(|timeout| TimeDelta::from_std(timeout).ok())
            .and_then(|timeout| began.checked_add_signed(timeout))
    }
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
    /// How long the rest takes at the rate of the last two minutes; none if nothing has arrived in them.
    pub time_left: Option<Duration>,
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
        let deadline = options.deadline(began);
        let mut tally = Tally::new(began);
        loop {
            let look_began = self.environment.now();
            let report = match &options.location {
                Some(location) => self.location_status(location, options.status).await?,
                None => self.status(options.status).await?,
            };
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
                let mut missing = self.database.missing_copies(self.demand()).await?;
                if let Some(location) = &options.location {
                    missing.retain(|missing| missing.location == *location);
                }
                let progress = tally.take(&sum(&missing), now);
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

    /// Waits until an image is complete wherever it has to be, or at the one location that counts, or until the time is up, or until
    /// nothing is left that could be waited for. What is missing and not queued is queued; what the store check finds lost is queued again.
    ///
    /// The tag means what it points to each time that is looked. It may be dropped at any time.
    pub async fn wait_for_image(
        &self,
        image: &ImageName,
        options: &WaitOptions,
        mut show: impl FnMut(&Progress) + Send,
    ) -> Result<ImageStatus, ImageStatusError> {
        const BELIEVING: StatusOptions = StatusOptions { store_check: false };
        let began = self.environment.now();
        let deadline = options.deadline(began);
        let location = options.location.as_ref();
        let mut tally = Tally::new(began);
        loop {
            let mut status = self.image_status(image, location, BELIEVING).await?;
            let mut pause = POLL;
            if status.complete && options.status.store_check {
                pause = STORES_PAUSE;
                status = self.image_status(image, location, options.status).await?;
                for (location, storages) in &status.lost {
                    self.report_lost(location, storages, "the store does not hold the object")
                        .await?;
                }
            }
            for storage in &status.unqueued {
                self.want_copies_of(*storage).await?;
            }
            let now = self.environment.now();
            let gap = Gap {
                missing: status.missing(),
                failing: status.locations.iter().map(|at| at.failing).sum(),
                last_failure: status.locations.iter().find_map(|at| at.reason.clone()),
            };
            show(&tally.take(&gap, now));
            if status.complete
                || !status.may_become_complete()
                || deadline.is_some_and(|deadline| now >= deadline)
            {
                return Ok(status);
            }
            let left = deadline.and_then(|deadline| (deadline - now).to_std().ok());
            let pause = left.map_or(pause, |left| pause.min(left));
            self.environment.clock.sleep(pause).await;
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

/// What is missing at a moment, and how its copies fail.
#[derive(Clone, Debug, Default)]
struct Gap {
    missing: Amount,
    failing: u64,
    last_failure: Option<String>,
}

fn sum(missing: &[MissingCopies]) -> Gap {
    Gap {
        missing: missing
            .iter()
            .map(|missing| Amount {
                blobs: missing.blobs,
                bytes: missing.bytes,
            })
            .sum(),
        failing: missing.iter().map(|missing| missing.failing).sum(),
        last_failure: missing
            .iter()
            .find_map(|missing| missing.last_failure.clone()),
    }
}

/// What has arrived so far.
struct Tally {
    last: Option<Amount>,
    arrived: Amount,
    arrivals: Arrivals,
    still_since: Timestamp,
}

impl Tally {
    fn new(now: Timestamp) -> Self {
        Self {
            last: None,
            arrived: Amount::default(),
            arrivals: Arrivals::default(),
            still_since: now,
        }
    }

    fn take(&mut self, gap: &Gap, now: Timestamp) -> Progress {
        let missing = gap.missing;
        let fewer = self.last.unwrap_or(missing).without(missing);
        self.arrived += fewer;
        if !fewer.is_none() {
            self.arrivals.note(fewer.bytes, now);
        }
        if !fewer.is_none() || missing.is_none() {
            self.still_since = now;
        }
        self.last = Some(missing);
        Progress {
            missing,
            arrived: self.arrived,
            failing: gap.failing,
            last_failure: gap.last_failure.clone(),
            time_left: time_left(missing.bytes, self.arrivals.rate(now)),
            still_since: self.still_since,
            at: now,
        }
    }
}
