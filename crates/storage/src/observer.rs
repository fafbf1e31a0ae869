//! What a location tells about each call to its store, for whoever keeps an eye on its health. What follows from it is decided elsewhere.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use roadstead_placement::LocationName;
use tokio::time::Instant;
use tracing::{Instrument as _, Span};

use crate::error::{Operation, StorageError, StorageErrorKind};

/// Whoever gives a call up before this may have had reasons of its own, such as a client that went away; after it, the store is silent. One
/// second: no answer of a store that works takes as long, the flush of a large upload aside.
const SILENT_AFTER: Duration = Duration::from_secs(1);

/// A transfer is told of so often while it goes on.
const MOVED_EVERY: Duration = Duration::from_secs(1);

/// Told of every call to a store. Called on the way of requests, so it must be quick and never wait.
pub trait Observer: fmt::Debug + Send + Sync {
    /// Something was seen of the store.
    fn observed(&self, observation: Observation);
}

/// What was seen of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Observation {
    /// It answered: the first chunk of a read, or the whole of anything else. That an object is not there, or not whole, is an answer.
    Answered {
        /// What was asked.
        operation: Operation,
        /// How long it took.
        took: Duration,
    },
    /// It failed, before or in the middle of what was asked.
    Failed {
        /// What was asked.
        operation: Operation,
        /// How; only kinds that [are the location's](StorageErrorKind::is_the_locations), or unexpected.
        kind: StorageErrorKind,
        /// Whether it had answered before, and failed in the middle of a transfer.
        midway: bool,
    },
    /// Bytes were moved: a part of a transfer, told about every second, or its end.
    Moved {
        /// What for.
        operation: Operation,
        /// How many, since this was last told of the same transfer.
        bytes: u64,
        /// How long the store was waited for meanwhile. The time in which the other end was waited for does not count.
        waited: Duration,
        /// Whether that was the end.
        whole: bool,
    },
}

/// The observer of one location, if it has one, and the spans of the calls to its store.
#[derive(Clone, Debug)]
pub(crate) struct Watch {
    location: LocationName,
    observer: Option<Arc<dyn Observer>>,
}

impl Watch {
    pub(crate) fn unobserved(location: LocationName) -> Self {
        Self {
            location,
            observer: None,
        }
    }

    pub(crate) fn by(self, observer: Arc<dyn Observer>) -> Self {
        Self {
            observer: Some(observer),
            ..self
        }
    }

    fn tell(&self, observation: Observation) {
        if let Some(observer) = &self.observer {
            observer.observed(observation);
        }
    }

    /// The span of a call, which moves so many bytes if that is known.
    fn span(&self, operation: Operation, bytes: Option<u64>) -> Span {
        tracing::debug_span!(
            "store",
            otel.name = %format_args!("store {operation}"),
            otel.kind = "client",
            roadstead.location = self.location.as_str(),
            roadstead.operation = operation.as_str(),
            roadstead.bytes = bytes,
            error.r#type = tracing::field::Empty,
        )
    }

    /// Waits for a call and tells how it went. A call that is given up after [`SILENT_AFTER`] without an answer is told of as one that timed
    /// out; one that is given up sooner is not told of.
    pub(crate) async fn over<T>(
        &self,
        operation: Operation,
        call: impl Future<Output = Result<T, StorageError>>,
    ) -> Result<T, StorageError> {
        let mut pending = Pending {
            watch: self,
            operation,
            begun: Instant::now(),
            answered: false,
        };
        let span = self.span(operation, None);
        let result = Box::pin(call).instrument(span.clone()).await;
        if let Err(error) = &result {
            span.record("error.type", tracing::field::debug(error.kind()));
        }
        pending.answered = true;
        match &result {
            Err(error) if is_failure(error.kind()) => self.tell(Observation::Failed {
                operation,
                kind: error.kind(),
                midway: false,
            }),
            _ => self.tell(Observation::Answered {
                operation,
                took: pending.begun.elapsed(),
            }),
        }
        result
    }

    /// As [`Watch::over`], of a call that moves so many bytes, which takes as long as it takes.
    pub(crate) async fn over_bytes<T>(
        &self,
        operation: Operation,
        bytes: u64,
        call: impl Future<Output = Result<T, StorageError>>,
    ) -> Result<T, StorageError> {
        let begun = Instant::now();
        let span = self.span(operation, Some(bytes));
        let result = Box::pin(call).instrument(span.clone()).await;
        if let Err(error) = &result {
            span.record("error.type", tracing::field::debug(error.kind()));
        }
        match &result {
            Ok(_) => self.tell(Observation::Moved {
                operation,
                bytes,
                waited: begun.elapsed(),
                whole: true,
            }),
            Err(error) => self.failed(error, false),
        }
        result
    }

    /// Tells of a failure.
    pub(crate) fn failed(&self, error: &StorageError, midway: bool) {
        if is_failure(error.kind()) {
            self.tell(Observation::Failed {
                operation: error.operation(),
                kind: error.kind(),
                midway,
            });
        }
    }
}

/// Whether it speaks against the location.
fn is_failure(kind: StorageErrorKind) -> bool {
    kind.is_the_locations() || kind == StorageErrorKind::Unexpected
}

/// A call without an answer yet.
struct Pending<'a> {
    watch: &'a Watch,
    operation: Operation,
    begun: Instant,
    answered: bool,
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        if !self.answered && self.begun.elapsed() >= SILENT_AFTER {
            self.watch.tell(Observation::Failed {
                operation: self.operation,
                kind: StorageErrorKind::Timeout,
                midway: false,
            });
        }
    }
}

/// A transfer that is being watched: for how long the store was waited for, and what came.
#[derive(Debug)]
pub(crate) struct Transfer {
    watch: Watch,
    bytes: u64,
    waited: Duration,
    /// Since when the store is being waited for.
    waiting: Option<Instant>,
}

impl Transfer {
    pub(crate) fn of(watch: Watch) -> Self {
        Self {
            watch,
            bytes: 0,
            waited: Duration::ZERO,
            waiting: None,
        }
    }

    /// Nothing has come yet.
    pub(crate) fn waits(&mut self) {
        self.waiting.get_or_insert_with(Instant::now);
    }

    /// Bytes have come.
    pub(crate) fn moved(&mut self, bytes: usize) {
        self.bytes += bytes as u64;
        self.stop_waiting();
        if self.waited >= MOVED_EVERY {
            self.tell(false);
        }
    }

    /// It is over.
    pub(crate) fn ended(&mut self) {
        self.stop_waiting();
        if self.bytes > 0 {
            self.tell(true);
        }
    }

    /// It is over before its end.
    pub(crate) fn failed(&mut self, error: &StorageError) {
        self.watch.failed(error, true);
    }

    fn stop_waiting(&mut self) {
        if let Some(since) = self.waiting.take() {
            self.waited += since.elapsed();
        }
    }

    fn tell(&mut self, whole: bool) {
        self.watch.tell(Observation::Moved {
            operation: Operation::Read,
            bytes: std::mem::take(&mut self.bytes),
            waited: std::mem::take(&mut self.waited),
            whole,
        });
    }
}

impl Drop for Transfer {
    fn drop(&mut self) {
        // A transfer that is given up while the store is silent says as much as one that is slow.
        self.stop_waiting();
        if self.waited >= MOVED_EVERY {
            self.tell(false);
        }
    }
}
