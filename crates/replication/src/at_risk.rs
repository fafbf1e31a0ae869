//! What would be lost if a location were lost now, by what the database knows: its store need not answer.

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::str::FromStr;

use roadstead_metadata::{AtRiskImage, AtRiskOf, AtRiskPosition};
use roadstead_placement::LocationName;
use roadstead_runtime::Timestamp;
use serde::Serialize;

use crate::control::ControlError;
use crate::{Amount, Replication};

/// The most images in one answer: 2 MB of memory. The database goes through what all locations hold for each, so that many small answers cost
/// more than few large ones.
pub const AT_RISK_PAGE_MAX: u32 = 10_000;

/// How much would be lost with a location.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Exposure {
    /// The location.
    pub location: LocationName,
    /// When this was found out.
    pub at: Timestamp,
    /// Images that would be lost: they need a blob that no other location holds.
    pub images: u64,
    /// Those blobs.
    pub lost: Amount,
    /// Blobs that only this location holds and no image needs: of pushes under way, or garbage.
    pub other_blobs: u64,
}

/// An image that would be lost.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ExposedImage {
    /// `namespace/name:tag`, or with `@` and the digest where no visible tag is above it.
    pub image: String,
    /// What it needs and no other location holds.
    #[serde(flatten)]
    pub lost: Amount,
}

/// Some of the images that would be lost.
#[derive(Clone, Debug, Serialize)]
pub struct ExposedImages {
    /// The images.
    pub images: Vec<ExposedImage>,
    /// Where the others begin; none after the last.
    #[serde(rename = "next_page")]
    pub next: Option<ExposedPosition>,
}

/// A place in the list of images. The default is the beginning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ExposedPosition(AtRiskPosition);

impl Replication {
    /// Counts what would be lost with a location. A copy counts as another one when the configuration names where it is.
    pub async fn exposure(&self, location: &str) -> Result<Exposure, ControlError> {
        let location = self.find_location(location).await?;
        let counted = self.counted();
        let at = self.environment.now();
        let of = AtRiskOf {
            location: &location,
            counted: &counted,
            now: at,
        };
        let totals = self.database.at_risk_totals(&of).await?;
        Ok(Exposure {
            at,
            images: totals.images,
            lost: Amount {
                blobs: totals.blobs,
                bytes: totals.bytes,
            },
            other_blobs: totals.other_blobs,
            location,
        })
    }

    /// The images behind `after` that would be lost with a location, at most `limit` and no more than [`AT_RISK_PAGE_MAX`]. All pages
    /// together have each of them once, but for those that are pushed, copied or deleted meanwhile.
    pub async fn exposed_images(
        &self,
        location: &LocationName,
        after: ExposedPosition,
        limit: u32,
    ) -> Result<ExposedImages, ControlError> {
        let counted = self.counted();
        let of = AtRiskOf {
            location,
            counted: &counted,
            now: self.environment.now(),
        };
        let limit = limit.clamp(1, AT_RISK_PAGE_MAX);
        let page = self.database.at_risk_images(&of, after.0, limit).await?;
        Ok(ExposedImages {
            images: page.images.into_iter().map(ExposedImage::from).collect(),
            next: page.next.map(ExposedPosition),
        })
    }

    fn counted(&self) -> BTreeSet<LocationName> {
        self.locations.names().cloned().collect()
    }
}

impl From<AtRiskImage> for ExposedImage {
    fn from(image: AtRiskImage) -> Self {
        Self {
            image: image.image,
            lost: Amount {
                blobs: image.blobs,
                bytes: image.bytes,
            },
        }
    }
}

impl std::fmt::Display for ExposedPosition {
    /// As [`ExposedPosition::from_str`] reads it.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}-{}", self.0.manifest, self.0.tag)
    }
}

/// The text is no position that this program wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this is no position in a list of images")]
pub struct NoPosition;

/// Reads a position that was written by this program.
impl FromStr for ExposedPosition {
    type Err = NoPosition;

    fn from_str(text: &str) -> Result<Self, NoPosition> {
        let (manifest, tag) = text.split_once('-').ok_or(NoPosition)?;
        let number = |digits: &str| {
            let all = digits.bytes().all(|byte| byte.is_ascii_digit());
            all.then(|| digits.parse::<i32>().ok())
                .flatten()
                .ok_or(NoPosition)
        };
        Ok(Self(AtRiskPosition {
            manifest: number(manifest)?,
            tag: number(tag)?,
        }))
    }
}

impl Serialize for ExposedPosition {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
