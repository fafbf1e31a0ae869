//! How fast copies arrive, by what has arrived in the last minutes.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use roadstead_placement::LocationName;
use roadstead_runtime::Timestamp;

/// For how long an arrival counts. Long enough for one of a large blob to be followed by the next.
const SLOTS: i64 = 12;

/// Arrivals are counted in slots of so many seconds.
const SLOT_SECONDS: i64 = 10;

/// How fast this process copies to each location. Clones are the same.
#[derive(Clone, Debug, Default)]
pub(crate) struct Throughput(Arc<Mutex<BTreeMap<LocationName, Arrivals>>>);

impl Throughput {
    /// Counts a copy that has arrived.
    pub(crate) fn note(&self, target: &LocationName, bytes: u64, now: Timestamp) {
        let mut targets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        targets.entry(target.clone()).or_default().note(bytes, now);
    }

    /// Bytes a second to each location, where anything has arrived lately.
    pub(crate) fn rates(&self, now: Timestamp) -> BTreeMap<LocationName, u64> {
        let targets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        targets
            .iter()
            .filter_map(|(target, arrivals)| Some((target.clone(), arrivals.rate(now)?)))
            .collect()
    }
}

/// Bytes that arrived, in a few slots of time.
#[derive(Clone, Debug, Default)]
pub(crate) struct Arrivals(VecDeque<Slot>);

#[derive(Clone, Copy, Debug)]
struct Slot {
    /// How many slots passed before it since the epoch.
    number: i64,
    bytes: u64,
}

impl Arrivals {
    /// Counts bytes. When the clock was set back, what was counted before counts no more.
    pub(crate) fn note(&mut self, bytes: u64, now: Timestamp) {
        let number = slot(now);
        if self.0.back().is_some_and(|last| last.number > number) {
            self.0.clear();
        }
        match self.0.back_mut() {
            Some(last) if last.number == number => last.bytes = last.bytes.saturating_add(bytes),
            _ => self.0.push_back(Slot { number, bytes }),
        }
        while self
            .0
            .front()
            .is_some_and(|first| !is_recent(first.number, number))
        {
            self.0.pop_front();
        }
    }

    /// Bytes a second since the first arrival of the last two minutes; none if there was none.
    pub(crate) fn rate(&self, now: Timestamp) -> Option<u64> {
        let number = slot(now);
        let recent = || self.0.iter().filter(|slot| is_recent(slot.number, number));
        let first = recent().next()?;
        let bytes = recent().fold(0_u64, |sum, slot| sum.saturating_add(slot.bytes));
        let since = now.timestamp() - first.number.saturating_mul(SLOT_SECONDS);
        // What arrived in this very second is not spread over less than a slot.
        let seconds = u64::try_from(since.max(SLOT_SECONDS)).unwrap_or(1);
        Some(bytes / seconds)
    }
}

fn slot(time: Timestamp) -> i64 {
    time.timestamp().div_euclid(SLOT_SECONDS)
}

fn is_recent(number: i64, now: i64) -> bool {
    (0..SLOTS).contains(&now.saturating_sub(number))
}

/// How long so many bytes take at this rate, if they ever arrive.
pub(crate) fn time_left(bytes: u64, bytes_per_second: Option<u64>) -> Option<Duration> {
    bytes_per_second
        .filter(|rate| *rate > 0 && bytes > 0)
        .map(|rate| Duration::from_secs(bytes.div_ceil(rate)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::name;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_timestamp(1_800_000_000 + seconds, 0).unwrap()
    }

    #[test]
    fn a_rate_is_what_arrived_since_the_first_arrival_of_the_last_two_minutes() {
        let mut arrivals = Arrivals::default();
        assert_eq!(arrivals.rate(at(0)), None);
        arrivals.note(1_000, at(0));
        assert_eq!(arrivals.rate(at(0)), Some(100));
        assert_eq!(arrivals.rate(at(50)), Some(20));
        arrivals.note(9_000, at(99));
        assert_eq!(arrivals.rate(at(100)), Some(100));
        assert_eq!(arrivals.rate(at(119)), Some(84));
        assert_eq!(arrivals.rate(at(120)), Some(300));
        assert_eq!(arrivals.rate(at(209)), Some(75));
        assert_eq!(arrivals.rate(at(210)), None);
        for seconds in 0..10_000 {
            arrivals.note(u64::MAX, at(seconds));
        }
        assert!(arrivals.0.len() <= 12, "{}", arrivals.0.len());
    }

    #[test]
    fn a_clock_that_is_set_an_hour_back_or_on_does_no_harm() {
        let mut arrivals = Arrivals::default();
        arrivals.note(1_000, at(3_600));
        assert_eq!(arrivals.rate(at(0)), None);
        arrivals.note(500, at(0));
        assert_eq!(arrivals.rate(at(0)), Some(50));
        assert_eq!(arrivals.rate(at(3_600)), None);
    }

    #[test]
    fn each_location_has_a_rate_of_its_own() {
        let throughput = Throughput::default();
        throughput.clone().note(&name("us"), 100, at(0));
        throughput.note(&name("eu"), 7_000, at(1));
        let rates = throughput.rates(at(10));
        assert_eq!(rates, BTreeMap::from([(name("eu"), 700), (name("us"), 10)]));
        assert!(throughput.rates(at(200)).is_empty());
    }

    #[test]
    fn the_time_left_is_known_while_anything_arrives() {
        assert_eq!(time_left(1_001, Some(100)), Some(Duration::from_secs(11)));
        assert_eq!(time_left(1_001, Some(0)), None);
        assert_eq!(time_left(1_001, None), None);
        assert_eq!(time_left(0, Some(100)), None);
    }
}
