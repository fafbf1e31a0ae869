//! Locations, the preference for them and those that get everything.

use super::*;

#[test]
fn drivers_and_parameters_that_are_not_known_are_named_with_the_nearest_known_one() {
    assert_refused(
        &Fixture::new(
            "SERVER_HOSTNAME: r\nDB_URI: sqlite:///r.db\nDISTRIBUTED_STORAGE_CONFIG:\n  \
             a: [LocalStorge, {}]\n  b: [FakeStorage, {swift_password: x}]\n  \
             c: [LocalStorage, {storage_path: /c, storage_pth: /d}]\n  d: [LocalStorage]\n  e: LocalStorage\n  \
             f: [LocalStorage, {storage_path: ./c}, 3]\n  g: [LocalStorage, {storage_path: /c/.}]\n  h: [[], 1]\n  \
             i: [LocalStorage, /i]\n  j: [S3Storage, {}, x]\n",
        ),
        &[
            "config.yaml:4: DISTRIBUTED_STORAGE_CONFIG.a[0]: unknown driver (found \"LocalStorge\"); allowed: LocalStorage, \
             S3Storage, GoogleCloudStorage, RadosGWStorage, RHOCSStorage, IBMCloudStorage, STSS3Storage, SwiftStorage, \
             AzureStorage, CloudFrontedS3Storage, CloudFlareStorage, AkamaiS3Storage, MultiCDNStorage; \
             did you mean LocalStorage?",
            ".b[0]: unknown driver (found \"FakeStorage\"); allowed: ",
            ".c[1].storage_pth: unknown parameter of LocalStorage; allowed: storage_path; did you mean storage_path?",
            ".d[1].storage_path: it is missing; allowed: a directory",
            ".e: not a driver and its parameters (found \"LocalStorage\"); allowed: [DRIVER, {PARAMETER: VALUE}]",
            ".f: not a driver and its parameters; allowed: ",
            ".g: it is the same directory as that of c; allowed: a directory of its own; \
             give each location its own, or take one of the two out",
            ".h[0]: a list does not fit here",
            ".i[1]: text does not fit here (found \"/i\"); allowed: a map of parameters",
            ".j: not a driver and its parameters",
        ],
    );
}

#[test]
fn directories_inside_each_other_are_told_and_dots_above_are_refused() {
    let fixture = |us: &str, eu: &str| {
        Fixture::new(
            SMALL
                .replace("/srv/us", &format!("{us:?}"))
                .replace("/srv/eu", &format!("{eu:?}")),
        )
    };
    assert_eq!(
        fixture("/srv", "/srv/eu").warnings(),
        [
            "config.yaml:5: DISTRIBUTED_STORAGE_CONFIG.eu: it lies inside the directory of us; \
          they are lost together; give each location its own, unless that is meant"
        ]
    );
    let around = fixture("data/us", "data").warnings();
    assert!(
        around[0].contains("it lies around the directory of us"),
        "{around:?}"
    );
    assert!(fixture("/srv/us", "/srv/us2").warnings().is_empty());
    assert_refused(
        &fixture("/srv/us", "/srv/us/../eu"),
        &["eu[1].storage_path: it holds the segment .. (found \"/srv/us/../eu\")"],
    );
    assert_refused(
        &fixture("/srv/us", "/srv/\u{0}"),
        &["eu[1].storage_path: it holds control characters (found \"/srv/\\0\")"],
    );
}

#[test]
fn what_it_costs_to_read_from_a_location_is_a_number_for_each() {
    let costs = |lines: &str| -> Vec<f64> {
        let storage = small_and(lines).loaded().config.storage;
        storage
            .locations
            .iter()
            .map(|location| location.cost)
            .collect()
    };
    assert_eq!(costs(""), [0.0, 0.0]);
    assert_eq!(costs("ROADSTEAD_LOCATION_COSTS:"), [0.0, 0.0]);
    assert_eq!(
        costs("ROADSTEAD_LOCATION_COSTS: {eu: 0.09, us: 2}"),
        [2.0, 0.09]
    );
    assert_refused(
        &small_and("ROADSTEAD_LOCATION_COSTS:\n  us: -1\n  eu: cheap\n  ue: 1\n  asia: .inf\n"),
        &[
            "config.yaml:7: ROADSTEAD_LOCATION_COSTS.us: not a cost (found -1); allowed: a number from 0 to 1000000000",
            "ROADSTEAD_LOCATION_COSTS.eu: not a cost (found \"cheap\")",
            "ROADSTEAD_LOCATION_COSTS.ue: \"ue\" is no location of DISTRIBUTED_STORAGE_CONFIG (found 1); allowed: us, eu",
            "ROADSTEAD_LOCATION_COSTS.asia: \"asia\" is no location",
        ],
    );
    for wrong in ["[1]", "{us: .nan}", "{us: .inf}", "{us: 1e10}", "{us: ~}"] {
        assert!(
            small_and(&format!("ROADSTEAD_LOCATION_COSTS: {wrong}"))
                .load()
                .is_err()
        );
    }
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
