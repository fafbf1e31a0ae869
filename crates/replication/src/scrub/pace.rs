//! How fast bytes are read back.

use std::num::NonZeroU64;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use roadstead_runtime::{Clock, Environment, Timestamp};

/// How far ahead of the time bytes are granted at most: when the clock goes back an hour, nobody waits that long.
const AHEAD_MAX: Duration = Duration::from_mins(2);

/// A budget of bytes per second. Whoever takes some waits until those that were taken before have had their time.
#[derive(Debug)]
pub(super) struct Pace {
    /// `None`: as fast as it goes.
    bytes_per_second: Option<NonZeroU64>,
    clock: Arc<dyn Clock>,
    /// When all that was taken has had its time.
    free_at: Mutex<Timestamp>,
}

impl Pace {
    pub(super) fn new(bytes_per_second: NonZeroU64, environment: &Environment) -> Self {
        Self {
            bytes_per_second: Some(bytes_per_second),
            ..Self::unlimited(environment)
        }
    }

    pub(super) fn unlimited(environment: &Environment) -> Self {
        Self {
            bytes_per_second: None,
            clock: Arc::clone(&environment.clock),
            free_at: Mutex::new(environment.now()),
        }
    }

    pub(super) async fn take(&self, bytes: u64) {
        let Some(rate) = self.bytes_per_second else {
            return;
        };
        let now = self.clock.now();
        let wait = {
            let mut free_at = self.free_at.lock().unwrap_or_else(PoisonError::into_inner);
            let begins = (*free_at).clamp(now, now + AHEAD_MAX);
            let milliseconds = bytes.saturating_mul(1000) / rate;
            // A chunk at the lowest rate takes seconds.
            *free_at = begins + Duration::from_millis(milliseconds).min(AHEAD_MAX);
            begins - now
        };
        self.clock.sleep(wait.to_std().unwrap_or_default()).await;
    }
}

#[cfg(test)]
mod tests {
    use roadstead_runtime::{ManualClock, SeededIds};

    use super::*;

    #[tokio::test]
    async fn what_was_taken_is_waited_for_before_more_is_given() {
        let clock = Arc::new(ManualClock::at("2026-01-01T00:00:00Z".parse().unwrap()));
        let environment = Environment {
            clock: Arc::<ManualClock>::clone(&clock),
            ids: Arc::new(SeededIds::new(1)),
        };
        let pace = Pace::new(NonZeroU64::new(1000).unwrap(), &environment);
        pace.take(500).await;
        let (one, other) = (pace.take(1000), pace.take(1000));
        tokio::pin!(one, other);
        for _ in 0..2 {
            assert!(futures_util::poll!(&mut one).is_pending());
            assert!(futures_util::poll!(&mut other).is_pending());
            clock.advance(Duration::from_millis(249));
        }
        clock.advance(Duration::from_millis(2));
        one.await;
        assert!(futures_util::poll!(&mut other).is_pending());
        clock.advance(Duration::from_secs(1));
        other.await;
    }
}
