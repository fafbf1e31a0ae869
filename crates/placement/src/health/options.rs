//! When a location counts as down or degraded: every threshold, and where its value comes from.

use std::time::Duration;

use super::outcome::FailureKind;

/// Every threshold of [`LocationHealth`](crate::LocationHealth).
#[derive(Clone, Copy, Debug, PartialEq, Default)]
pub struct HealthOptions {
    /// Over which time shares and quantiles are taken.
    pub window: WindowOptions,
    /// When a use of a location is given up, and how it comes back.
    pub circuit: CircuitOptions,
    /// When a location that works counts as degraded.
    pub degradation: DegradationOptions,
}

/// Over which time shares and quantiles are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WindowOptions {
    /// How far back the window reaches. It moves on by a tenth of itself.
    pub length: Duration,
    /// Shares and quantiles of fewer outcomes than this say nothing.
    pub outcomes_min: u32,
}

impl Default for WindowOptions {
    fn default() -> Self {
        Self {
            // Twenty seconds have ten outcomes of a location that is asked every other second, and a location that recovered
            // is judged by what came after that well within the promised minute.
            length: Duration::from_secs(20),
            // With ten, one more failure moves the share by a tenth, which is the least that is acted upon.
            outcomes_min: 10,
        }
    }
}

/// When a use of a location is given up, and how it comes back.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CircuitOptions {
    /// The circuit opens when the failures since the last good answer have this many points, or the bodies that ended early
    /// since the last that did not; see [`FailureKind::points`].
    pub points: u32,
    /// It opens when this share of the window's outcomes are failures.
    pub error_share: f64,
    /// An answer that takes so long counts as a failure.
    pub latency_max: Duration,
    /// It opens when transfers have fewer bytes a second than this, of the time the location was waited for: each since the last
    /// that had more, or all of the last seconds together.
    pub bytes_per_second_min: u64,
    /// For how long a location must have been waited for in transfers before their speed says anything.
    pub waited_min: Duration,
    /// It opens when so many different objects were damaged since the last that was right, or in the window if no more were
    /// right.
    pub damaged_objects: u32,
    /// How long it is open the first time; twice as long with each further one that follows closely.
    pub open_min: Duration,
    /// The longest it is open.
    pub open_max: Duration,
    /// How many trials may be in flight. At most [`CircuitOptions::TRIALS_MAX`] and at least one, whatever is said here.
    pub trials: u32,
    /// When a trial that nobody reports on no longer counts as in flight.
    pub trial_lapse: Duration,
    /// How many successes without a failure between them close it. At least one, whatever is said here.
    pub successes: u32,
    /// After so long half-open, any good answer is a success, even if it was opened for something that an answer does not
    /// disprove, such as wrong bytes.
    pub proof_lapse: Duration,
    /// After so long closed, what was before is forgotten, and it opens for [`CircuitOptions::open_min`] again.
    pub calm: Duration,
}

impl CircuitOptions {
    /// The most trials that may be in flight. A trial is a request of somebody who would be better served elsewhere.
    pub const TRIALS_MAX: u32 = 8;
}

impl Default for CircuitOptions {
    fn default() -> Self {
        Self {
            points: 10,
            // Half: a request is then as likely to fail here as not, and every failure costs somebody a second attempt.
            error_share: 0.5,
            // A container engine shows no progress meanwhile, and five seconds are far beyond any store's own worst answers.
            latency_max: Duration::from_secs(5),
            // A layer of 100 MB would take half an hour. The store that this is meant for was slowed to 10 KB/s.
            bytes_per_second_min: 64 * 1024,
            // One transfer for three seconds, or three for one: a single hiccup does not suffice.
            waited_min: Duration::from_secs(3),
            // One is a damaged object, two may be a coincidence.
            damaged_objects: 3,
            // A process that is restarted is back after about a second.
            open_min: Duration::from_secs(1),
            // Half of the minute within which traffic is promised to be home again; the other half is for `proof_lapse`.
            open_max: Duration::from_secs(30),
            // What closes it, at once.
            trials: 3,
            // Twice `latency_max`: who reports late does so within that.
            trial_lapse: Duration::from_secs(10),
            successes: 3,
            proof_lapse: Duration::from_secs(20),
            // Twice `open_max`: a location that fails more often than that is not well between failures.
            calm: Duration::from_mins(1),
        }
    }
}

/// When a location that works counts as degraded. Each measure has two bounds, so that one that stays near a bound does not go
/// to and fro.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DegradationOptions {
    /// Degraded from this share of failures on.
    pub error_share_enter: f64,
    /// But not with fewer failures than this in the window.
    pub errors_min: u32,
    /// No longer degraded at this share of failures and below.
    pub error_share_leave: f64,
    /// Degraded when one in twenty answers takes this long.
    pub latency_enter: Duration,
    /// No longer degraded when nineteen in twenty answers take no longer than this.
    pub latency_leave: Duration,
    /// Degraded when transfers have fewer bytes a second than this.
    pub bytes_per_second_enter: u64,
    /// No longer degraded when they have this many.
    pub bytes_per_second_leave: u64,
    /// The least time that it stays degraded, and what ends it when nothing more is heard.
    pub hold: Duration,
}

impl Default for DegradationOptions {
    fn default() -> Self {
        Self {
            // The share of reads that hedging may repeat: beyond it, second attempts are no longer paid for by the budget.
            error_share_enter: 0.1,
            // Three of ten, or three of a thousand: one broken connection is nothing.
            errors_min: 3,
            error_share_leave: 0.05,
            // Object stores answer within 0.2 s at their worst, and across an ocean within 0.5 s.
            latency_enter: Duration::from_secs(1),
            latency_leave: Duration::from_millis(500),
            // 100 MB in seven minutes.
            bytes_per_second_enter: 256 * 1024,
            bytes_per_second_leave: 512 * 1024,
            // At most six times a minute, and half of the window.
            hold: Duration::from_secs(10),
        }
    }
}

impl FailureKind {
    /// How much one such failure proves, in points of which [`CircuitOptions::points`] (10) in a row open a circuit.
    ///
    /// One refused connection, or one "no space left", is proof enough; the first open time is short. Two timeouts are, and two
    /// refusals. Of what may well concern a single request or object it takes four or five in a row.
    pub const fn points(self) -> u32 {
        match self {
            Self::Unreachable | Self::Full => 10,
            Self::Timeout | Self::Refused => 5,
            Self::Throttled => 3,
            Self::ServerError | Self::Interrupted | Self::Other => 2,
        }
    }
}
