//! Organisations, teams, default permissions and applications, as their administrators manage them, on both engines.

use http::StatusCode;
use serde_json::{Value, json};

use super::accounts::{ADMIN, Who, logged, worlds};
use super::world::World;

const ALICE: Who<'static> = Who("alice", "alice-password");
const BOB: Who<'static> = Who("bob", "bob-password");

/// An organisation `acme2` of alice, and bob, who has nothing to do with it.
async fn founded(world: &World) {
    world.user("alice").await;
    world.user("bob").await;
    let document = json!({ "name": "acme2", "email": "acme2@example.test" });
    let created = world
        .given(ALICE, ("POST", "/organization/"), document, 201)
        .await;
    assert_eq!(created, "Created");
}

#[tokio::test]
async fn an_organization_is_its_administrators_and_keeps_one() {
    for (world, _server) in worlds(|_| {}).await {
        founded(&world).await;
        let path = "/organization/acme2";
        for (name, why) in [
            ("alice", "a user"),
            ("acme2", "an organization"),
            ("a", "short"),
            ("A-B", "capitals"),
        ] {
            let answer = world
                .api(ALICE, "POST", "/organization/", &json!({ "name": name }))
                .await;
            assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{name} is {why}");
        }
        let shown = world.given(ALICE, ("GET", path), Value::Null, 200).await;
        assert_eq!(shown["teams"]["owners"]["role"], "admin");
        assert_eq!(
            (&shown["is_admin"], &shown["email"]),
            (&json!(true), &json!("acme2@example.test"))
        );
        assert_eq!(shown["quotas"], json!([]));
        // Others see that there is one.
        let shown = world.given(BOB, ("GET", path), Value::Null, 200).await;
        assert_eq!(
            (&shown["is_admin"], &shown["email"]),
            (&json!(false), &json!(""))
        );
        assert!(shown.get("teams").is_none() && shown.get("tag_expiration_s").is_none());
        for (method, sub) in [
            ("PUT", ""),
            ("DELETE", ""),
            ("GET", "/members"),
            ("GET", "/collaborators"),
            ("GET", "/robots"),
            ("PUT", "/team/devs"),
            ("GET", "/team/owners/members"),
            ("GET", "/prototypes"),
            ("GET", "/applications"),
            ("PUT", "/robots/ci"),
            ("GET", "/quota"),
        ] {
            let answer = world
                .api(BOB, method, &format!("{path}{sub}"), &Value::Null)
                .await;
            assert_eq!(answer.status, StatusCode::FORBIDDEN, "{method} {sub}");
        }
        let change = json!({ "email": "new@example.test", "tag_expiration_s": 0 });
        let shown = world.given(ALICE, ("PUT", path), change, 200).await;
        assert_eq!(
            (&shown["email"], &shown["tag_expiration_s"]),
            (&json!("new@example.test"), &json!(0))
        );
        // The last administrator stays, whichever way they would go.
        for (method, sub) in [
            ("DELETE", "/members/alice"),
            ("DELETE", "/team/owners/members/alice"),
            ("DELETE", "/team/owners"),
        ] {
            let answer = world
                .api(ALICE, method, &format!("{path}{sub}"), &Value::Null)
                .await;
            assert_eq!(
                answer.status,
                StatusCode::BAD_REQUEST,
                "{method} {sub}: {answer:?}"
            );
            assert!(
                answer.json()["detail"]
                    .as_str()
                    .unwrap()
                    .contains("nobody would be left")
            );
        }
        world
            .given(
                ALICE,
                ("PUT", "/organization/acme2/team/owners"),
                json!({ "role": "member" }),
                400,
            )
            .await;
        world
            .given(
                ALICE,
                ("PUT", "/organization/acme2/team/owners/members/bob"),
                Value::Null,
                200,
            )
            .await;
        world
            .given(
                BOB,
                ("DELETE", "/organization/acme2/members/alice"),
                Value::Null,
                204,
            )
            .await;
        world
            .given(
                ALICE,
                ("GET", "/organization/acme2/members"),
                Value::Null,
                403,
            )
            .await;
        world.given(BOB, ("DELETE", path), Value::Null, 204).await;
        world.given(BOB, ("GET", path), Value::Null, 404).await;
    }
}

#[tokio::test]
async fn teams_have_roles_and_members() {
    for (world, server) in worlds(|_| {}).await {
        founded(&world).await;
        let team = "/organization/acme2/team/devs";
        let made = world
            .given(
                ALICE,
                ("PUT", team),
                json!({ "role": "creator", "description": "who builds" }),
                200,
            )
            .await;
        assert_eq!(
            (&made["new_team"], &made["role"]),
            (&json!(true), &json!("creator"))
        );
        let changed = world
            .given(ALICE, ("PUT", team), json!({ "role": "member" }), 200)
            .await;
        assert_eq!(
            (&changed["new_team"], &changed["description"]),
            (&json!(false), &json!("who builds"))
        );
        for document in [
            json!({}),
            json!({ "role": "owner" }),
            json!({ "role": "member", "description": "\u{0}" }),
        ] {
            world.given(ALICE, ("PUT", team), document, 400).await;
        }
        world
            .given(
                ALICE,
                ("PUT", "/organization/acme2/team/No"),
                json!({ "role": "member" }),
                400,
            )
            .await;
        world
            .given(
                ALICE,
                ("PUT", "/organization/acme2/robots/ci"),
                Value::Null,
                201,
            )
            .await;
        for member in ["bob", "acme2+ci"] {
            let added = world
                .given(
                    ALICE,
                    ("PUT", &format!("{team}/members/{member}")),
                    Value::Null,
                    200,
                )
                .await;
            assert_eq!(added["name"], member);
        }
        world
            .given(
                ALICE,
                ("PUT", &format!("{team}/members/nobody")),
                Value::Null,
                404,
            )
            .await;
        world
            .given(
                ALICE,
                ("PUT", &format!("{team}/members/alice+x")),
                Value::Null,
                400,
            )
            .await;
        let members = world
            .given(BOB, ("GET", &format!("{team}/members")), Value::Null, 200)
            .await;
        let names: Vec<_> = members["members"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| one["name"].clone())
            .collect();
        assert_eq!(
            (names, &members["can_edit"]),
            (vec![json!("acme2+ci"), json!("bob")], &json!(false))
        );
        // Whoever is in a team sees the organisation, and administers nothing by that.
        let shown = world
            .given(BOB, ("GET", "/organization/acme2"), Value::Null, 200)
            .await;
        assert_eq!(shown["teams"]["devs"]["can_view"], true);
        assert_eq!(shown["teams"]["owners"]["can_view"], false);
        let robots = world
            .given(BOB, ("GET", "/organization/acme2/robots"), Value::Null, 200)
            .await;
        assert!(robots["robots"][0].get("token").is_none(), "{robots}");
        let all = world
            .given(
                ALICE,
                ("GET", "/organization/acme2/members"),
                Value::Null,
                200,
            )
            .await;
        assert_eq!(all["members"][1]["name"], "bob");
        assert_eq!(all["members"][1]["teams"][0]["name"], "devs");
        let one = world
            .given(
                ALICE,
                ("GET", "/organization/acme2/members/bob"),
                Value::Null,
                200,
            )
            .await;
        assert_eq!(one["name"], "bob");
        world
            .given(
                ALICE,
                ("DELETE", &format!("{team}/members/bob")),
                Value::Null,
                204,
            )
            .await;
        world
            .given(
                ALICE,
                ("DELETE", &format!("{team}/members/bob")),
                Value::Null,
                404,
            )
            .await;
        world
            .given(
                ALICE,
                ("GET", &format!("{team}/permissions")),
                Value::Null,
                200,
            )
            .await;
        world.given(ALICE, ("DELETE", team), Value::Null, 204).await;
        world.given(ALICE, ("DELETE", team), Value::Null, 404).await;
        if let Some(log) = logged(server.as_ref()) {
            for kind in [
                "org_create",
                "org_create_team",
                "org_set_team_role",
                "org_add_team_member",
                "org_remove_team_member",
                "org_delete_team",
            ] {
                assert!(log.contains(&format!("{kind} by alice")), "{kind}: {log:?}");
            }
        }
    }
}

#[tokio::test]
async fn default_permissions_are_made_changed_and_removed() {
    for (world, server) in worlds(|_| {}).await {
        founded(&world).await;
        let path = "/organization/acme2/prototypes";
        let new = json!({ "role": "read", "delegate": { "kind": "team", "name": "owners" } });
        let made = world.given(ALICE, ("POST", path), new, 200).await;
        assert_eq!(
            (&made["activating_user"], &made["delegate"]["kind"]),
            (&Value::Null, &json!("team"))
        );
        let new = json!({ "role": "write", "activating_user": { "name": "alice" }, "delegate": { "kind": "user", "name": "bob" } });
        let second = world.given(ALICE, ("POST", path), new, 200).await;
        assert_eq!(second["delegate"]["is_org_member"], false);
        for document in [
            json!({ "role": "write", "delegate": { "kind": "user", "name": "nobody" } }),
            json!({ "role": "write", "delegate": { "kind": "team", "name": "nobody" } }),
        ] {
            world.given(ALICE, ("POST", path), document, 404).await;
        }
        world
            .given(ALICE, ("POST", path), json!({ "role": "write" }), 400)
            .await;
        let one = format!("{path}/{}", second["id"].as_str().unwrap());
        let changed = world
            .given(ALICE, ("PUT", &one), json!({ "role": "admin" }), 200)
            .await;
        assert_eq!(changed["role"], "admin");
        world.given(ALICE, ("DELETE", &one), Value::Null, 204).await;
        world.given(ALICE, ("DELETE", &one), Value::Null, 404).await;
        let left = world.given(ALICE, ("GET", path), Value::Null, 200).await;
        assert_eq!(left["prototypes"].as_array().unwrap().len(), 1);
        if let Some(log) = logged(server.as_ref()) {
            for kind in [
                "create_prototype_permission",
                "modify_prototype_permission",
                "delete_prototype_permission",
            ] {
                assert!(log.contains(&format!("{kind} by alice")), "{kind}: {log:?}");
            }
        }
    }
}

#[tokio::test]
async fn applications_are_their_organizations() {
    for (world, _server) in worlds(|_| {}).await {
        founded(&world).await;
        let path = "/organization/acme2/applications";
        let made = world
            .given(
                ALICE,
                ("POST", path),
                json!({ "name": "ci", "redirect_uri": "https://ci.example" }),
                200,
            )
            .await;
        let secret = made["client_secret"].as_str().unwrap();
        assert_eq!(secret.len(), 40);
        let one = format!("{path}/{}", made["client_id"].as_str().unwrap());
        let change = json!({ "name": "builds", "redirect_uri": "", "application_uri": "https://ci.example" });
        let changed = world.given(ALICE, ("PUT", &one), change, 200).await;
        assert_eq!(
            (&changed["name"], &changed["client_secret"]),
            (&json!("builds"), &json!(secret))
        );
        let reset = world
            .given(
                ALICE,
                ("POST", &format!("{one}/resetclientsecret")),
                Value::Null,
                200,
            )
            .await;
        assert_ne!(reset["client_secret"], secret);
        world
            .given(ALICE, ("POST", path), json!({ "name": "" }), 400)
            .await;
        world.given(BOB, ("GET", &one), Value::Null, 403).await;
        world.given(ALICE, ("DELETE", &one), Value::Null, 204).await;
        world.given(ALICE, ("GET", &one), Value::Null, 404).await;
    }
}

#[tokio::test]
async fn a_superuser_renames_takes_over_and_deletes() {
    for (world, _server) in worlds(|_| {}).await {
        founded(&world).await;
        world
            .given(
                ALICE,
                ("PUT", "/organization/acme2/robots/ci"),
                Value::Null,
                201,
            )
            .await;
        let renamed = world
            .given(
                ADMIN,
                ("PUT", "/superuser/organizations/acme2"),
                json!({ "name": "acme3" }),
                200,
            )
            .await;
        assert_eq!(renamed["name"], "acme3");
        let robot = world
            .given(
                ALICE,
                ("GET", "/organization/acme3/robots/ci"),
                Value::Null,
                200,
            )
            .await;
        assert_eq!(robot["name"], "acme3+ci");
        world
            .given(
                ADMIN,
                ("PUT", "/superuser/organizations/acme3"),
                json!({ "name": "alice" }),
                400,
            )
            .await;
        world
            .given(
                ADMIN,
                ("PUT", "/superuser/organizations/gone"),
                json!({ "name": "gone2" }),
                404,
            )
            .await;
        // A person's namespace becomes an organisation, and the person is nobody any more.
        world
            .given(
                ADMIN,
                ("POST", "/superuser/takeownership/bob"),
                Value::Null,
                200,
            )
            .await;
        world.given(BOB, ("GET", "/user/"), Value::Null, 401).await;
        let taken = world
            .given(ADMIN, ("GET", "/organization/bob"), Value::Null, 200)
            .await;
        assert_eq!(taken["ordered_teams"], json!(["owners"]));
        world
            .given(
                ADMIN,
                ("POST", "/superuser/takeownership/admin"),
                Value::Null,
                400,
            )
            .await;
        world
            .given(
                ADMIN,
                ("DELETE", "/superuser/organizations/acme3"),
                Value::Null,
                204,
            )
            .await;
        world
            .given(
                ADMIN,
                ("DELETE", "/superuser/organizations/acme3"),
                Value::Null,
                404,
            )
            .await;
    }
}

#[tokio::test]
async fn a_search_finds_people_and_tells_members_of_robots_and_teams() {
    for (world, _server) in worlds(|_| {}).await {
        founded(&world).await;
        world
            .given(
                ALICE,
                ("PUT", "/organization/acme2/robots/al"),
                Value::Null,
                201,
            )
            .await;
        world
            .given(
                ALICE,
                ("PUT", "/organization/acme2/team/als"),
                json!({ "role": "member" }),
                200,
            )
            .await;
        let names = |found: &Value| -> Vec<String> {
            let results = found["results"].as_array().unwrap();
            results
                .iter()
                .map(|one| one["name"].as_str().unwrap().to_owned())
                .collect()
        };
        let path = "/entities/al?namespace=acme2&includeTeams=true";
        let found = world.given(ALICE, ("GET", path), Value::Null, 200).await;
        assert_eq!(names(&found), ["als", "acme2+al", "alice"]);
        let found = world.given(BOB, ("GET", path), Value::Null, 200).await;
        assert_eq!(names(&found), ["alice"]);
        let found = world
            .given(BOB, ("GET", "/entities/%25"), Value::Null, 200)
            .await;
        assert_eq!(names(&found), [""; 0]);
    }
}
