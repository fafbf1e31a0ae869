//! How one location fares: what real traffic and probes saw of it, whether it is used, and how it is shown.
//!
//! Who sends requests asks [`LocationHealth::admit`] first and reports with [`LocationHealth::record`] what came of them. In which
//! order locations are asked is decided by [`rank_reads`](crate::rank_reads) and
//! [`choose_write`](crate::choose_write).
//!
//! A circuit opens for what is seen again and again, and closes when the opposite was seen often enough:
//!
//! | what opens it | what closes it |
//! | --- | --- |
//! | requests that fail in a row, by how much each failure proves, or half of those in the window | answers |
//! | answers that take too long, or that another location's overtake, in a row | answers in time |
//! | bodies that end early, in a row | bodies that do not |
//! | transfers that are all too slow, or on the whole in the last seconds | transfers at a tolerable speed |
//! | several different objects with wrong bytes, in a row or as many as with right ones | objects that were hashed and are right |
//!
//! So a probe that asks whether an object is there does not bring back a location that answers well and then sends ten kilobytes
//! a second. Trials do, or a probe that reads an object.

mod circuit;
mod damage;
mod degradation;
mod latency;
mod options;
mod outcome;
mod side;
mod streaks;
mod view;
mod window;

use circuit::Passage;
use side::Side;

pub use circuit::Trial;
pub use options::{CircuitOptions, DegradationOptions, HealthOptions, WindowOptions};
pub use outcome::{FailureKind, Origin, Outcome, Progress, Reason, Report, Use};
pub use view::{CircuitState, HealthState, HealthView, Transition, UseView};

use crate::moment::{Moment, Timeline};

/// What is known of one location. Reading and writing are judged apart: what is full can still be read.
///
/// Its memory is fixed, some 8 KiB. The time is handed in with each call. It may jump: forwards counts as a long silence,
/// backwards as no time at all. Moments from several threads may be out of order by up to a second.
#[derive(Clone, Debug)]
pub struct LocationHealth {
    options: HealthOptions,
    timeline: Timeline,
    read: Side,
    write: Side,
}

/// Whether a request is to be sent to a location.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// It is.
    Yes,
    /// It is, and counts as a trial, to be named in what is reported of it. It is not to be waited for long.
    Trial(Trial),
    /// It is not, while there is another location to ask.
    No {
        /// When asking again may be worth while.
        until: Moment,
    },
}

impl LocationHealth {
    /// A location of which nothing is known: healthy.
    pub fn new(options: HealthOptions, now: Moment) -> Self {
        Self {
            options,
            timeline: Timeline::new(now),
            read: Side::new(Use::Read, &options),
            write: Side::new(Use::Write, &options),
        }
    }

    /// Decides whether a request is to be sent there. Every trial that is admitted counts as in flight until it is reported on,
    /// released, or [`CircuitOptions::trial_lapse`] has passed.
    ///
    /// Probes ask nobody. A request that has nowhere else to go is sent in spite of a `No`, and reported like any other.
    pub fn admit(&mut self, now: Moment, wanted: Use) -> Admission {
        let tick = self.timeline.advance(now);
        let side = match wanted {
            Use::Read => &mut self.read,
            Use::Write => &mut self.write,
        };
        match side.admit(tick, &self.options) {
            Passage::Yes => Admission::Yes,
            Passage::Trial(trial) => Admission::Trial(trial),
            Passage::No { until } => Admission::No {
                until: self.timeline.moment(until),
            },
        }
    }

    /// Takes in what was seen. Returns the change of state, if that use of the location is now in another one than it last told.
    pub fn record(&mut self, now: Moment, report: Report) -> Option<Transition> {
        let tick = self.timeline.advance(now);
        let side = match report.wanted {
            Use::Read => &mut self.read,
            Use::Write => &mut self.write,
        };
        side.record(tick, &report, &self.options)
    }

    /// Takes back a trial that ended without anything to report. One that was reported on may be released too.
    pub fn release(&mut self, trial: Trial) {
        match trial.wanted {
            Use::Read => self.read.release(trial),
            Use::Write => self.write.release(trial),
        }
    }

    /// Shows how the location is. It takes note of the time and changes nothing else.
    pub fn view(&mut self, now: Moment) -> HealthView {
        let tick = self.timeline.advance(now);
        HealthView {
            read: self.read.view(tick, &self.timeline, &self.options),
            write: self.write.view(tick, &self.timeline, &self.options),
        }
    }
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod scenarios;
#[cfg(test)]
mod tests;
