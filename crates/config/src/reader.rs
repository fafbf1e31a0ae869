//! Typed access to the keys of a configuration. What does not fit is noted and a default takes its place, so that one
//! pass finds everything that is wrong.
//!
//! Owns how a type mismatch is said; what a key means is the sections' business.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use figment::value::{Dict, Value};

use crate::finding::{Finding, Origin, shown};
use crate::layers::Layers;
use crate::schema::{
    self, ASKED_FOR_BY_QUAY, Effect, Key, OURS_PREFIX, as_flag, as_number, as_size,
};
use crate::spelling::nearest;
use crate::units;

/// What a refusal or a warning says, besides where and about which value.
pub(crate) struct Remark {
    /// What is the matter.
    pub(crate) problem: String,
    /// What may stand there.
    pub(crate) allowed: String,
    /// What to do.
    pub(crate) action: String,
}

impl Remark {
    pub(crate) fn new(
        problem: impl Into<String>,
        allowed: impl Into<String>,
        action: impl Into<String>,
    ) -> Self {
        Self {
            problem: problem.into(),
            allowed: allowed.into(),
            action: action.into(),
        }
    }
}

/// Where a registry finds what its configuration names without a directory.
#[derive(Clone, Debug)]
pub(crate) enum Base {
    /// The configuration's own directory.
    Configuration(PathBuf),
    /// The data directory of a registry without a configuration, where defaults are for one machine.
    Data(PathBuf),
}

/// The keys, and what was found about them so far.
#[derive(Debug)]
pub(crate) struct Keys {
    layers: Layers,
    values: Dict,
    base: Base,
    read: BTreeSet<&'static str>,
    misspelt: Vec<Misspelt>,
    pub(crate) errors: Vec<Finding>,
    pub(crate) warnings: Vec<Finding>,
    pub(crate) notes: Vec<Finding>,
}

/// A name that was given, and the one that it is probably meant to be.
#[derive(Debug)]
struct Misspelt {
    given: String,
    meant: String,
}

impl Keys {
    /// The keys of `layers`.
    pub(crate) fn new(layers: Layers, base: Base, errors: Vec<Finding>) -> Self {
        Self {
            values: layers.values(),
            layers,
            base,
            read: BTreeSet::new(),
            misspelt: Vec::new(),
            errors,
            warnings: Vec::new(),
            notes: Vec::new(),
        }
    }

    /// The keys that were asked for so far.
    #[cfg(test)]
    pub(crate) fn read(&self) -> &BTreeSet<&'static str> {
        &self.read
    }

    /// Where the value of a key was read, if there is one.
    pub(crate) fn origin(&self, key: &str) -> Option<Origin> {
        let value = self.values.get(key)?;
        Some(self.layers.origin(key, Some(value)))
    }

    /// The data directory of a registry without a configuration.
    pub(crate) fn data_dir(&self) -> Option<&Path> {
        match &self.base {
            Base::Configuration(_) => None,
            Base::Data(directory) => Some(directory),
        }
    }

    /// The directory of the configuration; that of the data where there is no configuration.
    pub(crate) fn directory(&self) -> &Path {
        match &self.base {
            Base::Configuration(directory) | Base::Data(directory) => directory,
        }
    }

    /// Every key with its value.
    pub(crate) fn values(&self) -> &Dict {
        &self.values
    }

    /// The value of `key`, if it is there.
    pub(crate) fn value(&mut self, key: &'static str) -> Option<Value> {
        self.read.insert(key);
        self.values.get(key).cloned()
    }

    /// The entries of a map in the order they were written in.
    pub(crate) fn in_order(&self, path: &str, value: &Value, map: &Dict) -> Vec<(String, Value)> {
        self.layers
            .in_order(path, value, map)
            .into_iter()
            .map(|(key, value)| (key.to_owned(), value.clone()))
            .collect()
    }

    /// Notes that the value at `path` is refused. `value` is `None` where there is none.
    pub(crate) fn refuse(&mut self, path: &str, value: Option<&Value>, remark: Remark) {
        let finding = self.finding(path, value, value.map(|value| shown(path, value)), remark);
        self.errors.push(finding);
    }

    /// Notes that something is missing at `path`, inside `around`.
    pub(crate) fn refuse_absent(&mut self, path: &str, around: &Value, remark: Remark) {
        let finding = self.finding(path, Some(around), None, remark);
        self.errors.push(finding);
    }

    /// Notes something worth knowing about `path`, without showing its value.
    pub(crate) fn warn(&mut self, path: &str, value: Option<&Value>, remark: Remark) {
        let finding = self.finding(path, value, None, remark);
        self.warnings.push(finding);
    }

    fn finding(
        &self,
        path: &str,
        value: Option<&Value>,
        shown: Option<String>,
        remark: Remark,
    ) -> Finding {
        let Remark {
            problem,
            allowed,
            action,
        } = remark;
        Finding {
            origin: self.layers.origin(path, value),
            key: path.to_owned(),
            value: shown,
            problem,
            allowed,
            action,
        }
    }

    /// Notes that what stands at `path` is of the wrong kind.
    pub(crate) fn mismatch(&mut self, path: &str, value: &Value, allowed: &str, action: &str) {
        let problem = match value {
            Value::String(..) | Value::Char(..) => "text does not fit here",
            Value::Bool(..) => "a boolean does not fit here",
            Value::Num(..) => "a number does not fit here",
            Value::Empty(..) => "it is empty",
            Value::Dict(..) => "a map does not fit here",
            Value::Array(..) => "a list does not fit here",
        };
        self.refuse(path, Some(value), Remark::new(problem, allowed, action));
    }

    /// A boolean. As in Quay, the texts `true` and `false` in any case and the numbers 1 and 0 will do.
    pub(crate) fn flag(&mut self, key: &'static str, default: bool) -> bool {
        match self.value(key) {
            None => default,
            Some(value) => self.flag_of(key, &value).unwrap_or(default),
        }
    }

    /// `value`, which stands at `path`, as a boolean.
    pub(crate) fn flag_of(&mut self, path: &str, value: &Value) -> Option<bool> {
        let flag = as_flag(value);
        if flag.is_none() {
            self.mismatch(
                path,
                value,
                "true or false",
                "write one of them, without quotes",
            );
        }
        flag
    }

    /// A whole number in `range`.
    pub(crate) fn number(
        &mut self,
        key: &'static str,
        default: u64,
        range: RangeInclusive<u64>,
    ) -> u64 {
        match self.value(key) {
            None => default,
            Some(value) => self.number_of(key, &value, range).unwrap_or(default),
        }
    }

    /// `value`, which stands at `path`, as a whole number in `range`.
    pub(crate) fn number_of(
        &mut self,
        path: &str,
        value: &Value,
        range: RangeInclusive<u64>,
    ) -> Option<u64> {
        let number = as_number(value).filter(|number| range.contains(number));
        if number.is_none() {
            let allowed = format!("a whole number from {} to {}", range.start(), range.end());
            if matches!(value, Value::Num(..)) {
                let remark = Remark::new("out of range", allowed, "change it");
                self.refuse(path, Some(value), remark);
            } else {
                self.mismatch(path, value, &allowed, "write the number, without quotes");
            }
        }
        number
    }

    /// A whole number of seconds in `range`.
    pub(crate) fn seconds(
        &mut self,
        key: &'static str,
        default: u64,
        range: RangeInclusive<u64>,
    ) -> Duration {
        Duration::from_secs(self.number(key, default, range))
    }

    /// A size such as `20G`, in `range`.
    pub(crate) fn size(
        &mut self,
        key: &'static str,
        default: u64,
        range: RangeInclusive<u64>,
    ) -> u64 {
        let Some(value) = self.value(key) else {
            return default;
        };
        as_size(&value)
            .filter(|size| range.contains(size))
            .unwrap_or_else(|| {
                let remark = Remark::new(
                    "not a size that can be used",
                    format!(
                        "{} to {} bytes: {}",
                        range.start(),
                        range.end(),
                        units::BYTES_GRAMMAR
                    ),
                    "change it",
                );
                self.refuse(key, Some(&value), remark);
                default
            })
    }

    /// A duration such as `2w`.
    pub(crate) fn duration(&mut self, key: &'static str, default: Duration) -> Duration {
        let Some(text) = self.text(key) else {
            return default;
        };
        units::duration(&text).unwrap_or_else(|| {
            let remark = Remark::new("not a duration", units::DURATION_GRAMMAR, "change it");
            let value = self.value(key);
            self.refuse(key, value.as_ref(), remark);
            default
        })
    }

    /// A text that is not empty.
    pub(crate) fn text(&mut self, key: &'static str) -> Option<String> {
        let value = self.value(key)?;
        self.text_of(key, &value)
    }

    /// `value`, which stands at `path`, as a text that is not empty.
    pub(crate) fn text_of(&mut self, path: &str, value: &Value) -> Option<String> {
        match value {
            Value::String(_, text) if !text.is_empty() => return Some(text.clone()),
            Value::Char(_, character) => return Some(character.to_string()),
            Value::String(..) | Value::Empty(..) => {
                self.refuse_absent(
                    path,
                    value,
                    Remark::new("it is empty", "text", "fill it in or remove the key"),
                );
            }
            Value::Bool(..) | Value::Num(..) => {
                self.mismatch(
                    path,
                    value,
                    "text",
                    "put it in quotes if it is meant as text",
                );
            }
            Value::Dict(..) | Value::Array(..) => self.mismatch(path, value, "text", "change it"),
        }
        None
    }

    /// One of `choices`.
    pub(crate) fn choice<T: Copy>(
        &mut self,
        key: &'static str,
        default: T,
        choices: &[(&str, T)],
    ) -> T {
        let Some(text) = self.text(key) else {
            return default;
        };
        let chosen = choices.iter().find(|(name, _)| *name == text);
        if let Some((_, choice)) = chosen {
            return *choice;
        }
        let names: Vec<_> = choices.iter().map(|(name, _)| *name).collect();
        let allowed = names.join(", ");
        let remark = Remark::new("unknown value", allowed, did_you_mean(&text, names));
        let value = self.value(key);
        self.refuse(key, value.as_ref(), remark);
        default
    }

    /// A list of texts; `None` when the key is not there, empty when its value is.
    pub(crate) fn texts(&mut self, key: &'static str, of_what: &str) -> Option<Vec<String>> {
        let value = self.value(key)?;
        match &value {
            Value::Empty(..) => Some(Vec::new()),
            Value::Array(_, items) => Some(
                items
                    .iter()
                    .enumerate()
                    .filter_map(|(index, item)| self.text_of(&format!("{key}[{index}]"), item))
                    .collect(),
            ),
            Value::String(..)
            | Value::Char(..)
            | Value::Bool(..)
            | Value::Num(..)
            | Value::Dict(..) => {
                let allowed = format!("a list of {of_what}");
                self.mismatch(
                    key,
                    &value,
                    &allowed,
                    "write it as a list, such as [one, two]",
                );
                None
            }
        }
    }

    /// Notes that the name at `given` is unknown where the one at `meant` is known.
    pub(crate) fn misspells(&mut self, given: &str, meant: &str) {
        self.misspelt.push(Misspelt {
            given: given.to_owned(),
            meant: meant.to_owned(),
        });
    }

    /// Says what there is to say of the keys that no section has read, once all have: of those of Quay's in one finding for each place that
    /// they were read in, since a configuration of Quay's holds dozens.
    pub(crate) fn finish(&mut self) {
        let mut missed: BTreeMap<Origin, Vec<String>> = BTreeMap::new();
        let mut idle: BTreeMap<Origin, Vec<String>> = BTreeMap::new();
        for (name, value) in self.values.clone() {
            let Some(key) = schema::key(&name) else {
                self.warn_of_unknown(&name, &value);
                continue;
            };
            if key.is_used() || self.read.contains(key.name) {
                continue;
            }
            if !key.kind.fits(&value) {
                self.say_of_strange(key, &value);
            } else if key.effect == Effect::Refused {
                self.refuse_unless_default(key, &value);
            } else {
                let mut origin = self.layers.origin(&name, Some(&value));
                if let Origin::File { line, .. } = &mut origin {
                    *line = None;
                }
                let place = if key.asks_in_vain(&value) {
                    &mut missed
                } else {
                    &mut idle
                };
                place.entry(origin).or_default().push(name);
            }
        }
        for (places, findings, problem) in [
            (
                missed,
                &mut self.warnings,
                "known to Quay, without effect here",
            ),
            (
                idle,
                &mut self.notes,
                "known to Quay, and nothing that they say is missed here",
            ),
        ] {
            findings.extend(places.into_iter().map(|(origin, keys)| Finding {
                origin,
                key: String::new(),
                value: None,
                problem: format!("{problem}: {}", keys.join(", ")),
                allowed: String::new(),
                action: String::new(),
            }));
        }
        if self.data_dir().is_none() {
            self.note_what_quay_asks_for();
        }
        self.unite_misspelt();
    }

    /// A key of the wrong kind that changes nothing.
    fn say_of_strange(&mut self, key: &Key, value: &Value) {
        let remark = Remark::new(
            "not what belongs there; it has no effect here",
            key.kind.allowed(),
            "correct it, or take it out",
        );
        let finding = self.finding(key.name, Some(value), Some(shown(key.name, value)), remark);
        if key.effect == Effect::Refused {
            self.errors.push(finding);
        } else {
            self.warnings.push(finding);
        }
    }

    fn refuse_unless_default(&mut self, key: &Key, value: &Value) {
        let default = key.default_value();
        if default.is_some_and(|default| key.kind.plain(&default) == key.kind.plain(value)) {
            return;
        }
        let remark = Remark::new("it is not here", key.default, key.about);
        self.refuse(key.name, Some(value), remark);
    }

    fn note_what_quay_asks_for(&mut self) {
        for key in ASKED_FOR_BY_QUAY {
            if !self.values.contains_key(key) {
                let remark = Remark::new(
                    "it is missing; Quay's own check of a configuration asks for it",
                    "",
                    "give it if instances of Quay start with this configuration",
                );
                let finding = self.finding(key, None, None, remark);
                self.notes.push(finding);
            }
        }
    }

    fn warn_of_unknown(&mut self, name: &str, value: &Value) {
        let is_ours = name.starts_with(OURS_PREFIX);
        let near = if is_ours {
            nearest(name, schema::ours())
        } else {
            nearest(name, schema::names())
        };
        let hint = near.map_or_else(String::new, |near| format!("did you mean {near}?"));
        let remark = if !is_upper_case(name) {
            let problem = "ignored, as Quay ignores keys that are not in upper case";
            Remark::new(problem, "", hint)
        } else if is_ours && near.is_none() {
            let mut allowed: Vec<_> = schema::ours().collect();
            allowed.sort_unstable();
            Remark::new("unknown, without effect", allowed.join(", "), hint)
        } else {
            Remark::new("unknown, without effect", "", hint)
        };
        self.warn(name, Some(value), remark);
        if let Some(near) = near {
            self.misspells(name, near);
        }
    }

    /// Says once, at what is misspelt, that a name is misspelt and that the right one is therefore missing.
    fn unite_misspelt(&mut self) {
        for Misspelt { given, meant } in std::mem::take(&mut self.misspelt) {
            let is_absent_key = !meant.contains(['.', '[']) && !self.values.contains_key(&meant);
            let is_missing = |finding: &Finding| {
                finding.key == meant
                    && finding.value.is_none()
                    && (is_absent_key || finding.problem.starts_with("it is missing"))
            };
            let is_error = self.errors.iter().any(is_missing);
            self.errors.retain(|finding| !is_missing(finding));
            self.warnings.retain(|finding| !is_missing(finding));
            self.notes.retain(|finding| !is_missing(finding));
            if is_error {
                let (misspelt, rest) = std::mem::take(&mut self.warnings)
                    .into_iter()
                    .partition(|finding| finding.key == given);
                self.warnings = rest;
                self.errors.extend::<Vec<_>>(misspelt);
            }
        }
    }

    /// Turns what is wrong with mere numbers into warnings: their defaults count.
    pub(crate) fn let_numbers_give_way(&mut self) {
        let (numbers, others): (Vec<_>, Vec<_>) = std::mem::take(&mut self.errors)
            .into_iter()
            .partition(|finding| schema::may_give_way(&finding.key));
        self.errors = others;
        self.warnings
            .extend(numbers.into_iter().map(|finding| Finding {
                problem: format!("{}; the default counts instead", finding.problem),
                ..finding
            }));
    }
}

/// Whether Quay takes `key`: what Python calls upper-case, with a capital and no small letter.
fn is_upper_case(key: &str) -> bool {
    key.chars().any(char::is_uppercase) && !key.chars().any(char::is_lowercase)
}

/// A hint at the one of `names` that `given` was probably meant to be; empty when there is none.
pub(crate) fn did_you_mean<'a>(given: &str, names: impl IntoIterator<Item = &'a str>) -> String {
    nearest(given, names).map_or_else(String::new, |name| format!("did you mean {name}?"))
}
