//! Sending a client to the store: only where nothing can go wrong that this process could have helped.

use std::sync::Arc;

use roadstead_metadata::Blob;
use roadstead_placement::HealthState;
use roadstead_storage::{ObjectKey, SignedUrl, UrlRequest};

use super::fill;
use crate::metrics::Served;
use crate::registry::Inner;

pub(super) async fn url(
    inner: &Arc<Inner>,
    blob: &Blob,
    request: &UrlRequest<'_>,
) -> Option<SignedUrl> {
    let best = inner
        .locations
        .rank_reads(&inner.topology, &blob.present)
        .into_iter()
        .next()?;
    let location = inner.locations.get(&best)?;
    // A client that was sent away cannot be helped when the store fails.
    let healthy = inner.locations.standings().get(&best).read.state == HealthState::Healthy;
    if !location.capabilities().signed_urls || !healthy || blob.size == 0 {
        return None;
    }
    if fill::is_due(inner, blob).await {
        return None;
    }
    let key = ObjectKey::Blob(blob.digest.clone());
    match location.signed_url(&key, request).await {
        Ok(url) => {
            if url.is_some() {
                inner.counters.note_read(&best, Served::Redirect);
            }
            url
        }
        Err(error) => {
            tracing::warn!(
                blob.digest = %blob.digest,
                location.id = %best,
                error = &error as &dyn std::error::Error,
                "Could not sign a URL at location {best}; streaming blob {}",
                blob.digest
            );
            None
        }
    }
}
