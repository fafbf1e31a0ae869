//! Blobs: whole, in ranges, on conditions, and deleted.

use http::StatusCode;

use super::world::{APP, World, image, sha256, sha512};

const CONTENT: &[u8] = b"0123456789";

#[tokio::test]
async fn a_blob_is_described_by_head_and_delivered_by_get() {
    let world = World::new().await;
    let digest = world.push_blob(CONTENT).await;
    let path = format!("/v2/{APP}/blobs/{digest}");
    for method in ["HEAD", "GET"] {
        let answer = world.request(method, &path).send().await;
        assert_eq!(answer.status, StatusCode::OK);
        for (name, value) in [
            ("docker-content-digest", digest.as_str()),
            ("content-length", "10"),
            ("content-type", "application/octet-stream"),
            ("accept-ranges", "bytes"),
            ("etag", &format!("\"{digest}\"")),
            ("cache-control", "private, max-age=31536000, immutable"),
            ("docker-distribution-api-version", "registry/2.0"),
        ] {
            assert_eq!(answer.header(name), value, "{method}: {name}");
        }
        assert_eq!(answer.body, if method == "GET" { CONTENT } else { b"" });
    }
    let encoded = world
        .get(&format!(
            "/v2/{APP}/blobs/{}",
            digest.as_str().replace(':', "%3A")
        ))
        .await;
    assert_eq!(encoded.body, CONTENT);
}

#[tokio::test]
async fn blobs_without_bytes_and_blobs_of_many_pieces_are_delivered_whole() {
    let world = World::new().await;
    let large: Vec<u8> = (0..20_000_u32).flat_map(u32::to_le_bytes).collect();
    for content in [&b""[..], b"{}", &large] {
        let digest = world.push_blob(content).await;
        let answer = world.get(&format!("/v2/{APP}/blobs/{digest}")).await;
        assert_eq!((answer.status, &*answer.body), (StatusCode::OK, content));
        assert_eq!(answer.header("content-length"), content.len().to_string());
        let head = world.head(&format!("/v2/{APP}/blobs/{digest}")).await;
        assert_eq!(head.header("content-length"), content.len().to_string());
    }
}

#[tokio::test]
async fn a_range_gives_its_bytes_or_416() {
    let world = World::new().await;
    let digest = world.push_blob(CONTENT).await;
    let path = format!("/v2/{APP}/blobs/{digest}");
    for (range, body, content_range) in [
        ("bytes=2-5", "2345", "bytes 2-5/10"),
        ("bytes=7-", "789", "bytes 7-9/10"),
        ("bytes=-3", "789", "bytes 7-9/10"),
        ("bytes=8-500", "89", "bytes 8-9/10"),
        ("bytes=0-0", "0", "bytes 0-0/10"),
    ] {
        let answer = world
            .request("GET", &path)
            .with("range", range)
            .send()
            .await;
        assert_eq!(answer.status, StatusCode::PARTIAL_CONTENT, "{range}");
        assert_eq!(
            (&*answer.body, answer.header("content-range")),
            (body.as_bytes(), content_range),
            "{range}"
        );
        assert_eq!(
            answer.header("content-length"),
            body.len().to_string(),
            "{range}"
        );
        assert_eq!(answer.header("docker-content-digest"), digest.as_str());
    }
    for range in [
        "bytes=10-",
        "bytes=5-2",
        "bytes=500-600",
        "bytes=-0",
        "bytes=x-y",
    ] {
        let answer = world
            .request("GET", &path)
            .with("range", range)
            .send()
            .await;
        assert_eq!(answer.error(), (416, "RANGE_INVALID".to_owned()), "{range}");
        assert_eq!(answer.header("content-range"), "bytes */10", "{range}");
    }
    for range in ["bytes=0-1,4-5", "lines=0-1", "garbage"] {
        let answer = world
            .request("GET", &path)
            .with("range", range)
            .send()
            .await;
        assert_eq!(
            (answer.status, &*answer.body),
            (StatusCode::OK, CONTENT),
            "{range}"
        );
    }
    let head = world
        .request("HEAD", &path)
        .with("range", "bytes=2-5")
        .send()
        .await;
    assert_eq!(
        (head.status, head.header("content-length")),
        (StatusCode::OK, "10")
    );
}

#[tokio::test]
async fn conditions_decide_whether_a_blob_or_manifest_is_sent() {
    let world = World::new().await;
    let blob = world.push_blob(CONTENT).await;
    let manifest = world.push_image("v1").await;
    for (path, digest) in [
        (format!("/v2/{APP}/blobs/{blob}"), &blob),
        (format!("/v2/{APP}/manifests/v1"), &manifest),
        (format!("/v2/{APP}/manifests/{manifest}"), &manifest),
    ] {
        let (same, other) = (format!("\"{digest}\""), "\"sha256:0\"");
        for (name, value, expected) in [
            ("if-none-match", &*same, 304),
            ("if-none-match", "*", 304),
            ("if-none-match", other, 200),
            ("if-match", &*same, 200),
            ("if-match", other, 412),
        ] {
            for method in ["GET", "HEAD"] {
                let answer = world.request(method, &path).with(name, value).send().await;
                assert_eq!(answer.status, expected, "{method} {path} {name}: {value}");
                if expected == 304 {
                    assert!(answer.body.is_empty());
                    assert_eq!(answer.header("etag"), same);
                    assert_eq!(answer.header("docker-content-digest"), digest.as_str());
                }
            }
        }
    }
    let path = format!("/v2/{APP}/blobs/{blob}");
    for (if_range, expected) in [(format!("\"{blob}\""), 206), ("\"other\"".to_owned(), 200)] {
        let call = world
            .request("GET", &path)
            .with("range", "bytes=0-1")
            .with("if-range", &if_range);
        assert_eq!(call.send().await.status, expected, "{if_range}");
    }
}

#[tokio::test]
async fn what_is_not_there_is_404_and_a_deleted_blob_is_gone_at_once() {
    let world = World::new().await;
    let digest = world.push_blob(CONTENT).await;
    let path = format!("/v2/{APP}/blobs/{digest}");
    assert_eq!(
        world.request("DELETE", &path).send().await.status,
        StatusCode::ACCEPTED
    );
    for method in ["GET", "DELETE"] {
        assert_eq!(
            world.request(method, &path).send().await.error(),
            (404, "BLOB_UNKNOWN".to_owned()),
            "{method}"
        );
    }
    let head = world.head(&path).await;
    assert_eq!((head.status, head.body.len()), (StatusCode::NOT_FOUND, 0));
    assert_ne!(head.header("content-length"), "0");
    let path = format!("/v2/{APP}/blobs/{}", sha512(b"never pushed"));
    assert_eq!(
        world.get(&path).await.error(),
        (404, "BLOB_UNKNOWN".to_owned())
    );
}

#[tokio::test]
async fn a_blob_that_a_manifest_needs_is_not_deleted() {
    let world = World::new().await;
    let manifest = world.push_image("v1").await;
    let layer = sha256(b"v1");
    let path = format!("/v2/{APP}/blobs/{layer}");
    let refused = world.request("DELETE", &path).send().await;
    assert_eq!(refused.error(), (409, "DENIED".to_owned()));
    assert_eq!(
        refused.json()["errors"][0]["detail"]["manifests"][0],
        manifest.as_str()
    );
    let gone = world
        .request("DELETE", &format!("/v2/{APP}/manifests/{manifest}"))
        .send()
        .await;
    assert_eq!(gone.status, StatusCode::ACCEPTED);
    assert_eq!(
        world.request("DELETE", &path).send().await.status,
        StatusCode::ACCEPTED
    );
}

#[tokio::test]
async fn content_is_named_in_the_algorithm_that_it_was_asked_for_by() {
    let world = World::new().await;
    let layer = sha512(b"layer");
    let path = format!("/v2/{APP}/blobs/uploads/?digest={layer}");
    let pushed = world.request("POST", &path).body("layer").await;
    assert_eq!(
        (pushed.status, pushed.header("docker-content-digest")),
        (StatusCode::CREATED, layer.as_str())
    );
    let pulled = world.get(pushed.header("location")).await;
    assert_eq!(
        (&*pulled.body, pulled.header("docker-content-digest")),
        (&b"layer"[..], layer.as_str())
    );

    world.push_blob(b"{}").await;
    let manifest = image(&[], "");
    let digest = sha512(manifest.as_bytes());
    let pushed = world.push_manifest(digest.as_str(), &manifest).await;
    assert_eq!(
        (pushed.status, pushed.header("docker-content-digest")),
        (StatusCode::CREATED, digest.as_str())
    );
    let pulled = world.get(pushed.header("location")).await;
    assert_eq!(
        (&*pulled.body, pulled.header("docker-content-digest")),
        (manifest.as_bytes(), digest.as_str())
    );
}
