//! `admin site drain`, `undrain` and `status`.

#[cfg(test)]
mod tests;

use std::process::ExitCode;

use clap::Subcommand;

use crate::console::Console;
use crate::open::Opened;
use crate::table::table;

#[derive(Clone, Debug, Subcommand)]
pub(crate) enum Command {
    /// Have balancers leave a region alone: its /health/endtoend fails, and it serves whoever comes all the same
    ///
    /// It counts within seconds for every process of the region, also after a restart, until it is taken back.
    Drain {
        /// The region, by the location that it prefers; without it, that of this configuration
        region: Option<String>,
        /// Do it also when no other region would be left
        #[arg(long)]
        force: bool,
    },
    /// Take a region back
    Undrain {
        /// The region, by the location that it prefers; without it, that of this configuration
        region: Option<String>,
    },
    /// List the regions that run or are taken out; exit status 0 if none is out
    Status,
}

pub(crate) async fn run(
    command: &Command,
    opened: &Opened,
    console: &mut Console,
) -> anyhow::Result<ExitCode> {
    match command {
        Command::Drain { region, force } => {
            let region = opened
                .replication
                .drain_site(region.as_deref(), *force)
                .await?;
            console.line(&format!(
                "{region} is taken out: within seconds /health/endtoend of its processes says 503. `admin site undrain {region}` takes it back."
            ));
        }
        Command::Undrain { region } => {
            let (region, was_out) = opened.replication.undrain_site(region.as_deref()).await?;
            console.line(&if was_out {
                format!("{region} takes part again.")
            } else {
                format!("{region} takes part: nothing was to be taken back.")
            });
        }
        Command::Status => return status(opened, console).await,
    }
    Ok(ExitCode::SUCCESS)
}

async fn status(opened: &Opened, console: &mut Console) -> anyhow::Result<ExitCode> {
    let sites = opened.replication.sites().await?;
    let rows: Vec<[String; 3]> = sites
        .iter()
        .map(|site| {
            let since = site.drained.as_ref().map(|drained| drained.since);
            [
                site.region.to_string(),
                if site.running { "yes" } else { "no" }.to_owned(),
                since.map_or_else(
                    || "-".to_owned(),
                    |since| since.format("%F %T UTC").to_string(),
                ),
            ]
        })
        .collect();
    for line in table(["region", "running", "taken out since"], &rows) {
        console.line(&line);
    }
    let out = sites.iter().any(|site| site.drained.is_some());
    Ok(if out {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}
