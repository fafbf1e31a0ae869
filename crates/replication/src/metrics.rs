//! What Prometheus is told of the replication: counters of what this process has done, and gauges of the whole registry.
//!
//! Gauges need queries over whole tables. They are refreshed in the background, at a pace that their own cost bounds, and a scrape gets what was last
//! found. Every series has the label `location` but those of the whole; its values are the locations of the configuration and the database.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chrono::TimeDelta;
use prometheus::core::Collector;
use prometheus::proto::MetricFamily;
use prometheus::{GaugeVec, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, Opts};
use roadstead_metadata::MetadataError;
use roadstead_placement::{FailureClass, LocationName};
use roadstead_queue::{Job, JobOutcome};
use roadstead_runtime::Shutdown;

use crate::Replication;

/// A small blob to a near store, and a large one under a limit.
const COPY_SECONDS: [f64; 13] = [
    0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 30.0, 120.0, 600.0, 3_600.0,
];

/// How often the gauges are refreshed, and how many times as long as a refresh takes is waited at least.
const REFRESH: Duration = Duration::from_secs(30);
const REFRESH_SHARE: i32 = 20;

/// Counts what this process does. Clones are the same.
#[derive(Clone, Debug)]
pub(crate) struct Counters {
    jobs: IntCounterVec,
    failures: IntCounterVec,
    seconds: HistogramVec,
    blobs: IntCounterVec,
    bytes: IntCounterVec,
    complete_images: IntCounter,
    read_back_objects: IntCounterVec,
    read_back_bytes: IntCounterVec,
    defective: IntCounterVec,
    repaired: IntCounterVec,
    gauges: Arc<Mutex<Vec<MetricFamily>>>,
}

impl Default for Counters {
    fn default() -> Self {
        let counter =
            |name, help, labels: &[&str]| made(IntCounterVec::new(Opts::new(name, help), labels));
        let of_location = |name, help| counter(name, help, &["location"]);
        Self {
            jobs: counter(
                "roadstead_replication_jobs_total",
                "Jobs of the replication queue that this process has taken, by what came of them",
                &["location", "outcome"],
            ),
            failures: counter(
                "roadstead_replication_failures_total",
                "Attempts to copy to a location that failed, by class",
                &["location", "class"],
            ),
            seconds: made(HistogramVec::new(
                HistogramOpts::new(
                    "roadstead_replication_copy_seconds",
                    "Time from the taking of jobs to the record of a copy at a location",
                )
                .buckets(COPY_SECONDS.to_vec()),
                &["location"],
            )),
            blobs: of_location(
                "roadstead_replication_copied_blobs_total",
                "Blobs that this process has copied to a location",
            ),
            bytes: of_location(
                "roadstead_replication_copied_bytes_total",
                "Bytes of the blobs that this process has copied to a location",
            ),
            complete_images: made(IntCounter::new(
                "roadstead_replication_complete_images_total",
                "Images of which this process has noted that they are complete at a location",
            )),
            read_back_objects: of_location(
                "roadstead_scrub_objects_total",
                "Objects that this process has read back",
            ),
            read_back_bytes: of_location(
                "roadstead_scrub_bytes_total",
                "Bytes that this process has read back",
            ),
            defective: of_location(
                "roadstead_scrub_defective_total",
                "Objects that this process has read back and found missing or damaged",
            ),
            repaired: of_location(
                "roadstead_scrub_repaired_total",
                "Objects that were missing or damaged before and were found intact",
            ),
            gauges: Arc::default(),
        }
    }
}

impl Counters {
    /// Nothing has happened at these locations: series that are there from the beginning are ones that alerts can stand on.
    pub(crate) fn of<'a>(locations: impl IntoIterator<Item = &'a LocationName>) -> Self {
        let new = Self::default();
        for location in locations {
            let location = location.as_str();
            for outcome in ["done", "obsolete", "failed", "paused", "interrupted"] {
                new.jobs.with_label_values(&[location, outcome]);
            }
            for class in FailureClass::ALL {
                new.failures.with_label_values(&[location, class.as_str()]);
            }
            new.seconds.with_label_values(&[location]);
            for counters in [
                &new.blobs,
                &new.bytes,
                &new.read_back_objects,
                &new.read_back_bytes,
                &new.defective,
                &new.repaired,
            ] {
                counters.with_label_values(&[location]);
            }
        }
        new
    }

    /// Counts how jobs ended that were taken so long ago. A row of Quay's has no location.
    pub(crate) fn note_job(&self, job: &Job, outcome: &JobOutcome, took: TimeDelta) {
        let location = job.target.as_ref().map_or("", LocationName::as_str);
        let word = match outcome {
            JobOutcome::Done => "done",
            JobOutcome::Recorded => {
                let seconds = took.to_std().unwrap_or_default().as_secs_f64();
                self.seconds.with_label_values(&[location]).observe(seconds);
                "done"
            }
            JobOutcome::Obsolete => "obsolete",
            JobOutcome::Retry { class, .. } => {
                self.note_failure(location, *class);
                "failed"
            }
            JobOutcome::Postpone { .. } => {
                self.note_failure(location, FailureClass::Permanent);
                "failed"
            }
            JobOutcome::Wait { .. } => "paused",
            JobOutcome::Interrupted => "interrupted",
        };
        self.jobs.with_label_values(&[location, word]).inc();
    }

    fn note_failure(&self, location: &str, class: FailureClass) {
        self.failures
            .with_label_values(&[location, class.as_str()])
            .inc();
    }

    pub(crate) fn note_copy(&self, target: &LocationName, bytes: u64) {
        let labels = [target.as_str()];
        self.blobs.with_label_values(&labels).inc();
        self.bytes.with_label_values(&labels).inc_by(bytes);
    }

    pub(crate) fn note_complete_images(&self, images: u64) {
        self.complete_images.inc_by(images);
    }

    pub(crate) fn note_read_back(&self, location: &LocationName, bytes: u64) {
        let labels = [location.as_str()];
        self.read_back_objects.with_label_values(&labels).inc();
        self.read_back_bytes
            .with_label_values(&labels)
            .inc_by(bytes);
    }

    pub(crate) fn note_defective(&self, location: &LocationName) {
        self.defective.with_label_values(&[location.as_str()]).inc();
    }

    pub(crate) fn note_repaired(&self, location: &LocationName, objects: usize) {
        self.repaired
            .with_label_values(&[location.as_str()])
            .inc_by(objects as u64);
    }
}

impl Replication {
    /// Everything that there is to tell Prometheus of the replication. Asks neither the database nor a store: gauges are as they were when
    /// [`Replication::keep_measured`] looked last, and there are none where it does not run.
    pub fn metrics(&self) -> Vec<MetricFamily> {
        let counters = &self.counters;
        let collectors: [&dyn Collector; 10] = [
            &counters.jobs,
            &counters.failures,
            &counters.seconds,
            &counters.blobs,
            &counters.bytes,
            &counters.complete_images,
            &counters.read_back_objects,
            &counters.read_back_bytes,
            &counters.defective,
            &counters.repaired,
        ];
        let mut families: Vec<MetricFamily> = collectors
            .into_iter()
            .flat_map(Collector::collect)
            .filter(|family| !family.get_metric().is_empty())
            .collect();
        let gauges = counters.gauges.lock();
        families.extend(gauges.unwrap_or_else(PoisonError::into_inner).clone());
        families.sort_by(|one, other| one.name().cmp(other.name()));
        families
    }

    /// Refreshes the gauges of [`Replication::metrics`] twice a minute, less often where that takes long, until `shutdown`. While the database does
    /// not answer there are none.
    pub async fn keep_measured(&self, shutdown: &Shutdown) {
        while !shutdown.requested() {
            let began = self.environment.now();
            let measured = tokio::select! {
                measured = self.measure() => measured,
                () = shutdown.wait() => return,
            };
            let families = measured.unwrap_or_else(|error| {
                tracing::debug!(%error, "Could not refresh the metrics of the replication");
                Vec::new()
            });
            *self
                .counters
                .gauges
                .lock()
                .unwrap_or_else(PoisonError::into_inner) = families;
            let share = (self.environment.now() - began) * REFRESH_SHARE;
            let pause = REFRESH.max(share.to_std().unwrap_or_default());
            tokio::select! {
                () = self.environment.clock.sleep(pause) => {}
                () = shutdown.wait() => return,
            }
        }
    }

    /// The gauges. The number of queries is constant.
    pub(crate) async fn measure(&self) -> Result<Vec<MetricFamily>, MetadataError> {
        let gauge =
            |name, help, labels: &[&str]| made(GaugeVec::new(Opts::new(name, help), labels));
        let of_location = |name, help| gauge(name, help, &["location"]);
        let missing_blobs = of_location(
            "roadstead_replication_missing_blobs",
            "Blobs that a location should hold and does not",
        );
        let missing_bytes = of_location(
            "roadstead_replication_missing_bytes",
            "Bytes of the blobs that a location should hold and does not",
        );
        let queued = of_location(
            "roadstead_replication_queued_blobs",
            "Missing blobs whose copy is queued",
        );
        let failing = of_location(
            "roadstead_replication_failing_blobs",
            "Missing blobs whose last attempt failed",
        );
        let oldest = of_location(
            "roadstead_replication_oldest_gap_seconds",
            "For how long the oldest queued copy to a location has been wanted; 0 if nothing is missing",
        );
        let awaited = of_location(
            "roadstead_replication_awaited_images",
            "Images that are to become complete at a location",
        );
        let jobs = gauge(
            "roadstead_replication_queue_jobs",
            "Rows of the replication queue",
            &[],
        );
        let began = of_location(
            "roadstead_scrub_round_began_timestamp_seconds",
            "When the round of reading a location back began",
        );
        let ended = of_location(
            "roadstead_scrub_last_round_ended_timestamp_seconds",
            "When the round of reading back before the present one ended",
        );
        let read = of_location(
            "roadstead_scrub_round_objects",
            "Objects that were read in the round, by all processes",
        );
        let found = of_location(
            "roadstead_scrub_round_defective",
            "Objects of the round that were missing or damaged",
        );
        let pending = gauge(
            "roadstead_webhook_pending",
            "Events that a webhook has still to be told",
            &["webhook"],
        );
        let given_up = gauge(
            "roadstead_webhook_given_up",
            "Events that a webhook did not take within a day",
            &["webhook"],
        );
        let measured = gauge(
            "roadstead_replication_measured_timestamp_seconds",
            "When the gauges of the replication, the reading back and the webhooks were refreshed",
            &[],
        );

        let now = self.environment.now();
        for name in self.locations.names() {
            for gauge in [
                &missing_blobs,
                &missing_bytes,
                &queued,
                &failing,
                &oldest,
                &awaited,
            ] {
                gauge.with_label_values(&[name.as_str()]).set(0.0);
            }
        }
        for here in self.database.missing_copies(self.demand()).await? {
            let labels = [here.location.as_str()];
            let age = here.oldest.map(|oldest| (now - oldest).num_seconds());
            for (gauge, value) in [
                (&missing_blobs, here.blobs),
                (&missing_bytes, here.bytes),
                (&queued, here.queued),
                (&failing, here.failing),
                (
                    &oldest,
                    age.unwrap_or_default().try_into().unwrap_or_default(),
                ),
            ] {
                gauge.with_label_values(&labels).set(number(value));
            }
        }
        for (location, images) in self.database.count_awaited_images().await? {
            awaited
                .with_label_values(&[location.as_str()])
                .set(number(images));
        }
        let rows = self.database.count_jobs(&self.queue).await?;
        jobs.with_label_values::<&str>(&[]).set(number(rows));
        let seconds = |time: roadstead_runtime::Timestamp| {
            number(time.timestamp().try_into().unwrap_or_default())
        };
        for state in self.database.scrub_states().await? {
            let labels = [state.location.as_str()];
            began
                .with_label_values(&labels)
                .set(seconds(state.round_began));
            if let Some(last) = state.last_ended {
                ended.with_label_values(&labels).set(seconds(last));
            }
            read.with_label_values(&labels).set(number(state.objects));
            found.with_label_values(&labels).set(number(state.found));
        }
        for webhook in self.database.webhooks().await? {
            let id = webhook.id.to_string();
            let labels = [id.as_str()];
            pending
                .with_label_values(&labels)
                .set(number(webhook.pending));
            given_up
                .with_label_values(&labels)
                .set(number(webhook.given_up));
        }
        measured.with_label_values::<&str>(&[]).set(seconds(now));
        Ok([
            missing_blobs,
            missing_bytes,
            queued,
            failing,
            oldest,
            awaited,
            jobs,
            began,
            ended,
            read,
            found,
            pending,
            given_up,
            measured,
        ]
        .iter()
        .flat_map(Collector::collect)
        .filter(|family| !family.get_metric().is_empty())
        .collect())
    }
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

#[cfg(test)]
mod tests {
    use prometheus::TextEncoder;

    use super::*;
    use crate::world::World;

    fn told(families: &[MetricFamily]) -> String {
        TextEncoder::new().encode_to_string(families).unwrap()
    }

    #[tokio::test]
    async fn what_is_missing_copied_and_failing_is_told_of_every_location() {
        let world = World::new(&["us", "eu"]).await;
        world.push_image("us", "v1", &[b"layer"]).await;
        world.clock.advance(Duration::from_secs(90));
        let before = told(&world.replication.measure().await.unwrap());
        for line in [
            "roadstead_replication_missing_blobs{location=\"eu\"} 2",
            "roadstead_replication_missing_blobs{location=\"us\"} 0",
            "roadstead_replication_queued_blobs{location=\"eu\"} 2",
            "roadstead_replication_oldest_gap_seconds{location=\"eu\"} 90",
            "roadstead_replication_awaited_images{location=\"eu\"} 1",
            "roadstead_replication_queue_jobs 2",
        ] {
            assert!(before.contains(line), "{line}: {before}");
        }
        world.unmount("eu");
        world.work().await;
        world.mount("eu");
        world.clock.advance(Duration::from_secs(2));
        world.work().await;
        world.replication.note_complete_images().await.unwrap();
        let counters = told(&world.replication.metrics());
        for line in [
            "roadstead_replication_copied_blobs_total{location=\"eu\"} 2",
            "roadstead_replication_failures_total{class=\"target-down\",location=\"eu\"} 2",
            "roadstead_replication_jobs_total{location=\"eu\",outcome=\"done\"} 2",
            "roadstead_replication_jobs_total{location=\"eu\",outcome=\"failed\"} 2",
            "roadstead_replication_copy_seconds_count{location=\"eu\"} 2",
            "roadstead_replication_complete_images_total 2",
        ] {
            assert!(counters.contains(line), "{line}: {counters}");
        }
        assert!(!counters.contains("missing_blobs"), "nobody measured");
        let after = told(&world.replication.measure().await.unwrap());
        for line in [
            "roadstead_replication_missing_blobs{location=\"eu\"} 0",
            "roadstead_replication_oldest_gap_seconds{location=\"eu\"} 0",
            "roadstead_replication_queue_jobs 0",
        ] {
            assert!(after.contains(line), "{line}: {after}");
        }
    }
}
