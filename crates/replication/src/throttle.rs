//! How fast copies may be: what an operator has said, and what was copied under each limit lately.
//!
//! A limit is that of all processes that make copies together: each takes the same part, by how many there were when the worker last asked.

use std::collections::{BTreeSet, HashMap};
use std::num::{NonZeroU32, NonZeroU64};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::{TimeDelta, Timelike as _};
use roadstead_metadata::Database;
use roadstead_placement::{CopyControl, CopyLimit, LocationName};
use roadstead_runtime::{Clock, Timestamp};

/// How old what is known of the operator's wishes may be.
const FRESH_FOR: TimeDelta = TimeDelta::seconds(5);

/// How far ahead of its rate a limit may be used after a rest: enough that small blobs do not wait for each other's rounding.
const BURST: TimeDelta = TimeDelta::milliseconds(100);

/// The pauses and limits of one registry as this process keeps them. Clones share what was copied.
#[derive(Clone, Debug, Default)]
pub(crate) struct Throttle(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    control: Arc<CopyControl>,
    read_at: Option<Timestamp>,
    /// Until when each limit is used up.
    used_until: HashMap<CopyLimit, Timestamp>,
    /// How many processes make copies, if that is known. As long as nobody says so, this one is alone.
    processes: Option<NonZeroU32>,
}

impl Throttle {
    /// What holds now. A database that does not answer changes nothing.
    pub(crate) async fn control(&self, database: &Database, clock: &dyn Clock) -> Arc<CopyControl> {
        let now = clock.now();
        {
            let mut state = self.state();
            let fresh = state
                .read_at
                .is_some_and(|read| read <= now && now - read < FRESH_FOR);
            if fresh {
                return Arc::clone(&state.control);
            }
            // Whoever comes meanwhile goes by what is known.
            state.read_at = Some(now);
        }
        match database.copy_control().await {
            Ok(control) => {
                let mut state = self.state();
                let control = Arc::new(control);
                state
                    .used_until
                    .retain(|limit, _| control.limits.contains(limit));
                state.control = Arc::clone(&control);
                control
            }
            Err(error) => {
                tracing::debug!(
                    error = &error as &dyn std::error::Error,
                    "Could not look whether copies are paused or limited",
                );
                Arc::clone(&self.state().control)
            }
        }
    }

    /// Takes in how many processes make copies. What was reserved before stays as it is.
    pub(crate) fn share(&self, processes: NonZeroU32) {
        self.state().processes = Some(processes);
    }

    /// Waits until so many bytes may go from `source` to `targets`. What is read once counts once under each limit.
    ///
    /// Dropped, it has counted them.
    pub(crate) async fn take(
        &self,
        source: &LocationName,
        targets: impl IntoIterator<Item = &LocationName>,
        bytes: usize,
        clock: &dyn Clock,
    ) {
        let wait = self.reserve(source, targets, bytes, clock.now());
        if wait > Duration::ZERO {
            clock.sleep(wait).await;
        }
    }

    /// Waits until so many bytes may be read at a location to be looked at only.
    ///
    /// Dropped, it has counted them.
    pub(crate) async fn take_reading(
        &self,
        location: &LocationName,
        bytes: usize,
        clock: &dyn Clock,
    ) {
        let now = clock.now();
        let wait = {
            let mut state = self.state();
            let control = Arc::clone(&state.control);
            let limits = control.limits_on_reading(location, minute_of_day(now));
            state.reserve(limits, bytes, now)
        };
        if wait > Duration::ZERO {
            clock.sleep(wait).await;
        }
    }

    /// How long so many bytes have to wait, which are counted.
    pub(crate) fn reserve<'a>(
        &self,
        source: &LocationName,
        targets: impl IntoIterator<Item = &'a LocationName>,
        bytes: usize,
        now: Timestamp,
    ) -> Duration {
        let mut state = self.state();
        if state.control.limits.is_empty() {
            return Duration::ZERO;
        }
        let control = Arc::clone(&state.control);
        let limits: BTreeSet<&CopyLimit> = targets
            .into_iter()
            .flat_map(|target| control.limits_on(Some(source), target, minute_of_day(now)))
            .collect();
        state.reserve(limits, bytes, now)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Each change is a single assignment: a panic leaves nothing half done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Counts so many bytes under each of these limits, and tells how long they have to wait for it.
    fn reserve<'a>(
        &mut self,
        limits: impl IntoIterator<Item = &'a CopyLimit>,
        bytes: usize,
        now: Timestamp,
    ) -> Duration {
        let processes = self.processes.unwrap_or(NonZeroU32::MIN);
        let mut free_at = now;
        for limit in limits {
            let used_until = self.used_until.entry(limit.clone()).or_insert(now - BURST);
            // A clock that was set back must not make it wait for hours.
            if *used_until > now + TimeDelta::hours(1) {
                *used_until = now;
            }
            *used_until = (*used_until).max(now - BURST) + time_for(bytes, limit.share(processes));
            free_at = free_at.max(*used_until);
        }
        (free_at - now).to_std().unwrap_or_default()
    }
}

/// How long so many bytes take at a rate, at most half an hour: a longer wait would outlast what the limit is about.
fn time_for(bytes: usize, bytes_per_second: NonZeroU64) -> TimeDelta {
    let nanoseconds = (bytes as u128 * 1_000_000_000) / u128::from(bytes_per_second.get());
    i64::try_from(nanoseconds)
        .map_or(TimeDelta::minutes(30), TimeDelta::nanoseconds)
        .min(TimeDelta::minutes(30))
}

/// The minute of the day in UTC.
pub(crate) fn minute_of_day(now: Timestamp) -> u16 {
    u16::try_from(now.hour() * 60 + now.minute()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use roadstead_placement::Link;

    use super::*;

    fn name(name: &str) -> LocationName {
        LocationName::new(name).unwrap()
    }

    fn throttle(limits: Vec<CopyLimit>) -> Throttle {
        let throttle = Throttle::default();
        throttle.state().control = Arc::new(CopyControl {
            limits,
            ..CopyControl::default()
        });
        throttle
    }

    fn limit(link: Link, rate: u64) -> CopyLimit {
        CopyLimit {
            link,
            bytes_per_second: NonZeroU64::new(rate).unwrap(),
            window: None,
        }
    }

    fn noon() -> Timestamp {
        "2026-01-01T12:00:00Z".parse().unwrap()
    }

    #[test]
    fn copies_that_nobody_limits_never_wait() {
        let wait = throttle(vec![]).reserve(&name("us"), [&name("eu")], usize::MAX, noon());
        assert_eq!(wait, Duration::ZERO);
    }

    #[test]
    fn over_time_a_limit_is_kept_and_the_tightest_decides() {
        let pair = Link::Pair {
            source: name("us"),
            target: name("eu"),
        };
        let throttle = throttle(vec![limit(Link::All, 10_000), limit(pair, 1_000)]);
        let (mut now, mut moved) = (noon(), 0);
        while now - noon() < TimeDelta::seconds(100) {
            let wait = throttle.reserve(&name("us"), [&name("eu")], 250, now);
            now += TimeDelta::from_std(wait).unwrap();
            moved += 250;
        }
        assert!((99_000..=101_000).contains(&moved), "{moved}");
        // Another pair has what the whole leaves.
        assert!(throttle.reserve(&name("us"), [&name("ap")], 100, now) < Duration::from_millis(50));
    }

    #[test]
    fn processes_that_share_a_limit_keep_it_together_and_one_that_is_left_has_all_of_it() {
        let moved_in_100_s = |throttle: &Throttle, mut now: Timestamp| {
            let (began, mut moved) = (now, 0);
            while now - began < TimeDelta::seconds(100) {
                let wait = throttle.reserve(&name("us"), [&name("eu")], 250, now);
                now += TimeDelta::from_std(wait).unwrap();
                moved += 250;
            }
            moved
        };
        let limits = || vec![limit(Link::All, 9_000)];
        let three: Vec<Throttle> = (0..3).map(|_| throttle(limits())).collect();
        for process in &three {
            process.share(NonZeroU32::new(3).unwrap());
        }
        let together: usize = three
            .iter()
            .map(|process| moved_in_100_s(process, noon()))
            .sum();
        assert!((890_000..=910_000).contains(&together), "{together}");
        three[0].share(NonZeroU32::MIN);
        let alone = moved_in_100_s(&three[0], noon() + TimeDelta::seconds(200));
        assert!((890_000..=910_000).contains(&alone), "{alone}");
    }

    #[test]
    fn what_is_read_once_for_several_targets_counts_once() {
        let throttle = throttle(vec![limit(Link::Location(name("us")), 1_000)]);
        let targets = [name("eu"), name("ap")];
        let wait = throttle.reserve(&name("us"), &targets, 1_100, noon());
        assert_eq!(wait, Duration::from_secs(1));
    }

    #[test]
    fn a_clock_that_was_set_back_does_not_stop_copies() {
        let throttle = throttle(vec![limit(Link::All, 1_000)]);
        throttle.reserve(&name("us"), [&name("eu")], 1_000, noon());
        let earlier = noon() - TimeDelta::days(3);
        let wait = throttle.reserve(&name("us"), [&name("eu")], 1_000, earlier);
        assert!(wait <= Duration::from_secs(1), "{wait:?}");
    }
}
