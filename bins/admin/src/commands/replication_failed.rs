//! `admin replication failed` and `retry`.

#[cfg(test)]
mod tests;

use std::process::ExitCode;

use clap::Args;
use roadstead_oci::Digest;
use roadstead_replication::{FAILED_PAGE_MAX, FailedCopies, FailedCopyDocument, FailedQuery};

use crate::console::Console;
use crate::open::Opened;
use crate::table::age;

#[derive(Args, Clone, Debug)]
pub(crate) struct FailedArguments {
    /// Only copies to this location
    #[arg(long, value_name = "NAME")]
    pub(crate) location: Option<String>,
    /// How many are listed at most, from those that were wanted first
    #[arg(long, value_name = "NUMBER", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=i64::from(FAILED_PAGE_MAX)))]
    pub(crate) limit: u32,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args, Clone, Debug, Default)]
pub(crate) struct RetryArguments {
    /// Only copies to this location
    #[arg(long, value_name = "NAME")]
    pub(crate) location: Option<String>,
    /// Only copies of this blob
    #[arg(long)]
    pub(crate) digest: Option<Digest>,
}

pub(crate) async fn failed(
    arguments: &FailedArguments,
    opened: &Opened,
    console: &mut Console,
) -> anyhow::Result<ExitCode> {
    let query = FailedQuery {
        location: arguments.location.as_deref(),
        after: 0,
        limit: arguments.limit,
    };
    let found = opened.replication.failed(query).await?;
    if arguments.json {
        console.line(&serde_json::to_string_pretty(&found)?);
    } else {
        print(&found, console);
    }
    Ok(if found.copies.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

pub(crate) async fn retry(
    arguments: &RetryArguments,
    opened: &Opened,
    console: &mut Console,
) -> anyhow::Result<ExitCode> {
    let location = arguments.location.as_deref();
    let digest = arguments.digest.as_ref();
    let hastened = opened.replication.retry(location, digest).await?;
    console.line(&match hastened {
        0 => "no failed copy was put off".to_owned(),
        1 => "1 failed copy is tried again now".to_owned(),
        many => format!("{many} failed copies are tried again now"),
    });
    if hastened > 0 && opened.queue.is_none() {
        console.note("Storage replication is not enabled here: nobody tries them");
    }
    Ok(ExitCode::SUCCESS)
}

fn print(found: &FailedCopies, console: &mut Console) {
    if found.copies.is_empty() {
        console.line("no failed copies");
    }
    for copy in &found.copies {
        console.line(&line(copy, found));
        console.line(&match copy.class {
            Some(class) => format!("  {class}: {}", copy.reason),
            None => format!("  {}", copy.reason),
        });
    }
    if found.next.is_some() {
        console.line("and more");
    }
}

fn line(copy: &FailedCopyDocument, found: &FailedCopies) -> String {
    let ago = |time: roadstead_runtime::Timestamp| {
        age(u64::try_from((found.at - time).num_seconds()).ok())
    };
    let attempts = match copy.attempts {
        1 => "1 attempt".to_owned(),
        attempts => format!("{attempts} attempts"),
    };
    let mut parts = vec![
        format!("{} to {}: {attempts}", copy.digest, copy.location),
        format!("wanted for {}", ago(copy.wanted_since)),
    ];
    parts.extend(
        copy.last_attempt
            .map(|last| format!("tried {} ago", ago(last))),
    );
    match copy.next_attempt {
        Some(next) if next > found.at => {
            let seconds = u64::try_from((next - found.at).num_seconds()).ok();
            parts.push(format!("again in {}", age(seconds)));
        }
        Some(_) => parts.push("due".to_owned()),
        None if copy.running => parts.push("running".to_owned()),
        None => {}
    }
    parts.extend(copy.image.iter().map(|image| format!("needed by {image}")));
    parts.join(", ")
}
