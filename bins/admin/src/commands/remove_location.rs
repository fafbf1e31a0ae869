//! `admin removelocation`. On standard output it has Quay's question and lines and, without `--force`, no others.

#[cfg(test)]
mod tests;

use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::Args;
use indicatif::ProgressBar;
use roadstead_replication::{
    AcceptedLoss, AtRisk, ForgottenLocation, LocationName, LocationState, LostBlob, RemovalError,
    RemovalEvent,
};

use crate::console::Console;
use crate::open::Opened;

/// The shards of a comparison: 256 for each of two digest algorithms.
const SHARDS: u64 = 512;

#[derive(Args, Clone, Debug, Default)]
pub(crate) struct Arguments {
    /// The name of the location
    pub(crate) location: String,
    /// Remove it although blobs are lost with it: every one of them is listed, and the name has to be typed
    #[arg(long)]
    pub(crate) force: bool,
}

pub(crate) async fn run(
    arguments: &Arguments,
    opened: &Opened,
    console: &mut Console,
) -> anyhow::Result<ExitCode> {
    let name = arguments.location.as_str();
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
    match remove(&location, None, opened, console).await? {
        Err(RemovalError::SoleCopies(at_risk)) if arguments.force => {
            let Some(loss) = agreed_loss(&at_risk, opened, console).await? else {
                console.line("Canceling operation...");
                return Ok(ExitCode::SUCCESS);
            };
            remove(&location, Some(loss), opened, console).await?
        }
        removed => removed,
    }
    .context("Error removing storage location")?;
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

/// Lists everything that would be lost and asks for the name of the location. `None`: it is not to be lost.
async fn agreed_loss(
    at_risk: &AtRisk,
    opened: &Opened,
    console: &mut Console,
) -> anyhow::Result<Option<AcceptedLoss>> {
    let name = &at_risk.location;
    console.line(&format!("With {name} would be lost:"));
    let loss = opened
        .replication
        .show_loss(at_risk, |lost| {
            let LostBlob { blob, images } = lost;
            let images: Vec<String> = images.iter().map(ToString::to_string).collect();
            let needed = if images.is_empty() {
                "needed by no image".to_owned()
            } else {
                format!("needed by {}", images.join(", "))
            };
            console.line(&format!("  {} ({} bytes), {needed}", blob.name, blob.size));
        })
        .await?;
    for (other, reason) in &at_risk.unreadable {
        console.line(&format!(
            "Nothing at {other} counts, because it could not be read: {reason}"
        ));
    }
    if opened.replication.can_be_drained(name).await? {
        console.line(&format!(
            "{name} can be read: `admin location drain {name} --wait` copies what it still has to another location, and nothing of that is lost."
        ));
    }
    let question = format!(
        "{} blobs ({} bytes) WILL BE LOST. This cannot be undone. Type the name of the location to remove it nevertheless: ",
        at_risk.blobs.blobs, at_risk.blobs.bytes
    );
    let answer = console
        .ask(&question)
        .context("could not read the answer")?;
    Ok(answer
        .is_some_and(|answer| answer == name.as_str())
        .then_some(loss))
}

async fn remove(
    location: &LocationName,
    loss: Option<AcceptedLoss>,
    opened: &Opened,
    console: &mut Console,
) -> anyhow::Result<Result<(), RemovalError>> {
    let comparing = console.progress(
        SHARDS,
        "comparing the other locations with their stores {wide_bar} {percent}%",
    );
    let step = |event| show(&event, location, &comparing, console);
    let removal = async {
        match loss {
            Some(loss) => {
                let removing = opened
                    .replication
                    .remove_location_losing(location, loss, step);
                removing.await
            }
            None => opened.replication.remove_location(location, step).await,
        }
    };
    tokio::select! {
        removed = removal => Ok(removed),
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
