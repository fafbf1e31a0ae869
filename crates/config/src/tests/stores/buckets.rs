//! The drivers with an S3 interface, with the least and with all of their parameters.

use super::*;

/// The bucket of such a driver.
fn bucket(name: &str, parameters: &str) -> S3Store {
    driver(name, parameters).s3().expect("a bucket").clone()
}

pub(super) fn keys(access: &str, secret: &str, token: Option<&str>) -> S3Keys {
    let secret_of = |text: &str| Secret::new(text.to_owned());
    S3Keys {
        access_key: secret_of(access),
        secret_key: secret_of(secret),
        session_token: token.map(secret_of),
    }
}

const MIB: u64 = 1 << 20;

/// What `S3Storage` makes of a bucket alone.
pub(super) fn plain_bucket() -> S3Store {
    S3Store {
        endpoint: endpoint(UrlScheme::Https, "s3.amazonaws.com", 443, ""),
        region: None,
        bucket: "b".to_owned(),
        key_prefix: "quay/".to_owned(),
        credentials: S3Credentials::DefaultChain,
        minimum_chunk_bytes: 5 * MIB,
        maximum_chunk_bytes: 5 << 30,
        server_side_assembly: true,
        server_side_aes256: true,
        cross_origin_urls: true,
        timeout: Duration::from_mins(1),
    }
}

#[test]
fn buckets_of_amazon_have_quays_defaults() {
    assert_eq!(
        bucket("S3Storage", "storage_path: /quay, s3_bucket: b"),
        plain_bucket()
    );
    let empty = "storage_path: /quay, s3_bucket: b, s3_access_key: '', s3_secret_key: '', s3_region: ~, host: '', \
                 endpoint_url: ''";
    assert_eq!(bucket("S3Storage", empty), plain_bucket(), "as in Quay");
}

#[test]
fn buckets_of_amazon_take_every_parameter() {
    assert_eq!(
        bucket(
            "S3Storage",
            "storage_path: /a/b/, s3_bucket: b, s3_access_key: AKIA, s3_secret_key: hunter2, aws_session_token: t, \
             endpoint_url: 'http://minio:9000/', maximum_chunk_size_gb: 4, minimum_chunk_size_mb: 16, \
             signature_version: s3v4"
        ),
        S3Store {
            endpoint: endpoint(UrlScheme::Http, "minio", 9000, ""),
            key_prefix: "a/b/".to_owned(),
            credentials: S3Credentials::Keys(keys("AKIA", "hunter2", Some("t"))),
            minimum_chunk_bytes: 16 * MIB,
            maximum_chunk_bytes: 4 << 30,
            ..plain_bucket()
        }
    );
    let of_host = |parameters: &str| {
        let required = "storage_path: /quay, s3_bucket: b";
        let store = bucket("S3Storage", &format!("{required}, {parameters}"));
        store.endpoint.to_string()
    };
    assert_eq!(of_host("host: s3.example.org"), "https://s3.example.org");
    assert_eq!(
        of_host("host: s3.example.org, port: 8443"),
        "https://s3.example.org:8443"
    );
    assert_eq!(of_host("host: minio, port: '9000'"), "https://minio:9000");
    assert_eq!(of_host("host: 'http://minio:9000'"), "http://minio:9000");
    assert_eq!(
        of_host("host: 'minio:9000', port: 9000"),
        "https://minio:9000"
    );
}

#[test]
fn a_region_leads_to_amazon_whatever_else_is_named() {
    for (region, host) in [
        ("us-east-1", "s3.us-east-1.amazonaws.com"),
        ("eu-central-1", "s3.eu-central-1.amazonaws.com"),
        ("cn-north-1", "s3.cn-north-1.amazonaws.com.cn"),
        ("cn-northwest-1", "s3.cn-northwest-1.amazonaws.com.cn"),
    ] {
        let store = bucket(
            "S3Storage",
            &format!("storage_path: '', s3_bucket: b, s3_region: {region}"),
        );
        assert_eq!(store.endpoint.to_string(), format!("https://{host}"));
        assert_eq!(store.region.as_deref(), Some(region));
        assert_eq!(store.key_prefix, "");
    }
    let fixture = stores(&[
        "us: [S3Storage, {storage_path: /, s3_bucket: b, s3_region: us-east-1, host: minio, port: 9000, \
         endpoint_url: 'http://minio'}]",
        "eu: [S3Storage, {storage_path: /, s3_bucket: b, host: minio, endpoint_url: 'http://minio'}]",
        "asia: [S3Storage, {storage_path: /, s3_bucket: c, port: 9000}]",
    ]);
    let why = "without effect: s3_region leads to https://s3.us-east-1.amazonaws.com; take out what is not meant";
    let us = "config.yaml:4: DISTRIBUTED_STORAGE_CONFIG.us[1]";
    assert_eq!(
        fixture.warnings(),
        [
            format!("{us}.endpoint_url: {why}"),
            format!("{us}.host: {why}"),
            format!("{us}.port: {why}"),
            "config.yaml:5: DISTRIBUTED_STORAGE_CONFIG.eu[1].host: without effect: endpoint_url counts; \
             take out what is not meant"
                .to_owned(),
            "config.yaml:6: DISTRIBUTED_STORAGE_CONFIG.asia[1].port: without effect: it belongs to host, which is not given; \
             take out what is not meant"
                .to_owned(),
        ]
    );
}

#[test]
fn roles_are_assumed_by_keys_or_by_whom_the_surroundings_name() {
    assert_eq!(
        bucket("STSS3Storage", "storage_path: /quay, s3_bucket: b"),
        plain_bucket()
    );
    let arn = "arn:aws:iam::123456789012:role/registry";
    let in_role = |by| S3Credentials::AssumedRole {
        arn: arn.to_owned(),
        by,
    };
    let required = format!("storage_path: /quay, s3_bucket: b, sts_role_arn: '{arn}'");
    let by_chain = format!("{required}, sts_user_access_key: '', sts_user_secret_key: ''");
    assert_eq!(bucket("STSS3Storage", &by_chain).credentials, in_role(None));
    let all = format!(
        "{required}, sts_user_access_key: AKIA, sts_user_secret_key: hunter2, s3_region: us-east-1, \
         maximum_chunk_size_gb: 1, signature_version: s3v4"
    );
    let store = bucket("STSS3Storage", &all);
    assert_eq!(
        store.credentials,
        in_role(Some(keys("AKIA", "hunter2", None)))
    );
    assert_eq!(store.maximum_chunk_bytes, 1 << 30);
    assert_eq!(store.region.as_deref(), Some("us-east-1"));
    let other = format!("{required}, endpoint_url: 'https://s3.example.org'");
    assert_eq!(
        bucket("STSS3Storage", &other).endpoint.host,
        "s3.example.org"
    );
    let without = stores(&[
        "us: [STSS3Storage, {storage_path: /, s3_bucket: b, sts_user_access_key: a, sts_user_secret_key: s}]",
    ]);
    let warnings = without.warnings();
    assert!(
        warnings[0].contains("sts_user_access_key: without effect: there is no role to assume"),
        "{warnings:?}"
    );
}

#[test]
fn buckets_of_google_speak_s3_with_google() {
    let required = "storage_path: /quay, bucket_name: b, access_key: GOOG, secret_key: hunter2";
    let google = S3Store {
        endpoint: endpoint(UrlScheme::Https, "storage.googleapis.com", 443, ""),
        credentials: S3Credentials::Keys(keys("GOOG", "hunter2", None)),
        server_side_assembly: false,
        server_side_aes256: false,
        ..plain_bucket()
    };
    assert_eq!(bucket("GoogleCloudStorage", required), google);
    let all =
        format!("{required}, boto_timeout: 7.5, minimum_chunk_size_mb: 100, signature_version: v4");
    assert_eq!(
        bucket("GoogleCloudStorage", &all),
        S3Store {
            minimum_chunk_bytes: 100 * MIB,
            timeout: Duration::from_millis(7500),
            ..google
        }
    );
}

#[test]
fn gateways_say_where_they_are_and_what_they_can_do() {
    for name in ["RadosGWStorage", "RHOCSStorage"] {
        let required = "hostname: rgw.example.org, is_secure: yes, storage_path: /quay, bucket_name: b, access_key: A, \
                        secret_key: S";
        let gateway = S3Store {
            endpoint: endpoint(UrlScheme::Https, "rgw.example.org", 443, ""),
            credentials: S3Credentials::Keys(keys("A", "S", None)),
            maximum_chunk_bytes: 100 * MIB,
            server_side_aes256: false,
            cross_origin_urls: false,
            ..plain_bucket()
        };
        assert_eq!(bucket(name, required), gateway);
        let all = "hostname: rgw, is_secure: 'False', port: 8080, storage_path: /quay, bucket_name: b, access_key: A, \
                   secret_key: S, region_name: default, signature_version: s3v4, minimum_chunk_size_mb: 50, \
                   maximum_chunk_size_mb: 200, server_side_assembly: off";
        assert_eq!(
            bucket(name, all),
            S3Store {
                endpoint: endpoint(UrlScheme::Http, "rgw", 8080, ""),
                region: Some("default".to_owned()),
                minimum_chunk_bytes: 50 * MIB,
                maximum_chunk_bytes: 200 * MIB,
                server_side_assembly: false,
                timeout: Duration::from_mins(10),
                ..gateway
            }
        );
        let raised = format!("{required}, minimum_chunk_size_mb: 250");
        let store = bucket(name, &raised);
        assert_eq!(
            (store.minimum_chunk_bytes, store.maximum_chunk_bytes),
            (250 * MIB, 250 * MIB),
            "a default is no contradiction"
        );
    }
}

#[test]
fn buckets_of_ibm_are_a_host_and_a_pair_of_keys() {
    let required = "hostname: s3.eu-de.cloud-object-storage.appdomain.cloud, is_secure: true, storage_path: /quay, \
                    bucket_name: b, access_key: A, secret_key: S";
    let store = bucket("IBMCloudStorage", required);
    let ibm = S3Store {
        endpoint: store.endpoint.clone(),
        credentials: S3Credentials::Keys(keys("A", "S", None)),
        maximum_chunk_bytes: 100 * MIB,
        server_side_aes256: false,
        ..plain_bucket()
    };
    assert_eq!(store, ibm);
    let all = format!("{required}, port: 443, maximum_chunk_size_mb: 64, signature_version: s3v4");
    assert_eq!(
        bucket("IBMCloudStorage", &all).maximum_chunk_bytes,
        64 * MIB
    );
}

#[test]
fn what_a_store_takes_otherwise_is_told() {
    let fixture = stores(&[
        "a: [RadosGWStorage, {hostname: 'http://rgw:80', is_secure: true, port: 8080, storage_path: /, bucket_name: b, \
         access_key: a, secret_key: s, signature_version: s3, minimum_chunk_size_mb: 1, maximum_chunk_size_mb: 6000}]",
        "b: [SwiftStorage, {swift_container: c, storage_path: /, auth_url: 'http://k/v3', auth_version: 3, swift_user: u, \
         swift_password: p, os_options: {project_id: x, user_domain_nmae: Default}}]",
    ]);
    assert_eq!(
        fixture.warnings(),
        [
            "config.yaml:4: DISTRIBUTED_STORAGE_CONFIG.a[1].is_secure: without effect: hostname brings along http://; \
             leave the scheme out of the host",
            "config.yaml:4: DISTRIBUTED_STORAGE_CONFIG.a[1].maximum_chunk_size_mb: S3 has no such parts: 5120 MiB, \
             the largest of them, counts; change it",
            "config.yaml:4: DISTRIBUTED_STORAGE_CONFIG.a[1].minimum_chunk_size_mb: S3 has no such parts: 5 MiB, \
             the least of them, counts; change it",
            "config.yaml:4: DISTRIBUTED_STORAGE_CONFIG.a[1].port: without effect: hostname brings along the port 80; \
             take one of the two out",
            "config.yaml:4: DISTRIBUTED_STORAGE_CONFIG.a[1].signature_version: Signature Version 2 is not available: \
             requests are signed with version 4; make sure that the store takes it, and write s3v4",
            "config.yaml:5: DISTRIBUTED_STORAGE_CONFIG.b[1].os_options.user_domain_nmae: unknown option, without effect; \
             did you mean user_domain_name?",
        ]
    );
}
