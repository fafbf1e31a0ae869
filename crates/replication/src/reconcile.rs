//! Compares what must be where with what the database says is there, and has every gap copied. It is what makes replication
//! converge however a gap came about: a job that was lost, a location that was added, a region that a namespace asked for.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::Duration;

use roadstead_metadata::{DemandPage, MetadataError, StorageId, WantedCopy};
use roadstead_placement::LocationName;
use roadstead_runtime::Shutdown;

use crate::{Amount, Replication};

/// How many blobs are compared in one transaction. It holds the database's one writer for some ten milliseconds.
const PAGE_SPAN: u32 = 5_000;

/// What a reconciliation has brought about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reconciled {
    /// Blobs that got at least one new job.
    pub blobs: u64,
    /// The copies that are wanted since now, by the location that lacks them.
    pub wanted: BTreeMap<LocationName, Amount>,
}

impl Replication {
    /// Queues every copy that is missing and not queued yet, in the order of the blobs' rows, and shows `each` blob for which
    /// something was queued: `admin backfillreplication`, and each round of [`Replication::keep_reconciled`].
    ///
    /// Goes through the blobs in pages of one short transaction each. It may be dropped and begun again at any time: what has
    /// been queued stays queued, once.
    pub async fn reconcile(
        &self,
        mut each: impl FnMut(&str) + Send,
    ) -> Result<Reconciled, MetadataError> {
        self.database.forget_orphaned_copies().await?;
        let mut reconciled = Reconciled::default();
        let mut after = Some(StorageId(0));
        while let Some(page_after) = after {
            let page = DemandPage {
                demand: self.demand(),
                after: page_after,
                span: PAGE_SPAN,
                queue: &self.queue,
                ids: self.environment.ids.as_ref(),
                now: self.environment.now(),
            };
            let copies = self.database.want_demanded_copies(&page).await?;
            if !copies.wanted.is_empty() {
                self.wake_up.wake();
            }
            reconciled.note(&copies.wanted, &mut each);
            after = copies.next;
        }
        Ok(reconciled)
    }

    /// Reconciles at once and then again and again, on average every `interval`, until `shutdown`. A round that fails is logged, once
    /// however many follow it; the next one does its work.
    pub async fn keep_reconciled(&self, interval: Duration, shutdown: &Shutdown) {
        let mut failing = false;
        while !shutdown.requested() {
            let round = tokio::select! {
                round = self.reconcile(|_| ()) => round,
                () = shutdown.wait() => return,
            };
            if failing && round.is_ok() {
                tracing::info!("Missing copies can be looked for again");
            }
            let failed_before = std::mem::replace(&mut failing, round.is_err());
            match round {
                Ok(reconciled) if reconciled.blobs > 0 => tracing::info!(
                    blobs = reconciled.blobs,
                    "Queued copies of {} blobs that were missing somewhere and had no job",
                    reconciled.blobs,
                ),
                Err(error) if !failed_before => tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "Could not look for missing copies; trying again",
                ),
                Ok(_) | Err(_) => {}
            }
            // Spread out, so that the processes of a registry do not all ask at once.
            let pause = interval.mul_f64(0.5 + self.environment.ids.fraction());
            tokio::select! {
                () = self.environment.clock.sleep(pause) => {}
                () = shutdown.wait() => return,
            }
        }
    }

    /// Queues the copies of one blob that are missing and not queued yet.
    pub(crate) async fn want_copies_of(&self, storage: StorageId) -> Result<(), MetadataError> {
        let page = DemandPage {
            demand: self.demand(),
            after: StorageId(storage.0.saturating_sub(1)),
            span: 1,
            queue: &self.queue,
            ids: self.environment.ids.as_ref(),
            now: self.environment.now(),
        };
        self.database.want_demanded_copies(&page).await?;
        self.wake_up.wake();
        Ok(())
    }
}

impl Reconciled {
    /// Adds a page, which is sorted by blob.
    fn note(&mut self, wanted: &[WantedCopy], each: &mut impl FnMut(&str)) {
        for of_blob in wanted.chunk_by(|one, other| one.storage == other.storage) {
            self.blobs += 1;
            for copy in of_blob {
                *self.wanted.entry(copy.location.clone()).or_default() += Amount::one(copy.size);
            }
            if let Some(copy) = of_blob.first() {
                each(&copy.uuid);
            }
        }
    }
}
