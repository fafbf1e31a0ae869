//! Whether one use of a location is admitted: closed, open for a time that grows, half-open for a few trials.

use std::time::Duration;

use super::options::CircuitOptions;
use super::outcome::{Reason, Use};
use crate::moment::Tick;

/// A request that is let through to find out whether a location is back. It is named in what is reported of the request.
///
/// One that ends without anything to report, because nobody wants the bytes any more, is given back with
/// [`LocationHealth::release`](crate::LocationHealth::release); one that never is lapses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Trial {
    pub(super) wanted: Use,
    serial: u64,
}

/// What a location has to be seen doing before its circuit closes, weakest first: the opposite of what opened it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Need {
    /// Answering in good time.
    Answers,
    /// Transferring bodies to their end.
    Bodies,
    /// Transferring at a tolerable speed.
    Speed,
    /// Returning what it was given.
    RightBytes,
}

/// What went wrong.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fault {
    pub(super) reason: Reason,
    /// How much it proves. With none it proves nothing alone.
    pub(super) points: u32,
    pub(super) need: Need,
}

/// What an observation says about a location, as far as a circuit is concerned.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Evidence {
    /// See the variants of [`Need`].
    pub(super) answered: bool,
    pub(super) whole: bool,
    pub(super) fast: bool,
    pub(super) verified: bool,
    pub(super) fault: Option<Fault>,
    /// Another location was faster, so that it is not known how long this one would have taken. That adds up while it is used,
    /// and decides nothing about a trial, which is waited for less long than others.
    pub(super) doubtful: bool,
    /// It says nothing, but nothing better will come of this request.
    pub(super) inconclusive: bool,
}

/// Whether a request is admitted, in the circuit's own time.
#[derive(Clone, Copy, Debug)]
pub(super) enum Passage {
    Yes,
    Trial(Trial),
    No { until: Tick },
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Phase {
    Closed,
    Open { until: Tick, successes: u32 },
    HalfOpen { since: Tick, successes: u32 },
}

#[derive(Clone, Copy, Debug)]
struct InFlight {
    serial: u64,
    lapses: Tick,
}

#[derive(Clone, Debug)]
pub(super) struct Circuit {
    wanted: Use,
    phase: Phase,
    opened_by: Option<Reason>,
    /// What closes it.
    need: Need,
    /// Since when it is closed, if it was open lately.
    closed_again: Option<Tick>,
    /// How often it opened soon after it had closed.
    flaps: u32,
    /// How often trials failed since it was last closed.
    failed_trials: u32,
    /// The serial number of the next trial.
    serial: u64,
    /// Trials with a lower serial number belong to earlier times.
    first_serial: u64,
    in_flight: [Option<InFlight>; CircuitOptions::TRIALS_MAX as usize],
}

impl Circuit {
    pub(super) const fn new(wanted: Use) -> Self {
        Self {
            wanted,
            phase: Phase::Closed,
            opened_by: None,
            need: Need::Answers,
            closed_again: None,
            flaps: 0,
            failed_trials: 0,
            serial: 0,
            first_serial: 0,
            in_flight: [None; CircuitOptions::TRIALS_MAX as usize],
        }
    }

    pub(super) const fn phase(&self) -> Phase {
        self.phase
    }

    /// Why it is not closed.
    pub(super) const fn opened_by(&self) -> Option<Reason> {
        self.opened_by
    }

    pub(super) const fn is_closed(&self) -> bool {
        matches!(self.phase, Phase::Closed)
    }

    /// Does what time does.
    pub(super) fn settle(&mut self, tick: Tick, options: &CircuitOptions) {
        match self.phase {
            Phase::Open { until, .. } if tick >= until => self.half_open(until),
            Phase::Closed => {
                let calm = |closed| tick.since(closed) >= options.calm;
                if self.closed_again.is_some_and(calm) {
                    self.closed_again = None;
                    self.flaps = 0;
                }
            }
            Phase::Open { .. } | Phase::HalfOpen { .. } => {}
        }
        for slot in &mut self.in_flight {
            if slot.is_some_and(|trial| tick >= trial.lapses) {
                *slot = None;
            }
        }
    }

    pub(super) fn admit(&mut self, tick: Tick, options: &CircuitOptions) -> Passage {
        match self.phase {
            Phase::Closed => Passage::Yes,
            Phase::Open { until, .. } => Passage::No { until },
            Phase::HalfOpen { .. } => {
                let allowed = Self::slots(options);
                if let Some(slot) = self.in_flight[..allowed].iter_mut().find(|s| s.is_none()) {
                    let serial = self.serial;
                    self.serial += 1;
                    *slot = Some(InFlight {
                        serial,
                        lapses: tick.plus(options.trial_lapse),
                    });
                    return Passage::Trial(Trial {
                        wanted: self.wanted,
                        serial,
                    });
                }
                let lapses = self.in_flight[..allowed].iter().flatten();
                Passage::No {
                    until: lapses.map(|trial| trial.lapses).min().unwrap_or(tick),
                }
            }
        }
    }

    /// How many trials would be admitted now.
    pub(super) fn free_trials(&self, options: &CircuitOptions) -> u32 {
        let allowed = &self.in_flight[..Self::slots(options)];
        let free = allowed.iter().filter(|slot| slot.is_none()).count();
        u32::try_from(free).unwrap_or(u32::MAX)
    }

    pub(super) fn release(&mut self, trial: Trial) {
        for slot in &mut self.in_flight {
            if slot.is_some_and(|in_flight| in_flight.serial == trial.serial) {
                *slot = None;
            }
        }
    }

    /// Opens a closed circuit.
    pub(super) fn open(&mut self, tick: Tick, fault: Fault, options: &CircuitOptions) {
        // `settle` has forgotten a time that is long ago.
        if self.closed_again.is_some() {
            self.flaps = self.flaps.saturating_add(1);
        }
        self.failed_trials = 0;
        self.need = fault.need;
        self.stay_open(tick, fault.reason, options);
    }

    /// Takes in what was seen while it is not closed. Says whether it closed.
    pub(super) fn take(
        &mut self,
        tick: Tick,
        evidence: &Evidence,
        (trial, of_probe): (Option<Trial>, bool),
        options: &CircuitOptions,
    ) -> bool {
        if evidence.doubtful {
            return false;
        }
        let success = self.proves(tick, evidence, options);
        let fault = evidence
            .fault
            .filter(|fault| fault.points > 0 || fault.need == self.need);
        if let Some(trial) = trial
            && (success || fault.is_some() || evidence.inconclusive)
        {
            self.release(trial);
        }
        // A failure of a request that began before is no news.
        let binding = of_probe || trial.is_some_and(|trial| trial.serial >= self.first_serial);
        match (&mut self.phase, fault) {
            (Phase::HalfOpen { .. }, Some(fault)) if binding => {
                self.failed_trials = self.failed_trials.saturating_add(1);
                self.need = self.need.max(fault.need);
                self.stay_open(tick, fault.reason, options);
            }
            (Phase::Open { successes, .. }, Some(_)) => *successes = 0,
            (Phase::Open { successes, .. }, None) if success => {
                *successes = successes.saturating_add(1);
                // Who flaps waits for the whole time, or probes would bring it back again and again.
                if *successes >= options.successes.max(1) && self.flaps == 0 {
                    self.half_open(tick);
                }
            }
            (Phase::HalfOpen { successes, .. }, None) if success => {
                *successes = successes.saturating_add(1);
                if *successes >= options.successes.max(1) {
                    self.phase = Phase::Closed;
                    self.opened_by = None;
                    self.closed_again = Some(tick);
                    self.in_flight = [None; CircuitOptions::TRIALS_MAX as usize];
                    return true;
                }
            }
            _ => {}
        }
        false
    }

    /// Whether this speaks against what the circuit was opened for. That a location answers does not show that it is fast again,
    /// or right; but who can never hash a whole object has to come to believe it.
    fn proves(&self, tick: Tick, evidence: &Evidence, options: &CircuitOptions) -> bool {
        if let Phase::HalfOpen { since, .. } = self.phase
            && tick.since(since) >= options.proof_lapse
            && evidence.answered
        {
            return true;
        }
        match self.need {
            Need::Answers => evidence.answered,
            Need::Bodies => evidence.whole,
            Need::Speed => evidence.fast,
            Need::RightBytes => evidence.verified,
        }
    }

    fn half_open(&mut self, since: Tick) {
        self.phase = Phase::HalfOpen {
            since,
            successes: 0,
        };
        self.first_serial = self.serial;
        self.in_flight = [None; CircuitOptions::TRIALS_MAX as usize];
    }

    fn stay_open(&mut self, tick: Tick, reason: Reason, options: &CircuitOptions) {
        let doublings = self.flaps.saturating_add(self.failed_trials).min(16);
        let time = options
            .open_min
            .max(Duration::from_millis(1))
            .saturating_mul(1 << doublings)
            .min(options.open_max.max(Duration::from_millis(1)));
        self.phase = Phase::Open {
            until: tick.plus(time),
            successes: 0,
        };
        self.opened_by = Some(reason);
    }

    fn slots(options: &CircuitOptions) -> usize {
        options.trials.clamp(1, CircuitOptions::TRIALS_MAX) as usize
    }
}
