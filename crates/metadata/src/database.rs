//! The connection to the database: pools, and the few lines through which every statement goes. Transactions are [`transaction`]'s.

mod transaction;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use roadstead_oci::{Algorithm, Digest};
use sea_orm::{DatabaseConnection, Statement, Value};
use serde::Serialize;
use tokio::runtime::Handle;
use tokio::task;
use tracing::Span;

pub(crate) use self::transaction::{Migration, Transaction};
use crate::dialect::Engine;
use crate::epoch::{Epochs, EpochsNow};
use crate::error::{DriverError, MetadataError};
use crate::ids::{RepositoryId, UserId};
use crate::lookups::Lookups;
use crate::meetings::Meetings;
use crate::metrics::{PoolState, Statements, Step};
use crate::postgres::{PostgresOptions, Servers, Snapshots, Times};
use crate::reader::{Freshness, Reader, Replicas};
use crate::row::{FromRow, Rows};
use crate::sqlite::{self, Place, Pool, Wanted};

/// Where the metadata lives.
#[derive(Clone, Debug)]
#[expect(clippy::large_enum_variant, reason = "there is one of it in a process")]
pub enum DatabaseOptions {
    /// One SQLite file; it is created when it is not there. Its directory must exist.
    Sqlite {
        /// The file.
        path: PathBuf,
    },
    /// A PostgreSQL database, version 13 or later. It must exist.
    Postgres(PostgresOptions),
}

/// How many readers may work on a SQLite file at once. Reads are short; two per core of a small machine keep both cores busy.
const SQLITE_READERS: u32 = 4;

/// How long a request waits for a free connection before it is told that the database is not available.
pub(crate) const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(15);

/// The metadata of one registry. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Database {
    pools: Arc<Pools>,
    way: Way,
}

/// How the statements of a SQLite file are asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// Each goes to a thread that may wait, and back.
    OneByOne,
    /// On this thread, which may wait: it was left to what asks them.
    InOneGo,
    /// On this thread, which must not wait long, because they take no time.
    LookUp,
}

#[derive(Debug)]
struct Pools {
    read: Reader,
    /// For what a pull reads.
    pull: Reader,
    /// For what a digest names.
    named: Reader,
    /// For what reads a SQLite file on a thread that may wait.
    here: Option<Reader>,
    /// For what is found in a SQLite file in no time.
    look_up: Option<Reader>,
    write: Writer,
    lookups: Lookups,
    meetings: Meetings,
    statements: Arc<Statements>,
}

#[derive(Debug)]
enum Writer {
    /// SQLite has one writer at a time, so its pool has one connection: writers of this process queue here instead of in the file's lock.
    Sqlite {
        path: PathBuf,
        read: Pool,
        look_up: Pool,
        write: Pool,
        epochs: Epochs,
    },
    Postgres {
        database: Arc<Servers>,
        replicas: Arc<Replicas>,
        snapshots: Snapshots,
    },
}

impl Pools {
    async fn sqlite(path: &Path) -> Result<Self, MetadataError> {
        let unopenable = |source| MetadataError::Unopenable {
            database: path.display().to_string(),
            source,
        };
        let write = Pool::open(path, 1).await.map_err(unopenable)?;
        let read = Pool::open(path, SQLITE_READERS).await.map_err(unopenable)?;
        let look_up = Pool::open(path, SQLITE_READERS).await.map_err(unopenable)?;
        let kept = sqlite::keep_open(path).await.map_err(unopenable)?;
        let statements = Arc::<Statements>::default();
        let reader = |place| Reader::sqlite(read.clone(), place, Arc::clone(&statements));
        Ok(Self {
            pull: reader(Place::Apart),
            named: reader(Place::Apart),
            read: reader(Place::Apart),
            here: Some(reader(Place::Here)),
            look_up: Some(Reader::sqlite(
                look_up.clone(),
                Place::Here,
                Arc::clone(&statements),
            )),
            lookups: Lookups::new(Engine::Sqlite),
            meetings: Meetings::new(Engine::Sqlite),
            write: Writer::Sqlite {
                path: path.to_owned(),
                read: read.clone(),
                look_up,
                write,
                epochs: Epochs::of(path, kept),
            },
            statements,
        })
    }

    async fn postgres(options: &PostgresOptions, times: Times) -> Result<Self, MetadataError> {
        let database = Servers::open(options, times).await?;
        let replicas = Arc::new(Replicas::open(&options.replicas, times));
        let statements = Arc::<Statements>::default();
        let reader = |freshness| {
            Reader::postgres(
                Arc::clone(&database),
                Arc::clone(&replicas),
                freshness,
                Arc::clone(&statements),
            )
        };
        let snapshots = Snapshots::new(Arc::clone(&database), reader(Freshness::Now));
        Ok(Self {
            read: reader(Freshness::Now),
            pull: reader(Freshness::Pull),
            named: reader(Freshness::Named),
            here: None,
            look_up: None,
            lookups: Lookups::new(Engine::Postgres),
            meetings: Meetings::new(Engine::Postgres),
            statements,
            write: Writer::Postgres {
                database,
                replicas,
                snapshots,
            },
        })
    }
}

impl Database {
    /// Opens the database without changing its schema. See [`Database::migrate`] and [`Database::check_schema`].
    pub async fn open(options: &DatabaseOptions) -> Result<Self, MetadataError> {
        let pools = match options {
            DatabaseOptions::Sqlite { path } => Pools::sqlite(path).await?,
            DatabaseOptions::Postgres(options) => {
                Pools::postgres(options, Times::default()).await?
            }
        };
        Ok(Self {
            pools: Arc::new(pools),
            way: Way::OneByOne,
        })
    }

    /// As [`Database::open`], with other times.
    #[cfg(test)]
    pub(crate) async fn open_with(
        options: &PostgresOptions,
        times: Times,
    ) -> Result<Self, MetadataError> {
        let pools = Pools::postgres(options, times).await?;
        Ok(Self {
            pools: Arc::new(pools),
            way: Way::OneByOne,
        })
    }

    /// Waits until what a lost connection has set off is over.
    #[cfg(test)]
    pub(crate) async fn settle(&self) {
        if let Writer::Postgres { database, .. } = &self.pools.write {
            database.settle().await;
        }
    }

    /// The kind of database.
    pub fn engine(&self) -> Engine {
        self.pools.read.engine()
    }

    /// Asks the database for a row that is always there, as Quay's health check does.
    pub async fn ping(&self) -> Result<(), MetadataError> {
        const OPERATION: &str = "answer a health check";
        let found: Option<Counted> = self
            .reader()
            .row(
                OPERATION,
                "SELECT count(*) AS count FROM teamrole",
                params![],
            )
            .await?;
        match found {
            Some(row) if row.count > 0 => Ok(()),
            _ => Err(MetadataError::corrupt(
                "teamrole",
                "id",
                "any",
                "the table is empty",
            )),
        }
    }

    /// As [`Database::ping`], of the server that takes writes, within a transaction that changes nothing.
    pub async fn ping_for_writes(&self) -> Result<(), MetadataError> {
        const OPERATION: &str = "answer a health check of pushes";
        let transaction = self.begin(OPERATION).await?;
        let found: Option<Counted> = transaction
            .row(
                OPERATION,
                "SELECT count(*) AS count FROM roadstead_drained_site",
                params![],
            )
            .await?;
        transaction.commit().await?;
        found.map(drop).ok_or_else(|| {
            MetadataError::corrupt("roadstead_drained_site", "id", "any", "it was not counted")
        })
    }

    /// Closes every connection. Statements that come after it fail as [`MetadataError::Unavailable`].
    pub async fn close(&self) {
        match &self.pools.write {
            Writer::Sqlite {
                read,
                look_up,
                write,
                epochs,
                ..
            } => {
                epochs.close();
                for pool in [read, look_up, write] {
                    pool.close().await;
                }
            }
            Writer::Postgres {
                database, replicas, ..
            } => {
                database.close().await;
                replicas.close().await;
            }
        }
    }

    pub(crate) fn statements(&self) -> &Statements {
        &self.pools.statements
    }

    /// The epochs of this moment: while one is the same, what was read is what would be read. Asks a server; [`Database::epochs_at_hand`] does not.
    ///
    /// Dropped, it leaves the question to be asked.
    pub async fn epochs_now(&self) -> EpochsNow {
        match &self.pools.write {
            Writer::Sqlite { epochs, .. } => epochs.both(),
            Writer::Postgres { snapshots, .. } => {
                let epoch = snapshots.now().await;
                EpochsNow {
                    content: epoch,
                    repositories: epoch,
                }
            }
        }
    }

    /// As [`Database::epochs_now`] where that costs no way to a server and back; none otherwise.
    pub fn epochs_at_hand(&self) -> EpochsNow {
        self.epochs().map(Epochs::both).unwrap_or_default()
    }

    /// Where epochs are read: of a SQLite file.
    pub(crate) fn epochs(&self) -> Option<&Epochs> {
        match &self.pools.write {
            Writer::Sqlite { epochs, .. } => Some(epochs),
            Writer::Postgres { .. } => None,
        }
    }

    /// Where those meet who look up the same.
    pub(crate) fn lookups(&self) -> &Lookups {
        &self.pools.lookups
    }

    /// Where those meet who change the same.
    pub(crate) fn meetings(&self) -> &Meetings {
        &self.pools.meetings
    }

    /// Whether somebody else than the database itself may answer.
    pub(crate) fn has_replicas(&self) -> bool {
        match &self.pools.write {
            Writer::Sqlite { .. } => false,
            Writer::Postgres { replicas, .. } => !replicas.is_empty(),
        }
    }

    /// Whether there is a server, how often it was another one or a new pool, and how the pools are.
    pub(crate) fn pool_states(&self) -> (bool, u64, Vec<(&'static str, PoolState)>) {
        match &self.pools.write {
            Writer::Sqlite {
                read,
                look_up,
                write,
                ..
            } => (
                true,
                0,
                vec![
                    ("read", read.state()),
                    ("look_up", look_up.state()),
                    ("write", write.state()),
                ],
            ),
            Writer::Postgres {
                database, replicas, ..
            } => {
                let state = |connection: &DatabaseConnection| {
                    let pool = connection.get_postgres_connection_pool();
                    pool_state(pool.size(), pool.num_idle())
                };
                let live = database.live();
                let mut pools = vec![(
                    "primary",
                    live.as_ref()
                        .map(|live| state(&live.connection))
                        .unwrap_or_default(),
                )];
                let mut together = None;
                for connection in replicas.connections() {
                    let one = state(&connection);
                    let all: &mut PoolState = together.get_or_insert_default();
                    all.in_use += one.in_use;
                    all.idle += one.idle;
                }
                pools.extend(together.map(|all| ("replicas", all)));
                (live.is_ok(), database.changes(), pools)
            }
        }
    }

    /// The servers of a PostgreSQL database.
    pub(crate) fn servers(&self) -> Option<Arc<Servers>> {
        match &self.pools.write {
            Writer::Sqlite { .. } => None,
            Writer::Postgres { database, .. } => Some(Arc::clone(database)),
        }
    }

    /// For what something is decided by.
    pub(crate) fn reader(&self) -> &Reader {
        self.placed(&self.pools.read)
    }

    /// For what a pull reads and may change at any time: while the database is not available, a replica may answer.
    pub(crate) fn pull_reader(&self) -> &Reader {
        self.placed(&self.pools.pull)
    }

    /// For what is named by a digest: a replica answers if it can.
    pub(crate) fn named_reader(&self) -> &Reader {
        self.placed(&self.pools.named)
    }

    /// For what requests look up all the time, some rows through an index: as [`Database::reader`]. In a SQLite file that takes less time than to ask
    /// another thread, so this one does it.
    pub(crate) fn look_up_reader(&self) -> &Reader {
        self.pools.look_up.as_ref().unwrap_or(&self.pools.read)
    }

    /// This database for what looks some rows up through an index, of a SQLite file on this thread. None for a server.
    pub(crate) fn for_looking_up(&self) -> Option<Self> {
        self.pools.look_up.is_some().then(|| Self {
            way: Way::LookUp,
            ..self.clone()
        })
    }

    fn placed<'a>(&'a self, reader: &'a Reader) -> &'a Reader {
        let placed = match self.way {
            Way::OneByOne => None,
            Way::InOneGo => self.pools.here.as_ref(),
            Way::LookUp => self.pools.look_up.as_ref(),
        };
        placed.unwrap_or(reader)
    }

    /// Does something that takes several statements, each of which depends on the last. On a SQLite file all of it goes to a thread that may wait for
    /// a disk, in place of each statement by itself: to change threads costs more than most statements. None when the process is ending, or it
    /// panicked.
    ///
    /// Dropped, it is done to the end on a SQLite file.
    pub(crate) async fn in_one_go<T: Send + 'static>(
        &self,
        work: impl FnOnce(Self) -> BoxFuture<'static, T> + Send + 'static,
    ) -> Option<T> {
        let database = self.clone();
        match (self.engine(), self.way) {
            (Engine::Postgres, _) | (_, Way::InOneGo) => Some(work(database).await),
            (Engine::Sqlite, Way::OneByOne | Way::LookUp) => {
                let here = Self {
                    way: Way::InOneGo,
                    ..database
                };
                let (runtime, span) = (Handle::current(), Span::current());
                let working = move || span.in_scope(|| runtime.block_on(work(here)));
                task::spawn_blocking(working).await.ok()
            }
        }
    }

    /// Runs one statement as a transaction of its own and tells how many rows it changed.
    pub(crate) async fn execute(
        &self,
        operation: &'static str,
        sql: &str,
        values: Vec<Value>,
    ) -> Result<u64, MetadataError> {
        let transaction = self.begin(operation).await?;
        let changed = transaction.execute(operation, sql, values).await?;
        transaction.commit().await?;
        Ok(changed)
    }
}

/// The state of a pool of so many connections, so many of them idle.
fn pool_state(connections: u32, idle: usize) -> PoolState {
    let idle = u32::try_from(idle).unwrap_or(u32::MAX);
    PoolState {
        in_use: connections.saturating_sub(idle),
        idle,
    }
}

/// What only one transaction at a time may do. The number is PostgreSQL's name for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Lock(i64);

impl Lock {
    /// Ending a tag of this repository and beginning another: Quay's own lock, which its instances take for the same.
    pub(crate) fn tags_of(repository: RepositoryId) -> Self {
        Self::named(&format!("retarget_tag:{repository}"))
    }

    /// Changing what a namespace weighs. Taken behind [`Lock::tags_of`] and before [`Lock::blob`].
    pub(crate) fn quota_of(namespace: UserId) -> Self {
        Self::named(&format!("roadstead_quota:{namespace}"))
    }

    /// Changing what is demanded beside the configuration.
    pub(crate) fn placement_rules() -> Self {
        Self::named("roadstead_placement_rules")
    }

    /// Adding webhooks, which are limited in number.
    pub(crate) fn webhooks() -> Self {
        Self::named("roadstead_webhooks")
    }

    /// Taking a region out, of which one must stay.
    pub(crate) fn sites() -> Self {
        Self::named("roadstead_sites")
    }

    /// Making the first account of a registry.
    pub(crate) fn first_account() -> Self {
        Self::named("roadstead_first_account")
    }

    /// Changing the teams of an organisation, which must keep somebody who administers it.
    pub(crate) fn teams_of(organization: UserId) -> Self {
        Self::named(&format!("roadstead_teams:{organization}"))
    }

    /// Making the row of the blob with this digest, or giving it up.
    pub(crate) fn blob(digest: &str) -> Self {
        Self::named(&format!("roadstead_blob:{digest}"))
    }

    /// PostgreSQL's name for it.
    pub(crate) const fn number(self) -> i64 {
        self.0
    }

    /// The first eight bytes of the name's SHA-256, as Quay numbers its locks.
    pub(crate) fn named(name: &str) -> Self {
        let digest = Digest::of(Algorithm::Sha256, name.as_bytes());
        let first = digest.hex().get(..16).unwrap_or_default();
        Self(
            u64::from_str_radix(first, 16)
                .unwrap_or_default()
                .cast_signed(),
        )
    }
}

/// How often a transaction is tried that others were in the way of.
pub(crate) const CONTENDED_ATTEMPTS: u32 = 5;

/// Does a transaction again from its beginning when another one was in the way: a deadlock, a serialization failure, or a row that two made
/// at once. SQLite never needs it. After [`CONTENDED_ATTEMPTS`] the error is the caller's.
pub(crate) async fn contended<T, F>(mut attempt: impl FnMut() -> F) -> Result<T, MetadataError>
where
    F: Future<Output = Result<T, MetadataError>>,
{
    for _ in 1..CONTENDED_ATTEMPTS {
        match attempt().await {
            Err(MetadataError::Contended { operation, source }) => {
                tracing::debug!(error = %source, "Trying again to {operation}");
            }
            done => return done,
        }
    }
    attempt().await
}

/// What statements run on: a pool or a transaction.
pub(crate) trait Connection: Sync {
    /// The kind of database.
    fn engine(&self) -> Engine;

    /// What counts the statements.
    fn statements(&self) -> &Statements;

    /// Runs a statement and takes what it finds.
    async fn query(&self, statement: Statement, wanted: Wanted) -> Result<Rows, DriverError>;

    fn statement(&self, sql: &str, values: Vec<Value>) -> Statement {
        let engine = self.engine();
        Statement::from_sql_and_values(engine.backend(), engine.render(sql), values)
    }

    async fn rows<T: FromRow>(
        &self,
        operation: &'static str,
        sql: &str,
        values: Vec<Value>,
    ) -> Result<Vec<T>, MetadataError> {
        let asked = self.query(self.statement(sql, values), Wanted::All);
        let rows = self
            .statements()
            .over((Step::Read, self.engine()), operation, asked)
            .await?;
        rows.read()
            .map_err(|error| MetadataError::driver(operation, error))
    }

    async fn row<T: FromRow>(
        &self,
        operation: &'static str,
        sql: &str,
        values: Vec<Value>,
    ) -> Result<Option<T>, MetadataError> {
        let asked = self.query(self.statement(sql, values), Wanted::One);
        let rows = self
            .statements()
            .over((Step::Read, self.engine()), operation, asked)
            .await?;
        let rows = rows
            .read()
            .map_err(|error| MetadataError::driver(operation, error))?;
        Ok(rows.into_iter().next())
    }
}

/// The parameters of a statement, in the order of `$1`, `$2` and so on.
macro_rules! params {
    ($($value:expr),* $(,)?) => {
        vec![$(sea_orm::Value::from($value)),*]
    };
}
pub(crate) use params;

/// A JSON array, for `@texts` (see [`crate::dialect`]).
pub(crate) fn json_texts<I>(texts: I) -> String
where
    I: IntoIterator,
    I::Item: AsRef<str>,
{
    let texts: Vec<serde_json::Value> = texts
        .into_iter()
        .map(|text| serde_json::Value::from(text.as_ref()))
        .collect();
    serde_json::Value::from(texts).to_string()
}

/// A JSON array of objects, for `@texts` and `@member` (see [`crate::dialect`]).
pub(crate) fn json_members<I>(members: I) -> String
where
    I: IntoIterator,
    I::Item: Serialize,
{
    let members: Vec<I::Item> = members.into_iter().collect();
    serde_json::to_string(&members).expect("texts and numbers by their names are JSON")
}

/// A JSON array, for `@ids` (see [`crate::dialect`]).
pub(crate) fn json_ids<I: IntoIterator<Item = i32>>(ids: I) -> String {
    serde_json::Value::from(ids.into_iter().collect::<Vec<_>>()).to_string()
}

/// A JSON array of pairs of texts, for `@pairs` (see [`crate::dialect`]).
pub(crate) fn json_pairs<'a, I: IntoIterator<Item = (&'a str, &'a str)>>(pairs: I) -> String {
    let pairs: Vec<[&str; 2]> = pairs
        .into_iter()
        .map(|(first, second)| [first, second])
        .collect();
    serde_json::json!(pairs).to_string()
}

/// A JSON array of ids of 64 bits, for [`WIDE_IDS`].
pub(crate) fn json_wide_ids<I: IntoIterator<Item = i64>>(ids: I) -> String {
    serde_json::Value::from(ids.into_iter().collect::<Vec<_>>()).to_string()
}

/// The members of a JSON array of ids of 64 bits, `$1`, as a set for `IN`.
pub(crate) const WIDE_IDS: &str = "(SELECT CAST(value AS bigint) FROM @texts($1) AS wide)";

#[derive(Debug, FromRow)]
pub(crate) struct Counted {
    pub(crate) count: i64,
}

#[derive(Debug, FromRow)]
pub(crate) struct Named {
    pub(crate) name: String,
}

#[derive(Debug, FromRow)]
pub(crate) struct Identified {
    pub(crate) id: i32,
}
