//! Works off a queue of durable jobs: claims them in batches, holds their leases, runs a bounded number at once, and writes down how each ended.
//!
//! The jobs are rows of `queueitem`, which `metadata` owns. A job is done at least once: it is deleted only after its
//! handler said so, and comes back when the process dies, when it fails, or when its lease runs out. Nothing expires and
//! nothing is given up: a job that fails comes back after a delay that grows, with the reason kept where an operator sees it.
//!
//! ```text
//! claimed ──handler──> Done, Obsolete      row deleted
//!    │                 Retry, Postpone     row kept with the reason, due later
//!    │                 Interrupted         row given back as if it had never been claimed
//!    └─lease lost────> nothing: another worker has it
//! ```
//!
//! A [`WakeUp`] only shortens the wait: what makes sure that a job is found is the poll.
//!
//! Invariant: nothing here knows what a job is about.

mod outcome;
mod relay;
mod wake_up;
mod worker;

pub use outcome::{Handler, JobOutcome};
pub use relay::{Carrier, Relay};
pub use roadstead_metadata::Job;
pub use wake_up::WakeUp;
pub use worker::{Worker, WorkerOptions};
