//! What a process tells about itself: log lines on standard error, traces and metrics for a collector, and how an error is told.
//!
//! [`init`] is called once, at the top of a program. Libraries only emit `tracing` events and spans; where they stop propagating an
//! error they log it once, as `error = %ErrorChain(&error)`. A trace goes from one process to another as a [`TraceParent`].
//!
//! Invariant: nothing here decides what is worth telling, and nothing waits for whoever is told.

mod collector;
mod error_chain;
mod export;
mod logs;
mod otlp_metrics;
mod sampler;
mod spans;
mod trace_parent;

pub use collector::{CollectorError, ExportOptions, HeaderFields};
pub use error_chain::ErrorChain;
pub use export::Exporter;
pub use logs::{InitError, LogFormat, init};
pub use trace_parent::{NotATraceParent, TraceParent, describe, failed};
