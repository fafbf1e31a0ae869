//! Who gets in: challenges, tokens, passwords, and what each refusal looks like.

use std::time::Duration;

use http::StatusCode;
use prometheus::proto::LabelPair;
use roadstead_auth::{AuthOptions, REVOCATION_BOUND};
use roadstead_test_servers::Postgres;

use super::world::{APP, ASKED_HOST, Answer, PASSWORD, REGISTRY, World, basic, image, on, sha256};
use crate::{ExternalUrl, UrlScheme};

fn challenge(scope: &str, error: &str) -> String {
    let scope = if scope.is_empty() {
        String::new()
    } else {
        format!(",scope=\"{scope}\"")
    };
    let error = if error.is_empty() {
        String::new()
    } else {
        format!(",error=\"{error}\"")
    };
    format!("Bearer realm=\"http://{ASKED_HOST}/v2/auth\",service=\"{REGISTRY}\"{scope}{error}")
}

async fn call(world: &World, method: &str, path: &str, authorization: &str) -> Answer {
    let mut call = world.request(method, path).anonymously();
    if !authorization.is_empty() {
        call = call.with("authorization", authorization);
    }
    call.send().await
}

/// Every endpoint in a repository, with the actions that its scope has in a challenge.
fn endpoints(name: &str) -> Vec<(&'static str, String, &'static str)> {
    let digest = sha256(b"");
    let id = "00000000-0000-4000-8000-000000000000";
    vec![
        ("GET", format!("/v2/{name}/tags/list"), "pull"),
        ("GET", format!("/v2/{name}/manifests/v1"), "pull"),
        ("HEAD", format!("/v2/{name}/manifests/v1"), "pull"),
        ("PUT", format!("/v2/{name}/manifests/v1"), "pull,push"),
        ("DELETE", format!("/v2/{name}/manifests/v1"), "pull,push"),
        ("GET", format!("/v2/{name}/blobs/{digest}"), "pull"),
        ("HEAD", format!("/v2/{name}/blobs/{digest}"), "pull"),
        ("DELETE", format!("/v2/{name}/blobs/{digest}"), "pull,push"),
        ("POST", format!("/v2/{name}/blobs/uploads/"), "pull,push"),
        (
            "POST",
            format!("/v2/{name}/blobs/uploads/?digest={digest}"),
            "pull,push",
        ),
        ("GET", format!("/v2/{name}/blobs/uploads/{id}"), "pull,push"),
        (
            "PATCH",
            format!("/v2/{name}/blobs/uploads/{id}"),
            "pull,push",
        ),
        (
            "PUT",
            format!("/v2/{name}/blobs/uploads/{id}?digest={digest}"),
            "pull,push",
        ),
        (
            "DELETE",
            format!("/v2/{name}/blobs/uploads/{id}"),
            "pull,push",
        ),
        ("GET", format!("/v2/{name}/referrers/{digest}"), "pull"),
    ]
}

#[tokio::test]
async fn the_base_tells_clients_where_to_get_a_token() {
    let world = World::new().await;
    for path in ["/v2/", "/v2"] {
        let answer = call(&world, "GET", path, "").await;
        assert_eq!(answer.error(), (401, "UNAUTHORIZED".to_owned()));
        assert_eq!(answer.header("www-authenticate"), challenge("", ""));
        assert_eq!(
            answer.header("docker-distribution-api-version"),
            "registry/2.0"
        );
    }
    for authorization in [format!("Bearer {}", world.token), basic("admin", PASSWORD)] {
        let answer = call(&world, "GET", "/v2/", &authorization).await;
        assert_eq!(
            (answer.status, &*answer.body),
            (StatusCode::OK, &b"true"[..])
        );
        assert_eq!(
            answer.header("docker-distribution-api-version"),
            "registry/2.0"
        );
    }
    for authorization in [
        "Bearer nonsense",
        "Basic nonsense",
        "Digest a",
        "Bearer",
        &basic("admin", "wrong"),
    ] {
        let answer = call(&world, "GET", "/v2/", authorization).await;
        assert_eq!(
            answer.error(),
            (401, "UNAUTHORIZED".to_owned()),
            "{authorization}"
        );
        assert!(
            answer
                .header("www-authenticate")
                .starts_with(&challenge("", "")),
            "{authorization}"
        );
    }
}

/// How often a proof of this sort was accepted.
fn accepted(world: &World, proof: &str) -> Option<f64> {
    let families = world.service.metrics();
    let family = families
        .iter()
        .find(|family| family.name() == "roadstead_auth_attempts_total")?;
    let series = family.get_metric().iter().find(|series| {
        let labels: Vec<_> = series.get_label().iter().map(LabelPair::value).collect();
        labels == ["accepted", proof]
    })?;
    Some(series.get_counter().get_value())
}

#[tokio::test]
async fn a_password_that_comes_with_a_request_counts_as_no_token() {
    let world = World::new().await;
    // The world has fetched a token.
    assert_eq!(accepted(&world, "password"), Some(1.0));
    call(&world, "GET", "/v2/", &basic("admin", PASSWORD)).await;
    assert_eq!(accepted(&world, "password"), Some(2.0));
    assert_eq!(accepted(&world, "token"), Some(0.0));
    let bearer = format!("Bearer {}", world.token);
    call(&world, "GET", "/v2/", &bearer).await;
    assert_eq!(accepted(&world, "password"), Some(2.0));
    assert_eq!(accepted(&world, "token"), Some(1.0));
}

#[tokio::test]
async fn the_challenge_names_the_configured_host() {
    let world = World::with(|settings| {
        settings.api.external_url =
            Some(ExternalUrl::new(UrlScheme::Https, REGISTRY).expect("a good host"));
    })
    .await;
    let answer = call(&world, "GET", "/v2/", "").await;
    assert_eq!(
        answer.header("www-authenticate"),
        format!("Bearer realm=\"https://{REGISTRY}/v2/auth\",service=\"{REGISTRY}\"")
    );
}

#[tokio::test]
async fn without_a_token_every_private_endpoint_is_closed_whether_or_not_the_repository_exists() {
    let world = World::new().await;
    for name in [APP, "acme/missing", "missing"] {
        for (method, path, actions) in endpoints(name) {
            let answer = call(&world, method, &path, "").await;
            assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{method} {path}");
            assert_eq!(
                answer.header("www-authenticate"),
                challenge(&format!("repository:{name}:{actions}"), ""),
                "{method} {path}"
            );
        }
    }
    let answer = call(&world, "GET", "/v2/_catalog", "").await;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
    assert_eq!(
        answer.header("www-authenticate"),
        challenge("registry:catalog:*", "")
    );
}

#[tokio::test]
async fn a_token_that_does_not_reach_far_enough_is_answered_with_the_scope_to_fetch() {
    let world = World::new().await;
    let nothing = world.fetch_token(&[]).await;
    let elsewhere = world.fetch_token(&["repository:acme/other:*"]).await;
    let pull = world
        .fetch_token(&[&format!("repository:{APP}:pull")])
        .await;
    for (token, allowed) in [(&nothing, ""), (&elsewhere, ""), (&pull, "pull")] {
        for (method, path, actions) in endpoints(APP) {
            let answer = call(&world, method, &path, &format!("Bearer {token}")).await;
            if actions == allowed {
                assert_ne!(answer.status, StatusCode::UNAUTHORIZED, "{method} {path}");
            } else {
                assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{method} {path}");
                assert_eq!(
                    answer.header("www-authenticate"),
                    challenge(&format!("repository:{APP}:{actions}"), "insufficient_scope"),
                    "{method} {path}"
                );
            }
        }
    }
}

#[tokio::test]
async fn a_token_whose_account_was_disabled_is_refused_everywhere_and_sent_for_another() {
    let server = Postgres::shared().database();
    let world = World::with(|settings| settings.database = Some(on(&server))).await;
    world.push_image("v1").await;
    world.make_repository("acme/public", true).await;
    server.psql("UPDATE \"user\" SET enabled = false WHERE username = 'admin'");
    world.clock.advance(REVOCATION_BOUND);
    let bearer = format!("Bearer {}", world.token);
    for (method, path, actions) in endpoints(APP).into_iter().chain(endpoints("acme/public")) {
        let answer = call(&world, method, &path, &bearer).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{method} {path}");
        let name = if path.contains(APP) {
            APP
        } else {
            "acme/public"
        };
        assert_eq!(
            answer.header("www-authenticate"),
            challenge(&format!("repository:{name}:{actions}"), "invalid_token"),
            "{method} {path}"
        );
    }
    for path in ["/v2/", "/v2/_catalog", "/api/v1/replication"] {
        let answer = call(&world, "GET", path, &bearer).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{path}");
    }
}

#[tokio::test]
async fn tokens_that_are_not_ours_any_more_or_never_were_are_refused() {
    let world = World::new().await;
    let path = format!("/v2/{APP}/tags/list");
    let (head, signature) = world.token.rsplit_once('.').expect("three parts");
    let tampered = format!("{head}.{}", signature.chars().rev().collect::<String>());
    for token in [tampered.as_str(), head, "a.b.c", "..", "\u{7f}"] {
        let request = http::HeaderValue::from_bytes(format!("Bearer {token}").as_bytes());
        if let Ok(value) = request {
            let value = value.to_str().map(ToOwned::to_owned).unwrap_or_default();
            let answer = call(&world, "GET", &path, &value).await;
            assert_eq!(answer.error(), (401, "UNAUTHORIZED".to_owned()), "{token}");
            assert!(!String::from_utf8_lossy(&answer.body).contains(&world.token));
        }
    }
    world.clock.advance(Duration::from_secs(3600 + 31));
    let answer = world.get(&path).await;
    assert_eq!(answer.error(), (401, "UNAUTHORIZED".to_owned()));
    assert_eq!(
        answer.header("www-authenticate"),
        challenge(&format!("repository:{APP}:pull"), "invalid_token")
    );
}

#[tokio::test]
async fn everybody_pulls_from_public_repositories_and_nobody_pushes_without_an_account() {
    let world = World::new().await;
    let name = "public/app";
    world.make_repository(name, true).await;
    for (method, path, actions) in endpoints(name) {
        let answer = call(&world, method, &path, "").await;
        assert_eq!(
            answer.status == StatusCode::UNAUTHORIZED,
            actions != "pull",
            "{method} {path}"
        );
    }
    let anonymous = call(
        &world,
        "GET",
        &format!("/v2/auth?service={REGISTRY}&scope=repository:{name}:pull,push"),
        "",
    )
    .await;
    let token = anonymous.json()["token"]
        .as_str()
        .expect("a token")
        .to_owned();
    for (method, path, actions) in endpoints(name) {
        let answer = call(&world, method, &path, &format!("Bearer {token}")).await;
        assert_eq!(
            answer.status == StatusCode::UNAUTHORIZED,
            actions != "pull",
            "{method} {path}"
        );
    }
}

#[tokio::test]
async fn without_anonymous_access_public_repositories_need_a_login_too() {
    let world = World::with(|settings| settings.auth.anonymous_access = false).await;
    world.make_repository("public/app", true).await;
    let path = "/v2/public/app/tags/list";
    assert_eq!(
        call(&world, "GET", path, "").await.status,
        StatusCode::UNAUTHORIZED
    );
    let refused = call(
        &world,
        "GET",
        "/v2/auth?scope=repository:public/app:pull",
        "",
    )
    .await;
    assert_eq!(refused.error(), (401, "UNAUTHORIZED".to_owned()));
    assert_eq!(
        call(&world, "GET", path, &basic("admin", PASSWORD))
            .await
            .status,
        StatusCode::OK
    );
}

#[tokio::test]
async fn a_password_is_taken_in_place_of_a_token_and_pushes_make_repositories() {
    let world = World::new().await;
    let password = basic("admin", PASSWORD);
    let digest = sha256(b"{}");
    let pushed = world
        .request(
            "POST",
            &format!("/v2/fresh/deep/app/blobs/uploads/?digest={digest}"),
        )
        .anonymously()
        .with("authorization", &password)
        .body("{}")
        .await;
    assert_eq!(pushed.status, StatusCode::CREATED, "{pushed:?}");
    let put = world
        .request("PUT", "/v2/fresh/deep/app/manifests/v1")
        .anonymously()
        .with("authorization", &password);
    assert_eq!(put.body(image(&[], "")).await.status, StatusCode::CREATED);
    assert_eq!(
        call(&world, "GET", "/v2/fresh/deep/app/manifests/v1", &password)
            .await
            .status,
        StatusCode::OK
    );
    assert_eq!(
        call(&world, "GET", "/v2/fresh/deep/app/manifests/v1", "")
            .await
            .status,
        StatusCode::UNAUTHORIZED
    );
    let missing = call(&world, "GET", "/v2/fresh/other/manifests/v1", &password).await;
    assert_eq!(missing.error(), (404, "NAME_UNKNOWN".to_owned()));
}

#[tokio::test]
async fn those_with_an_account_and_no_rights_are_denied() {
    let world = World::with(|settings| settings.auth = AuthOptions::new(REGISTRY)).await;
    for public in [false, true] {
        let name = if public { "public/app" } else { "private/app" };
        world.make_repository(name, public).await;
        for (method, path, actions) in endpoints(name) {
            let answer = call(&world, method, &path, &basic("admin", PASSWORD)).await;
            assert_eq!(
                answer.status == StatusCode::FORBIDDEN,
                !public || actions != "pull",
                "{method} {path}"
            );
            if answer.status == StatusCode::FORBIDDEN && method != "HEAD" {
                assert_eq!(answer.error().1, "DENIED");
            }
        }
    }
    // Somebody may still mount nothing from where they may not read.
    let mine = "admin/mine";
    let digest = sha256(b"layer");
    for from in ["private/app", "private/missing"] {
        let path = format!("/v2/{mine}/blobs/uploads/?mount={digest}&from={from}");
        assert_eq!(
            call(&world, "POST", &path, &basic("admin", PASSWORD))
                .await
                .status,
            StatusCode::ACCEPTED
        );
    }
    // What is public is listed where the operator says so, see FEATURE_PUBLIC_CATALOG.
    let listed = call(&world, "GET", "/v2/_catalog", &basic("admin", PASSWORD)).await;
    assert_eq!(
        listed.json()["repositories"],
        serde_json::json!([mine, "makers/first"])
    );
}

#[tokio::test]
async fn the_token_endpoint_answers_get_and_both_sorts_of_post() {
    let world = World::new().await;
    let query = format!(
        "service={REGISTRY}&account=admin&client_id=docker&scope=repository%3Aacme%2Fapp%3Apull"
    );
    let form = format!("{query}&grant_type=password&username=admin&password=correct+horse");
    let password = basic("admin", PASSWORD);
    for (method, path, authorization, body) in [
        ("GET", format!("/v2/auth?{query}"), password.as_str(), ""),
        ("POST", "/v2/auth".to_owned(), "", form.as_str()),
        (
            "POST",
            "/v2/auth".to_owned(),
            password.as_str(),
            query.as_str(),
        ),
    ] {
        let mut request = world.request(method, &path).anonymously();
        if !authorization.is_empty() {
            request = request.with("authorization", authorization);
        }
        let answer = request.body(body.to_owned()).await;
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
        assert_eq!(
            answer.header("cache-control"),
            "no-cache, no-store, must-revalidate"
        );
        let json = answer.json();
        assert_eq!(
            (&json["token"], &json["expires_in"]),
            (&json["access_token"], &serde_json::json!(3600))
        );
        assert!(json["issued_at"].as_str().expect("a time").ends_with('Z'));
        let token = json["token"].as_str().expect("a token");
        assert_eq!(
            call(
                &world,
                "GET",
                "/v2/acme/app/tags/list",
                &format!("Bearer {token}")
            )
            .await
            .status,
            StatusCode::OK
        );
    }
}

#[tokio::test]
async fn requests_for_tokens_that_cannot_be_granted_are_refused_in_the_right_words() {
    let world = World::new().await;
    let (right, wrong) = (basic("admin", PASSWORD), basic("admin", "wrong"));
    for (query, authorization, status, code) in [
        ("", "", 401, "UNAUTHORIZED"),
        ("?scope=", "", 401, "UNAUTHORIZED"),
        (
            "?scope=repository:acme/app:pull",
            &*basic("nobody", "wrong"),
            401,
            "UNAUTHORIZED",
        ),
        (
            "?scope=repository:acme/app:pull",
            "Bearer a.b.c",
            400,
            "UNSUPPORTED",
        ),
        ("?scope=nonsense", &*right, 400, "UNSUPPORTED"),
        (
            "?scope=repository:Acme/App:pull",
            &*right,
            400,
            "NAME_INVALID",
        ),
        (
            "?scope=repository:acme/../app:pull",
            &*right,
            400,
            "NAME_INVALID",
        ),
        ("?scope=%ff", &*right, 400, "UNSUPPORTED"),
        (
            &*format!(
                "?service={}&scope=repository:acme/app:pull",
                "x".repeat(1000)
            ),
            &*right,
            400,
            "UNSUPPORTED",
        ),
        (
            &*format!("?{}", "scope=repository:acme/app:pull&".repeat(33)),
            &*right,
            400,
            "UNSUPPORTED",
        ),
        (
            "?scope=repository:acme/app:pull",
            &*wrong,
            401,
            "UNAUTHORIZED",
        ),
        // The account is closed for a moment after a wrong password.
        (
            "?scope=repository:acme/app:pull",
            &*wrong,
            429,
            "TOOMANYREQUESTS",
        ),
    ] {
        let answer = call(&world, "GET", &format!("/v2/auth{query}"), authorization).await;
        assert_eq!(
            answer.error(),
            (status, code.to_owned()),
            "{query} {authorization}"
        );
        assert_eq!(
            answer.header("retry-after").is_empty(),
            status != 429,
            "{query}"
        );
        assert!(!String::from_utf8_lossy(&answer.body).contains(PASSWORD));
    }
    for form in [
        "grant_type=refresh_token&refresh_token=x",
        "grant_type=password&username=admin",
        "username=%ff&password=x",
    ] {
        let answer = world
            .request("POST", "/v2/auth")
            .anonymously()
            .body(form)
            .await;
        assert_eq!(answer.error(), (400, "UNSUPPORTED".to_owned()), "{form}");
    }
    let huge = world
        .request("POST", "/v2/auth")
        .anonymously()
        .body(vec![b'a'; 1 << 20])
        .await;
    assert_eq!(huge.error().0, 413);
}

#[tokio::test]
async fn a_token_may_be_asked_for_more_than_is_granted() {
    let world = World::with(|settings| settings.auth = AuthOptions::new(REGISTRY)).await;
    world.make_repository("private/app", false).await;
    let token = world
        .fetch_token(&["repository:private/app:pull,push", "registry:catalog:*"])
        .await;
    let answer = call(
        &world,
        "GET",
        "/v2/private/app/tags/list",
        &format!("Bearer {token}"),
    )
    .await;
    assert_eq!(answer.error(), (401, "UNAUTHORIZED".to_owned()));
}
