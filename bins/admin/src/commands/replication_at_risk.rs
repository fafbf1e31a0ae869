//! `admin replication at-risk`.

#[cfg(test)]
mod tests;

use std::process::ExitCode;

use clap::Args;
use roadstead_replication::{
    AT_RISK_PAGE_MAX, ExposedImage, ExposedPosition, Exposure, LocationName,
};

use crate::console::Console;
use crate::open::Opened;
use crate::table::amount;

#[derive(Args, Clone, Debug)]
pub(crate) struct Arguments {
    /// The location that might be lost
    pub(crate) location: String,
    /// Print JSON: a line with the totals, then a line for each image
    #[arg(long)]
    pub(crate) json: bool,
}

pub(crate) async fn run(
    arguments: &Arguments,
    opened: &Opened,
    console: &mut Console,
) -> anyhow::Result<ExitCode> {
    let exposure = opened.replication.exposure(&arguments.location).await?;
    if arguments.json {
        console.line(&serde_json::to_string(&exposure)?);
    } else {
        print(&exposure, console);
    }
    let named = name_images(arguments.json, &exposure.location, opened, console).await?;
    Ok(if exposure.images == 0 && named == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn print(exposure: &Exposure, console: &mut Console) {
    let Exposure {
        location,
        images,
        lost,
        other_blobs,
        ..
    } = exposure;
    console.line(&match images {
        0 => format!("no image would be lost with {location}"),
        1 => format!("1 image would be lost with {location}: {}", amount(*lost)),
        images => format!(
            "{images} images would be lost with {location}: {}",
            amount(*lost)
        ),
    });
    if *other_blobs > 0 {
        console.line(&format!(
            "{other_blobs} more blobs that no image needs are there only"
        ));
    }
}

/// Names every image, a page at a time, and says how many there were.
async fn name_images(
    json: bool,
    location: &LocationName,
    opened: &Opened,
    console: &mut Console,
) -> anyhow::Result<u64> {
    let mut named = 0;
    let mut after = Some(ExposedPosition::default());
    while let Some(position) = after {
        let page = opened
            .replication
            .exposed_images(location, position, AT_RISK_PAGE_MAX)
            .await?;
        for image in &page.images {
            if json {
                console.line(&serde_json::to_string(image)?);
            } else {
                console.line(&line(image));
            }
            named += 1;
        }
        after = page.next;
    }
    Ok(named)
}

fn line(image: &ExposedImage) -> String {
    format!("  {} needs {}", image.image, amount(image.lost))
}
