//! Uploads in steps: order, overlap, interruption, competition, and whose they are.

use bytes::Bytes;
use roadstead_oci::Algorithm;
use roadstead_testkit::{Content, Universe, UniverseOptions, eventually};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use crate::call::{Reply, call, push_blob, sha256, start_upload, with_parameter};
use crate::wire::bearer;
use roadstead_client::Client;

/// Asks how far an upload is, and checks that the answer is whole. Returns the number of bytes and where to go on.
async fn status(client: &Client, upload: &str) -> (u64, String) {
    let reply = call("GET", upload).send(client).await.expect(204);
    (acknowledged(&reply), reply.location())
}

/// How many bytes an answer's `Range` acknowledges. An upload without bytes has `0-0`, as other registries write it too.
#[track_caller]
fn acknowledged(reply: &Reply) -> u64 {
    let last: u64 = reply
        .header("range")
        .strip_prefix("0-")
        .and_then(|last| last.parse().ok())
        .unwrap_or_else(|| panic!("{reply:?}"));
    if last == 0 { 0 } else { last + 1 }
}

#[tokio::test]
async fn an_upload_says_at_each_step_where_it_is_and_where_to_go_on() {
    let universe = Universe::start().await;
    let client = universe.client();
    let begun = call("POST", "/v2/team/app/blobs/uploads/")
        .send(&client)
        .await
        .expect(202);
    assert!(!begun.header("docker-upload-uuid").is_empty());
    assert!(
        begun.location().starts_with("/v2/team/app/blobs/uploads/"),
        "{begun:?}"
    );
    let patched = call("PATCH", begun.location())
        .header("content-range", "0-4")
        .body("01234")
        .send(&client)
        .await
        .expect(202);
    assert_eq!(patched.header("range"), "0-4");
    assert_eq!(
        patched.header("docker-upload-uuid"),
        begun.header("docker-upload-uuid")
    );
    let (offset, location) = status(&client, &patched.location()).await;
    assert_eq!(offset, 5);
    // The unit may be written, as RFC 9110 has it, or not, as the distribution specification has it.
    let patched = call("PATCH", location)
        .header("content-range", "bytes 5-9/*")
        .body("56789")
        .send(&client)
        .await
        .expect(202);
    assert_eq!(patched.header("range"), "0-9");
    let done = call(
        "PUT",
        with_parameter(
            &patched.location(),
            &format!("digest={}", sha256("0123456789ab")),
        ),
    )
    .header("content-range", "10-11")
    .body("ab")
    .send(&client)
    .await
    .expect(201);
    assert_eq!(
        call("GET", done.location())
            .send(&client)
            .await
            .expect(200)
            .body,
        "0123456789ab"
    );
    call("GET", patched.location())
        .send(&client)
        .await
        .refused(404, "BLOB_UPLOAD_UNKNOWN");
    universe.finish().await;
}

#[tokio::test]
async fn a_chunk_that_overlaps_or_leaves_a_gap_is_refused_with_where_the_upload_is() {
    let universe = Universe::start().await;
    let client = universe.client();
    let upload = start_upload(&client, "team/app").await;
    let upload = call("PATCH", upload)
        .header("content-range", "0-4")
        .body("01234")
        .send(&client)
        .await
        .expect(202);
    let upload = upload.location();
    for range in [
        "6-10",
        "4-8",
        "0-4",
        "1000000000000-1000000000004",
        "5-18446744073709551615",
    ] {
        for method in ["PATCH", "PUT"] {
            let path = match method {
                "PUT" => with_parameter(&upload, &format!("digest={}", sha256("0123456789"))),
                _ => upload.clone(),
            };
            let reply = call(method, path)
                .header("content-range", range)
                .body("56789")
                .send(&client)
                .await;
            if range.ends_with("5-18446744073709551615") {
                assert!(
                    reply.status == 400 || reply.status == 416,
                    "{method} {range}: {reply:?}"
                );
                continue;
            }
            let reply = reply.refused(416, "RANGE_INVALID");
            assert_eq!(reply.header("range"), "0-4", "{method} {range}");
            assert!(
                !reply.header("location").is_empty()
                    && !reply.header("docker-upload-uuid").is_empty()
            );
        }
    }
    let (offset, location) = status(&client, &upload).await;
    assert_eq!(offset, 5, "nothing of what was refused counts");
    call(
        "PUT",
        with_parameter(&location, &format!("digest={}", sha256("0123456789"))),
    )
    .header("content-range", "5-9")
    .body("56789")
    .send(&client)
    .await
    .expect(201);
    universe.finish().await;
}

#[tokio::test]
async fn a_range_that_lies_about_its_length_or_makes_no_sense_is_refused() {
    let universe = Universe::start().await;
    let client = universe.client();
    let upload = start_upload(&client, "team/app").await;
    for range in [
        "0-2",
        "0-9",
        "4-0",
        "0",
        "-",
        "0-",
        "-4",
        "a-b",
        "bytes",
        "bytes 0-4/3",
        "0--1",
        "0-4-5",
        "",
    ] {
        let reply = call("PATCH", &upload)
            .header("content-range", range)
            .body("01234")
            .send(&client)
            .await;
        assert!(
            reply.status == 400 || reply.status == 416,
            "{range:?}: {reply:?}"
        );
        assert_eq!(
            reply.json()["errors"].as_array().unwrap().len(),
            1,
            "{range:?}"
        );
    }
    let (offset, location) = status(&client, &upload).await;
    assert_eq!(offset, 0);
    call(
        "PUT",
        with_parameter(&location, &format!("digest={}", sha256("01234"))),
    )
    .body("01234")
    .send(&client)
    .await
    .expect(201);
    universe.finish().await;
}

#[tokio::test]
async fn a_cancelled_upload_is_gone_and_so_are_its_bytes() {
    let universe = Universe::start().await;
    let client = universe.client();
    let upload = start_upload(&client, "team/app").await;
    let upload = call("PATCH", upload)
        .body("some bytes")
        .send(&client)
        .await
        .expect(202)
        .location();
    assert_eq!(universe.files("usstorage").staged().len(), 1);
    call("DELETE", &upload).send(&client).await.expect(204);
    for (method, path) in [
        ("GET", upload.clone()),
        ("PATCH", upload.clone()),
        ("DELETE", upload.clone()),
        (
            "PUT",
            with_parameter(&upload, &format!("digest={}", sha256("some bytes"))),
        ),
    ] {
        call(method, path)
            .send(&client)
            .await
            .refused(404, "BLOB_UPLOAD_UNKNOWN");
    }
    assert_eq!(universe.files("usstorage").staged().len(), 0);
    universe.finish().await;
}

#[tokio::test]
async fn an_upload_belongs_to_its_repository_and_to_nobody_elses() {
    let universe = Universe::start().await;
    let client = universe.client();
    push_blob(&client, "team/other", b"something").await;
    let upload = start_upload(&client, "team/app").await;
    let upload = call("PATCH", upload)
        .body("some bytes")
        .send(&client)
        .await
        .expect(202)
        .location();
    let elsewhere = upload.replace("/team/app/", "/team/other/");
    let nobodys = "/v2/team/app/blobs/uploads/00000000-0000-4000-8000-000000000000";
    let digest = sha256("some bytes");
    for path in [elsewhere.as_str(), nobodys] {
        for method in ["GET", "PATCH", "DELETE"] {
            call(method, path)
                .body("")
                .send(&client)
                .await
                .refused(404, "BLOB_UPLOAD_UNKNOWN");
        }
        let finish = with_parameter(path, &format!("digest={digest}"));
        call("PUT", finish)
            .send(&client)
            .await
            .refused(404, "BLOB_UPLOAD_UNKNOWN");
    }
    for id in [
        "x",
        "..",
        "%2e%2e",
        "00000000-0000-4000-8000-00000000000g",
        "0",
    ] {
        let reply = call("GET", format!("/v2/team/app/blobs/uploads/{id}"))
            .send(&client)
            .await;
        assert!(
            reply.status == 404 || reply.status == 400,
            "{id}: {reply:?}"
        );
    }
    call("PUT", with_parameter(&upload, &format!("digest={digest}")))
        .send(&client)
        .await
        .expect(201);
    universe.finish().await;
}

#[tokio::test]
async fn a_final_request_without_a_digest_is_refused_and_the_upload_goes_on() {
    let universe = Universe::start().await;
    let client = universe.client();
    let upload = start_upload(&client, "team/app").await;
    call("PUT", &upload)
        .body("some bytes")
        .send(&client)
        .await
        .refused(400, "DIGEST_INVALID");
    call(
        "PUT",
        with_parameter(&upload, &format!("digest={}", sha256("some bytes"))),
    )
    .body("some bytes")
    .send(&client)
    .await
    .expect(201);
    universe.finish().await;
}

#[tokio::test]
async fn of_two_clients_on_one_upload_one_wins_and_the_bytes_are_never_mixed() {
    let universe = Universe::start().await;
    let client = universe.client();
    for round in 0..10 {
        let upload = start_upload(&client, "team/app").await;
        let contents = [
            Content::new(round * 2 + 1, 600_000),
            Content::new(round * 2 + 2, 600_000),
        ];
        let send = |content: &Content| {
            let body = content.body();
            call("PATCH", &upload)
                .header("content-range", "0-599999")
                .stream(body)
                .send(&client)
        };
        let (one, two) = tokio::join!(send(&contents[0]), send(&contents[1]));
        let accepted: Vec<usize> = [&one, &two]
            .iter()
            .enumerate()
            .filter(|(_, reply)| reply.status == 202)
            .map(|(index, _)| index)
            .collect();
        for reply in [&one, &two] {
            assert!(
                [202, 409, 416].contains(&reply.status.as_u16()),
                "{reply:?}"
            );
        }
        assert_eq!(
            accepted.len(),
            1,
            "round {round}: {} and {}",
            one.status,
            two.status
        );
        let winner = &contents[accepted[0]];
        let (offset, location) = status(&client, &upload).await;
        assert_eq!(offset, 600_000);
        let finish = with_parameter(
            &location,
            &format!("digest={}", winner.digest(Algorithm::Sha256)),
        );
        call("PUT", finish).send(&client).await.expect(201);
    }
    universe.finish().await;
}

#[tokio::test]
async fn a_body_that_is_cut_off_in_the_middle_loses_nothing_that_was_acknowledged() {
    let universe = Universe::start().await;
    let (client, password) = (universe.client(), universe.password());
    let token = bearer(&client, &password, "team/app").await;
    let content = Content::new(9, 5_000_000).bytes();
    let digest = sha256(&content);
    for method in ["PATCH", "PUT"] {
        let upload = start_upload(&client, "team/app").await;
        let first = content.slice(..1_000_000);
        let upload = call("PATCH", upload)
            .body(first)
            .send(&client)
            .await
            .expect(202)
            .location();
        let path = match method {
            "PUT" => with_parameter(&upload, &format!("digest={digest}")),
            _ => upload.clone(),
        };
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: x\r\nAuthorization: {token}\r\nContent-Length: 4000000\r\n\
             Content-Range: 1000000-4999999\r\nContent-Type: application/octet-stream\r\n\r\n"
        );
        let mut stream = TcpStream::connect(universe.address(0)).await.unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        stream
            .write_all(&content[1_000_000..3_000_000])
            .await
            .unwrap();
        stream.shutdown().await.unwrap();
        drop(stream);
        // What came before the cut may count or not; what is said to be there, is.
        let (offset, location) = eventually("the upload can be asked for", async || {
            let reply = call("GET", &upload).send(&client).await;
            (reply.status == 204).then(|| (acknowledged(&reply), reply.location()))
        })
        .await;
        assert!(
            (1_000_000..=3_000_000).contains(&offset),
            "{method}: {offset}"
        );
        // The connection that was cut may still be at work; then the rest has to wait for its end.
        let (offset, location) = eventually("the rest is taken", async || {
            let (offset, location) = status(&client, &location).await;
            let start = usize::try_from(offset).unwrap();
            let reply = call("PATCH", &location)
                .header("content-range", format!("{offset}-{}", content.len() - 1))
                .body(content.slice(start..))
                .send(&client)
                .await;
            (reply.status == 202).then(|| (acknowledged(&reply), reply.location()))
        })
        .await;
        assert_eq!(offset, content.len() as u64);
        call(
            "PUT",
            with_parameter(&location, &format!("digest={digest}")),
        )
        .send(&client)
        .await
        .expect(201);
    }
    universe.finish().await;
}

#[tokio::test]
async fn a_wrong_content_length_is_refused_or_cut_off() {
    let mut universe = Universe::start().await;
    universe.expect_leftovers();
    let (client, password) = (universe.client(), universe.password());
    let token = bearer(&client, &password, "team/app").await;
    let upload = start_upload(&client, "team/app").await;
    for length in ["-1", "abc", "18446744073709551616", "5, 6", ""] {
        let request = format!(
            "PATCH {upload} HTTP/1.1\r\nHost: x\r\nAuthorization: {token}\r\nContent-Length: {length}\r\n\
             Connection: close\r\n\r\n01234"
        );
        let answer = crate::wire::send_bytes(universe.address(0), request.as_bytes()).await;
        assert!(
            matches!(answer.status, Some(400) | None),
            "{length:?}: {}",
            answer.text
        );
    }
    assert_eq!(status(&client, &upload).await.0, 0);
    universe.finish().await;
}

#[tokio::test]
async fn the_least_size_of_a_chunk_is_announced() {
    let universe = UniverseOptions::default()
        .key("ROADSTEAD_UPLOAD_CHUNK_MIN_LENGTH", 1_048_576)
        .start()
        .await;
    let client = universe.client();
    let begun = call("POST", "/v2/team/app/blobs/uploads/")
        .send(&client)
        .await
        .expect(202);
    assert_eq!(begun.header("oci-chunk-min-length"), "1048576");
    call("DELETE", begun.location())
        .send(&client)
        .await
        .expect(204);
    let content = Content::new(3, 2_500_000);
    let (repository, digest) = (
        "team/app".parse().unwrap(),
        content.digest(Algorithm::Sha256),
    );
    client
        .push_blob_chunked(&repository, &digest, content.stream(), 1)
        .await
        .unwrap();
    universe.finish().await;
}

#[tokio::test]
async fn an_upload_goes_on_in_another_region_and_after_a_restart() {
    let mut universe = UniverseOptions::two_regions().start().await;
    let content = Content::new(4, 3_000_000).bytes();
    let digest = sha256(&content);
    let upload = start_upload(&universe.client_of(0), "team/app").await;
    let piece =
        |start: usize, end: usize| (format!("{start}-{}", end - 1), content.slice(start..end));
    let patch = async |client: &Client, upload: &str, (range, body): (String, Bytes)| {
        call("PATCH", upload)
            .header("content-range", range)
            .body(body)
            .send(client)
            .await
            .expect(202)
            .location()
    };
    let upload = patch(&universe.client_of(0), &upload, piece(0, 1_000_000)).await;
    let upload = patch(&universe.client_of(1), &upload, piece(1_000_000, 1_000_001)).await;
    universe.restart(0).await;
    let client = universe.client_of(0);
    let (offset, upload) = status(&client, &upload).await;
    assert_eq!(offset, 1_000_001);
    let upload = patch(&client, &upload, piece(1_000_001, 3_000_000)).await;
    call("PUT", with_parameter(&upload, &format!("digest={digest}")))
        .send(&universe.client_of(1))
        .await
        .expect(201);
    universe.finish().await;
}
