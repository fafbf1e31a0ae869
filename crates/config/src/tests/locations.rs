//! Locations, the preference for them and those that get everything.

use super::*;

#[test]
fn drivers_and_parameters_that_are_not_known_are_named_with_the_nearest_known_one() {
    assert_refused(
        &Fixture::new(
            "SERVER_HOSTNAME: r\nDB_URI: sqlite:///r.db\nDISTRIBUTED_STORAGE_CONFIG:\n  \
             a: [LocalStorge, {}]\n  b: [SwiftStorage, {swift_password: x}]\n  \
             c: [LocalStorage, {storage_path: /c, storage_pth: /d}]\n  d: [LocalStorage]\n  e: LocalStorage\n  \
             f: [LocalStorage, {storage_path: ./c/../c}, 3]\n  g: [LocalStorage, {storage_path: /c/.}]\n  h: [[], 1]\n",
        ),
        &[
            ".a[0]: unknown driver (found \"LocalStorge\"); allowed: LocalStorage; did you mean LocalStorage?",
            ".b[0]: the driver SwiftStorage is not in this version",
            ".c[1].storage_pth: unknown parameter of LocalStorage (found \"/d\"); allowed: storage_path; \
             did you mean storage_path?",
            ".d[1].storage_path: it is missing; allowed: a directory",
            ".e: not a driver and its parameters (found \"LocalStorage\"); allowed: [DRIVER, {PARAMETER: VALUE}]",
            ".f: not a driver and its parameters",
            ".g: it is the same directory as that of c",
            ".h[0]: a list does not fit here",
        ],
    );
}

#[test]
fn ids_that_no_location_has_are_refused_with_those_that_exist() {
    assert_refused(
        &small_and(
            "DISTRIBUTED_STORAGE_PREFERENCE: [us, uu]\nDISTRIBUTED_STORAGE_DEFAULT_LOCATIONS: [asia]",
        ),
        &[
            "DISTRIBUTED_STORAGE_PREFERENCE: \"uu\" is no location of DISTRIBUTED_STORAGE_CONFIG \
             (found [\"us\", \"uu\"]); allowed: us, eu",
            "\"asia\" is no location of DISTRIBUTED_STORAGE_CONFIG (found [\"asia\"]); allowed: us, eu",
        ],
    );
    let variable = [(env::QUAY_DISTRIBUTED_STORAGE_PREFERENCE, "europestorage")];
    assert_refused(
        &small_and("").with(&variable),
        &[
            "QUAY_DISTRIBUTED_STORAGE_PREFERENCE: DISTRIBUTED_STORAGE_PREFERENCE: \"europestorage\" is no location",
        ],
    );
}

#[test]
fn the_preference_variable_replaces_the_key_unless_it_is_blank() {
    let preference = |variable: &str| {
        small_and("DISTRIBUTED_STORAGE_PREFERENCE: [us]")
            .with(&[(env::QUAY_DISTRIBUTED_STORAGE_PREFERENCE, variable)])
            .loaded()
            .config
            .storage
            .preference
    };
    assert_eq!(preference("eu"), ["eu"]);
    assert_eq!(preference(" eu\t\n us "), ["eu", "us"]);
    assert_eq!(preference(" \n"), ["us"]);
    assert_eq!(preference(""), ["us"]);
}

#[test]
fn replication_needs_a_preference_and_warns_when_nothing_is_copied() {
    for lines in [
        "FEATURE_STORAGE_REPLICATION: yes",
        "FEATURE_STORAGE_REPLICATION: yes\nDISTRIBUTED_STORAGE_PREFERENCE: []",
        "FEATURE_STORAGE_REPLICATION: yes\nDISTRIBUTED_STORAGE_PREFERENCE:",
    ] {
        assert_refused(
            &small_and(lines),
            &["set it, or QUAY_DISTRIBUTED_STORAGE_PREFERENCE in each region's environment"],
        );
    }
    let fixture =
        small_and("FEATURE_STORAGE_REPLICATION: yes\nDISTRIBUTED_STORAGE_PREFERENCE: [us, us]");
    let warnings = fixture.warnings();
    assert_eq!(warnings.len(), 2, "{warnings:#?}");
    assert!(
        warnings[0].contains(
            "DISTRIBUTED_STORAGE_DEFAULT_LOCATIONS: no location gets a copy of everything"
        )
    );
    assert!(warnings[1].contains("\"us\" is listed twice"));
    assert_eq!(fixture.loaded().config.storage.preference, ["us"]);
}

#[test]
fn a_location_by_the_name_of_quays_default_is_the_default() {
    let text = SMALL.replace("  eu:", "  local_us:");
    let storage = Fixture::new(text).loaded().config.storage;
    assert_eq!(storage.preference, ["local_us"]);
    assert_eq!(storage.default_locations, ["local_us"]);
}
