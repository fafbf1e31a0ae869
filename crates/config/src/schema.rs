//! Every key there is: its kind, its default, what it does here, and whether a running process takes a change of it.
//!
//! One table, by theme. What is said about keys without reading them (warnings, `admin config explain`, docs/CONFIGURATION.md, the JSON
//! Schema) comes from it; the sections read the keys, and a test holds the two against each other. To put a key to use: read it in a section
//! and let its line here begin with `used`, or with `live` where a running process takes a change.

mod accounts;
mod database;
mod hosting;
mod interface;
mod json;
mod kind;
mod operation;
mod page;
mod registry;
mod storage;
mod upkeep;

use figment::value::Value;

use crate::document::Document;

pub use json::json_schema;
pub use kind::Kind;
pub(crate) use kind::{as_flag, as_number, as_size};
pub use page::reference;

/// What every key of ours alone begins with.
pub(crate) const OURS_PREFIX: &str = "ROADSTEAD_";

/// What Quay's own check of a configuration asks for and is not needed here.
pub(crate) const ASKED_FOR_BY_QUAY: [&str; 2] = ["BUILDLOGS_REDIS", "USER_EVENTS_REDIS"];

/// A key of `config.yaml`.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// Its name.
    pub name: &'static str,
    /// What may stand there.
    pub kind: Kind,
    /// What counts without it, as YAML; empty: nothing. Quay's, where it has no effect here.
    pub default: &'static str,
    /// What it does here.
    pub effect: Effect,
    /// What it is about; of a key without effect: why it has none.
    pub about: &'static str,
    /// Whether regions of one registry may have different values: what is near, cheap or large enough differs from region to region.
    pub regional: bool,
}

/// What a key does here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// It counts.
    Used(Reload),
    /// It changes nothing, and things are always as if it were this, as YAML: another value is worth a warning.
    Always(&'static str),
    /// What it asks for is not here: a value is worth a warning.
    Missed,
    /// It changes nothing that anybody would miss, or only what another key asks for.
    Idle,
    /// Any value but the default stops a start: to go on without it would do harm.
    Refused,
}

/// When a change counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reload {
    /// Within seconds, in every process that runs.
    Live,
    /// With the next start.
    Restart,
}

/// Keys that belong together.
#[derive(Clone, Copy, Debug)]
pub struct Theme {
    /// What they are about.
    pub title: &'static str,
    /// The keys.
    pub keys: &'static [Key],
}

/// All keys.
pub const THEMES: [Theme; 7] = [
    Theme {
        title: "How clients reach the registry",
        keys: hosting::KEYS,
    },
    Theme {
        title: "Locations and copies",
        keys: storage::KEYS,
    },
    Theme {
        title: "Database and secrets",
        keys: database::KEYS,
    },
    Theme {
        title: "Pushes and pulls",
        keys: registry::KEYS,
    },
    Theme {
        title: "Accounts",
        keys: accounts::KEYS,
    },
    Theme {
        title: "What is kept, and how much",
        keys: upkeep::KEYS,
    },
    Theme {
        title: "Operation",
        keys: operation::KEYS,
    },
];

/// The keys of what Quay has and this registry has not.
pub const INTERFACE: Theme = Theme {
    title: "User interface, builds, hosted service",
    keys: interface::KEYS,
};

/// Every key, by theme.
pub fn keys() -> impl Iterator<Item = &'static Key> {
    THEMES
        .iter()
        .chain([&INTERFACE])
        .flat_map(|theme| theme.keys)
}

/// The key of this name.
pub fn key(name: &str) -> Option<&'static Key> {
    keys().find(|key| key.name == name)
}

/// The names of all keys.
pub fn names() -> impl Iterator<Item = &'static str> {
    keys().map(|key| key.name)
}

/// The names of the keys that are ours alone.
pub(crate) fn ours() -> impl Iterator<Item = &'static str> {
    names().filter(|name| name.starts_with(OURS_PREFIX))
}

/// Whether a value at `path` that cannot be used may give way to the default where the operator says so: only numbers, which say neither where
/// anything is nor who may do what.
pub(crate) fn may_give_way(path: &str) -> bool {
    key(path)
        .is_some_and(|key| matches!(key.kind, Kind::Number(..) | Kind::Size(..) | Kind::Duration))
}

impl Key {
    /// Whether it counts.
    pub fn is_used(&self) -> bool {
        matches!(self.effect, Effect::Used(_))
    }

    /// Whether a running process takes a change of it.
    pub fn is_live(&self) -> bool {
        self.effect == Effect::Used(Reload::Live)
    }

    /// What it does here, in a few words.
    pub fn effect_in_words(&self) -> String {
        match self.effect {
            Effect::Used(Reload::Restart) => "used; a change needs a restart".to_owned(),
            Effect::Used(Reload::Live) => "used; a change counts within seconds".to_owned(),
            Effect::Always(here) => format!("without effect: as if always {here}"),
            Effect::Missed => "without effect: not here".to_owned(),
            Effect::Idle => "without effect".to_owned(),
            Effect::Refused => format!("refused unless {}", self.default),
        }
    }

    const fn of_region(self) -> Self {
        Self {
            regional: true,
            ..self
        }
    }

    /// The default as a value.
    pub(crate) fn default_value(&self) -> Option<Value> {
        written(self.default)
    }

    /// Whether `value` asks for something that is not here.
    pub(crate) fn asks_in_vain(&self, value: &Value) -> bool {
        match self.effect {
            Effect::Used(_) | Effect::Idle | Effect::Refused => false,
            Effect::Missed => !is_nothing(value),
            Effect::Always(here) => {
                written(here).is_some_and(|here| self.kind.plain(value) != self.kind.plain(&here))
            }
        }
    }
}

/// What `text` is as YAML; nothing if it is empty.
fn written(text: &str) -> Option<Value> {
    let document = Document::from_yaml(&format!("K: {text}")).ok()?;
    let value = document.values.into_values().next()?;
    (!matches!(value, Value::Empty(..))).then_some(value)
}

/// Nothing, no text, an empty list or map.
pub(crate) fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Empty(..) => true,
        Value::String(_, text) => text.is_empty(),
        Value::Dict(_, entries) => entries.is_empty(),
        Value::Array(_, items) => items.is_empty(),
        Value::Bool(_, flag) => !flag,
        Value::Char(..) | Value::Num(..) => false,
    }
}

const fn used(name: &'static str, kind: Kind, default: &'static str, about: &'static str) -> Key {
    Key {
        name,
        kind,
        default,
        effect: Effect::Used(Reload::Restart),
        about,
        regional: false,
    }
}

const fn live(name: &'static str, kind: Kind, default: &'static str, about: &'static str) -> Key {
    Key {
        effect: Effect::Used(Reload::Live),
        ..used(name, kind, default, about)
    }
}

const fn fixed(
    name: &'static str,
    kind: Kind,
    default: &'static str,
    here: &'static str,
    about: &'static str,
) -> Key {
    Key {
        effect: Effect::Always(here),
        ..used(name, kind, default, about)
    }
}

const fn absent(name: &'static str, kind: Kind, default: &'static str, about: &'static str) -> Key {
    Key {
        effect: Effect::Missed,
        ..used(name, kind, default, about)
    }
}

const fn harmless(
    name: &'static str,
    kind: Kind,
    default: &'static str,
    about: &'static str,
) -> Key {
    Key {
        effect: Effect::Idle,
        ..used(name, kind, default, about)
    }
}

const fn refused(
    name: &'static str,
    kind: Kind,
    default: &'static str,
    about: &'static str,
) -> Key {
    Key {
        effect: Effect::Refused,
        ..used(name, kind, default, about)
    }
}
