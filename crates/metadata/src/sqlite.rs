//! SQLite files: their connections, and the statements that run on them.
//!
//! SQLite is a library that answers on the thread that asks, mostly within some microseconds; what takes longer is a commit, which waits for the
//! disk, and the wait for another process's transaction. A statement by itself goes to a thread that may wait, and back. Who has several to ask
//! goes to such a thread as a whole ([`crate::Database::in_one_go`]) and asks there in [`Place::Here`].

use std::fmt::{self, Debug, Formatter};
use std::mem;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rusqlite::types::{ToSqlOutput, Value, ValueRef};
use rusqlite::{Connection, OpenFlags, ToSql};
use sea_orm::{ConnAcquireErr, DbErr, Statement, Value as Parameter};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task;

use crate::database::ACQUIRE_TIMEOUT;
use crate::error::DriverError;
use crate::metrics::PoolState;
use crate::row::FileRows;

/// How long a statement waits for another process's write transaction, which is short by design.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// How many statements a connection keeps prepared. There are some more kinds, of which few come often.
const PREPARED_MAX: usize = 256;

/// What every connection begins with.
///
/// FULL: a commit is on the disk before it is acknowledged. NORMAL would only survive a killed process, not a power cut. The cache is 1 MiB, since
/// the kernel keeps the file's pages already, once for all processes. The log goes into the database every 32 MiB, by which time most of its pages are
/// there several times. What a statement sorts or may have to undo is small, and stays out of files.
const PRAGMAS: &str = "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON; PRAGMA cache_size = -1024;
     PRAGMA wal_autocheckpoint = 8192; PRAGMA temp_store = MEMORY;";

/// On which thread a statement runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// On this one, which may wait for a disk.
    Here,
    /// On another one, because this one must not wait.
    Apart,
}

/// How many of the rows that there are somebody wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    One,
    All,
}

/// Connections to one file, at most so many. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Pool {
    shared: Arc<Shared>,
}

struct Shared {
    path: PathBuf,
    connections_max: u32,
    permits: Arc<Semaphore>,
    idle: Mutex<Vec<Connection>>,
}

impl Debug for Pool {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Pool")
            .field("path", &self.shared.path)
            .field("state", &self.state())
            .finish()
    }
}

impl Pool {
    /// Opens the first connection. The file is created when it is not there; its directory must exist.
    pub(crate) async fn open(path: &Path, connections_max: u32) -> Result<Self, DriverError> {
        let pool = Self {
            shared: Arc::new(Shared {
                path: path.to_owned(),
                connections_max,
                permits: Arc::new(Semaphore::new(permits(connections_max))),
                idle: Mutex::new(Vec::new()),
            }),
        };
        pool.session(Place::Apart).await?;
        Ok(pool)
    }

    /// Waits for a connection that is free.
    pub(crate) async fn session(&self, place: Place) -> Result<Session, DriverError> {
        let acquired = Arc::clone(&self.shared.permits).acquire_owned();
        let refused = |why| DriverError::from(DbErr::ConnectionAcquire(why));
        let permit = tokio::time::timeout(ACQUIRE_TIMEOUT, acquired)
            .await
            .map_err(|_| refused(ConnAcquireErr::Timeout))?
            .map_err(|_| refused(ConnAcquireErr::ConnectionClosed))?;
        let idle = self.shared.idle().pop();
        let connection = if let Some(connection) = idle {
            connection
        } else {
            let path = self.shared.path.clone();
            run(place, move || connect(&path)).await??
        };
        Ok(Session {
            connection: Some(connection),
            pool: Arc::clone(&self.shared),
            _permit: permit,
        })
    }

    /// Asks one statement by itself.
    pub(crate) async fn query(
        &self,
        statement: Statement,
        wanted: Wanted,
        place: Place,
    ) -> Result<FileRows, DriverError> {
        let session = self.session(place).await?;
        let (_, found) = session
            .run(place, move |connection| {
                query(connection, &statement, wanted)
            })
            .await?;
        found
    }

    /// How many connections there are.
    pub(crate) fn state(&self) -> PoolState {
        let free = u32::try_from(self.shared.permits.available_permits()).unwrap_or(u32::MAX);
        let idle = u32::try_from(self.shared.idle().len()).unwrap_or(u32::MAX);
        PoolState {
            in_use: self.shared.connections_max.saturating_sub(free),
            idle,
        }
    }

    /// Waits until every connection has been given back, as long as one waits for a connection, and closes them. Nobody gets one any more.
    pub(crate) async fn close(&self) {
        let everyone = self
            .shared
            .permits
            .acquire_many(self.shared.connections_max);
        // Whoever still has one closes it when giving it back.
        drop(tokio::time::timeout(ACQUIRE_TIMEOUT, everyone).await);
        self.shared.permits.close();
        let idle = mem::take(&mut *self.shared.idle());
        // The last connection writes the log into the database.
        if let Err(error) = run(Place::Apart, move || drop(idle)).await {
            tracing::warn!(%error, "Could not close the database cleanly");
        }
    }
}

const fn permits(connections: u32) -> usize {
    connections as usize
}

impl Shared {
    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Connection>> {
        // A list is whole whoever panicked.
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection in the hands of one caller. Dropped within a transaction, it rolls that back.
pub(crate) struct Session {
    /// There until it is given back.
    connection: Option<Connection>,
    pool: Arc<Shared>,
    _permit: OwnedSemaphorePermit,
}

impl Session {
    /// Works with the connection. Dropped meanwhile, it is done to the end, and the connection given back then.
    pub(crate) async fn run<T: Send + 'static>(
        self,
        place: Place,
        work: impl FnOnce(&Connection) -> T + Send + 'static,
    ) -> Result<(Self, T), DriverError> {
        run(place, move || {
            let done = self.connection.as_ref().map(work);
            (self, done)
        })
        .await
        .and_then(|(session, done)| Ok((session, done.ok_or_else(stopped)?)))
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let Some(connection) = self.connection.take() else {
            return;
        };
        let is_clean = connection.is_autocommit() || connection.execute_batch("ROLLBACK").is_ok();
        if is_clean && !self.pool.permits.is_closed() {
            self.pool.idle().push(connection);
        }
    }
}

async fn run<T: Send + 'static>(
    place: Place,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, DriverError> {
    match place {
        Place::Here => Ok(work()),
        Place::Apart => task::spawn_blocking(work).await.map_err(|_| stopped()),
    }
}

/// For a statement whose thread ended before it.
fn stopped() -> DriverError {
    DriverError::from(DbErr::Conn(sea_orm::RuntimeErr::Internal(
        "the thread that asked it has ended".to_owned(),
    )))
}

/// A connection that has read something, so that it keeps open what all of them share.
pub(crate) async fn keep_open(path: &Path) -> Result<Connection, DriverError> {
    let path = path.to_owned();
    let open = move || {
        let connection = connect(&path)?;
        connection.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))?;
        Ok(connection)
    };
    run(Place::Apart, open).await?
}

fn connect(path: &Path) -> Result<Connection, DriverError> {
    // One connection is in one hand at a time, so SQLite need not lock it.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_CREATE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.set_prepared_statement_cache_capacity(PREPARED_MAX);
    connection.execute_batch(PRAGMAS)?;
    Ok(connection)
}

/// Runs a statement and takes what it finds.
pub(crate) fn query(
    connection: &Connection,
    statement: &Statement,
    wanted: Wanted,
) -> Result<FileRows, DriverError> {
    let mut prepared = prepare(connection, statement)?;
    let columns: Vec<String> = prepared
        .column_names()
        .into_iter()
        .map(str::to_owned)
        .collect();
    let mut found = Vec::new();
    let mut rows = prepared.raw_query();
    while let Some(row) = rows.next()? {
        let values = (0..columns.len()).map(|nth| row.get::<_, Value>(nth));
        found.push(values.collect::<Result<_, _>>()?);
        if wanted == Wanted::One {
            break;
        }
    }
    drop(rows);
    steps::note(connection, &prepared, statement);
    Ok(FileRows {
        columns,
        rows: found,
    })
}

/// Runs a statement and tells how many rows it changed.
pub(crate) fn execute(connection: &Connection, statement: &Statement) -> Result<u64, DriverError> {
    let mut prepared = prepare(connection, statement)?;
    let changed = prepared.raw_execute()?;
    steps::note(connection, &prepared, statement);
    Ok(changed.try_into().unwrap_or(u64::MAX))
}

fn prepare<'a>(
    connection: &'a Connection,
    statement: &Statement,
) -> Result<rusqlite::CachedStatement<'a>, DriverError> {
    let mut prepared = connection.prepare_cached(&statement.sql)?;
    let parameters: &[Parameter] = statement
        .values
        .as_ref()
        .map_or(&[], |values| values.0.as_slice());
    for nth in 1..=prepared.parameter_count() {
        // `$2` is a name to SQLite: its number is the order in which the names come.
        let number = prepared
            .parameter_name(nth)
            .and_then(|name| name.strip_prefix('$'))
            .map_or(Ok(nth), str::parse);
        let parameter = number
            .ok()
            .and_then(|number| parameters.get(number.checked_sub(1)?));
        let parameter = parameter.ok_or(rusqlite::Error::InvalidParameterCount(
            parameters.len(),
            nth,
        ))?;
        prepared.raw_bind_parameter(nth, Bound(parameter))?;
    }
    Ok(prepared)
}

/// How many steps statements take, for the tests.
#[cfg(not(test))]
mod steps {
    pub(super) const fn note(
        _: &rusqlite::Connection,
        _: &rusqlite::Statement<'_>,
        _: &sea_orm::Statement,
    ) {
    }
}

#[cfg(test)]
pub(crate) mod steps {
    use std::collections::BTreeMap;
    use std::sync::Mutex;

    use rusqlite::{Connection, Statement, StatementStatus};

    /// The most steps that a statement took, by its text.
    pub(crate) type Steps = BTreeMap<String, i32>;

    /// By the files that are watched.
    static WATCHED: Mutex<BTreeMap<String, Steps>> = Mutex::new(BTreeMap::new());

    pub(super) fn note(
        connection: &Connection,
        prepared: &Statement<'_>,
        statement: &sea_orm::Statement,
    ) {
        let steps = prepared.reset_status(StatementStatus::VmStep);
        if let Some(watched) = WATCHED.lock().unwrap().get_mut(connection.path().unwrap()) {
            let most = watched.entry(statement.sql.clone()).or_default();
            *most = steps.max(*most);
        }
    }

    /// Begins to watch a file.
    pub(crate) fn begin(path: &str) {
        WATCHED
            .lock()
            .unwrap()
            .insert(path.to_owned(), Steps::new());
    }

    /// What was noted of it.
    pub(crate) fn end(path: &str) -> Steps {
        WATCHED.lock().unwrap().remove(path).unwrap_or_default()
    }
}

/// A parameter as the columns of our tables hold it.
struct Bound<'a>(&'a Parameter);

impl ToSql for Bound<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        let value = match self.0 {
            Parameter::Bool(flag) => flag.map(|flag| Value::Integer(flag.into())),
            Parameter::Int(number) => number.map(|number| Value::Integer(number.into())),
            Parameter::BigInt(number) => number.map(Value::Integer),
            Parameter::String(text) => {
                let text = text.as_deref().map_or(ValueRef::Null, ValueRef::from);
                return Ok(ToSqlOutput::Borrowed(text));
            }
            Parameter::ChronoDate(day) => day.map(|day| Value::Text(day.format("%F").to_string())),
            // As `moment_text`, so that they compare.
            Parameter::ChronoDateTime(time) => {
                time.map(|time| Value::Text(time.format("%F %T%.f").to_string()))
            }
            _ => {
                let unknown = "no column holds a parameter of its kind";
                return Err(rusqlite::Error::ToSqlConversionFailure(unknown.into()));
            }
        };
        Ok(ToSqlOutput::Owned(value.unwrap_or(Value::Null)))
    }
}

#[cfg(test)]
mod tests;
