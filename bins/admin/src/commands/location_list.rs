//! `admin location list`.

#[cfg(test)]
mod tests;

use std::process::ExitCode;

use clap::Args;
use roadstead_replication::{LocationListing, LocationState};

use crate::console::Console;
use crate::open::Opened;
use crate::table::{amount, table};

#[derive(Args, Clone, Debug, Default)]
pub(crate) struct Arguments {
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

pub(crate) async fn run(
    arguments: &Arguments,
    opened: &Opened,
    console: &mut Console,
) -> anyhow::Result<ExitCode> {
    let locations = opened.replication.list_locations().await?;
    if arguments.json {
        console.line(&serde_json::to_string_pretty(&locations)?);
        return Ok(ExitCode::SUCCESS);
    }
    let rows: Vec<_> = locations.iter().map(row).collect();
    for line in table(
        ["location", "state", "store", "default", "placements"],
        &rows,
    ) {
        console.line(&line);
    }
    for listing in &locations {
        if let Some(problem) = &listing.problem {
            console.note(&format!("{}: {problem}", listing.location));
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn row(listing: &LocationListing) -> [String; 5] {
    let store = match listing.reachable {
        Some(true) => "works",
        Some(false) => "down",
        None if listing.state == LocationState::Removed => "-",
        None => "not configured",
    };
    [
        listing.location.to_string(),
        listing.state_word().to_owned(),
        store.to_owned(),
        if listing.default { "yes" } else { "no" }.to_owned(),
        amount(listing.placed),
    ]
}
