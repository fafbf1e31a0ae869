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
use futures_util::future::BoxFuture;
use sea_orm::{
    ConnectionTrait, DatabaseConnection, DbBackend, DbErr, ExecResult, QueryResult, Statement,
};

use crate::database::Connection;
use crate::error::is_unavailable;
use crate::metrics::Statements;
use crate::postgres::{PostgresOptions, Servers, Times};

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
    Sqlite(DatabaseConnection),
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
    pub(crate) const fn sqlite(
        connection: DatabaseConnection,
        statements: Arc<Statements>,
    ) -> Self {
        Self {
            source: Source::Sqlite(connection),
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

    /// Reads through `query`. `knows` says whether what came is an answer, or whether a replica may not have heard of it yet.
    async fn read<T>(
        &self,
        query: impl Fn(DatabaseConnection) -> BoxFuture<'static, Result<T, DbErr>>,
        knows: impl Fn(&T) -> bool,
    ) -> Result<T, DbErr> {
        let (database, replicas, freshness) = match &self.source {
            Source::Sqlite(connection) => return query(connection.clone()).await,
            Source::Postgres {
                database,
                replicas,
                freshness,
            } => (database, replicas, *freshness),
        };
        if freshness == Freshness::Named
            && let Some(replica) = replicas.one()
            && let Ok((found, _)) = replica.run(&query).await
            && knows(&found)
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
        Err(failure)
    }
}

#[async_trait::async_trait]
impl ConnectionTrait for Reader {
    fn get_database_backend(&self) -> DbBackend {
        match &self.source {
            Source::Sqlite(_) => DbBackend::Sqlite,
            Source::Postgres { .. } => DbBackend::Postgres,
        }
    }

    async fn execute_raw(&self, statement: Statement) -> Result<ExecResult, DbErr> {
        let query = |connection: DatabaseConnection| {
            let statement = statement.clone();
            async move { connection.execute_raw(statement).await }.boxed()
        };
        self.read(query, |_| true).await
    }

    async fn execute_unprepared(&self, sql: &str) -> Result<ExecResult, DbErr> {
        let query = |connection: DatabaseConnection| {
            let sql = sql.to_owned();
            async move { connection.execute_unprepared(&sql).await }.boxed()
        };
        self.read(query, |_| true).await
    }

    async fn query_one_raw(&self, statement: Statement) -> Result<Option<QueryResult>, DbErr> {
        let query = |connection: DatabaseConnection| {
            let statement = statement.clone();
            async move { connection.query_one_raw(statement).await }.boxed()
        };
        self.read(query, Option::is_some).await
    }

    async fn query_all_raw(&self, statement: Statement) -> Result<Vec<QueryResult>, DbErr> {
        let query = |connection: DatabaseConnection| {
            let statement = statement.clone();
            async move { connection.query_all_raw(statement).await }.boxed()
        };
        self.read(query, |rows| !rows.is_empty()).await
    }
}

impl Connection for Reader {
    type Inner = Self;

    fn inner(&self) -> &Self {
        self
    }

    fn statements(&self) -> &Statements {
        &self.statements
    }
}
