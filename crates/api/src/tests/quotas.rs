//! Quotas of namespaces, as superusers set them and members see them, on both engines.

use http::StatusCode;
use roadstead_metadata::QuotaChecks;
use serde_json::{Value, json};

use super::accounts::{ADMIN, Who, logged, worlds};
use super::world::{APP, image, sha256};

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

#[tokio::test]
async fn pushes_beyond_a_quota_are_refused_in_quays_words_and_change_nothing() {
    let checked = |settings: &mut super::world::Settings| {
        settings.distribution.features.quota_checks = QuotaChecks::Held {
            default_bytes: None,
        };
    };
    for (world, server) in worlds(checked).await {
        world.user("alice").await;
        world
            .given(
                ADMIN,
                ("PUT", "/organization/acme/team/owners"),
                json!({ "role": "admin" }),
                200,
            )
            .await;
        world
            .given(
                ADMIN,
                ("PUT", "/organization/acme/team/owners/members/alice"),
                Value::Null,
                200,
            )
            .await;
        let path = "/organization/acme/quota";
        world
            .given(ADMIN, ("POST", path), json!({ "limit_bytes": 10 }), 201)
            .await;
        let id = world.given(ADMIN, ("GET", path), Value::Null, 200).await[0]["id"].clone();
        let limits = format!("{path}/{id}/limit");
        world
            .given(
                ADMIN,
                ("POST", &limits),
                json!({ "type": "Warning", "threshold_percent": 50 }),
                201,
            )
            .await;
        world
            .given(
                ADMIN,
                ("POST", &limits),
                json!({ "type": "Reject", "threshold_percent": 100 }),
                201,
            )
            .await;
        let told = || {
            server.as_ref().map(|server| {
                server.psql(
                    r#"SELECT k.name || ' ' || u.username || ' ' || n.metadata_json FROM notification n
                       JOIN notificationkind k ON k.id = n.kind_id JOIN "user" u ON u.id = n.target_id ORDER BY n.id"#,
                )
            })
        };
        // 2 + 5 bytes: the administrators are warned, once.
        world.push_blob(b"{}").await;
        world.push_blob(b"12345").await;
        let small = image(&[b"12345"], "");
        for _ in 0..2 {
            let answer = world.push_manifest("small", &small).await;
            assert_eq!(answer.status, StatusCode::CREATED, "{answer:?}");
        }
        if let Some(told) = told() {
            assert_eq!(
                told,
                "quota_warning admin {\"namespace\": \"acme\"}\nquota_warning alice {\"namespace\": \"acme\"}"
            );
        }
        // With 5 more it would be too much: the manifest is not there, nor its tag.
        world.push_blob(b"67890").await;
        let open = world.start_upload().await;
        let large = image(&[b"12345", b"67890"], "");
        let answer = world.push_manifest("large", &large).await;
        assert_eq!(
            (answer.status, answer.error().1.as_str()),
            (StatusCode::FORBIDDEN, "DENIED")
        );
        assert_eq!(
            answer.json()["errors"][0]["message"],
            "Quota has been exceeded on namespace"
        );
        assert!(answer.header("allow").is_empty());
        for reference in ["large".to_owned(), sha256(large.as_bytes()).to_string()] {
            let path = format!("/v2/{APP}/manifests/{reference}");
            assert_eq!(world.get(&path).await.status, StatusCode::NOT_FOUND);
        }
        let report = world
            .given(ADMIN, ("GET", "/organization/acme"), Value::Null, 200)
            .await;
        assert_eq!(report["quota_report"]["quota_bytes"], 7);
        // A namespace that is full takes no uploads, mounts or chunks either; what is there can be pulled.
        world
            .given(
                ADMIN,
                ("PUT", &format!("{path}/{id}")),
                json!({ "limit_bytes": 7 }),
                200,
            )
            .await;
        let digest = sha256(b"x");
        for (method, path) in [
            ("POST", format!("/v2/{APP}/blobs/uploads/")),
            ("POST", format!("/v2/{APP}/blobs/uploads/?digest={digest}")),
            (
                "POST",
                format!(
                    "/v2/{APP}/blobs/uploads/?mount={}&from={APP}",
                    sha256(b"12345")
                ),
            ),
            ("PATCH", open.clone()),
        ] {
            let answer = world.request(method, &path).body("x").await;
            assert_eq!(
                (answer.status.as_u16(), answer.error().1.as_str()),
                (403, "DENIED"),
                "{method} {path}"
            );
        }
        let answer = world.get(&open).await;
        assert_eq!(
            answer.status,
            StatusCode::NOT_FOUND,
            "the upload has ended: {answer:?}"
        );
        assert_eq!(
            world
                .get(&format!("/v2/{APP}/manifests/small"))
                .await
                .status,
            StatusCode::OK
        );
        if let Some(told) = told() {
            assert!(
                told.ends_with(r#"quota_error alice {"namespace": "acme"}"#),
                "{told}"
            );
            assert_eq!(told.lines().count(), 4, "{told}");
        }
    }
}
