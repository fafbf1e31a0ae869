//! What Prometheus is told of each location: counters of what was seen, and gauges of how it fares at the moment it is asked.
//!
//! Every series has the label `location`, and those of one use the label `use` (`read` or `write`). Names that are configured are the
//! only values of `location`, so that the number of series is bounded by the configuration.

use std::time::Duration;

use prometheus::core::Collector;
use prometheus::proto::MetricFamily;
use prometheus::{GaugeVec, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, Opts};
use roadstead_placement::{FailureKind, HealthState, LocationName, Outcome, Use};

use crate::locations::Locations;
use crate::report::LocationReport;

/// Answers are between a local disk's and the longest that anybody waits.
const ANSWER_SECONDS: [f64; 12] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0,
];

/// Counts what is seen.
#[derive(Debug)]
pub(crate) struct Counters {
    requests: IntCounterVec,
    answers: HistogramVec,
    bytes: IntCounterVec,
    damaged: IntCounterVec,
    hedges: IntCounter,
}

impl Default for Counters {
    fn default() -> Self {
        let counter =
            |name, help, labels: &[&str]| made(IntCounterVec::new(Opts::new(name, help), labels));
        Self {
            requests: counter(
                "roadstead_location_requests_total",
                "Requests to the store of a location, by what came of them",
                &["location", "use", "outcome"],
            ),
            answers: made(HistogramVec::new(
                HistogramOpts::new(
                    "roadstead_location_answer_seconds",
                    "Time from a request to a location's answer: the first byte of a read, the end of a small request",
                )
                .buckets(ANSWER_SECONDS.to_vec()),
                &["location", "use"],
            )),
            bytes: counter(
                "roadstead_location_transferred_bytes_total",
                "Bytes read from a location or written to it",
                &["location", "use"],
            ),
            damaged: counter(
                "roadstead_location_damaged_reads_total",
                "Objects that were read to their end and had other bytes than their digest says",
                &["location"],
            ),
            hedges: made(IntCounter::new(
                "roadstead_hedged_reads_total",
                "Reads for which a second location was asked because the first took long",
            )),
        }
    }
}

impl Counters {
    pub(crate) fn count(&self, location: &LocationName, wanted: Use, outcome: Outcome) {
        let labels = [location.as_str(), wanted.as_str()];
        let request = |outcome| {
            let [location, wanted] = labels;
            self.requests
                .with_label_values(&[location, wanted, outcome])
                .inc();
        };
        match outcome {
            Outcome::Answered { latency } => {
                request("answered");
                self.answers
                    .with_label_values(&labels)
                    .observe(latency.as_secs_f64());
            }
            Outcome::Transferred { bytes, .. } => {
                self.bytes.with_label_values(&labels).inc_by(bytes);
            }
            // What is read wrong is told for both uses.
            Outcome::Damaged { .. } if wanted == Use::Read => {
                self.damaged.with_label_values(&labels[..1]).inc();
            }
            Outcome::Damaged { .. } => {}
            Outcome::Failed(kind) | Outcome::Broken(kind) => request(word(kind)),
            Outcome::Overtaken { .. } => request("overtaken"),
        }
    }

    pub(crate) fn count_hedge(&self) {
        self.hedges.inc();
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let collectors: [&dyn Collector; 5] = [
            &self.requests,
            &self.answers,
            &self.bytes,
            &self.damaged,
            &self.hedges,
        ];
        collectors
            .into_iter()
            .flat_map(Collector::collect)
            .filter(|family| !family.get_metric().is_empty())
            .collect()
    }
}

const fn word(kind: FailureKind) -> &'static str {
    match kind {
        FailureKind::Unreachable => "unreachable",
        FailureKind::Timeout => "timeout",
        FailureKind::Refused => "refused",
        FailureKind::Full => "full",
        FailureKind::ServerError => "server_error",
        FailureKind::Throttled => "throttled",
        FailureKind::Interrupted => "interrupted",
        FailureKind::Other => "other",
    }
}

impl Locations {
    /// Everything that there is to tell Prometheus of the locations. Asks no object store, and waits `patience` at most for those that can
    /// tell how full they are.
    pub async fn metrics(&self, patience: Duration) -> Vec<MetricFamily> {
        let mut families = self.seen.counters.collect();
        families.extend(gauges(&self.report(patience).await));
        families.sort_by(|one, other| one.name().cmp(other.name()));
        families
    }
}

/// How locations fare at this moment. What is not known of one has no series.
fn gauges(reports: &[LocationReport]) -> Vec<MetricFamily> {
    let gauge = |name, help, labels: &[&str]| made(GaugeVec::new(Opts::new(name, help), labels));
    let state = gauge(
        "roadstead_location_state",
        "1 for the state that a location is in for a use, 0 for the others",
        &["location", "use", "state"],
    );
    let circuit = gauge(
        "roadstead_location_circuit",
        "1 for what is done with a location for a use: closed: used, half-open: tried, open: left alone; 0 for the others",
        &["location", "use", "circuit"],
    );
    let errors = gauge(
        "roadstead_location_error_ratio",
        "The share of requests in the last seconds that failed",
        &["location", "use"],
    );
    let late = gauge(
        "roadstead_location_latency_p95_seconds",
        "What 95 of 100 answers of the last seconds did not exceed",
        &["location", "use"],
    );
    let speed = gauge(
        "roadstead_location_bytes_per_second",
        "The speed of the last transfers",
        &["location", "use"],
    );
    let since = gauge(
        "roadstead_location_state_since_timestamp_seconds",
        "Since when a location has been in its state",
        &["location"],
    );
    let free = gauge(
        "roadstead_location_free_bytes",
        "How many bytes more a location takes, where its store says so",
        &["location"],
    );
    for report in reports {
        let location = report.location.as_str();
        for (wanted, view) in [
            (Use::Read, &report.health.read),
            (Use::Write, &report.health.write),
        ] {
            let wanted = wanted.as_str();
            for one in HealthState::ALL {
                let labels = [location, wanted, one.as_str()];
                let set = if view.state == one { 1.0 } else { 0.0 };
                state.with_label_values(&labels).set(set);
            }
            for one in ["closed", "half-open", "open"] {
                let set = if view.circuit.as_str() == one {
                    1.0
                } else {
                    0.0
                };
                circuit.with_label_values(&[location, wanted, one]).set(set);
            }
            let labels = [location, wanted];
            errors.with_label_values(&labels).set(view.error_share);
            if let Some(latency) = view.latency_p95 {
                late.with_label_values(&labels).set(latency.as_secs_f64());
            }
            if let Some(bytes_per_second) = view.bytes_per_second {
                speed
                    .with_label_values(&labels)
                    .set(number(bytes_per_second));
            }
        }
        let milliseconds = report.health.since().milliseconds();
        if milliseconds > 0 {
            let seconds = number(milliseconds) / 1_000.0;
            since.with_label_values(&[location]).set(seconds);
        }
        if let Some(bytes) = report.free_bytes {
            free.with_label_values(&[location]).set(number(bytes));
        }
    }
    [state, circuit, errors, late, speed, since, free]
        .iter()
        .flat_map(Collector::collect)
        .filter(|family| !family.get_metric().is_empty())
        .collect()
}

/// Names and labels are written here, and are right or wrong whatever happens.
fn made<T>(metric: prometheus::Result<T>) -> T {
    metric.expect("valid names")
}

/// Prometheus has no other numbers: exact up to 8 PiB.
#[expect(
    clippy::cast_precision_loss,
    reason = "Prometheus has no other numbers"
)]
const fn number(value: u64) -> f64 {
    value as f64
}
