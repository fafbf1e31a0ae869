//! URLs that clients read objects with, and what is asked of them. Who signs is `drivers`'.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use roadstead_placement::LocationName;
use roadstead_runtime::Timestamp;
use roadstead_secrets::Secret;

/// What a signed URL is for, and what is known of whoever will use it.
#[derive(Clone, Copy, Debug)]
pub struct UrlRequest<'a> {
    /// What it is good for.
    pub method: UrlMethod,
    /// The present time.
    pub now: Timestamp,
    /// For how long it can be used. Signatures of S3 hold for a week at most, and none holds longer than the credentials behind it.
    pub expires_in: Duration,
    /// The client's address. Whoever has none is not sent to a CDN.
    pub client: Option<IpAddr>,
    /// Where the client's address is, if the caller knows: a rule of a `MultiCDNStorage` that names a continent fits no other.
    pub continent: Option<Continent>,
    /// The request's `Host`, with the port if there is one in it.
    pub host: Option<&'a str>,
    /// Who asks. Some CDNs count by it.
    pub username: Option<&'a str>,
    /// The repository's namespace.
    pub namespace: Option<&'a str>,
    /// The repository, without its namespace.
    pub repository: Option<&'a str>,
    /// Whether the client is in the network of the bucket's own region, so that a CDN would be a detour.
    pub near_store: bool,
    /// Whether the CDN is to be used even then: the namespace is one of `CDN_SPECIFIC_NAMESPACES`.
    pub via_cdn: bool,
    /// Whether a page of another origin will use it.
    pub cross_origin: bool,
}

impl UrlRequest<'_> {
    /// To read an object, from `now` on for `expires_in`, by a client of which nothing is known.
    pub const fn get(now: Timestamp, expires_in: Duration) -> Self {
        Self {
            method: UrlMethod::Get,
            now,
            expires_in,
            client: None,
            continent: None,
            host: None,
            username: None,
            namespace: None,
            repository: None,
            near_store: false,
            via_cdn: false,
            cross_origin: false,
        }
    }

    pub(crate) fn expires_at(&self) -> Timestamp {
        self.now + self.expires_in
    }

    /// What CDNs are told about the request for their logs, under Quay's names.
    pub(crate) fn remarks(&self) -> impl Iterator<Item = (&'static str, &str)> {
        [
            ("username", self.username),
            ("namespace", self.namespace),
            ("repo_name", self.repository),
        ]
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)))
    }
}

/// What a signed URL is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UrlMethod {
    /// Reading, ranges too.
    Get,
    /// Looking up.
    Head,
}

/// Where a client is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "their names say what they are")]
pub enum Continent {
    Africa,
    Antarctica,
    Asia,
    Europe,
    NorthAmerica,
    Oceania,
    SouthAmerica,
}

/// A URL that works for whoever has it. Only [`SignedUrl::expose`] shows the whole of it: what is printed ends where the query begins.
#[derive(Clone)]
pub struct SignedUrl {
    url: Secret,
    expires_at: Timestamp,
    location: Option<LocationName>,
}

impl SignedUrl {
    pub(crate) fn new(url: impl Into<String>, expires_at: Timestamp) -> Self {
        Self {
            url: Secret::new(url),
            expires_at,
            location: None,
        }
    }

    /// The same URL, of an object at this location.
    pub(crate) fn of(mut self, location: &LocationName) -> Self {
        self.location = Some(location.clone());
        self
    }

    /// The URL itself. The caller answers for where it goes.
    pub fn expose(&self) -> &str {
        self.url.expose()
    }

    /// Until when it can be used.
    pub const fn expires_at(&self) -> Timestamp {
        self.expires_at
    }

    /// Where the object is.
    pub const fn location(&self) -> Option<&LocationName> {
        self.location.as_ref()
    }
}

impl fmt::Display for SignedUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let url = self.url.expose();
        let (shown, hidden) = url
            .split_once('?')
            .map_or((url, ""), |(url, _)| (url, "?***"));
        write!(f, "{shown}{hidden}")
    }
}

impl fmt::Debug for SignedUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SignedUrl")
            .field("url", &format_args!("{self}"))
            .field("expires_at", &self.expires_at)
            .field("location", &self.location)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_printed_without_its_query() {
        let url = SignedUrl::new(
            "https://s3.example.org/b/k?sig=hunter2&x=1",
            Timestamp::default(),
        );
        assert_eq!(url.to_string(), "https://s3.example.org/b/k?***");
        assert!(!format!("{url:?} {url:#?}").contains("hunter2"));
        assert!(url.expose().ends_with("?sig=hunter2&x=1"));
    }
}
