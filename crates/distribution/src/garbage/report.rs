//! What a collection would remove, what waits to be deleted and what the last collection did, for an operator.

use roadstead_metadata::{
    DoomedAt, GarbageForecast, GarbageNames, GarbageRun, MetadataError, Sweep,
};
use roadstead_runtime::Timestamp;

use super::GarbageCollector;

/// Where the collection stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GarbageReport {
    /// What a collection would remove now.
    pub forecast: GarbageForecast,
    /// What waits to be deleted, location by location.
    pub waiting: Vec<WaitingAt>,
    /// The last collection that removed something.
    pub last_run: Option<GarbageRun>,
    /// When some process last looked for garbage, to within five minutes.
    pub looked_at: Option<Timestamp>,
}

/// What waits to be deleted at one location.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WaitingAt {
    /// What waits.
    pub doomed: DoomedAt,
    /// Whether the location is configured here. What others have to lose is deleted by processes that can reach them, or stays on the list.
    pub configured: bool,
}

impl GarbageCollector {
    /// Says where the collection stands. Reads the registry as a whole: a second or so for a million blobs.
    pub async fn report(&self) -> Result<GarbageReport, MetadataError> {
        let inner = &self.inner;
        let waiting = inner
            .database
            .doomed_objects()
            .await?
            .into_iter()
            .map(|doomed| WaitingAt {
                configured: inner.locations.get(&doomed.location).is_some(),
                doomed,
            })
            .collect();
        Ok(GarbageReport {
            forecast: inner.database.garbage_forecast(inner.now()).await?,
            waiting,
            last_run: inner.database.last_garbage_run().await?,
            looked_at: inner
                .database
                .sweep_progress(Sweep::Looks)
                .await?
                .finished_at,
        })
    }

    /// Names what a collection would remove now, at most `limit` of each kind.
    pub async fn names(&self, limit: u32) -> Result<GarbageNames, MetadataError> {
        self.inner
            .database
            .garbage_names(self.inner.now(), limit)
            .await
    }
}
