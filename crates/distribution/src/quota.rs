//! Quotas: whether a namespace may take more, and who is told when it may not, or soon may not.
//!
//! Uploads are measured before their bytes come, by what the namespace holds then; a manifest in the transaction that stores it, by what the namespace
//! would hold with it. So a namespace goes beyond its quota by what is in no manifest yet at most.

use roadstead_metadata::{QuotaChecks, QuotaLimitKind, Repository};

use crate::error::PushError;
use crate::refusal::Refusal;
use crate::registry::Inner;

/// Whether what has arrived of uploads into the repository counts too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Uploads {
    Counted,
    LeftOut,
}

/// Checks that the namespace of a repository may take more.
pub(crate) async fn require_room(
    inner: &Inner,
    repository: &Repository,
    uploads: Uploads,
) -> Result<(), PushError> {
    let QuotaChecks::Held { default_bytes } = inner.options.features.quota_checks else {
        return Ok(());
    };
    let into = (uploads == Uploads::Counted).then_some(repository.id);
    let standing = inner
        .database
        .quota_standing(repository.namespace_id, into)
        .await?;
    let bytes = standing.held_bytes.saturating_add(standing.uploading_bytes);
    if standing.reached(bytes, default_bytes) != Some(QuotaLimitKind::Reject) {
        return Ok(());
    }
    tell(inner, repository, QuotaLimitKind::Reject).await;
    Err(Refusal::QuotaExceeded.into())
}

/// Tells the administrators if the namespace of a repository into which something was pushed has reached a limit.
pub(crate) async fn note(inner: &Inner, repository: &Repository) {
    let QuotaChecks::Held { default_bytes } = inner.options.features.quota_checks else {
        return;
    };
    let standing = inner
        .database
        .quota_standing(repository.namespace_id, None)
        .await;
    let reached = match standing {
        Ok(standing) => standing.reached(standing.held_bytes, default_bytes),
        Err(error) => {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "Could not measure a namespace against its quota"
            );
            None
        }
    };
    if let Some(kind) = reached {
        tell(inner, repository, kind).await;
    }
}

/// Tells the administrators of a namespace that it has reached a limit. A push does not fail because they cannot be told.
pub(crate) async fn tell(inner: &Inner, repository: &Repository, kind: QuotaLimitKind) {
    let told = inner
        .database
        .notify_of_quota(
            repository.namespace_id,
            kind,
            &*inner.environment.ids,
            inner.now(),
        )
        .await;
    if let Err(error) = told {
        tracing::warn!(
            error = &error as &dyn std::error::Error,
            "Could not tell of a quota that was reached"
        );
    }
}
