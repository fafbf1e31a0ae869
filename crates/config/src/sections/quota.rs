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
    /// `FEATURE_EDIT_QUOTA`: whether quotas are shown and changed through the API, where sizes are kept (default: true).
    pub editable: bool,
    /// `DEFAULT_SYSTEM_REJECT_QUOTA_BYTES`: what a namespace without a quota of its own may hold; none: whatever it likes (0, the default).
    pub default_bytes: Option<u64>,
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
        let most = i64::MAX.unsigned_abs();
        let default_bytes = keys.number("DEFAULT_SYSTEM_REJECT_QUOTA_BYTES", 0, 0..=most);
        Self {
            enabled,
            invalidated: keys.flag("QUOTA_INVALIDATE_TOTALS", true),
            editable: keys.flag("FEATURE_EDIT_QUOTA", true),
            default_bytes: (default_bytes > 0).then_some(default_bytes),
        }
    }
}
