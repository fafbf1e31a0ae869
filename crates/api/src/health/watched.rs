//! A probe that is asked again and again in the background, and what it last said.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use roadstead_runtime::{Clock, Shutdown, Timestamp};

use super::{HealthOptions, Probe};

/// What a probe says: that the service works, perhaps with a remark, or what is wrong with it.
type Outcome = Result<Option<Arc<str>>, Arc<str>>;

#[derive(Debug)]
pub(super) struct Watched {
    name: &'static str,
    probe: Arc<dyn Probe>,
    last: Mutex<Option<(Timestamp, Outcome)>>,
}

/// What is known of a service at a moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Known {
    pub(super) outcome: Outcome,
    /// How old that is; none if the service was never asked.
    pub(super) age: Option<Duration>,
}

impl Known {
    /// What is wrong with the service.
    pub(super) fn failure(&self) -> Option<&str> {
        self.outcome.as_ref().err().map(|reason| &**reason)
    }

    /// What is remarked of a service that works.
    pub(super) fn message(&self) -> Option<&str> {
        self.outcome.as_ref().ok()?.as_deref()
    }
}

impl Watched {
    pub(super) fn new(name: &'static str, probe: Arc<dyn Probe>) -> Self {
        Self {
            name,
            probe,
            last: Mutex::default(),
        }
    }

    /// Asks until the shutdown.
    pub(super) async fn keep_asking(
        &self,
        clock: &dyn Clock,
        options: &HealthOptions,
        shutdown: &Shutdown,
    ) {
        while !shutdown.requested() {
            tokio::select! {
                () = self.ask(clock, options.deadline) => {}
                () = shutdown.wait() => return,
            }
            tokio::select! {
                () = clock.sleep(options.interval) => {}
                () = shutdown.wait() => return,
            }
        }
    }

    /// Asks once and keeps the answer. What is not answered by the deadline counts as failed, and is waited for all the same: a call that hangs
    /// must not be joined by another.
    pub(super) async fn ask(&self, clock: &dyn Clock, deadline: Duration) {
        let mut run = self.probe.probe();
        let outcome = tokio::select! {
            outcome = &mut run => outcome,
            () = clock.sleep(deadline) => {
                let late = format!("no answer within {} ms", deadline.as_millis());
                self.keep(clock.now(), Err(late.into()));
                run.await
            }
        };
        self.keep(
            clock.now(),
            outcome
                .map(|remark| remark.map(Arc::from))
                .map_err(Arc::from),
        );
    }

    /// What the last answer was. One that is older than `stale_after` says nothing any more: whoever asks has stopped.
    pub(super) fn known(&self, now: Timestamp, stale_after: Duration) -> Known {
        let Some((at, outcome)) = self.last().clone() else {
            return Known {
                outcome: Err("not asked yet".into()),
                age: None,
            };
        };
        // A clock that was set back makes answers of the future: no older than the next one.
        let age = now.signed_duration_since(at).to_std().unwrap_or_default();
        let outcome = if age > stale_after {
            Err(format!("asked for the last time {} s ago", age.as_secs()).into())
        } else {
            outcome
        };
        Known {
            outcome,
            age: Some(age),
        }
    }

    /// Keeps the answer, and logs it if it is news.
    fn keep(&self, now: Timestamp, outcome: Outcome) {
        let before = self.last().replace((now, outcome.clone()));
        let failed_before = before.is_some_and(|(_, outcome)| outcome.is_err());
        match outcome {
            Err(reason) if !failed_before => {
                tracing::warn!(service = self.name, error = %reason, "Health check of {} failed: {reason}", self.name);
            }
            Ok(_) if failed_before => {
                tracing::info!(
                    service = self.name,
                    "Health check of {} succeeds again",
                    self.name
                );
            }
            Ok(_) | Err(_) => {}
        }
    }

    fn last(&self) -> MutexGuard<'_, Option<(Timestamp, Outcome)>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
