//! Which of Quay's optional bookkeeping is kept.

use crate::immutability::ImmutableTags;
use crate::quota::QuotaSizes;
use crate::quota_limits::QuotaChecks;

/// Which of Quay's optional bookkeeping is kept. The default is that of a Quay without a configuration.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Features {
    /// The sizes of repositories and namespaces.
    pub quota: QuotaSizes,
    /// Whether pushes are measured against the quotas of namespaces.
    pub quota_checks: QuotaChecks,
    /// Tags that cannot be moved or deleted.
    pub immutable_tags: ImmutableTags,
}
