//! Amazon's CloudFront: signed URLs with a canned policy
//! (<https://docs.aws.amazon.com/AmazonCloudFront/latest/DeveloperGuide/private-content-creating-signed-url-canned-policy.html>).

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use roadstead_runtime::Ids;
use roadstead_secrets::Secret;

use super::rsa_key::RsaKey;
use crate::error::Failure;
use crate::query::push_pair;
use crate::signed_url::{SignedUrl, UrlRequest};

/// CloudFront in front of a bucket.
#[derive(Clone, Debug)]
pub struct CloudFrontOptions {
    /// The host of the URLs.
    pub domain: String,
    /// Under which id CloudFront knows the key.
    pub key_id: String,
    /// The private key, in PEM.
    pub private_key: Secret,
    /// The hosts of the URLs of some namespaces, by namespace.
    pub domains_of_namespaces: BTreeMap<String, String>,
}

/// CloudFront with its key.
#[derive(Debug)]
pub(crate) struct CloudFront {
    domain: String,
    domains_of_namespaces: BTreeMap<String, String>,
    key_id: String,
    key: RsaKey,
}

impl CloudFront {
    pub(super) fn new(options: &CloudFrontOptions) -> Result<Self, &'static str> {
        Ok(Self {
            domain: options.domain.clone(),
            domains_of_namespaces: options.domains_of_namespaces.clone(),
            key_id: options.key_id.clone(),
            key: RsaKey::parse(&options.private_key)?,
        })
    }

    pub(super) fn sign(
        &self,
        path: &str,
        request: &UrlRequest<'_>,
        ids: &dyn Ids,
    ) -> Result<SignedUrl, Failure> {
        let domain = request
            .namespace
            .and_then(|namespace| self.domains_of_namespaces.get(namespace))
            .unwrap_or(&self.domain);
        let mut url = format!("https://{domain}/{path}");
        for (name, value) in request.remarks() {
            push_pair(&mut url, name, value);
        }
        let expires_at = request.expires_at();
        let expires = expires_at.timestamp();
        // Every character counts: CloudFront puts the same text together.
        let policy = format!(
            r#"{{"Statement":[{{"Resource":"{url}","Condition":{{"DateLessThan":{{"AWS:EpochTime":{expires}}}}}}}]}}"#
        );
        let signature = STANDARD
            .encode(self.key.sign_sha1(ids, &policy)?)
            .replace('+', "-")
            .replace('=', "_")
            .replace('/', "~");
        push_pair(&mut url, "Expires", &expires.to_string());
        push_pair(&mut url, "Signature", &signature);
        push_pair(&mut url, "Key-Pair-Id", &self.key_id);
        Ok(SignedUrl::new(url, expires_at))
    }
}
