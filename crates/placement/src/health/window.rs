//! What happened in the last seconds: a ring of buckets, each with counts and a histogram of latencies. Its memory is fixed,
//! about 3 KiB.

use std::time::Duration;

use crate::moment::{Tick, microseconds, milliseconds};

/// Buckets in a window. It moves on by one of them.
const BUCKETS: usize = 10;

/// Latencies are counted from here, doubling sixteen times, up to 32 s.
const FIRST_BOUND_MICROSECONDS: u64 = 500;
const OCTAVES: u32 = 16;
/// Bins for each doubling, so that a quantile is at most a quarter too high.
const BINS_PER_OCTAVE: u64 = 4;
const BINS: usize = 64;

#[derive(Clone, Copy, Debug)]
struct Bucket {
    totals: Totals,
    latencies: [u32; BINS],
}

impl Bucket {
    const EMPTY: Self = Self {
        totals: Totals {
            answered: 0,
            failed: 0,
            verified: 0,
            bytes: 0,
            waited_microseconds: 0,
        },
        latencies: [0; BINS],
    };
}

/// The sums over a window.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Totals {
    /// Requests that were answered and have not failed since.
    pub(super) answered: u32,
    pub(super) failed: u32,
    /// Objects whose bytes were all right.
    pub(super) verified: u32,
    bytes: u64,
    waited_microseconds: u64,
}

impl Totals {
    pub(super) const fn outcomes(&self) -> u32 {
        self.answered.saturating_add(self.failed)
    }

    /// Between 0 and 1; 0 of nothing.
    pub(super) fn error_share(&self) -> f64 {
        f64::from(self.failed) / f64::from(self.outcomes().max(1))
    }

    /// The speed of the transfers, if the location was waited for long enough.
    pub(super) fn bytes_per_second(&self, waited_min: Duration) -> Option<u64> {
        let waited = self.waited_microseconds;
        if waited == 0 || waited < microseconds(waited_min) {
            return None;
        }
        Some(bytes_per_second(self.bytes, waited))
    }
}

/// The speed, with nothing divided by zero.
pub(super) fn bytes_per_second(bytes: u64, microseconds: u64) -> u64 {
    let speed = u128::from(bytes) * 1_000_000 / u128::from(microseconds.max(1));
    u64::try_from(speed).unwrap_or(u64::MAX)
}

#[derive(Clone, Debug)]
pub(super) struct Window {
    bucket_milliseconds: u64,
    /// Which bucket is now, counted from the beginning of time.
    period: u64,
    buckets: [Bucket; BUCKETS],
    /// The latencies of all buckets.
    latencies: [u32; BINS],
}

impl Window {
    pub(super) fn new(length: Duration) -> Self {
        Self {
            bucket_milliseconds: (milliseconds(length) / BUCKETS as u64).max(1),
            period: 0,
            buckets: [Bucket::EMPTY; BUCKETS],
            latencies: [0; BINS],
        }
    }

    /// Lets go of what is too old.
    pub(super) fn advance(&mut self, tick: Tick) {
        let period = tick.milliseconds() / self.bucket_milliseconds;
        let passed = period.saturating_sub(self.period).min(BUCKETS as u64);
        for step in 1..=passed {
            let index = Self::index(period - passed + step);
            let gone = std::mem::replace(&mut self.buckets[index], Bucket::EMPTY);
            for (sum, count) in self.latencies.iter_mut().zip(gone.latencies) {
                *sum = sum.saturating_sub(count);
            }
        }
        self.period = self.period.max(period);
    }

    pub(super) fn clear(&mut self) {
        self.buckets = [Bucket::EMPTY; BUCKETS];
        self.latencies = [0; BINS];
    }

    pub(super) fn add_answer(&mut self) {
        let totals = self.newest();
        totals.answered = totals.answered.saturating_add(1);
    }

    pub(super) fn add_failure(&mut self) {
        let totals = self.newest();
        totals.failed = totals.failed.saturating_add(1);
    }

    /// What had been answered has failed after all: of all requests, one more failed and none more was made.
    pub(super) fn turn_answer_into_failure(&mut self) {
        for back in 0..BUCKETS as u64 {
            let index = Self::index(self.period.saturating_add(BUCKETS as u64) - back);
            let answered = &mut self.buckets[index].totals.answered;
            if *answered > 0 {
                *answered -= 1;
                break;
            }
        }
        self.add_failure();
    }

    pub(super) fn add_latency(&mut self, latency: Duration) {
        let index = Self::index(self.period);
        let bin = bin(latency);
        for counts in [&mut self.buckets[index].latencies, &mut self.latencies] {
            counts[bin] = counts[bin].saturating_add(1);
        }
    }

    pub(super) fn add_transfer(&mut self, bytes: u64, waited: Duration) {
        let totals = self.newest();
        totals.bytes = totals.bytes.saturating_add(bytes);
        totals.waited_microseconds = totals
            .waited_microseconds
            .saturating_add(microseconds(waited));
    }

    pub(super) fn add_verified(&mut self) {
        let totals = self.newest();
        totals.verified = totals.verified.saturating_add(1);
    }

    pub(super) fn totals(&self) -> Totals {
        Self::sum(self.buckets.iter())
    }

    /// The sums over the last tenth to fifth of the window.
    pub(super) fn recent(&self) -> Totals {
        let newest = self.period.saturating_add(BUCKETS as u64);
        let indices = [newest, newest - 1].map(Self::index);
        Self::sum(indices.iter().map(|index| &self.buckets[*index]))
    }

    fn sum<'a>(buckets: impl Iterator<Item = &'a Bucket>) -> Totals {
        buckets.fold(Totals::default(), |sum, bucket| Totals {
            answered: sum.answered.saturating_add(bucket.totals.answered),
            failed: sum.failed.saturating_add(bucket.totals.failed),
            verified: sum.verified.saturating_add(bucket.totals.verified),
            bytes: sum.bytes.saturating_add(bucket.totals.bytes),
            waited_microseconds: sum
                .waited_microseconds
                .saturating_add(bucket.totals.waited_microseconds),
        })
    }

    /// What 95 of 100 latencies do not exceed; at most a quarter more than that. `None` of fewer than so many.
    pub(super) fn latency_p95(&self, least: u32) -> Option<Duration> {
        let bins = self.latencies.map(u64::from);
        let count: u64 = bins.iter().sum();
        if count < u64::from(least.max(1)) {
            return None;
        }
        let rank = (count * 95).div_ceil(100);
        let mut seen = 0;
        let found = bins.iter().position(|bin| {
            seen += bin;
            seen >= rank
        });
        found.map(bin_bound)
    }

    fn newest(&mut self) -> &mut Totals {
        let index = Self::index(self.period);
        &mut self.buckets[index].totals
    }

    #[expect(
        clippy::cast_possible_truncation,
        reason = "the remainder is less than the number of buckets"
    )]
    const fn index(period: u64) -> usize {
        (period % BUCKETS as u64) as usize
    }
}

/// The bin that a latency is counted in.
fn bin(latency: Duration) -> usize {
    let microseconds = microseconds(latency);
    let first = FIRST_BOUND_MICROSECONDS;
    if microseconds < first {
        return 0;
    }
    let octave = (microseconds / first).ilog2();
    if octave >= OCTAVES {
        return BINS - 1;
    }
    let base = first << octave;
    let part = (microseconds - base) * BINS_PER_OCTAVE / base;
    usize::try_from(u64::from(octave) * BINS_PER_OCTAVE + part).unwrap_or(BINS - 1)
}

/// What no latency counted in this bin exceeds, except in the last one.
fn bin_bound(bin: usize) -> Duration {
    let bin = bin as u64;
    let base = FIRST_BOUND_MICROSECONDS << (bin / BINS_PER_OCTAVE);
    Duration::from_micros(base + base * (bin % BINS_PER_OCTAVE + 1) / BINS_PER_OCTAVE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn tick(milliseconds: u64) -> Tick {
        Tick::default().plus(Duration::from_millis(milliseconds))
    }

    #[test]
    fn what_is_older_than_the_window_is_gone() {
        let mut window = Window::new(Duration::from_secs(20));
        window.add_failure();
        window.advance(tick(19_999));
        window.add_answer();
        assert_eq!((window.totals().failed, window.totals().answered), (1, 1));
        window.advance(tick(20_000));
        assert_eq!((window.totals().failed, window.totals().answered), (0, 1));
        window.advance(tick(u64::MAX));
        assert_eq!(window.totals().outcomes(), 0);
        window.advance(tick(0));
        assert_eq!(window.totals().outcomes(), 0);
    }

    #[test]
    fn an_answer_that_failed_later_is_counted_once() {
        let mut window = Window::new(Duration::from_secs(20));
        window.add_answer();
        window.advance(tick(5_000));
        window.turn_answer_into_failure();
        assert_eq!((window.totals().failed, window.totals().answered), (1, 0));
        window.turn_answer_into_failure();
        assert_eq!((window.totals().failed, window.totals().answered), (2, 0));
    }

    #[test]
    fn speed_is_that_of_all_transfers_together() {
        let mut window = Window::new(Duration::from_secs(20));
        window.add_transfer(10_000, Duration::from_secs(1));
        let least = Duration::from_secs(2);
        assert_eq!(window.totals().bytes_per_second(least), None);
        window.add_transfer(100_000_000, Duration::from_secs(1));
        assert_eq!(window.totals().bytes_per_second(least), Some(50_005_000));
        assert_eq!(
            Window::new(Duration::ZERO)
                .totals()
                .bytes_per_second(Duration::ZERO),
            None
        );
    }

    proptest! {
        #[test]
        fn a_latency_is_counted_at_most_a_quarter_too_high(microseconds in 500_u64..32_768_000) {
            let latency = Duration::from_micros(microseconds);
            let bound = bin_bound(bin(latency));
            prop_assert!(bound >= latency);
            // The bounds of the lowest bins are whole microseconds.
            prop_assert!(bound <= latency.mul_f64(1.25) + Duration::from_micros(1));
        }

        #[test]
        fn a_quantile_is_one_of_the_latencies_or_little_more(latencies in prop::collection::vec(0_u64..100_000_000, 1..200)) {
            let mut window = Window::new(Duration::from_secs(20));
            for latency in &latencies {
                window.add_latency(Duration::from_micros(*latency));
            }
            let quantile = window.latency_p95(1).unwrap();
            let mut sorted = latencies;
            sorted.sort_unstable();
            let exact = sorted[(sorted.len() * 95).div_ceil(100) - 1].clamp(500, 32_768_000);
            prop_assert_eq!(quantile.max(Duration::from_micros(500)), bin_bound(bin(Duration::from_micros(exact.min(32_767_999)))));
        }
    }
}
