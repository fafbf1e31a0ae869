//! Noting which images have become complete at a location, after the copies that made them so: by looking, in batches, and sooner where this process
//! has just brought something.

#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use roadstead_metadata::{IMAGE_EVENTS_KEPT, MetadataError, SettledImages, StorageId};
use roadstead_placement::LocationName;
use roadstead_runtime::{Shutdown, Timestamp};

use crate::Replication;

/// How many images are looked at in one transaction. It holds the database's one writer for some milliseconds.
const BATCH: u32 = 200;

/// How often it is looked, on average.
const EVERY: Duration = Duration::from_secs(1);

/// How often old events are deleted, and how many in one transaction.
const FORGET_EVERY: Duration = Duration::from_hours(1);
const FORGOTTEN_AT_ONCE: u32 = 1_000;

/// How many copies are remembered until it is looked next. Images that wait for more are looked at when their time has come.
const ARRIVALS_MAX: usize = 10_000;

/// The copies that this process has made since it was looked last. Clones are the same. It only saves time: what is forgotten is found by itself.
#[derive(Clone, Debug, Default)]
pub(crate) struct Arrivals(Arc<Mutex<Vec<(StorageId, LocationName)>>>);

impl Arrivals {
    pub(crate) fn note(&self, storage: StorageId, target: &LocationName) {
        let mut arrivals = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if arrivals.len() < ARRIVALS_MAX {
            arrivals.push((storage, target.clone()));
        }
    }

    fn take(&self) -> Vec<(StorageId, LocationName)> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Replication {
    /// Notes every second which images have become complete, until `shutdown`. Any number of processes may do so at once, and each image is noted
    /// once.
    pub async fn keep_images_noted(&self, shutdown: &Shutdown) {
        let mut failing = false;
        let mut forget_at = self.environment.now();
        while !shutdown.requested() {
            let noted = tokio::select! {
                noted = self.note_complete_images() => noted,
                () = shutdown.wait() => return,
            };
            let failed_before = std::mem::replace(&mut failing, noted.is_err());
            match noted {
                Ok(_) if failed_before => {
                    tracing::info!("It can be looked again which images have become complete");
                }
                Err(error) if !failed_before => tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "Could not look which images have become complete; trying again",
                ),
                Ok(_) | Err(_) => {}
            }
            let now = self.environment.now();
            // A clock that was set back does not stop it for long.
            if now >= forget_at || forget_at - now > chrono::TimeDelta::hours(2) {
                forget_at = now + FORGET_EVERY;
                if let Err(error) = self.forget_old_events(now).await {
                    tracing::debug!(%error, "Could not delete old events of images");
                }
            }
            let pause = EVERY.mul_f64(0.5 + self.environment.ids.fraction());
            tokio::select! {
                () = self.environment.clock.sleep(pause) => {}
                () = shutdown.wait() => return,
            }
        }
    }

    /// Looks at every image whose time has come, batch by batch.
    pub(crate) async fn note_complete_images(&self) -> Result<SettledImages, MetadataError> {
        let arrivals = self.arrivals.take();
        if !arrivals.is_empty() {
            let now = self.environment.now();
            self.database.note_arrivals(&arrivals, now).await?;
        }
        let mut all = SettledImages::default();
        loop {
            let now = self.environment.now();
            let settled = self.database.settle_awaited_images(BATCH, now).await?;
            all.looked_at += settled.looked_at;
            all.complete += settled.complete;
            all.deliveries += settled.deliveries;
            if settled.looked_at < u64::from(BATCH) {
                self.counters.note_complete_images(all.complete);
                return Ok(all);
            }
        }
    }

    async fn forget_old_events(&self, now: Timestamp) -> Result<(), MetadataError> {
        let before = now - IMAGE_EVENTS_KEPT;
        while self
            .database
            .forget_image_events(before, FORGOTTEN_AT_ONCE)
            .await?
            >= u64::from(FORGOTTEN_AT_ONCE)
        {}
        Ok(())
    }
}
