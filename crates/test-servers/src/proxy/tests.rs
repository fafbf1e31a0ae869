//! Each fault, before a server that says what it was sent, and before the S3 server.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use roadstead_runtime::{Clock as _, SystemClock};

use super::*;
use crate::http::s3_signature::signed;
use crate::http::{Answer, Client};
use crate::s3::S3Server;

/// How long a test waits for what must not come.
const SILENCE: Duration = Duration::from_millis(300);

/// Answers `/N` with N bytes, `/chunked/N` with N bytes in chunks of 1000; takes what it is sent.
struct Origin {
    port: u16,
    bytes_taken: Arc<AtomicUsize>,
}

impl Origin {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let bytes_taken = Arc::new(AtomicUsize::new(0));
        let taken = Arc::clone(&bytes_taken);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let taken = Arc::clone(&taken);
                thread::spawn(move || while serve(&stream, &taken).is_ok() {});
            }
        });
        Self { port, bytes_taken }
    }
}

fn serve(stream: &TcpStream, taken: &AtomicUsize) -> io::Result<()> {
    let mut reader = BufReader::with_capacity(1, stream);
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if line == "\r\n" {
            break;
        }
        lines.push(line);
    }
    let first: Vec<&str> = lines[0].split(' ').collect();
    let length = lines
        .iter()
        .find_map(|line| line.strip_prefix("Content-Length: "));
    let mut left: usize = length.map_or(0, |length| length.trim().parse().unwrap());
    let mut buffer = vec![0; 64 * 1024];
    while left > 0 {
        let part = left.min(buffer.len());
        let length = reader.read(&mut buffer[..part])?;
        if length == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        taken.fetch_add(length, Ordering::SeqCst);
        left -= length;
    }
    let path = first[1].trim_start_matches('/');
    let path = path.split('?').next().unwrap();
    let mut out = stream;
    if let Some(length) = path.strip_prefix("chunked/") {
        write!(out, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")?;
        for chunk in content(length.parse().unwrap()).chunks(1000) {
            write!(out, "{:x}\r\n", chunk.len())?;
            out.write_all(chunk)?;
            write!(out, "\r\n")?;
        }
        return write!(out, "0\r\n\r\n");
    }
    let length = path.parse().unwrap_or_default();
    write!(
        out,
        "HTTP/1.1 200 OK\r\nETag: \"true\"\r\nContent-Length: {length}\r\n\r\n"
    )?;
    if first[0] == "GET" {
        out.write_all(&content(length))?;
    }
    Ok(())
}

fn content(length: usize) -> Vec<u8> {
    (0..=250).cycle().take(length).collect()
}

fn world() -> (Origin, FaultProxy, Client) {
    let origin = Origin::start();
    let proxy = FaultProxy::start(origin.port);
    let client = Client::connect(proxy.port()).unwrap();
    (origin, proxy, client)
}

fn assert_is(answer: io::Result<Answer>, length: usize) {
    let answer = answer.unwrap();
    assert_eq!(answer.status, 200);
    assert!(answer.body == content(length));
}

#[test]
fn what_passes_is_the_same_and_counted() {
    let (origin, proxy, mut client) = world();
    assert_is(client.get("/100000"), 100_000);
    assert_is(client.get("/chunked/2500"), 2500);
    let answer = client.exchange("HEAD", "/77?x=y", "", b"").unwrap();
    assert_eq!(answer.fields["content-length"], "77");
    let body = content(200_000);
    assert_is(client.exchange("PUT", "/0", "", &body), 0);
    let mut other = Client::connect(proxy.port()).unwrap();
    assert_is(other.get("/77"), 77);
    assert_eq!(origin.bytes_taken.load(Ordering::SeqCst), body.len());
    let seen: Vec<String> = proxy.requests().iter().map(Request::to_string).collect();
    assert_eq!(
        seen,
        [
            "GET /100000 200",
            "GET /chunked/2500 200",
            "HEAD /77?x=y 200",
            "PUT /0 200",
            "GET /77 200"
        ]
    );
    assert_eq!(proxy.count("HEAD", "/77"), 1);
    let traffic = proxy.traffic();
    assert_eq!((traffic.connections, traffic.connections_open), (2, 2));
    assert!((200_000..201_000).contains(&traffic.bytes_to_server));
    assert!((102_577..104_000).contains(&traffic.bytes_to_clients));
}

#[test]
fn a_refused_port_comes_back() {
    let (_origin, proxy, mut client) = world();
    assert_is(client.get("/5"), 5);
    for _ in 0..3 {
        proxy.set(Fault::Refuse);
        assert_eq!(
            client.get("/5").unwrap_err().kind(),
            io::ErrorKind::ConnectionReset
        );
        assert_eq!(
            Client::connect(proxy.port()).unwrap_err().kind(),
            io::ErrorKind::ConnectionRefused
        );
        proxy.set(Fault::Pass);
        client = Client::connect(proxy.port()).unwrap();
        assert_is(client.get("/5"), 5);
    }
}

#[test]
fn open_and_new_connections_are_reset() {
    let (_origin, proxy, mut client) = world();
    client.send("GET", "/20000000", "", b"").unwrap();
    proxy.set(Fault::Reset);
    let cut = client.receive("GET").unwrap_err();
    assert_eq!(cut.kind(), io::ErrorKind::ConnectionReset);
    assert_eq!(proxy.traffic().connections_open, 0);
    // The reset may come before the request has been sent, or after.
    let new = Client::connect(proxy.port()).and_then(|mut client| client.get("/5"));
    let kind = new.unwrap_err().kind();
    assert!(
        matches!(
            kind,
            io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe
        ),
        "{kind}"
    );
    proxy.set(Fault::Pass);
    assert_is(Client::connect(proxy.port()).unwrap().get("/5"), 5);
}

#[test]
fn a_black_hole_takes_everything_and_answers_nothing() {
    let (origin, proxy, mut idle) = world();
    assert_is(idle.get("/5"), 5);
    let mut busy = Client::connect(proxy.port()).unwrap();
    let before = proxy.traffic().bytes_to_clients;
    busy.send("GET", "/20000000", "", b"").unwrap();
    while proxy.traffic().bytes_to_clients == before {
        thread::yield_now();
    }
    proxy.set(Fault::BlackHole);
    let mut new = Client::connect(proxy.port()).unwrap();
    // More than any buffer between holds.
    new.send("PUT", "/0", "", &content(20_000_000)).unwrap();
    new.limit(SILENCE);
    assert_eq!(
        new.receive("PUT").unwrap_err().kind(),
        io::ErrorKind::WouldBlock
    );
    assert_eq!(origin.bytes_taken.load(Ordering::SeqCst), 0);
    proxy.set(Fault::Pass);
    assert_eq!(
        new.receive("PUT").unwrap_err().kind(),
        io::ErrorKind::ConnectionReset
    );
    assert_is(busy.receive("GET"), 20_000_000);
    assert_is(idle.get("/5"), 5);
}

#[test]
fn slow_answers_can_be_made_fast_again() {
    let (origin, proxy, mut client) = world();
    let slow = |direction| Fault::Slow {
        bytes_per_second: 50_000,
        direction,
    };
    let seconds = |exchange: &mut dyn FnMut()| {
        let before = SystemClock.now();
        exchange();
        (SystemClock.now() - before).as_seconds_f64()
    };
    proxy.set(slow(Direction::Answers));
    let body = content(5_000_000);
    // More than a minute, if requests were slowed as well.
    assert_is(client.exchange("PUT", "/0", "", &body), 0);
    let took = seconds(&mut || assert_is(client.get("/20000"), 20_000));
    assert!(took > 0.4, "{took} s");
    proxy.set(slow(Direction::Both));
    let took = seconds(&mut || assert_is(client.exchange("PUT", "/0", "", &body[..20_000]), 0));
    assert!(took > 0.4, "{took} s");
    client.send("GET", "/20000000", "", b"").unwrap();
    proxy.set(Fault::Pass);
    assert_is(client.receive("GET"), 20_000_000);
    assert_eq!(origin.bytes_taken.load(Ordering::SeqCst), 5_020_000);
}

#[test]
fn answers_are_cut_where_it_is_said() {
    let (origin, proxy, mut client) = world();
    proxy.set(Fault::CutAfter { bytes: 0 });
    let cut = client.exchange("PUT", "/0", "", b"bytes").unwrap_err();
    assert_eq!(cut.kind(), io::ErrorKind::UnexpectedEof);
    assert_eq!(origin.bytes_taken.load(Ordering::SeqCst), 5);
    let mut client = Client::connect(proxy.port()).unwrap();
    proxy.set(Fault::CutAfter { bytes: 10_000 });
    assert_is(client.get("/5000"), 5000);
    assert_is(client.get("/5000"), 5000);
    let sent = proxy.traffic().bytes_to_clients;
    let cut = client.get("/50000").unwrap_err();
    assert_eq!(cut.kind(), io::ErrorKind::UnexpectedEof);
    assert_eq!(proxy.traffic().bytes_to_clients - sent, 10_000);
}

#[test]
fn statuses_are_answered_without_the_server_on_a_connection_that_stays() {
    let (origin, proxy, mut client) = world();
    assert_is(client.get("/5"), 5);
    for code in [500, 503, 429] {
        proxy.set(Fault::Status { code });
        let answer = client.exchange("PUT", "/0", "", &content(300_000)).unwrap();
        assert_eq!(answer.status, code);
        assert!(answer.body.starts_with(b"<?xml"), "{answer:?}");
        let answer = client.exchange("HEAD", "/5", "", b"").unwrap();
        assert_eq!((answer.status, answer.body.len()), (code, 0));
    }
    proxy.set(Fault::Pass);
    assert_is(client.get("/5"), 5);
    assert_eq!(origin.bytes_taken.load(Ordering::SeqCst), 0);
    assert_eq!(proxy.requests()[3].to_string(), "PUT /0 503");
    assert_eq!(proxy.traffic().connections, 1);
}

#[test]
fn bodies_are_wrong_where_it_is_said_and_heads_are_right() {
    let (_origin, proxy, mut client) = world();
    proxy.set(Fault::Corrupt { every: 1000 });
    for target in ["/100001", "/chunked/100001"] {
        let answer = client.get(target).unwrap();
        let right = content(100_001);
        let wrong: Vec<usize> = (0..right.len())
            .filter(|at| answer.body[*at] != right[*at])
            .collect();
        let expected: Vec<usize> = (0..=100_000).step_by(1000).collect();
        assert_eq!(wrong, expected, "{target}");
    }
    assert_ne!(client.get("/1").unwrap().body, content(1));
    proxy.set(Fault::Pass);
    assert_is(client.get("/100001"), 100_001);
}

#[test]
fn lies_are_told_about_etags_and_lengths() {
    let (_origin, proxy, mut client) = world();
    proxy.set(Fault::LyingEtag);
    let answer = client.get("/5").unwrap();
    assert_ne!(answer.fields["etag"], "\"true\"");
    assert_eq!(answer.body, content(5));
    for (by, length) in [(-10, 90), (10, 110), (-1000, 0)] {
        proxy.set(Fault::LyingLength { by });
        let answer = client.exchange("HEAD", "/100", "", b"").unwrap();
        assert_eq!(answer.fields["content-length"], length.to_string());
        let answer = client.get("/100").unwrap();
        assert_eq!(answer.body.len(), length);
        let same = length.min(100);
        assert_eq!(answer.body[..same], content(100)[..same]);
    }
    proxy.set(Fault::LyingLength { by: 3 });
    assert_eq!(client.get("/0").unwrap().body, [0; 3]);
    proxy.set(Fault::Pass);
    assert_is(client.get("/100"), 100);
}

#[test]
fn objects_of_a_real_store_can_be_damaged_on_their_way_and_seen_once() {
    let server = S3Server::start();
    server.create_bucket("bucket");
    let proxy = FaultProxy::start(server.port());
    let mut client = Client::connect(proxy.port()).unwrap();
    let body = content(3_000_000);
    let mut ask = |method, target, body: &[u8]| {
        client
            .exchange(method, target, &signed(&server, method, target), body)
            .unwrap()
    };
    assert_eq!(ask("PUT", "/bucket/a/b", &body).status, 200);
    assert_eq!(
        std::fs::read(server.bucket_directory("bucket").join("a/b")).unwrap(),
        body
    );
    assert!(ask("GET", "/bucket/a/b", b"").body == body);
    let list = "/bucket?list-type=2";
    let right = ask("GET", list, b"");
    assert!(right.body.starts_with(b"<?xml"), "{right:?}");
    proxy.set(Fault::Corrupt { every: 1_000_000 });
    assert_eq!(ask("GET", list, b"").body, right.body);
    let wrong = ask("GET", "/bucket/a/b", b"").body;
    let wrong = (0..body.len()).filter(|at| wrong[*at] != body[*at]);
    assert_eq!(wrong.collect::<Vec<_>>(), [0, 1_000_000, 2_000_000]);
    proxy.set(Fault::Pass);
    assert!(ask("GET", "/bucket/a/b", b"").body == body);
    assert_eq!(proxy.count("GET", "/bucket/a/b"), 3);
    assert_eq!(proxy.requests(), server.requests());
}

#[test]
fn a_server_that_is_killed_behind_a_proxy_shows_as_connections_that_are_reset() {
    let mut server = S3Server::start();
    let proxy = FaultProxy::start(server.port());
    let mut client = Client::connect(proxy.port()).unwrap();
    assert_eq!(client.get("/bucket/key").unwrap().status, 403);
    server.kill();
    assert!(client.get("/bucket/key").is_err());
    let mut client = Client::connect(proxy.port()).unwrap();
    assert_eq!(
        client.get("/bucket/key").unwrap_err().kind(),
        io::ErrorKind::ConnectionReset
    );
    server.restart();
    let mut client = Client::connect(proxy.port()).unwrap();
    assert_eq!(client.get("/bucket/key").unwrap().status, 403);
}
