//! `admin replication status`.

#[cfg(test)]
mod tests;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use indicatif::{HumanBytes, ProgressBar};
use roadstead_queue::{Worker, WorkerOptions};
use roadstead_replication::{
    LocationState, LocationStatus, Progress, StatusOptions, StatusReport, StoreStatus, WaitOptions,
};
use roadstead_runtime::Tasks;

use crate::console::Console;
use crate::open::Opened;
use crate::table::{age, amount, number, table};

/// After so long without an arrival it is said who makes the copies.
const STANDSTILL_SECONDS: i64 = 30;

/// How often the progress is written where nobody watches a bar.
pub(crate) const NOTE_SECONDS: i64 = 10;

/// How long copies that were begun here may take to give up after the wait.
pub(crate) const STOP: Duration = Duration::from_secs(10);

#[derive(Args, Clone, Debug, Default)]
pub(crate) struct Arguments {
    /// Queue what is missing and return when nothing is: exit status 0
    #[arg(long)]
    pub(crate) wait: bool,
    /// Wait no longer than this, such as 90s, 10m, 2h or 1d, and then say what is missing: exit status 1
    #[arg(long, value_name = "DURATION", requires = "wait", value_parser = duration)]
    pub(crate) timeout: Option<Duration>,
    /// Make the copies in this process too, as when neither registry nor replicator is running
    #[arg(long, requires = "wait")]
    pub(crate) run: bool,
    /// Believe the database: do not list what the stores really hold
    #[arg(long)]
    pub(crate) no_store_check: bool,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

pub(crate) async fn run(
    arguments: &Arguments,
    opened: &Opened,
    console: &mut Console,
) -> anyhow::Result<ExitCode> {
    let status = StatusOptions {
        store_check: !arguments.no_store_check,
    };
    let report = if arguments.wait && opened.queue.is_some() {
        wait(arguments, status, opened, console).await?
    } else {
        if arguments.wait {
            console.note("Storage replication is not enabled: nothing would ever be copied, so there is nothing to wait for");
        }
        opened.replication.status(status).await?
    };
    if arguments.json {
        console.line(&serde_json::to_string_pretty(&report)?);
    } else {
        print(&report, console);
    }
    Ok(if report.complete {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

pub(crate) async fn wait(
    arguments: &Arguments,
    status: StatusOptions,
    opened: &Opened,
    console: &mut Console,
) -> anyhow::Result<StatusReport> {
    let tasks = Tasks::new();
    if arguments.run {
        start_worker(opened, &tasks);
    }
    let options = WaitOptions {
        timeout: arguments.timeout,
        status,
    };
    let mut display = Display::new(console, arguments.run);
    let waited = opened
        .replication
        .wait(options, |progress| display.show(progress, console))
        .await;
    display.bar.finish_and_clear();
    if !tasks.stop(STOP).await {
        console.note(
            "a copy was still running when the time to stop was over; it is taken up again later",
        );
    }
    Ok(waited?)
}

pub(crate) fn start_worker(opened: &Opened, tasks: &Tasks) {
    let Some(queue) = &opened.queue else { return };
    let worker = Worker::new(
        opened.deployment.database.clone(),
        opened.deployment.environment.clone(),
        WorkerOptions {
            concurrency: opened.concurrency,
            ..WorkerOptions::new(queue.clone())
        },
        opened.deployment.wake_up.clone(),
    );
    let (handler, shutdown) = (Arc::new(opened.replication.clone()), tasks.shutdown());
    tasks.spawn(async move { worker.run(handler, shutdown).await });
}

/// Shows how a wait goes on.
struct Display {
    bar: ProgressBar,
    copies_here: bool,
    noted: Option<Progress>,
    standstill_noted: bool,
}

impl Display {
    fn new(console: &Console, copies_here: bool) -> Self {
        Self {
            bar: console.progress(0, "{wide_bar} {bytes}/{total_bytes} {msg} {elapsed}"),
            copies_here,
            noted: None,
            standstill_noted: false,
        }
    }

    fn show(&mut self, progress: &Progress, console: &mut Console) {
        self.bar.set_length(
            progress
                .arrived
                .bytes
                .saturating_add(progress.missing.bytes),
        );
        self.bar.set_position(progress.arrived.bytes);
        self.bar
            .set_message(format!("{} blobs to go", progress.missing.blobs));
        let due = self.noted.as_ref().is_none_or(|noted| {
            (progress.at - noted.at).num_seconds() >= NOTE_SECONDS
                && noted.missing != progress.missing
        });
        if due && !progress.missing.is_none() && !console.is_watched() {
            console.note(&format!(
                "{} missing, {} arrived",
                amount(progress.missing),
                amount(progress.arrived)
            ));
            self.noted = Some(progress.clone());
        }
        self.note_standstill(progress, console);
    }

    fn note_standstill(&mut self, progress: &Progress, console: &mut Console) {
        let seconds = (progress.at - progress.still_since).num_seconds();
        if seconds < STANDSTILL_SECONDS {
            self.standstill_noted = false;
            return;
        }
        if self.standstill_noted {
            return;
        }
        self.standstill_noted = true;
        let note = match &progress.last_failure {
            Some(failure) => format!(
                "nothing has arrived for {seconds} seconds; the last failure was: {failure}"
            ),
            None if self.copies_here => format!(
                "nothing has arrived for {seconds} seconds, but {} blobs are to go",
                progress.missing.blobs
            ),
            None => format!(
                "nothing has arrived for {seconds} seconds: is a registry or replicator running? With --run the copies are made here"
            ),
        };
        self.bar.suspend(|| console.note(&note));
    }
}

fn print(report: &StatusReport, console: &mut Console) {
    let rows: Vec<_> = report.locations.iter().map(row).collect();
    let headings = [
        "location",
        "state",
        "present",
        "missing",
        "unreadable",
        "queued",
        "failing",
        "oldest gap",
        "store",
    ];
    for line in table(headings, &rows) {
        console.line(&line);
    }
    for status in &report.locations {
        if let StoreStatus::Unreadable { reason } = &status.store {
            console.line(&format!("{} cannot be read: {reason}", status.location));
        }
        if !status.lost.is_none() {
            console.line(&format!(
                "{} should hold {} that its store does not hold",
                status.location,
                amount(status.lost)
            ));
        }
        if let Some(failure) = &status.last_failure {
            console.line(&format!("{}: last failure: {failure}", status.location));
        }
    }
    if report.blobs_nowhere > 0 {
        console.line(&format!(
            "{} blobs that images need have no placement at all; they can only be pushed again",
            report.blobs_nowhere
        ));
    }
    if !report.images.is_empty() {
        console.line("images concerned:");
        for image in &report.images {
            console.line(&format!("  {image}"));
        }
        if report.images_more {
            console.line("  and more");
        }
    }
    let missing: u64 = report
        .locations
        .iter()
        .map(|status| status.missing.bytes)
        .sum();
    console.line(&if report.complete {
        "complete".to_owned()
    } else {
        format!("not complete: {} to be copied", HumanBytes(missing))
    });
}

fn row(status: &LocationStatus) -> [String; 9] {
    let store = match &status.store {
        StoreStatus::Yes => "checked",
        StoreStatus::No if status.configured => "not checked",
        StoreStatus::No if status.state == LocationState::Removed => "-",
        StoreStatus::No => "not configured",
        StoreStatus::Unreadable { .. } => "unreadable",
    };
    [
        status.location.to_string(),
        status.state_word().to_owned(),
        amount(status.present),
        amount(status.missing),
        amount(status.unreadable),
        number(status.queued),
        number(status.failing),
        age(status.oldest_gap_seconds),
        store.to_owned(),
    ]
}

/// Reads a duration: digits and one of the units s, m (minutes), h, d, w.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || {
        format!("`{text}` is not a duration: write digits and a unit s, m, h, d or w, such as 10m")
    };
    let (digits, unit) = text
        .split_at_checked(text.len().saturating_sub(1))
        .ok_or_else(wrong)?;
    let seconds: u64 = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 60 * 60,
        "d" => 24 * 60 * 60,
        "w" => 7 * 24 * 60 * 60,
        _ => return Err(wrong()),
    };
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(wrong());
    }
    let digits: u64 = digits.parse().map_err(|_| wrong())?;
    digits
        .checked_mul(seconds)
        .map(Duration::from_secs)
        .ok_or_else(wrong)
}
