//! A probe whose answer is kept for a while and of which one run at a time is under way.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared};
use roadstead_runtime::{Clock, Timestamp};

use super::Probe;

type Run = Shared<BoxFuture<'static, Result<(), Arc<str>>>>;

#[derive(Debug)]
pub(super) struct Watched {
    name: String,
    probe: Arc<dyn Probe>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The last answer and when it came.
    last: Option<(Timestamp, bool)>,
    /// The run under way. It goes on only while somebody waits for it.
    running: Option<Run>,
}

impl Watched {
    pub(super) fn new(name: String, probe: Arc<dyn Probe>) -> Self {
        Self {
            name,
            probe,
            state: Mutex::default(),
        }
    }

    /// What the log calls the service.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Whether the service works: as of the last answer if that is not older than `fresh`, otherwise as it answers now.
    pub(super) async fn ask(&self, clock: &dyn Clock, fresh: Duration) -> bool {
        let run = {
            let mut state = self.lock();
            if let Some((asked, works)) = state.last
                && is_fresh(asked, clock.now(), fresh)
            {
                return works;
            }
            state.running.get_or_insert_with(|| self.start()).clone()
        };
        let outcome = run.clone().await;
        self.settle(&run, &outcome, clock.now());
        outcome.is_ok()
    }

    fn start(&self) -> Run {
        let probe = Arc::clone(&self.probe);
        async move { probe.probe().await.map_err(Arc::from) }
            .boxed()
            .shared()
    }

    /// Keeps the answer, and logs it if it is news. Of several who waited for the same run only the first does so.
    fn settle(&self, run: &Run, outcome: &Result<(), Arc<str>>, now: Timestamp) {
        let mut state = self.lock();
        if !state
            .running
            .as_ref()
            .is_some_and(|running| running.ptr_eq(run))
        {
            return;
        }
        state.running = None;
        let before = state
            .last
            .replace((now, outcome.is_ok()))
            .map(|(_, works)| works);
        drop(state);
        match outcome {
            Err(reason) if before != Some(false) => {
                tracing::warn!(service = self.name, error = %reason, "Health check of {} failed: {reason}", self.name);
            }
            Ok(()) if before == Some(false) => {
                tracing::info!(
                    service = self.name,
                    "Health check of {} succeeds again",
                    self.name
                );
            }
            Ok(()) | Err(_) => {}
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether an answer of `asked` still counts. One from the future does not: the clock was set back.
fn is_fresh(asked: Timestamp, now: Timestamp, fresh: Duration) -> bool {
    now.signed_duration_since(asked)
        .to_std()
        .is_ok_and(|age| age < fresh)
}
