//! `admin backfillreplication`. On standard output it has Quay's lines and no others.

#[cfg(test)]
mod tests;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::bail;
use clap::Args;
use roadstead_replication::{
    Amount, LocationName, LocationState, Planned, Reconciled, StatusOptions, WaitOptions,
};

use crate::commands::replication_status;
use crate::console::Console;
use crate::open::Opened;
use crate::table::amount;

#[derive(Args, Clone, Debug, Default)]
pub(crate) struct Arguments {
    /// Only say what each location lacks
    #[arg(long, conflicts_with = "wait")]
    pub(crate) dry_run: bool,
    /// Only what this location lacks
    #[arg(long, value_name = "NAME")]
    pub(crate) location: Option<String>,
    /// Return when nothing is missing any more: exit status 0
    #[arg(long)]
    pub(crate) wait: bool,
    /// Wait no longer than this, such as 90s, 10m, 2h or 1d: exit status 1 if something is missing then
    #[arg(long, value_name = "DURATION", requires = "wait", value_parser = replication_status::duration)]
    pub(crate) timeout: Option<Duration>,
}

pub(crate) async fn run(
    arguments: &Arguments,
    opened: &Opened,
    console: &mut Console,
) -> anyhow::Result<ExitCode> {
    if opened.queue.is_none() {
        console.line("Storage replication is not enabled");
        return Ok(ExitCode::SUCCESS);
    }
    let only = match &arguments.location {
        Some(name) => Some(target(name, opened).await?),
        None => None,
    };
    let plan = plan(only.as_ref(), opened).await?;
    for planned in &plan {
        console.note(&format!(
            "{} lacks {}; {} have a job already",
            planned.location,
            amount(planned.missing),
            planned.queued
        ));
    }
    let missing: Amount = plan.iter().map(|planned| planned.missing).sum();
    if arguments.dry_run {
        console.note(if missing.is_none() {
            "nothing is missing by the database"
        } else {
            "nothing was queued; without --dry-run all of it is"
        });
        return Ok(ExitCode::SUCCESS);
    }
    let queued = queue(only.as_ref(), opened, console).await?;
    for (location, wanted) in &queued.wanted {
        console.note(&format!(
            "queued {} to be copied to {location}",
            amount(*wanted)
        ));
    }
    let copies: Amount = queued.wanted.into_values().sum();
    if arguments.wait {
        return wait(arguments, only.as_ref(), opened, console).await;
    }
    if missing.is_none() && copies.is_none() {
        console.note(
            "nothing is missing by the database; `admin replication status` asks the stores too",
        );
    } else {
        console.note("the copies are made by a running registry or replicator; `admin replication status --wait` waits for them");
    }
    Ok(ExitCode::SUCCESS)
}

/// The location of that name, if copies can be made to it.
async fn target(name: &str, opened: &Opened) -> anyhow::Result<LocationName> {
    let (location, state) = opened.replication.removable_location(name).await?;
    if !opened.is_configured(&location) {
        bail!(
            "the configuration does not name location `{location}`, so that nothing can be copied there"
        );
    }
    if state != LocationState::Active {
        bail!(
            "location `{location}` is being emptied or removed and takes no new bytes; `admin location undrain {location}` takes that back"
        );
    }
    Ok(location)
}

/// What is missing, of one location only if there is one.
async fn plan(only: Option<&LocationName>, opened: &Opened) -> anyhow::Result<Vec<Planned>> {
    let mut plan = opened.replication.plan_backfill().await?;
    plan.retain(|planned| only.is_none_or(|only| planned.location == *only));
    Ok(plan)
}

async fn queue(
    only: Option<&LocationName>,
    opened: &Opened,
    console: &mut Console,
) -> anyhow::Result<Reconciled> {
    let line = |uuid: &str| {
        console.line(&format!("Enqueueing manifest blob {uuid} to be replicated"));
    };
    Ok(match only {
        Some(only) => opened.replication.reconcile_location(only, line).await?,
        None => opened.replication.reconcile(line).await?,
    })
}

async fn wait(
    arguments: &Arguments,
    only: Option<&LocationName>,
    opened: &Opened,
    console: &mut Console,
) -> anyhow::Result<ExitCode> {
    let complete = if let Some(only) = only {
        let waited = opened
            .replication
            .wait_for_location(only, arguments.timeout, |missing| {
                console.note(&format!("{} to go to {only}", amount(missing)));
            })
            .await?;
        waited.is_none()
    } else {
        let options = WaitOptions {
            timeout: arguments.timeout,
            status: StatusOptions { store_check: true },
            location: None,
        };
        let waiting = replication_status::Arguments::default();
        let report = replication_status::status(&options, true, &waiting, opened, console).await?;
        report.complete
    };
    Ok(if complete {
        console.note("complete");
        ExitCode::SUCCESS
    } else {
        console.note("not complete: `admin replication status` says what is missing and why");
        ExitCode::FAILURE
    })
}
