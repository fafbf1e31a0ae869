//! Blobs, uploads, manifests and lists; good answers and broken ones.

use super::*;

#[tokio::test]
async fn content_that_is_not_the_digests_is_never_taken_for_it() {
    let play = Play::new(None).await;
    let digest = blob("abc");
    let pull = async {
        let mut stream = play
            .client
            .pull_verified(&repository(), &digest)
            .await
            .unwrap();
        assert_eq!(stream.chunk().await.unwrap().unwrap(), "abd");
        stream.chunk().await
    };
    let error = play
        .run(vec![step(&[], answer("200 OK", &[], "abd"))], pull)
        .await
        .unwrap_err();
    assert!(
        matches!(error, ClientError::DigestMismatch { .. }),
        "{error:?}"
    );

    let short = "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc";
    let pull = async {
        play.client
            .pull_verified(&repository(), &digest)
            .await
            .unwrap()
            .drain()
            .await
    };
    let error = play.run(vec![step(&[], short)], pull).await.unwrap_err();
    assert!(matches!(error, ClientError::Transport { .. }), "{error:?}");

    let named = answer(
        "200 OK",
        &[
            "Content-Type: application/vnd.oci.image.manifest.v1+json",
            &format!("Docker-Content-Digest: {digest}"),
        ],
        "{}",
    );
    let reference: Reference = "latest".parse().unwrap();
    let error = play
        .run(
            vec![step(&["accept: "], named)],
            play.client.get_manifest(&repository(), &reference),
        )
        .await
        .unwrap_err();
    assert!(
        matches!(error, ClientError::DigestMismatch { .. }),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_manifest_comes_with_its_digest_and_type() {
    let play = Play::new(None).await;
    let content = "{}";
    let served = answer(
        "200 OK",
        &["Content-Type: application/vnd.oci.image.index.v1+json; charset=utf-8"],
        content,
    );
    let reference: Reference = "latest".parse().unwrap();
    let manifest = play
        .run(
            vec![step(&["GET /v2/ns/repo/manifests/latest "], served)],
            play.client.get_manifest(&repository(), &reference),
        )
        .await
        .unwrap();
    assert_eq!(
        (manifest.media_type, manifest.digest),
        (MediaType::OCI_INDEX, blob(content))
    );
}

#[tokio::test]
async fn a_server_that_falls_silent_is_not_waited_for() {
    let play = Play::impatient().await;
    let silent = async {
        let (mut stream, _) = play.listener.accept().await.unwrap();
        read_request(&mut stream).await;
        stream
    };
    let (_stream, error) = tokio::join!(silent, play.client.ping());
    assert!(matches!(error.unwrap_err(), ClientError::Stalled { .. }));

    let half = async {
        let (mut stream, _) = play.listener.accept().await.unwrap();
        read_request(&mut stream).await;
        stream
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc")
            .await
            .unwrap();
        stream
    };
    let digest = blob("abc");
    let pull = async {
        play.client
            .pull_verified(&repository(), &digest)
            .await
            .unwrap()
            .drain()
            .await
    };
    let (_stream, error) = tokio::join!(half, pull);
    assert!(matches!(error.unwrap_err(), ClientError::Stalled { .. }));
}

#[tokio::test]
async fn a_server_that_is_not_there_cannot_be_connected_to() {
    let play = Play::new(None).await;
    drop(play.listener);
    assert!(matches!(
        play.client.ping().await.unwrap_err(),
        ClientError::Connect { .. }
    ));
}

#[tokio::test]
async fn the_callers_own_failing_stream_is_told_apart_from_the_connection() {
    let play = Play::new(None).await;
    let pieces = [
        Ok(Bytes::from_static(b"ab")),
        Err(std::io::Error::other("disk on fire")),
    ];
    let body = RequestBody::stream(futures_util::stream::iter(pieces), Some(9));
    let accept = async {
        let (mut stream, _) = play.listener.accept().await.unwrap();
        read_request(&mut stream).await;
        stream
            .write_all(answer("200 OK", &[], "").as_bytes())
            .await
            .unwrap();
        let mut rest = Vec::new();
        let (mut stream, _) = play.listener.accept().await.unwrap();
        stream.read_to_end(&mut rest).await.ok();
    };
    let digest = blob("abc");
    let repository = repository();
    let (error, ()) = tokio::join!(
        play.client.push_blob_at_once(&repository, &digest, body),
        accept
    );
    let error = error.unwrap_err();
    assert!(matches!(error, ClientError::Body { .. }), "{error:?}");
    assert_eq!(
        std::error::Error::source(&error).unwrap().to_string(),
        "disk on fire"
    );
}

#[tokio::test]
async fn chunks_are_as_large_as_the_registry_wants_and_say_where_they_belong() {
    let play = Play::new(None).await;
    let accepted = |range: &str| {
        answer(
            "202 Accepted",
            &["Location: /u/1", &format!("Range: {range}")],
            "",
        )
    };
    let script = vec![
        step(
            &["POST /v2/ns/repo/blobs/uploads/ "],
            answer(
                "202 Accepted",
                &["Location: /u/0?s=1", "OCI-Chunk-Min-Length: 4"],
                "",
            ),
        ),
        step(
            &["PATCH /u/0?s=1 ", "content-range: 0-3\r\n", "\r\n\r\nabcd"],
            accepted("0-3"),
        ),
        step(
            &["PATCH /u/1 ", "content-range: 4-7\r\n", "\r\n\r\nefgh"],
            accepted("bytes=0-7"),
        ),
        step(
            &["PATCH /u/1 ", "content-range: 8-8\r\n", "\r\n\r\ni"],
            accepted("0-8"),
        ),
        step(
            &["PUT /u/1?digest=sha256:", "content-length: 0"],
            answer("201 Created", &[], ""),
        ),
    ];
    let digest = blob("abcdefghi");
    let pieces = ["a", "bcdef", "", "ghi"].map(|piece| Ok(Bytes::from_static(piece.as_bytes())));
    let content = futures_util::stream::iter(pieces);
    play.run(
        script,
        play.client
            .push_blob_chunked(&repository(), &digest, content, 1),
    )
    .await
    .unwrap();
}

#[tokio::test]
async fn an_acknowledgement_of_other_bytes_than_were_sent_is_an_error() {
    let play = Play::new(None).await;
    let begun = || step(&[], answer("202 Accepted", &["Location: /u/0"], ""));
    let wrong = step(
        &[],
        answer("202 Accepted", &["Location: /u/0", "Range: 0-1"], ""),
    );
    let error = play
        .run(vec![begun(), wrong], async {
            let mut upload = play.client.start_upload(&repository()).await.unwrap();
            play.client
                .upload_chunk(&mut upload, Bytes::from_static(b"abc"))
                .await
                .unwrap_err()
        })
        .await;
    assert!(matches!(error, ClientError::Protocol { .. }), "{error:?}");

    let empty = step(
        &["GET /u/0 "],
        answer("204 No Content", &["Location: /u/0", "Range: 0-0"], ""),
    );
    let cancelled = step(&["DELETE /u/0 "], answer("204 No Content", &[], ""));
    play.run(vec![begun(), empty, cancelled], async {
        let mut upload = play.client.start_upload(&repository()).await.unwrap();
        assert_eq!(play.client.upload_status(&mut upload).await.unwrap(), 0);
        assert!(play.client.cancel_upload(upload).await.unwrap());
    })
    .await;
}

#[tokio::test]
async fn a_mount_that_is_not_done_is_an_upload() {
    let play = Play::new(None).await;
    let digest = blob("abc");
    let source: RepositoryName = "other/repo".parse().unwrap();
    let begun = step(
        &["&from=other/repo "],
        answer("202 Accepted", &["Location: /u/7"], ""),
    );
    let mounted = play
        .run(
            vec![begun],
            play.client
                .mount_blob(&repository(), &digest, Some(&source)),
        )
        .await
        .unwrap();
    assert!(matches!(mounted, Mounted::No(upload) if upload.location().path() == "/u/7"));
    let done = step(&["?mount=sha256:"], answer("201 Created", &[], ""));
    let mounted = play
        .run(
            vec![done],
            play.client.mount_blob(&repository(), &digest, None),
        )
        .await
        .unwrap();
    assert!(matches!(mounted, Mounted::Yes));
}

#[tokio::test]
async fn an_answer_that_is_too_long_is_not_read_to_its_end() {
    let play = Play::new(None).await;
    let request = http::Request::get("/anything")
        .body(RequestBody::empty())
        .unwrap();
    let error = play
        .run(
            vec![step(&["GET /anything "], answer("200 OK", &[], "too long"))],
            async {
                let answer = play.client.exchange(request, "").await.unwrap();
                answer.bytes(5).await.unwrap_err()
            },
        )
        .await;
    assert!(matches!(error, ClientError::TooLong { .. }), "{error:?}");
}
#[tokio::test]
async fn pages_are_followed_to_the_end_but_not_for_ever() {
    let play = Play::new(None).await;
    let page = |tags: &str, next: &str| {
        let link = format!("Link: <{next}>; rel=\"next\"");
        answer(
            "200 OK",
            &[&link],
            &format!(r#"{{"name":"ns/repo","tags":{tags}}}"#),
        )
    };
    let script = vec![
        step(
            &["GET /v2/ns/repo/tags/list "],
            page(r#"["a","b"]"#, "/v2/ns/repo/tags/list?last=b"),
        ),
        step(
            &["GET /v2/ns/repo/tags/list?last=b "],
            answer("200 OK", &[], r#"{"tags":null}"#),
        ),
    ];
    let tags = play
        .run(script, play.client.tags(&repository()))
        .await
        .unwrap();
    assert_eq!(tags, ["a", "b"]);

    let endless = (0..4)
        .map(|_| step(&[], page(r#"["a"]"#, "/again")))
        .collect();
    let error = play
        .run(endless, play.client.tags(&repository()))
        .await
        .unwrap_err();
    assert!(matches!(error, ClientError::TooLong { .. }), "{error:?}");
}
