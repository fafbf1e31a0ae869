//! Parameters that cannot stand.

use super::*;

#[test]
fn parameters_that_have_to_be_there_are_all_named() {
    for (driver, required) in [
        ("LocalStorage", &["storage_path"][..]),
        ("S3Storage", &["s3_bucket", "storage_path"]),
        ("STSS3Storage", &["s3_bucket", "storage_path"]),
        (
            "GoogleCloudStorage",
            &["access_key", "bucket_name", "secret_key", "storage_path"],
        ),
        (
            "RadosGWStorage",
            &[
                "access_key",
                "bucket_name",
                "hostname",
                "is_secure",
                "secret_key",
                "storage_path",
            ],
        ),
        (
            "RHOCSStorage",
            &[
                "access_key",
                "bucket_name",
                "hostname",
                "is_secure",
                "secret_key",
                "storage_path",
            ],
        ),
        (
            "IBMCloudStorage",
            &[
                "access_key",
                "bucket_name",
                "hostname",
                "is_secure",
                "secret_key",
                "storage_path",
            ],
        ),
        (
            "SwiftStorage",
            &[
                "auth_url",
                "os_options",
                "storage_path",
                "swift_container",
                "swift_password",
                "swift_user",
            ],
        ),
        (
            "AzureStorage",
            &[
                "azure_account_key",
                "azure_account_name",
                "azure_container",
                "storage_path",
            ],
        ),
        (
            "CloudFrontedS3Storage",
            &[
                "cloudfront_distribution_domain",
                "cloudfront_key_id",
                "cloudfront_privatekey_filename",
                "s3_bucket",
                "s3_region",
                "storage_path",
            ],
        ),
        (
            "CloudFlareStorage",
            &[
                "cloudflare_domain",
                "cloudflare_privatekey_filename",
                "s3_bucket",
                "s3_region",
                "storage_path",
            ],
        ),
        (
            "AkamaiS3Storage",
            &[
                "akamai_domain",
                "akamai_shared_secret",
                "s3_bucket",
                "s3_region",
                "storage_path",
            ],
        ),
        (
            "MultiCDNStorage",
            &["default_provider", "providers", "rules", "storage_config"],
        ),
    ] {
        for parameters in [
            String::new(),
            required
                .iter()
                .filter(|name| **name != "storage_path" || driver == "LocalStorage")
                .map(|name| format!("{name}: ~"))
                .collect::<Vec<_>>()
                .join(", "),
        ] {
            let found: Vec<String> = faults(driver, &parameters)
                .iter()
                .filter_map(|line| Some(line.split_once(':')?.0.to_owned()))
                .collect();
            assert_eq!(found, required, "{driver} {parameters}");
        }
    }
}

#[test]
fn parameters_that_a_driver_does_not_know_are_refused_without_their_values() {
    assert_faults(
        "GoogleCloudStorage",
        "storage_path: /, bucket_name: b, access_key: a, secret_key: s, secert_kye: hunter2, s3_region: us",
        &[
            "s3_region: unknown parameter of GoogleCloudStorage; allowed: access_key, boto_timeout, bucket_name, \
             minimum_chunk_size_mb, secret_key, signature_version, storage_path",
            "secert_kye: unknown parameter of GoogleCloudStorage; allowed: access_key, boto_timeout, bucket_name, \
             minimum_chunk_size_mb, secret_key, signature_version, storage_path; did you mean secret_key?",
        ],
    );
    for (driver, parameter) in [
        ("STSS3Storage", "sts_web_identity_token_file"),
        ("STSS3Storage", "host"),
        ("S3Storage", "deferred_refreshable_credentials"),
        ("IBMCloudStorage", "region_name"),
        ("AzureStorage", "azure_container_name"),
        ("CloudFlareStorage", "cloudfront_key_id"),
        ("LocalStorage", "storage_pth"),
    ] {
        let lines = faults(driver, &format!("{parameter}: hunter2"));
        let expected = format!("{parameter}: unknown parameter of {driver}; allowed: ");
        assert!(
            lines.iter().any(|line| line.starts_with(&expected)),
            "{lines:#?}"
        );
        assert!(!lines.concat().contains("hunter2"));
    }
}

#[test]
fn values_of_the_wrong_kind_or_out_of_range_are_refused() {
    assert_faults(
        "RadosGWStorage",
        "hostname: [rgw], is_secure: perhaps, port: 65536, storage_path: 7, bucket_name: true, access_key: 12345, \
         secret_key: {a: hunter2}, region_name: eu west, signature_version: s3v5, minimum_chunk_size_mb: '5', \
         maximum_chunk_size_mb: 0, server_side_assembly: 3",
        &[
            "access_key: a number does not fit here (found ***); allowed: text; put it in quotes",
            "bucket_name: a boolean does not fit here",
            "hostname: a list does not fit here",
            "is_secure: text does not fit here (found \"perhaps\"); allowed: true or false",
            "maximum_chunk_size_mb: out of range (found 0); allowed: a whole number from 1 to 1000000",
            "minimum_chunk_size_mb: text does not fit here (found \"5\"); allowed: a whole number",
            "port: out of range (found 65536); allowed: a whole number from 1 to 65535",
            "region_name: not a region (found \"eu west\")",
            "secret_key: a map does not fit here (found {a: ***})",
            "server_side_assembly: a number does not fit here (found 3); allowed: true or false",
            "signature_version: unknown signature version (found \"s3v5\"); allowed: s3v4; did you mean s3v4?",
            "storage_path: a number does not fit here (found 7); allowed: text",
        ],
    );
    let swift = "swift_container: c, storage_path: '', auth_url: 'http://k', swift_user: 't:u', swift_password: p";
    for (parameter, expected) in [
        (
            "auth_version: 4",
            "auth_version: out of range (found 4); allowed: a whole number from 1 to 3",
        ),
        ("auth_version: v3", "auth_version: text does not fit here"),
        (
            "auth_version: '0'",
            "auth_version: out of range (found \"0\")",
        ),
        (
            "connect_timeout: 0",
            "connect_timeout: not a time in seconds (found 0)",
        ),
        (
            "connect_timeout: -1",
            "connect_timeout: not a time in seconds",
        ),
        (
            "connect_timeout: .nan",
            "connect_timeout: not a time in seconds",
        ),
        (
            "connect_timeout: soon",
            "connect_timeout: not a time in seconds (found \"soon\")",
        ),
        (
            "connect_timeout: 86401",
            "connect_timeout: not a time in seconds",
        ),
        ("retry_count: 101", "retry_count: out of range"),
        ("os_options: [a]", "os_options: a list does not fit here"),
        (
            "os_options: {tenant_id: 7}",
            "os_options.tenant_id: a number does not fit here",
        ),
        (
            "os_options: {object_storage_url: swift}",
            "os_options.object_storage_url: not a URL",
        ),
        (
            "ca_cert_path: /nowhere/ca.pem",
            "ca_cert_path: the file /nowhere/ca.pem cannot be read: No such file",
        ),
        (
            "ca_cert_path: /",
            "ca_cert_path: the file / cannot be read: it is not a file",
        ),
    ] {
        assert_faults(
            "SwiftStorage",
            &format!("{swift}, {parameter}"),
            &[expected],
        );
    }
    for version in ["2", "3"] {
        let what = if version == "2" { "tenant" } else { "project" };
        let expected =
            format!("os_options: no {what} is named, without which there is no token for a store");
        let parameters = swift.replace("t:u", "u") + ", auth_version: " + version;
        assert_faults("SwiftStorage", &parameters, &[&expected]);
    }
}

#[test]
fn half_a_pair_of_keys_is_refused_with_the_missing_half() {
    let amazon = "storage_path: /, s3_bucket: b";
    assert_faults(
        "S3Storage",
        &format!("{amazon}, s3_access_key: AKIA"),
        &[
            "s3_secret_key: it is missing, and s3_access_key is given; allowed: both keys, or neither; \
             add it, or take s3_access_key out to use the credentials around the process",
        ],
    );
    assert_faults(
        "S3Storage",
        &format!("{amazon}, s3_access_key: '', s3_secret_key: hunter2"),
        &["s3_access_key: it is missing, and s3_secret_key is given"],
    );
    assert_faults(
        "S3Storage",
        &format!("{amazon}, aws_session_token: hunter2"),
        &["aws_session_token: it belongs to keys, and there are none (found ***)"],
    );
    assert_faults(
        "STSS3Storage",
        &format!("{amazon}, sts_role_arn: registry, sts_user_secret_key: hunter2"),
        &[
            "sts_role_arn: not an ARN (found \"registry\"); allowed: a role's name, such as arn:",
            "sts_user_access_key: it is missing, and sts_user_secret_key is given",
        ],
    );
}

#[test]
fn a_minimum_above_the_maximum_is_refused() {
    assert_faults(
        "RHOCSStorage",
        "hostname: h, is_secure: true, storage_path: /, bucket_name: b, access_key: a, secret_key: s, \
         minimum_chunk_size_mb: 200, maximum_chunk_size_mb: 100",
        &[
            "minimum_chunk_size_mb: it is more than maximum_chunk_size_mb (found 200); allowed: up to 100 MiB, \
             which maximum_chunk_size_mb says; change one of the two",
        ],
    );
    assert_faults(
        "S3Storage",
        "storage_path: /, s3_bucket: b, minimum_chunk_size_mb: 2000, maximum_chunk_size_gb: 1",
        &[
            "minimum_chunk_size_mb: it is more than maximum_chunk_size_gb (found 2000); allowed: up to 1024 MiB",
        ],
    );
}

#[test]
fn names_paths_and_addresses_that_no_store_has_are_refused() {
    let bucket = |name: &str, path: &str| format!(r#"s3_bucket: "{name}", storage_path: "{path}""#);
    for (name, path, expected) in [
        (
            "",
            "/",
            "s3_bucket: it is empty; allowed: the name of a bucket",
        ),
        (
            "a/b",
            "/",
            "s3_bucket: not the name of a bucket or container (found \"a/b\")",
        ),
        (
            "..",
            "/",
            "s3_bucket: not the name of a bucket or container",
        ),
        (r"a\x07", "/", "s3_bucket: it holds control characters"),
        (
            "b",
            "/a/../b",
            "storage_path: it holds the segment .. (found \"/a/../b\"); allowed: a path",
        ),
        ("b", "//a", "storage_path: it holds an empty segment"),
        ("b", r"a\e", "storage_path: it holds control characters"),
    ] {
        assert_faults("S3Storage", &bucket(name, path), &[expected]);
    }
    for (endpoint, expected) in [
        (
            "endpoint_url: s3.example.org",
            "endpoint_url: not a URL (found \"s3.example.org\"); allowed: http:// or https://",
        ),
        (
            "endpoint_url: 'https://s3:port'",
            "endpoint_url: its port is none",
        ),
        (
            "endpoint_url: 'https://u:hunter2@s3'",
            "endpoint_url: it holds a user name (found \"https://u:***@s3\")",
        ),
        (
            "host: 'a b'",
            "host: its host is none (found \"a b\"); allowed: a host name or address",
        ),
        ("host: minio, port: 0", "port: out of range"),
        (
            "host: minio, port: '99999'",
            "port: out of range (found \"99999\")",
        ),
        ("host: minio, port: http", "port: text does not fit here"),
        (
            "s3_region: 'us/east'",
            "s3_region: not a region (found \"us/east\")",
        ),
    ] {
        assert_faults(
            "S3Storage",
            &format!("{}, {endpoint}", bucket("b", "/")),
            &[expected],
        );
    }
    let azure = "azure_container: c, storage_path: /, azure_account_key: k";
    assert_faults(
        "AzureStorage",
        &format!("{azure}, azure_account_name: my.account"),
        &["azure_account_name: not the name of an account (found \"my.account\")"],
    );
    assert_faults(
        "AzureStorage",
        &format!(
            "{azure}, azure_account_name: a, endpoint_url: 'https://a.example.org/?sig=hunter2'"
        ),
        &["endpoint_url: it has a query or a fragment (found \"https://a.example.org/?***\")"],
    );
}
