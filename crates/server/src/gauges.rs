//! The metrics that are counted over whole tables: refreshed in the background, seldom and by one statement at a time, and told as they were last.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use prometheus::core::Collector;
use prometheus::proto::MetricFamily;
use prometheus::{Gauge, GaugeVec, Opts};
use roadstead_metadata::{Database, MetadataError, QueueState, Totals};
use roadstead_runtime::{Environment, Shutdown};

use crate::process::{made, number};

/// How many times as long as a refresh takes is waited at least, so that a large database is not kept busy by being counted.
const REFRESH_SHARE: u32 = 20;

/// The longest that is waited, unless more is asked for: a clock that was put forward meanwhile makes any refresh look long.
const PAUSE_MAX: Duration = Duration::from_hours(1);

/// What was last counted. Clones are the same.
#[derive(Clone, Debug)]
pub(crate) struct Gauges {
    database: Database,
    environment: Environment,
    queue: Option<String>,
    last: Arc<Mutex<Vec<MetricFamily>>>,
}

impl Gauges {
    /// Of this database, and of the queue of this name if there is one. Nothing is counted yet.
    pub(crate) fn new(database: Database, environment: Environment, queue: Option<String>) -> Self {
        Self {
            database,
            environment,
            queue,
            last: Arc::default(),
        }
    }

    pub(crate) fn environment(&self) -> &Environment {
        &self.environment
    }

    /// What was last counted; nothing before that, and while the database does not answer.
    pub(crate) fn metrics(&self) -> Vec<MetricFamily> {
        self.last
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Counts every `interval`, less often where that takes long, until the shutdown.
    pub(crate) async fn keep_fresh(&self, interval: Duration, shutdown: &Shutdown) {
        while !shutdown.requested() {
            let began = self.environment.now();
            let counted = tokio::select! {
                counted = self.count() => counted,
                () = shutdown.wait() => return,
            };
            let families = counted.unwrap_or_else(|error| {
                tracing::debug!(%error, "Could not count what there is in the database");
                Vec::new()
            });
            *self.last.lock().unwrap_or_else(PoisonError::into_inner) = families;
            let took = (self.environment.now() - began).to_std();
            let pause = pause(interval, took.unwrap_or_default());
            tokio::select! {
                () = self.environment.clock.sleep(pause) => {}
                () = shutdown.wait() => return,
            }
        }
    }

    async fn count(&self) -> Result<Vec<MetricFamily>, MetadataError> {
        let totals = self.database.totals().await?;
        let mut families = of_totals(totals);
        if let Some(queue) = &self.queue {
            let now = self.environment.now();
            let state = self.database.queue_state(queue, now).await?;
            families.extend(of_queue(queue, state));
        }
        Ok(families)
    }
}

/// How long to wait after a refresh that took so long.
fn pause(interval: Duration, took: Duration) -> Duration {
    let share = took.saturating_mul(REFRESH_SHARE);
    share.max(interval).min(interval.max(PAUSE_MAX))
}

fn of_totals(totals: Totals) -> Vec<MetricFamily> {
    [
        (
            "quay_repository_rows",
            "Repositories in the database",
            totals.repositories,
        ),
        (
            "quay_user_rows",
            "Accounts of people that are enabled",
            totals.users,
        ),
        (
            "quay_org_rows",
            "Organisations that are enabled",
            totals.organizations,
        ),
        ("quay_robot_rows", "Robots in the database", totals.robots),
        (
            "roadstead_uploads_open",
            "Upload sessions that are open, in all regions",
            totals.uploads,
        ),
    ]
    .into_iter()
    .flat_map(|(name, help, value)| {
        let gauge = made(Gauge::new(name, help));
        gauge.set(number(value));
        gauge.collect()
    })
    .collect()
}

fn of_queue(queue: &str, state: QueueState) -> Vec<MetricFamily> {
    [
        (
            "quay_queue_items_locked",
            "Rows of a queue that somebody works on",
            state.locked,
        ),
        (
            "quay_queue_items_available",
            "Rows of a queue that may be taken now",
            state.available,
        ),
        (
            "quay_queue_items_available_unlocked",
            "Rows of a queue that may be taken now and that nobody works on under the same name",
            state.available_unlocked,
        ),
    ]
    .into_iter()
    .flat_map(|(name, help, value)| {
        let gauge = made(GaugeVec::new(Opts::new(name, help), &["queue_name"]));
        gauge.with_label_values(&[queue]).set(number(value));
        gauge.collect()
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refresh_that_takes_long_is_rare_and_a_clock_that_jumps_ends_none() {
        let seconds = Duration::from_secs;
        assert_eq!(pause(seconds(60), seconds(1)), seconds(60));
        assert_eq!(pause(seconds(60), seconds(10)), seconds(200));
        assert_eq!(pause(seconds(60), Duration::MAX), PAUSE_MAX);
        assert_eq!(pause(seconds(7200), Duration::MAX), seconds(7200));
    }
}
