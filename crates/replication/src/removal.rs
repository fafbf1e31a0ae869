//! Lets a location go: proves that every blob there is held elsewhere, then deletes what the database knows of it. The objects in its
//! store stay where they are, as they do in Quay.
//!
//! ```text
//! active ──begin──> removing ──proof──> uploads ended ──> placements deleted ──> removed
//!   ^                  │  takes no new bytes; still read from      in batches
//!   └── refused, cancelled: what was deleted is copied again by the reconciliation
//! ```
//!
//! One that was being emptied before (`drain`) is being emptied again when its removal is refused.
//!
//! Interrupted at any point, it goes on when it is begun again. Pushes go on throughout, to the other locations.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use roadstead_metadata::{AffectedImage, LocationState, MetadataError, SoleCopies, StorageId};
pub use roadstead_metadata::{ForgottenLocation, SoleCopy};
use roadstead_oci::Algorithm;
use roadstead_placement::LocationName;
use roadstead_storage::{Location, ObjectKey};

use crate::images::ConcernedImages;
use crate::reason::reason;
use crate::status::state_word;
use crate::store_check::{Defect, StoreCheckError, compare_shard};
use crate::{Amount, Replication};

/// Placements deleted in one transaction, which holds the database's one writer for a few milliseconds.
const BATCH: u32 = 500;

/// How many blobs that only one location holds are looked at to find images.
const SAMPLE_BLOBS_MAX: u32 = 500;

/// How many blobs are listed at a time with the images that need them.
const LOSS_PAGE: u32 = 100;

/// How many pairs of an image and a blob are listed for one page of a loss.
const LOSS_IMAGES_MAX: u32 = 100_000;

/// A step of a removal that was taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RemovalEvent {
    /// So many 512ths of the comparison with the other locations' stores are done.
    Compared(u32),
    /// So many upload sessions were ended.
    UploadsEnded(u64),
    /// The placement with this id was deleted.
    PlacementDeleted(i32),
    /// The location was deleted, with the rows that named it.
    LocationDeleted(ForgottenLocation),
}

/// Why a location was not removed. Unless it says so, the location takes part again as before.
#[derive(Debug, thiserror::Error)]
pub enum RemovalError {
    /// There is no such location.
    #[error("there is no location `{name}`; known are: {}", list(known))]
    Unknown {
        /// What was asked for.
        name: String,
        /// The locations that there are.
        known: Vec<LocationName>,
    },
    /// It was removed before.
    #[error("location `{name}` was removed already")]
    AlreadyRemoved {
        /// The location.
        name: LocationName,
    },
    /// Blobs would be lost with it.
    #[error("{}", sole_copies(.0))]
    SoleCopies(Box<AtRisk>),
    /// More would be lost than was agreed to.
    #[error(
        "more would be lost with location `{name}` than you have agreed to: {} blobs ({} bytes); run it again to see which", .blobs.blobs, .blobs.bytes
    )]
    MoreAtRisk {
        /// The location.
        name: LocationName,
        /// What would be lost.
        blobs: Amount,
    },
    /// The database failed. The location is still being removed: run it again.
    #[error(transparent)]
    Metadata(#[from] MetadataError),
}

/// What would be lost with a location.
#[derive(Clone, Debug)]
pub struct AtRisk {
    /// The location.
    pub location: LocationName,
    /// The blobs that no other location is known to hold.
    pub blobs: Amount,
    /// The images that need them.
    pub images: ConcernedImages,
    /// Locations that could not be read, so that nothing there counts, and why.
    pub unreadable: BTreeMap<LocationName, String>,
    /// The locations whose copies count.
    trusted: BTreeSet<LocationName>,
}

/// A blob that would be lost, and every image that needs it.
#[derive(Clone, Debug)]
pub struct LostBlob {
    /// The blob.
    pub blob: SoleCopy,
    /// The images, by name. None: it was uploaded only, or its manifests were deleted.
    pub images: Vec<AffectedImage>,
}

/// What somebody has agreed to lose with a location: what was shown, and nothing that came to be at risk since.
#[derive(Clone, Copy, Debug)]
pub struct AcceptedLoss {
    blobs: Amount,
    /// The last of them.
    until: StorageId,
}

impl Replication {
    /// Finds a location that can be removed, and whether its removal was begun before.
    pub async fn removable_location(
        &self,
        name: &str,
    ) -> Result<(LocationName, LocationState), RemovalError> {
        let rows = self.database.locations().await?;
        match rows.iter().find(|row| row.name.as_str() == name) {
            Some(row) if row.id.is_none() => Err(RemovalError::AlreadyRemoved {
                name: row.name.clone(),
            }),
            Some(row) => Ok((row.name.clone(), row.state)),
            None => {
                let known = self.known_locations().await?;
                Err(RemovalError::Unknown {
                    name: name.to_owned(),
                    known: known.into_iter().map(|row| row.name).collect(),
                })
            }
        }
    }

    /// Takes a begun removal back: the location takes part again. What was deleted already is copied again by the reconciliation.
    pub async fn cancel_removal(&self, location: &LocationName) -> Result<(), RemovalError> {
        tracing::info!(location.id = %location, "Location {location} is {} again", state_word(LocationState::Active));
        Ok(self
            .database
            .set_location_state(location, LocationState::Active, self.environment.now())
            .await?)
    }

    /// Removes a location, and tells `each` step.
    ///
    /// A blob counts as held elsewhere when an active, configured location has a placement of it and its store lists the object with
    /// the right size. Objects that a store does not hold although it should are taken from the placements, and copied again.
    ///
    /// Dropped or interrupted, it leaves the location as being removed; run again, it goes on.
    pub async fn remove_location(
        &self,
        location: &LocationName,
        each: impl FnMut(RemovalEvent) + Send,
    ) -> Result<(), RemovalError> {
        self.remove_in_batches(location, BATCH, None, each).await
    }

    /// Removes a location although blobs are lost with it, those of `loss` at most. It is refused, and nothing is given up, when it would be others
    /// or more.
    pub async fn remove_location_losing(
        &self,
        location: &LocationName,
        loss: AcceptedLoss,
        each: impl FnMut(RemovalEvent) + Send,
    ) -> Result<(), RemovalError> {
        self.remove_in_batches(location, BATCH, Some(loss), each)
            .await
    }

    /// Shows every blob that would be lost, with every image that needs it, and tells what is agreed to by whoever agrees to that.
    pub async fn show_loss(
        &self,
        at_risk: &AtRisk,
        mut each: impl FnMut(&LostBlob) + Send,
    ) -> Result<AcceptedLoss, MetadataError> {
        let mut loss = AcceptedLoss {
            blobs: Amount::default(),
            until: StorageId(0),
        };
        loop {
            let page = self
                .database
                .sole_copies_after(&at_risk.location, &at_risk.trusted, loss.until, LOSS_PAGE)
                .await?;
            let Some(last) = page.last() else {
                return Ok(loss);
            };
            loss.until = last.storage;
            let storages: Vec<StorageId> = page.iter().map(|blob| blob.storage).collect();
            let images = self
                .database
                .images_of(&storages, self.environment.now(), LOSS_IMAGES_MAX)
                .await?;
            for blob in page {
                loss.blobs += Amount::one(blob.size);
                let images = images
                    .iter()
                    .filter(|image| image.blob.as_str() == blob.name);
                each(&LostBlob {
                    images: images.cloned().collect(),
                    blob,
                });
            }
        }
    }

    /// Whether what a location holds could still be copied elsewhere: its store can be read, and there is another that takes bytes.
    pub async fn can_be_drained(&self, location: &LocationName) -> Result<bool, MetadataError> {
        let Some(store) = self.locations.get(location) else {
            return Ok(false);
        };
        Ok(
            !self.trusted(location).await?.is_empty()
                && store.stat(&ObjectKey::Probe).await.is_ok(),
        )
    }

    async fn remove_in_batches(
        &self,
        location: &LocationName,
        batch: u32,
        loss: Option<AcceptedLoss>,
        mut each: impl FnMut(RemovalEvent) + Send,
    ) -> Result<(), RemovalError> {
        let now = self.environment.now();
        let draining = self.database.draining_locations().await?;
        let before = if draining.contains(location) {
            LocationState::Draining
        } else {
            LocationState::Active
        };
        // First of all, so that what is proven below stays proven: nothing new can come to be here only.
        self.database
            .set_location_state(location, LocationState::Removing, now)
            .await?;
        // Asked for after that, so that of two removals at a time at least one does not trust the other's location.
        let mut trusted = self.trusted(location).await?;
        let unreadable = self.prove_trust(location, &mut trusted, &mut each).await?;
        let proof = Proof {
            trusted,
            unreadable,
            before,
            loss,
        };
        self.refuse_sole_copies(location, &proof).await?;
        let ended = self.database.forget_uploads(location).await?;
        each(RemovalEvent::UploadsEnded(ended));
        self.forget_all_placements(location, &proof, batch, &mut each)
            .await?;
        // What is left came with uploads that were finished between the proof and their end.
        self.refuse_sole_copies(location, &proof).await?;
        if let Some(loss) = loss {
            loop {
                let deleted = self
                    .database
                    .give_up_placements(location, &proof.trusted, loss.until, batch)
                    .await?;
                if deleted.is_empty() {
                    break;
                }
                for placement in deleted {
                    each(RemovalEvent::PlacementDeleted(placement));
                }
            }
        }
        let mut wanted_copies = 0;
        loop {
            let dropped = self.database.forget_wanted_copies(location, batch).await?;
            wanted_copies += dropped;
            if dropped == 0 {
                break;
            }
        }
        let mut forgotten = self
            .database
            .forget_location(location, self.environment.now())
            .await?;
        forgotten.wanted_copies += wanted_copies;
        each(RemovalEvent::LocationDeleted(forgotten));
        Ok(())
    }

    async fn forget_all_placements(
        &self,
        location: &LocationName,
        proof: &Proof,
        batch: u32,
        each: &mut (impl FnMut(RemovalEvent) + Send),
    ) -> Result<(), MetadataError> {
        let mut after = 0;
        loop {
            let deleted = self
                .database
                .forget_placements(location, &proof.trusted, after, batch)
                .await?;
            match deleted.last() {
                Some(last) => after = *last,
                // Once more from the beginning: some may have come to be held elsewhere meanwhile.
                None if after > 0 => after = 0,
                None => return Ok(()),
            }
            for placement in deleted {
                each(RemovalEvent::PlacementDeleted(placement));
            }
        }
    }

    /// The other locations that are configured and active.
    pub(crate) async fn trusted(
        &self,
        leaving: &LocationName,
    ) -> Result<BTreeSet<LocationName>, MetadataError> {
        let closed = self.database.closed_locations().await?;
        let others = self.locations.names();
        Ok(others
            .filter(|name| *name != leaving && !closed.contains(*name))
            .cloned()
            .collect())
    }

    /// Compares the trusted locations' stores with their placements. One that cannot be read is trusted no more.
    async fn prove_trust(
        &self,
        leaving: &LocationName,
        trusted: &mut BTreeSet<LocationName>,
        each: &mut (impl FnMut(RemovalEvent) + Send),
    ) -> Result<BTreeMap<LocationName, String>, MetadataError> {
        let mut unreadable = BTreeMap::new();
        let mut compared = 0;
        for algorithm in Algorithm::ALL {
            for first_byte in 0..=u8::MAX {
                let prefix = format!("{first_byte:02x}");
                let leaves = self
                    .database
                    .placements_in_shard(leaving, algorithm, &prefix)
                    .await?;
                if !leaves.is_empty() {
                    for location in trusted
                        .clone()
                        .iter()
                        .filter_map(|name| self.locations.get(name))
                    {
                        match self.prove_shard(location, algorithm, first_byte).await {
                            Ok(()) => {}
                            Err(StoreCheckError::Store(error)) => {
                                trusted.remove(location.name());
                                unreadable.insert(location.name().clone(), reason(&error));
                            }
                            Err(StoreCheckError::Metadata(error)) => return Err(error),
                        }
                    }
                }
                compared += 1;
                each(RemovalEvent::Compared(compared));
            }
        }
        Ok(unreadable)
    }

    /// Takes the placements of one shard away that the store disproves.
    async fn prove_shard(
        &self,
        location: &Location,
        algorithm: Algorithm,
        first_byte: u8,
    ) -> Result<(), StoreCheckError> {
        // Also when no placement is there to compare: nothing is known about a store that is down.
        location.stat(&ObjectKey::Probe).await?;
        let mut lost: BTreeMap<&str, Vec<StorageId>> = BTreeMap::new();
        compare_shard(
            &self.database,
            location,
            algorithm,
            first_byte,
            &mut |blob, defect| {
                let reason = match defect {
                    None => return,
                    Some(Defect::Missing) => "the store does not hold the object",
                    Some(Defect::Damaged) => "the store holds other bytes than the digest says",
                };
                lost.entry(reason).or_default().push(blob.storage);
            },
        )
        .await?;
        for (reason, storages) in lost {
            self.report_lost(location.name(), &storages, reason).await?;
        }
        Ok(())
    }

    /// Ends a removal with which blobs would be lost that nobody has agreed to lose, and lets the location be as it was.
    async fn refuse_sole_copies(
        &self,
        location: &LocationName,
        proof: &Proof,
    ) -> Result<(), RemovalError> {
        let sole = self
            .database
            .sole_copies(location, &proof.trusted, SAMPLE_BLOBS_MAX)
            .await?;
        let blobs = Amount {
            blobs: sole.blobs,
            bytes: sole.bytes,
        };
        let refusal = match proof.loss {
            _ if blobs.is_none() => return Ok(()),
            Some(loss) => {
                let beyond = self
                    .database
                    .sole_copies_after(location, &proof.trusted, loss.until, 1)
                    .await?;
                if beyond.is_empty()
                    && blobs.blobs <= loss.blobs.blobs
                    && blobs.bytes <= loss.blobs.bytes
                {
                    return Ok(());
                }
                RemovalError::MoreAtRisk {
                    name: location.clone(),
                    blobs,
                }
            }
            None => {
                let at_risk = self.at_risk(location, &sole, proof).await?;
                RemovalError::SoleCopies(Box::new(at_risk))
            }
        };
        self.database
            .set_location_state(location, proof.before, self.environment.now())
            .await?;
        tracing::info!(location.id = %location, "Location {location} is {} again", state_word(proof.before));
        Err(refusal)
    }

    async fn at_risk(
        &self,
        location: &LocationName,
        sole: &SoleCopies,
        proof: &Proof,
    ) -> Result<AtRisk, MetadataError> {
        let sampled = sole.blobs > u64::from(SAMPLE_BLOBS_MAX);
        let images = self.concerned_images(&sole.some, sampled).await?;
        Ok(AtRisk {
            location: location.clone(),
            blobs: Amount {
                blobs: sole.blobs,
                bytes: sole.bytes,
            },
            images,
            unreadable: proof.unreadable.clone(),
            trusted: proof.trusted.clone(),
        })
    }
}

/// What a removal goes by.
struct Proof {
    /// The locations whose copies count.
    trusted: BTreeSet<LocationName>,
    /// Those that do not because they cannot be read, and why.
    unreadable: BTreeMap<LocationName, String>,
    /// What the location was before.
    before: LocationState,
    loss: Option<AcceptedLoss>,
}

fn list(names: &[LocationName]) -> String {
    let names: Vec<&str> = names.iter().map(LocationName::as_str).collect();
    names.join(", ")
}

fn sole_copies(at_risk: &AtRisk) -> String {
    let AtRisk {
        location,
        blobs,
        images,
        unreadable,
        trusted: _,
    } = at_risk;
    let mut text = format!(
        "{} blobs ({} bytes) are known to be at location `{location}` only and would be lost",
        blobs.blobs, blobs.bytes,
    );
    for (name, reason) in unreadable {
        // Writing to a `String` cannot fail.
        write!(
            text,
            "\n  nothing at location `{name}` counts, because it could not be read: {reason}"
        )
        .ok();
    }
    for image in &images.some {
        write!(text, "\n  {image}").ok();
    }
    if images.some.is_empty() {
        text.push_str(
            "\n  no image needs them: they were uploaded, or their manifests were deleted",
        );
    } else if images.more {
        text.push_str("\n  and more images");
    }
    text.push_str(
        "\nlet them be copied first, with `admin backfillreplication` and `admin replication status --wait`, or with `admin location drain ",
    );
    write!(
        text,
        "{location} --wait`, which brings each to some other location, whatever the configuration demands"
    )
    .ok();
    text
}
