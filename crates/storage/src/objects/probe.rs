//! Whether the store works, found out by using it as Quay does: an object is written at the root and looked at.

use std::time::Duration;

use super::ObjectStore;
use crate::error::{Failure, Operation, StorageError, StorageErrorKind};
use crate::object_key::ObjectKey;
use crate::probe::PROBE_CONTENT;

impl ObjectStore {
    /// Writes `_verify` and reads it back, each within [`StoreOptions::probe_timeout`](crate::StoreOptions::probe_timeout), and never twice.
    pub(crate) async fn probe(&self) -> Result<(), StorageError> {
        let path = ObjectKey::Probe.path();
        let calls = &self.calls;
        let deadline: Duration = calls.options().probe_timeout;
        calls
            .once(
                Operation::Probe,
                &path,
                deadline,
                calls.operator().write(&path, PROBE_CONTENT.as_slice()),
            )
            .await?;
        let read = calls
            .once(
                Operation::Probe,
                &path,
                deadline,
                calls.operator().read(&path),
            )
            .await?;
        // Another program's probe may have been faster; its content has the same length.
        if read.len() == PROBE_CONTENT.len() {
            Ok(())
        } else {
            let problem = format!("it holds {} bytes just after 11 were written", read.len());
            let failure = Failure::because(StorageErrorKind::Corrupt, problem);
            Err(calls.error(Operation::Probe, &path, failure))
        }
    }
}
