//! Reads back what placements promise, at a pace and in the background or all at once, and has copied again what is missing or damaged. Finds
//! objects that nothing accounts for, too.
//!
//! A location has one round at a time, which the processes of a registry take on page by page under a lease, those first whose region prefers
//! the location. How far it has come is in the database, so that nothing is read twice for a restart. The only copy of a blob is never given up,
//! however damaged: it is noted, and somebody has to look.

mod orphans;
mod pace;
#[cfg(test)]
mod tests;

use std::num::NonZeroU64;
use std::time::Duration;

use futures_util::future::join_all;
use futures_util::{StreamExt, TryStreamExt, stream};
use roadstead_metadata::{
    MetadataError, PlacedBlob, ScrubFinding, ScrubLease, ScrubState, ScrubStep,
};
use roadstead_oci::Digest;
use roadstead_placement::{LocationName, ScrubReach, scrub_reach};
use roadstead_runtime::{Shutdown, Timestamp};
use roadstead_storage::{Location, StorageError, Verification};

pub use self::orphans::{ORPHAN_AGE_MIN, Orphan};
use self::pace::Pace;
use crate::copy::BlobContent;
use crate::store_check::StoreCheckError;
use crate::{Amount, Replication};

/// How often it is looked whether something is due.
const POLL: Duration = Duration::from_mins(1);

/// How long a process may be silent before another does its page again.
const LEASE: Duration = Duration::from_mins(5);

/// Objects of one page: what is read again after a crash.
const PAGE: u32 = 100;

/// Objects read at a time. Small ones take their time for the way, large ones for their bytes.
const AT_ONCE: usize = 4;

/// What no digest comes behind.
const END: &str = "sha512:g";

/// How many shards the stores of locations have.
const SHARDS: u32 = 512;

/// How long what was repaired stays noted.
const REPAIRED_KEPT: Duration = Duration::from_hours(30 * 24);

/// How long something that was found may have neither a copy nor a job before it is taken for no longer wanted there: the reconciliation
/// queues what is, long before.
const UNWANTED_AFTER: Duration = Duration::from_hours(24);

/// How fast everything is read back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScrubOptions {
    /// How long a round of a location takes, if the next limit allows it.
    pub period: Duration,
    /// The most that this process reads, of all locations together. Limits of copying hold besides.
    pub bytes_per_second: NonZeroU64,
}

/// What is wrong with an object that a placement promises, seen twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ObjectDefect {
    /// The store does not have it.
    Missing,
    /// It has fewer bytes than it should.
    Truncated,
    /// It has the bytes of another blob.
    Swapped,
    /// It has other bytes.
    Damaged,
}

/// An object that a placement promised and that is not there, or not with its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DefectiveObject {
    /// Where.
    pub location: LocationName,
    /// What it should hash to.
    pub digest: Digest,
    /// The bytes that it should have.
    pub size: u64,
    /// What is wrong.
    pub defect: ObjectDefect,
    /// The bytes that are there instead.
    pub found_size: Option<u64>,
    /// What they hash to.
    pub found_digest: Option<Digest>,
    /// Whether no other copy is known: it was left as it is. If not, it is copied again from another location.
    pub only_copy: bool,
}

/// What looking at every placement of a location shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VerifyEvent {
    /// So much more was read.
    Read(Amount),
    /// Something is missing or damaged.
    Defective(DefectiveObject),
    /// Nothing accounts for an object.
    Orphan(Orphan),
    /// So many objects were put on the list of those to be deleted.
    OrphansDoomed(u64),
}

/// What to look at besides placements.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VerifyOptions {
    /// Whether to look for objects that nothing accounts for.
    pub orphans: bool,
    /// Whether to have those deleted that were seen so before, a day ago at least.
    pub delete_orphans: bool,
}

/// Why the placements of a location could not be verified.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// The configuration does not name it.
    #[error("there is no location `{name}` in the configuration")]
    NotConfigured {
        /// What was asked for.
        name: LocationName,
    },
    /// Its store or the database failed.
    #[error(transparent)]
    StoreCheck(#[from] StoreCheckError),
}

/// How far the rounds have come.
#[derive(Clone, Debug)]
pub struct ScrubReport {
    /// The round of each location that has begun one, by name.
    pub rounds: Vec<ScrubState>,
    /// What was found and is not repaired, then what was repaired in the last thirty days; at most 1000.
    pub findings: Vec<ScrubFinding>,
}

/// What became of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stepped {
    /// There may be more to do at once.
    On,
    /// Nothing is due, or somebody else is at it.
    Rest,
}

impl Replication {
    /// Reads everything back again and again, each location's placements once a period, until `shutdown`. Several processes share the work.
    ///
    /// What it finds is logged and noted, and what another location holds is copied again.
    pub async fn keep_scrubbed(&self, options: ScrubOptions, shutdown: &Shutdown) {
        let pace = Pace::new(options.bytes_per_second, &self.environment);
        let locations = self
            .locations
            .iter()
            .map(|location| self.keep_location_scrubbed(location, options.period, &pace, shutdown));
        tokio::join!(join_all(locations), self.keep_settled(shutdown));
    }

    async fn keep_location_scrubbed(
        &self,
        location: &Location,
        period: Duration,
        pace: &Pace,
        shutdown: &Shutdown,
    ) {
        let mut failing = false;
        while !shutdown.requested() {
            let stepped = self.scrub_step(location, period, pace, shutdown).await;
            let failed_before = std::mem::replace(&mut failing, stepped.is_err());
            match stepped {
                Ok(Stepped::On) => continue,
                // Once, however many follow.
                Err(error) if !failed_before => tracing::warn!(
                    location.id = %location.name(),
                    error = &error as &dyn std::error::Error,
                    "Could not read back what location {} holds; trying again",
                    location.name(),
                ),
                Ok(Stepped::Rest) | Err(_) => {}
            }
            self.rest_from_scrub(shutdown).await;
        }
    }

    async fn rest_from_scrub(&self, shutdown: &Shutdown) {
        let pause = POLL.mul_f64(0.5 + self.environment.ids.fraction());
        tokio::select! {
            () = self.environment.clock.sleep(pause) => {}
            () = shutdown.wait() => {}
        }
    }

    /// Notes what was repaired, from time to time.
    async fn keep_settled(&self, shutdown: &Shutdown) {
        while !shutdown.requested() {
            if let Err(error) = self.settle_findings().await {
                tracing::debug!(
                    error = &error as &dyn std::error::Error,
                    "Could not look for what was repaired",
                );
            }
            self.rest_from_scrub(shutdown).await;
        }
    }

    /// Notes what was repaired since it was found, and tells.
    pub async fn settle_findings(&self) -> Result<Vec<ScrubFinding>, MetadataError> {
        let now = self.environment.now();
        let repaired = self
            .database
            .settle_findings(now - UNWANTED_AFTER, now - REPAIRED_KEPT, now)
            .await?;
        repaired.iter().for_each(log_repaired);
        Ok(repaired)
    }

    /// How far the rounds have come, and what was found.
    pub async fn scrub_report(&self) -> Result<ScrubReport, MetadataError> {
        const FINDINGS_MAX: u32 = 1000;
        Ok(ScrubReport {
            rounds: self.database.scrub_states().await?,
            findings: self.database.scrub_findings(FINDINGS_MAX).await?,
        })
    }

    /// Reads one page of what is due at a location, and looks through one shard of its store.
    async fn scrub_step(
        &self,
        location: &Location,
        period: Duration,
        pace: &Pace,
        shutdown: &Shutdown,
    ) -> Result<Stepped, StoreCheckError> {
        let name = location.name();
        let states = self.database.scrub_states().await?;
        let known = states.iter().find(|state| state.location == *name);
        if known.is_some_and(|state| self.due_of_round(location, state, period).is_none()) {
            return Ok(Stepped::Rest);
        }
        let now = self.environment.now();
        let token = self.environment.ids.uuid();
        let lease = self
            .database
            .claim_scrub(name, token, now + LEASE, now)
            .await?;
        let Some(lease) = lease else {
            return Ok(Stepped::Rest);
        };
        // Looked at again: it may be further by now.
        let Some(due) = self.due_of_round(location, &lease.state, period) else {
            self.database.extend_scrub(&lease, None).await?;
            return Ok(Stepped::Rest);
        };
        if due.is_end(&lease.state) {
            return self.end_round(lease).await;
        }
        let done = self.hold_round(
            &lease,
            self.scrub_page(location, &lease.state, &due, pace),
            shutdown,
        );
        match done.await {
            Some(Ok(step)) => {
                self.database.advance_scrub(lease, &step).await?;
                Ok(Stepped::On)
            }
            Some(Err(error)) => {
                // Another process may reach the store.
                self.database.extend_scrub(&lease, None).await?;
                Err(error)
            }
            None => Ok(Stepped::Rest),
        }
    }

    /// What is due of a round; `None`: nothing.
    fn due_of_round(
        &self,
        location: &Location,
        state: &ScrubState,
        period: Duration,
    ) -> Option<Due> {
        let elapsed = self.environment.now() - state.round_began;
        let preferred = self.topology.preferred() == location.name();
        let due = match scrub_reach(elapsed.to_std().unwrap_or_default(), period, preferred) {
            ScrubReach::UpTo(part) => Due {
                until: format!("sha256:{part:08x}"),
                // The first nine bits of the part.
                shards: part >> 23,
                everything: false,
            },
            ScrubReach::All => Due {
                until: END.to_owned(),
                shards: SHARDS,
                everything: true,
            },
        };
        (state.after < due.until || state.shards < due.shards || due.everything).then_some(due)
    }

    async fn end_round(&self, lease: ScrubLease) -> Result<Stepped, StoreCheckError> {
        let state = lease.state.clone();
        if self
            .database
            .end_scrub_round(lease, self.environment.now())
            .await?
        {
            tracing::info!(
                location.id = %state.location,
                scrub.objects = state.objects,
                scrub.bytes = state.bytes,
                scrub.found = state.found,
                "Read back all of {} objects at location {}; {} were missing or damaged",
                state.objects,
                state.location,
                state.found,
            );
        }
        Ok(Stepped::On)
    }

    /// Holds a lease while something is done under it. `None`: it was lost, or given back because the process ends.
    async fn hold_round<T>(
        &self,
        lease: &ScrubLease,
        work: impl Future<Output = T> + Send,
        shutdown: &Shutdown,
    ) -> Option<T> {
        tokio::pin!(work);
        loop {
            tokio::select! {
                done = &mut work => return Some(done),
                () = self.environment.clock.sleep(LEASE / 3) => {
                    let until = self.environment.now() + LEASE;
                    // While the database is away nobody else takes it either.
                    if let Ok(false) = self.database.extend_scrub(lease, Some(until)).await {
                        return None;
                    }
                }
                () = shutdown.wait() => {
                    // If that fails, the lease ends by itself.
                    self.database.extend_scrub(lease, None).await.ok();
                    return None;
                }
            }
        }
    }

    async fn scrub_page(
        &self,
        location: &Location,
        state: &ScrubState,
        due: &Due,
        pace: &Pace,
    ) -> Result<ScrubStep, StoreCheckError> {
        let mut step = ScrubStep {
            after: state.after.clone(),
            shards: state.shards,
            ..ScrubStep::default()
        };
        if state.after < due.until {
            let page = self
                .database
                .placements_between(location.name(), &state.after, &due.until, PAGE)
                .await?;
            step.after = match page.last() {
                Some(last) if page.len() == PAGE as usize => last.digest.to_string(),
                _ => due.until.clone(),
            };
            self.examine(location, page, pace, &mut |event| match event {
                VerifyEvent::Read(read) => {
                    step.objects += read.blobs;
                    step.bytes += read.bytes;
                }
                VerifyEvent::Defective(_) => step.found += 1,
                VerifyEvent::Orphan(_) | VerifyEvent::OrphansDoomed(_) => {}
            })
            .await?;
        }
        if state.shards < due.shards {
            self.note_orphans_of_shard(location, state.shards).await?;
            step.shards = state.shards.saturating_add(1);
        }
        Ok(step)
    }

    /// Reads every object that a placement at a location promises, as fast as the limits of copying let it, and shows what is wrong. What another location holds
    /// is copied again; the only copy of a blob is left as it is.
    ///
    /// Memory is that of a few objects' chunks and of one page of a listing. It may be dropped at any time.
    pub async fn verify_placements(
        &self,
        location: &LocationName,
        options: VerifyOptions,
        mut each: impl FnMut(VerifyEvent) + Send,
    ) -> Result<(), VerifyError> {
        let Some(location) = self.locations.get(location) else {
            return Err(VerifyError::NotConfigured {
                name: location.clone(),
            });
        };
        let pace = Pace::unlimited(&self.environment);
        let mut after = String::new();
        loop {
            let page = self
                .database
                .placements_between(location.name(), &after, END, PAGE)
                .await
                .map_err(StoreCheckError::from)?;
            let Some(last) = page.last() else {
                break;
            };
            after = last.digest.to_string();
            self.examine(location, page, &pace, &mut each).await?;
        }
        if options.orphans {
            for shard in 0..SHARDS {
                self.look_for_orphans(location, shard, options.delete_orphans, &mut each)
                    .await?;
            }
        }
        Ok(())
    }

    /// Reads the objects of a page, reports those that are missing or damaged, and shows how it goes on.
    async fn examine(
        &self,
        location: &Location,
        page: Vec<PlacedBlob>,
        pace: &Pace,
        each: &mut (impl FnMut(VerifyEvent) + Send),
    ) -> Result<(), StoreCheckError> {
        let mut intact = Vec::new();
        let mut read = stream::iter(page)
            .map(|blob| self.read_back(location, blob, pace))
            .buffer_unordered(AT_ONCE);
        while let Some((blob, verified)) = read.try_next().await? {
            self.counters.note_read_back(location.name(), blob.size);
            each(VerifyEvent::Read(Amount::one(blob.size)));
            match verified {
                Verification::Intact { .. } => intact.push(blob.digest),
                Verification::Missing | Verification::Damaged { .. } => {
                    if let Some(object) = self
                        .report_defective(location.name(), blob, verified)
                        .await?
                    {
                        self.counters.note_defective(location.name());
                        each(VerifyEvent::Defective(object));
                    }
                }
            }
        }
        drop(read);
        let now = self.environment.now();
        let repaired = self
            .database
            .settle_intact(location.name(), &intact, now)
            .await?;
        self.counters.note_repaired(location.name(), repaired.len());
        repaired.iter().for_each(log_repaired);
        Ok(())
    }

    /// Notes a missing or damaged object and has it copied again. `None`: nothing promises it any more.
    async fn report_defective(
        &self,
        location: &LocationName,
        blob: PlacedBlob,
        verified: Verification,
    ) -> Result<Option<DefectiveObject>, MetadataError> {
        let storages = self
            .database
            .placed_of_digest(location, &blob.digest)
            .await?;
        if storages.is_empty() {
            return Ok(None);
        }
        let (found_size, found_digest) = match verified {
            Verification::Damaged { size, found } => (Some(size), Some(found)),
            Verification::Missing | Verification::Intact { .. } => (None, None),
        };
        let mut object = DefectiveObject {
            defect: self
                .defect(&blob, found_size, found_digest.as_ref())
                .await?,
            location: location.clone(),
            digest: blob.digest,
            size: blob.size,
            found_size,
            found_digest,
            // Until the other placements were looked at. Noted so before, what was found is not forgotten if this process ends here.
            only_copy: true,
        };
        let now = self.environment.now();
        self.database.note_finding(&object.finding(now)).await?;
        let lost = self
            .report_lost(location, &storages, &object.what())
            .await?;
        if lost.kept.is_empty() && !lost.wanted.is_empty() {
            object.only_copy = false;
            self.database.note_finding(&object.finding(now)).await?;
        }
        tracing::error!(
            location.id = %location,
            blob.digest = %object.digest,
            "{object}",
        );
        Ok(Some(object))
    }

    /// Reads an object, and one that seems missing or damaged a second time: what a connection did to the bytes must not cost a copy.
    async fn read_back(
        &self,
        location: &Location,
        blob: PlacedBlob,
        pace: &Pace,
    ) -> Result<(PlacedBlob, Verification), StorageError> {
        let content = BlobContent {
            digest: blob.digest.clone(),
            size: blob.size,
        };
        // Quay keeps no object for it, and nothing is lost without one.
        if content.is_empty() {
            return Ok((blob, Verification::Intact { size: 0 }));
        }
        let wait = |bytes| self.wait_to_read(location.name(), bytes, pace);
        let mut verified = location.verify_paced(&blob.digest, wait).await?;
        if !matches!(verified, Verification::Intact { .. }) {
            verified = location.verify_paced(&blob.digest, wait).await?;
        }
        Ok((blob, verified))
    }

    /// Waits until so many bytes may be read, by the pace and by what an operator has limited for the location.
    async fn wait_to_read(&self, location: &LocationName, bytes: u64, pace: &Pace) {
        pace.take(bytes).await;
        let clock = self.environment.clock.as_ref();
        self.throttle.control(&self.database, clock).await;
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
        self.throttle.take_reading(location, bytes, clock).await;
    }

    async fn defect(
        &self,
        blob: &PlacedBlob,
        found_size: Option<u64>,
        found: Option<&Digest>,
    ) -> Result<ObjectDefect, MetadataError> {
        let (Some(size), Some(found)) = (found_size, found) else {
            return Ok(ObjectDefect::Missing);
        };
        Ok(if size == 0 {
            ObjectDefect::Truncated
        } else if self.database.find_blob_anywhere(found).await?.is_some() {
            ObjectDefect::Swapped
        } else if size < blob.size {
            ObjectDefect::Truncated
        } else {
            ObjectDefect::Damaged
        })
    }
}

/// How far a round should have come by now.
struct Due {
    /// The last digest.
    until: String,
    shards: u32,
    everything: bool,
}

impl Due {
    /// Whether a round that has come so far is over.
    fn is_end(&self, state: &ScrubState) -> bool {
        self.everything && state.after >= self.until && state.shards >= self.shards
    }
}

fn log_repaired(finding: &ScrubFinding) {
    tracing::info!(
        location.id = %finding.location,
        blob.digest = %finding.digest,
        "Location {} holds {} again, which was {}",
        finding.location,
        finding.digest,
        finding.defect,
    );
}

impl ObjectDefect {
    /// In one word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Truncated => "truncated",
            Self::Swapped => "swapped",
            Self::Damaged => "damaged",
        }
    }
}

impl DefectiveObject {
    /// What is wrong with it, for people.
    fn what(&self) -> String {
        let what = format!("{} is {}", self.digest, self.defect.as_str());
        match (self.found_size, &self.found_digest) {
            (Some(size), Some(found)) => format!(
                "{what}: {size} bytes that hash to {found}, in place of {}",
                self.size
            ),
            _ => what,
        }
    }

    fn finding(&self, now: Timestamp) -> ScrubFinding {
        ScrubFinding {
            digest: self.digest.clone(),
            location: self.location.clone(),
            defect: self.defect.as_str().to_owned(),
            size: self.size,
            found_size: self.found_size,
            found_digest: self.found_digest.as_ref().map(ToString::to_string),
            kept: self.only_copy,
            found_at: now,
            repaired_at: None,
        }
    }
}

impl std::fmt::Display for DefectiveObject {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "location `{}`: {}", self.location, self.what())?;
        if self.only_copy {
            write!(
                formatter,
                "; NO OTHER COPY IS KNOWN: it is left as it is, push the image again"
            )
        } else {
            write!(
                formatter,
                "; it is copied there again from another location"
            )
        }
    }
}
