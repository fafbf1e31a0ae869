//! Secrets: text that is wiped and never printed, and the fields that the database holds encrypted, in the form that Quay gives them.
//!
//! A field is `v0$$` and then, in base64, a nonce of 13 bytes and what AES-256 in CCM mode makes of the text with it, the tag of 16 bytes last. The
//! key is made of `DATABASE_SECRET_KEY` by Quay's rule, see [`FieldKey::new`].
//!
//! Invariant: nothing here does I/O, draws chance or keeps a plaintext longer than its [`Secret`] lives.

mod field;
mod key;
mod secret;

pub use field::{DecryptError, EncryptError, FIELD_BYTES_MAX, NONCE_BYTES, is_encrypted};
pub use key::{FieldKey, KeyTextError};
pub use secret::Secret;
