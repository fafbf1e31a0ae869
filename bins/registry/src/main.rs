//! `registry`: serves a registry, or shows what one does.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use roadstead_cli::{ConfigurationArgs, LogArgs, failed, stop_requested};
use roadstead_demo::DemoOptions;
use roadstead_server::{FirstAccount, Running, Settings};

/// A geo-replicated OCI container registry
///
/// Without a command it serves. Without a configuration it keeps a SQLite database and two local stores in ./roadstead-data.
#[derive(Debug, Parser)]
#[command(name = "registry", version, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: ServeArgs,
    #[command(flatten)]
    log: LogArgs,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve the registry
    Serve(ServeArgs),
    /// Show what geo-replication does: two regions, an image, a store that fails; needs nothing else and goes on serving
    Demo(DemoArgs),
}

#[derive(Args, Clone, Debug)]
struct ServeArgs {
    #[command(flatten)]
    configuration: ConfigurationArgs,
    /// The address to listen on
    #[arg(
        long,
        env = "ROADSTEAD_LISTEN",
        default_value = "127.0.0.1:8080",
        value_name = "ADDRESS:PORT"
    )]
    listen: SocketAddr,
    /// Leave the copying to other processes
    #[arg(long)]
    no_replicator: bool,
}

#[derive(Args, Clone, Debug)]
struct DemoArgs {
    /// Keep the demo's data here instead of in a temporary directory
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// End after the summary instead of serving on
    #[arg(long)]
    exit: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    let outcome = match cli.command {
        Some(Command::Demo(args)) => demo(args).await,
        Some(Command::Serve(args)) => serve(args, &cli.log).await,
        None => serve(cli.serve, &cli.log).await,
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(error.as_ref()),
    }
}

async fn serve(args: ServeArgs, log: &LogArgs) -> anyhow::Result<()> {
    log.init()?;
    let loaded = args.configuration.load_or_begin()?;
    let settings = Settings {
        replicate: !args.no_replicator,
        ..Settings::new(loaded.config, args.listen)
    };
    let running = Running::start(settings).await?;
    if let Some(account) = &running.first_account {
        show_once(account);
    }
    tracing::info!(server.address = %running.address, "Serving on http://{}", running.address);
    stop_requested().await?;
    if !running.stop().await {
        tracing::warn!("Something was still running when the time to stop was over");
    }
    Ok(())
}

#[expect(
    clippy::print_stdout,
    reason = "the one time that the password is shown; logs never hold it"
)]
fn show_once(account: &FirstAccount) {
    println!(
        "Created the superuser `{}` with the password {}\nIt is kept in {} and not shown again.",
        account.username,
        account.password.expose(),
        account.password_file.display()
    );
}

async fn demo(args: DemoArgs) -> anyhow::Result<()> {
    let demo = roadstead_demo::run(DemoOptions {
        data_dir: args.data_dir,
    })
    .await?;
    if !args.exit {
        demo.announce();
        stop_requested().await?;
    }
    demo.stop().await;
    Ok(())
}
