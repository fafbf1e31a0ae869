//! `admin location add`: tries a location and says what comes next. It changes nothing.

#[cfg(test)]
mod tests;

use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use roadstead_replication::{LocationName, LocationState};

use crate::console::Console;
use crate::open::Opened;
use crate::table::amount;

#[derive(Args, Clone, Debug, Default)]
pub(crate) struct Arguments {
    /// The name that the configuration gives the location
    pub(crate) location: String,
}

pub(crate) async fn run(
    arguments: &Arguments,
    opened: &Opened,
    console: &mut Console,
) -> anyhow::Result<ExitCode> {
    let name = LocationName::new(&arguments.location).context("this can be no location's name")?;
    if !opened.is_configured(&name) {
        console.line(&format!(
            "The configuration does not name {name}. Add it to DISTRIBUTED_STORAGE_CONFIG with its driver and parameters, and run this again."
        ));
        return Ok(ExitCode::FAILURE);
    }
    let addition = match opened.replication.plan_addition(&name).await {
        Ok(addition) => addition,
        Err(error) => {
            console.line(&format!("{:#}", anyhow::Error::from(error)));
            return Ok(ExitCode::FAILURE);
        }
    };
    console.line(&format!(
        "An object was written to {name}, read back and deleted from here. Try it from every region."
    ));
    if addition.state != LocationState::Active {
        console.line(&format!(
            "{name} is being emptied or removed: `admin location undrain {name}` takes that back."
        ));
    }
    if addition.default {
        console.line(&format!(
            "Every blob has to be there: {} are missing; {} copies are queued already.",
            amount(addition.missing),
            addition.queued
        ));
    } else {
        console.line(&format!(
            "It is not among DISTRIBUTED_STORAGE_DEFAULT_LOCATIONS: only blobs of namespaces that ask for it have to be there: {} are missing; \
             {} copies are queued already.",
            amount(addition.missing),
            addition.queued
        ));
    }
    console.line("Then:");
    for step in [
        "1. Give every region the same DISTRIBUTED_STORAGE_CONFIG; let DISTRIBUTED_STORAGE_PREFERENCE of each begin with what is near.".to_owned(),
        "2. Restart the registries and replicators, region by region.".to_owned(),
        format!("3. `admin backfillreplication --location {name} --dry-run` says what will be copied, without --dry-run it is queued. A running replicator \
                 begins by itself within a minute."),
        format!("4. `admin replication status --wait` waits for it, `admin verifyplacements {name}` reads all of it back."),
    ] {
        console.line(&step);
    }
    Ok(ExitCode::SUCCESS)
}
