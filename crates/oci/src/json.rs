//! Reads JSON that clients wrote, member by member, within limits. What the members mean is the business of the types that read
//! them.
//!
//! Documents are not turned into trees: a member is a slice of the document until somebody reads it, so the memory taken is
//! bounded by what is kept, whatever the document holds besides. What other JSON readers would understand in another way is
//! refused: members given twice, and members whose names differ from a known one in case only (Go's reader takes those too).

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserializer as _;
use serde::de::{DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::text::excerpt;

/// What is wrong with a piece of JSON, in words that follow the name of the piece: "must be a string".
pub(crate) type Fault = String;

/// Why an object could not be read.
pub(crate) enum ObjectError {
    /// It is not JSON, or not an object.
    Json(serde_json::Error),
    /// Its members are ambiguous.
    Ambiguous(Fault),
}

/// Whether arrays and objects are nested deeper than `depth_max`. Reads text that need not be JSON.
pub(crate) fn is_deeper_than(text: &str, depth_max: usize) -> bool {
    let mut depth = 0_usize;
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth = depth.saturating_sub(1),
            b'"' => {
                while let Some(byte) = bytes.next() {
                    match byte {
                        b'"' => break,
                        b'\\' => drop(bytes.next()),
                        _ => {}
                    }
                }
            }
            _ => {}
        }
        if depth > depth_max {
            return true;
        }
    }
    false
}

/// The members of an object that have these names, in their order. Others are passed over.
pub(crate) fn members<'a, const N: usize>(
    text: &'a str,
    names: &'static [&'static str; N],
) -> Result<[Option<&'a RawValue>; N], ObjectError> {
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let read = deserializer
        .deserialize_map(Members { names })
        .and_then(|read| deserializer.end().map(|()| read))
        .map_err(ObjectError::Json)?;
    match read {
        (found, None) => Ok(found),
        (_, Some(fault)) => Err(ObjectError::Ambiguous(fault)),
    }
}

/// The value, unless it is `null`.
pub(crate) fn given(value: Option<&RawValue>) -> Option<&RawValue> {
    value.filter(|value| value.get() != "null")
}

/// Reads a string.
pub(crate) fn string(value: &RawValue) -> Result<String, Fault> {
    serde_json::from_str(value.get()).map_err(|_| "must be a string".to_owned())
}

/// Reads a whole number from 0 to 2^63-1, the specification's `int64` without the negative half.
pub(crate) fn size(value: &RawValue) -> Result<u64, Fault> {
    serde_json::from_str(value.get())
        .ok()
        .filter(|size| i64::try_from(*size).is_ok())
        .ok_or_else(|| "must be a whole number from 0 to 2^63-1".to_owned())
}

/// Reads an array of at most `entries_max`, whose entries stay unread.
pub(crate) fn array(value: &RawValue, entries_max: usize) -> Result<Vec<&RawValue>, Fault> {
    let mut deserializer = serde_json::Deserializer::from_str(value.get());
    deserializer
        .deserialize_seq(Array { entries_max })
        .map_err(|_| "must be an array".to_owned())?
        .ok_or_else(|| format!("has more entries than the {entries_max} allowed"))
}

/// Reads an object of at most `entries_max` strings, none of them with a NUL, which the database cannot keep.
pub(crate) fn string_map(
    value: &RawValue,
    entries_max: usize,
) -> Result<BTreeMap<String, String>, Fault> {
    let mut deserializer = serde_json::Deserializer::from_str(value.get());
    deserializer
        .deserialize_map(StringMap { entries_max })
        .unwrap_or_else(|_| Err("must be an object of strings".to_owned()))
}

/// Visits an object: its known members, and the first ambiguity if there is any.
struct Members<const N: usize> {
    names: &'static [&'static str; N],
}

impl<'de, const N: usize> Visitor<'de> for Members<N> {
    type Value = ([Option<&'de RawValue>; N], Option<Fault>);

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = [None; N];
        let mut fault = None;
        while let Some(name) = map.next_key_seed(Name { known: self.names })? {
            match name {
                NameRead::Known(index) => {
                    let value = map.next_value()?;
                    if found[index].replace(value).is_some() {
                        fault.get_or_insert_with(|| format!("has `{}` twice", self.names[index]));
                    }
                }
                NameRead::Near(index, written) => {
                    map.next_value::<IgnoredAny>()?;
                    fault.get_or_insert_with(|| {
                        format!(
                            "has {}; write it as `{}`",
                            excerpt(&written),
                            self.names[index]
                        )
                    });
                }
                NameRead::Other => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok((found, fault))
    }
}

/// Reads the name of a member.
struct Name {
    known: &'static [&'static str],
}

enum NameRead {
    /// The known name at this index.
    Known(usize),
    /// Not the known name at this index, but taken for it by readers that do not tell upper from lower case.
    Near(usize, String),
    /// Neither.
    Other,
}

impl<'de> DeserializeSeed<'de> for Name {
    type Value = NameRead;

    fn deserialize<D: serde::Deserializer<'de>>(
        self,
        deserializer: D,
    ) -> Result<NameRead, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Name {
    type Value = NameRead;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("the name of a member")
    }

    fn visit_str<E: serde::de::Error>(self, name: &str) -> Result<NameRead, E> {
        let position = |matches: fn(&str, &str) -> bool| {
            self.known.iter().position(|known| matches(known, name))
        };
        Ok(if let Some(index) = position(|known, name| known == name) {
            NameRead::Known(index)
        } else if let Some(index) = position(is_same_folded) {
            NameRead::Near(index, name.to_owned())
        } else {
            NameRead::Other
        })
    }
}

/// Whether the names are the same to a reader that folds case by Unicode's simple rules: besides A to Z, two other characters
/// fold to ASCII letters.
fn is_same_folded(known: &str, name: &str) -> bool {
    let fold = |character: char| match character {
        '\u{17f}' => 's',
        '\u{212a}' => 'k',
        other => other.to_ascii_lowercase(),
    };
    known.chars().map(fold).eq(name.chars().map(fold))
}

/// Visits an array: its entries, or `None` if there are too many.
struct Array {
    entries_max: usize,
}

impl<'de> Visitor<'de> for Array {
    type Value = Option<Vec<&'de RawValue>>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Self::Value, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = sequence.next_element()? {
            if entries.len() == self.entries_max {
                while sequence.next_element::<IgnoredAny>()?.is_some() {}
                return Ok(None);
            }
            entries.push(entry);
        }
        Ok(Some(entries))
    }
}

/// Visits an object of strings.
struct StringMap {
    entries_max: usize,
}

impl<'de> Visitor<'de> for StringMap {
    type Value = Result<BTreeMap<String, String>, Fault>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut entries = BTreeMap::new();
        while let Some((key, value)) = map.next_entry::<String, &RawValue>()? {
            let fault = match string(value) {
                _ if entries.len() == self.entries_max => Some(format!(
                    "has more entries than the {} allowed",
                    self.entries_max
                )),
                Ok(value) if key.contains('\0') || value.contains('\0') => {
                    Some(format!("has a NUL character in {}", excerpt(&key)))
                }
                Ok(_) if entries.contains_key(&key) => Some(format!("has {} twice", excerpt(&key))),
                Ok(value) => {
                    entries.insert(key, value);
                    None
                }
                Err(fault) => Some(format!("has {}, which {fault}", excerpt(&key))),
            };
            if let Some(fault) = fault {
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                return Ok(Err(fault));
            }
        }
        Ok(Ok(entries))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn raw(text: &str) -> &RawValue {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn known_members_are_found_in_their_order_and_others_passed_over() {
        let names = &["one", "two", "three"];
        let found = members(r#"{"three": [3], "x": {"one": 9}, "one": null}"#, names)
            .ok()
            .unwrap();
        assert_eq!(
            found.map(|value| value.map(RawValue::get)),
            [Some("null"), None, Some("[3]")]
        );
        assert!(given(found[0]).is_none());
        assert!(given(found[2]).is_some());
    }

    #[test]
    fn members_that_readers_disagree_about_are_refused() {
        for (text, expected) in [
            (r#"{"layers": 1, "layers": 2}"#, "has `layers` twice"),
            (r#"{"layers": 1, "l\u0061yers": 2}"#, "has `layers` twice"),
            (r#"{"Layers": 1}"#, "has `Layers`; write it as `layers`"),
            (
                r#"{"layer\u017f": 1, "layers": 2}"#,
                "has `layerſ`; write it as `layers`",
            ),
        ] {
            let Err(ObjectError::Ambiguous(fault)) = members(text, &["layers"]) else {
                panic!("{text} is ambiguous");
            };
            assert_eq!(fault, expected);
        }
        assert!(matches!(
            members("[]", &["layers"]),
            Err(ObjectError::Json(_))
        ));
        assert!(matches!(
            members("{} {}", &["layers"]),
            Err(ObjectError::Json(_))
        ));
    }

    #[test]
    fn depth_counts_brackets_outside_of_strings() {
        assert!(!is_deeper_than(r#"{"a": [1, {"b": []}]}"#, 4));
        assert!(is_deeper_than(r#"{"a": [1, {"b": []}]}"#, 3));
        assert!(!is_deeper_than(r#"["[[[[\"[[[[", "\\", "]"]"#, 1));
        assert!(!is_deeper_than(r"]]]]]]]]", 0));
        assert!(!is_deeper_than(r#"[] [] [] {} ""#, 1));
        assert!(is_deeper_than(&"[".repeat(1 << 20), 1000));
    }

    #[test]
    fn sizes_are_whole_numbers_that_fit_the_database() {
        for (text, expected) in [
            ("0", Some(0)),
            ("9223372036854775807", Some(i64::MAX as u64)),
            ("9223372036854775808", None),
            ("-1", None),
            ("-0", None),
            ("1.0", None),
            ("1e3", None),
            ("\"1\"", None),
            ("[]", None),
        ] {
            assert_eq!(size(raw(text)).ok(), expected, "{text}");
        }
    }

    #[test]
    fn arrays_and_maps_stop_at_their_limit() {
        assert_eq!(array(raw("[1, [2], 3]"), 3).unwrap().len(), 3);
        assert_eq!(
            array(raw("[1, 2, 3]"), 2).unwrap_err(),
            "has more entries than the 2 allowed"
        );
        assert_eq!(array(raw("{}"), 2).unwrap_err(), "must be an array");

        assert_eq!(
            string_map(raw(r#"{"a": "1", "b": "2"}"#), 2).unwrap().len(),
            2
        );
        for (text, expected) in [
            (
                r#"{"a": "1", "b": "2", "c": "3"}"#,
                "has more entries than the 2 allowed",
            ),
            (r#"{"a": "1", "a": "2"}"#, "has `a` twice"),
            (r#"{"a": 1, "b": []}"#, "has `a`, which must be a string"),
            (r#"{"a": "\u0000"}"#, "has a NUL character in `a`"),
            ("[]", "must be an object of strings"),
        ] {
            assert_eq!(string_map(raw(text), 2).unwrap_err(), expected);
        }
    }

    proptest! {
        #[test]
        fn any_text_is_answered_without_a_panic(text in r#"[\[\]{}",:\\a0 ]{0,40}"#, depth_max in 0_usize..4) {
            is_deeper_than(&text, depth_max);
            if let Ok([found]) = members(&text, &["a"]) && let Some(value) = given(found) {
                string(value).ok();
                size(value).ok();
                array(value, 2).ok();
                string_map(value, 2).ok();
            }
        }
    }
}
