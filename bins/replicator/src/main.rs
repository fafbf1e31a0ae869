//! `replicator`: copies blobs between locations, without serving anything. Any number of them share the work.

use std::process::ExitCode;

use clap::Parser;
use roadstead_cli::{
    ConfigurationArgs, LogArgs, MetricsArgs, ReloadSignals, StopSignals, failed, run_program,
};
use roadstead_runtime::Environment;
use roadstead_server::{MetricsOptions, Replicator};

/// Settings of it are in `.cargo/config.toml`.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Copies blobs to every location that should hold them
///
/// Run it beside `registry --no-replicator`, or beside any number of registries: they share the work. It leaves the database's schema as it is, and
/// refuses to start until a registry has brought that up to date.
#[derive(Debug, Parser)]
#[command(name = "replicator", version)]
struct Cli {
    #[command(flatten)]
    configuration: ConfigurationArgs,
    #[command(flatten)]
    metrics: MetricsArgs,
    #[command(flatten)]
    log: LogArgs,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    run_program(async {
        match run(cli).await {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => failed(error.as_ref()),
        }
    })
}

async fn run(cli: Cli) -> anyhow::Result<()> {
    let mut stop = StopSignals::catch()?;
    let mut reload = ReloadSignals::catch()?;
    let loaded = cli.configuration.read()?;
    let exporter = cli.log.init_with_traces(&loaded.config)?;
    cli.configuration.announce(&loaded);
    let metrics = MetricsOptions {
        listen: cli.metrics.metrics_listen,
        exporter: exporter.clone(),
    };
    let start = Replicator::start(
        &loaded.config,
        Some(loaded.raw),
        metrics,
        Environment::system(),
    );
    let Some(started) = stop.unless_asked(start).await else {
        return Ok(());
    };
    let Some(replicator) = started? else {
        anyhow::bail!(
            "replication is switched off: set FEATURE_STORAGE_REPLICATION to true in config.yaml"
        );
    };
    tracing::info!("Replicating");
    let asked = stop.asked();
    tokio::pin!(asked);
    loop {
        tokio::select! {
            () = &mut asked => break,
            () = reload.next() => {
                tracing::info!("A replicator reads its configuration when it starts: restart it for a change to count");
            }
        }
    }
    if !replicator.stop().await {
        tracing::warn!(
            "A copy was still running when the time to stop was over; it is taken up again later"
        );
    }
    if let Some(exporter) = exporter {
        exporter.stop().await;
    }
    Ok(())
}
