//! Requests of one address and of one account are bounded, where the configuration says so.

use std::collections::BTreeSet;
use std::time::Duration;

use http::Request;
use http::header::AUTHORIZATION;
use http_body_util::Full;
use roadstead_auth::FieldKey;
use serde_json::json;

use super::accounts::ADMIN;
use super::world::{APP, Answer, PASSWORD, Settings, World, basic};
use crate::{Rate, RateLimits, UrlScheme};

const GENEROUS: Rate = Rate {
    per_second: 1000,
    burst: 1000,
};

/// One request in ten seconds would be 0.1; one in a second after three at once.
const TIGHT: Rate = Rate {
    per_second: 1,
    burst: 3,
};

fn limited(address: Rate, account: Rate) -> impl FnOnce(&mut Settings) {
    move |settings| {
        settings.api.rate_limits = Some(RateLimits {
            address,
            account,
            exempt: BTreeSet::from(["quiet".to_owned()]),
        });
    }
}

async fn ask(world: &World, client: &str, path: &str, authorization: Option<&str>) -> Answer {
    let service = world.service.for_client(client.parse().unwrap());
    let mut request = Request::get(path);
    if let Some(authorization) = authorization {
        request = request.header(AUTHORIZATION, authorization);
    }
    let body = Full::new(bytes::Bytes::new());
    let answer = service.answer(request.body(body).unwrap()).await;
    Answer::read(answer).await.unwrap()
}

#[tokio::test]
async fn an_address_that_asks_too_often_is_told_to_wait_before_it_is_known_who_it_is() {
    let world = World::with(limited(TIGHT, GENEROUS)).await;
    for _ in 0..3 {
        let answer = ask(&world, "192.0.2.7", "/v2/", None).await;
        assert_eq!(answer.status, 401);
    }
    let wrong = basic("admin", "wrong");
    for path in ["/v2/", "/v2/auth", "/nothing"] {
        let answer = ask(&world, "192.0.2.7", path, Some(&wrong)).await;
        assert_eq!(
            answer.error(),
            (429, "TOOMANYREQUESTS".to_owned()),
            "{path}"
        );
        assert_eq!(answer.header("retry-after"), "1");
    }
    let answer = ask(&world, "192.0.2.7", "/api/v1/user/", None).await;
    assert_eq!(answer.status, 429);
    assert!(
        answer.json()["detail"]
            .as_str()
            .unwrap()
            .contains("Retry-After")
    );
    // Others, probes and exempt namespaces.
    assert_eq!(ask(&world, "192.0.2.8", "/v2/", None).await.status, 401);
    assert_eq!(
        ask(&world, "192.0.2.7", "/_internal_ping", None)
            .await
            .status,
        200
    );
    assert_eq!(
        ask(&world, "192.0.2.7", "/v2/quiet/app/tags/list", None)
            .await
            .status,
        401
    );
    world.clock.advance(Duration::from_secs(1));
    assert_eq!(ask(&world, "192.0.2.7", "/v2/", None).await.status, 401);
    assert_eq!(ask(&world, "192.0.2.7", "/v2/", None).await.status, 429);
}

#[tokio::test]
async fn an_account_that_asks_too_often_is_told_to_wait_wherever_it_asks_from() {
    let world = World::with(limited(GENEROUS, TIGHT)).await;
    world.clock.advance(Duration::from_mins(1));
    let token = format!("Bearer {}", world.token);
    let path = format!("/v2/{APP}/tags/list");
    let mut taken = 0;
    for number in 0..10 {
        let client = format!("192.0.2.{number}");
        let answer = ask(&world, &client, &path, Some(&token)).await;
        if answer.status == 429 {
            assert_eq!(answer.error().1, "TOOMANYREQUESTS");
        } else {
            taken += 1;
        }
    }
    assert_eq!(taken, 3);
    // By whatever it proves itself; nobody in particular is another.
    let password = basic("admin", PASSWORD);
    let answer = ask(&world, "192.0.2.1", "/api/v1/user/", Some(&password)).await;
    assert_eq!(answer.status, 429);
    assert_eq!(ask(&world, "192.0.2.1", &path, None).await.status, 401);
}

#[tokio::test]
async fn a_token_on_an_app_token_is_a_request_of_the_account() {
    let world = World::with(|settings| {
        settings.auth.field_key = Some(FieldKey::new("a key for tests").unwrap());
        limited(GENEROUS, TIGHT)(settings);
    })
    .await;
    let made = world
        .given(
            ADMIN,
            ("POST", "/user/apptoken"),
            json!({ "title": "laptop" }),
            200,
        )
        .await;
    let by_token = basic("$app", made["token"]["token_code"].as_str().unwrap());
    world.clock.advance(Duration::from_mins(1));
    for _ in 0..3 {
        let answer = ask(&world, "192.0.2.1", "/v2/auth", Some(&by_token)).await;
        assert_eq!(answer.status, 200);
    }
    let password = basic("admin", PASSWORD);
    for authorization in [by_token, password] {
        let answer = ask(&world, "192.0.2.1", "/v2/auth", Some(&authorization)).await;
        assert_eq!(answer.status, 429);
    }
}

#[tokio::test]
async fn a_probe_with_credentials_is_a_request_of_its_address() {
    let world = World::with(limited(TIGHT, GENEROUS)).await;
    let wrong = basic("admin", "wrong");
    for _ in 0..3 {
        let answer = ask(&world, "192.0.2.7", "/health/instance", Some(&wrong)).await;
        assert_eq!(answer.status, 200);
    }
    let answer = ask(&world, "192.0.2.7", "/health/instance", Some(&wrong)).await;
    assert_eq!(answer.status, 429);
    let answer = ask(&world, "192.0.2.7", "/health/instance", None).await;
    assert_eq!(answer.status, 200);
}

#[tokio::test]
async fn a_challenge_names_the_scheme_that_the_client_used_and_no_header_changes_it() {
    let world = World::new().await;
    for (scheme, forged, realm) in [
        (UrlScheme::Http, "https", "http://one.example/v2/auth"),
        (UrlScheme::Https, "http", "https://one.example/v2/auth"),
    ] {
        let request = Request::get("/v2/")
            .header("host", "one.example")
            .header("x-forwarded-proto", forged);
        let body = Full::new(bytes::Bytes::new());
        let service = world.service.over(scheme);
        let answer = service.answer(request.body(body).unwrap()).await;
        let challenge = answer.headers()["www-authenticate"].to_str().unwrap();
        assert!(
            challenge.contains(&format!("realm=\"{realm}\"")),
            "{challenge}"
        );
    }
}
