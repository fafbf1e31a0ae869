//! What is missing where, how long, why, and which images it concerns. Nothing is changed here, except by [`Replication::wait`].

pub(crate) mod image;
mod wait;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use futures_util::future::join_all;
use roadstead_locations::LocationDocument;
use roadstead_metadata::{LocationRow, LocationState, MetadataError, MissingCopies, StorageId};
use roadstead_oci::Algorithm;
use roadstead_placement::LocationName;
use roadstead_runtime::Timestamp;
use roadstead_storage::{Location, ObjectKey, StorageError};
use serde::{Serialize, Serializer};

use crate::images::ConcernedImage;
use crate::reason::reason;
use crate::sites::ENDED_AFTER;
use crate::store_check::{Defect, LostObject, StoreCheckError, compare};
use crate::throughput::time_left;
use crate::{Amount, Replication};

pub use image::{ImageAt, ImageName, ImageNameError, ImageState, ImageStatus, ImageStatusError};
pub use wait::{Progress, WaitOptions};

/// How many missing blobs of one location are looked at to find images. More than that are counted and not named.
const SAMPLE_BLOBS_MAX: u32 = 500;

/// How many lost blobs of all locations are looked at to find images.
const CONCERNED_MAX: usize = 2_000;

/// What a report is to look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StatusOptions {
    /// Whether the objects in the stores are compared with the placements. It lists every object of every location, without
    /// reading any.
    pub store_check: bool,
}

/// How complete the replication is.
#[derive(Clone, Debug, Serialize)]
pub struct StatusReport {
    /// Whether every blob is wherever it has to be, as far as was looked.
    pub complete: bool,
    /// When this was found out.
    pub at: Timestamp,
    /// Every configured location, and others that hold blobs or are on their way out, by name.
    pub locations: Vec<LocationStatus>,
    /// Blobs that manifests need and that have no placement at all: there is nothing to copy them from.
    pub blobs_nowhere: u64,
    /// Jobs in the queue, waiting and running.
    pub jobs: u64,
    /// Some of the images that lack a blob somewhere, by name: at most 20.
    pub images: Vec<ConcernedImage>,
    /// Whether there may be more of them.
    pub images_more: bool,
    /// What the store check found, to be reported as lost. Bounded: see [`LostObjects`].
    #[serde(skip)]
    pub(crate) lost: LostObjects,
}

/// What one location holds and lacks.
#[derive(Clone, Debug, Serialize)]
pub struct LocationStatus {
    /// Its name.
    pub location: LocationName,
    /// Whether it takes part.
    #[serde(serialize_with = "state_as_text")]
    pub state: LocationState,
    /// Whether the configuration names it.
    pub configured: bool,
    /// Whether every blob has to be there.
    pub default: bool,
    /// What is there: placements, without those that its store disproved and those that could not be read.
    pub present: Amount,
    /// What has to be there and is not, objects among it that placements promise and the store does not hold.
    pub missing: Amount,
    /// The part of `missing` that placements promise.
    pub lost: Amount,
    /// What may be there, but cannot be read now.
    pub unreadable: Amount,
    /// Missing copies that have a job.
    pub queued: u64,
    /// Those whose last attempt failed.
    pub failing: u64,
    /// Since when the oldest missing copy is wanted.
    pub oldest_gap: Option<Timestamp>,
    /// The same as an age.
    pub oldest_gap_seconds: Option<u64>,
    /// Why the latest failed attempt failed.
    pub last_failure: Option<String>,
    /// Whether copying to it is paused.
    pub paused: bool,
    /// How many bytes a second all running processes copy to it, by what has arrived in the last two minutes; none if nothing has.
    pub bytes_per_second: Option<u64>,
    /// How long what is missing takes at this rate, in seconds; none if nothing is, or the rate is not known.
    pub eta_seconds: Option<u64>,
    /// What looking into its store brought.
    pub store: StoreStatus,
}

/// What looking into the store of a location brought.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "checked", rename_all = "snake_case")]
pub enum StoreStatus {
    /// It was not asked for, or the configuration does not say where the store is.
    No,
    /// Its objects were compared with the placements.
    Yes,
    /// It could not be read.
    Unreadable {
        /// Why.
        reason: String,
    },
}

/// A location, for `admin location list`.
#[derive(Clone, Debug, Serialize)]
pub struct LocationListing {
    /// Its name.
    pub location: LocationName,
    /// Whether it takes part.
    #[serde(serialize_with = "state_as_text")]
    pub state: LocationState,
    /// Whether the configuration names it.
    pub configured: bool,
    /// Whether every blob has to be there.
    pub default: bool,
    /// Whether its store works at this moment; `None` when the configuration does not say where it is.
    pub reachable: Option<bool>,
    /// Why it does not.
    pub problem: Option<String>,
    /// How long the probe took, in milliseconds.
    pub probe_ms: Option<u64>,
    /// What has a placement there.
    pub placed: Amount,
    /// How the running processes see it.
    pub seen_by: Vec<SeenBy>,
}

/// How one running process sees a location.
#[derive(Clone, Debug, Serialize)]
pub struct SeenBy {
    /// The process.
    pub instance: String,
    /// The location that its region prefers.
    pub region: LocationName,
    /// How many seconds ago it said so.
    pub seconds_ago: u64,
    /// What it said.
    #[serde(flatten)]
    pub health: LocationDocument,
}

/// Why a report could not be made. That a store cannot be read is part of a report.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct StatusError(#[from] MetadataError);

impl From<StatusError> for MetadataError {
    fn from(error: StatusError) -> Self {
        error.0
    }
}

/// Lost objects by location, at most [`LostObjects::MAX`] of them: the rest is found by the next check.
#[derive(Clone, Debug, Default)]
pub(crate) struct LostObjects(pub(crate) BTreeMap<LocationName, Vec<LostObject>>);

impl LostObjects {
    /// 100,000 at some 150 bytes each are 15 MB.
    const MAX: usize = 100_000;

    fn add(&mut self, location: &LocationName, lost: LostObject) {
        if self.0.values().map(Vec::len).sum::<usize>() < Self::MAX {
            self.0.entry(location.clone()).or_default().push(lost);
        }
    }
}

impl Replication {
    /// Finds out how complete the replication is.
    ///
    /// The number of database queries depends on the number of locations only, with a store check also on that of shards (512 a
    /// location). Memory is that of the store check.
    pub async fn status(&self, options: StatusOptions) -> Result<StatusReport, StatusError> {
        let rows = self.known_locations().await?;
        self.status_of(rows, options).await
    }

    /// The same about one location: no other counts, neither for completeness nor for the images.
    pub async fn location_status(
        &self,
        location: &LocationName,
        options: StatusOptions,
    ) -> Result<StatusReport, StatusError> {
        let mut rows = self.database.locations().await?;
        rows.retain(|row| row.name == *location);
        if rows.is_empty() {
            rows.push(unused(location));
        }
        self.status_of(rows, options).await
    }

    async fn status_of(
        &self,
        rows: Vec<LocationRow>,
        options: StatusOptions,
    ) -> Result<StatusReport, StatusError> {
        let now = self.environment.now();
        let missing = self.database.missing_copies(self.demand()).await?;
        let control = self.database.copy_control().await?;
        let rates = self.rates().await?;
        let mut report = StatusReport {
            complete: false,
            at: now,
            locations: Vec::new(),
            blobs_nowhere: self.database.count_unplaced_blobs().await?,
            jobs: self.database.count_jobs(&self.queue).await?,
            images: Vec::new(),
            images_more: false,
            lost: LostObjects::default(),
        };
        let mut concerned = Vec::new();
        for row in rows {
            let mut status = self.placed(&row);
            status.paused = control.is_paused(None, &row.name);
            if let Some(missing) = missing.iter().find(|missing| missing.location == row.name) {
                status.add_missing(missing, now);
                let some = self
                    .database
                    .some_missing_blobs(self.demand(), &row.name, SAMPLE_BLOBS_MAX)
                    .await?;
                concerned.extend(some);
            }
            if options.store_check
                && let Some(location) = self.locations.get(&row.name)
            {
                self.check_store(location, &mut status, &mut report.lost, &mut concerned)
                    .await?;
            }
            status.bytes_per_second = rates.get(&row.name).copied();
            status.eta_seconds =
                time_left(status.missing.bytes, status.bytes_per_second).map(|left| left.as_secs());
            report.locations.push(status);
        }
        report.complete =
            report.blobs_nowhere == 0 && report.locations.iter().all(LocationStatus::is_complete);
        let sampled = concerned.len() >= SAMPLE_BLOBS_MAX as usize;
        let images = self.concerned_images(&concerned, sampled).await?;
        report.images_more = images.more;
        report.images = images.some;
        Ok(report)
    }

    /// The configured locations and the others that matter, each probed unless the configuration does not say where it is.
    pub async fn list_locations(&self) -> Result<Vec<LocationListing>, StatusError> {
        let rows = self.known_locations().await?;
        let seen = self.seen().await?;
        // All at once: one that hangs is waited for once.
        let probes = rows.iter().map(|row| self.probe(&row.name));
        let probes = join_all(probes).await;
        let mut listings = Vec::new();
        for (row, (probed, took)) in rows.into_iter().zip(probes) {
            listings.push(LocationListing {
                state: row.state,
                configured: self.locations.get(&row.name).is_some(),
                default: self.topology.defaults().contains(&row.name),
                reachable: probed.as_ref().map(Result::is_ok),
                problem: probed.and_then(Result::err).map(|error| reason(&error)),
                probe_ms: took,
                seen_by: seen
                    .iter()
                    .filter(|seen| seen.health.location == row.name.as_str())
                    .cloned()
                    .collect(),
                placed: Amount {
                    blobs: row.blobs,
                    bytes: row.bytes,
                },
                location: row.name,
            });
        }
        Ok(listings)
    }

    async fn probe(&self, name: &LocationName) -> (Option<Result<(), StorageError>>, Option<u64>) {
        let Some(location) = self.locations.get(name) else {
            return (None, None);
        };
        let begun = self.environment.now();
        let probed = location.probe().await;
        let took = (self.environment.now() - begun).num_milliseconds();
        (Some(probed), u64::try_from(took).ok())
    }

    /// What the running processes say of the locations. What cannot be read is of another version, and left out.
    async fn seen(&self) -> Result<Vec<SeenBy>, StatusError> {
        let now = self.environment.now();
        let instances = self.database.instances(now - ENDED_AFTER).await?;
        let mut seen = Vec::new();
        for instance in instances {
            let documents: Vec<LocationDocument> =
                serde_json::from_str(&instance.locations).unwrap_or_default();
            let seconds = (now - instance.seen_at).num_seconds();
            seen.extend(documents.into_iter().map(|health| SeenBy {
                instance: instance.name.clone(),
                region: instance.region.clone(),
                seconds_ago: u64::try_from(seconds).unwrap_or(0),
                health,
            }));
        }
        Ok(seen)
    }

    /// How many bytes a second the running processes copy to each location, together.
    async fn rates(&self) -> Result<BTreeMap<LocationName, u64>, StatusError> {
        let mut rates: BTreeMap<LocationName, u64> = BTreeMap::new();
        for seen in self.seen().await? {
            let rate = seen.health.copied_bytes_per_second;
            let location = LocationName::new(&seen.health.location);
            if let (Some(rate), Ok(location)) = (rate, location) {
                let sum = rates.entry(location).or_default();
                *sum = sum.saturating_add(rate);
            }
        }
        Ok(rates)
    }

    /// The configured locations, and those others that hold something or are on their way out. A database of Quay's has rows
    /// of locations that were never used.
    pub(crate) async fn known_locations(&self) -> Result<Vec<LocationRow>, MetadataError> {
        let mut rows = self.database.locations().await?;
        rows.retain(|row| {
            row.blobs > 0
                || row.state != LocationState::Active
                || self.locations.get(&row.name).is_some()
        });
        for name in self.locations.names() {
            if !rows.iter().any(|row| row.name == *name) {
                rows.push(unused(name));
            }
        }
        rows.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(rows)
    }

    fn placed(&self, row: &LocationRow) -> LocationStatus {
        LocationStatus {
            location: row.name.clone(),
            state: row.state,
            configured: self.locations.get(&row.name).is_some(),
            default: self.topology.defaults().contains(&row.name),
            present: Amount {
                blobs: row.blobs,
                bytes: row.bytes,
            },
            missing: Amount::default(),
            lost: Amount::default(),
            unreadable: Amount::default(),
            queued: 0,
            failing: 0,
            oldest_gap: None,
            oldest_gap_seconds: None,
            last_failure: None,
            paused: false,
            bytes_per_second: None,
            eta_seconds: None,
            store: StoreStatus::No,
        }
    }

    /// Compares a location's store with its placements and corrects `status` by what it finds.
    async fn check_store(
        &self,
        location: &Location,
        status: &mut LocationStatus,
        lost: &mut LostObjects,
        concerned: &mut Vec<StorageId>,
    ) -> Result<(), StatusError> {
        let name = location.name();
        let mut found = Amount::default();
        let compared = match location.stat(&ObjectKey::Probe).await {
            Ok(_) => {
                compare(&self.database, location, |blob, defect| {
                    if let Some(defect) = defect {
                        found += Amount::one(blob.size);
                        if concerned.len() < CONCERNED_MAX {
                            concerned.push(blob.storage);
                        }
                        lost.add(
                            name,
                            LostObject {
                                blob: blob.clone(),
                                defect,
                            },
                        );
                    }
                })
                .await
            }
            Err(error) => Err(error.into()),
        };
        match compared {
            Ok(()) => {
                status.store = StoreStatus::Yes;
                status.present = status.present.without(found);
                status.missing += found;
                status.lost = found;
                Ok(())
            }
            Err(StoreCheckError::Store(error)) => {
                self.note_unreadable(name, &error, status, concerned)
                    .await?;
                lost.0.remove(name);
                Ok(())
            }
            Err(StoreCheckError::Metadata(error)) => Err(error.into()),
        }
    }

    async fn note_unreadable(
        &self,
        location: &LocationName,
        error: &StorageError,
        status: &mut LocationStatus,
        concerned: &mut Vec<StorageId>,
    ) -> Result<(), MetadataError> {
        status.store = StoreStatus::Unreadable {
            reason: reason(error),
        };
        status.unreadable = std::mem::take(&mut status.present);
        let mut sample = 0;
        for first_byte in 0..=u8::MAX {
            if sample >= SAMPLE_BLOBS_MAX as usize {
                break;
            }
            let placed = self
                .database
                .placements_in_shard(location, Algorithm::Sha256, &format!("{first_byte:02x}"))
                .await?;
            sample += placed.len();
            concerned.extend(
                placed
                    .iter()
                    .map(|blob| blob.storage)
                    .take(SAMPLE_BLOBS_MAX as usize),
            );
        }
        Ok(())
    }
}

/// A location that holds nothing.
fn unused(name: &LocationName) -> LocationRow {
    LocationRow {
        id: None,
        name: name.clone(),
        state: LocationState::Active,
        blobs: 0,
        bytes: 0,
    }
}

impl StatusReport {
    /// Whether copies are missing that the queue can bring about.
    fn copies_missing(&self) -> bool {
        self.locations
            .iter()
            .any(|status| !status.missing.without(status.lost).is_none())
    }
}

impl LocationStatus {
    /// Whether nothing is missing here, as far as was looked.
    pub fn is_complete(&self) -> bool {
        self.missing.is_none()
            && self.unreadable.is_none()
            && !matches!(self.store, StoreStatus::Unreadable { .. })
    }

    /// Its state in one word.
    pub fn state_word(&self) -> &'static str {
        state_word(self.state)
    }

    fn add_missing(&mut self, missing: &MissingCopies, now: Timestamp) {
        self.missing += Amount {
            blobs: missing.blobs,
            bytes: missing.bytes,
        };
        self.queued = missing.queued;
        self.failing = missing.failing;
        self.oldest_gap = missing.oldest;
        self.oldest_gap_seconds = missing
            .oldest
            .map(|oldest| (now - oldest).num_seconds().try_into().unwrap_or_default());
        self.last_failure.clone_from(&missing.last_failure);
    }
}

impl LocationListing {
    /// Its state in one word.
    pub fn state_word(&self) -> &'static str {
        state_word(self.state)
    }
}

impl std::fmt::Display for LostObject {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self.defect {
            Defect::Missing => "the store does not hold the object",
            Defect::Damaged => "the store holds other bytes than the digest says",
        })
    }
}

/// A location's state in one word.
pub(crate) const fn state_word(state: LocationState) -> &'static str {
    match state {
        LocationState::Active => "active",
        LocationState::Draining => "draining",
        LocationState::Removing => "removing",
        LocationState::Removed => "removed",
    }
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "the signature that serde calls"
)]
fn state_as_text<S: Serializer>(state: &LocationState, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(state_word(*state))
}
