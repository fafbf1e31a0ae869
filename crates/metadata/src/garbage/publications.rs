//! Publications: who is about to make an object appear, noted before it does, so that nobody deletes it meanwhile.
//!
//! Of every key at a location that may hold bytes, the database knows why: a placement, a publication, or a doomed object. Each change from
//! one to another is one transaction under [`Lock::blob`], so that a process may die between any two steps and leaves either an object that
//! is recorded or one that is going to be deleted.

use std::collections::{BTreeMap, BTreeSet};

use chrono::NaiveDateTime;
use roadstead_oci::Digest;
use roadstead_placement::LocationName;
use roadstead_runtime::Timestamp;

use super::objects::{PLACED, PUBLISHED};
use crate::database::{
    Connection, Database, Lock, Transaction, WIDE_IDS, contended, json_pairs, json_wide_ids, params,
};
use crate::error::MetadataError;
use crate::locations::limit_column;
use crate::meetings::{Answers, Change, Undo};
use crate::row::FromRow;

/// Leave to make the object of a digest appear at a location. It ends with [`Database::commit_blob`] or [`Database::record_copy`]; one that
/// does not, because its process died, is ended by [`Database::end_lapsed_publications`].
#[derive(Debug)]
pub struct Publication {
    id: i64,
    digest: Digest,
    location: LocationName,
}

impl Publication {
    pub(crate) fn id(&self) -> PublicationId {
        PublicationId(self.id)
    }

    /// What the bytes must have been found to hash to.
    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    /// Where the object will be.
    pub fn location(&self) -> &LocationName {
        &self.location
    }
}

/// Which publication it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct PublicationId(pub(crate) i64);

/// A publication that is to begin.
#[derive(Debug)]
pub(crate) struct BeginPublication {
    digest: Digest,
    location: LocationName,
    until: Timestamp,
    now: Timestamp,
}

impl Change for BeginPublication {
    type Answer = Publishing;

    const OPERATION: &'static str = BEGIN;

    async fn make(transaction: &Transaction, beginnings: &[Self], _: Undo) -> Answers<Publishing> {
        begin_some(transaction, beginnings).await
    }
}

/// As [`Database::begin_publication`], in the order of `beginnings`.
async fn begin_some(
    transaction: &Transaction,
    beginnings: &[BeginPublication],
) -> Answers<Publishing> {
    transaction
        .lock_all(
            beginnings
                .iter()
                .map(|begin| Lock::blob(begin.digest.as_str())),
        )
        .await?;
    let objects: Vec<(&Digest, &LocationName)> = beginnings
        .iter()
        .map(|begin| (&begin.digest, &begin.location))
        .collect();
    // What begins together may as well lapse together.
    let until = beginnings.iter().map(|begin| begin.until).max();
    let now = beginnings.iter().map(|begin| begin.now).max();
    let (until, now) = (until.unwrap_or_default(), now.unwrap_or_default());
    let begun = begin_all(transaction, &objects, until, now).await?;
    Ok(begun
        .into_iter()
        .map(|begun| Ok(begun.map_or(Publishing::BeingDeleted, Publishing::Begun)))
        .collect())
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

#[derive(Debug, FromRow)]
struct BegunRow {
    id: i64,
    digest: String,
    location: String,
}

#[derive(Debug, FromRow)]
struct DoomedRow {
    id: i64,
    digest: String,
    location: String,
}

const BEGIN: &str = "note that an object is about to appear";

#[derive(Debug, FromRow)]
struct EndedRow {
    id: i64,
}

#[derive(Debug, FromRow)]
struct Lapsed {
    id: i64,
    digest: String,
}

#[derive(Debug, FromRow)]
struct NextLapse {
    at: Option<NaiveDateTime>,
}

impl Database {
    /// Notes that the object of a digest is about to appear at a location. An object that is there and was to be deleted stays. `until` is
    /// when a publication of which nothing more was heard counts as given up, or a little later.
    ///
    /// Dropped, it may still begin, and then lapses.
    pub async fn begin_publication(
        &self,
        digest: &Digest,
        location: &LocationName,
        until: Timestamp,
        now: Timestamp,
    ) -> Result<Publishing, MetadataError> {
        let begin = BeginPublication {
            digest: digest.clone(),
            location: location.clone(),
            until,
            now,
        };
        self.meetings().publications.make(self, begin).await
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
            give_up(&transaction, [&publication], now).await?;
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

/// Begins publications, each under its own [`Lock::blob`]. None where an object is being deleted.
pub(crate) async fn begin_all(
    transaction: &Transaction,
    objects: &[(&Digest, &LocationName)],
    until: Timestamp,
    now: Timestamp,
) -> Result<Vec<Option<Publication>>, MetadataError> {
    let pairs = |objects: &mut dyn Iterator<Item = &(&Digest, &LocationName)>| {
        json_pairs(objects.map(|(digest, location)| (digest.as_str(), location.as_str())))
    };
    let all = pairs(&mut objects.iter());
    let doomed: Vec<DoomedRow> = transaction
        .rows(
            BEGIN,
            "SELECT d.id, d.digest, d.location FROM roadstead_doomed_object d
             WHERE (d.digest, d.location) IN (SELECT o.first, o.second FROM @pairs($1) AS o)",
            params![all],
        )
        .await?;
    let mut saved = BTreeSet::new();
    if !doomed.is_empty() {
        let rows: Vec<EndedRow> = transaction
            .rows(
                BEGIN,
                // Leases may be made longer at this moment: what the row says now counts.
                &format!(
                    "DELETE FROM roadstead_doomed_object
                     WHERE id IN {WIDE_IDS} AND (lease_until IS NULL OR lease_until <= $2) RETURNING id"
                ),
                params![
                    json_wide_ids(doomed.iter().map(|row| row.id)),
                    now.naive_utc()
                ],
            )
            .await?;
        saved.extend(rows.into_iter().map(|row| row.id));
    }
    let leased: BTreeSet<(&str, &str)> = doomed
        .iter()
        .filter(|row| !saved.contains(&row.id))
        .map(|row| (row.digest.as_str(), row.location.as_str()))
        .collect();
    let is_free = |object: &&(&Digest, &LocationName)| {
        !leased.contains(&(object.0.as_str(), object.1.as_str()))
    };
    let rows: Vec<BegunRow> = transaction
        .rows(
            BEGIN,
            "INSERT INTO roadstead_publication (digest, location, expires_at)
             SELECT o.first, o.second, $2 FROM @pairs($1) AS o RETURNING id, digest, location",
            params![
                pairs(&mut objects.iter().filter(is_free)),
                until.naive_utc()
            ],
        )
        .await?;
    // One object may be published by several at once.
    let mut begun: BTreeMap<(String, String), Vec<i64>> = BTreeMap::new();
    for row in rows {
        begun
            .entry((row.digest, row.location))
            .or_default()
            .push(row.id);
    }
    let publications = objects.iter().map(|(digest, location)| {
        let key = (digest.to_string(), location.to_string());
        Some(Publication {
            id: begun.get_mut(&key)?.pop()?,
            digest: (*digest).clone(),
            location: (*location).clone(),
        })
    });
    Ok(publications.collect())
}

/// Takes publications away because their objects are being recorded. Tells which had not lapsed: nothing may be recorded of the others, because
/// nothing has kept the object there since. Under [`Lock::blob`].
pub(crate) async fn consume_all(
    transaction: &Transaction,
    publications: impl IntoIterator<Item = PublicationId>,
) -> Result<BTreeSet<PublicationId>, MetadataError> {
    let rows: Vec<EndedRow> = transaction
        .rows(
            "end a publication",
            &format!("DELETE FROM roadstead_publication WHERE id IN {WIDE_IDS} RETURNING id"),
            params![json_wide_ids(
                publications.into_iter().map(|publication| publication.0)
            )],
        )
        .await?;
    Ok(rows.into_iter().map(|row| PublicationId(row.id)).collect())
}

/// Why nothing was recorded.
pub(crate) fn lapsed(digest: &Digest, location: &LocationName) -> MetadataError {
    MetadataError::Conflict {
        what: format!(
            "too much time passed before the object of {digest} at location `{location}` could be recorded; send it again"
        ),
    }
}

/// Ends publications whose objects are not recorded, and dooms each object unless a placement or another publication wants it; also when the
/// publication had lapsed and the object appeared only after that. Under [`Lock::blob`].
pub(crate) async fn give_up<'a>(
    transaction: &Transaction,
    publications: impl IntoIterator<Item = &'a Publication> + Clone,
    now: Timestamp,
) -> Result<(), MetadataError> {
    let ids = publications.clone().into_iter();
    end(
        transaction,
        json_wide_ids(ids.map(|publication| publication.id)),
    )
    .await?;
    let objects = publications.into_iter();
    transaction
        .execute(
            "put objects on the list of those to be deleted",
            &format!(
                "INSERT INTO roadstead_doomed_object (digest, location, since, not_before)
                 SELECT d.digest, d.location, $2, $2 FROM (
                     SELECT DISTINCT o.first AS digest, o.second AS location FROM @pairs($1) AS o) d
                 WHERE NOT {PLACED} AND NOT {PUBLISHED} ON CONFLICT DO NOTHING"
            ),
            params![
                json_pairs(objects.map(|publication| (
                    publication.digest.as_str(),
                    publication.location.as_str()
                ))),
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
