//! Telling workers that there may be something to do.

use std::sync::Arc;

use tokio::sync::Notify;

/// Wakes a [`Worker`](crate::Worker) that waits for its next poll, and has a [`Relay`](crate::Relay) tell those of other processes. Clones wake
/// the same.
///
/// A wake-up while the worker is busy is kept, and many are kept as one.
#[derive(Clone, Debug, Default)]
pub struct WakeUp(Arc<Bells>);

#[derive(Debug, Default)]
struct Bells {
    worker: Notify,
    relay: Notify,
}

impl WakeUp {
    /// Makes the workers look into the queue now.
    pub fn wake(&self) {
        self.wake_here();
        self.0.relay.notify_one();
    }

    /// Makes the worker of this process look into its queue now, and nobody else's: another process has said that there may be something to do.
    pub fn wake_here(&self) {
        self.0.worker.notify_one();
    }

    /// Returns when the worker was woken since the last time this returned. The worker waits for it, and nobody beside one.
    pub async fn woken(&self) {
        self.0.worker.notified().await;
    }

    /// Returns when [`WakeUp::wake`] was called since the last time this returned.
    pub(crate) async fn called(&self) {
        self.0.relay.notified().await;
    }
}
