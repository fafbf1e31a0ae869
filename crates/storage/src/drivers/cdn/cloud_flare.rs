//! Cloudflare, with a program of Quay's in it that checks signatures: URLs are those of S3 under another host, signed once more.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use roadstead_runtime::Ids;
use roadstead_secrets::Secret;

use super::path_and_query;
use super::rsa_key::RsaKey;
use crate::error::Failure;
use crate::query::push_pair;
use crate::signed_url::{SignedUrl, UrlRequest};

/// Cloudflare in front of a bucket.
#[derive(Clone, Debug)]
pub struct CloudFlareOptions {
    /// The host of the URLs.
    pub domain: String,
    /// The private key, in PEM.
    pub private_key: Secret,
}

/// Cloudflare with its key.
#[derive(Debug)]
pub(crate) struct CloudFlare {
    domain: String,
    region: String,
    key: RsaKey,
}

impl CloudFlare {
    pub(super) fn new(options: &CloudFlareOptions, region: &str) -> Result<Self, &'static str> {
        Ok(Self {
            domain: options.domain.clone(),
            region: region.to_owned(),
            key: RsaKey::parse(&options.private_key)?,
        })
    }

    pub(super) fn sign(
        &self,
        url: &SignedUrl,
        request: &UrlRequest<'_>,
        ids: &dyn Ids,
    ) -> Result<SignedUrl, Failure> {
        let (path, query) = path_and_query(url);
        let expires = url.expires_at().timestamp();
        let signature = self.key.sign_sha256(ids, &format!("{path}@{expires}"))?;
        let mut signed = format!("https://{}{path}?{query}", self.domain);
        push_pair(&mut signed, "cf_sign", &STANDARD.encode(signature));
        push_pair(&mut signed, "cf_expiry", &expires.to_string());
        push_pair(&mut signed, "region", &self.region);
        for (name, value) in request.remarks() {
            push_pair(&mut signed, name, value);
        }
        Ok(SignedUrl::new(signed, url.expires_at()))
    }
}
