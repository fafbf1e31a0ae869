//! URLs that others' code signed with the same key at the same time: `botocore` for CloudFront, Python's `cryptography` and `hmac` by Quay's rules
//! for the other two.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use chrono::{DateTime, Utc};
use roadstead_oci::Digest;
use roadstead_runtime::SeededIds;
use roadstead_secrets::Secret;
use rsa::RsaPrivateKey;
use rsa::pkcs1::DecodeRsaPrivateKey;
use rsa::pkcs8::{EncodePrivateKey, LineEnding};

use super::*;
use crate::drivers::S3Credentials;
use crate::signed_url::UrlMethod;
use crate::{Capabilities, PublicationCost};

/// Made for these tests and used nowhere else.
const KEY: &str = include_str!("tests_key.pem");

const HEX: &str = "2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae";

const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));

fn now() -> DateTime<Utc> {
    "2026-11-22T10:00:00Z".parse().unwrap()
}

fn request() -> UrlRequest<'static> {
    UrlRequest {
        client: Some(CLIENT),
        ..UrlRequest::get(now(), Duration::from_mins(10))
    }
}

fn key() -> ObjectKey {
    let digest: Digest = format!("sha256:{HEX}").parse().unwrap();
    ObjectKey::Blob(digest)
}

fn ids() -> SeededIds {
    SeededIds::new(1)
}

fn s3() -> S3Options {
    S3Options {
        endpoint: "https://s3.eu-west-1.amazonaws.com".to_owned(),
        region: Some("eu-west-1".to_owned()),
        bucket: "images".to_owned(),
        storage_path: "/registry".to_owned(),
        credentials: S3Credentials::Keys {
            access_key: Secret::new("AKIAEXAMPLE"),
            secret_key: Secret::new("hunter2"),
            session_token: None,
        },
        server_side_encryption: true,
        cross_origin_urls: true,
        server_side_assembly: true,
    }
}

fn cloud_front(domain: &str) -> CdnOptions {
    CdnOptions::CloudFront(CloudFrontOptions {
        domain: domain.to_owned(),
        key_id: "KEYID123".to_owned(),
        private_key: Secret::new(KEY),
        domains_of_namespaces: BTreeMap::from([(
            "special".to_owned(),
            "d2.cloudfront.example".to_owned(),
        )]),
    })
}

fn cloud_flare() -> CloudFlareOptions {
    CloudFlareOptions {
        domain: "cdn.example.org".to_owned(),
        private_key: Secret::new(KEY),
    }
}

fn akamai() -> AkamaiOptions {
    AkamaiOptions {
        domain: "edge.example.org".to_owned(),
        shared_secret: Secret::new("eee7e9157f81b2f6d471bf2c"),
    }
}

fn location(cdns: &MultiCdnOptions) -> Location {
    let http = HttpClient::new(&[]).unwrap();
    let name = crate::fixture::name();
    Location::behind_cdns(
        name,
        cdns,
        StoreOptions::default(),
        &http,
        Environment::system(),
    )
    .unwrap()
}

/// A URL that the store signed, with a character in its path that has to be escaped.
fn of_store() -> SignedUrl {
    let url = format!(
        "https://s3.eu-west-1.amazonaws.com/images/registry%2B1/sha256/2c/{HEX}?X-Amz-Expires=600&X-Amz-Signature=f00"
    );
    SignedUrl::new(url, now() + Duration::from_mins(10))
}

#[test]
fn urls_of_cloud_front_are_those_of_amazons_own_library() {
    let CdnOptions::CloudFront(options) = cloud_front("d1.cloudfront.example") else {
        unreachable!()
    };
    let cdn = CloudFront::new(&options).unwrap();
    let url = cdn.sign_key(&key(), &request(), &ids()).unwrap();
    assert_eq!(
        url.expose(),
        "https://d1.cloudfront.example/sha256/2c/2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae?Expires=1795342200&Signature=EE6wqLWAvPOMmRUo~fQ14AeLEgMSfVxwDS8RFJfjf1fBOrDI772oqQmynlEYxqoVtcWVQg2RVPUlD4cvbbgYkUBs87VLIZGCdaPfwhvhqMUmBHUnQWjJiXbCarJ1vesZ8K-pGO~sRs7E90glWl~EkovRm2nal2GsazcmrLGr8EOFeuECb9MZG~JugekjVzvRs6o29pLNTDJRy9EZxbGdUrce6eoKPeOpEkYWnSJV70R6PEYuYf01quuvUQtbNhc9c-GcWHXlHo5BVF9kcC~P-xvHJR0CHKigw3Z9x36H792pKcDpKnGaNUMepAi2861joHCpJzSqT9UwxdulGVgAVg__&Key-Pair-Id=KEYID123"
    );
    assert_eq!(url.expires_at(), now() + Duration::from_mins(10));
    let known = UrlRequest {
        username: Some("a b"),
        namespace: Some("devtable"),
        repository: Some("simple"),
        method: UrlMethod::Head,
        ..request()
    };
    let url = cdn.sign_key(&key(), &known, &ids()).unwrap();
    assert_eq!(
        url.expose(),
        "https://d1.cloudfront.example/sha256/2c/2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae?username=a%20b&namespace=devtable&repo_name=simple&Expires=1795342200&Signature=dfWpjPcJ7y71HJJeVGPIeqcT7DJXqtJqQDOIz2OXBsNTlnwe499KYyn3x0nYajKpzHts-y2geL1ZDz986lTR9dYCgsbsU~crQivebb9cuW9pY8fJPjZ3Ty~hpmt8IoeD~3BKWf3JJL6mhIGIzQFRB9DcSxgGjAYOPDHN66dJK-Y~lFnLi6HeUyheEx45K3vSHJL5TxZZiOIqLBAbGVKTH7Xr0MZyzOnGZLVrWnjq961TpFGui6hnbj40gS5O9ys4ilZS7GBVeI7qoLqhgGKrtQ5aZ2q6Va9QdJMtPEVhhv7HE1N5pqgrM3MaDHT8oH-tREP~E6uTH8BISLSgFm9ktA__&Key-Pair-Id=KEYID123"
    );
    let special = UrlRequest {
        namespace: Some("special"),
        ..request()
    };
    let url = cdn.sign_key(&key(), &special, &ids()).unwrap();
    assert!(url.expose().starts_with("https://d2.cloudfront.example/"));
}

#[test]
fn urls_of_cloudflare_are_those_of_the_store_and_signed_for_their_path() {
    let cdn = UrlCdn::CloudFlare(CloudFlare::new(&cloud_flare(), "eu-west-1").unwrap());
    let known = UrlRequest {
        username: Some("devtable+robot"),
        namespace: Some("devtable"),
        repository: Some("a/b"),
        ..request()
    };
    let url = cdn.sign_url(&of_store(), &known, &ids()).unwrap();
    assert_eq!(
        url.expose(),
        "https://cdn.example.org/images/registry%2B1/sha256/2c/2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae?X-Amz-Expires=600&X-Amz-Signature=f00&cf_sign=gtZndnwlV71k4RnOP2hh0biDfn19YP0O%2BkBtUtObeW5u69l1Rspk1NmqRXg2J%2BAnXQ6at3smFZMLB1uf%2F8ZBIlAFWUZrE9Efxp%2B6akBBNsRvqPKbuke9LLFUuxVXQ1XW1Uv78ExlM9u7hae6Vny7ZG0u3MimFw9bYZs73W7nzb%2BSVam7Ip96Vj6KnLazM4rB6Ll8lRqyx7Lnx7DgjyisaKDV%2BocDQTjDBEAQFVeDY36uf8WxCgTxP0tay42Zd5fI4yIzx8PZUEOOs%2BwmByVWm1fQKoxcjpssCS1AmrSJi%2B423Rj%2BeRWTpFgAXMTlouw%2FMStXmJkoMGg5VV%2Fv945EdQ%3D%3D&cf_expiry=1795342200&region=eu-west-1&username=devtable%2Brobot&namespace=devtable&repo_name=a%2Fb"
    );
}

#[test]
fn urls_of_akamai_are_those_of_the_store_with_a_token_for_their_path() {
    let cdn = UrlCdn::Akamai(Akamai::new(&akamai(), "eu-west-1").unwrap());
    let known = UrlRequest {
        namespace: Some("devtable"),
        ..request()
    };
    let url = cdn.sign_url(&of_store(), &known, &ids()).unwrap();
    assert_eq!(
        url.expose(),
        "https://edge.example.org/images/registry%2B1/sha256/2c/2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae?X-Amz-Expires=600&X-Amz-Signature=f00&region=eu-west-1&namespace=devtable&akamai_signature=exp=1795342500~hmac=799aa2649c1a75354cb3b1f28730b8563f4bcbbdbd297ef7167ae66a4d9891a0"
    );
    assert_eq!(url.expires_at(), now() + Duration::from_mins(10));
    let hour = SignedUrl::new(of_store().expose(), now() + Duration::from_hours(1));
    let url = cdn.sign_url(&hour, &known, &ids()).unwrap();
    assert_eq!(url.expires_at(), now() + WINDOW_OF_AKAMAI);
}

const WINDOW_OF_AKAMAI: Duration = Duration::from_mins(15);

#[tokio::test]
async fn what_a_cdn_fetches_with_the_stores_signature_names_the_bucket_in_the_path() {
    let provider = |cdn| MultiCdnOptions {
        default_provider: Arc::new(CdnProvider { store: s3(), cdn }),
        rules: Vec::new(),
    };
    for (cdn, host) in [
        (CdnOptions::CloudFlare(cloud_flare()), "cdn.example.org"),
        (CdnOptions::Akamai(akamai()), "edge.example.org"),
    ] {
        let location = location(&provider(cdn));
        let url = location.signed_url(&key(), &request()).await.unwrap();
        let url = url.unwrap();
        let begin = format!("https://{host}/images/registry/sha256/2c/{HEX}?X-Amz-Algorithm=");
        assert!(url.expose().starts_with(&begin), "{}", url.expose());
        assert!(url.expose().contains("X-Amz-SignedHeaders=host&"));
        assert!(!format!("{location:?} {url:?}").contains("hunter2"));
        assert!(!format!("{location:?}").contains("eee7e9157f81b2f6d471bf2c"));
    }
}

#[tokio::test]
async fn whoever_has_no_address_or_is_near_the_store_is_not_sent_through_a_cdn() {
    let cdns = MultiCdnOptions {
        default_provider: Arc::new(CdnProvider {
            store: s3(),
            cdn: cloud_front("d1.cloudfront.example"),
        }),
        rules: Vec::new(),
    };
    let location = location(&cdns);
    let publication = PublicationCost::StoreCopies;
    assert_eq!(
        location.capabilities(),
        Capabilities {
            signed_urls: true,
            checked_writes: true,
            publication
        }
    );
    for (client, near_store, via_cdn, host) in [
        (Some(CLIENT), false, false, "d1.cloudfront.example"),
        (Some(CLIENT), true, false, "s3.eu-west-1.amazonaws.com"),
        (Some(CLIENT), true, true, "d1.cloudfront.example"),
        (None, false, true, "s3.eu-west-1.amazonaws.com"),
    ] {
        let request = UrlRequest {
            client,
            near_store,
            via_cdn,
            ..request()
        };
        let url = location.signed_url(&key(), &request).await.unwrap();
        let url = url.unwrap();
        assert!(
            url.expose().starts_with(&format!("https://{host}/")),
            "{url} for {request:?}"
        );
    }
}

#[tokio::test]
async fn the_first_rule_that_fits_chooses_the_cdn() {
    let provider = |domain| {
        Arc::new(CdnProvider {
            store: s3(),
            cdn: cloud_front(domain),
        })
    };
    let (eu, host, both) = (provider("eu"), provider("host"), provider("both"));
    let rule = |namespace: Option<&str>, continent, host: Option<&str>, provider| CdnRule {
        namespace: namespace.map(str::to_owned),
        continent,
        host: host.map(str::to_owned),
        provider,
    };
    let europe = Some(Continent::Europe);
    let location = location(&MultiCdnOptions {
        default_provider: provider("default"),
        rules: vec![
            rule(Some("team"), europe, None, both),
            rule(None, europe, None, Arc::clone(&eu)),
            rule(None, None, Some("quay.example.org:8443"), host),
            rule(Some("old"), None, None, eu),
        ],
    });
    for (namespace, continent, host, expected) in [
        (Some("team"), europe, None, "both"),
        (Some("team"), None, None, "default"),
        (Some("team"), Some(Continent::Asia), None, "default"),
        (Some("other"), europe, Some("quay.example.org:8443"), "eu"),
        (None, None, Some("quay.example.org:8443"), "host"),
        (None, None, Some("quay.example.org"), "default"),
        (Some("old"), None, None, "eu"),
        (None, None, None, "default"),
    ] {
        let request = UrlRequest {
            continent,
            host,
            namespace,
            ..request()
        };
        let url = location.signed_url(&key(), &request).await.unwrap();
        let url = url.unwrap();
        let begin = format!("https://{expected}/");
        assert!(url.expose().starts_with(&begin), "{url} for {request:?}");
    }
}

#[test]
fn keys_are_read_in_both_forms_and_refused_without_being_shown() {
    let pkcs8 = RsaPrivateKey::from_pkcs1_pem(KEY)
        .unwrap()
        .to_pkcs8_pem(LineEnding::LF)
        .unwrap();
    let http = HttpClient::new(&[]).unwrap();
    let behind = |key: &str| {
        let cdn = CdnOptions::CloudFlare(CloudFlareOptions {
            domain: "cdn.example.org".to_owned(),
            private_key: Secret::new(key),
        });
        let provider = CdnProvider { store: s3(), cdn };
        let options = StoreOptions::default();
        let name = crate::fixture::name();
        Location::behind_cdn(name, provider, options, &http, Environment::system())
    };
    behind(&pkcs8).unwrap();
    behind(&KEY.replace('\n', "\r\n")).unwrap();
    for (key, problem) in [
        ("", "none of RSA"),
        ("hunter2", "none of RSA"),
        (
            "-----BEGIN ENCRYPTED PRIVATE KEY-----\nhunter2\n-----END ENCRYPTED PRIVATE KEY-----",
            "encrypted",
        ),
    ] {
        let error = behind(key).unwrap_err();
        assert_eq!(error.kind(), StorageErrorKind::Misconfigured);
        let text = format!("{error:?}");
        assert!(
            text.contains(problem) && !text.contains("hunter2"),
            "{text}"
        );
    }
}

#[test]
fn secrets_of_akamai_are_hexadecimal() {
    for secret in ["", "abc", "xy", "é0"] {
        let options = AkamaiOptions {
            shared_secret: Secret::new(secret),
            ..akamai()
        };
        Akamai::new(&options, "eu-west-1").unwrap_err();
    }
}
