//! A server that tells every client who it takes it for, and clients.

use std::convert::Infallible;
use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http2::{self, SendRequest};
use hyper::service::service_fn;
use hyper::{Request, Response, Version};
use hyper_util::rt::{TokioExecutor, TokioIo};
use roadstead_runtime::{Clock, SystemClock, Tasks};
use roadstead_test_servers::{CertificateAuthority, IssuedCertificate};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::{
    Certificates, Door, IpVersion, Limits, Peer, Port, ProxyProtocol, TlsFiles, TlsOptions,
    TlsVersion, serve,
};

/// The longest that a test waits for what has to come.
pub(super) const LIMIT: Duration = Duration::from_mins(1);

/// The name that certificates are for.
pub(super) const NAME: &str = "registry.example.org";

/// A directory with a certificate and its key.
pub(super) struct Files {
    pub(super) authority: CertificateAuthority,
    pub(super) issued: IssuedCertificate,
    pub(super) directory: TempDir,
}

impl Files {
    pub(super) fn new() -> Self {
        let authority = CertificateAuthority::default();
        let files = Self {
            issued: authority.issue(&[NAME, "192.0.2.1"]),
            authority,
            directory: tempfile::tempdir().unwrap(),
        };
        files.write(&files.issued);
        files
    }

    pub(super) fn write(&self, issued: &IssuedCertificate) {
        self.write_as("ssl.cert", &issued.certificate);
        self.write_as("ssl.key", &issued.key);
    }

    pub(super) fn write_as(&self, name: &str, content: &str) {
        fs::write(self.path().join(name), content).unwrap();
    }

    pub(super) fn path(&self) -> &Path {
        self.directory.path()
    }

    pub(super) fn options(&self) -> TlsOptions {
        TlsOptions {
            files: TlsFiles {
                certificate: self.path().join("ssl.cert"),
                key: self.path().join("ssl.key"),
            },
            versions: vec![TlsVersion::V12, TlsVersion::V13],
            hostname: Some(NAME.to_owned()),
        }
    }

    pub(super) async fn load(&self) -> Certificates {
        Certificates::load(self.options(), clock()).await.unwrap()
    }

    /// Speaks TLS, offering these protocols.
    pub(super) async fn connect(&self, address: SocketAddr, alpn: &[&str]) -> TlsStream<TcpStream> {
        let stream = TcpStream::connect(address).await.unwrap();
        self.shake_hands(stream, alpn).await
    }

    pub(super) async fn shake_hands(
        &self,
        stream: TcpStream,
        alpn: &[&str],
    ) -> TlsStream<TcpStream> {
        self.try_shake_hands(stream, alpn).await.unwrap()
    }

    pub(super) async fn try_shake_hands(
        &self,
        stream: TcpStream,
        alpn: &[&str],
    ) -> std::io::Result<TlsStream<TcpStream>> {
        let mut roots = RootCertStore::empty();
        let authority = CertificateDer::from(self.authority.der().to_vec());
        roots.add(authority).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        let name = ServerName::try_from(NAME).unwrap();
        TlsConnector::from(Arc::new(config))
            .connect(name, stream)
            .await
    }
}

pub(super) fn clock() -> Arc<dyn Clock> {
    Arc::new(SystemClock)
}

/// The certificate that the server showed.
pub(super) fn shown(stream: &TlsStream<TcpStream>) -> &[u8] {
    stream.get_ref().1.peer_certificates().unwrap()[0].as_ref()
}

/// A door that is served until the end of the test. `/slow` is answered once it is released.
pub(super) struct Served {
    pub(super) address: SocketAddr,
    pub(super) tasks: Tasks,
    pub(super) slow: Arc<Slow>,
}

#[derive(Default)]
pub(super) struct Slow {
    pub(super) begun: Notify,
    pub(super) released: Notify,
}

/// A free port for plain HTTP.
fn door() -> Door {
    Door::plain(Port::bind("127.0.0.1:0".parse().unwrap(), IpVersion::AsWritten).unwrap())
}

impl Served {
    pub(super) fn new(tls: Option<Certificates>, proxy: Option<ProxyProtocol>) -> Self {
        Self::begin(
            Door {
                tls,
                proxy,
                ..door()
            },
            LIMIT,
            clock(),
        )
    }

    /// Plain HTTP, where requests in flight have this long once the server is asked to stop.
    pub(super) fn with_drain(drain: Duration) -> Self {
        Self::begin(door(), drain, clock())
    }

    /// Plain HTTP by this clock.
    pub(super) fn by(clock: Arc<dyn Clock>) -> Self {
        Self::begin(door(), LIMIT, clock)
    }

    fn begin(door: Door, drain: Duration, clock: Arc<dyn Clock>) -> Self {
        let address = door.port.address();
        let tasks = Tasks::new();
        let slow = Arc::new(Slow::default());
        let service = {
            let slow = Arc::clone(&slow);
            move |peer: Peer| {
                let slow = Arc::clone(&slow);
                service_fn(move |request: Request<Incoming>| {
                    let slow = Arc::clone(&slow);
                    async move {
                        if request.uri().path() == "/slow" {
                            slow.begun.notify_one();
                            slow.released.notified().await;
                        }
                        let text = format!("{} {}", peer.address, peer.tls);
                        Ok::<_, Infallible>(Response::new(Full::new(Bytes::from(text))))
                    }
                })
            }
        };
        tasks.spawn(serve(
            door,
            service,
            Limits::new(100, 10, drain),
            clock,
            tasks.clone(),
        ));
        Self {
            address,
            tasks,
            slow,
        }
    }
}

/// What the server answers on this connection, which stays open with the sender.
pub(super) struct Conversation(hyper::client::conn::http1::SendRequest<Full<Bytes>>);

impl Conversation {
    pub(super) async fn begin<S>(stream: S) -> Self
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .unwrap();
        // Ends with the connection.
        Tasks::new().spawn(async move {
            connection.await.ok();
        });
        Self(sender)
    }

    pub(super) async fn ask(&mut self, path: &str) -> hyper::Result<String> {
        let request = Request::get(path)
            .header("host", NAME)
            .body(Full::default())
            .unwrap();
        self.0.ready().await?;
        let response = self.0.send_request(request).await?;
        assert_eq!(response.version(), Version::HTTP_11);
        let body = response.into_body().collect().await?.to_bytes();
        Ok(String::from_utf8(body.to_vec()).unwrap())
    }
}

/// A client of HTTP/2 that lets the server send so many bytes of an answer before it takes them. Its connection stays open with the sender.
pub(super) async fn begin_http2<S>(stream: S, window: u32) -> SendRequest<Full<Bytes>>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (sender, connection) = http2::Builder::new(TokioExecutor::new())
        .initial_stream_window_size(window)
        .handshake(TokioIo::new(stream))
        .await
        .unwrap();
    Tasks::new().spawn(async move {
        connection.await.ok();
    });
    sender
}

/// The head of what the server answers there, and its body, of which nothing is read yet.
pub(super) async fn send_http2(sender: &mut SendRequest<Full<Bytes>>) -> Response<Incoming> {
    let request = Request::get(format!("https://{NAME}/"))
        .body(Full::default())
        .unwrap();
    let response = sender.send_request(request).await.unwrap();
    assert_eq!(response.version(), Version::HTTP_2);
    response
}

/// What the server answers to one request of HTTP/2.
pub(super) async fn ask_http2<S>(stream: S) -> String
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut sender = begin_http2(stream, 65_535).await;
    let response = send_http2(&mut sender).await;
    let body = response.into_body().collect().await.unwrap().to_bytes();
    String::from_utf8(body.to_vec()).unwrap()
}

pub(super) fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}
