//! Who is told of events, and what each has still to be told.
//!
//! A delivery is a row until it was taken or given up. The lease is on the webhook, so that one process at a time delivers to it, and a receiver
//! that hangs holds nobody else's deliveries up.

use std::fmt;

use chrono::NaiveDateTime;
use roadstead_placement::LocationName;
use roadstead_runtime::Timestamp;
use serde_json::json;
use uuid::Uuid;

use crate::database::{
    Connection, Counted, Database, Lock, WIDE_IDS, contended, json_texts, json_wide_ids, params,
};
use crate::dialect::moment_text;
use crate::error::MetadataError;
use crate::ids::UserId;
use crate::image_events::{EVENT, EventRow, ImageEvent};
use crate::locations::{limit_column, location_name};
use crate::row::FromRow;
use crate::uploads::bytes_column;

/// The most webhooks there may be: every event is compared with all of them.
const WEBHOOKS_MAX: i64 = 100;

/// How many rows one statement deletes with their webhook.
const FORGOTTEN_AT_ONCE: i64 = 5_000;

/// Who is to be told, and of what.
pub struct NewWebhook<'a> {
    /// The address as it is kept, which may be encrypted.
    pub url: &'a str,
    /// The address as it may be shown.
    pub shown: &'a str,
    /// The secret as it is kept.
    pub secret: Option<&'a str>,
    /// Only of what happens at this location.
    pub location: Option<&'a LocationName>,
    /// Only of what happens to repositories of this namespace.
    pub namespace: Option<UserId>,
    /// Now.
    pub now: Timestamp,
}

impl fmt::Debug for NewWebhook<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("NewWebhook")
            .field("shown", &self.shown)
            .finish_non_exhaustive()
    }
}

/// A webhook, and how it fares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Webhook {
    /// Its number.
    pub id: i64,
    /// Its address as it may be shown.
    pub shown: String,
    /// Whether what it is sent is signed.
    pub signed: bool,
    /// Only what happens at this location.
    pub location: Option<LocationName>,
    /// Only what happens to repositories of this namespace: its name, or its number if it is gone.
    pub namespace: Option<String>,
    /// Since when there is it.
    pub created_at: Timestamp,
    /// What it has still to be told.
    pub pending: u64,
    /// What it has taken.
    pub delivered: u64,
    /// What it did not take in time.
    pub given_up: u64,
    /// When it last took something.
    pub last_delivered: Option<Timestamp>,
    /// Why the last attempt failed that did.
    pub last_failure: Option<String>,
    /// When that was.
    pub last_failed: Option<Timestamp>,
    /// Until when it is left alone, because it took nothing lately.
    pub rests_until: Option<Timestamp>,
}

/// That this process alone delivers to a webhook, until the lease ends, and what is to be delivered.
pub struct WebhookLease {
    /// Its number.
    pub id: i64,
    /// Its address as it is kept.
    pub url: String,
    /// Its secret as it is kept.
    pub secret: Option<String>,
    /// How many times in a row it took nothing at all.
    pub failures: u32,
    /// What is due, the oldest first.
    pub deliveries: Vec<Delivery>,
    token: String,
}

impl fmt::Debug for WebhookLease {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("WebhookLease")
            .field("id", &self.id)
            .field("failures", &self.failures)
            .field("deliveries", &self.deliveries)
            .finish_non_exhaustive()
    }
}

/// An event that somebody has still to be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// The row.
    pub id: i64,
    /// The event.
    pub event: ImageEvent,
    /// The attempts that failed.
    pub attempts: u32,
}

/// How the deliveries of a lease ended. Those of which nothing is said stay due.
#[derive(Clone, Debug, Default)]
pub struct DeliveriesEnded {
    /// Those that were taken.
    pub delivered: Vec<i64>,
    /// Those that are not tried again.
    pub given_up: Vec<i64>,
    /// Those that failed, and when they are tried again.
    pub put_off: Vec<(i64, Timestamp)>,
    /// Why the last one failed that did.
    pub failure: Option<String>,
    /// Until when the webhook is left alone: it took nothing at all.
    pub rests_until: Option<Timestamp>,
}

#[derive(Debug, FromRow)]
struct WebhookRow {
    id: i64,
    shown: String,
    signed: bool,
    location: String,
    namespace_id: i32,
    namespace: Option<String>,
    created_at: NaiveDateTime,
    pending: i64,
    delivered: i64,
    given_up: i64,
    last_delivered: Option<NaiveDateTime>,
    last_failure: Option<String>,
    last_failed: Option<NaiveDateTime>,
    rests_until: Option<NaiveDateTime>,
}

#[derive(FromRow)]
struct LeasedRow {
    id: i64,
    url: String,
    secret: Option<String>,
    failures: i32,
}

#[derive(Debug, FromRow)]
struct DeliveryRow {
    delivery_id: i64,
    attempts: i32,
}

#[derive(Debug, FromRow)]
struct WideRow {
    id: i64,
}

/// Whether webhook `w` can be delivered to and has anything due, at `$1`. That is looked up for each of them, whatever the planner thinks.
const READY: &str = "(w.lease_until IS NULL OR w.lease_until <= $1) AND (w.rests_until IS NULL OR w.rests_until <= $1)
    AND (SELECT d.id FROM roadstead_webhook_delivery d
         WHERE d.webhook_id = w.id AND d.due_at <= $1 ORDER BY d.due_at LIMIT 1) IS NOT NULL";

impl Database {
    /// Has somebody told of all events from now on, and returns the number of the webhook.
    ///
    /// # Errors
    /// [`MetadataError::Conflict`] when there are too many.
    pub async fn add_webhook(&self, new: &NewWebhook<'_>) -> Result<i64, MetadataError> {
        contended(|| self.add_webhook_once(new)).await
    }

    async fn add_webhook_once(&self, new: &NewWebhook<'_>) -> Result<i64, MetadataError> {
        const OPERATION: &str = "add a webhook";
        let transaction = self.begin(OPERATION).await?;
        transaction.lock(Lock::webhooks()).await?;
        let count: Option<Counted> = transaction
            .row(
                OPERATION,
                "SELECT count(*) AS count FROM roadstead_webhook",
                params![],
            )
            .await?;
        if count.is_some_and(|row| row.count >= WEBHOOKS_MAX) {
            return Err(MetadataError::Conflict {
                what: format!("there are {WEBHOOKS_MAX} webhooks already; remove one first"),
            });
        }
        let row: Option<WideRow> = transaction
            .row(
                OPERATION,
                "INSERT INTO roadstead_webhook (url, shown, secret, location, namespace_id, created_at)
                 VALUES ($1, $2, $3, $4, $5, $6) RETURNING id",
                params![
                    new.url,
                    new.shown,
                    new.secret.map(str::to_owned),
                    new.location.map_or("", LocationName::as_str),
                    new.namespace.map_or(0, |namespace| namespace.0),
                    new.now.naive_utc(),
                ],
            )
            .await?;
        transaction.commit().await?;
        Ok(row.map_or(0, |row| row.id))
    }

    /// Every webhook, the oldest first.
    pub async fn webhooks(&self) -> Result<Vec<Webhook>, MetadataError> {
        let rows: Vec<WebhookRow> = self
            .reader()
            .rows(
                "list webhooks",
                r#"SELECT w.id, w.shown, w.secret IS NOT NULL AS signed, w.location, w.namespace_id, u.username AS namespace,
                          w.created_at, COALESCE(d.pending, 0) AS pending, w.delivered, w.given_up, w.last_delivered,
                          w.last_failure, w.last_failed, w.rests_until
                   FROM roadstead_webhook w
                   LEFT JOIN "user" u ON u.id = w.namespace_id
                   LEFT JOIN (SELECT webhook_id, count(*) AS pending FROM roadstead_webhook_delivery GROUP BY webhook_id) d
                          ON d.webhook_id = w.id
                   ORDER BY w.id"#,
                params![],
            )
            .await?;
        rows.into_iter().map(Webhook::try_from).collect()
    }

    /// Removes a webhook with what it has still to be told. False if there is none of this number.
    ///
    /// Dropped in the middle, it leaves deliveries that nobody makes and that go with their events.
    pub async fn remove_webhook(&self, id: i64) -> Result<bool, MetadataError> {
        const OPERATION: &str = "remove a webhook";
        let removed = self
            .execute(
                OPERATION,
                "DELETE FROM roadstead_webhook WHERE id = $1",
                params![id],
            )
            .await?;
        loop {
            let forgotten = self
                .execute(
                    OPERATION,
                    "DELETE FROM roadstead_webhook_delivery WHERE id IN (
                         SELECT d.id FROM roadstead_webhook_delivery d WHERE d.webhook_id = $1 LIMIT $2)",
                    params![id, FORGOTTEN_AT_ONCE],
                )
                .await?;
            if forgotten < FORGOTTEN_AT_ONCE.unsigned_abs() {
                return Ok(removed > 0);
            }
        }
    }

    /// Takes one webhook that has something due, the one that was taken longest ago, with at most `limit` deliveries.
    pub async fn claim_webhook(
        &self,
        limit: u32,
        token: Uuid,
        lease_until: Timestamp,
        now: Timestamp,
    ) -> Result<Option<WebhookLease>, MetadataError> {
        contended(|| self.claim_webhook_once(limit, token, lease_until, now)).await
    }

    async fn claim_webhook_once(
        &self,
        limit: u32,
        token: Uuid,
        lease_until: Timestamp,
        now: Timestamp,
    ) -> Result<Option<WebhookLease>, MetadataError> {
        const OPERATION: &str = "take what a webhook is to be told";
        let ready: Option<WideRow> = self
            .reader()
            .row(
                OPERATION,
                &format!("SELECT w.id FROM roadstead_webhook w WHERE {READY} LIMIT 1"),
                params![now.naive_utc()],
            )
            .await?;
        if ready.is_none() {
            return Ok(None);
        }
        let token = token.to_string();
        let transaction = self.begin(OPERATION).await?;
        let leased: Option<LeasedRow> = transaction
            .row(
                OPERATION,
                &format!(
                    "UPDATE roadstead_webhook SET lease_until = $2, lease_token = $3 WHERE id = (
                         SELECT w.id FROM roadstead_webhook w WHERE {READY}
                         ORDER BY COALESCE(w.lease_until, w.created_at), w.id LIMIT 1 @skip_locked)
                     RETURNING id, url, secret, failures"
                ),
                params![now.naive_utc(), lease_until.naive_utc(), token.as_str()],
            )
            .await?;
        let Some(leased) = leased else {
            return Ok(None);
        };
        let due: Vec<DeliveryRow> = transaction
            .rows(
                OPERATION,
                "SELECT d.id AS delivery_id, d.attempts FROM roadstead_webhook_delivery d
                 WHERE d.webhook_id = $1 AND d.due_at <= $2 ORDER BY d.due_at LIMIT $3",
                params![leased.id, now.naive_utc(), limit_column(limit)],
            )
            .await?;
        let events: Vec<EventOfRow> = transaction
            .rows(
                OPERATION,
                &format!(
                    "SELECT d.id AS delivery_id, {EVENT} FROM roadstead_webhook_delivery d
                     JOIN roadstead_image_event e ON e.id = d.event_id WHERE d.id IN {WIDE_IDS}"
                ),
                params![json_wide_ids(due.iter().map(|row| row.delivery_id))],
            )
            .await?;
        transaction.commit().await?;
        let mut deliveries = Vec::new();
        for EventOfRow { delivery_id, event } in events {
            let attempts = due
                .iter()
                .find(|row| row.delivery_id == delivery_id)
                .map_or(0, |row| row.attempts);
            deliveries.push(Delivery {
                id: delivery_id,
                event: event.try_into()?,
                attempts: attempts.try_into().unwrap_or_default(),
            });
        }
        deliveries.sort_by_key(|delivery| delivery.event.id);
        Ok(Some(WebhookLease {
            id: leased.id,
            url: leased.url,
            secret: leased.secret,
            failures: leased.failures.try_into().unwrap_or_default(),
            deliveries,
            token,
        }))
    }

    /// Notes how deliveries ended, and gives the lease back. False, and nothing is noted, when the lease was lost or the webhook removed.
    pub async fn end_deliveries(
        &self,
        lease: &WebhookLease,
        ended: &DeliveriesEnded,
        now: Timestamp,
    ) -> Result<bool, MetadataError> {
        contended(|| self.end_deliveries_once(lease, ended, now)).await
    }

    async fn end_deliveries_once(
        &self,
        lease: &WebhookLease,
        ended: &DeliveriesEnded,
        now: Timestamp,
    ) -> Result<bool, MetadataError> {
        const OPERATION: &str = "note what a webhook was told";
        let transaction = self.begin(OPERATION).await?;
        let count = |ids: &[i64]| bytes_column(ids.len() as u64);
        let held = transaction
            .execute(
                OPERATION,
                "UPDATE roadstead_webhook
                 SET lease_until = $3, lease_token = NULL, delivered = delivered + $4, given_up = given_up + $5,
                     last_delivered = CASE WHEN $4 > 0 THEN $3 ELSE last_delivered END,
                     last_failure = COALESCE($6, last_failure),
                     last_failed = CASE WHEN $6 IS NULL THEN last_failed ELSE $3 END,
                     failures = CASE WHEN $7 IS NULL THEN 0 ELSE failures + 1 END,
                     rests_until = $7
                 WHERE id = $1 AND lease_token = $2",
                params![
                    lease.id,
                    lease.token.as_str(),
                    now.naive_utc(),
                    count(&ended.delivered),
                    count(&ended.given_up),
                    ended.failure.clone(),
                    ended.rests_until.map(|until| until.naive_utc()),
                ],
            )
            .await?;
        if held == 0 {
            return Ok(false);
        }
        let over = ended.delivered.iter().chain(&ended.given_up).copied();
        transaction
            .execute(
                OPERATION,
                &format!("DELETE FROM roadstead_webhook_delivery WHERE id IN {WIDE_IDS}"),
                params![json_wide_ids(over)],
            )
            .await?;
        if !ended.put_off.is_empty() {
            let put_off = ended
                .put_off
                .iter()
                .map(|(id, at)| json!({"id": id, "at": moment_text(*at)}).to_string());
            transaction
                .execute(
                    OPERATION,
                    "UPDATE roadstead_webhook_delivery SET attempts = attempts + 1, due_at = n.at
                     FROM (SELECT CAST(@member(x.value, id) AS bigint) AS id, @moment(x.value, at) AS at
                           FROM @texts($1) AS x) AS n
                     WHERE roadstead_webhook_delivery.id = n.id",
                    params![json_texts(put_off)],
                )
                .await?;
        }
        transaction.commit().await?;
        Ok(true)
    }
}

/// A delivery with its event.
#[derive(FromRow)]
struct EventOfRow {
    delivery_id: i64,
    event: EventRow,
}

impl TryFrom<WebhookRow> for Webhook {
    type Error = MetadataError;

    fn try_from(row: WebhookRow) -> Result<Self, MetadataError> {
        let count = |number: i64| number.try_into().unwrap_or_default();
        let time = |time: Option<NaiveDateTime>| time.map(|time| time.and_utc());
        Ok(Self {
            location: match row.location.as_str() {
                "" => None,
                name => Some(location_name(name)?),
            },
            namespace: (row.namespace_id != 0).then(|| {
                row.namespace
                    .unwrap_or_else(|| row.namespace_id.to_string())
            }),
            id: row.id,
            shown: row.shown,
            signed: row.signed,
            created_at: row.created_at.and_utc(),
            pending: count(row.pending),
            delivered: count(row.delivered),
            given_up: count(row.given_up),
            last_delivered: time(row.last_delivered),
            last_failure: row.last_failure,
            last_failed: time(row.last_failed),
            rests_until: time(row.rests_until),
        })
    }
}
