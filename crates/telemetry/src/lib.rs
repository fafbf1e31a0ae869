//! What a process tells about itself: log lines on standard error, and how an error is told in them.
//!
//! [`init`] is called once, at the top of a program. Libraries only emit `tracing` events; where they stop propagating an
//! error they log it once, as `error = %ErrorChain(&error)`.
//!
//! Invariant: nothing here decides what is worth logging.

mod error_chain;
mod logs;

pub use error_chain::ErrorChain;
pub use logs::{InitError, LogFormat, init};
