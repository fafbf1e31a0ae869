//! `admin location drain` and `undrain`.

#[cfg(test)]
mod tests;

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use roadstead_replication::{Amount, DrainProgress, LocationState};
use roadstead_runtime::Tasks;

use crate::commands::replication_status::{self, NOTE_SECONDS, STOP};
use crate::console::Console;
use crate::open::Opened;
use crate::table::amount;

#[derive(Args, Clone, Debug, Default)]
pub(crate) struct Arguments {
    /// The name of the location
    pub(crate) location: String,
    /// Return when no blob is at this location only: exit status 0
    #[arg(long)]
    pub(crate) wait: bool,
    /// Wait no longer than this, such as 90s, 10m, 2h or 1d: exit status 1 if something is left then
    #[arg(long, value_name = "DURATION", requires = "wait", value_parser = replication_status::duration)]
    pub(crate) timeout: Option<Duration>,
    /// Make the copies in this process too, as when neither registry nor replicator is running
    #[arg(long, requires = "wait")]
    pub(crate) run: bool,
}

pub(crate) async fn run(
    arguments: &Arguments,
    opened: &Opened,
    console: &mut Console,
) -> anyhow::Result<ExitCode> {
    if opened.queue.is_none() {
        console.line("Storage replication is not enabled: nothing would ever be copied.");
        return Ok(ExitCode::FAILURE);
    }
    let (location, progress) = opened
        .replication
        .drain_location(&arguments.location)
        .await?;
    console.line(&format!(
        "{location} takes no new bytes; it is still read from."
    ));
    let left = if arguments.wait && !progress.only_here.is_none() {
        let tasks = Tasks::new();
        if arguments.run {
            replication_status::start_worker(opened, &tasks);
        }
        let mut display = Display::default();
        let waited = opened
            .replication
            .wait_until_drained(&location, arguments.timeout, |progress| {
                display.show(progress, console);
            })
            .await;
        if !tasks.stop(STOP).await {
            console.note("a copy was still running when the time to stop was over; it is taken up again later");
        }
        waited?
    } else {
        progress
    };
    if left.only_here.is_none() {
        console.line(&format!(
            "Nothing is at {location} only: `admin removelocation {location}` removes it, `admin location undrain {location}` takes it back."
        ));
        return Ok(ExitCode::SUCCESS);
    }
    console.line(&format!(
        "{} are at {location} only. Their copies are queued, before all others; a running registry or replicator makes them.",
        amount(left.only_here)
    ));
    if let Some(failure) = &left.last_failure {
        console.line(&format!("{} of them failed: {failure}", left.failing));
    }
    Ok(if arguments.wait {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

pub(crate) async fn undrain(
    name: &str,
    opened: &Opened,
    console: &mut Console,
) -> anyhow::Result<ExitCode> {
    let (location, before) = opened.replication.undrain_location(name).await?;
    console.line(&match before {
        LocationState::Active => format!("{location} takes part: nothing was to be taken back."),
        LocationState::Draining | LocationState::Removing | LocationState::Removed => {
            format!("{location} takes part again; what it lacks is copied there.")
        }
    });
    Ok(ExitCode::SUCCESS)
}

/// Says from time to time how much is left.
#[derive(Default)]
struct Display {
    noted: Option<DrainProgress>,
}

impl Display {
    fn show(&mut self, progress: &DrainProgress, console: &mut Console) {
        let due = self.noted.as_ref().is_none_or(|noted| {
            (progress.at - noted.at).num_seconds() >= NOTE_SECONDS && left(noted) != left(progress)
        });
        if due && !progress.only_here.is_none() {
            let failing = match progress.failing {
                0 => String::new(),
                failing => format!("; {failing} failed the last time"),
            };
            console.note(&format!("{} to go{failing}", amount(progress.only_here)));
            self.noted = Some(progress.clone());
        }
    }
}

fn left(progress: &DrainProgress) -> (Amount, u64) {
    (progress.only_here, progress.failing)
}
