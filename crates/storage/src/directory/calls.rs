//! The way of every call into the kernel: admitted in bounded number, ended by a deadline, its failure classified, and
//! "no such file" told apart from "no such store". What is called is not decided here.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use opendal::Operator;
use opendal::services::Fs;
use roadstead_placement::LocationName;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::task::JoinHandle;

use crate::directory::hook::Hook;
use crate::error::{Failure, Operation, StorageError, StorageErrorKind};

/// What is being done, for deadlines, faults and error messages.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) operation: Operation,
    /// The path below the root.
    pub(crate) object: String,
    pub(crate) timeout: Duration,
    /// Whether this is a later step of an operation that has begun.
    pub(crate) continues: bool,
}

impl Call {
    pub(crate) fn new(operation: Operation, object: impl Into<String>, timeout: Duration) -> Self {
        Self {
            operation,
            object: object.into(),
            timeout,
            continues: false,
        }
    }
}

/// The root directory, seen to be there, and the operator below it.
#[derive(Debug)]
pub(crate) struct Store {
    /// Without symbolic links, so that the operator and our own code mean the same directory.
    pub(crate) root: PathBuf,
    pub(crate) operator: Operator,
}

#[derive(Debug)]
pub(crate) struct Calls {
    location: LocationName,
    configured_root: PathBuf,
    store: OnceLock<Store>,
    permits: Arc<Semaphore>,
    pub(crate) hook: Hook,
}

/// Leave to be inside the kernel.
#[derive(Debug)]
pub(crate) struct Permit {
    _permit: OwnedSemaphorePermit,
}

/// A call on a blocking thread. Dropping it does not stop it: its permit stays taken until it ends.
#[derive(Debug)]
pub(crate) struct Running<T>(JoinHandle<Result<T, Failure>>);

impl<T> Running<T> {
    pub(crate) fn has_ended(&self) -> bool {
        self.0.is_finished()
    }
}

impl Calls {
    pub(crate) fn new(
        location: LocationName,
        configured_root: PathBuf,
        calls_max: usize,
        hook: Hook,
    ) -> Self {
        Self {
            location,
            configured_root,
            store: OnceLock::new(),
            permits: Arc::new(Semaphore::new(calls_max.clamp(1, Semaphore::MAX_PERMITS))),
            hook,
        }
    }

    pub(crate) fn configured_root(&self) -> &Path {
        &self.configured_root
    }

    pub(crate) fn error(&self, call: &Call, failure: impl Into<Failure>) -> StorageError {
        StorageError::new(call.operation, &self.location, &call.object, failure.into())
    }

    /// Runs `work` on a blocking thread.
    pub(crate) async fn blocking<T, W>(
        self: &Arc<Self>,
        call: &Call,
        work: W,
    ) -> Result<T, StorageError>
    where
        T: Send + 'static,
        W: FnOnce(&Store) -> Result<T, Failure> + Send + 'static,
    {
        self.within(call, async {
            let permit = self.permit(call).await?;
            join(&mut self.start(permit, work)).await
        })
        .await
    }

    /// Runs `work` on a blocking thread although the root may not be there.
    pub(crate) async fn blocking_without_store<T, W>(
        self: &Arc<Self>,
        call: &Call,
        work: W,
    ) -> Result<T, StorageError>
    where
        T: Send + 'static,
        W: FnOnce(&Path) -> Result<T, Failure> + Send + 'static,
    {
        self.within(call, async {
            let permit = self.permit(call).await?;
            let calls = Arc::clone(self);
            join(&mut Running(tokio::task::spawn_blocking(move || {
                let _permit = permit;
                work(&calls.configured_root)
            })))
            .await
        })
        .await
    }

    /// Runs a step of `OpenDAL`'s, [apart](Self::apart).
    pub(crate) async fn operate<T, W, F>(
        self: &Arc<Self>,
        call: &Call,
        work: W,
    ) -> Result<T, StorageError>
    where
        T: Send + 'static,
        W: FnOnce(Operator) -> F + Send + 'static,
        F: Future<Output = Result<T, opendal::Error>> + Send + 'static,
    {
        let calls = Arc::clone(self);
        self.apart(call, |permit| async move { calls.step(permit, work).await })
            .await
    }

    /// Runs `work` on a blocking thread, [apart](Self::apart).
    pub(crate) async fn blocking_apart<T, W>(
        self: &Arc<Self>,
        call: &Call,
        work: W,
    ) -> Result<T, StorageError>
    where
        T: Send + 'static,
        W: FnOnce(&Store) -> Result<T, Failure> + Send + 'static,
    {
        let calls = Arc::clone(self);
        self.apart(call, |permit| async move {
            join(&mut calls.start(permit, work)).await
        })
        .await
    }

    /// Runs a step in a task of its own. So its deadline measures the store and not how often the caller
    /// polls, which for the body of a response depends on the client. And a step that was given up goes on counting
    /// against the bound until the kernel lets go of its thread, which nothing else can make it do.
    async fn apart<T, W, F>(self: &Arc<Self>, call: &Call, work: W) -> Result<T, StorageError>
    where
        T: Send + 'static,
        W: FnOnce(Permit) -> F + Send + 'static,
        F: Future<Output = Result<T, Failure>> + Send + 'static,
    {
        let (answer, answered) = oneshot::channel();
        let (calls, step) = (Arc::clone(self), call.clone());
        #[expect(
            clippy::disallowed_methods,
            reason = "shutdown must not wait for a store that hangs; a step is read-only or safe to repeat"
        )]
        drop(tokio::spawn(async move {
            let result = match tokio::time::timeout(step.timeout, calls.permit(&step)).await {
                Ok(Ok(permit)) => {
                    if answer.is_closed() {
                        return;
                    }
                    work(permit).await
                }
                Ok(Err(failure)) => Err(failure),
                Err(_) => Err(StorageErrorKind::Timeout.into()),
            };
            // Whoever asked may have gone.
            answer.send(result).ok();
        }));
        self.within(call, async {
            answered.await.unwrap_or_else(|shutdown| {
                Err(Failure::because(StorageErrorKind::Unavailable, shutdown))
            })
        })
        .await
    }

    async fn step<T, W, F>(self: &Arc<Self>, permit: Permit, work: W) -> Result<T, Failure>
    where
        T: Send + 'static,
        W: FnOnce(Operator) -> F,
        F: Future<Output = Result<T, opendal::Error>>,
    {
        let _permit = permit;
        let operator = self.operator().await?;
        let failure = match work(operator).await {
            Ok(output) => return Ok(output),
            Err(error) => Failure::from(error),
        };
        if failure.kind != StorageErrorKind::NotFound {
            return Err(failure);
        }
        let calls = Arc::clone(self);
        join(&mut Running(tokio::task::spawn_blocking(move || {
            Err(calls.not_found_or_gone(failure))
        })))
        .await
    }

    /// Waits for leave to start a call.
    pub(crate) async fn admit(&self, call: &Call) -> Result<Permit, StorageError> {
        self.within(call, self.permit(call)).await
    }

    /// Whether a test makes a call fail that is to be part of an admitted one.
    pub(crate) async fn spared(&self, call: &Call) -> Result<(), StorageError> {
        self.within(call, self.hook.before(call.operation, call.continues))
            .await
    }

    /// Starts an admitted call.
    pub(crate) fn start<T, W>(self: &Arc<Self>, permit: Permit, work: W) -> Running<T>
    where
        T: Send + 'static,
        W: FnOnce(&Store) -> Result<T, Failure> + Send + 'static,
    {
        let calls = Arc::clone(self);
        Running(tokio::task::spawn_blocking(move || {
            let _permit = permit;
            let store = calls.store()?;
            work(store).map_err(|failure| calls.not_found_or_gone(failure))
        }))
    }

    /// Waits for a started call. When the wait is dropped or its deadline passes, it can be waited for again.
    pub(crate) async fn finish<T>(
        &self,
        call: &Call,
        running: &mut Running<T>,
    ) -> Result<T, StorageError> {
        self.within(call, join(running)).await
    }

    async fn within<T>(
        &self,
        call: &Call,
        work: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, StorageError> {
        match tokio::time::timeout(call.timeout, work).await {
            Ok(result) => result.map_err(|failure| self.error(call, failure)),
            Err(_) => Err(self.error(call, StorageErrorKind::Timeout)),
        }
    }

    async fn permit(&self, call: &Call) -> Result<Permit, Failure> {
        self.hook.before(call.operation, call.continues).await?;
        let permit = Arc::clone(&self.permits)
            .acquire_owned()
            .await
            .map_err(|closed| Failure::because(StorageErrorKind::Unavailable, closed))?;
        Ok(Permit { _permit: permit })
    }

    async fn operator(self: &Arc<Self>) -> Result<Operator, Failure> {
        if let Some(store) = self.store.get() {
            return Ok(store.operator.clone());
        }
        let calls = Arc::clone(self);
        join(&mut Running(tokio::task::spawn_blocking(move || {
            calls.store().map(|store| store.operator.clone())
        })))
        .await
    }

    /// The store, opened when it is first needed, so that a process starts although one of its stores is down.
    fn store(&self) -> Result<&Store, Failure> {
        if let Some(store) = self.store.get() {
            return Ok(store);
        }
        let opened = open(&self.configured_root)?;
        Ok(self.store.get_or_init(|| opened))
    }

    fn not_found_or_gone(&self, failure: Failure) -> Failure {
        if failure.kind == StorageErrorKind::NotFound
            && let Some(store) = self.store.get()
            && let Err(gone) = require_root(&store.root)
        {
            return gone;
        }
        failure
    }
}

/// Fails as unavailable unless `root` is a directory.
pub(crate) fn require_root(root: &Path) -> Result<(), Failure> {
    match std::fs::metadata(root) {
        Ok(metadata) if metadata.is_dir() => Ok(()),
        Ok(_) => Err(Failure::because(
            StorageErrorKind::Unavailable,
            io::Error::from(io::ErrorKind::NotADirectory),
        )),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Err(Failure::because(StorageErrorKind::Unavailable, error))
        }
        Err(error) => Err(error.into()),
    }
}

fn open(configured_root: &Path) -> Result<Store, Failure> {
    // The operator's builder makes a root that is missing. That must not happen, hence the look beforehand.
    require_root(configured_root)?;
    let root = configured_root.canonicalize()?;
    let text = root.to_str().ok_or_else(|| {
        Failure::because(StorageErrorKind::Unexpected, "the root's path is not UTF-8")
    })?;
    let operator = Operator::new(Fs::default().root(text))?;
    Ok(Store { root, operator })
}

async fn join<T>(running: &mut Running<T>) -> Result<T, Failure> {
    match (&mut running.0).await {
        Ok(result) => result,
        // Cancelled only when the runtime shuts down before the call began.
        Err(error) if error.is_cancelled() => {
            Err(Failure::because(StorageErrorKind::Unavailable, error))
        }
        Err(panicked) => Err(Failure::because(StorageErrorKind::Unexpected, panicked)),
    }
}

#[cfg(test)]
mod tests;
