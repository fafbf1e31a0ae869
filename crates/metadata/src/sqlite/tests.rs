//! What of a transaction in a file survives, and what its statements are asked with.

use std::time::Duration;

use chrono::{NaiveDate, NaiveDateTime};

use super::*;
use crate::database::{Connection as _, Counted, Database, DatabaseOptions, Transaction, params};
use crate::row::FromRow;

const OPERATION: &str = "try something";

/// A file with a table of numbers.
struct Numbers {
    directory: tempfile::TempDir,
    database: Database,
}

impl Numbers {
    async fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let database = open(directory.path()).await;
        let table = "CREATE TABLE numbers (number integer)";
        database.execute(OPERATION, table, params![]).await.unwrap();
        Self {
            directory,
            database,
        }
    }

    async fn count(&self) -> i64 {
        let count = "SELECT count(*) AS count FROM numbers";
        let row: Option<Counted> = self
            .database
            .reader()
            .row(OPERATION, count, params![])
            .await
            .unwrap();
        row.unwrap().count
    }
}

async fn open(directory: &Path) -> Database {
    let options = DatabaseOptions::Sqlite {
        path: directory.join("numbers.db"),
    };
    Database::open(&options).await.unwrap()
}

const ADD: &str = "INSERT INTO numbers (number) VALUES (1)";

#[tokio::test]
async fn a_transaction_that_is_dropped_has_changed_nothing_and_the_next_one_begins() {
    let numbers = Numbers::new().await;
    let transaction = numbers.database.begin(OPERATION).await.unwrap();
    transaction
        .execute(OPERATION, ADD, params![])
        .await
        .unwrap();
    drop(transaction);
    assert_eq!(numbers.count().await, 0);
    numbers
        .database
        .execute(OPERATION, ADD, params![])
        .await
        .unwrap();
    assert_eq!(numbers.count().await, 1);
}

#[test]
fn a_statement_that_nobody_waits_for_takes_its_transaction_along() {
    // One thread for all that may wait, so that the statement waits while it is taken.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(1)
        .build()
        .unwrap();
    runtime.block_on(async {
        let numbers = Numbers::new().await;
        let add =
            async |transaction: &Transaction| transaction.execute(OPERATION, ADD, params![]).await;
        let transaction = numbers.database.begin(OPERATION).await.unwrap();
        add(&transaction).await.unwrap();
        let (free, taken) = std::sync::mpsc::channel::<()>();
        let taking = task::spawn_blocking(move || taken.recv().is_err());
        {
            let mut asked = Box::pin(add(&transaction));
            assert!(futures_util::poll!(&mut asked).is_pending());
        }
        assert!(add(&transaction).await.is_err());
        drop(free);
        assert!(taking.await.unwrap());
        assert!(transaction.commit().await.is_err());
        assert_eq!(numbers.count().await, 0);
        // And its connection is free for the next.
        let again = numbers.database.begin(OPERATION).await.unwrap();
        add(&again).await.unwrap();
        again.commit().await.unwrap();
        assert_eq!(numbers.count().await, 1);
    });
}

#[tokio::test]
async fn what_goes_in_one_go_is_there_as_a_whole_and_what_panics_is_not() {
    let numbers = Numbers::new().await;
    let add = |commits: bool| {
        numbers.database.in_one_go(move |database| {
            Box::pin(async move {
                let transaction = database.begin(OPERATION).await.unwrap();
                transaction
                    .execute(OPERATION, ADD, params![])
                    .await
                    .unwrap();
                transaction
                    .execute(OPERATION, ADD, params![])
                    .await
                    .unwrap();
                assert!(commits, "it is meant to panic");
                transaction.commit().await.unwrap();
            })
        })
    };
    assert_eq!(add(false).await, None);
    assert_eq!(numbers.count().await, 0);
    assert_eq!(add(true).await, Some(()));
    assert_eq!(numbers.count().await, 2);
}

#[tokio::test]
async fn another_process_waits_for_the_end_of_a_transaction() {
    let numbers = Numbers::new().await;
    let other = open(numbers.directory.path()).await;
    let transaction = numbers.database.begin(OPERATION).await.unwrap();
    let mut waiting = Box::pin(other.execute(OPERATION, ADD, params![]));
    let early = tokio::time::timeout(Duration::from_millis(50), &mut waiting).await;
    assert!(early.is_err(), "it has its turn afterwards");
    transaction.commit().await.unwrap();
    assert_eq!(waiting.await.unwrap(), 1);
    assert_eq!(numbers.count().await, 1);
}

#[tokio::test]
async fn a_closed_file_is_not_available_and_its_log_is_in_the_database() {
    let numbers = Numbers::new().await;
    numbers
        .database
        .execute(OPERATION, ADD, params![])
        .await
        .unwrap();
    numbers.database.close().await;
    let refused = numbers.database.execute(OPERATION, ADD, params![]).await;
    assert!(refused.unwrap_err().is_temporary());
    assert!(!numbers.directory.path().join("numbers.db-wal").exists());
    assert_eq!(
        open(numbers.directory.path())
            .await
            .execute(OPERATION, ADD, params![])
            .await
            .unwrap(),
        1
    );
}

#[derive(Debug, PartialEq, FromRow)]
struct Everything {
    small: i32,
    large: i64,
    flag: bool,
    text: String,
    day: NaiveDate,
    time: NaiveDateTime,
    missing: Option<String>,
    again: i32,
}

#[tokio::test]
async fn parameters_come_back_as_what_they_were_whatever_their_order_in_the_statement() {
    let numbers = Numbers::new().await;
    let day = NaiveDate::from_ymd_opt(2026, 11, 27).unwrap();
    let time = day.and_hms_micro_opt(1, 2, 3, 456_000).unwrap();
    let found: Option<Everything> = numbers
        .database
        .reader()
        .row(
            OPERATION,
            "SELECT $7 AS missing, $6 AS time, $5 AS day, $4 AS text, $3 AS flag, $2 AS large, $1 AS small, $1 AS again",
            params![7, i64::MAX, true, "a 'text'", day, time, Option::<String>::None],
        )
        .await
        .unwrap();
    let expected = Everything {
        small: 7,
        large: i64::MAX,
        flag: true,
        text: "a 'text'".to_owned(),
        day,
        time,
        missing: None,
        again: 7,
    };
    assert_eq!(found, Some(expected));
}

#[tokio::test]
async fn a_column_that_says_something_else_is_an_error_that_names_it() {
    let numbers = Numbers::new().await;
    #[derive(Debug, FromRow)]
    struct Number {
        #[expect(dead_code, reason = "it cannot be read")]
        number: i32,
    }
    for other in ["'text'", "NULL", "5000000000", "1.5"] {
        let sql = format!("SELECT {other} AS number");
        let read = numbers.database.reader();
        let found: Result<Vec<Number>, _> = read.rows(OPERATION, &sql, params![]).await;
        let error = found.unwrap_err();
        let source = std::error::Error::source(&error).unwrap().to_string();
        assert!(source.contains("`number`"), "{source}");
    }
}
