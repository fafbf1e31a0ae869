//! Where blobs are written, in which order they are read, which copies are due and which must wait, what may be given up, and how
//! every location fares: the decisions of a registry with several storage locations.
//!
//! Whoever asks hands in what is known, the configuration as a [`Topology`], the locations that hold a blob, how the locations
//! are as [`Standings`], what was seen of a location as a [`Report`], the time as a [`Moment`], and carries out what comes back.
//! Equal questions have equal answers, on every machine and in whatever order the locations were listed.
//!
//! Invariant: pure, over what is handed in; no clock, no chance, no I/O, no database rows. The last copy of a blob is never given
//! up, and a location that failed is always tried again.

mod control;
mod copies;
mod fill;
mod health;
mod hedge;
mod location;
mod moment;
mod reads;
mod removal;
mod retry;
mod rules;
mod scrub;
mod sites;
mod standings;
mod topology;
mod writes;

pub use control::{CopyControl, CopyLimit, DailyWindow, DailyWindowError, Link, Pause};
pub use copies::{CopyPlan, RequiredLocations, plan_copies};
pub use fill::{NoFill, should_fill};
pub use health::{
    Admission, CircuitOptions, CircuitState, DegradationOptions, FailureKind, HealthOptions,
    HealthState, HealthView, LocationHealth, Origin, Outcome, Progress, Reason, Report, Transition,
    Trial, Use, UseView, WindowOptions,
};
pub use hedge::{HedgeBudget, HedgeOptions, hedge_after};
pub use location::{LocationName, LocationNameError};
pub use moment::Moment;
pub use reads::rank_reads;
pub use removal::{RemovalStep, plan_refuge, plan_removal};
pub use retry::{FailureClass, RETRY_DELAY_MAX, RETRY_DELAY_MIN, look_again_after, retry_delay};
pub use rules::{
    Desired, Holder, PlacementRule, PlacementRules, RuleError, RuleScope, TagPattern,
    TagPatternError,
};
pub use scrub::{ScrubReach, scrub_reach};
pub use sites::may_leave;
pub use standings::Standings;
pub use topology::{Topology, TopologyError};
pub use writes::{PlacementError, choose_write};
