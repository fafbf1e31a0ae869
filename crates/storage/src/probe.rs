//! What a probe writes.

/// Eleven bytes, as many as Quay's, so that the two overwriting each other's leaves no rest.
pub(crate) const PROBE_CONTENT: &[u8; 11] = b"roadstead!\n";
