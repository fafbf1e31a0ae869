//! Where one image is complete, and why it is not elsewhere.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use futures_util::{StreamExt as _, stream};
use roadstead_metadata::{
    ImageBlob, ManifestLookup, MetadataError, PlacedBlob, RepositoryPath, StorageId,
};
use roadstead_oci::{Digest, NameError, Reference, ReferenceError, RepositoryName};
use roadstead_placement::LocationName;
use roadstead_runtime::Timestamp;
use roadstead_storage::Location;
use serde::{Serialize, Serializer};

use super::StatusOptions;
use crate::reason::reason;
use crate::store_check::look_again;
use crate::{Amount, Replication};

/// How many objects of one location are looked up at a time.
const LOOKS_AT_ONCE: usize = 16;

/// An image by name: `namespace/name:tag` or `namespace/name@digest`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageName {
    path: RepositoryPath,
    reference: Reference,
}

/// Why a text does not name an image.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ImageNameError {
    /// There is neither a tag nor a digest.
    #[error("say which image of the repository: namespace/name:tag or namespace/name@digest")]
    NoReference,
    /// The repository has no namespace.
    #[error("name the namespace of the repository too: namespace/name:tag")]
    NoNamespace,
    /// The repository's name breaks the grammar.
    #[error(transparent)]
    Name(#[from] NameError),
    /// The tag or digest breaks the grammar.
    #[error(transparent)]
    Reference(#[from] ReferenceError),
}

/// Why nothing can be said of an image.
#[derive(Debug, thiserror::Error)]
pub enum ImageStatusError {
    /// There is no such image.
    #[error("there is no image `{image}`; push it first, or look for its tag")]
    Unknown {
        /// Its name.
        image: String,
    },
    /// The database failed.
    #[error(transparent)]
    Metadata(#[from] MetadataError),
}

/// Where one image is.
#[derive(Clone, Debug, Serialize)]
pub struct ImageStatus {
    /// `namespace/name:tag`, or with `@` and the digest, as it was asked for.
    pub image: String,
    /// The digest of its manifest.
    pub digest: Digest,
    /// Whether every blob is wherever it has to be: at every location that is required, or at the one that was asked for. Where none is
    /// required, whether every blob is anywhere.
    pub complete: bool,
    /// When this was found out.
    pub at: Timestamp,
    /// The blobs that it needs, those of all manifests below it among them, each once.
    pub needs: Amount,
    /// Every location that is configured, or that holds some of it, by name.
    pub locations: Vec<ImageAt>,
    /// What a store check found lost.
    #[serde(skip)]
    pub(crate) lost: BTreeMap<LocationName, Vec<StorageId>>,
    /// Blobs that are missing somewhere and have no job there.
    #[serde(skip)]
    pub(crate) unqueued: BTreeSet<StorageId>,
}

/// How an image is at one location.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ImageAt {
    /// The location.
    pub location: LocationName,
    /// Whether the image has to be there.
    pub required: bool,
    /// How far it is.
    pub state: ImageState,
    /// What of it is there.
    pub present: Amount,
    /// What of it is not.
    pub missing: Amount,
    /// Missing blobs whose last attempt failed.
    pub failing: u64,
    /// Why it is not complete, where that is known.
    pub reason: Option<String>,
    /// Whether copying to it is paused.
    pub paused: bool,
}

/// How far an image is at a location.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImageState {
    /// Every blob is there.
    Complete,
    /// Some are not yet.
    Copying,
    /// The last attempt to bring one failed, or what should be there is not.
    Failed,
    /// It does not have to be there.
    NotRequired,
}

impl ImageState {
    /// One word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::Copying => "copying",
            Self::Failed => "failed",
            Self::NotRequired => "not_required",
        }
    }
}

impl Serialize for ImageState {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// What looking into a location's store brought.
#[derive(Clone, Debug, Default)]
struct Looked {
    lost: BTreeSet<StorageId>,
    /// Why it could not be read.
    unreadable: Option<String>,
}

impl FromStr for ImageName {
    type Err = ImageNameError;

    fn from_str(text: &str) -> Result<Self, ImageNameError> {
        let (name, reference) = if let Some((name, digest)) = text.split_once('@') {
            let digest = digest.parse().map_err(ReferenceError::from)?;
            (name, Reference::Digest(digest))
        } else {
            let (name, tag) = text
                .rsplit_once(':')
                .filter(|(_, tag)| !tag.contains('/'))
                .ok_or(ImageNameError::NoReference)?;
            (
                name,
                Reference::Tag(tag.parse().map_err(ReferenceError::from)?),
            )
        };
        let name: RepositoryName = name.parse()?;
        let namespace = name.namespace().ok_or(ImageNameError::NoNamespace)?;
        Ok(Self {
            path: RepositoryPath {
                namespace: namespace.to_owned(),
                name: name.rest().to_owned(),
            },
            reference,
        })
    }
}

impl fmt::Display for ImageName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let separator = match self.reference {
            Reference::Tag(_) => ':',
            Reference::Digest(_) => '@',
        };
        write!(formatter, "{}{separator}{}", self.path, self.reference)
    }
}

impl Replication {
    /// Says where an image is complete, and what is missing elsewhere. With `location`, only that one counts, required or not.
    ///
    /// The number of queries is constant. A store check looks every blob up where it should be and reads none; what a store does not hold
    /// counts as missing.
    pub async fn image_status(
        &self,
        image: &ImageName,
        location: Option<&LocationName>,
        options: StatusOptions,
    ) -> Result<ImageStatus, ImageStatusError> {
        let at = self.environment.now();
        let unknown = || ImageStatusError::Unknown {
            image: image.to_string(),
        };
        let repository = self
            .database
            .find_repository(&image.path)
            .await?
            .ok_or_else(unknown)?;
        let found = self
            .database
            .find_manifest(repository.id, &image.reference, at)
            .await?;
        let ManifestLookup::Found(manifest) = found else {
            return Err(unknown());
        };
        let blobs = self.database.image_blobs(manifest.id).await?;
        let required = self
            .database
            .required_locations_of_image(manifest.id, self.demand())
            .await?;
        let control = self.database.copy_control().await?;

        let holding = blobs.iter().flat_map(|blob| &blob.present);
        let mut names: BTreeSet<&LocationName> = self.locations.names().chain(holding).collect();
        if let Some(location) = location {
            names = BTreeSet::from([location]);
        }
        let mut status = ImageStatus {
            image: image.to_string(),
            digest: manifest.digest,
            complete: false,
            at,
            needs: blobs.iter().map(|blob| Amount::one(blob.size)).sum(),
            locations: Vec::new(),
            lost: BTreeMap::new(),
            unqueued: BTreeSet::new(),
        };
        for name in names {
            let looked = match self.locations.get(name) {
                Some(location) if options.store_check => look(location, &blobs).await,
                _ => Looked::default(),
            };
            let required = required.contains(name);
            let mut here = judge(name, required, &blobs, &looked);
            here.paused = control.is_paused(None, name);
            if required {
                let unqueued = blobs
                    .iter()
                    .filter(|blob| !blob.present.contains(name) && !blob.wanted.contains_key(name));
                status.unqueued.extend(unqueued.map(|blob| blob.storage));
            }
            if !looked.lost.is_empty() {
                let lost = looked.lost.into_iter().collect();
                status.lost.insert(name.clone(), lost);
            }
            status.locations.push(here);
        }
        status.complete = is_complete(&status.locations, location.is_some(), &blobs);
        Ok(status)
    }
}

/// Whether an image is complete that is like this at its locations. `asked`: there is one of them, which was asked for.
fn is_complete(locations: &[ImageAt], asked: bool, blobs: &[ImageBlob]) -> bool {
    let mut counted = locations
        .iter()
        .filter(|here| asked || here.required)
        .peekable();
    if counted.peek().is_none() {
        return blobs.iter().all(|blob| !blob.present.is_empty());
    }
    counted.all(|here| here.state == ImageState::Complete)
}

/// How an image of these blobs is at a location.
fn judge(location: &LocationName, required: bool, blobs: &[ImageBlob], looked: &Looked) -> ImageAt {
    let (present, missing): (Vec<&ImageBlob>, Vec<&ImageBlob>) = blobs
        .iter()
        .partition(|blob| blob.present.contains(location) && !looked.lost.contains(&blob.storage));
    let amount = |blobs: &[&ImageBlob]| blobs.iter().map(|blob| Amount::one(blob.size)).sum();
    let failures = || {
        missing
            .iter()
            .filter_map(|blob| blob.wanted.get(location))
            .filter(|attempt| attempt.failure.is_some())
    };
    let reason = if let Some(problem) = &looked.unreadable {
        Some(format!("the store cannot be read: {problem}"))
    } else if let Some(lost) = missing
        .iter()
        .find(|blob| looked.lost.contains(&blob.storage))
    {
        Some(format!(
            "the store does not hold {} although it should",
            lost.digest
        ))
    } else if let Some(nowhere) = missing.iter().find(|blob| blob.present.is_empty()) {
        Some(format!(
            "no location holds {}; push it again",
            nowhere.digest
        ))
    } else {
        failures()
            .max_by_key(|attempt| attempt.last_attempt)
            .and_then(|attempt| attempt.failure.clone())
    };
    let state = if missing.is_empty() && looked.unreadable.is_none() {
        ImageState::Complete
    } else if !required {
        ImageState::NotRequired
    } else if reason.is_some() {
        ImageState::Failed
    } else {
        ImageState::Copying
    };
    ImageAt {
        location: location.clone(),
        required,
        state,
        present: amount(&present),
        missing: amount(&missing),
        failing: failures().count() as u64,
        reason: reason.filter(|_| state == ImageState::Failed),
        paused: false,
    }
}

/// Looks the blobs up that should be at a location.
async fn look(location: &Location, blobs: &[ImageBlob]) -> Looked {
    let promised: Vec<PlacedBlob> = blobs
        .iter()
        .filter(|blob| blob.present.contains(location.name()))
        .map(|blob| PlacedBlob {
            storage: blob.storage,
            digest: blob.digest.clone(),
            size: blob.size,
        })
        .collect();
    let mut looks = stream::iter(promised)
        .map(|blob| async move { (blob.storage, look_again(location, &blob).await) })
        .buffer_unordered(LOOKS_AT_ONCE);
    let mut looked = Looked::default();
    while let Some((storage, found)) = looks.next().await {
        match found {
            Ok(None) => {}
            Ok(Some(_)) => {
                looked.lost.insert(storage);
            }
            // Nothing is known about what it holds.
            Err(error) => {
                return Looked {
                    lost: BTreeSet::new(),
                    unreadable: Some(reason(&error)),
                };
            }
        }
    }
    looked
}

impl ImageStatus {
    /// What is missing where it has to be.
    pub fn missing(&self) -> Amount {
        self.locations
            .iter()
            .filter(|here| here.state != ImageState::NotRequired)
            .map(|here| here.missing)
            .sum()
    }

    /// Whether a copy that somebody makes would bring it nearer to being complete.
    pub(crate) fn may_become_complete(&self) -> bool {
        self.locations.iter().any(|here| here.required)
    }
}
