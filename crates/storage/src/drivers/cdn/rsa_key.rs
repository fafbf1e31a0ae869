//! Private keys that URLs are signed with.

use std::fmt;

use roadstead_runtime::Ids;
use roadstead_secrets::Secret;
use rsa::pkcs1::DecodeRsaPrivateKey;
use rsa::pkcs8::DecodePrivateKey;
use rsa::rand_core::{self, CryptoRng, RngCore};
use rsa::{Pkcs1v15Sign, RsaPrivateKey};
use sha1::Sha1;
use sha2::{Digest, Sha256};

use crate::error::{Failure, StorageErrorKind};

/// What stands before a hash that is signed, by its kind: RFC 8017 section 9.2, note 1.
const SHA1_PREFIX: &[u8] = b"\x30\x21\x30\x09\x06\x05\x2b\x0e\x03\x02\x1a\x05\x00\x04\x14";
const SHA256_PREFIX: &[u8] =
    b"\x30\x31\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x01\x05\x00\x04\x20";

/// A key of RSA. Signs as PKCS #1 v1.5 says, which gives the same signature every time.
pub(super) struct RsaKey(RsaPrivateKey);

impl RsaKey {
    /// Reads a key in PEM, of PKCS #1 (`RSA PRIVATE KEY`) or PKCS #8 (`PRIVATE KEY`).
    pub(super) fn parse(pem: &Secret) -> Result<Self, &'static str> {
        let text = pem.expose().trim();
        if text.contains("ENCRYPTED") {
            return Err("the private key is encrypted; give it without a passphrase");
        }
        RsaPrivateKey::from_pkcs8_pem(text)
            .ok()
            .or_else(|| RsaPrivateKey::from_pkcs1_pem(text).ok())
            .map(Self)
            .ok_or("the private key is none of RSA in PEM form")
    }

    /// A few thousandths of a second on one core.
    pub(super) fn sign_sha1(&self, ids: &dyn Ids, message: &str) -> Result<Vec<u8>, Failure> {
        self.sign(ids, SHA1_PREFIX, &Sha1::digest(message))
    }

    /// As [`RsaKey::sign_sha1`].
    pub(super) fn sign_sha256(&self, ids: &dyn Ids, message: &str) -> Result<Vec<u8>, Failure> {
        self.sign(ids, SHA256_PREFIX, &Sha256::digest(message))
    }

    fn sign(&self, ids: &dyn Ids, prefix: &[u8], hash: &[u8]) -> Result<Vec<u8>, Failure> {
        let padding = Pkcs1v15Sign {
            hash_len: Some(hash.len()),
            prefix: prefix.into(),
        };
        // Chance blinds the arithmetic, so that how long it takes tells nothing about the key.
        self.0
            .sign_with_rng(&mut Chance(ids), padding, hash)
            .map_err(|error| Failure::because(StorageErrorKind::Unexpected, error))
    }
}

impl fmt::Debug for RsaKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// The source of chance, as the RSA library wants it.
struct Chance<'i>(&'i dyn Ids);

impl RngCore for Chance<'_> {
    fn next_u32(&mut self) -> u32 {
        let mut bytes = [0; 4];
        self.fill_bytes(&mut bytes);
        u32::from_le_bytes(bytes)
    }

    fn next_u64(&mut self) -> u64 {
        let mut bytes = [0; 8];
        self.fill_bytes(&mut bytes);
        u64::from_le_bytes(bytes)
    }

    fn fill_bytes(&mut self, bytes: &mut [u8]) {
        self.0.fill(bytes);
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), rand_core::Error> {
        self.fill_bytes(bytes);
        Ok(())
    }
}

impl CryptoRng for Chance<'_> {}
