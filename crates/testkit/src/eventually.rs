//! Waiting for a condition.

use std::time::Duration;

use roadstead_runtime::{Clock as _, SystemClock};

/// How often [`eventually`] looks: with the pauses in between, two minutes, for a debug build on a busy machine.
pub(crate) const CHECKS_MAX: u32 = 2_400;

/// The pause between two looks.
const PAUSE: Duration = Duration::from_millis(50);

/// Calls `check` until it returns something, and returns that.
///
/// # Panics
/// When it has not after 2,400 calls: with what was waited for.
pub async fn eventually<T, C>(what: &str, check: C) -> T
where
    C: AsyncFnMut() -> Option<T>,
{
    within(CHECKS_MAX, what, check).await
}

/// As [`eventually`], with another number of calls, 50 ms apart.
///
/// # Panics
/// When nothing was returned after `checks` calls.
pub async fn within<T, C>(checks: u32, what: &str, check: C) -> T
where
    C: AsyncFnMut() -> Option<T>,
{
    match attempt(checks, check).await {
        Some(found) => found,
        None => panic!("{what}: still not so after {checks} checks"),
    }
}

/// As [`within`], but returns `None` when the time is over.
pub async fn attempt<T, C>(checks: u32, mut check: C) -> Option<T>
where
    C: AsyncFnMut() -> Option<T>,
{
    for _ in 0..checks {
        if let Some(found) = check().await {
            return Some(found);
        }
        SystemClock.sleep(PAUSE).await;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_condition_is_checked_until_it_holds() {
        let mut calls = 0;
        let found = eventually("three calls", async || {
            calls += 1;
            (calls == 3).then_some("done")
        })
        .await;
        assert_eq!((found, calls), ("done", 3));
    }

    #[tokio::test]
    #[should_panic(expected = "never: still not so after 2 checks")]
    async fn a_condition_that_never_holds_fails_the_test() {
        within(2, "never", async || None::<()>).await;
    }
}
