//! Times as Quay's documents have them.

use roadstead_runtime::Timestamp;

/// As in most documents, to the second: `Wed, 25 Nov 2026 10:00:00 -0000`.
pub(crate) fn rfc_2822(time: Timestamp) -> String {
    time.format("%a, %d %b %Y %H:%M:%S -0000").to_string()
}
