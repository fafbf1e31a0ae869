//! `admin backfillreplication`. On standard output it has Quay's lines and no others.

#[cfg(test)]
mod tests;

use std::process::ExitCode;

use roadstead_replication::{Amount, StatusOptions};

use crate::console::Console;
use crate::open::Opened;
use crate::table::amount;

pub(crate) async fn run(opened: &Opened, console: &mut Console) -> anyhow::Result<ExitCode> {
    if opened.queue.is_none() {
        console.line("Storage replication is not enabled");
        return Ok(ExitCode::SUCCESS);
    }
    let plan = opened
        .replication
        .status(StatusOptions { store_check: false })
        .await?;
    for status in plan
        .locations
        .iter()
        .filter(|status| !status.missing.is_none())
    {
        console.note(&format!(
            "{} lacks {}; {} have a job already",
            status.location,
            amount(status.missing),
            status.queued
        ));
    }
    let queued = opened
        .replication
        .reconcile(|uuid| {
            console.line(&format!("Enqueueing manifest blob {uuid} to be replicated"));
        })
        .await?;
    for (location, wanted) in &queued.wanted {
        console.note(&format!(
            "queued {} to be copied to {location}",
            amount(*wanted)
        ));
    }
    let copies: Amount = queued.wanted.into_values().sum();
    let missing: Amount = plan.locations.iter().map(|status| status.missing).sum();
    if missing.is_none() && copies.is_none() {
        console.note(
            "nothing is missing by the database; `admin replication status` asks the stores too",
        );
    } else {
        console.note("the copies are made by a running registry or replicator; `admin replication status --wait` waits for them");
    }
    Ok(ExitCode::SUCCESS)
}
