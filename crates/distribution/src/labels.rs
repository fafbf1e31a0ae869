//! What an image's configuration and a manifest's annotations say of it: read from a location before the manifest is stored, so that no
//! transaction waits for a store.
//!
//! A push does not fail of a configuration that cannot be read: the image is as good without its labels, and a client that saw every blob accepted
//! would not know what to do. The labels are owed then, and paid when a location that has the configuration answers again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use chrono::TimeDelta;
use futures_util::StreamExt as _;
use roadstead_metadata::{Labels, MetadataError, OwedLabels, PushedLabels, RepositoryId};
use roadstead_oci::{Descriptor, Manifest, ManifestKind, ManifestLimits, MediaType, image_labels};
use roadstead_runtime::Shutdown;

use crate::blobs;
use crate::body::within;
use crate::registry::Inner;

/// The largest configuration whose labels are read, in bytes. Those of the largest images in use, with thousands of steps of history, have some
/// hundred kilobytes.
const CONFIG_BYTES_MAX: u64 = 1 << 20;

/// How long a push waits for the configuration; a store that answers at all delivers a few kilobytes in less.
const READ_TIMEOUT: Duration = Duration::from_secs(5);

/// How often owed labels are looked for, and how long one that was in vain is put off at first; at most for [`PUT_OFF_MAX`].
const PAY_INTERVAL: Duration = Duration::from_mins(1);

/// The longest time between two attempts to read a configuration.
const PUT_OFF_MAX: Duration = Duration::from_hours(1);

/// Manifests whose labels are looked for in one step. Each may have as many bytes as a manifest may.
const OWED_PER_STEP: u32 = 16;

/// What was found of a manifest's labels.
#[derive(Clone, Debug)]
pub(crate) enum Found {
    /// Nobody looked, or its configuration is not in the repository.
    Nothing,
    Labels(Labels),
    Unreadable,
}

impl Found {
    pub(crate) const fn as_pushed(&self) -> PushedLabels<'_> {
        match self {
            Self::Nothing => PushedLabels::NotRead,
            Self::Labels(labels) => PushedLabels::Read(labels),
            Self::Unreadable => PushedLabels::Unreadable,
        }
    }
}

/// Reads the labels of a manifest.
pub(crate) async fn read(
    inner: &Arc<Inner>,
    repository: RepositoryId,
    manifest: &Manifest,
) -> Result<Found, MetadataError> {
    let mut labels = BTreeMap::new();
    if let Some(config) = labelled_config(manifest) {
        match read_config(inner, repository, config).await? {
            Config::Read(bytes) => labels = image_labels(&bytes),
            Config::TooLarge => tracing::info!(
                blob.digest = %config.digest,
                "The configuration {} has more than {CONFIG_BYTES_MAX} bytes: its labels are not read",
                config.digest
            ),
            Config::Unknown => return Ok(Found::Nothing),
            Config::Unreadable => return Ok(Found::Unreadable),
        }
    }
    if has_annotations(manifest) {
        labels.extend(manifest.annotations().clone());
    }
    let labels = Labels::storable(labels);
    if labels.left_out() > 0 {
        tracing::info!(
            blob.digest = %manifest.config().map_or("none", |config| config.digest.as_str()),
            "{} labels of an image are too many or too long and are left out; they are still in its configuration and its manifest",
            labels.left_out()
        );
    }
    Ok(Found::Labels(labels))
}

/// The configuration, if it is one of an image: of other artifacts it may be anything. As Quay has it, a Docker manifest is an image whatever
/// its configuration is called, and an OCI manifest only with OCI's.
fn labelled_config(manifest: &Manifest) -> Option<&Descriptor> {
    let config = manifest.config()?;
    let labelled = config.media_type == MediaType::OCI_CONFIG
        || *manifest.media_type() == MediaType::DOCKER_MANIFEST;
    labelled.then_some(config)
}

/// Whether the annotations count as labels: OCI's do, and not those of an index, which says nothing but what its manifests say.
fn has_annotations(manifest: &Manifest) -> bool {
    manifest.kind() == ManifestKind::Image && *manifest.media_type() == MediaType::OCI_MANIFEST
}

/// What became of reading a configuration.
enum Config {
    Read(Bytes),
    TooLarge,
    /// The repository does not hold it.
    Unknown,
    Unreadable,
}

async fn read_config(
    inner: &Arc<Inner>,
    repository: RepositoryId,
    config: &Descriptor,
) -> Result<Config, MetadataError> {
    let found = inner
        .database
        .find_blob(repository, &config.digest, inner.now())
        .await?;
    let Some(blob) = found else {
        return Ok(Config::Unknown);
    };
    if blob.size > CONFIG_BYTES_MAX {
        return Ok(Config::TooLarge);
    }
    let collect = async {
        let mut stream = blobs::open(inner, &blob).await?;
        let mut bytes = BytesMut::new();
        while let Some(chunk) = stream.next().await {
            bytes.extend_from_slice(&chunk?);
        }
        Ok::<_, crate::error::PullError>(bytes.freeze())
    };
    let problem = match within(&*inner.environment.clock, READ_TIMEOUT, collect).await {
        Some(Ok(bytes)) => return Ok(Config::Read(bytes)),
        Some(Err(error)) => error.to_string(),
        None => format!("it was not read within {} s", READ_TIMEOUT.as_secs()),
    };
    tracing::warn!(
        blob.digest = %config.digest,
        problem,
        "Could not read the configuration {}: the labels of the image that is pushed with it come later",
        config.digest
    );
    Ok(Config::Unreadable)
}

/// Pays labels that are owed, once a minute, until the shutdown.
pub(crate) async fn keep_paid(inner: &Arc<Inner>, shutdown: &Shutdown) {
    let mut failing = false;
    while !shutdown.requested() {
        let paid = Box::pin(pay(inner)).await;
        let failed_before = std::mem::replace(&mut failing, paid.is_err());
        match paid {
            Ok(0) => {}
            Ok(paid) => {
                tracing::info!(paid, "Stored the labels of {paid} manifests that were owed");
            }
            // Said once, however many follow.
            Err(_) if failed_before => {}
            Err(error) => {
                tracing::warn!(%error, "Could not store labels that are owed; trying again every minute");
            }
        }
        tokio::select! {
            () = shutdown.wait() => return,
            () = inner.environment.clock.sleep(PAY_INTERVAL) => {}
        }
    }
}

/// Pays the labels that are owed and due, as far as their configurations can be read now. Tells for how many manifests.
pub(crate) async fn pay(inner: &Arc<Inner>) -> Result<u64, MetadataError> {
    let mut paid = 0;
    loop {
        let owed = inner
            .database
            .owed_labels(inner.now(), OWED_PER_STEP)
            .await?;
        // Every manifest of a step is paid or put off, so the next step finds others.
        for owed in &owed {
            paid += u64::from(Box::pin(pay_one(inner, owed)).await?);
        }
        if owed.len() < OWED_PER_STEP as usize {
            return Ok(paid);
        }
    }
}

async fn pay_one(inner: &Arc<Inner>, owed: &OwedLabels) -> Result<bool, MetadataError> {
    let limits = ManifestLimits {
        bytes_max: owed.bytes.len(),
        ..ManifestLimits::default()
    };
    let found = match Manifest::parse(Some(&owed.media_type), owed.bytes.clone(), &limits) {
        Ok(manifest) => read(inner, owed.repository, &manifest).await?,
        // It was pushed, so it was read once; a version that took more than this one has pushed it.
        Err(_) => Found::Labels(Labels::default()),
    };
    if let Found::Labels(labels) = found {
        let ids = &*inner.environment.ids;
        return inner
            .database
            .pay_labels(owed, &labels, inner.options.features, ids)
            .await;
    }
    let wait = PAY_INTERVAL
        .saturating_mul(1 << owed.attempts.min(10))
        .min(PUT_OFF_MAX);
    let due = inner.now() + TimeDelta::from_std(wait).unwrap_or_default();
    inner.database.put_off_labels(owed, due).await?;
    Ok(false)
}
