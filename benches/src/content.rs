//! What is pushed: bytes with their digest.

use roadstead_oci::{Algorithm, Digest, MediaType};
use roadstead_runtime::{Ids as _, SeededIds};
use serde_json::{Value, json};

/// Bytes and their digest.
#[derive(Clone, Debug)]
pub struct Hashed {
    /// Theirs.
    pub digest: Digest,
    /// All of them.
    pub bytes: Vec<u8>,
}

impl Hashed {
    /// Hashes them.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self {
            digest: Digest::of(Algorithm::Sha256, &bytes),
            bytes,
        }
    }

    /// A blob that only this seed gives.
    pub fn of_chance(seed: u64, size: usize) -> Self {
        let mut bytes = vec![0; size];
        SeededIds::new(seed).fill(&mut bytes);
        Self::new(bytes)
    }

    /// As a manifest names it.
    pub fn descriptor(&self, media_type: &MediaType) -> Value {
        json!({"mediaType": media_type, "digest": self.digest, "size": self.bytes.len()})
    }
}
