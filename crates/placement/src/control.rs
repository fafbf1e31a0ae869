//! What an operator says about copying while it runs: where it rests, and how fast it may be.

use std::collections::BTreeSet;
use std::fmt;
use std::num::{NonZeroU32, NonZeroU64};
use std::str::FromStr;

use crate::LocationName;

/// What is paused and what is limited. By default nothing is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CopyControl {
    /// Where nothing is copied.
    pub paused: Pause,
    /// How fast copies may be where they are made. In the order in which they are shown.
    pub limits: Vec<CopyLimit>,
}

/// Where copying rests. That everything rests and that a location rests are said, and taken back, apart from each other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pause {
    /// Nothing is copied anywhere.
    pub everything: bool,
    /// Nothing is copied from or to these.
    pub locations: BTreeSet<LocationName>,
}

/// How fast copies over a link may be, together.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CopyLimit {
    /// The copies that share it.
    pub link: Link,
    /// Bytes a second. Never none: that is a [`Pause`].
    pub bytes_per_second: NonZeroU64,
    /// When it holds; always if none.
    pub window: Option<DailyWindow>,
}

/// Which copies a limit is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Link {
    /// Every copy.
    All,
    /// Copies from and to this location.
    Location(LocationName),
    /// Copies from one location to another, in this direction.
    Pair {
        /// Where they are read.
        source: LocationName,
        /// Where they are written.
        target: LocationName,
    },
}

/// A part of every day, in UTC, to the minute; it may go on past midnight. It is neither empty nor the whole day.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DailyWindow {
    from: u16,
    until: u16,
}

/// The minutes of a day.
const DAY: u16 = 24 * 60;

impl CopyControl {
    /// Whether a copy must wait. `source` is none where nothing is read, as for the empty blob.
    pub fn is_paused(&self, source: Option<&LocationName>, target: &LocationName) -> bool {
        self.paused.everything
            || [source, Some(target)]
                .into_iter()
                .flatten()
                .any(|end| self.paused.locations.contains(end))
    }

    /// The limits that reading at a location has to keep at this minute of the day in UTC when nothing is copied: those of the location and of
    /// everything.
    pub fn limits_on_reading(
        &self,
        location: &LocationName,
        minute_of_day: u16,
    ) -> impl Iterator<Item = &CopyLimit> {
        self.limits.iter().filter(move |limit| {
            let carried = match &limit.link {
                Link::All => true,
                Link::Location(limited) => limited == location,
                Link::Pair { .. } => false,
            };
            carried && limit.holds_at(minute_of_day)
        })
    }

    /// The limits that a copy has to keep at this minute of the day in UTC, all of them at once: the tightest decides.
    pub fn limits_on(
        &self,
        source: Option<&LocationName>,
        target: &LocationName,
        minute_of_day: u16,
    ) -> impl Iterator<Item = &CopyLimit> {
        self.limits.iter().filter(move |limit| {
            limit.link.carries(source, target) && limit.holds_at(minute_of_day)
        })
    }
}

impl CopyLimit {
    /// Whether it holds at this minute of the day in UTC.
    pub fn holds_at(&self, minute_of_day: u16) -> bool {
        self.window
            .is_none_or(|window| window.contains(minute_of_day))
    }

    /// What each of so many processes may use of it, in bytes a second: together no more than the limit, unless there are more processes than
    /// bytes.
    pub fn share(&self, processes: NonZeroU32) -> NonZeroU64 {
        NonZeroU64::new(self.bytes_per_second.get() / u64::from(processes.get()))
            .unwrap_or(NonZeroU64::MIN)
    }
}

impl Pause {
    /// Whether copying rests nowhere.
    pub fn is_none(&self) -> bool {
        !self.everything && self.locations.is_empty()
    }
}

impl Link {
    /// Whether copies from `source` to `target` are among those that it is about.
    pub fn carries(&self, source: Option<&LocationName>, target: &LocationName) -> bool {
        match self {
            Self::All => true,
            Self::Location(location) => source == Some(location) || target == location,
            Self::Pair {
                source: from,
                target: to,
            } => source == Some(from) && target == to,
        }
    }

    /// The locations that it names.
    pub fn ends(&self) -> impl Iterator<Item = &LocationName> {
        let (one, other) = match self {
            Self::All => (None, None),
            Self::Location(location) => (Some(location), None),
            Self::Pair { source, target } => (Some(source), Some(target)),
        };
        one.into_iter().chain(other)
    }
}

impl fmt::Display for Link {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => formatter.pad("everything"),
            Self::Location(location) => formatter.pad(&format!("from and to {location}")),
            Self::Pair { source, target } => formatter.pad(&format!("from {source} to {target}")),
        }
    }
}

impl DailyWindow {
    /// Whether this minute of the day, in UTC, is in it. Its first minute is, its last is not.
    pub const fn contains(self, minute_of_day: u16) -> bool {
        if self.from < self.until {
            self.from <= minute_of_day && minute_of_day < self.until
        } else {
            self.from <= minute_of_day || minute_of_day < self.until
        }
    }
}

impl fmt::Display for DailyWindow {
    /// As [`DailyWindow::from_str`] reads it.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let clock = |minute: u16| format!("{:02}:{:02}", minute / 60, minute % 60);
        formatter.pad(&format!("{}-{}", clock(self.from), clock(self.until)))
    }
}

impl FromStr for DailyWindow {
    type Err = DailyWindowError;

    /// Reads `HH:MM-HH:MM`. `24:00` is midnight too.
    fn from_str(text: &str) -> Result<Self, DailyWindowError> {
        let malformed = || DailyWindowError::Malformed {
            text: text.escape_debug().take(40).collect(),
        };
        let (from, until) = text.split_once('-').ok_or_else(malformed)?;
        let [from, until] = [
            minute_of_day(from).ok_or_else(malformed)?,
            minute_of_day(until).ok_or_else(malformed)?,
        ];
        if from == until {
            return Err(DailyWindowError::WholeDay);
        }
        Ok(Self { from, until })
    }
}

fn minute_of_day(clock: &str) -> Option<u16> {
    let (hours, minutes) = clock.split_once(':')?;
    let number = |digits: &str| {
        // `u16::from_str` would take a sign as well.
        let two = digits.len() == 2 && digits.bytes().all(|byte| byte.is_ascii_digit());
        two.then(|| digits.parse::<u16>().ok()).flatten()
    };
    let (hours, minutes) = (number(hours)?, number(minutes)?);
    let minute = hours * 60 + minutes;
    (minutes < 60 && minute <= DAY).then_some(minute % DAY)
}

/// Why a text is not a part of a day.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DailyWindowError {
    /// It is not in the form that is read.
    #[error(
        "`{text}` is not a part of the day; write it as HH:MM-HH:MM in UTC, such as 22:00-06:00"
    )]
    Malformed {
        /// How it begins.
        text: String,
    },
    /// It begins when it ends.
    #[error("it begins at the minute at which it ends; leave it out for the whole day")]
    WholeDay,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::tests::{name, names, some_names};
    use proptest::prelude::*;

    fn limit(link: Link, bytes_per_second: u64, window: &str) -> CopyLimit {
        CopyLimit {
            link,
            bytes_per_second: NonZeroU64::new(bytes_per_second).unwrap(),
            window: (!window.is_empty()).then(|| window.parse().unwrap()),
        }
    }

    fn pair(source: &str, target: &str) -> Link {
        Link::Pair {
            source: name(source),
            target: name(target),
        }
    }

    #[test]
    fn a_pause_of_a_location_stops_what_is_read_and_what_is_written_there() {
        let (us, eu, ap) = (name("us"), name("eu"), name("ap"));
        let mut control = CopyControl::default();
        assert!(!control.is_paused(Some(&us), &eu));
        assert!(control.paused.is_none());
        control.paused.locations = names("us");
        for (source, target, paused) in [
            (Some(&us), &eu, true),
            (Some(&eu), &us, true),
            (None, &us, true),
            (Some(&eu), &ap, false),
            (None, &ap, false),
        ] {
            assert_eq!(control.is_paused(source, target), paused, "{source:?}");
        }
        control.paused.everything = true;
        assert!(control.is_paused(None, &ap));
        assert!(!control.paused.is_none());
    }

    #[test]
    fn every_limit_of_a_link_holds_that_names_the_minute_or_none() {
        let (us, eu, ap) = (name("us"), name("eu"), name("ap"));
        let control = CopyControl {
            paused: Pause::default(),
            limits: vec![
                limit(Link::All, 100, ""),
                limit(Link::Location(eu.clone()), 50, "08:00-20:00"),
                limit(Link::Location(eu.clone()), 80, "20:00-08:00"),
                limit(pair("us", "eu"), 10, "23:30-00:30"),
            ],
        };
        let rates = |source, target, clock| -> Vec<u64> {
            control
                .limits_on(source, target, minute_of_day(clock).unwrap())
                .map(|limit| limit.bytes_per_second.get())
                .collect()
        };
        assert_eq!(rates(Some(&us), &eu, "12:00"), [100, 50]);
        assert_eq!(rates(Some(&us), &eu, "20:00"), [100, 80]);
        assert_eq!(rates(Some(&us), &eu, "00:00"), [100, 80, 10]);
        assert_eq!(rates(Some(&us), &eu, "00:30"), [100, 80]);
        assert_eq!(rates(Some(&eu), &us, "00:00"), [100, 80]);
        assert_eq!(rates(None, &eu, "12:00"), [100, 50]);
        assert_eq!(rates(Some(&us), &ap, "12:00"), [100]);
    }

    #[test]
    fn reading_keeps_the_limits_of_its_location_and_of_everything() {
        let control = CopyControl {
            paused: Pause::default(),
            limits: vec![
                limit(Link::All, 100, "08:00-20:00"),
                limit(Link::Location(name("eu")), 50, ""),
                limit(Link::Location(name("us")), 40, ""),
                limit(pair("us", "eu"), 10, ""),
            ],
        };
        let rates = |location, clock| -> Vec<u64> {
            control
                .limits_on_reading(&name(location), minute_of_day(clock).unwrap())
                .map(|limit| limit.bytes_per_second.get())
                .collect()
        };
        assert_eq!(rates("eu", "12:00"), [100, 50]);
        assert_eq!(rates("us", "21:00"), [40]);
        assert_eq!(rates("ap", "21:00"), [0; 0]);
    }

    #[test]
    fn parts_of_a_day_are_two_times_to_the_minute() {
        for (text, shown) in [
            ("08:00-20:00", "08:00-20:00"),
            ("22:30-06:15", "22:30-06:15"),
            ("18:00-24:00", "18:00-00:00"),
            ("24:00-01:00", "00:00-01:00"),
        ] {
            let window: DailyWindow = text.parse().unwrap();
            assert_eq!(window.to_string(), shown);
        }
        for text in [
            "",
            "-",
            "8:00-20:00",
            "08:00",
            "08:00-20:60",
            "08:00-24:01",
            "08:00-25:00",
            "+8:00-20:00",
            "08:00 - 20:00",
            "08:00-20:00-",
            "０8:00-20:00",
        ] {
            let error = text.parse::<DailyWindow>().unwrap_err();
            assert!(
                matches!(error, DailyWindowError::Malformed { .. }),
                "{text}: {error}"
            );
        }
        for text in ["08:00-08:00", "00:00-24:00"] {
            assert_eq!(
                text.parse::<DailyWindow>(),
                Err(DailyWindowError::WholeDay),
                "{text}"
            );
        }
    }

    #[test]
    fn links_say_what_they_carry() {
        assert_eq!(Link::All.to_string(), "everything");
        assert_eq!(Link::Location(name("eu")).to_string(), "from and to eu");
        assert_eq!(pair("us", "eu").to_string(), "from us to eu");
        assert_eq!(pair("us", "eu").ends().count(), 2);
    }

    fn some_window() -> impl Strategy<Value = DailyWindow> {
        (0..DAY, 1..DAY).prop_map(|(from, length)| DailyWindow {
            from,
            until: (from + length) % DAY,
        })
    }

    proptest! {
        #[test]
        fn a_window_and_the_rest_of_the_day_share_no_minute_and_leave_none_out(window in some_window(), minute in 0..DAY) {
            let rest = DailyWindow { from: window.until, until: window.from };
            prop_assert!(window.contains(minute) != rest.contains(minute));
            prop_assert!(window.contains(window.from) && !window.contains(window.until));
        }

        #[test]
        fn processes_together_keep_a_limit_and_use_all_but_a_byte_each_of_it(rate in 1..=u64::MAX, processes in 1..=u32::MAX) {
            let share = limit(Link::All, rate, "").share(NonZeroU32::new(processes).unwrap()).get();
            let together = u128::from(share) * u128::from(processes);
            prop_assert!(together <= u128::from(rate.max(u64::from(processes))));
            prop_assert!(together + u128::from(processes) > u128::from(rate));
        }

        #[test]
        fn a_window_is_read_as_it_is_written(window in some_window()) {
            prop_assert_eq!(window.to_string().parse::<DailyWindow>(), Ok(window));
        }

        #[test]
        fn no_text_makes_reading_a_window_fail_otherwise_than_by_saying_no(text in ".*") {
            if let Ok(window) = text.parse::<DailyWindow>() {
                prop_assert!(window.from < DAY && window.until < DAY && window.from != window.until);
            }
        }

        #[test]
        fn what_is_paused_is_what_has_an_end_that_is(paused in some_names(), source in some_names(), target in some_names()) {
            let control = CopyControl { paused: Pause { everything: false, locations: paused.clone() }, limits: Vec::new() };
            for (source, target) in source.iter().zip(&target) {
                prop_assert_eq!(control.is_paused(Some(source), target), paused.contains(source) || paused.contains(target));
            }
        }
    }
}
