//! `admin gc status` and `admin gc run`.

#[cfg(test)]
mod tests;

use std::process::ExitCode;

use clap::Args;
use indicatif::HumanBytes;
use roadstead_distribution::{GarbageReport, WaitingAt};
use roadstead_metadata::{GarbageForecast, GarbageNames, GarbageRun, Removed};
use roadstead_runtime::Timestamp;
use serde_json::{Value, json};

use crate::console::Console;
use crate::open::Opened;
use crate::table::{age, number, table};

/// How many of each kind a dry run names.
const NAMES_MAX: u32 = 100;

#[derive(Args, Clone, Debug, Default)]
pub(crate) struct StatusArguments {
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args, Clone, Debug, Default)]
pub(crate) struct RunArguments {
    /// Say what would be removed, and remove nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

pub(crate) async fn status(
    arguments: &StatusArguments,
    opened: &Opened,
    console: &mut Console,
) -> anyhow::Result<ExitCode> {
    note_what_is_off(opened, console);
    let report = opened.garbage.report().await?;
    let now = opened.deployment.environment.now();
    if arguments.json {
        console.line(&serde_json::to_string_pretty(&report_json(&report))?);
    } else {
        print_forecast(&report.forecast, "to be removed now", console);
        print_waiting(&report.waiting, now, console);
        print_last(&report, now, console);
    }
    Ok(exit(&report.waiting))
}

pub(crate) async fn run(
    arguments: &RunArguments,
    opened: &Opened,
    console: &mut Console,
) -> anyhow::Result<ExitCode> {
    note_what_is_off(opened, console);
    if arguments.dry_run {
        return dry_run(arguments, opened, console).await;
    }
    if opened.garbage.options().is_off() {
        return Ok(ExitCode::FAILURE);
    }
    let mut so_far = Removed::default();
    let done = opened
        .garbage
        .run_to_end(|round| {
            if !round.removed.is_nothing() {
                so_far += round.removed;
                console.note(&format!("so far: {}", removed(&so_far)));
            }
        })
        .await?;
    let report = opened.garbage.report().await?;
    if arguments.json {
        let answer = json!({
            "removed": removed_json(&done.removed),
            "failures": done.failures,
            "waiting": report.waiting.iter().map(waiting_json).collect::<Vec<_>>(),
        });
        console.line(&serde_json::to_string_pretty(&answer)?);
    } else {
        console.line(&format!("removed {}", removed(&done.removed)));
        let now = opened.deployment.environment.now();
        print_waiting(&report.waiting, now, console);
    }
    Ok(exit(&report.waiting))
}

async fn dry_run(
    arguments: &RunArguments,
    opened: &Opened,
    console: &mut Console,
) -> anyhow::Result<ExitCode> {
    let forecast = opened.garbage.report().await?.forecast;
    let names = opened.garbage.names(NAMES_MAX).await?;
    if arguments.json {
        let answer = json!({
            "forecast": forecast_json(&forecast),
            "tags": names.tags,
            "manifests": names.manifests,
            "blobs": names.blobs,
            "repositories": names.repositories,
            "namespaces": names.namespaces,
        });
        console.line(&serde_json::to_string_pretty(&answer)?);
    } else {
        print_forecast(&forecast, "would be removed", console);
        print_names(&forecast, &names, console);
    }
    Ok(ExitCode::SUCCESS)
}

/// Nothing waits that could not be deleted: success.
fn exit(waiting: &[WaitingAt]) -> ExitCode {
    if waiting.iter().all(|at| at.doomed.failing == 0) {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn note_what_is_off(opened: &Opened, console: &mut Console) {
    let options = opened.garbage.options();
    let off: Vec<&str> = [
        (options.content, "FEATURE_GARBAGE_COLLECTION"),
        (
            options.repositories,
            "FEATURE_REPOSITORY_GARBAGE_COLLECTION",
        ),
        (options.namespaces, "FEATURE_NAMESPACE_GARBAGE_COLLECTION"),
    ]
    .into_iter()
    .filter_map(|(on, key)| (!on).then_some(key))
    .collect();
    if !off.is_empty() {
        console.note(&format!(
            "switched off by the configuration ({} false, or REGISTRY_STATE readonly): what it stands for is not collected",
            off.join(", ")
        ));
    }
}

fn print_forecast(forecast: &GarbageForecast, what: &str, console: &mut Console) {
    let GarbageForecast {
        tags,
        manifests,
        blobs,
        bytes,
        repositories,
        namespaces,
        left_alone,
    } = forecast;
    console.line(&format!(
        "{what}: {}, {}, {}",
        counted(*tags, "tag"),
        counted(*manifests, "manifest"),
        sized(*blobs, "blob", *bytes)
    ));
    if repositories + namespaces > 0 {
        console.line(&format!(
            "deleted and still there: {}, {}",
            plural(*repositories, "repository", "repositories"),
            counted(*namespaces, "namespace")
        ));
    }
    if *left_alone > 0 {
        console.line(&format!(
            "never touched: {} without a digest or of Quay's first image format",
            counted(*left_alone, "blob")
        ));
    }
}

fn print_names(forecast: &GarbageForecast, names: &GarbageNames, console: &mut Console) {
    for (heading, names, all) in [
        ("tags", &names.tags, forecast.tags),
        ("manifests", &names.manifests, forecast.manifests),
        ("blobs", &names.blobs, forecast.blobs),
        ("repositories", &names.repositories, forecast.repositories),
        ("namespaces", &names.namespaces, forecast.namespaces),
    ] {
        if names.is_empty() {
            continue;
        }
        console.line(&format!("{heading}:"));
        for name in names {
            console.line(&format!("  {name}"));
        }
        let more = all.saturating_sub(names.len() as u64);
        if more > 0 {
            console.line(&format!("  and {more} more"));
        }
    }
}

fn print_waiting(waiting: &[WaitingAt], now: Timestamp, console: &mut Console) {
    if waiting.is_empty() {
        return;
    }
    let rows: Vec<[String; 4]> = waiting
        .iter()
        .map(|at| {
            let seconds = at
                .doomed
                .oldest
                .and_then(|oldest| u64::try_from((now - oldest).num_seconds()).ok());
            [
                at.doomed.location.to_string(),
                sized(at.doomed.objects, "object", at.doomed.bytes),
                number(at.doomed.failing),
                age(seconds),
            ]
        })
        .collect();
    for line in table(["location", "to be deleted", "failing", "oldest"], &rows) {
        console.line(&line);
    }
    for at in waiting {
        let location = &at.doomed.location;
        if !at.configured {
            console.line(&format!(
                "{location} is not configured here; its objects stay until a process that can reach it deletes them"
            ));
        }
        if let Some(failure) = &at.doomed.last_failure {
            console.line(&format!("{location}: last failure: {failure}"));
        }
    }
}

fn print_last(report: &GarbageReport, now: Timestamp, console: &mut Console) {
    let ago = |at: Timestamp| age(u64::try_from((now - at).num_seconds()).ok());
    match &report.last_run {
        Some(run) => console.line(&format!(
            "last removed, {} ago: {}",
            ago(run.finished_at),
            removed(&run.removed)
        )),
        None => console.line("nothing was removed so far"),
    }
    match report.looked_at {
        Some(at) => console.line(&format!("last looked for garbage {} ago", ago(at))),
        None => console.line("nobody has looked for garbage so far"),
    }
}

fn removed(removed: &Removed) -> String {
    let Removed {
        tags,
        manifests,
        blobs,
        bytes,
        objects,
        repositories,
        namespaces,
    } = removed;
    let mut parts = vec![
        counted(*tags, "tag"),
        counted(*manifests, "manifest"),
        sized(*blobs, "blob", *bytes),
        counted(*objects, "object"),
    ];
    if *repositories > 0 {
        parts.push(plural(*repositories, "repository", "repositories"));
    }
    if *namespaces > 0 {
        parts.push(counted(*namespaces, "namespace"));
    }
    parts.join(", ")
}

fn counted(count: u64, noun: &str) -> String {
    plural(count, noun, &format!("{noun}s"))
}

fn plural(count: u64, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

fn sized(count: u64, noun: &str, bytes: u64) -> String {
    if count == 0 {
        counted(count, noun)
    } else {
        format!("{} ({})", counted(count, noun), HumanBytes(bytes))
    }
}

fn report_json(report: &GarbageReport) -> Value {
    json!({
        "forecast": forecast_json(&report.forecast),
        "waiting": report.waiting.iter().map(waiting_json).collect::<Vec<_>>(),
        "last_run": report.last_run.as_ref().map(run_json),
        "looked_at": report.looked_at.map(|at| at.to_rfc3339()),
    })
}

fn forecast_json(forecast: &GarbageForecast) -> Value {
    json!({
        "tags": forecast.tags,
        "manifests": forecast.manifests,
        "blobs": forecast.blobs,
        "bytes": forecast.bytes,
        "repositories": forecast.repositories,
        "namespaces": forecast.namespaces,
        "left_alone": forecast.left_alone,
    })
}

fn waiting_json(at: &WaitingAt) -> Value {
    json!({
        "location": at.doomed.location.as_str(),
        "configured": at.configured,
        "objects": at.doomed.objects,
        "bytes": at.doomed.bytes,
        "failing": at.doomed.failing,
        "oldest": at.doomed.oldest.map(|at| at.to_rfc3339()),
        "last_failure": at.doomed.last_failure,
    })
}

fn run_json(run: &GarbageRun) -> Value {
    json!({
        "started_at": run.started_at.to_rfc3339(),
        "finished_at": run.finished_at.to_rfc3339(),
        "removed": removed_json(&run.removed),
    })
}

fn removed_json(removed: &Removed) -> Value {
    json!({
        "tags": removed.tags,
        "manifests": removed.manifests,
        "blobs": removed.blobs,
        "bytes": removed.bytes,
        "objects": removed.objects,
        "repositories": removed.repositories,
        "namespaces": removed.namespaces,
    })
}
