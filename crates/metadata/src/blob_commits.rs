//! The end of a push of a blob: its bytes are safe at a location and have the digest, and now the rows say so.
//!
//! It is for any number of pushes at once, with as many statements as for one. One push never spoils another's: what is wrong with it is its own
//! answer.

use std::collections::{BTreeMap, BTreeSet};

use roadstead_oci::Digest;
use roadstead_placement::LocationName;
use roadstead_runtime::Timestamp;
use serde_json::json;
use uuid::Uuid;

use crate::database::{
    Connection, Database, Lock, Transaction, WIDE_IDS, json_members, json_wide_ids, params,
};
use crate::dialect::moment_text;
use crate::error::MetadataError;
use crate::garbage::{Publication, PublicationId, consume_all, lapsed};
use crate::ids::RepositoryId;
use crate::locations::SEALED;
use crate::meetings::{Answers, Change, Undo};
use crate::row::FromRow;
use crate::uploads::{ReadVersion, Upload, bytes_column, end_uploads};

/// A blob whose bytes are safe at a location and have the digest.
#[derive(Clone, Debug)]
pub struct CommitBlob<'a> {
    /// The repository that gets it.
    pub repository: RepositoryId,
    /// Which bytes appeared where: their digest was proven since it was begun.
    pub publication: &'a Publication,
    /// How many.
    pub size: u64,
    /// Until when it stays without a manifest that refers to it.
    pub protect_until: Timestamp,
    /// The session that ends with this, as it was last read.
    pub upload: Option<&'a Upload>,
    /// The id that the blob gets if it is new.
    pub uuid: Uuid,
    /// Now.
    pub now: Timestamp,
}

/// A [`CommitBlob`] that owns what it says.
#[derive(Debug)]
pub(crate) struct Commit {
    repository: RepositoryId,
    publication: PublicationId,
    digest: Digest,
    location: LocationName,
    size: u64,
    protect_until: Timestamp,
    /// The session that ends, and the id that clients know it by.
    upload: Option<(ReadVersion, Uuid)>,
    uuid: Uuid,
    now: Timestamp,
}

impl From<&CommitBlob<'_>> for Commit {
    fn from(commit: &CommitBlob<'_>) -> Self {
        Self {
            repository: commit.repository,
            publication: commit.publication.id(),
            digest: commit.publication.digest().clone(),
            location: commit.publication.location().clone(),
            size: commit.size,
            protect_until: commit.protect_until,
            upload: commit
                .upload
                .map(|upload| (upload.read_version(), upload.uuid)),
            uuid: commit.uuid,
            now: commit.now,
        }
    }
}

/// What there is when a blob is recorded. But for the location's state, it stays so until the transaction ends.
#[derive(Debug, Default, FromRow)]
struct Standing {
    nth: i32,
    publication: Option<i64>,
    repository: Option<i32>,
    /// None also if it takes no new bytes.
    location: Option<i32>,
    storage: Option<i32>,
    size: Option<i64>,
    placement: Option<i32>,
    /// The note that a client deleted the blob in the repository.
    hidden: Option<i64>,
}

#[derive(Debug, FromRow)]
struct MadeRow {
    id: i32,
    content_checksum: String,
}

const OPERATION: &str = "record a blob";

impl Database {
    /// Makes a blob part of a repository once its bytes are safe, and ends the session that brought them: one transaction.
    ///
    /// # Errors
    /// [`MetadataError::Conflict`] when the session was changed by another writer, the location takes no new bytes, the publication has lapsed,
    /// so that the object may be gone, or the repository is gone. Nothing is changed then.
    ///
    /// Dropped, it may still be done.
    pub async fn commit_blob(&self, commit: &CommitBlob<'_>) -> Result<(), MetadataError> {
        self.meetings()
            .commits
            .make(self, Commit::from(commit))
            .await
    }
}

impl Change for Commit {
    type Answer = ();

    const OPERATION: &'static str = OPERATION;

    async fn make(transaction: &Transaction, commits: &[Self], _: Undo) -> Answers<()> {
        commit_all(transaction, commits).await
    }
}

/// As [`Database::commit_blob`], in the order of `commits`.
async fn commit_all(transaction: &Transaction, commits: &[Commit]) -> Answers<()> {
    // Quay's checksum column is not unique: two pushes of the same bytes would make two rows.
    transaction
        .lock_all(
            commits
                .iter()
                .map(|commit| Lock::blob(commit.digest.as_str())),
        )
        .await?;
    let standings = look_up(transaction, commits).await?;
    let mut answers: Vec<Result<(), MetadataError>> = commits
        .iter()
        .zip(&standings)
        .map(|(commit, standing)| standing.admit(commit))
        .collect();
    // Sessions end last of what may be refused: whose is refused for another reason stays as it was.
    let uploads: BTreeSet<ReadVersion> = commits
        .iter()
        .zip(&answers)
        .filter(|(_, answer)| answer.is_ok())
        .filter_map(|(commit, _)| Some(commit.upload?.0))
        .collect();
    let mut ended = end_uploads(transaction, &uploads).await?;
    for (commit, answer) in commits.iter().zip(&mut answers) {
        if let Some((read, uuid)) = commit.upload
            && answer.is_ok()
            // A session ends once, whoever asks for it together.
            && !ended.remove(&read)
        {
            *answer = Err(MetadataError::Conflict {
                what: format!("upload `{uuid}` was changed by another request"),
            });
        }
    }
    let recorded: Vec<(&Commit, &Standing)> = commits
        .iter()
        .zip(&standings)
        .zip(&answers)
        .filter(|(_, answer)| answer.is_ok())
        .map(|(recorded, _)| recorded)
        .collect();
    if recorded.is_empty() {
        return Ok(answers);
    }
    record(transaction, &recorded).await?;
    Ok(answers)
}

/// Looks up what there is, in the order of `commits`. Under [`Lock::blob`] of each.
async fn look_up(
    transaction: &Transaction,
    commits: &[Commit],
) -> Result<Vec<Standing>, MetadataError> {
    let members = (0..).zip(commits).map(|(nth, commit): (i32, &Commit)| {
        json!({
            "nth": nth,
            "publication": commit.publication.0,
            "repository": commit.repository.0,
            "location": commit.location.as_str(),
            "digest": commit.digest.as_str(),
        })
    });
    let members = json_members(members);
    let rows: Vec<Standing> = transaction
        .rows(
            OPERATION,
            // Quay's checksum column is not unique: the oldest row is the blob. Each look goes through an index, whatever the planner takes the
            // number of the members for.
            &format!(
                "WITH asked AS MATERIALIZED (
                     SELECT CAST(@member(c.value, nth) AS integer) AS nth, CAST(@member(c.value, publication) AS bigint) AS publication,
                            CAST(@member(c.value, repository) AS integer) AS repository, @member(c.value, location) AS location,
                            (SELECT s.id FROM imagestorage s WHERE s.content_checksum = @member(c.value, digest)
                             ORDER BY s.id LIMIT 1) AS storage
                     FROM @texts($1) AS c)
                 SELECT a.nth, a.storage,
                        (SELECT p.id FROM roadstead_publication p WHERE p.id = a.publication) AS publication,
                        (SELECT r.id FROM repository r WHERE r.id = a.repository) AS repository,
                        (SELECT l.id FROM imagestoragelocation l WHERE l.name = a.location AND l.name NOT IN {SEALED}) AS location,
                        (SELECT s.image_size FROM imagestorage s WHERE s.id = a.storage) AS size,
                        (SELECT p.id FROM imagestorageplacement p JOIN imagestoragelocation l ON l.id = p.location_id
                         WHERE p.storage_id = a.storage AND l.name = a.location) AS placement,
                        (SELECT h.id FROM roadstead_hidden_blob h
                         WHERE h.storage_id = a.storage AND h.repository_id = a.repository) AS hidden
                 FROM asked a"
            ),
            params![members],
        )
        .await?;
    let mut rows: BTreeMap<i32, Standing> = rows.into_iter().map(|row| (row.nth, row)).collect();
    Ok((0..)
        .zip(commits)
        .map(|(nth, _)| rows.remove(&nth).unwrap_or_default())
        .collect())
}

impl Standing {
    /// Refuses what cannot be recorded whatever its session is like.
    fn admit(&self, commit: &Commit) -> Result<(), MetadataError> {
        if self.publication.is_none() {
            return Err(lapsed(&commit.digest, &commit.location));
        }
        let what = if self.location.is_none() {
            format!("location `{}` takes no new bytes", commit.location)
        } else if self.repository.is_none() {
            "the repository was deleted".to_owned()
        } else {
            return Ok(());
        };
        Err(MetadataError::Conflict { what })
    }
}

/// Records what may be recorded.
async fn record(
    transaction: &Transaction,
    recorded: &[(&Commit, &Standing)],
) -> Result<(), MetadataError> {
    // They are there: only who holds the lock takes them away.
    let publications: Vec<PublicationId> = recorded
        .iter()
        .map(|(commit, _)| commit.publication)
        .collect();
    consume_all(transaction, publications).await?;
    let made = make(transaction, recorded).await?;
    let storage_of = |(commit, standing): &(&Commit, &Standing)| {
        let storage = standing
            .storage
            .or_else(|| made.get(commit.digest.as_str()).copied());
        storage.ok_or_else(|| {
            MetadataError::corrupt(
                "imagestorage",
                "content_checksum",
                &commit.digest,
                "the row vanished",
            )
        })
    };
    let storages: Vec<i32> = recorded.iter().map(storage_of).collect::<Result<_, _>>()?;
    correct_sizes(transaction, recorded).await?;
    place(transaction, recorded, &storages).await?;
    hold(transaction, recorded, &storages).await
}

/// Makes the rows of the blobs that are new, one for each digest however many push it, and tells which they are.
async fn make(
    transaction: &Transaction,
    recorded: &[(&Commit, &Standing)],
) -> Result<BTreeMap<String, i32>, MetadataError> {
    let missing: BTreeMap<&str, &Commit> = recorded
        .iter()
        .filter(|(_, standing)| standing.storage.is_none())
        .map(|(commit, _)| (commit.digest.as_str(), *commit))
        .collect();
    if missing.is_empty() {
        return Ok(BTreeMap::new());
    }
    let members = missing.iter().map(|(digest, commit)| {
        json!({ "uuid": commit.uuid.to_string(), "size": bytes_column(commit.size), "digest": digest })
    });
    let members = json_members(members);
    let rows: Vec<MadeRow> = transaction
        .rows(
            OPERATION,
            // `uploading` stays true in the rows that Quay writes; nothing reads it.
            "INSERT INTO imagestorage (uuid, image_size, uploading, cas_path, content_checksum)
             SELECT @member(n.value, uuid), CAST(@member(n.value, size) AS bigint), true, true, @member(n.value, digest)
             FROM @texts($1) AS n RETURNING id, content_checksum",
            params![members],
        )
        .await?;
    Ok(rows
        .into_iter()
        .map(|row| (row.content_checksum, row.id))
        .collect())
}

/// The sizes are proven now. A row that says otherwise, or nothing as Quay's may, would make every pull fail.
async fn correct_sizes(
    transaction: &Transaction,
    recorded: &[(&Commit, &Standing)],
) -> Result<(), MetadataError> {
    let wrong: BTreeMap<i32, i64> = recorded
        .iter()
        .filter_map(|(commit, standing)| {
            let size = bytes_column(commit.size);
            (standing.size != Some(size)).then_some((standing.storage?, size))
        })
        .collect();
    if wrong.is_empty() {
        return Ok(());
    }
    let wrong: Vec<(i32, i64)> = wrong.into_iter().collect();
    transaction
        .execute(
            OPERATION,
            "UPDATE imagestorage SET image_size = CAST(n.second AS bigint) FROM @pairs($1) AS n
             WHERE imagestorage.id = CAST(n.first AS integer)",
            params![json!(wrong).to_string()],
        )
        .await?;
    Ok(())
}

/// Makes the placements that are not there yet.
async fn place(
    transaction: &Transaction,
    recorded: &[(&Commit, &Standing)],
    storages: &[i32],
) -> Result<(), MetadataError> {
    let placements: BTreeSet<[i32; 3]> = recorded
        .iter()
        .zip(storages)
        .filter(|((_, standing), _)| standing.placement.is_none())
        .filter_map(|((_, standing), storage)| Some([*storage, standing.location?, 0]))
        .collect();
    if placements.is_empty() {
        return Ok(());
    }
    transaction
        .execute(
            OPERATION,
            "INSERT INTO imagestorageplacement (storage_id, location_id)
             SELECT c.first, c.second FROM @triples($1) AS c WHERE true ON CONFLICT DO NOTHING",
            params![json!(placements).to_string()],
        )
        .await?;
    Ok(())
}

/// Protects the blobs in their repositories, and shows them again where a client had deleted them.
async fn hold(
    transaction: &Transaction,
    recorded: &[(&Commit, &Standing)],
    storages: &[i32],
) -> Result<(), MetadataError> {
    let members = recorded.iter().zip(storages).map(|((commit, _), storage)| {
        json!({
            "repository": commit.repository.0,
            "blob": storage,
            "at": moment_text(commit.now),
            "until": moment_text(commit.protect_until),
        })
    });
    let members = json_members(members);
    transaction
        .execute(
            OPERATION,
            "INSERT INTO uploadedblob (repository_id, blob_id, uploaded_at, expires_at)
             SELECT CAST(@member(n.value, repository) AS integer), CAST(@member(n.value, blob) AS integer),
                    @moment(n.value, at), @moment(n.value, until)
             FROM @texts($1) AS n",
            params![members],
        )
        .await?;
    let hidden: BTreeSet<i64> = recorded
        .iter()
        .filter_map(|(_, standing)| standing.hidden)
        .collect();
    if !hidden.is_empty() {
        transaction
            .execute(
                OPERATION,
                &format!("DELETE FROM roadstead_hidden_blob WHERE id IN {WIDE_IDS}"),
                params![json_wide_ids(hidden)],
            )
            .await?;
    }
    Ok(())
}
