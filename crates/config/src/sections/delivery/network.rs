//! Networks of addresses, in the notation of RFC 4632 section 3.1 and RFC 4291 section 2.3.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// The length of what stands before an IPv4 address in IPv6, `::ffff:0:0/96`, in bits.
const MAPPED_BITS: u8 = 96;

/// A network: all addresses that begin with the same bits.
///
/// Addresses and networks of IPv4 that are written in IPv6 (`::ffff:192.0.2.1`) count as what they are, IPv4. No network holds addresses of
/// the other family: `::/0` holds no IPv4 address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Network {
    address: IpAddr,
    prefix: u8,
}

/// Why a text is no network, as the part of a sentence behind the text, and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotANetwork {
    /// What is the matter.
    pub problem: String,
    /// What to do.
    pub action: String,
}

impl fmt::Display for NotANetwork {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}; {}", self.problem, self.action)
    }
}

impl std::error::Error for NotANetwork {}

impl Network {
    /// The first address.
    pub const fn address(&self) -> IpAddr {
        self.address
    }

    /// How many bits all its addresses have in common: 0 to 32, or to 128.
    pub const fn prefix(&self) -> u8 {
        self.prefix
    }

    /// Whether `address` belongs to it.
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.address.is_ipv4() == address.is_ipv4()
            && begin_of(address, self.prefix) == self.address
    }
}

impl FromStr for Network {
    type Err = NotANetwork;

    /// Reads `ADDRESS/PREFIX`, or an address alone, which is a network of one. Bits behind the prefix have to be zero.
    fn from_str(text: &str) -> Result<Self, NotANetwork> {
        let refuse = |problem: &str, action: String| NotANetwork {
            problem: problem.to_owned(),
            action,
        };
        let (written, length) = match text.split_once('/') {
            None => (text, None),
            Some((address, length)) => (address, Some(length)),
        };
        let address: IpAddr = written
            .parse()
            .map_err(|_| refuse("is not a network", "correct it".to_owned()))?;
        let bits_max = bits(address);
        let prefix = match length {
            None => bits_max,
            Some(length) => length
                .parse()
                .ok()
                .filter(|bits| *bits <= bits_max)
                .filter(|_| length.bytes().all(|byte| byte.is_ascii_digit()))
                .ok_or_else(|| {
                    let action = format!("give a length from 0 to {bits_max}");
                    refuse("has no such length of a prefix", action)
                })?,
        };
        let (address, prefix) = match (address.to_canonical(), prefix.checked_sub(MAPPED_BITS)) {
            (canonical @ IpAddr::V4(_), Some(prefix)) if address.is_ipv6() => (canonical, prefix),
            _ => (address, prefix),
        };
        let begin = begin_of(address, prefix);
        if begin != address {
            let action = format!("write {begin}/{prefix}, or {address} for this one address");
            return Err(refuse("is an address inside a network", action));
        }
        Ok(Self { address, prefix })
    }
}

impl fmt::Display for Network {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.address, self.prefix)
    }
}

const fn bits(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(_) => 32,
        IpAddr::V6(_) => 128,
    }
}

/// `address` with zeros behind its first `prefix` bits.
fn begin_of(address: IpAddr, prefix: u8) -> IpAddr {
    let behind = u32::from(bits(address).saturating_sub(prefix));
    match address {
        IpAddr::V4(address) => {
            let mask = u32::MAX.checked_shl(behind).unwrap_or(0);
            Ipv4Addr::from_bits(address.to_bits() & mask).into()
        }
        IpAddr::V6(address) => {
            let mask = u128::MAX.checked_shl(behind).unwrap_or(0);
            Ipv6Addr::from_bits(address.to_bits() & mask).into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn network(text: &str) -> Network {
        text.parse()
            .unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn networks_hold_the_addresses_that_begin_alike_and_no_others() {
        for (written, inside, outside) in [
            (
                "10.0.0.0/8",
                &["10.0.0.0", "10.255.255.255", "::ffff:10.1.2.3"][..],
                &["11.0.0.0", "9.255.255.255", "::10.1.2.3", "2001:db8::1"][..],
            ),
            ("192.0.2.7", &["192.0.2.7"], &["192.0.2.6", "192.0.2.8"]),
            (
                "0.0.0.0/0",
                &["255.255.255.255", "::ffff:1.2.3.4"],
                &["::", "::1"],
            ),
            (
                "2001:db8::/33",
                &["2001:db8::1", "2001:db8:7fff::"],
                &["2001:db8:8000::", "2001:db9::", "32.1.13.184"],
            ),
            (
                "::/0",
                &["::1", "ffff::"],
                &["127.0.0.1", "::ffff:127.0.0.1"],
            ),
            ("::1", &["::1"], &["::2", "0.0.0.1"]),
            (
                "::ffff:10.0.0.0/104",
                &["10.9.8.7", "::ffff:10.9.8.7"],
                &["11.0.0.0"],
            ),
        ] {
            for address in inside {
                let address = address.parse().expect("an address");
                assert!(network(written).contains(address), "{written} {address}");
            }
            for address in outside {
                let address = address.parse().expect("an address");
                assert!(!network(written).contains(address), "{written} {address}");
            }
        }
        assert_eq!(network("::ffff:10.0.0.0/104"), network("10.0.0.0/8"));
        assert_eq!(network("10.0.0.0/8").to_string(), "10.0.0.0/8");
        assert_eq!(network("fe80::1").prefix(), 128);
    }

    #[test]
    fn what_is_no_network_is_told_with_what_to_write() {
        for (text, message) in [
            ("", "is not a network; correct it"),
            ("10.0.0/8", "is not a network"),
            ("example.org", "is not a network"),
            ("10.0.0.0/33", "give a length from 0 to 32"),
            ("10.0.0.0/", "has no such length of a prefix"),
            ("10.0.0.0/+8", "has no such length of a prefix"),
            ("10.0.0.0/255.0.0.0", "has no such length of a prefix"),
            ("2001:db8::/129", "give a length from 0 to 128"),
            (
                "10.1.2.3/8",
                "is an address inside a network; write 10.0.0.0/8, or 10.1.2.3 for this one address",
            ),
            ("2001:db8::1/32", "write 2001:db8::/32"),
            ("::ffff:10.0.0.0/8", "is an address inside a network"),
        ] {
            let error = text.parse::<Network>().expect_err(text).to_string();
            assert!(error.contains(message), "{text}: {error}");
        }
    }

    proptest! {
        #[test]
        fn texts_of_any_kind_are_networks_or_told(text in "[0-9a-f:./ ]{0,40}|\\PC{0,20}") {
            if let Ok(network) = text.parse::<Network>() {
                prop_assert!(network.contains(network.address()));
                prop_assert_eq!(network.to_string().parse(), Ok(network));
            }
        }
    }
}
