//! The log of pulls, on its way into the database: gathered in memory and written in batches, so that a pull neither waits for the database nor
//! fails of it.
//!
//! What a pull costs is a short lock. A crash loses what has not been written, about the last second; a database that is away for long loses what
//! is beyond [`ENTRIES_MAX`], the oldest first, and how many these were is logged and counted.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use roadstead_metadata::{Database, LogEntry, MetadataError};
use roadstead_runtime::{Clock, Shutdown};
use tokio::sync::Notify;

/// The most entries that wait: at most some 40 MB, and some 5 MB as a rule. At 100 pulls a second the database may be away for 100 s.
const ENTRIES_MAX: usize = 10_000;

/// The most entries of one statement: some ten milliseconds of the database's time, and 1 MB as a rule.
const BATCH: usize = 2000;

/// How long entries are gathered before they are written.
const GATHER: Duration = Duration::from_secs(1);

/// How long to wait after the database did not take them.
const RETRY: Duration = Duration::from_secs(5);

/// Entries on their way.
#[derive(Debug, Default)]
pub(crate) struct PullLog {
    waiting: Mutex<Waiting>,
    come: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    entries: VecDeque<LogEntry>,
    /// How many were dropped since the start of the process.
    dropped: u64,
}

impl PullLog {
    /// Takes an entry, and drops the oldest one when there is no room.
    pub(crate) fn note(&self, entry: LogEntry) {
        let mut waiting = self.lock();
        if waiting.entries.len() >= ENTRIES_MAX {
            waiting.entries.pop_front();
            waiting.dropped += 1;
        }
        waiting.entries.push_back(entry);
        drop(waiting);
        self.come.notify_one();
    }

    /// How many entries were dropped since the start of the process.
    pub(crate) fn dropped(&self) -> u64 {
        self.lock().dropped
    }

    /// Writes what comes, until the shutdown, and then what is left, once.
    pub(crate) async fn keep_written(
        &self,
        database: &Database,
        clock: &dyn Clock,
        shutdown: &Shutdown,
    ) {
        let mut told = 0;
        let mut failing = false;
        while !shutdown.requested() {
            tokio::select! {
                () = shutdown.wait() => break,
                () = self.come.notified() => {}
            }
            let mut pause = GATHER;
            loop {
                tokio::select! {
                    () = shutdown.wait() => break,
                    () = clock.sleep(pause) => {}
                }
                let written = self.write(database).await;
                let dropped = self.dropped();
                if dropped > told {
                    tracing::error!(
                        dropped,
                        "The database has not taken the log of pulls: {} entries were dropped, {dropped} since the start",
                        dropped - told
                    );
                    told = dropped;
                }
                let failed_before = std::mem::replace(&mut failing, written.is_err());
                let Err(error) = written else {
                    if failed_before {
                        tracing::info!("The log of pulls can be written again");
                    }
                    break;
                };
                // Once, however many follow.
                if !failed_before {
                    tracing::warn!(%error, "Could not write the log of pulls; trying again every {} s", RETRY.as_secs());
                }
                pause = RETRY;
            }
        }
        if let Err(error) = self.write(database).await {
            let lost = self.lock().entries.len();
            tracing::error!(%error, lost, "Could not write the last {lost} entries of the log of pulls");
        }
    }

    /// Writes everything that waits at this moment, batch by batch: what comes meanwhile is gathered for the next time. What the database does not take
    /// at present goes on waiting; what it will never take is dropped.
    pub(crate) async fn write(&self, database: &Database) -> Result<(), MetadataError> {
        let mut left = self.lock().entries.len();
        loop {
            let batch: Vec<LogEntry> = {
                let mut waiting = self.lock();
                let length = waiting.entries.len().min(left).min(BATCH);
                waiting.entries.drain(..length).collect()
            };
            if batch.is_empty() {
                return Ok(());
            }
            left -= batch.len();
            if let Err(error) = database.write_log(&batch).await {
                if error.is_temporary() {
                    self.put_back(batch);
                } else {
                    self.lock().dropped += batch.len() as u64;
                }
                return Err(error);
            }
        }
    }

    /// Puts entries back where they came from, as far as there is room.
    fn put_back(&self, batch: Vec<LogEntry>) {
        let mut waiting = self.lock();
        for entry in batch.into_iter().rev() {
            if waiting.entries.len() >= ENTRIES_MAX {
                waiting.dropped += 1;
            } else {
                waiting.entries.push_front(entry);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
