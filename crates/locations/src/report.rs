//! How a location is, for people and monitors.

use std::time::Duration;

use roadstead_placement::{HealthView, LocationName};
use roadstead_runtime::Timestamp;
use roadstead_storage::{Capabilities, Location};

use crate::document::LocationDocument;
use crate::locations::Locations;

/// How one location is at this moment, as this process has seen it.
#[derive(Clone, Debug)]
pub struct LocationReport {
    /// Which.
    pub location: LocationName,
    /// How it is.
    pub health: HealthView,
    /// Since when.
    pub since: Timestamp,
    /// What its store can do.
    pub capabilities: Capabilities,
    /// How many bytes more it takes, if its store says so.
    pub free_bytes: Option<u64>,
}

impl Locations {
    /// How every location is. Asks no object store, and waits `patience` at most for those that can tell how full they are.
    pub async fn report(&self, patience: Duration) -> Vec<LocationReport> {
        let mut reports = Vec::new();
        for location in self.iter() {
            let health = self.seen.view(location.name());
            let since = i64::try_from(health.since().milliseconds())
                .ok()
                .and_then(Timestamp::from_timestamp_millis)
                .unwrap_or_default();
            reports.push(LocationReport {
                location: location.name().clone(),
                health,
                since,
                capabilities: location.capabilities(),
                free_bytes: free_bytes(location, patience).await,
            });
        }
        reports
    }
}

impl Locations {
    /// The same as documents.
    pub async fn documents(&self, patience: Duration) -> Vec<LocationDocument> {
        let reports = self.report(patience).await;
        reports.into_iter().map(LocationDocument::from).collect()
    }
}

async fn free_bytes(location: &Location, patience: Duration) -> Option<u64> {
    location.root()?;
    let asked = tokio::time::timeout(patience, location.free_bytes()).await;
    asked.ok()?.ok()?
}
