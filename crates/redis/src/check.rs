//! Whether Redis works, as Quay's health check asks.

use fred::interfaces::{ClientLike as _, KeysInterface as _};
use roadstead_runtime::Environment;

use crate::connection::Connection;
use crate::error::RedisError;
use crate::options::RedisOptions;

/// The key that Quay's health check writes and reads, too.
const KEY: &str = "_health";

/// Connects, asks whether anybody is there, and writes and reads a key, on a connection of its own. Takes some milliseconds, and six seconds at most.
/// A dropped future closes the connection.
pub async fn check(options: &RedisOptions, environment: &Environment) -> Result<(), RedisError> {
    let clock = environment.clock.as_ref();
    let connection = Connection::open(options, clock).await?;
    let client = &connection.client;
    let no_redis = || RedisError::NoRedis {
        servers: options.servers.to_string(),
    };
    let pong: String = connection
        .within("answer", clock, client.ping(None))
        .await?;
    if pong != "PONG" {
        return Err(no_redis());
    }
    let written = environment.ids.uuid().to_string();
    let () = connection
        .within(
            "keep a key",
            clock,
            client.set(KEY, written.as_str(), None, None, false),
        )
        .await?;
    // Other instances write it too, so that any value will do.
    let read: Option<String> = connection
        .within("give a key back", clock, client.get(KEY))
        .await?;
    if read.is_none_or(|read| read.is_empty()) {
        return Err(no_redis());
    }
    Ok(())
}
