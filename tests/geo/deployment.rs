//! A registry of the real program on an empty directory.

use std::path::Path;

use roadstead_oci::{Reference, RepositoryName};
use roadstead_testkit::{ImageKind, RegistryProcess, RegistrySettings, TestImage};
use tempfile::TempDir;

/// A directory and how a registry on it is started. The registry is not part of it: tests end it and start it again.
pub(crate) struct Deployment {
    pub(crate) settings: RegistrySettings,
    _directory: TempDir,
}

impl Deployment {
    pub(crate) fn new() -> Self {
        // Beside the build, where there is room for gigabytes; /tmp may be memory.
        let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        Self {
            settings: RegistrySettings::new(directory.path().join("data")),
            _directory: directory,
        }
    }

    /// The directory of a location.
    pub(crate) fn store(&self, location: &str) -> std::path::PathBuf {
        self.settings.data_dir.join(location)
    }

    /// Waits, as an operator would, until every blob is at every location.
    pub(crate) async fn wait_until_replicated(&self) {
        let waited = self
            .settings
            .admin()
            .run(&["replication", "status", "--wait", "--timeout", "9m"])
            .await;
        assert!(
            waited.expect_success().trim_end().ends_with("complete"),
            "{}",
            waited.stdout
        );
    }
}

/// Stops a registry, which has to end well.
pub(crate) async fn stop(registry: RegistryProcess) {
    let status = registry.stop().await;
    assert!(status.success(), "it ended with {status}");
}

/// A small image with a name of its own.
pub(crate) struct NamedImage {
    pub(crate) image: TestImage,
    pub(crate) repository: RepositoryName,
    pub(crate) reference: Reference,
}

impl NamedImage {
    /// The image of a number: in one of ten repositories, in either format, of one to three layers.
    pub(crate) fn new(number: u64) -> Self {
        let kind = if number.is_multiple_of(3) {
            ImageKind::Docker
        } else {
            ImageKind::Oci
        };
        let sizes: Vec<u64> = (0..=number % 3)
            .map(|layer| 1000 + number * 37 + layer * 50_000)
            .collect();
        Self {
            image: TestImage::new(number, kind, &sizes),
            repository: format!("team/app-{}", number % 10).parse().unwrap(),
            reference: format!("v{number}").parse().unwrap(),
        }
    }

    /// As `status` names it.
    pub(crate) fn name(&self) -> String {
        format!("{}:{}", self.repository, self.reference)
    }
}

/// The entry of a location in a status.
#[track_caller]
pub(crate) fn location<'a>(status: &'a serde_json::Value, name: &str) -> &'a serde_json::Value {
    let locations = status["locations"].as_array().unwrap();
    let found = locations
        .iter()
        .find(|location| location["location"] == name);
    found.unwrap_or_else(|| panic!("{name} is not in {status}"))
}

/// Whether a directory has anything in it.
pub(crate) fn is_empty(directory: &Path) -> bool {
    std::fs::read_dir(directory).is_ok_and(|mut entries| entries.next().is_none())
}
