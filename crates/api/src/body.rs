//! The bodies of answers: nothing, a few bytes, or the stream of a blob.

use std::error::Error as StdError;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::Stream;
use http_body::{Frame, SizeHint};

use crate::request_log::Pending;

/// Why the body of an answer ended before its end. The server closes the connection then, so that the client notices.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// The content could not be read to its end.
    #[error("the content could not be read to its end")]
    Source(#[source] Box<dyn StdError + Send + Sync>),
    /// There was less content than the headers had promised.
    #[error("the content ended {missing} bytes too early")]
    Short {
        /// How many bytes are missing.
        missing: u64,
    },
}

type Content = Pin<Box<dyn Stream<Item = Result<Bytes, BodyError>> + Send>>;

/// The body of an answer. Its length is known from the start. It holds one piece of the content at a time.
///
/// When it ends or is dropped, the request's log line is written.
#[derive(Default)]
pub struct Body {
    content: Option<Box<Inner>>,
    log: Option<Pending>,
}

enum Inner {
    Whole(Bytes),
    Stream { content: Content, remaining: u64 },
}

impl std::fmt::Debug for Body {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Body")
            .field("remaining", &self.remaining())
            .finish_non_exhaustive()
    }
}

impl Body {
    /// No content.
    pub fn empty() -> Self {
        Self::default()
    }

    /// Content that is at hand.
    pub fn whole(content: impl Into<Bytes>) -> Self {
        let content = content.into();
        Self {
            content: (!content.is_empty()).then(|| Box::new(Inner::Whole(content))),
            log: None,
        }
    }

    /// Content of `length` bytes that comes in pieces. What comes beyond `length` is not sent.
    pub fn stream<S>(content: S, length: u64) -> Self
    where
        S: Stream<Item = Result<Bytes, BodyError>> + Send + 'static,
    {
        Self {
            content: Some(Box::new(Inner::Stream {
                content: Box::pin(content),
                remaining: length,
            })),
            log: None,
        }
    }

    /// How many bytes are still to come.
    pub fn remaining(&self) -> u64 {
        match self.content.as_deref() {
            None => 0,
            Some(Inner::Whole(content)) => content.len() as u64,
            Some(Inner::Stream { remaining, .. }) => *remaining,
        }
    }

    /// Has the body write the log line at its end.
    pub(crate) fn with_log(mut self, log: Pending) -> Self {
        self.log = Some(log);
        self
    }

    /// The next piece of content. `None` at the end.
    fn poll_content(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, BodyError>>> {
        match self.content.as_deref_mut() {
            None => Poll::Ready(None),
            Some(Inner::Whole(content)) => {
                let content = std::mem::take(content);
                self.content = None;
                Poll::Ready(Some(Ok(content)))
            }
            Some(Inner::Stream { content, remaining }) => loop {
                let piece = match std::task::ready!(content.as_mut().poll_next(context)) {
                    Some(Ok(piece)) if piece.is_empty() => continue,
                    Some(Ok(mut piece)) if *remaining > 0 => {
                        piece.truncate(usize::try_from(*remaining).unwrap_or(usize::MAX));
                        *remaining -= piece.len() as u64;
                        return Poll::Ready(Some(Ok(piece)));
                    }
                    Some(Err(error)) => Some(Err(error)),
                    None if *remaining > 0 => Some(Err(BodyError::Short {
                        missing: *remaining,
                    })),
                    Some(Ok(_)) | None => None,
                };
                self.content = None;
                return Poll::Ready(piece);
            },
        }
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        let piece = std::task::ready!(this.poll_content(context));
        if let Some(log) = &mut this.log {
            log.note(piece.as_ref());
        }
        Poll::Ready(piece.map(|piece| piece.map(Frame::data)))
    }

    /// Whether nothing is left to send. A stream is asked to its very end, where it may still find that its content was wrong.
    fn is_end_stream(&self) -> bool {
        self.content.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.remaining())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::{StreamExt, stream};
    use http_body::Body as _;

    async fn read(body: Body) -> Result<Vec<u8>, BodyError> {
        let mut body = std::pin::pin!(body);
        let mut content = Vec::new();
        while let Some(frame) =
            std::future::poll_fn(|context| body.as_mut().poll_frame(context)).await
        {
            content.extend_from_slice(&frame?.into_data().expect("data"));
        }
        Ok(content)
    }

    fn pieces(
        pieces: &[&'static str],
    ) -> impl Stream<Item = Result<Bytes, BodyError>> + Send + use<> {
        stream::iter(pieces.to_vec()).map(|piece| Ok(Bytes::from_static(piece.as_bytes())))
    }

    #[tokio::test]
    async fn content_comes_whole_and_its_length_is_known_before() {
        for (body, expected) in [
            (Body::empty(), ""),
            (Body::whole(""), ""),
            (Body::whole("content"), "content"),
            (Body::stream(pieces(&[]), 0), ""),
            (Body::stream(pieces(&["con", "", "tent"]), 7), "content"),
        ] {
            assert_eq!(body.size_hint().exact(), Some(expected.len() as u64));
            assert_eq!(read(body).await.expect("good content"), expected.as_bytes());
        }
    }

    #[tokio::test]
    async fn a_stream_of_another_length_than_promised_is_cut_or_fails() {
        assert_eq!(
            read(Body::stream(pieces(&["con", "tent"]), 5))
                .await
                .expect("cut"),
            b"conte"
        );
        let short = read(Body::stream(pieces(&["con"]), 5)).await;
        assert!(
            matches!(short, Err(BodyError::Short { missing: 2 })),
            "{short:?}"
        );
    }
}
