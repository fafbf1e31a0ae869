//! `/health/locations`: how every storage location fares, as this process has seen it. Nothing is asked for it, so that it answers at once.

use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use roadstead_locations::{LocationReport, Locations};
use roadstead_placement::{CircuitState, UseView};
use serde::Serialize;

/// How long the disks of local locations may take to say how full they are.
const PATIENCE: Duration = Duration::from_millis(500);

#[derive(Serialize)]
struct Report {
    data: Data,
    status_code: u16,
}

#[derive(Serialize)]
struct Data {
    locations: Vec<OneLocation>,
}

#[derive(Serialize)]
struct OneLocation {
    location: String,
    state: &'static str,
    reason: Option<&'static str>,
    since: Option<String>,
    free_bytes: Option<u64>,
    read: OneUse,
    write: OneUse,
}

#[derive(Serialize)]
struct OneUse {
    state: &'static str,
    circuit: &'static str,
    reason: Option<&'static str>,
    last_failure: Option<&'static str>,
    latency_mean_ms: Option<u64>,
    latency_p95_ms: Option<u64>,
    bytes_per_second: Option<u64>,
    error_share: f64,
    outcomes: u32,
    consecutive_failures: u32,
}

impl From<&UseView> for OneUse {
    fn from(view: &UseView) -> Self {
        let milliseconds =
            |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        Self {
            state: view.state.as_str(),
            circuit: match view.circuit {
                CircuitState::Closed => "closed",
                CircuitState::Open { .. } => "open",
                CircuitState::HalfOpen { .. } => "half-open",
            },
            reason: view.reason.map(|reason| reason.as_str()),
            last_failure: view.last_failure.map(|reason| reason.as_str()),
            latency_mean_ms: view.latency_mean.map(milliseconds),
            latency_p95_ms: view.latency_p95.map(milliseconds),
            bytes_per_second: view.bytes_per_second,
            error_share: view.error_share,
            outcomes: view.outcomes,
            consecutive_failures: view.consecutive_failures,
        }
    }
}

impl From<LocationReport> for OneLocation {
    fn from(report: LocationReport) -> Self {
        let health = &report.health;
        Self {
            location: report.location.to_string(),
            state: health.state().as_str(),
            reason: health.reason().map(|reason| reason.as_str()),
            // Of a location that nothing has happened to yet there is nothing to say.
            since: (health.since().milliseconds() > 0).then(|| report.since.to_rfc3339()),
            free_bytes: report.free_bytes,
            read: OneUse::from(&health.read),
            write: OneUse::from(&health.write),
        }
    }
}

/// The body: JSON without spaces, and a line feed, in the form of the other health checks.
pub(crate) async fn body(locations: &Locations) -> Bytes {
    let report = Report {
        data: Data {
            locations: locations
                .report(PATIENCE)
                .await
                .into_iter()
                .map(OneLocation::from)
                .collect(),
        },
        status_code: StatusCode::OK.as_u16(),
    };
    let mut body = serde_json::to_vec(&report).expect("texts and numbers can be written");
    body.push(b'\n');
    body.into()
}
