//! Copies that a store makes by itself, between two locations of one service: no byte comes through here but those that are read back.

use futures_util::future::join_all;
use roadstead_metadata::Blob;
use roadstead_queue::Job;
use roadstead_runtime::Shutdown;
use roadstead_storage::{Location, ServerCopy};

use super::under_way::Attendant;
use super::{Arrival, Failure};
use crate::Replication;
use crate::copy::{BlobContent, CopyError, holds, stands};
use crate::fan_out::{Attend, SMALL_BYTES};
use crate::reason::reason;

/// A larger blob is not copied like this: at 10 MB/s it could not be copied and read back within the hour for which an object is kept that is not
/// recorded.
const WITHIN_BYTES_MAX: u64 = 24 << 30;

/// What came of the copies that stores made, and what is left for us.
pub(super) struct Within<'a> {
    pub(super) arrived: Vec<(&'a Job, Result<Arrival, Failure>)>,
    pub(super) lacking: Vec<(&'a Job, &'a Location)>,
}

impl Replication {
    /// Lets stores copy a blob that is not small to the targets that share a service with its source. Whatever goes wrong, the target is among those
    /// that still lack the blob, and what is wrong shows when it is copied in the ordinary way.
    pub(super) async fn copy_within<'a>(
        &'a self,
        blob: &Blob,
        content: &BlobContent,
        lacking: Vec<(&'a Job, &'a Location)>,
        source: Option<&Location>,
        shutdown: &Shutdown,
    ) -> Within<'a> {
        let copies = lacking.into_iter().map(|(job, target)| async move {
            let source = source.filter(|source| {
                // A small one is read and written sooner than it is copied and read.
                content.size > SMALL_BYTES
                    && content.size <= WITHIN_BYTES_MAX
                    && target.copies_from(source)
            });
            let arrived = match source {
                Some(source) => {
                    tokio::select! {
                        arrived = self.copied_within(blob, content, (job, source, target)) => arrived,
                        () = shutdown.wait() => None,
                    }
                }
                None => None,
            };
            (job, target, arrived)
        });
        let mut within = Within {
            arrived: Vec::new(),
            lacking: Vec::new(),
        };
        for (job, target, arrived) in join_all(copies).await {
            match arrived {
                Some(arrived) => within.arrived.push((job, arrived)),
                None => within.lacking.push((job, target)),
            }
        }
        within
    }

    /// None when the copy has to be made in the ordinary way.
    async fn copied_within(
        &self,
        blob: &Blob,
        content: &BlobContent,
        (job, source, target): (&Job, &Location, &Location),
    ) -> Option<Result<Arrival, Failure>> {
        let attendant = Attendant {
            replication: self,
            jobs: [(target.name(), job.id)].into(),
        };
        // Bytes that do not come one by one count before they move.
        let bytes = usize::try_from(content.size).unwrap_or(usize::MAX);
        let to = [target.name()];
        attendant.before(source.name(), &to, bytes).await.ok()?;
        let publication = match self.begin_publication(blob, target).await {
            Ok(Some(publication)) => publication,
            Ok(None) => return Some(Ok(Arrival::NotWanted)),
            Err(failure) => return Some(Err(failure)),
        };
        let proven = match target
            .copy_within(source, &content.digest, content.size)
            .await
        {
            Ok(Some(ServerCopy::Proven)) => stands(target, content).await,
            Ok(Some(ServerCopy::Unproven)) => holds(target, content).await,
            Ok(None) => {
                self.withdraw(publication).await;
                return None;
            }
            Err(error) => Err(CopyError::from_target(error)),
        };
        // What may have appeared all the same is written over by the ordinary copy, or deleted when the publication lapses.
        let problem = match proven {
            Ok(true) => return Some(self.record(blob, publication, job).await),
            Ok(false) => "it holds other bytes".to_owned(),
            Err(error) => reason(&error),
        };
        tracing::info!(
            blob.digest = %blob.digest,
            source.location.id = %source.name(),
            target.location.id = %target.name(),
            "The store did not copy {} to {} by itself: {problem}",
            blob.digest,
            target.name(),
        );
        None
    }
}
