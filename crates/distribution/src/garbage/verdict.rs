//! What follows from a deletion that failed. Pure.

use std::time::Duration;

use roadstead_placement::retry_delay;
use roadstead_storage::StorageErrorKind;

/// For how long nobody publishes at a key whose deletion ran out of time: the store may still carry it out. Far longer than any store keeps
/// a request that its client has given up.
const UNCERTAIN: Duration = Duration::from_mins(15);

/// What to do about a deletion that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Verdict {
    /// When this object is tried again.
    pub(super) retry_after: Duration,
    /// For how long nobody may publish at the key.
    pub(super) closed_for: Option<Duration>,
    /// Whether the other objects of the location would fail too.
    pub(super) whole_location: bool,
}

/// Decides about an object whose deletion failed for the `attempt`th time.
pub(super) fn after_failure(kind: StorageErrorKind, attempt: u32, chance: f64) -> Verdict {
    let retry_after = retry_delay(attempt, chance);
    match kind {
        // The request was made, and nobody has said that it is over.
        StorageErrorKind::Timeout
        | StorageErrorKind::Interrupted
        | StorageErrorKind::ServerError => Verdict {
            retry_after: UNCERTAIN,
            closed_for: Some(UNCERTAIN),
            whole_location: true,
        },
        StorageErrorKind::Unavailable
        | StorageErrorKind::Full
        | StorageErrorKind::Denied
        | StorageErrorKind::Throttled
        | StorageErrorKind::Misconfigured => Verdict {
            retry_after,
            closed_for: None,
            whole_location: true,
        },
        StorageErrorKind::NotFound
        | StorageErrorKind::Busy
        | StorageErrorKind::Corrupt
        | StorageErrorKind::StagedShort { .. }
        | StorageErrorKind::Unexpected => Verdict {
            retry_after,
            closed_for: None,
            whole_location: false,
        },
    }
}

/// How long to rest before a location is looked at again that did not answer so many times in a row.
pub(super) fn pause_after(failures_in_a_row: u32, chance: f64, usual: Duration) -> Duration {
    match failures_in_a_row {
        0 => usual,
        failures => usual.max(retry_delay(failures, chance)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deletion_that_may_still_happen_closes_its_key_and_no_other_failure_does() {
        let kinds = [
            StorageErrorKind::Unavailable,
            StorageErrorKind::Full,
            StorageErrorKind::NotFound,
            StorageErrorKind::Denied,
            StorageErrorKind::Timeout,
            StorageErrorKind::Interrupted,
            StorageErrorKind::Throttled,
            StorageErrorKind::ServerError,
            StorageErrorKind::Misconfigured,
            StorageErrorKind::Busy,
            StorageErrorKind::Corrupt,
            StorageErrorKind::Unexpected,
        ];
        for kind in kinds {
            let verdict = after_failure(kind, 1, 0.5);
            let uncertain = matches!(
                kind,
                StorageErrorKind::Timeout
                    | StorageErrorKind::Interrupted
                    | StorageErrorKind::ServerError
            );
            assert_eq!(verdict.closed_for.is_some(), uncertain, "{kind:?}");
            if let Some(closed_for) = verdict.closed_for {
                assert!(verdict.retry_after >= closed_for);
            }
        }
    }

    #[test]
    fn a_location_that_fails_again_and_again_is_asked_less_often_and_never_more_often_than_usual() {
        let usual = Duration::from_secs(30);
        assert_eq!(pause_after(0, 1.0, usual), usual);
        assert_eq!(pause_after(1, 1.0, usual), usual);
        assert!(pause_after(9, 1.0, usual) > usual);
        assert_eq!(pause_after(9, 0.0, usual), usual);
    }
}
