//! Temporary URLs: what is signed and how. Nothing is asked here.

use std::fmt::Write;

use hmac::{Hmac, KeyInit, Mac};
use http::Method;
use opendal::raw::{percent_decode_path, percent_encode_path};
use roadstead_secrets::Secret;
use serde::Deserialize;
use sha1::Sha1;
use sha2::Sha256;

/// What a URL is signed by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Algorithm {
    /// Quay's. New stores do not take it unless told to, old ones nothing else.
    Sha1,
    Sha256,
}

/// A URL for one method on `path`, which has no percent signs yet, good until `expires` in seconds since 1970.
pub(super) fn sign(
    algorithm: Algorithm,
    key: &Secret,
    storage_url: &str,
    path: &str,
    method: &Method,
    expires: i64,
) -> Option<String> {
    let (host, account) = split(storage_url)?;
    let account = account.trim_end_matches('/');
    let signed = format!(
        "{method}\n{expires}\n{}{path}",
        percent_decode_path(account)
    );
    let key = key.expose().as_bytes();
    let signature = match algorithm {
        Algorithm::Sha1 => hex(mac::<Hmac<Sha1>>(key, &signed)?),
        Algorithm::Sha256 => hex(mac::<Hmac<Sha256>>(key, &signed)?),
    };
    Some(format!(
        "{host}{account}{}?temp_url_sig={signature}&temp_url_expires={expires}",
        percent_encode_path(path)
    ))
}

/// Scheme and host, and the path.
fn split(url: &str) -> Option<(&str, &str)> {
    let host = url.find("://")? + "://".len();
    let path = url.get(host..)?.find('/');
    path.map_or(Some((url, "")), |path| url.split_at_checked(host + path))
}

fn mac<M: Mac + KeyInit>(key: &[u8], text: &str) -> Option<Vec<u8>> {
    let mut mac = <M as KeyInit>::new_from_slice(key).ok()?;
    mac.update(text.as_bytes());
    Some(mac.finalize().into_bytes().to_vec())
}

fn hex(bytes: Vec<u8>) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        write!(text, "{byte:02x}").expect("a string takes everything");
    }
    text
}

/// Where a store says what it can, seen from where an account is: `/info` in place of `/v1/...`.
pub(super) fn info_url(storage_url: &str) -> Option<String> {
    let (host, path) = split(storage_url)?;
    let version = path.match_indices("/v").find(|(at, _)| {
        let digit = path.as_bytes().get(at + 2);
        digit.is_some_and(u8::is_ascii_digit)
    });
    let before = version.and_then(|(at, _)| path.get(..at))?;
    Some(format!("{host}{before}/info"))
}

/// What a store that says this signs by.
pub(super) fn algorithm(info: &[u8]) -> Algorithm {
    #[derive(Deserialize)]
    struct Info {
        tempurl: Option<TempUrl>,
    }
    #[derive(Deserialize)]
    struct TempUrl {
        #[serde(default)]
        allowed_digests: Vec<String>,
    }
    // Stores from before there was a choice do not name any.
    let digests = serde_json::from_slice::<Info>(info)
        .ok()
        .and_then(|info| info.tempurl)
        .map_or_else(Vec::new, |tempurl| tempurl.allowed_digests);
    if digests.iter().any(|digest| digest == "sha256") {
        Algorithm::Sha256
    } else {
        Algorithm::Sha1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signed(algorithm: Algorithm, storage_url: &str, path: &str, method: &Method) -> String {
        let key = Secret::new("mykey");
        sign(algorithm, &key, storage_url, path, method, 1_512_508_563).unwrap()
    }

    #[test]
    fn signatures_are_those_of_swifts_own_documentation_and_of_quay() {
        let (account, path) = ("https://store.example/v1/AUTH_account", "/container/object");
        assert_eq!(
            signed(Algorithm::Sha256, account, path, &Method::GET),
            "https://store.example/v1/AUTH_account/container/object\
             ?temp_url_sig=732fcac368abb10c78a4cbe95c3fab7f311584532bf779abd5074e13cbe8b88b\
             &temp_url_expires=1512508563"
        );
        // As Python's `hmac` has it, which is what Quay signs with.
        assert_eq!(
            signed(Algorithm::Sha1, account, path, &Method::GET),
            "https://store.example/v1/AUTH_account/container/object\
             ?temp_url_sig=a83dcf0587a84542b5f23a7807c38ff4bcaa6924\
             &temp_url_expires=1512508563"
        );
    }

    #[test]
    fn the_text_is_signed_and_the_url_encoded() {
        let account = "http://store.example:8080/v1/AUTH_account";
        let path = "/container/registry data/\u{fc}/sha256/ab/abcd";
        assert_eq!(
            signed(Algorithm::Sha1, account, path, &Method::HEAD),
            "http://store.example:8080/v1/AUTH_account/container/registry%20data/%C3%BC/sha256/ab/abcd\
             ?temp_url_sig=ae11a9b3e8d761022ca3f7e3063efcb8e9cfc788\
             &temp_url_expires=1512508563"
        );
        assert_eq!(
            signed(Algorithm::Sha256, account, path, &Method::HEAD),
            "http://store.example:8080/v1/AUTH_account/container/registry%20data/%C3%BC/sha256/ab/abcd\
             ?temp_url_sig=d05d4d9f91ecc8118921b7e76cd0abaad954d4723243d4d4d58e2e5706cac4c9\
             &temp_url_expires=1512508563"
        );
    }

    #[test]
    fn what_a_store_can_is_asked_beside_its_accounts() {
        for (url, info) in [
            ("http://a:1/v1/AUTH_x", Some("http://a:1/info")),
            ("http://a/swift/v1/x", Some("http://a/swift/info")),
            ("http://a/vault/v1.0/x", Some("http://a/vault/info")),
            ("http://a/x", None),
            ("http://a", None),
            ("a", None),
        ] {
            assert_eq!(info_url(url).as_deref(), info, "{url}");
        }
    }

    #[test]
    fn the_best_of_what_a_store_takes_is_used() {
        for (info, expected) in [
            (
                r#"{"tempurl":{"allowed_digests":["sha256","sha512"]}}"#,
                Algorithm::Sha256,
            ),
            (
                r#"{"tempurl":{"allowed_digests":["sha1","sha256"]}}"#,
                Algorithm::Sha256,
            ),
            (
                r#"{"tempurl":{"allowed_digests":["sha1"]}}"#,
                Algorithm::Sha1,
            ),
            (r#"{"tempurl":{"methods":["GET"]}}"#, Algorithm::Sha1),
            ("{}", Algorithm::Sha1),
            ("<html>", Algorithm::Sha1),
        ] {
            assert_eq!(algorithm(info.as_bytes()), expected, "{info}");
        }
    }
}
