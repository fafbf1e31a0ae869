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
use roadstead_config::Config;
use roadstead_config::env::{self, Environment};
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
    /// How log lines look [default: text, or json where JSONLOG is true]
    #[arg(long, global = true, env = "ROADSTEAD_LOG_FORMAT", value_enum)]
    log_format: Option<Format>,
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
        let (format, filter) = self.with(&Environment::process());
        roadstead_telemetry::init(format, &filter, None).map(drop)
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
            .map(|options| (options, roadstead_runtime::Environment::system()));
        let (format, filter) = self.with(&Environment::process());
        roadstead_telemetry::init(format, &filter, export)
    }

    /// What Quay's variables make of it.
    fn with(&self, environment: &Environment) -> (LogFormat, String) {
        let format = match self.log_format {
            Some(Format::Json) => LogFormat::Json,
            None if environment.is_true(env::JSONLOG) => LogFormat::Json,
            Some(Format::Text) | None => LogFormat::Text,
        };
        let filter = if environment.is_true(env::DEBUGLOG) {
            // Of our own crates only: what others say of each request would bury it.
            format!("{},roadstead=debug", self.log)
        } else {
            self.log.clone()
        };
        (format, filter)
    }
}

/// Runs a program to its end. What a thread still waits for then, such as a disk that hangs, keeps the process no longer.
pub fn run_program(program: impl Future<Output = ExitCode>) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    match runtime {
        Ok(runtime) => {
            let code = runtime.block_on(program);
            runtime.shutdown_background();
            code
        }
        Err(error) => failed(&error),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_ends_although_a_thread_hangs() {
        let (begin, begun) = tokio::sync::oneshot::channel();
        let (release, stuck) = std::sync::mpsc::channel::<()>();
        run_program(async {
            let hang = move || {
                begin.send(()).ok();
                stuck.recv()
            };
            drop(tokio::task::spawn_blocking(hang));
            begun.await.unwrap();
            ExitCode::SUCCESS
        });
        drop(release);
    }

    #[test]
    fn quays_variables_say_how_to_log_where_nothing_else_does() {
        let logging = |log_format, variables: &[(&str, &str)]| {
            let log = "info".to_owned();
            let environment: Environment = variables.iter().copied().collect();
            let (format, filter) = LogArgs { log, log_format }.with(&environment);
            (matches!(format, LogFormat::Json), filter)
        };
        let info = || "info".to_owned();
        assert_eq!(logging(None, &[]), (false, info()));
        assert_eq!(logging(None, &[(env::JSONLOG, "True")]), (true, info()));
        assert_eq!(
            logging(Some(Format::Text), &[(env::JSONLOG, "true")]),
            (false, info())
        );
        assert_eq!(logging(None, &[(env::JSONLOG, "1")]), (false, info()));
        assert_eq!(
            logging(None, &[(env::DEBUGLOG, "true")]),
            (false, "info,roadstead=debug".to_owned())
        );
    }
}
