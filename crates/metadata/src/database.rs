//! The connection to the database: pools, transactions, and the few lines through which every statement goes.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use roadstead_oci::{Algorithm, Digest};
use sea_orm::{
    ConnectionTrait, DatabaseConnection, DatabaseTransaction, DbBackend, DbErr, FromQueryResult,
    QueryResult, SqliteTransactionMode, SqlxSqliteConnector, Statement, TransactionOptions,
    TransactionTrait, Value,
};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};

use crate::dialect::Engine;
use crate::epoch::{Epoch, Epochs};
use crate::error::{DriverError, MetadataError};
use crate::ids::{RepositoryId, UserId};
use crate::lookups::Lookups;
use crate::meetings::Meetings;
use crate::metrics::{PoolState, Statements, Step};
use crate::postgres::{Live, PostgresOptions, Servers, Times};
use crate::reader::{Freshness, Reader, Replicas};

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

/// How long a statement waits for another process's write transaction, which is short by design.
const SQLITE_BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a request waits for a free connection before it is told that the database is not available.
pub(crate) const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(15);

/// The metadata of one registry. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Database {
    pools: Arc<Pools>,
}

#[derive(Debug)]
struct Pools {
    read: Reader,
    /// For what a pull reads.
    pull: Reader,
    /// For what a digest names.
    named: Reader,
    write: Writer,
    lookups: Lookups,
    meetings: Meetings,
    statements: Arc<Statements>,
}

#[derive(Debug)]
enum Writer {
    /// SQLite has one writer at a time, so its pool has one connection: writers of this process queue here instead of in the file's lock.
    Sqlite {
        read: DatabaseConnection,
        write: DatabaseConnection,
        epochs: Epochs,
    },
    Postgres {
        database: Arc<Servers>,
        replicas: Arc<Replicas>,
    },
}

impl Pools {
    async fn sqlite(path: &std::path::Path) -> Result<Self, MetadataError> {
        let connect = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            // FULL: a commit is on the disk before it is acknowledged. NORMAL would only survive a killed process, not a power cut.
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(SQLITE_BUSY_TIMEOUT)
            .foreign_keys(true)
            .statement_cache_capacity(256)
            // 1 MiB a connection: the kernel keeps the file's pages already, once for all processes.
            .pragma("cache_size", "-1024");
        let unopenable = |source: sqlx::Error| MetadataError::Unopenable {
            database: path.display().to_string(),
            source: DriverError::from(DbErr::Conn(sea_orm::RuntimeErr::SqlxError(Arc::new(
                source,
            )))),
        };
        let write = SqlitePoolOptions::new()
            .max_connections(1)
            .acquire_timeout(ACQUIRE_TIMEOUT)
            .connect_with(connect.clone())
            .await
            .map_err(unopenable)?;
        let read = SqlitePoolOptions::new()
            .max_connections(SQLITE_READERS)
            .acquire_timeout(ACQUIRE_TIMEOUT)
            .connect_with(connect)
            .await
            .map_err(unopenable)?;
        let read = SqlxSqliteConnector::from_sqlx_sqlite_pool(read);
        let statements = Arc::<Statements>::default();
        let reader = Reader::sqlite(read.clone(), Arc::clone(&statements));
        Ok(Self {
            pull: reader.clone(),
            named: reader.clone(),
            read: reader,
            lookups: Lookups::new(Engine::Sqlite),
            meetings: Meetings::new(Engine::Sqlite),
            statements,
            write: Writer::Sqlite {
                read,
                write: SqlxSqliteConnector::from_sqlx_sqlite_pool(write),
                epochs: Epochs::of(path),
            },
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
        Ok(Self {
            read: reader(Freshness::Now),
            pull: reader(Freshness::Pull),
            named: reader(Freshness::Named),
            lookups: Lookups::new(Engine::Postgres),
            meetings: Meetings::new(Engine::Postgres),
            statements,
            write: Writer::Postgres { database, replicas },
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
            Writer::Sqlite { read, write, .. } => {
                for pool in [read, write] {
                    if let Err(error) = pool.close_by_ref().await {
                        tracing::warn!(%error, "Could not close the database cleanly");
                    }
                }
            }
            Writer::Postgres { database, replicas } => {
                database.close().await;
                replicas.close().await;
            }
        }
    }

    pub(crate) fn statements(&self) -> &Statements {
        &self.pools.statements
    }

    /// The content of this moment: while it is the same, what was read is what would be read. None where that cannot be told, as of a server.
    pub fn epoch(&self) -> Option<Epoch> {
        match &self.pools.write {
            Writer::Sqlite { epochs, .. } => epochs.now(),
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
            Writer::Sqlite { read, write, .. } => {
                let state = |pool: &DatabaseConnection| {
                    let pool = pool.get_sqlite_connection_pool();
                    pool_state(pool.size(), pool.num_idle())
                };
                (
                    true,
                    0,
                    vec![("read", state(read)), ("write", state(write))],
                )
            }
            Writer::Postgres { database, replicas } => {
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
        &self.pools.read
    }

    /// For what a pull reads and may change at any time: while the database is not available, a replica may answer.
    pub(crate) fn pull_reader(&self) -> &Reader {
        &self.pools.pull
    }

    /// For what is named by a digest: a replica answers if it can.
    pub(crate) fn named_reader(&self) -> &Reader {
        &self.pools.named
    }

    /// Starts a write transaction. Dropping it without [`Transaction::commit`] rolls it back.
    pub(crate) async fn begin(
        &self,
        operation: &'static str,
    ) -> Result<Transaction, MetadataError> {
        let options = TransactionOptions {
            // SQLite: a deferred transaction that reads before it writes is refused when another process wrote in between; this one waits instead.
            sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
            ..TransactionOptions::default()
        };
        let begun = async {
            match &self.pools.write {
                Writer::Sqlite { write, .. } => write
                    .begin_with_options(options)
                    .await
                    .map(|inner| (inner, None)),
                Writer::Postgres { database, .. } => database
                    .run(|connection| {
                        async move { connection.begin_with_options(options).await }.boxed()
                    })
                    .await
                    .map(|(inner, live)| (inner, Some((Arc::clone(database), live)))),
            }
        };
        let statements = Arc::clone(&self.pools.statements);
        let (inner, served) = statements
            .over((Step::Begin, self.engine()), operation, begun)
            .await?;
        Ok(Transaction {
            inner,
            served,
            operation,
            statements,
        })
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

/// An open write transaction. On SQLite there is one at a time; on PostgreSQL each sees what others committed before each of its statements,
/// so what must not be done by two at once is done under a [`Lock`].
pub(crate) struct Transaction {
    inner: DatabaseTransaction,
    /// The server that it runs on, watched while a statement is waited for.
    served: Option<(Arc<Servers>, Live)>,
    operation: &'static str,
    statements: Arc<Statements>,
}

impl Transaction {
    /// Ends the transaction. An error leaves open whether it has happened when the connection is lost while the answer is on its way.
    pub(crate) async fn commit(self) -> Result<(), MetadataError> {
        let engine = self.engine();
        let Self {
            inner,
            served,
            operation,
            statements,
        } = self;
        let ended = guard(served.as_ref(), inner.commit());
        statements
            .over((Step::Commit, engine), operation, ended)
            .await
    }

    /// Waits until no other transaction holds this lock and keeps it until the transaction ends. Take several in ascending order.
    pub(crate) async fn lock(&self, lock: Lock) -> Result<(), MetadataError> {
        if self.engine() == Engine::Postgres {
            self.execute(
                self.operation,
                "SELECT pg_advisory_xact_lock($1)",
                params![lock.0],
            )
            .await?;
        }
        Ok(())
    }

    /// Takes any number of locks with one statement, in ascending order.
    pub(crate) async fn lock_all(
        &self,
        locks: impl IntoIterator<Item = Lock> + Send,
    ) -> Result<(), MetadataError> {
        let locks: std::collections::BTreeSet<Lock> = locks.into_iter().collect();
        if self.engine() == Engine::Postgres && !locks.is_empty() {
            self.execute(
                self.operation,
                // The members come in the order of the array.
                "SELECT pg_advisory_xact_lock(CAST(value AS bigint)) FROM @texts($1) AS locks",
                params![json_wide_ids(locks.into_iter().map(|lock| lock.0))],
            )
            .await?;
        }
        Ok(())
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

async fn guard<T>(
    served: Option<&(Arc<Servers>, Live)>,
    work: impl Future<Output = Result<T, DbErr>>,
) -> Result<T, DbErr> {
    match served {
        Some((servers, live)) => servers.guard(live, work).await,
        None => work.await,
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
const CONTENDED_ATTEMPTS: u32 = 5;

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
    type Inner: ConnectionTrait;

    fn inner(&self) -> &Self::Inner;

    /// What counts the statements.
    fn statements(&self) -> &Statements;

    /// The server whose loss ends a statement, where the statement itself does not see to that.
    fn served(&self) -> Option<&(Arc<Servers>, Live)> {
        None
    }

    fn engine(&self) -> Engine {
        match self.inner().get_database_backend() {
            DbBackend::Postgres => Engine::Postgres,
            _ => Engine::Sqlite,
        }
    }

    fn statement(&self, sql: &str, values: Vec<Value>) -> Statement {
        let engine = self.engine();
        Statement::from_sql_and_values(engine.backend(), engine.render(sql), values)
    }

    async fn rows<T: FromQueryResult + Send>(
        &self,
        operation: &'static str,
        sql: &str,
        values: Vec<Value>,
    ) -> Result<Vec<T>, MetadataError> {
        let asked = guard(
            self.served(),
            self.inner().query_all_raw(self.statement(sql, values)),
        );
        let rows = self
            .statements()
            .over((Step::Read, self.engine()), operation, asked)
            .await?;
        rows.iter()
            .map(|row: &QueryResult| T::from_query_result(row, ""))
            .collect::<Result<_, _>>()
            .map_err(|error| MetadataError::driver(operation, error))
    }

    async fn row<T: FromQueryResult + Send>(
        &self,
        operation: &'static str,
        sql: &str,
        values: Vec<Value>,
    ) -> Result<Option<T>, MetadataError> {
        let asked = guard(
            self.served(),
            self.inner().query_one_raw(self.statement(sql, values)),
        );
        let row = self
            .statements()
            .over((Step::Read, self.engine()), operation, asked)
            .await?;
        row.map(|row| T::from_query_result(&row, ""))
            .transpose()
            .map_err(|error| MetadataError::driver(operation, error))
    }

    /// Tells how many rows were changed.
    async fn execute(
        &self,
        operation: &'static str,
        sql: &str,
        values: Vec<Value>,
    ) -> Result<u64, MetadataError> {
        let executed = guard(
            self.served(),
            self.inner().execute_raw(self.statement(sql, values)),
        );
        let done = self
            .statements()
            .over((Step::Write, self.engine()), operation, executed)
            .await?;
        Ok(done.rows_affected())
    }
}

impl Connection for Transaction {
    type Inner = DatabaseTransaction;

    fn inner(&self) -> &DatabaseTransaction {
        &self.inner
    }

    fn statements(&self) -> &Statements {
        &self.statements
    }

    fn served(&self) -> Option<&(Arc<Servers>, Live)> {
        self.served.as_ref()
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

#[derive(Debug, FromQueryResult)]
pub(crate) struct Counted {
    pub(crate) count: i64,
}

#[derive(Debug, FromQueryResult)]
pub(crate) struct Named {
    pub(crate) name: String,
}

#[derive(Debug, FromQueryResult)]
pub(crate) struct Identified {
    pub(crate) id: i32,
}
