//! Whether the location works, found out by using it; and making its root, once in its life. How often to ask, and what
//! follows from the answer, is decided elsewhere.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;

use crate::directory::Directory;
use crate::directory::calls::{Call, require_root};
use crate::directory::directories::create_durably;
use crate::error::{Operation, StorageError};
use crate::object_key::ObjectKey;
use crate::probe::PROBE_CONTENT;

impl Directory {
    /// Writes `_verify` to the disk and reads it back. Ends within twice
    /// [`crate::LocalOptions::probe_timeout`]. Costs a flush, so ask on a schedule and not for every health request.
    ///
    /// A full disk is not noticed, because eleven bytes are overwritten in place.
    pub(crate) async fn probe(&self) -> Result<(), StorageError> {
        let path = ObjectKey::Probe.path();
        let mut call = Call::new(Operation::Probe, path.clone(), self.options.probe_timeout);
        let file_name = path.clone();
        self.calls
            .blocking(&call, move |store| {
                require_root(&store.root)?;
                // Never truncated first, so that processes that probe at the same time do not see each other's gap.
                let file = OpenOptions::new()
                    .write(true)
                    .create(true)
                    .truncate(false)
                    .open(store.root.join(file_name))?;
                file.write_all_at(PROBE_CONTENT, 0)?;
                file.sync_data()?;
                Ok(())
            })
            .await?;
        call.continues = true;
        self.calls
            .operate(&call, move |operator| async move {
                let reader = operator.reader(&path).await?;
                reader.read(0..1).await
            })
            .await?;
        Ok(())
    }

    /// What an ordinary user may still write to the disk.
    pub(crate) async fn free_bytes(&self) -> Result<u64, StorageError> {
        let root = self.calls.configured_root().display().to_string();
        let call = Call::new(Operation::Probe, root, self.options.probe_timeout);
        self.calls
            .blocking(&call, |store| {
                let disk = rustix::fs::statvfs(&store.root).map_err(std::io::Error::from)?;
                Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
            })
            .await
    }

    /// Makes the root directory, and those above it, where they are missing. For the very first start only: a root that
    /// has gone missing later is a store that is not mounted, and a new one in its place would look like an empty store.
    pub(crate) async fn create_root(&self) -> Result<(), StorageError> {
        let root = self.calls.configured_root().display().to_string();
        let call = Call::new(Operation::CreateRoot, root, self.options.sync_timeout);
        self.calls
            .blocking_without_store(&call, |root| {
                create_durably(root)?;
                require_root(root)
            })
            .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{Fixture, name};
    use crate::{LocalOptions, Location, StorageErrorKind};

    #[tokio::test]
    async fn a_working_location_passes_again_and_again_and_over_quays_probe() {
        let fixture = Fixture::new().await;
        fixture.location.probe().await.unwrap();
        fixture.location.probe().await.unwrap();
        assert_eq!(fixture.content(&ObjectKey::Probe).unwrap(), PROBE_CONTENT);
        std::fs::write(fixture.path("_verify"), b"what Quay writes").unwrap();
        fixture.location.probe().await.unwrap();
    }

    #[tokio::test]
    async fn a_root_is_made_when_asked_for_and_left_alone_when_there() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("deep/root");
        let location = Location::local(name(), &root, LocalOptions::default()).unwrap();
        assert_eq!(
            location.probe().await.unwrap_err().kind(),
            StorageErrorKind::Unavailable
        );
        assert!(!root.exists());
        location.create_root().await.unwrap();
        location.probe().await.unwrap();
        location.create_root().await.unwrap();
        location.probe().await.unwrap();
        assert_eq!(location.root(), Some(root.as_path()));
    }
}
