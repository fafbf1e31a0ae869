//! Asking servers what they are, each over a connection of its own and all at once.

use std::io::ErrorKind;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection as _, PgConnection};

use super::advice;
use super::choice::{Answer, Role};

/// How long the others may still answer once one has answered as is wanted. A server that is there answers within milliseconds; waiting for all
/// would hold everybody up for as long as a dead one is silent.
const GRACE: Duration = Duration::from_millis(500);

/// What a server is. `pg_walfile_name` begins with the number of the timeline, which is there from the moment of a promotion on;
/// `pg_control_checkpoint` would tell it only after the next checkpoint.
const ROLE: &str = "SELECT pg_is_in_recovery(), current_setting('transaction_read_only') = 'on',
    CASE WHEN pg_is_in_recovery() THEN NULL ELSE substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8) END";

/// The same of a server that keeps its log elsewhere, as some managed ones do, or keeps it to itself.
const ROLE_WITHOUT_TIMELINE: &str = "SELECT pg_is_in_recovery(), current_setting('transaction_read_only') = 'on', CAST(NULL AS text)";

/// Asks every server at once. Those that have not answered after `limit`, or soon after `is_wanted` said that an answer is the one looked for,
/// are silent. A dropped future drops the connections.
pub(super) async fn ask_all(
    servers: &[PgConnectOptions],
    limit: Duration,
    is_wanted: impl Fn(&Answer) -> bool,
) -> Vec<Answer> {
    let mut answers = vec![Answer::Silent; servers.len()];
    let mut asking: FuturesUnordered<_> = servers
        .iter()
        .enumerate()
        .map(|(place, server)| async move { (place, ask(server, limit).await) })
        .collect();
    let mut found = false;
    loop {
        let next = if found {
            tokio::time::timeout(GRACE, asking.next())
                .await
                .unwrap_or(None)
        } else {
            asking.next().await
        };
        let Some((place, answer)) = next else {
            return answers;
        };
        found |= is_wanted(&answer);
        if let Some(slot) = answers.get_mut(place) {
            *slot = answer;
        }
    }
}

async fn ask(server: &PgConnectOptions, limit: Duration) -> Answer {
    match tokio::time::timeout(limit, role(server)).await {
        Ok(Ok(role)) => Answer::Serves(role),
        Ok(Err(error)) => answer_of(&error),
        Err(_) => Answer::Silent,
    }
}

async fn role(server: &PgConnectOptions) -> Result<Role, sqlx::Error> {
    let mut connection = PgConnection::connect_with(server).await?;
    let role = match read_role(&mut connection, ROLE).await {
        // undefined_function, feature_not_supported, insufficient_privilege.
        Err(sqlx::Error::Database(error))
            if matches!(error.code().as_deref(), Some("42883" | "0A000" | "42501")) =>
        {
            read_role(&mut connection, ROLE_WITHOUT_TIMELINE).await?
        }
        role => role?,
    };
    // What it said counts, not how it hangs up.
    connection.close().await.ok();
    Ok(role)
}

async fn read_role(
    connection: &mut PgConnection,
    statement: &'static str,
) -> Result<Role, sqlx::Error> {
    let (in_recovery, read_only, timeline): (bool, bool, Option<String>) =
        sqlx::query_as(statement).fetch_one(connection).await?;
    Ok(Role {
        in_recovery,
        read_only,
        timeline: timeline.and_then(|digits| u32::from_str_radix(&digits, 16).ok()),
    })
}

/// What a failed question says about the server.
fn answer_of(error: &sqlx::Error) -> Answer {
    let sqlx::Error::Database(refusal) = error else {
        return match error {
            // Somebody was there, and the line broke: that says no more than silence.
            sqlx::Error::Io(error)
                if matches!(
                    error.kind(),
                    ErrorKind::UnexpectedEof
                        | ErrorKind::ConnectionReset
                        | ErrorKind::ConnectionAborted
                        | ErrorKind::BrokenPipe
                ) =>
            {
                Answer::Silent
            }
            sqlx::Error::Tls(_) => Answer::Refuses(format!("{error}: {}", advice::ENCRYPTION)),
            sqlx::Error::Configuration(_) => Answer::Refuses(error.to_string()),
            error => Answer::Down(error.to_string()),
        };
    };
    match refusal.code().as_deref().unwrap_or_default() {
        // insufficient_resources: too many connections above all.
        code if code.starts_with("53") => Answer::Busy,
        // invalid_authorization_specification, invalid_catalog_name, insufficient_privilege: the same whenever it is asked.
        code if code.starts_with("28") || code == "3D000" || code == "42501" => {
            Answer::Refuses(match advice::on_refusal(code) {
                Some(advice) => format!("{}: {advice}", refusal.message()),
                None => refusal.message().to_owned(),
            })
        }
        // cannot_connect_now and what else a server says that starts or ends.
        _ => Answer::Down(refusal.message().to_owned()),
    }
}
