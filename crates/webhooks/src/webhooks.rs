//! Adding, listing and removing webhooks.

use roadstead_metadata::{Database, ImageEvent, MetadataError, NewWebhook, Webhook};
use roadstead_placement::LocationName;
use roadstead_runtime::{Environment, Timestamp};
use roadstead_secrets::{DecryptError, EncryptError, FieldKey, NONCE_BYTES, Secret, is_encrypted};
use serde::Serialize;

use crate::address::{Address, AddressError};
use crate::message::EventDocument;
use crate::metrics::DeliveryCounters;
use crate::sender::{Sender, SenderError};

/// The shortest secret, in bytes: what is shorter is found by trying.
const SECRET_BYTES_MIN: usize = 16;

/// The longest secret, in bytes.
const SECRET_BYTES_MAX: usize = 1_024;

/// The webhooks of a registry. A clone is a few reference counts.
#[derive(Clone, Debug)]
pub struct Webhooks {
    pub(crate) database: Database,
    pub(crate) environment: Environment,
    /// What addresses and secrets are encrypted with.
    pub(crate) key: Option<FieldKey>,
    pub(crate) sender: Sender,
    pub(crate) deliveries: DeliveryCounters,
}

/// Who is to be told, and of what.
#[derive(Clone, Debug)]
pub struct NewHook {
    /// The address, all of which may be secret.
    pub url: Secret,
    /// What everything sent is signed with.
    pub secret: Option<Secret>,
    /// Only of what happens at the location of this name.
    pub location: Option<LocationName>,
    /// Only of what happens to repositories of this namespace.
    pub namespace: Option<String>,
}

/// A webhook, and how it fares, as a document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct WebhookDocument {
    /// Its number.
    pub id: i64,
    /// Scheme, host and port of its address.
    pub address: String,
    /// Whether what it is sent is signed.
    pub signed: bool,
    /// Only what happens at this location.
    pub location: Option<LocationName>,
    /// Only what happens to repositories of this namespace.
    pub namespace: Option<String>,
    /// Since when there is it.
    pub created_at: Timestamp,
    /// What it has still to be told.
    pub pending: u64,
    /// What it has taken.
    pub delivered: u64,
    /// What it did not take within a day.
    pub given_up: u64,
    /// When it last took something.
    pub last_delivered: Option<Timestamp>,
    /// Why the last attempt failed that did.
    pub last_failure: Option<String>,
    /// When that was.
    pub last_failed: Option<Timestamp>,
}

/// Why a webhook was not added.
#[derive(Debug, thiserror::Error)]
pub enum AddError {
    /// Nothing can be sent to its address.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// Its secret is too short or too long.
    #[error("a secret has {SECRET_BYTES_MIN} to {SECRET_BYTES_MAX} bytes")]
    Secret,
    /// What must not be read cannot be encrypted.
    #[error(
        "a secret, and an address with a password, are kept encrypted: set DATABASE_SECRET_KEY, or add the webhook without"
    )]
    NoKey,
    /// Its address or secret is too long to be encrypted.
    #[error(transparent)]
    Encrypt(#[from] EncryptError),
    /// There is no such namespace.
    #[error("there is no namespace `{name}`")]
    UnknownNamespace {
        /// What was asked for.
        name: String,
    },
    /// The database failed, or there are too many webhooks.
    #[error(transparent)]
    Metadata(#[from] MetadataError),
}

impl Webhooks {
    /// The webhooks of a database, whose addresses and secrets are encrypted with `key`.
    pub fn new(
        database: Database,
        environment: Environment,
        key: Option<FieldKey>,
    ) -> Result<Self, SenderError> {
        Ok(Self {
            database,
            environment,
            key,
            sender: Sender::new(&[])?,
            deliveries: DeliveryCounters::default(),
        })
    }

    /// The same, and what it sends to may have a certificate of these authorities, in PEM form, besides the system's.
    pub fn trusting(self, authorities: &[u8]) -> Result<Self, SenderError> {
        Ok(Self {
            sender: Sender::new(authorities)?,
            ..self
        })
    }

    /// Has somebody told of every event from now on, and returns the number of the webhook. The location is not looked up.
    pub async fn add(&self, new: &NewHook) -> Result<i64, AddError> {
        let address = Address::parse(new.url.expose())?;
        let lengths = SECRET_BYTES_MIN..=SECRET_BYTES_MAX;
        if let Some(secret) = &new.secret
            && !lengths.contains(&secret.expose().len())
        {
            return Err(AddError::Secret);
        }
        let (url, secret) = match &self.key {
            Some(key) => {
                let secret = new.secret.as_ref().map(|secret| self.encrypt(key, secret));
                (self.encrypt(key, &address.expose())?, secret.transpose()?)
            }
            None if new.secret.is_some() || address.has_credentials() => {
                return Err(AddError::NoKey);
            }
            None => (address.expose().expose().to_owned(), None),
        };
        let namespace = match &new.namespace {
            None => None,
            Some(name) => {
                let found = self.database.find_namespace(name).await?;
                Some(found.ok_or_else(|| AddError::UnknownNamespace {
                    name: name.escape_debug().take(255).collect(),
                })?)
            }
        };
        let id = self
            .database
            .add_webhook(&NewWebhook {
                url: &url,
                shown: &address.to_string(),
                secret: secret.as_deref(),
                location: new.location.as_ref(),
                namespace,
                now: self.environment.now(),
            })
            .await?;
        Ok(id)
    }

    /// Every webhook, the oldest first.
    pub async fn list(&self) -> Result<Vec<WebhookDocument>, MetadataError> {
        let webhooks = self.database.webhooks().await?;
        Ok(webhooks.into_iter().map(WebhookDocument::from).collect())
    }

    /// Removes a webhook. What it has still to be told is not sent any more, but for what is on its way. False if there is none of this number.
    pub async fn remove(&self, id: i64) -> Result<bool, MetadataError> {
        self.database.remove_webhook(id).await
    }

    /// The events behind the one of this number, in the order in which they were noted; at most `limit`.
    pub async fn events(
        &self,
        after: i64,
        limit: u32,
    ) -> Result<Vec<EventDocument>, MetadataError> {
        let events: Vec<ImageEvent> = self.database.image_events(after, limit).await?;
        Ok(events.iter().map(EventDocument::from).collect())
    }

    fn encrypt(&self, key: &FieldKey, secret: &Secret) -> Result<String, EncryptError> {
        let mut nonce = [0; NONCE_BYTES];
        self.environment.ids.fill(&mut nonce);
        key.encrypt(secret, nonce)
    }

    /// What a field holds that may be encrypted.
    pub(crate) fn decrypt(&self, field: &str) -> Result<Secret, DecryptError> {
        match &self.key {
            Some(key) if is_encrypted(field) => key.decrypt(field),
            None if is_encrypted(field) => Err(DecryptError::WrongKey),
            _ => Ok(Secret::new(field)),
        }
    }
}

impl From<Webhook> for WebhookDocument {
    fn from(webhook: Webhook) -> Self {
        Self {
            id: webhook.id,
            address: webhook.shown,
            signed: webhook.signed,
            location: webhook.location,
            namespace: webhook.namespace,
            created_at: webhook.created_at,
            pending: webhook.pending,
            delivered: webhook.delivered,
            given_up: webhook.given_up,
            last_delivered: webhook.last_delivered,
            last_failure: webhook.last_failure,
            last_failed: webhook.last_failed,
        }
    }
}
