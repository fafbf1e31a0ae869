//! The registry that these tests push to and pull from: the real program.

use roadstead_testkit::{RegistryProcess, RegistrySettings};
use roadstead_tests::Remote;
use tempfile::TempDir;

/// A registry on an empty directory.
pub(crate) struct OurRegistry {
    process: RegistryProcess,
    directory: TempDir,
}

impl OurRegistry {
    /// Starts one and waits until it answers.
    pub(crate) async fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let process = RegistrySettings::new(directory.path().join("data"))
            .start()
            .await;
        Self { process, directory }
    }

    /// Where it is, as `admin`.
    pub(crate) fn remote(&self) -> Remote {
        Remote::ours(self.process.settings())
    }

    /// Stops it in good order.
    pub(crate) async fn stop(self) {
        let status = self.process.stop().await;
        assert!(status.success(), "it ended with {status}");
        self.directory.close().unwrap();
    }
}
