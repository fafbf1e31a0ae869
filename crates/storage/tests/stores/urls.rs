//! Signed URLs of buckets, and what goes to buckets without TLS: the store checks both.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use roadstead_runtime::Environment;
use roadstead_storage::{ObjectKey, StoreOptions, UrlMethod, UrlRequest};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::s3::{BUCKET, open, options, started};
use crate::{id, put};

#[tokio::test]
async fn a_signed_url_reads_one_object_and_does_nothing_else() {
    let server = started();
    let location = open(
        &options(&server, server.endpoint()),
        StoreOptions::default(),
    );
    let content = b"a layer of some bytes".as_slice();
    let key = put(&location, id(1), content).await.unwrap();
    let other = put(&location, id(2), b"other").await.unwrap();
    let now = Environment::system().now();
    let request = UrlRequest::get(now, Duration::from_mins(10));
    let url = location.signed_url(&key, &request).await.unwrap().unwrap();
    assert_eq!(url.expires_at(), now + Duration::from_mins(10));
    assert!(!url.to_string().contains("Signature"));

    let client = reqwest::Client::new();
    let whole = client.get(url.expose()).send().await.unwrap();
    assert_eq!(whole.status(), 200);
    assert_eq!(whole.bytes().await.unwrap(), content);
    let part = client.get(url.expose()).header("Range", "bytes=2-6");
    let part = part.send().await.unwrap();
    assert_eq!(part.status(), 206);
    assert_eq!(part.bytes().await.unwrap(), content[2..7]);

    let written = client.put(url.expose()).body("hunter2");
    assert_eq!(written.send().await.unwrap().status(), 403);
    assert_eq!(
        client.delete(url.expose()).send().await.unwrap().status(),
        403
    );
    let elsewhere = url.expose().replace(&key.path(), &other.path());
    assert_eq!(client.get(&elsewhere).send().await.unwrap().status(), 403);

    let head = UrlRequest {
        method: UrlMethod::Head,
        ..request
    };
    let url = location.signed_url(&key, &head).await.unwrap().unwrap();
    assert_eq!(
        client.head(url.expose()).send().await.unwrap().status(),
        200
    );
    assert_eq!(client.get(url.expose()).send().await.unwrap().status(), 403);
}

#[tokio::test]
async fn a_page_of_another_origin_gets_no_url_where_the_store_has_no_cors() {
    let server = started();
    let location = open(
        &options(&server, server.endpoint()),
        StoreOptions::default(),
    );
    let request = UrlRequest {
        cross_origin: true,
        ..UrlRequest::get(Environment::system().now(), Duration::from_mins(10))
    };
    let url = location.signed_url(&ObjectKey::Probe, &request).await;
    assert!(url.unwrap().is_none());
}

/// How many bytes of the content are sent wrong, at most.
const FLIPS: usize = 2;

/// Passes bytes on to the server, and changes one in the first [`FLIPS`] places where `marker` goes by.
async fn flipping(server: String, marker: &'static [u8]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let left = Arc::new(AtomicUsize::new(FLIPS));
    tokio::task::spawn(async move {
        loop {
            let (client, _) = listener.accept().await.unwrap();
            let upstream = TcpStream::connect(&server).await.unwrap();
            let (mut from_client, mut to_client) = client.into_split();
            let (mut from_server, mut to_server) = upstream.into_split();
            tokio::task::spawn(
                async move { tokio::io::copy(&mut from_server, &mut to_client).await },
            );
            let left = Arc::clone(&left);
            tokio::task::spawn(async move {
                let mut buffer = vec![0; 1 << 16];
                while let Ok(read @ 1..) = from_client.read(&mut buffer).await {
                    let found = buffer[..read]
                        .windows(marker.len())
                        .position(|window| window == marker);
                    if let Some(at) = found
                        && left.load(Ordering::SeqCst) > 0
                    {
                        left.fetch_sub(1, Ordering::SeqCst);
                        buffer[at] ^= 1;
                    }
                    to_server.write_all(&buffer[..read]).await.unwrap();
                }
            });
        }
    });
    endpoint
}

#[tokio::test]
async fn bytes_that_a_network_without_tls_changes_are_noticed_by_the_store_and_sent_again() {
    const MARKER: &[u8] = b"a layer of some bytes";
    let server = started();
    let upstream = server.endpoint().replace("http://", "");
    let endpoint = flipping(upstream, MARKER).await;
    let location = open(&options(&server, endpoint), StoreOptions::default());
    let key = put(&location, id(1), MARKER).await.unwrap();
    let root = server.bucket_directory(BUCKET).join("datastorage/registry");
    assert_eq!(std::fs::read(root.join(key.path())).unwrap(), MARKER);
}
