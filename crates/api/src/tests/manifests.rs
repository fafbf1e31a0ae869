//! Manifests: pushed, pulled, refused and deleted.

use std::time::Duration;

use http::StatusCode;
use http_body_util::StreamBody;
use roadstead_metadata::MinLocations;
use roadstead_runtime::{Clock as _, SystemClock};

use super::world::{APP, World, descriptor, image, index, sha256};
use roadstead_oci::{Digest, MediaType};

const OCI: &str = "application/vnd.oci.image.manifest.v1+json";
const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";

#[tokio::test]
async fn a_manifest_comes_back_as_it_was_pushed_by_tag_and_by_digest() {
    let world = World::new().await;
    world.push_blob(b"{}").await;
    world.push_blob(b"layer").await;
    // Spaces and members that nobody knows are part of the bytes.
    let manifest = image(&[b"layer"], ",  \"unknown\" : [1, 2]");
    let digest = sha256(manifest.as_bytes());
    for reference in ["v1", digest.as_str()] {
        let pushed = world.push_manifest(reference, &manifest).await;
        assert_eq!(pushed.status, StatusCode::CREATED, "{pushed:?}");
        assert_eq!(pushed.header("docker-content-digest"), digest.as_str());
        assert_eq!(
            pushed.header("location"),
            format!("/v2/{APP}/manifests/{digest}")
        );
        assert_eq!(
            (pushed.header("oci-subject"), pushed.header("oci-tag")),
            ("", "")
        );
        for path in [
            format!("/v2/{APP}/manifests/{reference}"),
            pushed.header("location").to_owned(),
        ] {
            for method in ["GET", "HEAD"] {
                let answer = world.request(method, &path).send().await;
                assert_eq!(answer.status, StatusCode::OK);
                assert_eq!(answer.header("content-type"), OCI);
                assert_eq!(answer.header("content-length"), manifest.len().to_string());
                assert_eq!(answer.header("docker-content-digest"), digest.as_str());
                assert_eq!(answer.header("etag"), format!("\"{digest}\""));
                assert_eq!(answer.header("cache-control"), "private, no-cache");
                assert_eq!(
                    answer.body,
                    if method == "GET" {
                        manifest.as_bytes()
                    } else {
                        b""
                    }
                );
            }
        }
    }
}

#[tokio::test]
async fn a_manifest_is_answered_in_its_own_type_whatever_is_accepted() {
    let world = World::new().await;
    world.push_image("v1").await;
    let path = format!("/v2/{APP}/manifests/v1");
    for accept in [
        OCI,
        "*/*",
        "application/*",
        "application/vnd.docker.distribution.manifest.v2+json",
        "application/vnd.docker.distribution.manifest.v1+json, application/json;q=0.5",
        "text/html;q=0",
        "not a list of types",
    ] {
        let answer = world
            .request("GET", &path)
            .with("accept", accept)
            .send()
            .await;
        assert_eq!(
            (answer.status, answer.header("content-type")),
            (StatusCode::OK, OCI),
            "{accept}"
        );
    }
}

#[tokio::test]
async fn every_kind_of_manifest_is_taken() {
    let world = World::new().await;
    world.push_blob(b"{}").await;
    world.push_blob(b"layer").await;
    let docker = image(&[b"layer"], "").replace(OCI, MediaType::DOCKER_MANIFEST.as_str());
    let no_layers = image(&[], "");
    let child = descriptor(OCI, &sha256(no_layers.as_bytes()), no_layers.len());
    let nested = index(std::slice::from_ref(&child), "");
    let nested_child = descriptor(OCI_INDEX, &sha256(nested.as_bytes()), nested.len());
    let foreign = image(&[], "").replace(
        "\"layers\":[]",
        &format!(
            r#""layers":[{{"mediaType":"application/vnd.oci.image.layer.nondistributable.v1.tar","digest":"{}","size":7,"urls":["https://example.com/layer"]}}]"#,
            sha256(b"foreign")
        ),
    );
    for (name, manifest) in [
        ("docker", docker),
        ("no-layers", no_layers),
        ("index", index(std::slice::from_ref(&child), "")),
        ("empty-index", index(&[], "")),
        ("nested", nested),
        ("nested-index", index(&[nested_child, child], "")),
        ("foreign", foreign),
        (
            "artifact",
            image(&[b"layer"], r#","artifactType":"application/x.test""#),
        ),
    ] {
        let pushed = world.push_manifest(name, &manifest).await;
        assert_eq!(pushed.status, StatusCode::CREATED, "{name}: {pushed:?}");
        let pulled = world.get(&format!("/v2/{APP}/manifests/{name}")).await;
        assert_eq!(pulled.body, manifest.as_bytes(), "{name}");
    }
}

#[tokio::test]
async fn a_content_type_may_have_parameters_or_be_missing() {
    let world = World::new().await;
    world.push_blob(b"{}").await;
    let manifest = image(&[], "");
    let untyped = manifest.replace(&format!("\"mediaType\":\"{OCI}\",\"config\""), "\"config\"");
    for (content_type, content) in [
        (Some(format!("{OCI}; charset=utf-8")), &manifest),
        (Some("application/json".to_owned()), &manifest),
        (None, &manifest),
        (Some(OCI.to_owned()), &untyped),
        (None, &untyped),
    ] {
        let mut call = world.request("PUT", &format!("/v2/{APP}/manifests/v1"));
        if let Some(content_type) = &content_type {
            call = call.with("content-type", content_type);
        }
        let pushed = call.body(content.clone()).await;
        assert_eq!(
            pushed.status,
            StatusCode::CREATED,
            "{content_type:?}: {pushed:?}"
        );
        assert_eq!(
            world
                .get(&format!("/v2/{APP}/manifests/v1"))
                .await
                .header("content-type"),
            OCI
        );
    }
}

#[tokio::test]
async fn bad_manifests_are_refused_and_nothing_is_stored() {
    let world = World::new().await;
    world.push_blob(b"{}").await;
    let good = image(&[], "");
    let deep = format!(
        "{{\"schemaVersion\":2,\"x\":{}{}}}",
        "[".repeat(100_000),
        "]".repeat(100_000)
    );
    let schema1 = r#"{"schemaVersion":1,"name":"a","tag":"b","architecture":"amd64","fsLayers":[],"history":[],"signatures":[]}"#;
    let cases: Vec<(&str, &str, String, u16, &str)> = vec![
        ("v1", OCI, "not JSON".to_owned(), 400, "MANIFEST_INVALID"),
        ("v1", OCI, String::new(), 400, "MANIFEST_INVALID"),
        ("v1", OCI, "[]".to_owned(), 400, "MANIFEST_INVALID"),
        ("v1", OCI, "{}".to_owned(), 400, "MANIFEST_INVALID"),
        ("v1", OCI, "\u{0}".to_owned(), 400, "MANIFEST_INVALID"),
        (
            "v1",
            OCI,
            image(&[], ",\"manifests\":[]"),
            400,
            "MANIFEST_INVALID",
        ),
        ("v1", OCI_INDEX, good.clone(), 400, "MANIFEST_INVALID"),
        ("v1", "text/plain", good.clone(), 400, "MANIFEST_INVALID"),
        ("v1", "garbage", good.clone(), 400, "MANIFEST_INVALID"),
        (
            "v1",
            "application/vnd.docker.distribution.manifest.v1+prettyjws",
            schema1.to_owned(),
            400,
            "MANIFEST_INVALID",
        ),
        ("v1", OCI, deep, 400, "MANIFEST_INVALID"),
        (
            "v1",
            OCI,
            image(&[b"never pushed"], ""),
            404,
            "MANIFEST_BLOB_UNKNOWN",
        ),
        (
            "v1",
            OCI_INDEX,
            index(&[descriptor(OCI, &sha256(b"never pushed"), 7)], ""),
            404,
            "MANIFEST_BLOB_UNKNOWN",
        ),
        (
            sha256(b"other").as_str(),
            OCI,
            good.clone(),
            400,
            "DIGEST_INVALID",
        ),
        (
            "sha256:baddigeststring",
            OCI,
            good.clone(),
            400,
            "DIGEST_INVALID",
        ),
        (
            "md5:d41d8cd98f00b204e9800998ecf8427e",
            OCI,
            good.clone(),
            400,
            "DIGEST_INVALID",
        ),
        ("-v1", OCI, good.clone(), 400, "TAG_INVALID"),
        ("v1?tag=-bad", OCI, good.clone(), 400, "TAG_INVALID"),
        ("v1?tag=%ff", OCI, good.clone(), 400, "TAG_INVALID"),
    ]
    .into_iter()
    .map(|(reference, content_type, content, status, code)| {
        (
            Box::leak(reference.to_owned().into_boxed_str()) as &str,
            content_type,
            content,
            status,
            code,
        )
    })
    .collect();
    for (reference, content_type, content, status, code) in cases {
        let path = format!("/v2/{APP}/manifests/{reference}");
        let answer = world
            .request("PUT", &path)
            .with("content-type", content_type)
            .body(content.clone())
            .await;
        let shown = content.get(..100).unwrap_or(&content);
        assert_eq!(
            answer.error(),
            (status, code.to_owned()),
            "{reference} {content_type} {shown}"
        );
        assert!(answer.body.len() < 2000);
    }
    let tags = world.get(&format!("/v2/{APP}/tags/list")).await;
    assert_eq!(tags.json()["tags"].as_array().map(Vec::len), Some(0));
}

#[tokio::test]
async fn the_blobs_that_are_missing_are_named() {
    let world = World::new().await;
    let refused = world
        .push_manifest("v1", &image(&[b"one", b"two"], ""))
        .await;
    let errors = refused.json()["errors"]
        .as_array()
        .cloned()
        .expect("a list");
    let missing: Vec<_> = errors
        .iter()
        .map(|error| {
            error["detail"]["digest"]
                .as_str()
                .expect("a digest")
                .to_owned()
        })
        .collect();
    for content in [&b"{}"[..], b"one", b"two"] {
        assert!(missing.contains(&sha256(content).to_string()));
    }
    assert!(
        errors
            .iter()
            .all(|error| error["code"] == "MANIFEST_BLOB_UNKNOWN")
    );
}

#[tokio::test]
async fn manifests_up_to_the_limit_are_taken_and_larger_ones_are_413() {
    let world = World::new().await;
    world.push_blob(b"{}").await;
    let padded = |length: usize| {
        let short = image(&[], ",\"padding\":\"\"");
        image(
            &[],
            &format!(",\"padding\":\"{}\"", "x".repeat(length - short.len())),
        )
    };
    const LIMIT: usize = 4 << 20;
    let largest = world.push_manifest("v1", &padded(LIMIT)).await;
    assert_eq!(largest.status, StatusCode::CREATED);
    let larger = padded(LIMIT + 1);
    let refused = world.push_manifest("v1", &larger).await;
    assert_eq!(refused.error(), (413, "SIZE_INVALID".to_owned()));
    // Without a length it is noticed on the way.
    let pieces = larger
        .as_bytes()
        .chunks(64 << 10)
        .map(bytes::Bytes::copy_from_slice)
        .collect::<Vec<_>>();
    let pieces = pieces
        .into_iter()
        .map(|piece| Ok::<_, std::io::Error>(http_body::Frame::data(piece)));
    let body = StreamBody::new(futures_util::stream::iter(pieces));
    let refused = world
        .request("PUT", &format!("/v2/{APP}/manifests/v1"))
        .stream(body)
        .await;
    assert_eq!(refused.error(), (413, "SIZE_INVALID".to_owned()));
    // An announced length decides alone: nothing of such a body is read.
    let endless = StreamBody::new(futures_util::stream::pending::<
        Result<http_body::Frame<bytes::Bytes>, std::io::Error>,
    >());
    let call = world
        .request("PUT", &format!("/v2/{APP}/manifests/v1"))
        .with("content-length", "99999999999999");
    assert_eq!(
        call.stream(endless).await.error(),
        (413, "SIZE_INVALID".to_owned())
    );
    let million = index(&vec![descriptor(OCI, &sha256(b"x"), 1); 1_000_000], "");
    assert_eq!(world.push_manifest("v1", &million).await.error().0, 413);
}

#[tokio::test]
async fn a_length_that_lies_is_refused() {
    let world = World::new().await;
    world.push_blob(b"{}").await;
    for length in ["1", "100000"] {
        let call = world
            .request("PUT", &format!("/v2/{APP}/manifests/v1"))
            .with("content-length", length);
        assert_eq!(
            call.body(image(&[], "")).await.error(),
            (400, "SIZE_INVALID".to_owned()),
            "{length}"
        );
    }
}

/// So many different tags as query parameters.
fn many_tags(number: u32) -> String {
    let tags: Vec<_> = (0..number).map(|number| format!("tag=t{number}")).collect();
    tags.join("&")
}

#[tokio::test]
async fn a_push_by_digest_sets_the_tags_that_come_with_it() {
    let world = World::new().await;
    world.push_blob(b"{}").await;
    let manifest = image(&[], "");
    let digest = sha256(manifest.as_bytes());
    let pushed = world
        .push_manifest(
            &format!("{digest}?tag=1.2.3&tag=1.2&tag=1&tag=latest"),
            &manifest,
        )
        .await;
    assert_eq!(pushed.status, StatusCode::CREATED, "{pushed:?}");
    let mut set: Vec<_> = pushed
        .headers
        .get_all("oci-tag")
        .iter()
        .map(|tag| tag.to_str().expect("text"))
        .collect();
    set.sort_unstable();
    assert_eq!(set, ["1", "1.2", "1.2.3", "latest"]);
    for tag in set {
        let pulled = world.head(&format!("/v2/{APP}/manifests/{tag}")).await;
        assert_eq!(
            pulled.header("docker-content-digest"),
            digest.as_str(),
            "{tag}"
        );
    }
    let many = many_tags(101);
    let refused = world
        .push_manifest(&format!("{digest}?{many}"), &manifest)
        .await;
    assert_eq!(refused.status, StatusCode::URI_TOO_LONG);
    let too_many = many_tags(1000);
    assert_eq!(
        world
            .push_manifest(&format!("{digest}?{too_many}"), &manifest)
            .await
            .status,
        StatusCode::URI_TOO_LONG
    );
}

#[tokio::test]
async fn a_subject_is_acknowledged_and_need_not_exist() {
    let world = World::new().await;
    world.push_blob(b"{}").await;
    let subject: Digest = sha256(b"to be pushed later");
    let manifest = image(
        &[],
        &format!(",\"subject\":{}", descriptor(OCI, &subject, 7)),
    );
    let pushed = world
        .push_manifest(sha256(manifest.as_bytes()).as_str(), &manifest)
        .await;
    assert_eq!(
        (pushed.status, pushed.header("oci-subject")),
        (StatusCode::CREATED, subject.as_str())
    );
}

#[tokio::test]
async fn deleted_tags_and_manifests_are_gone_at_once() {
    let world = World::new().await;
    let digest = world.push_image("v1").await;
    assert_eq!(
        world.push_manifest("v2", &image(&[b"v1"], "")).await.status,
        StatusCode::CREATED
    );
    let (by_tag, by_digest) = (
        format!("/v2/{APP}/manifests/v1"),
        format!("/v2/{APP}/manifests/{digest}"),
    );
    assert_eq!(
        world.request("DELETE", &by_tag).send().await.status,
        StatusCode::ACCEPTED
    );
    // As in Quay: the tag was there, and an owner may bring it back.
    assert_eq!(
        world.get(&by_tag).await.error(),
        (404, "TAG_EXPIRED".to_owned())
    );
    assert_eq!(world.get(&by_digest).await.status, StatusCode::OK);
    assert_eq!(
        world.request("DELETE", &by_digest).send().await.status,
        StatusCode::ACCEPTED
    );
    for path in [&by_tag, &by_digest, &format!("/v2/{APP}/manifests/v2")] {
        assert_eq!(world.head(path).await.status, StatusCode::NOT_FOUND);
        assert_eq!(
            world.request("DELETE", path).send().await.error(),
            (404, "MANIFEST_UNKNOWN".to_owned())
        );
    }
    assert_eq!(
        world.get(&format!("/v2/{APP}/tags/list")).await.json()["tags"],
        serde_json::json!([])
    );
}

#[tokio::test]
async fn a_push_that_waits_in_vain_is_told_how_far_it_is_and_may_come_back() {
    let world = World::new().await;
    world.push_blob(b"{}").await;
    let namespace = world.database.find_namespace("acme").await.unwrap();
    let min = MinLocations {
        locations: 2,
        deadline: Duration::from_secs(3),
    };
    world
        .database
        .set_min_locations(namespace.unwrap(), Some(min))
        .await
        .unwrap();
    let manifest = image(&[], "");
    for _ in 0..2 {
        let mut push = Box::pin(world.push_manifest("v1", &manifest));
        let answer = loop {
            tokio::select! {
                answer = &mut push => break answer,
                () = SystemClock.sleep(Duration::from_millis(5)) => world.clock.advance(Duration::from_millis(50)),
            }
        };
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(answer.header("retry-after"), "10");
        let body: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
        let error = &body["errors"][0];
        assert_eq!(error["code"], "UNAVAILABLE");
        let message = error["message"].as_str().unwrap();
        assert!(
            message.ends_with(
                "is stored, but 1 of its 1 blobs are in fewer than 2 locations after 3 s: `eu` still lacks 1; copying goes on: push it \
                 again to wait on"
            ),
            "{message}"
        );
        assert_eq!(
            error["detail"],
            serde_json::json!({
                "digest": sha256(manifest.as_bytes()).as_str(),
                "stored": true,
                "locations_demanded": 2,
                "blobs": 1,
                "blobs_in_too_few_locations": 1,
                "lacking": [{"location": "eu", "blobs": 1, "failing": 0}],
            })
        );
        // It is there all the same.
        let pulled = world.get(&format!("/v2/{APP}/manifests/v1")).await;
        assert_eq!(pulled.body, manifest.as_bytes());
    }
}
