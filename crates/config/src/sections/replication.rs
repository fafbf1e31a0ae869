//! Copying blobs between locations.

use std::num::{NonZeroU64, NonZeroUsize};
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
    /// `ROADSTEAD_REPLICATION_CONCURRENCY`: the most blobs that one process copies at a time, each to every location that lacks it, 1 to 256
    /// (default: 32).
    pub concurrency: NonZeroUsize,
    /// `ROADSTEAD_REPLICATION_MEMORY_BYTES`: the most that the copies of one process hold together, 16M to 64G (default: `256M`).
    pub memory_bytes: u64,
    /// `ROADSTEAD_RECONCILE_SECONDS`: how often a process looks for blobs that miss a copy and have no job, 1 to 86400
    /// (default: 60).
    pub reconcile: Duration,
    /// `ROADSTEAD_PUSH_WAIT_SECONDS`: the longest that a push waits for the locations that its namespace demands, whatever deadline the
    /// namespace has, 1 to 3600 (default: 300).
    pub push_wait_max: Duration,
    /// How fast what the locations hold is read back; `None`: not at all.
    pub scrub: Option<Scrub>,
}

/// How fast what the locations hold is read back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scrub {
    /// `ROADSTEAD_SCRUB_DAYS`: in how many days every object of a location is read back, 1 to 3650; 0: never (default: 30).
    pub period: Duration,
    /// `ROADSTEAD_SCRUB_BYTES_PER_SECOND`: the most that one process reads back in a second, of all locations together, 64K to 64G (default:
    /// `16M`). What does not fit takes longer.
    pub bytes_per_second: NonZeroU64,
}

const SCRUB_BYTES_PER_SECOND_DEFAULT: NonZeroU64 =
    NonZeroU64::new(16 << 20).expect("16 MiB are not zero");

const CONCURRENCY_DEFAULT: NonZeroUsize = NonZeroUsize::new(32).expect("32 is not zero");

impl Replication {
    pub(super) fn read(keys: &mut Keys) -> Self {
        let standalone = keys.data_dir().is_some();
        let concurrency = keys.number("ROADSTEAD_REPLICATION_CONCURRENCY", 32, 1..=256);
        Self {
            enabled: keys.flag("FEATURE_STORAGE_REPLICATION", standalone),
            queue_name: keys
                .text("REPLICATION_QUEUE_NAME")
                .unwrap_or_else(|| "imagestoragereplication".to_owned()),
            concurrency: usize::try_from(concurrency)
                .ok()
                .and_then(NonZeroUsize::new)
                .unwrap_or(CONCURRENCY_DEFAULT),
            memory_bytes: keys.size(
                "ROADSTEAD_REPLICATION_MEMORY_BYTES",
                256 << 20,
                16 << 20..=64 << 30,
            ),
            reconcile: keys.seconds("ROADSTEAD_RECONCILE_SECONDS", 60, 1..=86_400),
            push_wait_max: keys.seconds("ROADSTEAD_PUSH_WAIT_SECONDS", 300, 1..=3600),
            scrub: Scrub::read(keys),
        }
    }
}

impl Scrub {
    fn read(keys: &mut Keys) -> Option<Self> {
        let days = keys.number("ROADSTEAD_SCRUB_DAYS", 30, 0..=3650);
        let bytes_per_second = keys.size(
            "ROADSTEAD_SCRUB_BYTES_PER_SECOND",
            SCRUB_BYTES_PER_SECOND_DEFAULT.get(),
            64 << 10..=64 << 30,
        );
        (days > 0).then(|| Self {
            period: Duration::from_hours(days * 24),
            bytes_per_second: NonZeroU64::new(bytes_per_second)
                .unwrap_or(SCRUB_BYTES_PER_SECOND_DEFAULT),
        })
    }
}
