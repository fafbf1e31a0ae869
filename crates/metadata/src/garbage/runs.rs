//! What is kept of collections: how far the search for strays has come, and what the last ones removed.

use chrono::NaiveDateTime;
use roadstead_runtime::Timestamp;

use crate::database::{Connection, Database, params};
use crate::error::MetadataError;
use crate::row::FromRow;
use crate::uploads::bytes_column;

/// How many runs are kept.
const RUNS_KEPT: i64 = 100;

/// How many notes are looked at in one transaction.
const NOTES_PAGE: i64 = 1000;

const FORGET: &str = "forget notes of what is gone";

/// Our tables of notes `n`, and that what a note is of is gone.
const NOTES: [(&str, &str); 3] = [
    (
        "roadstead_hidden_manifest",
        "(SELECT m.id FROM manifest m WHERE m.id = n.manifest_id) IS NULL",
    ),
    (
        "roadstead_hidden_blob",
        "((SELECT s.id FROM imagestorage s WHERE s.id = n.storage_id) IS NULL
          OR (SELECT r.id FROM repository r WHERE r.id = n.repository_id) IS NULL)",
    ),
    (
        "roadstead_upload",
        "(SELECT b.id FROM blobupload b WHERE b.id = n.upload_id) IS NULL",
    ),
];

/// What is searched page by page for what no note was made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sweep {
    /// Tags whose time is over, by their ends.
    Tags,
    /// Manifests that nothing holds.
    Manifests,
    /// Blobs that nothing refers to.
    Blobs,
    /// Not a search: when somebody last looked for garbage of any kind.
    Looks,
}

impl Sweep {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Tags => "tags",
            Self::Manifests => "manifests",
            Self::Blobs => "blobs",
            Self::Looks => "looks",
        }
    }
}

/// How far a search has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SweepProgress {
    /// The next page begins behind this id, or behind this end of a tag in milliseconds; 0 at the beginning.
    pub position: i64,
    /// When it last came to the end.
    pub finished_at: Option<Timestamp>,
}

/// What a collection removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GarbageRun {
    /// When it began.
    pub started_at: Timestamp,
    /// When it ended.
    pub finished_at: Timestamp,
    /// What went.
    pub removed: Removed,
}

/// What went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Removed {
    /// Rows of `tag`.
    pub tags: u64,
    /// Manifests.
    pub manifests: u64,
    /// Blobs.
    pub blobs: u64,
    /// Their bytes, once each.
    pub bytes: u64,
    /// Objects, at all locations together.
    pub objects: u64,
    /// Repositories that had been deleted.
    pub repositories: u64,
    /// Namespaces that had been deleted.
    pub namespaces: u64,
}

impl Removed {
    /// Whether that is nothing at all.
    pub fn is_nothing(&self) -> bool {
        *self == Self::default()
    }
}

impl std::ops::AddAssign for Removed {
    fn add_assign(&mut self, other: Self) {
        self.tags += other.tags;
        self.manifests += other.manifests;
        self.blobs += other.blobs;
        self.bytes = self.bytes.saturating_add(other.bytes);
        self.objects += other.objects;
        self.repositories += other.repositories;
        self.namespaces += other.namespaces;
    }
}

#[derive(Debug, FromRow)]
struct SweepRow {
    position: i64,
    finished_at: Option<NaiveDateTime>,
}

#[derive(Debug, FromRow)]
struct NotesEnd {
    next: Option<i64>,
}

#[derive(Debug, FromRow)]
struct RunRow {
    started_at: NaiveDateTime,
    finished_at: NaiveDateTime,
    tags: i64,
    manifests: i64,
    blobs: i64,
    bytes: i64,
    objects: i64,
    repositories: i64,
    namespaces: i64,
}

impl Database {
    /// How far a search has come. Several processes may go on from the same place: what they find is only looked at.
    pub async fn sweep_progress(&self, sweep: Sweep) -> Result<SweepProgress, MetadataError> {
        let row: Option<SweepRow> = self
            .reader()
            .row(
                "ask how far the search for garbage has come",
                "SELECT position, finished_at FROM roadstead_garbage_sweep WHERE name = $1",
                params![sweep.as_str()],
            )
            .await?;
        Ok(row.map_or(SweepProgress::default(), |row| SweepProgress {
            position: row.position,
            finished_at: row.finished_at.map(|at| at.and_utc()),
        }))
    }

    /// Notes how far a search has come.
    pub async fn note_sweep(
        &self,
        sweep: Sweep,
        progress: SweepProgress,
    ) -> Result<(), MetadataError> {
        self.execute(
            "note how far the search for garbage has come",
            "INSERT INTO roadstead_garbage_sweep (name, position, finished_at) VALUES ($1, $2, $3)
             ON CONFLICT (name) DO UPDATE SET position = excluded.position, finished_at = excluded.finished_at",
            params![
                sweep.as_str(),
                progress.position,
                progress.finished_at.map(|at| at.naive_utc()),
            ],
        )
        .await?;
        Ok(())
    }

    /// Forgets what was noted of manifests, blobs and uploads that another program has removed. Goes through all notes, page by page, each in a
    /// transaction of its own. Tells how many it forgot.
    pub async fn forget_notes_of_the_gone(&self) -> Result<u64, MetadataError> {
        let mut forgotten = 0;
        for (table, gone) in NOTES {
            let mut after = 0;
            while let Some(next) = self.end_of_notes(table, after).await? {
                forgotten += self
                    .execute(
                        FORGET,
                        &format!(
                            "DELETE FROM {table} AS n WHERE n.id > $1 AND n.id <= $2 AND {gone}"
                        ),
                        params![after, next],
                    )
                    .await?;
                after = next;
            }
        }
        Ok(forgotten)
    }

    /// Where the page of a table of notes ends that begins behind this id.
    async fn end_of_notes(&self, table: &str, after: i64) -> Result<Option<i64>, MetadataError> {
        let end: Option<NotesEnd> = self
            .reader()
            .row(
                FORGET,
                &format!(
                    "SELECT max(p.id) AS next FROM (SELECT id FROM {table} WHERE id > $1 ORDER BY id LIMIT $2) p"
                ),
                params![after, NOTES_PAGE],
            )
            .await?;
        Ok(end.and_then(|row| row.next))
    }

    /// Keeps the figures of a collection, and forgets those of the oldest.
    pub async fn note_garbage_run(&self, run: &GarbageRun) -> Result<(), MetadataError> {
        const OPERATION: &str = "keep the figures of a garbage collection";
        let GarbageRun {
            started_at,
            finished_at,
            removed,
        } = run;
        let transaction = self.begin(OPERATION).await?;
        transaction
            .execute(
                OPERATION,
                "INSERT INTO roadstead_garbage_run
                     (started_at, finished_at, tags, manifests, blobs, bytes, objects, repositories, namespaces)
                 VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
                params![
                    started_at.naive_utc(),
                    finished_at.naive_utc(),
                    bytes_column(removed.tags),
                    bytes_column(removed.manifests),
                    bytes_column(removed.blobs),
                    bytes_column(removed.bytes),
                    bytes_column(removed.objects),
                    bytes_column(removed.repositories),
                    bytes_column(removed.namespaces),
                ],
            )
            .await?;
        transaction
            .execute(
                OPERATION,
                "DELETE FROM roadstead_garbage_run WHERE id <= (SELECT max(id) FROM roadstead_garbage_run) - $1",
                params![RUNS_KEPT],
            )
            .await?;
        transaction.commit().await
    }

    /// The last collection that removed something, by whichever process.
    pub async fn last_garbage_run(&self) -> Result<Option<GarbageRun>, MetadataError> {
        let row: Option<RunRow> = self
            .reader()
            .row(
                "look up the last garbage collection",
                "SELECT started_at, finished_at, tags, manifests, blobs, bytes, objects, repositories, namespaces
                 FROM roadstead_garbage_run ORDER BY id DESC LIMIT 1",
                params![],
            )
            .await?;
        Ok(row.map(|row| {
            let number = |number: i64| number.try_into().unwrap_or_default();
            GarbageRun {
                started_at: row.started_at.and_utc(),
                finished_at: row.finished_at.and_utc(),
                removed: Removed {
                    tags: number(row.tags),
                    manifests: number(row.manifests),
                    blobs: number(row.blobs),
                    bytes: number(row.bytes),
                    objects: number(row.objects),
                    repositories: number(row.repositories),
                    namespaces: number(row.namespaces),
                },
            }
        }))
    }
}
