//! Tokens that were issued just now: whoever asks for the same again gets the same. A signature is nearly all that a token costs, and a client that
//! pulls an image asks for one with each step.
//!
//! What may be granted is found out every time; only a token that says exactly that is handed out again.

use std::fmt::{self, Debug, Formatter};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use roadstead_runtime::{Recent, Timestamp};
use sha2::{Digest, Sha256};

use crate::token::Token;

/// For how long a token is handed out again: little of its life, and as long as its signature is known here.
const HANDED_OUT_FOR: Duration = Duration::from_mins(1);

/// How many are remembered. One takes some 2 KB.
const ISSUED_MAX: usize = 1024;

/// What a token says and by which key it is signed, but for its times.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Said([u8; 32]);

impl Said {
    pub(crate) fn of(kid: &str, claims: &[u8]) -> Self {
        let mut hash = Sha256::new();
        for part in [kid.as_bytes(), claims] {
            hash.update(part.len().to_le_bytes());
            hash.update(part);
        }
        Self(hash.finalize().into())
    }
}

pub(crate) struct IssuedTokens(Mutex<Recent<Said, Token>>);

impl Default for IssuedTokens {
    fn default() -> Self {
        Self(Mutex::new(Recent::new(ISSUED_MAX)))
    }
}

impl Debug for IssuedTokens {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("IssuedTokens")
            .finish_non_exhaustive()
    }
}

impl IssuedTokens {
    pub(crate) fn get(&self, said: &Said, now: Timestamp) -> Option<Token> {
        let token = self.lock().get(said, now)?.clone();
        // A clock that was set back makes tokens of the future, which nobody takes.
        (token.issued <= now).then_some(token)
    }

    pub(crate) fn keep(&self, said: Said, token: &Token) {
        let until = token.issued + HANDED_OUT_FOR;
        self.lock().insert(said, token.clone(), until);
    }

    fn lock(&self) -> MutexGuard<'_, Recent<Said, Token>> {
        // What is remembered is whole whoever panicked.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
