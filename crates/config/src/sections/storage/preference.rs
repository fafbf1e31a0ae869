//! Which locations are preferred here, and which get everything: lists of ids.

use std::collections::BTreeSet;

use super::locations::{CONFIG, QUAYS_DEFAULT_LOCATION};
use crate::reader::{Keys, Remark, did_you_mean};
use crate::schema::is_nothing;

const PREFERENCE: &str = "DISTRIBUTED_STORAGE_PREFERENCE";
const DEFAULTS: &str = "DISTRIBUTED_STORAGE_DEFAULT_LOCATIONS";

/// The ids in the order this region prefers them.
pub(super) fn read_preference(keys: &mut Keys, replication: bool, names: &[String]) -> Vec<String> {
    let given = read_ids(keys, PREFERENCE, names);
    let standalone = keys.data_dir().is_some();
    match given {
        Some(ids) if !ids.is_empty() => ids,
        None if names.iter().any(|name| name == QUAYS_DEFAULT_LOCATION) => {
            vec![QUAYS_DEFAULT_LOCATION.to_owned()]
        }
        None if standalone => names.to_vec(),
        Some(_) | None if replication => {
            let value = keys.value(PREFERENCE);
            // A value that was refused has been reported already.
            if value.as_ref().is_none_or(is_nothing) {
                let remark = Remark::new(
                    "FEATURE_STORAGE_REPLICATION needs a preference",
                    format!("a list of {}", names.join(", ")),
                    "set it, or QUAY_DISTRIBUTED_STORAGE_PREFERENCE in each region's environment",
                );
                keys.refuse(PREFERENCE, value.as_ref(), remark);
            }
            Vec::new()
        }
        Some(_) | None => names.to_vec(),
    }
}

/// The ids of the locations that get everything.
pub(super) fn read_defaults(keys: &mut Keys, replication: bool, names: &[String]) -> Vec<String> {
    let standalone = keys.data_dir().is_some();
    let given = read_ids(keys, DEFAULTS, names);
    let defaults = match given {
        Some(ids) => ids,
        None if standalone => names.to_vec(),
        None => names
            .iter()
            .filter(|name| *name == QUAYS_DEFAULT_LOCATION)
            .cloned()
            .collect(),
    };
    let value = keys.value(DEFAULTS);
    // Of a value that was refused, and of ids without locations to hold them against, enough has been said.
    let nothing_is_listed = value.as_ref().is_none_or(is_nothing);
    if replication && defaults.is_empty() && nothing_is_listed && !names.is_empty() {
        let remark = Remark::new(
            "no location gets a copy of everything: what is pushed stays where it was pushed",
            "",
            "list the locations that should hold everything",
        );
        keys.warn(DEFAULTS, value.as_ref(), remark);
    }
    defaults
}

/// A list of configured ids, each once. Unknown ones are refused and left out; `None` when the key is not there.
fn read_ids(keys: &mut Keys, key: &'static str, names: &[String]) -> Option<Vec<String>> {
    let given = keys.texts(key, "location ids")?;
    let value = keys.value(key);
    let mut seen = BTreeSet::new();
    let mut ids = Vec::new();
    for id in given {
        if !seen.insert(id.clone()) {
            let remark = Remark::new(
                format!("{id:?} is listed twice; the first counts"),
                "",
                "list it once",
            );
            keys.warn(key, value.as_ref(), remark);
        } else if names.contains(&id) {
            ids.push(id);
        } else if !names.is_empty() {
            // Without any location the list cannot be judged, and that has been reported.
            let hint = did_you_mean(&id, names.iter().map(String::as_str));
            let remark = Remark::new(
                format!("{id:?} is no location of {CONFIG}"),
                names.join(", "),
                hint,
            );
            keys.refuse(key, value.as_ref(), remark);
        }
    }
    Some(ids)
}
