//! A copy on its way: within which limits it goes, how far it has come, and where it goes on.

use std::collections::BTreeMap;

use roadstead_metadata::{CopyProgress, JobId, MetadataError};
use roadstead_oci::{DigestState, Digester};
use roadstead_placement::LocationName;
use roadstead_queue::Job;
use roadstead_storage::{Location, Staged};
use uuid::Uuid;

use super::{Arrival, Failure};
use crate::Replication;
use crate::copy::{BlobContent, CopyError};
use crate::fan_out::{Attend, Begun};

/// Of copies of more than so many bytes it is looked up how far an earlier attempt has come.
const RESUMABLE_BYTES: u64 = 256 << 20;

/// The targets of a fan-out with what is staged there, and the digester to begin with.
pub(super) type Begins<'a> = (Vec<(&'a Location, Option<Begun>)>, Option<Digester>);

/// Keeps the limits and writes progress down while a blob is copied.
pub(super) struct Attendant<'a> {
    pub(super) replication: &'a Replication,
    pub(super) jobs: BTreeMap<&'a LocationName, JobId>,
}

#[async_trait::async_trait]
impl Attend for Attendant<'_> {
    async fn before(
        &self,
        source: &LocationName,
        targets: &[&LocationName],
        bytes: usize,
    ) -> Result<(), CopyError> {
        let Replication {
            throttle,
            database,
            environment,
            ..
        } = self.replication;
        let clock = environment.clock.as_ref();
        let control = throttle.control(database, clock).await;
        if targets
            .iter()
            .any(|target| control.is_paused(Some(source), target))
        {
            return Err(CopyError::Paused);
        }
        throttle
            .take(source, targets.iter().copied(), bytes, clock)
            .await;
        Ok(())
    }

    async fn safe(&self, staged: &[(LocationName, Uuid, Staged)], state: &DigestState) -> bool {
        let copies: Vec<CopyProgress> = staged
            .iter()
            .filter_map(|(target, upload, staged)| {
                Some(CopyProgress {
                    job: *self.jobs.get(target)?,
                    upload: *upload,
                    offset: staged.offset,
                    parts: staged.parts.to_string(),
                })
            })
            .collect();
        let noted = self
            .replication
            .database
            .note_copy_progress(&copies, state)
            .await;
        if let Err(error) = &noted {
            tracing::debug!(
                error = error as &dyn std::error::Error,
                "Could not write down how far a copy has come",
            );
        }
        noted.is_ok()
    }
}

impl Replication {
    /// The targets with what an earlier attempt has staged there, and the digester at the first byte that one of them lacks.
    pub(super) async fn begun<'a>(
        &self,
        content: &BlobContent,
        lacking: &[(&Job, &'a Location)],
    ) -> Result<Begins<'a>, Failure> {
        let mut begun = BTreeMap::new();
        if content.size > RESUMABLE_BYTES {
            let jobs: Vec<Job> = lacking.iter().map(|(job, _)| (*job).clone()).collect();
            for copy in self.database.copy_progress(&jobs).await? {
                begun.insert(copy.progress.job, copy);
            }
        }
        // Where nothing is staged yet the reading begins at the beginning.
        let first = if begun.len() == lacking.len() {
            begun.values().min_by_key(|copy| copy.progress.offset)
        } else {
            None
        };
        let digester = first.and_then(|copy| Digester::resume(&copy.hash_state).ok());
        let hashed = digester.as_ref().map_or(0, Digester::bytes_hashed);
        let targets = lacking
            .iter()
            .map(|(job, target)| {
                let staged = begun.get(&job.id).and_then(|copy| {
                    let parts = copy.progress.parts.parse().ok()?;
                    let offset = copy.progress.offset;
                    (offset >= hashed && offset <= content.size).then_some(Begun {
                        upload: copy.progress.upload,
                        staged: Staged { offset, parts },
                    })
                });
                (*target, staged)
            })
            .collect::<Vec<_>>();
        // One that cannot go on from there needs every byte.
        let digester = digester.filter(|_| targets.iter().all(|(_, begun)| begun.is_some()));
        Ok((targets, digester))
    }

    /// Forgets what was staged of large copies that failed: whatever failed, the staged bytes may be what is wrong, or gone. A copy that was only
    /// interrupted, or lacked a source, goes on.
    pub(super) async fn begin_anew(
        &self,
        content: &BlobContent,
        arrivals: &[(JobId, Result<Arrival, Failure>)],
    ) -> Result<(), MetadataError> {
        let failed: Vec<JobId> = arrivals
            .iter()
            .filter(|(_, arrival)| arrival.is_err())
            .map(|(job, _)| *job)
            .collect();
        if failed.is_empty() || content.size <= RESUMABLE_BYTES {
            return Ok(());
        }
        self.database.forget_copy_progress(&failed).await
    }
}
