//! What a new location will bring: whether its store works from here, and what will be copied there. Nothing is changed.

use roadstead_metadata::{LocationState, MetadataError};
use roadstead_placement::LocationName;
use roadstead_storage::{StorageError, Verification};

use crate::{Amount, Replication};

/// A location that works, and what it lacks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Addition {
    /// Whether it takes part.
    pub state: LocationState,
    /// Whether every blob has to be there.
    pub default: bool,
    /// What it lacks of what has to be there.
    pub missing: Amount,
    /// How many of these copies have a job.
    pub queued: u64,
}

/// Why a location cannot be added.
#[derive(Debug, thiserror::Error)]
pub enum AdditionError {
    /// It was removed earlier, and what was removed does not come back.
    #[error(
        "a location `{name}` was removed earlier and is not used again; give the new one another name"
    )]
    Removed {
        /// The location.
        name: LocationName,
    },
    /// Its store failed.
    #[error("location `{name}` cannot be written, read and deleted from")]
    Store {
        /// The location.
        name: LocationName,
        /// How.
        #[source]
        source: StorageError,
    },
    /// Its store took an object and did not give it back.
    #[error("location `{name}` took an object and gave back other bytes or none")]
    Untrue {
        /// The location.
        name: LocationName,
    },
    /// The database failed.
    #[error(transparent)]
    Metadata(#[from] MetadataError),
}

impl Replication {
    /// Writes an object of a few bytes to a location, reads it back and deletes it, and says what the location lacks.
    pub async fn plan_addition(&self, name: &LocationName) -> Result<Addition, AdditionError> {
        let rows = self.known_locations().await?;
        let row = rows.iter().find(|row| row.name == *name);
        let state = row.map_or(LocationState::Active, |row| row.state);
        let Some(location) = self
            .locations
            .get(name)
            .filter(|_| state != LocationState::Removed)
        else {
            return Err(AdditionError::Removed { name: name.clone() });
        };
        let verified = location
            .try_out(self.environment.ids.uuid())
            .await
            .map_err(|source| AdditionError::Store {
                name: name.clone(),
                source,
            })?;
        if !matches!(verified, Verification::Intact { .. }) {
            return Err(AdditionError::Untrue { name: name.clone() });
        }
        let plan = self.plan_backfill().await?;
        let planned = plan.into_iter().find(|planned| planned.location == *name);
        Ok(Addition {
            state,
            default: self.topology.defaults().contains(name),
            missing: planned
                .as_ref()
                .map_or(Amount::default(), |planned| planned.missing),
            queued: planned.map_or(0, |planned| planned.queued),
        })
    }

    /// What has a placement at a location.
    pub async fn placed_at(&self, name: &LocationName) -> Result<Amount, MetadataError> {
        let rows = self.database.locations().await?;
        let row = rows.into_iter().find(|row| row.name == *name);
        Ok(row.map_or(Amount::default(), |row| Amount {
            blobs: row.blobs,
            bytes: row.bytes,
        }))
    }
}
