//! Mounting: a blob that one repository holds becomes part of another, without its bytes being touched.

use roadstead_metadata::{MountSource, Repository};
use roadstead_oci::Digest;

use super::PushedBlob;
use crate::error::PushError;
use crate::quota::{Uploads, require_room};
use crate::registry::Inner;

pub(super) async fn mount(
    inner: &Inner,
    repository: &Repository,
    digest: &Digest,
    source: MountSource,
) -> Result<Option<PushedBlob>, PushError> {
    inner.require_writable(repository)?;
    require_room(inner, repository, Uploads::LeftOut).await?;
    let now = inner.now();
    let database = &inner.database;
    // A blob that is there already needs no source, only to stay as long as a new one.
    let found = match database.find_blob(repository.id, digest, now).await? {
        Some(blob) => Some(blob),
        None => database.mountable_blob(digest, source, now).await?,
    };
    // A blob that is nowhere cannot be pulled; the client's own bytes will heal it.
    let Some(blob) = found.filter(|blob| !blob.present.is_empty()) else {
        return Ok(None);
    };
    let linked = database
        .link_blob(repository.id, blob.storage, inner.hold_until(now), now)
        .await?;
    if !linked {
        // The garbage collection was faster.
        return Ok(None);
    }
    Ok(Some(PushedBlob {
        digest: blob.digest,
        size: blob.size,
    }))
}
