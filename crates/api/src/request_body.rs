//! The bodies of requests: streams for blobs, whole and bounded for everything else.

use std::error::Error as StdError;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::future::{Either, select};
use futures_util::{Stream, StreamExt as _};
use http::HeaderMap;
use http::header::{CONTENT_LENGTH, EXPECT};
use http_body::Body;
use http_body_util::BodyExt as _;
use http_body_util::combinators::UnsyncBoxBody;
use roadstead_distribution::BodyError;
use roadstead_runtime::Clock;

type Boxed = UnsyncBoxBody<Bytes, Box<dyn StdError + Send + Sync>>;

/// How much of a body that nobody wanted is read and thrown away so that the connection can be used again and a client that is still
/// sending gets to see the answer.
const LINGER_BYTES: u64 = 1 << 20;

/// How long that may take.
const LINGER_TIME: Duration = Duration::from_secs(1);

/// What a client sends. Nothing is read before somebody asks for it, and then one piece at a time; trailers are passed over.
pub(crate) struct RequestBody {
    body: Option<Boxed>,
    length: Option<u64>,
    unread: Unread,
    /// Bytes that have come, also those that are thrown away.
    received: Arc<AtomicU64>,
}

/// Where a body that is dropped before its end is left.
#[derive(Clone, Default)]
pub(crate) struct Unread(Arc<Mutex<Option<Boxed>>>);

impl Unread {
    /// Reads what is left of the body, if that can be little. Whether its end was reached, so that another request can follow.
    pub(crate) async fn drain(self, headers: &HeaderMap, clock: &dyn Clock) -> bool {
        let left = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(mut body) = left else {
            return true;
        };
        // Who waits to be asked for the body (RFC 9110, section 10.1.1) is not asked for one that is thrown away.
        let hopeless = announced(headers).is_some_and(|length| length > LINGER_BYTES);
        if hopeless || headers.contains_key(EXPECT) {
            return false;
        }
        let end = async {
            let mut drained = 0;
            while drained <= LINGER_BYTES {
                match body.frame().await {
                    Some(Ok(frame)) => {
                        drained += frame.data_ref().map_or(0, |data| data.len() as u64);
                    }
                    Some(Err(_)) => return false,
                    None => return true,
                }
            }
            false
        };
        match select(pin!(end), pin!(clock.sleep(LINGER_TIME))).await {
            Either::Left((ended, _)) => ended,
            Either::Right(_) => false,
        }
    }
}

fn announced(headers: &HeaderMap) -> Option<u64> {
    headers
        .get(CONTENT_LENGTH)
        .and_then(|length| length.to_str().ok()?.parse().ok())
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        if let Some(body) = self.body.take() {
            *self.unread.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(body);
        }
    }
}

impl std::fmt::Debug for RequestBody {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("RequestBody")
            .field("length", &self.length)
            .finish_non_exhaustive()
    }
}

/// Why a body could not be read whole.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CollectError {
    /// It is larger than is taken.
    #[error("the body has more than {limit} bytes, the most that is taken here")]
    TooLarge {
        /// The most bytes.
        limit: usize,
    },
    /// It is shorter or longer than its `Content-Length`.
    #[error("the Content-Length is {announced} and {received} bytes were sent")]
    Length {
        /// What the header says.
        announced: u64,
        /// What came.
        received: u64,
    },
    /// It broke off.
    #[error("the body broke off")]
    Broken(#[source] BodyError),
}

impl RequestBody {
    pub(crate) fn new<B>(body: B, headers: &HeaderMap) -> Self
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn StdError + Send + Sync>>,
    {
        let length = announced(headers).or_else(|| body.size_hint().exact());
        let received = Arc::new(AtomicU64::new(0));
        let body = (!body.is_end_stream()).then(|| {
            let counted = Arc::clone(&received);
            body.map_frame(move |frame| {
                let bytes = frame.data_ref().map_or(0, Bytes::len);
                counted.fetch_add(bytes as u64, Ordering::Relaxed);
                frame
            })
            .map_err(Into::into)
            .boxed_unsync()
        });
        Self {
            body,
            length,
            unread: Unread::default(),
            received,
        }
    }

    /// Whether there is none: its end came with the header fields.
    pub(crate) const fn is_absent(&self) -> bool {
        self.body.is_none()
    }

    /// How many bytes have come so far.
    pub(crate) fn received(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.received)
    }

    /// Where it will be left if it is dropped before its end.
    pub(crate) fn unread(&self) -> Unread {
        self.unread.clone()
    }

    /// How many bytes the client says it sends, if it says so.
    pub(crate) const fn length(&self) -> Option<u64> {
        self.length
    }

    /// Reads everything, at most `limit` bytes, with at most `idle` between two pieces.
    pub(crate) async fn collect(
        mut self,
        limit: usize,
        idle: Duration,
        clock: &dyn Clock,
    ) -> Result<Bytes, CollectError> {
        let fits = |length: u64| usize::try_from(length).is_ok_and(|length| length <= limit);
        if self.length.is_some_and(|length| !fits(length)) {
            return Err(CollectError::TooLarge { limit });
        }
        let mut collected = BytesMut::new();
        while let Some(piece) = next_within(&mut self, idle, clock).await {
            let piece = piece.map_err(CollectError::Broken)?;
            if piece.len() > limit - collected.len() {
                return Err(CollectError::TooLarge { limit });
            }
            collected.extend_from_slice(&piece);
        }
        let received = collected.len() as u64;
        match self.length {
            Some(announced) if announced != received => Err(CollectError::Length {
                announced,
                received,
            }),
            Some(_) | None => Ok(collected.freeze()),
        }
    }
}

async fn next_within(
    body: &mut RequestBody,
    idle: Duration,
    clock: &dyn Clock,
) -> Option<Result<Bytes, BodyError>> {
    match select(body.next(), pin!(clock.sleep(idle))).await {
        Either::Left((piece, _)) => piece,
        Either::Right(_) => Some(Err(BodyError::TimedOut)),
    }
}

impl Stream for RequestBody {
    type Item = Result<Bytes, BodyError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            let Some(body) = &mut self.body else {
                return Poll::Ready(None);
            };
            match std::task::ready!(Pin::new(body).poll_frame(context)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(piece) if piece.is_empty() => {}
                    Ok(piece) => return Poll::Ready(Some(Ok(piece))),
                    Err(_trailers) => {}
                },
                Some(Err(source)) => {
                    self.body = None;
                    return Poll::Ready(Some(Err(BodyError::interrupted(source))));
                }
                None => self.body = None,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::stream;
    use http_body::Frame;
    use http_body_util::StreamBody;
    use roadstead_runtime::{ManualClock, Timestamp};

    /// What becomes of a body of so many pieces of 64 KiB of which the service reads one and drops the rest.
    async fn ends_after_drain(pieces: usize, headers: &HeaderMap) -> bool {
        let pieces = vec![Bytes::from(vec![0; 64 << 10]); pieces];
        let frames = pieces
            .into_iter()
            .map(|piece| Ok::<_, std::io::Error>(Frame::data(piece)));
        let mut body = RequestBody::new(StreamBody::new(stream::iter(frames)), headers);
        let unread = body.unread();
        drop(body.next().await);
        drop(body);
        let clock = ManualClock::at(Timestamp::UNIX_EPOCH);
        unread.drain(headers, &clock).await
    }

    #[tokio::test]
    async fn a_short_rest_is_read_so_that_the_connection_can_be_used_again_and_a_long_one_is_not() {
        let mut headers = HeaderMap::new();
        assert!(ends_after_drain(1, &headers).await);
        assert!(ends_after_drain(5, &headers).await);
        assert!(!ends_after_drain(40, &headers).await);
        headers.insert(CONTENT_LENGTH, (2 << 20).into());
        assert!(
            !ends_after_drain(5, &headers).await,
            "what was announced decides"
        );
        headers.insert(CONTENT_LENGTH, (5 << 16).into());
        assert!(ends_after_drain(5, &headers).await);
        headers.insert(EXPECT, http::HeaderValue::from_static("100-continue"));
        assert!(!ends_after_drain(5, &headers).await);
    }
}
