//! CDNs in front of a bucket, one and several.

use super::buckets::{keys, plain_bucket};
use super::*;

#[test]
fn cdns_stand_before_a_bucket_of_a_region() {
    let fixture = stores(&[
        "front: [CloudFrontedS3Storage, {storage_path: /quay, s3_bucket: a, s3_region: us-east-1, \
         cloudfront_distribution_domain: d1.cloudfront.net, cloudfront_key_id: K1, cloudfront_privatekey_filename: cdn.pem}]",
        "overridden: [CloudFrontedS3Storage, {storage_path: /quay, s3_bucket: b, s3_region: us-east-1, s3_access_key: A, \
         s3_secret_key: S, cloudfront_distribution_domain: d1.cloudfront.net, cloudfront_key_id: K1, \
         cloudfront_privatekey_filename: cdn.pem, cloudfront_distribution_org_overrides: {redhat: d2.cloudfront.net}}]",
        "flare: [CloudFlareStorage, {storage_path: /quay, s3_bucket: c, s3_region: us-east-1, cloudflare_domain: cdn.example.org, \
         cloudflare_privatekey_filename: cdn.pem}]",
        "edge: [AkamaiS3Storage, {storage_path: /quay, s3_bucket: d, s3_region: us-east-1, akamai_domain: edge.example.org, \
         akamai_shared_secret: 0aFF}]",
    ]);
    assert!(fixture.warnings().is_empty(), "{:?}", fixture.warnings());
    let locations = fixture.loaded().config.storage.locations;
    let key = fixture.directory.path().join("cdn.pem");
    let front = |store: &S3Store, domains: &[(&str, &str)]| Driver::CloudFrontedS3Storage {
        store: Box::new(store.clone()),
        cdn: CloudFront {
            domain: "d1.cloudfront.net".to_owned(),
            key_id: "K1".to_owned(),
            private_key: key.clone(),
            domains_of_namespaces: domains
                .iter()
                .map(|(namespace, domain)| ((*namespace).to_owned(), (*domain).to_owned()))
                .collect(),
        },
    };
    let store = |bucket: &str| S3Store {
        endpoint: endpoint(UrlScheme::Https, "s3.us-east-1.amazonaws.com", 443, ""),
        region: Some("us-east-1".to_owned()),
        bucket: bucket.to_owned(),
        ..plain_bucket()
    };
    assert_eq!(locations[0].driver, front(&store("a"), &[]));
    let with_keys = S3Store {
        credentials: S3Credentials::Keys(keys("A", "S", None)),
        ..store("b")
    };
    assert_eq!(
        locations[1].driver,
        front(&with_keys, &[("redhat", "d2.cloudfront.net")])
    );
    assert_eq!(
        locations[2].driver,
        Driver::CloudFlareStorage {
            store: Box::new(store("c")),
            cdn: CloudFlare {
                domain: "cdn.example.org".to_owned(),
                private_key: key,
            },
        }
    );
    assert_eq!(
        locations[3].driver,
        Driver::AkamaiS3Storage {
            store: Box::new(store("d")),
            cdn: Akamai {
                domain: "edge.example.org".to_owned(),
                shared_secret: Secret::new("0aFF".to_owned()),
            },
        }
    );
}

#[test]
fn rules_choose_among_several_cdns() {
    let fixture = stores(&[MULTI_CDN]);
    assert!(fixture.warnings().is_empty(), "{:?}", fixture.warnings());
    let driver = fixture.loaded().config.storage.locations.remove(0).driver;
    let bucket = driver.s3().expect("that of the default provider").clone();
    assert_eq!(
        (bucket.bucket.as_str(), bucket.key_prefix.as_str()),
        ("b", "images/")
    );
    let Driver::MultiCDNStorage(multi) = driver else {
        panic!("several CDNs");
    };
    assert_eq!(multi.default_provider.name, "AWSCloudFront");
    assert_eq!(multi.default_provider.store, bucket);
    assert!(matches!(multi.default_provider.cdn, Cdn::CloudFront(_)));
    let [by_continent, by_name] = multi.rules.as_slice() else {
        panic!("{:?}", multi.rules);
    };
    assert_eq!(by_continent.continent, Some(Continent::NorthAmerica));
    assert_eq!(
        (&by_continent.namespace, &by_continent.host),
        (&None, &None)
    );
    assert_eq!(by_name.namespace.as_deref(), Some("test-cf"));
    assert_eq!(by_name.host.as_deref(), Some("r:8443"));
    assert_eq!(by_name.provider.name, "CloudFlare");
    assert_eq!(by_name.provider.store, bucket, "it is shared");
}

#[test]
fn what_no_rule_leads_to_and_what_leads_elsewhere_is_told() {
    let text = MULTI_CDN
        .replace("rules: [", "rules: [{target: CloudFlare}, ")
        .replace(
            "{cloudflare_domain:",
            "{s3_bucket: other, cloudflare_domain:",
        )
        .replace(
            "providers: {",
            "providers: {Spare: [AkamaiS3Storage, {akamai_domain: a, akamai_shared_secret: ab}], ",
        );
    let path = "config.yaml:4: DISTRIBUTED_STORAGE_CONFIG.us[1]";
    assert_eq!(
        stores(&[&text]).warnings(),
        [
            format!("{path}.providers: no rule leads to Spare; add a rule, or take it out"),
            format!(
                "{path}.providers: the URLs of CloudFlare lead to the bucket other (storage_path /images/) at amazonaws.com, \
                 while what is pushed gets into the bucket b (storage_path /images/) at amazonaws.com; \
                 copy the one to the other, or let both be the same"
            ),
            format!(
                "{path}.rules[0]: it names nothing, so it fits every request and no rule behind it counts; \
                 name a namespace, continent or host, or put it last"
            ),
        ]
    );
}

#[test]
fn keys_and_domains_of_cdns_that_cannot_be_used_are_refused() {
    let store = "storage_path: /, s3_bucket: b, s3_region: us-east-1";
    assert_faults(
        "CloudFrontedS3Storage",
        &format!(
            "{store}, cloudfront_distribution_domain: 'https://d1.cloudfront.net', cloudfront_key_id: K, \
             cloudfront_privatekey_filename: missing.pem, cloudfront_distribution_org_overrides: {{a: 'x/y', b: 7}}"
        ),
        &[
            "cloudfront_distribution_domain: not a host name (found \"https://d1.cloudfront.net\"); allowed: a host name, \
             such as cdn.example.org; leave out scheme and path",
            "cloudfront_distribution_org_overrides.a: not a host name (found \"x/y\")",
            "cloudfront_distribution_org_overrides.b: a number does not fit here",
            "cloudfront_privatekey_filename: the file missing.pem cannot be read: No such file",
        ],
    );
    assert_faults(
        "AkamaiS3Storage",
        &format!("{store}, akamai_domain: a, akamai_shared_secret: hunter2"),
        &[
            "akamai_shared_secret: not a key of Akamai's (found ***); allowed: an even number of hexadecimal digits",
        ],
    );
}

#[test]
fn rules_and_providers_that_do_not_fit_together_are_refused() {
    let of = |from: &str, to: &str| {
        let fixture = stores(&[&MULTI_CDN.replace(from, to)]);
        let before = "config.yaml:4: DISTRIBUTED_STORAGE_CONFIG.us[1].";
        let lines = fixture.refused();
        assert_eq!(lines.len(), 1, "{from} {to}: {lines:#?}");
        lines[0].replace(before, "")
    };
    for (from, to, expected) in [
        (
            "default_provider: AWSCloudFront",
            "default_provider: CloudFalre",
            "default_provider: no such provider (found \"CloudFalre\"); allowed: AWSCloudFront, CloudFlare; \
             did you mean CloudFlare?",
        ),
        (
            "target: CloudFlare}, {",
            "target: Fastly}, {",
            "rules[0].target: no such provider (found \"Fastly\"); allowed: AWSCloudFront, CloudFlare",
        ),
        (
            "{continent: NA, target: CloudFlare}",
            "{continent: NA}",
            "rules[0].target: it is missing; allowed: AWSCloudFront, CloudFlare",
        ),
        (
            "continent: NA",
            "continent: US",
            "rules[0].continent: not a continent (found \"US\"); allowed: AF, AN, AS, EU, NA, OC, SA",
        ),
        (
            "continent: NA",
            "country: US",
            "rules[0].country: unknown parameter of a rule; allowed: continent, host, namespace, target",
        ),
        (
            "continent: NA",
            "namespace: 7",
            "rules[0].namespace: a number does not fit here",
        ),
        (
            "{continent: NA, target: CloudFlare}",
            "CloudFlare",
            "rules[0]: text does not fit here",
        ),
        (
            "[CloudFlareStorage,",
            "[S3Storage,",
            "providers.CloudFlare[0]: not the driver of a CDN (found \"S3Storage\"); allowed: CloudFrontedS3Storage, \
             CloudFlareStorage, AkamaiS3Storage",
        ),
        (
            "{cloudflare_domain: cdn01.example.org,",
            "{",
            "providers.CloudFlare[1].cloudflare_domain: it is missing",
        ),
        (
            "{cloudflare_domain:",
            "{akamai_domain: a, cloudflare_domain:",
            "providers.CloudFlare[1].akamai_domain: unknown parameter of CloudFlareStorage; allowed: ",
        ),
        (
            "storage_config: {",
            "storage_config: {cloudfront_key_id: id, ",
            "storage_config.cloudfront_key_id: unknown parameter of storage_config",
        ),
        (
            "s3_region: us-east-1, ",
            "",
            "storage_config.s3_region: it is missing; allowed: a region, such as us-east-1",
        ),
        (
            "s3_bucket: b",
            "s3_bucket: 7",
            "storage_config.s3_bucket: a number does not fit here",
        ),
    ] {
        let found = of(from, to);
        assert!(found.starts_with(expected), "{found}\nlacks {expected}");
    }
    assert_faults(
        "MultiCDNStorage",
        "storage_config: {}, providers: [], default_provider: x, rules: {}",
        &[
            "providers: a list does not fit here",
            "rules: a map does not fit here",
            "storage_config: it is empty",
        ],
    );
    assert_faults(
        "MultiCDNStorage",
        "storage_config: {s3_bucket: b}, providers: {a: [CloudFlareStorage], b: AkamaiS3Storage}, default_provider: a, rules: []",
        &[
            "providers.a[1]: not a map of parameters",
            "providers.b: not a driver and its parameters",
        ],
    );
}
