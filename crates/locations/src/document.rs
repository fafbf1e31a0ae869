//! How locations fare, as a document: what `/health/locations` answers and what every process leaves in the database.

use std::time::Duration;

use roadstead_placement::{HealthState, UseView};
use serde::{Deserialize, Serialize};

use crate::report::LocationReport;

/// How one location fares, as one process sees it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LocationDocument {
    /// Its name.
    pub location: String,
    /// `healthy`, `degraded` or `down`.
    pub state: String,
    /// Why it is not healthy, in words that go on after its name.
    pub reason: Option<String>,
    /// Since when (RFC 3339). Nothing for one of which nothing was seen yet.
    pub since: Option<String>,
    /// How many bytes more it takes, if its store says so.
    pub free_bytes: Option<u64>,
    /// For reading.
    pub read: UseDocument,
    /// For writing.
    pub write: UseDocument,
    /// How many bytes a second the process copies here, if it does. Whoever knows puts it in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub copied_bytes_per_second: Option<u64>,
}

/// How one use of a location fares.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct UseDocument {
    /// `healthy`, `degraded` or `down`.
    pub state: String,
    /// `closed`: used; `half-open`: tried; `open`: left alone.
    pub circuit: String,
    /// Why it is not healthy.
    pub reason: Option<String>,
    /// How it failed last, however long ago.
    pub last_failure: Option<String>,
    /// The moving average of the time to an answer.
    pub latency_mean_ms: Option<u64>,
    /// What 95 of 100 answers did not exceed.
    pub latency_p95_ms: Option<u64>,
    /// The speed of transfers.
    pub bytes_per_second: Option<u64>,
    /// The share of requests in the last seconds that failed, between 0 and 1.
    pub error_share: f64,
    /// How many requests that is a share of.
    pub outcomes: u32,
    /// Failures since the last good answer.
    pub consecutive_failures: u32,
}

impl LocationDocument {
    /// The documents as text: JSON.
    #[expect(
        clippy::missing_panics_doc,
        reason = "texts and numbers can be written"
    )]
    pub fn list_as_text(documents: &[Self]) -> String {
        serde_json::to_string(documents).expect("texts and numbers can be written")
    }

    /// How bad the state is: 0 is healthy. A word that this program does not know is the worst.
    pub fn severity(&self) -> u8 {
        match self.state.as_str() {
            state if state == HealthState::Healthy.as_str() => 0,
            state if state == HealthState::Degraded.as_str() => 1,
            _ => 2,
        }
    }
}

impl From<&UseView> for UseDocument {
    fn from(view: &UseView) -> Self {
        let milliseconds =
            |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        Self {
            state: view.state.as_str().to_owned(),
            circuit: view.circuit.as_str().to_owned(),
            reason: view.reason.map(|reason| reason.as_str().to_owned()),
            last_failure: view.last_failure.map(|reason| reason.as_str().to_owned()),
            latency_mean_ms: view.latency_mean.map(milliseconds),
            latency_p95_ms: view.latency_p95.map(milliseconds),
            bytes_per_second: view.bytes_per_second,
            error_share: view.error_share,
            outcomes: view.outcomes,
            consecutive_failures: view.consecutive_failures,
        }
    }
}

impl From<LocationReport> for LocationDocument {
    fn from(report: LocationReport) -> Self {
        let health = &report.health;
        Self {
            location: report.location.to_string(),
            state: health.state().as_str().to_owned(),
            reason: health.reason().map(|reason| reason.as_str().to_owned()),
            since: (health.since().milliseconds() > 0).then(|| report.since.to_rfc3339()),
            free_bytes: report.free_bytes,
            read: UseDocument::from(&health.read),
            write: UseDocument::from(&health.write),
            copied_bytes_per_second: None,
        }
    }
}
