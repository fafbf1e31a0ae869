//! Addresses: which may be sent to, and how much of one is shown.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use reqwest::Url;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use roadstead_secrets::Secret;

/// The longest address.
const BYTES_MAX: usize = 2_048;

/// An address that webhooks may be sent to, as far as that can be seen without looking its host up. Only its scheme, host and port are ever shown:
/// the rest may be a secret.
#[derive(Clone)]
pub(crate) struct Address(Url);

/// Why something is no address of a webhook. Shows nothing of it but the host.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// It cannot be read.
    #[error("the address is no URL: write http:// or https://, a host, and a path")]
    NoUrl,
    /// It is too long.
    #[error("the address is too long: at most {BYTES_MAX} bytes are allowed")]
    TooLong,
    /// Another scheme.
    #[error("the address begins with `{scheme}:`; only http and https can be sent to")]
    Scheme {
        /// The scheme.
        scheme: String,
    },
    /// A host that nothing may be sent to.
    #[error(
        "nothing is sent to {host}: this is where machines are told their credentials, or no address of one machine"
    )]
    Forbidden {
        /// The host.
        host: String,
    },
}

impl Address {
    pub(crate) fn parse(text: &str) -> Result<Self, AddressError> {
        if text.len() > BYTES_MAX {
            return Err(AddressError::TooLong);
        }
        // What the URL standard strips silently was hardly meant.
        if text.bytes().any(|byte| byte <= b' ' || byte == 0x7f) {
            return Err(AddressError::NoUrl);
        }
        let url = Url::parse(text).map_err(|_| AddressError::NoUrl)?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(AddressError::Scheme {
                scheme: url.scheme().chars().take(20).collect(),
            });
        }
        let host = url.host_str().ok_or(AddressError::NoUrl)?;
        let literal = host.trim_matches(['[', ']']).parse::<IpAddr>();
        let name = host.trim_end_matches('.');
        if literal.is_ok_and(is_forbidden) || name == "metadata.google.internal" {
            return Err(AddressError::Forbidden {
                host: host.to_owned(),
            });
        }
        Ok(Self(url))
    }

    pub(crate) fn url(&self) -> Url {
        self.0.clone()
    }

    /// The whole address.
    pub(crate) fn expose(&self) -> Secret {
        Secret::new(self.0.as_str())
    }

    /// Whether it holds a name and a password.
    pub(crate) fn has_credentials(&self) -> bool {
        !self.0.username().is_empty() || self.0.password().is_some()
    }
}

impl fmt::Display for Address {
    /// Its scheme, host and port.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "{}://{}",
            self.0.scheme(),
            self.0.host_str().unwrap_or_default()
        )?;
        match self.0.port() {
            Some(port) => write!(formatter, ":{port}"),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Address({self})")
    }
}

/// Whether nothing may be sent there: link-local, which includes where clouds hand credentials out, their other such addresses, and what is no
/// address of one machine. Everything else is the choice of whoever may configure webhooks.
pub(crate) fn is_forbidden(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_forbidden_v4(address),
        IpAddr::V6(address) => is_forbidden_v6(address),
    }
}

fn is_forbidden_v4(address: Ipv4Addr) -> bool {
    const ALIBABA: Ipv4Addr = Ipv4Addr::new(100, 100, 100, 200);
    const ORACLE: Ipv4Addr = Ipv4Addr::new(192, 0, 0, 192);
    const AZURE: Ipv4Addr = Ipv4Addr::new(168, 63, 129, 16);
    address.is_link_local()
        || address.is_unspecified()
        || address.is_multicast()
        || address.is_broadcast()
        || [ALIBABA, ORACLE, AZURE].contains(&address)
}

fn is_forbidden_v6(address: Ipv6Addr) -> bool {
    const AMAZON: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254);
    const GOOGLE: Ipv6Addr = Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254);
    let segments = address.segments();
    // Written as IPv6, or translated by NAT64 and 6to4.
    let [.., high, low] = segments;
    let embedded = match segments {
        [0, 0, 0, 0, 0, 0 | 0xffff, ..] | [0x64, 0xff9b, ..] => Some((high, low)),
        [0x2002, high, low, ..] => Some((high, low)),
        _ => None,
    };
    let of_v4 = embedded.is_some_and(|(high, low)| {
        let [a, b] = high.to_be_bytes();
        let [c, d] = low.to_be_bytes();
        is_forbidden_v4(Ipv4Addr::new(a, b, c, d))
    });
    // `::1` looks like an embedded address of the network 0.
    (of_v4 && !address.is_loopback())
        || address.is_unicast_link_local()
        || address.is_unspecified()
        || address.is_multicast()
        || [AMAZON, GOOGLE].contains(&address)
}

/// Looks names up as the system does, and forgets addresses that nothing may be sent to: a name may come to point anywhere.
#[derive(Debug)]
pub(crate) struct Lookup;

#[derive(Debug, thiserror::Error)]
#[error("{host} is at an address that nothing is sent to")]
struct NoAddress {
    host: String,
}

impl Resolve for Lookup {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let host = name.as_str().to_owned();
            let found = tokio::net::lookup_host((host.as_str(), 0)).await?;
            let allowed: Vec<_> = found
                .filter(|address| !is_forbidden(address.ip()))
                .collect();
            if allowed.is_empty() {
                return Err(NoAddress { host }.into());
            }
            let allowed: Addrs = Box::new(allowed.into_iter());
            Ok(allowed)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_shown_without_what_may_be_secret() {
        for (text, shown) in [
            (
                "https://hooks.example/services/T0/B0/s3cret",
                "https://hooks.example",
            ),
            (
                "http://user:s3cret@10.0.0.7:8080/?token=s3cret#s3cret",
                "http://10.0.0.7:8080",
            ),
            ("https://[fd12::1]:8443/", "https://[fd12::1]:8443"),
        ] {
            let address = Address::parse(text).unwrap();
            assert_eq!(address.to_string(), shown);
            assert!(!format!("{address:?}").contains("s3cret"));
            assert_eq!(address.has_credentials(), text.contains('@'));
        }
    }

    #[test]
    fn what_is_no_address_of_a_receiver_is_refused() {
        for text in [
            "",
            "hooks.example",
            "/relative",
            "https://",
            "http://exa mple/",
            "http://example/\nHost: other",
            "ftp://example/",
            "file:///etc/passwd",
            "javascript:alert(1)",
            "unix:/run/socket",
            "http://[::1",
            "http://example:99999/",
        ] {
            let error = Address::parse(text).unwrap_err();
            assert!(
                matches!(error, AddressError::NoUrl | AddressError::Scheme { .. }),
                "{text}: {error}"
            );
        }
        let long = format!("http://example/{}", "a".repeat(BYTES_MAX));
        assert_eq!(Address::parse(&long).unwrap_err(), AddressError::TooLong);
    }

    #[test]
    fn nothing_is_sent_to_where_clouds_hand_out_credentials_however_it_is_written() {
        for text in [
            "http://169.254.169.254/latest/meta-data/",
            "http://169.254.1.1/",
            "http://2852039166/",
            "http://0xa9.0xfe.0xa9.0xfe/",
            "http://0251.0376.0251.0376/",
            "http://user@169.254.169.254:80/",
            "http://[::ffff:169.254.169.254]/",
            "http://[::169.254.169.254]/",
            "http://[64:ff9b::169.254.169.254]/",
            "http://[2002:a9fe:a9fe::1]/",
            "http://[fe80::1]/",
            "http://[fd00:ec2::254]/",
            "http://metadata.google.internal/",
            "http://METADATA.google.internal./",
            "http://0.0.0.0/",
            "http://[::]/",
            "http://255.255.255.255/",
            "http://224.0.0.1/",
            "http://[ff02::1]/",
            "http://100.100.100.200/",
            "http://168.63.129.16/",
        ] {
            assert!(
                matches!(Address::parse(text), Err(AddressError::Forbidden { .. })),
                "{text}"
            );
        }
        for text in [
            "http://127.0.0.1:9/",
            "http://[::1]/",
            "http://10.1.2.3/",
            "http://[2002:a00:1::1]/",
            "https://hooks.example/",
        ] {
            assert!(Address::parse(text).is_ok(), "{text}");
        }
    }

    #[tokio::test]
    async fn a_name_that_points_to_a_forbidden_address_is_not_found() {
        let found = Lookup.resolve("127.0.0.1".parse().unwrap()).await.unwrap();
        assert_eq!(found.count(), 1);
        // As a resolver would answer for a name.
        for address in ["169.254.169.254", "fe80::1", "0.0.0.0"] {
            let answer = Lookup.resolve(address.parse().unwrap()).await;
            let error = answer.err().expect("it is refused").to_string();
            assert!(error.contains("nothing is sent to"), "{error}");
        }
    }
}
