//! How many requests this process answers at once: so many of each kind, some more wait for a moment, and the others are told to
//! come back before anything is done for them.
//!
//! Whoever is let in keeps to the time that answers take, however many others ask. The kinds are apart by who says how long a place is
//! taken: work is over when this process has done it, a transfer when the client has. So slow clients keep nobody from what is short,
//! and pushes and pulls do not keep each other out.

use std::num::NonZero;
use std::pin::pin;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use futures_util::future::{Either, select};
use http::Method;
use http::header::{AUTHORIZATION, HeaderMap};
use prometheus::core::Collector;
use prometheus::proto::MetricFamily;
use prometheus::{IntCounter, IntCounterVec, IntGaugeVec, Opts};
use roadstead_runtime::Clock;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::yield_now;

use crate::metrics::made;
use crate::route::Route;

/// How long a request waits for a place at most: a burst is over by then, or it is none.
const PATIENCE: Duration = Duration::from_secs(1);

/// How many wait for each place.
const WAITING_PER_PLACE: usize = 2;

/// The most requests that one process answers at once; of each kind twice as many wait, in the order in which they came and a second
/// at most. A stream of HTTP/2 is a request. Probes and pings are answered whatever else there is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConcurrencyLimits {
    /// Requests with nothing to transfer, until their answer begins: at least 1.
    pub requests: usize,
    /// Requests that send a body, until their answer begins: at least 1.
    pub uploads: usize,
    /// Blobs that are delivered from here, to their end: at least 1.
    pub downloads: usize,
}

impl ConcurrencyLimits {
    /// The defaults for a machine of so many processors: 128, 512 and 2048 for each.
    #[must_use]
    pub const fn for_processors(processors: usize) -> Self {
        Self {
            requests: processors.saturating_mul(128),
            uploads: processors.saturating_mul(512),
            downloads: processors.saturating_mul(2048),
        }
    }
}

impl Default for ConcurrencyLimits {
    /// For as many processors as this process may use.
    fn default() -> Self {
        Self::for_processors(thread::available_parallelism().map_or(1, NonZero::get))
    }
}

/// What a request is, as far as places go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Request,
    Upload,
    Download,
}

impl Kind {
    /// Of a request for `route`, that `sends` a body or does not. `None` needs no place: probes and what clients ask first, unless they
    /// say who they are, and what names nothing. That costs less than to refuse it.
    pub(crate) fn of(
        route: Option<&Route>,
        method: &Method,
        headers: &HeaderMap,
        sends: bool,
    ) -> Option<Self> {
        match route? {
            Route::Base | Route::Health(_) if !headers.contains_key(AUTHORIZATION) => None,
            Route::DatabaseRevision
            | Route::Locations
            | Route::InternalPing
            | Route::LegacyPing => None,
            Route::Blob { .. } | Route::StorageProxy if method == Method::GET => {
                Some(Self::Download)
            }
            _ if sends => Some(Self::Upload),
            _ => Some(Self::Request),
        }
    }
}

/// A place, which is free again when this is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    kind: Kind,
    _permit: OwnedSemaphorePermit,
}

impl Place {
    /// Whether it is kept until the answer has ended, and not only until it begins.
    pub(crate) const fn is_for_delivery(&self) -> bool {
        matches!(self.kind, Kind::Download)
    }
}

/// No place was free in time, or too many wait for one.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Crowded;

/// The places of this process.
#[derive(Debug)]
pub(crate) struct Places {
    requests: Room,
    uploads: Room,
    downloads: Room,
    sizes: IntGaugeVec,
    taken: IntGaugeVec,
    waiting: IntGaugeVec,
    refused: IntCounterVec,
}

impl Places {
    pub(crate) fn new(limits: ConcurrencyLimits) -> Self {
        let gauges = |name, help| made(IntGaugeVec::new(Opts::new(name, help), &["kind"]));
        let refused = made(IntCounterVec::new(
            Opts::new(
                "roadstead_http_crowded_total",
                "Requests that were refused with 503 because as many are answered at once as may be, and others wait",
            ),
            &["kind"],
        ));
        let room = |kind, size| Room::new(kind, size, refused.with_label_values(&[kind]));
        Self {
            requests: room("request", limits.requests),
            uploads: room("upload", limits.uploads),
            downloads: room("download", limits.downloads),
            sizes: gauges(
                "roadstead_http_places",
                "Requests of a kind that are answered at once at most",
            ),
            taken: gauges(
                "roadstead_http_places_taken",
                "Requests of a kind that have a place: they are being answered",
            ),
            waiting: gauges(
                "roadstead_http_places_awaited",
                "Requests of a kind that wait for a place",
            ),
            refused,
        }
    }

    /// Waits for a place if need be, and for a second at most. So many may be `asking` at this moment, which costs a moment if they are more than
    /// there are places. A dropped future gives up its place, or that in the queue.
    pub(crate) async fn enter(
        &self,
        kind: Kind,
        asking: usize,
        clock: &dyn Clock,
    ) -> Result<Place, Crowded> {
        let room = match kind {
            Kind::Request => &self.requests,
            Kind::Upload => &self.uploads,
            Kind::Download => &self.downloads,
        };
        let permit = room.enter(asking, clock).await?;
        Ok(Place {
            kind,
            _permit: permit,
        })
    }

    pub(crate) fn collect(&self) -> Vec<MetricFamily> {
        let number = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        for room in [&self.requests, &self.uploads, &self.downloads] {
            let kind = &[room.kind];
            let (taken, waiting) = (room.taken(), room.waiting());
            self.sizes.with_label_values(kind).set(number(room.size));
            self.taken.with_label_values(kind).set(number(taken));
            self.waiting.with_label_values(kind).set(number(waiting));
        }
        let collectors: [&dyn Collector; 4] =
            [&self.sizes, &self.taken, &self.waiting, &self.refused];
        collectors
            .into_iter()
            .flat_map(Collector::collect)
            .collect()
    }
}

/// The places of one kind. They are given in the order in which requests came.
#[derive(Debug)]
struct Room {
    /// The kind's name among the metrics.
    kind: &'static str,
    size: usize,
    places: Arc<Semaphore>,
    queue: Semaphore,
    refused: IntCounter,
}

impl Room {
    fn new(kind: &'static str, size: usize, refused: IntCounter) -> Self {
        let size = size.clamp(1, Semaphore::MAX_PERMITS / WAITING_PER_PLACE);
        Self {
            kind,
            size,
            places: Arc::new(Semaphore::new(size)),
            queue: Semaphore::new(size * WAITING_PER_PLACE),
            refused,
        }
    }

    async fn enter(
        &self,
        asking: usize,
        clock: &dyn Clock,
    ) -> Result<OwnedSemaphorePermit, Crowded> {
        // None is free while somebody waits: what is given back goes to the first of them.
        if let Ok(permit) = Arc::clone(&self.places).try_acquire_owned() {
            if asking > self.size {
                // What is answered from memory never pauses, and leaves its place before the next request has been read: too many of them would wait
                // in their sockets, without an end, and never for a place. So those that have arrived come in first.
                yield_now().await;
            }
            return Ok(permit);
        }
        let permit = self.wait(clock).await;
        if permit.is_none() {
            self.refused.inc();
        }
        permit.ok_or(Crowded)
    }

    async fn wait(&self, clock: &dyn Clock) -> Option<OwnedSemaphorePermit> {
        let _waiting = self.queue.try_acquire().ok()?;
        let turn = pin!(Arc::clone(&self.places).acquire_owned());
        match select(turn, pin!(clock.sleep(PATIENCE))).await {
            Either::Left((permit, _)) => permit.ok(),
            Either::Right(_) => None,
        }
    }

    fn taken(&self) -> usize {
        self.size.saturating_sub(self.places.available_permits())
    }

    fn waiting(&self) -> usize {
        let most = self.size * WAITING_PER_PLACE;
        most.saturating_sub(self.queue.available_permits())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt as _;
    use futures_util::future::join_all;
    use http::HeaderValue;
    use roadstead_runtime::{ManualClock, Timestamp};

    #[test]
    fn a_request_is_of_the_kind_of_whoever_says_how_long_it_takes() {
        let digest = format!("sha256:{}", "a".repeat(64));
        let blob = format!("/v2/a/b/blobs/{digest}");
        let none = HeaderMap::new();
        for (method, path, sends, kind) in [
            (Method::GET, "/v2/a/b/tags/list", false, Some(Kind::Request)),
            (Method::HEAD, &blob, false, Some(Kind::Request)),
            (Method::GET, &blob, false, Some(Kind::Download)),
            (
                Method::GET,
                "/_storage_proxy/a/https/s3/b",
                false,
                Some(Kind::Download),
            ),
            (
                Method::POST,
                "/v2/a/b/blobs/uploads/",
                false,
                Some(Kind::Request),
            ),
            (
                Method::POST,
                "/v2/a/b/blobs/uploads/",
                true,
                Some(Kind::Upload),
            ),
            (
                Method::PUT,
                "/v2/a/b/manifests/v1",
                true,
                Some(Kind::Upload),
            ),
            (Method::POST, "/v2/auth", true, Some(Kind::Upload)),
            (Method::GET, "/api/v1/user/", false, Some(Kind::Request)),
            (Method::GET, "/v2/", false, None),
            (Method::GET, "/health/endtoend", false, None),
            (Method::GET, "/health/locations", false, None),
            (Method::GET, "/_internal_ping", false, None),
        ] {
            let route = Route::parse(path).unwrap();
            assert_eq!(
                Kind::of(Some(&route), &method, &none, sends),
                kind,
                "{method} {path}"
            );
        }
        assert_eq!(Kind::of(None, &Method::GET, &none, true), None);
        let value = HeaderValue::from_static("Basic YTpi");
        let somebody = HeaderMap::from_iter([(AUTHORIZATION, value)]);
        for path in ["/v2/", "/health/instance"] {
            let route = Route::parse(path).unwrap();
            let kind = Kind::of(Some(&route), &Method::GET, &somebody, false);
            assert_eq!(kind, Some(Kind::Request), "{path}");
        }
    }

    #[test]
    fn places_go_to_those_who_wait_in_the_order_in_which_they_came() {
        let clock = ManualClock::at(Timestamp::UNIX_EPOCH);
        let places = Places::new(ConcurrencyLimits {
            requests: 1,
            ..ConcurrencyLimits::for_processors(1)
        });
        let enter = || Box::pin(places.enter(Kind::Request, 1, &clock));
        let held = enter().now_or_never().unwrap().unwrap();
        let (mut first, mut second, mut third) = (enter(), enter(), enter());
        assert!(first.as_mut().now_or_never().is_none());
        assert!(second.as_mut().now_or_never().is_none());
        // A place among those who wait is free again when its holder goes.
        assert_eq!(third.as_mut().now_or_never().unwrap().err(), Some(Crowded));
        drop(first);
        let mut third = enter();
        assert!(third.as_mut().now_or_never().is_none());
        drop(held);
        assert_eq!(enter().now_or_never().unwrap().err(), Some(Crowded));
        assert!(
            third.as_mut().now_or_never().is_none(),
            "second comes first"
        );
        let held = second.as_mut().now_or_never().unwrap().unwrap();
        drop(held);
        assert!(third.as_mut().now_or_never().unwrap().is_ok());
        assert_eq!(places.requests.taken() + places.requests.waiting(), 0);
    }

    #[tokio::test]
    async fn requests_that_never_pause_are_too_many_when_they_come_at_once() {
        let clock = ManualClock::at(Timestamp::UNIX_EPOCH);
        let places = Places::new(ConcurrencyLimits {
            requests: 2,
            ..ConcurrencyLimits::for_processors(1)
        });
        for (asking, come, refused) in [(2, 2, 0), (3, 6, 0), (3, 7, 1), (100, 100, 94)] {
            let answers = (0..come).map(|_| async {
                let place = places.enter(Kind::Request, asking, &clock).await;
                place.map(drop)
            });
            let answers = join_all(answers).await;
            let crowded = answers.iter().filter(|answer| answer.is_err()).count();
            assert_eq!(crowded, refused, "{come} of {asking}");
            assert_eq!(places.requests.taken() + places.requests.waiting(), 0);
        }
    }

    #[test]
    fn who_has_waited_for_a_second_is_refused() {
        let clock = ManualClock::at(Timestamp::UNIX_EPOCH);
        let places = Places::new(ConcurrencyLimits {
            uploads: 1,
            ..ConcurrencyLimits::for_processors(1)
        });
        let enter = || Box::pin(places.enter(Kind::Upload, 1, &clock));
        let held = enter().now_or_never().unwrap().unwrap();
        let mut late = enter();
        assert!(late.as_mut().now_or_never().is_none());
        clock.advance(PATIENCE);
        assert_eq!(late.as_mut().now_or_never().unwrap().err(), Some(Crowded));
        drop(held);
        assert!(enter().now_or_never().unwrap().is_ok());
    }
}
