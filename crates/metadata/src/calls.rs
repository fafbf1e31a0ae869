//! Calls from one process to the others through the database: PostgreSQL's `LISTEN` and `NOTIFY`. SQLite has nothing of the kind.

use std::sync::Arc;
use std::time::Duration;

use sqlx::postgres::{PgListener, PgPoolOptions};
use uuid::Uuid;

use crate::database::{Database, params};
use crate::error::{DriverError, MetadataError};
use crate::postgres::Servers;

/// What processes listen to.
const CHANNEL: &str = "roadstead_copies";

/// How long it may take to begin to listen.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Calls and hears of a process. It does not hear itself.
#[derive(Clone, Debug)]
pub struct Calls {
    database: Database,
    servers: Arc<Servers>,
    /// What it calls with.
    name: String,
}

impl Calls {
    pub(crate) const fn new(database: Database, servers: Arc<Servers>, name: String) -> Self {
        Self {
            database,
            servers,
            name,
        }
    }

    /// Calls every process that listens.
    pub async fn call(&self) -> Result<(), MetadataError> {
        self.database
            .execute(
                "tell other processes that copies are wanted",
                "SELECT pg_notify($1, $2)",
                params![CHANNEL, self.name.as_str()],
            )
            .await
            .map(drop)
    }

    /// Says when another process has called, until the connection is lost. It keeps one connection besides those of the pool.
    ///
    /// Dropped, it hears nothing any more.
    pub async fn hear(&self, mut heard: impl FnMut()) -> Result<(), MetadataError> {
        let lost = |error: sqlx::Error| MetadataError::Unavailable {
            operation: "listen to other processes",
            source: DriverError::from(sea_orm::DbErr::Conn(sea_orm::RuntimeErr::SqlxError(
                Arc::new(error),
            ))),
        };
        let live = self
            .servers
            .live()
            .map_err(|error| MetadataError::driver("listen to other processes", error))?;
        let options = live
            .connection
            .get_postgres_connection_pool()
            .connect_options();
        let pool = PgPoolOptions::new()
            .max_connections(1)
            .acquire_timeout(CONNECT_TIMEOUT)
            .idle_timeout(None)
            .max_lifetime(None)
            .connect_lazy_with((*options).clone());
        let mut listener = PgListener::connect_with(&pool).await.map_err(lost)?;
        listener.listen(CHANNEL).await.map_err(lost)?;
        // Whoever called before this was not heard.
        heard();
        while let Some(call) = listener.try_recv().await.map_err(lost)? {
            if call.payload() != self.name {
                heard();
            }
        }
        Ok(())
    }
}

impl Database {
    /// Calls between the processes of this registry, if the database carries them. `process` tells this one from the others.
    pub fn calls(&self, process: Uuid) -> Option<Calls> {
        let servers = self.servers()?;
        Some(Calls::new(self.clone(), servers, process.to_string()))
    }
}
