//! `registry`: serves a registry, or shows what one does.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand, ValueEnum};
use roadstead_cli::{
    ConfigurationArgs, LogArgs, MetricsArgs, ReloadSignals, StopSignals, failed, run_program,
};
use roadstead_config::RawKeys;
use roadstead_demo::DemoOptions;
use roadstead_runtime::Environment;
use roadstead_server::{FirstAccount, MetricsOptions, Migrations, Origin, Running, Settings};

/// Settings of it are in `.cargo/config.toml`.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

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
    #[command(visible_alias = "registry")]
    Serve(ServeArgs),
    /// Serve the registry once another process has brought the database's schema up to date: the same as serve --no-migrate
    RegistryNomigrate(ServeArgs),
    /// Bring the database's schema up to date and end
    Migrate(MigrateArgs),
    /// Show what geo-replication does: two regions, an image, a store that fails; needs nothing else and goes on serving
    Demo(DemoArgs),
}

#[derive(Args, Clone, Debug)]
struct ServeArgs {
    #[command(flatten)]
    configuration: ConfigurationArgs,
    /// The address to listen on for HTTP, which redirects to HTTPS where there is an ssl.key
    #[arg(
        long,
        env = "ROADSTEAD_LISTEN",
        default_value = "127.0.0.1:8080",
        value_name = "ADDRESS:PORT"
    )]
    listen: SocketAddr,
    /// The address to listen on for HTTPS, if there is an ssl.key beside config.yaml [default: port 8443 of --listen]
    #[arg(long, env = "ROADSTEAD_LISTEN_TLS", value_name = "ADDRESS:PORT")]
    listen_tls: Option<SocketAddr>,
    /// The address to listen on for HTTPS behind the PROXY protocol [default: with `FEATURE_PROXY_PROTOCOL` port 7443 of --listen]
    #[arg(long, env = "ROADSTEAD_LISTEN_TLS_PROXY", value_name = "ADDRESS:PORT")]
    listen_tls_proxy: Option<SocketAddr>,
    #[command(flatten)]
    metrics: MetricsArgs,
    /// Leave the copying to other processes
    #[arg(long)]
    no_replicator: bool,
    /// Refuse to start while the database's schema is not up to date, instead of bringing it up to date
    #[arg(long)]
    no_migrate: bool,
    /// What a container of Quay is told to be; registry-nomigrate is the same as --no-migrate
    #[arg(
        long,
        env = "QUAYENTRY",
        value_enum,
        default_value_t = Entry::Registry,
        value_name = "MODE"
    )]
    entry: Entry,
}

/// The modes of Quay's entry point that there are here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Entry {
    Registry,
    RegistryNomigrate,
}

impl ServeArgs {
    fn migrations(&self) -> Migrations {
        if self.no_migrate || self.entry == Entry::RegistryNomigrate {
            Migrations::Refuse
        } else {
            Migrations::Apply
        }
    }
}

#[derive(Args, Clone, Debug)]
struct MigrateArgs {
    #[command(flatten)]
    configuration: ConfigurationArgs,
    /// To which revision: there is only the newest, which Quay's entry point calls head
    #[arg(value_enum, default_value_t = Revision::Head)]
    revision: Revision,
}

/// What a schema is migrated to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Revision {
    Head,
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

fn main() -> ExitCode {
    run_program(run(Cli::parse()))
}

async fn run(cli: Cli) -> ExitCode {
    let outcome = match cli.command {
        Some(Command::Demo(args)) => demo(args).await,
        Some(Command::Migrate(args)) => migrate(args, &cli.log).await,
        Some(Command::Serve(args)) => serve(args, &cli.log).await,
        Some(Command::RegistryNomigrate(args)) => {
            let args = ServeArgs {
                no_migrate: true,
                ..args
            };
            serve(args, &cli.log).await
        }
        None => serve(cli.serve, &cli.log).await,
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(error.as_ref()),
    }
}

async fn serve(args: ServeArgs, log: &LogArgs) -> anyhow::Result<()> {
    let mut stop = StopSignals::catch()?;
    let mut reload = ReloadSignals::catch()?;
    let migrations = args.migrations();
    let loaded = match migrations {
        Migrations::Apply => args.configuration.read_or_begin()?,
        // It begins nothing.
        Migrations::Refuse => args.configuration.read()?,
    };
    let exporter = log.init_with_traces(&loaded.config)?;
    args.configuration.announce(&loaded);
    let settings = Settings {
        listen_tls: args.listen_tls,
        listen_tls_proxy: args.listen_tls_proxy,
        origin: Some(origin(&args.configuration, loaded.raw)),
        metrics: MetricsOptions {
            listen: args.metrics.metrics_listen,
            exporter: exporter.clone(),
        },
        replicate: !args.no_replicator && ConfigurationArgs::copying(),
        migrations,
        ..Settings::new(loaded.config, args.listen)
    };
    let Some(running) = stop.unless_asked(Running::start(settings)).await else {
        return Ok(());
    };
    let running = running?;
    if let Some(account) = &running.first_account {
        show_once(account);
    }
    tracing::info!(server.address = %running.address, "Serving on http://{}", running.address);
    for address in [running.tls_address, running.tls_proxy_address]
        .into_iter()
        .flatten()
    {
        tracing::info!(server.address = %address, "Serving on https://{address}");
    }
    if let Some(address) = running.metrics_address {
        tracing::info!(server.address = %address, "Metrics are at http://{address}/metrics");
    }
    let mut asked = std::pin::pin!(stop.asked());
    loop {
        tokio::select! {
            () = &mut asked => break,
            () = reload.next() => running.reload(),
        }
    }
    if !running.stop().await {
        tracing::warn!("Something was still running when the time to stop was over");
    }
    if let Some(exporter) = exporter {
        exporter.stop().await;
    }
    Ok(())
}

async fn migrate(args: MigrateArgs, log: &LogArgs) -> anyhow::Result<()> {
    log.init()?;
    let mut stop = StopSignals::catch()?;
    let loaded = args.configuration.read_or_begin()?;
    args.configuration.announce(&loaded);
    let environment = Environment::system();
    let migrate = roadstead_server::migrate(&loaded.config, &environment);
    if let Some(migrated) = stop.unless_asked(migrate).await {
        migrated?;
        tracing::info!("The database's schema is up to date");
    }
    Ok(())
}

/// Where the configuration came from, to be read again.
fn origin(configuration: &ConfigurationArgs, raw: RawKeys) -> Origin {
    let variables = roadstead_config::Environment::process();
    Origin {
        source: configuration.source_in(&variables),
        variables,
        raw,
    }
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
    let mut stop = StopSignals::catch()?;
    let options = DemoOptions {
        data_dir: args.data_dir,
    };
    let Some(demo) = stop
        .unless_asked(Box::pin(roadstead_demo::run(options)))
        .await
    else {
        return Ok(());
    };
    let demo = demo?;
    if !args.exit {
        demo.announce();
        stop.asked().await;
    }
    demo.stop().await;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    fn migrations(arguments: &[&str]) -> Migrations {
        let cli = Cli::try_parse_from([&["registry"], arguments].concat()).unwrap();
        match cli.command {
            None => cli.serve.migrations(),
            Some(Command::Serve(args)) => args.migrations(),
            Some(Command::RegistryNomigrate(_)) => Migrations::Refuse,
            Some(Command::Migrate(_) | Command::Demo(_)) => panic!("serves nobody"),
        }
    }

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_words_of_quays_entry_point_say_whether_to_migrate() {
        for apply in [&[][..], &["serve"], &["registry"], &["--entry", "registry"]] {
            assert_eq!(migrations(apply), Migrations::Apply, "{apply:?}");
        }
        for refuse in [
            &["--no-migrate"][..],
            &["serve", "--no-migrate"],
            &["registry-nomigrate"],
            &["registry-nomigrate", "--config-dir", "/conf"],
            &["--entry", "registry-nomigrate"],
            &["serve", "--entry", "registry-nomigrate"],
        ] {
            assert_eq!(migrations(refuse), Migrations::Refuse, "{refuse:?}");
        }
        assert!(Cli::try_parse_from(["registry", "repomirror"]).is_err());
        assert!(Cli::try_parse_from(["registry", "migrate", "head"]).is_ok());
        assert!(Cli::try_parse_from(["registry", "migrate", "9fa37f66a9b6"]).is_err());
    }
}
