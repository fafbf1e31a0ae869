//! Reading everything back: how far each location has come, what was found there, and objects that nothing accounts for.
//!
//! A location has one round at a time, which processes take on page by page under a lease. What was found is noted here and stays until the
//! object is there again.

use std::collections::BTreeMap;

use chrono::NaiveDateTime;
use roadstead_oci::Digest;
use roadstead_placement::LocationName;
use roadstead_runtime::Timestamp;
use uuid::Uuid;

use crate::database::{Connection, Counted, Database, Identified, json_texts, params};
use crate::error::MetadataError;
use crate::ids::StorageId;
use crate::locations::{PlacedBlob, PlacedRow, limit_column, location_name};
use crate::row::FromRow;
use crate::uploads::bytes_column;

/// How far the round of a location has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScrubState {
    /// The location.
    pub location: LocationName,
    /// When the round began.
    pub round_began: Timestamp,
    /// Behind which digest its placements go on; empty at the beginning. Not always the digest of a blob.
    pub after: String,
    /// How many shards of the store were looked through for objects that nothing accounts for.
    pub shards: u32,
    /// Objects read in this round.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Those of them that were missing or damaged.
    pub found: u64,
    /// When the last round ended.
    pub last_ended: Option<Timestamp>,
}

/// That this process alone goes on with a location's round, until the lease ends.
#[derive(Debug)]
pub struct ScrubLease {
    token: String,
    /// How far the round has come.
    pub state: ScrubState,
}

/// How far a step has brought a round.
#[derive(Clone, Debug, Default)]
pub struct ScrubStep {
    /// Behind which digest the placements go on.
    pub after: String,
    /// How many shards were looked through by now.
    pub shards: u32,
    /// Objects that the step has read.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Those of them that were missing or damaged.
    pub found: u64,
}

/// An object that a placement promised and that was not there, or not with its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScrubFinding {
    /// What it should hash to.
    pub digest: Digest,
    /// Where.
    pub location: LocationName,
    /// What is wrong, in one word of whoever found it.
    pub defect: String,
    /// The bytes that it should have.
    pub size: u64,
    /// The bytes that are there instead.
    pub found_size: Option<u64>,
    /// What they hash to.
    pub found_digest: Option<String>,
    /// Whether the placement stays because no other copy is known.
    pub kept: bool,
    /// When it was found first.
    pub found_at: Timestamp,
    /// When the object was there again.
    pub repaired_at: Option<Timestamp>,
}

/// An object that no row accounts for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OrphanObject {
    /// The digest that it is named after.
    pub digest: Digest,
    /// Its bytes.
    pub size: u64,
    /// When it was first seen so.
    pub first_seen: Timestamp,
}

#[derive(Debug, FromRow)]
struct StateRow {
    location: String,
    round_began: NaiveDateTime,
    after_digest: String,
    shards: i32,
    objects: i64,
    bytes: i64,
    found: i64,
    last_ended: Option<NaiveDateTime>,
}

#[derive(Debug, FromRow)]
struct FindingRow {
    digest: String,
    location: String,
    defect: String,
    size: i64,
    found_size: Option<i64>,
    found_digest: Option<String>,
    kept: bool,
    found_at: NaiveDateTime,
    repaired_at: Option<NaiveDateTime>,
}

#[derive(Debug, FromRow)]
struct OrphanRow {
    digest: String,
    size: i64,
    first_seen: NaiveDateTime,
}

#[derive(Debug, FromRow)]
struct DigestRow {
    digest: String,
}

#[derive(Debug, FromRow)]
struct OpenRow {
    location: String,
    count: i64,
}

const STATE: &str =
    "location, round_began, after_digest, shards, objects, bytes, found, last_ended";

const FINDING: &str =
    "digest, location, defect, size, found_size, found_digest, kept, found_at, repaired_at";

/// That some blob of finding `f` is placed where it was found.
const PLACED: &str = "EXISTS (
    SELECT 1 FROM imagestorage s
    JOIN imagestorageplacement p ON p.storage_id = s.id
    JOIN imagestoragelocation l ON l.id = p.location_id
    WHERE s.content_checksum = f.digest AND l.name = f.location)";

/// That a copy of some blob of finding `f` to there is wanted.
const WANTED: &str = "EXISTS (
    SELECT 1 FROM imagestorage s
    JOIN roadstead_copy c ON c.storage_id = s.id
    JOIN imagestoragelocation l ON l.id = c.location_id
    WHERE s.content_checksum = f.digest AND l.name = f.location)";

impl Database {
    /// How far the rounds of the locations have come, by name. A location whose first round has not begun has none.
    pub async fn scrub_states(&self) -> Result<Vec<ScrubState>, MetadataError> {
        let rows: Vec<StateRow> = self
            .reader()
            .rows(
                "look up the rounds of reading back",
                &format!("SELECT {STATE} FROM roadstead_scrub ORDER BY location"),
                params![],
            )
            .await?;
        rows.into_iter().map(ScrubState::try_from).collect()
    }

    /// Takes a location's round on, and begins the first. None while another process is at it.
    pub async fn claim_scrub(
        &self,
        location: &LocationName,
        token: Uuid,
        lease_until: Timestamp,
        now: Timestamp,
    ) -> Result<Option<ScrubLease>, MetadataError> {
        const OPERATION: &str = "take a round of reading back on";
        let token = token.to_string();
        let transaction = self.begin(OPERATION).await?;
        transaction
            .execute(
                OPERATION,
                "INSERT INTO roadstead_scrub (location, round_began, after_digest) VALUES ($1, $2, '') ON CONFLICT (location) DO NOTHING",
                params![location.as_str(), now.naive_utc()],
            )
            .await?;
        let row: Option<StateRow> = transaction
            .row(
                OPERATION,
                &format!(
                    "UPDATE roadstead_scrub SET lease_until = $3, lease_token = $4
                     WHERE location = $1 AND (lease_until IS NULL OR lease_until <= $2) RETURNING {STATE}"
                ),
                params![
                    location.as_str(),
                    now.naive_utc(),
                    lease_until.naive_utc(),
                    token.as_str(),
                ],
            )
            .await?;
        transaction.commit().await?;
        row.map(|row| {
            Ok(ScrubLease {
                token,
                state: row.try_into()?,
            })
        })
        .transpose()
    }

    /// Moves the end of a lease; at `None` it is given back. False when it was lost.
    pub async fn extend_scrub(
        &self,
        lease: &ScrubLease,
        lease_until: Option<Timestamp>,
    ) -> Result<bool, MetadataError> {
        let changed = self
            .execute(
                "extend the lease of a round of reading back",
                "UPDATE roadstead_scrub SET lease_until = $3 WHERE location = $1 AND lease_token = $2",
                params![
                    lease.state.location.as_str(),
                    lease.token.as_str(),
                    lease_until.map(|until| until.naive_utc()),
                ],
            )
            .await?;
        Ok(changed == 1)
    }

    /// Notes how far a step has come, and gives the lease back. False when it was lost: somebody else does the step again.
    pub async fn advance_scrub(
        &self,
        lease: ScrubLease,
        step: &ScrubStep,
    ) -> Result<bool, MetadataError> {
        let changed = self
            .execute(
                "note how far a round of reading back has come",
                "UPDATE roadstead_scrub
                 SET after_digest = $3, shards = $4, objects = objects + $5, bytes = bytes + $6, found = found + $7,
                     lease_until = NULL, lease_token = NULL
                 WHERE location = $1 AND lease_token = $2",
                params![
                    lease.state.location.as_str(),
                    lease.token.as_str(),
                    step.after.as_str(),
                    i32::try_from(step.shards).unwrap_or(i32::MAX),
                    bytes_column(step.objects),
                    bytes_column(step.bytes),
                    bytes_column(step.found),
                ],
            )
            .await?;
        Ok(changed == 1)
    }

    /// Ends a round and begins the next. False when the lease was lost.
    pub async fn end_scrub_round(
        &self,
        lease: ScrubLease,
        now: Timestamp,
    ) -> Result<bool, MetadataError> {
        let changed = self
            .execute(
                "end a round of reading back",
                "UPDATE roadstead_scrub
                 SET round_began = $3, last_ended = $3, after_digest = '', shards = 0, objects = 0, bytes = 0, found = 0,
                     lease_until = NULL, lease_token = NULL
                 WHERE location = $1 AND lease_token = $2",
                params![
                    lease.state.location.as_str(),
                    lease.token.as_str(),
                    now.naive_utc(),
                ],
            )
            .await?;
        Ok(changed == 1)
    }

    /// What placements promise at a location, each object once, with digests behind `after` and up to `until`, in their order; at most
    /// `limit`.
    pub async fn placements_between(
        &self,
        location: &LocationName,
        after: &str,
        until: &str,
        limit: u32,
    ) -> Result<Vec<PlacedBlob>, MetadataError> {
        let rows: Vec<PlacedRow> = self
            .reader()
            .rows(
                "list the placements of a location",
                "SELECT min(s.id) AS id, s.content_checksum AS digest, COALESCE(max(s.image_size), 0) AS size
                 FROM imagestorage s
                 JOIN imagestorageplacement p ON p.storage_id = s.id
                 WHERE s.content_checksum > $1 AND s.content_checksum <= $2
                   AND p.location_id = (SELECT l.id FROM imagestoragelocation l WHERE l.name = $3)
                 GROUP BY s.content_checksum ORDER BY s.content_checksum LIMIT $4",
                params![after, until, location.as_str(), limit_column(limit)],
            )
            .await?;
        rows.into_iter().map(PlacedBlob::try_from).collect()
    }

    /// The blobs of one digest that have a placement at a location.
    pub async fn placed_of_digest(
        &self,
        location: &LocationName,
        digest: &Digest,
    ) -> Result<Vec<StorageId>, MetadataError> {
        let rows: Vec<Identified> = self
            .reader()
            .rows(
                "look up the placements of an object",
                "SELECT s.id FROM imagestorage s
                 JOIN imagestorageplacement p ON p.storage_id = s.id
                 JOIN imagestoragelocation l ON l.id = p.location_id
                 WHERE s.content_checksum = $1 AND l.name = $2 ORDER BY s.id",
                params![digest.as_str(), location.as_str()],
            )
            .await?;
        Ok(rows.into_iter().map(|row| StorageId(row.id)).collect())
    }

    /// Notes what was found. What was found before and is not repaired keeps its time.
    pub async fn note_finding(&self, finding: &ScrubFinding) -> Result<(), MetadataError> {
        self.execute(
            "note a missing or damaged object",
            "INSERT INTO roadstead_scrub_finding (digest, location, defect, size, found_size, found_digest, kept, found_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
             ON CONFLICT (location, digest) DO UPDATE SET
                 defect = excluded.defect, size = excluded.size, found_size = excluded.found_size,
                 found_digest = excluded.found_digest, kept = excluded.kept, repaired_at = NULL,
                 found_at = CASE WHEN roadstead_scrub_finding.repaired_at IS NULL THEN roadstead_scrub_finding.found_at
                                 ELSE excluded.found_at END",
            params![
                finding.digest.as_str(),
                finding.location.as_str(),
                finding.defect.as_str(),
                bytes_column(finding.size),
                finding.found_size.map(bytes_column),
                finding.found_digest.as_deref(),
                finding.kept,
                finding.found_at.naive_utc(),
            ],
        )
        .await?;
        Ok(())
    }

    /// Notes that these objects were read and are whole: what was found of them before is repaired, and is returned.
    pub async fn settle_intact(
        &self,
        location: &LocationName,
        intact: &[Digest],
        now: Timestamp,
    ) -> Result<Vec<ScrubFinding>, MetadataError> {
        const OPERATION: &str = "note repaired objects";
        if !self.open_findings().await?.contains_key(location) {
            return Ok(Vec::new());
        }
        let transaction = self.begin(OPERATION).await?;
        let rows: Vec<FindingRow> = transaction
            .rows(
                OPERATION,
                &format!(
                    "UPDATE roadstead_scrub_finding SET repaired_at = $3
                     WHERE location = $1 AND digest IN @texts($2) AND repaired_at IS NULL RETURNING {FINDING}"
                ),
                params![
                    location.as_str(),
                    json_texts(intact.iter().map(Digest::as_str)),
                    now.naive_utc(),
                ],
            )
            .await?;
        transaction.commit().await?;
        rows.into_iter().map(ScrubFinding::try_from).collect()
    }

    /// Notes which findings were repaired, by a verified copy that was recorded since, and returns them. Those of blobs that were deleted, and
    /// those found before `unwanted_before` whose location does not have to hold them any more, are forgotten, and so are those that were
    /// repaired before `repaired_before`.
    pub async fn settle_findings(
        &self,
        unwanted_before: Timestamp,
        repaired_before: Timestamp,
        now: Timestamp,
    ) -> Result<Vec<ScrubFinding>, MetadataError> {
        const OPERATION: &str = "note repaired objects";
        let noted: Option<Counted> = self
            .reader()
            .row(
                OPERATION,
                "SELECT count(*) AS count FROM roadstead_scrub_finding WHERE repaired_at IS NULL OR repaired_at < $1",
                params![repaired_before.naive_utc()],
            )
            .await?;
        if noted.is_none_or(|noted| noted.count == 0) {
            return Ok(Vec::new());
        }
        let transaction = self.begin(OPERATION).await?;
        let repaired: Vec<FindingRow> = transaction
            .rows(
                OPERATION,
                &format!(
                    "UPDATE roadstead_scrub_finding AS f SET repaired_at = $1
                     WHERE f.repaired_at IS NULL AND NOT f.kept AND {PLACED} RETURNING {FINDING}"
                ),
                params![now.naive_utc()],
            )
            .await?;
        transaction
            .execute(
                OPERATION,
                &format!(
                    "DELETE FROM roadstead_scrub_finding AS f
                     WHERE f.repaired_at IS NULL
                       AND ((NOT f.kept AND f.found_at < $1 AND NOT {PLACED} AND NOT {WANTED})
                            OR NOT EXISTS (SELECT 1 FROM imagestorage s WHERE s.content_checksum = f.digest))"
                ),
                params![unwanted_before.naive_utc()],
            )
            .await?;
        transaction
            .execute(
                OPERATION,
                "DELETE FROM roadstead_scrub_finding WHERE repaired_at < $1",
                params![repaired_before.naive_utc()],
            )
            .await?;
        transaction.commit().await?;
        repaired.into_iter().map(ScrubFinding::try_from).collect()
    }

    /// How many findings are not repaired, by location. Locations without any are not listed.
    pub async fn open_findings(&self) -> Result<BTreeMap<LocationName, u64>, MetadataError> {
        let rows: Vec<OpenRow> = self
            .reader()
            .rows(
                "count missing and damaged objects",
                "SELECT location, count(*) AS count FROM roadstead_scrub_finding WHERE repaired_at IS NULL GROUP BY location",
                params![],
            )
            .await?;
        rows.into_iter()
            .map(|row| {
                Ok((
                    location_name(&row.location)?,
                    row.count.try_into().unwrap_or_default(),
                ))
            })
            .collect()
    }

    /// What was found, unrepaired first, then the latest first; at most `limit`.
    pub async fn scrub_findings(&self, limit: u32) -> Result<Vec<ScrubFinding>, MetadataError> {
        let rows: Vec<FindingRow> = self
            .reader()
            .rows(
                "list missing and damaged objects",
                &format!(
                    "SELECT {FINDING} FROM roadstead_scrub_finding
                     ORDER BY CASE WHEN repaired_at IS NULL THEN 0 ELSE 1 END, found_at DESC, location, digest LIMIT $1"
                ),
                params![limit_column(limit)],
            )
            .await?;
        rows.into_iter().map(ScrubFinding::try_from).collect()
    }

    /// Those of these objects of a location that no row accounts for: none is placed there, about to appear or just recorded there, to be copied
    /// there, or on the list of those to be deleted. Ask with objects that were listed before.
    pub async fn unaccounted_objects(
        &self,
        location: &LocationName,
        digests: &[Digest],
    ) -> Result<Vec<Digest>, MetadataError> {
        let rows: Vec<DigestRow> = self
            .reader()
            .rows(
                "look for objects that nothing accounts for",
                &format!(
                    "SELECT f.digest FROM (SELECT n.value AS digest, CAST($2 AS varchar) AS location FROM @texts($1) AS n) AS f
                     WHERE NOT {PLACED} AND NOT {WANTED}
                       AND NOT EXISTS (SELECT 1 FROM roadstead_publication n WHERE n.digest = f.digest AND n.location = f.location)
                       AND NOT EXISTS (SELECT 1 FROM roadstead_doomed_object d WHERE d.digest = f.digest AND d.location = f.location)
                     ORDER BY f.digest"
                ),
                params![
                    json_texts(digests.iter().map(Digest::as_str)),
                    location.as_str(),
                ],
            )
            .await?;
        rows.into_iter()
            .map(|row| object_digest(&row.digest))
            .collect()
    }

    /// Notes that these objects, with their bytes, are accounted for by nothing, and returns since when each was seen so.
    pub async fn note_orphans(
        &self,
        location: &LocationName,
        objects: &[(Digest, u64)],
        now: Timestamp,
    ) -> Result<Vec<OrphanObject>, MetadataError> {
        const OPERATION: &str = "note objects that nothing accounts for";
        if objects.is_empty() {
            return Ok(Vec::new());
        }
        let given: Vec<_> = objects
            .iter()
            .map(|(digest, size)| serde_json::json!({ "digest": digest.as_str(), "size": bytes_column(*size) }))
            .collect();
        let transaction = self.begin(OPERATION).await?;
        let rows: Vec<OrphanRow> = transaction
            .rows(
                OPERATION,
                "INSERT INTO roadstead_scrub_orphan (digest, location, size, first_seen, last_seen)
                 SELECT @member(n.value, digest), $2, CAST(@member(n.value, size) AS bigint), $3, $3 FROM @texts($1) AS n WHERE true
                 ON CONFLICT (location, digest) DO UPDATE SET size = excluded.size, last_seen = excluded.last_seen
                 RETURNING digest, size, first_seen",
                params![
                    serde_json::Value::from(given).to_string(),
                    location.as_str(),
                    now.naive_utc(),
                ],
            )
            .await?;
        transaction.commit().await?;
        let mut orphans = rows
            .into_iter()
            .map(|row| {
                Ok(OrphanObject {
                    digest: object_digest(&row.digest)?,
                    size: row.size.try_into().unwrap_or_default(),
                    first_seen: row.first_seen.and_utc(),
                })
            })
            .collect::<Result<Vec<_>, MetadataError>>()?;
        orphans.sort_by(|one, other| one.digest.cmp(&other.digest));
        Ok(orphans)
    }

    /// Forgets objects of one shard that were noted before `seen_since` and not since: they are gone, or something accounts for them. A shard is
    /// named by what its digests begin with, such as `sha256:0f`.
    pub async fn forget_orphans(
        &self,
        location: &LocationName,
        shard: &str,
        seen_since: Timestamp,
    ) -> Result<u64, MetadataError> {
        self.execute(
            "forget objects that are accounted for",
            "DELETE FROM roadstead_scrub_orphan WHERE location = $1 AND digest >= $2 AND digest < $3 AND last_seen < $4",
            params![
                location.as_str(),
                shard,
                end_of_shard(shard),
                seen_since.naive_utc(),
            ],
        )
        .await
    }

    /// Puts the noted objects of one shard on the list of those to be deleted that were seen at `now` and first no later than `first_seen_until`,
    /// and tells how many. Whoever deletes looks once more whether something accounts for them.
    pub async fn doom_orphans(
        &self,
        location: &LocationName,
        shard: &str,
        first_seen_until: Timestamp,
        now: Timestamp,
    ) -> Result<u64, MetadataError> {
        const OPERATION: &str = "put objects on the list of those to be deleted";
        let transaction = self.begin(OPERATION).await?;
        let parameters = || {
            params![
                location.as_str(),
                shard,
                end_of_shard(shard),
                first_seen_until.naive_utc(),
                now.naive_utc(),
            ]
        };
        let doomed = transaction
            .execute(
                OPERATION,
                "INSERT INTO roadstead_doomed_object (digest, location, size, since, not_before)
                 SELECT o.digest, o.location, o.size, $5, $5 FROM roadstead_scrub_orphan o
                 WHERE o.location = $1 AND o.digest >= $2 AND o.digest < $3 AND o.first_seen <= $4 AND o.last_seen >= $5
                 ON CONFLICT DO NOTHING",
                parameters(),
            )
            .await?;
        transaction
            .execute(
                OPERATION,
                "DELETE FROM roadstead_scrub_orphan
                 WHERE location = $1 AND digest >= $2 AND digest < $3 AND first_seen <= $4 AND last_seen >= $5",
                parameters(),
            )
            .await?;
        transaction.commit().await?;
        Ok(doomed)
    }
}

impl TryFrom<StateRow> for ScrubState {
    type Error = MetadataError;

    fn try_from(row: StateRow) -> Result<Self, MetadataError> {
        Ok(Self {
            location: location_name(&row.location)?,
            round_began: row.round_began.and_utc(),
            after: row.after_digest,
            shards: row.shards.try_into().unwrap_or_default(),
            objects: row.objects.try_into().unwrap_or_default(),
            bytes: row.bytes.try_into().unwrap_or_default(),
            found: row.found.try_into().unwrap_or_default(),
            last_ended: row.last_ended.map(|ended| ended.and_utc()),
        })
    }
}

impl TryFrom<FindingRow> for ScrubFinding {
    type Error = MetadataError;

    fn try_from(row: FindingRow) -> Result<Self, MetadataError> {
        Ok(Self {
            digest: object_digest(&row.digest)?,
            location: location_name(&row.location)?,
            defect: row.defect,
            size: row.size.try_into().unwrap_or_default(),
            found_size: row
                .found_size
                .map(|size| size.try_into().unwrap_or_default()),
            found_digest: row.found_digest,
            kept: row.kept,
            found_at: row.found_at.and_utc(),
            repaired_at: row.repaired_at.map(|at| at.and_utc()),
        })
    }
}

/// What comes behind every digest of a shard: `g` comes after every hex digit.
fn end_of_shard(shard: &str) -> String {
    format!("{shard}g")
}

fn object_digest(digest: &str) -> Result<Digest, MetadataError> {
    digest
        .parse()
        .map_err(|error| MetadataError::corrupt("roadstead_scrub_finding", "digest", digest, error))
}
