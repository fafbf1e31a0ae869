//! A proxy before a server that speaks HTTP/1.1, which makes it fail as networks and servers do.

mod connection;
mod http1;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread::{self, JoinHandle};

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::ports::free_port;
use crate::request::Request;

/// What a proxy does to the connections through it, also to those that are open already.
///
/// Nothing of it is left to chance: the same requests meet the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    Pass,
    /// The port is closed: new connections are refused, open ones are reset.
    Refuse,
    /// New connections are taken and reset at once, open ones are reset.
    Reset,
    /// Connections are taken, everything is read, and nothing is ever answered. Answers under way stop where they are. When this ends, connections
    /// that lost something are reset, and the others go on.
    BlackHole,
    /// Each connection lets through this many bytes a second, one at least.
    Slow {
        /// In each direction.
        bytes_per_second: u64,
        /// What is slowed.
        direction: Direction,
    },
    /// Of each answer, this many bytes come, head and all, and the connection is closed. The request has reached the server. Answers that are not
    /// longer come whole.
    CutAfter {
        /// None: the request is carried out, and no word of it comes back.
        bytes: u64,
    },
    /// Requests are answered with this status and an error of S3's in XML; the server never sees them. Those that it is answering are not concerned.
    Status {
        /// From 400 on.
        code: u16,
    },
    /// In what is read, bytes are wrong: the first of each answer's body and every so-and-so-many-th after it.
    Corrupt {
        /// The distance in bytes, one at least.
        every: u64,
    },
    /// What is read or asked about has another `ETag` than the server says.
    LyingEtag,
    /// What is read or asked about has another length than the server says: bytes are missing at the end, or there are zeros. Of a range, only the
    /// object's whole length is wrong.
    LyingLength {
        /// How much is added to the length.
        by: i64,
    },
}

/// Which way bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// To the client only.
    Answers,
    /// To the client and to the server.
    Both,
}

/// What has gone through a proxy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Connections taken so far.
    pub connections: u64,
    /// Those that are open.
    pub connections_open: u64,
    /// Bytes passed on to the server.
    pub bytes_to_server: u64,
    /// Bytes sent to clients.
    pub bytes_to_clients: u64,
}

/// A proxy before a server. Dropping it ends it, with its connections.
///
/// It runs on a thread of its own, so that it goes on whatever the test's threads do. What is "read or asked about" above are answers to `GET` and
/// `HEAD` with a status of 200 or 206, unless they are XML: lists and errors stay right.
///
/// A server that is down behind it shows as connections that are reset: the proxy still listens.
#[derive(Debug)]
pub struct FaultProxy {
    port: u16,
    seen: Arc<Seen>,
    orders: Option<UnboundedSender<Order>>,
    thread: Option<JoinHandle<()>>,
}

/// What is to be done from now on, and who waits for that.
type Order = (Fault, mpsc::Sender<()>);

/// What a proxy has seen.
#[derive(Debug, Default)]
struct Seen {
    requests: Mutex<Vec<Request>>,
    connections: AtomicU64,
    connections_open: AtomicU64,
    bytes_to_server: AtomicU64,
    bytes_to_clients: AtomicU64,
}

impl FaultProxy {
    /// Starts one before a server on this port of 127.0.0.1, which may come later. It passes everything on.
    ///
    /// # Panics
    /// When no port can be had.
    pub fn start(server_port: u16) -> Self {
        let port = free_port();
        let seen = Arc::new(Seen::default());
        let (orders, received) = unbounded_channel();
        let (sender, started) = mpsc::channel();
        let proxy = Proxy {
            address: (Ipv4Addr::LOCALHOST, port).into(),
            server: (Ipv4Addr::LOCALHOST, server_port).into(),
            seen: Arc::clone(&seen),
            fault: watch::Sender::new(Fault::Pass),
        };
        let thread = thread::Builder::new()
            .name("fault-proxy".to_owned())
            .spawn(move || {
                tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()
                    .expect("a runtime can be built")
                    .block_on(proxy.run(received, sender));
            })
            .expect("a thread can be started");
        started.recv().expect("a free port can be listened on");
        Self {
            port,
            seen,
            orders: Some(orders),
            thread: Some(thread),
        }
    }

    /// The port on 127.0.0.1.
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// `http://127.0.0.1:PORT`.
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Does this from now on, instead of what it did. When this returns, a port that is to be closed is, and so are connections that are to be
    /// reset.
    ///
    /// # Panics
    /// When the port cannot be listened on again.
    pub fn set(&self, fault: Fault) {
        let (sender, done) = mpsc::channel();
        let orders = self.orders.as_ref().expect("there until it is dropped");
        orders.send((fault, sender)).expect("the proxy runs");
        done.recv().expect("the proxy runs");
    }

    /// Every request that has come in so far, oldest first, also those that a fault met.
    pub fn requests(&self) -> Vec<Request> {
        self.seen.requests().clone()
    }

    /// How many requests with this method and path have come in, whatever their query.
    pub fn count(&self, method: &str, path: &str) -> usize {
        let requests = self.seen.requests();
        requests.iter().filter(|seen| seen.is(method, path)).count()
    }

    /// What has gone through so far.
    pub fn traffic(&self) -> Traffic {
        let read = |counter: &AtomicU64| counter.load(Ordering::SeqCst);
        Traffic {
            connections: read(&self.seen.connections),
            connections_open: read(&self.seen.connections_open),
            bytes_to_server: read(&self.seen.bytes_to_server),
            bytes_to_clients: read(&self.seen.bytes_to_clients),
        }
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        // Without anybody to order something, it ends.
        self.orders = None;
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}

impl Seen {
    fn requests(&self) -> MutexGuard<'_, Vec<Request>> {
        // A list is whole whoever panicked.
        self.requests.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a request. Returns its place in the list.
    fn note(&self, method: &str, target: &str) -> usize {
        let mut requests = self.requests();
        requests.push(Request {
            method: method.to_owned(),
            target: target.to_owned(),
            status: None,
        });
        requests.len() - 1
    }

    fn note_status(&self, place: usize, status: u16) {
        if let Some(request) = self.requests().get_mut(place) {
            request.status = Some(status);
        }
    }
}

/// A proxy, on its thread.
struct Proxy {
    address: SocketAddr,
    server: SocketAddr,
    seen: Arc<Seen>,
    fault: watch::Sender<Fault>,
}

impl Proxy {
    async fn run(self, mut orders: UnboundedReceiver<Order>, started: mpsc::Sender<()>) {
        let mut listener = Some(self.listen().await);
        let mut connections = JoinSet::new();
        started.send(()).ok();
        loop {
            tokio::select! {
                order = orders.recv() => {
                    let Some((fault, done)) = order else { return };
                    if cuts(fault) {
                        // Also those that nobody has accepted yet.
                        listener = None;
                    }
                    self.fault.send_replace(fault);
                    if cuts(fault) {
                        while connections.join_next().await.is_some() {}
                    }
                    if fault != Fault::Refuse && listener.is_none() {
                        listener = Some(self.listen().await);
                    }
                    done.send(()).ok();
                }
                accepted = accept(listener.as_ref()) => {
                    connections.spawn(connection::serve(
                        accepted,
                        self.server,
                        Arc::clone(&self.seen),
                        self.fault.subscribe(),
                    ));
                }
                Some(_) = connections.join_next() => {}
            }
        }
    }

    async fn listen(&self) -> TcpListener {
        TcpListener::bind(self.address)
            .await
            .expect("nobody else takes the port")
    }
}

/// Whether no connection outlives a fault.
const fn cuts(fault: Fault) -> bool {
    matches!(fault, Fault::Refuse | Fault::Reset)
}

async fn accept(listener: Option<&TcpListener>) -> TcpStream {
    let Some(listener) = listener else {
        return std::future::pending().await;
    };
    loop {
        // Whoever gave up before being accepted is nobody.
        if let Ok((connection, _)) = listener.accept().await {
            return connection;
        }
    }
}

#[cfg(test)]
mod tests;
