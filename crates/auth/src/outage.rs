//! Tokens while the database does not answer: what it granted lately is granted again, for pulling and to nobody else.
//!
//! Remembered is, for the ten minutes of [`GRANTED_FOR`], who signed in with which password and from which repositories they could pull. Nothing
//! but that is granted again: the same or less than the database granted, to whoever sends the same name and the same password. What
//! ends by itself, an app token or an OAuth token, is not remembered, because its end could not be kept to. The database is always asked
//! first, and what it refuses is forgotten.

#[cfg(test)]
mod tests;

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use roadstead_metadata::MetadataError;
use roadstead_oci::RepositoryName;
use roadstead_runtime::{Environment, Recent, Timestamp};
use sha2::{Digest, Sha256};

use crate::grant::{GrantError, GrantedScope, TokenRefusal};
use crate::identity::{Identity, Proof};
use crate::login::{Credentials, LoginError};
use crate::rights::Action;
use crate::scope::RequestedScope;

/// How long what the database granted is granted again: the bound on granting what was taken away, by way of another instance, after it was
/// granted here and before the database went. The token lives for an hour from then on, as every other.
pub(crate) const GRANTED_FOR: Duration = Duration::from_mins(10);

/// How many grants and sign-ins are remembered. One takes some 300 bytes.
const REMEMBERED_MAX: usize = 8_192;

/// How many wrong passwords may be sent for one name during an outage: as many as there are before Quay closes an account. Nothing slows down
/// whoever tries them here.
const MISSES_MAX: u32 = 5;

/// How many names are remembered that wrong passwords were sent for.
const MISSED_MAX: usize = 1_024;

/// What was granted lately.
#[derive(Debug)]
pub(crate) struct Outage {
    /// Under a hash of the name and the password: who that is. Under one of these and a repository: that they could pull from it.
    granted: Mutex<Recent<Hash, Identity>>,
    /// How many wrong passwords came for a name.
    misses: Mutex<Recent<String, u32>>,
    /// Before all that is hashed, so that what is in memory says nothing about passwords.
    key: Hash,
}

type Hash = [u8; 32];

/// Who asks, in a form that can be kept.
#[derive(Clone, Debug)]
pub(crate) struct Asker {
    username: Option<String>,
    hash: Hash,
}

/// What the database decided: who it is, and what is granted.
pub(crate) type Decision = (Identity, Vec<GrantedScope>);

impl Outage {
    pub(crate) fn new(environment: &Environment) -> Self {
        let mut key = [0; 32];
        environment.ids.fill(&mut key);
        Self {
            granted: Mutex::new(Recent::new(REMEMBERED_MAX)),
            misses: Mutex::new(Recent::new(MISSED_MAX)),
            key,
        }
    }

    /// To be called before the credentials are used up.
    pub(crate) fn asker(&self, credentials: Option<&Credentials>) -> Asker {
        let mut hasher = Sha256::new_with_prefix(self.key);
        if let Some(Credentials { username, password }) = credentials {
            hasher.update(username.len().to_le_bytes());
            hasher.update(username);
            hasher.update(password.expose());
        }
        Asker {
            username: credentials.map(|credentials| credentials.username.clone()),
            hash: hasher.finalize().into(),
        }
    }

    /// Remembers what the database decided, in place of what it decided before.
    pub(crate) fn remember(&self, asker: &Asker, (identity, grants): &Decision, now: Timestamp) {
        if !may_be_remembered(identity) {
            return;
        }
        let until = now + GRANTED_FOR;
        let mut granted = self.granted.lock().unwrap_or_else(PoisonError::into_inner);
        granted.insert(asker.hash, identity.clone(), until);
        for grant in grants {
            let pull = grant.actions.contains(&Action::Pull);
            let until = if pull { until } else { now };
            granted.insert(in_repository(asker, &grant.name), identity.clone(), until);
        }
        drop(granted);
        if let Some(username) = &asker.username {
            self.note_misses(username, 0, now);
        }
    }

    /// Forgets somebody whom the database did not let in.
    pub(crate) fn forget(&self, asker: &Asker, now: Timestamp) {
        let mut granted = self.granted.lock().unwrap_or_else(PoisonError::into_inner);
        // Whoever was never remembered needs no room for being forgotten. What ends now is not found any more.
        if let Some(identity) = granted.get(&asker.hash, now).cloned() {
            granted.insert(asker.hash, identity, now);
        }
    }

    /// What was granted lately, if all that is asked for was: pulling, and nothing else. None as well when too many wrong passwords came.
    pub(crate) fn recall(
        &self,
        asker: &Asker,
        requested: &[RequestedScope],
        now: Timestamp,
    ) -> Option<Decision> {
        let misses = asker.username.as_deref().map_or(0, |username| {
            let misses = self.misses.lock().unwrap_or_else(PoisonError::into_inner);
            misses.get(&username.to_owned(), now).copied().unwrap_or(0)
        });
        if misses >= MISSES_MAX {
            return None;
        }
        let granted = self.granted.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(identity) = granted.get(&asker.hash, now).cloned() else {
            drop(granted);
            if let Some(username) = &asker.username {
                self.note_misses(username, misses + 1, now);
            }
            return None;
        };
        let grants = requested
            .iter()
            .map(|scope| {
                let RequestedScope::Repository { name, actions } = scope else {
                    return None;
                };
                let only_pull = actions.iter().all(|action| *action == Action::Pull);
                let known = granted.get(&in_repository(asker, name), now).is_some();
                (only_pull && known).then(|| GrantedScope {
                    name: name.clone(),
                    actions: actions.clone(),
                })
            })
            .collect::<Option<Vec<_>>>()?;
        Some((identity, grants))
    }

    #[cfg(test)]
    pub(crate) fn remembered(&self) -> usize {
        self.granted
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .len()
    }

    fn note_misses(&self, username: &str, misses: u32, now: Timestamp) {
        let mut noted = self.misses.lock().unwrap_or_else(PoisonError::into_inner);
        if misses > 0 || noted.get(&username.to_owned(), now).is_some() {
            noted.insert(username.to_owned(), misses, now + GRANTED_FOR);
        }
    }
}

/// Whether what proved it cannot end by itself within the time.
fn may_be_remembered(identity: &Identity) -> bool {
    match identity {
        Identity::Anonymous => true,
        Identity::User(user) => match user.proof {
            Proof::Password | Proof::Robot { .. } => true,
            Proof::AppToken { .. } | Proof::OauthToken { .. } => false,
        },
    }
}

fn in_repository(asker: &Asker, name: &RepositoryName) -> Hash {
    Sha256::new_with_prefix(asker.hash)
        .chain_update(name.as_str())
        .finalize()
        .into()
}

/// Whether the database did not answer, as against having refused.
pub(crate) const fn is_outage(refusal: &TokenRefusal) -> bool {
    matches!(
        refusal,
        TokenRefusal::Login(LoginError::Backend {
            source: MetadataError::Unavailable { .. }
        }) | TokenRefusal::Grant(GrantError::Backend {
            source: MetadataError::Unavailable { .. }
        })
    )
}
