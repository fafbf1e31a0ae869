//! Akamai: URLs are those of S3 under another host, with a token of "Auth Token 2.0" for their path
//! (<https://techdocs.akamai.com/property-mgr/docs/auth-token-2-0-ver>).

use std::fmt;
use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use roadstead_secrets::Secret;
use sha2::Sha256;

use super::path_and_query;
use crate::query::{encoded_small, push_pair};
use crate::signed_url::{SignedUrl, UrlRequest};

/// For how long a token holds. As in Quay, whatever is asked.
const WINDOW: Duration = Duration::from_mins(15);

/// The name of the token in the query.
const TOKEN: &str = "akamai_signature";

/// Akamai in front of a bucket.
#[derive(Clone, Debug)]
pub struct AkamaiOptions {
    /// The host of the URLs.
    pub domain: String,
    /// What tokens are signed with, in hexadecimal digits.
    pub shared_secret: Secret,
}

/// Akamai with its key.
pub(crate) struct Akamai {
    domain: String,
    region: String,
    key: Hmac<Sha256>,
}

impl Akamai {
    pub(super) fn new(options: &AkamaiOptions, region: &str) -> Result<Self, &'static str> {
        const NO_KEY: &str = "the shared secret is not an even number of hexadecimal digits";
        let key = unhex(options.shared_secret.expose()).filter(|key| !key.is_empty());
        Ok(Self {
            domain: options.domain.clone(),
            region: region.to_owned(),
            key: Hmac::new_from_slice(&key.ok_or(NO_KEY)?).map_err(|_| NO_KEY)?,
        })
    }

    pub(super) fn sign(&self, url: &SignedUrl, request: &UrlRequest<'_>) -> SignedUrl {
        let (path, query) = path_and_query(url);
        let mut signed = format!("https://{}{path}?{query}", self.domain);
        push_pair(&mut signed, "region", &self.region);
        for (name, value) in request.remarks() {
            push_pair(&mut signed, name, value);
        }
        let ends_at = request.now + WINDOW;
        let token = self.token(path, ends_at.timestamp());
        // As it is: the edge takes it by its own separators.
        signed.extend(["&", TOKEN, "=", &token]);
        SignedUrl::new(signed, url.expires_at().min(ends_at))
    }

    fn token(&self, path: &str, ends_at: i64) -> String {
        let path = encoded_small(path);
        let mut mac = self.key.clone();
        mac.update(format!("exp={ends_at}~url={path}").as_bytes());
        let hash = mac.finalize().into_bytes();
        let digits: String = hash
            .iter()
            .flat_map(|byte| [byte >> 4, byte & 15])
            .filter_map(|digit| char::from_digit(u32::from(digit), 16))
            .collect();
        format!("exp={ends_at}~hmac={digits}")
    }
}

impl fmt::Debug for Akamai {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Akamai")
            .field("domain", &self.domain)
            .finish_non_exhaustive()
    }
}

fn unhex(digits: &str) -> Option<Vec<u8>> {
    let digits: Vec<u32> = digits
        .chars()
        .map(|digit| digit.to_digit(16))
        .collect::<Option<_>>()?;
    let (pairs, []) = digits.as_chunks::<2>() else {
        return None;
    };
    pairs
        .iter()
        .map(|[high, low]| u8::try_from(high * 16 + low).ok())
        .collect()
}
