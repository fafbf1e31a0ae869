//! Manifests that are put at the same moment into a SQLite file share a transaction: it has one writer at a time, and a commit waits for the disk
//! whatever it commits.
//!
//! Each is put as it would be by itself, behind those that came before it, and undone by itself when it cannot be.

use std::collections::BTreeSet;
use std::sync::Arc;

use roadstead_oci::{Digest, Manifest, Tag};
use roadstead_placement::LocationName;
use roadstead_runtime::{Ids, Timestamp};

use super::put::{PutManifest, PutManifestOutcome, put};
use crate::audit::Actor;
use crate::database::{Transaction, params};
use crate::demand::Demand;
use crate::error::MetadataError;
use crate::features::Features;
use crate::labels::{Labels, PushedLabels};
use crate::meetings::{Answers, Change, Undo};
use crate::repositories::Repository;

const OPERATION: &str = "store a manifest";

/// A [`PutManifest`] that owns what it says.
#[derive(Debug)]
pub(crate) struct Putting {
    repository: Repository,
    digest: Digest,
    manifest: Manifest,
    labels: FoundLabels,
    tags: Vec<Tag>,
    untagged_until: Timestamp,
    demand: Option<(BTreeSet<LocationName>, BTreeSet<LocationName>)>,
    queue: String,
    features: Features,
    actor: Actor,
    ids: Arc<dyn Ids>,
    now: Timestamp,
}

#[derive(Debug)]
enum FoundLabels {
    NotRead,
    Read(Labels),
    Unreadable,
}

impl From<&PutManifest<'_>> for Putting {
    fn from(put: &PutManifest<'_>) -> Self {
        Self {
            repository: put.repository.clone(),
            digest: put.digest.clone(),
            manifest: put.manifest.clone(),
            labels: match put.labels {
                PushedLabels::NotRead => FoundLabels::NotRead,
                PushedLabels::Read(labels) => FoundLabels::Read(labels.clone()),
                PushedLabels::Unreadable => FoundLabels::Unreadable,
            },
            tags: put.tags.to_vec(),
            untagged_until: put.untagged_until,
            demand: put
                .demand
                .map(|demand| (demand.defaults.clone(), demand.configured.clone())),
            queue: put.queue.to_owned(),
            features: put.features,
            actor: put.actor.clone(),
            ids: Arc::clone(put.ids),
            now: put.now,
        }
    }
}

impl Putting {
    fn borrowed(&self) -> PutManifest<'_> {
        PutManifest {
            repository: &self.repository,
            digest: &self.digest,
            manifest: &self.manifest,
            labels: match &self.labels {
                FoundLabels::NotRead => PushedLabels::NotRead,
                FoundLabels::Read(labels) => PushedLabels::Read(labels),
                FoundLabels::Unreadable => PushedLabels::Unreadable,
            },
            tags: &self.tags,
            untagged_until: self.untagged_until,
            demand: self.demand.as_ref().map(|(defaults, configured)| Demand {
                defaults,
                configured,
            }),
            queue: &self.queue,
            features: self.features,
            actor: &self.actor,
            ids: &self.ids,
            now: self.now,
        }
    }
}

impl Change for Putting {
    type Answer = PutManifestOutcome;

    const OPERATION: &'static str = OPERATION;

    async fn make(
        transaction: &Transaction,
        puttings: &[Self],
        undo: Undo,
    ) -> Answers<PutManifestOutcome> {
        put_all(transaction, puttings, undo).await
    }
}

/// Puts manifests one behind the other, in the order of `puttings`.
async fn put_all(
    transaction: &Transaction,
    puttings: &[Putting],
    undo: Undo,
) -> Answers<PutManifestOutcome> {
    let mut answers = Vec::with_capacity(puttings.len());
    for putting in puttings {
        let one = putting.borrowed();
        answers.push(match undo {
            Undo::All => Ok(put_or_leave(transaction, &one).await?),
            Undo::One => put_or_undo(transaction, &one).await?,
        });
    }
    Ok(answers)
}

/// Puts one. An error when something was changed in vain.
async fn put_or_leave(
    transaction: &Transaction,
    one: &PutManifest<'_>,
) -> Result<PutManifestOutcome, MetadataError> {
    match put(transaction, one).await? {
        PutManifestOutcome::QuotaExceeded => Err(MetadataError::Conflict {
            what: "with the manifest the namespace would exceed its quota".to_owned(),
        }),
        // All others are found out before anything is changed.
        outcome => Ok(outcome),
    }
}

/// Puts one. What it has changed is undone unless it is stored. The outer error is everybody's.
async fn put_or_undo(
    transaction: &Transaction,
    one: &PutManifest<'_>,
) -> Result<Result<PutManifestOutcome, MetadataError>, MetadataError> {
    let step = async |sql| transaction.execute(OPERATION, sql, params![]).await;
    step("SAVEPOINT one").await?;
    let answer = put(transaction, one).await;
    if !matches!(answer, Ok(PutManifestOutcome::Stored { .. })) {
        step("ROLLBACK TO one").await?;
    }
    step("RELEASE one").await?;
    Ok(answer)
}
