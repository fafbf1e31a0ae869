//! Everything that can be sent instead of a manifest, and manifests that are too much.

use super::*;

#[tokio::test]
async fn what_is_not_a_manifest_is_refused_with_the_reason() {
    let universe = Universe::start().await;
    let client = universe.client();
    let config = empty_config(&client).await;
    let deep = format!(
        "{{\"schemaVersion\":2,\"x\":{}{}}}",
        "[".repeat(100_000),
        "]".repeat(100_000)
    );
    let deep_objects = format!("{}1{}", "{\"a\":".repeat(100_000), "}".repeat(100_000));
    let bad: Vec<(&str, &str, String)> = vec![
        ("nothing", OCI_MANIFEST, String::new()),
        ("not JSON", OCI_MANIFEST, "hello".to_owned()),
        ("cut off", OCI_MANIFEST, "{\"schemaVersion\": 2, \"config\": {".to_owned()),
        ("a list", OCI_MANIFEST, "[]".to_owned()),
        ("null", OCI_MANIFEST, "null".to_owned()),
        ("something behind it", OCI_INDEX, "{\"schemaVersion\":2,\"manifests\":[]} {}".to_owned()),
        ("layers and manifests", OCI_MANIFEST, json!({"schemaVersion": 2, "config": config, "layers": [], "manifests": []}).to_string()),
        ("manifests and layers", OCI_INDEX, json!({"schemaVersion": 2, "config": config, "layers": [], "manifests": []}).to_string()),
        ("another type inside", OCI_MANIFEST, json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": []}).to_string()),
        ("another type outside", OCI_INDEX, json!({"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": []}).to_string()),
        ("no config", OCI_MANIFEST, json!({"schemaVersion": 2, "layers": []}).to_string()),
        ("a wrong digest", OCI_INDEX, json!({"schemaVersion": 2, "manifests": [{"mediaType": OCI_MANIFEST, "digest": "sha256:x", "size": 1}]}).to_string()),
        ("a negative size", OCI_INDEX, json!({"schemaVersion": 2, "manifests": [{"mediaType": OCI_MANIFEST, "digest": sha256("x"), "size": -1}]}).to_string()),
        ("no size", OCI_INDEX, json!({"schemaVersion": 2, "manifests": [{"mediaType": OCI_MANIFEST, "digest": sha256("x")}]}).to_string()),
        ("manifests that are text", OCI_INDEX, json!({"schemaVersion": 2, "manifests": "none"}).to_string()),
        ("lists without end", OCI_MANIFEST, deep),
        ("objects without end", OCI_MANIFEST, deep_objects),
    ];
    for (what, media_type, body) in bad {
        let reply = put(&client, "bad", media_type, body).await;
        assert_eq!(reply.status, 400, "{what}: {reply:?}");
        reply.refused(400, "MANIFEST_INVALID");
    }
    for body in [
        &b"\xff\xfe{}"[..],
        b"\0\0\0\0",
        b"{\"schemaVersion\":2,\"x\":\"\xff\"}",
    ] {
        put(&client, "bad", OCI_MANIFEST, body)
            .await
            .refused(400, "MANIFEST_INVALID");
    }
    call("GET", "/v2/team/app/manifests/bad")
        .send(&client)
        .await
        .refused(404, "MANIFEST_UNKNOWN");
    universe.finish().await;
}

#[tokio::test]
async fn content_types_that_are_no_manifest_are_refused() {
    let universe = Universe::start().await;
    let client = universe.client();
    let manifest = small_manifest(&client, "x").await;
    for media_type in [
        "text/html",
        "nonsense",
        "application/vnd.docker.distribution.manifest.v1+json",
        "application/vnd.docker.distribution.manifest.v1+prettyjws",
        "/",
        "a/b/c",
    ] {
        let reply = put(&client, "v1", media_type, manifest.clone()).await;
        assert!(
            [400, 415].contains(&reply.status.as_u16()),
            "{media_type}: {reply:?}"
        );
        reply
            .clone()
            .refused(reply.status.as_u16(), "MANIFEST_INVALID");
    }
    // A parameter behind the type changes nothing, and the document itself says what it is when the header does not.
    put(
        &client,
        "v1",
        &format!("{OCI_MANIFEST}; charset=utf-8"),
        manifest.clone(),
    )
    .await
    .expect(201);
    put(&client, "v2", "application/json", manifest)
        .await
        .expect(201);
    let head = client
        .head_manifest(&team_app(), &"v2".parse().unwrap())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(head.media_type, MediaType::OCI_MANIFEST);
    universe.finish().await;
}

#[tokio::test]
async fn a_manifest_of_four_mebibytes_is_taken_and_a_larger_one_is_not() {
    let universe = Universe::start().await;
    let client = universe.client();
    let config = empty_config(&client).await;
    let of_size = |size: usize| {
        let frame = json!({"schemaVersion": 2, "config": config, "layers": [], "annotations": {"padding": ""}}).to_string();
        frame.replace(
            "\"padding\":\"\"",
            &format!("\"padding\":\"{}\"", "x".repeat(size - frame.len())),
        )
    };
    let limit = 4 * 1024 * 1024;
    let largest = of_size(limit);
    assert_eq!(largest.len(), limit);
    put(&client, "large", OCI_MANIFEST, largest.clone())
        .await
        .expect(201);
    let pulled = call("GET", "/v2/team/app/manifests/large")
        .send(&client)
        .await
        .expect(200);
    assert_eq!(pulled.body, largest);
    put(&client, "larger", OCI_MANIFEST, of_size(limit + 1))
        .await
        .refused(413, "SIZE_INVALID");
    universe.finish().await;
}

#[tokio::test]
async fn the_limit_of_manifests_can_be_set() {
    let universe = UniverseOptions::default()
        .key("ROADSTEAD_MANIFEST_SIZE_LIMIT", "64K")
        .start()
        .await;
    let client = universe.client();
    let padded = format!(
        "{{\"schemaVersion\":2,\"manifests\":[]{}}}",
        " ".repeat(65_536)
    );
    put(&client, "v1", OCI_INDEX, padded)
        .await
        .refused(413, "SIZE_INVALID");
    universe.finish().await;
}

#[tokio::test]
async fn an_index_of_a_million_entries_is_refused_before_it_costs_anything() {
    let universe = UniverseOptions::default()
        .key("ROADSTEAD_MANIFEST_SIZE_LIMIT", "64M")
        .start()
        .await;
    let client = universe.client();
    let entry = r#"{"mediaType":"a/b","digest":"","size":1},"#;
    let index = format!(
        "{{\"schemaVersion\":2,\"manifests\":[{}]}}",
        entry.repeat(1_000_000).trim_end_matches(',')
    );
    put(&client, "million", OCI_INDEX, index)
        .await
        .refused(400, "MANIFEST_INVALID");
    universe.finish().await;
}
