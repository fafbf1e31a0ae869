//! Requests as a server sees them, and failures as whoever reads a log sees them.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use roadstead_runtime::Environment;
use roadstead_secrets::Secret;
use roadstead_test_servers::{CertificateAuthority, HttpsServer};

use crate::fixture::{content, id, key_of, name, stage};
use crate::{
    AzureCredentials, AzureOptions, HttpClient, Location, S3Credentials, S3Options, StorageError,
    StorageErrorKind, StoreOptions,
};

/// A server that answers everything with the same text and then hangs up. What it was sent comes out of the other end.
fn answering(answer: &'static str) -> (String, Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        for connection in listener.incoming() {
            let mut connection = connection.unwrap();
            let mut reader = BufReader::new(connection.try_clone().unwrap());
            let (mut head, mut length) = (String::new(), 0);
            loop {
                let mut line = String::new();
                reader.read_line(&mut line).unwrap();
                if line.trim().is_empty() {
                    break;
                }
                let line = line.to_lowercase();
                if let Some(value) = line.strip_prefix("content-length: ") {
                    length = value.trim().parse().unwrap();
                }
                head.push_str(&line);
            }
            reader.read_exact(&mut vec![0; length]).unwrap();
            connection.write_all(answer.as_bytes()).unwrap();
            if sender.send(head).is_err() {
                return;
            }
        }
    });
    (endpoint, receiver)
}

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
const CREATED: &str = "HTTP/1.1 201 Created\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";

fn options() -> StoreOptions {
    StoreOptions {
        step_timeout: Duration::from_secs(2),
        probe_timeout: Duration::from_secs(2),
        ..StoreOptions::default()
    }
}

fn http() -> HttpClient {
    HttpClient::new(&[]).unwrap()
}

fn bucket(endpoint: String) -> Location {
    bucket_over(&http(), endpoint)
}

fn bucket_over(http: &HttpClient, endpoint: String) -> Location {
    let s3 = S3Options {
        endpoint,
        region: None,
        bucket: "registry".to_owned(),
        storage_path: String::new(),
        credentials: S3Credentials::Keys {
            access_key: Secret::new("AKIAEXAMPLE"),
            secret_key: Secret::new("secret"),
            session_token: None,
        },
        server_side_encryption: false,
        cross_origin_urls: true,
        server_side_assembly: true,
    };
    Location::s3(name(), &s3, options(), http, Environment::system()).unwrap()
}

#[tokio::test]
async fn a_store_is_trusted_by_the_authorities_that_are_given_and_not_without() {
    let authority = CertificateAuthority::default();
    let server = HttpsServer::start(&authority.issue(&["localhost"]), OK);
    let given = ("extra_ca_certs".to_owned(), authority.pem().into());
    let trusting = HttpClient::new(&[given]).unwrap();
    for (http, reached) in [(&trusting, true), (&http(), false)] {
        let found = bucket_over(http, server.url())
            .stat(&key_of(b"layer"))
            .await;
        assert_eq!(found.is_ok(), reached, "{found:?}");
    }
}

fn container(endpoint: String, credentials: AzureCredentials) -> Location {
    let azure = AzureOptions {
        endpoint,
        account_name: "account".to_owned(),
        container: "registry".to_owned(),
        storage_path: String::new(),
        credentials,
    };
    Location::azure(name(), &azure, options(), &http(), Environment::system()).unwrap()
}

#[tokio::test]
async fn what_goes_to_a_bucket_without_tls_carries_its_md5() {
    let (endpoint, requests) = answering(OK);
    let location = bucket(endpoint);
    stage(&location, id(1), b"layer").await.unwrap();
    let request = requests.recv().unwrap();
    // printf layer | openssl md5 -binary | base64, in small letters.
    assert!(
        request.contains("\ncontent-md5: 9wtt5blod1h2zcufkghlcw==\r"),
        "{request}"
    );
    assert!(request.contains("aws4-hmac-sha256"), "{request}");
    // Nothing to compare.
    stage(&location, id(2), b"").await.unwrap();
    location.stat(&key_of(b"layer")).await.unwrap();
    let request = requests.recv().unwrap();
    assert!(request.starts_with("head ") && !request.contains("content-md5"));
}

#[tokio::test]
async fn what_azure_has_signed_gets_no_header_that_was_not() {
    let (endpoint, requests) = answering(CREATED);
    let key = AzureCredentials::AccountKey(Secret::new("a2V5"));
    stage(&container(endpoint, key), id(1), b"layer")
        .await
        .unwrap();
    let request = requests.recv().unwrap();
    assert!(request.contains("authorization: sharedkey account:"));
    assert!(!request.contains("content-md5"), "{request}");
}

#[tokio::test]
async fn no_failure_shows_the_token_that_was_in_the_url() {
    const TOKEN: &str = "sv=2020-12-06&sp=rwdlac&Sig=hunter2&sig=hunter2";
    let (nobody, _) = {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        (format!("http://{address}"), listener)
    };
    for (endpoint, kind) in [
        (nobody.as_str(), StorageErrorKind::Unavailable),
        ("http://", StorageErrorKind::Unexpected),
        (
            &answering("nonsense\r\n\r\n").0,
            StorageErrorKind::Interrupted,
        ),
        (
            &answering("HTTP/1.1 403 No\r\nx-ms-error-code: AuthenticationFailed\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").0,
            StorageErrorKind::Denied,
        ),
        (
            &answering("HTTP/1.1 503 No\r\nx-ms-error-code: ServerBusy\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").0,
            StorageErrorKind::ServerError,
        ),
        (
            &answering("HTTP/1.1 206 OK\r\nContent-Range: bytes 0-9/10\r\nContent-Length: 10\r\n\r\nabc").0,
            StorageErrorKind::Interrupted,
        ),
    ] {
        let token = AzureCredentials::SasToken(Secret::new(TOKEN));
        let location = container(endpoint.to_owned(), token);
        let mut errors: Vec<StorageError> = Vec::new();
        errors.extend(crate::fixture::read(&location, &key_of(b"layer"), 0..10).await.err());
        assert_eq!(
            errors.iter().map(StorageError::kind).collect::<Vec<_>>(),
            [kind],
            "{endpoint}: {errors:?}"
        );
        errors.extend(location.probe().await.err());
        errors.extend(crate::fixture::put(&location, b"layer").await.err());
        errors.extend(location.discard(id(1)).await.err());
        for error in &errors {
            let mut text = format!("{error} {error:?} {error:#?}");
            let mut cause = std::error::Error::source(error);
            while let Some(error) = cause {
                text = format!("{text}\n{error} {error:?} {error:#?}");
                cause = error.source();
            }
            let small = text.to_lowercase();
            assert!(!small.contains("hunter2") && !small.contains("sig="), "{text}");
        }
    }
}

#[test]
fn bytes_are_hashed_as_they_are() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let body: opendal::Buffer = content(100_000)
        .chunks(7)
        .map(bytes::Bytes::copy_from_slice)
        .collect();
    let in_pieces = runtime.block_on(super::md5_of(body));
    let whole = runtime.block_on(super::md5_of(content(100_000).into()));
    assert!(in_pieces.is_some() && in_pieces == whole);
}
