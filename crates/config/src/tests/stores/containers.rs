//! Swift and Azure, with the least and with all of their parameters.

use super::*;

#[test]
fn containers_of_swift_have_quays_defaults_and_every_parameter() {
    let required = "swift_container: c, storage_path: /quay, auth_url: 'http://keystone:5000/v2.0', swift_user: 'demo:alice', \
                    swift_password: hunter2";
    let Driver::SwiftStorage(swift) = driver("SwiftStorage", required) else {
        panic!("a container of Swift");
    };
    assert_eq!(
        *swift,
        SwiftStorage {
            auth_url: endpoint(UrlScheme::Http, "keystone", 5000, "/v2.0"),
            auth_version: SwiftAuthVersion::V2,
            user: "alice".to_owned(),
            password: Secret::new("hunter2".to_owned()),
            options: OpenStackOptions {
                project_name: Some("demo".to_owned()),
                ..OpenStackOptions::default()
            },
            container: "c".to_owned(),
            key_prefix: "quay/".to_owned(),
            ca_certificate: None,
            temp_url_key: None,
            connect_timeout: Duration::from_secs(5),
            retry_count: 5,
            retry_on_rate_limit: true,
        }
    );

    let fixture = stores(&[
        "us: [SwiftStorage, {swift_container: c, storage_path: //quay-, auth_url: 'https://keystone/v3', auth_version: '3', \
         swift_user: 'al:ice', swift_password: p, ca_cert_path: conf/stack/cdn.pem, temp_url_key: k, simple_path_concat: true, \
         connect_timeout: 2.5, retry_count: 7, retry_on_ratelimit: no, os_options: {tenant_id: t, tenant_name: n, \
         project_domain_id: pdi, project_domain_name: pdn, user_id: u, user_domain_id: udi, user_domain_name: udn, \
         region_name: r, service_type: s, endpoint_type: internalURL, object_storage_url: 'https://swift/v1/AUTH_t', \
         auth_token: hunter2}}]",
    ]);
    assert!(fixture.warnings().is_empty(), "{:?}", fixture.warnings());
    let loaded = fixture.loaded();
    let Driver::SwiftStorage(swift) = &loaded.config.storage.locations[0].driver else {
        panic!("a container of Swift");
    };
    let text = |text: &str| Some(text.to_owned());
    assert_eq!(
        **swift,
        SwiftStorage {
            auth_url: endpoint(UrlScheme::Https, "keystone", 443, "/v3"),
            auth_version: SwiftAuthVersion::V3,
            user: "al:ice".to_owned(),
            password: Secret::new("p".to_owned()),
            options: OpenStackOptions {
                project_id: text("t"),
                project_name: text("n"),
                project_domain_id: text("pdi"),
                project_domain_name: text("pdn"),
                user_id: text("u"),
                user_domain_id: text("udi"),
                user_domain_name: text("udn"),
                region_name: text("r"),
                service_type: text("s"),
                endpoint_type: text("internalURL"),
                object_storage_url: Some(endpoint(UrlScheme::Https, "swift", 443, "/v1/AUTH_t")),
                auth_token: Some(Secret::new("hunter2".to_owned())),
            },
            container: "c".to_owned(),
            key_prefix: "quay-".to_owned(),
            ca_certificate: Some(fixture.directory.path().join("cdn.pem")),
            temp_url_key: Some(Secret::new("k".to_owned())),
            connect_timeout: Duration::from_millis(2500),
            retry_count: 7,
            retry_on_rate_limit: false,
        }
    );

    let of_version_1 = "swift_container: c, storage_path: '', auth_url: 'http://swift:8080/auth/v1.0', auth_version: 1, \
                        swift_user: 'test:tester', swift_password: testing, retry_count: 0";
    let Driver::SwiftStorage(swift) = driver("SwiftStorage", of_version_1) else {
        panic!("a container of Swift");
    };
    assert_eq!(swift.auth_version, SwiftAuthVersion::V1);
    assert_eq!(swift.user, "test:tester", "as Swift wants it");
    assert_eq!((swift.retry_count, swift.key_prefix.as_str()), (5, ""));
}

#[test]
fn containers_of_azure_are_reached_with_a_key_or_a_token() {
    let required = "azure_container: c, storage_path: /quay, azure_account_name: registry";
    let azure =
        |parameters: &str| match driver("AzureStorage", &format!("{required}, {parameters}")) {
            Driver::AzureStorage(azure) => *azure,
            other => panic!("{other:?}"),
        };
    let secret = |text: &str| Secret::new(text.to_owned());
    let expected = AzureStorage {
        endpoint: endpoint(UrlScheme::Https, "registry.blob.core.windows.net", 443, ""),
        account_name: "registry".to_owned(),
        container: "c".to_owned(),
        key_prefix: "quay/".to_owned(),
        credentials: AzureCredentials::AccountKey(secret("a2V5")),
    };
    assert_eq!(azure("azure_account_key: a2V5"), expected);
    let emulated =
        azure("endpoint_url: 'http://127.0.0.1:10000/registry', sas_token: '?sv=1&sig=x'");
    assert_eq!(
        emulated,
        AzureStorage {
            endpoint: endpoint(UrlScheme::Http, "127.0.0.1", 10000, "/registry"),
            credentials: AzureCredentials::SasToken(secret("sv=1&sig=x")),
            ..expected
        }
    );
    let both = stores(&[&format!(
        "us: [AzureStorage, {{{required}, azure_account_key: a2V5, sas_token: x}}]"
    )]);
    assert_eq!(
        both.warnings(),
        [
            "config.yaml:4: DISTRIBUTED_STORAGE_CONFIG.us[1].sas_token: without effect: azure_account_key counts; \
          take one of the two out"
        ]
    );
}
