//! How a location is, as data: for whoever ranks locations and for whoever shows them.

use std::time::Duration;

use super::outcome::{Reason, Use};
use crate::moment::Moment;

/// How a location, or one use of it, is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HealthState {
    /// Nothing speaks against it.
    #[default]
    Healthy,
    /// It works, with many failures or slowly.
    Degraded,
    /// It is not used while there is another.
    Down,
}

impl HealthState {
    /// Every state, from good to bad.
    pub const ALL: [Self; 3] = [Self::Healthy, Self::Degraded, Self::Down];

    /// The word for it: `healthy`, `degraded`, `down`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Degraded => "degraded",
            Self::Down => "down",
        }
    }
}

/// Whether requests are let through to a location.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CircuitState {
    /// All are.
    #[default]
    Closed,
    /// None is before then.
    Open {
        /// When trials begin.
        until: Moment,
    },
    /// A few are, to see whether it is back.
    HalfOpen {
        /// How many more would be let through now.
        trials_free: u32,
    },
}

impl CircuitState {
    /// The word for it: `closed`, `open`, `half-open`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open { .. } => "open",
            Self::HalfOpen { .. } => "half-open",
        }
    }
}

/// How one use of a location is.
///
/// The default is that of a location of which nothing is known: healthy, since the epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct UseView {
    /// How it is. `Down` until the circuit has closed again.
    pub state: HealthState,
    /// Why it is not healthy.
    pub reason: Option<Reason>,
    /// Since when it is in this state.
    pub since: Moment,
    /// Whether requests are let through.
    pub circuit: CircuitState,
    /// The moving average of the time to an answer.
    pub latency_mean: Option<Duration>,
    /// What 95 of 100 answers in the window did not exceed. With too few answers in the window, what it last was.
    pub latency_p95: Option<Duration>,
    /// Which power of four the average has, in milliseconds. It changes only when the average is clear of the old band, so
    /// that an order by it is steady.
    pub latency_band: Option<u8>,
    /// The speed of transfers in the window. `None` if there was too little to tell.
    pub bytes_per_second: Option<u64>,
    /// The share of the window's requests that failed, between 0 and 1.
    pub error_share: f64,
    /// How many requests in the window that is a share of.
    pub outcomes: u32,
    /// Failures since the last good answer.
    pub consecutive_failures: u32,
    /// How it failed last, however long ago.
    pub last_failure: Option<Reason>,
}

impl UseView {
    /// Whether a request would be let through now, be it as a trial.
    pub const fn admits(&self) -> bool {
        match self.circuit {
            CircuitState::Closed => true,
            CircuitState::Open { .. } => false,
            CircuitState::HalfOpen { trials_free } => trials_free > 0,
        }
    }

    /// Whether the circuit is closed.
    pub const fn is_closed(&self) -> bool {
        matches!(self.circuit, CircuitState::Closed)
    }
}

/// How a location is.
///
/// The default is that of a location of which nothing is known.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct HealthView {
    /// For reading.
    pub read: UseView,
    /// For writing.
    pub write: UseView,
}

impl HealthView {
    /// One use of it.
    pub const fn of(&self, wanted: Use) -> &UseView {
        match wanted {
            Use::Read => &self.read,
            Use::Write => &self.write,
        }
    }

    /// How the location is as a whole: down if it cannot be read, degraded if anything else is wrong with it. A full one that
    /// can be read is degraded.
    pub fn state(&self) -> HealthState {
        match (self.read.state, self.write.state) {
            (HealthState::Healthy, HealthState::Healthy) => HealthState::Healthy,
            (HealthState::Down, _) => HealthState::Down,
            _ => HealthState::Degraded,
        }
    }

    /// Why it is not healthy: that of the use that is worse off, of reading if both are alike.
    pub fn reason(&self) -> Option<Reason> {
        self.decisive().reason
    }

    /// Since when the use that is worse off is in its state; of two healthy ones, when the later one became so.
    pub fn since(&self) -> Moment {
        if self.state() == HealthState::Healthy {
            self.read.since.max(self.write.since)
        } else {
            self.decisive().since
        }
    }

    fn decisive(&self) -> &UseView {
        if self.write.state > self.read.state {
            &self.write
        } else {
            &self.read
        }
    }
}

/// That a use of a location is now in another state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transition {
    /// Which use.
    pub wanted: Use,
    /// The state that was reported before.
    pub from: HealthState,
    /// The state it is in.
    pub to: HealthState,
    /// Why; `None` when it is healthy.
    pub reason: Option<Reason>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::FailureKind;

    fn view(state: HealthState, reason: Option<Reason>, since: u64) -> UseView {
        UseView {
            state,
            reason,
            since: Moment::from_milliseconds(since),
            ..UseView::default()
        }
    }

    #[test]
    fn a_location_that_can_only_be_read_is_degraded_and_one_that_cannot_is_down() {
        let well = view(HealthState::Healthy, None, 7);
        let full = view(HealthState::Down, Some(FailureKind::Full.into()), 5);
        let gone = view(HealthState::Down, Some(FailureKind::Unreachable.into()), 6);
        let slow = view(HealthState::Degraded, Some(Reason::SlowAnswers), 4);
        for (read, write, state, reason, since) in [
            (well, well, HealthState::Healthy, None, 7),
            (well, full, HealthState::Degraded, full.reason, 5),
            (slow, full, HealthState::Degraded, full.reason, 5),
            (slow, well, HealthState::Degraded, slow.reason, 4),
            (gone, full, HealthState::Down, gone.reason, 6),
            (gone, well, HealthState::Down, gone.reason, 6),
        ] {
            let view = HealthView { read, write };
            assert_eq!(view.state(), state);
            assert_eq!(view.reason(), reason);
            assert_eq!(view.since(), Moment::from_milliseconds(since));
            assert_eq!(view.of(Use::Write), &write);
        }
    }
}
