//! The door of the API: how its callers sign in, what a foreign page can do, and what is told of what is not there.

use http::StatusCode;
use roadstead_distribution::Writes;

use super::world::{PASSWORD, World, basic};

const STATUS: &str = "/api/v1/replication";

#[tokio::test]
async fn the_document_of_the_api_is_served_to_everybody() {
    let world = World::new().await;
    let answer = world
        .request("GET", "/api/v1/openapi.json")
        .anonymously()
        .send()
        .await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.header("content-type"), "application/json");
    let document = answer.json();
    assert_eq!(document["openapi"], "3.1.0");
    let operation = &document["paths"]["/api/v1/replication/retry"]["post"];
    assert_eq!(operation["operationId"], "retryCopies");
    assert!(operation["requestBody"].is_object());
}

#[tokio::test]
async fn what_proves_nobody_is_refused_by_the_api_whatever_it_is() {
    let world = World::new().await;
    let oversized = format!("Bearer {}", "a".repeat(5_000));
    for authorization in [
        basic("admin", "wrong"),
        basic("nobody", PASSWORD),
        basic("admin+robot", PASSWORD),
        basic("$app", PASSWORD),
        basic("$oauthtoken", PASSWORD),
        basic("$token", PASSWORD),
        "Bearer aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa".to_owned(),
        oversized,
        format!("Bearer {}", world.token),
        "Bearer a.b.c".to_owned(),
        "Digest a".to_owned(),
        "Basic ???".to_owned(),
    ] {
        let answer = world
            .request("GET", STATUS)
            .anonymously()
            .with("authorization", &authorization)
            .send()
            .await;
        assert_eq!(
            answer.problem(),
            (401, "invalid_token".to_owned()),
            "{authorization}"
        );
        assert!(
            answer.header("www-authenticate").starts_with("Bearer"),
            "browsers ask nobody for a password that they would send with whatever any page asks for"
        );
    }
}

#[tokio::test]
async fn a_change_from_the_page_of_another_site_is_refused() {
    let world = World::new().await;
    for (name, value) in [
        ("origin", "https://evil.example"),
        ("origin", "null"),
        ("origin", "https://localhost:8080.evil.example"),
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-site", "same-site"),
    ] {
        let answer = world
            .request("POST", "/api/v1/replication/pause")
            .with(name, value)
            .send()
            .await;
        assert_eq!(
            answer.problem(),
            (403, "insufficient_scope".to_owned()),
            "{name}: {value}"
        );
    }
    let control = world.replication().control().await.unwrap();
    assert!(control.paused.is_none(), "nothing was changed");
    for (name, value) in [
        ("origin", "http://localhost:8080"),
        ("sec-fetch-site", "same-origin"),
        ("sec-fetch-site", "none"),
    ] {
        let answer = world
            .request("POST", "/api/v1/replication/pause")
            .with(name, value)
            .send()
            .await;
        assert_eq!(answer.status, StatusCode::OK, "{name}: {value}");
    }
}

#[tokio::test]
async fn no_answer_that_depends_on_who_asks_is_shared_by_a_cache() {
    let world = World::new().await;
    let digest = world.push_blob(b"content").await;
    for path in [
        "/v2/".to_owned(),
        "/v2/_catalog".to_owned(),
        "/v2/acme/app/tags/list".to_owned(),
        "/v2/acme/app/manifests/latest".to_owned(),
        format!("/v2/acme/app/blobs/{digest}"),
        format!("/v2/acme/app/referrers/{digest}"),
        "/v2/acme/none/tags/list".to_owned(),
        "/v2/nobody/none/manifests/latest".to_owned(),
        "/v2/auth?service=registry.example".to_owned(),
        STATUS.to_owned(),
        "/api/v1/nothing".to_owned(),
        "/nothing".to_owned(),
    ] {
        for anonymous in [false, true] {
            let request = world.request("GET", &path);
            let answer = if anonymous {
                request.anonymously().send().await
            } else {
                request.send().await
            };
            let kept = answer.header("cache-control");
            assert!(
                kept.contains("no-store") || kept.contains("private"),
                "{path}: {} {kept}",
                answer.status
            );
        }
    }
}

#[tokio::test]
async fn no_answer_of_the_registry_sends_a_browser_to_where_a_client_says() {
    let world = World::new().await;
    for path in [
        "//evil.example/",
        "/v2//evil.example/..",
        "/v2/auth?redirect_uri=https://evil.example",
        "/api/v1/user/?next=https://evil.example",
        "/oauth/authorize?redirect_uri=https://evil.example",
        "/v2/https://evil.example/tags/list",
    ] {
        let answer = world.get(path).await;
        assert!(!answer.status.is_redirection(), "{path}: {answer:?}");
        assert_eq!(answer.header("location"), "", "{path}");
    }
}

#[tokio::test]
async fn a_registry_that_only_reads_changes_nothing_by_the_api_but_how_copies_are_made() {
    let world = World::with(|settings| settings.distribution.writes = Writes::ReadOnly).await;
    for (method, path) in [
        ("POST", "/api/v1/organization/"),
        ("PUT", "/api/v1/user/"),
        ("POST", "/api/v1/repository"),
        ("POST", "/api/v1/superuser/users/"),
    ] {
        let answer = world.request(method, path).body("{}").await;
        assert_eq!(answer.problem().0, 405, "{path}: {answer:?}");
        assert!(answer.json()["detail"].to_string().contains("read-only"));
    }
    assert_eq!(world.get("/api/v1/user/").await.status, StatusCode::OK);
    let paused = world.request("POST", "/api/v1/replication/pause").send();
    assert_eq!(paused.await.status, StatusCode::OK);
}
