//! Who in this process may write to an upload. Other processes are kept out by the lock of the staged file and by the version of
//! the session's row; this lock comes before both, so that the row is read and the staged bytes are cut back to it in one go.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard};
use uuid::Uuid;

/// The uploads that somebody in this process is writing to. Grows with the writers that are alive, not with those that were.
#[derive(Debug, Default)]
pub(crate) struct SessionLocks {
    held: Mutex<HashMap<Uuid, Weak<AsyncMutex<()>>>>,
}

/// The only one in this process who may write to the upload, until it is dropped.
pub(crate) type SessionLock = OwnedMutexGuard<()>;

impl SessionLocks {
    /// Waits until nobody else in this process writes to the upload.
    pub(crate) async fn lock(&self, id: Uuid) -> SessionLock {
        let lock = {
            let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
            held.retain(|_, lock| lock.strong_count() > 0);
            if let Some(lock) = held.get(&id).and_then(Weak::upgrade) {
                lock
            } else {
                let lock = Arc::new(AsyncMutex::new(()));
                held.insert(id, Arc::downgrade(&lock));
                lock
            }
        };
        lock.lock_owned().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    #[tokio::test]
    async fn one_upload_has_one_writer_and_two_uploads_have_two() {
        let locks = SessionLocks::default();
        let (one, two) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let first = locks.lock(one).await;
        let _second = locks.lock(two).await;
        assert!(locks.lock(one).now_or_never().is_none());
        drop(first);
        assert!(locks.lock(one).now_or_never().is_some());
    }

    #[tokio::test]
    async fn nothing_is_kept_of_writers_that_have_gone() {
        let locks = SessionLocks::default();
        for id in 0..100 {
            drop(locks.lock(Uuid::from_u128(id)).await);
        }
        assert!(locks.held.lock().unwrap().len() <= 1);
    }
}
