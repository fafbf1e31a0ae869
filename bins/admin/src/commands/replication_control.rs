//! `admin replication pause`, `resume` and `limit`.

#[cfg(test)]
mod tests;

use std::num::NonZeroU64;
use std::process::ExitCode;

use clap::Args;
use indicatif::HumanBytes;
use roadstead_replication::{ControlDocument, CopyLimit, DailyWindow, Link, LocationName};

use crate::console::Console;
use crate::open::Opened;
use crate::table::table;

#[derive(Args, Clone, Debug, Default)]
pub(crate) struct PauseArguments {
    /// Only copies from and to this location
    #[arg(long, value_name = "NAME")]
    pub(crate) location: Option<String>,
}

#[derive(Args, Clone, Debug, Default)]
pub(crate) struct LimitArguments {
    /// Bytes a second, such as 50MiB or 10MB, or `none` for no limit; without it the limits are listed
    #[arg(value_parser = rate)]
    pub(crate) rate: Option<Rate>,
    /// Only copies from and to this location
    #[arg(long, value_name = "NAME", requires = "rate", conflicts_with_all = ["from", "to"], value_parser = LocationName::new)]
    pub(crate) location: Option<LocationName>,
    /// Only copies from this location, to that of --to
    #[arg(long, value_name = "NAME", requires_all = ["rate", "to"], value_parser = LocationName::new)]
    pub(crate) from: Option<LocationName>,
    /// Only copies to this location, from that of --from
    #[arg(long, value_name = "NAME", requires_all = ["rate", "from"], value_parser = LocationName::new)]
    pub(crate) to: Option<LocationName>,
    /// Only in this part of the day in UTC, such as 22:00-06:00; a link may have a limit for each of several parts
    #[arg(long, value_name = "HH:MM-HH:MM", requires = "rate")]
    pub(crate) between: Option<DailyWindow>,
    /// Print JSON
    #[arg(long, conflicts_with = "rate")]
    pub(crate) json: bool,
}

/// How fast, as it is written on a command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rate {
    /// As fast as it goes.
    Unlimited,
    BytesPerSecond(NonZeroU64),
}

pub(crate) async fn pause(
    arguments: &PauseArguments,
    opened: &Opened,
    console: &mut Console,
) -> anyhow::Result<ExitCode> {
    let location = arguments.location.as_deref();
    opened.replication.pause(location).await?;
    console.line(&format!("paused: {}", extent(location)));
    console.note("copies that are missing stay wanted; `admin replication resume` has them made");
    Ok(ExitCode::SUCCESS)
}

pub(crate) async fn resume(
    arguments: &PauseArguments,
    opened: &Opened,
    console: &mut Console,
) -> anyhow::Result<ExitCode> {
    let location = arguments.location.as_deref();
    let resumed = opened.replication.resume(location).await?;
    console.line(&format!(
        "{}: {}",
        if resumed { "resumed" } else { "was not paused" },
        extent(location)
    ));
    let left = opened.replication.control().await?.paused;
    if left.everything {
        console.note("everything is paused still; `admin replication resume` ends that");
    }
    for location in left.locations {
        console.note(&format!(
            "{location} is paused still; `admin replication resume --location {location}` ends that"
        ));
    }
    Ok(ExitCode::SUCCESS)
}

pub(crate) async fn limit(
    arguments: &LimitArguments,
    opened: &Opened,
    console: &mut Console,
) -> anyhow::Result<ExitCode> {
    let replication = &opened.replication;
    match arguments.rate {
        None => list(arguments.json, opened, console).await?,
        Some(Rate::Unlimited) => {
            let removed = replication
                .unlimit(&arguments.link(), arguments.between)
                .await?;
            console.line(&match removed {
                0 => format!("was not limited: {}", arguments.link()),
                _ => format!("not limited any more: {}", arguments.link()),
            });
        }
        Some(Rate::BytesPerSecond(bytes_per_second)) => {
            let limit = CopyLimit {
                link: arguments.link(),
                bytes_per_second,
                window: arguments.between,
            };
            replication.limit(&limit).await?;
            console.line(&format!(
                "limited to {}: {}{}",
                shown(bytes_per_second),
                limit.link,
                limit
                    .window
                    .map_or_else(String::new, |window| format!(", {window} UTC"))
            ));
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn list(json: bool, opened: &Opened, console: &mut Console) -> anyhow::Result<()> {
    let control = opened.replication.control().await?;
    if json {
        let document = ControlDocument::from(&control);
        console.line(&serde_json::to_string_pretty(&document)?);
        return Ok(());
    }
    if control.limits.is_empty() {
        console.line("no limits");
        return Ok(());
    }
    let rows: Vec<_> = control
        .limits
        .iter()
        .map(|limit| {
            [
                limit.link.to_string(),
                shown(limit.bytes_per_second),
                limit
                    .window
                    .map_or_else(|| "always".to_owned(), |window| window.to_string()),
            ]
        })
        .collect();
    for line in table(["copies", "limit", "when (UTC)"], &rows) {
        console.line(&line);
    }
    Ok(())
}

impl LimitArguments {
    fn link(&self) -> Link {
        match (&self.location, &self.from, &self.to) {
            (Some(location), ..) => Link::Location(location.clone()),
            (None, Some(source), Some(target)) => Link::Pair {
                source: source.clone(),
                target: target.clone(),
            },
            // The command line has both of them or neither.
            (None, ..) => Link::All,
        }
    }
}

/// What a pause is about, in words.
fn extent(location: Option<&str>) -> String {
    location.map_or_else(
        || "every copy".to_owned(),
        |location| format!("copies from and to {location}"),
    )
}

fn shown(bytes_per_second: NonZeroU64) -> String {
    format!("{}/s", HumanBytes(bytes_per_second.get()))
}

/// Reads a rate: digits and one of the units B, kB, MB, GB, TB (powers of 1000), KiB, MiB, GiB, TiB (of 1024), or `none`.
fn rate(text: &str) -> Result<Rate, String> {
    if text == "none" {
        return Ok(Rate::Unlimited);
    }
    let wrong = || {
        format!(
            "`{text}` is not a rate: write digits and a unit kB, MB, GB, KiB, MiB or GiB, such as 50MiB for 50 MiB a second, or `none`"
        )
    };
    let digits_end = text
        .find(|letter: char| !letter.is_ascii_digit())
        .ok_or_else(wrong)?;
    let (digits, unit) = text.split_at(digits_end);
    let unit: u64 = match unit.strip_suffix("/s").unwrap_or(unit) {
        "B" => 1,
        "kB" | "KB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "TB" => 1_000_000_000_000,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "TiB" => 1 << 40,
        _ => return Err(wrong()),
    };
    let digits: u64 = digits.parse().map_err(|_| wrong())?;
    let bytes = digits.checked_mul(unit).ok_or_else(wrong)?;
    NonZeroU64::new(bytes)
        .map(Rate::BytesPerSecond)
        .ok_or_else(|| {
            "a rate of nothing is a pause: use `admin replication pause`, and `none` for no limit"
                .to_owned()
        })
}
