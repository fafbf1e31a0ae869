//! Whether this instance can read what the database holds encrypted: asked once, at the start, so that a wrong key is found by the operator and not
//! by the robots.

#[cfg(test)]
mod tests;

use std::fmt;

use roadstead_metadata::{EncryptedColumn, MetadataError};

use crate::authenticator::Authenticator;

/// How many values of a column are tried, the newest: a key that was changed does not read what was written since.
const TRIED_MAX: u32 = 20;

/// A column of which not everything that was tried can be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnreadableColumn {
    /// The table.
    pub table: &'static str,
    /// The column.
    pub column: &'static str,
    /// How many of the tried ones cannot be read.
    pub unreadable: usize,
    /// How many were tried: the newest.
    pub tried: usize,
    /// How many rows hold something encrypted.
    pub rows: u64,
}

impl fmt::Display for UnreadableColumn {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            table,
            column,
            unreadable,
            tried,
            rows,
        } = self;
        write!(formatter, "{table}.{column}: {unreadable} of ")?;
        if u64::try_from(*tried).is_ok_and(|tried| tried < *rows) {
            write!(formatter, "the newest {tried} of {rows} rows")
        } else {
            write!(formatter, "{rows} rows")
        }
    }
}

/// Why nothing that the database holds encrypted can be read.
#[derive(Debug, thiserror::Error)]
pub enum EncryptedFieldsError {
    /// There is no key.
    #[error(
        "DATABASE_SECRET_KEY is not set, but the database holds encrypted fields ({}): set it to the key of the Quay that filled the database",
        list(columns)
    )]
    KeyMissing {
        /// Where they are.
        columns: Vec<UnreadableColumn>,
    },
    /// The key fits none of them.
    #[error(
        "DATABASE_SECRET_KEY decrypts none of the database's encrypted fields ({}): set it to the key of the Quay that filled the database",
        list(columns)
    )]
    WrongKey {
        /// Where they are.
        columns: Vec<UnreadableColumn>,
    },
    /// The database could not be asked.
    #[error("could not look at the database's encrypted fields")]
    Backend {
        /// What it said.
        #[from]
        source: MetadataError,
    },
}

fn list(columns: &[UnreadableColumn]) -> String {
    let columns: Vec<String> = columns.iter().map(ToString::to_string).collect();
    columns.join("; ")
}

impl Authenticator {
    /// Tries the newest values of every encrypted column. Returns the columns of which some cannot be read; the robots and tokens that they belong to
    /// cannot sign in.
    ///
    /// # Errors
    /// [`EncryptedFieldsError::KeyMissing`] and [`EncryptedFieldsError::WrongKey`] when there are encrypted fields and none of those tried can be read.
    pub async fn check_encrypted_fields(
        &self,
    ) -> Result<Vec<UnreadableColumn>, EncryptedFieldsError> {
        let columns = self.inner.database.encrypted_columns(TRIED_MAX).await?;
        let tried: usize = columns.iter().map(|column| column.newest.len()).sum();
        let unreadable: Vec<UnreadableColumn> = columns
            .iter()
            .map(|column| self.judge(column))
            .filter(|column| column.unreadable > 0)
            .collect();
        let failed: usize = unreadable.iter().map(|column| column.unreadable).sum();
        match (&self.inner.options.field_key, failed == tried && tried > 0) {
            (_, false) => Ok(unreadable),
            (None, true) => Err(EncryptedFieldsError::KeyMissing {
                columns: unreadable,
            }),
            (Some(_), true) => Err(EncryptedFieldsError::WrongKey {
                columns: unreadable,
            }),
        }
    }

    fn judge(&self, column: &EncryptedColumn) -> UnreadableColumn {
        let readable = |field: &&String| {
            let key = self.inner.options.field_key.as_ref();
            key.is_some_and(|key| key.decrypt(field).is_ok())
        };
        let tried = column.newest.len();
        UnreadableColumn {
            table: column.table,
            column: column.column,
            unreadable: tried - column.newest.iter().filter(readable).count(),
            tried,
            rows: column.rows,
        }
    }
}
