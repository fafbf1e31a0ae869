//! Copying blobs between locations.

use std::num::NonZeroUsize;
use std::time::Duration;

use crate::reader::Keys;

/// Copying blobs between locations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replication {
    /// `FEATURE_STORAGE_REPLICATION`: whether what is pushed to one location is copied to the others (default: false; true
    /// for a registry without a configuration). Unlike in Quay, local directories may be locations too.
    pub enabled: bool,
    /// `REPLICATION_QUEUE_NAME`: the name of the queue, in which Quay's workers look as well (default:
    /// `imagestoragereplication`).
    pub queue_name: String,
    /// `ROADSTEAD_REPLICATION_CONCURRENCY`: the most copies that one process makes at a time, 1 to 256 (default: 4).
    pub concurrency: NonZeroUsize,
    /// `ROADSTEAD_RECONCILE_SECONDS`: how often a process looks for blobs that miss a copy and have no job, 1 to 86400
    /// (default: 60).
    pub reconcile: Duration,
    /// `ROADSTEAD_PUSH_WAIT_SECONDS`: the longest that a push waits for the locations that its namespace demands, whatever deadline the
    /// namespace has, 1 to 3600 (default: 300).
    pub push_wait_max: Duration,
}

const CONCURRENCY_DEFAULT: NonZeroUsize = NonZeroUsize::new(4).expect("4 is not zero");

impl Replication {
    pub(super) fn read(keys: &mut Keys) -> Self {
        let standalone = keys.data_dir().is_some();
        let concurrency = keys.number("ROADSTEAD_REPLICATION_CONCURRENCY", 4, 1..=256);
        Self {
            enabled: keys.flag("FEATURE_STORAGE_REPLICATION", standalone),
            queue_name: keys
                .text("REPLICATION_QUEUE_NAME")
                .unwrap_or_else(|| "imagestoragereplication".to_owned()),
            concurrency: usize::try_from(concurrency)
                .ok()
                .and_then(NonZeroUsize::new)
                .unwrap_or(CONCURRENCY_DEFAULT),
            reconcile: keys.seconds("ROADSTEAD_RECONCILE_SECONDS", 60, 1..=86_400),
            push_wait_max: keys.seconds("ROADSTEAD_PUSH_WAIT_SECONDS", 300, 1..=3600),
        }
    }
}
