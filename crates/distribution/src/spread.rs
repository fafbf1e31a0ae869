//! Pushes that wait: a namespace may demand that several locations hold an image before its push is acknowledged, so that the loss of a
//! location loses nothing that was.

use std::fmt;
use std::time::Duration;

use roadstead_metadata::{MinLocations, Repository, Spread, Unspread};
use roadstead_oci::Digest;

use crate::error::ManifestPushError;
use crate::registry::Inner;

/// When it is looked for the first time. Each further look comes twice as late, up to [`LOOK_MAX`].
const LOOK_FIRST: Duration = Duration::from_millis(100);

/// The longest from one look to the next.
const LOOK_MAX: Duration = Duration::from_secs(1);

/// How an image that was pushed and stored stands when the wait for its copies was in vain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shortfall {
    /// The manifest.
    pub manifest: Digest,
    /// How many locations the namespace demands.
    pub demanded: u32,
    /// The blobs that the manifest and what is below it refer to.
    pub blobs: u64,
    /// Those of them that fewer locations hold.
    pub short: u64,
    /// How long it was waited.
    pub waited: Duration,
    /// The copies that are on their way, by location.
    pub lacking: Vec<Unspread>,
}

impl fmt::Display for Shortfall {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            manifest,
            demanded,
            blobs,
            short,
            waited,
            lacking,
        } = self;
        write!(
            formatter,
            "manifest {manifest} is stored, but {short} of its {blobs} blobs are in fewer than {demanded} locations after {} s",
            waited.as_secs()
        )?;
        for (number, unspread) in lacking.iter().enumerate() {
            let separator = if number == 0 { ":" } else { "," };
            write!(
                formatter,
                "{separator} `{}` still lacks {}",
                unspread.location, unspread.blobs
            )?;
            if unspread.failing > 0 {
                write!(
                    formatter,
                    " ({} failed at the last attempt)",
                    unspread.failing
                )?;
            }
        }
        formatter.write_str("; copying goes on: push it again to wait on")
    }
}

/// Waits until as many locations hold everything that an image consists of as its namespace demands, however the others fare.
pub(crate) async fn wait(
    inner: &Inner,
    repository: &Repository,
    manifest: &Digest,
    min: MinLocations,
) -> Result<(), ManifestPushError> {
    let clock = &*inner.environment.clock;
    let deadline = min.deadline.min(inner.options.push_wait_max);
    let mut waited = Duration::ZERO;
    let mut pause = LOOK_FIRST;
    loop {
        let ended = waited >= deadline || inner.tasks.shutdown().requested();
        match look(inner, repository, manifest, min).await {
            Ok(spread) if spread.short == 0 => return Ok(()),
            Ok(spread) if ended => {
                return shortfall(inner, repository, manifest, min, spread, waited).await;
            }
            // What cannot be found out now may be in a moment.
            Err(error) if ended || !error.is_temporary() => return Err(error.into()),
            Ok(_) | Err(_) => {}
        }
        let next = pause.min(deadline.saturating_sub(waited));
        let shutdown = inner.tasks.shutdown();
        tokio::select! {
            () = clock.sleep(next) => {}
            () = shutdown.wait() => {}
        }
        waited += next;
        pause = (pause * 2).min(LOOK_MAX);
    }
}

async fn look(
    inner: &Inner,
    repository: &Repository,
    manifest: &Digest,
    min: MinLocations,
) -> Result<Spread, roadstead_metadata::MetadataError> {
    let configured = inner.demand().configured;
    inner
        .database
        .spread(repository.id, manifest, min.locations, configured)
        .await
}

async fn shortfall(
    inner: &Inner,
    repository: &Repository,
    manifest: &Digest,
    min: MinLocations,
    spread: Spread,
    waited: Duration,
) -> Result<(), ManifestPushError> {
    let lacking = inner.database.unspread(repository.id, manifest).await?;
    for unspread in &lacking {
        if let Some(failure) = &unspread.last_failure {
            tracing::warn!(
                location.id = %unspread.location,
                manifest.digest = %manifest,
                "A push into {} waited in vain for copies to location {}: {failure}",
                repository.path,
                unspread.location,
            );
        }
    }
    Err(ManifestPushError::TooFewLocations(Box::new(Shortfall {
        manifest: manifest.clone(),
        demanded: min.locations,
        blobs: spread.blobs,
        short: spread.short,
        waited,
        lacking,
    })))
}
