//! Log lines that anybody can cause, at a bounded rate.

use std::sync::{Mutex, PoisonError};

use chrono::TimeDelta;
use roadstead_runtime::Timestamp;

/// The least time between two lines.
const PAUSE: TimeDelta = TimeDelta::seconds(10);

/// Says when the next line is due.
#[derive(Debug, Default)]
pub(crate) struct Seldom {
    state: Mutex<(Option<Timestamp>, u64)>,
}

impl Seldom {
    /// Counts one occasion. Returns how many there were since the last line, this one included, if a line is due.
    pub(crate) fn due(&self, now: Timestamp) -> Option<u64> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let (last, count) = &mut *state;
        *count += 1;
        if last.is_some_and(|last| now.signed_duration_since(last) < PAUSE && now >= last) {
            return None;
        }
        *last = Some(now);
        Some(std::mem::take(count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_a_line_at_once_and_then_one_in_ten_seconds_with_the_number_of_those_in_between() {
        let seldom = Seldom::default();
        let start = Timestamp::UNIX_EPOCH;
        assert_eq!(seldom.due(start), Some(1));
        for second in 1..10 {
            assert_eq!(seldom.due(start + TimeDelta::seconds(second)), None);
        }
        assert_eq!(seldom.due(start + PAUSE), Some(10));
        // A clock that was put back silences nothing for long.
        assert_eq!(seldom.due(start), Some(1));
    }
}
