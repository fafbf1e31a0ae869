//! Robots, as their owners manage them, on both engines.

use http::StatusCode;
use serde_json::{Value, json};

use super::accounts::{ADMIN, Who, logged, worlds};
use super::world::World;

const ALICE: Who<'static> = Who("alice", "alice-password");

#[tokio::test]
async fn a_robot_signs_in_with_its_token_until_it_gets_another_or_goes() {
    for (world, server) in worlds(|_| {}).await {
        world.user("alice").await;
        let path = "/user/robots/ci";
        let made = json!({ "description": "builds", "unstructured_metadata": { "team": "a" } });
        let made = world.given(ALICE, ("PUT", path), made, 201).await;
        assert_eq!(
            (&made["name"], &made["description"]),
            (&json!("alice+ci"), &json!("builds"))
        );
        assert_eq!(made["unstructured_metadata"], json!({ "team": "a" }));
        let first = made["token"].as_str().unwrap().to_owned();
        assert!(
            first.len() == 64
                && first
                    .bytes()
                    .all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit())
        );
        let log_in = async |token: &str| {
            let answer = world
                .request("GET", "/v2/auth?service=registry.example")
                .anonymously()
                .with("authorization", &super::world::basic("alice+ci", token))
                .send()
                .await;
            answer.status
        };
        assert_eq!(log_in(&first).await, StatusCode::OK);
        world.given(ALICE, ("PUT", path), Value::Null, 400).await;
        let again = world
            .given(
                ALICE,
                ("POST", "/user/robots/ci/regenerate"),
                Value::Null,
                200,
            )
            .await;
        let second = again["token"].as_str().unwrap();
        assert_ne!(second, first);
        assert_eq!(log_in(&first).await, StatusCode::UNAUTHORIZED);
        assert_eq!(log_in(second).await, StatusCode::OK);
        let list = world
            .given(
                ALICE,
                ("GET", "/user/robots?permissions=true"),
                Value::Null,
                200,
            )
            .await;
        assert_eq!(list["robots"][0]["token"], second);
        assert_eq!(list["robots"][0]["repositories"], json!([]));
        let list = world
            .given(ALICE, ("GET", "/user/robots?token=false"), Value::Null, 200)
            .await;
        assert!(list["robots"][0].get("token").is_none());
        world
            .given(
                ALICE,
                ("GET", "/user/robots/ci/permissions"),
                Value::Null,
                200,
            )
            .await;
        // A robot manages nothing.
        world
            .given(
                Who("alice+ci", second),
                ("GET", "/user/robots"),
                Value::Null,
                403,
            )
            .await;
        world.given(ALICE, ("DELETE", path), Value::Null, 204).await;
        assert_eq!(log_in(second).await, StatusCode::UNAUTHORIZED);
        world.given(ALICE, ("DELETE", path), Value::Null, 404).await;
        world.given(ALICE, ("GET", path), Value::Null, 404).await;
        if let Some(log) = logged(server.as_ref()) {
            assert_eq!(
                log,
                [
                    "user_create by admin",
                    "create_robot by alice",
                    "regenerate_robot_token by alice",
                    "delete_robot by alice",
                ]
            );
        }
    }
}

#[tokio::test]
async fn names_and_notes_of_robots_have_a_form_and_a_bound() {
    for (world, _server) in worlds(|_| {}).await {
        for short in ["a", "Big", "with%20blank", "a%2Bb", "n%00l"] {
            let answer = world
                .api(ADMIN, "PUT", &format!("/user/robots/{short}"), &Value::Null)
                .await;
            assert!(
                matches!(answer.status.as_u16(), 400 | 404),
                "{short}: {answer:?}"
            );
        }
        for document in [
            json!({ "description": "x".repeat(256) }),
            json!({ "description": "\u{0}" }),
            json!({ "unstructured_metadata": { "a": "x".repeat(20_000) } }),
            json!({ "unstructured_metadata": "text" }),
        ] {
            world
                .given(ADMIN, ("PUT", "/user/robots/ci"), document, 400)
                .await;
        }
        let odd = json!({ "unstructured_metadata": { "nul\u{0}": "\u{0}" } });
        let made = world
            .given(ADMIN, ("PUT", "/user/robots/ci"), odd.clone(), 201)
            .await;
        assert_eq!(made["unstructured_metadata"], odd["unstructured_metadata"]);
    }
}

#[tokio::test]
async fn no_robot_is_made_where_they_are_switched_off() {
    let world = World::with(|settings| settings.auth.robots = false).await;
    let answer = world
        .api(ADMIN, "PUT", "/user/robots/ci", &Value::Null)
        .await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    assert!(
        answer.json()["detail"]
            .as_str()
            .unwrap()
            .contains("ROBOTS_DISALLOW")
    );
}
