//! CDNs in front of a bucket: CloudFront, Cloudflare and Akamai, alone or several of which rules choose one. Objects are written and read as in
//! any bucket; only the URLs that clients are given are the CDN's.
//!
//! A CDN that fetches from the bucket with the signature in the URL wants the URL that Quay makes, with the bucket in its path: the store's
//! signature covers host and path.

mod akamai;
mod cloud_flare;
mod cloud_front;
mod rsa_key;

use std::sync::Arc;

use opendal::Operator;
use roadstead_placement::LocationName;
use roadstead_runtime::{Environment, Ids};

pub use self::akamai::AkamaiOptions;
pub use self::cloud_flare::CloudFlareOptions;
pub use self::cloud_front::CloudFrontOptions;

use self::akamai::Akamai;
use self::cloud_flare::CloudFlare;
use self::cloud_front::CloudFront;
use super::UrlSigner;
use super::s3::{self, BucketPlace, S3Options};
use crate::error::{Failure, Operation, StorageError, StorageErrorKind};
use crate::http::HttpClient;
use crate::location::Location;
use crate::object_key::ObjectKey;
use crate::options::StoreOptions;
use crate::signed_url::{Continent, SignedUrl, UrlRequest};

/// A CDN and how its URLs are signed.
#[derive(Clone, Debug)]
pub enum CdnOptions {
    /// CloudFront.
    CloudFront(CloudFrontOptions),
    /// Cloudflare.
    CloudFlare(CloudFlareOptions),
    /// Akamai.
    Akamai(AkamaiOptions),
}

/// A CDN and the bucket that it fetches from.
#[derive(Clone, Debug)]
pub struct CdnProvider {
    /// The bucket that its URLs are signed for.
    pub store: S3Options,
    /// The CDN.
    pub cdn: CdnOptions,
}

/// Several CDNs.
#[derive(Clone, Debug)]
pub struct MultiCdnOptions {
    /// The one that no rule is about. Its bucket is the one that is written and read.
    pub default_provider: Arc<CdnProvider>,
    /// The first one that fits counts. Providers that are the same `Arc` share their credentials.
    pub rules: Vec<CdnRule>,
}

/// When a CDN is used: if everything that is named here is equal to what the request has.
#[derive(Clone, Debug)]
pub struct CdnRule {
    /// The repository's namespace.
    pub namespace: Option<String>,
    /// Where the client is.
    pub continent: Option<Continent>,
    /// The request's `Host`.
    pub host: Option<String>,
    /// The CDN.
    pub provider: Arc<CdnProvider>,
}

impl CdnRule {
    fn fits(&self, request: &UrlRequest<'_>) -> bool {
        let is = |wanted: Option<&str>, found: Option<&str>| wanted.is_none() || wanted == found;
        is(self.namespace.as_deref(), request.namespace)
            && is(self.host.as_deref(), request.host)
            && (self.continent.is_none() || self.continent == request.continent)
    }
}

impl Location {
    /// A location in a bucket that clients read through a CDN. Nothing is asked of the store or the CDN yet.
    ///
    /// # Errors
    /// [`StorageErrorKind::Misconfigured`] when no client can be made of this, or a key cannot be read.
    pub fn behind_cdn(
        name: LocationName,
        provider: CdnProvider,
        options: StoreOptions,
        http: &HttpClient,
        environment: Environment,
    ) -> Result<Self, StorageError> {
        let cdns = MultiCdnOptions {
            default_provider: Arc::new(provider),
            rules: Vec::new(),
        };
        Self::behind_cdns(name, &cdns, options, http, environment)
    }

    /// As [`Location::behind_cdn`], with several of them.
    ///
    /// # Errors
    /// As [`Location::behind_cdn`].
    pub fn behind_cdns(
        name: LocationName,
        cdns: &MultiCdnOptions,
        options: StoreOptions,
        http: &HttpClient,
        environment: Environment,
    ) -> Result<Self, StorageError> {
        let routes = CdnRoutes::new(cdns, http).map_err(|failure| {
            let bucket = &cdns.default_provider.store.bucket;
            StorageError::new(Operation::Open, &name, bucket, failure)
        })?;
        let s3 = &cdns.default_provider.store;
        let urls = UrlSigner::Cdn(routes);
        Self::in_bucket(name, s3, http, urls, options, environment)
    }
}

/// Which CDN a request goes through.
#[derive(Debug)]
pub(crate) struct CdnRoutes {
    default: Arc<Provider>,
    rules: Vec<(CdnRule, Arc<Provider>)>,
}

/// A CDN that can sign.
#[derive(Debug)]
struct Provider {
    /// Signs for the bucket, named in the path.
    operator: Operator,
    cdn: Cdn,
}

#[derive(Debug)]
enum Cdn {
    CloudFront(CloudFront),
    Url(UrlCdn),
}

/// A CDN whose URLs are made of those of the store.
#[derive(Debug)]
pub(crate) enum UrlCdn {
    CloudFlare(CloudFlare),
    Akamai(Akamai),
}

/// How a URL comes about.
#[derive(Debug)]
pub(crate) enum Route<'r> {
    /// The store signs it, and it leads there.
    Store(&'r Operator),
    /// The CDN's signature alone.
    Key(&'r CloudFront),
    /// The store signs it, then the CDN.
    StoreUrl(&'r Operator, &'r UrlCdn),
}

impl CdnRoutes {
    fn new(cdns: &MultiCdnOptions, http: &HttpClient) -> Result<Self, Failure> {
        let default = Arc::new(Provider::new(&cdns.default_provider, http)?);
        let mut made = vec![(Arc::clone(&cdns.default_provider), Arc::clone(&default))];
        let mut rules = Vec::with_capacity(cdns.rules.len());
        for rule in &cdns.rules {
            let known = made
                .iter()
                .find(|(options, _)| Arc::ptr_eq(options, &rule.provider));
            let provider = if let Some((_, provider)) = known {
                Arc::clone(provider)
            } else {
                let provider = Arc::new(Provider::new(&rule.provider, http)?);
                made.push((Arc::clone(&rule.provider), Arc::clone(&provider)));
                provider
            };
            rules.push((rule.clone(), provider));
        }
        Ok(Self { default, rules })
    }

    pub(crate) fn choose(&self, request: &UrlRequest<'_>) -> Route<'_> {
        let provider = self
            .rules
            .iter()
            .find(|(rule, _)| rule.fits(request))
            .map_or(&self.default, |(_, provider)| provider);
        let detour = request.near_store && !request.via_cdn;
        if request.client.is_none() || detour {
            return Route::Store(&provider.operator);
        }
        match &provider.cdn {
            Cdn::CloudFront(cdn) => Route::Key(cdn),
            Cdn::Url(cdn) => Route::StoreUrl(&provider.operator, cdn),
        }
    }
}

impl Provider {
    fn new(provider: &CdnProvider, http: &HttpClient) -> Result<Self, Failure> {
        let refused = |problem| Failure::because(StorageErrorKind::Misconfigured, problem);
        let region = s3::region(&provider.store);
        let cdn = match &provider.cdn {
            CdnOptions::CloudFront(options) => {
                Cdn::CloudFront(CloudFront::new(options).map_err(refused)?)
            }
            CdnOptions::CloudFlare(options) => Cdn::Url(UrlCdn::CloudFlare(
                CloudFlare::new(options, region).map_err(refused)?,
            )),
            CdnOptions::Akamai(options) => Cdn::Url(UrlCdn::Akamai(
                Akamai::new(options, region).map_err(refused)?,
            )),
        };
        Ok(Self {
            operator: s3::operator(&provider.store, BucketPlace::Path, http)?,
            cdn,
        })
    }
}

impl UrlCdn {
    /// Makes the CDN's URL of the store's.
    pub(crate) fn sign_url(
        &self,
        url: &SignedUrl,
        request: &UrlRequest<'_>,
        ids: &dyn Ids,
    ) -> Result<SignedUrl, Failure> {
        match self {
            Self::CloudFlare(cdn) => cdn.sign(url, request, ids),
            Self::Akamai(cdn) => Ok(cdn.sign(url, request)),
        }
    }
}

impl CloudFront {
    /// Makes the URL of an object, which has the object's key for its path: how the distribution gets to the bucket's `storage_path` is its
    /// own business.
    pub(crate) fn sign_key(
        &self,
        key: &ObjectKey,
        request: &UrlRequest<'_>,
        ids: &dyn Ids,
    ) -> Result<SignedUrl, Failure> {
        self.sign(&key.path(), request, ids)
    }
}

/// Path and query of a URL of the store's.
fn path_and_query(url: &SignedUrl) -> (&str, &str) {
    let rest = url.expose().split_once("://").map_or("", |(_, rest)| rest);
    let target = rest.find('/').map_or("/", |at| rest.split_at(at).1);
    target.split_once('?').unwrap_or((target, ""))
}

#[cfg(test)]
mod tests;
