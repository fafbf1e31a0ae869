//! Requests for tokens and their answers, as the identity services document them.

use super::*;

fn swift(version: SwiftAuthVersion, os_options: OpenStackOptions) -> SwiftOptions {
    SwiftOptions {
        auth_url: "https://identity.example/identity/".to_owned(),
        auth_version: version,
        user: "quay".to_owned(),
        password: Secret::new("hunter2"),
        os_options,
        container: "registry".to_owned(),
        key_prefix: String::new(),
        temp_url_key: None,
    }
}

fn asked(swift: &SwiftOptions) -> (String, Value) {
    let (head, body) = request(swift).unwrap().into_parts();
    assert_eq!(head.method, Method::POST);
    let body = serde_json::from_slice(&body.to_bytes()).unwrap();
    (head.uri.to_string(), body)
}

fn now() -> Timestamp {
    "2026-11-25T12:00:00Z".parse().unwrap()
}

#[test]
fn version_1_asks_by_headers() {
    let swift = swift(SwiftAuthVersion::V1, OpenStackOptions::default());
    let request = request(&swift).unwrap();
    assert_eq!(request.method(), Method::GET);
    assert_eq!(request.uri(), "https://identity.example/identity/");
    assert_eq!(request.headers()["x-auth-user"], "quay");
    assert_eq!(request.headers()["x-auth-key"], "hunter2");
    assert!(!format!("{request:?}").contains("hunter2"));
}

#[test]
fn version_2_asks_for_a_tenant() {
    let by_name = OpenStackOptions {
        project_name: Some("registry".to_owned()),
        ..OpenStackOptions::default()
    };
    let (url, body) = asked(&swift(SwiftAuthVersion::V2, by_name.clone()));
    assert_eq!(url, "https://identity.example/identity/v2.0/tokens");
    let expected = json!({ "auth": {
        "passwordCredentials": { "username": "quay", "password": "hunter2" },
        "tenantName": "registry",
    }});
    assert_eq!(body, expected);

    let by_id = OpenStackOptions {
        project_id: Some("7".to_owned()),
        user_id: Some("8".to_owned()),
        ..by_name
    };
    let mut swift = swift(SwiftAuthVersion::V2, by_id);
    "https://identity.example/v2.0".clone_into(&mut swift.auth_url);
    let (url, body) = asked(&swift);
    assert_eq!(url, "https://identity.example/v2.0/tokens");
    let expected = json!({ "auth": {
        "passwordCredentials": { "userId": "8", "password": "hunter2" },
        "tenantId": "7",
    }});
    assert_eq!(body, expected);
}

#[test]
fn version_3_asks_for_a_project_within_domains() {
    let domains = |user: Value, project: Value| {
        json!({ "auth": {
            "identity": { "methods": ["password"], "password": { "user": {
                "name": "quay", "password": "hunter2", "domain": user,
            }}},
            "scope": { "project": { "name": "registry", "domain": project } },
        }})
    };
    let plain = OpenStackOptions {
        project_name: Some("registry".to_owned()),
        ..OpenStackOptions::default()
    };
    let (url, body) = asked(&swift(SwiftAuthVersion::V3, plain.clone()));
    assert_eq!(url, "https://identity.example/identity/v3/auth/tokens");
    let default = json!({ "id": "default" });
    assert_eq!(body, domains(default.clone(), default));

    let named = OpenStackOptions {
        user_domain_name: Some("people".to_owned()),
        project_domain_id: Some("12".to_owned()),
        project_domain_name: Some("not this".to_owned()),
        ..plain.clone()
    };
    let (_, body) = asked(&swift(SwiftAuthVersion::V3, named));
    assert_eq!(
        body,
        domains(json!({ "name": "people" }), json!({ "id": "12" }))
    );

    let by_id = OpenStackOptions {
        project_id: Some("7".to_owned()),
        user_id: Some("8".to_owned()),
        ..plain
    };
    let (_, body) = asked(&swift(SwiftAuthVersion::V3, by_id));
    let expected = json!({ "auth": {
        "identity": { "methods": ["password"], "password": { "user": {
            "id": "8", "password": "hunter2",
        }}},
        "scope": { "project": { "id": "7" } },
    }});
    assert_eq!(body, expected);
}

fn answered(swift: &SwiftOptions, body: &Value) -> Result<Granted, Refusal> {
    let mut headers = HeaderMap::new();
    headers.insert("x-subject-token", HeaderValue::from_static("t3"));
    let body = body.to_string();
    granted(swift, now(), StatusCode::OK, &headers, body.as_bytes())
}

#[test]
fn the_endpoint_is_that_of_the_region_the_interface_and_the_service() {
    let catalog = json!([
        { "type": "object-store", "endpoints": [
            { "interface": "internal", "region_id": "a", "url": "http://a.internal/v1/x/" },
            { "interface": "public", "region": "a", "url": "http://a.public/v1/x" },
            { "interface": "public", "region": "b", "url": "http://b.public/v1/x" },
        ]},
        { "type": "other-store", "endpoints": [
            { "interface": "public", "region": "a", "url": "http://other/v1/x" },
        ]},
        { "type": "empty" },
    ]);
    let answer =
        json!({ "token": { "expires_at": "2026-11-25T13:00:00.000000Z", "catalog": catalog } });
    let url = |os: OpenStackOptions| {
        let swift = swift(SwiftAuthVersion::V3, os);
        answered(&swift, &answer).map(|granted| granted.storage_url)
    };
    let os = OpenStackOptions::default;
    assert_eq!(url(os()).unwrap(), "http://a.public/v1/x");
    let region = |name: &str| OpenStackOptions {
        region_name: Some(name.to_owned()),
        ..os()
    };
    assert_eq!(url(region("b")).unwrap(), "http://b.public/v1/x");
    for kind in ["internal", "internalURL"] {
        let internal = OpenStackOptions {
            endpoint_type: Some(kind.to_owned()),
            ..region("a")
        };
        assert_eq!(url(internal).unwrap(), "http://a.internal/v1/x");
    }
    let other = OpenStackOptions {
        service_type: Some("other-store".to_owned()),
        ..os()
    };
    assert_eq!(url(other).unwrap(), "http://other/v1/x");
    let overridden = OpenStackOptions {
        object_storage_url: Some("http://override/v1/x/".to_owned()),
        ..region("nowhere")
    };
    assert_eq!(url(overridden).unwrap(), "http://override/v1/x");

    let refusal = url(region("nowhere")).unwrap_err();
    assert_eq!(refusal.kind, StorageErrorKind::Misconfigured);
    assert!(refusal.message.contains("`nowhere`"), "{refusal}");

    let granted = answered(&swift(SwiftAuthVersion::V3, os()), &answer).unwrap();
    assert_eq!(granted.token.expose(), "t3");
    assert_eq!(
        granted.expires,
        Some("2026-11-25T13:00:00Z".parse().unwrap())
    );
}

#[test]
fn version_2_names_its_urls_by_interface() {
    let answer = json!({ "access": {
        "token": { "id": "t2", "expires": "2026-11-25T13:00:00Z" },
        "serviceCatalog": [{ "type": "object-store", "endpoints": [
            { "region": "a", "publicURL": "http://a.public/v1/x" },
            { "region": "b", "publicURL": "http://b.public/v1/x", "internalURL": "http://b.internal/v1/x" },
        ]}],
    }});
    let os = OpenStackOptions {
        region_name: Some("b".to_owned()),
        endpoint_type: Some("internalURL".to_owned()),
        ..OpenStackOptions::default()
    };
    let granted = answered(&swift(SwiftAuthVersion::V2, os), &answer).unwrap();
    assert_eq!(granted.storage_url, "http://b.internal/v1/x");
    assert_eq!(granted.token.expose(), "t2");
    assert_eq!(
        granted.expires,
        Some("2026-11-25T13:00:00Z".parse().unwrap())
    );
}

#[test]
fn version_1_answers_by_headers() {
    let swift = swift(SwiftAuthVersion::V1, OpenStackOptions::default());
    let mut headers = HeaderMap::new();
    let answered = |headers: &HeaderMap| granted(&swift, now(), StatusCode::OK, headers, b"");
    assert_eq!(
        answered(&headers).unwrap_err().kind,
        StorageErrorKind::Misconfigured
    );
    headers.insert("x-auth-token", HeaderValue::from_static("t1"));
    answered(&headers).unwrap_err();
    let url = HeaderValue::from_static("http://store/v1/AUTH_quay/");
    headers.insert("x-storage-url", url);
    let granted = answered(&headers).unwrap();
    assert_eq!(granted.storage_url, "http://store/v1/AUTH_quay");
    assert_eq!(granted.token.expose(), "t1");
    assert_eq!(granted.expires, None);
    headers.insert("x-storage-token", HeaderValue::from_static("better"));
    headers.insert("x-auth-token-expires", HeaderValue::from_static("3600"));
    let granted = answered(&headers).unwrap();
    assert_eq!(granted.token.expose(), "better");
    assert_eq!(
        granted.expires,
        Some("2026-11-25T13:00:00Z".parse().unwrap())
    );
    for nonsense in ["-1x", "", "99999999999999999999"] {
        let value = HeaderValue::from_static(nonsense);
        headers.insert("x-auth-token-expires", value);
        assert_eq!(answered(&headers).unwrap().expires, None);
    }
}

#[test]
fn refusals_say_who_has_to_act() {
    let swift = swift(SwiftAuthVersion::V3, OpenStackOptions::default());
    for (status, kind) in [
        (401, StorageErrorKind::Denied),
        (403, StorageErrorKind::Denied),
        (404, StorageErrorKind::Misconfigured),
        (300, StorageErrorKind::Misconfigured),
        (429, StorageErrorKind::Throttled),
        (503, StorageErrorKind::ServerError),
    ] {
        let status = StatusCode::from_u16(status).unwrap();
        let refusal = granted(&swift, now(), status, &HeaderMap::new(), b"").unwrap_err();
        assert_eq!(refusal.kind, kind, "{status}");
        assert!(!refusal.message.contains("hunter2"));
    }
    for body in ["", "<html>", "{}", "{\"token\":[]}", "[1]"] {
        let mut headers = HeaderMap::new();
        headers.insert("x-subject-token", HeaderValue::from_static("t"));
        let refusal = granted(&swift, now(), StatusCode::OK, &headers, body.as_bytes());
        assert_eq!(
            refusal.unwrap_err().kind,
            StorageErrorKind::Misconfigured,
            "{body}"
        );
    }
}
