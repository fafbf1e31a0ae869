//! One client's connection: an exchange after the other, each through the fault of its time.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use roadstead_runtime::{Clock as _, SystemClock};
use tokio::io::{AsyncRead, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf, ReadHalf, WriteHalf};
use tokio::sync::watch;

use super::http1::{Body, Head, Piece, Wire};
use super::{Direction, Fault, Seen, cuts};

/// How many times a second a slowed connection passes something on.
const SLOW_STEPS: u64 = 20;

/// How much of a wrong length is made up at once.
const ZEROS_BYTES: u64 = 64 * 1024;

/// The `ETag` of a proxy that lies.
const LYING_ETAG: &str = "\"0123456789abcdef0123456789abcdef\"";

/// How a connection comes to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// Both sides are done, or gone.
    Close,
    /// What has been sent arrives, and nothing comes after it.
    CloseGently,
    /// At once, with whatever is under way lost.
    Reset,
}

impl From<io::Error> for End {
    fn from(_: io::Error) -> Self {
        Self::Reset
    }
}

/// Serves a client until one of the two ends goes away, or a fault cuts the connection.
pub(super) async fn serve(
    mut client: TcpStream,
    server: SocketAddr,
    seen: Arc<Seen>,
    fault: watch::Receiver<Fault>,
) {
    seen.connections.fetch_add(1, Ordering::SeqCst);
    seen.connections_open.fetch_add(1, Ordering::SeqCst);
    client.set_nodelay(true).ok();
    let mut cut = fault.clone();
    let end = tokio::select! {
        biased;
        _ = cut.wait_for(|fault| cuts(*fault)) => End::Reset,
        end = relay(&mut client, server, &seen, fault) => end,
    };
    if end == End::Reset {
        client.set_zero_linger().ok();
    }
    drop(client);
    seen.connections_open.fetch_sub(1, Ordering::SeqCst);
}

async fn relay(
    client: &mut TcpStream,
    server: SocketAddr,
    seen: &Seen,
    fault: watch::Receiver<Fault>,
) -> End {
    let (reader, writer) = client.split();
    let mut client = Client {
        wire: Wire::new(reader),
        fault: fault.clone(),
        seen,
        request_is_over: AtomicBool::new(true),
    };
    let mut answers = Answers {
        writer,
        fault,
        seen,
        answer_bytes: 0,
    };
    let end = exchanges(&mut client, &mut answers, server).await;
    let end = end.err().unwrap_or(End::Close);
    if end == End::CloseGently && answers.writer.shutdown().await.is_ok() {
        // Closing while something has not been read would take back what was sent.
        while client.wire.fill().await.unwrap_or(false) {
            client.wire.clear();
        }
    }
    end
}

/// One exchange after the other; returns how that ended.
async fn exchanges(
    client: &mut Client<'_, '_>,
    answers: &mut Answers<'_, '_>,
    address: SocketAddr,
) -> Result<(), End> {
    let mut server: Option<Server> = None;
    loop {
        let head = tokio::select! {
            head = client.wire.head() => head?,
            () = gone(server.as_mut()) => return Ok(()),
        };
        let Some(head) = head else { return Ok(()) };
        let (method, target) = head.first_words();
        let method = method.to_owned();
        let place = client.seen.note(&method, target);
        client.swallow_in_black_hole().await?;
        let mut body = head.request_body()?;
        let fault = *client.fault.borrow();
        if let Fault::Status { code } = fault {
            if head.has_word("expect", "100-continue") {
                answers
                    .send(b"HTTP/1.1 100 Continue\r\n\r\n"[..].into())
                    .await?;
            }
            while client.wire.piece(&mut body).await?.is_some() {}
            client.seen.note_status(place, code);
            answers.begin();
            answers.send(error(code, &method)).await?;
            continue;
        }
        let server = match &mut server {
            Some(server) => server,
            none => {
                let connection = TcpStream::connect(address).await?;
                connection.set_nodelay(true)?;
                let (reader, writer) = connection.into_split();
                none.insert(Server {
                    wire: Wire::new(reader),
                    writer,
                })
            }
        };
        client.request_is_over.store(false, Ordering::SeqCst);
        answers.begin();
        let stays = tokio::select! {
            end = client.forward(head, body, &mut server.writer) => return Err(end),
            stays = answers.forward(&mut server.wire, &method, place) => stays?,
        };
        if !stays || !client.request_is_over.load(Ordering::SeqCst) {
            return Err(End::CloseGently);
        }
    }
}

/// The connection to the server.
struct Server {
    wire: Wire<OwnedReadHalf>,
    writer: OwnedWriteHalf,
}

/// Returns when the server has closed the connection, or says something that it was not asked.
async fn gone(server: Option<&mut Server>) {
    match server {
        Some(server) => {
            server.wire.half().peek(&mut [0]).await.ok();
        }
        None => std::future::pending().await,
    }
}

/// What comes from the client.
struct Client<'a, 's> {
    wire: Wire<ReadHalf<'a>>,
    fault: watch::Receiver<Fault>,
    seen: &'s Seen,
    request_is_over: AtomicBool,
}

impl Client<'_, '_> {
    /// Passes a request on, and then waits until the client goes away.
    async fn forward(&mut self, head: Head, body: Body, server: &mut OwnedWriteHalf) -> End {
        match self.try_forward(head, body, server).await {
            Ok(()) => {}
            Err(end) => return end,
        }
        self.request_is_over.store(true, Ordering::SeqCst);
        match self.wire.fill().await {
            // The next request already; it waits.
            Ok(true) => std::future::pending().await,
            Ok(false) => End::Close,
            Err(_) => End::Reset,
        }
    }

    async fn try_forward(
        &mut self,
        head: Head,
        mut body: Body,
        server: &mut OwnedWriteHalf,
    ) -> Result<(), End> {
        let mut next = Some(head.into_bytes());
        while let Some(bytes) = next {
            self.swallow_in_black_hole().await?;
            self.send(server, bytes).await;
            next = self.wire.piece(&mut body).await?.map(Piece::into_bytes);
        }
        Ok(())
    }

    async fn send(&self, server: &mut OwnedWriteHalf, mut bytes: Bytes) {
        while !bytes.is_empty() {
            let fault = *self.fault.borrow();
            let part = match fault {
                Fault::Slow {
                    bytes_per_second,
                    direction: Direction::Both,
                } => slow_part(&mut bytes, bytes_per_second).await,
                _ => bytes.split_to(bytes.len()),
            };
            count(&self.seen.bytes_to_server, &part);
            if server.write_all(&part).await.is_err() {
                // It has closed the connection, and may have answered before.
                return std::future::pending().await;
            }
        }
    }

    /// To be called when something has been read: if that was in a black hole, it is lost, and all that comes with it.
    async fn swallow_in_black_hole(&mut self) -> Result<(), End> {
        if *self.fault.borrow() != Fault::BlackHole {
            return Ok(());
        }
        let mut fault = self.fault.clone();
        loop {
            self.wire.clear();
            tokio::select! {
                _ = fault.wait_for(|fault| *fault != Fault::BlackHole) => return Err(End::Reset),
                more = self.wire.fill() => if !more? {
                    return Err(End::Close);
                },
            }
        }
    }
}

/// What goes to the client.
struct Answers<'a, 's> {
    writer: WriteHalf<'a>,
    fault: watch::Receiver<Fault>,
    seen: &'s Seen,
    /// How much of the present answer has been sent.
    answer_bytes: u64,
}

impl Answers<'_, '_> {
    const fn begin(&mut self) {
        self.answer_bytes = 0;
    }

    /// Passes an answer on. Returns whether another may follow it.
    async fn forward(
        &mut self,
        server: &mut Wire<OwnedReadHalf>,
        method: &str,
        place: usize,
    ) -> Result<bool, End> {
        let head = loop {
            let head = server.head().await?.ok_or(End::Close)?;
            if head.status()? >= 200 {
                break head;
            }
            self.send(head.into_bytes()).await?;
        };
        let status = head.status()?;
        self.seen.note_status(place, status);
        let body = head.answer_body(method)?;
        let stays = body != Body::UntilClosed && !head.has_word("connection", "close");
        let is_content = matches!(method, "GET" | "HEAD")
            && matches!(status, 200 | 206)
            && !head
                .field("content-type")
                .is_some_and(|content_type| content_type.starts_with("application/xml"));
        if is_content {
            self.forward_content(server, head, body, method).await?;
        } else {
            self.send(head.into_bytes()).await?;
            let mut body = body;
            while let Some(piece) = server.piece(&mut body).await? {
                self.send(piece.into_bytes()).await?;
            }
        }
        Ok(stays)
    }

    /// Passes on an answer that a fault may falsify.
    async fn forward_content(
        &mut self,
        server: &mut Wire<impl AsyncRead + Unpin>,
        head: Head,
        mut body: Body,
        method: &str,
    ) -> Result<(), End> {
        let fault = *self.fault.borrow();
        // How much of a body is still sent whose length is wrong.
        let mut lie = None;
        let head = match fault {
            Fault::LyingEtag => head.with("ETag", LYING_ETAG),
            Fault::LyingLength { by } if head.field("content-range").is_some() => {
                lie_about_range(head, by)
            }
            Fault::LyingLength { by } => {
                let length = head.field("content-length").map(str::parse::<u64>);
                match length {
                    Some(Ok(length)) => {
                        let length = length.saturating_add_signed(by);
                        lie = Some(length).filter(|_| method == "GET");
                        head.with("Content-Length", &length.to_string())
                    }
                    _ => head,
                }
            }
            _ => head,
        };
        self.send(head.into_bytes()).await?;
        let mut at = 0;
        while let Some(piece) = server.piece(&mut body).await? {
            let bytes = match piece {
                Piece::Framing(bytes) => bytes,
                Piece::Data(bytes) => {
                    let mut bytes = self.corrupt(bytes, at);
                    at += bytes.len() as u64;
                    if let Some(left) = &mut lie {
                        let length = usize::try_from(*left).unwrap_or(usize::MAX);
                        bytes.truncate(length);
                        *left -= bytes.len() as u64;
                    }
                    bytes
                }
            };
            self.send(bytes).await?;
        }
        let mut left = lie.unwrap_or_default();
        while left > 0 {
            let zeros = left.min(ZEROS_BYTES);
            left -= zeros;
            let zeros = usize::try_from(zeros).unwrap_or_default();
            self.send(BytesMut::zeroed(zeros).freeze()).await?;
        }
        Ok(())
    }

    /// The bytes of a body from `at` on, wrong where they are to be.
    fn corrupt(&self, bytes: Bytes, at: u64) -> Bytes {
        let Fault::Corrupt { every } = *self.fault.borrow() else {
            return bytes;
        };
        let every = every.max(1);
        let mut bytes = BytesMut::from(bytes);
        let mut next = at.next_multiple_of(every) - at;
        while let Some(byte) = usize::try_from(next)
            .ok()
            .and_then(|next| bytes.get_mut(next))
        {
            *byte = !*byte;
            next += every;
        }
        bytes.freeze()
    }

    async fn send(&mut self, mut bytes: Bytes) -> Result<(), End> {
        while !bytes.is_empty() {
            let fault = *self.fault.borrow();
            let part = match fault {
                Fault::BlackHole => {
                    let ended = self
                        .fault
                        .wait_for(|fault| *fault != Fault::BlackHole)
                        .await;
                    ended.map_err(|_| End::Reset)?;
                    continue;
                }
                Fault::CutAfter { bytes: limit } => {
                    let left = limit.saturating_sub(self.answer_bytes);
                    let length = usize::try_from(left).unwrap_or(usize::MAX);
                    if length == 0 {
                        return Err(End::CloseGently);
                    }
                    bytes.split_to(length.min(bytes.len()))
                }
                Fault::Slow {
                    bytes_per_second, ..
                } => slow_part(&mut bytes, bytes_per_second).await,
                _ => bytes.split_to(bytes.len()),
            };
            self.answer_bytes += part.len() as u64;
            // Before, so that nobody has received what is not counted.
            count(&self.seen.bytes_to_clients, &part);
            self.writer.write_all(&part).await?;
        }
        Ok(())
    }
}

impl Piece {
    fn into_bytes(self) -> Bytes {
        match self {
            Self::Framing(bytes) | Self::Data(bytes) => bytes,
        }
    }
}

/// Takes off what may go now, after waiting as long as it takes.
async fn slow_part(bytes: &mut Bytes, bytes_per_second: u64) -> Bytes {
    let rate = bytes_per_second.max(1);
    let length = usize::try_from((rate / SLOW_STEPS).max(1)).unwrap_or(usize::MAX);
    let part = bytes.split_to(length.min(bytes.len()));
    let micros = (part.len() as u64).saturating_mul(1_000_000) / rate;
    SystemClock.sleep(Duration::from_micros(micros)).await;
    part
}

fn count(counter: &AtomicU64, bytes: &Bytes) {
    counter.fetch_add(bytes.len() as u64, Ordering::SeqCst);
}

/// The head of a range's answer with another length of the whole.
fn lie_about_range(head: Head, by: i64) -> Head {
    let lie = head.field("content-range").and_then(|range| {
        let (range, whole) = range.rsplit_once('/')?;
        let whole: u64 = whole.parse().ok()?;
        Some(format!("{range}/{}", whole.saturating_add_signed(by)))
    });
    match lie {
        Some(lie) => head.with("Content-Range", &lie),
        None => head,
    }
}

/// A whole answer with this status, as S3 words it.
fn error(code: u16, method: &str) -> Bytes {
    let (name, message) = match code {
        403 => ("AccessDenied", "Access Denied"),
        404 => ("NoSuchKey", "The specified key does not exist."),
        429 => ("TooManyRequests", "Please reduce your request rate."),
        503 => ("SlowDown", "Please reduce your request rate."),
        _ => (
            "InternalError",
            "We encountered an internal error. Please try again.",
        ),
    };
    let body = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>{name}</Code><Message>{message}</Message><RequestId>0</RequestId></Error>"
    );
    let head = format!(
        "HTTP/1.1 {code} {name}\r\nContent-Type: application/xml\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    let body = if method == "HEAD" { "" } else { &body };
    (head + body).into()
}
