//! The bodies of requests: streams for blobs, whole and bounded for everything else.

use std::error::Error as StdError;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::future::{Either, select};
use futures_util::{Stream, StreamExt as _};
use http::HeaderMap;
use http::header::CONTENT_LENGTH;
use http_body::Body;
use http_body_util::BodyExt as _;
use http_body_util::combinators::UnsyncBoxBody;
use roadstead_distribution::BodyError;
use roadstead_runtime::Clock;

type Boxed = UnsyncBoxBody<Bytes, Box<dyn StdError + Send + Sync>>;

/// What a client sends. Nothing is read before somebody asks for it, and then one piece at a time; trailers are passed over.
pub(crate) struct RequestBody {
    body: Option<Boxed>,
    length: Option<u64>,
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
        let announced = headers
            .get(CONTENT_LENGTH)
            .and_then(|length| length.to_str().ok()?.parse().ok());
        let length = announced.or_else(|| body.size_hint().exact());
        let body = (!body.is_end_stream()).then(|| body.map_err(Into::into).boxed_unsync());
        Self { body, length }
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
