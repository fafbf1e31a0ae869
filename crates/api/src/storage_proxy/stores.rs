//! Whose addresses the proxy fetches from, so that what it sees of a store counts for the location.
//!
//! A grant does not say which location it is of. What this process has signed itself it remembers, by everything in an address that comes before
//! the object's key; of addresses that only others have signed it says nothing.

use std::collections::BTreeMap;
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use bytes::Bytes;
use chrono::TimeDelta;
use futures_util::stream::{BoxStream, try_unfold};
use futures_util::{Stream, TryStreamExt as _};
use http::StatusCode;
use roadstead_auth::ProxiedAddress;
use roadstead_locations::Locations;
use roadstead_placement::{FailureKind, LocationName, Outcome, Progress, Use};
use roadstead_runtime::Environment;
use roadstead_storage::FetchError;

/// More than there are locations and CDNs in front of them.
const STORES_MAX: usize = 256;

/// A transfer is told of so often while it goes on.
const TOLD_EVERY: Duration = Duration::from_secs(1);

/// The stores that this process has sent clients to.
#[derive(Debug, Default)]
pub(crate) struct KnownStores {
    by_base: RwLock<BTreeMap<String, LocationName>>,
}

impl KnownStores {
    /// Remembers that an address is of this location.
    pub(crate) fn learn(&self, address: &ProxiedAddress<'_>, location: &LocationName) {
        let Some(base) = base(address) else { return };
        if self.find(&base).as_ref() == Some(location) {
            return;
        }
        let mut by_base = self.by_base.write().unwrap_or_else(PoisonError::into_inner);
        if by_base.len() < STORES_MAX || by_base.contains_key(&base) {
            by_base.insert(base, location.clone());
        }
    }

    /// Keeps an eye on one fetch.
    pub(crate) fn watch(
        &self,
        address: &ProxiedAddress<'_>,
        locations: &Locations,
        environment: &Environment,
    ) -> Watch {
        Watch {
            location: base(address).and_then(|base| self.find(&base)),
            locations: locations.clone(),
            environment: environment.clone(),
        }
    }

    fn find(&self, base: &str) -> Option<LocationName> {
        let by_base = self.by_base.read().unwrap_or_else(PoisonError::into_inner);
        by_base.get(base).cloned()
    }
}

/// What comes before an object's key, which has three parts: `sha256/ab/ab...`.
fn base(address: &ProxiedAddress<'_>) -> Option<String> {
    let ProxiedAddress { scheme, host, uri } = address;
    let path = uri.split('?').next().unwrap_or_default();
    // A bucket that is named in the host and has no path of its own begins with the key.
    let mut parts = path.rsplitn(4, '/').skip(2);
    parts.next()?;
    let root = parts.next().unwrap_or_default();
    Some(format!("{scheme}://{host}/{root}"))
}

/// Tells the location of a fetch how it went.
#[derive(Debug)]
pub(crate) struct Watch {
    location: Option<LocationName>,
    locations: Locations,
    environment: Environment,
}

impl Watch {
    /// There was an answer. That it is one the client has brought about, such as 403 for an address that has just ended, says nothing.
    pub(crate) fn answered(&self, status: StatusCode, after: TimeDelta) {
        self.tell(match status {
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
                Outcome::Failed(FailureKind::Throttled)
            }
            status if status.is_server_error() => Outcome::Failed(FailureKind::ServerError),
            _ => Outcome::Answered {
                latency: after.to_std().unwrap_or_default(),
            },
        });
    }

    /// There was none.
    pub(crate) fn failed(&self, error: &FetchError) {
        if let Some(kind) = kind_of(error) {
            self.tell(Outcome::Failed(kind));
        }
    }

    /// The same body, watched to its end.
    pub(crate) fn over(
        self,
        body: BoxStream<'static, Result<Bytes, FetchError>>,
    ) -> impl Stream<Item = Result<Bytes, FetchError>> + Send + 'static {
        let transfer = (self, body, 0, TimeDelta::zero());
        try_unfold(
            transfer,
            |(watch, mut body, mut bytes, mut waited)| async move {
                let asked = watch.environment.now();
                let next = body.try_next().await;
                waited += watch.environment.now() - asked;
                let chunk = match next {
                    Ok(chunk) => chunk,
                    Err(error) => {
                        if let Some(kind) = kind_of(&error) {
                            watch.tell(Outcome::Broken(kind));
                        }
                        return Err(error);
                    }
                };
                bytes += chunk.as_ref().map_or(0, |chunk| chunk.len() as u64);
                let waited_long = waited.to_std().unwrap_or_default();
                if chunk.is_none() || waited_long >= TOLD_EVERY {
                    watch.tell(Outcome::Transferred {
                        bytes,
                        waited: waited_long,
                        progress: if chunk.is_none() {
                            Progress::Whole
                        } else {
                            Progress::Part
                        },
                    });
                    (bytes, waited) = (0, TimeDelta::zero());
                }
                Ok(chunk.map(|chunk| (chunk, (watch, body, bytes, waited))))
            },
        )
    }

    fn tell(&self, outcome: Outcome) {
        if let Some(location) = &self.location {
            self.locations.tell(location, Use::Read, outcome);
        }
    }
}

/// How the store failed, if it was the store.
fn kind_of(error: &FetchError) -> Option<FailureKind> {
    match error {
        FetchError::Address { .. } => None,
        FetchError::Connect { .. } => Some(FailureKind::Unreachable),
        FetchError::Interrupted { .. } => Some(FailureKind::Interrupted),
        FetchError::TimedOut { .. } => Some(FailureKind::Timeout),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use roadstead_placement::HealthState;
    use roadstead_runtime::{Clock as _, ManualClock, SeededIds, SystemClock};
    use roadstead_storage::{LocalOptions, Location};

    use super::*;

    #[test]
    fn a_stores_addresses_have_their_beginning_in_common() {
        let base = |host, uri| {
            base(&ProxiedAddress {
                scheme: "https",
                host,
                uri,
            })
        };
        for (host, uri, expected) in [
            (
                "s3.example",
                "bucket/a/b/sha256/ab/abcd?sig=x/y",
                Some("https://s3.example/bucket/a/b"),
            ),
            (
                "b.s3.example",
                "sha256/ab/abcd",
                Some("https://b.s3.example/"),
            ),
            (
                "b.s3.example",
                "x/sha256/ab/abcd",
                Some("https://b.s3.example/x"),
            ),
            ("b.s3.example", "ab/abcd", None),
            ("b.s3.example", "", None),
        ] {
            assert_eq!(base(host, uri).as_deref(), expected, "{host} {uri}");
        }
    }

    #[test]
    fn what_is_seen_of_a_known_store_counts_for_its_location() {
        let us = LocationName::new("us").expect("a good name");
        let location = Location::local(us.clone(), "/nowhere", LocalOptions::default());
        let clock = Arc::new(ManualClock::at(SystemClock.now()));
        let environment = Environment {
            clock: clock.clone(),
            ids: Arc::new(SeededIds::new(1)),
        };
        let locations = Locations::with_defaults(location, clock);
        let address = |uri| ProxiedAddress {
            scheme: "http",
            host: "s3.example",
            uri,
        };
        let known = KnownStores::default();
        known.learn(&address("bucket/sha256/ab/abcd?sig=x"), &us);
        let watch = |uri| known.watch(&address(uri), &locations, &environment);
        let state = || locations.standings().get(&us).read.state;
        let silent = || FetchError::TimedOut {
            host: "s3.example".to_owned(),
            after: Duration::from_secs(10),
        };
        for _ in 0..100 {
            // Another bucket, and what a client can bring about.
            watch("other/sha256/ab/abcd").failed(&silent());
            watch("bucket/sha256/ab/abcd").answered(StatusCode::FORBIDDEN, TimeDelta::zero());
        }
        assert_eq!(state(), HealthState::Healthy);
        for _ in 0..100 {
            watch("bucket/sha256/cd/cdef?sig=y").failed(&silent());
        }
        assert_ne!(state(), HealthState::Healthy);
    }

    #[test]
    fn stores_are_remembered_within_a_bound() {
        let known = KnownStores::default();
        let location = |name: String| LocationName::new(&name).expect("a good name");
        for number in 0..STORES_MAX + 10 {
            let uri = format!("bucket-{number}/sha256/ab/abcd");
            let address = ProxiedAddress {
                scheme: "http",
                host: "s3.example",
                uri: &uri,
            };
            known.learn(&address, &location(format!("l{number}")));
        }
        let find = |number: usize| known.find(&format!("http://s3.example/bucket-{number}"));
        assert_eq!(find(7), Some(location("l7".to_owned())));
        assert_eq!(find(STORES_MAX + 5), None);
    }
}
