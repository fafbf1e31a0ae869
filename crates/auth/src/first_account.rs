//! The account that a registry without accounts starts with. Where its password is kept and how it is shown is the caller's business.

use roadstead_metadata::{FirstAccount, MetadataError};

use crate::authenticator::Authenticator;
use roadstead_secrets::Secret;

/// The letters of the password: Crockford's base 32, in which no two look alike.
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// The length of the password: 24 letters of 5 bits are 120 bits of chance.
const LENGTH: usize = 24;

/// An account that is about to be made: its password can be put in a safe place before it is of any use.
#[derive(Debug)]
pub struct FirstAccountDraft {
    username: String,
    password: Secret,
    password_hash: String,
}

impl FirstAccountDraft {
    /// The name.
    pub fn username(&self) -> &str {
        &self.username
    }

    /// The password, which is kept nowhere else.
    pub const fn password(&self) -> &Secret {
        &self.password
    }
}

/// Why there is no first account.
#[derive(Debug, thiserror::Error)]
pub enum FirstAccountError {
    /// The database could not be asked, or did not take the account.
    #[error("could not make the first account")]
    Backend {
        /// What it said.
        #[from]
        source: MetadataError,
    },
    /// The program is ending.
    #[error("the first account was not made: the program is ending")]
    CutOff,
}

impl Authenticator {
    /// Draws a password for the first account and hashes it; changes nothing yet. None when there is any account already.
    ///
    /// Put the password where its reader will find it, then call [`Authenticator::create_first_account`]: killed in between, the
    /// program starts over with another password, and nobody is locked out.
    pub async fn draft_first_account(
        &self,
        username: &str,
    ) -> Result<Option<FirstAccountDraft>, FirstAccountError> {
        if self.inner.database.has_accounts().await? {
            return Ok(None);
        }
        let password = self.draw_password();
        let password_hash = self
            .inner
            .passwords
            .hash(&password, &self.inner.environment)
            .await
            .map_err(|_| FirstAccountError::CutOff)?;
        Ok(Some(FirstAccountDraft {
            username: username.to_owned(),
            password,
            password_hash,
        }))
    }

    /// Makes the first account. False when there is any account already: the draft's password is of no use then.
    pub async fn create_first_account(
        &self,
        draft: &FirstAccountDraft,
    ) -> Result<bool, FirstAccountError> {
        let environment = &self.inner.environment;
        let created = self
            .inner
            .database
            .create_first_account(&FirstAccount {
                username: &draft.username,
                // Quay's column wants one; `.invalid` is nobody's (RFC 6761).
                email: &format!("{}@registry.invalid", draft.username),
                password_hash: &draft.password_hash,
                uuid: environment.ids.uuid(),
                now: environment.now(),
                tag_window: self.inner.options.tag_window,
            })
            .await?;
        Ok(created)
    }

    fn draw_password(&self) -> Secret {
        let mut chance = [0; LENGTH];
        self.inner.environment.ids.fill(&mut chance);
        let password: String = chance
            .iter()
            .map(|byte| char::from(ALPHABET[usize::from(byte % 32)]))
            .collect();
        Secret::new(password)
    }
}

#[cfg(test)]
mod tests {
    use crate::login::Credentials;
    use crate::testing::World;

    #[tokio::test]
    async fn an_empty_registry_gets_one_account_whose_password_is_right() {
        let world = World::new().await;
        let auth = &world.authenticator;
        let draft = auth.draft_first_account("admin").await.unwrap().unwrap();
        assert_eq!(draft.password().expose().len(), 24);
        assert!(!format!("{draft:?}").contains(draft.password().expose()));
        assert!(auth.create_first_account(&draft).await.unwrap());
        let identity = auth
            .authenticate(Credentials {
                username: "admin".to_owned(),
                password: draft.password().clone(),
            })
            .await
            .unwrap();
        assert_eq!(identity.username(), Some("admin"));
        assert!(auth.draft_first_account("admin").await.unwrap().is_none());
    }

    #[tokio::test]
    async fn a_registry_with_accounts_gets_no_further_one_and_two_drafts_make_one_account() {
        let world = World::new().await;
        let auth = &world.authenticator;
        let first = auth.draft_first_account("admin").await.unwrap().unwrap();
        let second = auth.draft_first_account("admin").await.unwrap().unwrap();
        assert_ne!(first.password().expose(), second.password().expose());
        assert!(auth.create_first_account(&first).await.unwrap());
        assert!(!auth.create_first_account(&second).await.unwrap());
        assert!(auth.draft_first_account("root").await.unwrap().is_none());
        assert!(world.database.find_account("root").await.unwrap().is_none());
    }

    #[tokio::test]
    async fn passwords_are_drawn_from_the_whole_alphabet() {
        let world = World::new().await;
        let mut letters: Vec<char> = (0..100)
            .flat_map(|_| {
                let password = world.authenticator.draw_password();
                password.expose().chars().collect::<Vec<_>>()
            })
            .collect();
        letters.sort_unstable();
        letters.dedup();
        assert_eq!(
            letters.into_iter().collect::<String>().as_bytes(),
            super::ALPHABET
        );
    }
}
