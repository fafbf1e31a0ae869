//! Clients that mean no good: slow, endless, silent. Others are served meanwhile, and memory stays within bounds.

use std::time::Duration;

use roadstead_testkit::{ImageKind, RegistrySettings, TestImage};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::wire::{LIMIT, read_answer, send_bytes};

/// What a registry may have had resident at most, whatever clients do: section "Shows" of the plan names 100 MiB for a push.
const RESIDENT_BYTES_MAX: u64 = 100 * 1024 * 1024;

/// The most that twenty clients who read nothing of 50 MB each may add to a registry that has just started: four chunks of a MiB for each - one that is
/// being sent, those read ahead and one that is being read -, and as much as a push and a pull beside them.
const ADDED_BYTES_MAX: u64 = (20 * 4 + 16) * 1024 * 1024;

#[tokio::test]
async fn a_hundred_megabytes_of_headers_are_cut_off() {
    let directory = tempfile::tempdir().unwrap();
    let settings = RegistrySettings::new(directory.path().join("data"));
    let registry = settings.start().await;
    let line = format!("X-{}: {}\r\n", "a".repeat(100), "b".repeat(8000));
    for head in [
        // Many of them, one of them, and a path.
        "GET /v2/ HTTP/1.1\r\nHost: x\r\n".to_owned(),
        "GET /v2/ HTTP/1.1\r\nHost: x\r\nX-Long: ".to_owned(),
        "GET /v2/ HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ".to_owned(),
        "GET /v2/".to_owned(),
    ] {
        let filler = if head.ends_with('\n') {
            line.clone()
        } else {
            "a".repeat(line.len())
        };
        let mut stream = TcpStream::connect(settings.address).await.unwrap();
        let mut broken = stream.write_all(head.as_bytes()).await.is_err();
        let mut sent = head.len();
        while !broken && sent < 100_000_000 {
            broken = tokio::time::timeout(LIMIT, stream.write_all(filler.as_bytes()))
                .await
                .unwrap()
                .is_err();
            sent += filler.len();
        }
        assert!(broken, "a hundred megabytes of headers were read");
        let answer = read_answer(&mut stream, true).await;
        assert!(
            matches!(answer.status, Some(400 | 414 | 431) | None),
            "{}",
            answer.text
        );
    }
    assert!(
        registry.resident_bytes_peak() < RESIDENT_BYTES_MAX,
        "{}",
        registry.resident_bytes_peak()
    );
    settings.client().ping().await.unwrap();
    assert!(registry.stop().await.success());
}

#[tokio::test]
async fn many_slow_clients_keep_nobody_else_waiting_and_are_let_go() {
    let directory = tempfile::tempdir().unwrap();
    let settings = RegistrySettings::new(directory.path().join("data"));
    let registry = settings.start().await;
    let client = settings.client();
    let image = TestImage::new(1, ImageKind::Oci, &[1_000_000]);
    let (repository, reference) = ("team/app".parse().unwrap(), "v1".parse().unwrap());
    image.push_blobs(&client, &repository).await.unwrap();
    let mut slow = Vec::new();
    for number in 0..300 {
        let mut stream = TcpStream::connect(settings.address).await.unwrap();
        // Nothing at all, half a line, half a head.
        let start: &[u8] = [
            &b""[..],
            b"GET /v2",
            b"GET /v2/ HTTP/1.1\r\nHost: x\r\nX-Slow: ",
        ][number % 3];
        stream.write_all(start).await.unwrap();
        slow.push(stream);
    }
    image
        .push_manifest(&client, &repository, &reference)
        .await
        .unwrap();
    image.pull(&client, &repository, &reference).await.unwrap();
    // They are let go by the registry; nobody here closes anything.
    for stream in &mut slow {
        let mut rest = Vec::new();
        let closed = tokio::time::timeout(LIMIT, stream.read_to_end(&mut rest)).await;
        assert!(closed.is_ok(), "a slow client is still waited for");
    }
    assert!(registry.resident_bytes_peak() < RESIDENT_BYTES_MAX);
    assert!(registry.stop().await.success());
}

#[tokio::test]
async fn a_client_that_reads_nothing_does_not_fill_the_registrys_memory() {
    let directory = tempfile::tempdir().unwrap();
    let settings = RegistrySettings::new(directory.path().join("data"));
    let registry = settings.start().await;
    // Not the program itself, of which a debug build has much, and whose pages come as they are used.
    let at_start = registry.anonymous_bytes();
    let client = settings.client();
    let image = TestImage::new(1, ImageKind::Oci, &[50_000_000]);
    let (repository, reference) = ("team/app".parse().unwrap(), "v1".parse().unwrap());
    image.push(&client, &repository, &reference).await.unwrap();
    let token = crate::wire::bearer(&client, &settings.password(), "team/app").await;
    let request = format!(
        "GET /v2/team/app/blobs/{} HTTP/1.1\r\nHost: x\r\nAuthorization: {token}\r\n\r\n",
        image.blobs[1]
    );
    let mut silent = Vec::new();
    for _ in 0..20 {
        let mut stream = TcpStream::connect(settings.address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        // The answer has begun.
        let mut first = [0; 16];
        tokio::time::timeout(LIMIT, stream.read_exact(&mut first))
            .await
            .unwrap()
            .unwrap();
        assert_eq!(&first[..12], b"HTTP/1.1 200");
        silent.push(stream);
    }
    image.pull(&client, &repository, &reference).await.unwrap();
    let added = registry.anonymous_bytes().saturating_sub(at_start);
    assert!(added < ADDED_BYTES_MAX, "{added} beside {at_start}");
    drop(silent);
    assert!(registry.stop().await.success());
}

#[tokio::test]
async fn what_is_not_http_is_answered_or_cut_off() {
    let directory = tempfile::tempdir().unwrap();
    let settings = RegistrySettings::new(directory.path().join("data"));
    let registry = settings.start().await;
    let requests: [&[u8]; 8] = [
        b"\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 a TLS hello \r\n\r\n",
        b"GET\r\n\r\n",
        b"GET /v2/ HTTP/9.9\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n\r\n",
        b"GET /v2/ HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n0\r\n\r\n",
        b"POST /v2/a/b/blobs/uploads/ HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\nzz\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nnonsense that is no frame of any kind",
    ];
    for request in requests {
        let answer = send_bytes(settings.address, request).await;
        assert!(
            answer
                .status
                .is_none_or(|status| (400..500).contains(&status)),
            "{answer:?}"
        );
    }
    settings.client().ping().await.unwrap();
    assert!(!registry.log().contains("panicked"), "{}", registry.log());
    assert!(registry.stop().await.success());
}

#[tokio::test]
async fn a_registry_that_is_asked_to_stop_lets_a_pull_come_to_its_end() {
    let directory = tempfile::tempdir().unwrap();
    let settings = RegistrySettings::new(directory.path().join("data"));
    let registry = settings.start().await;
    let client = settings.client();
    let image = TestImage::new(1, ImageKind::Oci, &[20_000_000]);
    let (repository, reference) = ("team/app".parse().unwrap(), "v1".parse().unwrap());
    image.push(&client, &repository, &reference).await.unwrap();
    let mut stream = client
        .pull_verified(&repository, &image.blobs[1])
        .await
        .unwrap();
    let first = stream.chunk().await.unwrap().unwrap().len() as u64;
    let (status, rest) = tokio::join!(registry.stop(), stream.drain());
    assert_eq!(first + rest.unwrap(), 20_000_000);
    assert!(status.success());
    let error = tokio::time::timeout(Duration::from_secs(20), settings.client().ping())
        .await
        .unwrap();
    assert!(error.is_err());
}
