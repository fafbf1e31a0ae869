//! One use of a location: what was seen of it, and what follows.

use std::time::Duration;

use super::circuit::{Circuit, Evidence, Fault, Need, Passage, Phase, Trial};
use super::damage::Damage;
use super::degradation::Degradation;
use super::latency::Latency;
use super::options::HealthOptions;
use super::outcome::{Origin, Outcome, Progress, Reason, Report, Use};
use super::streaks::Streaks;
use super::view::{CircuitState, HealthState, Transition, UseView};
use super::window::{Window, bytes_per_second};
use crate::moment::{Tick, Timeline, microseconds};

/// Points of a request that was overtaken, as of a server error: it was slower than another location, which may have been lucky.
const POINTS_OVERTAKEN: u32 = 2;
/// Points of an answer that took too long, of which three in a row suffice.
const POINTS_SLOW_ANSWER: u32 = 4;

/// A piece of a transfer with fewer bytes, and for which the location was waited for less long, says nothing about speed: it is
/// all latency.
const PIECE_BYTES_MIN: u64 = 64 * 1024;
const PIECE_WAITED_MIN: Duration = Duration::from_secs(1);

#[derive(Clone, Debug)]
pub(super) struct Side {
    wanted: Use,
    window: Window,
    damage: Damage,
    latency: Latency,
    streaks: Streaks,
    circuit: Circuit,
    degradation: Degradation,
    last_failure: Option<Reason>,
    consecutive_failures: u32,
    /// When the window was last emptied.
    fresh_since: Tick,
    state: HealthState,
    since: Tick,
    /// The state that the last transition told of.
    told: HealthState,
}

impl Side {
    pub(super) fn new(wanted: Use, options: &HealthOptions) -> Self {
        Self {
            wanted,
            window: Window::new(options.window.length),
            damage: Damage::default(),
            latency: Latency::default(),
            streaks: Streaks::default(),
            circuit: Circuit::new(wanted),
            degradation: Degradation::default(),
            last_failure: None,
            consecutive_failures: 0,
            fresh_since: Tick::default(),
            state: HealthState::Healthy,
            since: Tick::default(),
            told: HealthState::Healthy,
        }
    }

    pub(super) fn admit(&mut self, tick: Tick, options: &HealthOptions) -> Passage {
        self.settle(tick, options);
        self.circuit.admit(tick, &options.circuit)
    }

    pub(super) fn release(&mut self, trial: Trial) {
        self.circuit.release(trial);
    }

    pub(super) fn record(
        &mut self,
        tick: Tick,
        report: &Report,
        options: &HealthOptions,
    ) -> Option<Transition> {
        self.settle(tick, options);
        let evidence = self.note(tick, &report.outcome, options);
        if self.circuit.is_closed() {
            if let Some(fault) = self.fault_to_open_for(tick, &evidence, options) {
                self.circuit.open(tick, fault, &options.circuit);
            }
        } else {
            let trial = report.trial.filter(|trial| trial.wanted == self.wanted);
            let by = (trial, report.origin == Origin::Probe);
            if self.circuit.take(tick, &evidence, by, &options.circuit) {
                // What was before the closing must not open it again.
                self.window.clear();
                self.streaks = Streaks::default();
                self.fresh_since = tick;
                self.degradation = Degradation::default();
            }
        }
        self.degradation
            .judge(tick, &self.window, self.last_failure, options);
        self.find_state(tick);
        self.tell()
    }

    pub(super) fn view(
        &mut self,
        tick: Tick,
        timeline: &Timeline,
        options: &HealthOptions,
    ) -> UseView {
        self.settle(tick, options);
        let totals = self.window.totals();
        let circuit = match self.circuit.phase() {
            Phase::Closed => CircuitState::Closed,
            Phase::Open { until, .. } => CircuitState::Open {
                until: timeline.moment(until),
            },
            Phase::HalfOpen { .. } => CircuitState::HalfOpen {
                trials_free: self.circuit.free_trials(&options.circuit),
            },
        };
        UseView {
            state: self.state,
            reason: self.reason(),
            since: timeline.moment(self.since),
            circuit,
            latency_mean: self.latency.mean(),
            latency_p95: self.latency.p95(),
            latency_band: self.latency.band(),
            bytes_per_second: totals.bytes_per_second(options.circuit.waited_min),
            error_share: totals.error_share(),
            outcomes: totals.outcomes(),
            consecutive_failures: self.consecutive_failures,
            last_failure: self.last_failure,
        }
    }

    /// Does what time does.
    fn settle(&mut self, tick: Tick, options: &HealthOptions) {
        self.window.advance(tick);
        self.circuit.settle(tick, &options.circuit);
        // Only the passing of time can end it here; it begins with what is recorded.
        if self.degradation.reason().is_some() {
            self.degradation
                .judge(tick, &self.window, self.last_failure, options);
        }
        self.find_state(tick);
    }

    /// Counts what was seen, and says what it proves.
    fn note(&mut self, tick: Tick, outcome: &Outcome, options: &HealthOptions) -> Evidence {
        let mut evidence = Evidence::default();
        let bounds = &options.circuit;
        let fault = |reason, points, need| {
            Some(Fault {
                reason,
                points,
                need,
            })
        };
        match *outcome {
            Outcome::Answered { latency } => {
                self.note_latency(latency, options);
                if latency < bounds.latency_max {
                    self.window.add_answer();
                    evidence.answered = true;
                } else {
                    self.window.add_failure();
                    evidence.fault = fault(Reason::SlowAnswers, POINTS_SLOW_ANSWER, Need::Answers);
                }
            }
            Outcome::Transferred {
                bytes,
                waited,
                progress,
            } => {
                evidence.whole = progress >= Progress::Whole;
                evidence.verified = progress == Progress::Verified;
                evidence.inconclusive = evidence.whole;
                if evidence.verified {
                    self.window.add_verified();
                }
                if bytes >= PIECE_BYTES_MIN || waited >= PIECE_WAITED_MIN {
                    self.window.add_transfer(bytes, waited);
                    let speed = bytes_per_second(bytes, microseconds(waited));
                    evidence.fast = speed >= bounds.bytes_per_second_min;
                    if !evidence.fast {
                        evidence.fault = fault(Reason::SlowTransfers, 0, Need::Speed);
                    }
                }
            }
            Outcome::Damaged { object } => {
                evidence.inconclusive = true;
                if self.damage.note(tick, object) {
                    self.window.turn_answer_into_failure();
                    evidence.fault = fault(Reason::WrongBytes, 0, Need::RightBytes);
                }
            }
            Outcome::Failed(kind) => {
                self.window.add_failure();
                evidence.fault = fault(kind.into(), kind.points(), Need::Answers);
            }
            Outcome::Broken(kind) => {
                self.window.turn_answer_into_failure();
                evidence.fault = fault(kind.into(), kind.points(), Need::Bodies);
            }
            Outcome::Overtaken { waited } => {
                // It would have taken longer still; how much longer nobody knows.
                self.note_latency(waited, options);
                evidence.fault = fault(Reason::SlowAnswers, POINTS_OVERTAKEN, Need::Answers);
                evidence.doubtful = true;
            }
        }
        self.streaks
            .take(tick, outcome, &evidence, options.window.length);
        if evidence.answered {
            self.consecutive_failures = 0;
        }
        // One slow piece is no failure of anything; many open the circuit and are then its reason.
        if let Some(fault) = evidence.fault
            && fault.need != Need::Speed
        {
            self.consecutive_failures = self.consecutive_failures.saturating_add(1);
            self.last_failure = Some(fault.reason);
        }
        evidence
    }

    fn note_latency(&mut self, latency: Duration, options: &HealthOptions) {
        self.window.add_latency(latency);
        let p95 = self.window.latency_p95(options.window.outcomes_min);
        self.latency.note(latency, p95);
    }

    /// Why a closed circuit is to open.
    fn fault_to_open_for(
        &self,
        tick: Tick,
        evidence: &Evidence,
        options: &HealthOptions,
    ) -> Option<Fault> {
        let bounds = &options.circuit;
        let fault = evidence.fault?;
        let totals = self.window.totals();
        let streaks = &self.streaks;
        let points = bounds.points.max(1);
        let opens = match fault.need {
            Need::Answers => streaks.answer_points >= points,
            Need::Bodies => streaks.body_points >= points,
            Need::Speed => {
                let recent = self.window.recent().bytes_per_second(bounds.waited_min);
                streaks.slow_waited >= bounds.waited_min
                    || recent.is_some_and(|speed| speed < bounds.bytes_per_second_min)
            }
            Need::RightBytes => {
                let least = bounds.damaged_objects.max(1);
                let window = self.fresh_since.max(tick.minus(options.window.length));
                let damaged = self.damage.since(window);
                streaks.damaged >= least || damaged >= least && damaged >= totals.verified
            }
        };
        let many = totals.outcomes() >= options.window.outcomes_min.max(1);
        let mostly_failures =
            many && fault.need != Need::Speed && totals.error_share() >= bounds.error_share;
        (opens || mostly_failures).then_some(fault)
    }

    fn reason(&self) -> Option<Reason> {
        self.circuit
            .opened_by()
            .or_else(|| self.degradation.reason())
    }

    fn find_state(&mut self, tick: Tick) {
        let state = if !self.circuit.is_closed() {
            HealthState::Down
        } else if self.degradation.reason().is_some() {
            HealthState::Degraded
        } else {
            HealthState::Healthy
        };
        if state != self.state {
            self.state = state;
            self.since = tick;
        }
    }

    fn tell(&mut self) -> Option<Transition> {
        if self.state == self.told {
            return None;
        }
        let from = std::mem::replace(&mut self.told, self.state);
        Some(Transition {
            wanted: self.wanted,
            from,
            to: self.state,
            reason: self.reason(),
        })
    }
}
