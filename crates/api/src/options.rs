//! What the HTTP layer can be told. Reading it from a configuration is `config`'s work.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use roadstead_storage::HttpClient;

use crate::places::ConcurrencyLimits;
use crate::rate_limit::RateLimits;

/// Settings of a [`RegistryService`](crate::RegistryService).
#[derive(Clone, Debug)]
pub struct ApiOptions {
    /// Where clients reach the registry, if the operator has said so (`PREFERRED_URL_SCHEME` and `SERVER_HOSTNAME`): locations and
    /// challenges are absolute then, as Quay's are. Without it locations are paths, which are right behind any balancer and on any
    /// port, and challenges name the host that the client asked for.
    pub external_url: Option<ExternalUrl>,
    /// The largest manifest, in bytes. Default 4 MiB, what section "Pushing Manifests" of the distribution specification expects
    /// every registry to take.
    pub manifest_bytes_max: usize,
    /// `OCI-Chunk-Min-Length`: the least that every chunk but the last should have. Default `None`: chunks of any size are taken.
    pub chunk_bytes_min: Option<u64>,
    /// How long the next piece of a request's body may take. Default 60 s, as long as Quay's proxy waits. Bodies of blobs have their
    /// own limit, [`DistributionOptions::body_idle_timeout`](roadstead_distribution::DistributionOptions::body_idle_timeout).
    pub body_idle_timeout: Duration,
    /// Which clients are sent to the store for blobs, where it has signed URLs. Default: nobody.
    pub redirects: Redirects,
    /// Namespaces whose clients are sent to the CDN even where the store is near (`CDN_SPECIFIC_NAMESPACES`).
    pub cdn_namespaces: BTreeSet<String>,
    /// `FEATURE_PROXY_STORAGE`: clients are sent to this registry's own storage proxy instead of to the store. Default `None`: there is no
    /// storage proxy.
    pub storage_proxy: Option<StorageProxy>,
    /// How many requests are taken from one address and with one account. Default `None`: as many as come.
    pub rate_limits: Option<RateLimits>,
    /// How many requests are answered at once. Default: by the number of processors.
    pub concurrency: ConcurrencyLimits,
    /// What `Retry-After` says when something is not available at present, or when there is too much to do. Default 10 s: as long as a
    /// location that failed is passed over.
    pub retry_after: Duration,
}

impl Default for ApiOptions {
    fn default() -> Self {
        Self {
            external_url: None,
            manifest_bytes_max: 4 << 20,
            chunk_bytes_min: None,
            body_idle_timeout: Duration::from_mins(1),
            redirects: Redirects::default(),
            cdn_namespaces: BTreeSet::new(),
            storage_proxy: None,
            rate_limits: None,
            concurrency: ConcurrencyLimits::default(),
            retry_after: Duration::from_secs(10),
        }
    }
}

/// Which clients are sent to the store for blobs.
#[derive(Clone, Default)]
pub struct Redirects(Option<Arc<dyn Fn(Option<IpAddr>) -> bool + Send + Sync>>);

impl Redirects {
    /// Those of which this is true. Of a client behind a balancer the address may not be known.
    pub fn of(clients: impl Fn(Option<IpAddr>) -> bool + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(clients)))
    }

    pub(crate) fn apply_to(&self, client: Option<IpAddr>) -> bool {
        self.0.as_ref().is_some_and(|clients| clients(client))
    }
}

impl fmt::Debug for Redirects {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_tuple("Redirects")
            .field(&self.0.as_ref().map(|_| "some"))
            .finish()
    }
}

/// How blobs are fetched from stores for the clients that were sent to the storage proxy.
#[derive(Clone, Debug)]
pub struct StorageProxy {
    /// What stores are reached with.
    pub http: HttpClient,
    /// How long a store may take to answer, the connection included. Default 10 s, as when a location is read from.
    pub answer_timeout: Duration,
    /// How long a store may send nothing of a body. Default 60 s, as long as Quay's proxy waits: the client cannot be helped any more.
    pub idle_timeout: Duration,
}

impl StorageProxy {
    /// With the default deadlines.
    pub const fn new(http: HttpClient) -> Self {
        Self {
            http,
            answer_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_mins(1),
        }
    }
}

/// A scheme and a host, without a slash at the end: `https://registry.example.com:8443`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExternalUrl(String);

/// Why a text is not an [`ExternalUrl`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{host}` is not a host name with an optional port; write it without scheme, path and spaces"
)]
pub struct ExternalUrlError {
    host: String,
}

impl ExternalUrl {
    /// The URL of `host`, which may have a port.
    pub fn new(scheme: UrlScheme, host: &str) -> Result<Self, ExternalUrlError> {
        if is_host(host) {
            Ok(Self(format!("{}://{host}", scheme.as_str())))
        } else {
            Err(ExternalUrlError {
                host: host.to_owned(),
            })
        }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Whether clients are to use TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UrlScheme {
    /// Without.
    Http,
    /// With.
    Https,
}

impl UrlScheme {
    /// The scheme's name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

/// Whether the text is fit to stand in a URL and in a quoted header parameter as a host: name or address, with an optional port.
pub(crate) fn is_host(text: &str) -> bool {
    // 253 characters of a name, a colon and a port.
    !text.is_empty()
        && text.len() <= 259
        && text.bytes().all(|byte| {
            byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b':' | b'[' | b']')
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_external_url_is_a_scheme_and_a_host() {
        for host in [
            "registry.example.com",
            "localhost:8080",
            "[::1]:5000",
            "10.0.0.1",
        ] {
            let url = ExternalUrl::new(UrlScheme::Https, host).expect("a good host");
            assert_eq!(url.as_str(), format!("https://{host}"));
        }
        let long = "a".repeat(260);
        for host in [
            "",
            "https://example.com",
            "example.com/path",
            "a b",
            "a\"b",
            "é",
            &long,
        ] {
            assert!(ExternalUrl::new(UrlScheme::Http, host).is_err(), "{host}");
        }
    }
}
