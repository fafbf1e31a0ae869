//! Who the client is behind balancers that speak HTTP: `X-Forwarded-For` and `X-Forwarded-Proto`, or `Forwarded` (RFC 7239).

use std::net::{IpAddr, SocketAddr};

use hyper::HeaderMap;

use crate::networks::Networks;
use crate::serve::Peer;

/// What balancers are believed.
#[derive(Clone, Debug)]
pub struct Forwarding {
    /// Whose headers count. A header of anybody else says nothing.
    pub trusted: Networks,
    /// The most balancers in a row that are believed; 0: none.
    pub hops_max: usize,
    /// Whether clients have used TLS where nothing says otherwise, because it ends before this process.
    pub tls_before: bool,
}

/// Who sent a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Client {
    /// The address, of IPv4 where it is one.
    pub address: IpAddr,
    /// Whether the client speaks TLS, to us or to a balancer.
    pub https: bool,
}

impl Forwarding {
    /// Nobody is believed.
    pub fn none() -> Self {
        Self {
            trusted: Networks::of(|_| false),
            hops_max: 0,
            tls_before: false,
        }
    }

    /// Who sent a request with these headers over a connection of `peer`.
    ///
    /// The chain of addresses is gone back from its end, as long as the address so far is a trusted one: what stands further to the left
    /// was said by somebody who is not believed. An entry that is no address ends it, too. Where there is `X-Forwarded-For`,
    /// `Forwarded` does not count: a balancer has to set one and to take the other away, or to set the first.
    pub fn client(&self, peer: Peer, headers: &HeaderMap) -> Client {
        let direct = Client {
            address: peer.address.to_canonical(),
            https: peer.tls || self.tls_before,
        };
        if self.hops_max == 0 || !self.trusted.contains(direct.address) {
            return direct;
        }
        let plain = lines(headers, "x-forwarded-for");
        let (addresses, schemes): (Vec<_>, Vec<_>) = if plain.is_empty() {
            let elements = lines(headers, "forwarded");
            elements
                .iter()
                .map(|element| {
                    (
                        parameter(element, "for").and_then(address_of),
                        parameter(element, "proto").and_then(is_https),
                    )
                })
                .unzip()
        } else {
            let schemes = lines(headers, "x-forwarded-proto");
            (
                plain.iter().map(|entry| address_of(entry)).collect(),
                schemes.iter().map(|scheme| is_https(scheme)).collect(),
            )
        };
        let schemes = if addresses.is_empty() {
            let schemes = lines(headers, "x-forwarded-proto");
            schemes.iter().map(|scheme| is_https(scheme)).collect()
        } else {
            schemes
        };

        let mut client = direct;
        let mut hops = 0;
        for address in addresses.into_iter().rev().take(self.hops_max) {
            let Some(address) = address.filter(|_| self.trusted.contains(client.address)) else {
                break;
            };
            client.address = address;
            hops += 1;
        }
        // One scheme for each balancer, or that of the first client alone.
        let scheme = schemes.len().saturating_sub(hops.max(1));
        if let Some(Some(https)) = schemes.get(scheme) {
            client.https = *https;
        }
        client
    }
}

/// The entries of a list that may be spread over several headers, in order.
fn lines<'a>(headers: &'a HeaderMap, name: &str) -> Vec<&'a str> {
    headers
        .get_all(name)
        .iter()
        // What is not text is an entry that means nothing.
        .flat_map(|value| value.to_str().unwrap_or("?").split(','))
        .map(str::trim)
        .collect()
}

/// The parameter of an element of `Forwarded`, without its quotes.
fn parameter<'a>(element: &'a str, name: &str) -> Option<&'a str> {
    element.split(';').find_map(|pair| {
        let (key, value) = pair.split_once('=')?;
        let value = value.trim();
        key.trim()
            .eq_ignore_ascii_case(name)
            .then(|| value.trim_matches('"'))
    })
}

/// An address, perhaps with a port behind it.
fn address_of(entry: &str) -> Option<IpAddr> {
    let without_brackets = || {
        entry
            .strip_prefix('[')
            .and_then(|entry| entry.strip_suffix(']'))
    };
    entry
        .parse::<IpAddr>()
        .or_else(|_| entry.parse::<SocketAddr>().map(|address| address.ip()))
        .ok()
        .or_else(|| without_brackets()?.parse::<IpAddr>().ok())
        .map(|address| address.to_canonical())
}

fn is_https(scheme: &str) -> Option<bool> {
    if scheme.eq_ignore_ascii_case("https") {
        Some(true)
    } else if scheme.eq_ignore_ascii_case("http") {
        Some(false)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::header::{HeaderName, HeaderValue};
    use proptest::prelude::*;

    /// `10.0.0.0/8` and `fd00::/8` are balancers.
    fn rules(hops_max: usize) -> Forwarding {
        let trusted = Networks::of(|address| match address {
            IpAddr::V4(address) => address.octets()[0] == 10,
            IpAddr::V6(address) => address.octets()[0] == 0xfd,
        });
        Forwarding {
            trusted,
            hops_max,
            tls_before: false,
        }
    }

    fn headers(entries: &[(&'static str, &str)]) -> HeaderMap {
        entries
            .iter()
            .map(|(name, value)| {
                let value = HeaderValue::from_bytes(value.as_bytes()).unwrap();
                (HeaderName::from_static(name), value)
            })
            .fold(HeaderMap::new(), |mut headers, (name, value)| {
                headers.append(name, value);
                headers
            })
    }

    fn peer(address: &str) -> Peer {
        Peer {
            address: address.parse().unwrap(),
            tls: false,
        }
    }

    #[test]
    fn the_client_is_the_first_from_behind_whom_nobody_trusted_named() {
        for (from, entries, expected) in [
            ("10.0.0.1", &[][..], "10.0.0.1"),
            ("10.0.0.1", &["192.0.2.7"], "192.0.2.7"),
            ("::ffff:10.0.0.1", &["192.0.2.7"], "192.0.2.7"),
            ("fd00::1", &["2001:db8::7"], "2001:db8::7"),
            // What the client itself sent stands to the left.
            ("10.0.0.1", &["198.51.100.9, 192.0.2.7"], "192.0.2.7"),
            ("10.0.0.1", &["10.9.9.9", "192.0.2.7"], "192.0.2.7"),
            (
                "10.0.0.1",
                &["1.1.1.1, 192.0.2.7, 10.0.0.2,10.0.0.3"],
                "192.0.2.7",
            ),
            ("10.0.0.1", &["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
            // Ports and brackets.
            ("10.0.0.1", &["192.0.2.7:50000"], "192.0.2.7"),
            ("10.0.0.1", &["[2001:db8::7]:50000"], "2001:db8::7"),
            ("10.0.0.1", &["[2001:db8::7]"], "2001:db8::7"),
            ("10.0.0.1", &["::ffff:192.0.2.7"], "192.0.2.7"),
            // What means nothing ends the chain where it is still known.
            ("10.0.0.1", &["192.0.2.7, unknown"], "10.0.0.1"),
            ("10.0.0.1", &["192.0.2.7, unknown, 10.0.0.2"], "10.0.0.2"),
            ("10.0.0.1", &[""], "10.0.0.1"),
            ("10.0.0.1", &["192.0.2.7,"], "10.0.0.1"),
            ("10.0.0.1", &["example.org"], "10.0.0.1"),
            ("10.0.0.1", &["192.0.2.7é"], "10.0.0.1"),
            // A stranger is who it is.
            ("192.0.2.1", &["10.0.0.2"], "192.0.2.1"),
            ("192.0.2.1", &["198.51.100.9, 10.0.0.2"], "192.0.2.1"),
            ("2001:db8::1", &["10.0.0.2"], "2001:db8::1"),
        ] {
            let entries: Vec<_> = entries
                .iter()
                .map(|entry| ("x-forwarded-for", *entry))
                .collect();
            let client = rules(9).client(peer(from), &headers(&entries));
            assert_eq!(
                client.address.to_string(),
                expected,
                "{entries:?} from {from}"
            );
        }
    }

    #[test]
    fn no_more_balancers_are_believed_than_are_allowed() {
        let chain = headers(&[("x-forwarded-for", "192.0.2.7, 10.0.0.3, 10.0.0.2")]);
        for (hops_max, expected) in [
            (0, "10.0.0.1"),
            (1, "10.0.0.2"),
            (2, "10.0.0.3"),
            (3, "192.0.2.7"),
            (usize::MAX, "192.0.2.7"),
        ] {
            let client = rules(hops_max).client(peer("10.0.0.1"), &chain);
            assert_eq!(client.address.to_string(), expected, "{hops_max}");
        }
    }

    #[test]
    fn the_scheme_is_what_a_trusted_balancer_says_and_else_that_of_the_connection() {
        let (plain, tls) = (
            peer("10.0.0.1"),
            Peer {
                tls: true,
                ..peer("10.0.0.1")
            },
        );
        for (from, entries, https) in [
            (plain, &[][..], false),
            (tls, &[], true),
            (plain, &[("x-forwarded-proto", "https")], true),
            (plain, &[("x-forwarded-proto", "HTTPS")], true),
            (tls, &[("x-forwarded-proto", "http")], false),
            (plain, &[("x-forwarded-proto", "gopher")], false),
            (plain, &[("x-forwarded-proto", "")], false),
            (peer("192.0.2.1"), &[("x-forwarded-proto", "https")], false),
            // One for each of two balancers; the client spoke to the first.
            (
                plain,
                &[
                    ("x-forwarded-for", "192.0.2.7, 10.0.0.2"),
                    ("x-forwarded-proto", "https, http"),
                ],
                true,
            ),
            // The client's own invention is the leftmost.
            (
                plain,
                &[
                    ("x-forwarded-for", "192.0.2.7"),
                    ("x-forwarded-proto", "https, http"),
                ],
                false,
            ),
            (
                plain,
                &[("forwarded", "for=192.0.2.7;proto=https;by=10.0.0.1")],
                true,
            ),
        ] {
            let client = rules(9).client(from, &headers(entries));
            assert_eq!(client.https, https, "{entries:?} {from:?}");
        }
        let before = Forwarding {
            tls_before: true,
            ..rules(9)
        };
        assert!(before.client(peer("192.0.2.1"), &headers(&[])).https);
        let forged = headers(&[("x-forwarded-proto", "http")]);
        assert!(before.client(peer("192.0.2.1"), &forged).https);
        assert!(!before.client(plain, &forged).https);
    }

    #[test]
    fn the_standard_header_counts_where_the_usual_one_is_missing() {
        for (entries, expected) in [
            (&[("forwarded", "for=192.0.2.7")][..], "192.0.2.7"),
            (
                &[("forwarded", "For=\"[2001:db8::7]:4711\"; proto=http")],
                "2001:db8::7",
            ),
            (&[("forwarded", "for=192.0.2.7, for=10.0.0.2")], "192.0.2.7"),
            (
                &[
                    ("forwarded", "for=192.0.2.7"),
                    ("forwarded", "for=10.0.0.2"),
                ],
                "192.0.2.7",
            ),
            (&[("forwarded", "for=_hidden")], "10.0.0.1"),
            (&[("forwarded", "for=unknown")], "10.0.0.1"),
            (&[("forwarded", "proto=https")], "10.0.0.1"),
            (&[("forwarded", ";;=,\"")], "10.0.0.1"),
            (
                &[
                    ("forwarded", "for=198.51.100.9"),
                    ("x-forwarded-for", "192.0.2.7"),
                ],
                "192.0.2.7",
            ),
        ] {
            let client = rules(9).client(peer("10.0.0.1"), &headers(entries));
            assert_eq!(client.address.to_string(), expected, "{entries:?}");
        }
    }

    proptest! {
        #[test]
        fn nothing_that_a_stranger_sends_changes_who_it_is(
            chain in "[0-9a-f.:, \\[\\]\"=;a-z]{0,80}",
            name in 0..3_usize,
        ) {
            let name = ["x-forwarded-for", "forwarded", "x-forwarded-proto"][name];
            let headers = headers(&[(name, &chain)]);
            let stranger = rules(9).client(peer("192.0.2.1"), &headers);
            prop_assert_eq!(stranger.address.to_string(), "192.0.2.1");
            prop_assert!(!stranger.https);
            // And a balancer may send what it likes.
            rules(9).client(peer("10.0.0.1"), &headers);
        }
    }
}
