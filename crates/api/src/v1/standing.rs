//! What else the one who calls may: for operations whose answers tell more to some than to others.

use roadstead_auth::{Identity, Need, NotPermitted, Subject};

use crate::error::ApiError;
use crate::service::Inner;

/// Whether the one who calls belongs to a namespace.
pub(super) async fn belongs(
    inner: &Inner,
    identity: &Identity,
    namespace: &str,
) -> Result<bool, ApiError> {
    meets(inner, identity, Need::NamespaceMember, namespace).await
}

/// Whether the one who calls may see everything about a namespace.
pub(super) async fn inspects(
    inner: &Inner,
    identity: &Identity,
    namespace: &str,
) -> Result<bool, ApiError> {
    meets(inner, identity, Need::NamespaceInspect, namespace).await
}

/// Whether the one who calls administers a namespace, with what they came with: an OAuth token may reach less far than its user.
pub(super) async fn administers(
    inner: &Inner,
    identity: &Identity,
    namespace: &str,
) -> Result<bool, ApiError> {
    meets(inner, identity, Need::NamespaceAdmin, namespace).await
}

async fn meets(
    inner: &Inner,
    identity: &Identity,
    need: Need,
    namespace: &str,
) -> Result<bool, ApiError> {
    let permitted = inner
        .authenticator
        .permit(identity, need, Subject::Namespace(namespace))
        .await;
    match permitted {
        Ok(_) => Ok(true),
        Err(NotPermitted::SignIn | NotPermitted::Forbidden) => Ok(false),
        Err(NotPermitted::Backend { source }) => Err(ApiError::Metadata(source)),
    }
}
