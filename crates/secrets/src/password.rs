//! A password that a client holds encrypted: what is sealed in it, and sealing one.

#[cfg(test)]
mod tests;

use std::fmt;

use aes::Aes256;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use cbc::cipher::block_padding::Pkcs7;
use cbc::cipher::{BlockModeDecrypt, BlockModeEncrypt, KeyIvInit};
use zeroize::Zeroizing;

use crate::key::{KEY_BYTES, KeyTextError, key_bytes};
use crate::secret::Secret;

/// The length of an initialisation vector in bytes, and of a block.
pub const IV_BYTES: usize = 16;

/// The key under which clients' passwords are encrypted: AES-256 in CBC mode. Its `Debug` form shows nothing of it.
#[derive(Clone)]
pub struct PasswordKey(Zeroizing<[u8; KEY_BYTES]>);

/// Why nothing can be unsealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnsealError {
    /// It does not have the form: base64 of a vector and of whole blocks.
    #[error("it does not have the form of an encrypted password")]
    Form,
    /// It was encrypted with another key, or has been changed since, or is no text.
    #[error("it was encrypted with another SECRET_KEY, or has been changed since")]
    WrongKey,
}

impl PasswordKey {
    /// Makes the key of `SECRET_KEY`, by the rule of [`FieldKey::new`](crate::FieldKey::new).
    pub fn new(text: &str) -> Result<Self, KeyTextError> {
        key_bytes(text).map(Self)
    }

    /// The text that is sealed. Nothing vouches for it: the mode has no tag, so that a change of what is sealed is not always found.
    pub fn unseal(&self, sealed: &str) -> Result<Secret, UnsealError> {
        let sealed = STANDARD.decode(sealed).map_err(|_| UnsealError::Form)?;
        let (iv, blocks) = sealed
            .split_first_chunk::<IV_BYTES>()
            .filter(|(_, blocks)| !blocks.is_empty() && blocks.len().is_multiple_of(IV_BYTES))
            .ok_or(UnsealError::Form)?;
        let mut blocks = Zeroizing::new(blocks.to_vec());
        let plain = cbc::Decryptor::<Aes256>::new((&*self.0).into(), iv.into())
            .decrypt_padded::<Pkcs7>(&mut blocks)
            .map_err(|_| UnsealError::WrongKey)?;
        let text = std::str::from_utf8(plain).map_err(|_| UnsealError::WrongKey)?;
        Ok(Secret::new(text))
    }

    /// Seals a text. `iv` is drawn anew for every call, so that equal texts do not look equal.
    #[expect(
        clippy::missing_panics_doc,
        reason = "padding takes no more than what there is room for"
    )]
    pub fn seal(&self, text: &Secret, iv: [u8; IV_BYTES]) -> String {
        let text = text.expose().as_bytes();
        let mut blocks = Zeroizing::new(text.to_vec());
        blocks.resize((text.len() / IV_BYTES + 1) * IV_BYTES, 0);
        let sealed = cbc::Encryptor::<Aes256>::new((&*self.0).into(), &iv.into())
            .encrypt_padded::<Pkcs7>(&mut blocks, text.len())
            .expect("there is room up to the next whole block, which is all that padding takes");
        STANDARD.encode([&iv, sealed].concat())
    }
}

impl fmt::Debug for PasswordKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("PasswordKey(***)")
    }
}
