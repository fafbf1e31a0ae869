//! What must not happen whatever stands there: a panic, or a secret where somebody reads it.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

/// Every driver, with `hunter2` wherever a secret stands.
const WITH_SECRETS: [&str; 8] = [
    "a: [S3Storage, {s3_bucket: a, storage_path: /, s3_access_key: hunter2, s3_secret_key: hunter2, aws_session_token: hunter2}]",
    "b: [STSS3Storage, {s3_bucket: b, storage_path: /, sts_role_arn: 'arn:x', sts_user_access_key: hunter2, \
     sts_user_secret_key: hunter2}]",
    "c: [RHOCSStorage, {hostname: h, is_secure: on, storage_path: /, bucket_name: c, access_key: hunter2, secret_key: hunter2}]",
    "d: [SwiftStorage, {swift_container: d, storage_path: /, auth_url: 'http://k', swift_user: 't:u', swift_password: hunter2, \
     temp_url_key: hunter2, os_options: {auth_token: hunter2}}]",
    "e: [AzureStorage, {azure_container: e, storage_path: /, azure_account_name: e, azure_account_key: hunter2}]",
    "f: [AzureStorage, {azure_container: f, storage_path: /, azure_account_name: e, sas_token: '?sig=hunter2'}]",
    "g: [AkamaiS3Storage, {s3_bucket: g, storage_path: /, s3_region: us-east-1, akamai_domain: a, akamai_shared_secret: badc0ffe}]",
    MULTI_CDN,
];

#[test]
fn secrets_of_stores_appear_in_no_debug_output_and_no_finding() {
    let loaded = stores(&WITH_SECRETS).loaded();
    assert_eq!(loaded.config.storage.locations.len(), 8);
    let printed = format!("{loaded:?}");
    assert!(
        !printed.contains("hunter2") && !printed.contains("badc0ffe"),
        "{printed}"
    );
    // The same with everything wrong that can be: a third element, an unknown driver, parameters that are a list.
    for line in WITH_SECRETS {
        for (from, to) in [
            ("}]", "}, 3]"),
            ("Storage, {", "Stroage, {"),
            ("storage_path: /", "storage_pth: /"),
            ("{", "[{"),
            (": hunter2", ": [hunter2]"),
            (": hunter2", ": \"hunter2\\a\""),
        ] {
            if let Err(errors) = stores(&[&line.replacen(from, to, 1)]).load() {
                let text = errors.to_string();
                assert!(!text.contains("hunter2"), "{line}: {text}");
            }
        }
    }
}

/// The parameters of a driver, as it tells them to whom gives another.
fn known_parameters(driver: &str) -> Vec<String> {
    let lines = faults(driver, "x: 1");
    let known = lines
        .iter()
        .find_map(|line| line.strip_prefix(&format!("x: unknown parameter of {driver}; allowed: ")))
        .unwrap_or_else(|| panic!("{lines:#?}"));
    known.split(", ").map(str::to_owned).collect()
}

proptest! {
    #[test]
    fn no_parameters_make_the_reader_panic(
        which in 0..13_usize,
        names in proptest::collection::vec(0..60_usize, 0..20),
        values in proptest::collection::vec(0..20_usize, 20),
    ) {
        const DRIVERS: [&str; 13] = [
            "LocalStorage", "S3Storage", "GoogleCloudStorage", "RadosGWStorage", "RHOCSStorage", "IBMCloudStorage",
            "STSS3Storage", "SwiftStorage", "AzureStorage", "CloudFrontedS3Storage", "CloudFlareStorage", "AkamaiS3Storage",
            "MultiCDNStorage",
        ];
        const VALUES: [&str; 20] = [
            "~", "''", "x", "/a/../b", "'a\u{85}b'", "-1", "0", "5", "1e400", ".nan", "18446744073709551616", "yes",
            "[]", "{}", "[x, {}]", "{x: [AkamaiS3Storage, {}]}", "[{target: x}, x]", "'http://[::1]:9000/é'",
            "'https://u:p@h:70000'", "{x: {x: {}}}",
        ];
        let known = known_parameters(DRIVERS[which]);
        let lines: BTreeMap<&String, &str> = names
            .iter()
            .zip(&values)
            .map(|(name, value)| (&known[name % known.len()], VALUES[*value]))
            .collect();
        let parameters: Vec<String> = lines.iter().map(|(name, value)| format!("{name}: {value}")).collect();
        let line = format!("us: [{}, {{{}}}]", DRIVERS[which], parameters.join(", "));
        let loaded = stores(&[&line]).load();
        if let Err(errors) = loaded {
            prop_assert!(!errors.findings().is_empty());
        }
    }

    #[test]
    fn no_text_as_a_parameter_makes_the_reader_panic(
        text in "\\PC{0,40}|[a-z0-9:/?#@%. \\[\\]-]{0,40}",
        name in prop_oneof![
            Just("endpoint_url"), Just("host"), Just("storage_path"), Just("s3_bucket"), Just("s3_region"),
            Just("s3_secret_key"), Just("signature_version"), Just("port"),
        ],
    ) {
        let text = serde_json::to_string(&text).expect("a text");
        let parameters: Vec<String> = [("s3_bucket", "b"), ("storage_path", "/")]
            .iter()
            .filter(|(other, _)| *other != name)
            .map(|(other, value)| format!("{other}: {value}"))
            .chain([format!("{name}: {text}")])
            .collect();
        let line = format!("us: [S3Storage, {{{}}}]", parameters.join(", "));
        let shown = stores(&[&line]).load().map_or_else(|errors| errors.to_string(), |loaded| format!("{loaded:?}"));
        prop_assert!(name != "s3_secret_key" || text.len() < 6 || !shown.contains(&text));
    }
}
