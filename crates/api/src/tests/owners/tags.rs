//! Tags, manifests and their labels, as owners see and change them.

use super::super::world::sha256;
use super::*;

#[tokio::test]
async fn tags_are_listed_moved_ended_deleted_and_brought_back() {
    let server = Postgres::shared().database();
    let world = world(&server).await;
    let first = world.push_image("v1").await;
    let second = world.push_image("v2").await;
    let base = format!("/repository/{APP}/tag");
    let tag = |name: &str| format!("{base}/{name}");
    let live = async || {
        let list = get(&world, &format!("{base}/?onlyActiveTags=true")).await;
        let tags = list["tags"].as_array().unwrap().clone();
        let mut tags: Vec<(String, String)> = tags
            .iter()
            .map(|tag| {
                let text = |member: &str| tag[member].as_str().unwrap().to_owned();
                (text("name"), text("manifest_digest"))
            })
            .collect();
        tags.sort();
        tags
    };
    let pair = |name: &str, digest: &dyn std::fmt::Display| (name.to_owned(), digest.to_string());
    world.clock.advance(Duration::from_secs(2));
    let moved = send(
        &world,
        "admin",
        "PUT",
        &tag("v1"),
        json!({ "manifest_digest": second.to_string() }),
    )
    .await;
    assert_eq!(
        (moved.status, moved.json()),
        (StatusCode::CREATED, json!("Updated"))
    );
    done(
        &world,
        "PUT",
        &tag("new"),
        json!({ "manifest_digest": second.to_string() }),
    )
    .await;
    assert_eq!(
        live().await,
        [
            pair("new", &second),
            pair("v1", &second),
            pair("v2", &second)
        ]
    );
    let history = get(&world, &format!("{base}/?specificTag=v1&limit=1")).await;
    assert_eq!(history["has_additional"], true);
    let history = get(&world, &format!("{base}/?specificTag=v1&limit=1&page=2")).await;
    assert_eq!(
        (&history["has_additional"], &history["page"]),
        (&json!(false), &json!(2))
    );
    let old = &history["tags"][0];
    assert_eq!(old["manifest_digest"], first.to_string());
    assert_eq!(old["end_ts"], world.clock.now().timestamp());
    assert_eq!(old["is_manifest_list"], false);
    assert!(old["expiration"].as_str().unwrap().ends_with(" -0000"));
    let like = get(
        &world,
        &format!("{base}/?filter_tag_name=like:V&onlyActiveTags=true"),
    )
    .await;
    assert_eq!(like["tags"].as_array().unwrap().len(), 2);

    world.clock.advance(Duration::from_secs(1));
    let restored = json!({ "manifest_digest": first.to_string() });
    let restore = format!("{}/restore", tag("v1"));
    assert_eq!(
        done(&world, "POST", &restore, restored.clone()).await,
        json!({})
    );
    assert_eq!(live().await[1], pair("v1", &first));
    let end = world.clock.now().timestamp() + 100;
    done(&world, "PUT", &tag("v1"), json!({ "expiration": end })).await;
    let ended = get(
        &world,
        &format!("{base}/?specificTag=v1&onlyActiveTags=true"),
    )
    .await;
    assert_eq!(ended["tags"][0]["end_ts"], end);
    assert_eq!(ended["tags"][0]["reversion"], true);
    done(&world, "PUT", &tag("v1"), json!({ "expiration": null })).await;
    assert_eq!(
        status(&world, "DELETE", &tag("new"), Value::Null).await,
        204
    );
    assert_eq!(
        status(&world, "DELETE", &tag("new"), Value::Null).await,
        404
    );
    done(&world, "PUT", &tag("v1"), json!({ "immutable": true })).await;
    for (method, path, document) in [
        ("DELETE", tag("v1"), Value::Null),
        (
            "PUT",
            tag("v1"),
            json!({ "manifest_digest": second.to_string() }),
        ),
        ("PUT", tag("v1"), json!({ "expiration": end })),
        ("POST", restore.clone(), restored.clone()),
    ] {
        assert_eq!(
            status(&world, method, &path, document.clone()).await,
            409,
            "{method} {document}"
        );
    }
    // Who may only push does not take protection away.
    let permission = format!("/repository/{APP}/permissions/user/bob");
    done(&world, "PUT", &permission, json!({ "role": "write" })).await;
    let mutable = json!({ "immutable": false });
    let by_bob = send(&world, "bob", "PUT", &tag("v1"), mutable.clone()).await;
    assert_eq!(by_bob.problem().0, 403);
    done(&world, "PUT", &tag("v1"), mutable).await;
    assert_eq!(status(&world, "DELETE", &tag("v1"), Value::Null).await, 204);

    // Of two ends within a millisecond one comes a millisecond later.
    world.clock.advance(Duration::from_secs(1));
    let unknown = format!("sha256:{}", "0".repeat(64));
    for (method, path, document, expected) in [
        ("PUT", tag("v1"), json!({ "manifest_digest": unknown }), 404),
        (
            "PUT",
            tag("v1"),
            json!({ "manifest_digest": "sha256:x" }),
            400,
        ),
        ("PUT", tag("v1"), json!({ "manifest_digest": "" }), 400),
        ("PUT", tag("v1"), json!({ "expiration": end }), 404),
        ("PUT", tag("v2"), json!({ "expiration": 5 }), 400),
        ("PUT", tag("v2"), json!({ "expiration": -1 }), 400),
        ("PUT", tag("v2"), json!({ "expiration": 1e300 }), 400),
        ("PUT", tag("v2"), json!({ "expiration": "soon" }), 400),
        ("PUT", tag("v2"), json!({ "immutable": 1 }), 400),
        ("PUT", tag("v2"), json!({}), 201),
        (
            "PUT",
            tag("-v"),
            json!({ "manifest_digest": second.to_string() }),
            400,
        ),
        ("POST", restore.clone(), json!({}), 400),
        (
            "POST",
            restore.clone(),
            json!({ "manifest_digest": unknown }),
            404,
        ),
        ("GET", format!("{base}/?limit=101"), Value::Null, 400),
        ("GET", format!("{base}/?limit=0"), Value::Null, 400),
        ("GET", format!("{base}/?page=0"), Value::Null, 400),
        ("GET", format!("{base}/?page=1000000"), Value::Null, 200),
        (
            "GET",
            format!("{base}/?filter_tag_name=v1"),
            Value::Null,
            400,
        ),
        (
            "GET",
            format!("{base}/?filter_tag_name=like:%25"),
            Value::Null,
            200,
        ),
    ] {
        let found = status(&world, method, &path, document.clone()).await;
        assert_eq!(found, expected, "{method} {path} {document}");
    }
    let closed = json!({ "state": "READ_ONLY" });
    done(
        &world,
        "PUT",
        &format!("/repository/{APP}/changestate"),
        closed,
    )
    .await;
    for (method, path, document) in [
        ("DELETE", tag("v2"), Value::Null),
        ("PUT", tag("v2"), json!({ "expiration": end })),
        (
            "PUT",
            tag("v9"),
            json!({ "manifest_digest": second.to_string() }),
        ),
        ("PUT", tag("v2"), json!({ "immutable": true })),
        ("POST", restore, restored),
    ] {
        assert_eq!(
            status(&world, method, &path, document.clone()).await,
            405,
            "{method} {document}"
        );
    }
}

#[tokio::test]
async fn manifests_are_shown_and_labels_are_added_and_taken_away() {
    let server = Postgres::shared().database();
    let world = world(&server).await;
    let digest = world.push_image("v1").await;
    let base = format!("/repository/{APP}/manifest/{digest}");
    let shown = get(&world, &base).await;
    assert_eq!(shown["digest"], digest.to_string());
    assert_eq!(shown["is_manifest_list"], false);
    assert_eq!(
        shown["config_media_type"],
        "application/vnd.oci.image.config.v1+json"
    );
    assert_eq!(shown["layers"][0]["compressed_size"], 2);
    let text = shown["manifest_data"].as_str().unwrap();
    assert_eq!(sha256(text.as_bytes()), digest, "as it was pushed");

    let labels = format!("{base}/labels");
    let new = json!({ "key": "reviewed-by", "value": "ö {}", "media_type": null });
    let added = send(&world, "admin", "POST", &labels, new.clone()).await;
    assert_eq!(added.status, StatusCode::CREATED, "{added:?}");
    let label = added.json()["label"].clone();
    assert_eq!(
        (&label["value"], &label["source_type"], &label["media_type"]),
        (&json!("ö {}"), &json!("api"), &json!("text/plain"))
    );
    let json = json!({ "key": "found", "value": "[1]" });
    let found = done(&world, "POST", &labels, json).await;
    assert_eq!(found["label"]["media_type"], "application/json");
    let listed = get(&world, &labels).await;
    assert_eq!(listed["labels"].as_array().unwrap().len(), 2);
    let filtered = get(&world, &format!("{labels}?filter=rev")).await;
    assert_eq!(filtered["labels"], json!([label]));
    let one = format!("{labels}/{}", label["id"].as_str().unwrap());
    assert_eq!(get(&world, &one).await, label);
    assert_eq!(status(&world, "DELETE", &one, Value::Null).await, 204);
    for (method, path, document, expected) in [
        ("DELETE", one.clone(), Value::Null, 404),
        ("GET", one, Value::Null, 404),
        ("GET", format!("{labels}/none"), Value::Null, 404),
        (
            "POST",
            labels.clone(),
            json!({ "key": "quay.immutable", "value": "true" }),
            400,
        ),
        (
            "POST",
            labels.clone(),
            json!({ "key": "Upper", "value": "" }),
            400,
        ),
        (
            "POST",
            labels.clone(),
            json!({ "key": "", "value": "" }),
            400,
        ),
        (
            "POST",
            labels.clone(),
            json!({ "key": "a--b", "value": "" }),
            400,
        ),
        (
            "POST",
            labels.clone(),
            json!({ "key": "nul", "value": "\u{0}" }),
            400,
        ),
        ("POST", labels.clone(), json!({ "key": "a" }), 400),
        (
            "POST",
            labels.clone(),
            json!({ "key": "a", "value": "", "media_type": "text/html" }),
            400,
        ),
        (
            "GET",
            format!("/repository/{APP}/manifest/v1"),
            Value::Null,
            400,
        ),
        (
            "GET",
            format!("/repository/{APP}/manifest/sha256:{}", "0".repeat(64)),
            Value::Null,
            404,
        ),
    ] {
        let found = status(&world, method, &path, document.clone()).await;
        assert_eq!(found, expected, "{method} {path} {document}");
    }
    server.psql("UPDATE label SET source_type_id = 1");
    let kept = format!("{labels}/{}", found["label"]["id"].as_str().unwrap());
    assert_eq!(status(&world, "DELETE", &kept, Value::Null).await, 400);
    let closed = json!({ "state": "READ_ONLY" });
    done(
        &world,
        "PUT",
        &format!("/repository/{APP}/changestate"),
        closed,
    )
    .await;
    assert_eq!(status(&world, "POST", &labels, new).await, 405);
    assert_eq!(status(&world, "DELETE", &kept, Value::Null).await, 405);
    let bob = send(&world, "bob", "GET", &base, Value::Null).await;
    assert_eq!(bob.problem().0, 403);
}
