//! The way of every request to an object store: admitted in bounded number, ended by a deadline, its failure classified, tried again where that
//! is safe and may help. What is requested is not decided here.

use std::sync::Arc;
use std::time::Duration;

use opendal::{Buffer, Operator};
use roadstead_placement::LocationName;
use roadstead_runtime::Clock;
use tokio::sync::Semaphore;

use crate::error::{Failure, Operation, StorageError, StorageErrorKind};
use crate::options::StoreOptions;

/// How often a request is made at most.
const ATTEMPTS: u32 = 3;

/// How long the first retry waits; the second waits three times as long. Short: whoever waits has another location to go to.
const RETRY_AFTER: Duration = Duration::from_millis(100);

#[derive(Debug)]
pub(super) struct Calls {
    location: LocationName,
    operator: Operator,
    /// For what is written in one request.
    writer: Operator,
    options: StoreOptions,
    permits: Semaphore,
    clock: Arc<dyn Clock>,
}

impl Calls {
    pub(super) fn new(
        location: LocationName,
        operator: Operator,
        options: StoreOptions,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let permits = Semaphore::new(options.calls_max.clamp(1, Semaphore::MAX_PERMITS));
        Self {
            location,
            writer: operator.clone(),
            operator,
            options,
            permits,
            clock,
        }
    }

    /// The same, with another way to write what is written in one request.
    pub(super) fn with_checked_writes(self, writer: Operator) -> Self {
        Self { writer, ..self }
    }

    /// Writes an object in one request, in as long as its bytes may take.
    pub(super) async fn write(
        &self,
        operation: Operation,
        path: &str,
        bytes: Buffer,
    ) -> Result<(), StorageError> {
        let deadline = self.options.part_deadline(bytes.len() as u64);
        self.retried_within(operation, path, deadline, || {
            self.writer.write(path, bytes.clone())
        })
        .await
        .map(drop)
    }

    pub(super) fn operator(&self) -> &Operator {
        &self.operator
    }

    pub(super) fn options(&self) -> &StoreOptions {
        &self.options
    }

    pub(super) fn error(
        &self,
        operation: Operation,
        path: &str,
        failure: impl Into<Failure>,
    ) -> StorageError {
        StorageError::new(operation, &self.location, path, failure.into())
    }

    /// Makes a request once, within a deadline of its own.
    pub(super) async fn once<T>(
        &self,
        operation: Operation,
        path: &str,
        deadline: Duration,
        request: impl IntoFuture<Output = Result<T, opendal::Error>>,
    ) -> Result<T, StorageError> {
        let admitted = async {
            let _permit = self
                .permits
                .acquire()
                .await
                .map_err(|closed| Failure::because(StorageErrorKind::Unavailable, closed))?;
            request.await.map_err(Failure::from)
        };
        match tokio::time::timeout(deadline, admitted).await {
            Ok(result) => result.map_err(|failure| self.error(operation, path, failure)),
            Err(_) => Err(self.error(operation, path, StorageErrorKind::Timeout)),
        }
    }

    /// Makes a request that may be repeated: at most three times, while the store answers that it cannot just now. A store that does not
    /// answer is not asked again.
    pub(super) async fn retried<T, F>(
        &self,
        operation: Operation,
        path: &str,
        request: impl Fn() -> F,
    ) -> Result<T, StorageError>
    where
        F: IntoFuture<Output = Result<T, opendal::Error>>,
    {
        self.retried_within(operation, path, self.options.step_timeout, request)
            .await
    }

    /// As [`Calls::retried`], with a deadline for each attempt.
    pub(super) async fn retried_within<T, F>(
        &self,
        operation: Operation,
        path: &str,
        deadline: Duration,
        request: impl Fn() -> F,
    ) -> Result<T, StorageError>
    where
        F: IntoFuture<Output = Result<T, opendal::Error>>,
    {
        let mut pause = RETRY_AFTER;
        for _ in 1..ATTEMPTS {
            match self.once(operation, path, deadline, request()).await {
                Err(error) if may_pass(error.kind()) => {
                    tracing::debug!(
                        location.id = %self.location,
                        error = &error as &dyn std::error::Error,
                        "Trying again after a failure of location {}",
                        self.location
                    );
                    self.clock.sleep(pause).await;
                    pause *= 3;
                }
                result => return result,
            }
        }
        self.once(operation, path, deadline, request()).await
    }
}

/// Whether the same request may succeed in a moment.
fn may_pass(kind: StorageErrorKind) -> bool {
    matches!(
        kind,
        StorageErrorKind::Throttled
            | StorageErrorKind::ServerError
            | StorageErrorKind::Unavailable
            | StorageErrorKind::Interrupted
    )
}
