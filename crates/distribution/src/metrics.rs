//! What Prometheus is told of pulls and of garbage: from where blobs were served and why from there, and what was removed.

use prometheus::core::Collector;
use prometheus::proto::MetricFamily;
use prometheus::{IntCounter, IntCounterVec, Opts};
use roadstead_metadata::Removed;
use roadstead_placement::LocationName;

use crate::garbage::GarbageCollector;
use crate::registry::Registry;

/// Why a blob was served from where it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Served {
    /// From the region's own location.
    Local,
    /// From another, which ranks first.
    Other,
    /// The client was sent to the store.
    Redirect,
    /// From the next after one failed, fell silent or crawled.
    Failover,
    /// From one that overtook a slow one.
    Hedged,
}

impl Served {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Other => "other",
            Self::Redirect => "redirect",
            Self::Failover => "failover",
            Self::Hedged => "hedged",
        }
    }
}

/// Counts pulls.
#[derive(Debug)]
pub(crate) struct PullCounters {
    reads: IntCounterVec,
    fills: IntCounterVec,
}

impl Default for PullCounters {
    fn default() -> Self {
        let new = Self {
            reads: made(IntCounterVec::new(
                Opts::new(
                    "roadstead_blob_reads_total",
                    "Readings of blobs that were begun or gone on with, by the location that served them and why it was that one",
                ),
                &["location", "served"],
            )),
            fills: made(IntCounterVec::new(
                Opts::new(
                    "roadstead_fills_total",
                    "Blobs that were written to this region's location while they were pulled from another, by whether they were kept",
                ),
                &["outcome"],
            )),
        };
        for outcome in ["kept", "not_kept"] {
            new.fills.with_label_values(&[outcome]);
        }
        new
    }
}

impl PullCounters {
    pub(crate) fn note_read(&self, location: &LocationName, served: Served) {
        self.reads
            .with_label_values(&[location.as_str(), served.as_str()])
            .inc();
    }

    pub(crate) fn note_fill(&self, kept: bool) {
        let outcome = if kept { "kept" } else { "not_kept" };
        self.fills.with_label_values(&[outcome]).inc();
    }
}

impl Registry {
    /// Everything that there is to tell Prometheus of pulls. Asks nobody.
    pub fn metrics(&self) -> Vec<MetricFamily> {
        let counters = &self.inner.counters;
        let dropped = made(IntCounter::new(
            "roadstead_pull_notes_dropped_total",
            "Notes of pulls that were dropped because the database did not take them for too long",
        ));
        dropped.inc_by(self.dropped_pull_notes());
        collect(&[&counters.reads, &counters.fills, &dropped])
    }
}

/// Counts what garbage collection removed, under Quay's names.
#[derive(Debug)]
pub(crate) struct GarbageCounters {
    rows: IntCounterVec,
    blobs: IntCounter,
    repositories: IntCounter,
    namespaces: IntCounter,
    iterations: IntCounter,
    objects: IntCounter,
    bytes: IntCounter,
}

impl Default for GarbageCounters {
    fn default() -> Self {
        let counter = |name, help| made(IntCounter::new(name, help));
        let new = Self {
            rows: made(IntCounterVec::new(
                Opts::new(
                    "quay_gc_table_rows_deleted_total",
                    "Rows that garbage collection deleted: those of tags, manifests and blobs themselves",
                ),
                &["table"],
            )),
            blobs: counter(
                "quay_gc_storage_blobs_deleted_total",
                "Blobs that garbage collection removed",
            ),
            repositories: counter(
                "quay_gc_repos_purged_total",
                "Deleted repositories that were removed for good",
            ),
            namespaces: counter(
                "quay_gc_namespaces_purged_total",
                "Deleted namespaces that were removed for good",
            ),
            iterations: counter(
                "quay_gc_iterations_total",
                "Rounds of the garbage collection",
            ),
            objects: counter(
                "roadstead_garbage_objects_total",
                "Objects that garbage collection deleted at the locations",
            ),
            bytes: counter(
                "roadstead_garbage_bytes_total",
                "Bytes of the blobs that garbage collection removed, once each",
            ),
        };
        for table in TABLES {
            new.rows.with_label_values(&[table]);
        }
        new
    }
}

const TABLES: [&str; 3] = ["Tag", "Manifest", "ImageStorage"];

impl GarbageCounters {
    pub(crate) fn note_round(&self, removed: &Removed) {
        self.iterations.inc();
        let rows = [removed.tags, removed.manifests, removed.blobs];
        for (table, rows) in TABLES.into_iter().zip(rows) {
            self.rows.with_label_values(&[table]).inc_by(rows);
        }
        self.blobs.inc_by(removed.blobs);
        self.repositories.inc_by(removed.repositories);
        self.namespaces.inc_by(removed.namespaces);
        self.objects.inc_by(removed.objects);
        self.bytes.inc_by(removed.bytes);
    }
}

impl GarbageCollector {
    /// Everything that there is to tell Prometheus of what this process collected. Asks nobody.
    pub fn metrics(&self) -> Vec<MetricFamily> {
        let counters = self.counters();
        collect(&[
            &counters.rows,
            &counters.blobs,
            &counters.repositories,
            &counters.namespaces,
            &counters.iterations,
            &counters.objects,
            &counters.bytes,
        ])
    }
}

fn collect(collectors: &[&dyn Collector]) -> Vec<MetricFamily> {
    collectors
        .iter()
        .flat_map(|collector| collector.collect())
        .filter(|family| !family.get_metric().is_empty())
        .collect()
}

/// Names and labels are written here, and are right or wrong whatever happens.
fn made<T>(metric: prometheus::Result<T>) -> T {
    metric.expect("valid names")
}
