//! `admin location list`.

#[cfg(test)]
mod tests;

use std::process::ExitCode;

use clap::Args;
use indicatif::HumanBytes;
use roadstead_replication::{LocationListing, LocationState, SeenBy};

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
        [
            "location",
            "state",
            "store",
            "answers in",
            "default",
            "placements",
        ],
        &rows,
    ) {
        console.line(&line);
    }
    let seen: Vec<_> = locations
        .iter()
        .flat_map(|listing| listing.seen_by.iter().map(move |seen| (listing, seen)))
        .map(|(listing, seen)| seen_row(listing, seen))
        .collect();
    if !seen.is_empty() {
        console.line("");
        let headings = [
            "location",
            "seen from",
            "health",
            "since",
            "p95",
            "errors",
            "free",
        ];
        for line in table(headings, &seen) {
            console.line(&line);
        }
    }
    for listing in &locations {
        if let Some(problem) = &listing.problem {
            console.note(&format!("{}: {problem}", listing.location));
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn row(listing: &LocationListing) -> [String; 6] {
    let store = match listing.reachable {
        Some(true) => "works",
        Some(false) => "down",
        None if listing.state == LocationState::Removed => "-",
        None => "not configured",
    };
    let took = listing.probe_ms.filter(|_| listing.reachable == Some(true));
    [
        listing.location.to_string(),
        listing.state_word().to_owned(),
        store.to_owned(),
        took.map_or_else(dash, |took| format!("{took} ms")),
        if listing.default { "yes" } else { "no" }.to_owned(),
        amount(listing.placed),
    ]
}

/// How a running process sees the location.
fn seen_row(listing: &LocationListing, seen: &SeenBy) -> [String; 7] {
    let health = &seen.health;
    let worse = if health.write.state == health.state {
        &health.write
    } else {
        &health.read
    };
    [
        listing.location.to_string(),
        format!("{} ({})", seen.region, seen.instance),
        match &health.reason {
            Some(reason) => format!("{}: {reason}", health.state),
            None => health.state.clone(),
        },
        health.since.clone().unwrap_or_else(dash),
        health
            .read
            .latency_p95_ms
            .map_or_else(dash, |p95| format!("{p95} ms")),
        format!("{:.0} %", worse.error_share * 100.0),
        health
            .free_bytes
            .map_or_else(dash, |bytes| HumanBytes(bytes).to_string()),
    ]
}

fn dash() -> String {
    "-".to_owned()
}
