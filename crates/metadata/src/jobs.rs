//! The rows of Quay's `queueitem`: taken under a lease, finished, or put off.
//!
//! A lease is Quay's: the row is not available until `processing_expires`, and `state_id` changes with every claim, so that a worker whose lease
//! ran out can no longer change a row that another has taken. Unlike Quay's workers we never count retries down and take rows that have none left:
//! a job ends when its work is done or no longer wanted, not because it was unlucky.

use roadstead_placement::{FailureClass, LocationName};
use roadstead_runtime::Timestamp;
use uuid::Uuid;

use crate::database::{
    Connection, Counted, Database, Identified, Transaction, json_ids, json_texts, params,
};
use crate::error::MetadataError;
use crate::ids::JobId;
use crate::locations::limit_column;
use crate::row::FromRow;

/// A job that this worker holds the lease of.
#[derive(Clone, Debug)]
pub struct Job {
    /// Its row.
    pub id: JobId,
    /// What proves the lease.
    pub token: String,
    /// Its queue and subject, such as `imagestoragereplication/<uuid>/`.
    pub name: String,
    /// What is to be done, as it was written.
    pub body: String,
    /// The location that lacks the blob; none in a row that Quay made, which means every location that lacks it.
    pub target: Option<LocationName>,
    /// How often it was tried and put off.
    pub attempts: u32,
    /// Since when it is wanted; none in a row that Quay made.
    pub wanted_since: Option<Timestamp>,
    /// The trace of what wanted it, in the form of W3C's `traceparent`, if it belongs to one.
    pub trace: Option<String>,
}

/// Which jobs to take, and for how long.
#[derive(Clone, Debug)]
pub struct ClaimJobs<'a> {
    /// The queue's name: rows are named `<queue>/...`.
    pub queue: &'a str,
    /// How many at most.
    pub limit: u32,
    /// Now.
    pub now: Timestamp,
    /// When the lease ends unless it is extended.
    pub lease_until: Timestamp,
    /// Makes the leases' tokens unique.
    pub token: Uuid,
}

#[derive(Debug, FromRow)]
pub(crate) struct JobRow {
    pub(crate) id: i32,
    queue_name: String,
    body: String,
    state_id: String,
}

impl JobRow {
    pub(crate) fn without_copy(self) -> Job {
        Job {
            id: JobId(self.id),
            token: self.state_id,
            name: self.queue_name,
            body: self.body,
            target: None,
            attempts: 0,
            wanted_since: None,
            trace: None,
        }
    }
}

/// How often the region of a location tries to make its copies before they are anybody's.
const HOME_ATTEMPTS_MAX: i32 = 3;

/// What is due of a queue. Two searches, because one index cannot serve both: what waits for its time, and what was taken and not finished. Each is
/// sorted as the index is. A row that Quay's worker put off is taken when the lease that it had is over.
const DUE: &str = "
    SELECT due.id FROM (
        SELECT waiting.id, waiting.available_after FROM (
            SELECT id, available_after FROM queueitem
            WHERE processing_expires IS NULL AND available AND available_after <= $2
              AND @prefix(queue_name, $1 || '/')
            ORDER BY processing_expires, available_after LIMIT $5 @skip_locked) AS waiting
        UNION ALL
        SELECT taken.id, taken.available_after FROM (
            SELECT id, available_after FROM queueitem
            WHERE processing_expires <= $2 AND available_after <= $2
              AND @prefix(queue_name, $1 || '/')
            ORDER BY processing_expires, available_after LIMIT $5 @skip_locked) AS taken) AS due
    ORDER BY due.available_after, due.id LIMIT $5";

/// What is due of a queue with these rows, `$6`: the few of a short queue are not looked for among the many of the others.
const DUE_OF_ROWS: &str = "
    SELECT due.id FROM (
        SELECT id FROM queueitem
        WHERE id IN @ids($6) AND @prefix(queue_name, $1 || '/') AND available_after <= $2
          AND (processing_expires <= $2 OR (processing_expires IS NULL AND available))
        ORDER BY available_after, id LIMIT $5 @skip_locked) AS due";

impl Database {
    /// Takes jobs that are due or whose lease ran out, those that have been due the longest first. Deletions are found by their markers: a row of
    /// their queues that no marker names is nothing to be done. Copies have a search of their own, [`Database::claim_copies`].
    pub async fn claim_jobs(&self, claim: &ClaimJobs<'_>) -> Result<Vec<Job>, MetadataError> {
        const OPERATION: &str = "take jobs from the queue";
        let mut values = params![
            claim.queue,
            claim.now.naive_utc(),
            claim.lease_until.naive_utc(),
            claim.token.to_string(),
            limit_column(claim.limit),
        ];
        let due = match self.queued_deletions(claim.queue).await? {
            Some(rows) => {
                values.extend(params![json_ids(rows)]);
                DUE_OF_ROWS
            }
            None => DUE,
        };
        let transaction = self.begin(OPERATION).await?;
        let rows: Vec<JobRow> = transaction
            .rows(
                OPERATION,
                &format!(
                    "UPDATE queueitem
                     SET available = false, processing_expires = $3, state_id = $4 || '-' || CAST(id AS varchar)
                     WHERE id IN ({due})
                     RETURNING id, queue_name, body, state_id"
                ),
                values,
            )
            .await?;
        transaction.commit().await?;
        Ok(rows.into_iter().map(JobRow::without_copy).collect())
    }

    /// Moves the end of leases. Says whether all of them are held still; if not, none of those that are lost was changed.
    pub async fn extend_jobs(
        &self,
        jobs: &[Job],
        lease_until: Timestamp,
    ) -> Result<bool, MetadataError> {
        const OPERATION: &str = "extend leases";
        let transaction = self.begin(OPERATION).await?;
        let held: Vec<Identified> = transaction
            .rows(
                OPERATION,
                // A state id ends with the row's id, so that one text cannot stand for two rows.
                "UPDATE queueitem SET processing_expires = $3
                 WHERE id IN @ids($1) AND state_id IN @texts($2) RETURNING id",
                params![
                    json_ids(jobs.iter().map(|job| job.id.0)),
                    json_texts(jobs.iter().map(|job| job.token.as_str())),
                    lease_until.naive_utc()
                ],
            )
            .await?;
        set_due(&transaction, held.iter().map(|row| row.id), lease_until).await?;
        transaction.commit().await?;
        Ok(held.len() == jobs.len())
    }

    /// Ends a job, done or no longer wanted. False when the lease was lost: nothing is changed then.
    pub async fn complete_job(&self, job: &Job) -> Result<bool, MetadataError> {
        const OPERATION: &str = "finish a job";
        let transaction = self.begin(OPERATION).await?;
        let deleted = transaction
            .execute(
                OPERATION,
                "DELETE FROM queueitem WHERE id = $1 AND state_id = $2",
                params![job.id.0, job.token.as_str()],
            )
            .await?;
        if deleted == 1 {
            transaction
                .execute(
                    OPERATION,
                    "DELETE FROM roadstead_copy WHERE queueitem_id = $1",
                    params![job.id.0],
                )
                .await?;
        }
        transaction.commit().await?;
        Ok(deleted == 1)
    }

    /// Puts a job off after a failure, whose reason and class are kept. False when the lease was lost: nothing is changed then.
    ///
    /// A copy that its own region has failed to make several times is anybody's from then on: another region may reach both ends.
    pub async fn postpone_job(
        &self,
        job: &Job,
        until: Timestamp,
        failure: &str,
        class: FailureClass,
        now: Timestamp,
    ) -> Result<bool, MetadataError> {
        const OPERATION: &str = "put a job off";
        let transaction = self.begin(OPERATION).await?;
        let released = release(&transaction, job, until).await?;
        if released {
            transaction
                .execute(
                    OPERATION,
                    "UPDATE roadstead_copy
                     SET attempts = attempts + 1, last_attempt = $2, last_failure = $3, failure_class = $4,
                         home = CASE WHEN attempts + 1 >= $5 THEN 0 ELSE home END
                     WHERE queueitem_id = $1",
                    params![
                        job.id.0,
                        now.naive_utc(),
                        failure,
                        class.as_str(),
                        HOME_ATTEMPTS_MAX
                    ],
                )
                .await?;
        }
        transaction.commit().await?;
        Ok(released)
    }

    /// Gives a job back untried, as when the worker stops. False when the lease was lost.
    pub async fn return_job(&self, job: &Job, now: Timestamp) -> Result<bool, MetadataError> {
        let transaction = self.begin("give a job back").await?;
        let released = release(&transaction, job, now).await?;
        transaction.commit().await?;
        Ok(released)
    }

    /// Makes jobs that were put off due now, at most `limit`, first those that would have been due first. Says how many.
    pub async fn hasten_jobs(
        &self,
        queue: &str,
        limit: u32,
        now: Timestamp,
    ) -> Result<u64, MetadataError> {
        const OPERATION: &str = "make jobs due that were put off";
        let transaction = self.begin(OPERATION).await?;
        let hastened: Vec<Identified> = transaction
            .rows(
                OPERATION,
                "UPDATE queueitem SET available_after = $2
                 WHERE id IN (
                    SELECT id FROM queueitem
                    WHERE processing_expires IS NULL AND available AND available_after > $2
                      AND @prefix(queue_name, $1 || '/')
                    ORDER BY processing_expires, available_after LIMIT $3 @skip_locked)
                 RETURNING id",
                params![queue, now.naive_utc(), limit_column(limit)],
            )
            .await?;
        make_ready(&transaction, hastened.iter().map(|row| row.id)).await?;
        transaction.commit().await?;
        Ok(hastened.len() as u64)
    }

    /// How many jobs the queue holds, waiting and leased.
    pub async fn count_jobs(&self, queue: &str) -> Result<u64, MetadataError> {
        let row: Option<Counted> = self
            .reader()
            .row(
                "count the jobs of a queue",
                "SELECT count(*) AS count FROM queueitem WHERE @prefix(queue_name, $1 || '/')",
                params![queue],
            )
            .await?;
        Ok(row.map_or(0, |row| row.count.try_into().unwrap_or_default()))
    }
}

/// Notes that the copies of these rows may be taken now.
pub(crate) async fn make_ready(
    connection: &Transaction,
    rows: impl IntoIterator<Item = i32>,
) -> Result<(), MetadataError> {
    connection
        .execute(
            "make jobs due that were put off",
            "UPDATE roadstead_copy SET ready = true, due = NULL WHERE queueitem_id IN @ids($1)",
            params![json_ids(rows)],
        )
        .await?;
    Ok(())
}

async fn release(
    connection: &Transaction,
    job: &Job,
    until: Timestamp,
) -> Result<bool, MetadataError> {
    let changed = connection
        .execute(
            "give a lease back",
            "UPDATE queueitem SET available = true, processing_expires = NULL, available_after = $3
             WHERE id = $1 AND state_id = $2",
            params![job.id.0, job.token.as_str(), until.naive_utc()],
        )
        .await?;
    if changed == 1 && job.target.is_some() {
        set_due(connection, [job.id.0], until).await?;
    }
    Ok(changed == 1)
}

/// Copies that are not ready are looked at again when their rows of the queue are.
async fn set_due(
    connection: &Transaction,
    rows: impl IntoIterator<Item = i32>,
    until: Timestamp,
) -> Result<(), MetadataError> {
    connection
        .execute(
            "note when copies are due",
            "UPDATE roadstead_copy SET ready = false, due = $2 WHERE queueitem_id IN @ids($1)",
            params![json_ids(rows), until.naive_utc()],
        )
        .await
        .map(drop)
}
