//! When a second location is asked for a read that the first has not answered yet, and how often that may be done.

use std::time::Duration;

use crate::UseView;
use crate::moment::{Moment, Tick, Timeline, milliseconds};

/// When, and how often, a second location is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HedgeOptions {
    /// The least wait.
    pub floor: Duration,
    /// The longest wait.
    pub ceiling: Duration,
    /// Of how many reads in a hundred may be repeated.
    pub per_cent: u32,
    /// How many may be repeated in excess of that, once.
    pub burst: u32,
    /// After how long one more may be repeated, however few reads there are.
    pub trickle: Duration,
}

impl Default for HedgeOptions {
    fn default() -> Self {
        Self {
            // What it takes to ask the next region; a location that is a little late has answered by then.
            floor: Duration::from_millis(100),
            // A person begins to wonder, and pushes are promised to find another location within as much.
            ceiling: Duration::from_secs(2),
            // Twice the one in twenty that a healthy location has by the choice of the 95th percentile.
            per_cent: 10,
            // Twice what it takes for a location that is overtaken every time to be given up.
            burst: 10,
            // A registry that serves one pull a minute may hedge each.
            trickle: Duration::from_secs(10),
        }
    }
}

/// How long a read waits for the first byte of a location before another one is asked too.
///
/// As long as 95 of 100 answers took, so that a healthy location is hedged once in twenty reads ("The Tail at Scale", Dean and
/// Barroso, 2013), but within the options' bounds. While too few answers were seen it is the longest wait, and of a trial the
/// least.
pub fn hedge_after(view: &UseView, options: &HedgeOptions) -> Duration {
    let unknown = if view.is_closed() {
        options.ceiling
    } else {
        options.floor
    };
    let expected = view.latency_p95.unwrap_or(unknown);
    expected.min(options.ceiling).max(options.floor)
}

/// How many reads may still be repeated at another location: a share of all reads, a small burst, and a few when there are few
/// reads, so that hedging does not double the load of stores that are slow because of their load.
#[derive(Clone, Copy, Debug)]
pub struct HedgeBudget {
    options: HedgeOptions,
    timeline: Timeline,
    /// When the last one that came with time did.
    trickled: Tick,
    /// In hundredths of a hedge.
    hundredths: u64,
}

impl HedgeBudget {
    const HEDGE: u64 = 100;

    /// A budget with its whole burst.
    pub fn new(options: HedgeOptions, now: Moment) -> Self {
        Self {
            options,
            timeline: Timeline::new(now),
            trickled: Tick::default(),
            hundredths: u64::from(options.burst) * Self::HEDGE,
        }
    }

    /// Notes a read that was begun, hedged or not.
    pub fn note_read(&mut self, now: Moment) {
        self.trickle(now);
        self.add(u64::from(self.options.per_cent));
    }

    /// Takes one hedge out of the budget, if there is one.
    #[must_use]
    pub fn take(&mut self, now: Moment) -> bool {
        self.trickle(now);
        match self.hundredths.checked_sub(Self::HEDGE) {
            Some(left) => {
                self.hundredths = left;
                true
            }
            None => false,
        }
    }

    fn trickle(&mut self, now: Moment) {
        let tick = self.timeline.advance(now);
        let every = milliseconds(self.options.trickle).max(1);
        let due = milliseconds(tick.since(self.trickled)) / every;
        if due > 0 {
            let passed = Duration::from_millis(due.saturating_mul(every));
            self.trickled = self.trickled.plus(passed);
            self.add(due.saturating_mul(Self::HEDGE));
        }
    }

    fn add(&mut self, hundredths: u64) {
        let most = u64::from(self.options.burst) * Self::HEDGE;
        self.hundredths = self.hundredths.saturating_add(hundredths).min(most);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::standings::tests::{half_open, open};
    use crate::{FailureKind, Reason};
    use proptest::prelude::*;

    fn at(milliseconds: u64) -> Moment {
        Moment::from_milliseconds(1_700_000_000_000 + milliseconds)
    }

    #[test]
    fn a_read_waits_as_long_as_most_answers_take_within_bounds() {
        let options = HedgeOptions::default();
        for (p95, expected) in [
            (None, 2_000),
            (Some(3), 100),
            (Some(250), 250),
            (Some(60_000), 2_000),
        ] {
            let view = UseView {
                latency_p95: p95.map(Duration::from_millis),
                ..UseView::default()
            };
            let expected = Duration::from_millis(expected);
            assert_eq!(hedge_after(&view, &options), expected);
        }
        for view in [half_open(0), open(Reason::Failure(FailureKind::Timeout))] {
            assert_eq!(hedge_after(&view, &options), options.floor);
        }
    }

    #[test]
    fn a_tenth_of_many_reads_is_hedged_and_a_quiet_registry_may_hedge_all() {
        let mut budget = HedgeBudget::new(HedgeOptions::default(), at(0));
        let mut hedged = 0;
        for read in 0..10_000 {
            budget.note_read(at(read));
            hedged += u32::from(budget.take(at(read)));
        }
        // The burst, a tenth of ten thousand, nothing yet for ten seconds.
        assert!((1_000..=1_010).contains(&hedged), "{hedged}");

        let mut budget = HedgeBudget::new(HedgeOptions::default(), at(0));
        for read in 0..100 {
            budget.note_read(at(read * 10_000));
            assert!(budget.take(at(read * 10_000)));
        }
    }

    proptest! {
        #[test]
        fn hedges_never_exceed_the_budget(steps in prop::collection::vec((any::<bool>(), -3_600_000_i64..3_600_000), 1..300)) {
            let options = HedgeOptions::default();
            let mut now = at(100_000_000);
            let mut budget = HedgeBudget::new(options, now);
            let (mut reads, mut hedges, mut passed) = (0_u64, 0_u64, 0_u64);
            for (is_read, step) in steps {
                let next = if step < 0 { now.minus(Duration::from_millis(step.unsigned_abs())) } else { now.plus(Duration::from_millis(step.unsigned_abs())) };
                passed += milliseconds(next.since(now));
                now = next;
                if is_read {
                    budget.note_read(now);
                    reads += 1;
                } else {
                    hedges += u64::from(budget.take(now));
                }
            }
            let allowed = u64::from(options.burst) + reads * u64::from(options.per_cent) / 100 + passed / milliseconds(options.trickle);
            prop_assert!(hedges <= allowed + 1);
        }
    }
}
