//! Points in time, as they are handed in. Reading a clock is the caller's business.

use std::time::Duration;

/// A point in time: milliseconds since the Unix epoch. Arithmetic saturates.
///
/// It comes from the system's clock, which may be set while a process runs. What is decided here therefore counts the time that
/// passed between the moments it was handed, and a step backwards as none; see [`LocationHealth`](crate::LocationHealth).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Moment(u64);

impl Moment {
    /// So many milliseconds after the Unix epoch.
    pub const fn from_milliseconds(milliseconds: u64) -> Self {
        Self(milliseconds)
    }

    /// Milliseconds since the Unix epoch.
    pub const fn milliseconds(self) -> u64 {
        self.0
    }

    /// The moment so much later.
    #[must_use]
    pub fn plus(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(milliseconds(duration)))
    }

    /// The moment so much earlier, the epoch at the earliest.
    #[must_use]
    pub fn minus(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(milliseconds(duration)))
    }

    /// The time from an earlier moment to this one; zero if that one is later.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

/// Whole milliseconds, as many as there are numbers for.
pub(crate) fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Whole microseconds, as many as there are numbers for.
pub(crate) fn microseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// Milliseconds that passed since a [`Timeline`] began. Unlike a [`Moment`] it never goes backwards.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Tick(u64);

impl Tick {
    pub(crate) const fn milliseconds(self) -> u64 {
        self.0
    }

    pub(crate) fn plus(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(milliseconds(duration)))
    }

    pub(crate) fn minus(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(milliseconds(duration)))
    }

    pub(crate) const fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

/// How much time passed, by a clock that may be set.
///
/// A step forwards counts in full: it cannot be told from a long silence. A step backwards counts as no time, and time goes on
/// from there.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timeline {
    wall: Moment,
    elapsed: Tick,
}

impl Timeline {
    /// By how much a moment may be earlier than the one before it without the clock having been set: callers read the clock
    /// before they wait for a lock, and a lock is not held for a second.
    const DISORDER_MAX: Duration = Duration::from_secs(1);

    pub(crate) const fn new(now: Moment) -> Self {
        Self {
            wall: now,
            elapsed: Tick(0),
        }
    }

    /// Takes note of the time.
    pub(crate) fn advance(&mut self, now: Moment) -> Tick {
        self.elapsed = self.elapsed.plus(now.since(self.wall));
        if now > self.wall || self.wall.since(now) > Self::DISORDER_MAX {
            self.wall = now;
        }
        self.elapsed
    }

    /// What the clock shows, or showed, at a tick, if it was never set.
    pub(crate) fn moment(&self, tick: Tick) -> Moment {
        if tick >= self.elapsed {
            self.wall.plus(tick.since(self.elapsed))
        } else {
            self.wall.minus(self.elapsed.since(tick))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_hours(1);

    #[test]
    fn moments_do_not_overflow() {
        let last = Moment::from_milliseconds(u64::MAX);
        assert_eq!(last.plus(Duration::MAX), last);
        assert_eq!(last.minus(Duration::MAX), Moment::default());
        assert_eq!(Moment::default().since(last), Duration::ZERO);
        assert_eq!(last.since(Moment::default()).as_millis(), u64::MAX.into());
    }

    #[test]
    fn time_stands_still_when_the_clock_goes_back_and_then_goes_on() {
        let start = Moment::default().plus(HOUR * 10);
        let mut timeline = Timeline::new(start);
        let step = Duration::from_secs(3);
        assert_eq!(timeline.advance(start.plus(step)).milliseconds(), 3_000);
        assert_eq!(timeline.advance(start.minus(HOUR)).milliseconds(), 3_000);
        let tick = timeline.advance(start.minus(HOUR).plus(step));
        assert_eq!(tick.milliseconds(), 6_000);
        assert_eq!(timeline.moment(tick), start.minus(HOUR).plus(step));
        assert_eq!(
            timeline.moment(tick.plus(step)),
            start.minus(HOUR).plus(step * 2)
        );
    }

    #[test]
    fn moments_out_of_order_do_not_make_time_run_faster() {
        let start = Moment::default().plus(HOUR);
        let mut timeline = Timeline::new(start);
        let later = start.plus(Duration::from_millis(10));
        for _ in 0..1_000 {
            timeline.advance(later);
            timeline.advance(start);
        }
        assert_eq!(timeline.advance(later).milliseconds(), 10);
    }
}
