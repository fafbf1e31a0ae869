//! RSA keys as JSON web keys: made, written, named and read back. Where they are kept and how long they live is not decided here.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{DecodingKey, EncodingKey};
use roadstead_runtime::Ids;
use rsa::pkcs1::EncodeRsaPrivateKey;
use rsa::rand_core::{self, CryptoRng, RngCore};
use rsa::traits::PublicKeyParts;
use rsa::{RsaPrivateKey, RsaPublicKey};
use serde::Deserialize;
use sha2::{Digest, Sha256};

/// The length of new keys, Quay's.
const KEY_BITS: usize = 2048;

/// The shortest and the longest modulus in bytes that a signature is checked with: RFC 7518 section 3.3 wants 2048 bits at least;
/// 4096 are the most that the RSA library takes.
const MODULUS_BYTES: std::ops::RangeInclusive<usize> = 256..=512;

/// The longest public exponent in bytes; the common one, 65537, has three.
const EXPONENT_BYTES_MAX: usize = 4;

/// A private key and the name under which others find its public half.
pub(crate) struct PrivateKey {
    pub(crate) kid: String,
    pub(crate) signing: EncodingKey,
    /// The public half as JSON, in the members and the order that Quay writes.
    pub(crate) jwk: String,
}

impl std::fmt::Debug for PrivateKey {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("PrivateKey")
            .field("kid", &self.kid)
            .finish_non_exhaustive()
    }
}

impl PrivateKey {
    /// Makes a key. Takes a core for some tenths of a second.
    pub(crate) fn generate(ids: &dyn Ids) -> Result<Self, rsa::Error> {
        Self::new(&RsaPrivateKey::new(&mut Chance(ids), KEY_BITS)?)
    }

    fn new(private: &RsaPrivateKey) -> Result<Self, rsa::Error> {
        let public = WebKey::of(&private.to_public_key());
        Ok(Self {
            kid: public.thumbprint(),
            signing: EncodingKey::from_rsa_der(private.to_pkcs1_der()?.as_bytes()),
            jwk: public.to_json(),
        })
    }
}

/// The members of an RSA public key as RFC 7518 section 6.3.1 names them, each in base64url.
#[derive(Debug, Deserialize)]
pub(crate) struct WebKey {
    n: String,
    e: String,
    kty: String,
    #[serde(default)]
    kid: Option<String>,
}

impl WebKey {
    fn of(key: &RsaPublicKey) -> Self {
        let mut web_key = Self {
            n: URL_SAFE_NO_PAD.encode(key.n().to_bytes_be()),
            e: URL_SAFE_NO_PAD.encode(key.e().to_bytes_be()),
            kty: "RSA".to_owned(),
            kid: None,
        };
        web_key.kid = Some(web_key.thumbprint());
        web_key
    }

    /// The key's thumbprint, RFC 7638: SHA-256 over its required members in the order of their names.
    fn thumbprint(&self) -> String {
        // Base64url needs no escapes.
        let members = format!(r#"{{"e":"{}","kty":"RSA","n":"{}"}}"#, self.e, self.n);
        URL_SAFE_NO_PAD.encode(Sha256::digest(members))
    }

    /// As Quay writes it, to the blanks. Base64url needs no escapes.
    fn to_json(&self) -> String {
        let Self { n, e, kty, kid } = self;
        let kid = kid.as_deref().unwrap_or_default();
        format!(r#"{{"n": "{n}", "e": "{e}", "kty": "{kty}", "kid": "{kid}"}}"#)
    }
}

/// Reads a public key for checking signatures; none unless it is an RSA key of a sensible size.
pub(crate) fn read(jwk: &str) -> Option<DecodingKey> {
    let key: WebKey = serde_json::from_str(jwk).ok()?;
    // Some writers pad, though the RFC forbids it.
    let bytes = |text: &str| URL_SAFE_NO_PAD.decode(text.trim_end_matches('=')).ok();
    let modulus = bytes(&key.n)?;
    let exponent = bytes(&key.e)?;
    let significant = modulus.iter().skip_while(|byte| **byte == 0).count();
    let sensible = key.kty == "RSA"
        && MODULUS_BYTES.contains(&significant)
        && !exponent.is_empty()
        && exponent.len() <= EXPONENT_BYTES_MAX;
    sensible.then(|| DecodingKey::from_rsa_raw_components(&modulus, &exponent))
}

/// The environment's chance, in the form that the RSA library draws it.
struct Chance<'a>(&'a dyn Ids);

impl RngCore for Chance<'_> {
    fn next_u32(&mut self) -> u32 {
        rand_core::impls::next_u32_via_fill(self)
    }

    fn next_u64(&mut self) -> u64 {
        rand_core::impls::next_u64_via_fill(self)
    }

    fn fill_bytes(&mut self, bytes: &mut [u8]) {
        self.0.fill(bytes);
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), rand_core::Error> {
        self.0.fill(bytes);
        Ok(())
    }
}

/// `SystemIds` is fit for secrets; `SeededIds` is for tests, which have none.
impl CryptoRng for Chance<'_> {}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// The public service key of a sample database that Quay filled, and the name that Quay gave it.
    pub(crate) const QUAYS: &str = r#"{"n": "oTaVpzRqoNMKMQsygoqVupyW4vormh1oT0XNi6pSM-vdaWOeXM6ce9x_xLgkSURL59LuBrm10seAh_UFzx-5ZX-NsCVVtQ8eW6o2tYhUM3jYMZHhmTtojUnJEiBl0brNGtVxxRlMqOFCX4C0nS6gPHOJTsDw6bQELeDprDF6j6U8CJiI3VtZPtAyndOgpSzXlOZEjzPSuDe385KK-kGHVK4mFFU2QpPzbYIftTaH4yH55AG6fNJvuFuCcNbXUKxfMmGRRTVDz5yXT4aXhVZJeawGb_RvEyoS3pnhh6QYpr4ZYm34BKqZBC9vNf_QGxFH4RbRU-NqDcT7I2WWI4ZmXw", "e": "AQAB", "kty": "RSA", "kid": "xGTO-2hxO-Fsroj1NNcDJ6rAGgOVoclwRe16g_ltBy8"}"#;

    #[test]
    fn a_key_is_named_as_quay_names_it() {
        let key: WebKey = serde_json::from_str(QUAYS).unwrap();
        assert_eq!(Some(key.thumbprint()), key.kid);
        assert!(read(QUAYS).is_some());
    }

    #[test]
    fn a_new_key_is_written_with_quays_members_and_can_be_read_back() {
        let key = crate::testing::private_key(0);
        let json: serde_json::Value = serde_json::from_str(&key.jwk).unwrap();
        let mut members: Vec<&String> = json.as_object().unwrap().keys().collect();
        members.sort();
        assert_eq!(members, ["e", "kid", "kty", "n"]);
        assert_eq!(json["kid"], key.kid);
        assert_eq!(json["e"], "AQAB");
        assert!(!key.jwk.contains("\"d\""), "the private half stays here");
        assert!(read(&key.jwk).is_some());
        assert!(!format!("{key:?}").contains("signing"));
    }

    #[test]
    fn what_is_no_sensible_rsa_key_is_not_read() {
        let short = URL_SAFE_NO_PAD.encode([0xff; 128]);
        let padded = URL_SAFE_NO_PAD.encode([[0; 200], [0xff; 200]].concat());
        let long = URL_SAFE_NO_PAD.encode([0xff; 513]);
        for (n, e, kty) in [
            (short.as_str(), "AQAB", "RSA"),
            (&padded, "AQAB", "RSA"),
            (&long, "AQAB", "RSA"),
            ("", "AQAB", "RSA"),
            ("!", "AQAB", "RSA"),
        ] {
            let jwk = format!(r#"{{"n":"{n}","e":"{e}","kty":"{kty}"}}"#);
            assert!(read(&jwk).is_none(), "{jwk}");
        }
        for (from, to) in [
            ("\"RSA\"", "\"oct\""),
            ("\"AQAB\"", "\"\""),
            ("\"AQAB\"", "\"AQABAQAB\""),
            ("\"n\"", "\"k\""),
        ] {
            assert!(read(&QUAYS.replace(from, to)).is_none(), "{from} {to}");
        }
        assert!(read("").is_none());
        assert!(read("[]").is_none());
    }
}
