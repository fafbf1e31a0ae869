//! Where single reading statements go: to the database itself, or to a replica where that may answer too.
//!
//! What may come from a replica, and is then as old as the replica is behind:
//!
//! | reader | asks first | and when |
//! | --- | --- | --- |
//! | [`Freshness::Now`] | the database | nobody else: what is decided by it must be true |
//! | [`Freshness::Pull`] | the database | a replica when the database is not available |
//! | [`Freshness::Named`] | a replica | the database when the replica does not know it or does not answer: a digest names one content only |

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::FutureExt as _;
use sea_orm::{ConnectionTrait, DatabaseConnection, DbErr, Statement};

use crate::database::Connection;
use crate::dialect::Engine;
use crate::error::{DriverError, is_unavailable};
use crate::metrics::Statements;
use crate::postgres::{PostgresOptions, Servers, Times};
use crate::row::Rows;
use crate::sqlite::{Place, Pool, Wanted};

/// How old what is read may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Freshness {
    Now,
    Pull,
    Named,
}

/// What single statements are read through.
#[derive(Clone, Debug)]
pub(crate) struct Reader {
    source: Source,
    statements: Arc<Statements>,
}

#[derive(Clone, Debug)]
enum Source {
    File {
        pool: Pool,
        place: Place,
    },
    Postgres {
        database: Arc<Servers>,
        replicas: Arc<Replicas>,
        freshness: Freshness,
    },
}

/// Copies of the database, each with a watch of its own: one that does not answer is left out until it does.
#[derive(Debug)]
pub(crate) struct Replicas {
    replicas: Vec<Arc<Servers>>,
    /// Whose turn it is.
    next: AtomicUsize,
}

impl Replicas {
    /// Begins to look for them. None of them has to be there.
    pub(crate) fn open(options: &[PostgresOptions], times: Times) -> Self {
        Self {
            replicas: options
                .iter()
                .map(|options| Servers::open_later(options, times))
                .collect(),
            next: AtomicUsize::new(0),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.replicas.is_empty()
    }

    /// One that is there, each in its turn.
    fn one(&self) -> Option<&Servers> {
        let count = self.replicas.len();
        if count == 0 {
            return None;
        }
        let first = self.next.fetch_add(1, Ordering::Relaxed) % count;
        let (behind, before) = self.replicas.split_at(first);
        before
            .iter()
            .chain(behind)
            .find(|replica| replica.live().is_ok())
            .map(|replica| &**replica)
    }

    /// The pools of those that are there.
    pub(crate) fn connections(&self) -> impl Iterator<Item = DatabaseConnection> {
        let live = self
            .replicas
            .iter()
            .filter_map(|replica| replica.live().ok());
        live.map(|live| live.connection)
    }

    pub(crate) async fn close(&self) {
        for replica in &self.replicas {
            replica.close().await;
        }
    }
}

impl Reader {
    pub(crate) const fn sqlite(pool: Pool, place: Place, statements: Arc<Statements>) -> Self {
        Self {
            source: Source::File { pool, place },
            statements,
        }
    }

    pub(crate) const fn postgres(
        database: Arc<Servers>,
        replicas: Arc<Replicas>,
        freshness: Freshness,
        statements: Arc<Statements>,
    ) -> Self {
        Self {
            source: Source::Postgres {
                database,
                replicas,
                freshness,
            },
            statements,
        }
    }
}

impl Connection for Reader {
    fn engine(&self) -> Engine {
        match &self.source {
            Source::File { .. } => Engine::Sqlite,
            Source::Postgres { .. } => Engine::Postgres,
        }
    }

    fn statements(&self) -> &Statements {
        &self.statements
    }

    async fn query(&self, statement: Statement, wanted: Wanted) -> Result<Rows, DriverError> {
        let (database, replicas, freshness) = match &self.source {
            Source::File { pool, place } => {
                return Ok(Rows::File(pool.query(statement, wanted, *place).await?));
            }
            Source::Postgres {
                database,
                replicas,
                freshness,
            } => (database, replicas, *freshness),
        };
        let query = |connection: DatabaseConnection| {
            let statement = statement.clone();
            async move { of_server(&connection, statement, wanted).await }.boxed()
        };
        if freshness == Freshness::Named
            && let Some(replica) = replicas.one()
            && let Ok((found, _)) = replica.run(&query).await
            // It may not have heard of it yet.
            && !found.is_empty()
        {
            return Ok(found);
        }
        let failure = match database.run(&query).await {
            Ok((found, _)) => return Ok(found),
            Err(failure) => failure,
        };
        if freshness != Freshness::Now
            && is_unavailable(&failure)
            && let Some(replica) = replicas.one()
            && let Ok((found, _)) = replica.run(&query).await
        {
            return Ok(found);
        }
        Err(failure.into())
    }
}

/// What a server answers to a statement.
pub(crate) async fn of_server(
    connection: &impl ConnectionTrait,
    statement: Statement,
    wanted: Wanted,
) -> Result<Rows, DbErr> {
    Ok(Rows::Server(match wanted {
        Wanted::All => connection.query_all_raw(statement).await?,
        Wanted::One => {
            let found = connection.query_one_raw(statement).await?;
            found.into_iter().collect()
        }
    }))
}
