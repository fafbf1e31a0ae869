//! Taking wanted copies off the queue: the urgent first, the namespaces in turn, and in the region that they concern.
//!
//! A copy that may be taken now is `ready`. One that was taken or put off is not, and is due when its lease or its delay is over: then
//! whoever looks next makes it ready again. What is ready is found in an index, however long the queue is and however much of it waits.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use chrono::{NaiveDateTime, TimeDelta};
use roadstead_placement::LocationName;
use roadstead_runtime::Timestamp;
use sea_orm::Value;
use uuid::Uuid;

use crate::database::{Connection, Database, Identified, Transaction, json_ids, params};
use crate::error::MetadataError;
use crate::ids::StorageId;
use crate::jobs::{Job, JobRow};
use crate::locations::{limit_column, location_name};
use crate::row::FromRow;

/// How urgent a copy is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Urgency {
    /// Somebody waits for it: a client has asked for the blob there, a push is acknowledged once it is made, or the blob's only location is
    /// being emptied.
    Asked,
    /// The blob was pushed, or lost where it had been.
    Pushed,
    /// It was missing all along: a location is new, or something went wrong.
    Backfill,
}

impl Urgency {
    const ALL: [Self; 3] = [Self::Asked, Self::Pushed, Self::Backfill];

    pub(crate) const fn lane(self) -> i32 {
        match self {
            Self::Asked => 0,
            Self::Pushed => 1,
            Self::Backfill => 2,
        }
    }

    /// The newest push is what somebody is likely to pull next; the oldest gap is what has been at risk the longest.
    const fn direction(self) -> &'static str {
        match self {
            Self::Asked | Self::Pushed => "DESC",
            Self::Backfill => "ASC",
        }
    }
}

/// Which copies to take, and for how long.
#[derive(Clone, Debug)]
pub struct ClaimCopies<'a> {
    /// The queue's name: rows are named `<queue>/...`.
    pub queue: &'a str,
    /// How many blobs at most. Each comes with every location that lacks it and can be served from here.
    pub blobs: u32,
    /// The location that this process's region prefers, if it has one.
    pub region: Option<&'a LocationName>,
    /// The locations whose regions make their copies themselves; what they lack is left to them unless its source is here.
    pub elsewhere: &'a BTreeSet<LocationName>,
    /// Now.
    pub now: Timestamp,
    /// When the leases end unless they are extended.
    pub lease_until: Timestamp,
    /// Makes the leases' tokens unique.
    pub token: Uuid,
}

/// Where a process is in the queue: whose turn it is, and how far it has looked for rows of Quay's.
#[derive(Clone, Copy, Debug, Default)]
pub struct ClaimCursor {
    /// The namespace that was served last.
    namespace: i32,
    /// The row of the queue up to which rows without a copy were looked for as they came. None before the first look.
    newest: Option<i32>,
    /// The same for the search of the whole queue, and when that last began anew.
    swept: i32,
    round: Option<Timestamp>,
}

impl ClaimCursor {
    /// The namespaces behind this one come first. Processes that begin at different places do not take the same.
    pub const fn beginning_at(namespace: u16) -> Self {
        Self {
            namespace: namespace as i32,
            newest: None,
            swept: 0,
            round: None,
        }
    }
}

/// The most copies of one blob that are taken together: more than anybody has locations.
const TARGETS_MAX: u32 = 64;

/// How many copies become ready again with one look.
const DUE_BATCH: u32 = 2_000;

/// How many rows of the queue are searched for Quay's with one look, among the newest and among all. What is found late is not copied late:
/// the reconciliation sees what a location lacks, whoever noted it.
const ROWS_SPAN: i32 = 500;

/// The whole queue is not searched more often than this.
const ROUND_MIN: TimeDelta = TimeDelta::minutes(1);

/// How many copies of other regions are searched for those whose blobs are here.
const FAR_SEARCHED: u32 = 200;

/// How often a look is repeated because another process took what was found.
const ATTEMPTS: u32 = 3;

/// How long a copy is left alone whose row a worker of Quay's has, or that has no row: the reconciliation forgets the latter.
const NOT_OURS: Duration = Duration::from_mins(5);

#[derive(Debug, FromRow)]
struct TurnRow {
    namespace_id: i32,
}

#[derive(Debug, FromRow)]
struct HomeRow {
    id: i32,
    name: String,
}

#[derive(Debug, FromRow)]
struct ListRow {
    list: Option<String>,
}

#[derive(Debug, FromRow)]
struct PickedRow {
    queueitem_id: i32,
    location: String,
    attempts: i32,
    wanted_since: NaiveDateTime,
    traceparent: Option<String>,
}

#[derive(Debug, FromRow)]
struct Flag {
    found: i32,
}

/// The regions whose copies are made here, and the others, as sets for `@ids`.
struct Homes {
    near: String,
    far: String,
}

/// Everybody's: what belongs to no region.
const ANYWHERE: i32 = 0;

impl Database {
    /// Takes copies that may be made now: the urgent first, of each urgency the namespaces in turn, of each namespace the newest push first or
    /// the oldest gap. What one blob lacks in several locations is taken together. Rows of Quay's, which name no location, come with the rest.
    ///
    /// Costs a few statements that read as many rows as they take. Dropped, it has taken nothing, or leases that run out.
    pub async fn claim_copies(
        &self,
        claim: &ClaimCopies<'_>,
        cursor: &mut ClaimCursor,
    ) -> Result<Vec<Job>, MetadataError> {
        let mut jobs = Vec::new();
        if self.copies_wait(claim.now).await? {
            for _ in 0..ATTEMPTS {
                let (taken, overtaken) = self.take_copies(claim, cursor).await?;
                jobs.extend(taken);
                if !jobs.is_empty() || !overtaken {
                    break;
                }
            }
        }
        let names: BTreeSet<&str> = jobs.iter().map(|job| job.name.as_str()).collect();
        let free = claim
            .blobs
            .saturating_sub(u32::try_from(names.len()).unwrap_or(u32::MAX));
        if free == 0 {
            return Ok(jobs);
        }
        let foreign = self.foreign_rows(claim, free, cursor).await?;
        if !foreign.is_empty() {
            jobs.extend(self.take_foreign_rows(claim, &foreign).await?);
        }
        Ok(jobs)
    }

    /// Whether there is something that may be ready. A look into an index, so that an idle worker writes nothing.
    async fn copies_wait(&self, now: Timestamp) -> Result<bool, MetadataError> {
        let row: Option<Flag> = self
            .reader()
            .row(
                "look for wanted copies",
                // In the order of the indexes, so that no planner reads the table.
                "SELECT CASE WHEN (SELECT c.lane FROM roadstead_copy c WHERE c.ready = true ORDER BY c.lane LIMIT 1) IS NOT NULL
                          OR (SELECT c.due FROM roadstead_copy c WHERE c.ready = false AND c.due <= $1
                              ORDER BY c.due LIMIT 1) IS NOT NULL
                        THEN 1 ELSE 0 END AS found",
                params![now.naive_utc()],
            )
            .await?;
        Ok(row.is_some_and(|row| row.found == 1))
    }

    /// Says also whether something was found that others took.
    async fn take_copies(
        &self,
        claim: &ClaimCopies<'_>,
        cursor: &mut ClaimCursor,
    ) -> Result<(Vec<Job>, bool), MetadataError> {
        let transaction = self.begin("take wanted copies").await?;
        wake_due(&transaction, claim.now).await?;
        let homes = homes(&transaction, claim.elsewhere).await?;
        let mut storages: BTreeSet<i32> = BTreeSet::new();
        for urgency in Urgency::ALL {
            let free = || {
                claim
                    .blobs
                    .saturating_sub(u32::try_from(storages.len()).unwrap_or(u32::MAX))
            };
            if free() == 0 {
                break;
            }
            let near = candidates(
                &transaction,
                urgency,
                &homes.near,
                free(),
                &mut cursor.namespace,
            )
            .await?;
            storages.extend(near);
            let free = claim
                .blobs
                .saturating_sub(u32::try_from(storages.len()).unwrap_or(u32::MAX));
            // A gap that is old is no reason to do the work of another region.
            if let (Urgency::Asked | Urgency::Pushed, Some(region), false) =
                (urgency, claim.region, claim.elsewhere.is_empty())
            {
                let mut turn = cursor.namespace;
                let far =
                    candidates(&transaction, urgency, &homes.far, FAR_SEARCHED, &mut turn).await?;
                storages.extend(of_here(&transaction, &far, region, free).await?);
            }
        }
        let picked = pick(&transaction, &storages, claim, &homes).await?;
        let jobs = take(&transaction, picked, claim).await?;
        transaction.commit().await?;
        let overtaken = jobs.is_empty() && !storages.is_empty();
        Ok((jobs, overtaken))
    }

    /// Rows of the queue that no copy of ours names: Quay's. Some of the newest and some of the others with each look.
    async fn foreign_rows(
        &self,
        claim: &ClaimCopies<'_>,
        limit: u32,
        cursor: &mut ClaimCursor,
    ) -> Result<Vec<i32>, MetadataError> {
        let highest: Option<Identified> = self
            .reader()
            .row(
                "look for rows of Quay's in the queue",
                "SELECT id FROM queueitem ORDER BY id DESC LIMIT 1",
                params![],
            )
            .await?;
        let Some(highest) = highest.map(|row| row.id) else {
            return Ok(Vec::new());
        };
        let mut rows = Vec::new();
        let newest = cursor.newest.unwrap_or(highest.saturating_sub(ROWS_SPAN));
        if newest < highest {
            let (found, looked) = self.foreign_rows_behind(claim, limit, newest).await?;
            rows = found;
            // Behind the last row come those that are not there yet.
            cursor.newest = Some(looked.min(highest));
        }
        let round_ended = cursor.swept >= highest;
        if round_ended
            && cursor
                .round
                .is_none_or(|began| claim.now - began >= ROUND_MIN || claim.now < began)
        {
            cursor.swept = 0;
            cursor.round = Some(claim.now);
        }
        if cursor.swept < highest {
            let (found, looked) = self.foreign_rows_behind(claim, limit, cursor.swept).await?;
            rows.extend(found);
            cursor.swept = looked;
        }
        rows.sort_unstable();
        rows.dedup();
        rows.truncate(limit as usize);
        Ok(rows)
    }

    /// Says also how far it has looked.
    async fn foreign_rows_behind(
        &self,
        claim: &ClaimCopies<'_>,
        limit: u32,
        after: i32,
    ) -> Result<(Vec<i32>, i32), MetadataError> {
        const OPERATION: &str = "look for rows of Quay's in the queue";
        let reader = self.reader();
        // Rows that are gone leave wide gaps.
        let first: Option<Identified> = reader
            .row(
                OPERATION,
                "SELECT id FROM queueitem WHERE id > $1 ORDER BY id LIMIT 1",
                params![after],
            )
            .await?;
        let Some(first) = first else {
            return Ok((Vec::new(), i32::MAX));
        };
        let until = first.id.saturating_add(ROWS_SPAN);
        let rows: Vec<Identified> = reader
            .rows(
                OPERATION,
                "SELECT q.id FROM queueitem q
                 WHERE q.id >= $2 AND q.id < $3 AND @prefix(q.queue_name, $1 || '/')
                   AND q.available_after <= $4 AND (q.available = true OR q.processing_expires <= $4)
                   AND (SELECT c.id FROM roadstead_copy c WHERE c.queueitem_id = q.id) IS NULL
                 ORDER BY q.id LIMIT $5",
                params![
                    claim.queue,
                    first.id,
                    until,
                    claim.now.naive_utc(),
                    limit_column(limit)
                ],
            )
            .await?;
        // A full page may have more behind it.
        let looked = match rows.last() {
            Some(last) if rows.len() >= limit as usize => last.id,
            _ => until.saturating_sub(1),
        };
        Ok((rows.into_iter().map(|row| row.id).collect(), looked))
    }

    async fn take_foreign_rows(
        &self,
        claim: &ClaimCopies<'_>,
        rows: &[i32],
    ) -> Result<Vec<Job>, MetadataError> {
        let transaction = self.begin("take rows of Quay's").await?;
        let rows = lease(&transaction, claim, rows.iter().copied()).await?;
        transaction.commit().await?;
        Ok(rows.into_iter().map(JobRow::without_copy).collect())
    }

    /// Makes copies of these blobs as urgent as this, those to `location` that are wanted. Says how many were less urgent before.
    pub async fn urge_copies(
        &self,
        storages: &[StorageId],
        location: &LocationName,
        urgency: Urgency,
    ) -> Result<u64, MetadataError> {
        self.execute(
            "make copies urgent",
            "UPDATE roadstead_copy SET lane = $3
             WHERE storage_id IN @ids($1) AND lane > $3
               AND location_id IN (SELECT l.id FROM imagestoragelocation l WHERE l.name = $2)",
            params![
                json_ids(storages.iter().map(|storage| storage.0)),
                location.as_str(),
                urgency.lane()
            ],
        )
        .await
    }
}

/// Makes ready what is due.
async fn wake_due(transaction: &Transaction, now: Timestamp) -> Result<u64, MetadataError> {
    transaction
        .execute(
            "make copies ready",
            "UPDATE roadstead_copy SET ready = true, due = NULL
             WHERE id IN (SELECT c.id FROM roadstead_copy c WHERE c.ready = false AND c.due <= $1
                          ORDER BY c.due LIMIT $2 @skip_locked)",
            params![now.naive_utc(), limit_column(DUE_BATCH)],
        )
        .await
}

/// Which regions' copies are made here: all but those that make them themselves.
async fn homes(
    transaction: &Transaction,
    elsewhere: &BTreeSet<LocationName>,
) -> Result<Homes, MetadataError> {
    let rows: Vec<HomeRow> = transaction
        .rows(
            "look up the locations",
            "SELECT id, name FROM imagestoragelocation ORDER BY id",
            params![],
        )
        .await?;
    let (far, near): (Vec<HomeRow>, Vec<HomeRow>) = rows
        .into_iter()
        .partition(|row| elsewhere.iter().any(|name| name.as_str() == row.name));
    let ids = |rows: Vec<HomeRow>| rows.into_iter().map(|row| row.id);
    Ok(Homes {
        near: json_ids(ids(near).chain([ANYWHERE])),
        far: json_ids(ids(far)),
    })
}

/// The blobs whose turn it is of one urgency, at most `limit`, and moves the turn on.
async fn candidates(
    transaction: &Transaction,
    urgency: Urgency,
    homes: &str,
    limit: u32,
    turn: &mut i32,
) -> Result<Vec<i32>, MetadataError> {
    let mut turns = namespaces(transaction, urgency, homes, limit, *turn, i32::MAX).await?;
    if turns.len() < limit as usize {
        // Around the corner.
        let first = namespaces(transaction, urgency, homes, limit, -1, *turn).await?;
        turns.extend(first);
        turns.truncate(limit as usize);
    }
    let Some(last) = turns.last() else {
        return Ok(Vec::new());
    };
    *turn = *last;
    let share = limit.div_ceil(u32::try_from(turns.len()).unwrap_or(1));
    let direction = urgency.direction();
    let rows: Vec<ListRow> = transaction
        .rows(
            "choose wanted copies",
            // A walk along the index for each namespace and region: of time alone there is no other index.
            &format!(
                "SELECT (SELECT @list(k.storage_id) FROM (
                            SELECT r.storage_id FROM roadstead_copy r
                            WHERE r.ready = true AND r.lane = $3 AND r.home = h.value AND r.namespace_id = n.value
                            ORDER BY r.wanted_since {direction}, r.id {direction} LIMIT $4) AS k) AS list
                 FROM @ids($2) AS n, @ids($1) AS h"
            ),
            params![
                homes,
                json_ids(turns),
                urgency.lane(),
                limit_column(share)
            ],
        )
        .await?;
    let mut storages: Vec<i32> = Vec::new();
    for list in rows.into_iter().filter_map(|row| row.list) {
        let of_namespace: Vec<i32> = serde_json::from_str(&list).map_err(|error| {
            MetadataError::corrupt("roadstead_copy", "storage_id", "list", error)
        })?;
        for storage in of_namespace {
            if !storages.contains(&storage) {
                storages.push(storage);
            }
        }
    }
    storages.truncate(limit as usize);
    Ok(storages)
}

/// The namespaces behind `after` and up to `until` that have something to be copied, the first `limit`.
async fn namespaces(
    transaction: &Transaction,
    urgency: Urgency,
    homes: &str,
    limit: u32,
    after: i32,
    until: i32,
) -> Result<Vec<i32>, MetadataError> {
    // From one namespace to the next along the index, for each region.
    let next = |after: &str| {
        format!(
            "(SELECT min(s.namespace_id) FROM (
                SELECT (SELECT r.namespace_id FROM roadstead_copy r
                        WHERE r.ready = true AND r.lane = $2 AND r.home = h.value AND r.namespace_id > {after}
                        ORDER BY r.namespace_id LIMIT 1) AS namespace_id
                FROM @ids($1) AS h) AS s)"
        )
    };
    let rows: Vec<TurnRow> = transaction
        .rows(
            "find whose turn it is",
            &format!(
                "WITH RECURSIVE turns(namespace_id, position) AS (
                     SELECT {first}, CAST(1 AS bigint)
                     UNION ALL
                     SELECT {following}, t.position + 1 FROM turns t
                     WHERE t.namespace_id IS NOT NULL AND t.namespace_id <= $5 AND t.position < $4)
                 SELECT namespace_id FROM turns WHERE namespace_id IS NOT NULL AND namespace_id <= $5
                 ORDER BY position",
                first = next("$3"),
                following = next("t.namespace_id"),
            ),
            params![homes, urgency.lane(), after, limit_column(limit), until],
        )
        .await?;
    Ok(rows.into_iter().map(|row| row.namespace_id).collect())
}

/// Those of the blobs that are in this region, at most `limit`: they are read once, here, and need not wait for other regions.
async fn of_here(
    transaction: &Transaction,
    storages: &[i32],
    region: &LocationName,
    limit: u32,
) -> Result<Vec<i32>, MetadataError> {
    if storages.is_empty() || limit == 0 {
        return Ok(Vec::new());
    }
    let rows: Vec<Identified> = transaction
        .rows(
            "choose copies whose source is here",
            "SELECT s.value AS id FROM @ids($1) AS s
             WHERE (SELECT p.id FROM imagestorageplacement p
                    WHERE p.storage_id = s.value
                      AND p.location_id = (SELECT h.id FROM imagestoragelocation h WHERE h.name = $2)) IS NOT NULL
             LIMIT $3",
            params![
                json_ids(storages.iter().copied()),
                region.as_str(),
                limit_column(limit)
            ],
        )
        .await?;
    Ok(rows.into_iter().map(|row| row.id).collect())
}

/// Locks what these blobs lack and may be given from here: the regions served here, and all if the blob is here.
async fn pick(
    transaction: &Transaction,
    storages: &BTreeSet<i32>,
    claim: &ClaimCopies<'_>,
    homes: &Homes,
) -> Result<Vec<PickedRow>, MetadataError> {
    if storages.is_empty() {
        return Ok(Vec::new());
    }
    let region = claim.region.map_or("", LocationName::as_str);
    transaction
        .rows(
            "take wanted copies",
            "SELECT t.queueitem_id, l.name AS location, t.attempts, t.wanted_since, t.traceparent
             FROM (SELECT c.queueitem_id, c.location_id, c.attempts, c.wanted_since, c.traceparent
                   FROM roadstead_copy c
                   WHERE c.storage_id IN @ids($2) AND @shared(c.ready) = true
                     AND (c.home IN @ids($1)
                          OR EXISTS (SELECT 1 FROM imagestorageplacement p JOIN imagestoragelocation h ON h.id = p.location_id
                                     WHERE p.storage_id = c.storage_id AND h.name = $3))
                   ORDER BY c.id LIMIT $4 @skip_locked) AS t
             JOIN imagestoragelocation l ON l.id = t.location_id",
            params![
                homes.near.as_str(),
                json_ids(storages.iter().copied()),
                region,
                limit_column(claim.blobs.saturating_mul(TARGETS_MAX))
            ],
        )
        .await
}

/// Leases the rows of the queue that belong to these copies. A copy whose row somebody else has, or that has none, is put off.
async fn take(
    transaction: &Transaction,
    picked: Vec<PickedRow>,
    claim: &ClaimCopies<'_>,
) -> Result<Vec<Job>, MetadataError> {
    if picked.is_empty() {
        return Ok(Vec::new());
    }
    let rows = lease(
        transaction,
        claim,
        picked.iter().map(|row| row.queueitem_id),
    )
    .await?;
    let leased: BTreeSet<i32> = rows.iter().map(|row| row.id).collect();
    let (ours, others): (Vec<&PickedRow>, Vec<&PickedRow>) = picked
        .iter()
        .partition(|row| leased.contains(&row.queueitem_id));
    for (copies, until) in [(ours, claim.lease_until), (others, claim.now + NOT_OURS)] {
        if copies.is_empty() {
            continue;
        }
        transaction
            .execute(
                "take wanted copies",
                "UPDATE roadstead_copy SET ready = false, due = $2 WHERE queueitem_id IN @ids($1)",
                params![
                    json_ids(copies.iter().map(|row| row.queueitem_id)),
                    until.naive_utc()
                ],
            )
            .await?;
    }
    let mut copies: BTreeMap<i32, PickedRow> = picked
        .into_iter()
        .map(|row| (row.queueitem_id, row))
        .collect();
    rows.into_iter()
        .map(|row| {
            let copy = copies.remove(&row.id);
            let job = row.without_copy();
            match copy {
                Some(copy) => Ok(Job {
                    target: Some(location_name(&copy.location)?),
                    attempts: copy.attempts.try_into().unwrap_or_default(),
                    wanted_since: Some(copy.wanted_since.and_utc()),
                    trace: copy.traceparent,
                    ..job
                }),
                None => Ok(job),
            }
        })
        .collect()
}

/// Leases those of these rows of the queue that nobody has. When they are due has been looked at: a copy is ready by our own reckoning, and the clock of
/// whoever wanted it may be ahead of ours.
async fn lease(
    transaction: &Transaction,
    claim: &ClaimCopies<'_>,
    rows: impl IntoIterator<Item = i32>,
) -> Result<Vec<JobRow>, MetadataError> {
    let values: Vec<Value> = params![
        json_ids(rows),
        claim.now.naive_utc(),
        claim.lease_until.naive_utc(),
        claim.token.to_string(),
    ];
    transaction
        .rows(
            "take rows of the queue",
            "UPDATE queueitem
             SET available = false, processing_expires = $3, state_id = $4 || '-' || CAST(id AS varchar)
             WHERE id IN (SELECT q.id FROM queueitem q
                          WHERE q.id IN @ids($1)
                            AND (q.available = true OR q.processing_expires <= $2)
                          ORDER BY q.id @skip_locked)
             RETURNING id, queue_name, body, state_id",
            values,
        )
        .await
}
