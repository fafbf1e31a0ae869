//! What can go wrong between us and the database.

use roadstead_migrations::MIGRATION_TABLE;
use sea_orm::{DbErr, RuntimeErr};

/// Why the metadata could not be read or changed.
#[derive(Debug, thiserror::Error)]
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
    /// The database was last used by a newer version of this program.
    #[error(
        "the database has migrations that this version does not know ({}): run the version that made them, or restore a backup",
        unknown.join(", ")
    )]
    TooNew {
        /// The names of the migrations.
        unknown: Vec<String>,
    },
    /// The database has not been brought to this program's schema yet.
    #[error(
        "the database has no table `{MIGRATION_TABLE}`, or lacks migrations: start `registry` once, which brings it up to date"
    )]
    TooOld,
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
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct DriverError(#[from] DbErr);

impl MetadataError {
    /// Whether trying the same again later may succeed.
    pub fn is_temporary(&self) -> bool {
        matches!(self, Self::Unavailable { .. })
    }

    pub(crate) fn driver(operation: &'static str, error: DbErr) -> Self {
        let temporary = match &error {
            DbErr::ConnectionAcquire(_) | DbErr::Conn(_) => true,
            DbErr::Exec(RuntimeErr::SqlxError(inner))
            | DbErr::Query(RuntimeErr::SqlxError(inner)) => is_temporary(inner),
            _ => false,
        };
        let source = DriverError(error);
        if temporary {
            Self::Unavailable { operation, source }
        } else {
            Self::Driver { operation, source }
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

fn is_temporary(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_) | sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed => true,
        // SQLITE_BUSY (5), SQLITE_LOCKED (6), SQLITE_IOERR (10), SQLITE_FULL (13) and their extended codes, whose low byte is the primary code.
        sqlx::Error::Database(database) => database
            .code()
            .and_then(|code| code.parse::<u32>().ok())
            .is_some_and(|code| matches!(code & 0xff, 5 | 6 | 10 | 13)),
        _ => false,
    }
}
