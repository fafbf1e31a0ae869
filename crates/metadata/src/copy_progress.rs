//! How far large copies have come, so that another worker goes on where one ended.

use roadstead_oci::DigestState;
use uuid::Uuid;

use crate::database::{Connection, Database, json_ids, params};
use crate::error::MetadataError;
use crate::ids::JobId;
use crate::jobs::Job;
use crate::row::FromRow;
use crate::uploads::bytes_column;

/// What was staged of a copy and is safe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CopyProgress {
    /// The job of the copy.
    pub job: JobId,
    /// The upload that it is staged as.
    pub upload: Uuid,
    /// How many bytes.
    pub offset: u64,
    /// Where they lie, as the storage layer writes it.
    pub parts: String,
}

/// What was written down of a copy, and what its bytes hash to so far.
#[derive(Clone, Debug)]
pub struct ResumableCopy {
    /// What is staged.
    pub progress: CopyProgress,
    /// The digester at its end.
    pub hash_state: DigestState,
}

#[derive(Debug, FromRow)]
struct ProgressRow {
    queueitem_id: i32,
    upload_id: Option<String>,
    staged_offset: Option<i64>,
    staged_parts: Option<String>,
    hash_state: Option<String>,
}

impl Database {
    /// Writes down how far the copies of one blob have come: all of them as far as `hash_state` says. Those whose jobs are gone are left out.
    pub async fn note_copy_progress(
        &self,
        copies: &[CopyProgress],
        hash_state: &DigestState,
    ) -> Result<(), MetadataError> {
        const OPERATION: &str = "note how far a copy has come";
        let transaction = self.begin(OPERATION).await?;
        // As many as a blob has targets.
        for copy in copies {
            transaction
                .execute(
                    OPERATION,
                    "UPDATE roadstead_copy SET upload_id = $2, staged_offset = $3, staged_parts = $4, hash_state = $5
                     WHERE queueitem_id = $1",
                    params![
                        copy.job.0,
                        copy.upload.to_string(),
                        bytes_column(copy.offset),
                        copy.parts.as_str(),
                        hash_state.to_string()
                    ],
                )
                .await?;
        }
        transaction.commit().await
    }

    /// Forgets what was staged for these copies: it is of no use any more.
    pub async fn forget_copy_progress(&self, jobs: &[JobId]) -> Result<(), MetadataError> {
        self.execute(
            "forget how far a copy has come",
            "UPDATE roadstead_copy SET upload_id = NULL, staged_offset = NULL, staged_parts = NULL, hash_state = NULL
             WHERE queueitem_id IN @ids($1)",
            params![json_ids(jobs.iter().map(|job| job.0))],
        )
        .await
        .map(drop)
    }

    /// How far the copies of these jobs have come, of those of which something was written down. What cannot be read is of another version,
    /// and begins anew.
    pub async fn copy_progress(&self, jobs: &[Job]) -> Result<Vec<ResumableCopy>, MetadataError> {
        let rows: Vec<ProgressRow> = self
            .reader()
            .rows(
                "look up how far copies have come",
                "SELECT queueitem_id, upload_id, staged_offset, staged_parts, hash_state FROM roadstead_copy
                 WHERE queueitem_id IN @ids($1) AND upload_id IS NOT NULL",
                params![json_ids(jobs.iter().map(|job| job.id.0))],
            )
            .await?;
        Ok(rows.into_iter().filter_map(ProgressRow::read).collect())
    }
}

impl ProgressRow {
    fn read(self) -> Option<ResumableCopy> {
        Some(ResumableCopy {
            progress: CopyProgress {
                job: JobId(self.queueitem_id),
                upload: self.upload_id?.parse().ok()?,
                offset: self.staged_offset?.try_into().ok()?,
                parts: self.staged_parts?,
            },
            hash_state: self.hash_state?.parse().ok()?,
        })
    }
}
