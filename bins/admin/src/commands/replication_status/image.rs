//! Where an image is, for people.

use indicatif::HumanBytes;
use roadstead_replication::{ImageAt, ImageState, ImageStatus};

use super::paused;
use crate::console::Console;
use crate::table::table;

pub(crate) fn print(status: &ImageStatus, console: &mut Console) {
    let rows: Vec<_> = status
        .locations
        .iter()
        .map(|here| [here.location.to_string(), state(here, status)])
        .collect();
    for line in table(["location", &status.image], &rows) {
        console.line(&line);
    }
    for here in &status.locations {
        if here.paused && matches!(here.state, ImageState::Copying | ImageState::Failed) {
            console.line(&paused(&here.location));
        }
    }
    console.line(if status.complete {
        "complete"
    } else {
        "not complete"
    });
}

fn state(here: &ImageAt, status: &ImageStatus) -> String {
    match (here.state, &here.reason) {
        (ImageState::Complete, _) => "complete".to_owned(),
        (ImageState::NotRequired, _) => "not required".to_owned(),
        (ImageState::Failed, Some(reason)) => format!("failed: {reason}"),
        (ImageState::Failed | ImageState::Copying, _) => format!(
            "copying {}/{} ({} of {})",
            here.present.blobs,
            status.needs.blobs,
            HumanBytes(here.present.bytes),
            HumanBytes(status.needs.bytes)
        ),
    }
}
