//! What a client has still to take of its answers, wherever that waits: for the flow control of HTTP/2, or for the wire.

use std::io::IoSlice;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};

use hyper::body::{Body, Buf, Frame, SizeHint};
use roadstead_runtime::Clock;

use crate::stream::WRITE_STALL;

/// For how many quarters of [`WRITE_STALL`] pieces are told apart: for more than any can wait.
const QUARTERS: usize = 8;

/// The pieces of answers that the client of one connection has not taken. They are counted by the quarter of [`WRITE_STALL`] in which
/// something of them was taken last, so that nobody looks at a clock or waits for a lock for each of them.
#[derive(Debug, Default)]
pub(crate) struct Untaken {
    /// How many quarters are over.
    over: AtomicUsize,
    /// How many pieces moved last in which quarter.
    pieces: [AtomicUsize; QUARTERS],
}

impl Untaken {
    /// Returns when nothing of a piece was taken for [`WRITE_STALL`], a quarter of it late at most.
    pub(crate) async fn for_too_long(&self, clock: &dyn Clock) {
        loop {
            clock.sleep(WRITE_STALL / 4).await;
            if self.quarter_is_over() {
                return;
            }
        }
    }

    /// Begins the next quarter. Returns whether a piece has not moved in the last four.
    fn quarter_is_over(&self) -> bool {
        let ended = self.over.fetch_add(1, Ordering::Relaxed);
        let before = ended.wrapping_sub(4) % QUARTERS;
        self.pieces[before].load(Ordering::Relaxed) > 0
    }

    fn quarter(&self) -> usize {
        self.over.load(Ordering::Relaxed) % QUARTERS
    }
}

/// The body of an answer. Its pieces are watched until they are taken.
#[derive(Debug)]
pub(crate) struct Watched<B> {
    body: B,
    untaken: Arc<Untaken>,
}

impl<B> Watched<B> {
    pub(crate) const fn new(body: B, untaken: Arc<Untaken>) -> Self {
        Self { body, untaken }
    }
}

impl<B: Body + Unpin> Body for Watched<B> {
    type Data = Piece<B::Data>;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let frame = match ready!(Pin::new(&mut self.body).poll_frame(context)) {
            Some(Ok(frame)) => frame.map_data(|data| Piece::new(data, &self.untaken)),
            Some(Err(error)) => return Poll::Ready(Some(Err(error))),
            None => return Poll::Ready(None),
        };
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A piece of an answer, which counts as untaken until its last byte is.
#[derive(Debug)]
pub(crate) struct Piece<D> {
    data: D,
    waiting: Option<Waiting>,
}

impl<D: Buf> Piece<D> {
    fn new(data: D, untaken: &Arc<Untaken>) -> Self {
        Self {
            waiting: data.has_remaining().then(|| Waiting::begin(untaken)),
            data,
        }
    }
}

impl<D: Buf> Buf for Piece<D> {
    fn remaining(&self) -> usize {
        self.data.remaining()
    }

    fn chunk(&self) -> &[u8] {
        self.data.chunk()
    }

    fn chunks_vectored<'a>(&'a self, pieces: &mut [IoSlice<'a>]) -> usize {
        self.data.chunks_vectored(pieces)
    }

    fn advance(&mut self, count: usize) {
        self.data.advance(count);
        if !self.data.has_remaining() {
            self.waiting = None;
        } else if let Some(waiting) = &mut self.waiting {
            waiting.moved();
        }
    }
}

/// One piece among the untaken ones, until it is dropped.
#[derive(Debug)]
struct Waiting {
    untaken: Arc<Untaken>,
    quarter: usize,
}

impl Waiting {
    fn begin(untaken: &Arc<Untaken>) -> Self {
        let quarter = untaken.quarter();
        untaken.pieces[quarter].fetch_add(1, Ordering::Relaxed);
        Self {
            untaken: Arc::clone(untaken),
            quarter,
        }
    }

    fn moved(&mut self) {
        if self.quarter != self.untaken.quarter() {
            *self = Self::begin(&self.untaken);
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.untaken.pieces[self.quarter].fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_piece_of_which_nothing_is_taken_is_noticed_after_four_quarters_and_one_that_moves_is_not()
    {
        let untaken = Arc::<Untaken>::default();
        let pass = |quarters: usize| (0..quarters).any(|_| untaken.quarter_is_over());
        // However far the count of quarters is.
        for _ in 0..20 {
            let mut piece = Piece::new(&b"abc"[..], &untaken);
            assert!(!pass(4));
            piece.advance(1);
            assert!(!pass(4));
            piece.advance(1);
            assert!(!pass(4));
            assert!(pass(1));
            piece.advance(1);
            assert!(!pass(10), "all of it is taken");
        }
    }

    #[test]
    fn pieces_that_are_empty_or_given_up_wait_for_nobody_and_each_counts_by_itself() {
        let untaken = Arc::<Untaken>::default();
        let pass = |quarters: usize| (0..quarters).any(|_| untaken.quarter_is_over());
        let empty = Piece::new(&b""[..], &untaken);
        drop(Piece::new(&b"abc"[..], &untaken));
        assert!(!pass(10));
        assert_eq!(empty.remaining(), 0);
        let _still = Piece::new(&b"abc"[..], &untaken);
        let mut other = Piece::new(&b"abc"[..], &untaken);
        assert!(!pass(4));
        other.advance(1);
        assert!(pass(1));
    }
}
