//! The map of locations: their ids, and that no two of them are the same store.

use std::path::Path;

use figment::value::Value;

use super::driver::{self, Driver};
use super::local::LocalStorage;
use super::same_store::{Place, Relation};
use crate::reader::{Keys, Remark, did_you_mean};

/// One store, under the id that placements name it by.
#[derive(Clone, Debug, PartialEq)]
pub struct Location {
    /// Its id.
    pub name: String,
    /// What it is.
    pub driver: Driver,
    /// `ROADSTEAD_LOCATION_COSTS`, a map of ids and numbers from 0 to 1000000000: what it costs to read from it, in whatever unit, the same
    /// for all (default: 0). Of two locations that are otherwise as good, the cheaper is read.
    pub cost: f64,
}

pub(super) const CONFIG: &str = "DISTRIBUTED_STORAGE_CONFIG";
const COSTS: &str = "ROADSTEAD_LOCATION_COSTS";

/// The longest id, in characters: the width of Quay's column.
const NAME_CHARACTERS_MAX: usize = 255;

/// The highest cost. Any real price fits into it, in any currency.
const COST_MAX: f64 = 1_000_000_000.0;

/// What Quay's own defaults say where a configuration is silent about preference and default locations.
pub(super) const QUAYS_DEFAULT_LOCATION: &str = "local_us";

/// The locations that are fine, and the names of all of them.
pub(super) fn read(keys: &mut Keys) -> (Vec<Location>, Vec<String>) {
    let (mut locations, names) = read_map(keys);
    read_costs(keys, &mut locations, &names);
    (locations, names)
}

fn read_map(keys: &mut Keys) -> (Vec<Location>, Vec<String>) {
    let Some(value) = keys.value(CONFIG) else {
        if let Some(data_dir) = keys.data_dir() {
            let locations = standalone_locations(data_dir);
            let names = locations
                .iter()
                .map(|location| location.name.clone())
                .collect();
            return (locations, names);
        }
        let allowed = format!("a map of ids, each with {}", driver::FORM);
        keys.refuse(
            CONFIG,
            None,
            Remark::new("it is missing", allowed, "name every store of every region"),
        );
        return (Vec::new(), Vec::new());
    };
    let entries = match &value {
        Value::Dict(_, map) if !map.is_empty() => keys.in_order(CONFIG, &value, map),
        _ => {
            let allowed = format!("a map of at least one id, each with {}", driver::FORM);
            keys.refuse_absent(
                CONFIG,
                &value,
                Remark::new("it holds no location", allowed, "correct it"),
            );
            return (Vec::new(), Vec::new());
        }
    };
    let mut locations = Vec::with_capacity(entries.len());
    let mut places: Vec<(String, Place)> = Vec::with_capacity(entries.len());
    for (name, entry) in &entries {
        let path = format!("{CONFIG}.{name}");
        check_name(keys, &path, name, entry);
        let Some(driver) = driver::read(keys, &path, entry) else {
            continue;
        };
        let place = Place::of(&driver);
        compare(keys, &path, entry, &place, &places);
        places.push((name.clone(), place));
        locations.push(Location {
            name: name.clone(),
            driver,
            cost: 0.0,
        });
    }
    (
        locations,
        entries.into_iter().map(|(name, _)| name).collect(),
    )
}

fn standalone_locations(data_dir: &Path) -> Vec<Location> {
    ["usstorage", "eustorage"]
        .into_iter()
        .map(|name| Location {
            name: name.to_owned(),
            driver: Driver::LocalStorage(LocalStorage {
                storage_path: data_dir.join(name),
            }),
            cost: 0.0,
        })
        .collect()
}

fn check_name(keys: &mut Keys, path: &str, name: &str, entry: &Value) {
    if name.is_empty()
        || name.chars().any(char::is_control)
        || name.chars().count() > NAME_CHARACTERS_MAX
    {
        let allowed = format!("1 to {NAME_CHARACTERS_MAX} characters, no control characters");
        let remark = Remark::new("not an id for a location", allowed, "rename it");
        keys.refuse_absent(path, entry, remark);
    } else if name.chars().any(char::is_whitespace) {
        let problem =
            "an id with whitespace cannot be named in QUAY_DISTRIBUTED_STORAGE_PREFERENCE";
        keys.warn(path, Some(entry), Remark::new(problem, "", ""));
    }
}

/// Holds the store of the location at `path` against those before it.
fn compare(keys: &mut Keys, path: &str, entry: &Value, place: &Place, others: &[(String, Place)]) {
    for (name, other) in others {
        match place.relation(other) {
            Relation::Apart => {}
            Relation::Same => {
                // Both of them would say that they hold a blob that is there once.
                let problem = format!("it is the same {place} as that of {name}");
                let allowed = format!("a {} of its own", place.noun());
                let action = "give each location its own, or take one of the two out";
                keys.refuse_absent(path, entry, Remark::new(problem, allowed, action));
            }
            Relation::Inside => {
                let problem = format!("it lies inside the {other} of {name}");
                keys.warn(path, Some(entry), Remark::new(problem, "", NESTED));
            }
            Relation::Around => {
                let problem = format!("it lies around the {other} of {name}");
                keys.warn(path, Some(entry), Remark::new(problem, "", NESTED));
            }
        }
    }
}

/// What to do about locations inside each other.
const NESTED: &str = "they are lost together; give each location its own, unless that is meant";

fn read_costs(keys: &mut Keys, locations: &mut [Location], names: &[String]) {
    let Some(value) = keys.value(COSTS) else {
        return;
    };
    let entries = match &value {
        Value::Empty(..) => return,
        Value::Dict(_, map) => keys.in_order(COSTS, &value, map),
        _ => {
            let remark = Remark::new(
                "not a map",
                "a map of ids and numbers, such as {us: 0, eu: 0.09}",
                "correct it",
            );
            keys.refuse(COSTS, Some(&value), remark);
            return;
        }
    };
    for (name, value) in &entries {
        let path = format!("{COSTS}.{name}");
        if !names.contains(name) {
            // Without any location the ids cannot be judged, and that has been reported.
            if !names.is_empty() {
                let hint = did_you_mean(name, names.iter().map(String::as_str));
                let problem = format!("{name:?} is no location of {CONFIG}");
                let remark = Remark::new(problem, names.join(", "), hint);
                keys.refuse(&path, Some(value), remark);
            }
            continue;
        }
        let cost = as_number(value).filter(|cost| (0.0..=COST_MAX).contains(cost));
        let location = locations.iter_mut().find(|location| location.name == *name);
        match (cost, location) {
            (Some(cost), Some(location)) => location.cost = cost,
            // The location itself was refused.
            (Some(_), None) => {}
            (None, _) => {
                let remark = Remark::new(
                    "not a cost",
                    format!("a number from 0 to {COST_MAX}"),
                    "change it",
                );
                keys.refuse(&path, Some(value), remark);
            }
        }
    }
}

fn as_number(value: &Value) -> Option<f64> {
    match value {
        Value::Num(_, number) => number.to_f64().or_else(|| {
            let whole = u32::try_from(number.to_u128()?).ok()?;
            Some(f64::from(whole))
        }),
        _ => None,
    }
}
