//! The rule by which a configuration's text becomes a key. What each text gives was worked out with Python's own `int`, `fromhex` and `UUID`.

use proptest::prelude::*;

use super::*;

/// The bytes of a key before they are repeated and cut.
fn bytes(text: &str) -> Vec<u8> {
    let bytes = match number_bytes(text).or_else(|| uuid_bytes(text)) {
        Some(bytes) => bytes,
        None => character_bytes(text).unwrap(),
    };
    bytes.to_vec()
}

fn from_hex(text: &str) -> Vec<u8> {
    text.as_bytes()
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}

#[test]
fn a_decimal_number_gives_its_bytes() {
    for (text, expected) in [
        ("0", "00"),
        ("5", "05"),
        ("15", "0f"),
        ("16", "10"),
        ("255", "ff"),
        ("+255", "ff"),
        (" 255 ", "ff"),
        ("2_55", "ff"),
        ("007", "07"),
        ("4096", "1000"),
        ("65535", "ffff"),
        (
            "12345678901234567890123456789012",
            "9bd30a3c645943dd1690a03a14",
        ),
        (
            "30060361640793187613697366923211113205676925445650250274752125083971638376224",
            "42758fcee630de67e462dfd7cff5c445a13a14a58413f9c2decb1d812799b720",
        ),
    ] {
        assert_eq!(bytes(text), from_hex(expected), "{text}");
    }
}

#[test]
fn a_number_with_an_odd_number_of_hexadecimal_digits_is_taken_as_a_text() {
    for text in ["256", "4095", "18446744073709551616000"] {
        assert_eq!(bytes(text), text.as_bytes(), "{text}");
    }
}

#[test]
fn a_uuid_gives_its_bytes_however_it_is_written() {
    for text in [
        "123e4567-e89b-12d3-a456-426614174000",
        "{123e4567-e89b-12d3-a456-426614174000}",
        "urn:uuid:123E4567E89B12D3A456426614174000",
    ] {
        let expected = from_hex("123e4567e89b12d3a456426614174000");
        assert_eq!(bytes(text), expected, "{text}");
    }
}

#[test]
fn any_other_text_gives_its_characters() {
    for text in [
        "hunter2",
        "-255",
        "2__55",
        "_255",
        "255_",
        "1e3",
        "0x10",
        "123e4567-e89b-12d3-a456-42661417400g",
    ] {
        assert_eq!(bytes(text), text.as_bytes(), "{text}");
    }
    assert_eq!(bytes("éÿ"), [0xe9, 0xff]);
}

#[test]
fn a_text_that_makes_no_key_is_refused_without_being_repeated() {
    assert_eq!(FieldKey::new("").unwrap_err(), KeyTextError::Empty);
    let error = FieldKey::new("schlüssel €").unwrap_err();
    assert_eq!(error, KeyTextError::Character { position: 11 });
    assert!(!error.to_string().contains("schl"));
    assert_eq!(
        format!("{:?}", FieldKey::new("hunter2").unwrap()),
        "FieldKey(***)"
    );
}

#[test]
fn short_keys_are_repeated_and_long_ones_cut() {
    let field = |key: &str| {
        let plain = crate::Secret::new("text");
        FieldKey::new(key)
            .unwrap()
            .encrypt(&plain, [7; 13])
            .unwrap()
    };
    let short = "xyz";
    let repeated: String = short.chars().cycle().take(32).collect();
    assert_eq!(field(short), field(&repeated));
    assert_eq!(field(&repeated), field(&format!("{repeated}more")));
    assert_ne!(field(short), field("xyy"));
}

proptest! {
    #[test]
    fn a_number_is_what_its_bytes_say(number: u128) {
        let expected = format!("{number:02x}");
        prop_assume!(expected.len() % 2 == 0);
        prop_assert_eq!(bytes(&number.to_string()), from_hex(&expected));
    }

    #[test]
    fn any_text_makes_a_key_or_is_refused(text in any::<String>()) {
        match FieldKey::new(&text) {
            Ok(_) => prop_assert!(!text.is_empty()),
            Err(KeyTextError::Empty) => prop_assert!(text.is_empty()),
            Err(KeyTextError::Character { position }) => {
                let character = text.chars().nth(position - 1).unwrap();
                prop_assert!(u32::from(character) > 0xff);
            }
        }
    }
}
