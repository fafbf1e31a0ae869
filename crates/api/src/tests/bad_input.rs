//! Paths, methods, queries and headers that nobody should send.

use http::StatusCode;

use super::world::{APP, World, sha256};

#[tokio::test]
async fn paths_outside_the_grammar_get_a_clear_answer() {
    let world = World::new().await;
    let digest = sha256(b"");
    let (long, longer) = ("a".repeat(255), "a".repeat(256));
    for (path, status, code) in [
        ("/v2/Upper/tags/list", 400, "NAME_INVALID"),
        ("/v2/../tags/list", 400, "NAME_INVALID"),
        ("/v2/a/../../b/tags/list", 400, "NAME_INVALID"),
        ("/v2/%2e%2e/tags/list", 400, "NAME_INVALID"),
        ("/v2/a%2f..%2fb/tags/list", 400, "NAME_INVALID"),
        ("/v2/a%00/tags/list", 400, "NAME_INVALID"),
        ("/v2/a%ff/tags/list", 400, "NAME_INVALID"),
        ("/v2/a%/tags/list", 400, "NAME_INVALID"),
        ("/v2//tags/list", 400, "NAME_INVALID"),
        ("/v2/a//b/manifests/v1", 400, "NAME_INVALID"),
        (&format!("/v2/{longer}/tags/list"), 400, "NAME_INVALID"),
        (&format!("/v2/{long}/tags/list"), 401, "UNAUTHORIZED"),
        (&format!("/v2/{APP}/manifests/.."), 400, "TAG_INVALID"),
        (&format!("/v2/{APP}/manifests/%2e%2e"), 400, "TAG_INVALID"),
        (&format!("/v2/{APP}/manifests/%00"), 400, "TAG_INVALID"),
        (&format!("/v2/{APP}/manifests/%ff"), 400, "TAG_INVALID"),
        (
            &format!("/v2/{APP}/manifests/{}", "t".repeat(129)),
            400,
            "TAG_INVALID",
        ),
        (
            &format!("/v2/{APP}/manifests/sha256:baddigeststring"),
            400,
            "DIGEST_INVALID",
        ),
        (&format!("/v2/{APP}/blobs/sha256:.."), 400, "DIGEST_INVALID"),
        (
            &format!("/v2/{APP}/blobs/{digest}%00"),
            400,
            "DIGEST_INVALID",
        ),
        (&format!("/v2/{APP}/blobs/%ff"), 400, "DIGEST_INVALID"),
        (
            &format!("/v2/{APP}/blobs/blake3:abcd"),
            400,
            "DIGEST_INVALID",
        ),
        (
            &format!("/v2/{APP}/referrers/nonsense"),
            400,
            "DIGEST_INVALID",
        ),
        (
            &format!("/v2/{APP}/blobs/uploads/%ff"),
            404,
            "BLOB_UPLOAD_UNKNOWN",
        ),
        (
            &format!("/v2/{APP}/blobs/uploads/.."),
            404,
            "BLOB_UPLOAD_UNKNOWN",
        ),
        ("/", 404, "UNSUPPORTED"),
        ("/v1/search", 404, "UNSUPPORTED"),
        ("/v2/nothing", 404, "UNSUPPORTED"),
        ("/health/dbrevision", 404, "UNSUPPORTED"),
        ("/..%2f..%2fetc%2fpasswd", 404, "UNSUPPORTED"),
    ] {
        let answer = world.get(path).await;
        assert_eq!(answer.error(), (status, code.to_owned()), "{path}");
        assert!(answer.body.len() < 1000, "{path}");
    }
}

#[tokio::test]
async fn methods_that_an_endpoint_does_not_have_are_405_and_the_others_are_named() {
    let world = World::new().await;
    let (digest, id) = (sha256(b""), "00000000-0000-4000-8000-000000000000");
    for (path, refused, allowed) in [
        ("/v2/".to_owned(), "POST", "GET, HEAD"),
        ("/v2/_catalog".to_owned(), "DELETE", "GET, HEAD"),
        ("/v2/auth".to_owned(), "PUT", "GET, HEAD, POST"),
        (format!("/v2/{APP}/tags/list"), "POST", "GET, HEAD"),
        (
            format!("/v2/{APP}/manifests/v1"),
            "PATCH",
            "GET, HEAD, PUT, DELETE",
        ),
        (
            format!("/v2/{APP}/blobs/{digest}"),
            "PUT",
            "GET, HEAD, DELETE",
        ),
        (format!("/v2/{APP}/blobs/uploads/"), "GET", "POST"),
        (
            format!("/v2/{APP}/blobs/uploads/{id}"),
            "POST",
            "GET, HEAD, PATCH, PUT, DELETE",
        ),
        (
            format!("/v2/{APP}/referrers/{digest}"),
            "OPTIONS",
            "GET, HEAD",
        ),
        ("/health/instance".to_owned(), "POST", "GET, HEAD"),
        ("/v1/_ping".to_owned(), "BREW", "GET, HEAD"),
    ] {
        let answer = world.request(refused, &path).send().await;
        assert_eq!(
            answer.error(),
            (405, "UNSUPPORTED".to_owned()),
            "{refused} {path}"
        );
        assert_eq!(answer.header("allow"), allowed, "{refused} {path}");
    }
}

#[tokio::test]
async fn head_is_answered_like_get_without_the_body() {
    let world = World::new().await;
    for path in [
        "/v2/".to_owned(),
        "/v2/_catalog".to_owned(),
        format!("/v2/{APP}/tags/list"),
        format!("/v2/{APP}/referrers/{}", sha256(b"")),
        format!("/v2/{APP}/manifests/missing"),
        "/health/instance".to_owned(),
        "/nothing".to_owned(),
    ] {
        let (get, head) = (world.get(&path).await, world.head(&path).await);
        assert_eq!((head.status, head.body.len()), (get.status, 0), "{path}");
        for name in ["content-type", "content-length"] {
            // Errors of our own carry no request id in their text, so that both are of the same length.
            assert_eq!(head.header(name), get.header(name), "{path}: {name}");
        }
        assert_eq!(
            head.header("content-length"),
            get.body.len().to_string(),
            "{path}"
        );
    }
}

#[tokio::test]
async fn queries_of_any_size_are_answered() {
    let world = World::new().await;
    let many = "x=1&".repeat(10_000);
    assert_eq!(
        world
            .get(&format!("/v2/{APP}/tags/list?{many}"))
            .await
            .status,
        StatusCode::URI_TOO_LONG
    );
    assert_eq!(
        world
            .get(&format!("/v2/{APP}/tags/list?last={}", "x".repeat(50_000)))
            .await
            .status,
        StatusCode::OK
    );
    assert_eq!(
        world
            .get(&format!("/v2/{APP}/tags/list?unknown=%ff&&=&=&?"))
            .await
            .status,
        StatusCode::OK
    );
}

#[tokio::test]
async fn every_answer_has_the_requests_id_or_a_new_one() {
    let world = World::new().await;
    let given = world
        .request("GET", "/v2/")
        .with("x-request-id", "balancer-1.a_B")
        .send()
        .await;
    assert_eq!(given.header("x-request-id"), "balancer-1.a_B");
    for bad in ["", "a b", "a\"b", &"a".repeat(65)] {
        let answer = world
            .request("GET", "/v2/")
            .with("x-request-id", bad)
            .send()
            .await;
        assert_eq!(answer.header("x-request-id").len(), 36, "{bad}");
    }
}
