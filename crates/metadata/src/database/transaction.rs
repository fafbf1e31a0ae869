//! Write transactions, at a server and in a SQLite file, and those that change the schema.

use std::sync::Arc;

use futures_util::FutureExt as _;
use roadstead_migrations::Migrator;
use sea_orm::{
    ConnectionTrait, DatabaseConnection, DatabaseTransaction, DbErr, SqliteTransactionMode,
    SqlxSqliteConnector, Statement, TransactionOptions, TransactionTrait, Value,
};
use sea_orm_migration::MigratorTrait;
use sqlx::sqlite::{SqliteConnectOptions, SqlitePoolOptions, SqliteSynchronous};
use tokio::sync::Mutex;

use super::{ACQUIRE_TIMEOUT, Connection, Database, Lock, Way, Writer, json_wide_ids, params};
use crate::dialect::Engine;
use crate::error::{DriverError, MetadataError};
use crate::metrics::{Statements, Step};
use crate::postgres::{Live, Servers};
use crate::reader::of_server;
use crate::row::Rows;
use crate::sqlite::{self, Place, Session, Wanted};

impl Database {
    /// Starts a write transaction. Dropping it without [`Transaction::commit`] rolls it back.
    pub(crate) async fn begin(
        &self,
        operation: &'static str,
    ) -> Result<Transaction, MetadataError> {
        let begun = async {
            match &self.pools.write {
                Writer::Sqlite { write, .. } => {
                    let place = match self.way {
                        Way::InOneGo => Place::Here,
                        Way::OneByOne | Way::LookUp => Place::Apart,
                    };
                    let session = write.session(place).await?;
                    // A deferred transaction that reads before it writes is refused when another process wrote in between; this one waits instead.
                    let begin = |connection: &rusqlite::Connection| {
                        connection.execute_batch("BEGIN IMMEDIATE")
                    };
                    let (session, begun) = session.run(place, begin).await?;
                    begun?;
                    Ok(Inner::File {
                        session: Mutex::new(Some(session)),
                        place,
                    })
                }
                Writer::Postgres { database, .. } => {
                    let begin = |connection: DatabaseConnection| {
                        async move { connection.begin().await }.boxed()
                    };
                    let (transaction, live) = database.run(begin).await?;
                    Ok(Inner::Server {
                        transaction,
                        served: Some((Arc::clone(database), live)),
                    })
                }
            }
        };
        self.transaction(operation, begun).await
    }

    async fn transaction(
        &self,
        operation: &'static str,
        begun: impl Future<Output = Result<Inner, DriverError>>,
    ) -> Result<Transaction, MetadataError> {
        let statements = Arc::clone(&self.pools.statements);
        let begun = statements.over((Step::Begin, self.engine()), operation, begun);
        Ok(Transaction {
            inner: begun.await?,
            engine: self.engine(),
            operation,
            statements,
        })
    }

    /// As [`Database::begin`], through the driver that migrations are written for.
    pub(crate) async fn begin_migration(
        &self,
        operation: &'static str,
    ) -> Result<Migration, MetadataError> {
        let Writer::Sqlite { path, .. } = &self.pools.write else {
            return Ok(Migration {
                transaction: self.begin(operation).await?,
                connection: None,
            });
        };
        let connect = SqliteConnectOptions::new()
            .filename(path)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true);
        let pool = SqlitePoolOptions::new()
            .max_connections(1)
            .acquire_timeout(ACQUIRE_TIMEOUT)
            .connect_lazy_with(connect);
        let connection = SqlxSqliteConnector::from_sqlx_sqlite_pool(pool);
        let options = TransactionOptions {
            sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
            ..TransactionOptions::default()
        };
        let begun = async {
            Ok(Inner::Server {
                transaction: connection.begin_with_options(options).await?,
                served: None,
            })
        };
        Ok(Migration {
            transaction: self.transaction(operation, begun).await?,
            connection: Some(connection),
        })
    }
}

/// An open write transaction. On SQLite there is one at a time; on PostgreSQL each sees what others committed before each of its statements,
/// so what must not be done by two at once is done under a [`Lock`].
pub(crate) struct Transaction {
    inner: Inner,
    engine: Engine,
    operation: &'static str,
    statements: Arc<Statements>,
}

enum Inner {
    Server {
        transaction: DatabaseTransaction,
        /// The server that it runs on, watched while a statement is waited for.
        served: Option<(Arc<Servers>, Live)>,
    },
    File {
        /// With a statement while that runs. A statement that nobody waits for any more takes the transaction along.
        session: Mutex<Option<Session>>,
        place: Place,
    },
}

/// A transaction that may change the schema.
pub(crate) struct Migration {
    transaction: Transaction,
    /// What a SQLite file is open through until it ends.
    connection: Option<DatabaseConnection>,
}

impl Migration {
    /// What has been migrated so far is read and changed through this.
    pub(crate) const fn transaction(&self) -> &Transaction {
        &self.transaction
    }

    /// Makes what the schema lacks.
    pub(crate) async fn migrate(&self) -> Result<(), MetadataError> {
        match &self.transaction.inner {
            Inner::Server { transaction, .. } => Migrator::up(transaction, None)
                .await
                .map_err(|error| MetadataError::driver(self.transaction.operation, error)),
            // `begin_migration` makes none.
            Inner::File { .. } => Ok(()),
        }
    }

    /// As [`Transaction::commit`].
    pub(crate) async fn commit(self) -> Result<(), MetadataError> {
        let operation = self.transaction.operation;
        self.transaction.commit().await?;
        match self.connection {
            Some(connection) => connection
                .close()
                .await
                .map_err(|error| MetadataError::driver(operation, error)),
            None => Ok(()),
        }
    }
}

impl Transaction {
    /// Ends the transaction. An error leaves open whether it has happened when the connection is lost while the answer is on its way.
    pub(crate) async fn commit(self) -> Result<(), MetadataError> {
        let Self {
            inner,
            engine,
            operation,
            statements,
        } = self;
        let ended = async {
            match inner {
                Inner::Server {
                    transaction,
                    served,
                } => Ok(guard(served.as_ref(), transaction.commit()).await?),
                Inner::File { session, place } => {
                    let session = session.into_inner().ok_or_else(lost)?;
                    let commit =
                        |connection: &rusqlite::Connection| connection.execute_batch("COMMIT");
                    let (_, ended) = session.run(place, commit).await?;
                    Ok(ended?)
                }
            }
        };
        statements
            .over((Step::Commit, engine), operation, ended)
            .await
    }

    /// Runs one statement and tells how many rows it changed.
    pub(crate) async fn execute(
        &self,
        operation: &'static str,
        sql: &str,
        values: Vec<Value>,
    ) -> Result<u64, MetadataError> {
        let statement = self.statement(sql, values);
        let executed = async {
            match &self.inner {
                Inner::Server {
                    transaction,
                    served,
                } => {
                    let executed = transaction.execute_raw(statement);
                    Ok(guard(served.as_ref(), executed).await?.rows_affected())
                }
                Inner::File { .. } => {
                    self.in_file(move |connection| sqlite::execute(connection, &statement))
                        .await
                }
            }
        };
        self.statements
            .over((Step::Write, self.engine), operation, executed)
            .await
    }

    /// Works with the connection that the transaction runs on.
    async fn in_file<T: Send + 'static>(
        &self,
        work: impl FnOnce(&rusqlite::Connection) -> Result<T, DriverError> + Send + 'static,
    ) -> Result<T, DriverError> {
        let Inner::File { session, place } = &self.inner else {
            return Err(lost());
        };
        let mut session = session.lock().await;
        let (kept, done) = session.take().ok_or_else(lost)?.run(*place, work).await?;
        *session = Some(kept);
        done
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

/// For a transaction that a statement has taken along which nobody waited for.
fn lost() -> DriverError {
    DriverError::from(DbErr::Custom("the transaction was given up".to_owned()))
}

impl Connection for Transaction {
    fn engine(&self) -> Engine {
        self.engine
    }

    fn statements(&self) -> &Statements {
        &self.statements
    }

    async fn query(&self, statement: Statement, wanted: Wanted) -> Result<Rows, DriverError> {
        match &self.inner {
            Inner::Server {
                transaction,
                served,
            } => {
                let asked = of_server(transaction, statement, wanted);
                Ok(guard(served.as_ref(), asked).await?)
            }
            Inner::File { .. } => self
                .in_file(move |connection| sqlite::query(connection, &statement, wanted))
                .await
                .map(Rows::File),
        }
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
