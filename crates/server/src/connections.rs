//! Connections: accepted within a bound, served with both versions of HTTP, ended when they stand still or the server drains.

use std::error::Error;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::body::{Body, Incoming};
use hyper::service::Service;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use roadstead_runtime::{Shutdown, Tasks};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{Instant, Sleep};

/// How long the head of a request may take to arrive, and how long a connection may rest between two requests.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);

/// How long a client may take nothing of an answer before its connection is ended.
const WRITE_STALL: Duration = Duration::from_mins(2);

/// Header fields of one request. Past these or past about 400 kB the answer is 431 (hyper's own bound on the bytes).
const HEADERS_MAX: usize = 100;

/// Streams of one HTTP/2 connection at once.
const STREAMS_MAX: u32 = 128;

/// The bytes that tell HTTP/2 from HTTP/1 (RFC 9113, section 3.4). They are read before the HTTP library's own deadlines begin.
const PREFACE_BYTES: u64 = 24;

/// Accepts up to `connections_max` connections at once and serves them until the shutdown, then lets requests in flight end within `drain`.
/// Each client gets the service that is made for its address.
pub(crate) async fn serve<S, B>(
    listener: TcpListener,
    service_for: impl Fn(IpAddr) -> S,
    connections_max: usize,
    tasks: Tasks,
    shutdown: Shutdown,
    drain: Duration,
) where
    S: Service<Request<Incoming>, Response = Response<B>> + Send + 'static,
    S::Future: Send,
    S::Error: Into<Box<dyn Error + Send + Sync>>,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let slots = Arc::new(Semaphore::new(connections_max));
    let graceful = GracefulShutdown::new();
    let server = server();
    loop {
        // A full house stops accepting: the rest waits in the kernel's queue.
        let slot = tokio::select! {
            () = shutdown.wait() => break,
            slot = Arc::clone(&slots).acquire_owned() => slot,
        };
        let Ok(slot) = slot else { break };
        let (stream, peer) = tokio::select! {
            () = shutdown.wait() => break,
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    rest_after(&error).await;
                    continue;
                }
            },
        };
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "Could not set TCP_NODELAY");
        }
        let stream = TokioIo::new(Watchful::new(stream));
        let connection = server.serve_connection(stream, service_for(peer.ip()));
        let connection = graceful.watch(connection.into_owned());
        tasks.spawn(async move {
            if let Err(error) = connection.await {
                // Clients go away all the time; what a request failed of is logged with the request.
                tracing::debug!(client.address = %peer, error = %error, "A connection ended early");
            }
            drop(slot);
        });
    }
    drop(listener);
    if tokio::time::timeout(drain, graceful.shutdown())
        .await
        .is_err()
    {
        tracing::warn!("Requests were still running when the time to finish them was over");
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

/// Running out of file descriptors is the one error of accepting that comes again at once.
async fn rest_after(error: &io::Error) {
    tracing::warn!(%error, "Could not accept a connection");
    tokio::time::timeout(Duration::from_millis(100), std::future::pending::<()>())
        .await
        .unwrap_or_default();
}

/// A TCP stream that fails when its first bytes do not come or what it writes is not taken.
struct Watchful {
    stream: TcpStream,
    read_bytes: u64,
    first_bytes: Pin<Box<Sleep>>,
    write_stall: Option<Pin<Box<Sleep>>>,
}

impl Watchful {
    fn new(stream: TcpStream) -> Self {
        Self {
            stream,
            read_bytes: 0,
            first_bytes: Box::pin(tokio::time::sleep_until(Instant::now() + HEAD_TIMEOUT)),
            write_stall: None,
        }
    }

    /// Passes on what a write came to, and fails once writes have been pending for too long.
    fn watch_write<T>(
        &mut self,
        context: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.write_stall = None;
            return written;
        }
        let stall = self.write_stall.get_or_insert_with(|| {
            Box::pin(tokio::time::sleep_until(Instant::now() + WRITE_STALL))
        });
        ready!(stall.as_mut().poll(context));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for Watchful {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        if self.read_bytes < PREFACE_BYTES {
            self.read_bytes += (buffer.filled().len() - before) as u64;
            if read.is_pending() {
                ready!(self.first_bytes.as_mut().poll(context));
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
        }
        read
    }
}

impl AsyncWrite for Watchful {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.watch_write(context, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, pieces);
        self.watch_write(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// Listens, so that a port that is taken is known before anything else is started.
pub(crate) async fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    TcpListener::bind(address).await
}
