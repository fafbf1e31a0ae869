//! Health checks and pings, as balancers ask them.

use http::StatusCode;

use super::world::World;

#[tokio::test]
async fn health_checks_and_pings_need_no_token() {
    let world = World::new().await;
    for (path, body) in [
        (
            "/health/instance",
            "{\"data\":{\"services\":{\"auth\":true,\"database\":true,\"disk_space\":true,\"registry_gunicorn\":true,\
             \"service_key\":true,\"web_gunicorn\":true}},\"status_code\":200}\n",
        ),
        (
            "/health/endtoend",
            "{\"data\":{\"services\":{\"auth\":true,\"database\":true,\"storage\":true}},\"status_code\":200}\n",
        ),
        (
            "/health/warning",
            "{\"data\":{\"services\":{\"disk_space_warning\":true}},\"status_code\":200}\n",
        ),
        ("/_internal_ping", "true"),
        ("/v1/_internal_ping", "true"),
        ("/v1/_ping", "true"),
    ] {
        let answer = world.request("GET", path).anonymously().send().await;
        assert_eq!(
            (answer.status, &*answer.body),
            (StatusCode::OK, body.as_bytes()),
            "{path}"
        );
        assert_eq!(answer.header("content-type"), "application/json", "{path}");
        if path.starts_with("/health") {
            assert_eq!(
                answer.header("cache-control"),
                "no-cache, no-store, must-revalidate"
            );
            assert_eq!(answer.header("x-roadstead-health-age"), "0", "{path}");
        }
    }
    for (path, same) in [
        ("/health", "/health/instance"),
        ("/status", "/health/endtoend"),
    ] {
        assert_eq!(world.get(path).await.body, world.get(same).await.body);
    }
    let ping = world.get("/v1/_ping").await;
    assert_eq!(ping.header("x-docker-registry-version"), "0.6.0");
    assert_eq!(ping.header("x-docker-registry-standalone"), "0");
}

#[tokio::test]
async fn quays_debug_session_and_the_check_of_the_schema_are_not_there() {
    let world = World::new().await;
    for path in ["/health/enabledebug/secret", "/health/dbrevision"] {
        let answer = world.request("GET", path).anonymously().send().await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{path}");
    }
}
