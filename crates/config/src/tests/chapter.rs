//! The documented configuration of geo-replication, and every way in which one of its keys can be wrong: each is one finding that names the key.

use serde_json::{Value, json};

use super::*;

/// The configuration that Quay's documentation of geo-replication shows, with a host and other keys.
const CHAPTER: &str = include_str!("../../../../tests/fixtures/geo-replication/config.yaml");

fn chapter() -> Value {
    let yaml = crate::document::Document::from_yaml(CHAPTER).expect("YAML");
    serde_json::to_value(yaml.values).expect("JSON")
}

/// Everything that is said of a configuration, but for the one line that names what every configuration of Quay's holds.
fn findings(configuration: &Value, environment: &[(&str, &str)]) -> Vec<String> {
    let fixture = Fixture::new(configuration.to_string()).with(environment);
    let source = Source::Directory(fixture.directory.path().to_owned());
    let Checked {
        errors,
        warnings,
        notes,
        ..
    } = check(&source, &fixture.environment);
    let all = errors.iter().chain(&warnings).chain(&notes);
    all.filter(|finding| !finding.key.is_empty())
        .map(|finding| format!("{}: {finding}", finding.key))
        .collect()
}

/// The path of every key and parameter, as the steps to it.
fn paths(value: &Value, path: &[String], found: &mut Vec<Vec<String>>) {
    let entries: Vec<(String, &Value)> = match value {
        Value::Object(entries) => entries
            .iter()
            .map(|(key, value)| (key.clone(), value))
            .collect(),
        Value::Array(items) => items
            .iter()
            .enumerate()
            .filter(|(_, item)| item.is_object())
            .map(|(index, item)| (index.to_string(), item))
            .collect(),
        _ => Vec::new(),
    };
    for (key, value) in entries {
        let path = [path, &[key]].concat();
        if path.last().is_none_or(|last| last != "1") {
            found.push(path.clone());
        }
        paths(value, &path, found);
    }
}

/// The object around what `path` leads to.
fn around<'v>(configuration: &'v mut Value, path: &[String]) -> &'v mut Value {
    path[..path.len() - 1]
        .iter()
        .fold(configuration, |value, step| match value {
            Value::Array(items) => &mut items[step.parse::<usize>().expect("an index")],
            other => &mut other[step],
        })
}

/// `chapter` with another value at `path`; without one where there is none.
fn with(path: &[String], name: &str, value: Option<Value>) -> Value {
    let mut configuration = chapter();
    let last = path.last().expect("a step");
    let around = around(&mut configuration, path)
        .as_object_mut()
        .expect("a map");
    around.remove(last);
    if let Some(value) = value {
        around.insert(name.to_owned(), value);
    }
    configuration
}

/// A name with two letters swapped.
fn misspelt(name: &str) -> String {
    let mut letters: Vec<char> = name.chars().collect();
    let last = letters.len() - 1;
    letters.swap(last, last - 1);
    if letters.iter().collect::<String>() == name {
        letters.remove(last);
    }
    letters.into_iter().collect()
}

/// A value of another kind.
fn of_another_kind(value: &Value) -> Value {
    match value {
        Value::String(_) | Value::Bool(_) | Value::Array(_) => json!({"strange": 7}),
        Value::Null | Value::Number(_) | Value::Object(_) => json!("strange"),
    }
}

/// What only one of the stacks of keys has: it may be missing without a word, and holds whatever Redis takes.
fn is_free(path: &[String]) -> bool {
    path.len() > 1 && path[0].ends_with("_REDIS")
}

#[test]
fn two_regions_differ_in_the_environment_alone_and_nothing_is_said_of_either() {
    for (preference, first) in [
        ("usstorage eustorage", "usstorage"),
        ("eustorage", "eustorage"),
    ] {
        let environment = [(env::QUAY_DISTRIBUTED_STORAGE_PREFERENCE, preference)];
        assert_eq!(findings(&chapter(), &environment), [""; 0]);
        let fixture = Fixture::new(CHAPTER).with(&environment);
        assert_eq!(fixture.loaded().config.storage.preference[0], first);
    }
}

#[test]
fn a_key_that_is_missing_is_one_finding_that_names_it() {
    let mut all = Vec::new();
    paths(&chapter(), &[], &mut all);
    for path in all {
        let name = path.last().expect("a step").clone();
        let found = findings(&with(&path, &name, None), &[]);
        // What Quay itself does without, and locations, which are named by their ids.
        let optional = [
            "DB_CONNECTION_ARGS",
            "autorollback",
            "threadlocals",
            "storage_path",
            "port",
        ];
        let is_location = path.len() == 2 && path[0] == "DISTRIBUTED_STORAGE_CONFIG";
        if optional.contains(&name.as_str()) && found.is_empty() || is_free(&path) || is_location {
            continue;
        }
        assert_eq!(found.len(), 1, "{path:?}: {found:#?}");
        assert!(found[0].contains(&name), "{path:?}: {found:#?}");
    }
}

#[test]
fn a_key_that_is_misspelt_is_one_finding_that_names_the_right_one() {
    let mut all = Vec::new();
    paths(&chapter(), &[], &mut all);
    for path in all {
        let name = path.last().expect("a step");
        let is_location = path.len() == 2 && path[0] == "DISTRIBUTED_STORAGE_CONFIG";
        if is_free(&path) || is_location {
            continue;
        }
        let mut configuration = chapter();
        let value = around(&mut configuration, &path)[name].clone();
        let found = findings(&with(&path, &misspelt(name), Some(value)), &[]);
        assert_eq!(found.len(), 1, "{path:?}: {found:#?}");
        let advice = format!("did you mean {name}?");
        assert!(found[0].contains(&advice), "{path:?}: {found:#?}");
        assert!(found[0].contains(&misspelt(name)), "{path:?}: {found:#?}");
    }
}

#[test]
fn a_value_of_the_wrong_kind_is_one_finding_that_names_the_key() {
    let mut all = Vec::new();
    paths(&chapter(), &[], &mut all);
    for path in all {
        if is_free(&path) {
            continue;
        }
        let name = path.last().expect("a step").clone();
        let mut configuration = chapter();
        let value = of_another_kind(&around(&mut configuration, &path)[&name]);
        let found = findings(&with(&path, &name, Some(value)), &[]);
        assert_eq!(found.len(), 1, "{path:?}: {found:#?}");
        assert!(found[0].contains(&name), "{path:?}: {found:#?}");
    }
}

#[test]
fn a_value_that_cannot_be_is_one_finding_that_names_the_key() {
    let at = |path: &[&str], value: Value| {
        let path: Vec<String> = path.iter().map(|step| (*step).to_owned()).collect();
        let name = path.last().expect("a step").clone();
        let found = findings(&with(&path, &name, Some(value)), &[]);
        assert_eq!(found.len(), 1, "{path:?}: {found:#?}");
        assert!(found[0].contains(&name), "{path:?}: {found:#?}");
    };
    at(
        &["SERVER_HOSTNAME"],
        json!("<georep.quayteam.org or any other name>"),
    );
    at(&["SERVER_HOSTNAME"], json!("https://georep.example.org"));
    at(&["DB_URI"], json!("mysql+pymysql://quay:quay@db/quay"));
    at(
        &["DB_URI"],
        json!("postgresql://postgres:password@10.19.0.1:99999/quay"),
    );
    at(&["DB_CONNECTION_ARGS"], json!({"sslmode": "perhaps"}));
    at(&["FEATURE_STORAGE_REPLICATION"], json!("perhaps"));
    at(
        &["DISTRIBUTED_STORAGE_PREFERENCE"],
        json!(["usstorage", "eustorag"]),
    );
    at(
        &["DISTRIBUTED_STORAGE_PREFERENCE"],
        json!(["usstorage,eustorage"]),
    );
    at(&["DISTRIBUTED_STORAGE_PREFERENCE"], json!([]));
    at(
        &["DISTRIBUTED_STORAGE_DEFAULT_LOCATIONS"],
        json!(["eustorge"]),
    );
    at(&["DISTRIBUTED_STORAGE_CONFIG"], json!({}));
    for location in ["usstorage", "eustorage"] {
        let at = |parameter: &str, value: Value| {
            at(
                &["DISTRIBUTED_STORAGE_CONFIG", location, "1", parameter],
                value,
            );
        };
        for parameter in ["access_key", "secret_key", "bucket_name"] {
            at(parameter, json!(""));
            at(parameter, json!("a\u{0}b"));
        }
        at("bucket_name", json!("bucket/path"));
        at("storage_path", json!("/quaygcp/../etc"));
        at("port", json!(99_999));
        at("port", json!("http"));
        at("hostname", json!("two hosts"));
        at("is_secure", json!("perhaps"));
    }
    let configuration = chapter();
    for driver in ["RadosGWStroage", "FakeStorage"] {
        let mut configuration = configuration.clone();
        configuration["DISTRIBUTED_STORAGE_CONFIG"]["eustorage"][0] = json!(driver);
        // The location is still there by its name, so that nothing else is wrong.
        let found = findings(&configuration, &[]);
        assert_eq!(found.len(), 1, "{found:#?}");
        assert!(found[0].starts_with("DISTRIBUTED_STORAGE_CONFIG.eustorage[0]"));
    }
    for preference in ["eustorage,usstorage", "europestorage"] {
        let found = findings(
            &configuration,
            &[(env::QUAY_DISTRIBUTED_STORAGE_PREFERENCE, preference)],
        );
        assert_eq!(found.len(), 1, "{found:#?}");
        assert!(
            found[0].contains("QUAY_DISTRIBUTED_STORAGE_PREFERENCE")
                && found[0].contains(preference)
        );
    }
}
