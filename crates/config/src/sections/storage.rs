//! Where the blobs are: the locations, the order this region prefers them in, and which of them get everything.

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};

use figment::value::{Dict, Value};

use crate::reader::{Keys, Remark, did_you_mean};

/// Where the blobs are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Storage {
    /// `DISTRIBUTED_STORAGE_CONFIG`: every location, in the order of the file. Required with a configuration; a registry
    /// without one has the directories `usstorage` and `eustorage` under its data directory. Never empty.
    pub locations: Vec<Location>,
    /// `DISTRIBUTED_STORAGE_PREFERENCE`: ids in the order this region prefers them: the first gets what is pushed here, and
    /// reads go to the first that has the blob. The environment variable `QUAY_DISTRIBUTED_STORAGE_PREFERENCE` replaces it.
    /// Without a preference: all locations in the order of the file, which replication does not allow.
    pub preference: Vec<String>,
    /// `DISTRIBUTED_STORAGE_DEFAULT_LOCATIONS`: ids of the locations that get a copy of every blob, in the order given.
    pub default_locations: Vec<String>,
}

/// One store, under the id that placements name it by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Location {
    /// Its id.
    pub name: String,
    /// What it is.
    pub driver: Driver,
}

/// How a store is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Driver {
    /// `LocalStorage`: a directory of this machine.
    LocalStorage {
        /// `storage_path`: the directory; a relative one starts from the working directory.
        storage_path: PathBuf,
    },
}

const CONFIG: &str = "DISTRIBUTED_STORAGE_CONFIG";
const PREFERENCE: &str = "DISTRIBUTED_STORAGE_PREFERENCE";
const DEFAULTS: &str = "DISTRIBUTED_STORAGE_DEFAULT_LOCATIONS";

/// The one driver of this version.
const LOCAL: &str = "LocalStorage";

/// Every driver that Quay has.
const QUAYS_DRIVERS: [&str; 13] = [
    LOCAL,
    "S3Storage",
    "GoogleCloudStorage",
    "RadosGWStorage",
    "SwiftStorage",
    "CloudFrontedS3Storage",
    "AzureStorage",
    "RHOCSStorage",
    "CloudFlareStorage",
    "MultiCDNStorage",
    "IBMCloudStorage",
    "STSS3Storage",
    "AkamaiS3Storage",
];

/// The longest id, in characters: the width of Quay's column.
const NAME_CHARACTERS_MAX: usize = 255;

/// What Quay's own defaults say where a configuration is silent about preference and default locations.
const QUAYS_DEFAULT_LOCATION: &str = "local_us";

const FORM: &str = "[DRIVER, {PARAMETER: VALUE}]";

impl Storage {
    pub(super) fn read(keys: &mut Keys, replication: bool) -> Self {
        let (locations, names) = read_locations(keys);
        Self {
            preference: read_preference(keys, replication, &names),
            default_locations: read_defaults(keys, replication, &names),
            locations,
        }
    }
}

/// The locations that are fine, and the names of all of them.
fn read_locations(keys: &mut Keys) -> (Vec<Location>, Vec<String>) {
    let Some(value) = keys.value(CONFIG) else {
        if let Some(data_dir) = keys.data_dir() {
            let locations = standalone_locations(data_dir);
            let names = locations
                .iter()
                .map(|location| location.name.clone())
                .collect();
            return (locations, names);
        }
        let allowed = format!("a map of ids, each with {FORM}");
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
            let allowed = format!("a map of at least one id, each with {FORM}");
            keys.refuse(
                CONFIG,
                Some(&value),
                Remark::new("it holds no location", allowed, "correct it"),
            );
            return (Vec::new(), Vec::new());
        }
    };
    let mut locations: Vec<Location> = Vec::new();
    for (name, entry) in &entries {
        let path = format!("{CONFIG}.{name}");
        check_name(keys, &path, name, entry);
        let Some(driver) = read_driver(keys, &path, entry) else {
            continue;
        };
        let twin = locations
            .iter()
            .find(|other| same_store(&other.driver, &driver));
        if let Some(twin) = twin {
            let problem = format!("it is the same directory as that of {}", twin.name);
            let remark = Remark::new(
                problem,
                "a directory of its own",
                "give each location its own storage_path",
            );
            keys.refuse(&path, Some(entry), remark);
        }
        locations.push(Location {
            name: name.clone(),
            driver,
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
            driver: Driver::LocalStorage {
                storage_path: data_dir.join(name),
            },
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
        keys.refuse(path, Some(entry), remark);
    } else if name.chars().any(char::is_whitespace) {
        let problem =
            "an id with whitespace cannot be named in QUAY_DISTRIBUTED_STORAGE_PREFERENCE";
        keys.warn(path, Some(entry), Remark::new(problem, "", ""));
    }
}

fn same_store(one: &Driver, other: &Driver) -> bool {
    let Driver::LocalStorage { storage_path: one } = one;
    let Driver::LocalStorage {
        storage_path: other,
    } = other;
    // Compared without asking the disk, so that `a` and `./a/` are the same whether they exist or not.
    let parts = |path: &Path| -> Vec<PathBuf> {
        path.components()
            .filter(|part| *part != Component::CurDir)
            .map(|part| PathBuf::from(part.as_os_str()))
            .collect()
    };
    parts(one) == parts(other)
}

fn read_driver(keys: &mut Keys, path: &str, entry: &Value) -> Option<Driver> {
    let items = match entry {
        Value::Array(_, items) if (1..=2).contains(&items.len()) => items,
        _ => {
            let remark = Remark::new(
                "not a driver and its parameters",
                FORM,
                "write it as a list of the two",
            );
            keys.refuse(path, Some(entry), remark);
            return None;
        }
    };
    let driver_path = format!("{path}[0]");
    let driver = keys.text_of(&driver_path, items.first()?)?;
    if driver != LOCAL {
        let remark = if QUAYS_DRIVERS.contains(&driver.as_str()) {
            let problem = format!("the driver {driver} is not in this version");
            Remark::new(
                problem,
                LOCAL,
                "use LocalStorage, or wait for the version that has this driver",
            )
        } else {
            let hint = did_you_mean(&driver, QUAYS_DRIVERS);
            Remark::new("unknown driver", LOCAL, hint)
        };
        keys.refuse(&driver_path, items.first(), remark);
        return None;
    }
    let parameters_path = format!("{path}[1]");
    match items.get(1) {
        Some(Value::Dict(_, parameters)) => read_local(keys, &parameters_path, entry, parameters),
        None | Some(Value::Empty(..)) => read_local(keys, &parameters_path, entry, &Dict::new()),
        Some(other) => {
            let remark = Remark::new(
                "not a map of parameters",
                "{storage_path: DIRECTORY}",
                "correct it",
            );
            keys.refuse(&parameters_path, Some(other), remark);
            None
        }
    }
}

fn read_local(keys: &mut Keys, path: &str, entry: &Value, parameters: &Dict) -> Option<Driver> {
    const PARAMETERS: [&str; 1] = ["storage_path"];
    for (name, value) in parameters
        .iter()
        .filter(|(name, _)| !PARAMETERS.contains(&name.as_str()))
    {
        let problem = format!("unknown parameter of {LOCAL}");
        let remark = Remark::new(
            problem,
            PARAMETERS.join(", "),
            did_you_mean(name, PARAMETERS),
        );
        keys.refuse(&format!("{path}.{name}"), Some(value), remark);
    }
    let storage_path = format!("{path}.storage_path");
    let Some(value) = parameters.get("storage_path") else {
        let remark = Remark::new(
            "it is missing",
            "a directory",
            "name the directory that holds the blobs",
        );
        keys.refuse_absent(&storage_path, entry, remark);
        return None;
    };
    let text = keys.text_of(&storage_path, value)?;
    if text.contains('\0') {
        let remark = Remark::new(
            "a path cannot hold a zero byte",
            "a directory",
            "correct it",
        );
        keys.refuse(&storage_path, Some(value), remark);
        return None;
    }
    Some(Driver::LocalStorage {
        storage_path: text.into(),
    })
}

fn read_preference(keys: &mut Keys, replication: bool, names: &[String]) -> Vec<String> {
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
            // A value with ids that were all refused has been reported already.
            if !matches!(&value, Some(Value::Array(_, items)) if !items.is_empty()) {
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

fn read_defaults(keys: &mut Keys, replication: bool, names: &[String]) -> Vec<String> {
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
    if replication && defaults.is_empty() {
        let value = keys.value(DEFAULTS);
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
