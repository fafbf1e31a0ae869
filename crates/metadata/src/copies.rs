//! Wanted copies: which location lacks which blob, since when, and how the attempts went.
//!
//! A wanted copy is a row of `roadstead_copy`, one for each blob and location, and the row of Quay's `queueitem` that will bring it about, in the
//! form that a Quay worker can take too. Everything here works on sets: the number of statements never depends on the number of blobs.

use std::collections::BTreeSet;
use std::time::Duration;

use roadstead_placement::LocationName;
use roadstead_runtime::{Ids, Timestamp};
use sea_orm::Value;
use uuid::Uuid;

use crate::copy_claims::Urgency;
use crate::database::{Connection, Database, Identified, Transaction, contended, json_ids, params};
use crate::demand::{Demand, Extent, RulesInForce, demanded, required};
use crate::error::MetadataError;
use crate::garbage::doom_at;
use crate::ids::{ManifestId, StorageId, UserId};
use crate::locations::{CLOSED, find_location, json_locations, location_name};
use crate::row::FromRow;

/// The attempts that a queue row of Quay's begins with. We never count them down: a job ends when its work is done or no longer wanted.
const RETRIES: i32 = 5;

/// How long an object that a location lost or damaged is left there for a person to look at, unless a new copy replaces it.
const LOST_OBJECT_KEPT: Duration = Duration::from_hours(24);

/// Which copies become wanted.
#[derive(Debug)]
pub(crate) enum WantedScope<'a> {
    /// Of the blobs of a manifest and of what is below it, as its own repository and tags demand.
    Image {
        manifest: ManifestId,
        namespace: UserId,
        demand: Demand<'a>,
        rules: &'a RulesInForce,
        urgency: Urgency,
    },
    /// Of these blobs again, because a location lost them.
    Lost {
        storages: &'a [StorageId],
        location: &'a LocationName,
    },
    /// Of all blobs in a range of ids, as the default locations and every namespace's regions demand.
    Demanded {
        demand: Demand<'a>,
        after: StorageId,
        until: StorageId,
    },
    /// Of those blobs in a range of ids to one location that only leaving locations hold and that are not demanded anywhere.
    Leaving {
        demand: Demand<'a>,
        after: StorageId,
        until: StorageId,
        refuge: &'a LocationName,
    },
}

#[derive(Debug)]
pub(crate) struct WantCopies<'a> {
    pub(crate) scope: WantedScope<'a>,
    pub(crate) queue: &'a str,
    /// The trace that the copies go on with.
    pub(crate) trace: Option<&'a str>,
    /// Makes the new rows' state ids unique.
    pub(crate) token: Uuid,
    pub(crate) now: Timestamp,
}

/// One page of [`Database::want_demanded_copies`].
#[derive(Debug)]
pub struct DemandPage<'a> {
    /// What is demanded.
    pub demand: Demand<'a>,
    /// The page begins behind this blob.
    pub after: StorageId,
    /// How many ids it spans; bounds the length of the transaction.
    pub span: u32,
    /// The name of the replication queue.
    pub queue: &'a str,
    /// Source of the tokens of new rows.
    pub ids: &'a dyn Ids,
    /// Now.
    pub now: Timestamp,
}

/// What one page made wanted.
#[derive(Clone, Debug, Default)]
pub struct DemandedCopies {
    /// The copies that are wanted since now.
    pub wanted: Vec<WantedCopy>,
    /// Where the next page begins; none after the last.
    pub next: Option<StorageId>,
}

/// A copy that a location lacks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WantedCopy {
    /// The blob's row.
    pub storage: StorageId,
    /// The id that queue rows name the blob by.
    pub uuid: String,
    /// Its bytes.
    pub size: u64,
    /// The location that lacks it.
    pub location: LocationName,
}

/// What became of [`Database::report_lost`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LostReport {
    /// Their placements are gone and the copies wanted again.
    pub wanted: Vec<StorageId>,
    /// No other placement is known: theirs stay, so that a store that comes back is still asked.
    pub kept: Vec<StorageId>,
}

/// Objects that a location should have and has not.
#[derive(Debug)]
pub struct LostObjects<'a> {
    /// The location.
    pub location: &'a LocationName,
    /// The blobs.
    pub storages: &'a [StorageId],
    /// What was found, for the operator.
    pub reason: &'a str,
    /// The name of the replication queue.
    pub queue: &'a str,
    /// Source of the tokens of new rows.
    pub ids: &'a dyn Ids,
    /// Now.
    pub now: Timestamp,
}

#[derive(Debug, FromRow)]
struct WantedRow {
    storage_id: i32,
    uuid: String,
    size: i64,
    location: String,
}

#[derive(Debug, FromRow)]
struct QueuedRow {
    id: i32,
    state_id: String,
}

#[derive(Debug, FromRow)]
struct HighestRow {
    highest: Option<i32>,
}

/// [`demanded`] with another `missing`: at location `refuge`, what placements at locations that are being emptied promise
/// and none at an open location does, unless it is demanded at one or on its way to one, or confined to where it is.
fn missing_of_leaving(
    rules: &RulesInForce,
    (defaults, configured): (&str, &str),
    (low, high): (&str, &str),
    refuge: &str,
) -> String {
    let page = Extent::Blobs {
        after: low,
        until: high,
    };
    format!(
        "{},
         missing(storage_id, location_id) AS (
             SELECT leaving.storage_id, o.id FROM (
                 SELECT p.storage_id FROM imagestorageplacement p
                 JOIN imagestoragelocation l ON l.id = p.location_id
                 JOIN roadstead_location n ON n.name = l.name
                 WHERE n.state = 'draining' AND p.storage_id > {low} AND p.storage_id <= {high}{}
                   AND NOT EXISTS (SELECT 1 FROM imagestorageplacement h JOIN open ho ON ho.id = h.location_id
                                   WHERE h.storage_id = p.storage_id)
                   AND NOT EXISTS (SELECT 1 FROM roadstead_copy w JOIN open wo ON wo.id = w.location_id
                                   WHERE w.storage_id = p.storage_id)
                 -- As sets: what is required would be gone through for each blob otherwise.
                 EXCEPT SELECT r.storage_id FROM required r) AS leaving
             JOIN open o ON o.name = {refuge})",
        required(rules, defaults, configured, page),
        rules.held_freely("p.storage_id"),
    )
}

/// Makes every missing copy of the scope wanted that is not wanted yet, with its queue row, and tells how many.
pub(crate) async fn want_copies(
    transaction: &Transaction,
    want: &WantCopies<'_>,
) -> Result<u64, MetadataError> {
    const OPERATION: &str = "queue the copies that are missing";
    // $1 is the token and $2 the time; the scope's own parameters follow.
    let mut values = params![want.token.to_string(), want.now.naive_utc()];
    let given = |storages: &[StorageId], locations: String| -> Vec<Value> {
        params![
            json_ids(storages.iter().map(|storage| storage.0)),
            locations
        ]
    };
    let (missing, namespace, urgency) = match &want.scope {
        WantedScope::Image {
            manifest,
            namespace,
            demand,
            rules,
            urgency,
        } => {
            values.extend(params![
                json_locations(demand.defaults),
                json_locations(demand.configured),
                manifest.0,
            ]);
            let image = Extent::Image { manifest: "$5" };
            (
                demanded(rules, "$3", "$4", image),
                namespace.to_string(),
                *urgency,
            )
        }
        WantedScope::Lost { storages, location } => {
            values.extend(given(
                storages,
                json_locations(&BTreeSet::from([(*location).clone()])),
            ));
            (
                missing_of_given(),
                NAMESPACE_OF_BLOB.to_owned(),
                Urgency::Pushed,
            )
        }
        WantedScope::Demanded {
            demand,
            after,
            until,
        } => {
            let rules = RulesInForce::load(transaction, *demand).await?;
            values.extend(params![
                json_locations(demand.defaults),
                json_locations(demand.configured),
                after.0,
                until.0,
            ]);
            let page = Extent::Blobs {
                after: "$5",
                until: "$6",
            };
            (
                demanded(&rules, "$3", "$4", page),
                NAMESPACE_OF_BLOB.to_owned(),
                Urgency::Backfill,
            )
        }
        WantedScope::Leaving {
            demand,
            after,
            until,
            refuge,
        } => {
            values.extend(params![
                json_locations(demand.defaults),
                json_locations(demand.configured),
                after.0,
                until.0,
                refuge.as_str(),
            ]);
            let rules = RulesInForce::load(transaction, *demand).await?;
            (
                missing_of_leaving(&rules, ("$3", "$4"), ("$5", "$6"), "$7"),
                NAMESPACE_OF_BLOB.to_owned(),
                Urgency::Asked,
            )
        }
    };
    let wanted = format!(
        "{missing}, wanted AS (
             SELECT m.storage_id, m.location_id,
                    $1 || '-' || CAST(m.storage_id AS varchar) || '-' || CAST(m.location_id AS varchar) AS state_id
             FROM missing m
             -- Looked up one by one, whatever the planner thinks of reading the whole table.
             WHERE (SELECT c.id FROM roadstead_copy c
                    WHERE c.storage_id = m.storage_id AND c.location_id = m.location_id) IS NULL)"
    );

    values.push(want.queue.into());
    let queue = format!("${}", values.len());
    let queued: Vec<QueuedRow> = transaction
        .rows(
            OPERATION,
            // Name and body are Quay's, to the space behind the colon.
            &format!(
                r#"{wanted}
                INSERT INTO queueitem (queue_name, body, available_after, available, retries_remaining, state_id)
                SELECT {queue} || '/' || s.uuid || '/',
                       '{{"namespace_user_id": ' || CAST(({namespace}) AS varchar) || ', "storage_id": "' || s.uuid || '"}}',
                       $2, true, {RETRIES}, w.state_id
                FROM wanted w JOIN imagestorage s ON s.id = w.storage_id
                ORDER BY w.storage_id, w.location_id
                RETURNING id, state_id"#
            ),
            values,
        )
        .await?;
    if !queued.is_empty() {
        transaction
            .execute(
                OPERATION,
                // Two who want the same copy at once leave a queue row too many, which asks for what is done by then.
                &format!(
                    "INSERT INTO roadstead_copy
                         (queueitem_id, storage_id, location_id, wanted_since, lane, home, namespace_id, traceparent)
                     SELECT w.first, w.second, w.third, $1, $3, w.third, {namespace}, CAST($4 AS varchar)
                     FROM @triples($2) AS w JOIN imagestorage s ON s.id = w.second
                     WHERE true ON CONFLICT DO NOTHING"
                ),
                params![
                    want.now.naive_utc(),
                    json_triples(&queued)?,
                    urgency.lane(),
                    want.trace,
                ],
            )
            .await?;
    }
    Ok(queued.len() as u64)
}

/// The ids of each queue row, its blob and its location, which its state id ends with.
fn json_triples(queued: &[QueuedRow]) -> Result<String, MetadataError> {
    let triples = queued
        .iter()
        .map(|row| {
            let mut parts = row.state_id.rsplit('-').map(str::parse::<i32>);
            match (parts.next(), parts.next()) {
                (Some(Ok(location)), Some(Ok(storage))) => Ok([row.id, storage, location]),
                _ => Err(MetadataError::corrupt(
                    "queueitem",
                    "state_id",
                    row.id,
                    &row.state_id,
                )),
            }
        })
        .collect::<Result<Vec<_>, _>>()?;
    Ok(serde_json::json!(triples).to_string())
}

/// Any namespace that refers to blob `s`: Quay's worker looks up its regions.
const NAMESPACE_OF_BLOB: &str = "COALESCE(
    (SELECT r.namespace_user_id FROM manifestblob mb JOIN repository r ON r.id = mb.repository_id WHERE mb.blob_id = s.id LIMIT 1),
    (SELECT r.namespace_user_id FROM uploadedblob u JOIN repository r ON r.id = u.repository_id WHERE u.blob_id = s.id LIMIT 1),
    0)";

/// The beginning of a statement with `missing`, for the blobs `$3` and the locations `$4`.
fn missing_of_given() -> String {
    format!(
        "WITH missing(storage_id, location_id) AS (
             SELECT s.id, l.id FROM imagestorage s, imagestoragelocation l
             WHERE s.id IN @ids($3) AND l.name IN @texts($4) AND l.name NOT IN {CLOSED}
               AND EXISTS (SELECT 1 FROM imagestorageplacement p WHERE p.storage_id = s.id)
               AND NOT EXISTS (SELECT 1 FROM imagestorageplacement p
                               WHERE p.storage_id = s.id AND p.location_id = l.id))"
    )
}

impl Database {
    /// Makes the missing copies of one page of blobs wanted: the step of a backfill and of the reconciliation. Idempotent.
    pub async fn want_demanded_copies(
        &self,
        page: &DemandPage<'_>,
    ) -> Result<DemandedCopies, MetadataError> {
        contended(|| self.want_demanded_copies_once(page)).await
    }

    async fn want_demanded_copies_once(
        &self,
        page: &DemandPage<'_>,
    ) -> Result<DemandedCopies, MetadataError> {
        let scope = |until| WantedScope::Demanded {
            demand: page.demand,
            after: page.after,
            until,
        };
        self.want_page(page, scope).await
    }

    /// Makes one page of the blobs wanted at `refuge` that only locations being emptied hold and that nothing demands elsewhere. Idempotent.
    pub async fn want_leaving_copies(
        &self,
        page: &DemandPage<'_>,
        refuge: &LocationName,
    ) -> Result<DemandedCopies, MetadataError> {
        let scope = |until| WantedScope::Leaving {
            demand: page.demand,
            after: page.after,
            until,
            refuge,
        };
        contended(|| self.want_page(page, scope)).await
    }

    async fn want_page<'a>(
        &self,
        page: &DemandPage<'a>,
        scope: impl Fn(StorageId) -> WantedScope<'a> + Send + Sync,
    ) -> Result<DemandedCopies, MetadataError> {
        const OPERATION: &str = "queue the copies that are missing";
        let highest: Option<HighestRow> = self
            .reader()
            .row(
                OPERATION,
                "SELECT max(id) AS highest FROM imagestorage",
                params![],
            )
            .await?;
        let highest = highest.and_then(|row| row.highest).unwrap_or_default();
        let until = page
            .after
            .0
            .saturating_add(i32::try_from(page.span).unwrap_or(i32::MAX))
            .min(highest);
        if until <= page.after.0 {
            return Ok(DemandedCopies::default());
        }
        let next = (until < highest).then_some(StorageId(until));
        // Nearly always nothing is missing that nobody wants yet, and nothing has to be written.
        if matches!(scope(StorageId(until)), WantedScope::Demanded { .. })
            && !self.await_lacking(page, until).await?
        {
            return Ok(DemandedCopies {
                wanted: Vec::new(),
                next,
            });
        }
        let token = page.ids.uuid();
        let transaction = self.begin(OPERATION).await?;
        let created = want_copies(
            &transaction,
            &WantCopies {
                scope: scope(StorageId(until)),
                queue: page.queue,
                trace: None,
                token,
                now: page.now,
            },
        )
        .await?;
        let rows: Vec<WantedRow> = if created == 0 {
            Vec::new()
        } else {
            transaction
                .rows(
                    OPERATION,
                    // The new rows' state ids begin with the token.
                    "SELECT c.storage_id, s.uuid, COALESCE(s.image_size, 0) AS size, l.name AS location
                     FROM queueitem q
                     JOIN roadstead_copy c ON c.queueitem_id = q.id
                     JOIN imagestorage s ON s.id = c.storage_id
                     JOIN imagestoragelocation l ON l.id = c.location_id
                     WHERE c.storage_id > $2 AND c.storage_id <= $3 AND @prefix(q.state_id, $1 || '-')
                     ORDER BY c.storage_id, l.name",
                    params![token.to_string(), page.after.0, until],
                )
                .await?
        };
        transaction.commit().await?;
        Ok(DemandedCopies {
            wanted: rows
                .into_iter()
                .map(WantedCopy::try_from)
                .collect::<Result<_, _>>()?,
            next,
        })
    }

    /// Forgets wanted copies whose queue row is gone, because a Quay worker finished it or its daily purge took it. What is still
    /// missing becomes wanted again by the next [`Database::want_demanded_copies`]. Tells how many.
    pub async fn forget_orphaned_copies(&self) -> Result<u64, MetadataError> {
        self.execute(
            "forget copies without a queue row",
            "DELETE FROM roadstead_copy WHERE NOT EXISTS (SELECT 1 FROM queueitem q WHERE q.id = queueitem_id)",
            params![],
        )
        .await
    }

    /// Notes that objects which placements promise are not there or are damaged: the placements go, unless one is the last of its blob,
    /// and the copies are wanted again.
    pub async fn report_lost(&self, lost: &LostObjects<'_>) -> Result<LostReport, MetadataError> {
        contended(|| self.report_lost_once(lost)).await
    }

    async fn report_lost_once(&self, lost: &LostObjects<'_>) -> Result<LostReport, MetadataError> {
        const OPERATION: &str = "note lost objects";
        let transaction = self.begin(OPERATION).await?;
        let Some(location) = find_location(&transaction, lost.location).await? else {
            return Ok(LostReport::default());
        };
        let storages = json_ids(lost.storages.iter().map(|storage| storage.0));
        let dropped: Vec<Identified> = transaction
            .rows(
                OPERATION,
                "DELETE FROM imagestorageplacement
                     WHERE location_id = $1 AND storage_id IN @ids($2) AND EXISTS (SELECT 1 FROM imagestorageplacement o
                                  WHERE o.storage_id = imagestorageplacement.storage_id AND o.location_id <> $1)
                     RETURNING storage_id AS id",
                params![location.0, storages.as_str()],
            )
            .await?;
        let kept: Vec<Identified> = transaction
            .rows(
                OPERATION,
                "SELECT storage_id AS id FROM imagestorageplacement WHERE location_id = $1 AND storage_id IN @ids($2)",
                params![location.0, storages],
            )
            .await?;
        let wanted: Vec<StorageId> = dropped.into_iter().map(|row| StorageId(row.id)).collect();
        if !wanted.is_empty() {
            // What lies there is replaced by the copy, or goes if the copy never comes.
            doom_at(
                &transaction,
                lost.location,
                &json_ids(wanted.iter().map(|storage| storage.0)),
                lost.now + LOST_OBJECT_KEPT,
                lost.now,
            )
            .await?;
            want_copies(
                &transaction,
                &WantCopies {
                    scope: WantedScope::Lost {
                        storages: &wanted,
                        location: lost.location,
                    },
                    queue: lost.queue,
                    trace: None,
                    token: lost.ids.uuid(),
                    now: lost.now,
                },
            )
            .await?;
            transaction
                .execute(
                    OPERATION,
                    "UPDATE roadstead_copy SET last_failure = $3, last_attempt = $4
                         WHERE location_id = $1 AND storage_id IN @ids($2)",
                    params![
                        location.0,
                        json_ids(wanted.iter().map(|storage| storage.0)),
                        lost.reason,
                        lost.now.naive_utc(),
                    ],
                )
                .await?;
        }
        transaction.commit().await?;
        Ok(LostReport {
            wanted,
            kept: kept.into_iter().map(|row| StorageId(row.id)).collect(),
        })
    }
}

impl TryFrom<WantedRow> for WantedCopy {
    type Error = MetadataError;

    fn try_from(row: WantedRow) -> Result<Self, MetadataError> {
        Ok(Self {
            storage: StorageId(row.storage_id),
            uuid: row.uuid,
            size: row.size.try_into().unwrap_or_default(),
            location: location_name(&row.location)?,
        })
    }
}
