//! Locations that are one store, and those that only look like it.

use super::*;

/// A location that is a bucket, written in one way or another.
const ONE_BUCKET: [&str; 5] = [
    "[S3Storage, {s3_bucket: b, storage_path: /quay, s3_region: us-east-1}]",
    "[S3Storage, {s3_bucket: b, storage_path: quay/}]",
    "[STSS3Storage, {s3_bucket: b, storage_path: /quay/, s3_region: us-east-1}]",
    "[AkamaiS3Storage, {s3_bucket: b, storage_path: /quay, s3_region: us-east-1, akamai_domain: a, akamai_shared_secret: ab}]",
    "[CloudFlareStorage, {s3_bucket: b, storage_path: /quay, s3_region: us-east-1, cloudflare_domain: a, \
     cloudflare_privatekey_filename: cdn.pem}]",
];

#[test]
fn two_locations_that_are_one_store_are_refused_however_they_are_written() {
    let refused = |one: &str, other: &str| {
        stores(&[&format!("us: {one}"), &format!("eu: {other}")]).refused()
    };
    for one in ONE_BUCKET {
        for other in ONE_BUCKET {
            assert_eq!(
                refused(one, other),
                [
                    "config.yaml:5: DISTRIBUTED_STORAGE_CONFIG.eu: it is the same bucket b (storage_path /quay/) at \
                  amazonaws.com as that of us; allowed: a bucket and storage_path of its own; \
                  give each location its own, or take one of the two out"
                ],
                "{one} {other}"
            );
        }
    }
    for (one, other) in [
        (
            "[RadosGWStorage, {hostname: RGW.example.org, is_secure: true, storage_path: /a, bucket_name: b, access_key: a, secret_key: s}]",
            "[S3Storage, {host: rgw.example.org, port: 443, storage_path: a/, s3_bucket: b}]",
        ),
        (
            "[GoogleCloudStorage, {bucket_name: b, storage_path: '', access_key: a, secret_key: s}]",
            "[S3Storage, {s3_bucket: b, storage_path: /, endpoint_url: 'https://storage.googleapis.com/'}]",
        ),
        (
            "[AzureStorage, {azure_container: b, storage_path: /, azure_account_name: a, azure_account_key: k}]",
            "[AzureStorage, {azure_container: b, storage_path: '', azure_account_name: a, sas_token: t, \
             endpoint_url: 'https://a.blob.core.windows.net'}]",
        ),
        (
            "[SwiftStorage, {swift_container: b, storage_path: a, auth_url: 'http://k/v2.0', swift_user: 't:u', swift_password: p}]",
            "[SwiftStorage, {swift_container: b, storage_path: /a, auth_url: 'http://k/v3', auth_version: 3, swift_user: x, \
             swift_password: p, os_options: {project_name: t}}]",
        ),
    ] {
        let lines = refused(one, other);
        assert_eq!(lines.len(), 1, "{lines:#?}");
        assert!(
            lines[0].contains("eu: it is the same") && lines[0].contains("as that of us"),
            "{lines:#?}"
        );
    }
    let multi = MULTI_CDN.replace("us:", "cdn:");
    let lines = stores(&[
        &multi,
        "us: [S3Storage, {s3_bucket: b, storage_path: /images, s3_region: us-east-1}]",
    ])
    .refused();
    assert!(lines[0].contains("as that of cdn"), "{lines:#?}");
}

#[test]
fn stores_that_only_look_alike_are_taken() {
    let fixture = stores(&[
        "a: [S3Storage, {s3_bucket: b, storage_path: /a, s3_region: us-east-1}]",
        "b: [S3Storage, {s3_bucket: b, storage_path: /b, s3_region: us-east-1}]",
        "c: [S3Storage, {s3_bucket: c, storage_path: /a, s3_region: us-east-1}]",
        "d: [S3Storage, {s3_bucket: b, storage_path: /a, s3_region: cn-north-1}]",
        "e: [S3Storage, {s3_bucket: b, storage_path: /a, endpoint_url: 'http://minio:9000'}]",
        "f: [S3Storage, {s3_bucket: b, storage_path: /a, endpoint_url: 'http://minio:9001'}]",
        "g: [AzureStorage, {azure_container: b, storage_path: /a, azure_account_name: x, azure_account_key: k}]",
        "h: [AzureStorage, {azure_container: b, storage_path: /a, azure_account_name: y, azure_account_key: k}]",
        "i: [SwiftStorage, {swift_container: b, storage_path: /a, auth_url: 'http://k', swift_user: 't:u', swift_password: p}]",
        "j: [SwiftStorage, {swift_container: b, storage_path: /a, auth_url: 'http://k', swift_user: 's:u', swift_password: p}]",
        "k: [S3Storage, {s3_bucket: b, storage_path: /aa, s3_region: us-east-1}]",
    ]);
    assert!(fixture.warnings().is_empty(), "{:#?}", fixture.warnings());
    let nested = stores(&[
        "us: [S3Storage, {s3_bucket: b, storage_path: /a, s3_region: us-east-1}]",
        "eu: [S3Storage, {s3_bucket: b, storage_path: /a/b, s3_region: eu-west-1}]",
        "asia: [S3Storage, {s3_bucket: b, storage_path: /, s3_region: us-east-1}]",
    ]);
    let about = "they are lost together; give each location its own, unless that is meant";
    assert_eq!(
        nested.warnings(),
        [
            format!(
                "config.yaml:5: DISTRIBUTED_STORAGE_CONFIG.eu: it lies inside the bucket b (storage_path /a/) at amazonaws.com \
                 of us; {about}"
            ),
            format!(
                "config.yaml:6: DISTRIBUTED_STORAGE_CONFIG.asia: it lies around the bucket b (storage_path /a/) at amazonaws.com \
                 of us; {about}"
            ),
            format!(
                "config.yaml:6: DISTRIBUTED_STORAGE_CONFIG.asia: it lies around the bucket b (storage_path /a/b/) at \
                 amazonaws.com of eu; {about}"
            ),
        ]
    );
}
