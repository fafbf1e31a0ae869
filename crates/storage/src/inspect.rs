//! Looking at what a location really holds: for the store check, for cleaning up abandoned uploads, and for verifying a
//! copy. What to do about it is decided elsewhere.

use std::collections::BTreeMap;
use std::num::NonZeroU16;

use futures_util::TryStreamExt;
use roadstead_oci::{Digest, Digester};
use roadstead_runtime::Timestamp;
use uuid::Uuid;

use crate::error::{StorageError, StorageErrorKind};
use crate::location::Location;
use crate::object_key::ObjectKey;

/// An upload's staged bytes.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct StagedUpload {
    /// The upload.
    pub id: Uuid,
    /// Bytes, those among them that were never acknowledged.
    pub size: u64,
    /// When they were last written to, by the clock of the store.
    pub modified: Timestamp,
}

/// Some staged uploads, by ascending id.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct StagedPage {
    /// The uploads.
    pub uploads: Vec<StagedUpload>,
    /// Where to go on, unless this was the last page.
    pub next: Option<Uuid>,
    /// Names in the folder that are not uploads.
    pub foreign: u64,
}

/// An object as it lies in the store.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ListedObject {
    /// The digest it is named after. Its bytes were not looked at.
    pub digest: Digest,
    /// Bytes.
    pub size: u64,
    /// When it was written, by the clock of the store, which not every store tells.
    pub modified: Option<Timestamp>,
}

/// Some objects of one shard, by ascending digest.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct ObjectPage {
    /// The objects.
    pub objects: Vec<ListedObject>,
    /// Where to go on, unless this was the last page.
    pub next: Option<Digest>,
    /// Names in the shard that are not digests that belong there.
    pub foreign: u64,
}

/// What reading an object back has shown.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Verification {
    /// The bytes hash to the digest.
    Intact {
        /// Bytes.
        size: u64,
    },
    /// It is not there.
    Missing,
    /// Other bytes are there.
    Damaged {
        /// How many.
        size: u64,
        /// What they hash to.
        found: Digest,
    },
}

impl Location {
    /// Reads a blob to its end and hashes it.
    ///
    /// # Errors
    ///
    /// Only those that say nothing about the blob: a damaged or missing one is an answer.
    pub async fn verify(&self, digest: &Digest) -> Result<Verification, StorageError> {
        self.verify_paced(digest, |_| std::future::ready(())).await
    }

    /// As [`Location::verify`], waiting for `pace`, which is given the bytes of a chunk, before the next chunk is asked for. One more may be
    /// read ahead.
    pub async fn verify_paced<F>(
        &self,
        digest: &Digest,
        mut pace: impl FnMut(u64) -> F + Send,
    ) -> Result<Verification, StorageError>
    where
        F: Future<Output = ()> + Send,
    {
        let key = ObjectKey::Blob(digest.clone());
        let mut stream = match self.read(&key, ..).await {
            Ok(stream) => stream.read_ahead(),
            Err(error) if error.kind() == StorageErrorKind::NotFound => {
                return Ok(Verification::Missing);
            }
            Err(error) => return Err(error),
        };
        let mut digester = Digester::new(digest.algorithm());
        while let Some(chunk) = stream.try_next().await? {
            digester.update(&chunk);
            pace(chunk.len() as u64).await;
        }
        let size = digester.bytes_hashed();
        let found = digester.finish();
        Ok(if found == *digest {
            Verification::Intact { size }
        } else {
            Verification::Damaged { size, found }
        })
    }
}

pub(crate) fn upload_of_file(name: &str) -> Option<Uuid> {
    let id = Uuid::parse_str(name).ok()?;
    // In our own spelling only: another one would not be found again by its id.
    (id.hyphenated().to_string() == name).then_some(id)
}

/// The `limit` smallest of what is offered.
pub(crate) struct Smallest<K, V> {
    pub(crate) kept: BTreeMap<K, V>,
    limit: usize,
    pub(crate) more: bool,
}

impl<K: Clone + Ord, V> Smallest<K, V> {
    pub(crate) fn new(limit: NonZeroU16) -> Self {
        Self {
            kept: BTreeMap::new(),
            limit: usize::from(limit.get()),
            more: false,
        }
    }

    pub(crate) fn offer(&mut self, key: K, value: V) {
        self.kept.insert(key, value);
        if self.kept.len() > self.limit {
            self.kept.pop_last();
            self.more = true;
        }
    }

    pub(crate) fn next(&self) -> Option<K> {
        let (last, _) = self.kept.last_key_value()?;
        self.more.then(|| last.clone())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use roadstead_oci::Algorithm;

    use super::*;
    use crate::Staged;
    use crate::fixture::{Fixture, id, stage};

    #[tokio::test]
    async fn a_blob_is_intact_damaged_or_missing() {
        let fixture = Fixture::new().await;
        for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
            let digest = Digest::of(algorithm, b"layer");
            let key = ObjectKey::Blob(digest.clone());
            assert_eq!(
                fixture.location.verify(&digest).await.unwrap(),
                Verification::Missing
            );
            stage(&fixture.location, id(1), b"layer").await.unwrap();
            fixture
                .location
                .publish(id(1), &Staged::at(5), &key)
                .await
                .unwrap();
            assert_eq!(
                fixture.location.verify(&digest).await.unwrap(),
                Verification::Intact { size: 5 }
            );
            fs::write(fixture.path(&key.path()), b"lay").unwrap();
            assert_eq!(
                fixture.location.verify(&digest).await.unwrap(),
                Verification::Damaged {
                    size: 3,
                    found: Digest::of(algorithm, b"lay")
                }
            );
        }
    }
}
