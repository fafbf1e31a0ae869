//! Images that become complete at a location, and the event that is noted when one has.
//!
//! What is to become complete is awaited: a row of `roadstead_awaited_image` for each tagged image and location, written in the transaction of the
//! push, and by the reconciliation before it wants copies of older images. Whether an image is complete is looked up afterwards, many at a time
//! and apart from the copies, so that a copy costs nothing more and nothing is forgotten when a process ends. The event replaces the row.

use std::time::Duration;

use chrono::{NaiveDateTime, TimeDelta};
use roadstead_oci::Digest;
use roadstead_placement::{LocationName, look_again_after};
use roadstead_runtime::Timestamp;
use serde_json::json;

use crate::copies::DemandPage;
use crate::database::{
    Connection, Counted, Database, Transaction, WIDE_IDS, contended, json_members, json_texts,
    json_wide_ids, params,
};
use crate::demand::{Demand, Extent, RulesInForce, demanded, required};
use crate::dialect::moment_text;
use crate::error::MetadataError;
use crate::ids::{LocationId, ManifestId, StorageId};
use crate::image_copies::lacking_of_images;
use crate::locations::{json_locations, limit_column, location_name};
use crate::row::FromRow;

/// How long an event is kept, how long an image is awaited at most, and so how long nothing is noted twice: thirty days.
pub const IMAGE_EVENTS_KEPT: Duration = Duration::from_hours(30 * 24);

/// What an event is that says that an image is complete at a location.
pub const IMAGE_COMPLETE: &str = "image.complete";

/// How many images one statement awaits.
const AWAITED_AT_ONCE: i64 = 2_000;

/// How many images are looked at earlier because of one batch of copies. The others wait for their time.
const HASTENED_AT_ONCE: i64 = 2_000;

/// The most tags of an image that an event names.
const TAGS_MAX: i64 = 100;

/// That an image was complete at a location.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageEvent {
    /// Counts up, and is never given out twice.
    pub id: i64,
    /// What has happened: [`IMAGE_COMPLETE`].
    pub kind: String,
    /// `namespace/name`, as it was called then.
    pub repository: String,
    /// The digest of its manifest.
    pub digest: Digest,
    /// The visible tags that pointed to it, sorted, at most a hundred.
    pub tags: Vec<String>,
    /// Where.
    pub location: LocationName,
    /// When it was pushed, or since when it was missing there.
    pub since: Timestamp,
    /// When it was found complete.
    pub complete_at: Timestamp,
}

/// What [`Database::settle_awaited_images`] came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SettledImages {
    /// Images that were looked at.
    pub looked_at: u64,
    /// Those of them that were complete, and of which an event was noted.
    pub complete: u64,
    /// How much somebody has to be told of that.
    pub deliveries: u64,
}

#[derive(Debug, FromRow)]
pub(crate) struct EventRow {
    pub(crate) id: i64,
    kind: String,
    repository: String,
    digest: String,
    tags: String,
    location: String,
    since: NaiveDateTime,
    complete_at: NaiveDateTime,
}

/// The columns of an [`EventRow`], of event `e`.
pub(crate) const EVENT: &str =
    "e.id, e.kind, e.repository, e.digest, e.tags, e.location, e.since, e.complete_at";

#[derive(Debug, FromRow)]
struct DueRow {
    id: i64,
    since: NaiveDateTime,
    manifest_id: i32,
    location_id: i32,
}

#[derive(Debug, FromRow)]
struct WideRow {
    id: i64,
}

#[derive(Debug, FromRow)]
struct AwaitedRow {
    location: String,
    images: i64,
}

/// Awaits an image that has just been pushed, at every location that it belongs to, unless a tag pointed to it before. Behind its tags, which decide
/// where it belongs.
pub(crate) async fn await_pushed(
    transaction: &Transaction,
    manifest: ManifestId,
    (demand, rules): (Demand<'_>, &RulesInForce),
    now: Timestamp,
) -> Result<(), MetadataError> {
    let image = Extent::Tree { manifest: "$3" };
    transaction
        .execute(
            "await the copies of an image",
            &format!(
                "{}
                 INSERT INTO roadstead_awaited_image (manifest_id, location_id, since, look_at)
                 SELECT $3, r.location_id, $4, $4 FROM (SELECT DISTINCT location_id FROM required) r
                 WHERE NOT EXISTS (SELECT 1 FROM tag t WHERE t.manifest_id = $3 AND NOT t.hidden AND t.lifetime_start_ms < $5)
                   AND NOT EXISTS (SELECT 1 FROM roadstead_image_event e
                                   WHERE e.manifest_id = $3 AND e.location_id = r.location_id)
                 ON CONFLICT DO NOTHING",
                required(rules, "$1", "$2", image)
            ),
            params![
                json_locations(demand.defaults),
                json_locations(demand.configured),
                manifest.0,
                now.naive_utc(),
                now.timestamp_millis(),
            ],
        )
        .await?;
    Ok(())
}

/// The beginning of a statement with `lacking`: what [`demanded`] finds missing and nobody wants yet, of the blobs with ids in `($3, $4]`.
fn lacking(rules: &RulesInForce) -> String {
    let page = Extent::Blobs {
        after: "$3",
        until: "$4",
    };
    format!(
        "{},
         lacking(storage_id, location_id) AS (
             SELECT m.storage_id, m.location_id FROM missing m
             WHERE (SELECT c.id FROM roadstead_copy c
                    WHERE c.storage_id = m.storage_id AND c.location_id = m.location_id) IS NULL)",
        demanded(rules, "$1", "$2", page)
    )
}

impl Database {
    /// Awaits the tagged images that lack any blob of a page somewhere of which no copy is wanted yet: before copies become wanted, so that none
    /// can be complete unseen. False if there is no such blob.
    pub(crate) async fn await_lacking(
        &self,
        page: &DemandPage<'_>,
        until: i32,
    ) -> Result<bool, MetadataError> {
        const OPERATION: &str = "await the copies of images";
        let rules = RulesInForce::load(self.reader(), page.demand).await?;
        let lacking = lacking(&rules);
        let extent = || {
            params![
                json_locations(page.demand.defaults),
                json_locations(page.demand.configured),
                page.after.0,
                until,
            ]
        };
        let first: Option<Counted> = self
            .reader()
            .row(
                OPERATION,
                &format!(
                    "{lacking} SELECT CAST(l.storage_id AS bigint) AS count FROM lacking l LIMIT 1"
                ),
                extent(),
            )
            .await?;
        if first.is_none() {
            return Ok(false);
        }
        let now = page.now;
        loop {
            let mut values = extent();
            values.extend(params![
                now.naive_utc(),
                now.timestamp_millis(),
                AWAITED_AT_ONCE
            ]);
            let awaited = self
                .execute(
                    OPERATION,
                    &format!(
                        "{lacking},
                         up(manifest_id, location_id) AS (
                             SELECT mb.manifest_id, l.location_id FROM lacking l JOIN manifestblob mb ON mb.blob_id = l.storage_id
                             UNION
                             SELECT mc.manifest_id, u.location_id FROM up u
                             JOIN manifestchild mc ON mc.child_manifest_id = u.manifest_id)
                         INSERT INTO roadstead_awaited_image (manifest_id, location_id, since, look_at)
                         SELECT u.manifest_id, u.location_id, $5, $5 FROM up u
                         WHERE EXISTS (SELECT 1 FROM tag t WHERE t.manifest_id = u.manifest_id AND NOT t.hidden
                                         AND (t.lifetime_end_ms IS NULL OR t.lifetime_end_ms > $6))
                           AND NOT EXISTS (SELECT 1 FROM roadstead_awaited_image a
                                           WHERE a.manifest_id = u.manifest_id AND a.location_id = u.location_id)
                           AND NOT EXISTS (SELECT 1 FROM roadstead_image_event e
                                           WHERE e.manifest_id = u.manifest_id AND e.location_id = u.location_id)
                         LIMIT $7
                         ON CONFLICT DO NOTHING"
                    ),
                    values,
                )
                .await?;
            // Fewer are all that there were, or somebody else awaits some of them.
            if awaited < AWAITED_AT_ONCE.unsigned_abs() {
                return Ok(true);
            }
        }
    }

    /// Has the images looked at soon that lacked one of these blobs at a location when they were last looked at. It only saves time.
    pub async fn note_arrivals(
        &self,
        arrivals: &[(StorageId, LocationName)],
        now: Timestamp,
    ) -> Result<u64, MetadataError> {
        let members = arrivals.iter().map(
            |(storage, location)| json!({"storage": storage.0, "location": location.as_str()}),
        );
        let members = json_members(members);
        contended(|| {
            self.execute(
                "look at images whose copies have arrived",
                "UPDATE roadstead_awaited_image SET look_at = $2 WHERE id IN (
                     SELECT a.id FROM @texts($1) AS n
                     JOIN imagestoragelocation l ON l.name = @member(n.value, location)
                     JOIN roadstead_awaited_image a
                          ON a.lacks_id = CAST(@member(n.value, storage) AS integer) AND a.location_id = l.id
                     WHERE a.look_at > $2 LIMIT $3)",
                params![members.as_str(), now.naive_utc(), HASTENED_AT_ONCE],
            )
        })
        .await
    }

    /// Looks at the awaited images whose time has come, at most `limit`, in one transaction. Of those that are complete an event is noted, once for an
    /// image and location, and whoever subscribed to it is to be told. Those that no tag points to any more, or that were awaited for
    /// [`IMAGE_EVENTS_KEPT`], are forgotten.
    ///
    /// Any number of processes may do so at once: each has images of its own.
    pub async fn settle_awaited_images(
        &self,
        limit: u32,
        now: Timestamp,
    ) -> Result<SettledImages, MetadataError> {
        contended(|| self.settle_awaited_images_once(limit, now)).await
    }

    async fn settle_awaited_images_once(
        &self,
        limit: u32,
        now: Timestamp,
    ) -> Result<SettledImages, MetadataError> {
        const OPERATION: &str = "look which images have become complete";
        let due: Option<WideRow> = self
            .reader()
            .row(
                OPERATION,
                "SELECT a.id FROM roadstead_awaited_image a WHERE a.look_at <= $1 ORDER BY a.look_at LIMIT 1",
                params![now.naive_utc()],
            )
            .await?;
        if due.is_none() {
            return Ok(SettledImages::default());
        }
        let transaction = self.begin(OPERATION).await?;
        let due: Vec<DueRow> = transaction
            .rows(
                OPERATION,
                "SELECT a.id, a.since, a.manifest_id, a.location_id FROM roadstead_awaited_image a
                 WHERE a.look_at <= $1 ORDER BY a.look_at LIMIT $2 @skip_locked",
                params![now.naive_utc(), limit_column(limit)],
            )
            .await?;
        let images: Vec<_> = due
            .iter()
            .map(|row| (ManifestId(row.manifest_id), LocationId(row.location_id)))
            .collect();
        let lacking = lacking_of_images(&transaction, &images).await?;
        let mut settled = SettledImages {
            looked_at: due.len() as u64,
            ..SettledImages::default()
        };
        // What is complete, or is not there any more.
        let (mut ended, mut given_up, mut put_off) = (Vec::new(), Vec::new(), Vec::new());
        for (place, row) in due.iter().enumerate() {
            let waited = (now - row.since.and_utc()).to_std().unwrap_or_default();
            match lacking.get(&place) {
                None => ended.push(row.id),
                Some(_) if waited >= IMAGE_EVENTS_KEPT => given_up.push(row.id),
                Some(lacks) => {
                    let wait = TimeDelta::from_std(look_again_after(waited)).unwrap_or_default();
                    put_off.push(
                        json!({"id": row.id, "lacks": lacks.0, "at": moment_text(now + wait)})
                            .to_string(),
                    );
                }
            }
        }
        if !ended.is_empty() {
            let events = note_complete(&transaction, &ended, now).await?;
            settled.complete = events.len() as u64;
            settled.deliveries = note_deliveries(&transaction, &events, now).await?;
        }
        ended.extend(given_up);
        if !ended.is_empty() {
            transaction
                .execute(
                    OPERATION,
                    &format!("DELETE FROM roadstead_awaited_image WHERE id IN {WIDE_IDS}"),
                    params![json_wide_ids(ended)],
                )
                .await?;
        }
        if !put_off.is_empty() {
            transaction
                .execute(
                    OPERATION,
                    "UPDATE roadstead_awaited_image SET lacks_id = n.lacks, look_at = n.at
                     FROM (SELECT CAST(@member(x.value, id) AS bigint) AS id, CAST(@member(x.value, lacks) AS integer) AS lacks,
                                  @moment(x.value, at) AS at
                           FROM @texts($1) AS x) AS n
                     WHERE roadstead_awaited_image.id = n.id",
                    params![json_texts(put_off)],
                )
                .await?;
        }
        transaction.commit().await?;
        Ok(settled)
    }

    /// The events behind `after`, in the order in which they were noted; at most `limit`.
    pub async fn image_events(
        &self,
        after: i64,
        limit: u32,
    ) -> Result<Vec<ImageEvent>, MetadataError> {
        let rows: Vec<EventRow> = self
            .reader()
            .rows(
                "list the events of images",
                &format!(
                    "SELECT {EVENT} FROM roadstead_image_event e WHERE e.id > $1 ORDER BY e.id LIMIT $2"
                ),
                params![after, limit_column(limit)],
            )
            .await?;
        rows.into_iter().map(ImageEvent::try_from).collect()
    }

    /// How many images are awaited at each location.
    pub async fn count_awaited_images(&self) -> Result<Vec<(LocationName, u64)>, MetadataError> {
        let rows: Vec<AwaitedRow> = self
            .reader()
            .rows(
                "count the images that are awaited",
                "SELECT l.name AS location, count(*) AS images FROM roadstead_awaited_image a
                 JOIN imagestoragelocation l ON l.id = a.location_id GROUP BY l.name ORDER BY l.name",
                params![],
            )
            .await?;
        rows.into_iter()
            .map(|row| {
                Ok((
                    location_name(&row.location)?,
                    row.images.try_into().unwrap_or_default(),
                ))
            })
            .collect()
    }

    /// Deletes a batch of the events from before a moment, with what nobody could be told of them, and tells how many.
    pub async fn forget_image_events(
        &self,
        before: Timestamp,
        limit: u32,
    ) -> Result<u64, MetadataError> {
        const OPERATION: &str = "delete old events of images";
        let transaction = self.begin(OPERATION).await?;
        let old: Vec<WideRow> = transaction
            .rows(
                OPERATION,
                "SELECT e.id FROM roadstead_image_event e WHERE e.complete_at < $1 ORDER BY e.complete_at LIMIT $2 @skip_locked",
                params![before.naive_utc(), limit_column(limit)],
            )
            .await?;
        if old.is_empty() {
            return Ok(0);
        }
        let ids = json_wide_ids(old.iter().map(|row| row.id));
        for statement in [
            format!("DELETE FROM roadstead_webhook_delivery WHERE event_id IN {WIDE_IDS}"),
            format!("DELETE FROM roadstead_image_event WHERE id IN {WIDE_IDS}"),
        ] {
            transaction
                .execute(OPERATION, &statement, params![ids.as_str()])
                .await?;
        }
        transaction.commit().await?;
        Ok(old.len() as u64)
    }
}

/// Notes that these awaited images are complete, those that a visible tag points to, and returns the new events.
async fn note_complete(
    transaction: &Transaction,
    awaited: &[i64],
    now: Timestamp,
) -> Result<Vec<i64>, MetadataError> {
    const VISIBLE: &str = "t.manifest_id = m.id AND NOT t.hidden AND (t.lifetime_end_ms IS NULL OR t.lifetime_end_ms > $3)";
    let rows: Vec<WideRow> = transaction
        .rows(
            "note that images are complete",
            &format!(
                r#"INSERT INTO roadstead_image_event
                       (kind, manifest_id, location_id, namespace_id, repository, digest, tags, location, since, complete_at)
                   SELECT '{IMAGE_COMPLETE}', m.id, l.id, r.namespace_user_id, u.username || '/' || r.name, m.digest,
                          (SELECT @list(n.name) FROM (
                               SELECT DISTINCT @bytewise(t.name) AS name FROM tag t WHERE {VISIBLE} ORDER BY 1 LIMIT {TAGS_MAX}) n),
                          l.name, a.since, $2
                   FROM roadstead_awaited_image a
                   JOIN manifest m ON m.id = a.manifest_id
                   JOIN repository r ON r.id = m.repository_id
                   JOIN "user" u ON u.id = r.namespace_user_id
                   JOIN imagestoragelocation l ON l.id = a.location_id
                   WHERE a.id IN {WIDE_IDS} AND r.state <> 3 AND EXISTS (SELECT 1 FROM tag t WHERE {VISIBLE})
                     AND NOT EXISTS (SELECT 1 FROM roadstead_hidden_manifest h WHERE h.manifest_id = m.id)
                   ORDER BY a.id
                   ON CONFLICT DO NOTHING RETURNING id"#
            ),
            params![
                json_wide_ids(awaited.iter().copied()),
                now.naive_utc(),
                now.timestamp_millis(),
            ],
        )
        .await?;
    Ok(rows.into_iter().map(|row| row.id).collect())
}

/// Notes for every webhook which of these events it has to deliver.
async fn note_deliveries(
    transaction: &Transaction,
    events: &[i64],
    now: Timestamp,
) -> Result<u64, MetadataError> {
    if events.is_empty() {
        return Ok(0);
    }
    transaction
        .execute(
            "note who is to be told of events",
            &format!(
                "INSERT INTO roadstead_webhook_delivery (webhook_id, event_id, due_at)
                 SELECT w.id, e.id, $2 FROM roadstead_image_event e
                 JOIN roadstead_webhook w ON (w.location = '' OR w.location = e.location)
                                         AND (w.namespace_id = 0 OR w.namespace_id = e.namespace_id)
                 WHERE e.id IN {WIDE_IDS}"
            ),
            params![json_wide_ids(events.iter().copied()), now.naive_utc()],
        )
        .await
}

impl TryFrom<EventRow> for ImageEvent {
    type Error = MetadataError;

    fn try_from(row: EventRow) -> Result<Self, MetadataError> {
        const TABLE: &str = "roadstead_image_event";
        Ok(Self {
            digest: row
                .digest
                .parse()
                .map_err(|error| MetadataError::corrupt(TABLE, "digest", row.id, error))?,
            tags: serde_json::from_str(&row.tags)
                .map_err(|error| MetadataError::corrupt(TABLE, "tags", row.id, error))?,
            location: location_name(&row.location)?,
            id: row.id,
            kind: row.kind,
            repository: row.repository,
            since: row.since.and_utc(),
            complete_at: row.complete_at.and_utc(),
        })
    }
}
