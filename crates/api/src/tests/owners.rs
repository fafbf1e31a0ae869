//! What owners do by the API: repositories, permissions, tags, placement, and what the log says of it. In Quay's form, at Quay's addresses.

mod tags;

use std::time::Duration;

use http::StatusCode;
use roadstead_metadata::{Features, ImmutableTags};
use roadstead_runtime::Clock as _;
use roadstead_test_servers::{Postgres, PostgresDatabase};
use serde_json::{Value, json};

use super::world::{APP, Answer, PASSWORD, World, basic, on};

/// A registry with a superuser `root`, who is not there, so that `admin` owns `acme` and nothing else; and with `bob`, who owns nothing.
async fn world(server: &PostgresDatabase) -> World {
    let world = World::with(|settings| {
        settings.database = Some(on(server));
        settings.auth.superusers = std::iter::once("root".to_owned()).collect();
        settings.distribution.features = Features {
            immutable_tags: ImmutableTags::Kept,
            ..Features::default()
        };
    })
    .await;
    let hash = bcrypt::hash(PASSWORD, 4).unwrap();
    server.psql(&format!(
        r#"INSERT INTO "user" (uuid, username, password_hash, email, verified, organization, robot, invoice_email, last_invalid_login,
                               removed_tag_expiration_s)
           SELECT n, n, '{hash}', n, true, false, n LIKE '%+%', false, now(), 1209600
           FROM unnest(ARRAY['bob', 'acme+ci', 'bob+ci']) n"#
    ));
    world
}

async fn send(world: &World, who: &str, method: &str, path: &str, document: Value) -> Answer {
    let request = world
        .request(method, &format!("/api/v1{path}"))
        .anonymously();
    let request = if who.is_empty() {
        request
    } else {
        request.with("authorization", &basic(who, PASSWORD))
    };
    let body = if document.is_null() {
        String::new()
    } else {
        document.to_string()
    };
    request.body(body).await
}

/// As `admin`, and it is done.
async fn done(world: &World, method: &str, path: &str, document: Value) -> Value {
    let answer = send(world, "admin", method, path, document).await;
    assert!(answer.status.is_success(), "{method} {path}: {answer:?}");
    if answer.body.is_empty() {
        Value::Null
    } else {
        answer.json()
    }
}

async fn get(world: &World, path: &str) -> Value {
    done(world, "GET", path, Value::Null).await
}

/// The status of what `admin` asks for.
async fn status(world: &World, method: &str, path: &str, document: Value) -> u16 {
    let answer = send(world, "admin", method, path, document).await;
    if answer.status.is_success() {
        answer.status.as_u16()
    } else {
        answer.problem().0
    }
}

/// The document without what user interfaces show of somebody, which has to be there.
fn without_avatar(mut document: Value) -> Value {
    let avatar = document
        .as_object_mut()
        .and_then(|members| members.remove("avatar"));
    let avatar = avatar.unwrap_or_default();
    assert_eq!(avatar["name"], document["name"], "{document}");
    document
}

fn names(list: &Value) -> Vec<&str> {
    let repositories = list["repositories"].as_array().unwrap();
    repositories
        .iter()
        .map(|one| one["name"].as_str().unwrap())
        .collect()
}

#[tokio::test]
async fn a_repository_is_made_described_shown_closed_and_deleted() {
    let server = Postgres::shared().database();
    let world = world(&server).await;
    let new = json!({
        "repository": "team/tool", "namespace": "acme", "visibility": "private", "description": "ö", "repo_kind": null, "more": 1,
    });
    let made = send(&world, "admin", "POST", "/repository", new.clone()).await;
    assert_eq!(made.status, StatusCode::CREATED, "{made:?}");
    assert_eq!(
        made.json(),
        json!({ "namespace": "acme", "name": "team/tool", "kind": "image" })
    );
    assert_eq!(
        status(&world, "POST", "/repository", new.clone()).await,
        400
    );
    let path = "/repository/acme/team/tool";
    assert_eq!(
        get(&world, "/repository/acme%2Fteam%2Ftool").await["description"],
        "ö"
    );
    let view = get(&world, &format!("{path}?includeStats=true")).await;
    for (member, expected) in [
        ("is_public", json!(false)),
        ("is_organization", json!(true)),
        ("state", json!("NORMAL")),
        ("kind", json!("image")),
        ("tag_expiration_s", json!(1_209_600)),
        ("tags", json!({})),
        ("can_write", json!(true)),
        ("can_admin", json!(true)),
    ] {
        assert_eq!(view[member], expected, "{member}");
    }
    assert_eq!(view["stats"].as_array().unwrap().len(), 91);
    assert!(get(&world, &format!("{path}?includeTags=false")).await["tags"].is_null());

    // Nobody else sees it, or that it is there.
    for who in ["bob", ""] {
        let expected = if who.is_empty() { 401 } else { 403 };
        for path in [path, "/repository/acme/never"] {
            let answer = send(&world, who, "GET", path, Value::Null).await;
            assert_eq!(answer.problem().0, expected, "{who} {path}");
            let answer = send(&world, who, "DELETE", path, Value::Null).await;
            assert_eq!(answer.problem().0, expected, "{who} {path}");
        }
        let answer = send(&world, who, "POST", "/repository", new.clone()).await;
        assert_eq!(answer.problem().0, expected, "{who}");
    }
    let success = json!({ "success": true });
    let visible = json!({ "visibility": "public" });
    let change = format!("{path}/changevisibility");
    assert_eq!(done(&world, "POST", &change, visible).await, success);
    let public = send(&world, "", "GET", path, Value::Null).await;
    assert_eq!(public.json()["can_write"], false);
    assert_eq!(public.json()["status_token"], "");
    let described = json!({ "description": "**new**" });
    assert_eq!(done(&world, "PUT", path, described).await, success);
    let closed = json!({ "state": "READ_ONLY" });
    let change = format!("{path}/changestate");
    assert_eq!(done(&world, "PUT", &change, closed).await, success);
    let view = get(&world, path).await;
    assert_eq!(
        (&view["state"], &view["can_write"]),
        (&json!("READ_ONLY"), &json!(false))
    );
    assert_eq!(view["description"], "**new**");

    let deleted = send(&world, "admin", "DELETE", path, Value::Null).await;
    assert_eq!(deleted.status, StatusCode::NO_CONTENT);
    assert_eq!(status(&world, "DELETE", path, Value::Null).await, 404);
    assert_eq!(
        status(&world, "POST", "/repository", new).await,
        201,
        "the name is free"
    );
    let kinds = server.psql(
        "SELECT k.name FROM logentry3 l JOIN logentrykind k ON k.id = l.kind_id ORDER BY l.id",
    );
    let kinds: Vec<&str> = kinds.split_whitespace().collect();
    for kind in [
        "create_repo",
        "change_repo_visibility",
        "set_repo_description",
        "change_repo_state",
        "delete_repo",
    ] {
        assert!(kinds.contains(&kind), "{kind} in {kinds:?}");
    }
}

#[tokio::test]
async fn what_is_no_repository_is_refused_and_says_why() {
    let server = Postgres::shared().database();
    let world = world(&server).await;
    let long = "x".repeat(256);
    let text = "x".repeat(10_001);
    for (member, value) in [
        ("repository", json!("Upper")),
        ("repository", json!("")),
        ("repository", json!("a//b")),
        ("repository", json!("../up")),
        ("repository", json!("nul\u{0}")),
        ("repository", json!(long)),
        ("repository", json!(7)),
        ("repository", Value::Null),
        ("visibility", json!("secret")),
        ("visibility", Value::Null),
        ("description", json!("nul\u{0}")),
        ("description", json!(text)),
        ("description", Value::Null),
        ("repo_kind", json!("application")),
        ("namespace", json!("nul\u{0}")),
    ] {
        let mut new = json!({
            "repository": "fine", "namespace": "acme", "visibility": "public", "description": "",
        });
        new[member] = value.clone();
        assert_eq!(
            status(&world, "POST", "/repository", new).await,
            400,
            "{member}: {value}"
        );
    }
    let elsewhere = json!({
        "repository": "fine", "namespace": "bob", "visibility": "public", "description": "",
    });
    assert_eq!(status(&world, "POST", "/repository", elsewhere).await, 403);
    let own = json!({ "repository": "fine", "visibility": "public", "description": "" });
    let made = done(&world, "POST", "/repository", own).await;
    assert_eq!(
        made["namespace"], "admin",
        "the caller's own if none is named"
    );
    for body in [
        "",
        "[]",
        "{",
        "\"x\"",
        "null",
        "{\"repository\": \"\\ud800\"}",
    ] {
        let answer = world
            .request("POST", "/api/v1/repository")
            .body(body.to_owned())
            .await;
        assert_eq!(answer.problem().0, 400, "{body}");
    }
    for (path, document) in [
        ("/changevisibility", json!({ "visibility": "gone" })),
        ("/changestate", json!({ "state": "MARKED_FOR_DELETION" })),
        ("/changestate", json!({ "state": "normal" })),
        ("", json!({ "description": "nul\u{0}" })),
    ] {
        let method = if path == "/changevisibility" {
            "POST"
        } else {
            "PUT"
        };
        let path = format!("/repository/{APP}{path}");
        assert_eq!(status(&world, method, &path, document).await, 400, "{path}");
    }
}

#[tokio::test]
async fn repositories_are_listed_as_far_as_their_reader_may_see_them() {
    let server = Postgres::shared().database();
    let world = world(&server).await;
    world.push_image("v1").await;
    world.make_repository("makers/open", true).await;
    let listed = get(
        &world,
        "/repository?namespace=acme&last_modified=true&popularity=true",
    )
    .await;
    assert_eq!(names(&listed), ["app", "other"]);
    let app = &listed["repositories"][0];
    assert_eq!(app["last_modified"], world.clock.now().timestamp());
    assert_eq!(app["popularity"], 0.0);
    assert_eq!(app["is_starred"], false);
    assert_eq!(app["state"], "NORMAL");
    assert!(listed["repositories"][1]["last_modified"].is_null());
    let public = send(&world, "bob", "GET", "/repository?public=true", Value::Null).await;
    assert_eq!(names(&public.json()), ["open"]);
    let anonymous = send(&world, "", "GET", "/repository?public=True", Value::Null).await;
    assert_eq!(names(&anonymous.json()), ["open"]);
    assert!(anonymous.json()["repositories"][0]["is_starred"].is_null());
    let none = send(
        &world,
        "bob",
        "GET",
        "/repository?namespace=acme",
        Value::Null,
    )
    .await;
    assert_eq!(names(&none.json()), [""; 0]);
    server.psql(
        "INSERT INTO repository (namespace_user_id, name, visibility_id, description, badge_token, kind_id)
         SELECT u.id, 'many' || n, 1, '', '', 1 FROM \"user\" u, generate_series(1, 150) n WHERE u.username = 'makers'",
    );
    let mut path = "/repository?public=true".to_owned();
    let mut seen = 0;
    loop {
        let page = get(&world, &path).await;
        seen += names(&page).len();
        match page["next_page"].as_str() {
            Some(next) => path = format!("/repository?public=true&next_page={next}"),
            None => break,
        }
    }
    assert_eq!(seen, 2 + 2 + 150, "those of acme and those of makers");
    for (path, expected) in [
        ("/repository", 400),
        ("/repository?public=maybe", 400),
        ("/repository?public=true&next_page=%27", 400),
        ("/repository?public=true&next_page=-5", 200),
        ("/repository?starred=true", 200),
    ] {
        assert_eq!(
            status(&world, "GET", path, Value::Null).await,
            expected,
            "{path}"
        );
    }
}

#[tokio::test]
async fn permissions_are_given_and_taken_and_count_at_once() {
    let server = Postgres::shared().database();
    let world = world(&server).await;
    let base = format!("/repository/{APP}/permissions");
    let read = json!({ "role": "read" });
    let sees = async |who: &str| {
        let answer = send(
            &world,
            who,
            "GET",
            &format!("/repository/{APP}"),
            Value::Null,
        )
        .await;
        answer.status.as_u16()
    };
    assert_eq!(sees("bob").await, 403);
    let bob = format!("{base}/user/bob");
    assert_eq!(
        without_avatar(done(&world, "PUT", &bob, read.clone()).await),
        json!({ "role": "read", "name": "bob", "is_robot": false, "is_org_member": false })
    );
    assert_eq!(sees("bob").await, 200);
    let written = done(&world, "PUT", &bob, json!({ "role": "write" })).await;
    assert_eq!(written["role"], "write");
    let robot = done(&world, "PUT", &format!("{base}/user/acme+ci"), read.clone()).await;
    assert_eq!(
        (&robot["is_robot"], &robot["is_org_member"]),
        (&json!(true), &json!(true))
    );
    assert_eq!(
        without_avatar(done(&world, "PUT", &format!("{base}/team/owners"), read.clone()).await),
        json!({ "role": "read", "name": "owners" })
    );
    let listed = get(&world, &format!("{base}/user/")).await;
    let users: Vec<&String> = listed["permissions"].as_object().unwrap().keys().collect();
    assert_eq!(users, ["acme+ci", "admin", "bob"]);
    assert_eq!(
        get(&world, &format!("{base}/team/")).await["permissions"]["owners"]["role"],
        "read"
    );
    assert_eq!(
        get(&world, &format!("{bob}/transitive")).await,
        json!({ "permissions": [{ "role": "write" }] })
    );
    assert_eq!(get(&world, &bob).await["role"], "write");
    // Who may push may not say who may.
    let by_bob = send(&world, "bob", "PUT", &bob, json!({ "role": "admin" })).await;
    assert_eq!(by_bob.problem().0, 403);
    done(&world, "DELETE", &bob, Value::Null).await;
    assert_eq!(sees("bob").await, 403);
    for (method, path, expected) in [
        ("DELETE", "/user/bob", 400),
        ("GET", "/user/bob", 400),
        ("GET", "/user/bob/transitive", 404),
        ("GET", "/user/nobody/transitive", 404),
        ("PUT", "/user/nobody", 400),
        ("PUT", "/user/bob+ci", 400),
        ("PUT", "/user/acme", 400),
        ("DELETE", "/user/acme", 400),
        ("PUT", "/team/nobody", 400),
        ("DELETE", "/team/nobody", 400),
        ("GET", "/team/nobody", 400),
    ] {
        let document = if method == "PUT" {
            read.clone()
        } else {
            Value::Null
        };
        let path = format!("{base}{path}");
        assert_eq!(
            status(&world, method, &path, document).await,
            expected,
            "{method} {path}"
        );
    }
    for wrong in [json!({}), json!({ "role": "owner" }), json!({ "role": 1 })] {
        assert_eq!(status(&world, "PUT", &bob, wrong).await, 400);
    }
    done(
        &world,
        "DELETE",
        &format!("{base}/team/owners"),
        Value::Null,
    )
    .await;
}

#[tokio::test]
async fn owners_say_where_their_images_belong_within_a_bound() {
    let server = Postgres::shared().database();
    let world = world(&server).await;
    let names = get(&world, "/locations").await;
    let mut locations = names["locations"].as_array().unwrap().clone();
    locations.sort_by_key(|location| location["name"].to_string());
    assert_eq!(
        locations,
        [
            json!({ "name": "eu", "default": true }),
            json!({ "name": "us", "default": true })
        ]
    );
    let org = "/organization/acme/placement";
    let of_repository = format!("/repository/{APP}/placement");
    let told = done(
        &world,
        "PUT",
        org,
        json!({ "locations": ["eu"], "only": true, "regions": [], "min_locations": 1, "deadline_seconds": 5 }),
    )
    .await;
    assert_eq!(told["belongs_to"], json!(["eu"]));
    assert_eq!(told["namespaces"][0]["min_locations"], 1);
    let told = done(
        &world,
        "PUT",
        &of_repository,
        json!({ "tags": "release-*", "locations": ["us", "eu"] }),
    )
    .await;
    assert_eq!(told["rules"].as_array().unwrap().len(), 2);
    assert_eq!(get(&world, org).await["rules"].as_array().unwrap().len(), 2);
    for (path, document) in [
        (org, json!({})),
        (org, json!({ "locations": ["nowhere"] })),
        (org, json!({ "locations": [""] })),
        (org, json!({ "tags": "x" })),
        (org, json!({ "tags": "[", "copies": 1 })),
        (org, json!({ "only": true, "copies": 1 })),
        (org, json!({ "min_locations": 2 })),
        (org, json!({ "regions": ["nowhere"] })),
        (org, json!({ "copies": -1 })),
        (org, json!({ "copies": 0, "locations": ["eu"] })),
        (org, json!({ "copies": 2, "deadline_seconds": 0 })),
        (org, json!({ "copies": 2, "tags": "x".repeat(129) })),
        (org, json!({ "copies": 2, "tags": "" })),
        (org, json!({ "locations": "eu" })),
        (&of_repository, json!({ "min_locations": 1 })),
        ("/user/placement", json!({ "locations": ["nul\u{0}"] })),
    ] {
        assert_eq!(
            status(&world, "PUT", path, document.clone()).await,
            400,
            "{path} {document}"
        );
    }
    for who in ["bob", ""] {
        let expected = if who.is_empty() { 401 } else { 403 };
        for path in [org, &of_repository] {
            for method in ["GET", "PUT", "DELETE"] {
                let answer = send(&world, who, method, path, json!({ "copies": 2 })).await;
                assert_eq!(answer.problem().0, expected, "{who} {method} {path}");
            }
        }
    }
    let own = send(
        &world,
        "bob",
        "PUT",
        "/user/placement",
        json!({ "copies": 2 }),
    )
    .await;
    assert_eq!(own.json()["rules"][0]["copies"], 2, "{own:?}");
    let shown = send(&world, "bob", "GET", "/user/placement", Value::Null).await;
    assert_eq!(
        shown.json()["rules"].as_array().unwrap().len(),
        1,
        "and nobody else's"
    );
    for number in 1..20 {
        let rule = json!({ "tags": format!("v{number}"), "copies": 2 });
        let set = send(&world, "bob", "PUT", "/user/placement", rule).await;
        assert_eq!(set.status, 200, "{set:?}");
    }
    for (tags, expected) in [("v20", 400), ("v19", 200)] {
        let rule = json!({ "tags": tags, "copies": 1 });
        let set = send(&world, "bob", "PUT", "/user/placement", rule).await;
        assert_eq!(set.status, expected, "{set:?}");
    }
    let cleared = send(
        &world,
        "bob",
        "DELETE",
        "/user/placement?tags=v1",
        Value::Null,
    )
    .await;
    assert_eq!(cleared.status, StatusCode::NO_CONTENT);
    let again = send(
        &world,
        "bob",
        "DELETE",
        "/user/placement?tags=v1",
        Value::Null,
    )
    .await;
    assert_eq!(again.problem().0, 404);
    done(&world, "PUT", org, json!({ "min_locations": 0 })).await;
    assert_eq!(status(&world, "DELETE", org, Value::Null).await, 204);
    let told = get(&world, org).await;
    assert_eq!(told["belongs_to"], json!(["eu", "us"]));
    assert!(told["namespaces"][0]["min_locations"].is_null());
}

#[tokio::test]
async fn owners_read_what_happened_and_nobody_else_does() {
    let server = Postgres::shared().database();
    let world = world(&server).await;
    let path = format!("/repository/{APP}");
    for number in 0..25 {
        let description = json!({ "description": format!("number {number}") });
        done(&world, "PUT", &path, description).await;
        world.clock.advance(Duration::from_secs(1));
    }
    let mut seen = Vec::new();
    let mut page = format!("{path}/logs");
    loop {
        let found = get(&world, &page).await;
        seen.extend(found["logs"].as_array().unwrap().clone());
        match found["next_page"].as_str() {
            Some(next) => page = format!("{path}/logs?next_page={next}"),
            None => break,
        }
    }
    assert_eq!(seen.len(), 25);
    let youngest = &seen[0];
    assert_eq!(youngest["kind"], "set_repo_description");
    assert_eq!(
        youngest["metadata"],
        json!({ "repo": "app", "namespace": "acme", "description": "number 24" })
    );
    assert_eq!(
        without_avatar(youngest["performer"].clone()),
        json!({ "kind": "user", "name": "admin", "is_robot": false })
    );
    let count = async |path: &str| {
        let found = get(&world, path).await;
        found["logs"].as_array().unwrap().len()
    };
    assert_eq!(count("/organization/acme/logs").await, 20);
    assert_eq!(count("/organization/acme/logs?performer=bob").await, 0);
    assert_eq!(
        count("/organization/acme/logs?starttime=01/01/2020&endtime=01/02/2020").await,
        0
    );
    assert_eq!(count("/user/logs").await, 0, "of the own namespace");
    let today = world.clock.now().format("%m/%d/%Y");
    let counted = get(
        &world,
        &format!("{path}/aggregatelogs?starttime={today}&endtime={today}"),
    )
    .await;
    let total: u64 = counted["aggregated"]
        .as_array()
        .unwrap()
        .iter()
        .map(|day| day["count"].as_u64().unwrap())
        .sum();
    assert!(
        (1..=25).contains(&total),
        "of a day that may have begun in between: {counted}"
    );
    for (path, expected) in [
        ("/organization/acme/logs?starttime=2026-01-01", 400),
        ("/organization/acme/logs?starttime=01/01/99999", 400),
        ("/organization/acme/logs?starttime=13/01/2026", 400),
        (
            "/organization/acme/logs?starttime=01/03/2026&endtime=01/01/2026",
            400,
        ),
        ("/organization/acme/logs?next_page=1-2", 400),
        ("/organization/acme/aggregatelogs?starttime=01/01/2020", 400),
        ("/superuser/logs", 403),
    ] {
        assert_eq!(
            status(&world, "GET", path, Value::Null).await,
            expected,
            "{path}"
        );
    }
    for path in [&format!("{path}/logs"), "/organization/acme/logs"] {
        let answer = send(&world, "bob", "GET", path, Value::Null).await;
        assert_eq!(answer.problem().0, 403);
    }
    let of_all = World::new().await;
    done(&of_all, "PUT", &path, json!({ "description": "x" })).await;
    let logs = get(&of_all, "/superuser/logs").await;
    assert_eq!(
        without_avatar(logs["logs"][0]["namespace"].clone()),
        json!({ "kind": "org", "name": "acme" })
    );
}
