//! Whether anything has been committed at a server since: what was read before and is not, need not be read again.
//!
//! A snapshot says the transactions of which somebody who reads now sees what they changed: all below a number but for those it lists. Every commit,
//! of whatever session, changes it before it is acknowledged, and no later one is ever the same again. So whoever gets the same snapshot as
//! before would read the same as before. (<https://www.postgresql.org/docs/current/functions-info.html#FUNCTIONS-INFO-SNAPSHOT>)
//!
//! It costs a way to the server and back, but a short statement without tables, of many requests at once.

use std::sync::Arc;

use roadstead_runtime::Gather;

use super::Servers;
use crate::database::{Connection as _, params};
use crate::dialect::Engine;
use crate::epoch::{Epoch, Moment};
use crate::lookups::{NEAR, at_once_max};
use crate::reader::Reader;
use crate::row::FromRow;

/// How many are answered with one statement: each takes some bytes.
const TOGETHER_MAX: usize = 1024;

/// A standby lists transactions that are on their way elsewhere than here, so that its snapshot says less than what it sees.
const SNAPSHOT: &str = "SELECT CASE WHEN pg_is_in_recovery() THEN NULL
    ELSE encode(sha256(convert_to(CAST(pg_current_snapshot() AS text), 'UTF8')), 'base64') END AS snapshot";

/// Where snapshots are taken, of many who ask at the same moment at once. Nobody is told one from before they asked.
#[derive(Debug)]
pub(crate) struct Snapshots {
    servers: Arc<Servers>,
    /// Asks the server itself, never a replica.
    reader: Reader,
    gather: Gather<(), Option<Epoch>>,
}

#[derive(Debug, FromRow)]
struct SnapshotRow {
    snapshot: Option<String>,
}

impl Snapshots {
    /// Those of the server that `reader` asks.
    pub(crate) fn new(servers: Arc<Servers>, reader: Reader) -> Self {
        Self {
            servers,
            reader,
            gather: Gather::new(TOGETHER_MAX, at_once_max(Engine::Postgres))
                .one_by_one_within(NEAR),
        }
    }

    /// The epoch of this moment. None when the server does not answer, which whoever asks it something else will be told, or is a standby.
    pub(crate) async fn now(&self) -> Option<Epoch> {
        let (servers, reader) = (Arc::clone(&self.servers), self.reader.clone());
        let take = move |asked: Vec<()>| {
            let (servers, reader) = (Arc::clone(&servers), reader.clone());
            async move { vec![take(&servers, &reader).await; asked.len()] }
        };
        self.gather.ask((), take).await.flatten()
    }
}

async fn take(servers: &Servers, reader: &Reader) -> Option<Epoch> {
    // Another server, or one that lost transactions when it crashed, may count to the same numbers again. Its pool is another one.
    let pool = servers.live().ok()?.number();
    let found: Option<SnapshotRow> = reader
        .row("look for commits", SNAPSHOT, params![])
        .await
        .ok()?;
    let same = servers.live().is_ok_and(|live| live.number() == pool);
    let snapshot = found?.snapshot.filter(|_| same)?;
    Some(Epoch(Moment::Server {
        pool,
        snapshot: snapshot.into_bytes().try_into().ok()?,
    }))
}
