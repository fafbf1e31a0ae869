//! Hints through Redis: what happens in this process is told to the others, and what is heard of them makes this one look again. With what each
//! of the crates below has to say it is put together here; none of them knows of Redis.

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use roadstead_api::{ActivityListener, ClientEvent, Probe};
use roadstead_auth::{Authenticator, Secret};
use roadstead_config::{Config, RedisServer, RedisServers};
use roadstead_distribution::{ContentChange, ContentListener, Registry};
use roadstead_metadata::RepositoryId;
use roadstead_queue::{Carrier, WakeUp};
use roadstead_redis::{
    Address, Bus, BusParts, Changed, Hint, Listener, RedisOptions, Sealed, Servers, TlsOptions,
    check,
};
use roadstead_runtime::{Environment, Tasks};
use serde::Serialize;
use tokio::sync::Notify;

use crate::trust::Trust;

/// Words that rights have changed are at least so far apart: a word stands for everything that came before it.
const RIGHTS_EVERY: Duration = Duration::from_millis(50);

/// Tells what happens here. Clones tell the same.
#[derive(Clone, Debug)]
pub(crate) struct Hints(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    bus: Bus,
    /// The channel of this registry's processes, and of no other's.
    channel: String,
    /// What this process goes by.
    sender: String,
    rights: Notify,
    /// Where people's browsers listen.
    events: Option<Bus>,
}

/// Hints that are not told yet: [`HintsParts::start`].
#[derive(Debug)]
pub(crate) struct HintsParts {
    hints: Hints,
    parts: BusParts,
    events: Option<BusParts>,
    environment: Environment,
}

/// Who looks again when something is heard.
#[derive(Debug)]
pub(crate) struct Hearers {
    /// The workers of this process.
    pub(crate) wake_up: WakeUp,
    /// What remembers rights and content; none in a process that serves nobody.
    pub(crate) serving: Option<(Authenticator, Registry)>,
}

impl Hints {
    /// Hints through the Redis of a configuration, if it names one. Connects to nothing.
    pub(crate) fn of(
        config: &Config,
        trust: &Trust,
        environment: &Environment,
    ) -> Option<HintsParts> {
        let server = config.redis.hints.as_ref()?;
        let host = config.hosting.server_hostname.as_deref();
        let channel = format!("roadstead/{}/hints", host.unwrap_or_default());
        let (bus, parts) = Bus::new(
            redis_options(server, trust),
            vec![channel.clone()],
            environment.clone(),
        );
        let (events, events_parts) = match &config.redis.user_events {
            None => (None, None),
            Some(same) if same == server => (Some(bus.clone()), None),
            Some(other) => {
                let (bus, parts) =
                    Bus::new(redis_options(other, trust), Vec::new(), environment.clone());
                (Some(bus), Some(parts))
            }
        };
        let hints = Self(Arc::new(Inner {
            bus,
            channel,
            sender: environment.ids.uuid().to_string(),
            rights: Notify::new(),
            events,
        }));
        Some(HintsParts {
            hints,
            parts,
            events: events_parts,
            environment: environment.clone(),
        })
    }

    fn tell(&self, hint: Hint) {
        let text = Sealed::new(&self.0.sender, hint).to_text();
        // Nobody is told, or too many things at once: it is found out without Redis.
        self.0.bus.tell(&self.0.channel, text);
    }

    async fn keep_telling_of_rights(&self, environment: &Environment) {
        loop {
            self.0.rights.notified().await;
            self.tell(Hint::Rights);
            environment.clock.sleep(RIGHTS_EVERY).await;
        }
    }
}

impl HintsParts {
    /// What tells.
    pub(crate) fn hints(&self) -> Hints {
        self.hints.clone()
    }

    /// Connects, and tells and hears from now on.
    pub(crate) fn start(self, hearers: Hearers, tasks: &Tasks) {
        let Self {
            hints,
            parts,
            events,
            environment,
        } = self;
        if let Some((_, registry)) = &hearers.serving {
            registry.tell_changes(Arc::new(hints.clone()));
        }
        let ear = Arc::new(Ear {
            hints: hints.clone(),
            hearers,
            missed: AtomicU64::new(0),
            unreadable: AtomicU64::new(0),
        });
        let shutdown = tasks.shutdown();
        tasks.spawn(async move { Box::pin(parts.run(ear, &shutdown)).await });
        if let Some(events) = events {
            let shutdown = tasks.shutdown();
            tasks.spawn(async move { Box::pin(events.run(Arc::new(Deaf), &shutdown)).await });
        }
        let shutdown = tasks.shutdown();
        tasks.spawn(async move {
            tokio::select! {
                () = hints.keep_telling_of_rights(&environment) => {}
                () = shutdown.wait() => {}
            }
        });
    }
}

impl Carrier for Hints {
    fn call(&self) {
        self.tell(Hint::Copies);
    }
}

impl ContentListener for Hints {
    fn content_changed(&self, change: &ContentChange) {
        let changed = match change.clone() {
            ContentChange::Tags { repository, tags } => Changed::Tags {
                repository: repository.0,
                tags: tags.iter().map(|tag| tag.as_str().to_owned()).collect(),
            },
            ContentChange::Manifest { repository, digest } => Changed::Manifest {
                repository: repository.0,
                digest: digest.to_string(),
            },
            ContentChange::Blob { repository, digest } => Changed::Blob {
                repository: repository.0,
                digest: digest.to_string(),
            },
        };
        for piece in changed.in_pieces() {
            self.tell(Hint::Content(piece));
        }
    }
}

impl ActivityListener for Hints {
    fn rights_changed(&self) {
        self.0.rights.notify_one();
    }

    /// In the channel and the words of Quay.
    fn client_event(&self, username: &str, event: &ClientEvent<'_>) {
        #[derive(Serialize)]
        struct Event<'a> {
            action: &'a str,
            #[serde(skip_serializing_if = "Option::is_none")]
            repository: Option<&'a str>,
            #[serde(skip_serializing_if = "Option::is_none")]
            namespace: Option<&'a str>,
        }
        let Some(events) = &self.0.events else {
            return;
        };
        let told = Event {
            action: event.action,
            repository: event.repository.map(|path| path.name.as_str()),
            namespace: event.repository.map(|path| path.namespace.as_str()),
        };
        if let Ok(text) = serde_json::to_vec(&told) {
            events.tell(format!("user/{username}/events/docker-cli"), text);
        }
    }
}

/// Hears what the others tell.
#[derive(Debug)]
struct Ear {
    hints: Hints,
    hearers: Hearers,
    /// How much of what this process told was lost when it last had a connection.
    missed: AtomicU64,
    unreadable: AtomicU64,
}

impl Ear {
    fn look_again(&self, hint: Hint) {
        let Hearers { wake_up, serving } = &self.hearers;
        match (hint, serving) {
            (Hint::Copies, _) => wake_up.wake_here(),
            (Hint::Rights, Some((authenticator, _))) => authenticator.rights_changed(),
            (Hint::Content(changed), Some((_, registry))) => {
                if let Some(change) = content_change(changed) {
                    registry.changed_elsewhere(&change);
                }
            }
            (Hint::Rights | Hint::Content(_), None) => {}
        }
    }
}

impl Listener for Ear {
    fn heard(&self, _channel: &str, payload: &[u8]) {
        match Sealed::read(payload) {
            Ok(sealed) if sealed.sender == self.hints.0.sender => {}
            Ok(sealed) => self.look_again(sealed.hint),
            Err(error) => {
                // Whoever sends such things sends many: the first of them, and then ever fewer, are told.
                let before = self.unreadable.fetch_add(1, Ordering::Relaxed);
                if (before + 1).is_power_of_two() {
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        "Heard {} messages through Redis that are no hints; they change nothing",
                        before + 1
                    );
                }
            }
        }
    }

    fn connected(&self) {
        self.look_again(Hint::Rights);
        self.look_again(Hint::Copies);
        // What this process told meanwhile nobody heard.
        let dropped = self.hints.0.bus.state().dropped;
        if self.missed.swap(dropped, Ordering::Relaxed) != dropped {
            self.hints.tell(Hint::Rights);
            self.hints.tell(Hint::Copies);
        }
    }
}

/// Of somebody who only tells.
#[derive(Debug)]
struct Deaf;

impl Listener for Deaf {
    fn heard(&self, _channel: &str, _payload: &[u8]) {}

    fn connected(&self) {}
}

/// None where it names what can be nothing of a registry.
fn content_change(changed: Changed) -> Option<ContentChange> {
    Some(match changed {
        Changed::Tags { repository, tags } => ContentChange::Tags {
            repository: RepositoryId(repository),
            tags: tags
                .iter()
                .map(|tag| tag.parse().ok())
                .collect::<Option<_>>()?,
        },
        Changed::Manifest { repository, digest } => ContentChange::Manifest {
            repository: RepositoryId(repository),
            digest: digest.parse().ok()?,
        },
        Changed::Blob { repository, digest } => ContentChange::Blob {
            repository: RepositoryId(repository),
            digest: digest.parse().ok()?,
        },
    })
}

/// Asks the Redis of a configuration whether it works, for health checks.
#[derive(Debug)]
pub(crate) struct RedisWorks {
    options: RedisOptions,
    environment: Environment,
}

impl RedisWorks {
    /// None where the configuration names none.
    pub(crate) fn of(
        config: &Config,
        trust: &Trust,
        environment: &Environment,
    ) -> Option<Arc<dyn Probe>> {
        let server = config.redis.checked.as_ref()?;
        Some(Arc::new(Self {
            options: redis_options(server, trust),
            environment: environment.clone(),
        }))
    }
}

#[async_trait::async_trait]
impl Probe for RedisWorks {
    async fn probe(&self) -> Result<Option<String>, String> {
        check(&self.options, &self.environment)
            .await
            .map(|()| None)
            .map_err(|error| error.to_string())
    }
}

/// Where a Redis of the configuration is. Its certificate may be of one of these authorities, too.
pub(crate) fn redis_options(server: &RedisServer, trust: &Trust) -> RedisOptions {
    let address = |(host, port): &(String, u16)| Address {
        host: host.clone(),
        port: *port,
    };
    let secret = |text: &roadstead_config::Secret<String>| Secret::new(text.expose().as_str());
    RedisOptions {
        servers: match &server.servers {
            RedisServers::One(one) => Servers::One(address(one)),
            RedisServers::Sentinels {
                sentinels,
                service,
                username,
                password,
            } => Servers::Sentinels {
                sentinels: sentinels.iter().map(address).collect(),
                service: service.clone(),
                username: username.clone(),
                password: password.as_ref().map(secret),
            },
            RedisServers::Cluster(nodes) => Servers::Cluster(nodes.iter().map(address).collect()),
        },
        username: server.username.clone(),
        password: server.password.as_ref().map(secret),
        database: server.database,
        tls: server.tls.as_ref().map(|tls| TlsOptions {
            authorities: trust
                .named()
                .into_iter()
                .map(|(_, authorities)| authorities)
                .collect(),
            authority_files: tls.authorities.iter().cloned().collect(),
            identity: tls.identity.clone(),
        }),
    }
}
