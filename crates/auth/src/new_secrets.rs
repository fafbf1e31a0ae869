//! Secrets that are made for accounts, robots and tokens: drawn, hashed, encrypted. Where they are kept is the caller's business.

use roadstead_secrets::{DecryptError, NONCE_BYTES, Secret};

use crate::authenticator::Authenticator;

/// The letters of tokens, Quay's.
const LETTERS: &[u8; 36] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";

/// The bytes of chance that are used: the greatest multiple of the number of letters. What is above would make some letters likelier than others.
const FAIR_BELOW: u8 = 252;

/// Why a password was not hashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HashError {
    /// Too many passwords are being hashed and checked. Trying again in some seconds helps.
    #[error("too many passwords are being checked")]
    Busy,
    /// The program is ending.
    #[error("the program is ending")]
    CutOff,
}

impl Authenticator {
    /// The hash of a password in the form that logins are checked against. It takes its turn among the logins: some 0.3 s, and at most some 10 s.
    /// A dropped future leaves the hashing running to its end.
    pub async fn hash_password(&self, password: &Secret) -> Result<String, HashError> {
        let passwords = &self.inner.passwords;
        let turn = passwords.turn().await.map_err(|_| HashError::Busy)?;
        let hash = passwords
            .hash(password, &self.inner.environment)
            .await
            .map_err(|_| HashError::CutOff);
        drop(turn);
        hash
    }

    /// A secret of so many letters `A` to `Z` and digits, each as likely as the others: 5.2 bits of chance a letter.
    pub fn draw_secret(&self, letters: usize) -> Secret {
        let mut text = String::with_capacity(letters);
        let mut chance = [0; 64];
        while text.len() < letters {
            self.inner.environment.ids.fill(&mut chance);
            let drawn = chance.iter().filter(|byte| **byte < FAIR_BELOW);
            text.extend(
                drawn
                    .map(|byte| char::from(LETTERS[usize::from(byte % 36)]))
                    .take(letters - text.len()),
            );
        }
        Secret::new(text)
    }

    /// What a column holds for a secret of some hundred letters. None without `DATABASE_SECRET_KEY`.
    pub fn encrypt_field(&self, secret: &Secret) -> Option<String> {
        let mut nonce = [0; NONCE_BYTES];
        self.inner.environment.ids.fill(&mut nonce);
        let key = self.inner.options.field_key.as_ref()?;
        key.encrypt(secret, nonce).ok()
    }

    /// The secret that a column holds. None without `DATABASE_SECRET_KEY`.
    pub fn decrypt_field(&self, field: &str) -> Option<Result<Secret, DecryptError>> {
        let key = self.inner.options.field_key.as_ref()?;
        Some(key.decrypt(field))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::World;

    #[tokio::test]
    async fn secrets_are_drawn_from_all_letters_and_have_the_length_that_was_asked_for() {
        let world = World::new().await;
        let mut seen = std::collections::BTreeSet::new();
        for length in [1, 20, 64, 120] {
            let secret = world.authenticator.draw_secret(length);
            assert_eq!(secret.expose().len(), length);
            seen.extend(secret.expose().bytes());
        }
        let long = world.authenticator.draw_secret(10_000);
        seen.extend(long.expose().bytes());
        let letters: Vec<u8> = seen.into_iter().collect();
        let mut all = LETTERS.to_vec();
        all.sort_unstable();
        assert_eq!(letters, all);
    }

    #[tokio::test]
    async fn a_password_that_is_hashed_is_the_one_that_signs_in() {
        let world = World::new().await;
        let password = Secret::new("correct horse");
        let hash = world.authenticator.hash_password(&password).await.unwrap();
        assert!(hash.starts_with("$2b$"), "{hash}");
        assert!(!hash.contains("horse"));
        assert_ne!(
            hash,
            world.authenticator.hash_password(&password).await.unwrap()
        );
    }
}
