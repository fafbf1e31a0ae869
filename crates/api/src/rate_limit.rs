//! How many requests are taken from one address and with one account: counted before anything is looked up, in bounded memory.

use std::collections::{BTreeSet, HashMap};
use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chrono::TimeDelta;
use http::header::{AUTHORIZATION, HeaderMap};
use roadstead_auth::RequestedScope;
use roadstead_oci::RepositoryName;
use roadstead_runtime::Timestamp;

use crate::query::Query;
use crate::route::Route;

/// The most addresses, and the most accounts, that are remembered. Those that were away longest are forgotten first, and begin anew.
const KEYS_MAX: usize = 32_768;

/// How many requests are taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RateLimits {
    /// From one address; of IPv6 from one network of 64 bits, which is what one client has.
    pub address: Rate,
    /// With the credentials of one account or robot.
    pub account: Rate,
    /// Namespaces whose pushes and pulls are not counted, nor tokens for nothing else.
    pub exempt: BTreeSet<String>,
}

/// A rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Requests in a second in the long run, at least 1.
    pub per_second: u32,
    /// Requests at once after a rest, at least 1.
    pub burst: u32,
}

/// Counts requests.
#[derive(Debug)]
pub(crate) struct RateLimiter {
    limits: RateLimits,
    /// The registry's own name, which scopes may begin with.
    hostname: String,
    addresses: Mutex<Counters<IpAddr>>,
    accounts: Mutex<Counters<Arc<str>>>,
}

impl RateLimiter {
    pub(crate) fn new(limits: RateLimits, hostname: String) -> Self {
        Self {
            addresses: Mutex::new(Counters::new(limits.address, KEYS_MAX)),
            accounts: Mutex::new(Counters::new(limits.account, KEYS_MAX)),
            limits,
            hostname,
        }
    }

    /// Whether requests along this route are counted: probes of balancers are not, nor what concerns an exempt namespace only. A probe that
    /// says who it is makes work as every request does that signs somebody in.
    pub(crate) fn counts(&self, route: &Route, query: Option<&str>, headers: &HeaderMap) -> bool {
        match route {
            Route::Health(_) => headers.contains_key(AUTHORIZATION),
            Route::Locations | Route::InternalPing | Route::LegacyPing => false,
            Route::Token if !self.limits.exempt.is_empty() => !self.exempts_scopes(query),
            route => !self.exempts(route.repository()),
        }
    }

    /// Whether a token is asked for, and for nothing but exempt namespaces.
    fn exempts_scopes(&self, query: Option<&str>) -> bool {
        let Ok(query) = Query::parse(query) else {
            return false;
        };
        let Ok(parameters) = query.form_values("scope").collect::<Result<Vec<_>, _>>() else {
            return false;
        };
        let parameters = parameters.iter().map(String::as_str);
        let scopes = RequestedScope::parse_all(parameters, &self.hostname).unwrap_or_default();
        !scopes.is_empty()
            && scopes.iter().all(|scope| match scope {
                RequestedScope::Repository { name, .. } => self.exempts(Some(name)),
                RequestedScope::Catalog => false,
            })
    }

    fn exempts(&self, name: Option<&RepositoryName>) -> bool {
        name.and_then(RepositoryName::namespace)
            .is_some_and(|namespace| self.limits.exempt.contains(namespace))
    }

    /// Takes a request of this address, or says how long it should wait.
    pub(crate) fn take_from(&self, address: IpAddr, now: Timestamp) -> Result<(), Duration> {
        let mut counters = self.addresses.lock();
        let counters = counters.as_mut().unwrap_or_else(PoisonError::get_mut);
        counters.take(network_of(address), now)
    }

    /// Takes a request of this account, or says how long it should wait.
    pub(crate) fn take_of(&self, account: &str, now: Timestamp) -> Result<(), Duration> {
        let mut counters = self.accounts.lock();
        let counters = counters.as_mut().unwrap_or_else(PoisonError::get_mut);
        counters.take(account.into(), now)
    }
}

fn network_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
        address @ IpAddr::V4(_) => address,
    }
}

/// For each key when the requests so far would all have come at the even rate.
#[derive(Debug)]
struct Counters<K> {
    rate: Rate,
    keys_max: usize,
    /// Keys that came since the others were set aside.
    young: HashMap<K, Timestamp>,
    old: HashMap<K, Timestamp>,
}

impl<K: Eq + Hash> Counters<K> {
    fn new(rate: Rate, keys_max: usize) -> Self {
        Self {
            rate,
            keys_max,
            young: HashMap::new(),
            old: HashMap::new(),
        }
    }

    fn take(&mut self, key: K, now: Timestamp) -> Result<(), Duration> {
        let aside = self.old.remove(&key);
        let due = self.young.get(&key).copied().or(aside);
        let taken = take(due, now, self.rate);
        let due = match taken {
            Ok(due) => Some(due),
            Err(_) => due,
        };
        if let Some(due) = due {
            if self.young.len() >= self.keys_max / 2 && !self.young.contains_key(&key) {
                self.old = std::mem::take(&mut self.young);
            }
            self.young.insert(key, due);
        }
        taken.map(drop)
    }
}

/// Takes a request, or says how long it should wait: the generic cell rate algorithm (ITU-T I.371). `due` is when the requests so far would
/// all have come at the even rate; what is returned is the same with this one.
fn take(due: Option<Timestamp>, now: Timestamp, rate: Rate) -> Result<Timestamp, Duration> {
    let interval = TimeDelta::nanoseconds(1_000_000_000 / i64::from(rate.per_second.max(1)));
    let ahead_max = i32::try_from(rate.burst.saturating_sub(1))
        .ok()
        .and_then(|requests| interval.checked_mul(requests))
        .unwrap_or(TimeDelta::MAX);
    // A clock that was put back must not keep anybody out.
    let due = due
        .filter(|due| due.signed_duration_since(now) - interval <= ahead_max)
        .map_or(now, |due| due.max(now));
    let ahead = due.signed_duration_since(now);
    if ahead > ahead_max {
        return Err((ahead - ahead_max).to_std().unwrap_or_default());
    }
    Ok(due + interval)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;
    use proptest::prelude::*;

    const HOST: &str = "registry.example";

    const RATE: Rate = Rate {
        per_second: 10,
        burst: 5,
    };

    fn at(milliseconds: i64) -> Timestamp {
        Timestamp::UNIX_EPOCH + TimeDelta::milliseconds(milliseconds)
    }

    #[test]
    fn after_a_burst_requests_are_taken_at_the_rate_and_refused_with_the_time_to_wait() {
        let mut counters = Counters::new(RATE, 10);
        for _ in 0..5 {
            assert_eq!(counters.take(1, at(0)), Ok(()));
        }
        assert_eq!(counters.take(1, at(0)), Err(Duration::from_millis(100)));
        assert_eq!(counters.take(1, at(40)), Err(Duration::from_millis(60)));
        assert_eq!(counters.take(2, at(40)), Ok(()), "another key");
        assert_eq!(counters.take(1, at(100)), Ok(()));
        assert!(counters.take(1, at(100)).is_err());
        // After a rest the whole burst is there again.
        for _ in 0..5 {
            assert_eq!(counters.take(1, at(10_000)), Ok(()));
        }
        assert!(counters.take(1, at(10_000)).is_err());
        // A clock that was put back by an hour.
        assert_eq!(counters.take(1, at(10_000 - 3_600_000)), Ok(()));
    }

    #[test]
    fn no_more_keys_are_kept_than_are_allowed_and_the_busy_ones_stay() {
        let mut counters = Counters::new(RATE, 10);
        let now = at(0);
        for _ in 0..5 {
            counters.take(0, now).unwrap();
        }
        for key in 1..1000 {
            assert!(counters.take(0, now).is_err(), "{key}");
            counters.take(key, now).unwrap();
            assert!(counters.young.len() + counters.old.len() <= 10);
        }
    }

    #[test]
    fn a_client_of_ipv6_is_its_network() {
        let limits = RateLimits {
            address: Rate {
                per_second: 1,
                burst: 1,
            },
            account: RATE,
            exempt: BTreeSet::new(),
        };
        let limiter = RateLimiter::new(limits, HOST.to_owned());
        let take = |address: &str| limiter.take_from(address.parse().unwrap(), at(0)).is_ok();
        assert!(take("2001:db8::1") && !take("2001:db8::ffff:2"));
        assert!(take("2001:db8:0:1::1"));
        assert!(take("192.0.2.1") && take("192.0.2.2") && !take("::ffff:192.0.2.1"));
    }

    #[test]
    fn probes_and_exempt_namespaces_are_not_counted() {
        let limits = RateLimits {
            address: RATE,
            account: RATE,
            exempt: BTreeSet::from(["ci".to_owned()]),
        };
        let limiter = RateLimiter::new(limits, HOST.to_owned());
        for (path, query, counted) in [
            ("/health/instance", None, false),
            ("/_internal_ping", None, false),
            ("/v2/", None, true),
            ("/v2/ci/app/tags/list", None, false),
            ("/v2/ci2/app/tags/list", None, true),
            ("/v2/team/ci/tags/list", None, true),
            ("/v2/auth", None, true),
            (
                "/v2/auth",
                Some("scope=repository%3Aci%2Fapp%3Apull"),
                false,
            ),
            (
                "/v2/auth",
                Some("scope=repository:registry.example/ci/app:pull"),
                false,
            ),
            (
                "/v2/auth",
                Some("scope=repository:ci/app:pull+repository:ci/base:pull"),
                false,
            ),
            // What else is asked for is not for nothing because of one that is.
            (
                "/v2/auth",
                Some("scope=repository:ci/app:pull+repository:team/app:pull"),
                true,
            ),
            (
                "/v2/auth",
                Some("scope=repository:ci/app:pull&scope=registry:catalog:*"),
                true,
            ),
            (
                "/v2/auth",
                Some("scope=repository:ci/app:pull&scope=nonsense"),
                true,
            ),
            ("/v2/auth", Some("scope="), true),
            ("/v2/auth", Some("scope=repository:team/ci:pull"), true),
            ("/v2/auth", Some("scope=%zz"), true),
        ] {
            let route = Route::parse(path).unwrap();
            let none = HeaderMap::new();
            assert_eq!(
                limiter.counts(&route, query, &none),
                counted,
                "{path} {query:?}"
            );
        }
    }

    #[test]
    fn a_probe_that_says_who_it_is_is_counted() {
        let limits = RateLimits {
            address: RATE,
            account: RATE,
            exempt: BTreeSet::new(),
        };
        let limiter = RateLimiter::new(limits, HOST.to_owned());
        let value = HeaderValue::from_static("Basic YTpi");
        let headers = HeaderMap::from_iter([(AUTHORIZATION, value)]);
        for (path, counted) in [
            ("/health/instance", true),
            ("/health/endtoend", true),
            ("/_internal_ping", false),
        ] {
            let route = Route::parse(path).unwrap();
            assert_eq!(limiter.counts(&route, None, &headers), counted, "{path}");
        }
    }

    proptest! {
        #[test]
        fn in_no_stretch_of_time_are_more_taken_than_the_burst_and_the_rate(
            pauses in proptest::collection::vec(0..400_i64, 1..60),
        ) {
            let mut counters = Counters::new(RATE, 10);
            let (mut now, mut taken) = (0, 0_i64);
            for pause in pauses {
                now += pause;
                taken += i64::from(counters.take((), at(now)).is_ok());
                prop_assert!(taken <= 5 + now / 100, "{taken} after {now} ms");
            }
        }
    }
}
