//! What our programs share on their command lines: where the configuration is, how to log, and when to stop.
//!
//! Invariant: nothing here opens a database or a store.

mod configuration;
mod signals;

pub use configuration::{ConfigurationArgs, ConfigurationError};
pub use signals::{ReloadSignals, StopSignals};

use std::error::Error;
use std::net::SocketAddr;
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use roadstead_telemetry::{ErrorChain, InitError, LogFormat};

/// How to log.
#[derive(Args, Clone, Debug)]
pub struct LogArgs {
    /// What to log, as in `info` or `roadstead_replication=debug,warn`
    #[arg(
        long,
        global = true,
        env = "ROADSTEAD_LOG",
        default_value = "info,sea_orm_migration=warn,sqlx::postgres::notice=warn",
        value_name = "FILTER"
    )]
    log: String,
    /// How log lines look
    #[arg(long, global = true, env = "ROADSTEAD_LOG_FORMAT", value_enum, default_value_t = Format::Text)]
    log_format: Format,
}

/// Where to tell how the process fares.
#[derive(Args, Clone, Copy, Debug)]
pub struct MetricsArgs {
    /// An address for Prometheus, which finds /metrics there; Quay's is 0.0.0.0:9091. It asks for no password: keep it from clients
    #[arg(long, env = "ROADSTEAD_METRICS_LISTEN", value_name = "ADDRESS:PORT")]
    pub metrics_listen: Option<SocketAddr>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    Text,
    Json,
}

impl LogArgs {
    /// Starts logging to standard error.
    pub fn init(&self) -> Result<(), InitError> {
        let format = match self.log_format {
            Format::Text => LogFormat::Text,
            Format::Json => LogFormat::Json,
        };
        roadstead_telemetry::init(format, &self.log)
    }
}

/// Tells the user why a program ends, with every cause, and gives the exit code for it.
#[expect(
    clippy::print_stderr,
    reason = "the last words of a program are for its terminal"
)]
pub fn failed(error: &(dyn Error + 'static)) -> ExitCode {
    eprintln!("error: {}", ErrorChain(error));
    ExitCode::FAILURE
}
