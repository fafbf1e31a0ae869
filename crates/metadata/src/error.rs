//! What can go wrong between us and the database.

use std::sync::Arc;

use rusqlite::ErrorCode;
use sea_orm::{DbErr, RuntimeErr};

use crate::schema::SchemaError;

/// Why the metadata could not be read or changed. Cheap to clone: several may have asked with one statement.
#[derive(Clone, Debug, thiserror::Error)]
pub enum MetadataError {
    /// The database does not answer, is locked by another for too long, or has no connection free. Trying again later may help.
    #[error("the database is not available while trying to {operation}")]
    Unavailable {
        /// What was being done.
        operation: &'static str,
        /// What the driver said.
        #[source]
        source: DriverError,
    },
    /// Somebody else changed the thing first, or it is in a state in which this cannot be done.
    #[error("{what}")]
    Conflict {
        /// What stands in the way, for the user.
        what: String,
    },
    /// Other writers were in the way, several times in a row. Trying again later may help.
    #[error("other writers were in the way while trying to {operation}; try again")]
    Contended {
        /// What was being done.
        operation: &'static str,
        /// What the driver said.
        #[source]
        source: DriverError,
    },
    /// A row holds what no version of this program writes.
    #[error("table `{table}`, column `{column}`, row {row}: {problem}")]
    Corrupt {
        /// The table.
        table: &'static str,
        /// The column.
        column: &'static str,
        /// The row's id, or what it was found by.
        row: String,
        /// What is wrong with the value.
        problem: String,
    },
    /// The database's schema, or its server, is not one that this program works with.
    #[error(transparent)]
    Schema(#[from] SchemaError),
    /// The database file or its directory cannot be opened or written.
    #[error("could not open the database {database}")]
    Unopenable {
        /// The path, never with a password in it.
        database: String,
        /// What the driver said.
        #[source]
        source: DriverError,
    },
    /// Anything else the driver reports.
    #[error("the database refused to {operation}")]
    Driver {
        /// What was being done.
        operation: &'static str,
        /// What the driver said.
        #[source]
        source: DriverError,
    },
}

/// The driver's own error, kept for the log.
#[derive(Clone, Debug, thiserror::Error)]
#[error(transparent)]
pub struct DriverError(Cause);

#[derive(Clone, Debug, thiserror::Error)]
enum Cause {
    /// Of a server, or of the pool of its connections.
    #[error(transparent)]
    Server(Arc<DbErr>),
    /// Of a SQLite file.
    #[error(transparent)]
    File(Arc<rusqlite::Error>),
    /// A column is missing, or says something that is not of its kind.
    #[error("column `{0}` is missing or is not what it should be")]
    Column(&'static str),
}

impl From<DbErr> for DriverError {
    fn from(error: DbErr) -> Self {
        Self(Cause::Server(Arc::new(error)))
    }
}

impl From<rusqlite::Error> for DriverError {
    fn from(error: rusqlite::Error) -> Self {
        Self(Cause::File(Arc::new(error)))
    }
}

impl DriverError {
    /// For a column that cannot be read.
    pub(crate) const fn column(name: &'static str) -> Self {
        Self(Cause::Column(name))
    }
}

impl MetadataError {
    /// Whether trying the same again later may succeed.
    pub fn is_temporary(&self) -> bool {
        matches!(self, Self::Unavailable { .. } | Self::Contended { .. })
    }

    pub(crate) fn driver(operation: &'static str, error: impl Into<DriverError>) -> Self {
        let source = error.into();
        match Trouble::of(&source) {
            Trouble::Unavailable => Self::Unavailable { operation, source },
            Trouble::Contended => Self::Contended { operation, source },
            Trouble::Other => Self::Driver { operation, source },
        }
    }

    pub(crate) fn corrupt(
        table: &'static str,
        column: &'static str,
        row: impl std::fmt::Display,
        problem: impl std::fmt::Display,
    ) -> Self {
        Self::Corrupt {
            table,
            column,
            row: row.to_string(),
            problem: problem.to_string(),
        }
    }
}

/// Whether the database did not answer, as against having answered no.
pub(crate) fn is_unavailable(error: &DbErr) -> bool {
    matches!(Trouble::at_server(error), Trouble::Unavailable)
}

/// What a driver's error means for whoever waits.
enum Trouble {
    Unavailable,
    Contended,
    Other,
}

impl Trouble {
    fn of(error: &DriverError) -> Self {
        match &error.0 {
            Cause::Server(error) => Self::at_server(error),
            Cause::File(error) => Self::at_file(error),
            Cause::Column(_) => Self::Other,
        }
    }

    fn at_server(error: &DbErr) -> Self {
        match error {
            DbErr::ConnectionAcquire(_) | DbErr::Conn(_) => Self::Unavailable,
            DbErr::Exec(RuntimeErr::SqlxError(inner))
            | DbErr::Query(RuntimeErr::SqlxError(inner)) => Self::in_driver(inner),
            _ => Self::Other,
        }
    }

    fn at_file(error: &rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(
                ErrorCode::DatabaseBusy
                | ErrorCode::DatabaseLocked
                | ErrorCode::SystemIoFailure
                | ErrorCode::DiskFull,
            ) => Self::Unavailable,
            _ => Self::Other,
        }
    }

    fn in_driver(error: &sqlx::Error) -> Self {
        match error {
            sqlx::Error::Io(_)
            | sqlx::Error::Tls(_)
            | sqlx::Error::Protocol(_)
            | sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::WorkerCrashed => Self::Unavailable,
            sqlx::Error::Database(database) => database
                .code()
                .map_or(Self::Other, |code| Self::of_code(&code)),
            _ => Self::Other,
        }
    }

    /// Codes of five letters are PostgreSQL's (its appendix A), others SQLite's.
    fn of_code(code: &str) -> Self {
        if code.len() != 5 {
            // SQLITE_BUSY (5), SQLITE_LOCKED (6), SQLITE_IOERR (10), SQLITE_FULL (13) and their extended codes, whose low byte is the primary code.
            return match code.parse::<u32>().map(|code| code & 0xff) {
                Ok(5 | 6 | 10 | 13) => Self::Unavailable,
                _ => Self::Other,
            };
        }
        match code {
            // serialization_failure, deadlock_detected, unique_violation, foreign_key_violation, lock_not_available: what a second attempt
            // sees is settled by then.
            "40001" | "40P01" | "23505" | "23503" | "55P03" => Self::Contended,
            // read_only_sql_transaction: a server that has become a standby. query_canceled: the statement's time was up.
            "25006" | "57014" => Self::Unavailable,
            // connection_exception, insufficient_resources, operator_intervention, system_error.
            _ if ["08", "53", "57", "58"]
                .iter()
                .any(|class| code.starts_with(class)) =>
            {
                Self::Unavailable
            }
            _ => Self::Other,
        }
    }
}
