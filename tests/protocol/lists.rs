//! Lists: tags and the catalog, in order and page by page.

use roadstead_oci::RepositoryName;
use roadstead_testkit::{ImageKind, TestImage, Universe};

use crate::call::{call, push_blob};

/// Tags in byte order: digits, capitals, underscore, small letters.
const TAGS: [&str; 7] = ["0", "10", "2", "A", "Z", "_", "a"];

async fn with_tags(universe: &Universe) -> RepositoryName {
    let client = universe.client();
    let repository: RepositoryName = "team/app".parse().unwrap();
    let image = TestImage::new(1, ImageKind::Oci, &[10]);
    image.push_blobs(&client, &repository).await.unwrap();
    for tag in ["a", "Z", "10", "_", "2", "A", "0"] {
        image
            .push_manifest(&client, &repository, &tag.parse().unwrap())
            .await
            .unwrap();
    }
    repository
}

#[tokio::test]
async fn tags_are_listed_byte_by_byte_whole_or_in_pages() {
    let universe = Universe::start().await;
    let repository = with_tags(&universe).await;
    let client = universe.client();
    let reply = call("GET", "/v2/team/app/tags/list")
        .send(&client)
        .await
        .expect(200);
    assert_eq!(
        reply.json(),
        serde_json::json!({"name": "team/app", "tags": TAGS})
    );
    assert_eq!(client.tags(&repository).await.unwrap(), TAGS);
    for size in 1..=8 {
        // Whoever follows the links meets every tag once.
        let mut met = Vec::new();
        let mut path = format!("/v2/team/app/tags/list?n={size}");
        loop {
            let reply = call("GET", &path).send(&client).await.expect(200);
            let page = reply.json()["tags"].as_array().unwrap().clone();
            assert!(page.len() <= size, "{path}");
            met.extend(page.into_iter().map(|tag| tag.as_str().unwrap().to_owned()));
            let link = reply.header("link");
            if link.is_empty() {
                break;
            }
            let (target, relation) = link.strip_prefix('<').unwrap().split_once('>').unwrap();
            assert_eq!(relation, "; rel=\"next\"");
            let target: http::Uri = target.parse().unwrap();
            path = target.path_and_query().unwrap().to_string();
            assert!(met.len() < 100, "the links go round in circles");
        }
        assert_eq!(met, TAGS, "pages of {size}");
    }
    universe.finish().await;
}

#[tokio::test]
async fn a_page_begins_behind_last_whether_or_not_that_exists() {
    let universe = Universe::start().await;
    with_tags(&universe).await;
    let client = universe.client();
    for (query, expected) in [
        ("last=2", &TAGS[3..]),
        ("last=1", &TAGS[1..]),
        ("last=2&n=2", &TAGS[3..5]),
        ("last=zzz", &[]),
        ("last=a", &[]),
        ("last=%5F", &TAGS[6..]),
        ("last=", &TAGS[..]),
        ("n=1000000000000", &TAGS[..]),
        ("n=7", &TAGS[..]),
        ("n=0", &[]),
        ("last=%E2%82%AC", &[]),
    ] {
        let reply = call("GET", format!("/v2/team/app/tags/list?{query}"))
            .send(&client)
            .await
            .expect(200);
        assert_eq!(reply.json()["tags"], serde_json::json!(expected), "{query}");
    }
    universe.finish().await;
}

#[tokio::test]
async fn a_number_of_results_that_is_none_is_refused() {
    let universe = Universe::start().await;
    with_tags(&universe).await;
    let client = universe.client();
    for list in ["/v2/team/app/tags/list", "/v2/_catalog"] {
        for number in [
            "-1",
            "x",
            "1.5",
            "0x10",
            "%00",
            "1e3",
            "99999999999999999999999999",
        ] {
            let reply = call("GET", format!("{list}?n={number}"))
                .send(&client)
                .await;
            if number.starts_with("999") && reply.status == 200 {
                // A number of any size is one; the page is as long as pages are.
                continue;
            }
            reply.refused(400, "PAGINATION_NUMBER_INVALID");
        }
    }
    universe.finish().await;
}

#[tokio::test]
async fn a_repository_without_tags_has_an_empty_list_and_one_that_is_not_there_has_none() {
    let universe = Universe::start().await;
    let client = universe.client();
    push_blob(&client, "team/empty", b"x").await;
    let reply = call("GET", "/v2/team/empty/tags/list")
        .send(&client)
        .await
        .expect(200);
    assert_eq!(reply.json()["tags"], serde_json::json!([]));
    let reply = call("GET", "/v2/elsewhere/nothing/tags/list")
        .send(&client)
        .await;
    // Asking for a token to push makes the repository, in Quay's way.
    assert!(
        reply.status == 404 || reply.json()["tags"] == serde_json::json!([]),
        "{reply:?}"
    );
    universe.finish().await;
}

#[tokio::test]
async fn the_catalog_lists_repositories_page_by_page() {
    let universe = Universe::start().await;
    let client = universe.client();
    let mut names: Vec<String> = (0..7).map(|number| format!("team/app-{number}")).collect();
    names.push("other/app".to_owned());
    for name in &names {
        push_blob(&client, name, b"x").await;
    }
    names.sort();
    let mut listed = client.catalog().await.unwrap();
    listed.sort();
    assert_eq!(listed, names);
    let reply = call("GET", "/v2/_catalog?n=3")
        .send(&client)
        .await
        .expect(200);
    assert_eq!(reply.json()["repositories"].as_array().unwrap().len(), 3);
    assert!(reply.header("link").contains("rel=\"next\""), "{reply:?}");
    universe.finish().await;
}
