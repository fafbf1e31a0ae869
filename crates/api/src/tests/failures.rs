//! Stores that fail, limits, a registry that only reads, and two writers of one upload.

use http::StatusCode;
use roadstead_distribution::Writes;
use roadstead_storage::{Operation, StorageErrorKind};

use super::world::{APP, Answer, World, image, sha256};

#[tokio::test]
async fn what_only_an_operator_can_mend_is_503_without_a_word_about_it() {
    let world = World::new().await;
    let digest = world.push_blob(b"content").await;
    world.us.take_down();
    world.eu.take_down();
    let blob = format!("/v2/{APP}/blobs/{digest}");
    let single = format!("/v2/{APP}/blobs/uploads/?digest={}", sha256(b"new"));
    for (method, path) in [
        ("GET", blob.clone()),
        ("POST", single),
        ("POST", format!("/v2/{APP}/blobs/uploads/")),
    ] {
        let answer = world
            .request(method, &path)
            .with("x-request-id", "the-id")
            .body("new")
            .await;
        assert_eq!(
            answer.error(),
            (503, "UNAVAILABLE".to_owned()),
            "{method} {path}"
        );
        assert_eq!(answer.header("retry-after"), "10");
        assert_eq!(answer.json()["errors"][0]["detail"]["request_id"], "the-id");
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        assert!(!text.contains("/tmp") && !text.contains("root"), "{text}");
    }
    // What the database knows is still told.
    assert_eq!(world.head(&blob).await.status, StatusCode::OK);
    world.us.heal();
    world.clock.advance(std::time::Duration::from_mins(1));
    assert_eq!(world.get(&blob).await.body, &b"content"[..]);
}

#[tokio::test]
async fn a_full_disk_is_507_and_the_upload_goes_on_when_there_is_room() {
    let world = World::new().await;
    let upload = world.start_upload().await;
    assert_eq!(
        world.request("PATCH", &upload).body("01234").await.status,
        StatusCode::ACCEPTED
    );
    world
        .us
        .fail_always(Operation::Write, StorageErrorKind::Full);
    let answer = world.request("PATCH", &upload).body("56789").await;
    assert_eq!(answer.error(), (507, "UNAVAILABLE".to_owned()));
    assert_eq!(answer.header("retry-after"), "10");
    world.us.heal();
    assert_eq!(world.get(&upload).await.header("range"), "0-4");
    let digest = sha256(b"0123456789");
    let put = world
        .request("PUT", &format!("{upload}?digest={digest}"))
        .with("content-range", "5-9")
        .body("56789")
        .await;
    assert_eq!(put.status, StatusCode::CREATED);
}

#[tokio::test]
async fn a_blob_whose_bytes_are_wrong_never_arrives_whole() {
    // A small one is checked before the answer begins.
    let world = World::new().await;
    let digest = world.push_blob(&[7; 10_000]).await;
    world.us.flip_read_byte(5);
    let refused = world
        .request("GET", &format!("/v2/{APP}/blobs/{digest}"))
        .send()
        .await;
    assert_eq!(refused.status, StatusCode::INTERNAL_SERVER_ERROR);

    let world = World::with(|settings| settings.distribution.verified_bytes_max = 0).await;
    let content = vec![7; 10_000];
    let digest = world.push_blob(&content).await;
    world.us.flip_read_byte(5);
    let request = world
        .request("GET", &format!("/v2/{APP}/blobs/{digest}"))
        .build(http_body_util::Empty::new());
    let response = world.service.answer(request).await;
    assert_eq!(response.status(), StatusCode::OK);
    assert!(Answer::read(response).await.is_err());
}

#[tokio::test]
async fn a_registry_that_only_reads_refuses_changes_with_405() {
    for (writes, code) in [
        (Writes::ReadOnly, "DENIED"),
        (Writes::PushesDisabled, "UNSUPPORTED"),
    ] {
        let world = World::with(|settings| settings.distribution.writes = writes).await;
        let digest = sha256(b"");
        for (method, path) in [
            ("POST", format!("/v2/{APP}/blobs/uploads/")),
            ("POST", format!("/v2/{APP}/blobs/uploads/?digest={digest}")),
            ("DELETE", format!("/v2/{APP}/blobs/{digest}")),
            ("PUT", format!("/v2/{APP}/manifests/v1")),
            ("DELETE", format!("/v2/{APP}/manifests/v1")),
        ] {
            let body = if path.contains("manifests") {
                r#"{"schemaVersion":2,"manifests":[]}"#
            } else {
                ""
            };
            let answer = world.request(method, &path).body(body).await;
            assert_eq!(answer.error(), (405, code.to_owned()), "{method} {path}");
        }
        assert_eq!(
            world.get(&format!("/v2/{APP}/tags/list")).await.status,
            StatusCode::OK
        );
    }
}

#[tokio::test]
async fn a_blob_beyond_the_limit_is_413() {
    let world = World::with(|settings| settings.distribution.blob_bytes_max = 4).await;
    let upload = world.start_upload().await;
    let digest = sha256(b"0123456789");
    for (method, path) in [
        ("POST", format!("/v2/{APP}/blobs/uploads/?digest={digest}")),
        ("PATCH", upload.clone()),
        ("PUT", format!("{upload}?digest={digest}")),
    ] {
        let answer = world.request(method, &path).body("0123456789").await;
        assert_eq!(
            answer.error(),
            (413, "SIZE_INVALID".to_owned()),
            "{method} {path}"
        );
    }
}

#[tokio::test]
async fn two_writers_of_one_upload_never_both_win() {
    let world = World::new().await;
    let upload = world.start_upload().await;
    let send = |chunk: &'static str| {
        world
            .request("PATCH", &upload)
            .with("content-range", "0-4")
            .body(chunk)
    };
    let (one, two) = tokio::join!(send("aaaaa"), send("bbbbb"));
    let won = [&one, &two]
        .into_iter()
        .filter(|answer| answer.status == StatusCode::ACCEPTED)
        .count();
    assert_eq!(won, 1, "{one:?} {two:?}");
    let lost = if one.status == StatusCode::ACCEPTED {
        two
    } else {
        one
    };
    assert!(matches!(lost.error().0, 409 | 416), "{lost:?}");
    assert_eq!(lost.header("location"), upload);
    assert_eq!(world.get(&upload).await.header("range"), "0-4");
    world.push_blob(b"{}").await;
    assert_eq!(
        world.push_manifest("v1", &image(&[], "")).await.status,
        StatusCode::CREATED
    );
}
