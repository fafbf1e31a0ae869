//! What is looked at once, at the start, on a PostgreSQL server: its version, whether it takes writes, and its clock.

use std::fmt;

use chrono::{NaiveDateTime, TimeDelta};
use roadstead_runtime::{Clock, Timestamp};

use super::{SchemaError, rights};
use crate::database::{Connection, Database, params};
use crate::dialect::Engine;
use crate::error::MetadataError;
use crate::row::FromRow;

/// The first version that has all we use, as `server_version_num` has it.
const OLDEST: i32 = 130_000;

/// The first version that nothing is known about yet.
const UNTRIED: i32 = 180_000;

/// How far the database's clock may be from this machine's. Leases of a minute and tags that expire by the second are compared with rows that
/// other machines wrote by theirs.
const SKEW_MAX: TimeDelta = TimeDelta::seconds(5);

const LOOK: &str = "look at the server";

/// What a person should know about the database's server, although it can be worked with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServerWarning {
    /// The server is newer than any that was tried.
    Untried {
        /// Its version.
        version: String,
    },
    /// The clocks of the server and of this machine are apart.
    ClockSkew {
        /// By how much the server's is ahead; negative when it is behind.
        ahead: TimeDelta,
    },
}

impl fmt::Display for ServerWarning {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Untried { version } => write!(
                formatter,
                "The database's server is PostgreSQL {version}; versions 13 to 17 are supported"
            ),
            Self::ClockSkew { ahead } => {
                let word = if *ahead < TimeDelta::zero() {
                    "behind"
                } else {
                    "ahead of"
                };
                write!(
                    formatter,
                    "The clock of the database's server is {} s {word} this machine's, more than {} s: set both by a time service. \
                     Until then tags may expire early or late by as much, and jobs be taken while their holder still works",
                    ahead.abs().as_seconds_f64(),
                    SKEW_MAX.num_seconds()
                )
            }
        }
    }
}

#[derive(Debug, FromRow)]
struct Server {
    number: i32,
    version: String,
    now: NaiveDateTime,
}

impl Database {
    /// Looks at the server that the database is on. There is nothing to look at for SQLite.
    ///
    /// # Errors
    /// [`MetadataError::Schema`] for a server that is too old or takes no writes.
    pub async fn check_server(
        &self,
        clock: &dyn Clock,
    ) -> Result<Vec<ServerWarning>, MetadataError> {
        let mut warnings = Vec::new();
        if self.engine() == Engine::Sqlite {
            return Ok(warnings);
        }
        let transaction = self.begin(LOOK).await?;
        let before = clock.now();
        let server: Option<Server> = transaction
            .row(
                LOOK,
                "SELECT CAST(current_setting('server_version_num') AS integer) AS number,
                        current_setting('server_version') AS version,
                        clock_timestamp() AT TIME ZONE 'UTC' AS now",
                params![],
            )
            .await?;
        let after = clock.now();
        if let Some(server) = server {
            warnings.extend(judged(server.number, server.version)?);
            let ahead = ahead(before, server.now.and_utc(), after);
            if ahead.abs() > SKEW_MAX {
                warnings.push(ServerWarning::ClockSkew { ahead });
            }
        }
        rights::refuse_read_only(&transaction).await?;
        transaction.commit().await?;
        Ok(warnings)
    }
}

/// What is to be said of a server of this version.
fn judged(number: i32, version: String) -> Result<Option<ServerWarning>, SchemaError> {
    if number < OLDEST {
        return Err(SchemaError::OldServer { version });
    }
    Ok((number >= UNTRIED).then_some(ServerWarning::Untried { version }))
}

/// By how much a clock is certainly ahead that showed `there` at some moment between `before` and `after`.
fn ahead(before: Timestamp, there: Timestamp, after: Timestamp) -> TimeDelta {
    if there > after {
        there - after
    } else if there < before {
        there - before
    } else {
        TimeDelta::zero()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_timestamp(second, 0).expect("a second of this century")
    }

    #[test]
    fn servers_before_13_are_refused_and_those_behind_17_are_warned_of() {
        let judged = |number| judged(number, number.to_string());
        assert!(matches!(
            judged(120_022),
            Err(SchemaError::OldServer { .. })
        ));
        assert!(matches!(judged(130_000), Ok(None)));
        assert!(matches!(judged(170_006), Ok(None)));
        assert!(matches!(
            judged(180_000),
            Ok(Some(ServerWarning::Untried { .. }))
        ));
    }

    #[test]
    fn the_time_that_the_question_took_is_no_skew() {
        assert_eq!(ahead(at(100), at(109), at(110)), TimeDelta::zero());
        assert_eq!(ahead(at(100), at(117), at(110)), TimeDelta::seconds(7));
        assert_eq!(ahead(at(100), at(40), at(110)), TimeDelta::seconds(-60));
    }

    #[test]
    fn a_skew_is_told_with_its_figure_and_direction() {
        let text = ServerWarning::ClockSkew {
            ahead: TimeDelta::milliseconds(-7_500),
        }
        .to_string();
        assert!(text.contains("7.5 s behind this machine's"), "{text}");
    }
}
