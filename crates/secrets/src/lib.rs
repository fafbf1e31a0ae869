//! Secrets: text that is wiped and never printed, and what the database and clients hold encrypted, in the form that Quay gives it.
//!
//! A field is `v0$$` and then, in base64, a nonce of 13 bytes and what AES-256 in CCM mode makes of the text with it, the tag of 16 bytes last. The
//! key is made of `DATABASE_SECRET_KEY` by Quay's rule, see [`FieldKey::new`]. A password that a client holds is, in base64, a vector of 16 bytes and what
//! AES-256 in CBC mode makes of the text with it; that key is made of `SECRET_KEY` by the same rule.
//!
//! Invariant: nothing here does I/O, draws chance or keeps a plaintext longer than its [`Secret`] lives.

mod field;
mod key;
mod keyed_hash;
mod password;
mod secret;

pub use field::{DecryptError, EncryptError, FIELD_BYTES_MAX, NONCE_BYTES, is_encrypted};
pub use key::{FieldKey, KeyTextError};
pub use keyed_hash::KeyedHash;
pub use password::{IV_BYTES, PasswordKey, UnsealError};
pub use secret::Secret;
