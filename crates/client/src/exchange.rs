//! One request and its answer: bodies in both directions, and the watch over whether bytes move.

use std::fmt;
use std::io;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt as _};
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri};
use http_body::{Body, Frame, SizeHint};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::Incoming;

use crate::ClientError;

/// What is sent with a request.
pub struct RequestBody(Content);

enum Content {
    Bytes(Bytes),
    Stream {
        body: UnsyncBoxBody<Bytes, io::Error>,
        length: Option<u64>,
    },
}

impl RequestBody {
    /// Nothing.
    pub fn empty() -> Self {
        Self::bytes(Bytes::new())
    }

    /// These bytes. They can be sent again when the registry asks for credentials first.
    pub fn bytes(bytes: impl Into<Bytes>) -> Self {
        Self(Content::Bytes(bytes.into()))
    }

    /// What `stream` yields. With a `length` it is announced and has to be kept; without, the body goes out in HTTP chunks.
    /// It is sent once at most, so that a client without a valid token fetches one first.
    pub fn stream<S>(stream: S, length: Option<u64>) -> Self
    where
        S: Stream<Item = io::Result<Bytes>> + Send + 'static,
    {
        let body = StreamBody::new(stream.map(|piece| piece.map(Frame::data))).boxed_unsync();
        Self(Content::Stream { body, length })
    }

    /// Its length in bytes, if that is known.
    pub(crate) fn length(&self) -> Option<u64> {
        match &self.0 {
            Content::Bytes(bytes) => Some(bytes.len() as u64),
            Content::Stream { length, .. } => *length,
        }
    }

    /// A second body of the same content, unless it can be sent only once.
    pub(crate) fn again(&self) -> Option<Self> {
        match &self.0 {
            Content::Bytes(bytes) => Some(Self::bytes(bytes.clone())),
            Content::Stream { .. } => None,
        }
    }
}

impl fmt::Debug for RequestBody {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("RequestBody")
            .field("length", &self.length())
            .field("once", &matches!(self.0, Content::Stream { .. }))
            .finish()
    }
}

/// What is known of a body that is under way.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    frames: AtomicU64,
    failure: Mutex<Option<io::Error>>,
}

impl Progress {
    /// The error of the caller's stream, if that is what ended the request.
    pub(crate) fn take_failure(&self) -> Option<io::Error> {
        self.failure
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }

    /// Waits for `future` as long as frames are taken from the body at least every `limit`; `None` when none was.
    pub(crate) async fn watch<F: Future>(&self, future: F, limit: Duration) -> Option<F::Output> {
        let mut future = pin!(future);
        let mut seen = self.frames.load(Ordering::Relaxed);
        loop {
            if let Ok(output) = tokio::time::timeout(limit, &mut future).await {
                return Some(output);
            }
            let now = self.frames.load(Ordering::Relaxed);
            if now == seen {
                return None;
            }
            seen = now;
        }
    }
}

/// A request body that reports to a [`Progress`].
pub(crate) struct WatchedBody {
    body: UnsyncBoxBody<Bytes, io::Error>,
    length: Option<u64>,
    progress: Arc<Progress>,
}

impl WatchedBody {
    pub(crate) fn new(body: RequestBody, progress: Arc<Progress>) -> Self {
        let (body, length) = match body.0 {
            Content::Bytes(bytes) => {
                let length = bytes.len() as u64;
                let body = http_body_util::Full::new(bytes).map_err(|never| match never {});
                (body.boxed_unsync(), Some(length))
            }
            Content::Stream { body, length } => (body, length),
        };
        Self {
            body,
            length,
            progress,
        }
    }
}

impl Body for WatchedBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        match &polled {
            Poll::Ready(Some(Ok(_))) => {
                self.progress.frames.fetch_add(1, Ordering::Relaxed);
            }
            Poll::Ready(Some(Err(error))) => {
                // hyper hands its own error to the caller; the one with the reason is kept here.
                let copy = io::Error::new(error.kind(), error.to_string());
                *self
                    .progress
                    .failure
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner) = Some(copy);
            }
            Poll::Ready(None) | Poll::Pending => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.length
            .map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

/// The answer to a request, its body not read yet. Dropping it gives up the connection, unless the body has been read.
#[derive(Debug)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The address that answered: after redirects, the last one.
    pub uri: Uri,
    pub(crate) body: AnswerBody,
}

impl Answer {
    /// The header as text; `None` if it is not there or not text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The next piece of the body; `None` at its end. Cancel-safe.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, ClientError> {
        self.body.chunk().await
    }

    /// The whole body.
    ///
    /// # Errors
    /// [`ClientError::TooLong`] as soon as more than `limit` bytes have come.
    pub async fn bytes(mut self, limit: usize) -> Result<Bytes, ClientError> {
        let mut gathered = BytesMut::new();
        while let Some(piece) = self.body.chunk().await? {
            if gathered.len() + piece.len() > limit {
                return Err(ClientError::TooLong {
                    request: self.body.request,
                    limit: limit as u64,
                    unit: "bytes",
                });
            }
            gathered.extend_from_slice(&piece);
        }
        Ok(gathered.freeze())
    }
}

/// The body of an answer.
#[derive(Debug)]
pub(crate) struct AnswerBody {
    incoming: Incoming,
    stall_timeout: Duration,
    /// Method and path, for error messages.
    pub(crate) request: String,
}

impl AnswerBody {
    pub(crate) fn new(incoming: Incoming, stall_timeout: Duration, request: String) -> Self {
        Self {
            incoming,
            stall_timeout,
            request,
        }
    }

    pub(crate) async fn chunk(&mut self) -> Result<Option<Bytes>, ClientError> {
        loop {
            let Ok(frame) = tokio::time::timeout(self.stall_timeout, self.incoming.frame()).await
            else {
                return Err(ClientError::Stalled {
                    request: self.request.clone(),
                    after: self.stall_timeout,
                });
            };
            match frame {
                None => return Ok(None),
                Some(Err(source)) => {
                    return Err(ClientError::Transport {
                        request: self.request.clone(),
                        source: source.into(),
                    });
                }
                Some(Ok(frame)) => {
                    // Trailers carry nothing that registries use.
                    if let Ok(piece) = frame.into_data() {
                        return Ok(Some(piece));
                    }
                }
            }
        }
    }
}

/// A header's value made of digits, words of ours and media types.
pub(crate) fn header_value(text: &str) -> HeaderValue {
    HeaderValue::try_from(text)
        .expect("digits, plain words and media types are made of header characters")
}

/// A request in error messages: without the query, which may hold what is nobody's business.
pub(crate) fn describe(method: &Method, uri: &Uri) -> String {
    format!("{method} {}", uri.path())
}
