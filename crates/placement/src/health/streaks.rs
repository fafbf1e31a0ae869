//! What went wrong again and again, with nothing of its kind going right in between. Each kind has a streak of its own: a store
//! that answers every request and then breaks off, drips or returns wrong bytes is not redeemed by its answers.

use std::time::Duration;

use super::circuit::{Evidence, Need};
use super::outcome::Outcome;
use crate::moment::Tick;

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Streaks {
    /// Points of requests that were not answered, or not in time, since the last that was.
    pub(super) answer_points: u32,
    /// Points of bodies that ended early, since the last that did not.
    pub(super) body_points: u32,
    /// How long was waited for slow pieces, of all transfers together, since the last piece that was not slow.
    pub(super) slow_waited: Duration,
    /// When the last slow piece was. Slowness of long ago says nothing about now.
    slow_last: Tick,
    /// Damaged objects since the last that was right.
    pub(super) damaged: u32,
}

impl Streaks {
    pub(super) fn take(
        &mut self,
        tick: Tick,
        outcome: &Outcome,
        evidence: &Evidence,
        memory: Duration,
    ) {
        if evidence.answered {
            self.answer_points = 0;
        }
        if evidence.whole {
            self.body_points = 0;
        }
        if evidence.fast || tick.since(self.slow_last) >= memory {
            self.slow_waited = Duration::ZERO;
        }
        if evidence.verified {
            self.damaged = 0;
        }
        let Some(fault) = evidence.fault else {
            return;
        };
        match fault.need {
            Need::Answers => self.answer_points = self.answer_points.saturating_add(fault.points),
            Need::Bodies => self.body_points = self.body_points.saturating_add(fault.points),
            Need::Speed => {
                if let Outcome::Transferred { waited, .. } = outcome {
                    self.slow_waited = self.slow_waited.saturating_add(*waited);
                    self.slow_last = tick;
                }
            }
            Need::RightBytes => self.damaged = self.damaged.saturating_add(1),
        }
    }
}
