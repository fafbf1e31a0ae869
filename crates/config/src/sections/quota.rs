//! How much a namespace may hold.

use std::num::NonZeroU64;

use crate::reader::Keys;

/// How much a namespace may hold. The limits of single namespaces are in the database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quota {
    /// `FEATURE_QUOTA_MANAGEMENT`: whether sizes are kept and limits hold (default: false).
    pub enabled: bool,
    /// `QUOTA_INVALIDATE_TOTALS`: whether sizes that are not kept are marked for Quay's backfill when they change (default: true).
    pub invalidated: bool,
    /// `FEATURE_VERIFY_QUOTA`: whether a push over the limit is refused (default: true).
    pub verified: bool,
    /// `FEATURE_QUOTA_SUPPRESS_FAILURES`: whether a push goes on when its sizes cannot be counted (default: false).
    pub failures_suppressed: bool,
    /// `DEFAULT_SYSTEM_REJECT_QUOTA_BYTES`: the limit of namespaces that have none of their own, in bytes. Default, and 0: none.
    pub default_limit_bytes: Option<NonZeroU64>,
}

impl Quota {
    pub(super) fn read(keys: &mut Keys) -> Self {
        Self {
            enabled: keys.flag("FEATURE_QUOTA_MANAGEMENT", false),
            invalidated: keys.flag("QUOTA_INVALIDATE_TOTALS", true),
            verified: keys.flag("FEATURE_VERIFY_QUOTA", true),
            failures_suppressed: keys.flag("FEATURE_QUOTA_SUPPRESS_FAILURES", false),
            // As many as the column holds.
            default_limit_bytes: NonZeroU64::new(keys.size(
                "DEFAULT_SYSTEM_REJECT_QUOTA_BYTES",
                0,
                0..=i64::MAX.unsigned_abs(),
            )),
        }
    }
}
