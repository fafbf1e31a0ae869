//! For how long deleted tags come back, and which tags cannot be moved.

use std::time::Duration;

use figment::value::Value;

use crate::reader::{Keys, Remark};
use crate::units;

/// For how long deleted tags come back, and which tags cannot be moved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tags {
    /// `DEFAULT_TAG_EXPIRATION`: for how long a new namespace keeps deleted tags, such as `2w` (the default) or `0s`.
    pub default_expiration: Duration,
    /// `TAG_EXPIRATION_OPTIONS`: the durations that a namespace may choose from (default: `0s`, `1d`, `1w`, `2w`, `4w`), in the order given.
    pub expiration_options: Vec<Duration>,
    /// `FEATURE_IMMUTABLE_TAGS`: whether tags may be marked so that they can be neither moved nor deleted (default: false).
    pub immutable: bool,
    /// `FEATURE_IMMUTABLE_TAGS_CAN_EXPIRE`: whether such tags may have an end (default: false).
    pub immutable_can_expire: bool,
}

const DEFAULT: &str = "DEFAULT_TAG_EXPIRATION";
const OPTIONS: &str = "TAG_EXPIRATION_OPTIONS";

const DAY_HOURS: u64 = 24;

impl Tags {
    pub(super) fn read(keys: &mut Keys) -> Self {
        let default_expiration = keys.duration(DEFAULT, Duration::from_hours(14 * DAY_HOURS));
        let expiration_options = read_options(keys);
        if !expiration_options.contains(&default_expiration) {
            let value = keys.value(DEFAULT).or_else(|| keys.value(OPTIONS));
            let key = if keys.value(DEFAULT).is_some() {
                DEFAULT
            } else {
                OPTIONS
            };
            let remark = Remark::new(
                format!(
                    "{DEFAULT} is none of {OPTIONS}: a namespace that changes its duration cannot go back to it"
                ),
                "",
                "add it to them",
            );
            keys.warn(key, value.as_ref(), remark);
        }
        Self {
            default_expiration,
            expiration_options,
            immutable: keys.flag("FEATURE_IMMUTABLE_TAGS", false),
            immutable_can_expire: keys.flag("FEATURE_IMMUTABLE_TAGS_CAN_EXPIRE", false),
        }
    }
}

fn read_options(keys: &mut Keys) -> Vec<Duration> {
    let defaults = [0, 1, 7, 14, 28].map(|days| Duration::from_hours(days * DAY_HOURS));
    let Some(texts) = keys.texts(OPTIONS, "durations") else {
        return defaults.into();
    };
    let value = keys.value(OPTIONS);
    let mut options = Vec::new();
    for text in texts {
        if let Some(duration) = units::duration(&text) {
            options.push(duration);
        } else {
            let problem = format!("{text:?} is not a duration");
            let remark = Remark::new(problem, units::DURATION_GRAMMAR, "change it");
            keys.refuse(OPTIONS, value.as_ref(), remark);
        }
    }
    if matches!(value, Some(Value::Empty(..))) {
        return defaults.into();
    }
    options
}
