//! Tokens whose signature was found right a short while ago: a client sends the same one with every request of a pull or a push, and checking a
//! signature costs more than everything else that such a request needs.

use std::sync::{Arc, Mutex, PoisonError};

use jsonwebtoken::DecodingKey;
use roadstead_runtime::{Recent, Timestamp};
use sha2::{Digest, Sha256};

use crate::access::TokenGrant;

/// How many tokens are remembered.
const TOKENS_MAX: usize = 1024;

/// The longest token that is remembered, in bytes: one for a dozen repositories. With what was read from it it takes about twice as much.
pub(crate) const KNOWN_TOKEN_BYTES_MAX: usize = 4 * 1024;

/// Tokens by their SHA-256: never the tokens themselves.
#[derive(Debug)]
pub(crate) struct KnownTokens {
    tokens: Mutex<Recent<[u8; 32], KnownToken>>,
}

/// A token whose signature is right.
#[derive(Clone, Debug)]
pub(crate) struct KnownToken {
    /// The id of the key that it names.
    pub(crate) kid: String,
    /// The key that it was checked with: when another has this id, or this one was read anew, the token is checked again.
    pub(crate) key: Arc<DecodingKey>,
    pub(crate) grant: Arc<TokenGrant>,
}

impl Default for KnownTokens {
    fn default() -> Self {
        Self {
            tokens: Mutex::new(Recent::new(TOKENS_MAX)),
        }
    }
}

impl KnownTokens {
    pub(crate) fn fingerprint(token: &str) -> [u8; 32] {
        Sha256::digest(token).into()
    }

    pub(crate) fn get(&self, fingerprint: &[u8; 32], now: Timestamp) -> Option<KnownToken> {
        let tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        tokens.get(fingerprint, now).cloned()
    }

    pub(crate) fn insert(&self, fingerprint: [u8; 32], token: KnownToken, until: Timestamp) {
        let mut tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        tokens.insert(fingerprint, token, until);
    }
}
