//! Whether a location that works is degraded, with one bound for becoming so and another for being so no longer.

use super::options::{DegradationOptions, HealthOptions};
use super::outcome::Reason;
use super::window::Window;
use crate::moment::Tick;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// Beyond a bound for becoming degraded.
    Bad(Reason),
    /// Between the bounds of one measure at least.
    Between,
    Good,
    /// Too little was heard of it.
    Unknown,
}

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Degradation {
    degraded: Option<(Tick, Reason)>,
}

impl Degradation {
    pub(super) fn reason(&self) -> Option<Reason> {
        self.degraded.map(|(_, reason)| reason)
    }

    /// Looks at the window again.
    pub(super) fn judge(
        &mut self,
        tick: Tick,
        window: &Window,
        last_failure: Option<Reason>,
        options: &HealthOptions,
    ) {
        match (verdict(window, last_failure, options), self.degraded) {
            (Verdict::Bad(reason), None) => self.degraded = Some((tick, reason)),
            // It is degraded since it first had a reason, and for the reason it has now.
            (Verdict::Bad(reason), Some((since, _))) => self.degraded = Some((since, reason)),
            (Verdict::Good | Verdict::Unknown, Some((since, _)))
                if tick.since(since) >= options.degradation.hold =>
            {
                self.degraded = None;
            }
            (Verdict::Good | Verdict::Unknown | Verdict::Between, _) => {}
        }
    }
}

fn verdict(window: &Window, last_failure: Option<Reason>, options: &HealthOptions) -> Verdict {
    let totals = window.totals();
    let least = options.window.outcomes_min;
    let bounds = &options.degradation;
    let errors = match last_failure {
        _ if totals.outcomes() < least.max(1) => Verdict::Unknown,
        Some(reason) => by_errors(totals.error_share(), totals.failed, reason, bounds),
        None => Verdict::Good,
    };
    let latency = window.latency_p95(least).map_or(Verdict::Unknown, |p95| {
        if p95 >= bounds.latency_enter {
            Verdict::Bad(Reason::SlowAnswers)
        } else if p95 > bounds.latency_leave {
            Verdict::Between
        } else {
            Verdict::Good
        }
    });
    let speed = totals.bytes_per_second(options.circuit.waited_min);
    let speed = speed.map_or(Verdict::Unknown, |speed| {
        if speed < bounds.bytes_per_second_enter {
            Verdict::Bad(Reason::SlowTransfers)
        } else if speed < bounds.bytes_per_second_leave {
            Verdict::Between
        } else {
            Verdict::Good
        }
    });
    let all = [errors, speed, latency];
    let bad = all.iter().find(|one| matches!(one, Verdict::Bad(_)));
    if let Some(bad) = bad {
        *bad
    } else if all.contains(&Verdict::Between) {
        Verdict::Between
    } else if all.contains(&Verdict::Good) {
        Verdict::Good
    } else {
        Verdict::Unknown
    }
}

fn by_errors(share: f64, failed: u32, reason: Reason, bounds: &DegradationOptions) -> Verdict {
    if share >= bounds.error_share_enter && failed >= bounds.errors_min {
        Verdict::Bad(reason)
    } else if share > bounds.error_share_leave && failed >= bounds.errors_min {
        Verdict::Between
    } else {
        Verdict::Good
    }
}
