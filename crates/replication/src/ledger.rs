//! What copies ask of the database and tell it, many at a time.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use roadstead_metadata::{
    BeginCopy, CompletedCopy, CopyBeginning, CopyOrder, Job, MetadataError, Publication, Recorded,
    StorageId,
};

use roadstead_runtime::Gather;

use crate::Replication;

/// How long an object is kept that a copy published and did not come to record: its process died.
const PUBLICATION_LIFE: Duration = Duration::from_hours(1);

/// Where the copies of this process meet on their way to the database.
#[derive(Debug)]
pub(crate) struct Ledger {
    orders: Gather<String, Result<Option<CopyOrder>, LedgerError>>,
    beginnings: Gather<BeginCopy, Result<CopyBeginning, LedgerError>>,
    records: Gather<Completed, Result<Recorded, LedgerError>>,
}

/// How many are asked about together: as many as one claims.
const TOGETHER_MAX: usize = 256;

impl Default for Ledger {
    fn default() -> Self {
        Self {
            orders: Gather::new(TOGETHER_MAX, 1),
            beginnings: Gather::new(TOGETHER_MAX, 1),
            records: Gather::new(TOGETHER_MAX, 1),
        }
    }
}

/// A copy that is to be recorded.
#[derive(Debug)]
pub(crate) struct Completed {
    pub(crate) storage: StorageId,
    pub(crate) publication: Publication,
    pub(crate) job: Job,
}

/// Why the database gave no answer.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum LedgerError {
    /// It failed, for all that asked together.
    #[error(transparent)]
    Metadata(Arc<MetadataError>),
    /// The question was lost on its way.
    #[error("the database was not asked")]
    Unasked,
}

impl From<MetadataError> for LedgerError {
    fn from(error: MetadataError) -> Self {
        Self::Metadata(Arc::new(error))
    }
}

impl Replication {
    /// What there is to copy of the blob that queue rows name so; none if it was deleted.
    pub(crate) async fn copy_order(&self, storage: &str) -> Result<Option<CopyOrder>, LedgerError> {
        let replication = self.clone();
        let answer = self.ledger.orders.ask(storage.to_owned(), move |uuids| {
            let replication = replication.clone();
            async move {
                let found = replication
                    .database
                    .copy_orders(&uuids, replication.demand());
                match found.await {
                    Ok(orders) => {
                        let orders: BTreeMap<String, Result<CopyOrder, LedgerError>> = orders
                            .into_iter()
                            .map(|(uuid, order)| (uuid, order.map_err(LedgerError::from)))
                            .collect();
                        // Several may ask about one.
                        let answer = |uuid| orders.get(uuid).cloned().transpose();
                        uuids.iter().map(answer).collect()
                    }
                    Err(error) => all(uuids.len(), error),
                }
            }
        });
        answer.await.unwrap_or(Err(LedgerError::Unasked))
    }

    /// Notes that a copy's object is about to appear, so that nobody deletes it before it is recorded.
    pub(crate) async fn begin_copy(&self, copy: BeginCopy) -> Result<CopyBeginning, LedgerError> {
        let replication = self.clone();
        let answer = self.ledger.beginnings.ask(copy, move |copies| {
            let replication = replication.clone();
            async move {
                let now = replication.environment.now();
                let begun = replication
                    .database
                    .begin_copies(&copies, now + PUBLICATION_LIFE, now);
                each(copies.len(), begun.await)
            }
        });
        answer.await.unwrap_or(Err(LedgerError::Unasked))
    }

    /// Records a copy whose bytes are there and were verified, and ends the job that asked for it.
    pub(crate) async fn record_copy(&self, copy: Completed) -> Result<Recorded, LedgerError> {
        let replication = self.clone();
        let answer = self.ledger.records.ask(copy, move |copies| {
            let replication = replication.clone();
            async move {
                let completed: Vec<CompletedCopy<'_>> = copies
                    .iter()
                    .map(|copy| CompletedCopy {
                        storage: copy.storage,
                        publication: &copy.publication,
                        job: Some(&copy.job),
                    })
                    .collect();
                let now = replication.environment.now();
                let recorded = replication.database.record_copies(&completed, now);
                each(copies.len(), recorded.await)
            }
        });
        answer.await.unwrap_or(Err(LedgerError::Unasked))
    }
}

/// An answer for each who asked.
fn each<T>(asked: usize, answers: Result<Vec<T>, MetadataError>) -> Vec<Result<T, LedgerError>> {
    match answers {
        Ok(answers) => answers.into_iter().map(Ok).collect(),
        Err(error) => all(asked, error),
    }
}

/// The same for all who asked.
fn all<T>(asked: usize, error: MetadataError) -> Vec<Result<T, LedgerError>> {
    let error = LedgerError::from(error);
    std::iter::repeat_with(|| Err(error.clone()))
        .take(asked)
        .collect()
}
