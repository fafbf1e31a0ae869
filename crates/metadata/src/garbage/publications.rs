//! Publications: who is about to make an object appear, noted before it does, so that nobody deletes it meanwhile.
//!
//! Of every key at a location that may hold bytes, the database knows why: a placement, a publication, or a doomed object. Each change from
//! one to another is one transaction under [`Lock::blob`], so that a process may die between any two steps and leaves either an object that
//! is recorded or one that is going to be deleted.

use chrono::NaiveDateTime;
use roadstead_oci::Digest;
use roadstead_placement::LocationName;
use roadstead_runtime::Timestamp;
use sea_orm::FromQueryResult;

use super::objects::{PLACED, PUBLISHED};
use crate::database::{
    Connection, Counted, Database, Lock, Transaction, WIDE_IDS, contended, json_wide_ids, params,
};
use crate::error::MetadataError;
use crate::locations::limit_column;

/// Leave to make the object of a digest appear at a location. It ends with [`Database::commit_blob`] or [`Database::record_copy`]; one that
/// does not, because its process died, is ended by [`Database::end_lapsed_publications`].
#[derive(Debug)]
pub struct Publication {
    id: i64,
    digest: Digest,
    location: LocationName,
}

impl Publication {
    /// What the bytes must have been found to hash to.
    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    /// Where the object will be.
    pub fn location(&self) -> &LocationName {
        &self.location
    }
}

/// What became of [`Database::begin_publication`].
#[derive(Debug)]
pub enum Publishing {
    /// Go on: until the publication ends, the object stays.
    Begun(Publication),
    /// An object of this digest is being deleted there at this moment. Try again shortly.
    BeingDeleted,
}

impl Publishing {
    /// The publication, if it began.
    pub fn begun(self) -> Option<Publication> {
        match self {
            Self::Begun(publication) => Some(publication),
            Self::BeingDeleted => None,
        }
    }
}

#[derive(Debug, FromQueryResult)]
struct Begun {
    id: i64,
}

#[derive(Debug, FromQueryResult)]
struct Lapsed {
    id: i64,
    digest: String,
}

#[derive(Debug, FromQueryResult)]
struct NextLapse {
    at: Option<NaiveDateTime>,
}

impl Database {
    /// Notes that the object of a digest is about to appear at a location. An object that is there and was to be deleted stays. `until` is
    /// when a publication of which nothing more was heard counts as given up.
    pub async fn begin_publication(
        &self,
        digest: &Digest,
        location: &LocationName,
        until: Timestamp,
        now: Timestamp,
    ) -> Result<Publishing, MetadataError> {
        contended(|| self.begin_publication_once(digest, location, until, now)).await
    }

    async fn begin_publication_once(
        &self,
        digest: &Digest,
        location: &LocationName,
        until: Timestamp,
        now: Timestamp,
    ) -> Result<Publishing, MetadataError> {
        const OPERATION: &str = "note that an object is about to appear";
        let text = digest.to_string();
        let transaction = self.begin(OPERATION).await?;
        transaction.lock(Lock::blob(&text)).await?;
        transaction
            .execute(
                OPERATION,
                "DELETE FROM roadstead_doomed_object
                 WHERE digest = $1 AND location = $2 AND (lease_until IS NULL OR lease_until <= $3)",
                params![text.as_str(), location.as_str(), now.naive_utc()],
            )
            .await?;
        let leased: Option<Counted> = transaction
            .row(
                OPERATION,
                "SELECT count(*) AS count FROM roadstead_doomed_object WHERE digest = $1 AND location = $2",
                params![text.as_str(), location.as_str()],
            )
            .await?;
        if leased.is_some_and(|row| row.count > 0) {
            return Ok(Publishing::BeingDeleted);
        }
        let row: Option<Begun> = transaction
            .row(
                OPERATION,
                "INSERT INTO roadstead_publication (digest, location, expires_at) VALUES ($1, $2, $3) RETURNING id",
                params![text.as_str(), location.as_str(), until.naive_utc()],
            )
            .await?;
        transaction.commit().await?;
        Ok(Publishing::Begun(Publication {
            id: row.map_or(0, |row| row.id),
            digest: digest.clone(),
            location: location.clone(),
        }))
    }

    /// Ends a publication that came to nothing. What may lie at the key is doomed, unless it is wanted for another reason.
    pub async fn withdraw_publication(
        &self,
        publication: Publication,
        now: Timestamp,
    ) -> Result<(), MetadataError> {
        const OPERATION: &str = "end a publication that came to nothing";
        contended(|| async {
            let transaction = self.begin(OPERATION).await?;
            transaction
                .lock(Lock::blob(publication.digest.as_str()))
                .await?;
            give_up(&transaction, &publication, now).await?;
            transaction.commit().await
        })
        .await
    }

    /// Ends publications of which nothing was heard until they lapsed, at most `limit`, as [`Database::withdraw_publication`] does. Tells
    /// how many.
    pub async fn end_lapsed_publications(
        &self,
        now: Timestamp,
        limit: u32,
    ) -> Result<u64, MetadataError> {
        contended(|| self.end_lapsed_publications_once(now, limit)).await
    }

    async fn end_lapsed_publications_once(
        &self,
        now: Timestamp,
        limit: u32,
    ) -> Result<u64, MetadataError> {
        const OPERATION: &str = "end publications of which nothing was heard";
        let next: Option<NextLapse> = self
            .reader()
            .row(
                OPERATION,
                "SELECT min(expires_at) AS at FROM roadstead_publication",
                params![],
            )
            .await?;
        if next
            .and_then(|row| row.at)
            .is_none_or(|at| at > now.naive_utc())
        {
            return Ok(0);
        }
        let transaction = self.begin(OPERATION).await?;
        let lapsed: Vec<Lapsed> = transaction
            .rows(
                OPERATION,
                "SELECT id, digest FROM roadstead_publication
                 WHERE expires_at <= $1 ORDER BY expires_at, id LIMIT $2",
                params![now.naive_utc(), limit_column(limit)],
            )
            .await?;
        transaction
            .lock_all(lapsed.iter().map(|row| Lock::blob(&row.digest)))
            .await?;
        let ids = json_wide_ids(lapsed.iter().map(|row| row.id));
        transaction
            .execute(
                OPERATION,
                &format!(
                    "INSERT INTO roadstead_doomed_object (digest, location, since, not_before)
                     SELECT d.digest, d.location, $2, $2 FROM roadstead_publication d
                     WHERE d.id IN {WIDE_IDS} AND NOT {PLACED}
                       AND NOT EXISTS (SELECT 1 FROM roadstead_publication o
                                       WHERE o.digest = d.digest AND o.location = d.location AND o.id NOT IN {WIDE_IDS})
                     GROUP BY d.digest, d.location ON CONFLICT DO NOTHING"
                ),
                params![ids.as_str(), now.naive_utc()],
            )
            .await?;
        let ended = end(&transaction, ids).await?;
        transaction.commit().await?;
        Ok(ended)
    }
}

/// Takes a publication away because its object is being recorded. False when it had lapsed: then nothing may be recorded, because nothing
/// has kept the object there since. Under [`Lock::blob`].
pub(crate) async fn consume(
    transaction: &Transaction,
    publication: &Publication,
) -> Result<bool, MetadataError> {
    Ok(end(transaction, json_wide_ids([publication.id])).await? == 1)
}

/// Why nothing was recorded.
pub(crate) fn lapsed(publication: &Publication) -> MetadataError {
    MetadataError::Conflict {
        what: format!(
            "too much time passed before the object of {} at location `{}` could be recorded; send it again",
            publication.digest(),
            publication.location()
        ),
    }
}

/// Ends a publication whose object is not recorded, and dooms the object unless a placement or another publication wants it; also when the
/// publication had lapsed and the object appeared only after that. Under [`Lock::blob`].
pub(crate) async fn give_up(
    transaction: &Transaction,
    publication: &Publication,
    now: Timestamp,
) -> Result<(), MetadataError> {
    end(transaction, json_wide_ids([publication.id])).await?;
    transaction
        .execute(
            "put objects on the list of those to be deleted",
            &format!(
                "INSERT INTO roadstead_doomed_object (digest, location, since, not_before)
                 SELECT d.digest, d.location, $3, $3 FROM (SELECT $1 AS digest, $2 AS location) d
                 WHERE NOT {PLACED} AND NOT {PUBLISHED} ON CONFLICT DO NOTHING"
            ),
            params![
                publication.digest.as_str(),
                publication.location.as_str(),
                now.naive_utc(),
            ],
        )
        .await?;
    Ok(())
}

async fn end(transaction: &Transaction, ids: String) -> Result<u64, MetadataError> {
    transaction
        .execute(
            "end a publication",
            &format!("DELETE FROM roadstead_publication WHERE id IN {WIDE_IDS}"),
            params![ids],
        )
        .await
}
