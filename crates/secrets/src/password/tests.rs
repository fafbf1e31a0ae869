//! What Python's `cryptography` sealed, with which Quay does it, and whether ours is the same.

use proptest::prelude::*;

use super::*;

/// `SECRET_KEY` of a sample configuration of Quay's.
const QUAYS_KEY: &str = "107921324323109874216350981236598712365098712365098123650981726350";

const IV: [u8; IV_BYTES] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];

/// Keys, texts and what they come to with that vector.
const SEALED: [(&str, &str, &str); 3] = [
    (
        QUAYS_KEY,
        r#"{"password": "adminpass123"}"#,
        "AAECAwQFBgcICQoLDA0OD5Vy4oJHCTQKymqb+6QuiLrZYpxbGOVW/sCkAxMD1Ekw",
    ),
    (
        QUAYS_KEY,
        r#"{"password": "gr\u00fc\u00df \"x\""}"#,
        "AAECAwQFBgcICQoLDA0OD+ALeV2E6CSjTzCPahMiBDwIKU55NV45fwzeY8oaphYxSZB2BgX6Atmw5LbclzV+8A==",
    ),
    (
        "not a secret",
        r#"{"password": "adminpass123"}"#,
        "AAECAwQFBgcICQoLDA0OD5Awo9EniopzkwnEoMDc0nVd3Fkzaka752SyQJjBDGde",
    ),
];

#[test]
fn what_quay_seals_is_read_and_ours_is_the_same() {
    for (key, text, sealed) in SEALED {
        let key = PasswordKey::new(key).unwrap();
        assert_eq!(key.unseal(sealed).unwrap().expose(), text);
        assert_eq!(key.seal(&Secret::new(text), IV), sealed);
    }
}

#[test]
fn what_is_not_sealed_is_told_from_what_another_key_sealed() {
    let key = PasswordKey::new(QUAYS_KEY).unwrap();
    let sealed = SEALED[0].2;
    for text in [
        "",
        "password",
        "AAECAwQFBgcICQoLDA0ODw==",
        sealed.split_at(60).0,
        &sealed.replace('+', "-"),
        &format!("{sealed}A"),
        &format!(" {sealed}"),
        "grüß",
    ] {
        assert_eq!(key.unseal(text).unwrap_err(), UnsealError::Form, "{text}");
    }
    let other = PasswordKey::new("another").unwrap();
    assert_eq!(other.unseal(sealed).unwrap_err(), UnsealError::WrongKey);
    let swapped = sealed.replace("5Vy4", "5Vy5");
    assert_eq!(key.unseal(&swapped).unwrap_err(), UnsealError::WrongKey);
    assert_eq!(format!("{key:?}"), "PasswordKey(***)");
}

proptest! {
    #[test]
    fn any_text_is_sealed_and_unsealed(text in ".{0,70}", iv: [u8; IV_BYTES]) {
        let key = PasswordKey::new(QUAYS_KEY).unwrap();
        let sealed = key.seal(&Secret::new(text.as_str()), iv);
        let unsealed = key.unseal(&sealed).unwrap();
        prop_assert_eq!(unsealed.expose(), text);
    }

    #[test]
    fn any_text_is_answered(text in "[A-Za-z0-9+/]{0,100}={0,2}|.{0,50}") {
        PasswordKey::new(QUAYS_KEY).unwrap().unseal(&text).ok();
    }
}
