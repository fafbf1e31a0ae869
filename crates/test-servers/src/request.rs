//! A request that a server or a proxy has seen.

use std::fmt;

/// A request that was seen, with what it was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Its method.
    pub method: String,
    /// What it asked for: a path, encoded as it came, and a query if there was one.
    pub target: String,
    /// The status of its answer; none as long as there is no answer.
    pub status: Option<u16>,
}

impl Request {
    /// Reads what [`Request`] is displayed as.
    pub(crate) fn parse(line: &str) -> Option<Self> {
        let mut words = line.split(' ');
        Some(Self {
            method: words.next()?.to_owned(),
            target: words.next()?.to_owned(),
            status: words.next()?.parse().ok(),
        })
    }

    /// The path without the query.
    pub fn path(&self) -> &str {
        self.target
            .split_once('?')
            .map_or(&self.target, |(path, _)| path)
    }

    /// Whether it has this method and asks for this path, whatever its query.
    pub fn is(&self, method: &str, path: &str) -> bool {
        self.method == method && self.path() == path
    }
}

impl fmt::Display for Request {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {} ", self.method, self.target)?;
        match self.status {
            Some(status) => write!(formatter, "{status}"),
            None => formatter.write_str("-"),
        }
    }
}
