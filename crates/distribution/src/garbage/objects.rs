//! Deletes what one location has still to lose: entries of the durable list, taken under a lease, a few at a time.

use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use roadstead_metadata::{ClaimObjects, DoomedObject, FailedDeletion, LostObjects, MetadataError};
use roadstead_runtime::Timestamp;
use roadstead_storage::{Location, ObjectKey, StorageError};

use super::Inner;
use super::verdict::after_failure;

/// Entries taken at a time: enough that the database is asked a few times a second by a store that deletes a hundred.
const BATCH: u32 = 64;

/// Deletions at a time at one location. A local directory admits its own number; an object store answers each in some 20 ms.
const AT_ONCE: usize = 8;

/// How many batches one call works off.
const BATCHES_MAX: usize = 64;

/// How long a lease lasts. A process that dies with it keeps others from publishing these few keys for so long.
const LEASE: Duration = Duration::from_mins(5);

/// A deletion is begun only while its lease lasts at least this longer: the 30 s that a store has for each of its two steps, and as much again
/// for clocks that differ.
const LEASE_LEFT_MIN: Duration = Duration::from_mins(2);

/// What one call did at a location.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Deleted {
    /// Objects that are gone, or were not there.
    pub(super) objects: u64,
    /// Objects that could not be deleted. They are tried again later.
    pub(super) failures: u64,
    /// Whether the location as a whole did not answer.
    pub(super) unreachable: bool,
}

/// What became of a batch.
#[derive(Debug, Default)]
struct Batch {
    gone: Vec<DoomedObject>,
    untried: Vec<DoomedObject>,
    failed: Vec<(DoomedObject, StorageError)>,
    unreachable: bool,
}

impl Inner {
    /// Deletes what is due at a location, until nothing is or the location does not answer.
    pub(super) async fn delete_due(&self, location: &Location) -> Result<Deleted, MetadataError> {
        let mut deleted = Deleted::default();
        for _ in 0..BATCHES_MAX {
            let now = self.now();
            let claimed = self
                .database
                .claim_doomed_objects(&ClaimObjects {
                    location: location.name(),
                    limit: BATCH,
                    now,
                    lease_until: now + LEASE,
                    token: self.environment.ids.uuid(),
                })
                .await?;
            if claimed.is_empty() {
                break;
            }
            let batch = self.delete(location, claimed).await;
            deleted.objects += batch.gone.len() as u64;
            deleted.failures += batch.failed.len() as u64;
            deleted.unreachable = batch.unreachable;
            self.settle(location, batch).await?;
            if deleted.unreachable {
                break;
            }
        }
        Ok(deleted)
    }

    /// Deletes the objects, a few at a time, until the location does not answer.
    async fn delete(&self, location: &Location, claimed: Vec<DoomedObject>) -> Batch {
        let mut batch = Batch::default();
        let mut waiting = claimed.into_iter();
        let mut running = FuturesUnordered::new();
        loop {
            while !batch.unreachable && running.len() < AT_ONCE {
                let Some(object) = waiting.next() else { break };
                if object.lease_until - LEASE_LEFT_MIN < self.now() {
                    batch.untried.push(object);
                    continue;
                }
                running.push(async move {
                    let key = ObjectKey::Blob(object.digest.clone());
                    let deleted = location.delete(&key).await;
                    (object, deleted)
                });
            }
            match running.next().await {
                None => break,
                Some((object, Ok(()))) => batch.gone.push(object),
                Some((object, Err(error))) => {
                    batch.unreachable |=
                        after_failure(error.kind(), object.attempts, 0.0).whole_location;
                    batch.failed.push((object, error));
                }
            }
        }
        batch.untried.extend(waiting);
        batch
    }

    /// Writes down what became of a batch.
    async fn settle(&self, location: &Location, batch: Batch) -> Result<(), MetadataError> {
        let now = self.now();
        let placed = self
            .database
            .complete_doomed_objects(location.name(), &batch.gone)
            .await?;
        if !placed.is_empty() {
            tracing::error!(
                location.id = %location.name(),
                blobs = placed.len(),
                "Another program recorded {} blobs at location {} while their objects were being deleted there; they are copied there again \
                 from elsewhere, or have to be pushed again",
                placed.len(),
                location.name(),
            );
            self.database
                .report_lost(&LostObjects {
                    location: location.name(),
                    storages: &placed,
                    reason: "the object was deleted as garbage while another program recorded it",
                    queue: &self.options.replication_queue,
                    ids: self.environment.ids.as_ref(),
                    now,
                })
                .await?;
        }
        self.database.return_doomed_objects(&batch.untried).await?;
        for (object, error) in &batch.failed {
            self.postpone(object, error, now).await?;
        }
        Ok(())
    }

    async fn postpone(
        &self,
        object: &DoomedObject,
        error: &StorageError,
        now: Timestamp,
    ) -> Result<(), MetadataError> {
        let verdict = after_failure(
            error.kind(),
            object.attempts.saturating_add(1),
            self.environment.ids.fraction(),
        );
        tracing::warn!(
            location.id = %error.location(),
            blob.digest = %object.digest,
            error = error as &dyn std::error::Error,
            "Could not delete the object of {} at location {}; trying again later",
            object.digest,
            error.location(),
        );
        self.database
            .postpone_doomed_object(
                object,
                &FailedDeletion {
                    failure: &reason(error),
                    not_before: now + verdict.retry_after,
                    closed_until: verdict.closed_for.map(|closed_for| now + closed_for),
                    now,
                },
            )
            .await
    }
}

/// An error with its causes in one line.
fn reason(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text.replace(['\n', '\r'], " ")
}
