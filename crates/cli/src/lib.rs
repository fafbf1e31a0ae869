//! What our programs share on their command lines: where the configuration is, how to log, and when to stop.
//!
//! Invariant: nothing here opens a database or a store.

mod configuration;
mod signals;

pub use configuration::{ConfigurationArgs, ConfigurationError};
pub use signals::StopSignals;

use std::error::Error;
use std::net::SocketAddr;
use std::process::ExitCode;

use clap::builder::FalseyValueParser;
use clap::{Args, ValueEnum};
use roadstead_config::Config;
use roadstead_runtime::Environment;
use roadstead_telemetry::{
    ErrorChain, ExportOptions, Exporter, HeaderFields, InitError, LogFormat,
};

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
    /// Log lines as JSON, as --log-format json: what a container of Quay is told by JSONLOG=true
    #[arg(long, global = true, env = "JSONLOG", hide = true, value_parser = FalseyValueParser::new())]
    json_log: bool,
    /// Log at level debug what is logged at level info: what a container of Quay is told by DEBUGLOG=true
    #[arg(long, global = true, env = "DEBUGLOG", hide = true, value_parser = FalseyValueParser::new())]
    debug_log: bool,
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
        roadstead_telemetry::init(self.format(), &self.filter(), None).map(drop)
    }

    /// The same, and starts sending traces where the configuration says so. Whoever gets the exporter stops it at the end.
    pub fn init_with_traces(&self, config: &Config) -> Result<Option<Exporter>, InitError> {
        let options = config
            .telemetry
            .export
            .as_ref()
            .map(|export| ExportOptions {
                endpoint: export.endpoint.clone(),
                headers: HeaderFields(
                    export
                        .headers
                        .iter()
                        .map(|(name, value)| (name.clone(), value.expose().clone()))
                        .collect(),
                ),
                service_name: export.service_name.clone(),
                attributes: config
                    .storage
                    .preference
                    .first()
                    .map(|location| ("roadstead.region", location.clone()))
                    .into_iter()
                    .collect(),
                ratio: export.sampling.ratio,
                parent_based: export.sampling.parent_based,
            });
        let export = options
            .as_ref()
            .map(|options| (options, Environment::system()));
        roadstead_telemetry::init(self.format(), &self.filter(), export)
    }

    fn format(&self) -> LogFormat {
        match self.log_format {
            Format::Text if !self.json_log => LogFormat::Text,
            Format::Text | Format::Json => LogFormat::Json,
        }
    }

    /// A filter with a level for everything has that level raised; directives for single targets stay.
    fn filter(&self) -> String {
        let raised = |directive: &'static str| if self.debug_log { "debug" } else { directive };
        self.log
            .split(',')
            .map(|directive| match directive.trim() {
                "info" => raised("info"),
                "warn" => raised("warn"),
                "error" => raised("error"),
                other => other,
            })
            .collect::<Vec<_>>()
            .join(",")
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
