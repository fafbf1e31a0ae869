//! Hashes by which values can be told apart and not found out.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// Makes hashes with a key: HMAC-SHA-256, of which 64 bits are shown, enough to tell a configuration's few values apart.
///
/// Its `Debug` form does not show the key.
#[derive(Clone)]
pub struct KeyedHash(Hmac<Sha256>);

impl KeyedHash {
    /// With this key, of any length.
    ///
    /// # Panics
    ///
    /// Never: HMAC takes keys of any length.
    pub fn new(key: &[u8]) -> Self {
        Self(Hmac::new_from_slice(key).expect("HMAC takes keys of any length"))
    }

    /// The hash of `text`, in hexadecimal digits.
    pub fn of(&self, text: &[u8]) -> String {
        let mut mac = self.0.clone();
        mac.update(text);
        let hash = mac.finalize().into_bytes();
        let shown = hash
            .iter()
            .take(8)
            .fold(0_u64, |shown, byte| shown << 8 | u64::from(*byte));
        format!("{shown:016x}")
    }
}

impl fmt::Debug for KeyedHash {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("KeyedHash(***)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_those_of_rfc_4231_and_differ_with_key_and_text() {
        let hash = KeyedHash::new(b"Jefe");
        assert_eq!(hash.of(b"what do ya want for nothing?"), "5bdcc146bf60754e");
        assert_ne!(hash.of(b"a"), hash.of(b"b"));
        assert_ne!(hash.of(b"a"), KeyedHash::new(b"").of(b"a"));
        assert_eq!(format!("{hash:?}"), "KeyedHash(***)");
    }
}
