//! The storage proxy before a store that answers what each test wants, and everything that must not get through it.

use std::cell::Cell;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE;
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Empty};
use proptest::prelude::*;
use roadstead_auth::{AuthOptions, Authenticator, ProxiedAddress, SigningKeyOptions, SigningKeys};
use roadstead_runtime::{Clock as _, Environment, SeededIds};
use roadstead_storage::HttpClient;

use super::logging::Log;
use super::world::{Answer, REGISTRY, World};
use crate::{ApiOptions, ExternalUrl, StorageProxy, UrlScheme};

const CONTENT: &[u8] = b"0123456789";
const URI: &str = "bucket/root/sha256/ab/ab%2Fcd?X-Amz-Signature=hunter2&x=%2e%2e/b";

/// A store that answers every request the same way, and keeps what it was asked.
struct Store {
    host: String,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Store {
    /// One whose answers are these bytes, whatever it is asked. Then it closes the connection.
    fn answering(answer: impl Into<Vec<u8>>) -> Self {
        let answer = answer.into();
        Self::with(move |stream, _| stream.write_all(&answer))
    }

    fn with(
        mut answer: impl FnMut(&mut TcpStream, &str) -> std::io::Result<()> + Send + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let host = listener.local_addr().unwrap().to_string();
        let asked = Arc::new(Mutex::new(Vec::new()));
        std::thread::spawn({
            let asked = Arc::clone(&asked);
            move || {
                for stream in listener.incoming() {
                    let mut stream = stream.unwrap();
                    let Some(head) = read_head(&mut stream) else {
                        continue;
                    };
                    asked
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .push(head.clone());
                    // A proxy that has gone is none of the store's business.
                    answer(&mut stream, &head).ok();
                }
            }
        });
        Self { host, asked }
    }

    fn asked(&self) -> Vec<String> {
        self.asked
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn address(&self) -> ProxiedAddress<'_> {
        ProxiedAddress {
            scheme: "http",
            host: &self.host,
            uri: URI,
        }
    }
}

fn read_head(stream: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).ok()?;
        head.push(byte[0]);
    }
    String::from_utf8(head).ok()
}

/// A registry with the proxy, and a neighbour of it with the same database, which grants.
struct Proxy {
    world: World,
    neighbour: Authenticator,
}

impl Proxy {
    async fn new() -> Self {
        let mut proxy = StorageProxy::new(HttpClient::new(&[]).unwrap());
        proxy.answer_timeout = Duration::from_secs(5);
        proxy.idle_timeout = Duration::from_secs(1);
        Self::with(ApiOptions {
            external_url: Some(ExternalUrl::new(UrlScheme::Https, REGISTRY).unwrap()),
            storage_proxy: Some(proxy),
            ..ApiOptions::default()
        })
        .await
    }

    async fn with(options: ApiOptions) -> Self {
        let world = World::with(|settings| settings.api = options).await;
        let environment = Environment {
            clock: world.clock.clone(),
            ids: Arc::new(SeededIds::new(7)),
        };
        let keys = SigningKeys::new(
            world.database.clone(),
            environment.clone(),
            world.tasks.clone(),
            SigningKeyOptions {
                service: "quay".to_owned(),
                name: "neighbour".to_owned(),
            },
        );
        let neighbour = Authenticator::new(
            world.database.clone(),
            environment,
            world.tasks.clone(),
            keys,
            AuthOptions::new(REGISTRY),
        );
        Self { world, neighbour }
    }

    async fn grant(&self, address: &ProxiedAddress<'_>) -> String {
        let until = self.world.clock.now() + Duration::from_hours(1);
        let grant = self.neighbour.grant_proxying(address, until).await.unwrap();
        grant.value.expose().to_owned()
    }

    /// The URL of this address.
    async fn url(&self, address: &ProxiedAddress<'_>) -> String {
        url(&self.grant(address).await, address)
    }

    async fn get(&self, url: &str) -> Answer {
        self.world.request("GET", url).anonymously().send().await
    }

    /// What is said about a URL to an nginx in front.
    async fn authorize(&self, url: &str) -> Answer {
        self.world
            .request("GET", "/_storage_proxy_auth")
            .anonymously()
            .with("x-original-uri", url)
            .send()
            .await
    }
}

/// A URL in Quay's form.
fn url(grant: &str, address: &ProxiedAddress<'_>) -> String {
    let ProxiedAddress { scheme, host, uri } = address;
    let grant = URL_SAFE.encode(grant);
    format!("/_storage_proxy/{grant}/{scheme}/{host}/{uri}")
}

fn ok(headers: &str) -> Vec<u8> {
    let head =
        format!("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n{headers}Connection: close\r\n\r\n");
    [head.as_bytes(), CONTENT].concat()
}

#[tokio::test]
async fn what_is_at_a_granted_address_is_passed_on_with_what_describes_it() {
    let store = Store::answering(ok(
        "Content-Type: application/octet-stream\r\nETag: \"md5\"\r\nLast-Modified: Sun, 22 Nov 2026 13:14:42 GMT\r\n\
         Accept-Ranges: bytes\r\nCache-Control: max-age=60\r\nSet-Cookie: a=b\r\nx-amz-request-id: 7\r\nServer: store\r\n",
    ));
    let proxy = Proxy::new().await;
    let url = proxy.url(&store.address()).await;
    for method in ["GET", "HEAD"] {
        let answer = proxy
            .world
            .request(method, &url)
            .with("cookie", "session=hunter3")
            .with("x-forwarded-for", "10.1.2.3")
            .with("proxy-authorization", "Basic aHVudGVyNA==")
            .with("te", "trailers")
            .with("accept-encoding", "gzip")
            .send()
            .await;
        assert_eq!(answer.status, StatusCode::OK);
        assert_eq!(answer.body, if method == "GET" { CONTENT } else { b"" });
        for (name, value) in [
            ("content-length", "10"),
            ("content-type", "application/octet-stream"),
            ("etag", "\"md5\""),
            ("last-modified", "Sun, 22 Nov 2026 13:14:42 GMT"),
            ("accept-ranges", "bytes"),
            ("cache-control", "max-age=60"),
            ("x-content-type-options", "nosniff"),
            ("set-cookie", ""),
            ("x-amz-request-id", ""),
            ("server", ""),
        ] {
            assert_eq!(answer.header(name), value, "{method}: {name}");
        }
    }
    for asked in store.asked() {
        let mut lines: Vec<_> = asked.trim_end().split("\r\n").collect();
        lines.sort_unstable();
        assert_eq!(
            lines,
            [
                &*format!("GET /{URI} HTTP/1.1"),
                "accept-encoding: identity",
                "accept: */*",
                &format!("host: {}", store.host),
                "user-agent: roadstead",
            ]
        );
    }
    assert_eq!(store.asked().len(), 2);
}

#[tokio::test]
async fn ranges_and_conditions_are_the_stores_to_answer() {
    let store = Store::with(|stream, head| {
        let answer: &[u8] = if head.contains("if-none-match: \"md5\"\r\n") {
            b"HTTP/1.1 304 Not Modified\r\nETag: \"md5\"\r\nConnection: close\r\n\r\n"
        } else if head.contains("range: bytes=90-\r\n") {
            b"HTTP/1.1 416 Range Not Satisfiable\r\nContent-Range: bytes */10\r\nContent-Length: 5\r\n\
              Connection: close\r\n\r\n<xml>"
        } else if head.contains("range: bytes=2-4\r\n") {
            b"HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 2-4/10\r\nContent-Length: 3\r\nConnection: close\r\n\r\n234"
        } else {
            b"HTTP/1.1 500 Unexpected\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        };
        stream.write_all(answer)
    });
    let proxy = Proxy::new().await;
    let url = proxy.url(&store.address()).await;
    let ask = |name: &'static str, value: &'static str| {
        let request = proxy.world.request("GET", &url).anonymously();
        request.with(name, value).send()
    };
    let part = ask("range", "bytes=2-4").await;
    assert_eq!(
        (part.status, &*part.body),
        (StatusCode::PARTIAL_CONTENT, &b"234"[..])
    );
    assert_eq!(part.header("content-range"), "bytes 2-4/10");
    assert_eq!(part.header("content-type"), "application/octet-stream");
    assert_eq!(part.header("cache-control"), "private");
    let unmodified = ask("if-none-match", "\"md5\"").await;
    assert_eq!(unmodified.status, StatusCode::NOT_MODIFIED);
    assert_eq!(unmodified.header("etag"), "\"md5\"");
    let outside = ask("range", "bytes=90-").await;
    assert_eq!(outside.error(), (416, "RANGE_INVALID".to_owned()));
    assert_eq!(outside.header("content-range"), "bytes */10");
    proxy
        .world
        .request("GET", &url)
        .with("if-range", "\"md5\"")
        .with("if-modified-since", "Sun, 22 Nov 2026 13:14:42 GMT")
        .with("if-match", "\"other\"")
        .send()
        .await;
    let asked = store.asked().pop().unwrap();
    assert!(asked.contains("if-range: \"md5\"\r\n"), "{asked}");
    assert!(asked.contains("if-modified-since: Sun"), "{asked}");
    assert!(!asked.contains("if-match"), "{asked}");
    assert!(!asked.contains("authorization"), "{asked}");
}

#[tokio::test]
async fn every_url_but_the_granted_one_is_401_and_the_store_is_not_asked() {
    let store = Store::answering(ok(""));
    let proxy = Proxy::new().await;
    let address = store.address();
    let grant = proxy.grant(&address).await;
    let good = url(&grant, &address);
    let authorized = proxy.authorize(&good).await;
    assert_eq!(
        (authorized.status, &*authorized.body),
        (StatusCode::OK, &b"OK"[..])
    );
    // As nginx asks it, whatever the method of the request was.
    assert_eq!(proxy.get(&good).await.status, StatusCode::OK);
    let unpadded = good.replacen('=', "", 2);
    for url in [&good, &unpadded] {
        assert_eq!(proxy.authorize(url).await.status, StatusCode::OK, "{url}");
    }
    let asked = store.asked().len();

    let encoded = URL_SAFE.encode(&grant);
    let host = &store.host;
    let changed = {
        let mut changed = grant.clone().into_bytes();
        let last = changed.len() - 10;
        changed[last] = if changed[last] == b'A' { b'B' } else { b'A' };
        URL_SAFE.encode(changed)
    };
    let mut bad = vec![
        "/_storage_proxy/".to_owned(),
        format!("/_storage_proxy/{encoded}"),
        format!("/_storage_proxy/{encoded}/http"),
        format!("/_storage_proxy/{encoded}/http/{host}"),
        format!("/_storage_proxy/{encoded}/http/{host}/"),
        format!("/_storage_proxy//{encoded}/http/{host}/{URI}"),
        format!("/_storage_proxy/{encoded}/https/{host}/{URI}"),
        format!("/_storage_proxy/{encoded}/ftp/{host}/{URI}"),
        format!("/_storage_proxy/{encoded}/HTTP/{host}/{URI}"),
        format!("/_storage_proxy/{encoded}/http/169.254.169.254/{URI}"),
        format!("/_storage_proxy/{encoded}/http/{host}./{URI}"),
        format!("/_storage_proxy/{encoded}/http/user@{host}/{URI}"),
        format!("/_storage_proxy/{encoded}/http/{host}%2f/{URI}"),
        format!("/_storage_proxy/{encoded}/http/{host}//{URI}"),
        format!("/_storage_proxy/{encoded}/http/{host}/./{URI}"),
        format!("/_storage_proxy/{encoded}/http/{host}/x/../{URI}"),
        format!("/_storage_proxy/{encoded}/http/{host}/{URI}&"),
        format!(
            "/_storage_proxy/{encoded}/http/{host}/{}",
            URI.replace("%2F", "%2f")
        ),
        format!(
            "/_storage_proxy/{encoded}/http/{host}/{}",
            URI.replace("%2F", "/")
        ),
        format!(
            "/_storage_proxy/{encoded}/http/{host}/{}",
            URI.replace("%2e%2e", "..")
        ),
        format!(
            "/_storage_proxy/{encoded}/http/{host}/{}",
            URI.replace('?', "%3F")
        ),
        format!("/_storage_proxy/{grant}/http/{host}/{URI}"),
        format!("/_storage_proxy/{changed}/http/{host}/{URI}"),
        format!("/_storage_proxy/{encoded}===/http/{host}/{URI}"),
        format!("/_storage_proxy/!{encoded}/http/{host}/{URI}"),
        format!("/_storage_proxy/%{encoded}/http/{host}/{URI}"),
        format!(
            "/_storage_proxy/{}/http/{host}/{URI}",
            URL_SAFE.encode([0xff; 300])
        ),
        format!("/_storage_proxy/{}/http/{host}/{URI}", "A".repeat(40_000)),
        format!(
            "/_storage_proxy/{}/http/{host}/{URI}",
            URL_SAFE.encode(&proxy.world.token)
        ),
    ];
    let other = ProxiedAddress {
        uri: "another",
        ..address
    };
    let of_another = URL_SAFE.encode(proxy.grant(&other).await);
    bad.push(format!("/_storage_proxy/{of_another}/http/{host}/{URI}"));
    for url in &bad {
        for answer in [proxy.get(url).await, proxy.authorize(url).await] {
            assert_eq!(answer.error(), (401, "UNAUTHORIZED".to_owned()), "{url}");
            let challenge = answer.header("www-authenticate");
            assert!(
                challenge.starts_with("Bearer realm=\"https://"),
                "{challenge}"
            );
        }
    }
    for url in [
        "",
        "/",
        "/v2/",
        "/_storage_proxy_auth",
        good.trim_start_matches('/'),
    ] {
        assert_eq!(proxy.authorize(url).await.error().0, 401, "{url}");
    }
    let without = proxy.world.request("GET", "/_storage_proxy_auth").send();
    assert_eq!(without.await.error().0, 401);
    let not_ascii = Request::get("/_storage_proxy_auth")
        .header("x-original-uri", &b"/_storage_proxy/\xff/http/h/p"[..])
        .body(Empty::new())
        .unwrap();
    let answer = Box::pin(proxy.world.service.answer(not_ascii)).await;
    assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(store.asked().len(), asked, "the store was asked");

    // A grant ends, leeway and all.
    proxy.world.clock.advance(Duration::from_secs(629));
    assert_eq!(proxy.get(&good).await.status, StatusCode::OK);
    proxy.world.clock.advance(Duration::from_secs(1));
    assert_eq!(proxy.get(&good).await.error().0, 401);
    assert_eq!(proxy.authorize(&good).await.error().0, 401);
}

#[tokio::test]
async fn only_reading_goes_through_and_only_where_the_proxy_is_switched_on() {
    let store = Store::answering(ok(""));
    let proxy = Proxy::new().await;
    let url = proxy.url(&store.address()).await;
    for method in ["PUT", "POST", "DELETE", "PATCH", "OPTIONS"] {
        for path in [&url, "/_storage_proxy_auth"] {
            let answer = proxy.world.request(method, path).send().await;
            assert_eq!(answer.error().0, 405, "{method} {path}");
            assert_eq!(answer.header("allow"), "GET, HEAD");
        }
    }
    assert_eq!(store.asked().len(), 0);
    let without = Proxy::with(ApiOptions::default()).await;
    let url = without.url(&store.address()).await;
    assert_eq!(without.get(&url).await.error().0, 404);
    assert_eq!(without.authorize(&url).await.error().0, 404);
    assert_eq!(store.asked().len(), 0);
}

#[tokio::test]
async fn a_store_that_fails_before_the_first_byte_is_an_error_of_the_protocol() {
    let proxy = Proxy::new().await;
    let nobody = {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        taken.local_addr().unwrap().to_string()
    };
    let temporary = Store {
        host: nobody,
        asked: Arc::default(),
    };
    let answer = proxy.get(&proxy.url(&temporary.address()).await).await;
    assert_eq!(answer.error(), (503, "UNAVAILABLE".to_owned()));
    assert_eq!(answer.header("retry-after"), "10");
    for (status, expected) in [
        ("500 Internal Server Error", 503),
        ("503 Slow Down", 503),
        ("429 Too Many Requests", 503),
        ("403 Forbidden", 502),
        ("404 Not Found", 502),
        ("400 Bad Request", 502),
        ("302 Found\r\nLocation: http://169.254.169.254/", 502),
        ("204 No Content", 502),
        ("200 OK\r\nTransfer-Encoding: chunked", 502),
        ("", 503),
        ("garbage", 503),
    ] {
        let length = if status.contains("chunked") {
            ""
        } else {
            "Content-Length: 5\r\n"
        };
        let store = Store::answering(format!(
            "HTTP/1.1 {status}\r\n{length}Connection: close\r\n\r\n<xml>"
        ));
        let answer = proxy.get(&proxy.url(&store.address()).await).await;
        assert_eq!(
            answer.error(),
            (expected, "UNAVAILABLE".to_owned()),
            "{status}"
        );
        let retry_after = if expected == 503 { "10" } else { "" };
        assert_eq!(answer.header("retry-after"), retry_after, "{status}");
        let text = String::from_utf8_lossy(&answer.body);
        assert!(
            !text.contains("xml") && !text.contains(&store.host),
            "{text}"
        );
        assert_eq!(store.asked().len(), 1);
    }
}

#[tokio::test]
async fn a_store_that_fails_in_the_middle_breaks_the_transfer() {
    let proxy = Proxy::new().await;
    let head = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n01234";
    let cut = Store::answering(&head[..]);
    let stalls = Store::with(move |stream, _| {
        stream.write_all(head)?;
        stream.read_to_end(&mut Vec::new()).map(|_| ())
    });
    for store in [cut, stalls] {
        let url = proxy.url(&store.address()).await;
        let request = Request::get(&url).body(Empty::new()).unwrap();
        let response = Box::pin(proxy.world.service.answer(request)).await;
        assert_eq!(response.status(), StatusCode::OK);
        let mut body = response.into_body();
        let first = body.frame().await.unwrap().unwrap().into_data().unwrap();
        assert_eq!(&*first, b"01234");
        body.frame().await.unwrap().unwrap_err();
    }
}

#[tokio::test]
async fn a_grant_that_cannot_be_checked_now_is_503() {
    let store = Store::answering(ok(""));
    let proxy = Proxy::new().await;
    let url = proxy.url(&store.address()).await;
    proxy.world.database.close().await;
    for answer in [proxy.get(&url).await, proxy.authorize(&url).await] {
        assert_eq!(answer.error(), (503, "UNAVAILABLE".to_owned()));
    }
    assert_eq!(store.asked().len(), 0);
}

#[tokio::test]
async fn nothing_that_opens_a_store_is_in_the_log() {
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt()
        .with_writer(log.clone())
        .with_ansi(false)
        .with_max_level(tracing::Level::TRACE)
        .finish();
    // While a process has a single subscriber, other tests' threads, which have none, decide for all which lines are wanted.
    let _second = tracing::Dispatch::new(
        tracing_subscriber::fmt()
            .with_writer(Log::default())
            .finish(),
    );
    let _guard = tracing::subscriber::set_default(subscriber);
    let proxy = Proxy::new().await;
    let good = Store::answering(ok(""));
    let fails = Store::answering("HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n");
    let breaks = Store::answering("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n");
    let nobody = Store {
        host: "127.0.0.1:1".to_owned(),
        asked: Arc::default(),
    };
    let mut grants = Vec::new();
    for store in [&good, &fails, &breaks, &nobody] {
        let address = store.address();
        let grant = proxy.grant(&address).await;
        let url = url(&grant, &address);
        let request = Request::get(&url).body(Empty::new()).unwrap();
        let response = Box::pin(proxy.world.service.answer(request)).await;
        response.into_body().collect().await.ok();
        proxy.authorize(&url).await;
        for hostile in [
            format!("/{url}"),
            format!("/v2{url}"),
            url.replacen("http", "ftp", 1),
            url.replace('/', "//"),
            url.replacen("_storage", "%5fstorage", 1),
            format!("/_storage_proxy/{grant}"),
        ] {
            proxy.get(&hostile).await;
        }
        grants.push(grant);
    }
    let text = log.text();
    let path = format!("/_storage_proxy/***/http/{}/bucket/root/", good.host);
    let line = text.lines().find(|line| line.contains(&path)).unwrap();
    for field in [
        "INFO",
        "http.route=\"storage-proxy\"",
        "http.response.status_code=200",
        "http.response.body.bytes=10",
        "http.response.complete=true",
    ] {
        assert!(line.contains(field), "{field} in {line}");
    }
    assert!(text.contains("answered 403"), "{text}");
    assert!(text.contains("could not connect to 127.0.0.1:1"), "{text}");
    assert!(
        text.contains("The answer broke off after 0 of 10"),
        "{text}"
    );
    for secret in ["hunter2", "X-Amz-Signature"] {
        assert!(!text.contains(secret), "{secret} in the log");
    }
    for grant in grants {
        let (_, signature) = grant.rsplit_once('.').unwrap();
        let encoded = URL_SAFE.encode(&grant);
        let (first, rest) = encoded.split_at(200);
        for secret in [signature, first, rest] {
            assert!(!text.contains(secret), "{secret} in the log");
        }
    }
}

#[test]
fn hostile_paths_are_answered_and_nothing_is_asked_for_them() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let store = Store::answering(ok(""));
    let (proxy, grant) = runtime.block_on(async {
        let proxy = Proxy::new().await;
        let grant = proxy.grant(&store.address()).await;
        (proxy, URL_SAFE.encode(grant))
    });
    let host = &store.host;
    // Chance makes the path that was granted, too.
    let granted = format!("/_storage_proxy/{grant}/http/{host}/{URI}");
    let expected = Cell::new(0);
    proptest!(ProptestConfig::with_cases(200), |(
        scheme in "https?|[a-z:%.]{0,6}",
        between in "[/.%2eEfF@:?;\\\\]{1,8}",
        rest in "[!-~]{0,40}",
    )| {
        for url in [
            format!("/_storage_proxy/{grant}/{scheme}/{host}{between}{rest}"),
            format!("/_storage_proxy/{grant}/{scheme}{between}{host}/{rest}"),
            format!("/_storage_proxy/{grant}{between}{scheme}/{host}/{URI}"),
            format!("/_storage_proxy{between}{grant}/{scheme}/{host}/{URI}{rest}"),
        ] {
            let Ok(request) = Request::get(&url).body(Empty::new()) else {
                continue;
            };
            let is_granted = *request.uri() == granted.as_str();
            let answering = Box::pin(proxy.world.service.answer(request));
            let status = runtime.block_on(answering).status().as_u16();
            if is_granted {
                expected.set(expected.get() + 1);
            } else {
                prop_assert!(matches!(status, 401 | 404), "{status} {url}");
            }
        }
    });
    assert_eq!(store.asked().len(), expected.get());
}
