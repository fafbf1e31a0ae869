//! Beginning an upload: the choice of the location that takes its bytes, proven by staging there.

use std::collections::BTreeSet;

use roadstead_metadata::{MetadataError, NewUpload, Repository, WriteLimits};
use roadstead_oci::{Algorithm, Digester};
use roadstead_placement::LocationName;
use roadstead_storage::{Location, Staged, StagedWriter, StorageError};
use uuid::Uuid;

use super::UploadStatus;
use super::session::discard;
use crate::error::PushError;
use crate::quota::{Uploads, require_room};
use crate::registry::Inner;

/// Begins a session.
pub(super) async fn start(
    inner: &Inner,
    repository: &Repository,
    algorithm: Option<Algorithm>,
) -> Result<UploadStatus, PushError> {
    inner.require_writable(repository)?;
    require_room(inner, repository, Uploads::LeftOut).await?;
    let id = inner.environment.ids.uuid();
    let hash_state = Digester::new(algorithm.unwrap_or(Algorithm::Sha256)).save();
    let mut writable = Writable::new(inner, repository).await?;
    loop {
        let (location, writer) = writable.stage(id).await?;
        drop(writer);
        let begun = inner
            .database
            .create_upload(&NewUpload {
                uuid: id,
                repository: repository.id,
                location: location.name(),
                hash_state: &hash_state,
                now: inner.now(),
            })
            .await;
        match begun {
            Ok(upload) => return Ok(UploadStatus::from(&upload)),
            // The location was closed at this very moment.
            Err(MetadataError::Conflict { .. }) => {
                discard(&location, id).await;
                writable.exclude(location.name());
            }
            Err(error) => {
                discard(&location, id).await;
                return Err(error.into());
            }
        }
    }
}

/// The locations that may take new bytes. Each is tried once.
pub(super) struct Writable<'a> {
    inner: &'a Inner,
    excluded: BTreeSet<LocationName>,
    /// What a rule confines the repository to.
    allowed: Option<BTreeSet<LocationName>>,
    last_failure: Option<StorageError>,
}

/// The locations that the bytes of an upload into a repository must not go to, and those that it is confined to.
async fn limits(
    inner: &Inner,
    repository: &Repository,
) -> Result<(BTreeSet<LocationName>, Option<BTreeSet<LocationName>>), PushError> {
    let WriteLimits { closed, allowed } = inner.database.write_limits(repository).await?;
    let unfit = inner.topology.locations().iter().filter(|name| {
        inner.locations.get(name).is_none()
            || allowed
                .as_ref()
                .is_some_and(|allowed| !allowed.contains(*name))
    });
    let excluded = unfit.cloned().chain(closed).collect();
    Ok((excluded, allowed))
}

/// The locations that the bytes of an upload into a repository must not go to, where there are others than the one that it is at.
pub(super) async fn barred(
    inner: &Inner,
    repository: &Repository,
) -> Result<BTreeSet<LocationName>, PushError> {
    if inner.topology.locations().len() < 2 {
        return Ok(BTreeSet::new());
    }
    let (excluded, _) = limits(inner, repository).await?;
    Ok(excluded)
}

impl<'a> Writable<'a> {
    /// Those for a new upload into a repository.
    pub(super) async fn new(inner: &'a Inner, repository: &Repository) -> Result<Self, PushError> {
        let (excluded, allowed) = limits(inner, repository).await?;
        Ok(Self {
            inner,
            excluded,
            allowed,
            last_failure: None,
        })
    }

    /// Those that are left for an upload without these, among which are those that it must not go to.
    pub(super) async fn without(
        inner: &'a Inner,
        these: &BTreeSet<LocationName>,
    ) -> Result<Self, PushError> {
        let mut excluded = inner.database.closed_locations().await?;
        excluded.extend(these.iter().cloned());
        let unreachable = inner.topology.locations().iter();
        excluded.extend(
            unreachable
                .filter(|name| inner.locations.get(name).is_none())
                .cloned(),
        );
        Ok(Self {
            inner,
            excluded,
            allowed: None,
            last_failure: None,
        })
    }

    /// Those that are not used: the upload must not go there, or could not.
    pub(super) fn into_excluded(self) -> BTreeSet<LocationName> {
        self.excluded
    }

    /// Opens an empty upload at the best location where that succeeds.
    pub(super) async fn stage(&mut self, id: Uuid) -> Result<(Location, StagedWriter), PushError> {
        loop {
            let location = self.next()?;
            match location.stage(id, &Staged::NOTHING).await {
                Ok(writer) => return Ok((location, writer)),
                Err(error) => self.failed(error),
            }
        }
    }

    /// Notes that an upload could not be begun at a location.
    pub(super) fn failed(&mut self, error: StorageError) {
        tracing::warn!(
            location.id = %error.location(),
            error = &error as &dyn std::error::Error,
            "Could not begin an upload at location {}; trying the next",
            error.location()
        );
        self.exclude(&error.location().clone());
        self.last_failure = Some(error);
    }

    /// The best location left. Those in trouble come after all others, and not never.
    fn next(&mut self) -> Result<Location, PushError> {
        let Self {
            inner, excluded, ..
        } = self;
        let chosen = inner.locations.choose_write(&inner.topology, excluded);
        let location = chosen.ok().and_then(|name| inner.locations.get(&name));
        location.cloned().ok_or_else(|| self.none_left())
    }

    fn none_left(&mut self) -> PushError {
        let source = self.last_failure.take();
        match &self.allowed {
            Some(allowed) => PushError::NoAllowedLocation {
                allowed: allowed.iter().cloned().collect(),
                source: source.map(Box::new),
            },
            None => PushError::NoLocation { source },
        }
    }

    pub(super) fn exclude(&mut self, location: &LocationName) {
        self.excluded.insert(location.clone());
    }
}
