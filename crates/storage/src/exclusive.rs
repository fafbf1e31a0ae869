//! One writer of an upload at a time in this process. Other processes are kept out by the file system's locks where there are any, and by the
//! version of the upload's session everywhere.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard};
use uuid::Uuid;

/// The uploads that somebody in this process has open. Grows with the writers that are alive, not with those that were.
#[derive(Debug, Default)]
pub(crate) struct Uploads {
    open: Mutex<HashMap<Uuid, Weak<AsyncMutex<()>>>>,
}

/// The only one in this process who may touch the staged bytes of an upload.
pub(crate) type Exclusive = OwnedMutexGuard<()>;

impl Uploads {
    /// Waits until nobody else in this process has the upload open.
    pub(crate) async fn exclusively(&self, id: Uuid) -> Exclusive {
        let lock = {
            let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
            open.retain(|_, lock| lock.strong_count() > 0);
            let lock = open.get(&id).and_then(Weak::upgrade).unwrap_or_default();
            open.insert(id, Arc::downgrade(&lock));
            lock
        };
        lock.lock_owned().await
    }

    #[cfg(test)]
    pub(crate) fn known(&self) -> usize {
        self.open
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .len()
    }
}
