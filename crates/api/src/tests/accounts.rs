//! Accounts of people and their tokens, as they and superusers manage them, on both engines.

use http::StatusCode;
use roadstead_auth::{AuthOptions, FieldKey};
use roadstead_metadata::QuotaSizes;
use roadstead_test_servers::{Postgres, PostgresDatabase};
use serde_json::{Value, json};

use super::world::{Answer, PASSWORD, REGISTRY, Settings, World, basic, on};

/// Somebody with an account.
#[derive(Clone, Copy)]
pub(super) struct Who<'a>(pub(super) &'a str, pub(super) &'a str);

/// The superuser.
pub(super) const ADMIN: Who<'static> = Who("admin", PASSWORD);

impl World {
    /// Asks the API as somebody.
    pub(super) async fn api(
        &self,
        who: Who<'_>,
        method: &str,
        path: &str,
        document: &Value,
    ) -> Answer {
        let body = if document.is_null() {
            String::new()
        } else {
            document.to_string()
        };
        self.request(method, &format!("/api/v1{path}"))
            .anonymously()
            .with("authorization", &basic(who.0, who.1))
            .body(body)
            .await
    }

    /// What the API gives, which has to have this status.
    pub(super) async fn given(
        &self,
        who: Who<'_>,
        (method, path): (&str, &str),
        document: Value,
        status: u16,
    ) -> Value {
        let answer = self.api(who, method, path, &document).await;
        assert_eq!(
            answer.status.as_u16(),
            status,
            "{method} {path}: {answer:?}"
        );
        if answer.body.is_empty() {
            Value::Null
        } else {
            answer.json()
        }
    }

    /// Makes a user whose password is the name with `-password` behind it.
    pub(super) async fn user(&self, name: &str) {
        let document = json!({
            "username": name, "password": format!("{name}-password"), "email": format!("{name}@example.test"),
        });
        self.given(ADMIN, ("POST", "/user/"), document, 200).await;
    }
}

/// The kinds of all entries of the log, oldest first, with who is said to have done it. Of PostgreSQL, which can be looked into.
pub(super) fn logged(server: Option<&PostgresDatabase>) -> Option<Vec<String>> {
    let rows = server?.psql(
        r#"SELECT k.name || ' by ' || COALESCE(u.username, 'nobody') FROM logentry3 l
           JOIN logentrykind k ON k.id = l.kind_id LEFT JOIN "user" u ON u.id = l.performer_id ORDER BY l.id"#,
    );
    Some(rows.lines().map(str::to_owned).collect())
}

/// A registry of each engine in which everything can be managed.
pub(super) async fn worlds(
    change: impl Fn(&mut Settings),
) -> Vec<(World, Option<PostgresDatabase>)> {
    let settle = |settings: &mut Settings| {
        settings.auth = AuthOptions {
            field_key: Some(FieldKey::new("a key for tests").expect("a key")),
            ..AuthOptions::standalone(REGISTRY, "admin")
        };
        settings.management.quotas = true;
        settings.distribution.features.quota = QuotaSizes::Kept;
        change(settings);
    };
    let server = Postgres::shared().database();
    let sqlite = World::with(settle).await;
    let postgres = World::with(|settings| {
        settings.database = Some(on(&server));
        settle(settings);
    })
    .await;
    vec![(sqlite, None), (postgres, Some(server))]
}

#[tokio::test]
async fn a_user_makes_an_account_and_changes_it_and_nobody_else_does() {
    for (world, server) in worlds(|_| {}).await {
        world.user("alice").await;
        let alice = Who("alice", "alice-password");
        let own = world
            .given(alice, ("GET", "/user/"), Value::Null, 200)
            .await;
        assert_eq!(own["username"], "alice");
        assert_eq!(own["email"], "alice@example.test");
        assert_eq!(
            (&own["super_user"], &own["organizations"]),
            (&json!(false), &json!([]))
        );
        // The names and addresses of others are not free, whoever asks.
        for (document, problem) in [
            (
                json!({ "username": "alice", "password": "another-one" }),
                "alice",
            ),
            (
                json!({ "username": "bob", "password": "another-one", "email": "alice@example.test" }),
                "alice@example.test",
            ),
            (
                json!({ "username": "Bob", "password": "another-one" }),
                "username",
            ),
            (
                json!({ "username": "bob", "password": "short" }),
                "password",
            ),
            (
                json!({ "username": "bob", "password": "with a blank" }),
                "password",
            ),
            (
                json!({ "username": "bob", "password": "another-one", "email": "nowhere" }),
                "email",
            ),
            (
                json!({ "username": "bo\u{0}b", "password": "another-one" }),
                "username",
            ),
            (json!({ "username": "bob" }), "password"),
        ] {
            let answer = world.api(ADMIN, "POST", "/user/", &document).await;
            assert_eq!(
                answer.status,
                StatusCode::BAD_REQUEST,
                "{document}: {answer:?}"
            );
            let detail = answer.json()["detail"].as_str().unwrap().to_owned();
            assert!(detail.contains(problem), "{detail}");
        }
        // Whoever changes the password signs in with the new one only.
        let change =
            json!({ "password": "changed-password", "company": "Acme", "tag_expiration_s": 86400 });
        let own = world.given(alice, ("PUT", "/user/"), change, 200).await;
        assert_eq!(
            (&own["company"], &own["tag_expiration_s"]),
            (&json!("Acme"), &json!(86400))
        );
        world
            .given(alice, ("GET", "/user/"), Value::Null, 401)
            .await;
        world.clock.advance(std::time::Duration::from_mins(1));
        let alice = Who("alice", "changed-password");
        world
            .given(alice, ("GET", "/user/"), Value::Null, 200)
            .await;
        world
            .given(
                alice,
                ("PUT", "/user/"),
                json!({ "tag_expiration_s": 5 }),
                400,
            )
            .await;
        // What superusers do is theirs.
        for (method, path) in [
            ("GET", "/superuser/users/"),
            ("GET", "/superuser/users/admin"),
            ("PUT", "/superuser/users/admin"),
            ("DELETE", "/superuser/users/admin"),
            ("GET", "/superuser/organizations/"),
            ("POST", "/superuser/takeownership/acme"),
            ("GET", "/superuser/apptokens"),
        ] {
            world.given(alice, (method, path), Value::Null, 403).await;
        }
        if let Some(log) = logged(server.as_ref()) {
            assert_eq!(
                log,
                [
                    "user_create by admin",
                    "account_change_password by alice",
                    "user_change_tag_expiration by alice",
                    "user_change_metadata by alice",
                ]
            );
        }
    }
}

#[tokio::test]
async fn superusers_look_after_accounts_and_not_after_each_other() {
    for (world, server) in worlds(|_| {}).await {
        let made = json!({ "username": "carol", "email": "carol@example.test" });
        let made = world
            .given(ADMIN, ("POST", "/superuser/users/"), made, 200)
            .await;
        let password = made["password"].as_str().unwrap().to_owned();
        assert_eq!(password.len(), 32);
        let carol = Who("carol", &password);
        world
            .given(carol, ("GET", "/user/"), Value::Null, 200)
            .await;
        let path = "/superuser/users/carol";
        let shown = world
            .given(ADMIN, ("PUT", path), json!({ "enabled": false }), 200)
            .await;
        assert_eq!(
            (&shown["enabled"], &shown["kind"]),
            (&json!(false), &json!("user"))
        );
        world
            .given(carol, ("GET", "/user/"), Value::Null, 401)
            .await;
        let all = world
            .given(ADMIN, ("GET", "/superuser/users/"), Value::Null, 200)
            .await;
        let names = |list: &Value| -> Vec<String> {
            let users = list["users"].as_array().unwrap();
            users
                .iter()
                .map(|user| user["username"].as_str().unwrap().to_owned())
                .collect()
        };
        assert_eq!(names(&all), ["admin", "carol"]);
        assert!(!all.to_string().contains("$2b$"));
        let enabled = world
            .given(
                ADMIN,
                ("GET", "/superuser/users/?disabled=false"),
                Value::Null,
                200,
            )
            .await;
        assert_eq!(names(&enabled), ["admin"]);
        // Page by page.
        let page = world
            .given(
                ADMIN,
                ("GET", "/superuser/users/?limit=1"),
                Value::Null,
                200,
            )
            .await;
        assert_eq!(names(&page), ["admin"]);
        let next = page["next_page"].as_str().unwrap();
        let path_of_page = format!("/superuser/users/?limit=1&next_page={next}");
        let page = world
            .given(ADMIN, ("GET", &path_of_page), Value::Null, 200)
            .await;
        assert_eq!(
            (names(&page), page.get("next_page")),
            (vec!["carol".to_owned()], None)
        );
        // A superuser is changed by the operator.
        for (method, document) in [
            ("PUT", json!({ "enabled": false })),
            ("DELETE", Value::Null),
        ] {
            let answer = world
                .api(ADMIN, method, "/superuser/users/admin", &document)
                .await;
            assert_eq!(answer.status, StatusCode::BAD_REQUEST);
            assert!(
                answer.json()["detail"]
                    .as_str()
                    .unwrap()
                    .contains("superuser")
            );
        }
        world.given(ADMIN, ("DELETE", path), Value::Null, 204).await;
        world.given(ADMIN, ("GET", path), Value::Null, 404).await;
        world.given(ADMIN, ("DELETE", path), Value::Null, 404).await;
        // The name is not free before everything of it is gone.
        let again = json!({ "username": "carol" });
        world
            .given(ADMIN, ("POST", "/superuser/users/"), again, 400)
            .await;
        if let Some(log) = logged(server.as_ref()) {
            assert_eq!(
                log,
                [
                    "user_create by admin",
                    "user_disable by admin",
                    "user_delete by admin"
                ]
            );
        }
    }
}

#[tokio::test]
async fn an_app_token_is_shown_to_its_owner_and_ends_when_it_is_revoked() {
    for (world, _server) in worlds(|_| {}).await {
        world.user("alice").await;
        let alice = Who("alice", "alice-password");
        let made = world
            .given(
                alice,
                ("POST", "/user/apptoken"),
                json!({ "title": "laptop" }),
                200,
            )
            .await;
        let token = &made["token"];
        let (code, uuid) = (
            token["token_code"].as_str().unwrap(),
            token["uuid"].as_str().unwrap(),
        );
        assert_eq!(code.len(), 120);
        let path = format!("/user/apptoken/{uuid}");
        let shown = world.given(alice, ("GET", &path), Value::Null, 200).await;
        assert_eq!(shown["token"]["token_code"], code);
        let list = world
            .given(alice, ("GET", "/user/apptoken"), Value::Null, 200)
            .await;
        assert_eq!(list["tokens"][0]["title"], "laptop");
        assert!(!list.to_string().contains(code));
        // It signs in to look, not to change or to make more of it.
        let by_token = Who("$app", code);
        world
            .given(by_token, ("GET", "/user/"), Value::Null, 200)
            .await;
        for (method, path) in [
            ("GET", path.as_str()),
            ("POST", "/user/apptoken"),
            ("PUT", "/user/"),
        ] {
            world
                .given(by_token, (method, path), json!({ "title": "x" }), 403)
                .await;
        }
        // It is nobody else's.
        world.given(ADMIN, ("GET", &path), Value::Null, 404).await;
        world
            .given(ADMIN, ("DELETE", &path), Value::Null, 404)
            .await;
        let all = world
            .given(ADMIN, ("GET", "/superuser/apptokens"), Value::Null, 200)
            .await;
        assert_eq!(all["tokens"][0]["username"], "alice");
        assert!(!all.to_string().contains(code));
        world
            .given(alice, ("DELETE", &path), Value::Null, 204)
            .await;
        world
            .given(by_token, ("GET", "/user/"), Value::Null, 401)
            .await;
        world
            .given(
                alice,
                ("POST", "/user/apptoken"),
                json!({ "title": "" }),
                400,
            )
            .await;
        world
            .given(
                alice,
                ("POST", "/user/apptoken"),
                json!({ "title": "\u{0}" }),
                400,
            )
            .await;
    }
}

#[tokio::test]
async fn tokens_need_a_key_to_be_kept_under() {
    let world = World::new().await;
    let answer = world
        .api(ADMIN, "POST", "/user/apptoken", &json!({ "title": "x" }))
        .await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    assert!(
        answer.json()["detail"]
            .as_str()
            .unwrap()
            .contains("DATABASE_SECRET_KEY")
    );
}

#[tokio::test]
async fn a_registry_with_accounts_is_not_initialized_again() {
    for (world, _server) in worlds(|settings| settings.management.initialize = true).await {
        let document =
            json!({ "username": "second", "password": "second-password", "access_token": true });
        let answer = world
            .request("POST", "/api/v1/user/initialize")
            .anonymously()
            .body(document.to_string())
            .await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{answer:?}");
        world
            .given(ADMIN, ("GET", "/users/second"), Value::Null, 404)
            .await;
    }
    let closed = World::new().await;
    let answer = closed
        .request("POST", "/api/v1/user/initialize")
        .anonymously()
        .body(r#"{"username":"second","password":"second-password"}"#)
        .await;
    assert!(
        answer.json()["detail"]
            .as_str()
            .unwrap()
            .contains("FEATURE_USER_INITIALIZE")
    );
}

#[tokio::test]
async fn nobody_makes_themselves_an_account_where_that_is_switched_off() {
    let world = World::with(|settings| settings.auth.user_creation = false).await;
    let document = json!({ "username": "eve", "password": "eve-password" });
    let answer = world
        .request("POST", "/api/v1/user/")
        .anonymously()
        .body(document.to_string())
        .await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    world
        .given(ADMIN, ("GET", "/users/eve"), Value::Null, 404)
        .await;
}
