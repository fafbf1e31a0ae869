//! What every part of replication works on.

use std::collections::{BTreeMap, BTreeSet};
use std::iter::Sum;
use std::ops::AddAssign;
use std::sync::Arc;

use roadstead_locations::Locations;
use roadstead_metadata::{Database, Demand, LostObjects, LostReport, MetadataError, StorageId};
use roadstead_placement::{LocationName, Topology};
use roadstead_queue::WakeUp;
use roadstead_runtime::Environment;
use serde::Serialize;
use tokio::sync::Semaphore;

use crate::image_events::Arrivals;
use crate::ledger::Ledger;
use crate::metrics::Counters;
use crate::throttle::Throttle;
use crate::throughput::Throughput;

/// The metadata, the locations and the plan of one registry, for everything that copies, compares or forgets. A clone is a few
/// reference counts.
///
/// It is the queue's [`Handler`](roadstead_queue::Handler) of replication jobs.
#[derive(Clone, Debug)]
pub struct Replication {
    pub(crate) database: Database,
    pub(crate) locations: Locations,
    pub(crate) topology: Arc<Topology>,
    pub(crate) environment: Environment,
    pub(crate) queue: Arc<str>,
    pub(crate) wake_up: WakeUp,
    pub(crate) throttle: Throttle,
    /// What copies may hold together, a permit for each of so many kibibytes.
    pub(crate) memory: Arc<Semaphore>,
    pub(crate) memory_kibibytes: u32,
    pub(crate) throughput: Throughput,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) arrivals: Arrivals,
    pub(crate) counters: Counters,
    configured: Arc<BTreeSet<LocationName>>,
}

/// What a [`Replication`] is made of.
#[derive(Clone, Debug)]
pub struct ReplicationParts {
    /// What is where.
    pub database: Database,
    /// Every configured location.
    pub locations: Locations,
    /// Where blobs have to be, and in which order locations are read from here.
    pub topology: Arc<Topology>,
    /// Time, ids, chance.
    pub environment: Environment,
    /// The queue of replication jobs; Quay calls it [`QUEUE`](crate::QUEUE) unless configured otherwise.
    pub queue: String,
    /// Wakes this process's replication worker, if it has one.
    pub wake_up: WakeUp,
}

impl From<ReplicationParts> for Replication {
    fn from(parts: ReplicationParts) -> Self {
        let configured: BTreeSet<LocationName> = parts.locations.names().cloned().collect();
        Self {
            database: parts.database,
            locations: parts.locations,
            topology: parts.topology,
            environment: parts.environment,
            queue: parts.queue.into(),
            wake_up: parts.wake_up,
            throttle: Throttle::default(),
            memory: Arc::new(Semaphore::new(MEMORY_KIBIBYTES as usize)),
            memory_kibibytes: MEMORY_KIBIBYTES,
            throughput: Throughput::default(),
            ledger: Arc::default(),
            arrivals: Arrivals::default(),
            counters: Counters::of(&configured),
            configured: Arc::new(configured),
        }
    }
}

/// What copies may hold together unless it is said otherwise: 256 MiB.
const MEMORY_KIBIBYTES: u32 = 256 << 10;

impl Replication {
    /// The same, whose copies hold at most so many bytes together, 16 MiB at least. A copy that needs more by itself waits for all of it.
    #[must_use]
    pub fn with_memory(self, bytes: u64) -> Self {
        let kibibytes = u32::try_from(bytes / 1024)
            .unwrap_or(u32::MAX)
            .clamp(16 << 10, 1 << 29);
        Self {
            memory: Arc::new(Semaphore::new(kibibytes as usize)),
            memory_kibibytes: kibibytes,
            ..self
        }
    }

    /// What must be where.
    pub(crate) fn demand(&self) -> Demand<'_> {
        Demand {
            defaults: self.topology.defaults(),
            configured: &self.configured,
        }
    }

    /// How many bytes a second this process copies to each location, by what has arrived in the last two minutes. Where nothing has is
    /// left out.
    pub fn bytes_per_second(&self) -> BTreeMap<LocationName, u64> {
        self.throughput.rates(self.environment.now())
    }

    /// Notes that `location` does not hold these blobs although it should, and has them copied there again.
    pub(crate) async fn report_lost(
        &self,
        location: &LocationName,
        storages: &[StorageId],
        reason: &str,
    ) -> Result<LostReport, MetadataError> {
        let lost = LostObjects {
            location,
            storages,
            reason,
            queue: &self.queue,
            ids: self.environment.ids.as_ref(),
            now: self.environment.now(),
        };
        let report = self.database.report_lost(&lost).await?;
        if !report.wanted.is_empty() {
            self.wake_up.wake();
        }
        Ok(report)
    }
}

/// A number of blobs and their bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Amount {
    /// How many.
    pub blobs: u64,
    /// How many bytes they have together.
    pub bytes: u64,
}

impl Amount {
    /// One blob of this size.
    pub const fn one(bytes: u64) -> Self {
        Self { blobs: 1, bytes }
    }

    /// Whether there are none.
    pub const fn is_none(&self) -> bool {
        self.blobs == 0
    }

    /// What is left of this without `other`, at least nothing.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self {
            blobs: self.blobs.saturating_sub(other.blobs),
            bytes: self.bytes.saturating_sub(other.bytes),
        }
    }
}

impl AddAssign for Amount {
    fn add_assign(&mut self, other: Self) {
        self.blobs = self.blobs.saturating_add(other.blobs);
        self.bytes = self.bytes.saturating_add(other.bytes);
    }
}

impl Sum for Amount {
    fn sum<I: Iterator<Item = Self>>(amounts: I) -> Self {
        amounts.fold(Self::default(), |mut sum, amount| {
            sum += amount;
            sum
        })
    }
}
