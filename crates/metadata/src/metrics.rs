//! What Prometheus is told of the database: how its statements fare, and its connections.
//!
//! The labels are closed lists: what kind of step it was, how it failed, which pool. The text of a statement and its values are in none.

use std::time::Duration;

use prometheus::core::Collector;
use prometheus::proto::MetricFamily;
use prometheus::{
    GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, Opts,
};
use tokio::time::Instant;
use tracing::Instrument as _;

use crate::database::Database;
use crate::dialect::Engine;
use crate::error::{DriverError, MetadataError};

/// From a look into an index in memory to a statement that a limit ends.
const STATEMENT_SECONDS: [f64; 12] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 30.0,
];

/// A step of the work with the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// A statement that gives rows.
    Read,
    /// A statement that changes rows and tells how many.
    Write,
    /// The beginning of a transaction: the wait for a connection, and on SQLite for other writers.
    Begin,
    /// Its end.
    Commit,
}

impl Step {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Begin => "begin",
            Self::Commit => "commit",
        }
    }
}

/// Counts statements. Each costs two looks at the clock and a few atomic additions, room for its future, and a span where spans are kept.
#[derive(Debug)]
pub(crate) struct Statements {
    seconds: HistogramVec,
    read: Histogram,
    write: Histogram,
    begin: Histogram,
    commit: Histogram,
    failures: IntCounterVec,
}

impl Default for Statements {
    fn default() -> Self {
        let options = HistogramOpts::new(
            "roadstead_database_statement_seconds",
            "Time that a statement took, or the beginning or the end of a transaction, with the wait for a connection",
        );
        let seconds = made(HistogramVec::new(
            options.buckets(STATEMENT_SECONDS.to_vec()),
            &["step"],
        ));
        let of = |step: Step| seconds.with_label_values(&[step.as_str()]);
        let failures = made(IntCounterVec::new(
            Opts::new(
                "roadstead_database_failures_total",
                "Statements that failed: the database was not available, another transaction was in the way, or anything else",
            ),
            &["class"],
        ));
        for class in ["unavailable", "contended", "other"] {
            failures.with_label_values(&[class]);
        }
        Self {
            read: of(Step::Read),
            write: of(Step::Write),
            begin: of(Step::Begin),
            commit: of(Step::Commit),
            seconds,
            failures,
        }
    }
}

impl Statements {
    /// Waits for a step of `operation`, counts it, and is its span. An error says which operation it was.
    pub(crate) async fn over<T>(
        &self,
        (step, engine): (Step, Engine),
        operation: &'static str,
        work: impl Future<Output = Result<T, DriverError>>,
    ) -> Result<T, MetadataError> {
        let span = tracing::debug_span!(
            "db.query",
            otel.name = operation,
            otel.kind = "client",
            db.system.name = engine.system_name(),
            db.operation.name = step.as_str(),
            error.r#type = tracing::field::Empty,
        );
        let began = Instant::now();
        let done = Box::pin(work).instrument(span.clone()).await;
        self.took(step, began.elapsed());
        done.map_err(|error| {
            let error = MetadataError::driver(operation, error);
            let class = match error {
                MetadataError::Unavailable { .. } => "unavailable",
                MetadataError::Contended { .. } => "contended",
                _ => "other",
            };
            self.failures.with_label_values(&[class]).inc();
            span.record("error.type", class);
            error
        })
    }

    fn took(&self, step: Step, time: Duration) {
        let histogram = match step {
            Step::Read => &self.read,
            Step::Write => &self.write,
            Step::Begin => &self.begin,
            Step::Commit => &self.commit,
        };
        histogram.observe(time.as_secs_f64());
    }
}

/// How the connections of a pool are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct PoolState {
    pub(crate) in_use: u32,
    pub(crate) idle: u32,
}

impl Database {
    /// Everything that there is to tell Prometheus of the database, as it is seen from here. Asks no database.
    pub fn metrics(&self) -> Vec<MetricFamily> {
        let gauge =
            |name, help, labels: &[&str]| made(GaugeVec::new(Opts::new(name, help), labels));
        let up = gauge(
            "roadstead_database_up",
            "1 while there is a server that statements can go to, 0 while there is none",
            &[],
        );
        let connections = gauge(
            "roadstead_database_connections",
            "Connections to the database that are open here",
            &["pool", "state"],
        );
        let in_use = gauge(
            "quay_db_pooled_connections_in_use",
            "Connections to the database that are in use",
            &[],
        );
        let available = gauge(
            "quay_db_pooled_connections_available",
            "Connections to the database that are open and idle",
            &[],
        );
        let server_changes = made(IntCounter::new(
            "roadstead_database_server_changes_total",
            "How often statements went on to another server of the database, or anew to the one from before after connections were lost",
        ));
        let (is_up, changes, pools) = self.pool_states();
        server_changes.inc_by(changes);
        up.with_label_values::<&str>(&[])
            .set(if is_up { 1.0 } else { 0.0 });
        let mut all = PoolState::default();
        for (pool, state) in pools {
            connections
                .with_label_values(&[pool, "in_use"])
                .set(f64::from(state.in_use));
            connections
                .with_label_values(&[pool, "idle"])
                .set(f64::from(state.idle));
            all.in_use += state.in_use;
            all.idle += state.idle;
        }
        in_use
            .with_label_values::<&str>(&[])
            .set(f64::from(all.in_use));
        available
            .with_label_values::<&str>(&[])
            .set(f64::from(all.idle));
        let statements = self.statements();
        let collectors: [&dyn Collector; 7] = [
            &statements.seconds,
            &statements.failures,
            &server_changes,
            &up,
            &connections,
            &in_use,
            &available,
        ];
        collectors
            .into_iter()
            .flat_map(Collector::collect)
            .collect()
    }
}

/// Names and labels are written here, and are right or wrong whatever happens.
fn made<T>(metric: prometheus::Result<T>) -> T {
    metric.expect("valid names")
}
