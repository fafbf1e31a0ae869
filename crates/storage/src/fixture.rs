//! A location in a directory of its own, for the tests of this crate.

use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use futures_util::TryStreamExt;
use roadstead_oci::{Algorithm, Digest};
use roadstead_placement::LocationName;
use tempfile::TempDir;
use uuid::Uuid;

use crate::{ByteRange, LocalOptions, Location, ObjectKey, Staged, StorageError};

/// The deadline of steps that a test makes hang, and of locks that it makes wait. What does not hang has to end within it, on a busy machine too.
pub(crate) const SHORT: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(crate) struct Fixture {
    pub(crate) location: Location,
    pub(crate) options: LocalOptions,
    directory: TempDir,
}

impl Fixture {
    pub(crate) async fn new() -> Self {
        Self::with_options(LocalOptions::default()).await
    }

    pub(crate) async fn with_options(options: LocalOptions) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let location =
            Location::local(name(), directory.path().join("root"), options.clone()).unwrap();
        location.create_root().await.unwrap();
        Self {
            location,
            options,
            directory,
        }
    }

    /// The same store as another process sees it.
    pub(crate) fn another(&self) -> Location {
        Location::local(name(), self.path(""), self.options.clone()).unwrap()
    }

    #[cfg(feature = "faults")]
    pub(crate) async fn faulty() -> (Self, crate::faults::Faults) {
        Self::faulty_with_options(LocalOptions::default()).await
    }

    #[cfg(feature = "faults")]
    pub(crate) async fn faulty_with_options(
        options: LocalOptions,
    ) -> (Self, crate::faults::Faults) {
        let faults =
            crate::faults::Faults::new(std::sync::Arc::new(roadstead_runtime::SystemClock));
        let mut fixture = Self::with_options(options).await;
        fixture.location =
            Location::local_with_faults(name(), fixture.path(""), fixture.options.clone(), &faults)
                .unwrap();
        (fixture, faults)
    }

    pub(crate) fn path(&self, below: &str) -> PathBuf {
        self.directory.path().join("root").join(below)
    }

    /// What lies below the root, read without the crate's help.
    pub(crate) fn content(&self, key: &ObjectKey) -> Option<Vec<u8>> {
        std::fs::read(self.path(&key.path())).ok()
    }

    /// An object with this content, put there in the ordinary way.
    pub(crate) async fn put(&self, content: &[u8]) -> ObjectKey {
        put(&self.location, content).await.unwrap()
    }

    pub(crate) fn remove_root(&self) {
        std::fs::remove_dir_all(self.path("")).unwrap();
    }
}

pub(crate) fn name() -> LocationName {
    "usstorage".parse().unwrap()
}

pub(crate) fn id(number: u128) -> Uuid {
    Uuid::from_u128(number)
}

pub(crate) fn key_of(content: &[u8]) -> ObjectKey {
    ObjectKey::Blob(Digest::of(Algorithm::Sha256, content))
}

/// Bytes of which no two stretches look alike.
pub(crate) fn content(length: usize) -> Vec<u8> {
    (0..u64::MAX)
        .flat_map(|number| number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes())
        .take(length)
        .collect()
}

pub(crate) async fn put(location: &Location, content: &[u8]) -> Result<ObjectKey, StorageError> {
    let key = key_of(content);
    // One upload per content, which is as unique as its digest.
    let id = Uuid::from_u128(u128::from_str_radix(key.path().get(10..42).unwrap(), 16).unwrap());
    stage(location, id, content).await?;
    location
        .publish(id, &Staged::at(content.len() as u64), &key)
        .await?;
    Ok(key)
}

pub(crate) async fn stage(
    location: &Location,
    id: Uuid,
    content: &[u8],
) -> Result<(), StorageError> {
    let mut writer = location.stage(id, &Staged::NOTHING).await?;
    writer.write(Bytes::copy_from_slice(content)).await?;
    writer.sync().await
}

pub(crate) async fn read(
    location: &Location,
    key: &ObjectKey,
    range: impl Into<ByteRange> + Send,
) -> Result<Vec<u8>, StorageError> {
    let stream = location.read(key, range).await?;
    let chunks: Vec<Bytes> = stream.try_collect().await?;
    Ok(chunks.concat())
}
