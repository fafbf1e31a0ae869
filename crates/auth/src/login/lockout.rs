//! How long an account is closed after wrong passwords. Counting them is the database's work.

use std::time::Duration;

use chrono::TimeDelta;
use roadstead_runtime::Timestamp;

/// The longest time that an account is closed. Quay has no limit, so that a few dozen guesses close an account for years.
pub(crate) const LOCKOUT_MAX: Duration = Duration::from_hours(24);

/// How long the account is closed from the last wrong password on, after so many in a row: 0.5 × (2^n − 1) s, as in Quay.
///
/// | wrong passwords | 1 | 2 | 3 | 4 | 5 | 8 | 12 | 17 | 18 and more |
/// |---|---|---|---|---|---|---|---|---|---|
/// | closed for | 0.5 s | 1.5 s | 3.5 s | 7.5 s | 15.5 s | 2 min | 34 min | 18 h | 24 h |
pub(crate) fn closed_after(attempts: i32) -> Duration {
    let Ok(attempts) = u32::try_from(attempts) else {
        return Duration::ZERO;
    };
    let halves_of_a_second = 1_u64
        .checked_shl(attempts)
        .map_or(u64::MAX, |power| power - 1);
    Duration::from_millis(halves_of_a_second.saturating_mul(500)).min(LOCKOUT_MAX)
}

/// How long the account stays closed from now on; none when it is open.
pub(crate) fn remaining(attempts: i32, last: Timestamp, now: Timestamp) -> Option<Duration> {
    let closed = closed_after(attempts);
    // The last wrong password may lie in the future of this region's clock; the wait is never longer than the table says all the same.
    let elapsed = (now - last)
        .max(TimeDelta::zero())
        .to_std()
        .unwrap_or_default();
    closed
        .checked_sub(elapsed)
        .filter(|remaining| !remaining.is_zero())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_doubles_up_to_its_limit() {
        for (attempts, milliseconds) in [
            (i32::MIN, 0),
            (-1, 0),
            (0, 0),
            (1, 500),
            (2, 1500),
            (3, 3500),
            (12, 2_047_500),
            (17, 65_535_500),
            (18, 86_400_000),
            (63, 86_400_000),
            (64, 86_400_000),
            (i32::MAX, 86_400_000),
        ] {
            assert_eq!(
                closed_after(attempts),
                Duration::from_millis(milliseconds),
                "{attempts}"
            );
        }
    }

    #[test]
    fn an_account_opens_when_the_wait_is_over() {
        let last = Timestamp::UNIX_EPOCH;
        let at = |milliseconds| last + Duration::from_millis(milliseconds);
        assert_eq!(remaining(1, last, at(0)), Some(Duration::from_millis(500)));
        assert_eq!(remaining(1, last, at(499)), Some(Duration::from_millis(1)));
        assert_eq!(remaining(1, last, at(500)), None);
        assert_eq!(remaining(0, last, at(0)), None);
    }

    #[test]
    fn a_clock_that_is_behind_does_not_lengthen_the_wait() {
        let last = Timestamp::UNIX_EPOCH + Duration::from_hours(1);
        let wait = remaining(2, last, Timestamp::UNIX_EPOCH);
        assert_eq!(wait, Some(Duration::from_millis(1500)));
    }

    #[test]
    fn extreme_times_are_answered() {
        assert_eq!(remaining(1, Timestamp::MIN_UTC, Timestamp::MAX_UTC), None);
        assert!(remaining(1, Timestamp::MAX_UTC, Timestamp::MIN_UTC).is_some());
    }
}
