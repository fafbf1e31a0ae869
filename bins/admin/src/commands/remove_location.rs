//! `admin removelocation`. On standard output it has Quay's question and lines and no others.

#[cfg(test)]
mod tests;

use std::process::ExitCode;

use anyhow::{Context, bail};
use indicatif::ProgressBar;
use roadstead_replication::{ForgottenLocation, LocationName, LocationState, RemovalEvent};

use crate::console::Console;
use crate::open::Opened;

/// The shards of a comparison: 256 for each of two digest algorithms.
const SHARDS: u64 = 512;

pub(crate) async fn run(
    name: &str,
    opened: &Opened,
    console: &mut Console,
) -> anyhow::Result<ExitCode> {
    if opened.queue.is_none() {
        console.line("Storage replication is not enabled. Exiting.");
        return Ok(ExitCode::FAILURE);
    }
    let (location, state) = opened.replication.removable_location(name).await?;
    if state == LocationState::Removing {
        console.note(&format!(
            "a removal of {location} was begun earlier: yes goes on with it, no takes it back"
        ));
    }
    if !confirmed(name, console)? {
        console.line("Canceling operation...");
        if state == LocationState::Removing {
            opened.replication.cancel_removal(&location).await?;
            console.note(&format!(
                "{location} takes part again; what was deleted is copied again by a running registry or replicator"
            ));
        }
        return Ok(ExitCode::SUCCESS);
    }
    remove(&location, opened, console).await?;
    if opened.is_configured(&location) {
        console.note(&format!(
            "the configuration still names {location}: take it out of DISTRIBUTED_STORAGE_CONFIG, DISTRIBUTED_STORAGE_PREFERENCE and \
             DISTRIBUTED_STORAGE_DEFAULT_LOCATIONS of every region and restart them; until then it is not used"
        ));
    }
    Ok(ExitCode::SUCCESS)
}

/// Asks until there is an answer, in Quay's words. Without one nothing is done.
fn confirmed(name: &str, console: &mut Console) -> anyhow::Result<bool> {
    let question = format!(
        "WARNING: This is a destructive operation. Are you sure you want to remove {name} from your storage locations? [y/n] "
    );
    loop {
        let Some(answer) = console
            .ask(&question)
            .context("could not read the answer")?
        else {
            bail!("the input ended without an answer; nothing was changed");
        };
        match answer.to_lowercase().as_str() {
            "yes" | "y" | "ye" => return Ok(true),
            "no" | "n" => return Ok(false),
            _ => console.line("Please respond with 'yes' or 'no' (or 'y' or 'n')."),
        }
    }
}

async fn remove(
    location: &LocationName,
    opened: &Opened,
    console: &mut Console,
) -> anyhow::Result<()> {
    let comparing = console.progress(
        SHARDS,
        "comparing the other locations with their stores {wide_bar} {percent}%",
    );
    let removal = opened.replication.remove_location(location, |event| {
        show(&event, location, &comparing, console);
    });
    tokio::select! {
        removed = removal => removed.context("Error removing storage location"),
        interrupted = tokio::signal::ctrl_c() => {
            interrupted?;
            bail!(
                "interrupted: {location} takes no new bytes and is still being removed; run the same command again to go on, or to take it \
                 back by answering no"
            )
        }
    }
}

fn show(
    event: &RemovalEvent,
    location: &LocationName,
    comparing: &ProgressBar,
    console: &mut Console,
) {
    match event {
        RemovalEvent::Compared(shards) => comparing.set_position(u64::from(*shards)),
        RemovalEvent::UploadsEnded(uploads) => {
            comparing.finish_and_clear();
            console.line(&format!(
                "Removed {uploads} temporary blobs from blobupload table."
            ));
        }
        RemovalEvent::PlacementDeleted(placement) => {
            console.line(&format!("Deleted placement {placement}"));
        }
        RemovalEvent::LocationDeleted(ForgottenLocation {
            regions,
            wanted_copies,
        }) => {
            console.line(&format!("Deleted location {location}"));
            if *regions > 0 {
                console.note(&format!(
                    "{regions} namespaces asked for their blobs to be at {location} (userregion); they do not any more"
                ));
            }
            if *wanted_copies > 0 {
                console.note(&format!(
                    "{wanted_copies} copies to {location} were still queued; they are dropped"
                ));
            }
        }
    }
}
