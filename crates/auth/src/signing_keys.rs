//! The key with which this instance signs tokens: made when it is first wanted, shared through the database, kept from ending.
//!
//! Other instances' keys are the business of [`known_keys`](crate::known_keys).

#[cfg(test)]
mod tests;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use roadstead_metadata::{Database, MetadataError, NewServiceKey};
use roadstead_runtime::{Environment, Shutdown, Tasks, Timestamp};
use tokio::sync::{Mutex, oneshot};

use crate::token::TOKEN_LIFE;
use crate::web_key::PrivateKey;

/// How long a key lives from its last refresh on: `INSTANCE_SERVICE_KEY_EXPIRATION` of Quay, 120 min.
pub const KEY_LIFE: Duration = Duration::from_hours(2);

/// How long after its last refresh a key is refreshed: `INSTANCE_SERVICE_KEY_REFRESH` of Quay, 55 min. With 65 min left, so that a token
/// of 60 min never outlives the key that signed it.
pub const KEY_REFRESH: Duration = Duration::from_mins(55);

/// What is left of its life then.
const LEFT_AT_REFRESH: Duration = KEY_LIFE.saturating_sub(KEY_REFRESH);

/// How much longer than a new token a key must live to sign it without being refreshed first: the leeway that tokens have.
const MARGIN: Duration = Duration::from_secs(30);

/// How long [`SigningKeys::keep_fresh`] waits after a refresh that failed.
const RETRY: Duration = Duration::from_mins(1);

/// What the keys are called in the database.
#[derive(Clone, Debug)]
pub struct SigningKeyOptions {
    /// The service that the keys sign for, `quay` for a registry: `INSTANCE_SERVICE_KEY_SERVICE`.
    pub service: String,
    /// Where the key is from, for people: Quay writes the registry's address.
    pub name: String,
}

/// The key with which this instance signs. Cheap to clone; clones share it.
#[derive(Clone, Debug)]
pub struct SigningKeys {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    database: Database,
    environment: Environment,
    tasks: Tasks,
    options: SigningKeyOptions,
    active: RwLock<Option<Active>>,
    /// Held during a refresh, so that there is one at a time.
    refresh: Mutex<()>,
    /// How many refreshes have come to their end.
    refreshes: AtomicU64,
    #[cfg(test)]
    prepared: std::sync::Mutex<Vec<Arc<PrivateKey>>>,
}

#[derive(Clone, Debug)]
struct Active {
    key: Arc<PrivateKey>,
    expires: Timestamp,
}

/// Why there is no key to sign with.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The RSA library could not make one.
    #[error("could not generate the instance's service key")]
    Generate {
        /// What it said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The database did not take it, or did not let it live longer.
    #[error("could not share the instance's service key")]
    Share {
        /// What it said.
        #[from]
        source: MetadataError,
    },
    /// The refresh that this was waiting for failed, or the program is ending.
    #[error("the instance's service key could not be made ready; try again")]
    NotReady,
}

impl SigningKeys {
    /// Takes what it works with. Makes no key yet; making one runs in `tasks`.
    pub fn new(
        database: Database,
        environment: Environment,
        tasks: Tasks,
        options: SigningKeyOptions,
    ) -> Self {
        Self {
            inner: Arc::new(Inner {
                database,
                environment,
                tasks,
                options,
                active: RwLock::new(None),
                refresh: Mutex::new(()),
                refreshes: AtomicU64::new(0),
                #[cfg(test)]
                prepared: std::sync::Mutex::new(Vec::new()),
            }),
        }
    }

    /// Makes the key if there is none yet, and refreshes it if that is due. Does nothing otherwise.
    ///
    /// A dropped future leaves the work running to its end.
    pub async fn prepare(&self) -> Result<(), KeyError> {
        if self.inner.is_due(self.inner.environment.now()) {
            self.refresh().await
        } else {
            Ok(())
        }
    }

    /// Keeps the key fresh until the shutdown, starting with making it: the first token need not wait for it then.
    ///
    /// Failures are tried again every minute, and logged once however many follow each other.
    pub async fn keep_fresh(&self, shutdown: Shutdown) {
        let mut failing = false;
        while !shutdown.requested() {
            let prepared = self.prepare().await;
            let failed_before = std::mem::replace(&mut failing, prepared.is_err());
            let pause = match prepared {
                Ok(()) => {
                    if failed_before {
                        tracing::info!("The service key is fresh again");
                    }
                    self.inner.until_due(self.inner.environment.now())
                }
                Err(error) => {
                    if !failed_before {
                        let error: &dyn std::error::Error = &error;
                        tracing::warn!(
                            error,
                            "Could not refresh the service key; trying again every minute"
                        );
                    }
                    RETRY
                }
            };
            tokio::select! {
                () = shutdown.wait() => return,
                () = self.inner.environment.clock.sleep(pause) => {}
            }
        }
    }

    /// Whether the key is there, shared and not at its end: what Quay's instance health check asks. False also when there is none yet.
    pub async fn is_valid(&self) -> Result<bool, MetadataError> {
        let Some(active) = self.inner.active() else {
            return Ok(false);
        };
        let row = self
            .inner
            .database
            .find_service_key(&active.key.kid)
            .await?;
        let now = self.inner.environment.now();
        Ok(row.is_some_and(|row| row.approved && row.expires.is_none_or(|expires| now < expires)))
    }

    /// The id of the key that this instance signs with, once there is one.
    pub fn key_id(&self) -> Option<String> {
        self.inner.active().map(|active| active.key.kid.clone())
    }

    /// The key's id and the key, with enough life left for a new token if that can be had.
    pub(crate) async fn current(&self) -> Result<Arc<PrivateKey>, KeyError> {
        let now = self.inner.environment.now();
        if let Some(active) = self.inner.active()
            && now + TOKEN_LIFE + MARGIN <= active.expires
        {
            if self.inner.is_due(now) {
                self.start_refresh();
            }
            return Ok(active.key);
        }
        match (self.refresh().await, self.inner.active()) {
            (_, Some(active)) if now < active.expires => Ok(active.key),
            (Err(error), _) => Err(error),
            (Ok(()), _) => Err(KeyError::NotReady),
        }
    }

    /// Refreshes the key, or waits for the refresh that is under way, and tells its outcome.
    async fn refresh(&self) -> Result<(), KeyError> {
        self.start_refresh()
            .await
            .unwrap_or(Err(KeyError::NotReady))
    }

    fn start_refresh(&self) -> oneshot::Receiver<Result<(), KeyError>> {
        let (answer, answered) = oneshot::channel();
        let inner = Arc::clone(&self.inner);
        let before = inner.refreshes.load(Ordering::Acquire);
        self.inner.tasks.spawn(async move {
            let outcome = inner.refresh_once(before).await;
            // Whoever wanted the key may have gone; the key is there for the next one.
            answer.send(outcome).ok();
        });
        answered
    }

    /// Lets tests have keys without the time that each takes to make.
    #[cfg(test)]
    pub(crate) fn with_prepared(self, keys: impl IntoIterator<Item = Arc<PrivateKey>>) -> Self {
        self.inner.prepared.lock().unwrap().extend(keys);
        self
    }
}

impl Inner {
    fn active(&self) -> Option<Active> {
        self.active
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// How long the key needs no refresh; zero when there is none yet.
    fn until_due(&self, now: Timestamp) -> Duration {
        self.active().map_or(Duration::ZERO, |active| {
            let left = (active.expires - now).to_std().unwrap_or_default();
            left.saturating_sub(LEFT_AT_REFRESH)
        })
    }

    fn is_due(&self, now: Timestamp) -> bool {
        self.until_due(now).is_zero()
    }

    /// Refreshes the key, unless another refresh has ended since `before` were counted: its outcome is ours then.
    async fn refresh_once(&self, before: u64) -> Result<(), KeyError> {
        let _one_at_a_time = self.refresh.lock().await;
        let now = self.environment.now();
        if !self.is_due(now) {
            return Ok(());
        }
        if self.refreshes.load(Ordering::Acquire) != before {
            // Without this, everybody who waited for a database that does not answer would wait for it once more, one after the other.
            return Err(KeyError::NotReady);
        }
        let outcome = self.extend_or_replace(now).await;
        self.refreshes.fetch_add(1, Ordering::Release);
        let active = outcome?;
        *self.active.write().unwrap_or_else(PoisonError::into_inner) = Some(active);
        Ok(())
    }

    async fn extend_or_replace(&self, now: Timestamp) -> Result<Active, KeyError> {
        let expires = now + KEY_LIFE;
        if let Some(Active { key, expires: end }) = self.active()
            && now < end
            && self.database.extend_service_key(&key.kid, expires).await?
        {
            tracing::debug!(key.id = %key.kid, "Extended the life of the service key");
            return Ok(Active { key, expires });
        }
        // There is none yet, or it has ended (the machine slept), or somebody has deleted it: a deleted key does not come back.
        let key = self.make().await?;
        self.database
            .add_service_key(&NewServiceKey {
                kid: &key.kid,
                service: &self.options.service,
                name: &self.options.name,
                jwk: &key.jwk,
                created: now,
                expires,
            })
            .await?;
        tracing::info!(key.id = %key.kid, "Made a service key");
        Ok(Active { key, expires })
    }

    async fn make(&self) -> Result<Arc<PrivateKey>, KeyError> {
        #[cfg(test)]
        if let Some(key) = self.prepared.lock().unwrap().pop() {
            return Ok(key);
        }
        let ids = Arc::clone(&self.environment.ids);
        let made = tokio::task::spawn_blocking(move || PrivateKey::generate(ids.as_ref()));
        match made.await {
            Ok(Ok(key)) => Ok(Arc::new(key)),
            Ok(Err(error)) => Err(KeyError::Generate {
                source: error.into(),
            }),
            Err(_) => Err(KeyError::NotReady),
        }
    }
}
