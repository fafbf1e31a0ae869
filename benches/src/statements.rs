//! What a PostgreSQL server was asked, by its log: how many statements, and how long the longest of them and of their transactions took.

use std::collections::HashMap;
use std::time::Duration;

/// The settings of a server whose log [`Statements::of_log`] reads. The log of statements itself is switched on by [`LOG_STATEMENTS`].
pub const SETTINGS: [(&str, &str); 2] = [
    // The time, in seconds, and the process.
    ("log_line_prefix", "@%n %p "),
    ("log_parameter_max_length", "0"),
];

/// Has a running server log every statement with the time that it took, once its configuration is loaded anew.
pub const LOG_STATEMENTS: &str = "ALTER SYSTEM SET log_min_duration_statement = 0";

/// What a server was asked. The ends of transactions are no statements.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Statements {
    /// How many statements.
    pub count: u64,
    /// How many transactions, a statement outside of one among them.
    pub transactions: u64,
    /// How long the longest statement took in the server, with its planning.
    pub longest: Duration,
    /// Its text.
    pub longest_text: String,
    /// How long the longest transaction was open, with what its client did meanwhile.
    pub longest_transaction: Duration,
}

/// A connection of the server.
#[derive(Default)]
struct Session {
    /// What parsing and binding the next statement has taken.
    prepared: f64,
    /// When its transaction was begun, if one is open.
    begun: Option<f64>,
}

impl Statements {
    /// Reads a part of a log.
    pub fn of_log(log: &str) -> Self {
        let mut statements = Self::default();
        let mut sessions: HashMap<&str, Session> = HashMap::new();
        for entry in log.split("\n@").map(|entry| entry.trim_start_matches('@')) {
            let Some((prefix, said)) = entry.split_once("LOG:  duration: ") else {
                continue;
            };
            let Some((time, process)) = prefix.trim_end().split_once(' ') else {
                continue;
            };
            let Some((taken, what)) = said.split_once(" ms  ") else {
                continue;
            };
            let (Ok(time), Ok(taken)) = (time.parse::<f64>(), taken.parse::<f64>()) else {
                continue;
            };
            statements.note(sessions.entry(process).or_default(), time, taken, what);
        }
        statements
    }

    /// Notes that something ended at a time in seconds and took so many milliseconds.
    fn note(&mut self, session: &mut Session, time: f64, milliseconds: f64, what: &str) {
        let (kind, text) = what.split_once(": ").unwrap_or((what, ""));
        if kind.starts_with("parse") || kind.starts_with("bind") {
            session.prepared += milliseconds;
            return;
        }
        let taken = std::mem::take(&mut session.prepared) + milliseconds;
        let word = text.split_whitespace().next().unwrap_or_default();
        match word.trim_end_matches(';') {
            "BEGIN" | "START" => {
                session.begun = Some(time);
                self.transactions += 1;
                return;
            }
            "COMMIT" | "ROLLBACK" => {
                if let Some(begun) = session.begun.take() {
                    let open = Duration::try_from_secs_f64(time - begun).unwrap_or_default();
                    self.longest_transaction = self.longest_transaction.max(open);
                }
                return;
            }
            _ => {}
        }
        let taken = Duration::try_from_secs_f64(taken / 1e3).unwrap_or_default();
        self.count += 1;
        if session.begun.is_none() {
            self.transactions += 1;
            self.longest_transaction = self.longest_transaction.max(taken);
        }
        if taken > self.longest {
            self.longest = taken;
            self.longest_text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_says_what_was_asked_and_how_long_it_took() {
        let log = "\
@100.000 7 LOG:  duration: 0.100 ms  statement: BEGIN
@100.050 7 LOG:  duration: 2.000 ms  parse sqlx_s_1: SELECT 1
@100.060 7 LOG:  duration: 10.000 ms  bind sqlx_s_1: SELECT 1
@100.100 8 LOG:  duration: 5.000 ms  execute sqlx_s_1: SELECT
\t2 AS two
@100.200 7 LOG:  duration: 30.000 ms  execute sqlx_s_1: SELECT 1
@100.250 9 LOG:  checkpoint starting: time
@100.400 7 LOG:  duration: 0.300 ms  statement: COMMIT
";
        let statements = Statements::of_log(log);
        assert_eq!((statements.count, statements.transactions), (2, 2));
        assert_eq!(statements.longest, Duration::from_millis(42));
        assert_eq!(statements.longest_text, "SELECT 1");
        assert_eq!(statements.longest_transaction.as_millis(), 400);
    }

    #[test]
    fn what_is_no_log_of_statements_counts_for_nothing() {
        for log in [
            "",
            "\n",
            "@x 7 LOG:  duration: y ms  execute: z",
            "@1 LOG:  duration: ",
        ] {
            assert_eq!(Statements::of_log(log), Statements::default(), "{log}");
        }
    }
}
