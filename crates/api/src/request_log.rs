//! The one line that every request leaves in the log.
//!
//! It is written when the answer's body has ended or was given up, because only then is it known how much was delivered. Fields:
//!
//! | field | |
//! |---|---|
//! | `request.id` | the id that the answer carries in `X-Request-Id` |
//! | `http.request.method`, `http.response.status_code` | |
//! | `http.route` | [`Route::label`](crate::Route::label), `none` where the path names nothing |
//! | `url.path` | the path, escaped and cut to 512 bytes; never the query, and no segment longer than any name: they can hold secrets |
//! | `repository.name`, `user.name` | where the path names one, where the client is known |
//! | `client.address` | the client's, as far as balancers are believed |
//! | `http.request.body.bytes` | bytes that came |
//! | `http.response.body.bytes` | bytes handed to the connection |
//! | `http.response.complete` | whether that was all of them |
//! | `trace.id` | the trace that the request is part of: its client's, or one that begins here |
//! | `duration_ms` | from the request's headers to the end of the answer |
//!
//! Level: `debug` for health checks and pings that succeed, `error` for 500, `warn` for other 5xx, otherwise `info`.
//! `Authorization` and bodies are never logged.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use http::{Method, StatusCode};
use roadstead_oci::RepositoryName;
use roadstead_runtime::{Clock, Timestamp};
use roadstead_telemetry::describe;
use tracing::{Level, Span, event};

use crate::body::BodyError;
use crate::metrics::{Counted, InFlight};
use crate::places::Place;

/// The most bytes of a path in the log. A path that names something has less than 255 + 135 + a few.
const PATH_BYTES_MAX: usize = 512;

/// The most bytes of a segment of a path in the log: as many as a name has. Longer ones name nothing, or hold a grant of the storage proxy, which has
/// more than that in its signature alone.
const SEGMENT_BYTES_MAX: usize = 255;

/// What is known of a request when its answer begins.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) request_id: Arc<str>,
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) counted: Counted,
    pub(crate) repository: Option<RepositoryName>,
    pub(crate) user: Option<Arc<str>>,
    pub(crate) client: Option<IpAddr>,
    pub(crate) status: StatusCode,
    pub(crate) started: Timestamp,
    /// Bytes of the request's body that came.
    pub(crate) received: Arc<AtomicU64>,
    /// The trace that it is part of, if it is.
    pub(crate) trace: Option<String>,
    /// Its span, which ends with the answer.
    pub(crate) span: Span,
}

/// A log line that is written when this is dropped, or earlier when the body fails.
#[derive(Debug)]
pub(crate) struct Pending {
    entry: Entry,
    clock: Arc<dyn Clock>,
    expected: u64,
    sent: u64,
    in_flight: InFlight,
    /// Taken until the answer has ended.
    _place: Option<Place>,
}

impl Pending {
    /// A line about an answer whose body has `expected` bytes, and which keeps `place` until it has ended.
    pub(crate) fn new(
        entry: Entry,
        clock: Arc<dyn Clock>,
        expected: u64,
        in_flight: InFlight,
        place: Option<Place>,
    ) -> Self {
        Self {
            entry,
            clock,
            expected,
            sent: 0,
            in_flight,
            _place: place,
        }
    }

    /// Counts a piece of the body. A failure is logged at once, with its causes: there is nobody else to tell.
    pub(crate) fn note(&mut self, piece: Option<&Result<Bytes, BodyError>>) {
        match piece {
            Some(Ok(piece)) => self.sent += piece.len() as u64,
            Some(Err(error)) => tracing::error!(
                request.id = %self.entry.request_id,
                error = %Chain(error),
                "The answer broke off after {} of {} bytes", self.sent, self.expected,
            ),
            None => {}
        }
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        let entry = &self.entry;
        let elapsed = self
            .clock
            .now()
            .signed_duration_since(entry.started)
            .to_std()
            .unwrap_or_default();
        let received = entry.received.load(Ordering::Relaxed);
        let moved = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
        describe(&entry.span, "http.request.body.size", moved(received));
        describe(&entry.span, "http.response.body.size", moved(self.sent));
        let counters = self.in_flight.counters();
        counters.ended(&entry.counted, entry.status, elapsed, (received, self.sent));
        macro_rules! line {
            ($level:expr) => {
                event!(
                    $level,
                    request.id = %entry.request_id,
                    http.request.method = %entry.method,
                    http.response.status_code = entry.status.as_u16(),
                    http.route = entry.counted.route,
                    url.path = %entry.path,
                    repository.name = entry.repository.as_ref().map(RepositoryName::as_str),
                    user.name = entry.user.as_deref(),
                    client.address = entry.client.map(tracing::field::display),
                    http.request.body.bytes = received,
                    http.response.body.bytes = self.sent,
                    http.response.complete = self.sent == self.expected,
                    trace.id = entry.trace.as_deref(),
                    duration_ms = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX),
                    "{} {} {}", entry.method, entry.path, entry.status.as_u16(),
                )
            };
        }
        match entry.status {
            StatusCode::INTERNAL_SERVER_ERROR => line!(Level::ERROR),
            status if status.is_server_error() => line!(Level::WARN),
            _ if matches!(entry.counted.route, "health" | "ping") => line!(Level::DEBUG),
            _ => line!(Level::INFO),
        }
    }
}

/// Behind this, operators of Quay write a secret. There is nothing here.
const QUAYS_DEBUG_SECRET: &str = "/health/enabledebug/";

/// A path as it may stand in a log: without control characters and without what may be a secret, cut.
pub(crate) fn loggable_path(path: &str) -> String {
    let mut loggable = String::with_capacity(path.len().min(PATH_BYTES_MAX));
    let path = if path.starts_with(QUAYS_DEBUG_SECRET) {
        QUAYS_DEBUG_SECRET
    } else {
        path
    };
    for (number, segment) in path.split('/').enumerate() {
        if number > 0 {
            loggable.push('/');
        }
        let segment = if segment.len() > SEGMENT_BYTES_MAX {
            "***"
        } else {
            segment
        };
        for character in segment.chars() {
            if loggable.len() >= PATH_BYTES_MAX {
                loggable.push('…');
                return loggable;
            }
            loggable.extend(character.escape_debug());
        }
        if loggable.len() >= PATH_BYTES_MAX {
            loggable.push('…');
            return loggable;
        }
    }
    loggable
}

/// An error with its causes, each after a colon.
pub(crate) struct Chain<'a>(pub(crate) &'a (dyn std::error::Error + 'static));

impl std::fmt::Display for Chain<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}", self.0)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            write!(formatter, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_in_the_log_is_cut_and_has_no_control_characters() {
        let grant = "e".repeat(SEGMENT_BYTES_MAX + 1);
        assert_eq!(
            loggable_path(&format!("/_storage_proxy/{grant}/https/s3.example/b/k")),
            "/_storage_proxy/***/https/s3.example/b/k"
        );
        assert_eq!(
            loggable_path("/health/enabledebug/hunter2"),
            "/health/enabledebug/"
        );
        assert_eq!(loggable_path("/v2/a\n\u{1b}[31m"), "/v2/a\\n\\u{1b}[31m");
        for long in ["/a", "/", "a/"] {
            let cut = loggable_path(&long.repeat(100_000));
            assert!(
                cut.len() < PATH_BYTES_MAX + 16 && cut.ends_with('…'),
                "{cut}"
            );
        }
    }
}
