//! Grants as Quay makes and reads them, and every way in which one can be wrong.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use proptest::prelude::*;
use roadstead_metadata::NewServiceKey;
use serde_json::{Value, json};

use super::*;
use crate::AuthOptions;
use crate::identity::Identity;
use crate::testing::{HOST, World, private_key, start};
use crate::token::ALGORITHM;
use crate::web_key::tests::QUAYS;

const ADDRESS: ProxiedAddress<'static> = ProxiedAddress {
    scheme: "https",
    host: "s3.example.org:8443",
    uri: "bucket/registry/sha256/ab/ab%2Fcd?X-Amz-Signature=0123&x=%2e%2e",
};

/// A world whose database holds the first key.
async fn world() -> World {
    let world = World::new().await;
    let key = private_key(0);
    share(&world, &key.kid, &key.jwk).await;
    world
}

async fn share(world: &World, kid: &str, jwk: &str) {
    let now = world.environment.now();
    world
        .database
        .add_service_key(&NewServiceKey {
            kid,
            service: "quay",
            name: "test",
            jwk,
            created: now,
            expires: now + Duration::from_hours(2),
        })
        .await
        .unwrap();
}

fn far() -> Timestamp {
    start() + Duration::from_hours(1)
}

/// The claims of a good grant.
fn claims() -> Value {
    let now = start().timestamp();
    json!({
        "iss": "quay",
        "aud": HOST,
        "nbf": now,
        "iat": now,
        "exp": now + 600,
        "sub": "storageproxy",
        "access": [access()],
        "context": {},
    })
}

fn access() -> Value {
    json!({
        "type": "storageproxy",
        "uri": ADDRESS.uri,
        "host": ADDRESS.host,
        "scheme": ADDRESS.scheme,
    })
}

fn sign(claims: &Value) -> String {
    let header = Header {
        kid: Some(private_key(0).kid.clone()),
        ..Header::new(ALGORITHM)
    };
    jsonwebtoken::encode(&header, claims, &private_key(0).signing).unwrap()
}

/// A grant whose claims are good but for one.
fn with(claim: &str, value: Value) -> String {
    let mut claims = claims();
    claims[claim] = value;
    sign(&claims)
}

async fn refusal(world: &World, grant: &str, address: &ProxiedAddress<'_>) -> ProxyGrantError {
    let checked = world.authenticator.check_proxy_grant(grant, address).await;
    let error = checked.unwrap_err();
    assert!(error.is_refusal(), "{error:?}");
    assert!(!error.client_message().is_empty());
    error
}

macro_rules! assert_refused {
    ($world:expr, $grant:expr, $error:pat) => {
        let error = refusal(&$world, $grant.as_ref(), &ADDRESS).await;
        assert!(matches!(error, $error), "{error:?}");
    };
}

#[tokio::test]
async fn a_grant_has_quays_claims_and_is_good_at_every_instance() {
    let world = World::new().await;
    let grant = world
        .authenticator
        .grant_proxying(&ADDRESS, far())
        .await
        .unwrap();
    let part = |number: usize| -> Value {
        let part = grant.value.expose().split('.').nth(number).unwrap();
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
    };
    let header = json!({"typ": "JWT", "alg": "RS256", "kid": private_key(0).kid});
    assert_eq!((part(0), part(1)), (header, claims()));
    assert_eq!((grant.issued, grant.life), (start(), PROXY_GRANT_LIFE));
    let neighbour = world.neighbour(AuthOptions::new(HOST), 1);
    for instance in [&world.authenticator, &neighbour] {
        instance
            .check_proxy_grant(grant.value.expose(), &ADDRESS)
            .await
            .unwrap();
    }
}

/// Made without a line of ours: JSON in Quay's order, signed by the service key in `tests/fixtures/quay-s3`.
#[tokio::test]
async fn a_grant_that_quay_signed_is_good() {
    let world = World::with(AuthOptions::new("localhost:58080")).await;
    share(&world, "xGTO-2hxO-Fsroj1NNcDJ6rAGgOVoclwRe16g_ltBy8", QUAYS).await;
    let grant = include_str!("golden.jwt").trim();
    let address = ProxiedAddress {
        scheme: "http",
        host: "127.0.0.1:53900",
        uri: "quay-us-east/datastorage/registry/sha256/e3/e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\
              ?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=GKe2e0123456789abcdef01234%2F20261118%2Fus-east-1%2Fs3\
              %2Faws4_request&X-Amz-Date=20261118T110640Z&X-Amz-Expires=600&X-Amz-SignedHeaders=host&X-Amz-Signature=\
              0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
    };
    let check = || world.authenticator.check_proxy_grant(grant, &address);
    check().await.unwrap();
    world.clock.advance(Duration::from_secs(629));
    check().await.unwrap();
    world.clock.advance(Duration::from_secs(1));
    let error = check().await.unwrap_err();
    assert!(
        matches!(error, ProxyGrantError::Token(TokenError::Expired)),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_grant_never_outlives_the_address() {
    let world = World::new().await;
    for (until, life) in [
        (start() + Duration::from_millis(90_900), 90),
        (start() + Duration::from_mins(10), 600),
        (start() + Duration::from_hours(7 * 24), 600),
        (start() - Duration::from_secs(5), 0),
        (Timestamp::MIN_UTC, 0),
        (Timestamp::MAX_UTC, 600),
    ] {
        let grant = world.authenticator.grant_proxying(&ADDRESS, until).await;
        assert_eq!(grant.unwrap().life.as_secs(), life, "{until}");
    }
}

#[tokio::test]
async fn a_grant_is_good_for_its_very_address_only() {
    let world = world().await;
    let grant = sign(&claims());
    let check = async |address: ProxiedAddress<'_>| refusal(&world, &grant, &address).await;
    let authenticator = &world.authenticator;
    authenticator
        .check_proxy_grant(&grant, &ADDRESS)
        .await
        .unwrap();
    for scheme in ["http", "HTTPS", "", "https:"] {
        let error = check(ProxiedAddress { scheme, ..ADDRESS }).await;
        assert!(
            matches!(error, ProxyGrantError::Address { part: "scheme" }),
            "{error:?}"
        );
    }
    for host in [
        "s3.example.org",
        "S3.example.org:8443",
        "s3.example.org:8443 ",
        "169.254.169.254",
        "",
    ] {
        let error = check(ProxiedAddress { host, ..ADDRESS }).await;
        assert!(
            matches!(error, ProxyGrantError::Address { part: "host" }),
            "{error:?}"
        );
    }
    for uri in [
        "",
        "/bucket/registry/sha256/ab/ab%2Fcd?X-Amz-Signature=0123&x=%2e%2e",
        "bucket/registry/sha256/ab/ab/cd?X-Amz-Signature=0123&x=%2e%2e",
        "bucket/registry/sha256/ab/ab%2fcd?X-Amz-Signature=0123&x=%2e%2e",
        "bucket/registry/sha256/ab/ab%2Fcd?X-Amz-Signature=0123&x=..",
        "bucket/registry/sha256/ab/ab%2Fcd?X-Amz-Signature=0123",
        "bucket/registry/sha256/ab/ab%2Fcd",
        "bucket/registry/sha256/ab/ab%2Fcd?X-Amz-Signature=0123&x=%2e%2e&",
        "bucket/x/../registry/sha256/ab/ab%2Fcd?X-Amz-Signature=0123&x=%2e%2e",
    ] {
        let error = check(ProxiedAddress { uri, ..ADDRESS }).await;
        assert!(
            matches!(
                error,
                ProxyGrantError::Address {
                    part: "path or query"
                }
            ),
            "{error:?}"
        );
    }
}

#[tokio::test]
async fn a_grant_is_about_the_proxy_and_one_address() {
    use ProxyGrantError as E;
    let world = world().await;
    for subject in ["admin", "(anonymous)", "StorageProxy", "storageproxy "] {
        assert_refused!(world, with("sub", json!(subject)), E::Subject);
    }
    assert_refused!(world, with("sub", Value::Null), E::Token(_));
    for (access, addresses) in [(json!([]), 0), (json!([access(), access()]), 2)] {
        let error = refusal(&world, &with("access", access), &ADDRESS).await;
        assert!(
            matches!(error, E::Addresses { addresses: number } if number == addresses),
            "{error:?}"
        );
    }
    let mut none = claims();
    none.as_object_mut().unwrap().remove("access");
    assert_refused!(world, sign(&none), E::Addresses { addresses: 0 });
    let mut other = access();
    other["type"] = json!("repository");
    assert_refused!(world, with("access", json!([other])), E::Kind);
    for member in ["type", "scheme", "host", "uri"] {
        for value in [None, Some(json!(7)), Some(Value::Null), Some(json!([]))] {
            let mut access = access();
            match value {
                None => drop(access.as_object_mut().unwrap().remove(member)),
                Some(value) => access[member] = value,
            }
            assert_refused!(world, with("access", json!([access])), E::Token(_));
        }
    }
    for access in [access(), json!("storageproxy"), Value::Null] {
        assert_refused!(world, with("access", access), E::Token(_));
    }
}

#[tokio::test]
async fn a_grant_has_to_be_a_good_token() {
    use ProxyGrantError::Token;
    let world = world().await;
    let now = start().timestamp();
    assert_refused!(
        world,
        with("iss", json!("other")),
        Token(TokenError::Issuer)
    );
    assert_refused!(
        world,
        with("aud", json!("elsewhere")),
        Token(TokenError::Audience)
    );
    assert_refused!(
        world,
        with("exp", json!(now - 30)),
        Token(TokenError::Expired)
    );
    assert_refused!(
        world,
        with("nbf", json!(now + 31)),
        Token(TokenError::NotYetValid)
    );
    assert_refused!(
        world,
        with("exp", json!(now + 3661)),
        Token(TokenError::TooLongLived { .. })
    );
    let secret = EncodingKey::from_secret(private_key(0).jwk.as_bytes());
    let header = Header {
        kid: Some(private_key(0).kid.clone()),
        ..Header::new(Algorithm::HS256)
    };
    let confused = jsonwebtoken::encode(&header, &claims(), &secret).unwrap();
    assert_refused!(world, confused, Token(TokenError::Algorithm));
    let header = Header {
        kid: Some(private_key(0).kid.clone()),
        ..Header::new(ALGORITHM)
    };
    let forged = jsonwebtoken::encode(&header, &claims(), &private_key(1).signing).unwrap();
    assert_refused!(world, forged, Token(TokenError::Signature));
    let header = Header {
        kid: Some("nobody's".to_owned()),
        ..Header::new(ALGORITHM)
    };
    let unknown = jsonwebtoken::encode(&header, &claims(), &private_key(0).signing).unwrap();
    assert_refused!(world, unknown, Token(TokenError::UnknownKey));
    for garbage in ["", ".", "..", "a.b.c", "ä.ö.ü", "\0"] {
        assert_refused!(world, garbage, Token(TokenError::Malformed { .. }));
    }
    let long = "x".repeat(PROXY_GRANT_BYTES_MAX + 1);
    assert_refused!(world, long, Token(TokenError::Malformed { .. }));
}

#[tokio::test]
async fn a_registrys_token_is_no_grant_and_a_grant_no_registrys_token() {
    let world = World::new().await;
    let authenticator = &world.authenticator;
    let token = authenticator
        .issue(&Identity::Anonymous, &[], None)
        .await
        .unwrap();
    assert_refused!(world, token.value.expose(), ProxyGrantError::Subject);
    // Somebody may call themselves that.
    let access = json!([{"type": "repository", "name": "acme/app", "actions": ["pull"]}]);
    assert_refused!(world, with("access", access), ProxyGrantError::Token(_));
    let grant = authenticator.grant_proxying(&ADDRESS, far()).await.unwrap();
    let refused = authenticator.verify(grant.value.expose()).await;
    assert!(
        matches!(refused, Err(TokenError::Malformed { .. })),
        "{refused:?}"
    );
}

#[tokio::test]
async fn an_address_longer_than_any_is_not_granted_and_the_longest_fits() {
    let world = World::new().await;
    let longest = "x".repeat(8 * 1024 - "https".len() - ADDRESS.host.len());
    let address = ProxiedAddress {
        uri: &longest,
        ..ADDRESS
    };
    let authenticator = &world.authenticator;
    let grant = authenticator.grant_proxying(&address, far()).await.unwrap();
    let checked = authenticator
        .check_proxy_grant(grant.value.expose(), &address)
        .await;
    checked.unwrap();
    let longer = format!("{longest}x");
    let address = ProxiedAddress {
        uri: &longer,
        ..ADDRESS
    };
    let refused = authenticator.grant_proxying(&address, far()).await;
    assert!(
        matches!(refused, Err(IssueError::Address { bytes: 8193, .. })),
        "{refused:?}"
    );
}

#[tokio::test]
async fn a_database_that_is_gone_is_no_bad_grant() {
    let world = world().await;
    world.lose_database().await;
    let checked = world
        .authenticator
        .check_proxy_grant(&sign(&claims()), &ADDRESS)
        .await;
    assert!(!checked.unwrap_err().is_refusal());
}

#[test]
fn an_address_is_printed_without_its_query() {
    assert_eq!(
        format!("{ADDRESS:?}"),
        "https://s3.example.org:8443/bucket/registry/sha256/ab/ab%2Fcd"
    );
}

/// Whatever is signed by somebody else, or not at all, is refused.
#[test]
fn hostile_grants_are_refused() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let world = runtime.block_on(world());
    proptest!(|(grant in "[A-Za-z0-9_.=-]{0,300}", uri in ".{0,100}")| {
        let address = ProxiedAddress { uri: &uri, ..ADDRESS };
        let checking = world.authenticator.check_proxy_grant(&grant, &address);
        prop_assert!(runtime.block_on(checking).is_err());
    });
}
