//! One encrypted field: taken apart, decrypted, made.

#[cfg(test)]
mod tests;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ccm::aead::{Aead, Nonce};
use zeroize::Zeroize;

use crate::key::{Cipher, FieldKey};
use crate::secret::Secret;

/// What stands before the base64: the only version that there is.
const VERSION: &str = "v0$$";

/// The length of a nonce in bytes.
pub const NONCE_BYTES: usize = 13;

/// The length of the tag in bytes.
const TAG_BYTES: usize = 16;

/// The most bytes of an encrypted field that are looked at: Quay's longest column holds 9000 characters.
pub const FIELD_BYTES_MAX: usize = 16 * 1024;

/// The most bytes of a text that fit in a field of that length.
const PLAIN_BYTES_MAX: usize = (FIELD_BYTES_MAX - VERSION.len()) / 4 * 3 - NONCE_BYTES - TAG_BYTES;

/// Why a field cannot be decrypted. No message repeats any part of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecryptError {
    /// It does not begin as encrypted fields do.
    #[error("it is not an encrypted field: it does not begin with `v0$$`")]
    NotEncrypted,
    /// What follows is no base64, or too short or too long to be one.
    #[error("it is not an encrypted field: what follows `v0$$` is damaged")]
    Damaged,
    /// The key is another one than it was encrypted with, or somebody changed the field.
    #[error("it was encrypted with another DATABASE_SECRET_KEY, or has been changed since")]
    WrongKey,
    /// What it holds is no text.
    #[error("it holds no text")]
    NotText,
}

/// Why a text cannot be encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncryptError {
    /// It does not fit in [`FIELD_BYTES_MAX`].
    #[error(
        "a text of {bytes} bytes is too long for an encrypted field; at most {PLAIN_BYTES_MAX} are allowed"
    )]
    TooLong {
        /// Its length.
        bytes: usize,
    },
}

/// Whether a column's value has the form of an encrypted field, whatever the key.
pub fn is_encrypted(field: &str) -> bool {
    field.starts_with(VERSION)
}

impl FieldKey {
    /// The text that a field holds.
    pub fn decrypt(&self, field: &str) -> Result<Secret, DecryptError> {
        let encoded = field
            .strip_prefix(VERSION)
            .ok_or(DecryptError::NotEncrypted)?;
        if field.len() > FIELD_BYTES_MAX {
            return Err(DecryptError::Damaged);
        }
        let sealed = STANDARD
            .decode(encoded)
            .map_err(|_| DecryptError::Damaged)?;
        let (nonce, sealed) = sealed
            .split_first_chunk::<NONCE_BYTES>()
            .filter(|(_, sealed)| sealed.len() >= TAG_BYTES)
            .ok_or(DecryptError::Damaged)?;
        let plain = self
            .0
            .decrypt(&Nonce::<Cipher>::from(*nonce), sealed)
            .map_err(|_| DecryptError::WrongKey)?;
        String::from_utf8(plain).map(Secret::new).map_err(|error| {
            error.into_bytes().zeroize();
            DecryptError::NotText
        })
    }

    /// The field that holds a text. `nonce` is drawn anew for every call: the same one for two texts under one key gives both away.
    pub fn encrypt(
        &self,
        plain: &Secret,
        nonce: [u8; NONCE_BYTES],
    ) -> Result<String, EncryptError> {
        let bytes = plain.expose().len();
        let too_long = EncryptError::TooLong { bytes };
        if bytes > PLAIN_BYTES_MAX {
            return Err(too_long);
        }
        let sealed = self
            .0
            .encrypt(&Nonce::<Cipher>::from(nonce), plain.expose().as_bytes())
            // The cipher refuses what its length field does not hold, 64 KiB and more, and nothing else.
            .map_err(|_| too_long)?;
        let mut whole = nonce.to_vec();
        whole.extend_from_slice(&sealed);
        Ok(format!("{VERSION}{}", STANDARD.encode(whole)))
    }
}
