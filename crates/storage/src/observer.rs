//! What a location tells about each call to its store, for whoever keeps an eye on its health. What follows from it is decided elsewhere.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::error::{Operation, StorageError, StorageErrorKind};

/// Whoever gives a call up before this may have had reasons of its own, such as a client that went away; after it, the store is silent. One
/// second: no answer of a store that works takes as long, the flush of a large upload aside.
const SILENT_AFTER: Duration = Duration::from_secs(1);

/// Told of every call to a store. Called on the way of requests, so it must be quick and never wait.
pub trait Observer: fmt::Debug + Send + Sync {
    /// A call has ended.
    fn observed(&self, observation: Observation);
}

/// How a call to a store went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Observation {
    /// What was asked.
    pub operation: Operation,
    /// How long the answer took: the first chunk of a read, the whole of everything else. With a failure in the middle of a transfer:
    /// nothing.
    pub took: Duration,
    /// What went wrong, if anything. That an object is not there is an answer.
    pub failure: Option<StorageErrorKind>,
}

/// The observer of one location, if it has one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Watch(Option<Arc<dyn Observer>>);

impl Watch {
    pub(crate) fn of(observer: Arc<dyn Observer>) -> Self {
        Self(Some(observer))
    }

    /// Waits for a call and tells how it went. A call that is given up after [`SILENT_AFTER`] without an answer is told of as one that timed
    /// out; one that is given up sooner is not told of.
    pub(crate) async fn over<T>(
        &self,
        operation: Operation,
        call: impl Future<Output = Result<T, StorageError>>,
    ) -> Result<T, StorageError> {
        let Some(observer) = &self.0 else {
            return call.await;
        };
        let mut pending = Pending {
            observer,
            operation,
            begun: Instant::now(),
            answered: false,
        };
        let result = call.await;
        pending.answered = true;
        observer.observed(Observation {
            operation,
            took: pending.begun.elapsed(),
            failure: result.as_ref().err().map(StorageError::kind),
        });
        result
    }

    /// Tells of a failure in the middle of a transfer.
    pub(crate) fn failed(&self, error: &StorageError) {
        if let Some(observer) = &self.0 {
            observer.observed(Observation {
                operation: error.operation(),
                took: Duration::ZERO,
                failure: Some(error.kind()),
            });
        }
    }
}

/// A call without an answer yet.
struct Pending<'a> {
    observer: &'a Arc<dyn Observer>,
    operation: Operation,
    begun: Instant,
    answered: bool,
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        let took = self.begun.elapsed();
        if !self.answered && took >= SILENT_AFTER {
            self.observer.observed(Observation {
                operation: self.operation,
                took,
                failure: Some(StorageErrorKind::Timeout),
            });
        }
    }
}
