//! Manifests: pushed with their tags in one step, pulled as the bytes they were pushed as, deleted at once. Reading the format is
//! `roadstead_oci`'s business.

use std::collections::BTreeSet;
use std::sync::Arc;

use roadstead_metadata::{
    Actor, Delete, Deletion, LabelChange, LabelRecord, LabelsOf, ManifestLookup, MinLocations,
    NewLabel, PutManifest, PutManifestOutcome, QuotaLimitKind, Repository, StoredManifest,
};
use roadstead_oci::{Algorithm, Digest, Manifest, Reference, Tag};

use crate::error::{DeleteError, LabelError, ManifestPushError, PullError};
use crate::labels::{self, Found};
use crate::lately::Asked;
use crate::quota;
use crate::referrers::{self, ReferrersAfter, ReferrersPage};
use crate::refusal::Refusal;
use crate::registry::Inner;
use crate::spread;

/// What became of a manifest that was pushed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PushedManifest {
    /// Its digest, in the algorithm of the reference that it was pushed by; SHA-256 when that is a tag.
    pub digest: Digest,
    /// The manifest that it refers to as its subject, whether or not that exists (`OCI-Subject`).
    pub subject: Option<Digest>,
    /// The tags that point to it now through this push, without repetition (`OCI-Tag`).
    pub tags: Vec<Tag>,
    /// Whether the repository did not have it before.
    pub created: bool,
    /// How many copies of its blobs became wanted with it. If any, wake the replicator.
    pub copies: u64,
    /// What its namespace demands before the push is acknowledged. If anything, see [`Manifests::wait_until_spread`].
    pub min_locations: Option<MinLocations>,
}

/// Pushes, pulls and deletes manifests. See [`crate::Registry::manifests`].
#[derive(Clone, Copy, Debug)]
pub struct Manifests<'a> {
    inner: &'a Arc<Inner>,
    asked: Option<Asked>,
}

impl<'a> Manifests<'a> {
    pub(crate) const fn new(inner: &'a Arc<Inner>) -> Self {
        Self { inner, asked: None }
    }

    /// What is read through this was asked for when its repository was: it may be what it was then.
    #[must_use]
    pub const fn asked(self, asked: Asked) -> Self {
        Self {
            asked: Some(asked),
            ..self
        }
    }

    /// Stores a manifest under `reference` and under `tags` (`?tag=`), and queues the copies of its blobs that are missing: all in
    /// one step, or nothing. Every blob and manifest that it refers to must be known in this repository, at any location; its
    /// subject need not. Without a tag it is kept for
    /// [`DistributionOptions::unreferenced_hold`](crate::DistributionOptions::unreferenced_hold), and with a subject for as long as
    /// nobody deletes it.
    ///
    /// Pushing the same again changes nothing but what its tags point to. A dropped future has stored everything or nothing.
    ///
    /// Labels of a manifest that is new are read from its configuration, at most for a few seconds; if that is in vain they come later.
    ///
    /// # Errors
    /// [`ManifestPushError::Refused`], [`ManifestPushError::DigestMismatch`], [`ManifestPushError::TooManyTags`],
    /// [`ManifestPushError::BlobsUnknown`], [`ManifestPushError::ManifestsUnknown`], [`ManifestPushError::TagImmutable`],
    /// [`ManifestPushError::Metadata`].
    pub async fn put(
        &self,
        repository: &Repository,
        reference: &Reference,
        tags: &[Tag],
        manifest: &Manifest,
        actor: &Actor,
    ) -> Result<PushedManifest, ManifestPushError> {
        let inner = self.inner;
        inner.require_writable(repository)?;
        let digest = digest_as_named(manifest, reference)?;
        let tags = all_tags(reference, tags, inner.options.tags_per_push_max)?;
        let known = inner
            .database
            .knows_manifest(repository.id, &digest)
            .await?;
        let mut found = if known {
            Found::Nothing
        } else {
            Box::pin(labels::read(inner, repository.id, manifest)).await?
        };
        let now = inner.now();
        let mut attempt = 0;
        loop {
            let outcome = inner
                .database
                .put_manifest(&PutManifest {
                    repository,
                    digest: &digest,
                    manifest,
                    labels: found.as_pushed(),
                    tags: &tags,
                    untagged_until: inner.hold_until(now),
                    demand: inner
                        .options
                        .replication_queue
                        .is_some()
                        .then(|| inner.demand()),
                    queue: inner
                        .options
                        .replication_queue
                        .as_deref()
                        .unwrap_or_default(),
                    features: inner.options.features,
                    actor,
                    ids: &inner.environment.ids,
                    now,
                })
                .await?;
            attempt += 1;
            return match outcome {
                // It was collected, or its configuration came, between the look and the step.
                PutManifestOutcome::LabelsNeeded => {
                    found = if attempt == 1 {
                        Box::pin(labels::read(inner, repository.id, manifest)).await?
                    } else {
                        Found::Unreadable
                    };
                    continue;
                }
                PutManifestOutcome::Stored {
                    created,
                    copies,
                    min_locations,
                } => {
                    inner.lately.tags_changed(repository.id, &tags);
                    quota::note(inner, repository).await;
                    Ok(PushedManifest {
                        digest,
                        subject: manifest.subject().map(|subject| subject.digest.clone()),
                        tags,
                        created,
                        copies,
                        min_locations,
                    })
                }
                PutManifestOutcome::BlobsUnknown(blobs) => {
                    Err(ManifestPushError::BlobsUnknown(blobs))
                }
                PutManifestOutcome::ManifestsUnknown(manifests) => {
                    Err(ManifestPushError::ManifestsUnknown(manifests))
                }
                PutManifestOutcome::QuotaExceeded => {
                    quota::tell(inner, repository, QuotaLimitKind::Reject).await;
                    Err(Refusal::QuotaExceeded.into())
                }
                PutManifestOutcome::TagImmutable(tag) => {
                    Err(ManifestPushError::TagImmutable { tag })
                }
            };
        }
    }

    /// Waits until as many locations hold everything that a manifest which was just pushed refers to as its namespace demands, at most for as
    /// long as that says and [`DistributionOptions::push_wait_max`](crate::DistributionOptions::push_wait_max) allows. Wake the replicator
    /// first. A location that is down does not matter when enough others hold it.
    ///
    /// Nothing is held meanwhile, and a dropped future leaves nothing behind. The same push again waits again.
    ///
    /// # Errors
    /// [`ManifestPushError::TooFewLocations`], [`ManifestPushError::Metadata`]. The manifest stays what it is.
    pub async fn wait_until_spread(
        &self,
        repository: &Repository,
        pushed: &PushedManifest,
    ) -> Result<(), ManifestPushError> {
        match pushed.min_locations {
            Some(min) => spread::wait(self.inner, repository, &pushed.digest, min).await,
            None => Ok(()),
        }
    }

    /// Finds a manifest by tag or digest: its bytes as they were pushed, their media type and their digest. When it was asked
    /// for by digest, that is the digest it has. While the database is not available, what it said lately counts, within
    /// [`OutageOptions`](crate::OutageOptions).
    ///
    /// # Errors
    /// [`PullError::ManifestUnknown`], [`PullError::TagExpired`], [`PullError::Metadata`].
    pub async fn get(
        &self,
        repository: &Repository,
        reference: &Reference,
    ) -> Result<StoredManifest, PullError> {
        let inner = self.inner;
        let now = inner.now();
        let asked = self.asked.unwrap_or_else(|| inner.asking());
        if let Some(known) = inner.lately.known_manifest(repository.id, reference, asked) {
            return Ok(known);
        }
        let said = inner
            .database
            .find_manifest(repository.id, reference, now)
            .await;
        let found = inner
            .lately
            .manifest(repository.id, reference, asked, said)?;
        match (found, reference) {
            (ManifestLookup::Found(manifest), _) => Ok(manifest),
            (ManifestLookup::TagExpired, Reference::Tag(tag)) => {
                Err(PullError::TagExpired { tag: tag.clone() })
            }
            (ManifestLookup::TagExpired | ManifestLookup::Unknown, _) => {
                Err(PullError::ManifestUnknown {
                    reference: reference.clone(),
                })
            }
        }
    }

    /// Deletes a tag, or a manifest with all its tags. It is gone at once.
    ///
    /// # Errors
    /// [`DeleteError::Refused`], [`DeleteError::ManifestUnknown`], [`DeleteError::TagImmutable`], [`DeleteError::Metadata`].
    pub async fn delete(
        &self,
        repository: &Repository,
        reference: &Reference,
        actor: &Actor,
    ) -> Result<(), DeleteError> {
        let inner = self.inner;
        inner.require_writable(repository)?;
        let delete = Delete {
            repository,
            features: inner.options.features,
            actor,
            now: inner.now(),
        };
        let deletion = match reference {
            Reference::Tag(tag) => inner.database.delete_tag(&delete, tag).await?,
            Reference::Digest(digest) => inner.database.delete_manifest(&delete, digest).await?,
        };
        match reference {
            Reference::Tag(tag) => inner
                .lately
                .tags_changed(repository.id, std::slice::from_ref(tag)),
            Reference::Digest(digest) => inner.lately.manifest_deleted(repository.id, digest),
        }
        match deletion {
            Deletion::Deleted => Ok(()),
            Deletion::Unknown => Err(DeleteError::ManifestUnknown {
                reference: reference.clone(),
            }),
            Deletion::Immutable(tag) => Err(DeleteError::TagImmutable { tag }),
        }
    }

    /// Adds a label to a manifest that [`Manifests::get`] found. It does nothing to tags.
    ///
    /// # Errors
    /// [`LabelError::Refused`], [`LabelError::Unknown`] when the manifest is gone, [`LabelError::TooMany`], [`LabelError::Metadata`].
    pub async fn add_label(
        &self,
        repository: &Repository,
        manifest: &StoredManifest,
        new: &NewLabel<'_>,
        actor: &Actor,
    ) -> Result<LabelRecord, LabelError> {
        let inner = self.inner;
        inner.require_own(repository)?;
        let of = LabelsOf {
            repository,
            manifest,
            actor,
            now: inner.now(),
        };
        let ids = &*inner.environment.ids;
        changed_label(inner.database.add_label(&of, new, ids).await?, new.key)
    }

    /// Takes a label away that somebody added.
    ///
    /// # Errors
    /// [`LabelError::Refused`], [`LabelError::Unknown`], [`LabelError::OfManifest`], [`LabelError::Metadata`].
    pub async fn delete_label(
        &self,
        repository: &Repository,
        manifest: &StoredManifest,
        id: &str,
        actor: &Actor,
    ) -> Result<(), LabelError> {
        let inner = self.inner;
        inner.require_own(repository)?;
        let of = LabelsOf {
            repository,
            manifest,
            actor,
            now: inner.now(),
        };
        changed_label(inner.database.delete_label(&of, id).await?, id).map(drop)
    }

    /// Lists the manifests whose subject is `subject`, which need not exist, from behind `after`. Only those of `artifact_type`, if
    /// one is given. Bounded by [`DistributionOptions::page_entries_max`](crate::DistributionOptions::page_entries_max) and by
    /// [`DistributionOptions::referrers_page_bytes_max`](crate::DistributionOptions::referrers_page_bytes_max).
    ///
    /// # Errors
    /// [`PullError::Metadata`].
    pub async fn referrers(
        &self,
        repository: &Repository,
        subject: &Digest,
        artifact_type: Option<&str>,
        after: Option<ReferrersAfter>,
        entries: Option<u64>,
    ) -> Result<ReferrersPage, PullError> {
        referrers::list(
            self.inner,
            repository,
            subject,
            artifact_type,
            after,
            entries,
        )
        .await
    }
}

fn changed_label(change: LabelChange, id: &str) -> Result<LabelRecord, LabelError> {
    let id = id.to_owned();
    match change {
        LabelChange::Changed(label) => Ok(label),
        LabelChange::Unknown => Err(LabelError::Unknown { id }),
        LabelChange::OfManifest => Err(LabelError::OfManifest { id }),
        LabelChange::TooMany => Err(LabelError::TooMany),
    }
}

/// The manifest's digest by the algorithm that it was pushed by, which has to be the one it was pushed by.
fn digest_as_named(
    manifest: &Manifest,
    reference: &Reference,
) -> Result<Digest, ManifestPushError> {
    match reference {
        Reference::Tag(_) => Ok(manifest.digest(Algorithm::Sha256)),
        Reference::Digest(expected) => {
            let actual = manifest.digest(expected.algorithm());
            if actual == *expected {
                Ok(actual)
            } else {
                Err(ManifestPushError::DigestMismatch {
                    expected: expected.clone(),
                    actual,
                })
            }
        }
    }
}

/// The tag that the manifest was pushed by and those that came besides, each once, in this order.
fn all_tags(
    reference: &Reference,
    besides: &[Tag],
    limit: usize,
) -> Result<Vec<Tag>, ManifestPushError> {
    if besides.len() > limit {
        return Err(ManifestPushError::TooManyTags {
            tags: besides.len(),
            limit,
        });
    }
    let by_tag = match reference {
        Reference::Tag(tag) => Some(tag),
        Reference::Digest(_) => None,
    };
    let mut seen = BTreeSet::new();
    Ok(by_tag
        .into_iter()
        .chain(besides)
        .filter(|tag| seen.insert(*tag))
        .cloned()
        .collect())
}
