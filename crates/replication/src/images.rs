//! Naming the images that need certain blobs: each once, and only some of them.

use roadstead_metadata::{AffectedImage, MetadataError, StorageId};
use roadstead_oci::Digest;
use serde::Serialize;

use crate::Replication;

/// How many images are named.
pub(crate) const IMAGES_MAX: usize = 20;

/// How many pairs of an image and a blob are read to find them: images of a hundred layers each still make twenty.
const PAIRS_MAX: u32 = 2_000;

/// An image and what it needs of the blobs in question.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ConcernedImage {
    /// `namespace/name:tag`, or with `@` and the digest where no visible tag points to the manifest.
    pub image: String,
    /// One of the blobs.
    pub blob: Digest,
    /// How many others of them it needs.
    pub other_blobs: u64,
}

/// Some images, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConcernedImages {
    /// At most twenty.
    pub some: Vec<ConcernedImage>,
    /// Whether there may be more.
    pub more: bool,
}

impl std::fmt::Display for ConcernedImage {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{} needs {}", self.image, self.blob)?;
        match self.other_blobs {
            0 => Ok(()),
            others => write!(formatter, " and {others} more"),
        }
    }
}

impl Replication {
    /// Names some images that need these blobs. `sampled`: the blobs are only some of those in question.
    pub(crate) async fn concerned_images(
        &self,
        storages: &[StorageId],
        sampled: bool,
    ) -> Result<ConcernedImages, MetadataError> {
        if storages.is_empty() {
            return Ok(ConcernedImages::default());
        }
        let now = self.environment.now();
        let pairs = self.database.images_of(storages, now, PAIRS_MAX).await?;
        let cut = pairs.len() >= PAIRS_MAX as usize;
        let mut some = group(&pairs);
        let more = sampled || cut || some.len() > IMAGES_MAX;
        some.truncate(IMAGES_MAX);
        Ok(ConcernedImages { some, more })
    }
}

/// One entry for each image of pairs that are sorted by image.
fn group(pairs: &[AffectedImage]) -> Vec<ConcernedImage> {
    pairs
        .chunk_by(|one, other| {
            one.repository == other.repository && one.reference == other.reference
        })
        .filter_map(|of_image| {
            let first = of_image.first()?;
            Some(ConcernedImage {
                image: first.to_string(),
                blob: first.blob.clone(),
                other_blobs: of_image.len() as u64 - 1,
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use roadstead_oci::Algorithm;

    use super::*;

    #[test]
    fn an_image_is_named_once_however_many_of_its_blobs_are_concerned() {
        let pair = |reference: &str, blob: &[u8]| AffectedImage {
            repository: "acme/app".to_owned(),
            reference: reference.to_owned(),
            blob: Digest::of(Algorithm::Sha256, blob),
        };
        let digest = Digest::of(Algorithm::Sha256, b"manifest").to_string();
        let images = group(&[
            pair("v1", b"a"),
            pair("v1", b"b"),
            pair("v1", b"c"),
            pair(&digest, b"a"),
        ]);
        let text: Vec<String> = images.iter().map(ToString::to_string).collect();
        let a = Digest::of(Algorithm::Sha256, b"a");
        assert_eq!(
            text,
            [
                format!("acme/app:v1 needs {a} and 2 more"),
                format!("acme/app@{digest} needs {a}"),
            ]
        );
    }
}
