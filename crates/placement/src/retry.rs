//! How long a failed copy waits before it is tried again. Counting the attempts is the queue's business.

use std::time::Duration;

/// The least wait, so that no job is tried again in the same breath.
pub const RETRY_DELAY_MIN: Duration = Duration::from_secs(1);

/// The most a job ever waits. A location that comes back is used again within this time, and a thousand waiting jobs ask a
/// location that is down about twice a second.
pub const RETRY_DELAY_MAX: Duration = Duration::from_mins(15);

/// The longest wait after the first failure; it doubles with each further one.
const FIRST_CEILING: Duration = Duration::from_secs(5);

/// The wait before the next attempt, after `attempt` failed ones: chance decides between [`RETRY_DELAY_MIN`] and the ceiling
/// ("full jitter"), so that jobs that failed together do not come back together.
///
/// | failed attempts | 0, 1 | 2 | 3 | 4 | 5 | 6 | 7 | 8 | 9 and more |
/// |---|---|---|---|---|---|---|---|---|---|
/// | ceiling, seconds | 5 | 10 | 20 | 40 | 80 | 160 | 320 | 640 | 900 |
///
/// `chance` is in `0.0..1.0`; what is outside counts as the nearer end, and NaN as 0.
pub fn retry_delay(attempt: u32, chance: f64) -> Duration {
    let doublings = attempt.saturating_sub(1).min(16);
    let ceiling = FIRST_CEILING
        .saturating_mul(1 << doublings)
        .min(RETRY_DELAY_MAX);
    let chance = if chance.is_nan() {
        0.0
    } else {
        chance.clamp(0.0, 1.0)
    };
    RETRY_DELAY_MIN + ceiling.saturating_sub(RETRY_DELAY_MIN).mul_f64(chance)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn ceilings_double_up_to_the_cap() {
        let expected = [5, 5, 10, 20, 40, 80, 160, 320, 640, 900, 900];
        for (attempt, seconds) in (0_u32..).zip(expected) {
            assert_eq!(
                retry_delay(attempt, 1.0),
                Duration::from_secs(seconds),
                "{attempt}"
            );
            assert_eq!(retry_delay(attempt, 0.0), RETRY_DELAY_MIN);
        }
        assert_eq!(retry_delay(u32::MAX, 1.0), RETRY_DELAY_MAX);
        assert_eq!(retry_delay(1, 0.5), Duration::from_secs(3));
    }

    #[test]
    fn chance_outside_of_its_range_is_brought_into_it() {
        for (chance, expected) in [
            (f64::NAN, 1),
            (-1.0, 1),
            (f64::NEG_INFINITY, 1),
            (2.0, 900),
            (f64::INFINITY, 900),
        ] {
            assert_eq!(
                retry_delay(100, chance),
                Duration::from_secs(expected),
                "{chance}"
            );
        }
    }

    proptest! {
        #[test]
        fn every_wait_is_within_bounds_and_grows_with_attempts_and_chance(attempt: u32, chance in 0.0_f64..1.0, more in 0.0_f64..1.0) {
            let delay = retry_delay(attempt, chance);
            prop_assert!((RETRY_DELAY_MIN..=RETRY_DELAY_MAX).contains(&delay));
            prop_assert!(retry_delay(attempt.saturating_add(1), chance) >= delay);
            prop_assert!(retry_delay(attempt, chance.max(more)) >= delay);
        }
    }
}
