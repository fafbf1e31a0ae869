//! How long a failed copy waits before it is tried again. Counting the attempts is the queue's business.

use std::time::Duration;

/// The least wait, so that no job is tried again in the same breath.
pub const RETRY_DELAY_MIN: Duration = Duration::from_secs(1);

/// The most a job ever waits. A location that comes back is used again within this time, and a thousand waiting jobs ask a
/// location that is down about twice a second.
pub const RETRY_DELAY_MAX: Duration = Duration::from_mins(15);

/// The longest wait after the first failure; it doubles with each further one.
const FIRST_CEILING: Duration = Duration::from_secs(5);

/// Why a copy failed, as what is done about it depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FailureClass {
    /// No location that holds the blob can be read.
    SourceDown,
    /// The location that lacks the blob cannot be written.
    TargetDown,
    /// A store says that it is asked too much.
    Throttled,
    /// No location has the object that it should have.
    ObjectMissing,
    /// The objects that there are have other bytes than the digest says.
    ObjectDamaged,
    /// The location that lacks the blob has no room.
    TargetFull,
    /// A person has to act: a store refuses, or nobody can read the job.
    Permanent,
    /// Something of our own: the database, or a defect.
    Internal,
}

impl FailureClass {
    /// Every class.
    pub const ALL: [Self; 8] = [
        Self::SourceDown,
        Self::TargetDown,
        Self::Throttled,
        Self::ObjectMissing,
        Self::ObjectDamaged,
        Self::TargetFull,
        Self::Permanent,
        Self::Internal,
    ];

    /// As it is written and shown.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SourceDown => "source-down",
            Self::TargetDown => "target-down",
            Self::Throttled => "throttled",
            Self::ObjectMissing => "object-missing",
            Self::ObjectDamaged => "object-damaged",
            Self::TargetFull => "target-full",
            Self::Permanent => "permanent",
            Self::Internal => "internal",
        }
    }

    /// The class of this name; none for one of another version's.
    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|class| class.as_str() == name)
    }

    /// Whether waiting does not help by itself: somebody has to do something. It is tried again all the same, from time to time.
    pub const fn needs_a_person(self) -> bool {
        matches!(
            self,
            Self::ObjectMissing | Self::ObjectDamaged | Self::TargetFull | Self::Permanent
        )
    }

    /// The longest wait after the first failure, and the longest of all.
    const fn ceilings(self) -> (Duration, Duration) {
        match self {
            Self::SourceDown | Self::TargetDown | Self::Internal => {
                (FIRST_CEILING, RETRY_DELAY_MAX)
            }
            // It says that it is asked too much, and is asked less.
            Self::Throttled => (Duration::from_secs(20), Duration::from_mins(5)),
            Self::ObjectMissing | Self::ObjectDamaged => {
                (Duration::from_secs(30), Duration::from_hours(1))
            }
            Self::TargetFull => (Duration::from_mins(1), RETRY_DELAY_MAX),
            Self::Permanent => (Duration::from_mins(5), Duration::from_hours(1)),
        }
    }

    /// The wait before the next attempt, after `attempt` failed ones of which the last was of this class. As [`retry_delay`], with ceilings of
    /// its own:
    ///
    /// | class | first ceiling | last ceiling |
    /// |---|---|---|
    /// | source or target down, internal | 5 s | 15 min; a location that comes back makes them due at once |
    /// | throttled | 20 s | 5 min |
    /// | object missing or damaged | 30 s | 1 h |
    /// | target full | 1 min | 15 min |
    /// | permanent | 5 min | 1 h |
    pub fn retry_delay(self, attempt: u32, chance: f64) -> Duration {
        let (first, last) = self.ceilings();
        jittered(attempt, chance, first, last)
    }
}

/// The wait before the next attempt, after `attempt` failed ones: chance decides between [`RETRY_DELAY_MIN`] and the ceiling
/// ("full jitter"), so that jobs that failed together do not come back together.
///
/// | failed attempts | 0, 1 | 2 | 3 | 4 | 5 | 6 | 7 | 8 | 9 and more |
/// |---|---|---|---|---|---|---|---|---|---|
/// | ceiling, seconds | 5 | 10 | 20 | 40 | 80 | 160 | 320 | 640 | 900 |
///
/// `chance` is in `0.0..1.0`; what is outside counts as the nearer end, and NaN as 0.
pub fn retry_delay(attempt: u32, chance: f64) -> Duration {
    jittered(attempt, chance, FIRST_CEILING, RETRY_DELAY_MAX)
}

/// When it is looked again whether an image has become complete that has been awaited for so long: after a quarter of that, two seconds at least and
/// an hour at most. Copies that this registry makes itself say so, and are not waited for.
pub fn look_again_after(awaited: Duration) -> Duration {
    (awaited / 4).clamp(Duration::from_secs(2), Duration::from_hours(1))
}

fn jittered(attempt: u32, chance: f64, first: Duration, last: Duration) -> Duration {
    let doublings = attempt.saturating_sub(1).min(16);
    let ceiling = first.saturating_mul(1 << doublings).min(last);
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
    fn an_image_is_looked_at_again_soon_at_first_and_hourly_in_the_end() {
        for (awaited, seconds) in [
            (0, 2),
            (8, 2),
            (100, 25),
            (14_400, 3_600),
            (u64::MAX, 3_600),
        ] {
            assert_eq!(
                look_again_after(Duration::from_secs(awaited)),
                Duration::from_secs(seconds),
                "{awaited}"
            );
        }
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

    #[test]
    fn every_class_is_found_by_its_name_and_waits_within_its_ceilings() {
        for class in FailureClass::ALL {
            assert_eq!(FailureClass::of_name(class.as_str()), Some(class));
            let (first, last) = class.ceilings();
            assert_eq!(class.retry_delay(1, 1.0), first);
            assert_eq!(class.retry_delay(u32::MAX, 1.0), last);
            assert_eq!(class.retry_delay(7, 0.0), RETRY_DELAY_MIN);
        }
        assert_eq!(FailureClass::of_name("of a later version"), None);
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
