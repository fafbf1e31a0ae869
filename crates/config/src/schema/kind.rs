//! What may stand in a key, as far as it can be told without knowing what the key means.

use figment::value::Value;
use serde_json::json;

use crate::units;

/// What may stand in a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A boolean; as in Quay also the texts `true` and `false`, and 1 and 0.
    Flag,
    /// A whole number, from the first to the second.
    Number(u64, u64),
    /// A size in bytes such as `20G`, from the first to the second.
    Size(u64, u64),
    /// A duration such as `2w`.
    Duration,
    /// A text.
    Text,
    /// One of these texts.
    Choice(&'static [&'static str]),
    /// A list of texts.
    Texts,
    /// A map.
    Map,
    /// A list.
    List,
    /// Whatever there is.
    Any,
}

impl Kind {
    /// What may stand there, for people.
    pub fn allowed(&self) -> String {
        match self {
            Self::Flag => "true or false".to_owned(),
            Self::Number(from, u64::MAX) => format!("a whole number from {from}"),
            Self::Number(from, to) => format!("a whole number from {from} to {to}"),
            Self::Size(from, u64::MAX) => {
                format!("a size from {from} bytes: {}", units::BYTES_GRAMMAR)
            }
            Self::Size(from, to) => {
                format!("a size from {from} to {to} bytes: {}", units::BYTES_GRAMMAR)
            }
            Self::Duration => units::DURATION_GRAMMAR.to_owned(),
            Self::Text => "text".to_owned(),
            Self::Choice(choices) => choices.join(", "),
            Self::Texts => "a list of texts".to_owned(),
            Self::Map => "a map".to_owned(),
            Self::List => "a list".to_owned(),
            Self::Any => "anything".to_owned(),
        }
    }

    /// Whether `value` may stand there, or nothing does.
    pub(crate) fn fits(&self, value: &Value) -> bool {
        if matches!(value, Value::Empty(..)) {
            return true;
        }
        match self {
            Self::Flag => as_flag(value).is_some(),
            Self::Number(from, to) => {
                as_number(value).is_some_and(|number| (*from..=*to).contains(&number))
            }
            Self::Size(from, to) => {
                as_size(value).is_some_and(|size| (*from..=*to).contains(&size))
            }
            Self::Duration => value
                .as_str()
                .is_some_and(|text| units::duration(text).is_some()),
            Self::Text => matches!(value, Value::String(..) | Value::Char(..)),
            Self::Choice(choices) => value.as_str().is_some_and(|text| choices.contains(&text)),
            Self::Texts => match value {
                Value::Array(_, items) => items.iter().all(|item| item.as_str().is_some()),
                _ => false,
            },
            Self::Map => matches!(value, Value::Dict(..)),
            Self::List => matches!(value, Value::Array(..)),
            Self::Any => true,
        }
    }

    /// `value` in one form, so that what means the same is the same.
    pub(crate) fn plain(&self, value: &Value) -> serde_json::Value {
        let plain = match self {
            Self::Flag => as_flag(value).map(serde_json::Value::from),
            Self::Size(..) => as_size(value).map(serde_json::Value::from),
            Self::Duration => value
                .as_str()
                .and_then(units::duration)
                .map(|duration| duration.as_secs().into()),
            Self::Number(..)
            | Self::Text
            | Self::Choice(_)
            | Self::Texts
            | Self::Map
            | Self::List
            | Self::Any => None,
        };
        plain.unwrap_or_else(|| serde_json::to_value(value).unwrap_or_default())
    }

    /// The same for programs: a JSON Schema.
    pub(super) fn json(&self) -> serde_json::Value {
        match self {
            Self::Flag => json!({"enum": [true, false, "true", "false", "True", "False"]}),
            Self::Number(from, to) => json!({"type": "integer", "minimum": from, "maximum": to}),
            Self::Size(..) => {
                json!({"type": ["string", "integer"], "pattern": "^[0-9]+[KMGTP]?$", "minimum": 0})
            }
            Self::Duration => json!({"type": "string", "pattern": "^[0-9]+[smhdwy]$"}),
            Self::Text => json!({"type": "string"}),
            Self::Choice(choices) => json!({"enum": choices}),
            Self::Texts => json!({"type": "array", "items": {"type": "string"}}),
            Self::Map => json!({"type": "object"}),
            Self::List => json!({"type": "array"}),
            Self::Any => json!({}),
        }
    }
}

/// A boolean as Quay takes it.
pub(crate) fn as_flag(value: &Value) -> Option<bool> {
    match value {
        Value::Bool(_, flag) => Some(*flag),
        Value::String(_, text) if text.eq_ignore_ascii_case("true") => Some(true),
        Value::String(_, text) if text.eq_ignore_ascii_case("false") => Some(false),
        _ => match value.to_u128() {
            Some(1) => Some(true),
            Some(0) => Some(false),
            _ => None,
        },
    }
}

/// A whole number that is not negative.
pub(crate) fn as_number(value: &Value) -> Option<u64> {
    value
        .to_u128()
        .and_then(|number| u64::try_from(number).ok())
}

/// A size in bytes.
pub(crate) fn as_size(value: &Value) -> Option<u64> {
    match value {
        Value::String(_, text) => units::bytes(text),
        Value::Num(..) => as_number(value),
        _ => None,
    }
}
