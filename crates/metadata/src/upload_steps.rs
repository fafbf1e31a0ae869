//! The steps of an upload session on its way to a blob: its beginning, bytes that are safe, and leave to make them an object.
//!
//! Each step is for any number of sessions at once, with as many statements as for one. One session never spoils another's: what is wrong with it
//! is its own answer.

use std::collections::{BTreeMap, BTreeSet};

use roadstead_oci::{Digest, DigestState};
use roadstead_placement::LocationName;
use roadstead_runtime::Timestamp;
use serde_json::json;
use uuid::Uuid;

use crate::database::{Connection, Database, Lock, Transaction, json_members, params};
use crate::dialect::moment_text;
use crate::error::MetadataError;
use crate::garbage::{Publishing, begin_all};
use crate::ids::{RepositoryId, UploadId};
use crate::locations::CLOSED;
use crate::meetings::{Answers, Change, Undo};
use crate::row::FromRow;
use crate::uploads::{ReadVersion, Upload, VersionRow, bytes_column, stored_id};

/// A session to be begun.
#[derive(Clone, Debug)]
pub struct NewUpload<'a> {
    /// The id that clients will know.
    pub uuid: Uuid,
    /// The repository.
    pub repository: RepositoryId,
    /// The location that takes the bytes.
    pub location: &'a LocationName,
    /// The state of a digester that has seen nothing.
    pub hash_state: &'a DigestState,
    /// Now.
    pub now: Timestamp,
}

/// A [`NewUpload`] that owns what it says.
#[derive(Debug)]
pub(crate) struct Beginning {
    uuid: Uuid,
    repository: RepositoryId,
    location: LocationName,
    hash_state: DigestState,
    now: Timestamp,
}

impl From<&NewUpload<'_>> for Beginning {
    fn from(new: &NewUpload<'_>) -> Self {
        Self {
            uuid: new.uuid,
            repository: new.repository,
            location: new.location.clone(),
            hash_state: new.hash_state.clone(),
            now: new.now,
        }
    }
}

impl Beginning {
    /// The session that has this row; none was made where it could not begin.
    fn answer(&self, id: Option<i32>) -> Result<Upload, MetadataError> {
        let id = id.ok_or_else(|| MetadataError::Conflict {
            what: format!(
                "location `{}` takes no new bytes, or the repository is gone",
                self.location
            ),
        })?;
        Ok(Upload {
            id: UploadId(id),
            uuid: self.uuid,
            repository: self.repository,
            location: self.location.clone(),
            offset: 0,
            version: 1,
            hash_state: self.hash_state.clone(),
            staged_parts: String::new(),
        })
    }
}

/// Bytes of a session that are safe from now on.
#[derive(Clone, Debug)]
pub struct AdvanceUpload<'a> {
    /// The session as it was read.
    pub upload: &'a Upload,
    /// How many bytes are safe, those before included.
    pub offset: u64,
    /// The digester's state after them.
    pub hash_state: &'a DigestState,
    /// In what they lie.
    pub staged_parts: &'a str,
    /// Where. Another location than before only if all of them are there.
    pub location: &'a LocationName,
    /// Now.
    pub now: Timestamp,
}

/// An [`AdvanceUpload`] that owns what it says.
#[derive(Debug)]
pub(crate) struct Advance {
    read: ReadVersion,
    /// The session as it is then.
    advanced: Upload,
    now: Timestamp,
}

impl From<&AdvanceUpload<'_>> for Advance {
    fn from(advance: &AdvanceUpload<'_>) -> Self {
        Self {
            read: advance.upload.read_version(),
            advanced: Upload {
                offset: advance.offset,
                version: advance.upload.version + 1,
                hash_state: advance.hash_state.clone(),
                staged_parts: advance.staged_parts.to_owned(),
                location: advance.location.clone(),
                ..advance.upload.clone()
            },
            now: advance.now,
        }
    }
}

/// A session all of whose bytes are safe, and what they are to become.
#[derive(Debug)]
pub(crate) struct Closing {
    advance: Advance,
    digest: Digest,
    until: Timestamp,
}

#[derive(Debug, FromRow)]
struct BegunRow {
    id: i32,
    uuid: String,
}

impl Database {
    /// Begins a session.
    ///
    /// # Errors
    /// [`MetadataError::Conflict`] when the location is unknown or takes no new bytes, or the repository is gone.
    ///
    /// Dropped, it may still begin, and then is found as abandoned.
    pub async fn create_upload(&self, new: &NewUpload<'_>) -> Result<Upload, MetadataError> {
        self.meetings()
            .beginnings
            .make(self, Beginning::from(new))
            .await
    }

    /// Acknowledges bytes that are safe at the location. None when another writer changed the session first, or there is no such location any
    /// more: nothing is changed then.
    ///
    /// Dropped, it may still be done: the caller sees to it that nobody gets hold of the bytes before it has an answer.
    pub async fn advance_upload(
        &self,
        advance: &AdvanceUpload<'_>,
    ) -> Result<Option<Upload>, MetadataError> {
        self.meetings()
            .advances
            .make(self, Advance::from(advance))
            .await
    }

    /// Acknowledges the last bytes of an upload, and begins the publication of the object that they all become at their location: what
    /// [`Database::advance_upload`] and [`Database::begin_publication`] do, in one transaction. None as there: nothing is changed and nothing
    /// begun then. While an object of the digest is being deleted there, the bytes are acknowledged and nothing is begun.
    ///
    /// `until` is when the publication counts as given up, or a little later. Dropped, it may still be done: the caller sees to it that nobody
    /// gets hold of the bytes before it has an answer.
    pub async fn close_upload(
        &self,
        advance: &AdvanceUpload<'_>,
        digest: &Digest,
        until: Timestamp,
    ) -> Result<Option<(Upload, Publishing)>, MetadataError> {
        let closing = Closing {
            advance: Advance::from(advance),
            digest: digest.clone(),
            until,
        };
        self.meetings().closings.make(self, closing).await
    }
}

impl Change for Beginning {
    type Answer = Upload;

    const OPERATION: &'static str = CREATE;

    async fn make(transaction: &Transaction, beginnings: &[Self], _: Undo) -> Answers<Upload> {
        create_all(transaction, beginnings).await
    }
}

impl Change for Advance {
    type Answer = Option<Upload>;

    const OPERATION: &'static str = ADVANCE;

    async fn make(transaction: &Transaction, advances: &[Self], _: Undo) -> Answers<Self::Answer> {
        let advances: Vec<&Self> = advances.iter().collect();
        let mut advanced = advance_all(transaction, &advances).await?;
        // A session is moved on once, whoever asks for it together.
        let answer = |advance: &Self| {
            advanced
                .remove(&advance.read)
                .then(|| advance.advanced.clone())
        };
        Ok(advances.into_iter().map(answer).map(Ok).collect())
    }
}

impl Change for Closing {
    type Answer = Option<(Upload, Publishing)>;

    const OPERATION: &'static str = ADVANCE;

    async fn make(transaction: &Transaction, closings: &[Self], _: Undo) -> Answers<Self::Answer> {
        close_all(transaction, closings).await
    }
}

/// As [`Database::create_upload`], in the order of `beginnings`. Each has an id of its own.
async fn create_all(transaction: &Transaction, beginnings: &[Beginning]) -> Answers<Upload> {
    let members = beginnings.iter().map(|new| {
        json!({
            "repository": new.repository.0,
            "uuid": stored_id(new.uuid),
            "pickle": new.hash_state.to_quay_pickle().ok(),
            "location": new.location.as_str(),
            "at": moment_text(new.now),
        })
    });
    let members = json_members(members);
    let rows: Vec<BegunRow> = transaction
        .rows(
            CREATE,
            &format!(
                "INSERT INTO blobupload (repository_id, uuid, byte_count, sha_state, location_id, storage_metadata,
                                         chunk_count, created)
                 SELECT r.id, @member(n.value, uuid), 0, @member(n.value, pickle), l.id, '{{}}', 0, @moment(n.value, at)
                 FROM @texts($1) AS n
                 JOIN repository r ON r.id = CAST(@member(n.value, repository) AS integer)
                 JOIN imagestoragelocation l ON l.name = @member(n.value, location)
                 WHERE l.name NOT IN {CLOSED} RETURNING id, uuid"
            ),
            params![members],
        )
        .await?;
    let begun: BTreeMap<String, i32> = rows.into_iter().map(|row| (row.uuid, row.id)).collect();
    let begun: Vec<Option<i32>> = beginnings
        .iter()
        .map(|new| begun.get(&stored_id(new.uuid)).copied())
        .collect();
    let members = beginnings.iter().zip(&begun).filter_map(|(new, id)| {
        let id = (*id)?;
        Some(json!({ "id": id, "hash": new.hash_state.to_string(), "at": moment_text(new.now) }))
    });
    let members = json_members(members);
    transaction
        .execute(
            CREATE,
            "INSERT INTO roadstead_upload (upload_id, version, hash_state, changed)
             SELECT CAST(@member(n.value, id) AS integer), 1, @member(n.value, hash), @moment(n.value, at)
             FROM @texts($1) AS n",
            params![members],
        )
        .await?;
    Ok(beginnings
        .iter()
        .zip(begun)
        .map(|(new, id)| new.answer(id))
        .collect())
}

/// As [`Database::close_upload`], in the order of `closings`.
async fn close_all(
    transaction: &Transaction,
    closings: &[Closing],
) -> Answers<Option<(Upload, Publishing)>> {
    transaction
        .lock_all(
            closings
                .iter()
                .map(|closing| Lock::blob(closing.digest.as_str())),
        )
        .await?;
    let advances: Vec<&Advance> = closings.iter().map(|closing| &closing.advance).collect();
    let mut advanced = advance_all(transaction, &advances).await?;
    // A session is moved on once, whoever asks for it together.
    let closed: Vec<Option<&Closing>> = closings
        .iter()
        .map(|closing| advanced.remove(&closing.advance.read).then_some(closing))
        .collect();
    let objects: Vec<(&Digest, &LocationName)> = closed
        .iter()
        .flatten()
        .map(|closing| (&closing.digest, &closing.advance.advanced.location))
        .collect();
    if objects.is_empty() {
        return Ok(closed.iter().map(|_| Ok(None)).collect());
    }
    // Publications that begin together may as well lapse together.
    let until = closings.iter().map(|closing| closing.until).max();
    let now = closings.iter().map(|closing| closing.advance.now).max();
    let (until, now) = (until.unwrap_or_default(), now.unwrap_or_default());
    let begun = begin_all(transaction, &objects, until, now).await?;
    let mut begun = begun.into_iter();
    let answer = |closing: Option<&Closing>| {
        let upload = closing?.advance.advanced.clone();
        let publication = begun.next().flatten();
        let publishing = publication.map_or(Publishing::BeingDeleted, Publishing::Begun);
        Some((upload, publishing))
    };
    Ok(closed.into_iter().map(answer).map(Ok).collect())
}

const CREATE: &str = "begin an upload";

const ADVANCE: &str = "acknowledge bytes of an upload";

/// What is said about sessions that move on, of the parameter `$1`. A session whose location is unknown is not among them.
const ADVANCES: &str = "(
    SELECT CAST(@member(x.value, upload) AS integer) AS upload, CAST(@member(x.value, was) AS bigint) AS was,
           CAST(@member(x.value, bytes) AS bigint) AS bytes, @member(x.value, hash) AS hash, @member(x.value, pickle) AS pickle,
           @member(x.value, parts) AS parts, @moment(x.value, at) AS at, l.id AS location
    FROM @texts($1) AS x JOIN imagestoragelocation l ON l.name = @member(x.value, location))";

/// The parameter of [`ADVANCES`].
fn json_advances<'a>(advances: impl Iterator<Item = &'a Advance>) -> String {
    let members = advances.map(|advance| {
        let advanced = &advance.advanced;
        json!({
            "upload": advance.read.upload.0,
            "was": advance.read.version,
            "bytes": bytes_column(advanced.offset),
            "hash": advanced.hash_state.to_string(),
            "pickle": advanced.hash_state.to_quay_pickle().ok(),
            "parts": advanced.staged_parts,
            "at": moment_text(advance.now),
            "location": advanced.location.as_str(),
        })
    });
    json_members(members)
}

/// Moves sessions on that nobody changed since they were read so. Tells which those were.
async fn advance_all(
    transaction: &Transaction,
    advances: &[&Advance],
) -> Result<BTreeSet<ReadVersion>, MetadataError> {
    // One row for a session: of two, either might be taken.
    let advances: BTreeMap<ReadVersion, &Advance> = advances
        .iter()
        .rev()
        .map(|advance| (advance.read, *advance))
        .collect();
    let rows: Vec<VersionRow> = transaction
        .rows(
            ADVANCE,
            &format!(
                "UPDATE roadstead_upload SET version = n.was + 1, hash_state = n.hash, staged_parts = n.parts, changed = n.at
                 FROM {ADVANCES} AS n WHERE roadstead_upload.upload_id = n.upload AND roadstead_upload.version = n.was
                 RETURNING upload_id, version"
            ),
            params![json_advances(advances.values().copied())],
        )
        .await?;
    let advanced: BTreeSet<ReadVersion> = rows
        .into_iter()
        .map(|row| {
            let now = row.read();
            ReadVersion {
                version: now.version - 1,
                ..now
            }
        })
        .collect();
    if advanced.is_empty() {
        return Ok(advanced);
    }
    let moved = advances
        .values()
        .copied()
        .filter(|advance| advanced.contains(&advance.read));
    let moved = json_advances(moved);
    transaction
        .execute(
            ADVANCE,
            // Quay's clean-up, which may run beside us, goes by `created`: an upload that is still being sent must not be too old for it.
            &format!(
                "UPDATE blobupload SET byte_count = n.bytes, sha_state = n.pickle, chunk_count = chunk_count + 1, created = n.at,
                        location_id = n.location
                 FROM {ADVANCES} AS n WHERE blobupload.id = n.upload"
            ),
            params![moved],
        )
        .await?;
    Ok(advanced)
}
