//! Where a store answers: a URL without credentials, query and fragment.

use std::fmt;

use super::parameters::Parameters;
use crate::reader::Remark;
use crate::sections::hosting::{UrlScheme, is_host};

/// Where a store answers. `Display` is the URL, without a slash at the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// The scheme.
    pub scheme: UrlScheme,
    /// Name or address, in small letters; an IPv6 address in brackets.
    pub host: String,
    /// The port; without one in the configuration that of the scheme, 80 or 443.
    pub port: u16,
    /// What every path begins with: empty, or `/` and more without a slash at the end.
    pub path: String,
}

/// Why a text is no URL of a store, and what to do. Never repeats the text, which may hold a password.
pub(super) type Fault = (&'static str, &'static str);

/// What [`Endpoint::parse`] takes, for messages.
pub(super) const ALLOWED: &str = "http:// or https://, a host and perhaps a port and a path, such as https://s3.example.org:9000";

impl Endpoint {
    /// `https://HOST`.
    pub(super) fn https(host: impl Into<String>) -> Self {
        Self {
            scheme: UrlScheme::Https,
            host: host.into(),
            port: default_port(UrlScheme::Https),
            path: String::new(),
        }
    }

    pub(super) fn parse(text: &str) -> Result<Self, Fault> {
        Written::parse(text).map(|written| written.with_port(None))
    }

    /// Whether the port is that of the scheme.
    pub(super) fn has_default_port(&self) -> bool {
        self.port == default_port(self.scheme)
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}://{}", self.scheme.as_str(), self.host)?;
        if !self.has_default_port() {
            write!(formatter, ":{}", self.port)?;
        }
        formatter.write_str(&self.path)
    }
}

/// A URL of which is known whether it names a port.
struct Written {
    scheme: UrlScheme,
    host: String,
    port: Option<u16>,
    path: String,
}

impl Written {
    fn parse(text: &str) -> Result<Self, Fault> {
        let (scheme, rest) = match text.split_once("://") {
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => (UrlScheme::Http, rest),
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("https") => {
                (UrlScheme::Https, rest)
            }
            _ => return Err(("not a URL", "write it as https://HOST or https://HOST:PORT")),
        };
        if rest.contains(['?', '#']) {
            return Err((
                "it has a query or a fragment",
                "leave out what stands behind ? or #",
            ));
        }
        let (authority, path) = match rest.find('/') {
            None => (rest, ""),
            Some(at) => rest.split_at(at),
        };
        if authority.contains('@') {
            return Err((
                "it holds a user name",
                "leave it out: credentials have parameters of their own",
            ));
        }
        let (host, port) = match authority.rsplit_once(':') {
            // The last colon of an address in brackets is not a port's.
            Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
            _ => (authority, None),
        };
        let port = port.map(|port| {
            let digits = port.bytes().all(|byte| byte.is_ascii_digit());
            port.parse().ok().filter(|port| digits && *port > 0)
        });
        let port = match port {
            None => None,
            Some(Some(port)) => Some(port),
            Some(None) => return Err(("its port is none", "give a port from 1 to 65535")),
        };
        if !is_host(host) {
            return Err((
                "its host is none",
                "write it as https://HOST or https://HOST:PORT",
            ));
        }
        let path = path.trim_end_matches('/');
        let is_plain = path.bytes().all(|byte| byte.is_ascii_graphic())
            && path
                .split('/')
                .skip(1)
                .all(|part| !["", ".", ".."].contains(&part));
        if !is_plain {
            return Err(("its path is none", "leave out the path"));
        }
        Ok(Self {
            scheme,
            host: host.to_ascii_lowercase(),
            port,
            path: path.to_owned(),
        })
    }

    fn with_port(self, port: Option<u16>) -> Endpoint {
        Endpoint {
            port: self.port.or(port).unwrap_or(default_port(self.scheme)),
            scheme: self.scheme,
            host: self.host,
            path: self.path,
        }
    }
}

const fn default_port(scheme: UrlScheme) -> u16 {
    match scheme {
        UrlScheme::Http => 80,
        UrlScheme::Https => 443,
    }
}

/// Reads a URL.
pub(super) fn read_url(parameters: &mut Parameters<'_, '_>, name: &str) -> Option<Endpoint> {
    let text = parameters.text(name)?;
    match Endpoint::parse(&text) {
        Ok(endpoint) => Some(endpoint),
        Err((problem, action)) => {
            parameters.refuse(name, Remark::new(problem, ALLOWED, action));
            None
        }
    }
}

/// The names of the parameters that make up an endpoint.
pub(super) struct HostAndPort<'n> {
    pub(super) host: &'n str,
    pub(super) port: &'n str,
    /// What says the scheme; `https` where nothing does.
    pub(super) is_secure: Option<&'n str>,
}

/// Reads a host and a port as Quay does: a scheme or a port that the host brings along counts more than those of their own.
pub(super) fn read_host(
    parameters: &mut Parameters<'_, '_>,
    names: &HostAndPort<'_>,
) -> Option<Endpoint> {
    let port = parameters.port(names.port);
    let secure = match names.is_secure {
        None => Some(true),
        Some(name) => parameters.required_flag(name),
    };
    let host = parameters.required_text(names.host, "a host name")?;
    let host = host.trim();
    let url = match (host.contains("://"), secure) {
        (true, _) => host.to_owned(),
        (false, Some(false)) => format!("http://{host}"),
        (false, Some(true) | None) => format!("https://{host}"),
    };
    let written = match Written::parse(&url) {
        Ok(written) => written,
        Err((problem, _)) => {
            let allowed = "a host name or address, such as s3.example.org";
            let remark = Remark::new(problem, allowed, "correct it");
            parameters.refuse(names.host, remark);
            return None;
        }
    };
    if let (Some(in_host), Some(port)) = (written.port, port)
        && in_host != port
    {
        let problem = format!(
            "without effect: {} brings along the port {in_host}",
            names.host
        );
        parameters.warn(
            names.port,
            Remark::new(problem, "", "take one of the two out"),
        );
    }
    if let Some(name) = names.is_secure
        && secure.is_some_and(|secure| secure != (written.scheme == UrlScheme::Https))
    {
        let scheme = written.scheme.as_str();
        let problem = format!("without effect: {} brings along {scheme}://", names.host);
        parameters.warn(
            name,
            Remark::new(problem, "", "leave the scheme out of the host"),
        );
    }
    // What is missing has been reported.
    secure.map(|_| written.with_port(port))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn urls_are_taken_apart_and_put_together_without_what_goes_without_saying() {
        for (text, expected) in [
            ("https://s3.example.org", "https://s3.example.org"),
            ("HTTPS://S3.Example.org:443/", "https://s3.example.org"),
            ("http://minio:80", "http://minio"),
            ("http://minio:443", "http://minio:443"),
            ("http://[::1]:9000", "http://[::1]:9000"),
            ("https://[2001:db8::1]", "https://[2001:db8::1]"),
            (
                "http://127.0.0.1:10000/devstoreaccount1",
                "http://127.0.0.1:10000/devstoreaccount1",
            ),
            (
                "https://keystone.example.org:5000/v3/",
                "https://keystone.example.org:5000/v3",
            ),
        ] {
            let endpoint = Endpoint::parse(text).expect(text);
            assert_eq!(endpoint.to_string(), expected, "{text}");
            assert_eq!(Endpoint::parse(expected), Ok(endpoint), "{text}");
        }
    }

    #[test]
    fn what_is_no_url_of_a_store_is_told_apart() {
        for (text, problem) in [
            ("", "not a URL"),
            ("s3.example.org", "not a URL"),
            ("ftp://s3.example.org", "not a URL"),
            ("https:/s3.example.org", "not a URL"),
            ("https://", "its host is none"),
            ("https://a b", "its host is none"),
            ("https://::1", "its host is none"),
            ("https://[::1", "its host is none"),
            ("https://s3.example.org:", "its port is none"),
            ("https://s3.example.org:0", "its port is none"),
            ("https://s3.example.org:65536", "its port is none"),
            ("https://s3.example.org:+80", "its port is none"),
            (
                "https://user:hunter2@s3.example.org",
                "it holds a user name",
            ),
            ("https://s3.example.org/?sig=hunter2", "it has a query"),
            ("https://s3.example.org#a", "it has a query or a fragment"),
            ("https://s3.example.org/a//b", "its path is none"),
            ("https://s3.example.org/../b", "its path is none"),
            ("https://s3.example.org/a b", "its path is none"),
        ] {
            let (found, action) = Endpoint::parse(text).expect_err(text);
            assert!(found.contains(problem), "{text}: {found}");
            assert!(!found.contains("hunter2") && !action.contains("hunter2"));
        }
    }

    proptest! {
        #[test]
        fn texts_of_any_kind_are_urls_or_told(text in "(https?://)?[a-z0-9:/?#@%.\\[\\] -]{0,24}|\\PC{0,20}") {
            if let Ok(endpoint) = Endpoint::parse(&text) {
                prop_assert_eq!(Endpoint::parse(&endpoint.to_string()), Ok(endpoint));
            }
        }
    }
}
