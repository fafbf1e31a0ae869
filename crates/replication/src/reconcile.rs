//! Compares what must be where with what the database says is there, and has every gap copied. It is what makes replication
//! converge however a gap came about: a job that was lost, a location that was added, a region that a namespace asked for.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use chrono::TimeDelta;
use roadstead_metadata::{Demand, DemandPage, MetadataError, StorageId, WantedCopy};
use roadstead_placement::LocationName;
use roadstead_runtime::Shutdown;

use crate::{Amount, Replication};

/// How many blobs are compared in one transaction. It holds the database's one writer for some ten milliseconds.
const PAGE_SPAN: u32 = 5_000;

/// How often it is looked whether a location has everything, at least: as much time passes as ten looks take.
const POLL: Duration = Duration::from_secs(1);
const LOOK_SHARE: i32 = 9;

/// What a reconciliation has brought about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reconciled {
    /// Blobs that got at least one new job.
    pub blobs: u64,
    /// The copies that are wanted since now, by the location that lacks them.
    pub wanted: BTreeMap<LocationName, Amount>,
}

/// What a location lacks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Planned {
    /// The location.
    pub location: LocationName,
    /// What it lacks of what it should hold.
    pub missing: Amount,
    /// How many of these copies have a job.
    pub queued: u64,
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
        self.want_all(self.demand(), None, &mut reconciled, &mut each)
            .await?;
        // What only leaving locations hold and nothing demands elsewhere has to leave them all the same.
        if !self.database.draining_locations().await?.is_empty()
            && let Some(refuge) = self.refuge().await?
        {
            self.want_all(self.demand(), Some(&refuge), &mut reconciled, &mut each)
                .await?;
        }
        Ok(reconciled)
    }

    /// The same for what one location lacks alone.
    pub async fn reconcile_location(
        &self,
        location: &LocationName,
        mut each: impl FnMut(&str) + Send,
    ) -> Result<Reconciled, MetadataError> {
        self.database.forget_orphaned_copies().await?;
        let mut reconciled = Reconciled::default();
        let alone = BTreeSet::from([location.clone()]);
        let demand = Demand {
            configured: &alone,
            ..self.demand()
        };
        self.want_all(demand, None, &mut reconciled, &mut each)
            .await?;
        Ok(reconciled)
    }

    /// What [`Replication::reconcile`] would find missing, by location: those that lack nothing are not listed.
    pub async fn plan_backfill(&self) -> Result<Vec<Planned>, MetadataError> {
        let missing = self.database.missing_copies(self.demand()).await?;
        Ok(missing
            .into_iter()
            .map(|missing| Planned {
                location: missing.location,
                missing: Amount {
                    blobs: missing.blobs,
                    bytes: missing.bytes,
                },
                queued: missing.queued,
            })
            .collect())
    }

    /// Waits until one location lacks nothing by the database, or the time is up; tells what it lacks then, and shows it when it has changed. The
    /// copies are made by a replication worker, of this process or another. It may be dropped at any time.
    pub async fn wait_for_location(
        &self,
        location: &LocationName,
        timeout: Option<Duration>,
        mut show: impl FnMut(Amount) + Send,
    ) -> Result<Amount, MetadataError> {
        let began = self.environment.now();
        let deadline = timeout
            .and_then(|timeout| TimeDelta::from_std(timeout).ok())
            .and_then(|timeout| began.checked_add_signed(timeout));
        let mut shown = Amount::default();
        loop {
            let look_began = self.environment.now();
            let plan = self.plan_backfill().await?;
            let planned = plan.iter().find(|planned| planned.location == *location);
            let missing = planned.map_or(Amount::default(), |planned| planned.missing);
            if missing != shown && !missing.is_none() {
                show(missing);
                shown = missing;
            }
            let now = self.environment.now();
            if missing.is_none() || deadline.is_some_and(|deadline| now >= deadline) {
                return Ok(missing);
            }
            let share = ((now - look_began) * LOOK_SHARE)
                .to_std()
                .unwrap_or_default();
            self.environment.clock.sleep(POLL.max(share)).await;
        }
    }

    /// Goes through all blobs, page by page, and makes wanted what is demanded, or what only leaving locations hold at `refuge`.
    async fn want_all(
        &self,
        demand: Demand<'_>,
        refuge: Option<&LocationName>,
        reconciled: &mut Reconciled,
        each: &mut (impl FnMut(&str) + Send),
    ) -> Result<(), MetadataError> {
        let mut after = Some(StorageId(0));
        while let Some(page_after) = after {
            let page = DemandPage {
                demand,
                after: page_after,
                span: PAGE_SPAN,
                queue: &self.queue,
                ids: self.environment.ids.as_ref(),
                now: self.environment.now(),
            };
            let copies = match refuge {
                Some(refuge) => self.database.want_leaving_copies(&page, refuge).await?,
                None => self.database.want_demanded_copies(&page).await?,
            };
            if !copies.wanted.is_empty() {
                self.wake_up.wake();
            }
            reconciled.note(&copies.wanted, each);
            after = copies.next;
        }
        Ok(())
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
