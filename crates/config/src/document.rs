//! Text into values: YAML as Quay's parser (PyYAML, YAML 1.1) reads it, and JSON.
//!
//! Beside the values this keeps where each key stands, and it goes on after what it can step over (a key given twice, a
//! key that is no text), so that all of it is reported at once. It does not know any key's meaning.
//!
//! Differences from PyYAML, on purpose: a key given twice is reported where PyYAML takes the last one, and there is a
//! limit on how much anchors may unfold to.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;

use figment::value::{Dict, Empty, Tag, Value};
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

/// The most values that a document may hold once its anchors are unfolded. Large configurations have hundreds.
const VALUES_MAX: usize = 50_000;

/// The most bytes that the texts of a document may hold together once its anchors are unfolded: a long text repeated by every alias would be
/// gigabytes.
const TEXT_BYTES_MAX: usize = 16 << 20;

/// The most lists and maps in brackets, and the most directives (`%TAG`). The parser's time grows with the square of
/// either: with these bounds it stays far below a second.
const BRACKETS_MAX: usize = 5_000;
const DIRECTIVES_MAX: usize = 100;

/// A parsed document, with what was found wrong on the way.
#[derive(Debug, Default)]
pub(crate) struct Document {
    /// The top level.
    pub(crate) values: Dict,
    /// The byte at which each key stands, by path; absent where the text needed unescaping.
    offsets: BTreeMap<String, usize>,
    /// The byte at which each line starts, from the second line on.
    line_starts: Vec<usize>,
    /// Keys that cannot stand as they are.
    pub(crate) faults: Vec<Fault>,
}

/// A key that cannot stand as it is.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    /// Path of the key.
    pub(crate) path: String,
    /// Its line, from 1.
    pub(crate) line: Option<usize>,
    /// What is the matter.
    pub(crate) problem: String,
    /// What to do.
    pub(crate) action: &'static str,
}

/// A text that is no document at all.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Unreadable {
    /// Where the parser gave up, from 1.
    pub(crate) line: Option<usize>,
    /// What is the matter.
    pub(crate) problem: String,
}

impl Document {
    /// Reads YAML.
    pub(crate) fn from_yaml(text: &str) -> Result<Self, Unreadable> {
        // A byte order mark is no part of the text.
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        bound_parsing_time(text)?;
        let reading = Reading::new(text);
        let root = reading
            .at(String::new())
            .deserialize(serde_norway::Deserializer::from_str(text))
            .map_err(|error| Unreadable {
                line: error.location().map(|location| location.line()),
                problem: format!("not valid YAML: {error}"),
            })?;
        reading.finish(root)
    }

    /// Reads JSON.
    pub(crate) fn from_json(text: &str) -> Result<Self, Unreadable> {
        let reading = Reading::new(text);
        let mut deserializer = serde_json::Deserializer::from_str(text);
        let root = reading
            .at(String::new())
            .deserialize(&mut deserializer)
            .and_then(|root| deserializer.end().map(|()| root))
            .map_err(|error| Unreadable {
                line: Some(error.line()),
                problem: format!("not valid JSON: {error}"),
            })?;
        reading.finish(root)
    }

    /// The line of the key at `path`, or of the nearest key around it.
    pub(crate) fn line(&self, path: &str) -> Option<usize> {
        let mut path = path;
        loop {
            if let Some(offset) = self.offsets.get(path) {
                return Some(self.line_of(*offset));
            }
            path = path.get(..path.rfind(['.', '['])?)?;
        }
    }

    /// The keys of the map at `path`, in the order of the text.
    pub(crate) fn in_order<'a>(&self, path: &str, map: &'a Dict) -> Vec<(&'a str, &'a Value)> {
        let mut entries: Vec<_> = map
            .iter()
            .map(|(key, value)| (key.as_str(), value))
            .collect();
        entries.sort_by_key(|(key, _)| {
            let offset = self.offsets.get(&format!("{path}.{key}")).copied();
            offset.unwrap_or(usize::MAX)
        });
        entries
    }

    fn line_of(&self, offset: usize) -> usize {
        self.line_starts.partition_point(|start| *start <= offset) + 1
    }
}

fn bound_parsing_time(text: &str) -> Result<(), Unreadable> {
    let brackets = text
        .bytes()
        .filter(|byte| matches!(byte, b'[' | b'{'))
        .count();
    let directives = text.lines().filter(|line| line.starts_with('%')).count();
    for (found, limit, what) in [
        (brackets, BRACKETS_MAX, "opening brackets"),
        (directives, DIRECTIVES_MAX, "lines that begin with %"),
    ] {
        if found > limit {
            return Err(Unreadable {
                line: None,
                problem: format!("more than {limit} {what}"),
            });
        }
    }
    Ok(())
}

/// One pass over one text.
struct Reading<'de> {
    text: &'de str,
    found: RefCell<Found>,
}

#[derive(Default)]
struct Found {
    document: Document,
    values: usize,
    text_bytes: usize,
}

impl<'de> Reading<'de> {
    fn new(text: &'de str) -> Self {
        let mut found = Found::default();
        found.document.line_starts = text.match_indices('\n').map(|(end, _)| end + 1).collect();
        Self {
            text,
            found: RefCell::new(found),
        }
    }

    fn at<'r>(&'r self, path: String) -> ValueAt<'r, 'de> {
        ValueAt {
            reading: self,
            path,
        }
    }

    fn finish(self, root: Value) -> Result<Document, Unreadable> {
        let refuse = |problem: &str| {
            Err(Unreadable {
                line: None,
                problem: problem.to_owned(),
            })
        };
        match root {
            Value::Dict(_, values) => Ok(Document {
                values,
                ..self.found.into_inner().document
            }),
            Value::Empty(..) => refuse("it is empty"),
            Value::Array(..) => refuse("the top level is a list instead of KEY: value pairs"),
            Value::String(..) | Value::Char(..) | Value::Bool(..) | Value::Num(..) => {
                refuse("the top level is a single value instead of KEY: value pairs")
            }
        }
    }

    /// Where `part`, which was borrowed from the text, stands in it.
    fn offset(&self, part: &str) -> Option<usize> {
        part.as_ptr()
            .addr()
            .checked_sub(self.text.as_ptr().addr())
            .filter(|offset| *offset <= self.text.len())
    }

    /// Whether `part`, which was borrowed from the text, stands there without quotes.
    fn is_plain(&self, part: &str) -> bool {
        self.offset(part).is_some_and(|offset| {
            let before = offset
                .checked_sub(1)
                .and_then(|at| self.text.as_bytes().get(at));
            !matches!(before, Some(b'"' | b'\''))
        })
    }

    fn count_value<E: Error>(&self) -> Result<(), E> {
        let mut found = self.found.borrow_mut();
        found.values += 1;
        if found.values > VALUES_MAX {
            return Err(E::custom(format_args!(
                "more than {VALUES_MAX} values, counting what aliases repeat"
            )));
        }
        Ok(())
    }

    fn count_text<E: Error>(&self, text: &str) -> Result<(), E> {
        let mut found = self.found.borrow_mut();
        found.text_bytes += text.len();
        if found.text_bytes > TEXT_BYTES_MAX {
            return Err(E::custom(format_args!(
                "more than {} MiB of text, counting what aliases repeat",
                TEXT_BYTES_MAX >> 20
            )));
        }
        Ok(())
    }

    fn place(&self, path: &str, offset: Option<usize>) {
        if let Some(offset) = offset {
            let document = &mut self.found.borrow_mut().document;
            document.offsets.insert(path.to_owned(), offset);
        }
    }

    fn fault(&self, path: String, offset: Option<usize>, problem: String, action: &'static str) {
        let document = &mut self.found.borrow_mut().document;
        let line = offset.map(|offset| document.line_of(offset));
        document.faults.push(Fault {
            path,
            line,
            problem,
            action,
        });
    }
}

/// Reads the value at one path.
struct ValueAt<'r, 'de> {
    reading: &'r Reading<'de>,
    path: String,
}

impl ValueAt<'_, '_> {
    /// Takes an entry into `map`, unless its key is there already.
    fn insert(&self, map: &mut Dict, path: String, entry: (String, Value), offset: Option<usize>) {
        let (key, value) = entry;
        if let Entry::Vacant(vacant) = map.entry(key) {
            self.reading.place(&path, offset);
            vacant.insert(value);
            return;
        }
        let first = self.reading.found.borrow().document.line(&path);
        let problem = match first {
            Some(line) => format!("given twice, first in line {line}"),
            None => "given twice".to_owned(),
        };
        self.reading
            .fault(path, offset, problem, "keep one of the two");
    }
}

impl<'de> DeserializeSeed<'de> for ValueAt<'_, 'de> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        self.reading.count_value()?;
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for ValueAt<'_, 'de> {
    type Value = Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a value without a tag")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i128<E>(self, value: i128) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u128<E>(self, value: u128) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_borrowed_str<E: Error>(self, value: &'de str) -> Result<Value, E> {
        self.reading.count_text(value)?;
        if self.reading.is_plain(value) {
            Ok(plain(value))
        } else {
            Ok(value.into())
        }
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        self.reading.count_text(value)?;
        Ok(value.into())
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Empty::Unit.into())
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Empty::None.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        let next = |index: usize| self.reading.at(format!("{}[{index}]", self.path));
        while let Some(value) = items.next_element_seed(next(values.len()))? {
            values.push(value);
        }
        Ok(Value::Array(Tag::Default, values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut map = Dict::new();
        let mut merged = Vec::new();
        while let Some(Key {
            text,
            offset,
            plain,
        }) = entries.next_key_seed(KeyOf(self.reading))?
        {
            let path = match self.path.as_str() {
                "" => text.clone(),
                parent => format!("{parent}.{text}"),
            };
            let value = entries.next_value_seed(self.reading.at(path.clone()))?;
            if plain == Plain::Merge {
                merged.push(value);
            } else if let Plain::Other(what) = plain {
                let problem = format!("a key has to be text, and this is {what} without quotes");
                self.reading
                    .fault(path, offset, problem, "put the key in quotes");
            } else {
                self.insert(&mut map, path, (text, value), offset);
            }
        }
        for value in merged {
            merge(&mut map, value).map_err(A::Error::custom)?;
        }
        Ok(Value::Dict(Tag::Default, map))
    }
}

/// A key of a map.
struct Key {
    text: String,
    offset: Option<usize>,
    plain: Plain,
}

/// What a key is by YAML 1.1, judged by its form.
#[derive(PartialEq, Eq)]
enum Plain {
    /// Text, as keys should be.
    Text,
    /// `<<`, which takes in the entries of another map.
    Merge,
    /// Something else.
    Other(&'static str),
}

struct KeyOf<'r, 'de>(&'r Reading<'de>);

impl<'de> DeserializeSeed<'de> for KeyOf<'_, 'de> {
    type Value = Key;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Key, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl KeyOf<'_, '_> {
    fn other(text: impl fmt::Display, what: &'static str) -> Key {
        Key {
            text: text.to_string(),
            offset: None,
            plain: Plain::Other(what),
        }
    }
}

impl<'de> Visitor<'de> for KeyOf<'_, 'de> {
    type Value = Key;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a key that is text")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Key, E> {
        Ok(Self::other(value, "a boolean"))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Key, E> {
        Ok(Self::other(value, "a number"))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Key, E> {
        Ok(Self::other(value, "a number"))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Key, E> {
        Ok(Self::other(value, "a number"))
    }

    fn visit_unit<E>(self) -> Result<Key, E> {
        Ok(Self::other("null", "null"))
    }

    fn visit_borrowed_str<E>(self, value: &'de str) -> Result<Key, E> {
        let plain = match (self.0.is_plain(value), plain(value)) {
            (true, _) if value == "<<" => Plain::Merge,
            (true, Value::Bool(..)) => Plain::Other("a boolean"),
            (true, Value::Num(..)) => Plain::Other("a number"),
            _ => Plain::Text,
        };
        Ok(Key {
            text: value.to_owned(),
            offset: self.0.offset(value),
            plain,
        })
    }

    fn visit_str<E>(self, value: &str) -> Result<Key, E> {
        Ok(Key {
            text: value.to_owned(),
            offset: None,
            plain: Plain::Text,
        })
    }
}

/// What YAML 1.1 makes of a scalar without quotes that YAML 1.2 takes for text: the booleans of
/// <https://yaml.org/type/bool.html> as PyYAML knows them (`y` and `n` are text for it), and its octal, binary and
/// underscored integers. Numbers with colons (`1:30`) stay text: configurations hold `host:port`, and PyYAML reads one
/// of those as a number only when the host is a number.
fn plain(text: &str) -> Value {
    match text {
        "yes" | "Yes" | "YES" | "on" | "On" | "ON" => return true.into(),
        "no" | "No" | "NO" | "off" | "Off" | "OFF" => return false.into(),
        _ => {}
    }
    integer(text).map_or_else(|| text.into(), Value::from)
}

fn integer(text: &str) -> Option<i64> {
    if !text.starts_with(|first: char| first.is_ascii_digit() || first == '-' || first == '+') {
        return None;
    }
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => ("-", digits),
        None => ("", text.strip_prefix('+').unwrap_or(text)),
    };
    let digits = digits.replace('_', "");
    let (radix, digits) = match digits.strip_prefix('0') {
        None | Some("") => (10, digits.as_str()),
        Some(octal) => match octal.strip_prefix('b') {
            Some(binary) => (2, binary),
            None => match octal.strip_prefix('x') {
                Some(hexadecimal) => (16, hexadecimal),
                None => (8, octal),
            },
        },
    };
    if digits.starts_with(['+', '-']) {
        return None;
    }
    i64::from_str_radix(&format!("{sign}{digits}"), radix).ok()
}

/// Takes the entries of `source`, a map or a list of maps, into `map` where it lacks them
/// (<https://yaml.org/type/merge.html>).
fn merge(map: &mut Dict, source: Value) -> Result<(), &'static str> {
    match source {
        Value::Dict(_, entries) => {
            for (key, value) in entries {
                map.entry(key).or_insert(value);
            }
            Ok(())
        }
        Value::Array(_, sources) => sources
            .into_iter()
            .try_for_each(|source| merge(map, source)),
        _ => Err("`<<` takes a map or a list of maps"),
    }
}

#[cfg(test)]
mod tests;
