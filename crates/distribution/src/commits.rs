//! Whether it is worth the while to ask a server whether anything has been committed since: when nearly every answer says so, as while many push, it
//! costs a way there and back and saves none.

use std::time::Duration;

use roadstead_metadata::Epoch;
use roadstead_runtime::Timestamp;

/// For how long answers are counted before they are judged.
const JUDGED_EVERY: Duration = Duration::from_secs(1);

/// So few answers say nothing.
const LOOKS_MIN: u32 = 8;

/// One of so many answers may say that something was committed: then two of three ways to the server are saved by most of the others.
const LOOKS_FOR_A_COMMIT: u32 = 4;

/// For how long nobody asks after it was in vain.
const REST: Duration = Duration::from_secs(10);

/// What was answered lately.
#[derive(Debug, Default)]
pub(crate) struct Commits {
    last: Option<Epoch>,
    counted_since: Timestamp,
    looks: u32,
    changes: u32,
    rests_since: Option<Timestamp>,
}

impl Commits {
    /// Whether to ask.
    pub(crate) fn worth_asking(&self, now: Timestamp) -> bool {
        !self
            .rests_since
            .is_some_and(|since| within(REST, since, now))
    }

    /// Takes in what was answered.
    pub(crate) fn told(&mut self, epoch: Option<Epoch>, now: Timestamp) {
        if !within(JUDGED_EVERY, self.counted_since, now) {
            let in_vain = self.looks >= LOOKS_MIN
                && self.changes.saturating_mul(LOOKS_FOR_A_COMMIT) > self.looks;
            self.rests_since = in_vain.then_some(now);
            (self.counted_since, self.looks, self.changes) = (now, 0, 0);
        }
        self.looks = self.looks.saturating_add(1);
        // A standby has none, so that asking it is in vain every time.
        if epoch.is_none() || self.last != epoch {
            self.changes = self.changes.saturating_add(1);
            self.last = epoch;
        }
    }
}

/// Whether it is not longer ago. What was later by a clock that has been set back is over.
fn within(duration: Duration, since: Timestamp, now: Timestamp) -> bool {
    (now - since).to_std().is_ok_and(|age| age < duration)
}

#[cfg(test)]
mod tests {
    use super::*;
    use roadstead_metadata::{Database, DatabaseOptions};

    /// Two epochs that differ: of two databases.
    async fn two_epochs() -> [Option<Epoch>; 2] {
        let mut epochs = [None, None];
        for epoch in &mut epochs {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("registry.db");
            let options = DatabaseOptions::Sqlite { path };
            let database = Database::open(&options).await.unwrap();
            database.migrate().await.unwrap();
            *epoch = database.epochs_at_hand().content;
        }
        assert!(epochs[0].is_some() && epochs[0] != epochs[1]);
        epochs
    }

    /// What is asked for a second, every hundredth of it, while every so many-th answer is another one.
    fn a_second(commits: &mut Commits, began: Timestamp, epochs: [Option<Epoch>; 2], every: usize) {
        for nth in 0..100 {
            let now = began + Duration::from_millis(10) * u32::try_from(nth).unwrap();
            commits.told(epochs[(nth / every) % 2], now);
        }
    }

    #[tokio::test]
    async fn nobody_asks_for_a_while_after_most_answers_were_new() {
        let epochs = two_epochs().await;
        let began = Timestamp::UNIX_EPOCH + Duration::from_secs(100);
        let judged = began + JUDGED_EVERY;
        for (every, worth) in [(1, false), (3, false), (5, true), (100, true)] {
            let mut commits = Commits::default();
            a_second(&mut commits, began, epochs, every);
            assert!(commits.worth_asking(judged), "not judged yet");
            commits.told(epochs[0], judged);
            assert_eq!(commits.worth_asking(judged), worth, "{every}");
            let rested = judged + REST;
            assert_eq!(
                commits.worth_asking(rested - Duration::from_millis(1)),
                worth
            );
            assert!(commits.worth_asking(rested));
            // A clock that was set back.
            assert!(commits.worth_asking(began));
        }
    }

    #[test]
    fn nobody_asks_a_server_that_has_no_epochs() {
        let began = Timestamp::UNIX_EPOCH + Duration::from_secs(100);
        let mut commits = Commits::default();
        a_second(&mut commits, began, [None, None], 1);
        commits.told(None, began + JUDGED_EVERY);
        assert!(!commits.worth_asking(began + JUDGED_EVERY));
    }

    #[tokio::test]
    async fn few_answers_are_not_judged() {
        let [first, second] = two_epochs().await;
        let mut commits = Commits::default();
        let began = Timestamp::UNIX_EPOCH + Duration::from_secs(100);
        for nth in 1..LOOKS_MIN {
            commits.told(if nth % 2 == 0 { first } else { second }, began);
        }
        commits.told(first, began + JUDGED_EVERY);
        assert!(commits.worth_asking(began + JUDGED_EVERY));
    }
}
