//! The client against a server that follows a script: flows that need a server of a certain kind, or a broken one.

use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use roadstead_oci::{Algorithm, Digest, MediaType, Reference, RepositoryName};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::{Client, ClientError, ClientOptions, Credentials, Mounted, RequestBody};

/// One request, on a connection of its own: what its head has to contain, and what is answered.
struct Step {
    wanted: &'static [&'static str],
    answer: String,
}

fn step(wanted: &'static [&'static str], answer: impl Into<String>) -> Step {
    Step {
        wanted,
        answer: answer.into(),
    }
}

fn answer(status: &str, headers: &[&str], body: &str) -> String {
    let headers: String = headers
        .iter()
        .flat_map(|header| {
            [
                header, "
",
            ]
        })
        .collect();
    let length = body.len();
    format!(
        "HTTP/1.1 {status}\r\n{headers}Content-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    )
}

/// A client and the server that it speaks to; `run` lets both go on until the client is done and the script is.
struct Play {
    listener: TcpListener,
    client: Client,
}

impl Play {
    async fn new(credentials: Option<Credentials>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let options = ClientOptions {
            stall_timeout: Duration::from_millis(200),
            entries_max: 3,
            ..ClientOptions::default()
        };
        let client = Client::with_options(&address, credentials, options).unwrap();
        Self { listener, client }
    }

    async fn run<F: Future>(&self, script: Vec<Step>, action: F) -> F::Output {
        let serve = async {
            for step in script {
                let (mut stream, _) = self.listener.accept().await.unwrap();
                let head = read_request(&mut stream).await;
                for wanted in step.wanted {
                    assert!(head.contains(wanted), "{wanted:?} is not in {head:?}");
                }
                stream.write_all(step.answer.as_bytes()).await.unwrap();
                stream.shutdown().await.unwrap();
            }
        };
        tokio::join!(serve, action).1
    }
}

/// Reads a request's head and as much of a body as it announces.
async fn read_request(stream: &mut TcpStream) -> String {
    let mut read = Vec::new();
    loop {
        let mut piece = [0; 4096];
        let count = stream.read(&mut piece).await.unwrap();
        read.extend_from_slice(&piece[..count]);
        let text = String::from_utf8_lossy(&read).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length: "))
                .map_or(0, |length| length.parse().unwrap());
            if body.len() >= length {
                return text;
            }
        }
        assert_ne!(count, 0, "the request ends early: {text}");
    }
}

fn repository() -> RepositoryName {
    "ns/repo".parse().unwrap()
}

fn blob(content: &str) -> Digest {
    Digest::of(Algorithm::Sha256, content.as_bytes())
}

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
    let play = Play::new(None).await;
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
