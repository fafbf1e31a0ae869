//! Two locations and one blob to be copied between them.

use std::fs;
use std::io;
use std::num::NonZeroU64;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::TryStreamExt;
use roadstead_oci::{Algorithm, Digest, Digester};
use roadstead_placement::LocationName;
use roadstead_replication::{BlobContent, CopyError, copy_blob};
use roadstead_runtime::{Ids, SeededIds, SystemClock};
use roadstead_storage::faults::Faults;
use roadstead_storage::{LocalOptions, Location, ObjectKey, Staged, StorageError};
use tempfile::TempDir;

/// Bytes per second that a throttled source gives.
pub const THROTTLE_BYTES_PER_SECOND: NonZeroU64 =
    NonZeroU64::new(128 << 20).expect("it is not zero");

/// The size of the pieces in which test content is made and hashed.
const PIECE_BYTES: usize = 1 << 20;

/// What the two locations are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Medium {
    /// Directories in memory (`/dev/shm`).
    Memory,
    /// Directories on the disk that temporary files are on.
    File,
    /// As `Memory`, with a source that gives [`THROTTLE_BYTES_PER_SECOND`].
    Throttled,
}

impl Medium {
    /// Every medium, with its name in reports.
    pub const ALL: [(&'static str, Self); 3] = [
        ("memory", Self::Memory),
        ("file", Self::File),
        ("throttled", Self::Throttled),
    ];
}

/// A blob at a source, and a target that takes copies of it, each in the place of the one before.
#[derive(Debug)]
pub struct Copying {
    source: Location,
    target: Location,
    blob: BlobContent,
    ids: SeededIds,
    _directory: TempDir,
}

impl Copying {
    /// Puts a blob of `size` bytes at the source.
    pub async fn prepare(medium: Medium, size: u64) -> Result<Self, Box<dyn std::error::Error>> {
        let directory = match medium {
            Medium::Memory | Medium::Throttled => tempfile::tempdir_in("/dev/shm")?,
            Medium::File => tempfile::tempdir()?,
        };
        let faults = Faults::new(Arc::new(SystemClock));
        let source = Location::local_with_faults(
            LocationName::new("source")?,
            root(directory.path(), "source")?,
            LocalOptions::default(),
            &faults,
        )?;
        let target = Location::local(
            LocationName::new("target")?,
            root(directory.path(), "target")?,
            LocalOptions::default(),
        )?;
        let ids = SeededIds::new(1);
        let blob = put(&source, size, &ids).await?;
        if medium == Medium::Throttled {
            faults.throttle(THROTTLE_BYTES_PER_SECOND);
        }
        Ok(Self {
            source,
            target,
            blob,
            ids,
            _directory: directory,
        })
    }

    /// Copies the blob as the replicator does: hashed on the way, read back and hashed at the target.
    pub async fn verified(&self) -> Result<(), CopyError> {
        copy_blob(&self.source, &self.target, &self.blob, &self.ids).await
    }

    /// Copies the blob without looking at its bytes: what verification is measured against. Nothing but a benchmark does this.
    pub async fn raw(&self) -> Result<(), StorageError> {
        let id = self.ids.uuid();
        let key = ObjectKey::Blob(self.blob.digest.clone());
        let mut stream = self.source.read(&key, ..).await?.read_ahead();
        let mut writer = self.target.stage(id, &Staged::NOTHING).await?;
        while let Some(chunk) = stream.try_next().await? {
            writer.write(chunk).await?;
        }
        writer.sync().await?;
        let staged = writer.staged();
        drop(writer);
        self.target.publish(id, &staged, &key).await
    }
}

/// Hashes `size` bytes on one thread: the ceiling of everything that hashes.
pub fn hash(size: u64) -> Digest {
    let piece = vec![0; PIECE_BYTES];
    let mut digester = Digester::new(Algorithm::Sha256);
    let mut left = size;
    while left > 0 {
        let length = piece.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        digester.update(piece.get(..length).unwrap_or(&piece));
        left -= length as u64;
    }
    digester.finish()
}

fn root(directory: &Path, name: &str) -> io::Result<std::path::PathBuf> {
    let root = directory.join(name);
    fs::create_dir(&root)?;
    Ok(root)
}

async fn put(location: &Location, size: u64, ids: &SeededIds) -> Result<BlobContent, StorageError> {
    let id = ids.uuid();
    let mut writer = location.stage(id, &Staged::NOTHING).await?;
    let mut digester = Digester::new(Algorithm::Sha256);
    let mut left = size;
    while left > 0 {
        let mut piece = vec![0; PIECE_BYTES.min(usize::try_from(left).unwrap_or(usize::MAX))];
        ids.fill(&mut piece);
        left -= piece.len() as u64;
        digester.update(&piece);
        writer.write(Bytes::from(piece)).await?;
    }
    writer.sync().await?;
    let staged = writer.staged();
    drop(writer);
    let blob = BlobContent {
        digest: digester.finish(),
        size,
    };
    location
        .publish(id, &staged, &ObjectKey::Blob(blob.digest.clone()))
        .await?;
    Ok(blob)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn every_case_copies() {
        for (_, medium) in Medium::ALL {
            let copying = Copying::prepare(medium, 3_000_000).await.unwrap();
            copying.raw().await.unwrap();
            copying.verified().await.unwrap();
            let key = ObjectKey::Blob(copying.blob.digest.clone());
            let copied = copying.target.stat(&key).await.unwrap().unwrap();
            assert_eq!(copied.size, 3_000_000);
        }
        assert_eq!(hash(3), Digest::of(Algorithm::Sha256, &[0; 3]));
    }
}
