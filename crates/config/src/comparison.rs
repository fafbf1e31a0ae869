//! In what two configurations differ, and running processes among themselves.
//!
//! Values are compared in one form, so that `"true"` and `true`, `1G` and `1024M`, and a default that is written and one that is not are the same. What
//! the processes show each other are keyed hashes: whoever reads them learns that two values differ, and no value.

use std::collections::{BTreeMap, BTreeSet};

use figment::value::Value;
use serde::{Deserialize, Serialize};

use crate::RawKeys;
use crate::finding::shown_json;
use crate::schema::{Key, key, keys};

/// A place at which two configurations differ.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// The path, such as `DISTRIBUTED_STORAGE_CONFIG.us[1].bucket_name`.
    pub path: String,
    /// The value of the first, as findings show it; `None`: neither a value nor a default.
    pub first: Option<String>,
    /// The value of the second.
    pub second: Option<String>,
    /// Whether regions may differ in it.
    pub expected: bool,
    /// Whether it has an effect here. Instances of Quay may see it differently.
    pub used: bool,
}

/// In what two configurations differ, by path.
pub fn differences(first: &RawKeys, second: &RawKeys) -> Vec<Difference> {
    let names: BTreeSet<&str> = [first, second]
        .into_iter()
        .flat_map(RawKeys::iter)
        .map(|(name, _)| name)
        .collect();
    let mut differences = Vec::new();
    for name in names {
        let key = key(name);
        let in_effect = |keys: &RawKeys| match key {
            Some(key) => effective(key, keys.get(name)),
            None => keys.get(name).cloned(),
        };
        compare(
            name,
            in_effect(first).as_ref(),
            in_effect(second).as_ref(),
            &mut |path, first, second| {
                let shown =
                    |value: Option<&serde_json::Value>| value.map(|value| shown_json(path, value));
                differences.push(Difference {
                    path: path.to_owned(),
                    first: shown(first),
                    second: shown(second),
                    expected: key.is_some_and(|key| key.regional),
                    used: key.is_some_and(Key::is_used),
                });
            },
        );
    }
    differences
}

type Differ<'f> = dyn FnMut(&str, Option<&serde_json::Value>, Option<&serde_json::Value>) + 'f;

/// Goes down into maps and lists of the same length, so that a difference is told where it is.
fn compare(
    path: &str,
    first: Option<&serde_json::Value>,
    second: Option<&serde_json::Value>,
    differ: &mut Differ<'_>,
) {
    use serde_json::Value::{Array, Object};
    match (first, second) {
        _ if first == second => {}
        (Some(Object(first)), Some(Object(second))) => {
            let names: BTreeSet<&String> = first.keys().chain(second.keys()).collect();
            for name in names {
                let path = format!("{path}.{name}");
                compare(&path, first.get(name), second.get(name), differ);
            }
        }
        // A list of texts is one value: of an order of preference the places say nothing.
        (Some(Array(first)), Some(Array(second)))
            if first.len() == second.len() && !first.iter().all(serde_json::Value::is_string) =>
        {
            for (index, (first, second)) in first.iter().zip(second).enumerate() {
                let path = format!("{path}[{index}]");
                compare(&path, Some(first), Some(second), differ);
            }
        }
        _ => differ(path, first, second),
    }
}

/// What counts of a key, in one form.
fn effective(key: &Key, given: Option<&serde_json::Value>) -> Option<serde_json::Value> {
    let value = match given {
        Some(given) => Value::serialize(given).ok(),
        None => key.default_value(),
    };
    value.map(|value| key.kind.plain(&value))
}

/// Keyed hashes of what counts of every key in a process, by key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Fingerprint(BTreeMap<String, String>);

impl Fingerprint {
    /// Of the keys with an effect in which regions should not differ. `hash` makes of a key and its value what cannot be undone without the secret
    /// that it holds.
    pub fn of(raw: &RawKeys, hash: impl Fn(&[u8]) -> String) -> Self {
        let regular = keys().filter(|key| key.is_used() && !key.regional);
        Self(
            regular
                .map(|key| {
                    let value = effective(key, raw.get(key.name));
                    // The name keeps keys of the same value apart.
                    let text = format!("{}={}", key.name, serde_json::json!(value));
                    (key.name.to_owned(), hash(text.as_bytes()))
                })
                .collect(),
        )
    }
}

/// A key in which processes differ.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Drift {
    /// The key.
    pub key: String,
    /// The names of the processes, those with the same value together; the largest group first.
    pub groups: Vec<Vec<String>>,
}

/// The key with which the hashes are made.
const HASHED_WITH: &str = "DATABASE_SECRET_KEY";

/// In which keys processes differ, by key. A key that only some processes know, which are newer than the others, is compared among those. Hashes that
/// were made with different secrets say nothing: then that is the one difference.
pub fn drift(processes: &[(String, Fingerprint)]) -> Vec<Drift> {
    let names: BTreeSet<&String> = processes
        .iter()
        .flat_map(|(_, fingerprint)| fingerprint.0.keys())
        .collect();
    let of_key = |key: &str| {
        let mut by_hash: BTreeMap<&String, Vec<String>> = BTreeMap::new();
        for (process, fingerprint) in processes {
            if let Some(hash) = fingerprint.0.get(key) {
                by_hash.entry(hash).or_default().push(process.clone());
            }
        }
        let mut groups: Vec<Vec<String>> = by_hash.into_values().collect();
        for group in &mut groups {
            group.sort();
        }
        groups.sort_by(|one, other| other.len().cmp(&one.len()).then_with(|| one.cmp(other)));
        (groups.len() > 1).then(|| Drift {
            key: key.to_owned(),
            groups,
        })
    };
    if let Some(drift) = of_key(HASHED_WITH) {
        return vec![drift];
    }
    names.into_iter().filter_map(|key| of_key(key)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn raw(keys: serde_json::Value) -> RawKeys {
        let serde_json::Value::Object(keys) = keys else {
            panic!("a map");
        };
        RawKeys(keys.into_iter().collect())
    }

    fn told(first: serde_json::Value, second: serde_json::Value) -> Vec<String> {
        differences(&raw(first), &raw(second))
            .into_iter()
            .map(|difference| {
                let shown = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
                format!(
                    "{} {} {}{}",
                    difference.path,
                    shown(difference.first),
                    shown(difference.second),
                    if difference.expected { " expected" } else { "" },
                )
            })
            .collect()
    }

    #[test]
    fn what_means_the_same_is_no_difference() {
        assert_eq!(
            told(
                json!({"DISABLE_PUSHES": "False", "MAXIMUM_LAYER_SIZE": "1G", "DEFAULT_TAG_EXPIRATION": "2w"}),
                json!({"MAXIMUM_LAYER_SIZE": "1024M", "DEFAULT_TAG_EXPIRATION": "14d", "SUPER_USERS": []}),
            ),
            [""; 0]
        );
    }

    #[test]
    fn a_difference_is_told_where_it_is_and_secrets_are_not_shown() {
        let stores = |bucket: &str, secret: &str| {
            json!({
                "DISTRIBUTED_STORAGE_CONFIG": {"us": ["S3Storage", {"s3_bucket": bucket, "s3_secret_key": secret}]},
                "DISTRIBUTED_STORAGE_PREFERENCE": [bucket],
                "SECRET_KEY": secret,
                "MY_OWN": {"api_token": {"of": bucket}},
            })
        };
        assert_eq!(
            told(stores("a", "hunter2"), stores("b", "hunter3")),
            [
                "DISTRIBUTED_STORAGE_CONFIG.us[1].s3_bucket \"a\" \"b\"",
                "DISTRIBUTED_STORAGE_CONFIG.us[1].s3_secret_key *** ***",
                "DISTRIBUTED_STORAGE_PREFERENCE [\"a\"] [\"b\"] expected",
                "MY_OWN.api_token.of *** ***",
                "SECRET_KEY *** ***",
            ]
        );
    }

    #[test]
    fn the_proxies_before_a_region_are_its_own() {
        let region = |network: &str, proxies: u32, through_proxy: bool, version: &str| {
            raw(json!({
                "TRUSTED_PROXY_CIDR": [network],
                "PROXY_COUNT": proxies,
                "EXTERNAL_TLS_TERMINATION": through_proxy,
                "FEATURE_PROXY_PROTOCOL": through_proxy,
                "FEATURE_LISTEN_IP_VERSION": version,
            }))
        };
        let us = region("10.0.0.0/8", 1, true, "IPv4");
        let eu = region("192.168.0.0/16", 2, false, "dual-stack");
        let unexpected: Vec<String> = differences(&us, &eu)
            .into_iter()
            .filter(|difference| !difference.expected)
            .map(|difference| difference.path)
            .collect();
        assert!(unexpected.is_empty(), "{unexpected:?}");
    }

    /// A hash that can be read.
    fn fingerprint(keys: serde_json::Value) -> Fingerprint {
        Fingerprint::of(&raw(keys), |text| {
            String::from_utf8_lossy(text).into_owned()
        })
    }

    #[test]
    fn processes_drift_apart_in_keys_that_regions_should_share_and_in_no_others() {
        let process = |name: &str, keys| (name.to_owned(), fingerprint(keys));
        let processes = [
            process(
                "us-1",
                json!({"SUPER_USERS": ["a"], "DISTRIBUTED_STORAGE_PREFERENCE": ["us"]}),
            ),
            process(
                "us-2",
                json!({"SUPER_USERS": ["a"], "AVATAR_KIND": "local"}),
            ),
            process(
                "eu-1",
                json!({"SUPER_USERS": ["b"], "ROADSTEAD_LOCATION_COSTS": {"us": 1}}),
            ),
        ];
        let groups = vec![
            vec!["us-1".to_owned(), "us-2".to_owned()],
            vec!["eu-1".to_owned()],
        ];
        let key = "SUPER_USERS".to_owned();
        assert_eq!(drift(&processes), [Drift { key, groups }]);
        assert!(drift(&processes[..2]).is_empty() && drift(&[]).is_empty());
    }

    #[test]
    fn hashes_of_different_secrets_are_one_difference_and_keys_that_others_do_not_know_are_none() {
        let process = |name: &str, keys: &[(&str, &str)]| {
            let entries = keys
                .iter()
                .map(|(key, hash)| ((*key).to_owned(), (*hash).to_owned()));
            (name.to_owned(), Fingerprint(entries.collect()))
        };
        let drifting = |processes: &[(String, Fingerprint)]| {
            let keys = drift(processes).into_iter().map(|drift| drift.key);
            keys.collect::<Vec<_>>()
        };
        let one = process(
            "a",
            &[("DATABASE_SECRET_KEY", "1"), ("X", "1"), ("NEW", "1")],
        );
        let other = process("b", &[("DATABASE_SECRET_KEY", "2"), ("X", "2")]);
        assert_eq!(drifting(&[one.clone(), other]), ["DATABASE_SECRET_KEY"]);
        let older = process("c", &[("DATABASE_SECRET_KEY", "1"), ("X", "1")]);
        assert_eq!(drifting(&[one, older]), [""; 0]);
    }
}
