//! The table of keys against the sections that read them, and what is written from it.

use std::path::Path;

use super::*;
use crate::layers::Layers;
use crate::reader::{Base, Keys};
use crate::schema::{Effect, Key, Kind, keys};
use crate::sections::Config;

/// The findings of `SMALL` with these lines that name a key: errors, then warnings.
fn of_key(lines: &str, key: &str) -> (Vec<Finding>, Vec<Finding>) {
    let fixture = small_and(lines);
    let source = Source::Directory(fixture.directory.path().to_owned());
    let checked = check(&source, &fixture.environment);
    let named = |findings: Vec<Finding>| {
        let of_key =
            |finding: &Finding| finding.key.starts_with(key) || finding.problem.contains(key);
        findings.into_iter().filter(of_key).collect()
    };
    (named(checked.errors), named(checked.warnings))
}

/// Keys that the smallest configuration gives already.
fn is_in_small(key: &Key) -> bool {
    SMALL.contains(key.name)
}

#[test]
fn the_keys_that_the_table_says_are_used_are_those_that_the_sections_read() {
    let fixture = Fixture::new(SMALL);
    let mut errors = Vec::new();
    let layers = Layers::read(
        Some(fixture.directory.path()),
        &fixture.environment,
        &mut errors,
    );
    let base = Base::Configuration(fixture.directory.path().to_owned());
    let mut read = Keys::new(layers, base, errors);
    Config::read(&mut read, &fixture.environment);
    let read: Vec<&str> = read.read().iter().copied().collect();
    let mut used: Vec<&str> = keys()
        .filter(|key| key.is_used())
        .map(|key| key.name)
        .collect();
    used.sort_unstable();
    assert_eq!(read, used);
}

#[test]
fn every_key_is_listed_once_and_every_default_is_what_may_stand_there() {
    let mut names: Vec<&str> = schema::names().collect();
    let count = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), count);
    for key in keys() {
        for text in [key.default]
            .into_iter()
            .chain(match key.effect {
                Effect::Always(here) => Some(here),
                Effect::Used(_) | Effect::Missed | Effect::Idle | Effect::Refused => None,
            })
            .filter(|text| !text.is_empty())
        {
            let document = crate::document::Document::from_yaml(&format!("K: {text}")).unwrap();
            let value = &document.values["K"];
            assert!(key.kind.fits(value), "{}: {text}", key.name);
        }
    }
}

#[test]
fn to_write_a_default_changes_nothing() {
    /// What it says, wherever it lies.
    fn said(fixture: &Fixture) -> String {
        let directory = fixture.directory.path().display().to_string();
        format!("{:?}", fixture.loaded().config).replace(&directory, "DIRECTORY")
    }
    let silent = said(&Fixture::new(SMALL));
    for key in keys().filter(|key| key.is_used() && !key.default.is_empty()) {
        let line = format!("{}: {}", key.name, key.default);
        let fixture = small_and(&line);
        // The one list of which an empty one says more than none.
        if key.name != "DISTRIBUTED_STORAGE_DEFAULT_LOCATIONS" {
            assert_eq!(said(&fixture), silent, "{line}");
        }
        let loaded = fixture.loaded();
        assert!(loaded.warnings.is_empty(), "{line}: {:?}", loaded.warnings);
    }
}

#[test]
fn what_is_said_to_be_allowed_is_taken_and_nothing_beside_it() {
    for key in keys().filter(|key| key.is_used() && !is_in_small(key)) {
        let (taken, refused) = match key.kind {
            Kind::Flag => (
                vec!["true".to_owned(), "'False'".to_owned()],
                vec!["7".to_owned()],
            ),
            Kind::Number(from, to) | Kind::Size(from, to) => (
                vec![from.to_string(), to.to_string()],
                [from.checked_sub(1), to.checked_add(1)]
                    .into_iter()
                    .flatten()
                    .map(|number| number.to_string())
                    .chain(["-1".to_owned(), "[1]".to_owned(), "much".to_owned()])
                    .collect(),
            ),
            Kind::Duration => (
                vec!["3d".to_owned()],
                vec!["3".to_owned(), "3 days".to_owned()],
            ),
            Kind::Choice(choices) => (
                choices.iter().map(|choice| (*choice).to_owned()).collect(),
                vec!["none-of-them".to_owned(), "7".to_owned()],
            ),
            Kind::Texts => (
                vec!["[]".to_owned()],
                vec!["7".to_owned(), "[{a: 1}]".to_owned()],
            ),
            Kind::Text => (Vec::new(), vec!["[a]".to_owned(), "{a: b}".to_owned()]),
            Kind::Map => (vec!["{}".to_owned()], vec!["text".to_owned()]),
            Kind::List => (vec![key.default.to_owned()], vec!["text".to_owned()]),
            Kind::Any => (Vec::new(), Vec::new()),
        };
        for value in taken {
            let line = format!("{}: {value}", key.name);
            // That a value says that there is more to do is another matter.
            let alone = [
                "SETUP_COMPLETE: 'False'",
                "FEATURE_REQUIRE_ENCRYPTED_BASIC_AUTH: true",
                "FEATURE_STORAGE_REPLICATION: true",
                "FEATURE_OTEL_TRACING: true",
            ];
            if !alone.contains(&line.as_str()) {
                let (errors, _) = of_key(&line, key.name);
                assert!(errors.is_empty(), "{line}: {errors:?}");
            }
        }
        for value in refused {
            let line = format!("{}: {value}", key.name);
            let (errors, _) = of_key(&line, key.name);
            assert_eq!(errors.len(), 1, "{line}: {errors:?}");
        }
    }
}

#[test]
fn strange_values_of_keys_without_effect_are_worth_a_warning_each() {
    for key in keys().filter(|key| !key.is_used() && key.kind != Kind::Any) {
        let value = if key.kind == Kind::Map {
            "[x]"
        } else {
            "{x: 1}"
        };
        let line = format!("{}: {value}", key.name);
        let (errors, warnings) = of_key(&line, key.name);
        let found = errors.len() + warnings.len();
        assert_eq!(found, 1, "{line}: {errors:?} {warnings:?}");
        assert_eq!(errors.len(), usize::from(key.effect == Effect::Refused));
    }
}

#[test]
fn what_is_always_so_is_worth_no_word_and_the_opposite_is() {
    for key in keys() {
        let Effect::Always(here) = key.effect else {
            continue;
        };
        let (errors, warnings) = of_key(&format!("{}: {here}", key.name), key.name);
        assert!(errors.is_empty() && warnings.is_empty(), "{warnings:?}");
        if key.kind == Kind::Flag {
            let other = if here == "true" { "false" } else { "true" };
            let (errors, warnings) = of_key(&format!("{}: {other}", key.name), key.name);
            assert!(errors.is_empty() && warnings.len() == 1, "{}", key.name);
        }
    }
}

#[test]
fn a_mode_that_would_be_missed_dearly_is_refused_with_what_to_do_instead() {
    assert_refused(
        &small_and("ACCOUNT_RECOVERY_MODE: true"),
        &[
            "ACCOUNT_RECOVERY_MODE: it is not here (found true); allowed: false; There is no such mode here: use REGISTRY_STATE",
        ],
    );
    assert!(
        small_and("ACCOUNT_RECOVERY_MODE: 'False'")
            .warnings()
            .is_empty()
    );
}

#[test]
fn numbers_that_cannot_be_used_give_way_where_the_environment_says_so_and_nothing_else_does() {
    let ignore = [(env::IGNORE_VALIDATION, "true")];
    let fixture =
        small_and("V2_PAGINATION_SIZE: many\nDEFAULT_TAG_EXPIRATION: 2 weeks").with(&ignore);
    assert_eq!(fixture.loaded().config.registry.pagination_size, 50);
    assert_eq!(
        fixture.warnings(),
        [
            "config.yaml:6: V2_PAGINATION_SIZE: text does not fit here; the default counts instead (found \"many\"); \
             allowed: a whole number from 1 to 10000; write the number, without quotes",
            "config.yaml:7: DEFAULT_TAG_EXPIRATION: not a duration; the default counts instead (found \"2 weeks\"); allowed: digits \
             and a unit s, m (minutes), h, d, w or y (365 days), such as 2w; change it",
        ]
    );
    let fixture = small_and(
        "DISABLE_PUSHES: perhaps\nREGISTRY_STATE: readnly\nSUPER_USERS: admin\nDISTRIBUTED_STORAGE_PREFERENCE: [uk]\nV2_PAGINATION_SIZE: 0",
    )
    .with(&ignore);
    assert_eq!(fixture.refused().len(), 4);
}

#[test]
fn a_misspelt_name_hides_nothing_that_is_wrong_with_the_right_one() {
    let fixture = Fixture::new(
        "SERVER_HOSTNAME: ''\nSERVER_HOSTNAM: r\nDB_URI: sqlite:////r.db\nDISTRIBUTED_STORAGE_CONFIG:\n\
         \x20 us: [S3Storage, {s3_bucket: '', s3_bukket: b, storage_path: /}]\n",
    );
    assert_refused(
        &fixture,
        &[
            "SERVER_HOSTNAME: it is empty",
            "us[1].s3_bucket: it is empty",
            "us[1].s3_bukket: unknown parameter of S3Storage",
        ],
    );
    assert!(
        fixture.load().is_err_and(|errors| errors
            .findings()
            .iter()
            .all(|finding| finding.key != "SERVER_HOSTNAM")),
        "that one is a warning, since the right one is there"
    );
}

#[test]
fn superusers_and_sign_up_can_be_switched_off() {
    let accounts = |lines: &str| small_and(lines).loaded().config.accounts;
    assert_eq!(accounts("SUPER_USERS: [a]").super_users, ["a"]);
    assert!(
        accounts("SUPER_USERS: [a]\nFEATURE_SUPER_USERS: false")
            .super_users
            .is_empty()
    );
    for line in [
        "FEATURE_USER_CREATION: false",
        "FEATURE_DIRECT_LOGIN: false",
        "FEATURE_INVITE_ONLY_USER_CREATION: true",
    ] {
        assert!(!accounts(line).user_creation, "{line}");
    }
    assert!(accounts("").user_creation);
}

#[test]
fn the_page_and_the_schema_are_what_the_table_says() {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs");
    let schema = serde_json::to_string_pretty(&schema::json_schema()).unwrap() + "\n";
    for (file, text) in [
        ("CONFIGURATION.md", schema::reference()),
        ("config.schema.json", schema),
    ] {
        let path = docs.join(file);
        if std::env::var_os("ROADSTEAD_WRITE_TABLES").is_some() {
            fs::write(&path, &text).expect("a page is written");
        }
        let written = fs::read_to_string(&path).unwrap_or_default();
        assert!(
            written == text,
            "docs/{file} says otherwise: ROADSTEAD_WRITE_TABLES=1 writes it anew"
        );
    }
}
