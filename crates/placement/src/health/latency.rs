//! How long a location takes to answer: a moving average, the last known 95th percentile, and a coarse band to rank by.

use std::time::Duration;

use crate::moment::microseconds;

/// By how much one answer moves the average: an eighth, as the round trip times of TCP (RFC 6298).
const WEIGHT: u64 = 8;

/// Bands are powers of four of milliseconds: 4, 16, 64, 256, ... Within a rack, a region, a continent, the world.
const FIRST_BAND_MICROSECONDS: u64 = 4_000;
const BANDS: u8 = 12;

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Latency {
    mean_microseconds: Option<u64>,
    p95: Option<Duration>,
    band: Option<u8>,
}

impl Latency {
    pub(super) fn mean(&self) -> Option<Duration> {
        self.mean_microseconds.map(Duration::from_micros)
    }

    pub(super) const fn p95(&self) -> Option<Duration> {
        self.p95
    }

    pub(super) const fn band(&self) -> Option<u8> {
        self.band
    }

    /// Takes in a latency, and the percentile if it is known now.
    pub(super) fn note(&mut self, latency: Duration, p95: Option<Duration>) {
        let latency = microseconds(latency);
        let mean = self.mean_microseconds.map_or(latency, |mean| {
            let step = mean.abs_diff(latency).div_ceil(WEIGHT);
            if latency > mean {
                mean + step
            } else {
                mean - step
            }
        });
        self.mean_microseconds = Some(mean);
        self.p95 = p95.or(self.p95);
        if !self.band.is_some_and(|band| stays_in(band, mean)) {
            self.band = Some(band_of(mean));
        }
    }
}

/// The band of an average, without regard to the one before.
fn band_of(microseconds: u64) -> u8 {
    let above = (1..BANDS).find(|band| microseconds < lower_bound(*band));
    above.unwrap_or(BANDS) - 1
}

/// Whether an average is in a band or not further out of it than a third.
fn stays_in(band: u8, microseconds: u64) -> bool {
    let above = band == 0 || microseconds >= lower_bound(band) / 4 * 3;
    let below = band + 1 >= BANDS || microseconds < lower_bound(band + 1) / 3 * 4;
    above && below
}

const fn lower_bound(band: u8) -> u64 {
    if band == 0 {
        0
    } else {
        FIRST_BAND_MICROSECONDS << (2 * (band - 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn after(milliseconds: &[u64]) -> Latency {
        let mut latency = Latency::default();
        for sample in milliseconds {
            latency.note(Duration::from_millis(*sample), None);
        }
        latency
    }

    #[test]
    fn bands_are_powers_of_four() {
        for (milliseconds, band) in [(0, 0), (3, 0), (4, 1), (15, 1), (16, 2), (255, 3)] {
            assert_eq!(
                after(&[milliseconds]).band(),
                Some(band),
                "{milliseconds} ms"
            );
        }
        assert_eq!(after(&[u64::MAX]).band(), Some(11));
        assert_eq!(after(&[]).band(), None);
    }

    #[test]
    fn an_average_near_a_bound_keeps_its_band() {
        for sample in [17, 15, 18, 13, 20, 14] {
            assert_eq!(after(&[10, sample, sample, sample]).band(), Some(1));
            assert_eq!(after(&[30, sample, sample, sample]).band(), Some(2));
        }
        assert_eq!(after(&[&[10][..], &[40; 30]].concat()).band(), Some(2));
    }

    proptest! {
        #[test]
        fn the_average_stays_within_what_was_seen(samples in prop::collection::vec(0_u64..1_000_000, 1..50)) {
            let mean = after(&samples).mean().unwrap().as_millis();
            prop_assert!(mean >= u128::from(*samples.iter().min().unwrap()));
            prop_assert!(mean <= u128::from(*samples.iter().max().unwrap()));
        }

        #[test]
        fn a_steady_latency_is_found(first in 0_u64..100_000, steady in 0_u64..100_000) {
            let mut samples = vec![first];
            samples.extend([steady; 200]);
            prop_assert_eq!(after(&samples).mean(), Some(Duration::from_millis(steady)));
        }
    }
}
