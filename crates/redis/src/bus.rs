//! What is told to the others through Redis, and heard of them, over connections that come and go.
//!
//! Whoever tells never waits: what does not fit is dropped and counted, and so is what is told while there is no connection. When there is one
//! again, listeners learn that they may have missed something.

use std::fmt::Debug;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use fred::clients::{Client, SubscriberClient};
use fred::interfaces::{EventInterface as _, PubsubInterface as _};
use fred::types::Message as HeardMessage;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use roadstead_runtime::{Environment, Shutdown};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::mpsc;

use crate::connection::{COMMAND, Connection};
use crate::error::{RedisError, ServerFailure};
use crate::options::RedisOptions;

/// What is told and not sent yet: at 4 KiB each no more than 4 MiB.
const TOLD_MAX: usize = 1024;

/// What is sent and not answered yet. Over a round trip of 100 ms that is a thousand a second.
const SENT_MAX: usize = 128;

/// How often it is found out whether what is told is heard. A server that stands still is noticed by then.
const ECHO: Duration = Duration::from_secs(5);

/// What Redis is asked for, in errors.
const OPERATION: &str = "take a message";

/// How long it is until the next attempt to connect, from the first on.
const PAUSE_MIN: Duration = Duration::from_millis(200);
const PAUSE_MAX: Duration = Duration::from_secs(10);

/// Is told what is heard. It must not wait for anything.
pub trait Listener: Debug + Send + Sync {
    /// Somebody has said something in a channel: anybody who reaches Redis, in whatever words.
    fn heard(&self, channel: &str, payload: &[u8]);

    /// There is a connection. What was said before may have been missed, and what this process said too.
    fn connected(&self);
}

/// Tells others through Redis. Clones tell through the same connection.
#[derive(Clone, Debug)]
pub struct Bus(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    told: mpsc::Sender<Told>,
    counts: Counts,
}

#[derive(Debug)]
struct Told {
    channel: String,
    payload: Bytes,
}

#[derive(Debug, Default)]
struct Counts {
    connected: AtomicBool,
    attempts: AtomicU64,
    connections: AtomicU64,
    sent: AtomicU64,
    heard: AtomicU64,
    dropped: AtomicU64,
    refused: AtomicU64,
}

/// How a bus fares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BusState {
    /// Whether there is a connection, over which this process has heard itself.
    pub connected: bool,
    /// Attempts to have one, so far.
    pub attempts: u64,
    /// Connections so far.
    pub connections: u64,
    /// Messages that Redis took.
    pub sent: u64,
    /// Messages that were heard.
    pub heard: u64,
    /// Messages that were told and not sent: there was no connection, they were too many, or Redis refused them.
    pub dropped: u64,
}

/// What runs a bus: [`BusParts::run`].
#[derive(Debug)]
pub struct BusParts {
    options: RedisOptions,
    environment: Environment,
    told: mpsc::Receiver<Told>,
    shared: Bus,
    /// What it hears.
    channels: Vec<String>,
    /// Where only this process talks, and only it listens.
    echo: String,
}

impl Bus {
    /// A bus that hears these channels. Connects to nothing before its parts run.
    pub fn new(
        options: RedisOptions,
        channels: Vec<String>,
        environment: Environment,
    ) -> (Self, BusParts) {
        let (sender, told) = mpsc::channel(TOLD_MAX);
        let bus = Self(Arc::new(Shared {
            told: sender,
            counts: Counts::default(),
        }));
        let echo = format!("roadstead/echo/{}", environment.ids.uuid());
        let parts = BusParts {
            options,
            environment,
            told,
            shared: bus.clone(),
            channels,
            echo,
        };
        (bus, parts)
    }

    /// Tells whoever listens to the channel, if that can be done without waiting. Returns whether it is on its way; it may be lost all the same.
    pub fn tell(&self, channel: impl Into<String>, payload: impl Into<Bytes>) -> bool {
        let told = Told {
            channel: channel.into(),
            payload: payload.into(),
        };
        let counts = &self.0.counts;
        let taken = counts.connected.load(Ordering::Acquire) && self.0.told.try_send(told).is_ok();
        if !taken {
            counts.dropped.fetch_add(1, Ordering::Relaxed);
        }
        taken
    }

    /// How it fares.
    pub fn state(&self) -> BusState {
        let counts = &self.0.counts;
        BusState {
            connected: counts.connected.load(Ordering::Acquire),
            attempts: counts.attempts.load(Ordering::Relaxed),
            connections: counts.connections.load(Ordering::Relaxed),
            sent: counts.sent.load(Ordering::Relaxed),
            heard: counts.heard.load(Ordering::Relaxed),
            dropped: counts.dropped.load(Ordering::Relaxed),
        }
    }
}

impl BusParts {
    /// Connects, tells and hears until the shutdown, and connects again whenever that fails, sooner or later.
    pub async fn run(mut self, listener: Arc<dyn Listener>, shutdown: &Shutdown) {
        let mut failures = 0_u32;
        while !shutdown.requested() {
            let connections = self.shared.state().connections;
            let counts = &self.shared.0.counts;
            counts.attempts.fetch_add(1, Ordering::Relaxed);
            let lost = tokio::select! {
                lost = Box::pin(self.session(&*listener)) => lost,
                () = shutdown.wait() => break,
            };
            self.disconnected();
            let was_connected = self.shared.state().connections > connections;
            if was_connected {
                failures = 0;
            }
            // Once for each outage, however long.
            if failures == 0 {
                tracing::warn!(
                    error = &lost as &dyn std::error::Error,
                    "Redis is not there: other processes find out by themselves what they are told otherwise"
                );
            } else {
                tracing::debug!(
                    error = &lost as &dyn std::error::Error,
                    "Redis is still not there"
                );
            }
            let pause = pause(failures, self.environment.ids.fraction());
            failures = failures.saturating_add(1);
            tokio::select! {
                () = self.environment.clock.sleep(pause) => {}
                () = shutdown.wait() => break,
            }
        }
        self.disconnected();
    }

    fn disconnected(&mut self) {
        let counts = &self.shared.0.counts;
        counts.connected.store(false, Ordering::Release);
        while self.told.try_recv().is_ok() {
            counts.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Tells and hears over one pair of connections, until something is wrong with them.
    async fn session(&mut self, listener: &dyn Listener) -> RedisError {
        let opened = self.open().await;
        let (mut speaking, mut hearing, mut heard) = match opened {
            Ok(opened) => opened,
            Err(error) => return error,
        };
        let clock = Arc::clone(&self.environment.clock);
        let counts = &self.shared.0.counts;
        let client = speaking.client.clone();
        let mut sent = FuturesUnordered::new();
        let send = async |channel: String, payload: Bytes| {
            let answer = client.publish::<i64, _, _>(channel, payload);
            tokio::select! {
                answer = answer => answer.map(drop).map_err(Some),
                () = clock.sleep(COMMAND) => Err(None),
            }
        };
        sent.push(send(self.echo.clone(), Bytes::from_static(b"1")));
        let (mut was_heard, mut is_awaited) = (false, true);
        let mut next_echo = clock.sleep(ECHO);
        loop {
            tokio::select! {
                lost = speaking.lost() => return lost,
                lost = hearing.lost() => return lost,
                Some(answer) = sent.next() => match answer {
                    Ok(()) => {
                        counts.sent.fetch_add(1, Ordering::Relaxed);
                    }
                    Err(Some(error)) => {
                        let error = ServerFailure::from(error);
                        if !error.is_answer() {
                            return self.failed(error);
                        }
                        // The connection is all right: if nothing at all is passed on, the echo stays away.
                        counts.dropped.fetch_add(1, Ordering::Relaxed);
                        self.refused(error);
                    }
                    Err(None) => {
                        return RedisError::Late {
                            servers: self.options.servers.to_string(),
                            operation: OPERATION,
                            milliseconds: COMMAND.as_millis(),
                        };
                    }
                },
                message = heard.recv() => match message {
                    Ok(message) if *message.channel == *self.echo => {
                        is_awaited = false;
                        if !was_heard {
                            was_heard = true;
                            self.connected(listener);
                        }
                    }
                    // A server may say what it was not asked for.
                    Ok(message) if !self.channels.iter().any(|channel| **channel == *message.channel) => {}
                    Ok(message) => {
                        counts.heard.fetch_add(1, Ordering::Relaxed);
                        if let Some(payload) = message.value.as_bytes() {
                            listener.heard(&message.channel, payload);
                        }
                    }
                    Err(RecvError::Lagged(_)) => listener.connected(),
                    Err(RecvError::Closed) => {
                        return hearing.lost_by(fred::error::Error::new_canceled());
                    }
                },
                Some(told) = self.told.recv(), if sent.len() < SENT_MAX => {
                    sent.push(send(told.channel, told.payload));
                }
                () = &mut next_echo => {
                    if is_awaited {
                        return RedisError::Late {
                            servers: self.options.servers.to_string(),
                            operation: "pass a message on",
                            milliseconds: ECHO.as_millis(),
                        };
                    }
                    sent.push(send(self.echo.clone(), Bytes::from_static(b"1")));
                    is_awaited = true;
                    next_echo = clock.sleep(ECHO);
                }
            }
        }
    }

    async fn open(
        &self,
    ) -> Result<
        (
            Connection<Client>,
            Connection<SubscriberClient>,
            Receiver<HeardMessage>,
        ),
        RedisError,
    > {
        let clock = self.environment.clock.as_ref();
        let speaking = Connection::open(&self.options, clock).await?;
        let mut channels = self.channels.clone();
        channels.push(self.echo.clone());
        let hearing = Connection::open_to_hear(&self.options, &channels, clock).await?;
        let heard = hearing.client.message_rx();
        Ok((speaking, hearing, heard))
    }

    /// What is told is heard from now on.
    fn connected(&self, listener: &dyn Listener) {
        let counts = &self.shared.0.counts;
        let reconnected = counts.connections.fetch_add(1, Ordering::Relaxed) > 0;
        counts.connected.store(true, Ordering::Release);
        if reconnected {
            tracing::info!("Redis is there again");
        }
        listener.connected();
    }

    fn failed(&self, source: ServerFailure) -> RedisError {
        RedisError::Failed {
            servers: self.options.servers.to_string(),
            operation: OPERATION,
            source,
        }
    }

    /// Redis took a message for what it does not take from us. It will not take the next one either: the first of them, and then ever fewer,
    /// are told of.
    fn refused(&self, error: ServerFailure) {
        let counts = &self.shared.0.counts;
        let refused = counts.refused.fetch_add(1, Ordering::Relaxed) + 1;
        if refused.is_power_of_two() {
            let error = self.failed(error);
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "Redis has refused {refused} messages: other processes find out by themselves what they are told otherwise"
            );
        }
    }
}

/// How long to wait after so many failures in a row: twice as long each time, and between half and all of it, so that processes do not come together.
fn pause(failures: u32, fraction: f64) -> Duration {
    let longest = PAUSE_MIN
        .saturating_mul(2_u32.saturating_pow(failures))
        .min(PAUSE_MAX);
    longest.mul_f64(0.5 + fraction / 2.0)
}
