//! The loop that looks for jobs and keeps a bounded number of them running. What happens to one job is `attempt`'s business.

mod attempt;
#[cfg(test)]
mod tests;

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use roadstead_metadata::{ClaimJobs, Database, Job, MetadataError};
use roadstead_placement::retry_delay;
use roadstead_runtime::{Environment, Shutdown, Timestamp};
use tokio::task::JoinSet;

use crate::{Handler, WakeUp};
use attempt::Attempt;

const CONCURRENCY: NonZeroUsize = NonZeroUsize::new(4).expect("four is not zero");

/// How a worker goes about its queue.
#[derive(Clone, Debug)]
pub struct WorkerOptions {
    /// The queue: the part of `queue_name` before the first slash.
    pub queue: String,
    /// How many jobs run at once. It is also the size of the batches in which they are claimed: a job is leased only when
    /// it can start, so that none waits here while another worker is free.
    pub concurrency: NonZeroUsize,
    /// How long a job belongs to its worker without a heartbeat. There are three heartbeats a lease, so that two may fail.
    pub lease: Duration,
    /// How often the queue is looked into without being woken, on average: each wait is drawn from 0.5 to 1.5 times this,
    /// so that the workers of several processes spread out.
    pub poll_interval: Duration,
    /// How long running jobs may take to end after a shutdown before they are dropped.
    pub grace: Duration,
}

impl WorkerOptions {
    /// Four jobs at once, leases of a minute, a poll every five seconds, five seconds of grace.
    pub fn new(queue: impl Into<String>) -> Self {
        Self {
            queue: queue.into(),
            concurrency: CONCURRENCY,
            // A worker that dies holds its jobs up for this long; a database that stands still for two thirds of it costs nothing.
            lease: Duration::from_mins(1),
            poll_interval: Duration::from_secs(5),
            grace: Duration::from_secs(5),
        }
    }
}

/// Works off one queue.
#[derive(Clone, Debug)]
pub struct Worker {
    database: Database,
    environment: Environment,
    options: WorkerOptions,
    wake_up: WakeUp,
}

impl Worker {
    /// A worker that looks into its queue when `wake_up` says so, and from time to time.
    pub fn new(
        database: Database,
        environment: Environment,
        options: WorkerOptions,
        wake_up: WakeUp,
    ) -> Self {
        Self {
            database,
            environment,
            options,
            wake_up,
        }
    }

    /// Works until `shutdown`, whatever fails. Returns when no job is running any more and every lease is given back.
    ///
    /// Dropping the future drops the running jobs; their leases run out by themselves.
    pub async fn run<H: Handler>(&self, handler: Arc<H>, shutdown: Shutdown) {
        let mut attempts = JoinSet::new();
        let mut search = Search::new(self.environment.now());
        while !shutdown.requested() {
            let free = self.options.concurrency.get() - attempts.len();
            if search.due && free > 0 {
                let found = self.claim(free).await;
                search.note(&found, free, &self.environment, self.options.poll_interval);
                for job in found.unwrap_or_default() {
                    let attempt = Attempt {
                        database: self.database.clone(),
                        environment: self.environment.clone(),
                        lease: self.options.lease,
                        grace: self.options.grace,
                        shutdown: shutdown.clone(),
                        job,
                    };
                    let handler = Arc::clone(&handler);
                    attempts.spawn(async move { attempt.run(handler.as_ref()).await });
                }
                // Fewer slots may be free now, or none: look again before waiting.
                continue;
            }
            tokio::select! {
                biased;
                () = shutdown.wait() => {}
                Some(ended) = attempts.join_next() => search.note_end(ended.ok().flatten()),
                // A search that is due waits for a free slot, not for a reason.
                () = self.wake_up.woken(), if !search.due => search.due = true,
                () = self.environment.clock.sleep(search.wait(self.environment.now())), if !search.due => search.due = true,
            }
        }
        while attempts.join_next().await.is_some() {}
    }

    async fn claim(&self, free: usize) -> Result<Vec<Job>, MetadataError> {
        let now = self.environment.now();
        let claim = ClaimJobs {
            queue: &self.options.queue,
            limit: u32::try_from(free).unwrap_or(u32::MAX),
            now,
            lease_until: after(now, self.options.lease),
            token: self.environment.ids.uuid(),
        };
        self.database.claim_jobs(&claim).await
    }
}

/// When to look into the queue.
#[derive(Debug)]
struct Search {
    /// Whether there may be jobs that are due and not claimed.
    due: bool,
    /// When to look although nothing says that there are any.
    next: Timestamp,
    /// How many times in a row the database could not be asked.
    failures: u32,
}

impl Search {
    fn new(now: Timestamp) -> Self {
        Self {
            due: true,
            next: now,
            failures: 0,
        }
    }

    /// Takes in what a look into the queue brought.
    fn note(
        &mut self,
        found: &Result<Vec<Job>, MetadataError>,
        asked: usize,
        environment: &Environment,
        poll_interval: Duration,
    ) {
        let chance = environment.ids.fraction();
        let wait = match found {
            Ok(jobs) => {
                if self.failures > 0 {
                    tracing::info!("The queue can be read again");
                }
                self.failures = 0;
                self.due = jobs.len() >= asked;
                poll_interval.mul_f64(0.5 + chance)
            }
            Err(error) => {
                // Once per outage: the attempts that follow would say the same.
                if self.failures == 0 {
                    tracing::warn!(
                        error = error as &dyn std::error::Error,
                        "Could not look for jobs; trying again"
                    );
                }
                self.failures = self.failures.saturating_add(1);
                self.due = false;
                retry_delay(self.failures, chance).min(poll_interval)
            }
        };
        self.next = after(environment.now(), wait);
    }

    /// Takes in that a job ended, and when it is due again if it is.
    fn note_end(&mut self, due_again: Option<Timestamp>) {
        if let Some(due_again) = due_again {
            self.next = self.next.min(due_again);
        }
    }

    fn wait(&self, now: Timestamp) -> Duration {
        (self.next - now).to_std().unwrap_or_default()
    }
}

/// `duration` after `now`, or the end of time.
fn after(now: Timestamp, duration: Duration) -> Timestamp {
    TimeDelta::from_std(duration)
        .ok()
        .and_then(|delta| now.checked_add_signed(delta))
        .unwrap_or(Timestamp::MAX_UTC)
}
