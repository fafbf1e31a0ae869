//! Fields that Quay encrypted, and whether ours are read back.

use proptest::prelude::*;

use super::*;

/// `DATABASE_SECRET_KEY` of a sample database that Quay filled.
const QUAYS_KEY: &str =
    "30060361640793187613697366923211113205676925445650250274752125083971638376224";

/// Fields of that database and what they hold: a robot's token, an app token's secret, a mirror's user name and password.
const QUAYS: [(&str, &str); 4] = [
    (
        "v0$$DdJIrgxXKJ6DWZbLMV2ToP4nxyvBT5sYiPZLdpW2MYps6HQEz/xEN75lcd+mffB79eQdJQ6Lm+kdLtkkErUccwBGSsR/cvZgxqpbcAesO/ePb/LySLGzIK7mxw8Z",
        "SJMJFAIA35MX33SDN2YLMC3Y6ASP8ZOSQ0TC95T27CACHLTJN6QAUC7KHEBERUNY",
    ),
    (
        "v0$$PigqztcWY8vofp1RR5dKZI6M5ep3ntHiexiFjk/5S5A1tX32GTehDLECWISd9hf9nBXxk5lPZO2BYIAq+9jAyUYM5u5ovyTibtzJWVzud3hNa6vZn71h3wM=",
        "TDA7NIDDTD2XJPASD1MMVX0ITQS01H28ITB5K6S6E6OPM5RFBVU7X4E8R5IH",
    ),
    ("v0$$xAcd6KeJ+zhsV46Gfi724JiIqS9gx1xZK/A+KMPsvg==", "up"),
    (
        "v0$$JF9TCwCptDNDINt4zxzS1O9dn0E26rRDBihIVvwHcg1AcbQ=",
        "stream",
    ),
];

fn key(text: &str) -> FieldKey {
    FieldKey::new(text).unwrap()
}

#[test]
fn fields_that_quay_encrypted_are_read() {
    let key = key(QUAYS_KEY);
    for (field, plain) in QUAYS {
        assert!(is_encrypted(field));
        assert_eq!(key.decrypt(field).unwrap().expose(), plain);
    }
}

#[test]
fn a_text_is_encrypted_as_quay_does_it_byte_for_byte() {
    let key = key(QUAYS_KEY);
    for (field, plain) in QUAYS {
        let whole = STANDARD
            .decode(field.strip_prefix(VERSION).unwrap())
            .unwrap();
        let nonce = *whole.first_chunk::<NONCE_BYTES>().unwrap();
        assert_eq!(key.encrypt(&Secret::new(plain), nonce).unwrap(), field);
    }
}

#[test]
fn another_key_and_a_changed_field_are_told_from_what_is_no_field() {
    let [(field, _), ..] = QUAYS;
    let right = key(QUAYS_KEY);
    assert_eq!(
        key("another").decrypt(field).unwrap_err(),
        DecryptError::WrongKey
    );
    let changed = field.replacen("DdJI", "DdJJ", 1);
    assert_eq!(right.decrypt(&changed).unwrap_err(), DecryptError::WrongKey);
    for (field, expected) in [
        ("", DecryptError::NotEncrypted),
        ("SJMJFAIA35MX33SDN2YLMC3Y", DecryptError::NotEncrypted),
        ("v1$$AAAA", DecryptError::NotEncrypted),
        ("v0$$", DecryptError::Damaged),
        ("v0$$!!!!", DecryptError::Damaged),
        ("v0$$AAAA", DecryptError::Damaged),
        // A nonce and fifteen of the tag's sixteen bytes.
        (
            "v0$$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA==",
            DecryptError::Damaged,
        ),
    ] {
        assert_eq!(right.decrypt(field).unwrap_err(), expected, "{field}");
    }
    let endless = format!("v0$${}", "A".repeat(FIELD_BYTES_MAX));
    assert_eq!(right.decrypt(&endless).unwrap_err(), DecryptError::Damaged);
}

#[test]
fn the_longest_text_fits_and_a_longer_one_is_refused() {
    let key = key("key");
    let longest = Secret::new("x".repeat(PLAIN_BYTES_MAX));
    let field = key.encrypt(&longest, [1; NONCE_BYTES]).unwrap();
    assert!(field.len() <= FIELD_BYTES_MAX);
    assert_eq!(key.decrypt(&field).unwrap().expose(), longest.expose());
    let longer = Secret::new("x".repeat(PLAIN_BYTES_MAX + 1));
    assert!(key.encrypt(&longer, [1; NONCE_BYTES]).is_err());
}

proptest! {
    #[test]
    fn what_is_encrypted_is_read_back(plain in any::<String>(), nonce: [u8; NONCE_BYTES], text in "[ -~]{1,40}") {
        let key = key(&text);
        let field = key.encrypt(&Secret::new(plain.clone()), nonce).unwrap();
        prop_assert!(field.is_ascii());
        let read = key.decrypt(&field).unwrap();
        prop_assert_eq!(read.expose(), plain.as_str());
    }

    #[test]
    fn any_text_is_answered(field in "(v0\\$\\$)?[A-Za-z0-9+/]{0,80}={0,2}") {
        prop_assert!(key("key").decrypt(&field).is_err());
    }
}
