//! Uploads: every way of the specification to push a blob, and every way to get it wrong.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{FutureExt as _, StreamExt as _};
use http::StatusCode;
use http_body::Frame;
use http_body_util::StreamBody;
use tokio::sync::oneshot;

use super::world::{APP, Answer, OTHER, World, sha256, sha512};
use crate::{ExternalUrl, UrlScheme};

const CONTENT: &[u8] = b"0123456789";

/// Checks that an upload has `offset` bytes, and gives where it goes on.
async fn assert_offset(world: &World, upload: &str, offset: u64) {
    let status = world.get(upload).await;
    assert_eq!(status.status, StatusCode::NO_CONTENT, "{status:?}");
    assert_eq!(
        status.header("range"),
        format!("0-{}", offset.saturating_sub(1))
    );
    assert_eq!(status.header("location"), upload);
    assert!(upload.ends_with(status.header("docker-upload-uuid")));
}

async fn assert_pushed(world: &World, answer: &Answer, content: &[u8]) {
    let digest = sha256(content);
    assert_eq!(answer.status, StatusCode::CREATED, "{answer:?}");
    assert_eq!(answer.header("docker-content-digest"), digest.as_str());
    assert_eq!(
        answer.header("location"),
        format!("/v2/{APP}/blobs/{digest}")
    );
    assert_eq!(answer.header("content-length"), "0");
    let pulled = world.get(answer.header("location")).await;
    assert_eq!((pulled.status, &*pulled.body), (StatusCode::OK, content));
}

#[tokio::test]
async fn a_blob_can_be_pushed_in_every_way_of_the_specification() {
    let world = World::new().await;
    let digest = sha256(CONTENT);

    let started = world
        .request("POST", &format!("/v2/{APP}/blobs/uploads"))
        .send()
        .await;
    assert_eq!(started.status, StatusCode::ACCEPTED);
    assert_eq!(
        (started.header("range"), started.header("content-length")),
        ("0-0", "0")
    );
    let upload = started.header("location");
    assert_eq!(
        upload,
        format!(
            "/v2/{APP}/blobs/uploads/{}",
            started.header("docker-upload-uuid")
        )
    );
    assert_offset(&world, upload, 0).await;
    let put = world
        .request("PUT", &format!("{upload}?digest={digest}"))
        .body(CONTENT)
        .await;
    assert_pushed(&world, &put, CONTENT).await;

    let single = format!("/v2/{APP}/blobs/uploads/?digest={}", sha256(b"single"));
    assert_pushed(
        &world,
        &world.request("POST", &single).body("single").await,
        b"single",
    )
    .await;

    let upload = world.start_upload().await;
    let patched = world.request("PATCH", &upload).body("streamed").await;
    assert_eq!(
        (patched.status, patched.header("range")),
        (StatusCode::ACCEPTED, "0-7")
    );
    assert_eq!(patched.header("location"), upload);
    let put = world
        .request("PUT", &format!("{upload}?digest={}", sha256(b"streamed")))
        .send()
        .await;
    assert_pushed(&world, &put, b"streamed").await;

    for ranges in [
        ["0-3", "4-7", "8-9"],
        ["bytes 0-3/10", "bytes 4-7/*", "bytes=8-9"],
    ] {
        let upload = world.start_upload().await;
        for (range, chunk, progress) in [(ranges[0], "0123", "0-3"), (ranges[1], "4567", "0-7")] {
            let patched = world
                .request("PATCH", &upload)
                .with("content-range", range)
                .body(chunk)
                .await;
            assert_eq!(
                (patched.status, patched.header("range")),
                (StatusCode::ACCEPTED, progress),
                "{range}"
            );
        }
        let put = world
            .request("PUT", &format!("{upload}?digest={digest}"))
            .with("content-range", ranges[2]);
        assert_pushed(&world, &put.body("89").await, CONTENT).await;
    }
}

#[tokio::test]
async fn chunks_out_of_order_are_answered_with_416_and_where_to_go_on() {
    let world = World::new().await;
    let upload = world.start_upload().await;
    let digest = sha256(CONTENT);
    let sent = world
        .request("PATCH", &upload)
        .with("content-range", "0-3")
        .body("0123")
        .await;
    assert_eq!(sent.status, StatusCode::ACCEPTED);
    for (method, path) in [
        ("PATCH", upload.clone()),
        ("PUT", format!("{upload}?digest={digest}")),
    ] {
        for (range, chunk) in [
            ("0-3", "0123"),
            ("2-5", "2345"),
            ("5-8", "5678"),
            ("8-9", "89"),
            ("bytes 9-9/10", "9"),
        ] {
            let answer = world
                .request(method, &path)
                .with("content-range", range)
                .body(chunk)
                .await;
            assert_eq!(
                answer.error(),
                (416, "RANGE_INVALID".to_owned()),
                "{method} {range}"
            );
            assert_eq!(
                (answer.header("range"), answer.header("location")),
                ("0-3", &*upload),
                "{method} {range}"
            );
            assert!(upload.ends_with(answer.header("docker-upload-uuid")));
            assert_eq!(answer.json()["errors"][0]["detail"]["offset"], 4);
            assert_offset(&world, &upload, 4).await;
        }
    }
    let put = world
        .request("PUT", &format!("{upload}?digest={digest}"))
        .with("content-range", "4-9");
    assert_pushed(&world, &put.body("456789").await, CONTENT).await;
}

#[tokio::test]
async fn chunks_that_contradict_themselves_leave_the_upload_as_it_was() {
    let world = World::new().await;
    let upload = world.start_upload().await;
    let digest = sha256(CONTENT);
    world.request("PATCH", &upload).body("0123").await;
    for (range, length, expected) in [
        ("4-9", Some("5"), (400, "SIZE_INVALID")),
        ("4-9", None, (400, "SIZE_INVALID")),
        ("4-6", None, (400, "SIZE_INVALID")),
        ("9-4", None, (400, "BLOB_UPLOAD_INVALID")),
        ("x-y", None, (400, "BLOB_UPLOAD_INVALID")),
        ("4", None, (400, "BLOB_UPLOAD_INVALID")),
        ("bytes 4-8/6", None, (400, "BLOB_UPLOAD_INVALID")),
        ("4-99999999999999999999", None, (400, "BLOB_UPLOAD_INVALID")),
    ] {
        for (method, path) in [
            ("PATCH", upload.clone()),
            ("PUT", format!("{upload}?digest={digest}")),
        ] {
            let mut call = world.request(method, &path).with("content-range", range);
            if let Some(length) = length {
                call = call.with("content-length", length);
            }
            // Its length is not known from the headers, so that only reading it shows what is wrong.
            let body = StreamBody::new(futures_util::stream::iter([Ok::<_, std::io::Error>(
                Frame::data(Bytes::from_static(b"45678")),
            )]));
            let answer = call.stream(body).await;
            assert_eq!(
                answer.error(),
                (expected.0, expected.1.to_owned()),
                "{method} {range} {length:?}"
            );
            assert_offset(&world, &upload, 4).await;
        }
    }
}

#[tokio::test]
async fn content_that_does_not_have_the_digest_is_refused_in_every_way() {
    let world = World::new().await;
    let wrong = sha256(b"something else");
    let single = format!("/v2/{APP}/blobs/uploads/?digest={wrong}");
    let refused = world.request("POST", &single).body(CONTENT).await;
    assert_eq!(refused.error(), (400, "DIGEST_INVALID".to_owned()));
    assert_eq!(
        refused.json()["errors"][0]["detail"]["actual"],
        sha256(CONTENT).as_str()
    );

    let upload = world.start_upload().await;
    world.request("PATCH", &upload).body("01234").await;
    for body in ["56789", ""] {
        let refused = world
            .request("PUT", &format!("{upload}?digest={wrong}"))
            .body(body)
            .await;
        assert_eq!(
            refused.error(),
            (400, "DIGEST_INVALID".to_owned()),
            "{body}"
        );
    }
    assert_eq!(
        world.head(&format!("/v2/{APP}/blobs/{wrong}")).await.status,
        StatusCode::NOT_FOUND
    );
    assert_eq!(
        world
            .head(&format!("/v2/{APP}/blobs/{}", sha256(CONTENT)))
            .await
            .status,
        StatusCode::NOT_FOUND
    );

    for (query, code) in [
        ("", "DIGEST_INVALID"),
        ("?digest=", "DIGEST_INVALID"),
        ("?digest=sha256:short", "DIGEST_INVALID"),
        (
            "?digest=md5:d41d8cd98f00b204e9800998ecf8427e",
            "DIGEST_INVALID",
        ),
        ("?digest=%ff", "DIGEST_INVALID"),
        ("?digest=%", "DIGEST_INVALID"),
    ] {
        let refused = world
            .request("PUT", &format!("{upload}{query}"))
            .send()
            .await;
        assert_eq!(refused.error(), (400, code.to_owned()), "{query}");
    }
}

#[tokio::test]
async fn an_upload_belongs_to_its_repository_and_ends_when_it_is_cancelled_or_finished() {
    let world = World::new().await;
    let upload = world.start_upload().await;
    let elsewhere = upload.replace(APP, OTHER);
    let digest = sha256(b"");
    let never = format!("/v2/{APP}/blobs/uploads/00000000-0000-4000-8000-000000000000");
    let unknown = async |path: &str| {
        for (method, query) in [
            ("GET", ""),
            ("PATCH", ""),
            ("DELETE", ""),
            ("PUT", &*format!("?digest={digest}")),
        ] {
            let answer = world
                .request(method, &format!("{path}{query}"))
                .send()
                .await;
            assert_eq!(
                answer.error(),
                (404, "BLOB_UPLOAD_UNKNOWN".to_owned()),
                "{method} {path}"
            );
        }
    };
    unknown(&elsewhere).await;
    unknown(&never).await;
    unknown(&format!("/v2/{APP}/blobs/uploads/not-an-id")).await;
    assert_offset(&world, &upload, 0).await;
    let cancelled = world.request("DELETE", &upload).send().await;
    assert_eq!(
        (cancelled.status, cancelled.body.len()),
        (StatusCode::NO_CONTENT, 0)
    );
    unknown(&upload).await;

    let upload = world.start_upload().await;
    let finished = world
        .request("PUT", &format!("{upload}?digest={digest}"))
        .send()
        .await;
    assert_eq!(finished.status, StatusCode::CREATED);
    unknown(&upload).await;
}

#[tokio::test]
async fn an_upload_may_announce_its_algorithm_and_be_named_by_another() {
    let world = World::new().await;
    for query in ["?digest-algorithm=sha512", "?digest-algorithm=sha256", ""] {
        let started = world
            .request("POST", &format!("/v2/{APP}/blobs/uploads/{query}"))
            .send()
            .await;
        assert_eq!(started.status, StatusCode::ACCEPTED, "{query}");
        let upload = started.header("location");
        world.request("PATCH", upload).body(CONTENT).await;
        let digest = sha512(CONTENT);
        let put = world
            .request("PUT", &format!("{upload}?digest={digest}"))
            .send()
            .await;
        assert_eq!(
            (put.status, put.header("docker-content-digest")),
            (StatusCode::CREATED, digest.as_str()),
            "{query}"
        );
    }
    let refused = world
        .request(
            "POST",
            &format!("/v2/{APP}/blobs/uploads/?digest-algorithm=md5"),
        )
        .send()
        .await;
    assert_eq!(refused.error(), (400, "DIGEST_INVALID".to_owned()));
}

#[tokio::test]
async fn a_body_that_breaks_off_keeps_what_came_and_says_so() {
    let world = World::new().await;
    let upload = world.start_upload().await;
    let pieces = [
        Ok(Frame::data(Bytes::from_static(b"01234"))),
        Err(std::io::Error::other("reset")),
    ];
    let answer = world
        .request("PATCH", &upload)
        .stream(StreamBody::new(futures_util::stream::iter(pieces)))
        .await;
    assert_eq!(answer.error(), (400, "BLOB_UPLOAD_INVALID".to_owned()));
    assert_eq!(
        (answer.header("range"), answer.header("connection")),
        ("0-4", "close")
    );
    assert_offset(&world, &upload, 5).await;
    let put = world
        .request("PUT", &format!("{upload}?digest={}", sha256(CONTENT)))
        .with("content-range", "5-9");
    assert_pushed(&world, &put.body("56789").await, CONTENT).await;
}

#[tokio::test]
async fn a_body_of_which_nothing_comes_for_a_minute_is_given_up() {
    let world = World::new().await;
    let upload = world.start_upload().await;
    let digest = sha256(CONTENT);
    for (method, path) in [
        ("PATCH", upload.clone()),
        ("PUT", format!("{upload}?digest={digest}")),
        ("POST", format!("/v2/{APP}/blobs/uploads/?digest={digest}")),
        ("PUT", format!("/v2/{APP}/manifests/v1")),
        ("POST", "/v2/auth".to_owned()),
    ] {
        let reading = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&reading);
        let body = StreamBody::new(futures_util::stream::poll_fn(
            move |_| -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
                flag.store(true, Ordering::SeqCst);
                Poll::Pending
            },
        ));
        let mut call = world.request(method, &path);
        if path == "/v2/auth" {
            call = call.anonymously();
        }
        let answer = world.service.answer(call.build(body));
        tokio::pin!(answer);
        while !reading.load(Ordering::SeqCst) {
            assert!(answer.as_mut().now_or_never().is_none(), "{method} {path}");
            tokio::task::yield_now().await;
        }
        world.clock.advance(Duration::from_mins(1));
        let answer = Answer::read(answer.await).await.expect("a whole body");
        assert_eq!(answer.error().0, 408, "{method} {path}");
        assert_eq!(answer.header("connection"), "close");
    }
}

#[tokio::test]
async fn what_a_client_sent_before_it_went_away_is_kept() {
    let world = World::new().await;
    let upload = world.start_upload().await;
    let (client, body) = oneshot::channel::<&'static str>();
    let reading = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&reading);
    let first = async move {
        flag.store(true, Ordering::SeqCst);
        "01234"
    };
    let pieces = first.into_stream().chain(
        body.map(|piece| piece.expect("the rest is sent"))
            .into_stream(),
    );
    let body =
        StreamBody::new(pieces.map(|piece| {
            Ok::<_, std::io::Error>(Frame::data(Bytes::from_static(piece.as_bytes())))
        }));
    {
        let answer = world
            .service
            .answer(world.request("PATCH", &upload).build(body));
        tokio::pin!(answer);
        while !reading.load(Ordering::SeqCst) {
            assert!(answer.as_mut().now_or_never().is_none());
            tokio::task::yield_now().await;
        }
    }
    // The server has given the request up, and the rest of the body is still on its way.
    client.send("56789").expect("the work goes on");
    assert!(world.tasks.stop(Duration::from_mins(1)).await);
    assert_offset(&world, &upload, 10).await;
}

#[tokio::test]
async fn locations_are_absolute_where_the_host_is_configured_and_the_least_chunk_is_told() {
    let world = World::with(|settings| {
        settings.api.external_url =
            Some(ExternalUrl::new(UrlScheme::Https, "registry.example").expect("a good host"));
        settings.api.chunk_bytes_min = Some(5);
    })
    .await;
    let started = world
        .request("POST", &format!("/v2/{APP}/blobs/uploads/"))
        .send()
        .await;
    let id = started.header("docker-upload-uuid");
    assert_eq!(
        started.header("location"),
        format!("https://registry.example/v2/{APP}/blobs/uploads/{id}")
    );
    assert_eq!(started.header("oci-chunk-min-length"), "5");
}
