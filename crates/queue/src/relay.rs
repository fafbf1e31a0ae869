//! Carries wake-ups to other processes and back, where the database can, and beside it whatever else does: what is missed costs a poll, never a job.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use roadstead_metadata::{Calls, Database};
use roadstead_runtime::{Clock, Environment, Shutdown};

use crate::WakeUp;

/// Calls to other processes are at least so far apart: a call stands for everything that came before it, and each takes a lock that all calls
/// of the server share.
const CALL_EVERY: Duration = Duration::from_millis(50);

/// How long it is until the database is listened to again after it was lost.
const LISTEN_AGAIN: Duration = Duration::from_secs(2);

/// Carries calls to other processes beside the database. What it carries back wakes by [`WakeUp::wake_here`].
pub trait Carrier: Debug + Send + Sync {
    /// Calls the workers of other processes, if that can be done without waiting.
    fn call(&self);
}

/// Tells the workers of other processes when this one's are woken, and wakes this one's when another tells.
#[derive(Clone, Debug)]
pub struct Relay {
    database: Database,
    environment: Environment,
    wake_up: WakeUp,
    carrier: Option<Arc<dyn Carrier>>,
}

impl Relay {
    /// A relay for the worker, if there is one, and for all who wake it.
    pub fn new(database: Database, environment: Environment, wake_up: WakeUp) -> Self {
        Self {
            database,
            environment,
            wake_up,
            carrier: None,
        }
    }

    /// The same with something that carries calls beside the database.
    #[must_use]
    pub fn with_carrier(self, carrier: Option<Arc<dyn Carrier>>) -> Self {
        Self { carrier, ..self }
    }

    /// Relays until `shutdown`, or returns at once where nothing carries calls. Without `listens`, as in a process without a worker, it
    /// only tells.
    pub async fn run(&self, listens: bool, shutdown: &Shutdown) {
        let calls = self.database.calls(self.environment.ids.uuid());
        if calls.is_none() && self.carrier.is_none() {
            return;
        }
        tokio::select! {
            () = self.tell(calls.as_ref()) => {}
            () = self.listen(calls.as_ref()), if listens => {}
            () = shutdown.wait() => {}
        }
    }

    async fn tell(&self, calls: Option<&Calls>) {
        loop {
            self.wake_up.called().await;
            if let Some(carrier) = &self.carrier {
                carrier.call();
            }
            if let Some(calls) = calls
                && let Err(error) = calls.call().await
            {
                tracing::debug!(
                    error = &error as &dyn std::error::Error,
                    "Could not tell other processes that there are copies to be made; they look by themselves",
                );
            }
            self.pause(CALL_EVERY).await;
        }
    }

    async fn listen(&self, calls: Option<&Calls>) {
        let Some(calls) = calls else {
            // The carrier wakes by itself.
            return std::future::pending().await;
        };
        loop {
            if let Err(error) = calls.hear(|| self.wake_up.wake_here()).await {
                tracing::debug!(
                    error = &error as &dyn std::error::Error,
                    "Could not listen to other processes",
                );
            }
            self.pause(LISTEN_AGAIN).await;
            // What was called meanwhile was not heard.
            self.wake_up.wake_here();
        }
    }

    async fn pause(&self, duration: Duration) {
        let clock: &dyn Clock = self.environment.clock.as_ref();
        clock.sleep(duration).await;
    }
}
