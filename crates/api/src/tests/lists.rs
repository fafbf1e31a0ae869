//! Tags, the catalog and referrers: order, pages and filters.

use http::StatusCode;
use serde_json::json;

use super::world::{APP, Answer, OTHER, World, descriptor, image, sha256};

const OCI: &str = "application/vnd.oci.image.manifest.v1+json";

/// The URL of the next page.
fn next(answer: &Answer) -> Option<String> {
    let link = answer.header("link");
    let url = link.strip_prefix('<')?.strip_suffix(">; rel=\"next\"")?;
    Some(url.to_owned())
}

async fn world_with_tags(tags: &[&str]) -> World {
    let world = World::new().await;
    world.push_blob(b"{}").await;
    for tag in tags {
        assert_eq!(
            world.push_manifest(tag, &image(&[], "")).await.status,
            StatusCode::CREATED
        );
    }
    world
}

#[tokio::test]
async fn tags_are_listed_in_byte_order_and_page_by_page() {
    let world = world_with_tags(&["b", "a", "B", "_x", "10", "9", "a.b"]).await;
    let sorted = ["10", "9", "B", "_x", "a", "a.b", "b"];
    let path = format!("/v2/{APP}/tags/list");
    let whole = world.get(&path).await;
    assert_eq!(whole.json(), json!({ "name": APP, "tags": sorted }));
    assert_eq!(
        (whole.header("content-type"), next(&whole)),
        ("application/json", None)
    );

    let mut seen = Vec::new();
    let mut page = Some(format!("{path}?n=3"));
    while let Some(url) = page {
        let answer = world.get(&url).await;
        let tags = answer.json()["tags"].as_array().cloned().expect("tags");
        assert!(tags.len() == 3 || next(&answer).is_none());
        seen.extend(tags);
        page = next(&answer);
    }
    assert_eq!(seen, sorted);

    for (query, expected, link) in [
        ("?n=0", &[][..], None),
        ("?n=7", &sorted, None),
        ("?n=2", &["10", "9"], Some("?n=2&last=9")),
        ("?n=2&last=9", &["B", "_x"], Some("?n=2&last=_x")),
        ("?last=_x", &["a", "a.b", "b"], None),
        ("?last=AAA", &["B", "_x", "a", "a.b", "b"], None),
        ("?last=zzz", &[], None),
        ("?last=", &sorted, None),
        ("?n=1000000000000", &sorted, None),
        ("?n=99999999999999999999999", &sorted, None),
        ("?next_page=sealed-by-quay", &sorted, None),
    ] {
        let answer = world.get(&format!("{path}{query}")).await;
        assert_eq!(answer.json()["tags"], json!(expected), "{query}");
        assert_eq!(
            next(&answer),
            link.map(|link| format!("{path}{link}")),
            "{query}"
        );
    }
}

#[tokio::test]
async fn a_number_of_entries_that_is_none_is_refused_in_every_list() {
    let world = World::new().await;
    let subject = sha256(b"subject");
    for path in [
        format!("/v2/{APP}/tags/list"),
        "/v2/_catalog".to_owned(),
        format!("/v2/{APP}/referrers/{subject}"),
    ] {
        for query in [
            "n=-1", "n=abc", "n=", "n=1e3", "n=%ff", "n=%00", "last=%ff", "last=%",
        ] {
            let answer = world.get(&format!("{path}?{query}")).await;
            assert_eq!(
                answer.error(),
                (400, "PAGINATION_NUMBER_INVALID".to_owned()),
                "{path}?{query}"
            );
        }
    }
}

#[tokio::test]
async fn a_page_is_capped_by_the_registry() {
    let world = World::with(|settings| settings.distribution.page_entries_max = 2).await;
    world.push_blob(b"{}").await;
    for tag in ["a", "b", "c"] {
        world.push_manifest(tag, &image(&[], "")).await;
    }
    for query in ["", "?n=1000000000000"] {
        let answer = world.get(&format!("/v2/{APP}/tags/list{query}")).await;
        assert_eq!(answer.json()["tags"], json!(["a", "b"]));
        assert_eq!(
            next(&answer),
            Some(format!("/v2/{APP}/tags/list?n=2&last=b"))
        );
    }
}

#[tokio::test]
async fn the_catalog_lists_repositories_page_by_page() {
    let world = World::new().await;
    let whole = world.get("/v2/_catalog").await;
    assert_eq!(whole.json(), json!({ "repositories": [APP, OTHER] }));
    let first = world.get("/v2/_catalog?n=1").await;
    assert_eq!(first.json(), json!({ "repositories": [APP] }));
    assert_eq!(
        next(&first).as_deref(),
        Some("/v2/_catalog?n=1&last=acme%2Fapp")
    );
    let second = world.get(&next(&first).expect("a next page")).await;
    assert_eq!(
        (second.json(), next(&second)),
        (json!({ "repositories": [OTHER] }), None)
    );
    assert_eq!(
        world.get("/v2/_catalog?n=0").await.json(),
        json!({ "repositories": [] })
    );
}

#[tokio::test]
async fn referrers_are_listed_with_filter_and_pages_also_for_a_subject_that_does_not_exist() {
    let world = World::new().await;
    world.push_blob(b"{}").await;
    let subject = sha256(b"a manifest that is not there");
    let path = format!("/v2/{APP}/referrers/{subject}");
    let empty = world.get(&path).await;
    assert_eq!(empty.status, StatusCode::OK);
    assert_eq!(
        empty.header("content-type"),
        "application/vnd.oci.image.index.v1+json"
    );
    assert_eq!(
        empty.json(),
        json!({ "schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": [] })
    );

    let subject_member = format!(",\"subject\":{}", descriptor(OCI, &subject, 7));
    let mut expected = Vec::new();
    for (number, artifact_type) in [
        "application/x.sbom+json",
        "application/x.signature",
        "application/x.sbom+json",
    ]
    .iter()
    .enumerate()
    {
        let more = format!(
            "{subject_member},\"artifactType\":\"{artifact_type}\",\"annotations\":{{\"number\":\"{number}\"}}"
        );
        let manifest = image(&[], &more);
        let digest = sha256(manifest.as_bytes());
        assert_eq!(
            world.push_manifest(digest.as_str(), &manifest).await.status,
            StatusCode::CREATED
        );
        expected.push(json!({
            "mediaType": OCI, "digest": digest.as_str(), "size": manifest.len(),
            "artifactType": artifact_type, "annotations": { "number": number.to_string() },
        }));
    }
    // Without an artifact type the config's media type stands in.
    let plain = image(&[], &subject_member);
    let digest = sha256(plain.as_bytes());
    world.push_manifest(digest.as_str(), &plain).await;
    expected.push(json!({
        "mediaType": OCI, "digest": digest.as_str(), "size": plain.len(),
        "artifactType": "application/vnd.oci.image.config.v1+json",
    }));

    let whole = world.get(&path).await;
    assert_eq!(whole.json()["manifests"], json!(expected));
    assert_eq!(whole.header("oci-filters-applied"), "");

    for filter in ["application/x.sbom+json", "application/x.sbom%2Bjson"] {
        let filtered = world.get(&format!("{path}?artifactType={filter}")).await;
        assert_eq!(
            filtered.json()["manifests"],
            json!([expected[0], expected[2]]),
            "{filter}"
        );
        assert_eq!(filtered.header("oci-filters-applied"), "artifactType");
    }
    let none = world
        .get(&format!("{path}?artifactType=application/x.other"))
        .await;
    assert_eq!(none.json()["manifests"], json!([]));

    let mut seen = Vec::new();
    let mut page = Some(format!("{path}?n=1&artifactType=application/x.sbom%2Bjson"));
    while let Some(url) = page {
        let answer = world.get(&url).await;
        assert_eq!(answer.header("oci-filters-applied"), "artifactType");
        seen.extend(
            answer.json()["manifests"]
                .as_array()
                .cloned()
                .expect("manifests"),
        );
        page = next(&answer);
    }
    assert_eq!(seen, [expected[0].clone(), expected[2].clone()]);
    assert_eq!(
        world.get(&format!("{path}?after=x")).await.error(),
        (400, "PAGINATION_NUMBER_INVALID".to_owned())
    );
}

#[tokio::test]
async fn a_repository_that_does_not_exist_is_unknown_except_to_referrers() {
    let world = World::new().await;
    for name in ["acme/missing", "missing/missing", "missing"] {
        let token = world
            .fetch_token(&[&format!("repository:{name}:pull")])
            .await;
        let bearer = format!("Bearer {token}");
        let call = |path: String| {
            world
                .request("GET", &path)
                .anonymously()
                .with("authorization", &bearer)
                .send()
        };
        for rest in [
            "tags/list",
            "manifests/v1",
            &format!("blobs/{}", sha256(b"")),
        ] {
            let answer = call(format!("/v2/{name}/{rest}")).await;
            assert_eq!(
                answer.error(),
                (404, "NAME_UNKNOWN".to_owned()),
                "{name}/{rest}"
            );
        }
        let answer = call(format!("/v2/{name}/referrers/{}", sha256(b""))).await;
        assert_eq!(
            (answer.status, &answer.json()["manifests"]),
            (StatusCode::OK, &json!([])),
            "{name}"
        );
    }
}
