//! A connection to PostgreSQL that is cut where a test says.

use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use roadstead_runtime::{Shutdown, Tasks};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};

/// Passes connections on to a server, and cuts one of them when it is told to.
///
/// What is counted are the ends of requests (`Sync`, `Query`) and of answers (`ReadyForQuery`): to the database, a connection that is
/// lost is lost before a request has come whole, or after, whether or not its answer is still read. A `Sync` that ends nothing is how a
/// pool asks for a sign of life, at times of its own, and is not counted.
pub(super) struct Proxy {
    pub(super) port: u16,
    shared: Arc<Shared>,
    tasks: Tasks,
}

struct Shared {
    server: SocketAddr,
    /// How many ends are still let through; none when nothing is to be cut.
    left: Mutex<Option<usize>>,
    cuts: AtomicUsize,
}

impl Proxy {
    pub(super) async fn start(server_port: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared {
            server: (Ipv4Addr::LOCALHOST, server_port).into(),
            left: Mutex::new(None),
            cuts: AtomicUsize::new(0),
        });
        let tasks = Tasks::new();
        tasks.spawn(accept(listener, Arc::clone(&shared), tasks.clone()));
        Self {
            port,
            shared,
            tasks,
        }
    }

    /// Cuts the connection that would pass on the end number `at`, counted from now and from 1, instead of passing it on.
    pub(super) fn cut_at(&self, at: usize) {
        self.shared.cuts.store(0, Ordering::SeqCst);
        *self.shared.left.lock().unwrap() = Some(at - 1);
    }

    /// Cuts nothing from now on. Says whether a connection was cut.
    pub(super) fn rest(&self) -> bool {
        *self.shared.left.lock().unwrap() = None;
        self.shared.cuts.load(Ordering::SeqCst) > 0
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.tasks.shutdown().request();
    }
}

impl Shared {
    /// Whether an end may pass.
    fn pass(&self) -> bool {
        let mut left = self.left.lock().unwrap();
        match *left {
            None => true,
            Some(0) => {
                *left = None;
                self.cuts.fetch_add(1, Ordering::SeqCst);
                false
            }
            Some(more) => {
                *left = Some(more - 1);
                true
            }
        }
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>, tasks: Tasks) {
    let shutdown = tasks.shutdown();
    loop {
        let client = tokio::select! {
            () = shutdown.wait() => return,
            accepted = listener.accept() => accepted.unwrap().0,
        };
        let shared = Arc::clone(&shared);
        let shutdown = shutdown.clone();
        tasks.spawn(async move {
            let Ok(server) = TcpStream::connect(shared.server).await else {
                return;
            };
            relay(client, server, &shared, &shutdown).await;
        });
    }
}

/// Both directions, until one ends.
async fn relay(client: TcpStream, server: TcpStream, shared: &Shared, shutdown: &Shutdown) {
    client.set_nodelay(true).unwrap();
    server.set_nodelay(true).unwrap();
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let requests = Mutex::new(VecDeque::new());
    tokio::select! {
        () = shutdown.wait() => {}
        () = pass(from_client, to_server, shared, (Side::Client, &requests)) => {}
        () = pass(from_server, to_client, shared, (Side::Server, &requests)) => {}
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Client,
    Server,
}

/// `requests` says of each request that has not been answered yet whether it counts.
async fn pass(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    shared: &Shared,
    (side, requests): (Side, &Mutex<VecDeque<bool>>),
) {
    let mut empty = true;
    let mut chunk = vec![0; 16 * 1024];
    let mut unread: Vec<u8> = Vec::new();
    // The first message of a client has no letter before its length.
    let mut letter = usize::from(side == Side::Server);
    // An answer is passed on whole or not at all, once the session has begun: what it says first would say it all.
    let mut answer: Option<Vec<u8>> = None;
    loop {
        match from.read(&mut chunk).await {
            Ok(0) | Err(_) => return,
            Ok(length) => unread.extend_from_slice(&chunk[..length]),
        }
        while let Some(length) = unread.get(letter..letter + 4) {
            let length = u32::from_be_bytes(length.try_into().unwrap()) as usize + letter;
            if unread.len() < length {
                break;
            }
            let message: Vec<u8> = unread.drain(..length).collect();
            let is_end = letter == 1
                && match side {
                    Side::Client => matches!(message[0], b'S' | b'Q'),
                    Side::Server => message[0] == b'Z',
                };
            let counts = is_end
                && match side {
                    Side::Client => {
                        let counts = !empty || message[0] == b'Q';
                        requests.lock().unwrap().push_back(counts);
                        counts
                    }
                    // The first one ends what no request began.
                    Side::Server => requests.lock().unwrap().pop_front().unwrap_or(false),
                };
            empty = is_end;
            if counts && !shared.pass() {
                return;
            }
            letter = 1;
            let ready = match &mut answer {
                Some(answer) => {
                    answer.extend(message);
                    if !is_end {
                        continue;
                    }
                    std::mem::take(answer)
                }
                None => message,
            };
            if to.write_all(&ready).await.is_err() {
                return;
            }
            if is_end && side == Side::Server {
                answer = Some(Vec::new());
            }
        }
    }
}
