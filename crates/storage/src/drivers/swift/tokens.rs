//! Tokens: fetched when first needed, shared by all requests, renewed before they end and once the store refuses one.

use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use opendal::HttpTransporter;
use roadstead_runtime::{Clock, Timestamp};
use roadstead_secrets::Secret;
use tokio::sync::Mutex;

use super::SwiftOptions;
use super::container::whole;
use super::identity::{self, Granted};
use crate::error::{Failure, Refusal, StorageErrorKind};

/// How long before its end a token is renewed: twice the longest that a step of a request takes.
const RENEWED_BEFORE_END: TimeDelta = TimeDelta::seconds(60);

/// How long the identity service may take: less than a step of a request, so that whoever waits is told who does not answer.
const ANSWERS_WITHIN: Duration = Duration::from_secs(8);

/// A token that the store refuses so shortly after it was given is not renewed: the next one would be refused as well.
const TRUSTED_FOR: TimeDelta = TimeDelta::seconds(5);

/// For how long a failure of the identity service is everybody's, so that a hundred requests ask it once and not a hundred times.
const FAILURE_HELD_FOR: TimeDelta = TimeDelta::seconds(1);

/// The same for wrong credentials: identity services lock users out who try too often.
const DENIAL_HELD_FOR: TimeDelta = TimeDelta::seconds(30);

#[derive(Debug)]
pub(super) struct Tokens {
    swift: SwiftOptions,
    transport: HttpTransporter,
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    access: Option<Arc<Access>>,
    failed: Option<(Timestamp, Refusal)>,
}

/// With what and where the account is reached.
#[derive(Debug)]
pub(super) struct Access {
    pub(super) token: Secret,
    /// Without a slash at the end.
    pub(super) storage_url: String,
    expires: Option<Timestamp>,
    /// When it was given by the identity service; configured ones were not.
    given: Option<Timestamp>,
}

impl Tokens {
    pub(super) fn new(
        swift: SwiftOptions,
        transport: HttpTransporter,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let os = &swift.os_options;
        let access = os.object_storage_url.as_ref().zip(os.auth_token.as_ref());
        let access = access.map(|(url, token)| {
            Arc::new(Access {
                token: token.clone(),
                storage_url: url.trim_end_matches('/').to_owned(),
                expires: None,
                given: None,
            })
        });
        Self {
            swift,
            transport,
            clock,
            state: Mutex::new(State {
                access,
                failed: None,
            }),
        }
    }

    /// What requests are made with now. Whoever finds none fetches it while the others wait.
    pub(super) async fn access(&self) -> Result<Arc<Access>, Refusal> {
        let mut state = self.state.lock().await;
        let now = self.clock.now();
        let current = state.access.clone();
        let ends = current.as_ref().and_then(|access| access.expires);
        match current {
            Some(access) if ends.is_none_or(|ends| now + RENEWED_BEFORE_END < ends) => Ok(access),
            // Good for a little while yet, so a failure is no reason to stop.
            Some(access) if ends.is_some_and(|ends| now < ends) => {
                match self.fetch(&mut state).await {
                    Ok(renewed) => Ok(renewed),
                    Err(refusal) => {
                        tracing::debug!(
                            error = &refusal as &dyn std::error::Error,
                            "Could not renew a token that ends soon"
                        );
                        Ok(access)
                    }
                }
            }
            _ => self.fetch(&mut state).await,
        }
    }

    /// Another token than `refused`, unless that was given only just now.
    pub(super) async fn renewed(
        &self,
        refused: &Arc<Access>,
    ) -> Result<Option<Arc<Access>>, Refusal> {
        let mut state = self.state.lock().await;
        if let Some(current) = &state.access
            && !Arc::ptr_eq(current, refused)
        {
            return Ok(Some(Arc::clone(current)));
        }
        let now = self.clock.now();
        if refused.given.is_some_and(|given| now < given + TRUSTED_FOR) {
            return Ok(None);
        }
        self.fetch(&mut state).await.map(Some)
    }

    async fn fetch(&self, state: &mut State) -> Result<Arc<Access>, Refusal> {
        if let Some((until, refusal)) = &state.failed
            && self.clock.now() < *until
        {
            return Err(refusal.clone());
        }
        let asked = tokio::time::timeout(ANSWERS_WITHIN, self.ask()).await;
        let answer = asked.unwrap_or_else(|_| {
            let url = &self.swift.auth_url;
            Err(Refusal {
                kind: StorageErrorKind::Timeout,
                message: format!("the identity service at {url} does not answer in time"),
            })
        });
        match answer {
            Ok(granted) => {
                let access = Arc::new(Access {
                    token: granted.token,
                    storage_url: granted.storage_url,
                    expires: granted.expires,
                    given: Some(self.clock.now()),
                });
                *state = State {
                    access: Some(Arc::clone(&access)),
                    failed: None,
                };
                Ok(access)
            }
            Err(refusal) => {
                let held_for = match refusal.kind {
                    StorageErrorKind::Denied => DENIAL_HELD_FOR,
                    _ => FAILURE_HELD_FOR,
                };
                state.failed = Some((self.clock.now() + held_for, refusal.clone()));
                Err(refusal)
            }
        }
    }

    async fn ask(&self) -> Result<Granted, Refusal> {
        let request = identity::request(&self.swift).map_err(|error| Refusal {
            kind: StorageErrorKind::Misconfigured,
            message: format!("no request for a token can be made of the configuration: {error}"),
        })?;
        let silent = |error: opendal::Error| {
            let message = format!(
                "the identity service at {} does not answer: {error}",
                self.swift.auth_url
            );
            Refusal {
                kind: Failure::from(error).kind,
                message,
            }
        };
        let answer = self.transport.fetch(request).await.map_err(silent)?;
        let (answer, body) = answer.into_parts();
        let body = whole(body).await.map_err(silent)?;
        identity::granted(
            &self.swift,
            self.clock.now(),
            answer.status,
            &answer.headers,
            &body,
        )
    }
}
