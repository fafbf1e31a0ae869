//! Background tasks that a shutdown asks to stop and then waits for.

use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Tells a task that it should come to an end.
#[derive(Clone, Debug, Default)]
pub struct Shutdown(CancellationToken);

impl Shutdown {
    /// Whether the end has been asked for.
    pub fn requested(&self) -> bool {
        self.0.is_cancelled()
    }

    /// Returns when the end is asked for, at once if it has been.
    pub async fn wait(&self) {
        self.0.cancelled().await;
    }

    /// Asks for the end, of this and of every clone.
    pub fn request(&self) {
        self.0.cancel();
    }
}

/// The background tasks of one process.
#[derive(Clone, Debug, Default)]
pub struct Tasks {
    tracker: TaskTracker,
    shutdown: Shutdown,
}

impl Tasks {
    /// No tasks yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// What tasks look at to learn that they should end.
    pub fn shutdown(&self) -> Shutdown {
        self.shutdown.clone()
    }

    /// Starts a task. It is expected to watch [`Tasks::shutdown`].
    #[expect(clippy::disallowed_methods, reason = "the one place that spawns")]
    pub fn spawn<F>(&self, task: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        // The handle is not needed: the tracker waits for the task.
        drop(tokio::spawn(self.tracker.track_future(task)));
    }

    /// Asks every task to end and waits for them, at most `limit`. Returns whether all ended in time.
    pub async fn stop(&self, limit: Duration) -> bool {
        self.shutdown.request();
        self.tracker.close();
        tokio::time::timeout(limit, self.tracker.wait())
            .await
            .is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn stopping_waits_for_tasks_that_watch_the_shutdown() {
        let tasks = Tasks::new();
        let shutdown = tasks.shutdown();
        tasks.spawn(async move { shutdown.wait().await });
        assert!(tasks.stop(Duration::from_secs(10)).await);
    }
}
