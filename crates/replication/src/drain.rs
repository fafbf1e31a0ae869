//! Empties a location before it is removed: it takes no new bytes, and what only it holds is copied elsewhere before anything else is copied.
//! Uploads that have begun there end there, and leave with the rest.
//!
//! Nothing is deleted, so that it can be taken back at any time. What is demanded at other locations goes there; what is not goes to the first
//! location of the preference that takes bytes. The reconciliation of every process goes on with it, also when the command that began it
//! has ended.

#[cfg(test)]
mod tests;

use std::time::Duration;

use chrono::TimeDelta;
use roadstead_metadata::{LocationState, MetadataError, StorageId};
use roadstead_placement::LocationName;
use roadstead_runtime::Timestamp;

use crate::{Amount, RemovalError, Replication};

/// How many blobs' copies are made due first in one transaction.
const PAGE: u32 = 10_000;

/// How often it is looked how much is left, at least: as much time passes as ten looks take.
const POLL: Duration = Duration::from_secs(1);
const LOOK_SHARE: i32 = 9;

/// How often whoever waits queues what uploads have brought that had begun before.
const REQUEUE: TimeDelta = TimeDelta::seconds(30);

/// Why a location is not being emptied.
#[derive(Debug, thiserror::Error)]
pub enum DrainError {
    /// There is no such location, it was removed, or the database failed.
    #[error(transparent)]
    Location(#[from] RemovalError),
    /// There is no other location that takes bytes.
    #[error(
        "no other location takes new bytes, so that nothing could be copied from location `{name}` to anywhere; add one to \
         DISTRIBUTED_STORAGE_CONFIG, or take another that is being emptied back with `admin location undrain`"
    )]
    NowhereElse {
        /// The location.
        name: LocationName,
    },
    /// It is being removed already.
    #[error(
        "location `{name}` is being removed already: `admin removelocation {name}` goes on with it, or takes it back when you answer no"
    )]
    BeingRemoved {
        /// The location.
        name: LocationName,
    },
}

/// How far the emptying of a location has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DrainProgress {
    /// What no other location is known to hold.
    pub only_here: Amount,
    /// Copies of that whose last attempt failed.
    pub failing: u64,
    /// Why one of them failed.
    pub last_failure: Option<String>,
    /// When this was so.
    pub at: Timestamp,
}

impl Replication {
    /// Closes a location for new bytes and queues the copies of what only it holds, those before all others. Tells the location, and how much it
    /// is. Done again, it goes on.
    pub async fn drain_location(
        &self,
        name: &str,
    ) -> Result<(LocationName, DrainProgress), DrainError> {
        let (location, state) = self.removable_location(name).await?;
        if state == LocationState::Removing {
            return Err(DrainError::BeingRemoved { name: location });
        }
        let database = &self.database;
        if state == LocationState::Active {
            database
                .set_location_state(&location, LocationState::Draining, self.environment.now())
                .await
                .map_err(RemovalError::from)?;
        }
        // Asked for after that, so that of two locations that are emptied into each other at least one is refused.
        let trusted = self.trusted(&location).await.map_err(RemovalError::from)?;
        if trusted.is_empty() {
            if state == LocationState::Active {
                database
                    .set_location_state(&location, state, self.environment.now())
                    .await
                    .map_err(RemovalError::from)?;
            }
            return Err(DrainError::NowhereElse { name: location });
        }
        tracing::info!(location.id = %location, "Location {location} takes no new bytes and is emptied");
        let progress = async {
            self.reconcile(|_| ()).await?;
            self.hasten_sole_copies(&location).await?;
            self.drain_progress(&location).await
        };
        let progress = progress.await.map_err(RemovalError::from)?;
        Ok((location, progress))
    }

    /// Makes the copies of what only this location holds due before all others.
    async fn hasten_sole_copies(&self, location: &LocationName) -> Result<(), MetadataError> {
        let trusted = self.trusted(location).await?;
        let mut after = Some(StorageId(0));
        let mut hastened = 0;
        while let Some(page) = after {
            let (some, next) = self
                .database
                .hasten_sole_copies(location, &trusted, page, PAGE)
                .await?;
            hastened += some;
            after = next;
        }
        if hastened > 0 {
            self.wake_up.wake();
        }
        Ok(())
    }

    /// How much only this location holds.
    pub async fn drain_progress(
        &self,
        location: &LocationName,
    ) -> Result<DrainProgress, MetadataError> {
        let trusted = self.trusted(location).await?;
        let sole = self.database.sole_copies(location, &trusted, 0).await?;
        let (failing, last_failure) = if sole.blobs == 0 {
            (0, None)
        } else {
            self.database.failing_refuges(location, &trusted).await?
        };
        Ok(DrainProgress {
            only_here: Amount {
                blobs: sole.blobs,
                bytes: sole.bytes,
            },
            failing,
            last_failure,
            at: self.environment.now(),
        })
    }

    /// Waits until nothing is only at this location, or until the time is up, and shows about every second how much is left. The copies are made by a
    /// replication worker, of this process or another. It may be dropped at any time.
    pub async fn wait_until_drained(
        &self,
        location: &LocationName,
        timeout: Option<Duration>,
        mut show: impl FnMut(&DrainProgress) + Send,
    ) -> Result<DrainProgress, MetadataError> {
        let began = self.environment.now();
        let deadline = timeout
            .and_then(|timeout| TimeDelta::from_std(timeout).ok())
            .and_then(|timeout| began.checked_add_signed(timeout));
        let mut queued = began;
        loop {
            let look_began = self.environment.now();
            // What uploads have brought since.
            if look_began - queued >= REQUEUE {
                self.reconcile(|_| ()).await?;
                self.hasten_sole_copies(location).await?;
                queued = look_began;
            }
            let progress = self.drain_progress(location).await?;
            show(&progress);
            if progress.only_here.is_none() || deadline.is_some_and(|end| progress.at >= end) {
                return Ok(progress);
            }
            let share = ((progress.at - look_began) * LOOK_SHARE)
                .to_std()
                .unwrap_or_default();
            self.environment.clock.sleep(POLL.max(share)).await;
        }
    }

    /// Lets a location take part again that is being emptied, or whose removal was begun and not ended. Tells what it was before.
    pub async fn undrain_location(
        &self,
        name: &str,
    ) -> Result<(LocationName, LocationState), RemovalError> {
        let (location, state) = self.removable_location(name).await?;
        if state != LocationState::Active {
            self.cancel_removal(&location).await?;
        }
        Ok((location, state))
    }

    /// The location that what only leaving locations hold is brought to, where nothing demands it elsewhere.
    pub(crate) async fn refuge(&self) -> Result<Option<LocationName>, MetadataError> {
        let closed = self.database.closed_locations().await?;
        let open = self
            .topology
            .locations()
            .iter()
            .find(|location| !closed.contains(*location));
        Ok(open.cloned())
    }
}
