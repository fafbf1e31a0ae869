//! Credentials: asked for, given, refused, and kept from others.

use super::*;

#[tokio::test]
async fn a_token_is_fetched_once_and_used_until_it_is_refused() {
    let play = Play::new(Some(Credentials::new("admin", "secret"))).await;
    let challenge = r#"WWW-Authenticate: Bearer realm="/v2/auth",service="quay",scope="repository:ns/repo:pull""#;
    let token = |token| answer("200 OK", &[], &format!(r#"{{"token":"{token}"}}"#));
    let size = |size: u32| {
        format!("HTTP/1.1 200 OK\r\nContent-Length: {size}\r\nConnection: close\r\n\r\n")
    };
    let script = vec![
        step(
            &["HEAD /v2/ns/repo/blobs/sha256:"],
            answer("401 Unauthorized", &[challenge], ""),
        ),
        step(
            &[
                "GET /v2/auth?service=quay&scope=repository:ns/repo:pull ",
                "authorization: Basic YWRtaW46c2VjcmV0",
            ],
            token("one"),
        ),
        step(&["authorization: Bearer one"], size(5)),
        step(&["authorization: Bearer one"], size(6)),
        step(
            &["authorization: Bearer one"],
            answer("401 Unauthorized", &[challenge], ""),
        ),
        step(&["GET /v2/auth?"], token("two")),
        step(&["authorization: Bearer two"], size(7)),
    ];
    let sizes = play
        .run(script, async {
            let mut sizes = Vec::new();
            for _ in 0..3 {
                sizes.push(
                    play.client
                        .stat_blob(&repository(), &blob("x"))
                        .await
                        .unwrap()
                        .unwrap(),
                );
            }
            sizes
        })
        .await;
    assert_eq!(sizes, [5, 6, 7]);
}

#[tokio::test]
async fn basic_authentication_is_used_when_that_is_what_the_registry_wants() {
    let play = Play::new(Some(Credentials::new("admin", "secret"))).await;
    let script = vec![
        step(
            &["GET /v2/ "],
            answer(
                "401 Unauthorized",
                &[r#"WWW-Authenticate: Basic realm="x""#],
                "",
            ),
        ),
        step(
            &["authorization: Basic YWRtaW46c2VjcmV0"],
            answer("200 OK", &[], "{}"),
        ),
    ];
    play.run(script, play.client.ping()).await.unwrap();
}

#[tokio::test]
async fn a_wrong_password_is_the_registrys_answer_and_is_not_tried_again() {
    let play = Play::new(Some(Credentials::new("admin", "wrong"))).await;
    let refusal =
        r#"{"errors":[{"code":"UNAUTHORIZED","message":"Invalid Username or Password"}]}"#;
    let script = vec![
        step(
            &["GET /v2/ "],
            answer(
                "401 Unauthorized",
                &[r#"WWW-Authenticate: Bearer realm="/t""#],
                "",
            ),
        ),
        step(&["GET /t "], answer("401 Unauthorized", &[], refusal)),
    ];
    let error = play.run(script, play.client.ping()).await.unwrap_err();
    assert_eq!(error.status(), Some(StatusCode::UNAUTHORIZED));
    assert_eq!(error.code(), Some("UNAUTHORIZED"));
}

#[tokio::test]
async fn a_stream_that_can_be_sent_only_once_waits_for_its_token() {
    let play = Play::new(None).await;
    let script = vec![
        step(
            &["GET /v2/ "],
            answer(
                "401 Unauthorized",
                &[r#"WWW-Authenticate: Bearer realm="/t""#],
                "",
            ),
        ),
        step(
            &["GET /t?scope=repository:ns/repo:pull%2Cpush "],
            answer("200 OK", &[], r#"{"access_token":"t"}"#),
        ),
        step(
            &[
                "POST /v2/ns/repo/blobs/uploads/?digest=sha256:",
                "authorization: Bearer t",
            ],
            answer("201 Created", &[], ""),
        ),
    ];
    let body = RequestBody::stream(
        futures_util::stream::iter([Ok(Bytes::from_static(b"abc"))]),
        Some(3),
    );
    let digest = blob("abc");
    let stored = play
        .run(
            script,
            play.client.push_blob_at_once(&repository(), &digest, body),
        )
        .await;
    assert!(stored.unwrap());
}

#[tokio::test]
async fn credentials_do_not_follow_a_redirect_to_another_server() {
    let play = Play::new(Some(Credentials::new("admin", "secret"))).await;
    let elsewhere = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let location = format!(
        "Location: http://{}/store/key",
        elsewhere.local_addr().unwrap()
    );
    let script = vec![
        step(
            &["GET /v2/ns/repo/blobs/"],
            answer("401 Unauthorized", &["WWW-Authenticate: Basic"], ""),
        ),
        step(
            &["authorization: Basic"],
            answer("307 Temporary Redirect", &[&location], ""),
        ),
    ];
    let store = async {
        let (mut stream, _) = elsewhere.accept().await.unwrap();
        let head = read_request(&mut stream).await;
        assert!(
            head.starts_with("GET /store/key ") && !head.contains("authorization"),
            "{head}"
        );
        stream
            .write_all(answer("200 OK", &[], "abc").as_bytes())
            .await
            .unwrap();
    };
    let digest = blob("abc");
    let pull = async {
        let stream = play
            .client
            .pull_verified(&repository(), &digest)
            .await
            .unwrap();
        stream.drain().await.unwrap()
    };
    let (bytes, ()) = tokio::join!(play.run(script, pull), store);
    assert_eq!(bytes, 3);
}

#[tokio::test]
async fn redirects_in_a_circle_come_to_an_end() {
    let play = Play::new(None).await;
    let script = (0..6)
        .map(|_| step(&["GET /"], answer("302 Found", &["Location: /again"], "")))
        .collect();
    let digest = blob("abc");
    let error = play
        .run(script, play.client.pull_blob(&repository(), &digest, None))
        .await
        .unwrap_err();
    assert!(matches!(error, ClientError::Protocol { .. }), "{error:?}");
}
