//! `admin verifyplacements`: reads back what placements promise.

#[cfg(test)]
mod tests;

use std::process::ExitCode;

use clap::Args;
use roadstead_replication::{
    Amount, DefectiveObject, LocationName, Orphan, VerifyEvent, VerifyOptions,
};

use crate::console::Console;
use crate::open::Opened;
use crate::table::{amount, table};

#[derive(Args, Clone, Debug, Default)]
pub(crate) struct Arguments {
    /// Only this location
    pub(crate) location: Option<String>,
    /// Look for objects too that nothing accounts for and that are older than a day
    #[arg(long)]
    pub(crate) orphans: bool,
    /// Have those objects deleted that were found so before, a day ago at least; garbage collection does it
    #[arg(long, requires = "orphans")]
    pub(crate) delete_orphans: bool,
    /// Read nothing: say how far the registries have come with it, and what was found
    #[arg(long, conflicts_with_all = ["orphans", "location"])]
    pub(crate) status: bool,
    /// Print a JSON object in each line
    #[arg(long)]
    pub(crate) json: bool,
}

/// What looking at one location has brought.
#[derive(Debug)]
struct Summary<'a> {
    location: &'a LocationName,
    objects: u64,
    bytes: u64,
    defective: u64,
    orphans: u64,
    deleted_orphans: u64,
    /// Why it could not be looked at to the end.
    failure: Option<String>,
}

pub(crate) async fn run(
    arguments: &Arguments,
    opened: &Opened,
    console: &mut Console,
) -> anyhow::Result<ExitCode> {
    if arguments.status {
        return status(arguments, opened, console).await;
    }
    let mut locations = Vec::new();
    match &arguments.location {
        Some(name) => locations.push(opened.replication.removable_location(name).await?.0),
        None => locations.extend(
            opened
                .deployment
                .locations
                .iter()
                .map(|location| location.name().clone()),
        ),
    }
    if opened.queue.is_none() {
        console.note(
            "Storage replication is not enabled: what is found is copied again only when it is",
        );
    }
    let mut good = true;
    for location in &locations {
        good &= verify(location, arguments, opened, console).await?;
    }
    Ok(if good {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Verifies one location, and tells whether everything was good.
async fn verify(
    location: &LocationName,
    arguments: &Arguments,
    opened: &Opened,
    console: &mut Console,
) -> anyhow::Result<bool> {
    let placed = opened.replication.placed_at(location).await?;
    let bar = console.progress(
        placed.bytes,
        "{msg} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {eta}",
    );
    bar.set_message(location.to_string());
    let mut summary = Summary {
        location,
        objects: 0,
        bytes: 0,
        defective: 0,
        orphans: 0,
        deleted_orphans: 0,
        failure: None,
    };
    let options = VerifyOptions {
        orphans: arguments.orphans,
        delete_orphans: arguments.delete_orphans,
    };
    let verified = opened
        .replication
        .verify_placements(location, options, |event| match event {
            VerifyEvent::Read(read) => {
                summary.objects += read.blobs;
                summary.bytes += read.bytes;
                bar.inc(read.bytes);
            }
            VerifyEvent::Defective(object) => {
                summary.defective += 1;
                let line = if arguments.json {
                    defective_json(&object).to_string()
                } else {
                    object.to_string()
                };
                bar.suspend(|| console.line(&line));
            }
            VerifyEvent::Orphan(orphan) => {
                summary.orphans += 1;
                let line = if arguments.json {
                    orphan_json(&orphan).to_string()
                } else {
                    orphan_text(&orphan)
                };
                bar.suspend(|| console.line(&line));
            }
            VerifyEvent::OrphansDoomed(objects) => summary.deleted_orphans += objects,
        })
        .await;
    bar.finish_and_clear();
    summary.failure = verified
        .err()
        .map(|error| format!("{:#}", anyhow::Error::from(error)));
    conclude(&summary, arguments, console);
    Ok(summary.defective == 0 && summary.orphans == 0 && summary.failure.is_none())
}

fn defective_json(object: &DefectiveObject) -> serde_json::Value {
    serde_json::json!({
        "kind": "defective",
        "location": object.location,
        "digest": object.digest,
        "size": object.size,
        "defect": object.defect.as_str(),
        "found_size": object.found_size,
        "found_digest": object.found_digest,
        "only_copy": object.only_copy,
    })
}

fn orphan_json(orphan: &Orphan) -> serde_json::Value {
    serde_json::json!({
        "kind": "orphan",
        "location": orphan.location,
        "digest": orphan.digest,
        "size": orphan.size,
        "first_seen": orphan.first_seen,
    })
}

fn orphan_text(orphan: &Orphan) -> String {
    format!(
        "location `{}`: nothing accounts for {} ({} bytes), known since {}",
        orphan.location,
        orphan.digest,
        orphan.size,
        orphan.first_seen.format("%F %T UTC")
    )
}

fn conclude(summary: &Summary<'_>, arguments: &Arguments, console: &mut Console) {
    let Summary {
        location,
        objects,
        bytes,
        defective,
        orphans,
        deleted_orphans,
        failure,
    } = summary;
    if arguments.json {
        let line = serde_json::json!({
            "kind": "summary",
            "location": location,
            "objects": objects,
            "bytes": bytes,
            "defective": defective,
            "orphans": orphans,
            "deleted_orphans": deleted_orphans,
            "failure": failure,
        });
        console.line(&line.to_string());
        return;
    }
    let read = Amount {
        blobs: *objects,
        bytes: *bytes,
    };
    console.note(&format!(
        "{location}: read {}; {defective} missing or damaged",
        amount(read)
    ));
    if *orphans > 0 {
        console.note(&format!(
            "{location}: {orphans} objects that nothing accounts for; {deleted_orphans} are being deleted"
        ));
    }
    if let Some(failure) = failure {
        console.line(&format!(
            "location `{location}` was not looked at to the end: {failure}"
        ));
    }
}

/// Says how far the rounds in the background have come, and what was found.
async fn status(
    arguments: &Arguments,
    opened: &Opened,
    console: &mut Console,
) -> anyhow::Result<ExitCode> {
    opened.replication.settle_findings().await?;
    let report = opened.replication.scrub_report().await?;
    let open = report
        .findings
        .iter()
        .any(|finding| finding.repaired_at.is_none());
    if arguments.json {
        for round in &report.rounds {
            console.line(
                &serde_json::json!({
                    "kind": "round",
                    "location": round.location,
                    "began": round.round_began,
                    "objects": round.objects,
                    "bytes": round.bytes,
                    "defective": round.found,
                    "last_ended": round.last_ended,
                })
                .to_string(),
            );
        }
        for finding in &report.findings {
            console.line(
                &serde_json::json!({
                    "kind": "finding",
                    "location": finding.location,
                    "digest": finding.digest,
                    "defect": finding.defect,
                    "size": finding.size,
                    "found_size": finding.found_size,
                    "found_digest": finding.found_digest,
                    "only_copy": finding.kept,
                    "found_at": finding.found_at,
                    "repaired_at": finding.repaired_at,
                })
                .to_string(),
            );
        }
    } else {
        let when = |time: roadstead_runtime::Timestamp| time.format("%F %T UTC").to_string();
        let rows: Vec<_> = report
            .rounds
            .iter()
            .map(|round| {
                [
                    round.location.to_string(),
                    when(round.round_began),
                    amount(Amount {
                        blobs: round.objects,
                        bytes: round.bytes,
                    }),
                    round.found.to_string(),
                    round.last_ended.map_or_else(|| "-".to_owned(), when),
                ]
            })
            .collect();
        let headings = [
            "location",
            "round began",
            "read",
            "found",
            "last round ended",
        ];
        for line in table(headings, &rows) {
            console.line(&line);
        }
        for finding in &report.findings {
            let fate = match (finding.repaired_at, finding.kept) {
                (Some(at), _) => format!("repaired {}", when(at)),
                (None, true) => "THE ONLY COPY, left as it is".to_owned(),
                (None, false) => "being copied again".to_owned(),
            };
            console.line(&format!(
                "location `{}`: {} was {} on {}: {fate}",
                finding.location,
                finding.digest,
                finding.defect,
                when(finding.found_at)
            ));
        }
    }
    Ok(if open {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}
