//! Every check of a token, with tokens that fail just that one.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use roadstead_metadata::{NewServiceKey, RepositoryState};
use serde_json::{Value, json};

use super::*;
use crate::identity::Identity;
use crate::testing::{HOST, World, private_key, start};
use crate::token::TOKEN_LIFE;
use crate::web_key::PrivateKey;

macro_rules! assert_refused {
    ($world:expr, $token:expr, $error:pat) => {
        let error = refusal(&$world, $token.as_ref()).await;
        assert!(matches!(error, $error), "{error:?}");
    };
}

mod forgery;

/// A world whose database holds the first key; it ends after this many seconds.
async fn world_until(key_seconds: u64) -> World {
    let world = World::new().await;
    share(&world, &private_key(0), "quay", key_seconds).await;
    world.user("admin", "secret").await;
    world
        .execute("UPDATE \"user\" SET uuid = 'admins-uuid' WHERE username = 'admin'")
        .await;
    world
}

async fn world() -> World {
    world_until(24 * 3600).await
}

async fn share(world: &World, key: &PrivateKey, service: &str, seconds: u64) {
    let now = world.environment.now();
    world
        .database
        .add_service_key(&NewServiceKey {
            kid: &key.kid,
            service,
            name: "test",
            jwk: &key.jwk,
            created: now,
            expires: now + Duration::from_secs(seconds),
        })
        .await
        .unwrap();
}

/// The claims of a good token.
fn claims() -> Value {
    let now = start().timestamp();
    json!({
        "iss": "quay",
        "aud": HOST,
        "nbf": now,
        "iat": now,
        "exp": now + 3600,
        "sub": "admin",
        "access": [{"type": "repository", "name": "acme/app", "actions": ["push", "pull"]}],
        "context": {
            "version": 2, "entity_kind": "user", "entity_reference": "admins-uuid", "kind": "user", "user": "admin",
        },
    })
}

fn header() -> Header {
    Header {
        kid: Some(private_key(0).kid.clone()),
        ..Header::new(ALGORITHM)
    }
}

fn sign(header: &Header, claims: &Value) -> String {
    jsonwebtoken::encode(header, claims, &private_key(0).signing).unwrap()
}

/// A token whose claims are good but for one.
fn with(claim: &str, value: Value) -> String {
    let mut claims = claims();
    claims[claim] = value;
    sign(&header(), &claims)
}

fn without(claim: &str) -> String {
    let mut claims = claims();
    claims.as_object_mut().unwrap().remove(claim);
    sign(&header(), &claims)
}

/// A token with any header, its signature made of the given bytes.
fn forged(header: &Value, signature: &[u8]) -> String {
    let parts = [
        header.to_string().into_bytes(),
        claims().to_string().into_bytes(),
        signature.to_vec(),
    ];
    parts.map(|part| URL_SAFE_NO_PAD.encode(part)).join(".")
}

async fn refusal(world: &World, token: &str) -> TokenError {
    match world.authenticator.verify(token).await {
        Err(error) => error,
        Ok(access) => panic!("accepted: {access:?}"),
    }
}

fn name(text: &str) -> RepositoryName {
    text.parse().unwrap()
}

#[tokio::test]
async fn a_good_token_says_who_its_bearer_is_and_what_it_grants() {
    let world = world().await;
    let token = sign(&header(), &claims());
    let access = world.authenticator.verify(&token).await.unwrap();
    assert_eq!(access.username(), Some("admin"));
    assert!(access.sees_all());
    for (action, granted) in [
        (Action::Pull, true),
        (Action::Push, true),
        (Action::Delete, true),
        (Action::Admin, false),
    ] {
        assert_eq!(
            access.allows(&name("acme/app"), action),
            granted,
            "{action}"
        );
        assert!(
            !access.allows(&name("acme/other"), action),
            "superusers too need a grant"
        );
    }
}

#[tokio::test]
async fn a_token_of_another_instance_is_good() {
    let world = World::new().await;
    let neighbour = world.neighbour(AuthOptions::new(HOST), 1);
    let token = neighbour
        .issue(&Identity::Anonymous, &[], None)
        .await
        .unwrap();
    let access = world
        .authenticator
        .verify(token.value.expose())
        .await
        .unwrap();
    assert_eq!(access.username(), None);
}

#[tokio::test]
async fn the_issuer_is_this_service_or_the_token_is_refused() {
    let world = world().await;
    assert_refused!(world, with("iss", json!("other")), TokenError::Issuer);
    assert_refused!(world, with("iss", Value::Null), TokenError::Issuer);
    assert_refused!(world, without("iss"), TokenError::Issuer);
}

#[tokio::test]
async fn the_audience_is_this_registry_or_the_token_is_refused() {
    let world = world().await;
    for audience in [
        json!("elsewhere:443"),
        json!(["elsewhere:443"]),
        json!([]),
        json!(""),
        Value::Null,
    ] {
        assert_refused!(world, with("aud", audience), TokenError::Audience);
    }
    assert_refused!(world, without("aud"), TokenError::Audience);
    let several = with("aud", json!(["elsewhere:443", HOST]));
    assert!(world.authenticator.verify(&several).await.is_ok());
}

#[tokio::test]
async fn a_token_ends_at_its_time_and_the_leeway_after() {
    let world = world().await;
    let token = sign(&header(), &claims());
    world.clock.advance(TOKEN_LIFE + Duration::from_secs(29));
    assert!(world.authenticator.verify(&token).await.is_ok());
    world.clock.advance(Duration::from_secs(1));
    assert_refused!(world, token, TokenError::Expired);
}

#[tokio::test]
async fn a_token_begins_at_its_time_and_the_leeway_before() {
    let world = world().await;
    let now = start().timestamp();
    for claim in ["nbf", "iat"] {
        let token = with(claim, json!(now + 30));
        assert!(world.authenticator.verify(&token).await.is_ok(), "{claim}");
        assert_refused!(world, with(claim, json!(now + 31)), TokenError::NotYetValid);
    }
}

#[tokio::test]
async fn a_token_that_lives_too_long_is_refused() {
    let world = world().await;
    let now = start().timestamp();
    let longest = with("exp", json!(now + 3660));
    assert!(world.authenticator.verify(&longest).await.is_ok());
    assert_refused!(
        world,
        with("exp", json!(now + 3661)),
        TokenError::TooLongLived { seconds: 3661 }
    );
    assert_refused!(
        world,
        with("iat", json!(now - 61)),
        TokenError::TooLongLived { .. }
    );
}

#[tokio::test]
async fn extreme_times_are_answered() {
    let world = world().await;
    for (claim, value) in [
        ("exp", i64::MAX),
        ("exp", i64::MIN),
        ("nbf", i64::MAX),
        ("iat", i64::MAX),
        ("iat", i64::MIN),
    ] {
        refusal(&world, &with(claim, json!(value))).await;
    }
    assert!(
        world
            .authenticator
            .verify(&with("nbf", json!(i64::MIN)))
            .await
            .is_ok()
    );
    for value in [
        json!("soon"),
        json!(1.5e300),
        json!(u64::MAX),
        Value::Null,
        json!([]),
    ] {
        assert_refused!(world, with("exp", value), TokenError::Malformed { .. });
    }
}

#[tokio::test]
async fn the_times_and_the_subject_must_be_there() {
    let world = world().await;
    for claim in ["nbf", "iat", "exp"] {
        assert_refused!(world, without(claim), TokenError::Malformed { .. });
    }
    assert_refused!(world, without("sub"), TokenError::MissingSubject);
    assert_refused!(world, with("sub", json!("")), TokenError::MissingSubject);
    assert_refused!(world, with("sub", json!(7)), TokenError::Malformed { .. });
}

#[tokio::test]
async fn extensions_that_must_be_understood_are_refused() {
    let world = world().await;
    let mut header = header();
    header.crit = Some(vec!["b64".to_owned()]);
    assert_refused!(
        world,
        sign(&header, &claims()),
        TokenError::Malformed { .. }
    );
}

#[tokio::test]
async fn the_key_is_known_alive_and_of_this_service_or_the_token_is_refused() {
    let world = World::new().await;
    let token = sign(&header(), &claims());
    assert_refused!(world, token, TokenError::UnknownKey);
    let other = World::new().await;
    share(&other, &private_key(0), "other", 3600).await;
    assert_refused!(other, token, TokenError::UnknownKey);
    let ended = world_until(10).await;
    assert!(ended.authenticator.verify(&token).await.is_ok());
    ended.clock.advance(Duration::from_secs(10));
    assert_refused!(ended, token, TokenError::EndedKey);
}

#[tokio::test]
async fn a_flood_of_tokens_with_unknown_keys_is_turned_away_and_known_ones_pass() {
    let world = world().await;
    let good = sign(&header(), &claims());
    world.authenticator.verify(&good).await.unwrap();
    let mut busy = 0;
    for number in 0..200 {
        let header = json!({"alg": "RS256", "kid": format!("kid-{number}")});
        match refusal(&world, &forged(&header, b"x")).await {
            TokenError::UnknownKey => {}
            TokenError::Busy => busy += 1,
            other => panic!("{other:?}"),
        }
    }
    assert!(busy > 100, "{busy}");
    world.authenticator.verify(&good).await.unwrap();
}

#[tokio::test]
async fn what_is_no_token_is_refused() {
    let world = world().await;
    let good = sign(&header(), &claims());
    for token in [
        "",
        ".",
        "..",
        "...",
        "garbage",
        "a.b.c",
        "ä.ö.ü",
        &good.replace('.', ""),
        &format!("{good}.x"),
        &format!(" {good}"),
        &"x".repeat(TOKEN_BYTES_MAX + 1),
        &format!("{}.e30.x", URL_SAFE_NO_PAD.encode("[".repeat(10_000))),
    ] {
        assert_refused!(world, token, TokenError::Malformed { .. });
    }
}

#[tokio::test]
async fn grants_that_cannot_be_understood_refuse_the_token() {
    let world = world().await;
    for access in [
        json!([{"type": "registry", "name": "catalog", "actions": ["*"]}]),
        json!([{"type": "repository", "name": "acme/App", "actions": ["pull"]}]),
        json!([{"type": "repository", "name": "acme/app"}]),
        json!([{"type": "repository", "name": "acme/app", "actions": "pull"}]),
        json!({"type": "repository"}),
        json!("repository"),
        Value::Null,
    ] {
        assert_refused!(world, with("access", access), TokenError::Malformed { .. });
    }
}

#[tokio::test]
async fn grants_add_up_and_names_mean_the_same_repository_however_they_are_spelt() {
    let world = world().await;
    let token = with(
        "access",
        json!([
            {"type": "repository", "name": format!("{HOST}/acme/app"), "actions": ["pull"]},
            {"type": "repository", "name": "busybox", "actions": ["push"]},
            {"type": "repository", "name": "library/busybox", "actions": ["pull"]},
            {"type": "repository", "name": "acme/nothing", "actions": []},
            {"type": "repository", "name": "acme/strange", "actions": ["fly"]},
        ]),
    );
    let access = world.authenticator.verify(&token).await.unwrap();
    assert!(access.allows(&name("acme/app"), Action::Pull));
    assert!(access.allows(&name("library/busybox"), Action::Push));
    assert!(access.allows(&name("busybox"), Action::Push));
    assert!(!access.allows(&name("acme/nothing"), Action::Pull));
    assert!(!access.allows(&name("acme/strange"), Action::Pull));
    let none = world
        .authenticator
        .verify(&without("access"))
        .await
        .unwrap();
    assert!(!none.allows(&name("acme/app"), Action::Pull));
}

#[tokio::test]
async fn only_a_users_own_token_sees_everything() {
    let world = world().await;
    let admin = world.id("admin").await;
    world.oauth_token(admin, "name", "code", "super:user").await;
    world.app_token(admin, "name", "secret").await;
    let by = |kind: &str, uuid: &str| json!({"entity_kind": kind, "entity_reference": uuid});
    for context in [
        json!({}),
        by("oauthtoken", "oauth-token-uuid"),
        by("strange", "admins-uuid"),
    ] {
        let token = with("context", context);
        let access = world.authenticator.verify(&token).await.unwrap();
        assert!(!access.sees_all());
    }
    assert!(
        !world
            .authenticator
            .verify(&without("context"))
            .await
            .unwrap()
            .sees_all()
    );
    world.user("bob", "secret").await;
    world
        .execute("UPDATE \"user\" SET uuid = 'admins-uuid' WHERE username = 'bob'")
        .await;
    let bob = world
        .authenticator
        .verify(&with("sub", json!("bob")))
        .await
        .unwrap();
    assert!(!bob.sees_all());
    // It may read everything, as the account may.
    let by_app_token = with("context", by("appspecifictoken", "app-token-uuid"));
    let access = world.authenticator.verify(&by_app_token).await.unwrap();
    assert!(access.sees_all());
    let anonymous = world
        .authenticator
        .verify(&with("sub", json!("(anonymous)")))
        .await
        .unwrap();
    assert_eq!((anonymous.username(), anonymous.sees_all()), (None, false));
}

#[tokio::test]
async fn what_is_public_needs_no_token_and_no_grant() {
    let world = world().await;
    let public = world.repository("acme/public", true).await;
    let mut private = world.repository("acme/private", false).await;
    let auth = &world.authenticator;
    let nobody = Access::anonymous();
    let somebody = auth.verify(&sign(&header(), &claims())).await.unwrap();
    let may = async |access: &Access, action, path: &str, found: Option<&Repository>| {
        auth.may(access, action, &name(path), found).await.unwrap()
    };
    for access in [&nobody, &somebody] {
        assert!(may(access, Action::Pull, "acme/public", Some(&public)).await);
        assert!(!may(access, Action::Push, "acme/public", Some(&public)).await);
        assert!(!may(access, Action::Pull, "acme/private", Some(&private)).await);
        assert!(!may(access, Action::Pull, "acme/missing", None).await);
    }
    assert!(may(&somebody, Action::Pull, "acme/app", None).await);
    let token = with(
        "access",
        json!([{"type": "repository", "name": "acme/private", "actions": ["push", "pull"]}]),
    );
    let somebody = auth.verify(&token).await.unwrap();
    assert!(may(&somebody, Action::Push, "acme/private", Some(&private)).await);
    private.state = RepositoryState::ReadOnly;
    assert!(!may(&somebody, Action::Push, "acme/private", Some(&private)).await);
    assert!(may(&somebody, Action::Pull, "acme/private", Some(&private)).await);
}

#[tokio::test]
async fn a_name_in_another_case_or_form_is_another_name() {
    let world = world().await;
    world.user("j\u{fc}rgen", "secret").await;
    for subject in [
        "ADMIN",
        "admin ",
        "\u{430}dmin",
        "ju\u{308}rgen",
        "admin\0",
        "nobody",
    ] {
        for context in [claims()["context"].clone(), json!({})] {
            let mut claims = claims();
            claims["sub"] = json!(subject);
            claims["context"] = context;
            assert_refused!(
                world,
                sign(&header(), &claims),
                TokenError::Revoked {
                    reason: Revoked::AccountGone
                }
            );
        }
    }
    // What no database can hold is not even looked up.
    assert_eq!(world.authenticator.inner.present.remembered().0, 5);
}

#[tokio::test]
async fn refusals_are_told_in_quays_words() {
    let world = world().await;
    let now = start().timestamp();
    for (token, expected) in [
        ("garbage".to_owned(), "Invalid bearer token format"),
        (
            with("aud", json!("elsewhere:443")),
            "Audience doesn't match",
        ),
        (with("exp", json!(now - 3600)), "Signature has expired"),
        (
            with("nbf", json!(now + 3000)),
            "The token is not yet valid (nbf)",
        ),
        (with("iss", json!("other")), "Invalid issuer"),
        (without("sub"), "Missing sub field in JWT"),
    ] {
        assert_eq!(refusal(&world, &token).await.client_message(), expected);
    }
}

#[tokio::test]
async fn a_database_that_is_gone_is_no_bad_token_and_known_keys_go_on() {
    let world = world().await;
    let token = sign(&header(), &claims());
    let fresh = world.neighbour(AuthOptions::standalone(HOST, "admin"), 1);
    world.authenticator.verify(&token).await.unwrap();
    world.lose_database().await;
    world.authenticator.verify(&token).await.unwrap();
    let outcome = fresh.verify(&token).await;
    assert!(
        matches!(outcome, Err(TokenError::Backend { .. })),
        "{outcome:?}"
    );
}
