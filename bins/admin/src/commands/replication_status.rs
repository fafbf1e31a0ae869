//! `admin replication status`.

mod image;
#[cfg(test)]
mod tests;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use indicatif::{HumanBytes, HumanDuration, ProgressBar};
use roadstead_queue::{Worker, WorkerOptions};
use roadstead_replication::{
    ImageName, ImageStatus, LocationName, LocationState, LocationStatus, Progress, StatusOptions,
    StatusReport, StoreStatus, WaitOptions,
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
    /// Only this image, such as namespace/name:tag or namespace/name@digest, with everything that a list has below it
    #[arg(long, value_name = "REFERENCE")]
    pub(crate) image: Option<ImageName>,
    /// Only this location; an image has to be there then, also where it would not have to be otherwise
    #[arg(long, value_name = "NAME")]
    pub(crate) location: Option<String>,
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
    let location = match &arguments.location {
        Some(name) => Some(opened.replication.find_location(name).await?),
        None => None,
    };
    let wait = arguments.wait && opened.queue.is_some();
    if arguments.wait && !wait {
        console.note("Storage replication is not enabled: nothing would ever be copied, so there is nothing to wait for");
    }
    let options = WaitOptions {
        timeout: arguments.timeout,
        status: StatusOptions {
            store_check: !arguments.no_store_check,
        },
        location,
    };
    let complete = if let Some(image) = &arguments.image {
        let status = image_status(image, &options, wait, arguments, opened, console).await?;
        if arguments.json {
            console.line(&serde_json::to_string_pretty(&status)?);
        } else {
            image::print(&status, console);
        }
        status.complete
    } else {
        let report = status(&options, wait, arguments, opened, console).await?;
        if arguments.json {
            console.line(&serde_json::to_string_pretty(&report)?);
        } else {
            print(&report, console);
        }
        report.complete
    };
    Ok(if complete {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Finds out how complete the replication is, or waits until it is.
pub(crate) async fn status(
    options: &WaitOptions,
    wait: bool,
    arguments: &Arguments,
    opened: &Opened,
    console: &mut Console,
) -> anyhow::Result<StatusReport> {
    let replication = &opened.replication;
    if wait {
        let workers = Workers::start(arguments, opened);
        let mut display = Display::new(console, arguments.run);
        let show = |progress: &Progress| display.show(progress, console);
        let waited = replication.wait(options.clone(), show).await;
        display.bar.finish_and_clear();
        workers.stop(console).await;
        return Ok(waited?);
    }
    Ok(match &options.location {
        Some(location) => {
            replication
                .location_status(location, options.status)
                .await?
        }
        None => replication.status(options.status).await?,
    })
}

async fn image_status(
    image: &ImageName,
    options: &WaitOptions,
    wait: bool,
    arguments: &Arguments,
    opened: &Opened,
    console: &mut Console,
) -> anyhow::Result<ImageStatus> {
    let replication = &opened.replication;
    if wait {
        let workers = Workers::start(arguments, opened);
        let mut display = Display::new(console, arguments.run);
        let show = |progress: &Progress| display.show(progress, console);
        let waited = replication.wait_for_image(image, options, show).await;
        display.bar.finish_and_clear();
        workers.stop(console).await;
        return Ok(waited?);
    }
    let location = options.location.as_ref();
    Ok(replication
        .image_status(image, location, options.status)
        .await?)
}

/// The worker of this process, if there is one, for as long as it waits.
struct Workers(Tasks);

impl Workers {
    fn start(arguments: &Arguments, opened: &Opened) -> Self {
        let tasks = Tasks::new();
        if arguments.run {
            start_worker(opened, &tasks);
        }
        Self(tasks)
    }

    async fn stop(self, console: &mut Console) {
        if !self.0.stop(STOP).await {
            console.note(
                "a copy was still running when the time to stop was over; it is taken up again later",
            );
        }
    }
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
        self.bar.set_message(format!(
            "{} blobs to go{}",
            progress.missing.blobs,
            time_left(progress)
        ));
        let due = self.noted.as_ref().is_none_or(|noted| {
            (progress.at - noted.at).num_seconds() >= NOTE_SECONDS
                && noted.missing != progress.missing
        });
        if due && !progress.missing.is_none() && !console.is_watched() {
            console.note(&format!(
                "{} missing, {} arrived{}",
                amount(progress.missing),
                amount(progress.arrived),
                time_left(progress)
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

fn time_left(progress: &Progress) -> String {
    progress.time_left.map_or_else(String::new, |left| {
        format!(", about {}", HumanDuration(left))
    })
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
        if let Some(rate) = status.bytes_per_second {
            console.line(&match status.eta_seconds {
                Some(_) => format!(
                    "{}: {}/s, done in about {}",
                    status.location,
                    HumanBytes(rate),
                    age(status.eta_seconds)
                ),
                None => format!("{}: {}/s", status.location, HumanBytes(rate)),
            });
        }
        if status.paused && !status.missing.is_none() {
            console.line(&paused(&status.location));
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

/// What is said of a location that nothing is copied to.
fn paused(location: &LocationName) -> String {
    format!("{location}: copying is paused; `admin replication resume` lets it go on")
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
