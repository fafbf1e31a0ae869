//! Tokens for a whole account (<https://learn.microsoft.com/rest/api/storageservices/create-account-sas>).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use roadstead_runtime::Timestamp;
use sha2::Sha256;

/// A token with these rights to all containers and objects.
pub(crate) fn of_account(account: &str, key: &str, rights: &str, until: Timestamp) -> String {
    let until = until.format("%Y-%m-%dT%H:%M:%SZ");
    let text = format!("{account}\n{rights}\nb\nsco\n\n{until}\n\n\n2020-12-06\n\n");
    let key = STANDARD.decode(key).unwrap();
    let mut mac = Hmac::<Sha256>::new_from_slice(&key).unwrap();
    mac.update(text.as_bytes());
    let signature = STANDARD
        .encode(mac.finalize().into_bytes())
        .replace('+', "%2B")
        .replace('/', "%2F")
        .replace('=', "%3D");
    let until = until.to_string().replace(':', "%3A");
    format!("sv=2020-12-06&ss=b&srt=sco&sp={rights}&se={until}&sig={signature}")
}
