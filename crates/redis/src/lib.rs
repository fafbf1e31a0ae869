//! Redis, for hints: processes wake each other and tell each other what has changed, and people's browsers are told what their clients do.
//!
//! | file | what it does |
//! |---|---|
//! | `options` | where Redis is, and how it is reached |
//! | `connection` | one connection, with a deadline for everything |
//! | `bus` | what is told to the others, and heard of them, over connections that come and go |
//! | `hints` | what processes tell each other, in words |
//! | `check` | whether Redis works, as Quay's health check asks |
//!
//! Nothing is kept in Redis, so that it may be lost, flushed or stand still at any time: what was not told is found out later, as it is without Redis.
//!
//! Invariant: nobody waits for Redis; what it says is believed as far as it makes somebody look again, and no further.

mod bus;
mod check;
mod connection;
mod error;
mod hints;
mod options;
#[cfg(test)]
mod tests;

pub use bus::{Bus, BusParts, BusState, Listener};
pub use check::check;
pub use error::{RedisError, ServerFailure};
pub use hints::{Changed, Hint, HintError, Sealed};
pub use options::{Address, RedisOptions, Servers, TlsOptions};
