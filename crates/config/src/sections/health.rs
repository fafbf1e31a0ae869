//! What health checks ask for.

use figment::value::Value;

use crate::reader::{Keys, Remark, did_you_mean};

/// What health checks ask for.
#[derive(Clone, Debug, PartialEq)]
pub struct Health {
    /// `HEALTH_CHECKER`: the services that the instance check leaves out, in the list's second member under `instance_skips` (default: `redis` and
    /// `storage`). The first member names one of Quay's checkers, which are the same here; what else they take is for Amazon's databases, which
    /// are asked nothing here.
    pub instance_skips: Vec<String>,
    /// `HEALTH_CHECKER_INSTANCE_CHECK_PREFERRED_STORAGE`: the instance check fails when the first location of the preference cannot be read and
    /// written (default: false).
    pub instance_checks_preferred_storage: bool,
    /// `DISTRIBUTED_STORAGE_VALIDATE_ENDTOEND` and `DISTRIBUTED_STORAGE_REQUIRES_ALL_AVAILABLE`: which locations the end-to-end check needs.
    pub storage: StorageCheck,
    /// `DISKSPACE_HEALTH_THRESHOLD`: the share of the disk that has to be free, 0 to 1 (default: 0.01).
    pub disk_free_min: f64,
    /// `DISKSPACE_HEALTH_WARNING_THRESHOLD`: the free share below which `/health/warning` says so, 0 to 1 (default: 0.1).
    pub disk_free_warning: f64,
    /// `FEATURE_BILLING`: whether there is `/health/dbrevision` (default: false). It changes nothing else.
    pub database_revision: bool,
}

/// Which locations the end-to-end check needs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StorageCheck {
    /// One that can be read, and one that can be written: then the region serves.
    #[default]
    Any,
    /// Every location of the preference (`DISTRIBUTED_STORAGE_VALIDATE_ENDTOEND`).
    Preferred,
    /// Every location (`DISTRIBUTED_STORAGE_REQUIRES_ALL_AVAILABLE`).
    All,
}

/// What Quay calls its checkers.
const CHECKERS: [&str; 4] = [
    "LocalHealthCheck",
    "LDAPHealthCheck",
    "RDSAwareHealthCheck",
    "ProductionHealthCheck",
];

/// The services of the instance check that can be left out.
const SERVICES: [&str; 6] = [
    "auth",
    "database",
    "disk_space",
    "redis",
    "service_key",
    "storage",
];

impl Health {
    pub(super) fn read(keys: &mut Keys) -> Self {
        let preferred = keys.flag("DISTRIBUTED_STORAGE_VALIDATE_ENDTOEND", false);
        let all = keys.flag("DISTRIBUTED_STORAGE_REQUIRES_ALL_AVAILABLE", false);
        Self {
            instance_skips: instance_skips(keys)
                .unwrap_or_else(|| vec!["redis".to_owned(), "storage".to_owned()]),
            instance_checks_preferred_storage: keys
                .flag("HEALTH_CHECKER_INSTANCE_CHECK_PREFERRED_STORAGE", false),
            storage: match (preferred, all) {
                (_, true) => StorageCheck::All,
                (true, false) => StorageCheck::Preferred,
                (false, false) => StorageCheck::Any,
            },
            disk_free_min: share(keys, "DISKSPACE_HEALTH_THRESHOLD", 0.01),
            disk_free_warning: share(keys, "DISKSPACE_HEALTH_WARNING_THRESHOLD", 0.1),
            database_revision: keys.flag("FEATURE_BILLING", false),
        }
    }
}

/// A number from 0 to 1.
fn share(keys: &mut Keys, key: &'static str, default: f64) -> f64 {
    let Some(value) = keys.value(key) else {
        return default;
    };
    let number = value.to_num().map(|number| {
        number.to_f64().or_else(|| {
            number
                .to_u128()
                .and_then(|whole| u8::try_from(whole).ok())
                .map(f64::from)
        })
    });
    match number {
        Some(Some(share)) if (0.0..=1.0).contains(&share) => return share,
        Some(_) => {
            let remark = Remark::new("out of range", "a number from 0 to 1", "change it");
            keys.refuse(key, Some(&value), remark);
        }
        None => keys.mismatch(
            key,
            &value,
            "a number from 0 to 1",
            "write the number, without quotes",
        ),
    }
    default
}

fn instance_skips(keys: &mut Keys) -> Option<Vec<String>> {
    const KEY: &str = "HEALTH_CHECKER";
    const ALLOWED: &str = "a name and its parameters, such as [LocalHealthCheck, {}]";
    let value = keys.value(KEY)?;
    let Value::Array(_, members) = &value else {
        keys.mismatch(KEY, &value, ALLOWED, "write it as a list");
        return None;
    };
    let (name, parameters) = match &**members {
        [name] => (name, None),
        [name, parameters] => (name, Some(parameters)),
        _ => {
            let remark = Remark::new("not a name and its parameters", ALLOWED, "change it");
            keys.refuse(KEY, Some(&value), remark);
            return None;
        }
    };
    let name = keys.text_of(&format!("{KEY}[0]"), name)?;
    if !CHECKERS.contains(&&*name) {
        let remark = Remark::new(
            format!("there is no checker `{name}`"),
            CHECKERS.join(", "),
            did_you_mean(&name, CHECKERS),
        );
        keys.refuse(KEY, Some(&value), remark);
        return None;
    }
    let parameters = match parameters {
        None | Some(Value::Empty(..)) => return None,
        Some(Value::Dict(_, parameters)) => parameters,
        Some(other) => {
            let path = format!("{KEY}[1]");
            keys.mismatch(&path, other, "a map of parameters", "write {} for none");
            return None;
        }
    };
    let path = format!("{KEY}[1].instance_skips");
    let skips = match parameters.get("instance_skips")? {
        Value::Empty(..) => return None,
        Value::Array(_, skips) => skips,
        other => {
            let allowed = "a list of services";
            keys.mismatch(&path, other, allowed, "write it as a list");
            return None;
        }
    };
    let mut names = Vec::with_capacity(skips.len());
    for (index, skip) in skips.iter().enumerate() {
        let path = format!("{path}[{index}]");
        let Some(name) = keys.text_of(&path, skip) else {
            continue;
        };
        if SERVICES.contains(&&*name) {
            names.push(name);
        } else {
            let remark = Remark::new(
                format!("there is no service `{name}` to skip"),
                SERVICES.join(", "),
                did_you_mean(&name, SERVICES),
            );
            keys.refuse(&path, Some(skip), remark);
        }
    }
    Some(names)
}
