//! How much a namespace holds.

use crate::reader::Keys;

/// How much a namespace holds. The sizes, and the limits of single namespaces, are in the database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quota {
    /// `FEATURE_QUOTA_MANAGEMENT`: whether sizes are kept (default: false).
    pub enabled: bool,
    /// `FEATURE_VERIFY_QUOTA`: whether pushes are refused beyond a quota, where sizes are kept (default: true).
    pub verified: bool,
    /// `QUOTA_INVALIDATE_TOTALS`: whether sizes that are not kept are marked for Quay's backfill when they change (default: true).
    pub invalidated: bool,
    /// `FEATURE_EDIT_QUOTA`: whether quotas are shown and changed through the API, where sizes are kept (default: true).
    pub editable: bool,
    /// `DEFAULT_SYSTEM_REJECT_QUOTA_BYTES`: what a namespace without a quota of its own may hold; none: whatever it likes (0, the default).
    pub default_bytes: Option<u64>,
}

impl Quota {
    pub(super) fn read(keys: &mut Keys) -> Self {
        let enabled = keys.flag("FEATURE_QUOTA_MANAGEMENT", false);
        let most = i64::MAX.unsigned_abs();
        let default_bytes = keys.number("DEFAULT_SYSTEM_REJECT_QUOTA_BYTES", 0, 0..=most);
        Self {
            enabled,
            verified: keys.flag("FEATURE_VERIFY_QUOTA", true),
            invalidated: keys.flag("QUOTA_INVALIDATE_TOTALS", true),
            editable: keys.flag("FEATURE_EDIT_QUOTA", true),
            default_bytes: (default_bytes > 0).then_some(default_bytes),
        }
    }
}
