//! Typed access to the parameters of one driver. What does not fit is noted and counts as not given, so that one pass finds everything.
//!
//! Owns what all drivers' parameters have in common; what a parameter means is the driver's business. As in Quay, an optional text that is
//! empty is one that is not given.

use std::fs::File;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use figment::value::{Dict, Value};

use crate::reader::{Keys, Remark, did_you_mean};
use crate::secret::Secret;
use crate::sections::hosting::is_host_and_port;
use crate::spelling::nearest;

/// Seconds of a day: no time limit is longer.
const SECONDS_MAX: f64 = 86_400.0;

/// A map of parameters and where it stands.
#[derive(Clone)]
pub(super) struct Layer<'v> {
    pub(super) path: String,
    /// The value that stands nearest, for the place of what is missing.
    pub(super) around: &'v Value,
    pub(super) entries: &'v Dict,
}

/// The parameters of one driver: those of a map, or of several of which a later one wins.
pub(super) struct Parameters<'k, 'v> {
    pub(super) keys: &'k mut Keys,
    layers: Vec<Layer<'v>>,
    /// In which of the maps a parameter that is missing is missing.
    pub(super) home: usize,
}

impl<'k, 'v> Parameters<'k, 'v> {
    pub(super) fn new(keys: &'k mut Keys, layers: Vec<Layer<'v>>) -> Self {
        Self {
            keys,
            layers,
            home: 0,
        }
    }

    /// The value of `name` and its path, whatever it is.
    pub(super) fn raw(&self, name: &str) -> Option<(String, &'v Value)> {
        self.layers.iter().rev().find_map(|layer| {
            let value = layer.entries.get(name)?;
            Some((format!("{}.{name}", layer.path), value))
        })
    }

    /// The value of `name` and its path, if it is more than nothing.
    pub(super) fn given(&self, name: &str) -> Option<(String, &'v Value)> {
        self.raw(name).filter(|(_, value)| !is_nothing(value))
    }

    /// Notes that the value of `name` is refused; the place is that of the value or, if there is none, where it should be.
    pub(super) fn refuse(&mut self, name: &str, remark: Remark) {
        match self.given(name) {
            Some((path, value)) => self.keys.refuse(&path, Some(value), remark),
            None => self.refuse_absent(name, remark),
        }
    }

    /// Notes that the value of `name`, which is not shown, is refused.
    pub(super) fn refuse_absent(&mut self, name: &str, remark: Remark) {
        if let Some((path, value)) = self.raw(name) {
            self.keys.refuse_absent(&path, value, remark);
        } else if let Some(home) = self.layers.get(self.home) {
            let path = format!("{}.{name}", home.path);
            self.keys.refuse_absent(&path, home.around, remark);
        }
    }

    /// Notes something worth knowing about `name`.
    pub(super) fn warn(&mut self, name: &str, remark: Remark) {
        if let Some((path, value)) = self.raw(name) {
            self.keys.warn(&path, Some(value), remark);
        }
    }

    fn missing(&mut self, name: &str, what: &str) {
        let problem = match self.raw(name) {
            Some(_) => "it is empty",
            None => "it is missing",
        };
        self.refuse_absent(name, Remark::new(problem, what, "fill it in"));
    }

    /// A text.
    pub(super) fn text(&mut self, name: &str) -> Option<String> {
        let (path, value) = self.given(name)?;
        let text = self.keys.text_of(&path, value)?;
        if text.chars().any(char::is_control) {
            let remark = Remark::new("it holds control characters", "text", "correct it");
            self.keys.refuse(&path, Some(value), remark);
            return None;
        }
        Some(text)
    }

    /// A text that has to be there; `what` says what it is.
    pub(super) fn required_text(&mut self, name: &str, what: &str) -> Option<String> {
        if self.given(name).is_none() {
            self.missing(name, what);
        }
        self.text(name)
    }

    /// A secret.
    pub(super) fn secret(&mut self, name: &str) -> Option<Secret<String>> {
        self.text(name).map(Secret::new)
    }

    /// A secret that has to be there; `what` says what it is.
    pub(super) fn required_secret(&mut self, name: &str, what: &str) -> Option<Secret<String>> {
        self.required_text(name, what).map(Secret::new)
    }

    /// The name of a bucket or container, which has to be there.
    pub(super) fn container(&mut self, name: &str) -> Option<String> {
        /// Swift's limit, in bytes; that of the others is lower.
        const BYTES_MAX: usize = 256;
        let text = self.required_text(name, "the name of a bucket or container")?;
        if text.contains(['/', '\\', '?', '#']) || text.starts_with('.') || text.len() > BYTES_MAX {
            let allowed = format!("up to {BYTES_MAX} bytes, without / \\ ? # and no . in front");
            let remark = Remark::new(
                "not the name of a bucket or container",
                allowed,
                "correct it; what lies in it goes into storage_path",
            );
            self.refuse(name, remark);
            return None;
        }
        Some(text)
    }

    /// A host name that has to be there, with a port if need be.
    pub(super) fn domain(&mut self, name: &str) -> Option<String> {
        const WHAT: &str = "a host name, such as cdn.example.org";
        let text = self.required_text(name, WHAT)?;
        if is_host_and_port(&text) {
            return Some(text);
        }
        let action = "leave out scheme and path";
        self.refuse(name, Remark::new("not a host name", WHAT, action));
        None
    }

    /// A boolean.
    pub(super) fn flag(&mut self, name: &str, default: bool) -> bool {
        match self.raw(name) {
            None | Some((_, Value::Empty(..))) => default,
            Some((path, value)) => self.keys.flag_of(&path, value).unwrap_or(default),
        }
    }

    /// A boolean that has to be there.
    pub(super) fn required_flag(&mut self, name: &str) -> Option<bool> {
        match self.given(name) {
            None => {
                self.missing(name, "true or false");
                None
            }
            Some((path, value)) => self.keys.flag_of(&path, value),
        }
    }

    /// A whole number.
    pub(super) fn number(&mut self, name: &str, range: RangeInclusive<u64>) -> Option<u64> {
        let (path, value) = self.given(name)?;
        self.keys.number_of(&path, value, range)
    }

    /// A whole number; digits in quotes will do, as they do for Quay where it makes text of it anyway.
    pub(super) fn quoted_number(&mut self, name: &str, range: RangeInclusive<u64>) -> Option<u64> {
        let (path, value) = self.given(name)?;
        let digits = value
            .as_str()
            .filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))
            .and_then(|text| text.parse::<u64>().ok());
        match digits {
            None => self.keys.number_of(&path, value, range),
            Some(number) if range.contains(&number) => Some(number),
            Some(_) => {
                let allowed = format!("a whole number from {} to {}", range.start(), range.end());
                let remark = Remark::new("out of range", allowed, "change it");
                self.keys.refuse(&path, Some(value), remark);
                None
            }
        }
    }

    /// A port.
    pub(super) fn port(&mut self, name: &str) -> Option<u16> {
        let number = self.quoted_number(name, 1..=u64::from(u16::MAX))?;
        u16::try_from(number).ok()
    }

    /// A time in seconds, with a fraction if need be.
    pub(super) fn seconds(&mut self, name: &str, default: Duration) -> Duration {
        let Some((path, value)) = self.given(name) else {
            return default;
        };
        let seconds = match value {
            Value::Num(_, number) => number
                .to_u128()
                .and_then(|whole| u32::try_from(whole).ok())
                .map(f64::from)
                .or_else(|| number.to_f64()),
            _ => None,
        };
        seconds
            .filter(|seconds| (0.001..=SECONDS_MAX).contains(seconds))
            .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
            .unwrap_or_else(|| {
                let allowed = format!("a number of seconds, more than 0, up to {SECONDS_MAX}");
                let remark = Remark::new("not a time in seconds", allowed, "change it");
                self.keys.refuse(&path, Some(value), remark);
                default
            })
    }

    /// A file that has to be there and can be read now: one in the directory of the configuration, unless its name is a whole path.
    pub(super) fn required_file(&mut self, name: &str) -> Option<PathBuf> {
        let text = self.required_text(name, "the name of a file beside config.yaml")?;
        let path = self.keys.directory().join(text);
        self.check_file(name, &path);
        Some(path)
    }

    /// A file that can be read now. Quay's configurations name it as seen from Quay's own directory, where `conf/stack` is that of the
    /// configuration; any other relative path starts from the working directory.
    pub(super) fn file(&mut self, name: &str) -> Option<PathBuf> {
        let text = self.text(name)?;
        let path = match text.strip_prefix("conf/stack/") {
            Some(beside) => self.keys.directory().join(beside),
            None => PathBuf::from(text),
        };
        self.check_file(name, &path);
        Some(path)
    }

    fn check_file(&mut self, name: &str, path: &std::path::Path) {
        // Asked first, because opening a pipe would wait for somebody to write to it.
        let opened = std::fs::metadata(path).and_then(|found| {
            if found.is_file() {
                File::open(path).map(|_| ())
            } else {
                Err(std::io::Error::other("it is not a file"))
            }
        });
        if let Err(error) = opened {
            let problem = format!("the file {} cannot be read: {error}", path.display());
            let action = "put it there, readable by this user";
            self.refuse_absent(name, Remark::new(problem, "", action));
        }
    }
}

fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Empty(..) => true,
        Value::String(_, text) => text.is_empty(),
        Value::Char(..) | Value::Bool(..) | Value::Num(..) | Value::Dict(..) | Value::Array(..) => {
            false
        }
    }
}

/// Notes every entry of the map at `path` that is none of `known`. Values are not shown: what is misspelt may be the name of a secret.
pub(super) fn refuse_unknown(
    keys: &mut Keys,
    of_what: &str,
    path: &str,
    entries: &Dict,
    known: &[&str],
) {
    let mut known = known.to_vec();
    known.sort_unstable();
    for (name, value) in entries {
        if !known.contains(&name.as_str()) {
            let problem = format!("unknown parameter of {of_what}");
            let hint = did_you_mean(name, known.iter().copied());
            let remark = Remark::new(problem, known.join(", "), hint);
            let given = format!("{path}.{name}");
            keys.refuse_absent(&given, value, remark);
            if let Some(near) = nearest(name, known.iter().copied()) {
                keys.misspells(&given, &format!("{path}.{near}"));
            }
        }
    }
}
