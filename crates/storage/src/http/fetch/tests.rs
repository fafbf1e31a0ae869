//! What is sent for an address, to the byte, and what comes of answers and of their absence.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::thread::JoinHandle;

use futures_util::TryStreamExt as _;
use http::header::{LOCATION, RANGE};

use super::*;

/// A step of a store that answers one request.
enum Step {
    Send(&'static str),
    /// Waits until the other side goes away.
    Hang,
}

/// Answers one request with these steps, and tells what was asked.
fn store(steps: Vec<Step>) -> (String, JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let host = listener.local_addr().unwrap().to_string();
    let thread = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let asked = read_head(&mut stream);
        for step in steps {
            match step {
                Step::Send(text) => stream.write_all(text.as_bytes()).unwrap(),
                Step::Hang => {
                    stream.read_to_end(&mut Vec::new()).ok();
                }
            }
        }
        asked
    });
    (host, thread)
}

fn read_head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    String::from_utf8(head).unwrap()
}

fn client() -> HttpClient {
    HttpClient::new(&[]).unwrap()
}

fn request<'a>(host: &'a str, uri: &'a str) -> FetchRequest<'a> {
    FetchRequest {
        scheme: "http",
        host,
        uri,
        headers: HeaderMap::new(),
        answer_timeout: Duration::from_secs(30),
        idle_timeout: Duration::from_secs(30),
    }
}

async fn body(fetched: Fetched) -> Result<String, FetchError> {
    let chunks: Vec<Bytes> = fetched.into_body().try_collect().await?;
    Ok(String::from_utf8(chunks.concat()).unwrap())
}

#[tokio::test]
async fn an_address_is_asked_for_to_the_letter_with_the_given_headers() {
    let answer = "HTTP/1.1 206 Partial Content\r\nContent-Length: 3\r\nETag: \"x\"\r\n\r\nabc";
    let uri = "bucket//a%2Fb+c/%7e~:@!$&()*,;=?X-Sig=a%2Bb/c==&empty=&x=%27[]|^`{}?";
    let (host, asked) = store(vec![Step::Send(answer)]);
    let mut request = request(&host, uri);
    request
        .headers
        .insert(RANGE, HeaderValue::from_static("bytes=2-4"));
    let fetched = client().fetch(request).await.unwrap();
    assert_eq!(fetched.status, StatusCode::PARTIAL_CONTENT);
    assert_eq!(fetched.headers["etag"], "\"x\"");
    assert_eq!(body(fetched).await.unwrap(), "abc");
    let asked = asked.join().unwrap().to_lowercase();
    let (line, headers) = asked.split_once("\r\n").unwrap();
    assert_eq!(line, format!("get /{uri} http/1.1").to_lowercase());
    let mut headers: Vec<_> = headers.trim().lines().collect();
    headers.sort_unstable();
    assert_eq!(
        headers,
        ["accept: */*", &format!("host: {host}"), "range: bytes=2-4"]
    );
}

#[tokio::test]
async fn an_address_that_would_be_changed_is_not_asked_for() {
    for (scheme, host, uri) in [
        ("http", "127.0.0.1:1", "a/../b"),
        ("http", "127.0.0.1:1", "a/%2e%2E/b"),
        ("http", "127.0.0.1:1", "./a"),
        ("http", "127.0.0.1:1", "a\\b"),
        ("http", "127.0.0.1:1", "a b"),
        ("http", "127.0.0.1:1", "a\tb"),
        ("http", "127.0.0.1:1", "a#b"),
        ("http", "127.0.0.1:1", "a?b#c"),
        ("http", "127.0.0.1:1", "a?b='c'"),
        ("http", "127.0.0.1:1", "ä"),
        ("http", "127.0.0.1:1", "a "),
        ("ftp", "127.0.0.1:1", "a"),
        ("HTTP", "127.0.0.1:1", "a"),
        ("file", "", "etc/passwd"),
        ("http", "", "a"),
        ("http", "user@127.0.0.1:1", "a"),
        ("http", "127.0.0.1:1/x", "a"),
        ("http", "127.0.0.1:1?x", "a"),
        ("http", "127.0.0.1:1\r\nX: y", "a"),
        ("http", "127.0.0.1:99999", "a"),
        ("http", "[::1", "a"),
    ] {
        let mut request = request(host, uri);
        request.scheme = scheme;
        let refused = client().fetch(request).await.map(|_| ());
        assert!(
            matches!(refused, Err(FetchError::Address { .. })),
            "{scheme} {host} {uri}: {refused:?}"
        );
    }
}

#[tokio::test]
async fn a_redirect_is_an_answer() {
    let redirect = "HTTP/1.1 307 Temporary Redirect\r\nLocation: http://169.254.169.254/\r\nContent-Length: 0\r\n\r\n";
    let (host, _asked) = store(vec![Step::Send(redirect)]);
    let fetched = client().fetch(request(&host, "a")).await.unwrap();
    assert_eq!(fetched.status, StatusCode::TEMPORARY_REDIRECT);
    assert!(fetched.headers.contains_key(LOCATION));
}

#[tokio::test]
async fn silence_and_broken_connections_are_told_apart_and_show_no_address() {
    const HEAD: &str = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n01234";
    let short = Duration::from_millis(200);
    let uri = "key?X-Sig=hunter2";

    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let nobody = taken.local_addr().unwrap().to_string();
    drop(taken);
    let refused = client().fetch(request(&nobody, uri)).await.unwrap_err();
    assert!(matches!(refused, FetchError::Connect { .. }), "{refused:?}");

    let (host, _asked) = store(vec![Step::Hang]);
    let mut silent = request(&host, uri);
    silent.answer_timeout = short;
    let silent = client().fetch(silent).await.unwrap_err();
    assert!(matches!(silent, FetchError::TimedOut { .. }), "{silent:?}");

    let (host, _asked) = store(vec![]);
    let closed = client().fetch(request(&host, uri)).await.unwrap_err();
    assert!(
        matches!(closed, FetchError::Interrupted { .. }),
        "{closed:?}"
    );

    let (host, _asked) = store(vec![Step::Send(HEAD)]);
    let fetched = client().fetch(request(&host, uri)).await.unwrap();
    let broken = body(fetched).await.unwrap_err();
    assert!(
        matches!(broken, FetchError::Interrupted { .. }),
        "{broken:?}"
    );

    let (host, _asked) = store(vec![Step::Send(HEAD), Step::Hang]);
    let mut stalls = request(&host, uri);
    stalls.idle_timeout = short;
    let fetched = client().fetch(stalls).await.unwrap();
    let stalled = body(fetched).await.unwrap_err();
    assert!(
        matches!(stalled, FetchError::TimedOut { .. }),
        "{stalled:?}"
    );

    for error in [refused, silent, closed, broken, stalled] {
        let mut shown = format!("{error:?} {error}");
        let mut cause = std::error::Error::source(&error);
        while let Some(error) = cause {
            shown = format!("{shown} {error:?} {error}");
            cause = error.source();
        }
        assert!(
            !shown.contains("hunter2") && !shown.contains("key"),
            "{shown}"
        );
    }
}
