//! Copies that failed are tried again when a location is back, and do not wait out what they were put off for.

use std::time::Duration;

use roadstead_metadata::MetadataError;
use roadstead_runtime::Shutdown;

use crate::Replication;

/// How many jobs one statement makes due.
const BATCH: u32 = 1_000;

/// How many statements there are for one recovery. What is left comes by itself, fifteen minutes later at most.
const BATCHES_MAX: u32 = 1_000;

/// How long after a recovery the next one counts: a location that comes and goes has nobody busy with it.
const PAUSE: Duration = Duration::from_secs(10);

impl Replication {
    /// Makes the jobs that were put off due at once whenever this process sees that a location is back, until `shutdown`. All of them:
    /// what failed may have lacked its source as well as its target.
    pub async fn keep_prompt(&self, shutdown: &Shutdown) {
        let mut recoveries = self.locations.recoveries();
        loop {
            let location = tokio::select! {
                location = recoveries.next() => location,
                () = shutdown.wait() => return,
            };
            match self.hasten().await {
                Ok(0) => {}
                Ok(jobs) => tracing::info!(
                    location.id = %location,
                    jobs,
                    "Location {location} is back: {jobs} jobs that were put off are tried again now",
                ),
                Err(error) => tracing::warn!(
                    location.id = %location,
                    error = &error as &dyn std::error::Error,
                    "Location {location} is back, and jobs that were put off could not be made due; they are tried again when their time has come",
                ),
            }
            tokio::select! {
                () = self.environment.clock.sleep(PAUSE) => {}
                () = shutdown.wait() => return,
            }
        }
    }

    /// Makes all jobs due that were put off, and says how many.
    pub(crate) async fn hasten(&self) -> Result<u64, MetadataError> {
        let mut hastened = 0;
        for _ in 0..BATCHES_MAX {
            let now = self.environment.now();
            let jobs = self.database.hasten_jobs(&self.queue, BATCH, now).await?;
            hastened += jobs;
            if jobs > 0 {
                self.wake_up.wake();
            }
            if jobs < u64::from(BATCH) {
                break;
            }
        }
        Ok(hastened)
    }
}
