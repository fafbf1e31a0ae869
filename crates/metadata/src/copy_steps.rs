//! The steps of a copy on its way: what is to be copied, leave to make it appear, and the record that it is there.
//!
//! Each step is for any number of copies at once, with as many statements as for one. One copy never spoils another's: what is wrong with it is its
//! own answer.

use std::collections::{BTreeMap, BTreeSet};

use roadstead_oci::Digest;
use roadstead_placement::LocationName;
use roadstead_runtime::Timestamp;

use crate::blobs::{Blob, find_blobs_by_uuid};
use crate::database::{
    Connection, Database, Identified, Lock, Transaction, contended, json_ids, json_texts, params,
};
use crate::demand::{Demand, Extent, RulesInForce, required};
use crate::error::MetadataError;
use crate::garbage::{Publication, begin_all, consume_all, give_up};
use crate::ids::StorageId;
use crate::jobs::Job;
use crate::locations::{CLOSED, json_locations, location_name};
use crate::row::FromRow;

/// What is to be copied, and where it belongs.
#[derive(Clone, Debug)]
pub struct CopyOrder {
    /// The blob.
    pub blob: Blob,
    /// The locations that it belongs to, as everything that holds it demands. Those that take no new bytes are left out.
    pub required: BTreeSet<LocationName>,
    /// The locations that take no new bytes.
    pub closed: BTreeSet<LocationName>,
}

/// A copy whose object is about to appear.
#[derive(Clone, Debug)]
pub struct BeginCopy {
    /// The blob.
    pub storage: StorageId,
    /// Its digest.
    pub digest: Digest,
    /// Where.
    pub location: LocationName,
}

/// What became of [`Database::begin_copies`].
#[derive(Debug)]
pub enum CopyBeginning {
    /// Go on: until the publication ends, the object stays.
    Begun(Publication),
    /// An object of this digest is being deleted there at this moment. Try again shortly.
    BeingDeleted,
    /// The blob was deleted meanwhile.
    BlobGone,
}

/// A copy whose bytes are at the location and were verified.
#[derive(Clone, Copy, Debug)]
pub struct CompletedCopy<'a> {
    /// The blob.
    pub storage: StorageId,
    /// What it was published by.
    pub publication: &'a Publication,
    /// The job that asked for it, which ends with the record.
    pub job: Option<&'a Job>,
}

/// What became of [`Database::record_copies`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recorded {
    /// The placement is recorded and the copy no longer wanted.
    Yes,
    /// Somebody else recorded it before: one whose lease had run out, or who brought the blob there for a client.
    Before,
    /// The blob was deleted meanwhile: the copied object belongs to nobody and is deleted in time.
    BlobGone,
    /// The location takes no new bytes, or is unknown: the copied object belongs to nobody.
    LocationClosed,
    /// Too much time has passed since the publication began: the object may be gone again. Copy it anew.
    Lapsed,
}

#[derive(Debug, FromRow)]
struct RequiredRow {
    storage_id: i32,
    name: String,
}

#[derive(Debug, FromRow)]
struct OpenRow {
    id: i32,
    name: String,
}

#[derive(Debug, FromRow)]
struct PlacedRow {
    storage_id: i32,
    location_id: i32,
}

impl Database {
    /// What there is to copy of the blobs that queue rows name so, and where they belong. Those that were deleted are left out; a row that
    /// cannot be read is an error of its own.
    pub async fn copy_orders(
        &self,
        uuids: &[String],
        demand: Demand<'_>,
    ) -> Result<BTreeMap<String, Result<CopyOrder, MetadataError>>, MetadataError> {
        let blobs = find_blobs_by_uuid(self.reader(), uuids).await?;
        if blobs.is_empty() {
            return Ok(BTreeMap::new());
        }
        let storages: Vec<StorageId> = blobs.values().flatten().map(|blob| blob.storage).collect();
        let mut required = self.required_locations(&storages, demand).await?;
        let closed = self.closed_locations().await?;
        let mut order = |blob: Blob| CopyOrder {
            required: required.remove(&blob.storage).unwrap_or_default(),
            closed: closed.clone(),
            blob,
        };
        Ok(blobs
            .into_iter()
            .map(|(uuid, blob)| (uuid, blob.map(&mut order)))
            .collect())
    }

    /// The locations that blobs belong to, as everything that holds them demands. Those that take no new bytes are left out, and blobs that
    /// belong nowhere.
    pub async fn required_locations(
        &self,
        storages: &[StorageId],
        demand: Demand<'_>,
    ) -> Result<BTreeMap<StorageId, BTreeSet<LocationName>>, MetadataError> {
        let rules = RulesInForce::load(self.reader(), demand).await?;
        let rows: Vec<RequiredRow> = self
            .reader()
            .rows(
                "look up where blobs belong",
                &format!(
                    "{} SELECT r.storage_id, o.name FROM required r JOIN open o ON o.id = r.location_id",
                    required(&rules, "$1", "$2", Extent::Given { storages: "$3" })
                ),
                params![
                    json_locations(demand.defaults),
                    json_locations(demand.configured),
                    json_ids(storages.iter().map(|storage| storage.0)),
                ],
            )
            .await?;
        let mut belongs: BTreeMap<StorageId, BTreeSet<LocationName>> = BTreeMap::new();
        for row in rows {
            belongs
                .entry(StorageId(row.storage_id))
                .or_default()
                .insert(location_name(&row.name)?);
        }
        Ok(belongs)
    }

    /// Notes that the objects of copies are about to appear, in the order of `copies`, as [`Database::begin_publication`] does. A blob that was
    /// deleted while it was copied stays gone.
    pub async fn begin_copies(
        &self,
        copies: &[BeginCopy],
        until: Timestamp,
        now: Timestamp,
    ) -> Result<Vec<CopyBeginning>, MetadataError> {
        contended(|| self.begin_copies_once(copies, until, now)).await
    }

    async fn begin_copies_once(
        &self,
        copies: &[BeginCopy],
        until: Timestamp,
        now: Timestamp,
    ) -> Result<Vec<CopyBeginning>, MetadataError> {
        const OPERATION: &str = "note that copies are about to appear";
        let transaction = self.begin(OPERATION).await?;
        transaction
            .lock_all(copies.iter().map(|copy| Lock::blob(copy.digest.as_str())))
            .await?;
        let blobs: Vec<Identified> = transaction
            .rows(
                OPERATION,
                "SELECT s.id FROM imagestorage s WHERE s.id IN @ids($1)",
                params![json_ids(copies.iter().map(|copy| copy.storage.0))],
            )
            .await?;
        let blobs: BTreeSet<i32> = blobs.into_iter().map(|row| row.id).collect();
        let exists = |copy: &BeginCopy| blobs.contains(&copy.storage.0);
        let objects: Vec<(&Digest, &LocationName)> = copies
            .iter()
            .filter(|copy| exists(copy))
            .map(|copy| (&copy.digest, &copy.location))
            .collect();
        let mut begun = begin_all(&transaction, &objects, until, now)
            .await?
            .into_iter();
        transaction.commit().await?;
        let beginnings = copies.iter().map(|copy| {
            if !exists(copy) {
                return CopyBeginning::BlobGone;
            }
            let begun = begun.next().flatten();
            begun.map_or(CopyBeginning::BeingDeleted, CopyBeginning::Begun)
        });
        Ok(beginnings.collect())
    }

    /// Records one copy that no job asked for, as [`Database::record_copies`] does.
    pub async fn record_copy(
        &self,
        storage: StorageId,
        publication: &Publication,
        now: Timestamp,
    ) -> Result<Recorded, MetadataError> {
        let copy = CompletedCopy {
            storage,
            publication,
            job: None,
        };
        let recorded = self.record_copies(&[copy], now).await?;
        Ok(recorded.into_iter().next().unwrap_or(Recorded::Lapsed))
    }

    /// Records that locations hold verified bytes of blobs, in one transaction with the end of their being wanted, of the publications and of the
    /// jobs of those that are there now. Says what became of each, in the order of `copies`. Whatever becomes of it, its publication has ended.
    pub async fn record_copies(
        &self,
        copies: &[CompletedCopy<'_>],
        now: Timestamp,
    ) -> Result<Vec<Recorded>, MetadataError> {
        contended(|| self.record_copies_once(copies, now)).await
    }

    async fn record_copies_once(
        &self,
        copies: &[CompletedCopy<'_>],
        now: Timestamp,
    ) -> Result<Vec<Recorded>, MetadataError> {
        const OPERATION: &str = "record copies";
        let transaction = self.begin(OPERATION).await?;
        transaction
            .lock_all(
                copies
                    .iter()
                    .map(|copy| Lock::blob(copy.publication.digest().as_str())),
            )
            .await?;
        let standing = Standing::look_up(&transaction, copies).await?;
        let recordable = copies
            .iter()
            .filter(|copy| standing.refusal(copy).is_none())
            .map(|copy| copy.publication.id());
        let consumed = consume_all(&transaction, recordable).await?;
        let refusal = |copy: &CompletedCopy<'_>| {
            let lapsed = !consumed.contains(&copy.publication.id());
            standing
                .refusal(copy)
                .or(lapsed.then_some(Recorded::Lapsed))
        };
        let (there, ended): (Vec<CompletedCopy<'_>>, Vec<CompletedCopy<'_>>) =
            copies.iter().partition(|copy| refusal(copy).is_none());
        if !ended.is_empty() {
            let publications = ended.iter().map(|copy| copy.publication);
            give_up(&transaction, publications, now).await?;
        }
        let placed = place(&transaction, &standing, &there).await?;
        transaction.commit().await?;
        let answer = |copy: &CompletedCopy<'_>| {
            let is_new = |location| placed.contains(&(copy.storage.0, location));
            refusal(copy).unwrap_or(match standing.open(copy) {
                Some(location) if is_new(location) => Recorded::Yes,
                _ => Recorded::Before,
            })
        };
        Ok(copies.iter().map(answer).collect())
    }
}

/// What there is when copies are recorded, kept so until the transaction ends.
struct Standing {
    blobs: BTreeSet<i32>,
    /// The locations that take new bytes.
    open: BTreeMap<String, i32>,
}

impl Standing {
    async fn look_up(
        transaction: &Transaction,
        copies: &[CompletedCopy<'_>],
    ) -> Result<Self, MetadataError> {
        const OPERATION: &str = "record copies";
        let blobs: Vec<Identified> = transaction
            .rows(
                OPERATION,
                "SELECT s.id FROM imagestorage s WHERE s.id IN @ids($1) ORDER BY s.id @keep(s)",
                params![json_ids(copies.iter().map(|copy| copy.storage.0))],
            )
            .await?;
        let open: Vec<OpenRow> = transaction
            .rows(
                OPERATION,
                &format!(
                    "SELECT l.id, l.name FROM imagestoragelocation l
                     WHERE l.name IN @texts($1) AND l.name NOT IN {CLOSED}"
                ),
                params![json_texts(
                    copies
                        .iter()
                        .map(|copy| copy.publication.location().as_str())
                        .collect::<BTreeSet<_>>()
                )],
            )
            .await?;
        Ok(Self {
            blobs: blobs.into_iter().map(|row| row.id).collect(),
            open: open.into_iter().map(|row| (row.name, row.id)).collect(),
        })
    }

    fn open(&self, copy: &CompletedCopy<'_>) -> Option<i32> {
        self.open.get(copy.publication.location().as_str()).copied()
    }

    /// Why it cannot be recorded.
    fn refusal(&self, copy: &CompletedCopy<'_>) -> Option<Recorded> {
        if !self.blobs.contains(&copy.storage.0) {
            return Some(Recorded::BlobGone);
        }
        self.open(copy)
            .is_none()
            .then_some(Recorded::LocationClosed)
    }
}

/// Makes the placements, and ends what asked for them. Says which placements are new.
async fn place(
    transaction: &Transaction,
    standing: &Standing,
    there: &[CompletedCopy<'_>],
) -> Result<BTreeSet<(i32, i32)>, MetadataError> {
    const OPERATION: &str = "record copies";
    if there.is_empty() {
        return Ok(BTreeSet::new());
    }
    let triples: BTreeSet<[i32; 3]> = there
        .iter()
        .filter_map(|copy| Some([copy.storage.0, standing.open(copy)?, 0]))
        .collect();
    let triples = serde_json::json!(triples).to_string();
    let placed: Vec<PlacedRow> = transaction
        .rows(
            OPERATION,
            "INSERT INTO imagestorageplacement (storage_id, location_id)
             SELECT c.first, c.second FROM @triples($1) AS c WHERE true
             ON CONFLICT DO NOTHING RETURNING storage_id, location_id",
            params![triples.as_str()],
        )
        .await?;
    transaction
        .execute(
            OPERATION,
            "DELETE FROM roadstead_copy
             WHERE (storage_id, location_id) IN (SELECT c.first, c.second FROM @triples($1) AS c)",
            params![triples],
        )
        .await?;
    let jobs: Vec<&Job> = there.iter().filter_map(|copy| copy.job).collect();
    if !jobs.is_empty() {
        transaction
            .execute(
                OPERATION,
                // A state id ends with the row's id, so that one text cannot stand for two rows.
                "DELETE FROM queueitem WHERE id IN @ids($1) AND state_id IN @texts($2)",
                params![
                    json_ids(jobs.iter().map(|job| job.id.0)),
                    json_texts(jobs.iter().map(|job| job.token.as_str()))
                ],
            )
            .await?;
    }
    Ok(placed
        .into_iter()
        .map(|row| (row.storage_id, row.location_id))
        .collect())
}
