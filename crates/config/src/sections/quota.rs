//! How much a namespace holds.

use crate::reader::{Keys, Remark};

/// How much a namespace holds. The sizes, and the limits of single namespaces, are in the database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quota {
    /// `FEATURE_QUOTA_MANAGEMENT`: whether sizes are kept (default: false). Limits are not held in this version: an instance of Quay on the same
    /// database refuses what is too much.
    pub enabled: bool,
    /// `QUOTA_INVALIDATE_TOTALS`: whether sizes that are not kept are marked for Quay's backfill when they change (default: true).
    pub invalidated: bool,
}

const MANAGEMENT: &str = "FEATURE_QUOTA_MANAGEMENT";

impl Quota {
    pub(super) fn read(keys: &mut Keys) -> Self {
        let enabled = keys.flag(MANAGEMENT, false);
        // Quay's default is to refuse. Whoever has switched that off misses nothing here.
        if enabled && keys.flag("FEATURE_VERIFY_QUOTA", true) {
            let value = keys.value(MANAGEMENT);
            let remark = Remark::new(
                "sizes are kept, but no push is refused for them in this version",
                "",
                "watch them, or set FEATURE_VERIFY_QUOTA to false if that is meant",
            );
            keys.warn(MANAGEMENT, value.as_ref(), remark);
        }
        Self {
            enabled,
            invalidated: keys.flag("QUOTA_INVALIDATE_TOTALS", true),
        }
    }
}
