//! Time: read and waited for through [`Clock`].

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use tokio::sync::oneshot;

/// A moment in UTC, in microseconds where it is stored.
pub type Timestamp = DateTime<Utc>;

/// Reads the time and waits for it.
#[async_trait::async_trait]
pub trait Clock: Debug + Send + Sync {
    /// The present time.
    fn now(&self) -> Timestamp;

    /// Returns after `duration`. A dropped future leaves nothing behind.
    async fn sleep(&self, duration: Duration);
}

/// The machine's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

#[async_trait::async_trait]
impl Clock for SystemClock {
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place that reads the system's time"
    )]
    fn now(&self) -> Timestamp {
        std::time::SystemTime::now().into()
    }

    #[expect(clippy::disallowed_methods, reason = "the one place that sleeps")]
    async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }
}

/// A clock that moves only when told to: sleepers wake when [`ManualClock::advance`] passes their time.
#[derive(Debug)]
pub struct ManualClock {
    state: Mutex<ManualState>,
}

#[derive(Debug)]
struct ManualState {
    now: Timestamp,
    sleepers: BTreeMap<(Timestamp, u64), oneshot::Sender<()>>,
    next: u64,
}

impl ManualClock {
    /// A clock that stands at `now`.
    #[must_use]
    pub fn at(now: Timestamp) -> Self {
        Self {
            state: Mutex::new(ManualState {
                now,
                sleepers: BTreeMap::new(),
                next: 0,
            }),
        }
    }

    /// Moves the clock forward and wakes everybody whose time has come, earliest first.
    pub fn advance(&self, duration: Duration) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.now = later(state.now, duration);
        let now = state.now;
        while let Some(entry) = state.sleepers.first_entry() {
            if entry.key().0 > now {
                break;
            }
            // A sleeper that was dropped no longer listens, which is fine.
            entry.remove().send(()).ok();
        }
    }
}

#[async_trait::async_trait]
impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        self.state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .now
    }

    async fn sleep(&self, duration: Duration) {
        let woken = {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            if duration.is_zero() {
                return;
            }
            let (wake, woken) = oneshot::channel();
            let key = (later(state.now, duration), state.next);
            state.next += 1;
            state.sleepers.insert(key, wake);
            woken
        };
        // The sender lives in the clock; it is dropped unsent only together with the clock.
        woken.await.ok();
    }
}

fn later(now: Timestamp, duration: Duration) -> Timestamp {
    TimeDelta::from_std(duration)
        .ok()
        .and_then(|delta| now.checked_add_signed(delta))
        .unwrap_or(Timestamp::MAX_UTC)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[tokio::test]
    async fn a_sleeper_wakes_when_the_clock_passes_its_time_and_not_before() {
        let clock = Arc::new(ManualClock::at(Timestamp::UNIX_EPOCH));
        let sleep = {
            let clock = Arc::clone(&clock);
            async move { clock.sleep(Duration::from_secs(10)).await }
        };
        tokio::pin!(sleep);
        assert!(futures_now(&mut sleep).await.is_none());
        clock.advance(Duration::from_secs(9));
        assert!(futures_now(&mut sleep).await.is_none());
        clock.advance(Duration::from_secs(1));
        sleep.await;
        assert_eq!(clock.now().timestamp(), 10);
    }

    /// Polls once.
    async fn futures_now<F: Future + Unpin>(future: &mut F) -> Option<F::Output> {
        tokio::select! { biased; output = future => Some(output), () = std::future::ready(()) => None }
    }
}
