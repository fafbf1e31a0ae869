//! HTTPS, what stands before the registry, and how its doors close: the real program with a certificate of a test's own authority.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use roadstead_testkit::{RegistryProcess, eventually, run};
use roadstead_tests::Secured;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::process::Command;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::wire::{LIMIT, read_answer, send_bytes};

/// The longest that a registry may take to find out that it cannot start, and that curl may take.
const PROGRAM_LIMIT: Duration = Duration::from_secs(30);

/// A registry with a certificate for `localhost`.
struct Front(Secured);

impl std::ops::Deref for Front {
    type Target = Secured;

    fn deref(&self) -> &Secured {
        &self.0
    }
}

impl Front {
    fn new(lines: &str) -> Self {
        Self(Secured::new(lines))
    }

    async fn start(&self) -> RegistryProcess {
        self.settings.start().await
    }

    /// It ends with a failure, and says this.
    async fn assert_refuses(&self, words: &str) {
        let mut registry = self.settings.spawn();
        let status = registry.wait(PROGRAM_LIMIT).await;
        let log = registry.log();
        assert!(status.code().is_some_and(|code| code != 0), "{status}");
        assert!(log.contains(words), "{words:?} is not in:\n{log}");
    }

    /// What curl gets, with the head of the answer.
    async fn curl(&self, arguments: &[&str], path: &str) -> String {
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--show-error", "--include", "--cacert"])
            .arg(self.path("ca.crt"))
            .args(arguments)
            .arg(format!("https://localhost:{}{path}", self.tls.port()));
        run(&mut curl, PROGRAM_LIMIT)
            .await
            .expect_success()
            .to_lowercase()
    }

    /// Speaks TLS on this connection.
    async fn shake_hands(&self, stream: TcpStream) -> TlsStream<TcpStream> {
        let mut roots = RootCertStore::empty();
        let authority = CertificateDer::from(self.authority.der().to_vec());
        roots.add(authority).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = ServerName::try_from("localhost").unwrap();
        TlsConnector::from(Arc::new(config))
            .connect(name, stream)
            .await
            .unwrap()
    }

    async fn connect(&self) -> TlsStream<TcpStream> {
        self.shake_hands(TcpStream::connect(self.tls).await.unwrap())
            .await
    }

    /// The certificate that a new connection is shown.
    async fn shown(&self) -> Vec<u8> {
        let stream = self.connect().await;
        stream.get_ref().1.peer_certificates().unwrap()[0].to_vec()
    }
}

/// Asks on a connection that stays open, with these lines of the head besides, and returns the status.
async fn ask<S>(stream: &mut S, path: &str, lines: &str) -> u16
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{lines}\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    stream.flush().await.unwrap();
    let mut answer = Vec::new();
    let reading = async {
        loop {
            let head = String::from_utf8_lossy(&answer).to_lowercase();
            if let Some((head, body)) = head.split_once("\r\n\r\n") {
                let (_, length) = head.split_once("content-length: ").unwrap();
                let length: usize = length.lines().next().unwrap().parse().unwrap();
                if body.len() >= length {
                    return head.split(' ').nth(1).unwrap().parse().unwrap();
                }
            }
            assert_ne!(stream.read_buf(&mut answer).await.unwrap(), 0, "{head}");
        }
    };
    tokio::time::timeout(LIMIT, reading).await.unwrap()
}

/// Waits until the log has this.
async fn assert_logs(registry: &RegistryProcess, words: &str) {
    eventually(words, async || registry.log().contains(words).then_some(())).await;
}

#[tokio::test]
async fn https_is_served_in_both_versions_of_http_and_plain_http_only_leads_there() {
    let front = Front::new("");
    let registry = front.start().await;
    let port = front.tls.port();
    for (option, version) in [("--http2", "http/2 401"), ("--http1.1", "http/1.1 401")] {
        let answer = front.curl(&[option], "/v2/").await;
        assert!(answer.starts_with(version), "{answer}");
        let hsts = "strict-transport-security: max-age=63072000; preload\r\n";
        assert!(answer.contains(hsts), "{answer}");
        let realm = format!("realm=\"https://localhost:{port}/v2/auth\"");
        assert!(answer.contains(&realm), "{answer}");
    }
    for (version, expected) in [("--tlsv1.2", 0), ("--tlsv1.3", 0), ("--tls-max", 35)] {
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--cacert"])
            .arg(front.path("ca.crt"))
            .args(match version {
                "--tls-max" => &["--tls-max", "1.1", "--ciphers", "DEFAULT@SECLEVEL=0"][..],
                "--tlsv1.2" => &["--tlsv1.2", "--tls-max", "1.2"],
                _ => &["--tlsv1.3"],
            })
            .arg(format!("https://localhost:{port}/v2/"));
        let finished = run(&mut curl, PROGRAM_LIMIT).await;
        assert_eq!(finished.status.code(), Some(expected), "{finished:?}");
    }

    let plain = async |request: &str| {
        let request =
            format!("{request} HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n");
        let answer = send_bytes(front.settings.address, request.as_bytes()).await;
        (answer.status, answer.text.to_lowercase())
    };
    for (request, status) in [
        ("GET /v2/_catalog?n=1", 301),
        ("HEAD /v2/_catalog?n=1", 301),
        ("POST /v2/_catalog?n=1", 308),
    ] {
        let (answered, text) = plain(request).await;
        assert_eq!(answered, Some(status), "{request}");
        let location = format!("location: https://localhost:{port}/v2/_catalog?n=1\r\n");
        assert!(text.contains(&location), "{text}");
        assert!(!text.contains("strict-transport-security"), "{text}");
    }
    for path in [
        "/health/instance",
        "/health/endtoend",
        "/status",
        "/_internal_ping",
        "/v1/_ping",
    ] {
        // A check may fail, and says so; it is never sent elsewhere.
        let (status, text) = plain(&format!("GET {path}")).await;
        assert!(matches!(status, Some(200 | 503)), "{path}: {text}");
        assert!(!text.contains("location: "), "{path}: {text}");
    }
    assert!(registry.stop().await.success());
}

#[tokio::test]
async fn a_certificate_is_replaced_five_times_under_load_without_a_failed_request() {
    let front = Front::new("");
    let registry = front.start().await;
    let mut current = front.issued.clone();
    let load = async |stop: &tokio::sync::watch::Receiver<bool>| {
        let mut kept = front.connect().await;
        let mut answered = 0_u64;
        while !*stop.borrow() {
            assert_eq!(ask(&mut kept, "/v2/", "").await, 401);
            // And on a connection of its own.
            assert_eq!(
                ask(&mut front.connect().await, "/_internal_ping", "").await,
                200
            );
            answered += 2;
        }
        answered
    };
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let replace = async {
        for round in 0..5 {
            let next = front
                .authority
                .issue(&["localhost", &format!("round-{round}.example")]);
            front.install(&next);
            if round == 2 {
                // The signal saves the wait for the next look.
                registry.signal("-HUP").await;
            }
            eventually("the new certificate is shown", async || {
                let shown = front.shown().await;
                assert!(shown == current.der || shown == next.der);
                (shown == next.der).then_some(())
            })
            .await;
            current = next;
        }
        stop.send(true).unwrap();
    };
    let (one, two, three, ()) =
        tokio::join!(load(&stopped), load(&stopped), load(&stopped), replace);
    assert!(one > 0 && two > 0 && three > 0);
    println!("{} requests, none failed", one + two + three);

    front.write("ssl.cert", "garbage");
    assert_logs(&registry, "was replaced by what cannot be served").await;
    assert_eq!(front.shown().await, current.der);
    assert!(registry.stop().await.success());
}

#[tokio::test]
async fn a_certificate_that_cannot_be_served_stops_the_start_and_one_that_clients_refuse_is_told() {
    let front = Front::new("");
    let other = front.authority.issue_for(&["other.example"], (2000, 2001));
    front.write("ssl.key", &other.key);
    front
        .assert_refuses("the key does not belong to the certificate")
        .await;
    front.write("ssl.key", "garbage");
    front.assert_refuses("the file of the key holds none").await;
    fs::remove_file(front.path("ssl.cert")).unwrap();
    front.assert_refuses("ssl.cert").await;
    assert!(!front.settings.data_dir.join("registry.db").exists());

    front.install(&other);
    let registry = front.start().await;
    let log = registry.log();
    for word in ["has expired", "is not for localhost", "other.example"] {
        assert!(log.contains(word), "{word}: {log}");
    }
    assert!(registry.stop().await.success());
}

#[tokio::test]
async fn with_tls_ended_before_it_the_registry_speaks_plain_http_beside_its_key() {
    let front = Front::new("EXTERNAL_TLS_TERMINATION: true\nTRUSTED_PROXY_CIDR: 127.0.0.0/8");
    let registry = front.start().await;
    let request = b"GET /v2/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    let answer = send_bytes(front.settings.address, request).await;
    assert_eq!(answer.status, Some(401));
    assert!(
        answer.text.contains("realm=\"https://localhost:"),
        "{}",
        answer.text
    );
    assert!(!answer.text.to_lowercase().contains("strict-transport"));
    assert!(TcpStream::connect(front.tls).await.is_err());
    assert!(registry.stop().await.success());
}

#[tokio::test]
async fn a_trusted_balancer_names_the_client_by_the_proxy_protocol_and_nobody_else_does() {
    let front = Front::new("FEATURE_PROXY_PROTOCOL: true\nTRUSTED_PROXY_CIDR: [127.0.0.0/8]");
    let registry = front.start().await;
    let mut stream = TcpStream::connect(front.tls_proxy).await.unwrap();
    stream
        .write_all(b"PROXY TCP4 192.0.2.7 127.0.0.1 40000 7443\r\n")
        .await
        .unwrap();
    let mut stream = front.shake_hands(stream).await;
    // The client that was named is not a balancer: what it says of others counts for nothing.
    let forged = "X-Forwarded-For: 198.51.100.9\r\n";
    assert_eq!(ask(&mut stream, "/v2/", forged).await, 401);
    assert_logs(&registry, "client.address=192.0.2.7").await;
    assert!(!registry.log().contains("198.51.100.9"));

    let mut plain = TcpStream::connect(front.tls_proxy).await.unwrap();
    plain.write_all(&[0x16; 64]).await.unwrap();
    let mut said = Vec::new();
    let closed = tokio::time::timeout(LIMIT, plain.read_to_end(&mut said)).await;
    assert!(closed.is_ok() && said.is_empty());
    assert_logs(&registry, "does not begin with a header").await;
    // The port that redirects takes both.
    let request = "GET /_internal_ping HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    for begin in ["", "PROXY TCP4 192.0.2.7 127.0.0.1 40000 8080\r\n"] {
        let request = format!("{begin}{request}");
        let answer = send_bytes(front.settings.address, request.as_bytes()).await;
        assert_eq!(answer.status, Some(200));
    }
    assert!(registry.stop().await.success());

    let front = Front::new("FEATURE_PROXY_PROTOCOL: true\nTRUSTED_PROXY_CIDR: [192.0.2.0/24]");
    let registry = front.start().await;
    let mut stranger = TcpStream::connect(front.tls_proxy).await.unwrap();
    let header = b"PROXY TCP4 192.0.2.7 127.0.0.1 40000 7443\r\n";
    stranger.write_all(header).await.unwrap();
    let answer = read_answer(&mut stranger, true).await;
    assert_eq!((answer.status, answer.text.as_str()), (None, ""));
    assert_logs(&registry, "TRUSTED_PROXY_CIDR does not name it").await;
    assert!(registry.stop().await.success());
}

#[tokio::test]
async fn headers_of_balancers_count_from_trusted_networks_only() {
    let forged = "X-Forwarded-For: 203.0.113.5, 192.0.2.7\r\nX-Forwarded-Proto: https\r\n";
    for (trusted, client) in [
        ("[127.0.0.0/8]", "client.address=192.0.2.7"),
        ("[10.0.0.0/8]", "client.address=127.0.0.1"),
    ] {
        let front = Front::new(&format!("TRUSTED_PROXY_CIDR: {trusted}"));
        let registry = front.start().await;
        let mut stream = front.connect().await;
        assert_eq!(ask(&mut stream, "/v2/", forged).await, 401);
        assert_logs(&registry, client).await;
        assert!(!registry.log().contains("203.0.113.5"));
        assert!(registry.stop().await.success());
    }
}
