//! Which of Quay's optional bookkeeping is kept.

use crate::immutability::ImmutableTags;
use crate::quota::QuotaSizes;

/// Which of Quay's optional bookkeeping is kept. The default is that of a Quay without a configuration.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Features {
    /// The sizes of repositories and namespaces.
    pub quota: QuotaSizes,
    /// Tags that cannot be moved or deleted.
    pub immutable_tags: ImmutableTags,
}
