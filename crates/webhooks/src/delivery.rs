//! The loop: takes what is due under a lease, sends it, and notes what came of it.

use std::error::Error;
use std::time::Duration;

use futures_util::stream::{self, FuturesUnordered, StreamExt as _};
use roadstead_metadata::{DeliveriesEnded, Delivery, MetadataError, WebhookLease};
use roadstead_placement::retry_delay;
use roadstead_runtime::{Shutdown, Timestamp};
use roadstead_secrets::{DecryptError, Secret};

use crate::address::{Address, AddressError};
use crate::message::EventDocument;
use crate::sender::SendError;
use crate::webhooks::Webhooks;

/// How many webhooks one process delivers to at a time.
const WEBHOOKS_AT_ONCE: usize = 8;

/// How many messages a webhook is sent under one lease, and how many of them at a time.
const MESSAGES: u32 = 16;
const MESSAGES_AT_ONCE: usize = 4;

/// How long a process has for that: three times what it takes when none is answered. As long a process that died holds a webhook up.
const LEASE: Duration = Duration::from_mins(2);

/// How long something is tried to be delivered.
const GIVEN_UP_AFTER: Duration = Duration::from_hours(24);

/// The longest that a webhook is left alone which took nothing at all: what becomes due meanwhile waits for that.
const REST_MAX: Duration = Duration::from_mins(1);

/// How often it is looked whether anything is due, on average.
const POLL: Duration = Duration::from_secs(2);

/// How long what is on its way at a shutdown may take.
const GRACE: Duration = Duration::from_secs(5);

/// Why nothing can be sent to a webhook, whatever its receiver does.
#[derive(Debug, thiserror::Error)]
enum Unusable {
    #[error("its address or secret cannot be read: {0}; add the webhook again")]
    Field(#[from] DecryptError),
    #[error(transparent)]
    Address(#[from] AddressError),
}

/// A webhook that can be sent to.
struct Target {
    address: Address,
    secret: Option<Secret>,
}

impl Webhooks {
    /// Delivers what is due, until `shutdown`. Any number of processes may do so at once.
    ///
    /// While the database is not available nothing is sent. Dropped, it leaves leases that end by themselves, and what was on its way is sent again.
    pub async fn keep_delivering(&self, shutdown: &Shutdown) {
        let mut running = FuturesUnordered::new();
        while !shutdown.requested() {
            while running.len() < WEBHOOKS_AT_ONCE {
                match self.claim().await {
                    Ok(Some(lease)) => running.push(self.deliver(lease)),
                    Ok(None) => break,
                    Err(error) => {
                        tracing::debug!(
                            error = &error as &dyn Error,
                            "Could not look for what webhooks are to be told",
                        );
                        break;
                    }
                }
            }
            let pause = POLL.mul_f64(0.5 + self.environment.ids.fraction());
            tokio::select! {
                biased;
                () = shutdown.wait() => {}
                Some(()) = running.next(), if !running.is_empty() => {}
                () = self.environment.clock.sleep(pause) => {}
            }
        }
        let ending = async { while running.next().await.is_some() {} };
        if tokio::time::timeout(GRACE, ending).await.is_err() {
            tracing::debug!(
                "Webhooks did not answer in time for the shutdown; they are sent to again"
            );
        }
    }

    pub(crate) async fn claim(&self) -> Result<Option<WebhookLease>, MetadataError> {
        let now = self.environment.now();
        let token = self.environment.ids.uuid();
        self.database
            .claim_webhook(MESSAGES, token, now + LEASE, now)
            .await
    }

    /// Sends what a lease is about, and notes what came of it.
    pub(crate) async fn deliver(&self, lease: WebhookLease) {
        let ended = match self.target(&lease) {
            Ok(target) => self.send_all(&lease, &target).await,
            Err(unusable) => {
                let failed = lease.deliveries.iter();
                let failed = failed.map(|delivery| (delivery, Err(unusable.to_string())));
                self.judge(&lease, failed)
            }
        };
        log(&lease, &ended);
        self.deliveries.note(&ended);
        let noted = self
            .database
            .end_deliveries(&lease, &ended, self.environment.now())
            .await;
        match noted {
            Ok(true) => {}
            Ok(false) => tracing::debug!(
                webhook.id = lease.id,
                "Webhook {} was removed meanwhile, or is another process's",
                lease.id
            ),
            Err(error) => tracing::warn!(
                webhook.id = lease.id,
                error = &error as &dyn Error,
                "Could not note what webhook {} was told; it is told again",
                lease.id,
            ),
        }
    }

    fn target(&self, lease: &WebhookLease) -> Result<Target, Unusable> {
        let url = self.decrypt(&lease.url)?;
        let secret = lease.secret.as_deref().map(|secret| self.decrypt(secret));
        Ok(Target {
            address: Address::parse(url.expose())?,
            secret: secret.transpose()?,
        })
    }

    async fn send_all(&self, lease: &WebhookLease, target: &Target) -> DeliveriesEnded {
        // Made before any of them runs, one by one in the order of events.
        let sends: Vec<_> = lease
            .deliveries
            .iter()
            .map(|delivery| self.send(delivery, target))
            .collect();
        let sent: Vec<_> = stream::iter(sends)
            .buffered(MESSAGES_AT_ONCE)
            .collect()
            .await;
        self.judge(lease, lease.deliveries.iter().zip(sent))
    }

    async fn send(&self, delivery: &Delivery, target: &Target) -> Result<(), String> {
        let document = EventDocument::from(&delivery.event);
        let body = serde_json::to_vec(&document).expect("a document of texts and a number");
        self.sender
            .send(
                &target.address,
                target.secret.as_ref(),
                &document.kind,
                body,
            )
            .await
            .map_err(|error| reason(&error))
    }

    /// What follows from how the deliveries went.
    fn judge<'d>(
        &self,
        lease: &WebhookLease,
        sent: impl IntoIterator<Item = (&'d Delivery, Result<(), String>)>,
    ) -> DeliveriesEnded {
        let now = self.environment.now();
        let delay = |failed: u32| retry_delay(failed, self.environment.ids.fraction());
        let mut ended = DeliveriesEnded::default();
        for (delivery, sent) in sent {
            match sent {
                Ok(()) => ended.delivered.push(delivery.id),
                Err(reason) => {
                    if is_over(delivery.event.complete_at, now) {
                        ended.given_up.push(delivery.id);
                    } else {
                        let failed = delivery.attempts.saturating_add(1);
                        ended.put_off.push((delivery.id, now + delay(failed)));
                    }
                    ended.failure = Some(reason);
                }
            }
        }
        if ended.delivered.is_empty() && ended.failure.is_some() {
            let rest = delay(lease.failures.saturating_add(1)).min(REST_MAX);
            ended.rests_until = Some(now + rest);
        }
        ended
    }
}

/// Logs what an operator wants to know: once that a webhook takes nothing, that it does again, and what it was never told.
fn log(lease: &WebhookLease, ended: &DeliveriesEnded) {
    let id = lease.id;
    match &ended.failure {
        Some(reason) if lease.failures == 0 && ended.rests_until.is_some() => tracing::warn!(
            webhook.id = id,
            "Webhook {id} takes nothing and is tried again for a day: {reason}",
        ),
        None if lease.failures > 0 => {
            tracing::info!(webhook.id = id, "Webhook {id} takes what it is sent again");
        }
        _ => {}
    }
    if !ended.given_up.is_empty() {
        let events = ended.given_up.len();
        tracing::error!(
            webhook.id = id,
            events,
            "Webhook {id} did not take {events} events within a day; they are not sent any more",
        );
    }
}

/// Whether what happened then is not told any more.
fn is_over(happened: Timestamp, now: Timestamp) -> bool {
    (now - happened)
        .to_std()
        .is_ok_and(|age| age >= GIVEN_UP_AFTER)
}

/// A failure and its causes in one line, of bounded length.
fn reason(error: &SendError) -> String {
    const CHARACTERS_MAX: usize = 300;
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text.chars()
        .map(|character| {
            if character.is_control() {
                ' '
            } else {
                character
            }
        })
        .take(CHARACTERS_MAX)
        .collect()
}
