//! What is given up for good, and when.

use std::time::Duration;

use crate::reader::Keys;

/// What is given up for good, and when. Instances of Quay on the same database have the same keys: where both are switched on, each takes
/// what the other has not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Garbage {
    /// `FEATURE_GARBAGE_COLLECTION`: whether manifests and blobs that nothing can want any more are removed (default: true). Tags end and
    /// time machines run out whether or not it is on.
    pub enabled: bool,
    /// `FEATURE_REPOSITORY_GARBAGE_COLLECTION`: whether repositories that were deleted are removed (default: true).
    pub repositories: bool,
    /// `FEATURE_NAMESPACE_GARBAGE_COLLECTION`: whether namespaces that were deleted are removed (default: true).
    pub namespaces: bool,
    /// `GARBAGE_COLLECTION_FREQUENCY`: the pause between two looks, 1 to 86400 s (default: 30).
    pub pause: Duration,
    /// `NAMESPACE_GC_GRACE_PERIOD_SECONDS`: for how long a deleted namespace is kept, up to a year (default: 0).
    pub namespace_grace: Duration,
}

impl Garbage {
    pub(super) fn read(keys: &mut Keys) -> Self {
        Self {
            enabled: keys.flag("FEATURE_GARBAGE_COLLECTION", true),
            repositories: keys.flag("FEATURE_REPOSITORY_GARBAGE_COLLECTION", true),
            namespaces: keys.flag("FEATURE_NAMESPACE_GARBAGE_COLLECTION", true),
            pause: keys.seconds("GARBAGE_COLLECTION_FREQUENCY", 30, 1..=86_400),
            namespace_grace: keys.seconds("NAMESPACE_GC_GRACE_PERIOD_SECONDS", 0, 0..=31_536_000),
        }
    }
}
