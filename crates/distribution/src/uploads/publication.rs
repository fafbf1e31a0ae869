//! From staged bytes to an object: noted before it appears, so that the garbage collection leaves it alone until it is recorded.

use std::time::Duration;

use roadstead_metadata::{Publication, Publishing};
use roadstead_oci::Digest;
use roadstead_placement::LocationName;
use roadstead_storage::{Location, ObjectKey, Staged, StorageErrorKind};
use uuid::Uuid;

use super::session;
use crate::error::PushError;
use crate::registry::Inner;

/// How often an object that is being deleted is looked at again: a deletion takes a few milliseconds.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// Notes that the object of a digest is about to appear at a location. Waits for a deletion that is under way at this moment, as long as
/// [`DistributionOptions::deletion_wait`](crate::DistributionOptions::deletion_wait).
pub(super) async fn begin(
    inner: &Inner,
    location: &LocationName,
    digest: &Digest,
) -> Result<Publication, PushError> {
    let looks = inner.options.deletion_wait.as_millis() / LOOK_AGAIN.as_millis();
    for look in 0..=looks {
        let now = inner.now();
        let publishing = inner
            .database
            .begin_publication(digest, location, inner.publication_until(now), now)
            .await?;
        if let Publishing::Begun(publication) = publishing {
            return Ok(publication);
        }
        if look < looks {
            inner.environment.clock.sleep(LOOK_AGAIN).await;
        }
    }
    Err(PushError::ObjectBusy {
        digest: digest.clone(),
        location: location.clone(),
    })
}

/// Turns the staged bytes of an upload into the object of a publication. It replaces one that is there already, which costs no more and
/// heals a damaged one.
pub(super) async fn publish(
    inner: &Inner,
    location: &Location,
    id: Uuid,
    staged: &Staged,
    publication: Publication,
) -> Result<Publication, PushError> {
    let key = ObjectKey::Blob(publication.digest().clone());
    let Err(error) = location.publish(id, staged, &key).await else {
        return Ok(publication);
    };
    // A step whose time is over may still take effect. Its publication is left to lapse, which dooms what appeared.
    if error.kind() != StorageErrorKind::Timeout {
        withdraw(inner, publication).await;
    }
    Err(match error.kind() {
        StorageErrorKind::Busy => PushError::SessionBusy { id },
        StorageErrorKind::StagedShort { .. } | StorageErrorKind::NotFound => {
            PushError::UploadLost { id }
        }
        _ => session::write_failed(error),
    })
}

/// Ends a publication whose object will not be recorded. If that fails, it lapses.
pub(super) async fn withdraw(inner: &Inner, publication: Publication) {
    let withdrawn = inner
        .database
        .withdraw_publication(publication, inner.now())
        .await;
    if let Err(error) = withdrawn {
        tracing::debug!(
            error = &error as &dyn std::error::Error,
            "Could not end a publication; it lapses"
        );
    }
}
