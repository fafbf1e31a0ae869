//! The rows that a statement found, whichever driver ran it, and how they become structs.

use chrono::{NaiveDate, NaiveDateTime};
use rusqlite::types::Value;
use sea_orm::{QueryResult, TryGetable};

pub(crate) use roadstead_row_derive::FromRow;

use crate::error::DriverError;

/// What a statement found.
#[derive(Debug)]
pub(crate) enum Rows {
    /// Of a server.
    Server(Vec<QueryResult>),
    /// Of a file.
    File(FileRows),
}

/// What a statement found in a SQLite file.
#[derive(Debug)]
pub(crate) struct FileRows {
    pub(crate) columns: Vec<String>,
    pub(crate) rows: Vec<Vec<Value>>,
}

impl Rows {
    /// Makes a struct of each.
    pub(crate) fn read<T: FromRow>(self) -> Result<Vec<T>, DriverError> {
        match self {
            Self::Server(rows) => rows
                .iter()
                .map(|row| T::from_row(&mut Row::Server(row)))
                .collect(),
            Self::File(FileRows { columns, mut rows }) => rows
                .iter_mut()
                .map(|values| {
                    T::from_row(&mut Row::File {
                        columns: &columns,
                        values,
                    })
                })
                .collect(),
        }
    }

    pub(crate) const fn is_empty(&self) -> bool {
        match self {
            Self::Server(rows) => rows.is_empty(),
            Self::File(file) => file.rows.is_empty(),
        }
    }
}

/// One of them. Each column is taken once.
#[derive(Debug)]
pub(crate) enum Row<'a> {
    /// Of a server.
    Server(&'a QueryResult),
    /// Of a file.
    File {
        /// The names of the columns.
        columns: &'a [String],
        /// What stands in them.
        values: &'a mut [Value],
    },
}

impl Row<'_> {
    /// Takes what stands in a column.
    pub(crate) fn take<T: Column>(&mut self, column: &'static str) -> Result<T, DriverError> {
        T::take(self, column)
    }
}

/// A struct of the columns of a row.
pub(crate) trait FromRow: Sized {
    fn from_row(row: &mut Row<'_>) -> Result<Self, DriverError>;
}

/// What stands in a column, or in several.
pub(crate) trait Column: Sized {
    fn take(row: &mut Row<'_>, column: &'static str) -> Result<Self, DriverError>;
}

/// What one column of a SQLite file says, which has values without types. None where it says something else.
trait Plain: Sized {
    fn of(value: Value) -> Option<Self>;
}

fn take<T: TryGetable>(
    row: &mut Row<'_>,
    column: &'static str,
    plain: impl Fn(Value) -> Option<T>,
) -> Result<T, DriverError> {
    match row {
        Row::Server(row) => Ok(row.try_get("", column)?),
        Row::File { columns, values } => columns
            .iter()
            .position(|name| name == column)
            .and_then(|nth| values.get_mut(nth))
            .and_then(|value| plain(std::mem::replace(value, Value::Null)))
            .ok_or(DriverError::column(column)),
    }
}

macro_rules! column {
    ($type:ty, $($value:pat => $plain:expr),+) => {
        impl Plain for $type {
            fn of(value: Value) -> Option<Self> {
                match value {
                    $($value => $plain,)+
                    _ => None,
                }
            }
        }

        impl Column for $type {
            fn take(row: &mut Row<'_>, column: &'static str) -> Result<Self, DriverError> {
                take(row, column, Self::of)
            }
        }

        impl Column for Option<$type> {
            fn take(row: &mut Row<'_>, column: &'static str) -> Result<Self, DriverError> {
                take(row, column, |value| match value {
                    Value::Null => Some(None),
                    value => <$type>::of(value).map(Some),
                })
            }
        }
    };
}

column!(i32, Value::Integer(number) => number.try_into().ok());
column!(i64, Value::Integer(number) => Some(number));
column!(bool, Value::Integer(number) => Some(number != 0));
column!(String, Value::Text(text) => Some(text));
column!(NaiveDate, Value::Text(text) => text.parse().ok());
// As parameters are written, and as SQLite's own CURRENT_TIMESTAMP writes.
column!(NaiveDateTime, Value::Text(text) => NaiveDateTime::parse_from_str(&text, "%F %T%.f").ok());
