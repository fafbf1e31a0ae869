//! Under which name and scheme clients reach the registry, and through what.

mod balancers;
mod tls;

use std::net::Ipv6Addr;
use std::path::PathBuf;

pub use balancers::Balancers;
pub use tls::{Tls, TlsVersion};

use crate::reader::{Keys, Remark};

/// The name under which clients reach the registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hosting {
    /// `SERVER_HOSTNAME`: the name, with a port unless it is the scheme's own, that clients use in every region: the load
    /// balancer's. It is the audience of tokens and part of the URLs in responses. Required; `None` only for a registry
    /// without a configuration, which goes by the address it listens on.
    pub server_hostname: Option<String>,
    /// `PREFERRED_URL_SCHEME`: the scheme of those URLs, `http` or `https` (default: `https` where there is an `ssl.key` or
    /// `EXTERNAL_TLS_TERMINATION`, else `http`).
    pub preferred_url_scheme: UrlScheme,
    /// The certificate that is served, where there is one.
    pub tls: Option<Tls>,
    /// What stands before the registry.
    pub balancers: Balancers,
    /// `FEATURE_LISTEN_IP_VERSION`: `IPv4`, `IPv6` or `dual-stack`, in any case: what the addresses that are listened on stand for, where they
    /// stand for all addresses or for this machine. Default (`None`): for what they say.
    pub ip_version: Option<IpVersion>,
    /// The directory of the configuration, in which `extra_ca_certs` may be; none without a configuration.
    pub directory: Option<PathBuf>,
    /// `TESTING`: kept as it is. It changes nothing here, unlike in Quay, where it defaults to true and turns off locks.
    pub testing: bool,
}

/// A scheme of URLs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UrlScheme {
    /// `http`
    Http,
    /// `https`
    Https,
}

/// A version of IP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IpVersion {
    /// `IPv4`
    V4,
    /// `IPv6`
    V6,
    /// `dual-stack`
    Both,
}

impl UrlScheme {
    /// As it stands in a URL.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

impl Hosting {
    pub(super) fn read(keys: &mut Keys) -> Self {
        // SETUP_COMPLETE: Quay refuses to start until it is true. Here a configuration is complete when it has no errors,
        // so that leaving the key out is fine; a false one says that somebody is still at work.
        if !keys.flag("SETUP_COMPLETE", true) {
            let value = keys.value("SETUP_COMPLETE");
            let remark = Remark::new(
                "this configuration says that it is unfinished",
                "true",
                "set it to true when the configuration is finished",
            );
            keys.refuse("SETUP_COMPLETE", value.as_ref(), remark);
        }
        let balancers = balancers::read(keys);
        let tls = tls::read(keys, balancers.tls_ends_before);
        let ip_version = ip_version(keys);
        if balancers.proxy_protocol && tls.is_none() {
            let value = keys.value("FEATURE_PROXY_PROTOCOL");
            let remark = Remark::new(
                "without effect, as in Quay: the PROXY protocol is spoken beside HTTPS only, and there is no ssl.key in use",
                "",
                "give the registry a certificate, or let the balancer send X-Forwarded-For",
            );
            keys.warn("FEATURE_PROXY_PROTOCOL", value.as_ref(), remark);
        }
        Self {
            server_hostname: server_hostname(keys),
            preferred_url_scheme: preferred_url_scheme(keys, &balancers, tls.as_ref()),
            tls,
            balancers,
            ip_version,
            directory: match keys.data_dir() {
                Some(_) => None,
                None => Some(keys.directory().to_owned()),
            },
            testing: keys.flag("TESTING", false),
        }
    }
}

fn preferred_url_scheme(keys: &mut Keys, balancers: &Balancers, tls: Option<&Tls>) -> UrlScheme {
    const KEY: &str = "PREFERRED_URL_SCHEME";
    let default = if tls.is_some() || balancers.tls_ends_before {
        UrlScheme::Https
    } else {
        UrlScheme::Http
    };
    let schemes = [("http", UrlScheme::Http), ("https", UrlScheme::Https)];
    let chosen = keys.choice(KEY, default, &schemes);
    if chosen == UrlScheme::Http
        && tls.is_some()
        && let Some(value) = keys.value(KEY)
    {
        let remark = Remark::new(
            "there is an ssl.key, so that whoever follows such a URL is redirected, and logins go unencrypted first",
            "",
            "set it to https",
        );
        keys.warn(KEY, Some(&value), remark);
    }
    chosen
}

/// Quay takes these in any case.
fn ip_version(keys: &mut Keys) -> Option<IpVersion> {
    const KEY: &str = "FEATURE_LISTEN_IP_VERSION";
    let text = keys.text(KEY)?;
    match text.to_ascii_lowercase().as_str() {
        "ipv4" => Some(IpVersion::V4),
        "ipv6" => Some(IpVersion::V6),
        "dual-stack" => Some(IpVersion::Both),
        _ => {
            let value = keys.value(KEY);
            let remark = Remark::new("unknown value", "IPv4, IPv6, dual-stack", "change it");
            keys.refuse(KEY, value.as_ref(), remark);
            None
        }
    }
}

fn server_hostname(keys: &mut Keys) -> Option<String> {
    const KEY: &str = "SERVER_HOSTNAME";
    const ALLOWED: &str =
        "a host name or address, with a port if needed, such as registry.example.org:8443";
    let Some(value) = keys.value(KEY) else {
        if keys.data_dir().is_none() {
            let action = "set it to the name that clients use in every region";
            keys.refuse(KEY, None, Remark::new("it is missing", ALLOWED, action));
        }
        return None;
    };
    let name = keys.text_of(KEY, &value)?;
    if is_host_and_port(&name) {
        return Some(name);
    }
    let action = match name.split_once("://") {
        Some(_) => "leave out the scheme; it goes into PREFERRED_URL_SCHEME",
        None if name.contains('/') => "leave out the path",
        None => "put the name that clients use in every region",
    };
    keys.refuse(
        KEY,
        Some(&value),
        Remark::new("not a host name", ALLOWED, action),
    );
    None
}

/// Whether `text` is a DNS name, an IPv4 address or a bracketed IPv6 address, and perhaps a port.
pub(super) fn is_host_and_port(text: &str) -> bool {
    let (host, port) = match text.rsplit_once(':') {
        // The last colon of an address in brackets is not a port's.
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (text, None),
    };
    let port_fits = port.is_none_or(|port| {
        port.bytes().all(|byte| byte.is_ascii_digit())
            && port.parse::<u16>().is_ok_and(|port| port > 0)
    });
    port_fits && is_host(host)
}

/// Whether `text` is a DNS name, an IPv4 address or an IPv6 address in brackets.
pub(super) fn is_host(text: &str) -> bool {
    let in_brackets = text
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    in_brackets.map_or_else(
        || is_dns_name(text),
        |address| address.parse::<Ipv6Addr>().is_ok(),
    )
}

/// RFC 1123 section 2.1, and the underscores that container networks have in names.
pub(super) fn is_dns_name(name: &str) -> bool {
    name.len() <= 253
        && name.split('.').all(|label| {
            (1..=63).contains(&label.len())
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_addresses_with_and_without_ports_are_hosts_and_urls_are_not() {
        for good in [
            "localhost",
            "registry.example.org",
            "Registry-1.example.org:8443",
            "10.0.0.1:80",
            "[::1]",
            "[2001:db8::1]:5000",
            "quay_registry:8080",
        ] {
            assert!(is_host_and_port(good), "{good}");
        }
        for bad in [
            "",
            "<georep.quayteam.org or any other name>",
            "https://registry.example.org",
            "registry.example.org/",
            "registry.example.org:",
            "registry.example.org:0",
            "registry.example.org:65536",
            "registry.example.org:+80",
            "-a.example.org",
            "a..b",
            "::1",
            "[::1",
            "[nonsense]:80",
            "é.example.org",
        ] {
            assert!(!is_host_and_port(bad), "{bad}");
        }
    }
}
