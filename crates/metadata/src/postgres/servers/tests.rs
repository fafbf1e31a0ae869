//! What happens when servers die, hang, are promoted and come back, on real ones.

use std::sync::Arc;
use std::time::Duration;

use roadstead_runtime::{Clock as _, SystemClock};
use roadstead_test_servers::{Postgres, PostgresDatabase, PostgresSettings};

use super::Times;
use crate::database::{Connection as _, Counted, Database, params};
use crate::postgres::{PostgresHost, PostgresOptions, TargetSessionAttrs};
use crate::{DatabaseOptions, EpochsNow, MetadataError};

/// Short enough for a test, and long enough for a busy machine to answer in.
const TIMES: Times = Times {
    slow: Duration::from_millis(300),
    statement: Duration::from_secs(20),
    probe: Duration::from_secs(2),
    look_every: Duration::from_millis(300),
};

/// How often something is tried that has to come true, 50 ms apart: a minute.
const ATTEMPTS: u32 = 1200;

const OPERATION: &str = "test a failover";

fn host(server: &Postgres) -> PostgresHost {
    PostgresHost {
        host: "127.0.0.1".to_owned(),
        port: server.port(),
    }
}

fn options(hosts: Vec<PostgresHost>, database: &PostgresDatabase) -> PostgresOptions {
    PostgresOptions {
        password: Some(database.password.clone()),
        connections: 4,
        startup_wait: Duration::from_secs(2),
        ..PostgresOptions::new(hosts, &database.name, &database.user)
    }
}

/// A primary and a standby that has everything that was acknowledged, with a table to write to.
struct Pair {
    primary: Postgres,
    standby: Postgres,
    database: PostgresDatabase,
}

impl Pair {
    fn start() -> Self {
        let settings = PostgresSettings {
            durable: true,
            ..PostgresSettings::default()
        };
        let primary = Postgres::start(&settings);
        let database = primary.database();
        database.psql("CREATE TABLE notes (id serial PRIMARY KEY, note text)");
        let standby = primary.standby(&settings);
        primary.wait_for_standbys();
        Self {
            primary,
            standby,
            database,
        }
    }

    fn options(&self) -> PostgresOptions {
        options(
            vec![host(&self.primary), host(&self.standby)],
            &self.database,
        )
    }

    async fn open(&self) -> Database {
        Database::open_with(&self.options(), TIMES).await.unwrap()
    }
}

async fn write(database: &Database, note: &str) -> Result<(), MetadataError> {
    database
        .execute(
            OPERATION,
            "INSERT INTO notes (note) VALUES ($1)",
            params![note],
        )
        .await
        .map(drop)
}

async fn count(database: &Database) -> Result<i64, MetadataError> {
    let row: Option<Counted> = database
        .reader()
        .row(OPERATION, "SELECT count(*) AS count FROM notes", params![])
        .await?;
    Ok(row.expect("a count is one row").count)
}

async fn port(database: &Database) -> Result<u16, MetadataError> {
    let row: Option<Counted> = database
        .reader()
        .row(
            OPERATION,
            "SELECT CAST(current_setting('port') AS bigint) AS count",
            params![],
        )
        .await?;
    Ok(row.map_or(0, |row| u16::try_from(row.count).unwrap_or_default()))
}

/// Tries until it succeeds; every failure before must be one that says to try again.
async fn eventually<T, F>(what: &str, mut attempt: impl FnMut() -> F) -> T
where
    F: Future<Output = Result<T, MetadataError>>,
{
    for _ in 0..ATTEMPTS {
        match attempt().await {
            Ok(output) => return output,
            Err(error) if error.is_temporary() => {}
            Err(error) => panic!("{what}: {error}: {:?}", std::error::Error::source(&error)),
        }
        SystemClock.sleep(Duration::from_millis(50)).await;
    }
    panic!("{what}: never");
}

/// The reason that an operation was refused for, with its causes.
fn reason(error: &MetadataError) -> String {
    let mut reason = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        reason = format!("{reason}: {error}");
        cause = error.source();
    }
    reason
}

#[tokio::test]
async fn when_the_primary_is_killed_the_promoted_standby_is_found_and_has_all_that_was_acknowledged()
 {
    let pair = Pair::start();
    let database = pair.open().await;
    for note in ["one", "two", "three"] {
        write(&database, note).await.unwrap();
    }
    assert_eq!(port(&database).await.unwrap(), pair.primary.port());

    pair.primary.kill();
    let lost = eventually_fails(&database).await;
    assert!(matches!(lost, MetadataError::Unavailable { .. }), "{lost}");
    // Nobody waits for a server that is known to be gone: nothing is connected to, so there is nothing to time.
    let known = write(&database, "lost").await.unwrap_err();
    assert!(
        reason(&known).contains("is a standby"),
        "{}",
        reason(&known)
    );

    pair.standby.promote();
    eventually("a write", || write(&database, "four")).await;
    assert_eq!(count(&database).await.unwrap(), 4);
    assert_eq!(port(&database).await.unwrap(), pair.standby.port());
    database.close().await;
}

/// Writes until that fails.
async fn eventually_fails(database: &Database) -> MetadataError {
    for _ in 0..ATTEMPTS {
        if let Err(error) = count(database).await {
            return error;
        }
        SystemClock.sleep(Duration::from_millis(50)).await;
    }
    panic!("a dead server goes on answering");
}

#[tokio::test]
async fn a_server_that_hangs_is_given_up_and_is_not_gone_back_to_when_it_wakes_beside_its_successor()
 {
    let pair = Pair::start();
    let database = pair.open().await;
    write(&database, "one").await.unwrap();

    pair.primary.freeze();
    // Connections stand and nothing answers: both a statement and the wait for a new connection come to an end.
    let outcomes = futures_util::future::join_all((0..8).map(|_| write(&database, "lost"))).await;
    for outcome in outcomes {
        let error = outcome.expect_err("nothing answers");
        assert!(
            matches!(error, MetadataError::Unavailable { .. }),
            "{error}"
        );
    }

    pair.standby.promote();
    eventually("a write", || write(&database, "two")).await;
    assert_eq!(port(&database).await.unwrap(), pair.standby.port());

    // Two take writes now. The one that was left behind answers, and is asked every 300 ms, and is not worked with.
    pair.primary.thaw();
    let old = options(vec![host(&pair.primary)], &pair.database);
    let alone = Database::open_with(&old, TIMES).await.unwrap();
    assert_eq!(count(&alone).await.unwrap(), 1);
    assert_eq!(port(&database).await.unwrap(), pair.standby.port());

    pair.standby.kill();
    eventually_fails(&database).await;
    let refused = eventually_reason(&database, "left behind").await;
    assert!(refused.contains("before timeline 2"), "{refused}");
    alone.close().await;
    database.close().await;
}

/// Asks until the reason for the refusal contains `part`.
async fn eventually_reason(database: &Database, part: &str) -> String {
    let mut last = String::new();
    for _ in 0..ATTEMPTS {
        last = match count(database).await {
            Ok(count) => panic!("answered {count}"),
            Err(error) => reason(&error),
        };
        if last.contains(part) {
            return last;
        }
        SystemClock.sleep(Duration::from_millis(50)).await;
    }
    panic!("never said `{part}`, last: {last}");
}

#[tokio::test]
async fn a_primary_that_goes_on_beside_a_promoted_standby_is_left_without_anything_failing() {
    let pair = Pair::start();
    let database = pair.open().await;
    write(&database, "one").await.unwrap();
    pair.standby.promote();
    for _ in 0..ATTEMPTS {
        if port(&database).await.unwrap() == pair.standby.port() {
            database.close().await;
            return;
        }
        SystemClock.sleep(Duration::from_millis(50)).await;
    }
    panic!("the promoted standby was not found");
}

#[tokio::test]
async fn connections_that_the_server_ended_are_replaced_without_a_failed_read_or_write() {
    let server = Postgres::start(&PostgresSettings::default());
    let database = server.database();
    database.psql("CREATE TABLE notes (id serial PRIMARY KEY, note text)");
    let opened = Database::open_with(&options(vec![host(&server)], &database), TIMES)
        .await
        .unwrap();
    for round in 0..5_i64 {
        // Several, so that more than one connection is there to be ended.
        futures_util::future::try_join_all((0..4).map(|_| count(&opened)))
            .await
            .unwrap();
        server.administration().psql(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = 'roadstead'",
        );
        assert_eq!(count(&opened).await.unwrap(), round);
        server.administration().psql(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = 'roadstead'",
        );
        write(&opened, "after a loss").await.unwrap();
    }
    opened.close().await;
}

#[tokio::test]
async fn a_start_waits_for_a_server_and_says_what_is_wrong_when_none_comes() {
    let nobody = PostgresHost {
        host: "127.0.0.1".to_owned(),
        port: roadstead_test_servers::free_port(),
    };
    let server = Postgres::shared();
    let database = server.database();
    let standby_wanted = PostgresOptions {
        target_session_attrs: TargetSessionAttrs::Standby,
        ..options(vec![nobody.clone(), host(server)], &database)
    };
    let error = Database::open(&DatabaseOptions::Postgres(standby_wanted))
        .await
        .unwrap_err();
    let said = reason(&error);
    assert!(
        matches!(error, MetadataError::Unopenable { .. })
            && said.contains(&format!("{nobody} is down: "))
            && said.contains("is not the kind of server that is asked for"),
        "{said}"
    );

    // Nobody has to wait to be told that the password is wrong.
    let wrong = PostgresOptions {
        password: Some("wrong".to_owned()),
        startup_wait: Duration::MAX,
        ..options(vec![host(server)], &database)
    };
    let error = Database::open(&DatabaseOptions::Postgres(wrong))
        .await
        .unwrap_err();
    let said = reason(&error);
    assert!(said.contains("password authentication failed"), "{said}");
    assert!(!said.contains("wrong"), "{said}");
}

#[tokio::test]
async fn replicas_answer_what_a_digest_names_and_all_of_a_pull_while_the_database_is_away() {
    let pair = Pair::start();
    let dead = Postgres::start(&PostgresSettings::default());
    let with_replicas = PostgresOptions {
        replicas: vec![
            options(vec![host(&dead)], &pair.database),
            options(vec![host(&pair.standby)], &pair.database),
        ],
        ..options(vec![host(&pair.primary)], &pair.database)
    };
    // One replica that never answers does not keep anybody.
    dead.kill();
    let database = Database::open_with(&with_replicas, TIMES).await.unwrap();
    write(&database, "one").await.unwrap();
    let port_of = async |reader: &crate::reader::Reader| {
        let row: Option<Counted> = reader
            .row(
                OPERATION,
                "SELECT CAST(current_setting('port') AS bigint) AS count",
                params![],
            )
            .await?;
        Ok::<_, MetadataError>(row.map_or(0, |row| row.count))
    };
    let (primary, standby) = (
        i64::from(pair.primary.port()),
        i64::from(pair.standby.port()),
    );
    // The replica is looked for beside the start.
    for _ in 0..ATTEMPTS {
        if port_of(database.named_reader()).await.unwrap() == standby {
            break;
        }
        SystemClock.sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(port_of(database.named_reader()).await.unwrap(), standby);
    assert_eq!(port_of(database.pull_reader()).await.unwrap(), primary);
    assert_eq!(port_of(database.reader()).await.unwrap(), primary);
    // What the replica has not heard of yet is asked of the database.
    let missing: Option<Counted> = database
        .named_reader()
        .row(
            OPERATION,
            "SELECT CAST(current_setting('port') AS bigint) AS count WHERE NOT pg_is_in_recovery()",
            params![],
        )
        .await
        .unwrap();
    assert_eq!(missing.map(|row| row.count), Some(primary));

    pair.primary.kill();
    assert_eq!(port_of(database.named_reader()).await.unwrap(), standby);
    assert_eq!(port_of(database.pull_reader()).await.unwrap(), standby);
    eventually_fails(&database).await;
    assert_eq!(port_of(database.pull_reader()).await.unwrap(), standby);
    let refused = write(&database, "two").await.unwrap_err();
    assert!(
        matches!(refused, MetadataError::Unavailable { .. }),
        "{refused}"
    );
    database.close().await;
}

/// The epoch of a server that has come to rest: vacuuming commits too.
async fn epoch_at_rest(database: &Database) -> EpochsNow {
    let mut last = EpochsNow::default();
    for _ in 0..ATTEMPTS {
        let now = database.epochs_now().await;
        if now.content.is_some() && now == last {
            return now;
        }
        last = now;
    }
    panic!("the server does not come to rest: {last:?}");
}

#[tokio::test]
async fn an_epoch_of_a_server_lasts_until_somebody_commits_and_not_beyond_its_connections() {
    let pair = Pair::start();
    let here = pair.open().await;
    let before = epoch_at_rest(&here).await;
    assert_eq!(before.content, before.repositories);
    count(&here).await.unwrap();
    assert_eq!(
        epoch_at_rest(&here).await,
        before,
        "reading changes nothing"
    );
    let mut seen = vec![before];
    let mut is_new = async || {
        let now = here.epochs_now().await;
        assert!(now.content.is_some() && !seen.contains(&now), "{now:?}");
        seen.push(now);
    };
    // Of this process, of another session, and of one that began before others committed.
    write(&here, "here").await.unwrap();
    is_new().await;
    pair.database
        .psql("INSERT INTO notes (note) VALUES ('there')");
    is_new().await;
    let long = here.begin(OPERATION).await.unwrap();
    let insert = "INSERT INTO notes (note) VALUES ('long')";
    long.execute(OPERATION, insert, params![]).await.unwrap();
    write(&here, "meanwhile").await.unwrap();
    is_new().await;
    long.commit().await.unwrap();
    is_new().await;
    // Connections that are lost may be all that is left of transactions that were never durable.
    let before = epoch_at_rest(&here).await;
    pair.database.psql(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'roadstead'",
    );
    eventually("to read again", || count(&here)).await;
    here.settle().await;
    assert_ne!(epoch_at_rest(&here).await, before);
    // A standby does not list what is on its way.
    let standby = PostgresOptions {
        target_session_attrs: TargetSessionAttrs::Any,
        ..options(vec![host(&pair.standby)], &pair.database)
    };
    let standby = Database::open_with(&standby, TIMES).await.unwrap();
    count(&standby).await.unwrap();
    assert_eq!(standby.epochs_now().await, EpochsNow::default());
    assert_eq!(here.epochs_at_hand(), EpochsNow::default());
    standby.close().await;
    here.close().await;
    assert_eq!(here.epochs_now().await, EpochsNow::default());
}

#[tokio::test]
async fn a_closed_database_fails_at_once_and_leaves_no_connection_behind() {
    let server = Postgres::start(&PostgresSettings::default());
    let database = server.database();
    let opened = Arc::new(
        Database::open_with(&options(vec![host(&server)], &database), TIMES)
            .await
            .unwrap(),
    );
    assert_eq!(port(&opened).await.unwrap(), server.port());
    opened.close().await;
    let refused = port(&opened).await.unwrap_err();
    assert!(reason(&refused).contains("has been closed"), "{refused}");
    for _ in 0..ATTEMPTS {
        let left = server
            .administration()
            .psql("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'roadstead'");
        if left == "0" {
            return;
        }
        SystemClock.sleep(Duration::from_millis(50)).await;
    }
    panic!("connections are left");
}
