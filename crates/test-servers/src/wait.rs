//! Waiting for what a server does.

use std::thread;
use std::time::Duration;

/// The pause between two looks.
const PAUSE: Duration = Duration::from_millis(20);

/// Looks until something is so, and says whether it was within `limit`. The pauses alone count, so that looks that take long cost no patience.
pub(crate) fn wait(limit: Duration, mut so: impl FnMut() -> bool) -> bool {
    let looks = limit.as_millis() / PAUSE.as_millis();
    (0..looks).any(|_| {
        let seen = so();
        if !seen {
            thread::sleep(PAUSE);
        }
        seen
    })
}
