//! CDNs in front of a bucket of Amazon's: `CloudFrontedS3Storage`, `CloudFlareStorage` and `AkamaiS3Storage`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use figment::value::Value;

use super::driver::Driver;
use super::parameters::Parameters;
use super::s3::S3Store;
use super::s3::amazon::{self, Region};
use crate::reader::Remark;
use crate::secret::Secret;
use crate::sections::hosting::is_host_and_port;

/// A CDN.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cdn {
    /// CloudFront.
    CloudFront(CloudFront),
    /// Cloudflare.
    CloudFlare(CloudFlare),
    /// Akamai.
    Akamai(Akamai),
}

/// Amazon's CloudFront: URLs are those of the objects without `storage_path`, signed with RSA and SHA-1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CloudFront {
    /// `cloudfront_distribution_domain`, required: the host of the URLs.
    pub domain: String,
    /// `cloudfront_key_id`, required: under which id CloudFront knows the key.
    pub key_id: String,
    /// `cloudfront_privatekey_filename`, required: the file with the key, in PEM, beside `config.yaml`; a whole path is taken as it is. It is there.
    pub private_key: PathBuf,
    /// `cloudfront_distribution_org_overrides`: the hosts of the URLs of some namespaces, by namespace (default: none).
    pub domains_of_namespaces: BTreeMap<String, String>,
}

/// Cloudflare: URLs are the signed ones of S3 under another host, signed once more with RSA and SHA-256.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CloudFlare {
    /// `cloudflare_domain`, required: the host of the URLs.
    pub domain: String,
    /// `cloudflare_privatekey_filename`, required: the file with the key, in PEM, beside `config.yaml`; a whole path is taken as it is. It is there.
    pub private_key: PathBuf,
}

/// Akamai: URLs are the signed ones of S3 under another host, with a token for their path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Akamai {
    /// `akamai_domain`, required: the host of the URLs.
    pub domain: String,
    /// `akamai_shared_secret`, required: what tokens are signed with, in hexadecimal digits.
    pub shared_secret: Secret<String>,
}

pub(super) const OF_CLOUD_FRONT: [&str; 4] = [
    "cloudfront_distribution_domain",
    OVERRIDES,
    "cloudfront_key_id",
    "cloudfront_privatekey_filename",
];
pub(super) const OF_CLOUD_FLARE: [&str; 2] =
    ["cloudflare_domain", "cloudflare_privatekey_filename"];
pub(super) const OF_AKAMAI: [&str; 2] = ["akamai_domain", SHARED_SECRET];

const OVERRIDES: &str = "cloudfront_distribution_org_overrides";
const SHARED_SECRET: &str = "akamai_shared_secret";

pub(super) fn read_cloud_fronted(parameters: &mut Parameters<'_, '_>) -> Option<Driver> {
    let (store, cdn) = (read_store(parameters), read_cloud_front(parameters));
    Some(Driver::CloudFrontedS3Storage {
        store: Box::new(store?),
        cdn: cdn?,
    })
}

pub(super) fn read_cloud_flare(parameters: &mut Parameters<'_, '_>) -> Option<Driver> {
    let (store, cdn) = (read_store(parameters), read_flare(parameters));
    Some(Driver::CloudFlareStorage {
        store: Box::new(store?),
        cdn: cdn?,
    })
}

pub(super) fn read_akamai(parameters: &mut Parameters<'_, '_>) -> Option<Driver> {
    let (store, cdn) = (read_store(parameters), read_edge(parameters));
    Some(Driver::AkamaiS3Storage {
        store: Box::new(store?),
        cdn: cdn?,
    })
}

/// The bucket behind a CDN.
pub(super) fn read_store(parameters: &mut Parameters<'_, '_>) -> Option<S3Store> {
    amazon::read_store(parameters, Region::Required)
}

/// CloudFront alone.
pub(super) fn read_cloud_front(parameters: &mut Parameters<'_, '_>) -> Option<CloudFront> {
    let domain = parameters.domain("cloudfront_distribution_domain");
    let key_id = parameters.required_text("cloudfront_key_id", "the id of the key");
    let private_key = parameters.required_file("cloudfront_privatekey_filename");
    let domains_of_namespaces = read_overrides(parameters);
    Some(CloudFront {
        domain: domain?,
        key_id: key_id?,
        private_key: private_key?,
        domains_of_namespaces,
    })
}

/// Cloudflare alone.
pub(super) fn read_flare(parameters: &mut Parameters<'_, '_>) -> Option<CloudFlare> {
    let domain = parameters.domain("cloudflare_domain");
    let private_key = parameters.required_file("cloudflare_privatekey_filename");
    Some(CloudFlare {
        domain: domain?,
        private_key: private_key?,
    })
}

/// Akamai alone.
pub(super) fn read_edge(parameters: &mut Parameters<'_, '_>) -> Option<Akamai> {
    const WHAT: &str = "an even number of hexadecimal digits";
    let domain = parameters.domain("akamai_domain");
    let shared_secret = parameters.required_text(SHARED_SECRET, WHAT);
    if let Some(secret) = &shared_secret
        && !(secret.len().is_multiple_of(2) && secret.bytes().all(|byte| byte.is_ascii_hexdigit()))
    {
        let remark = Remark::new("not a key of Akamai's", WHAT, "correct it");
        parameters.refuse(SHARED_SECRET, remark);
    }
    Some(Akamai {
        domain: domain?,
        shared_secret: Secret::new(shared_secret?),
    })
}

fn read_overrides(parameters: &mut Parameters<'_, '_>) -> BTreeMap<String, String> {
    let Some((path, value)) = parameters.given(OVERRIDES) else {
        return BTreeMap::new();
    };
    let Value::Dict(_, entries) = value else {
        let allowed = "a map of namespaces and host names";
        parameters
            .keys
            .mismatch(&path, value, allowed, "correct it");
        return BTreeMap::new();
    };
    let mut domains = BTreeMap::new();
    for (namespace, value) in entries {
        let path = format!("{path}.{namespace}");
        let Some(domain) = parameters.keys.text_of(&path, value) else {
            continue;
        };
        if is_host_and_port(&domain) {
            domains.insert(namespace.clone(), domain);
        } else {
            let remark = Remark::new(
                "not a host name",
                "a host name, such as cdn.example.org",
                "leave out scheme and path",
            );
            parameters.keys.refuse(&path, Some(value), remark);
        }
    }
    domains
}
