//! Deadlines and limits of a client.

use std::time::Duration;

/// How long a client waits and how much it takes in.
#[derive(Clone, Debug)]
pub struct ClientOptions {
    /// Opening a connection. Default 10 s: three lost packets at the start of a TCP connection.
    pub connect_timeout: Duration,
    /// How long a request may go without a byte moving in either direction; seen after at most twice this. A transfer as a
    /// whole may take as long as it moves. Default 60 s: a server that flushes a large layer to a slow disk answers in that time.
    pub stall_timeout: Duration,
    /// The largest manifest and the largest page of a list that are read. Default 8 MiB: twice the 4 MiB that the distribution
    /// specification wants a registry to accept.
    pub document_bytes_max: usize,
    /// The most entries that [`crate::Client::tags`] and [`crate::Client::referrers`] gather over all pages. Default 1 000 000.
    pub entries_max: usize,
    /// How many redirects of a read are followed. Default 5.
    pub redirects_max: usize,
    /// Idle connections kept for later. Default 32.
    pub idle_connections_max: usize,
    /// The trace that all requests are part of, in the form of W3C's `traceparent`. Default none.
    pub traceparent: Option<String>,
}

impl Default for ClientOptions {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(10),
            stall_timeout: Duration::from_mins(1),
            document_bytes_max: 8 * 1024 * 1024,
            entries_max: 1_000_000,
            redirects_max: 5,
            idle_connections_max: 32,
            traceparent: None,
        }
    }
}
