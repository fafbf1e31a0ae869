//! The loop that looks for jobs and keeps a bounded number of them running. What happens to one job is `attempt`'s business.

mod attempt;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use roadstead_metadata::{ClaimCopies, ClaimCursor, Database, Job, MetadataError};
use roadstead_placement::{LocationName, retry_delay};
use roadstead_runtime::{Environment, Shutdown, Timestamp};
use tokio::task::JoinSet;

use crate::{Handler, WakeUp};
use attempt::Attempt;

const CONCURRENCY: NonZeroUsize = NonZeroUsize::new(32).expect("it is not zero");

/// How often a worker says that it is there, so that others leave it what its region lacks and what is limited for all is shared.
const NOTE_INTERVAL: Duration = Duration::from_secs(20);

/// After how long without a word a worker counts as gone: three times it may be late.
const GONE_AFTER: TimeDelta = TimeDelta::seconds(80);

/// How long a worker leaves the queue alone after a look, unless a quarter of its slots is free: a look costs the same for one job as for many.
const LOOK_INTERVAL: TimeDelta = TimeDelta::milliseconds(50);

/// How a worker goes about its queue.
#[derive(Clone, Debug)]
pub struct WorkerOptions {
    /// The queue: the part of `queue_name` before the first slash.
    pub queue: String,
    /// How many names of jobs are handled at once. A job is leased only when it can start, so that none waits here while another worker is
    /// free.
    pub concurrency: NonZeroUsize,
    /// The location that this worker's region prefers: it takes the jobs whose target that is, those whose blobs lie there, and those of
    /// regions that have no worker. Without one it takes any.
    pub region: Option<LocationName>,
    /// How long a job belongs to its worker without a heartbeat. There are three heartbeats a lease, so that two may fail.
    pub lease: Duration,
    /// How often the queue is looked into without being woken, on average: each wait is drawn from 0.5 to 1.5 times this,
    /// so that the workers of several processes spread out.
    pub poll_interval: Duration,
    /// How long running jobs may take to end after a shutdown before they are dropped.
    pub grace: Duration,
}

impl WorkerOptions {
    /// Thirty-two names at once, leases of a minute, a poll every five seconds, five seconds of grace, of no region.
    pub fn new(queue: impl Into<String>) -> Self {
        Self {
            queue: queue.into(),
            concurrency: CONCURRENCY,
            region: None,
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
        let mut region = Region::new(&self.environment);
        while !shutdown.requested() {
            region.note(self, handler.as_ref()).await;
            let free = self
                .options
                .concurrency
                .get()
                .saturating_sub(attempts.len());
            let rest = search.rest_before_look(free, &self.options, self.environment.now());
            if search.due && free > 0 && rest.is_zero() {
                if !handler.is_open().await {
                    search.rest(self.environment.now(), self.options.poll_interval);
                    continue;
                }
                let found = self.claim(free, &mut region).await;
                search.note(&found, free, &self.environment, self.options.poll_interval);
                for jobs in found.unwrap_or_default() {
                    let attempt = Attempt {
                        database: self.database.clone(),
                        environment: self.environment.clone(),
                        lease: self.options.lease,
                        grace: self.options.grace,
                        shutdown: shutdown.clone(),
                        jobs,
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
                // However long the jobs take: who is silent is taken for gone.
                () = self.environment.clock.sleep(NOTE_INTERVAL), if search.due && free == 0 => {}
                () = self.environment.clock.sleep(rest), if search.due && free > 0 => {}
            }
        }
        while attempts.join_next().await.is_some() {}
        region.leave(self).await;
    }

    /// Takes jobs of at most so many names, those of one name together.
    async fn claim(
        &self,
        free: usize,
        region: &mut Region,
    ) -> Result<Vec<Vec<Job>>, MetadataError> {
        let now = self.environment.now();
        let claim = ClaimCopies {
            queue: &self.options.queue,
            blobs: u32::try_from(free).unwrap_or(u32::MAX),
            region: self.options.region.as_ref(),
            elsewhere: &region.elsewhere,
            now,
            lease_until: after(now, self.options.lease),
            token: self.environment.ids.uuid(),
        };
        let mut jobs = self
            .database
            .claim_copies(&claim, &mut region.cursor)
            .await?;
        jobs.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(jobs
            .chunk_by(|one, other| one.name == other.name)
            .map(<[Job]>::to_vec)
            .collect())
    }
}

/// What a worker says to others and hears of them.
#[derive(Debug)]
struct Region {
    /// What it is called. A name of its own for each run: a worker that begins anew is another.
    instance: String,
    /// When it last said that it is there.
    noted: Option<Timestamp>,
    /// The locations whose own regions have workers.
    elsewhere: BTreeSet<LocationName>,
    cursor: ClaimCursor,
}

impl Region {
    fn new(environment: &Environment) -> Self {
        // Wherever it begins; a worker beside it begins elsewhere.
        let mut namespace = [0; 2];
        environment.ids.fill(&mut namespace);
        Self {
            instance: environment.ids.uuid().to_string(),
            noted: None,
            elsewhere: BTreeSet::new(),
            cursor: ClaimCursor::beginning_at(u16::from_le_bytes(namespace)),
        }
    }

    /// Says that the worker is there, if it is time to. Without a database the last that was heard holds.
    async fn note<H: Handler>(&mut self, worker: &Worker, handler: &H) {
        let now = worker.environment.now();
        let is_recent = |noted| now >= noted && after(noted, NOTE_INTERVAL) > now;
        if self.noted.is_some_and(is_recent) {
            return;
        }
        let noted = worker
            .database
            .note_replicator(
                &self.instance,
                worker.options.region.as_ref(),
                now - GONE_AFTER,
                now,
            )
            .await;
        match noted {
            Ok(heard) => {
                self.noted = Some(now);
                // Who is of no region leaves nothing to others.
                if worker.options.region.is_some() {
                    self.elsewhere = heard.elsewhere;
                }
                handler.note_workers(heard.processes);
            }
            Err(error) => tracing::debug!(
                error = &error as &dyn std::error::Error,
                "Could not say that copies are made here"
            ),
        }
    }

    /// Says that the worker has gone. If it cannot, others notice in time.
    async fn leave(&self, worker: &Worker) {
        if self.noted.is_some()
            && let Err(error) = worker.database.forget_replicator(&self.instance).await
        {
            tracing::debug!(
                error = &error as &dyn std::error::Error,
                "Could not say that copies are no longer made here"
            );
        }
    }
}

/// When to look into the queue.
#[derive(Debug)]
struct Search {
    /// Whether there may be jobs that are due and not claimed.
    due: bool,
    /// When to look although nothing says that there are any.
    next: Timestamp,
    /// When the last look was.
    looked: Option<Timestamp>,
    /// How many times in a row the database could not be asked.
    failures: u32,
}

impl Search {
    fn new(now: Timestamp) -> Self {
        Self {
            due: true,
            next: now,
            looked: None,
            failures: 0,
        }
    }

    /// How long to wait although there are slots for more.
    fn rest_before_look(&self, free: usize, options: &WorkerOptions, now: Timestamp) -> Duration {
        let many = free.saturating_mul(4) >= options.concurrency.get();
        let Some(looked) = self.looked.filter(|looked| !many && now >= *looked) else {
            return Duration::ZERO;
        };
        (LOOK_INTERVAL - (now - looked))
            .to_std()
            .unwrap_or_default()
    }

    /// Takes in what a look into the queue brought.
    fn note(
        &mut self,
        found: &Result<Vec<Vec<Job>>, MetadataError>,
        asked: usize,
        environment: &Environment,
        poll_interval: Duration,
    ) {
        let chance = environment.ids.fraction();
        self.looked = Some(environment.now());
        let wait = match found {
            Ok(jobs) => {
                if self.failures > 0 {
                    tracing::info!("The queue can be read again");
                }
                self.failures = 0;
                // Less than was asked for is what there was in this search; the rest of the queue may have more.
                self.due = !jobs.is_empty() || asked == 0;
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

    /// Takes in that nothing is to be taken for now.
    fn rest(&mut self, now: Timestamp, poll_interval: Duration) {
        self.due = false;
        self.next = after(now, poll_interval);
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
