//! How much is taken from one client and from all, and how long requests may take to end.

use std::time::Duration;

use crate::reader::Keys;

/// How much is taken from one client and from all, and how long requests may take to end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// `ROADSTEAD_SHUTDOWN_SECONDS`: how long requests in flight may take to end once the process is asked to stop, in seconds, 1 to 3600
    /// (default: 30). Kubernetes kills after `terminationGracePeriodSeconds`, which has to be 15 s longer.
    pub shutdown: Duration,
    /// `FEATURE_RATE_LIMITS`: requests of one address and of one account are counted, and refused with 429 where they are too many
    /// (default: false).
    pub rates: Option<RateLimits>,
    /// The most requests that this process answers at once.
    pub concurrency: Concurrency,
}

/// The most requests that this process answers at once; of each kind twice as many wait, a second at most, and the others are refused
/// with 503. Default (`None`): by the number of processors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Concurrency {
    /// `ROADSTEAD_REQUESTS_MAX`: requests with nothing to transfer (default: 128 for each processor).
    pub requests: Option<u64>,
    /// `ROADSTEAD_UPLOADS_MAX`: requests that send something (default: 512 for each processor).
    pub uploads: Option<u64>,
    /// `ROADSTEAD_DOWNLOADS_MAX`: blobs that are delivered (default: 2048 for each processor).
    pub downloads: Option<u64>,
}

/// How many requests are taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RateLimits {
    /// `ROADSTEAD_RATE_LIMIT_ADDRESS_PER_SECOND`, `ROADSTEAD_RATE_LIMIT_ADDRESS_BURST`: from one address, of IPv6 from one network of 64
    /// bits (default: 60 in a second, as with Quay, and 600 at once).
    pub address: Rate,
    /// `ROADSTEAD_RATE_LIMIT_ACCOUNT_PER_SECOND`, `ROADSTEAD_RATE_LIMIT_ACCOUNT_BURST`: with the credentials of one account or robot,
    /// from everywhere to this process (default: 120 in a second, 1200 at once).
    pub account: Rate,
    /// `NON_RATE_LIMITED_NAMESPACES`: what concerns these namespaces is not counted (default: none).
    pub exempt: Vec<String>,
}

/// A rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Requests in a second in the long run.
    pub per_second: u64,
    /// Requests at once after a rest.
    pub burst: u64,
}

/// More than one process serves.
const RATE_MAX: u64 = 1_000_000;

/// More than one process has connections and streams for.
const AT_ONCE_MAX: u64 = 1_000_000;

impl Limits {
    pub(super) fn read(keys: &mut Keys) -> Self {
        let rates = RateLimits {
            address: Rate {
                per_second: keys.number(
                    "ROADSTEAD_RATE_LIMIT_ADDRESS_PER_SECOND",
                    60,
                    1..=RATE_MAX,
                ),
                burst: keys.number("ROADSTEAD_RATE_LIMIT_ADDRESS_BURST", 600, 1..=RATE_MAX),
            },
            account: Rate {
                per_second: keys.number(
                    "ROADSTEAD_RATE_LIMIT_ACCOUNT_PER_SECOND",
                    120,
                    1..=RATE_MAX,
                ),
                burst: keys.number("ROADSTEAD_RATE_LIMIT_ACCOUNT_BURST", 1200, 1..=RATE_MAX),
            },
            exempt: keys
                .texts("NON_RATE_LIMITED_NAMESPACES", "namespaces")
                .unwrap_or_default(),
        };
        let mut at_once = |key: &'static str| {
            keys.value(key)
                .and_then(|value| keys.number_of(key, &value, 1..=AT_ONCE_MAX))
        };
        let concurrency = Concurrency {
            requests: at_once("ROADSTEAD_REQUESTS_MAX"),
            uploads: at_once("ROADSTEAD_UPLOADS_MAX"),
            downloads: at_once("ROADSTEAD_DOWNLOADS_MAX"),
        };
        Self {
            shutdown: keys.seconds("ROADSTEAD_SHUTDOWN_SECONDS", 30, 1..=3600),
            rates: keys.flag("FEATURE_RATE_LIMITS", false).then_some(rates),
            concurrency,
        }
    }
}
