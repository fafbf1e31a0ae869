//! Blobs: every way in, every way out, mounts and deletion.

use bytes::Bytes;
use roadstead_client::{Mounted, RequestBody};
use roadstead_oci::{Algorithm, Digest, RepositoryName};
use roadstead_testkit::{Content, Universe};

use crate::call::{call, push_blob, sha256, start_upload, with_parameter};

fn name(text: &str) -> RepositoryName {
    text.parse().unwrap()
}

#[tokio::test]
async fn a_blob_goes_in_by_every_way_and_comes_out_the_same() {
    let universe = Universe::start().await;
    let client = universe.client();
    let repository = name("team/ways");
    for (size, seed) in [(0, 1), (1, 2), (3_000_001, 3)] {
        for algorithm in Algorithm::ALL {
            for way in 0..5_u64 {
                // An empty blob is the same one each time.
                let content = Content::new(seed * 100 + way, size);
                let digest = content.digest(algorithm);
                match way {
                    0 => client
                        .push_blob(&repository, &digest, content.body())
                        .await
                        .unwrap(),
                    1 => assert!(
                        client
                            .push_blob_at_once(&repository, &digest, content.body())
                            .await
                            .unwrap()
                    ),
                    2 => client
                        .push_blob_chunked(&repository, &digest, content.stream(), 700_000)
                        .await
                        .unwrap(),
                    3 => {
                        let mut upload = client.start_upload(&repository).await.unwrap();
                        client
                            .upload_stream(&mut upload, content.body())
                            .await
                            .unwrap();
                        client.finish_upload(upload, &digest).await.unwrap();
                    }
                    _ => {
                        // The first half by PATCH, the rest with the PUT, in HTTP chunks of unknown length.
                        let all = content.bytes();
                        let half = all.len() / 2;
                        let mut upload = client.start_upload(&repository).await.unwrap();
                        client
                            .upload_chunk(&mut upload, all.slice(..half))
                            .await
                            .unwrap();
                        let rest = RequestBody::stream(
                            futures_util::stream::iter([Ok(all.slice(half..))]),
                            None,
                        );
                        client
                            .finish_upload_with(upload, &digest, rest)
                            .await
                            .unwrap();
                    }
                }
                assert_eq!(
                    client.stat_blob(&repository, &digest).await.unwrap(),
                    Some(size),
                    "{algorithm} way {way}"
                );
                let pulled = client
                    .pull_verified(&repository, &digest)
                    .await
                    .unwrap()
                    .drain()
                    .await
                    .unwrap();
                assert_eq!(pulled, size);
            }
        }
    }
    universe.finish().await;
}

#[tokio::test]
async fn a_push_says_where_the_blob_is_and_what_it_is_called() {
    let universe = Universe::start().await;
    let client = universe.client();
    for content in ["", "some bytes"] {
        for algorithm in Algorithm::ALL {
            let digest = Digest::of(algorithm, content.as_bytes());
            let reply = call(
                "POST",
                format!("/v2/team/push/blobs/uploads/?digest={digest}"),
            )
            .body(content)
            .send(&client)
            .await
            .expect(201);
            assert_eq!(reply.header("docker-content-digest"), digest.as_str());
            assert_eq!(reply.location(), format!("/v2/team/push/blobs/{digest}"));
            let pulled = call("GET", reply.location())
                .send(&client)
                .await
                .expect(200);
            assert_eq!(pulled.body, content);
            assert_eq!(pulled.header("docker-content-digest"), digest.as_str());
            assert_eq!(pulled.header("content-type"), "application/octet-stream");
            let head = call("HEAD", reply.location())
                .send(&client)
                .await
                .expect(200);
            assert_eq!(head.header("content-length"), content.len().to_string());
            assert_eq!(head.header("docker-content-digest"), digest.as_str());
            assert_eq!(head.header("accept-ranges"), "bytes");
        }
    }
    universe.finish().await;
}

#[tokio::test]
async fn a_blob_that_is_not_there_is_unknown() {
    let universe = Universe::start().await;
    let client = universe.client();
    push_blob(&client, "team/app", b"something").await;
    let missing = sha256("missing");
    call("GET", format!("/v2/team/app/blobs/{missing}"))
        .send(&client)
        .await
        .refused(404, "BLOB_UNKNOWN");
    call("HEAD", format!("/v2/team/app/blobs/{missing}"))
        .send(&client)
        .await
        .expect(404);
    call("DELETE", format!("/v2/team/app/blobs/{missing}"))
        .send(&client)
        .await
        .refused(404, "BLOB_UNKNOWN");
    universe.finish().await;
}

#[tokio::test]
async fn a_blob_belongs_to_the_repositories_it_was_pushed_to() {
    let universe = Universe::start().await;
    let client = universe.client();
    let digest = push_blob(&client, "team/one", b"only in one").await;
    push_blob(&client, "team/two", b"something else").await;
    call("GET", format!("/v2/team/two/blobs/{digest}"))
        .send(&client)
        .await
        .refused(404, "BLOB_UNKNOWN");
    universe.finish().await;
}

#[tokio::test]
async fn malformed_and_unsupported_digests_are_refused_everywhere() {
    let universe = Universe::start().await;
    let client = universe.client();
    push_blob(&client, "team/app", b"something").await;
    let (hex, sha512) = ("a".repeat(64), "b".repeat(127));
    let wrong = [
        "sha256:abc".to_owned(),
        format!("sha256:{}", hex.to_uppercase()),
        format!("sha256:{hex}a"),
        format!("sha512:{sha512}"),
        format!("md5:{}", "c".repeat(32)),
        format!("blake3:{hex}"),
        format!("sha256%3A{}", "z".repeat(64)),
        "sha256:".to_owned(),
        format!(":{hex}"),
    ];
    for digest in &wrong {
        for method in ["GET", "DELETE"] {
            call(method, format!("/v2/team/app/blobs/{digest}"))
                .send(&client)
                .await
                .refused(400, "DIGEST_INVALID");
        }
        call("HEAD", format!("/v2/team/app/blobs/{digest}"))
            .send(&client)
            .await
            .expect(400);
        let upload = start_upload(&client, "team/app").await;
        call("PUT", with_parameter(&upload, &format!("digest={digest}")))
            .body("x")
            .send(&client)
            .await
            .refused(400, "DIGEST_INVALID");
        call(
            "POST",
            format!("/v2/team/app/blobs/uploads/?digest={digest}"),
        )
        .body("x")
        .send(&client)
        .await
        .refused(400, "DIGEST_INVALID");
        // The upload is still there for whoever knows better.
        call(
            "PUT",
            with_parameter(&upload, &format!("digest={}", sha256("right"))),
        )
        .body("right")
        .send(&client)
        .await
        .expect(201);
    }
    universe.finish().await;
}

#[tokio::test]
async fn content_that_is_not_the_digests_is_refused_and_is_no_blob() {
    let mut universe = Universe::start().await;
    // An upload that was refused may be tried again under another digest.
    universe.expect_leftovers();
    let client = universe.client();
    push_blob(&client, "team/app", b"something").await;
    for digest in [
        sha256("promised"),
        Digest::of(Algorithm::Sha512, b"promised"),
    ] {
        call(
            "POST",
            format!("/v2/team/app/blobs/uploads/?digest={digest}"),
        )
        .body("delivered")
        .send(&client)
        .await
        .refused(400, "DIGEST_INVALID");
        for chunked in [false, true] {
            let mut upload = start_upload(&client, "team/app").await;
            let mut last = "delivered";
            if chunked {
                upload = call("PATCH", upload)
                    .body("delivered")
                    .send(&client)
                    .await
                    .expect(202)
                    .location();
                last = "";
            }
            call("PUT", with_parameter(&upload, &format!("digest={digest}")))
                .body(last)
                .send(&client)
                .await
                .refused(400, "DIGEST_INVALID");
        }
        call("HEAD", format!("/v2/team/app/blobs/{digest}"))
            .send(&client)
            .await
            .expect(404);
    }
    call(
        "HEAD",
        format!("/v2/team/app/blobs/{}", sha256("delivered")),
    )
    .send(&client)
    .await
    .expect(404);
    universe.finish().await;
}

#[tokio::test]
async fn ranges_are_served_as_asked_and_refused_when_there_is_nothing_in_them() {
    let universe = Universe::start().await;
    let client = universe.client();
    let content = Content::new(5, 2_500_000).bytes();
    let digest = push_blob(&client, "team/app", &content).await;
    let path = format!("/v2/team/app/blobs/{digest}");
    let size = content.len();
    for (range, expected) in [
        ("bytes=0-0", 0..1),
        ("bytes=0-9", 0..10),
        ("bytes=1000000-1999999", 1_000_000..2_000_000),
        ("bytes=2499999-", size - 1..size),
        ("bytes=100-99999999999", 100..size),
        ("bytes=-5", size - 5..size),
        ("bytes=-99999999999", 0..size),
    ] {
        let reply = call("GET", &path)
            .header("range", range)
            .send(&client)
            .await
            .expect(206);
        assert_eq!(reply.body, content.slice(expected.clone()), "{range}");
        let sent = format!("bytes {}-{}/{size}", expected.start, expected.end - 1);
        assert_eq!(reply.header("content-range"), sent);
        assert_eq!(reply.header("content-length"), expected.len().to_string());
        assert_eq!(reply.header("docker-content-digest"), digest.as_str());
    }
    for range in [
        "bytes=2500000-",
        "bytes=99999999999-99999999999",
        "bytes=-0",
    ] {
        let reply = call("GET", &path)
            .header("range", range)
            .send(&client)
            .await
            .refused(416, "RANGE_INVALID");
        assert_eq!(
            reply.header("content-range"),
            format!("bytes */{size}"),
            "{range}"
        );
    }
    // What is not a range of bytes is passed over (RFC 9110, section 14.2), and a backward one is not a range.
    for range in ["lines=1-2", "bytes", "bytes=a-b", "bytes=500-0"] {
        let reply = call("GET", &path)
            .header("range", range)
            .send(&client)
            .await;
        assert!(
            reply.status == 200 || reply.status == 416,
            "{range}: {}",
            reply.status
        );
    }
    universe.finish().await;
}

#[tokio::test]
async fn who_has_the_blob_already_is_told_so() {
    let universe = Universe::start().await;
    let client = universe.client();
    let digest = push_blob(&client, "team/app", b"content").await;
    let path = format!("/v2/team/app/blobs/{digest}");
    let tag = call("HEAD", &path)
        .send(&client)
        .await
        .expect(200)
        .header("etag")
        .to_owned();
    assert!(tag.contains(digest.hex()), "{tag}");
    for method in ["GET", "HEAD"] {
        let reply = call(method, &path)
            .header("if-none-match", &tag)
            .send(&client)
            .await
            .expect(304);
        assert_eq!(reply.body, Bytes::new());
    }
    call("GET", &path)
        .header("if-none-match", "\"another\"")
        .send(&client)
        .await
        .expect(200);
    // A download goes on only if the blob is still the same, which it always is.
    let reply = call("GET", &path)
        .header("if-range", &tag)
        .header("range", "bytes=3-")
        .send(&client)
        .await
        .expect(206);
    assert_eq!(reply.body, "tent");
    universe.finish().await;
}

#[tokio::test]
async fn a_mount_makes_the_blob_one_of_the_repository_without_its_bytes() {
    let universe = Universe::start().await;
    let client = universe.client();
    let digest = push_blob(&client, "team/source", b"mounted").await;
    let source = name("team/source");
    for (target, from) in [
        (name("team/with"), Some(&source)),
        (name("team/without"), None),
    ] {
        let mounted = client.mount_blob(&target, &digest, from).await.unwrap();
        assert!(matches!(mounted, Mounted::Yes), "{target}");
        client
            .pull_verified(&target, &digest)
            .await
            .unwrap()
            .drain()
            .await
            .unwrap();
    }
    let reply = call(
        "POST",
        format!("/v2/team/third/blobs/uploads/?mount={digest}&from=team/source"),
    )
    .send(&client)
    .await
    .expect(201);
    assert_eq!(reply.location(), format!("/v2/team/third/blobs/{digest}"));
    assert_eq!(reply.header("docker-content-digest"), digest.as_str());
    universe.finish().await;
}

#[tokio::test]
async fn a_mount_of_what_is_not_there_is_an_upload() {
    let universe = Universe::start().await;
    let client = universe.client();
    push_blob(&client, "team/source", b"something else").await;
    let (target, source, nowhere) = (
        name("team/target"),
        name("team/source"),
        name("team/nowhere"),
    );
    for (from, content) in [
        (Some(&source), "one"),
        (Some(&nowhere), "two"),
        (None, "three"),
    ] {
        let digest = sha256(content);
        let Mounted::No(upload) = client.mount_blob(&target, &digest, from).await.unwrap() else {
            panic!("there is nothing to mount from {from:?}");
        };
        client
            .finish_upload_with(upload, &digest, RequestBody::bytes(content))
            .await
            .unwrap();
        assert!(client.stat_blob(&target, &digest).await.unwrap().is_some());
    }
    universe.finish().await;
}

#[tokio::test]
async fn a_deleted_blob_is_gone_at_once_and_can_be_pushed_again() {
    let universe = Universe::start().await;
    let client = universe.client();
    let repository = name("team/app");
    for _ in 0..2 {
        let digest = push_blob(&client, "team/app", b"short-lived").await;
        let other = push_blob(&client, "team/other", b"short-lived").await;
        assert!(client.delete_blob(&repository, &digest).await.unwrap());
        assert_eq!(client.stat_blob(&repository, &digest).await.unwrap(), None);
        assert!(!client.delete_blob(&repository, &digest).await.unwrap());
        // Other repositories keep it.
        assert_eq!(
            client.stat_blob(&name("team/other"), &other).await.unwrap(),
            Some(11)
        );
    }
    universe.finish().await;
}

#[tokio::test]
async fn methods_that_mean_nothing_are_refused_with_those_that_do() {
    let universe = Universe::start().await;
    let client = universe.client();
    let digest = push_blob(&client, "team/app", b"content").await;
    for (method, path) in [
        ("POST", format!("/v2/team/app/blobs/{digest}")),
        ("PATCH", "/v2/team/app/tags/list".to_owned()),
        ("PUT", "/v2/team/app/blobs/uploads/".to_owned()),
        ("POST", "/v2/".to_owned()),
        ("BREW", format!("/v2/team/app/blobs/{digest}")),
    ] {
        let reply = call(method, &path)
            .send(&client)
            .await
            .refused(405, "UNSUPPORTED");
        assert!(!reply.header("allow").is_empty(), "{method} {path}");
    }
    universe.finish().await;
}
