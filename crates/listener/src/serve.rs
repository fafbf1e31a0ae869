//! Connections: accepted within a bound, let through the door, served with both versions of HTTP, ended when they stand still or the
//! process drains.

use std::error::Error;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::{Body, Incoming};
use hyper::service::{Service, service_fn};
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use roadstead_runtime::{Clock, Shutdown, Tasks};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;

use crate::answers::{Untaken, Watched};
use crate::certificates::Certificates;
use crate::port::Port;
use crate::proxy_protocol::{self, ProxyProtocol};
use crate::seldom::Seldom;
use crate::stream::{Prompt, Wire};

/// How long the first bytes of a connection may take to arrive, and in HTTP/1 the head of each request, with the rest before it. A connection
/// of HTTP/2 may rest for as long as its client answers pings.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);

/// How long a TLS handshake may take, the wait for its turn included.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// Header fields of one request. Past these or past about 400 kB the answer is 431 (hyper's own bound on the bytes).
const HEADERS_MAX: usize = 100;

/// Streams of one HTTP/2 connection at once.
const STREAMS_MAX: u32 = 128;

/// Who is at the other end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// The address: that of the connection, or the one that a header of the PROXY protocol named.
    pub address: IpAddr,
    /// Whether the connection is encrypted.
    pub tls: bool,
}

/// A port, and how connections pass it.
#[derive(Debug)]
pub struct Door {
    /// Where it is.
    pub port: Port,
    /// The certificate, where TLS is spoken.
    pub tls: Option<Certificates>,
    /// How the PROXY protocol is spoken, where it is.
    pub proxy: Option<ProxyProtocol>,
}

impl Door {
    /// Plain HTTP.
    pub const fn plain(port: Port) -> Self {
        Self {
            port,
            tls: None,
            proxy: None,
        }
    }
}

/// How much is taken in, over all doors that share a clone.
#[derive(Clone, Debug)]
pub struct Limits {
    connections: Arc<Semaphore>,
    handshakes: Arc<Semaphore>,
    drain: Duration,
}

impl Limits {
    /// Up to `connections_max` connections, of which `handshakes_max` are in a TLS handshake; once the process is asked to stop, requests
    /// in flight have `drain`.
    pub fn new(connections_max: usize, handshakes_max: usize, drain: Duration) -> Self {
        Self {
            connections: Arc::new(Semaphore::new(connections_max)),
            handshakes: Arc::new(Semaphore::new(handshakes_max)),
            drain,
        }
    }
}

/// Lets connections through the door until the shutdown, each to the service that is made for its peer. Then those that rest are closed, and
/// requests in flight may end within the limits' drain; what is still there is cut off. Handshakes run in tasks of their own.
pub async fn serve<S, B>(
    door: Door,
    service_for: impl Fn(Peer) -> S + Send + Sync + 'static,
    limits: Limits,
    clock: Arc<dyn Clock>,
    tasks: Tasks,
) where
    S: Service<Request<Incoming>, Response = Response<B>> + Send + 'static,
    S::Future: Send,
    S::Error: Into<Box<dyn Error + Send + Sync>>,
    B: Body + Unpin + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let shutdown = tasks.shutdown();
    let graceful = GracefulShutdown::new();
    let cut = Shutdown::default();
    let listener = door.port.listener;
    let not_accepted = Seldom::default();
    let way = Arc::new(Way {
        tls: door.tls,
        proxy: door.proxy,
        service_for,
        handshakes: Arc::clone(&limits.handshakes),
        server: server(),
        turned_away: Seldom::default(),
        clock: Arc::clone(&clock),
        shutdown: shutdown.clone(),
    });
    loop {
        // A full house stops accepting: the rest waits in the kernel's queue.
        let slot = tokio::select! {
            () = shutdown.wait() => break,
            slot = Arc::clone(&limits.connections).acquire_owned() => slot,
        };
        let Ok(slot) = slot else { break };
        let (stream, address) = tokio::select! {
            () = shutdown.wait() => break,
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    if let Some(occasions) = not_accepted.due(clock.now()) {
                        tracing::warn!(%error, occasions, "Could not accept a connection");
                    }
                    // Running out of file descriptors is the one error that comes again at once.
                    clock.sleep(Duration::from_millis(100)).await;
                    continue;
                }
            },
        };
        let (way, watcher, cut) = (Arc::clone(&way), graceful.watcher(), cut.clone());
        tasks.spawn(async move {
            tokio::select! {
                () = way.take(stream, address.ip(), watcher) => {}
                () = cut.wait() => {}
            }
            drop(slot);
        });
    }
    drop(listener);
    let left = tokio::time::timeout(limits.drain, graceful.shutdown()).await;
    if left.is_err() {
        tracing::warn!(
            "Requests were still running when the time to finish them was over, and are cut off: uploads go on at the byte that was acknowledged"
        );
        cut.request();
    }
}

/// What connections of one door share.
struct Way<F> {
    tls: Option<Certificates>,
    proxy: Option<ProxyProtocol>,
    service_for: F,
    handshakes: Arc<Semaphore>,
    server: auto::Builder<TokioExecutor>,
    turned_away: Seldom,
    clock: Arc<dyn Clock>,
    shutdown: Shutdown,
}

impl<F, S, B> Way<F>
where
    F: Fn(Peer) -> S,
    S: Service<Request<Incoming>, Response = Response<B>> + Send + 'static,
    S::Future: Send,
    S::Error: Into<Box<dyn Error + Send + Sync>>,
    B: Body + Unpin + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    /// One connection, from its first byte to its end.
    async fn take(&self, mut stream: TcpStream, address: IpAddr, watcher: Watcher) {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "Could not set TCP_NODELAY");
        }
        let mut peer = Peer {
            address: address.to_canonical(),
            tls: self.tls.is_some(),
        };
        let mut begin = Vec::new();
        if let Some(protocol) = &self.proxy {
            // Nothing is in flight before the request, so that the shutdown ends it.
            let read = tokio::select! {
                read = proxy_protocol::read_header(&mut stream, peer.address, protocol) => read,
                () = self.shutdown.wait() => return,
            };
            match read {
                Ok((named, rest)) => {
                    peer.address = named;
                    begin = rest;
                }
                Err(error) => {
                    if let Some(occasions) = self.turned_away.due(self.clock.now()) {
                        tracing::warn!(
                            client.address = %peer.address, %error, occasions,
                            "Closed a connection of {} to the port of the PROXY protocol: {error}", peer.address
                        );
                    }
                    return;
                }
            }
        }
        let Some(certificates) = &self.tls else {
            return self.speak(Wire::new(stream, begin), peer, watcher).await;
        };
        let shaking = self.shake_hands(certificates, stream, begin);
        let shaken = tokio::select! {
            shaken = tokio::time::timeout(HANDSHAKE_TIMEOUT, shaking) => shaken,
            () = self.shutdown.wait() => return,
        };
        match shaken {
            Ok(Ok(stream)) => self.speak(stream, peer, watcher).await,
            Ok(Err(error)) => {
                tracing::debug!(client.address = %peer.address, %error, "A TLS handshake failed");
            }
            Err(_) => {
                tracing::debug!(client.address = %peer.address, "A TLS handshake took too long");
            }
        }
    }

    async fn speak<I>(&self, stream: I, peer: Peer, watcher: Watcher)
    where
        I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let stream = TokioIo::new(Prompt::new(stream, HEAD_TIMEOUT));
        let untaken = Arc::new(Untaken::default());
        let service = (self.service_for)(peer);
        let watched = {
            let untaken = Arc::clone(&untaken);
            service_fn(move |request: Request<Incoming>| {
                let answer = service.call(request);
                let untaken = Arc::clone(&untaken);
                async move {
                    let response = answer.await?;
                    Ok::<_, S::Error>(response.map(|body| Watched::new(body, untaken)))
                }
            })
        };
        let connection = self.server.serve_connection(stream, watched).into_owned();
        tokio::select! {
            ended = watcher.watch(connection) => {
                if let Err(error) = ended {
                    // Clients go away all the time; what a request failed of is logged with the request.
                    tracing::debug!(client.address = %peer.address, error = %error, "A connection ended early");
                }
            }
            () = untaken.for_too_long(self.clock.as_ref()) => {
                tracing::debug!(client.address = %peer.address, "A client took nothing of an answer for too long");
            }
        }
    }
}

impl<F> Way<F> {
    async fn shake_hands(
        &self,
        certificates: &Certificates,
        stream: TcpStream,
        begin: Vec<u8>,
    ) -> io::Result<tokio_rustls::server::TlsStream<Wire>> {
        if begin.is_empty() {
            // A client that says nothing takes nobody's turn.
            stream.peek(&mut [0]).await?;
        }
        let wire = Wire::new(stream, begin);
        let turn = self.handshakes.acquire().await;
        let stream = TlsAcceptor::from(certificates.current()).accept(wire).await;
        drop(turn);
        stream
    }
}

fn server() -> auto::Builder<TokioExecutor> {
    let mut server = auto::Builder::new(TokioExecutor::new());
    server
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_headers(HEADERS_MAX);
    server
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(Duration::from_secs(20))
        .keep_alive_timeout(Duration::from_secs(20))
        .max_concurrent_streams(STREAMS_MAX)
        .max_header_list_size(64 << 10)
        // A push over a long line needs more than one round trip's worth of the defaults.
        .initial_connection_window_size(4 << 20)
        .initial_stream_window_size(1 << 20);
    server
}
