//! Transactions that others are in the way of: a deadlock and a serialization failure are met, and the operation succeeds all the same.

use roadstead_runtime::{Clock as _, SystemClock};
use roadstead_test_servers::PostgresSettings;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection, Row as _};

use super::*;
use crate::database::Lock;

/// A world on a server of its own, with a tag to be deleted.
struct Contest {
    world: World,
    server: Postgres,
}

impl Contest {
    /// With a stranger that holds the row which is to be deleted.
    async fn new(isolation: &str) -> (Self, PgConnection) {
        let server = Postgres::start(&PostgresSettings::default());
        let place = server.database();
        let settings = format!(
            "ALTER DATABASE {} SET default_transaction_isolation = '{isolation}'",
            place.name
        );
        place.psql(&settings);
        migrate(&options_of(&place)).await;
        let world = World::of(&options_of(&place), Place::Server(place.clone())).await;
        for content in ["{}", "layer"] {
            world.blob(content, &us()).await;
        }
        world.put(&image(&["layer"]), &["latest"], world.now).await;
        let mut stranger = PgConnection::connect(&place.uri()).await.unwrap();
        // The one that asks first whether there is a deadlock is the one that is ended: not the stranger.
        stranger
            .execute("SET deadlock_timeout = '1h'")
            .await
            .unwrap();
        stranger
            .execute(
                "BEGIN; UPDATE tag SET lifetime_end_ms = lifetime_end_ms WHERE name = 'latest'",
            )
            .await
            .unwrap();
        let contest = Self { world, server };
        (contest, stranger)
    }

    async fn delete(&self) -> Deletion {
        let now = later(self.world.now, 1);
        self.world.delete("latest", now).await
    }

    /// Returns once as many sessions wait for a lock.
    async fn until_waiting(place: &PostgresDatabase, sessions: i64) {
        let mut connection = PgConnection::connect(&place.uri()).await.unwrap();
        for _ in 0..1200 {
            let row = connection
                .fetch_one("SELECT count(DISTINCT pid) FROM pg_locks WHERE NOT granted")
                .await
                .unwrap();
            if row.get::<i64, _>(0) == sessions {
                return;
            }
            SystemClock.sleep(Duration::from_millis(50)).await;
        }
        panic!("nobody waits");
    }

    fn place(&self) -> PostgresDatabase {
        match &self.world.place {
            Place::Server(place) => place.clone(),
            Place::File(_) => panic!("it is on a server"),
        }
    }

    async fn tags(&self) -> Vec<String> {
        self.world
            .database
            .list_tags(self.world.repository.id, None, 10, later(self.world.now, 2))
            .await
            .unwrap()
    }
}

#[tokio::test]
async fn a_transaction_that_a_deadlock_ended_is_done_again() {
    let (contest, mut stranger) = Contest::new("read committed").await;
    let place = contest.place();
    let lock = Lock::tags_of(contest.world.repository.id);
    let ours = async { contest.delete().await };
    let theirs = async {
        // We hold the lock of the repository's tags and wait for the row; they hold the row and now want the lock.
        Contest::until_waiting(&place, 1).await;
        stranger
            .execute(AssertSqlSafe(format!(
                "SELECT pg_advisory_xact_lock({})",
                lock.number()
            )))
            .await
            .unwrap();
        // They have it: we were ended, and wait for it now with our second attempt.
        Contest::until_waiting(&place, 1).await;
        stranger.execute("COMMIT").await.unwrap();
    };
    let (deleted, ()) = tokio::join!(ours, theirs);
    assert_eq!(deleted, Deletion::Deleted);
    assert!(contest.tags().await.is_empty());
    assert!(contest.server.log().contains("deadlock detected"));
}

#[tokio::test]
async fn a_transaction_that_could_not_be_serialized_is_done_again() {
    let (contest, mut stranger) = Contest::new("serializable").await;
    let place = contest.place();
    let ours = async { contest.delete().await };
    let theirs = async {
        // We read the row before they changed it, and wait to change it too.
        Contest::until_waiting(&place, 1).await;
        stranger.execute("COMMIT").await.unwrap();
    };
    let (deleted, ()) = tokio::join!(ours, theirs);
    assert_eq!(deleted, Deletion::Deleted);
    assert!(contest.tags().await.is_empty());
    assert!(contest.server.log().contains("could not serialize access"));
}
