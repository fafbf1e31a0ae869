//! The server of a database that statements go to: found among its hosts, watched, and found again when it is lost.
//!
//! Statements run on the pool of one server. Whatever fails in a way that puts the server in doubt is reported, and one task looks at all
//! hosts again: nobody else does, however many requests fail at once. When it settles on another server, or on the same one after
//! connections were lost, a new pool takes the place of the old one, so that no connection from before is handed out again; what still
//! waits for a server that is gone is given up at once. While no server is the wanted one, statements fail without trying.
//!
//! What this cannot do: keep a server from writing that is cut off from us alone. That is the business of whatever promotes standbys;
//! here a server is left as soon as one with a later timeline is seen, and not gone back to (see [`choice`](super::choice)).

#[cfg(test)]
mod tests;

use std::io::{Error as IoError, ErrorKind};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use futures_util::future::BoxFuture;
use roadstead_runtime::{Shutdown, Tasks};
use sea_orm::{ConnAcquireErr, DatabaseConnection, DbErr, RuntimeErr, SqlxPostgresConnector};
use sqlx::Connection as _;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use tokio::sync::{Notify, watch};
use tokio::time::timeout;

use super::advice;
use super::choice::{Answer, choose, is_best, rivals};
use super::probe::ask_all;
use super::{PostgresHost, PostgresOptions, TargetSessionAttrs};
use crate::error::{DriverError, MetadataError};

/// How long things take at most. Together they bound how long a request waits for a server that drops every packet:
/// [`Times::slow`] until somebody asks whether the server is still there, and two questions of [`Times::probe`]; 12 s.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Times {
    /// A statement that takes longer puts its server in doubt, and goes on.
    pub(crate) slow: Duration,
    /// A statement that takes longer is given up although its server is there: the server itself would have ended it at 30 s, so only the
    /// connection can be dead.
    pub(crate) statement: Duration,
    /// How long a server may take to answer what it is. Never more than [`PostgresOptions::connect_timeout`].
    pub(crate) probe: Duration,
    /// How often all of several hosts are asked although nothing failed: the bound on writing to a server beside which another was promoted.
    pub(crate) look_every: Duration,
}

impl Default for Times {
    fn default() -> Self {
        Self {
            slow: Duration::from_secs(2),
            statement: Duration::from_secs(35),
            probe: Duration::from_secs(5),
            look_every: Duration::from_secs(10),
        }
    }
}

/// The least time between two looks, and the first wait while there is no server; each further one is twice as long.
const PAUSE_MIN: Duration = Duration::from_millis(100);

/// The longest wait while there is no server: by so much later than it could is a promoted standby found.
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// How long a read that lost its connection waits for what the look finds.
const SETTLE: Duration = Duration::from_secs(10);

/// A connection that was idle for longer is asked for a sign of life before it is used: firewalls forget connections without telling either side.
const IDLE_TRUSTED: Duration = Duration::from_secs(30);

/// How long that sign may take.
const PING: Duration = Duration::from_secs(2);

/// How long closing may take.
const CLOSE: Duration = Duration::from_secs(5);

/// The servers of one database, and the one that is worked with.
#[derive(Debug)]
pub(crate) struct Servers {
    shared: Arc<Shared>,
    tasks: Tasks,
}

#[derive(Debug)]
struct Shared {
    hosts: Vec<PostgresHost>,
    connects: Vec<PgConnectOptions>,
    wanted: TargetSessionAttrs,
    limits: PoolLimits,
    /// The database in words, for the log.
    title: String,
    times: Times,
    view: watch::Sender<View>,
    /// Wakes the watcher.
    doubt: Notify,
    /// How many doubts there have been.
    doubts: AtomicU64,
    /// Whether connections were lost since the last look.
    lost_connections: AtomicBool,
    /// How many pools there have been.
    pools: AtomicU64,
}

/// How things stand.
#[derive(Clone, Debug)]
struct View {
    /// How many doubts the last look has answered.
    answered: u64,
    /// Statements on pools before this one are given up: their server is gone.
    oldest: u64,
    /// The pool to use, or why there is none.
    live: Result<Live, Arc<str>>,
}

/// The pool of the server that is worked with.
#[derive(Clone, Debug)]
pub(crate) struct Live {
    number: u64,
    place: usize,
    pub(crate) connection: DatabaseConnection,
}

impl Live {
    /// Which one it is of the pools that there have been: no two have the same.
    pub(crate) const fn number(&self) -> u64 {
        self.number
    }
}

/// What an error says about where it comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Doubt {
    /// Nothing: the statement failed.
    None,
    /// The pool was replaced while this waited for a connection.
    Replaced,
    /// The server may not be what it was.
    Server,
    /// The connection is dead; others of its age may be.
    Connection,
}

impl Servers {
    /// Finds the wanted server. Waits for one as long as [`PostgresOptions::startup_wait`] says, with a line in the log, unless none of them
    /// would ever let us in.
    pub(crate) async fn open(
        options: &PostgresOptions,
        times: Times,
    ) -> Result<Arc<Self>, MetadataError> {
        let (servers, mut watcher) = Self::parts(options, times, "database");
        let failed = |reason: String| MetadataError::Unopenable {
            database: options.to_string(),
            source: DriverError::from(DbErr::Conn(RuntimeErr::Internal(reason))),
        };
        if options.hosts.is_empty() {
            return Err(failed("no host is named".to_owned()));
        }
        let shutdown = Shutdown::default();
        let found = timeout(options.startup_wait, async {
            loop {
                let answers = watcher.look().await;
                if servers.shared.view.borrow().live.is_ok() {
                    return true;
                }
                if answers
                    .iter()
                    .all(|answer| matches!(answer, Answer::Refuses(_)))
                {
                    return false;
                }
                watcher.rest(&shutdown).await;
            }
        })
        .await;
        if found != Ok(true) {
            let reason = match &servers.shared.view.borrow().live {
                Ok(_) => "no server was found in time".to_owned(),
                Err(reason) if found == Ok(false) => reason.to_string(),
                Err(reason) => format!("{reason}: {}", advice::UNREACHABLE),
            };
            return Err(failed(reason));
        }
        Ok(servers.watched_by(watcher))
    }

    /// Begins to look for the server, without waiting for it: there is none until it has been found.
    pub(crate) fn open_later(options: &PostgresOptions, times: Times) -> Arc<Self> {
        let (servers, watcher) = Self::parts(options, times, "replica");
        servers.watched_by(watcher)
    }

    fn parts(options: &PostgresOptions, times: Times, role: &str) -> (Self, Watcher) {
        let shared = Arc::new(Shared {
            connects: options
                .hosts
                .iter()
                .map(|host| options.connect_options(host))
                .collect(),
            hosts: options.hosts.clone(),
            wanted: options.target_session_attrs,
            limits: PoolLimits {
                connections: options.connections,
                acquire: options.acquire_timeout,
                age_max: options.connection_age_max,
            },
            title: format!("{role} {options}"),
            times: Times {
                probe: times.probe.min(options.connect_timeout),
                ..times
            },
            view: watch::Sender::new(View {
                answered: 0,
                oldest: 0,
                live: Err(Arc::from("no server has answered yet")),
            }),
            doubt: Notify::new(),
            doubts: AtomicU64::new(0),
            lost_connections: AtomicBool::new(false),
            pools: AtomicU64::new(0),
        });
        let watcher = Watcher {
            shared: Arc::clone(&shared),
            pools: 0,
            timeline: 0,
            fruitless: 0,
            unsure: false,
            missing: false,
            rivals: Vec::new(),
        };
        let tasks = Tasks::new();
        (Self { shared, tasks }, watcher)
    }

    fn watched_by(self, watcher: Watcher) -> Arc<Self> {
        let shutdown = self.tasks.shutdown();
        self.tasks
            .spawn(async move { watcher.watch(shutdown).await });
        Arc::new(self)
    }

    /// The pool to use now. Fails at once while there is no server.
    pub(crate) fn live(&self) -> Result<Live, DbErr> {
        match &self.shared.view.borrow().live {
            Ok(live) => Ok(live.clone()),
            Err(reason) => Err(DbErr::Conn(RuntimeErr::Internal(reason.to_string()))),
        }
    }

    /// How often the pool was replaced: by that of another server, or anew after connections were lost.
    pub(crate) fn changes(&self) -> u64 {
        let pools = self.shared.pools.load(Ordering::Relaxed);
        pools.saturating_sub(1)
    }

    /// Does something that changes nothing, and once more when its connection or its server was lost on the way and there is another.
    pub(crate) async fn run<T>(
        &self,
        work: impl Fn(DatabaseConnection) -> BoxFuture<'static, Result<T, DbErr>>,
    ) -> Result<(T, Live), DbErr> {
        let live = self.live()?;
        match self.guard(&live, work(live.connection.clone())).await {
            Err(error) if is_worth_another(&error) => {}
            done => return done.map(|output| (output, live)),
        }
        self.settle().await;
        let live = self.live()?;
        let output = self.guard(&live, work(live.connection.clone())).await?;
        Ok((output, live))
    }

    /// Waits for a statement on a pool, at most as long as [`Times`] say, and no longer when the pool's server is gone. Reports what
    /// puts the server in doubt. A dropped future drops the statement; its connection is not used again before it has come to rest.
    pub(crate) async fn guard<T>(
        &self,
        live: &Live,
        work: impl Future<Output = Result<T, DbErr>>,
    ) -> Result<T, DbErr> {
        let times = self.shared.times;
        let mut view = self.shared.view.subscribe();
        let mut work = pin!(work);
        let mut gone = pin!(view.wait_for(|view| live.number < view.oldest));
        let both = async {
            tokio::select! {
                biased;
                done = &mut work => done,
                // The channel ends with the database: nothing answers any more then either.
                _ = &mut gone => Err(broken(ErrorKind::ConnectionAborted, "its server is gone")),
            }
        };
        let mut both = pin!(both);
        let done = if let Ok(done) = timeout(times.slow, &mut both).await {
            done
        } else {
            self.report(Doubt::Server);
            let rest = times.statement.saturating_sub(times.slow);
            timeout(rest, both).await.unwrap_or_else(|_| {
                Err(broken(
                    ErrorKind::TimedOut,
                    "the server did not answer in time",
                ))
            })
        };
        if let Err(error) = &done {
            self.report(doubt_of(error));
        }
        done
    }

    fn report(&self, doubt: Doubt) {
        match doubt {
            Doubt::None | Doubt::Replaced => return,
            Doubt::Server => {}
            Doubt::Connection => self.shared.lost_connections.store(true, Ordering::Release),
        }
        self.shared.doubts.fetch_add(1, Ordering::AcqRel);
        self.shared.doubt.notify_one();
    }

    /// Waits until every doubt so far has been answered, for a while.
    pub(crate) async fn settle(&self) {
        let doubts = self.shared.doubts.load(Ordering::Acquire);
        let mut view = self.shared.view.subscribe();
        // Whoever waited in vain finds out from the view.
        timeout(SETTLE, view.wait_for(|view| doubts <= view.answered))
            .await
            .ok();
    }

    /// Ends the watch and closes every connection.
    pub(crate) async fn close(&self) {
        self.tasks.stop(CLOSE).await;
        let live = self.live();
        self.shared.view.send_modify(|view| {
            view.answered = u64::MAX;
            view.live = Err(Arc::from("the database has been closed"));
        });
        if let Ok(live) = live {
            // What is left after that is closed by the kernel.
            timeout(CLOSE, live.connection.close_by_ref()).await.ok();
        }
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        self.tasks.shutdown().request();
    }
}

/// The task that looks.
#[derive(Debug)]
struct Watcher {
    shared: Arc<Shared>,
    /// How many pools there have been.
    pools: u64,
    /// The latest timeline that was worked with.
    timeline: u32,
    /// How many looks in a row found no server.
    fruitless: u32,
    /// Whether the server was silent in the last look, which is no proof that it is gone: it may have been busy, or the answer lost.
    unsure: bool,
    /// Whether it has been said that there is no server.
    missing: bool,
    /// Servers of which it has been said that they take writes beside each other.
    rivals: Vec<usize>,
}

impl Watcher {
    async fn watch(mut self, shutdown: Shutdown) {
        while !shutdown.requested() {
            if self.rest(&shutdown).await {
                return;
            }
            tokio::select! {
                biased;
                () = shutdown.wait() => return,
                _ = self.look() => {}
            }
        }
    }

    /// Waits until it is time for the next look. True when there is to be none.
    async fn rest(&self, shutdown: &Shutdown) -> bool {
        let least = if self.unsure {
            Duration::ZERO
        } else {
            PAUSE_MIN
        };
        if timeout(least, shutdown.wait()).await.is_ok() {
            return true;
        }
        let looking_for_one = self.shared.view.borrow().live.is_err();
        let more = if self.unsure {
            Duration::ZERO
        } else if looking_for_one {
            pause(self.fruitless).saturating_sub(least)
        } else if self.shared.hosts.len() > 1 {
            self.shared.times.look_every
        } else {
            Duration::MAX
        };
        tokio::select! {
            () = shutdown.wait() => true,
            _ = timeout(more, self.shared.doubt.notified()) => false,
        }
    }

    /// Asks every host and takes in what they say.
    async fn look(&mut self) -> Vec<Answer> {
        let shared = Arc::clone(&self.shared);
        let doubts = shared.doubts.load(Ordering::Acquire);
        let lost_connections = shared.lost_connections.swap(false, Ordering::AcqRel);
        let present = shared
            .view
            .borrow()
            .live
            .as_ref()
            .ok()
            .map(|live| live.place);
        let several = shared.hosts.len() > 1;
        let answers = ask_all(&shared.connects, shared.times.probe, |answer| {
            is_best(shared.wanted, answer, several)
        })
        .await;
        let chosen = choose(shared.wanted, &answers, present, self.timeline);
        self.speak_of_rivals(&answers);
        match (chosen, present) {
            (Some(chosen), Some(present)) if chosen == present => {
                if lost_connections {
                    self.renew(chosen, false);
                }
            }
            (Some(chosen), _) => {
                tracing::info!(
                    server = %shared.hosts[chosen],
                    "Working with server {} of {}", shared.hosts[chosen], shared.title
                );
                self.renew(chosen, true);
            }
            (None, Some(present)) if answers[present] == Answer::Silent && !self.unsure => {
                self.unsure = true;
                if lost_connections {
                    shared.lost_connections.store(true, Ordering::Release);
                }
                return answers;
            }
            (None, _) => self.give_up(&answers),
        }
        if let Some(Answer::Serves(role)) = chosen.and_then(|chosen| answers.get(chosen)) {
            self.timeline = self.timeline.max(role.timeline.unwrap_or_default());
        }
        self.unsure = false;
        self.missing = chosen.is_none();
        self.fruitless = match chosen {
            Some(_) => 0,
            None => self.fruitless.saturating_add(1),
        };
        shared.view.send_modify(|view| view.answered = doubts);
        answers
    }

    /// Puts a new pool in place of the old one, whose idle connections are closed. Statements on the old one go on to their end if their server
    /// is still there.
    fn renew(&mut self, place: usize, other_server: bool) {
        let shared = &self.shared;
        self.pools += 1;
        shared.pools.store(self.pools, Ordering::Relaxed);
        let live = Live {
            number: self.pools,
            place,
            connection: pool(&shared.connects[place], shared.limits),
        };
        let mut old = None;
        shared.view.send_modify(|view| {
            if other_server {
                view.oldest = live.number;
            }
            old = std::mem::replace(&mut view.live, Ok(live)).ok();
        });
        close(old);
    }

    /// Leaves the server that was worked with, if there was one.
    fn give_up(&mut self, answers: &[Answer]) {
        let shared = &self.shared;
        let reason = self.reason(answers);
        if !self.missing {
            tracing::warn!(
                "No server of {} can be worked with: {reason}; trying again until there is one",
                shared.title
            );
        }
        let mut old = None;
        let next = self.pools + 1;
        shared.view.send_modify(|view| {
            view.oldest = next;
            old = std::mem::replace(&mut view.live, Err(Arc::from(reason))).ok();
        });
        close(old);
    }

    /// What each host said, in words.
    fn reason(&self, answers: &[Answer]) -> String {
        let each = self.shared.hosts.iter().zip(answers).map(|(host, answer)| {
            let said = match answer {
                Answer::Serves(role) if role.timeline.is_some_and(|its| its < self.timeline) => {
                    format!(
                        "is at timeline {}, before timeline {} which was written to: it was left behind",
                        role.timeline.unwrap_or_default(),
                        self.timeline
                    )
                }
                Answer::Serves(role) if role.in_recovery => "is a standby".to_owned(),
                Answer::Serves(role) if role.read_only => "takes no writes".to_owned(),
                Answer::Serves(_) => "is not the kind of server that is asked for".to_owned(),
                Answer::Busy => "has no connection free".to_owned(),
                Answer::Refuses(reason) => format!("refuses: {reason}"),
                Answer::Down(reason) => format!("is down: {reason}"),
                Answer::Silent => "does not answer".to_owned(),
            };
            format!("{host} {said}")
        });
        each.collect::<Vec<_>>().join("; ")
    }

    fn speak_of_rivals(&mut self, answers: &[Answer]) {
        let found = rivals(answers);
        if !found.is_empty() && found != self.rivals {
            let names: Vec<String> = found
                .iter()
                .map(|place| self.shared.hosts[*place].to_string())
                .collect();
            tracing::error!(
                "Servers {} of {} take writes beside each other: what is written to one is not in the other. Stop all but the one that was promoted last",
                names.join(" and "),
                self.shared.title
            );
        }
        self.rivals = found;
    }
}

/// How long to wait after so many looks in vain.
fn pause(fruitless: u32) -> Duration {
    PAUSE_MIN
        .saturating_mul(1 << fruitless.min(10))
        .min(PAUSE_MAX)
}

/// What the options say about a pool.
#[derive(Clone, Copy, Debug)]
struct PoolLimits {
    connections: u32,
    acquire: Duration,
    age_max: Option<Duration>,
}

/// Connections are made when they are first wanted.
fn pool(connect: &PgConnectOptions, limits: PoolLimits) -> DatabaseConnection {
    let mut options = PgPoolOptions::new();
    if let Some(age_max) = limits.age_max {
        options = options.max_lifetime(age_max);
    }
    let pool = options
        .max_connections(limits.connections)
        .acquire_timeout(limits.acquire)
        .test_before_acquire(false)
        .before_acquire(|connection, about| {
            Box::pin(async move {
                Ok(about.idle_for < IDLE_TRUSTED
                    || matches!(timeout(PING, connection.ping()).await, Ok(Ok(()))))
            })
        })
        .connect_lazy_with(connect.clone());
    SqlxPostgresConnector::from_sqlx_postgres_pool(pool)
}

/// Lets nobody take a connection of this pool any more. Those in use are closed when they come back.
fn close(old: Option<Live>) {
    if let Some(live) = old {
        // What is closed is marked at once; only waiting for it would take time.
        drop(live.connection.get_postgres_connection_pool().close());
    }
}

fn broken(kind: ErrorKind, what: &'static str) -> DbErr {
    DbErr::Conn(RuntimeErr::SqlxError(Arc::new(sqlx::Error::Io(
        IoError::new(kind, what),
    ))))
}

fn doubt_of(error: &DbErr) -> Doubt {
    let inner = match error {
        DbErr::ConnectionAcquire(ConnAcquireErr::Timeout) => return Doubt::Server,
        DbErr::ConnectionAcquire(ConnAcquireErr::ConnectionClosed) => return Doubt::Replaced,
        DbErr::Conn(RuntimeErr::SqlxError(inner))
        | DbErr::Exec(RuntimeErr::SqlxError(inner))
        | DbErr::Query(RuntimeErr::SqlxError(inner)) => inner,
        _ => return Doubt::None,
    };
    match &**inner {
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::Protocol(_)
        | sqlx::Error::WorkerCrashed => Doubt::Connection,
        sqlx::Error::PoolTimedOut => Doubt::Server,
        sqlx::Error::PoolClosed => Doubt::Replaced,
        sqlx::Error::Database(refusal) => match refusal.code().as_deref().unwrap_or_default() {
            // read_only_sql_transaction: it was a primary, and follows another now.
            "25006" => Doubt::Server,
            // admin_shutdown, crash_shutdown, cannot_connect_now; connection_exception.
            code if matches!(code, "57P01" | "57P02" | "57P03") || code.starts_with("08") => {
                Doubt::Connection
            }
            _ => Doubt::None,
        },
        _ => Doubt::None,
    }
}

/// Whether what failed like this, and changes nothing, may succeed on another connection. What took too long already has had its time.
fn is_worth_another(error: &DbErr) -> bool {
    let took_too_long = matches!(
        error,
        DbErr::Conn(RuntimeErr::SqlxError(inner))
            if matches!(&**inner, sqlx::Error::Io(error) if error.kind() == ErrorKind::TimedOut)
    );
    !took_too_long && matches!(doubt_of(error), Doubt::Replaced | Doubt::Connection)
}
