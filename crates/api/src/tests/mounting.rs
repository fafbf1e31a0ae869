//! Blobs that are mounted from other repositories.

use http::StatusCode;

use super::world::{APP, Answer, OTHER, World, sha256};

async fn mount(world: &World, token: &str, query: &str) -> Answer {
    let path = format!("/v2/{OTHER}/blobs/uploads/?{query}");
    world
        .request("POST", &path)
        .anonymously()
        .with("authorization", &format!("Bearer {token}"))
        .send()
        .await
}

fn assert_mounted(answer: &Answer, content: &[u8]) {
    let digest = sha256(content);
    assert_eq!(answer.status, StatusCode::CREATED, "{answer:?}");
    assert_eq!(
        answer.header("location"),
        format!("/v2/{OTHER}/blobs/{digest}")
    );
    assert_eq!(answer.header("docker-content-digest"), digest.as_str());
}

#[tokio::test]
async fn a_blob_is_mounted_from_a_named_repository_or_from_anywhere() {
    let world = World::new().await;
    let digest = world.push_blob(b"layer").await;
    let away = format!("/v2/{OTHER}/blobs/{digest}");
    for query in [
        format!("mount={digest}&from={APP}"),
        format!("mount={digest}"),
        format!("mount={digest}&from=acme%2Fapp"),
    ] {
        assert_mounted(&mount(&world, &world.token, &query).await, b"layer");
        assert_eq!(world.get(&away).await.body, &b"layer"[..]);
        assert_eq!(
            world.request("DELETE", &away).send().await.status,
            StatusCode::ACCEPTED
        );
    }
    assert_eq!(
        world.get(&format!("/v2/{APP}/blobs/{digest}")).await.status,
        StatusCode::OK
    );
}

#[tokio::test]
async fn what_cannot_be_mounted_begins_an_upload() {
    let world = World::new().await;
    let scopes = [
        &*format!("repository:{OTHER}:pull,push"),
        "repository:acme/app:pull",
        "repository:acme/missing:pull",
    ];
    let token = world.fetch_token(&scopes).await;
    for from in [
        "",
        "&from=acme/app",
        "&from=acme/other",
        "&from=acme/missing",
        "&from=",
    ] {
        let content = format!("not there yet {from}");
        let digest = sha256(content.as_bytes());
        let answer = mount(&world, &token, &format!("mount={digest}{from}")).await;
        assert_eq!(answer.status, StatusCode::ACCEPTED, "{from}");
        let put = world
            .request(
                "PUT",
                &format!("{}?digest={digest}", answer.header("location")),
            )
            .body(content)
            .await;
        assert_eq!(put.status, StatusCode::CREATED, "{from}");
    }
}

#[tokio::test]
async fn a_mount_with_parameters_that_are_not_names_is_refused() {
    let world = World::new().await;
    let digest = sha256(b"layer");
    for (query, code) in [
        ("mount=nonsense".to_owned(), "DIGEST_INVALID"),
        (
            "mount=sha256:short&from=acme/app".to_owned(),
            "DIGEST_INVALID",
        ),
        (format!("mount={digest}&from=Acme/App"), "NAME_INVALID"),
        (format!("mount={digest}&from=../etc"), "NAME_INVALID"),
        (format!("mount={digest}&from=%ff"), "NAME_INVALID"),
    ] {
        assert_eq!(
            mount(&world, &world.token, &query).await.error(),
            (400, code.to_owned()),
            "{query}"
        );
    }
}

#[tokio::test]
async fn a_token_that_says_nothing_of_the_source_is_answered_with_a_challenge_for_both() {
    let world = World::new().await;
    let digest = world.push_blob(b"layer").await;
    let narrow = world
        .fetch_token(&[&format!("repository:{OTHER}:pull,push")])
        .await;
    let query = format!("mount={digest}&from={APP}");
    let refused = mount(&world, &narrow, &query).await;
    assert_eq!(refused.error(), (401, "UNAUTHORIZED".to_owned()));
    let scope = format!("repository:{OTHER}:pull,push repository:{APP}:pull");
    assert!(
        refused
            .header("www-authenticate")
            .contains(&format!(",scope=\"{scope}\"")),
        "{refused:?}"
    );
    let wide = world.fetch_token(&[&scope.replace(' ', "+")]).await;
    assert_mounted(&mount(&world, &wide, &query).await, b"layer");
}
