//! The public keys with which tokens are checked, of this instance and of all others: read from the database, remembered for a while.
//!
//! How a token is checked with one is the business of [`access`](crate::access).

#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jsonwebtoken::DecodingKey;
use roadstead_metadata::{Database, MetadataError, ServiceKey};
use roadstead_runtime::{Environment, Recent, Timestamp};

use crate::web_key;

/// How many keys are remembered: one for each instance of the last hours. A key takes less than 1 KiB.
const KEYS_MAX: usize = 512;

/// How long a key is used before it is read again: the bound on honouring one that was deleted or whose approval was withdrawn.
pub(crate) const REREAD_AFTER: Duration = Duration::from_mins(1);

/// How many ids are remembered that no usable key has.
const STRANGERS_MAX: usize = 512;

/// How long such an id is not looked up again. An instance shares its key before it signs with it, so nobody waits for this.
pub(crate) const STRANGER_FOR: Duration = Duration::from_secs(10);

/// How many ids that were never seen before are looked up in the database in one second. Clients choose the ids that they send, so without a bound
/// they would choose how many queries there are.
pub(crate) const LOOKUPS_PER_SECOND: u32 = 50;

/// The longest id: Quay's column.
const KID_BYTES_MAX: usize = 255;

#[derive(Debug)]
pub(crate) struct KnownKeys {
    database: Database,
    environment: Environment,
    service: String,
    keys: Mutex<Recent<String, KnownKey>>,
    strangers: Mutex<Recent<String, Stranger>>,
    lookups: Mutex<Lookups>,
}

#[derive(Clone, Debug)]
struct KnownKey {
    key: Arc<DecodingKey>,
    read: Timestamp,
}

/// Why there is no key of some id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stranger {
    /// There is no such key, or it is another service's, or nobody has approved it, or it is no RSA key.
    Unknown,
    /// Its life is over.
    Ended,
}

/// Why no key was found.
#[derive(Debug)]
pub(crate) enum NoKey {
    Stranger(Stranger),
    /// Too many ids that nobody knows were asked for just now.
    TooManyLookups,
    Backend(MetadataError),
}

/// The lookups of the present second.
#[derive(Debug)]
struct Lookups {
    since: Timestamp,
    done: u32,
}

impl KnownKeys {
    pub(crate) fn new(database: Database, environment: Environment, service: String) -> Self {
        let since = environment.now();
        Self {
            database,
            environment,
            service,
            keys: Mutex::new(Recent::new(KEYS_MAX)),
            strangers: Mutex::new(Recent::new(STRANGERS_MAX)),
            lookups: Mutex::new(Lookups { since, done: 0 }),
        }
    }

    /// Finds the key of this id, if it may be trusted now: approved, not ended, of the right service.
    ///
    /// While the database does not answer, keys that are known already are trusted until their end.
    pub(crate) async fn find(&self, kid: &str) -> Result<Arc<DecodingKey>, NoKey> {
        if kid.is_empty()
            || kid.len() > KID_BYTES_MAX
            || !kid.bytes().all(|byte| byte.is_ascii_graphic())
        {
            return Err(NoKey::Stranger(Stranger::Unknown));
        }
        let now = self.environment.now();
        let known = self.known(kid, now);
        match &known {
            Some(known) if now < known.read + REREAD_AFTER => return Ok(Arc::clone(&known.key)),
            // A key that was good a minute ago: its lookups are bounded by how many keys there are.
            Some(_) => {}
            None => self.admit(kid, now)?,
        }
        match self.database.find_service_key(kid).await {
            Ok(row) => self.judge(kid, row, now),
            Err(error) => match known {
                Some(known) if error.is_temporary() => Ok(known.key),
                _ => Err(NoKey::Backend(error)),
            },
        }
    }

    fn known(&self, kid: &str, now: Timestamp) -> Option<KnownKey> {
        let keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        keys.get(&kid.to_owned(), now).cloned()
    }

    /// Lets a lookup of an id happen that is not known, unless it was looked up just now or there have been too many.
    fn admit(&self, kid: &str, now: Timestamp) -> Result<(), NoKey> {
        let strangers = self
            .strangers
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(stranger) = strangers.get(&kid.to_owned(), now) {
            return Err(NoKey::Stranger(*stranger));
        }
        drop(strangers);
        let mut lookups = self.lookups.lock().unwrap_or_else(PoisonError::into_inner);
        // A clock that was set back begins a new second too.
        if now < lookups.since || now >= lookups.since + Duration::from_secs(1) {
            *lookups = Lookups {
                since: now,
                done: 0,
            };
        }
        if lookups.done == LOOKUPS_PER_SECOND {
            return Err(NoKey::TooManyLookups);
        }
        lookups.done += 1;
        Ok(())
    }

    /// Remembers what the database says of an id.
    fn judge(
        &self,
        kid: &str,
        row: Option<ServiceKey>,
        now: Timestamp,
    ) -> Result<Arc<DecodingKey>, NoKey> {
        match trusted(row, &self.service, now) {
            Ok((key, expires)) => {
                let known = KnownKey {
                    key: Arc::new(key),
                    read: now,
                };
                let key = Arc::clone(&known.key);
                self.keys
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .insert(kid.to_owned(), known, expires);
                Ok(key)
            }
            Err(stranger) => {
                self.forget(kid, now);
                self.strangers
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .insert(kid.to_owned(), stranger, now + STRANGER_FOR);
                Err(NoKey::Stranger(stranger))
            }
        }
    }

    /// Ends what is remembered of a key that may not be trusted any more.
    fn forget(&self, kid: &str, now: Timestamp) {
        let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = keys.get(&kid.to_owned(), now).cloned() {
            keys.insert(kid.to_owned(), known, now);
        }
    }
}

/// The key of a row and its end, if tokens may be checked with it.
fn trusted(
    row: Option<ServiceKey>,
    service: &str,
    now: Timestamp,
) -> Result<(DecodingKey, Timestamp), Stranger> {
    let row = row
        .filter(|row| row.approved && row.service == service)
        .ok_or(Stranger::Unknown)?;
    let expires = row.expires.unwrap_or(Timestamp::MAX_UTC);
    if expires <= now {
        return Err(Stranger::Ended);
    }
    let key = web_key::read(&row.jwk).ok_or(Stranger::Unknown)?;
    Ok((key, expires))
}

#[cfg(test)]
impl KnownKeys {
    pub(crate) fn remembered(&self) -> (usize, usize) {
        (
            self.keys.lock().unwrap().len(),
            self.strangers.lock().unwrap().len(),
        )
    }

    pub(crate) fn lookups(&self) -> u32 {
        self.lookups.lock().unwrap().done
    }
}
