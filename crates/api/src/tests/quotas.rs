//! Quotas of namespaces, as superusers set them and members see them, on both engines.

use serde_json::{Value, json};

use super::accounts::{ADMIN, Who, logged, worlds};

const ALICE: Who<'static> = Who("alice", "alice-password");

#[tokio::test]
async fn a_quota_is_set_by_superusers_and_seen_by_members() {
    for (world, server) in worlds(|_| {}).await {
        world.user("alice").await;
        world
            .given(
                ALICE,
                ("POST", "/organization/"),
                json!({ "name": "acme2" }),
                201,
            )
            .await;
        let path = "/organization/acme2/quota";
        assert_eq!(
            world.given(ALICE, ("GET", path), Value::Null, 200).await,
            json!([])
        );
        world
            .given(ALICE, ("POST", path), json!({ "limit_bytes": 1 }), 403)
            .await;
        for document in [
            json!({}),
            json!({ "limit_bytes": 0 }),
            json!({ "limit_bytes": -1 }),
            json!({ "limit": "1 XB" }),
            json!({ "limit_bytes": 9_223_372_036_854_775_808_u64 }),
            json!({ "limit": "9 EiB" }),
        ] {
            world.given(ADMIN, ("POST", path), document, 400).await;
        }
        world
            .given(ADMIN, ("POST", path), json!({ "limit": "1 GiB" }), 201)
            .await;
        world
            .given(ADMIN, ("POST", path), json!({ "limit": "1 GiB" }), 400)
            .await;
        let quotas = world.given(ALICE, ("GET", path), Value::Null, 200).await;
        assert_eq!(
            (&quotas[0]["limit_bytes"], &quotas[0]["limit"]),
            (&json!(1 << 30), &json!("1.0 GiB"))
        );
        let one = format!("{path}/{}", quotas[0]["id"]);
        let limits = format!("{one}/limit");
        world
            .given(
                ADMIN,
                ("POST", &limits),
                json!({ "type": "Warning", "threshold_percent": 80 }),
                201,
            )
            .await;
        world
            .given(
                ADMIN,
                ("POST", &limits),
                json!({ "type": "Reject", "threshold_percent": 90 }),
                201,
            )
            .await;
        world
            .given(
                ADMIN,
                ("POST", &limits),
                json!({ "type": "Reject", "threshold_percent": 90 }),
                400,
            )
            .await;
        for (kind, percent) in [("Reject", 0), ("Reject", 101), ("Other", 5)] {
            let document = json!({ "type": kind, "threshold_percent": percent });
            world.given(ADMIN, ("POST", &limits), document, 400).await;
        }
        let listed = world.given(ALICE, ("GET", &limits), Value::Null, 200).await;
        assert_eq!(
            (&listed[0]["type"], &listed[1]["limit_percent"]),
            (&json!("Warning"), &json!(90))
        );
        let limit = format!("{limits}/{}", listed[1]["id"]);
        let changed = world
            .given(
                ADMIN,
                ("PUT", &limit),
                json!({ "threshold_percent": 100 }),
                200,
            )
            .await;
        assert_eq!(changed["limits"][1]["limit_percent"], 100);
        assert_eq!(
            world.given(ALICE, ("GET", &limit), Value::Null, 200).await["type"],
            "Reject"
        );
        let changed = world
            .given(ADMIN, ("PUT", &one), json!({ "limit_bytes": 500 }), 200)
            .await;
        assert_eq!(
            (&changed["limit"], &changed["default_config"]),
            (&json!("500.0 Byte"), &json!(false))
        );
        let shown = world
            .given(ALICE, ("GET", "/organization/acme2"), Value::Null, 200)
            .await;
        assert_eq!(shown["quota_report"]["configured_quota"], 500);
        world
            .given(ADMIN, ("DELETE", &limit), Value::Null, 204)
            .await;
        world
            .given(ADMIN, ("DELETE", &limit), Value::Null, 404)
            .await;
        world
            .given(
                ADMIN,
                ("GET", &format!("{path}/999999999999")),
                Value::Null,
                404,
            )
            .await;
        world.given(ADMIN, ("DELETE", &one), Value::Null, 204).await;
        world.given(ADMIN, ("GET", &one), Value::Null, 404).await;
        if let Some(log) = logged(server.as_ref()) {
            for kind in [
                "org_create_quota",
                "org_change_quota",
                "org_delete_quota",
                "org_create_quota_limit",
                "org_change_quota_limit",
                "org_delete_quota_limit",
            ] {
                assert!(log.contains(&format!("{kind} by admin")), "{kind}: {log:?}");
            }
        }
    }
}

#[tokio::test]
async fn superusers_set_the_quotas_of_people_too() {
    for (world, _server) in
        worlds(|settings| settings.management.default_quota_bytes = Some(1000)).await
    {
        world.user("alice").await;
        let own = world
            .given(ALICE, ("GET", "/user/quota"), Value::Null, 200)
            .await;
        assert_eq!(
            (&own[0]["id"], &own[0]["default_config"]),
            (&Value::Null, &json!(true))
        );
        let path = "/superuser/users/alice/quota";
        world
            .given(ADMIN, ("POST", path), json!({ "limit_bytes": 7 }), 201)
            .await;
        let own = world
            .given(ALICE, ("GET", "/user/quota"), Value::Null, 200)
            .await;
        assert_eq!(
            (&own[0]["limit_bytes"], &own[0]["default_config"]),
            (&json!(7), &json!(false))
        );
        let one = format!("{path}/{}", own[0]["id"]);
        world
            .given(ADMIN, ("PUT", &one), json!({ "limit": "8" }), 200)
            .await;
        world.given(ADMIN, ("DELETE", &one), Value::Null, 204).await;
        world
            .given(
                ADMIN,
                ("GET", "/superuser/organization/gone/quota"),
                Value::Null,
                404,
            )
            .await;
    }
}
