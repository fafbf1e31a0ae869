//! What is sent: a document and its signature.

use chrono::SecondsFormat;
use hmac::{Hmac, KeyInit, Mac};
use roadstead_metadata::ImageEvent;
use roadstead_runtime::Timestamp;
use roadstead_secrets::Secret;
use serde::Serialize;
use sha2::Sha256;

/// The header with the signature: `sha256=` and the HMAC-SHA256 of the body with the webhook's secret, in hexadecimal.
pub const SIGNATURE: &str = "roadstead-signature-256";

/// An event, as it is sent and listed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct EventDocument {
    /// The number of the event. Whoever is sent the same one twice was sent it again.
    pub id: i64,
    /// What has happened: `image.complete`.
    pub kind: String,
    /// `namespace/name`.
    pub repository: String,
    /// The digest of the image's manifest.
    pub digest: String,
    /// The tags that pointed to it, sorted, at most a hundred.
    pub tags: Vec<String>,
    /// The location that it is complete at.
    pub location: String,
    /// When it was pushed, or since when copies to that location were wanted, in UTC.
    pub pushed_at: String,
    /// When it was found complete, in UTC.
    pub complete_at: String,
}

impl From<&ImageEvent> for EventDocument {
    fn from(event: &ImageEvent) -> Self {
        let time = |time: Timestamp| time.to_rfc3339_opts(SecondsFormat::Millis, true);
        Self {
            id: event.id,
            kind: event.kind.clone(),
            repository: event.repository.clone(),
            digest: event.digest.to_string(),
            tags: event.tags.clone(),
            location: event.location.to_string(),
            pushed_at: time(event.since),
            complete_at: time(event.complete_at),
        }
    }
}

/// The value of [`SIGNATURE`].
pub(crate) fn signature(secret: &Secret, body: &[u8]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.expose().as_bytes())
        .expect("HMAC takes keys of any length");
    mac.update(body);
    let mut text = "sha256=".to_owned();
    for byte in mac.finalize().into_bytes() {
        for digit in [byte >> 4, byte & 0xf] {
            text.extend(char::from_digit(digit.into(), 16));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_that_of_rfc_4231() {
        // Its second test case.
        assert_eq!(
            signature(&Secret::new("Jefe"), b"what do ya want for nothing?"),
            "sha256=5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
    }
}
