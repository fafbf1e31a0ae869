//! Whether a location that is being read moves at all. Pure.

use std::time::Duration;

/// How long a location may be silent in the middle of a read while there is another. Twice the longest pause of a store that works.
pub(super) const SILENCE_MAX: Duration = Duration::from_secs(2);

/// The slowest that a location may be while there is another, in bytes per second: half a megabit, which no path that anybody replicates
/// over is below.
const BYTES_PER_SECOND_MIN: u64 = 64 << 10;

/// Over how much waiting the speed is taken: long enough for a store that stutters, short enough for whoever waits.
const JUDGED_AFTER: Duration = Duration::from_secs(2);

/// What came from a location, and for how long it was waited for. The time in which the client was waited for does not count.
#[derive(Debug, Default)]
pub(super) struct Pace {
    bytes: u64,
    waited: Duration,
}

impl Pace {
    /// Notes a chunk. True if the location has been too slow.
    pub(super) fn is_too_slow(&mut self, bytes: usize, waited: Duration) -> bool {
        self.bytes += bytes as u64;
        self.waited += waited;
        if self.waited < JUDGED_AFTER {
            return false;
        }
        let milliseconds = u64::try_from(self.waited.as_millis()).unwrap_or(u64::MAX);
        let too_slow = self.bytes.saturating_mul(1000) / milliseconds.max(1) < BYTES_PER_SECOND_MIN;
        *self = Self::default();
        too_slow
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_kilobytes_a_second_are_too_slow_and_a_megabit_is_not() {
        let second = Duration::from_secs(1);
        let mut pace = Pace::default();
        assert!(!pace.is_too_slow(10_000, second));
        assert!(pace.is_too_slow(10_000, second));
        let mut pace = Pace::default();
        for _ in 0..10 {
            assert!(!pace.is_too_slow(125_000, second));
        }
        let mut pace = Pace::default();
        assert!(!pace.is_too_slow(1, Duration::ZERO));
        assert!(pace.is_too_slow(0, 100 * second));
    }
}
