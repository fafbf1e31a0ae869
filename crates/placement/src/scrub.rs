//! How far a round of reading everything back should have come.

use std::time::Duration;

/// How much later than a location's own region another one reads there. A region that is at work is never so late.
const STRANGERS_LATER_MAX: Duration = Duration::from_hours(24);

/// How far a round should have come. Digests are spread evenly, so that a part of their range is the same part of the blobs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScrubReach {
    /// Everything whose digest begins with at most these 32 bits, and what is not hashed with SHA-256 not yet.
    UpTo(u32),
    /// Everything.
    All,
}

/// How far a round that has run for `elapsed` should have come, so that it takes `period`. `preferred`: whether this process's region prefers
/// the location. Others help out when it lags a day behind, or a tenth of a shorter period.
pub fn scrub_reach(elapsed: Duration, period: Duration, preferred: bool) -> ScrubReach {
    let elapsed = if preferred {
        elapsed
    } else {
        elapsed.saturating_sub(STRANGERS_LATER_MAX.min(period / 10))
    };
    if elapsed >= period {
        return ScrubReach::All;
    }
    // Less than `period`, which is not zero then: the quotient is a part of 2^32.
    let reach = (elapsed.as_millis() << 32)
        .checked_div(period.as_millis())
        .and_then(|reach| u32::try_from(reach).ok());
    reach.map_or(ScrubReach::All, ScrubReach::UpTo)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const DAY: Duration = Duration::from_hours(24);

    #[test]
    fn a_round_comes_as_far_as_time_has() {
        for (elapsed, preferred, expected) in [
            (Duration::ZERO, true, ScrubReach::UpTo(0)),
            (DAY * 4, true, ScrubReach::UpTo(1 << 31)),
            (DAY * 8, true, ScrubReach::All),
            (DAY * 80, true, ScrubReach::All),
            // A tenth of eight days is less than a day.
            (Duration::from_mins(1_152), false, ScrubReach::UpTo(0)),
            (Duration::from_mins(6_912), false, ScrubReach::UpTo(1 << 31)),
            (DAY * 8, false, ScrubReach::UpTo(3_865_470_566)),
            (DAY * 9, false, ScrubReach::All),
        ] {
            assert_eq!(
                scrub_reach(elapsed, DAY * 8, preferred),
                expected,
                "{elapsed:?}, preferred: {preferred}"
            );
        }
        assert_eq!(
            scrub_reach(Duration::ZERO, Duration::ZERO, true),
            ScrubReach::All
        );
    }

    proptest! {
        #[test]
        fn it_never_goes_back_and_its_own_region_is_never_behind(
            period in 1_u64..=400_000_000, one in 0_u64..=400_000_000, more in 0_u64..=1_000_000,
        ) {
            let period = Duration::from_secs(period);
            let part = |elapsed, preferred| match scrub_reach(Duration::from_secs(elapsed), period, preferred) {
                ScrubReach::UpTo(part) => u64::from(part),
                ScrubReach::All => 1 << 32,
            };
            for preferred in [false, true] {
                prop_assert!(part(one, preferred) <= part(one + more, preferred));
            }
            prop_assert!(part(one, false) <= part(one, true));
        }
    }
}
