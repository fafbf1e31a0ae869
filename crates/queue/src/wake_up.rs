//! Telling a worker of this process that there may be something to do.

use std::sync::Arc;

use tokio::sync::Notify;

/// Wakes a [`Worker`](crate::Worker) that waits for its next poll. Clones wake the same worker.
///
/// A wake-up while the worker is busy is kept, and many are kept as one.
#[derive(Clone, Debug, Default)]
pub struct WakeUp(Arc<Notify>);

impl WakeUp {
    /// Makes the worker look into its queue now.
    pub fn wake(&self) {
        self.0.notify_one();
    }

    /// Returns when [`WakeUp::wake`] was called since the last time this returned.
    pub(crate) async fn woken(&self) {
        self.0.notified().await;
    }
}
