//! Listing files.

use std::num::NonZeroU16;
use std::time::SystemTime;

use futures_util::TryStreamExt;
use opendal::{Entry, Lister};
use roadstead_oci::Digest;
use roadstead_runtime::Timestamp;
use uuid::Uuid;

use crate::directory::Directory;
use crate::directory::calls::{Call, require_root};
use crate::error::{Operation, StorageError};
use crate::inspect::{
    ListedObject, ObjectPage, Smallest, StagedPage, StagedUpload, upload_of_file,
};
use crate::object_key::{Shard, UPLOADS};

/// Directory entries looked at per step.
const ENTRIES_PER_STEP: usize = 64;

impl Directory {
    /// Lists uploads that have staged bytes, `limit` at a time, beginning after `after`.
    ///
    /// Memory is bounded by `limit`, at about 64 bytes each. Every page reads the whole folder, so take large ones.
    pub(crate) async fn list_staged(
        &self,
        after: Option<Uuid>,
        limit: NonZeroU16,
    ) -> Result<StagedPage, StorageError> {
        let mut smallest = Smallest::new(limit);
        let mut foreign = 0;
        self.each_file(UPLOADS, |name, entry| {
            let metadata = entry.metadata();
            let modified = metadata.last_modified().map(SystemTime::from);
            match (upload_of_file(name), modified) {
                (Some(id), Some(modified)) if after.is_none_or(|after| id > after) => {
                    smallest.offer(id, (metadata.content_length(), modified));
                }
                (Some(_), Some(_)) => {}
                _ => foreign += 1,
            }
        })
        .await?;
        let next = smallest.next();
        let uploads = smallest
            .kept
            .into_iter()
            .map(|(id, (size, modified))| StagedUpload {
                id,
                size,
                modified: modified.into(),
            });
        Ok(StagedPage {
            uploads: uploads.collect(),
            next,
            foreign,
        })
    }

    /// Lists the objects of one shard, `limit` at a time, beginning after `after`. A shard without objects is empty.
    ///
    /// Memory is bounded by `limit`, at about 200 bytes each. Every page reads the whole shard, so take large ones.
    pub(crate) async fn list_objects(
        &self,
        shard: Shard,
        after: Option<&Digest>,
        limit: NonZeroU16,
    ) -> Result<ObjectPage, StorageError> {
        let mut smallest = Smallest::new(limit);
        let mut foreign = 0;
        self.each_file(&shard.to_string(), |name, entry| {
            match shard.digest_of_file(name) {
                Some(digest) if after.is_none_or(|after| digest > *after) => {
                    let metadata = entry.metadata();
                    let modified = metadata.last_modified().map(SystemTime::from);
                    smallest.offer(digest, (metadata.content_length(), modified));
                }
                Some(_) => {}
                None => foreign += 1,
            }
        })
        .await?;
        let next = smallest.next();
        let objects = smallest
            .kept
            .into_iter()
            .map(|(digest, (size, modified))| ListedObject {
                digest,
                size,
                modified: modified.map(Timestamp::from),
            });
        Ok(ObjectPage {
            objects: objects.collect(),
            next,
            foreign,
        })
    }

    /// Shows the entries of a folder, which may be missing. What is not a file has the empty name.
    async fn each_file(
        &self,
        folder: &str,
        mut show: impl FnMut(&str, &Entry) + Send,
    ) -> Result<(), StorageError> {
        let path = format!("{folder}/");
        let mut call = Call::new(Operation::List, folder, self.options.step_timeout);
        let listed = path.clone();
        let mut lister = self
            .calls
            .operate(&call, move |operator| async move {
                operator.lister(&listed).await
            })
            .await?;
        call.continues = true;
        loop {
            let (rest, entries) = self
                .calls
                .operate(&call, move |_| next_entries(lister))
                .await?;
            let ended = entries.len() < ENTRIES_PER_STEP;
            // The folder is an entry of itself.
            for entry in entries.iter().filter(|entry| entry.path() != path) {
                show(
                    if entry.metadata().is_file() {
                        entry.name()
                    } else {
                        ""
                    },
                    entry,
                );
            }
            if ended {
                break;
            }
            lister = rest;
        }
        // The operator takes a missing folder for an empty one; that must not be the root's doing.
        self.calls
            .blocking(&call, |store| require_root(&store.root))
            .await
    }
}

async fn next_entries(mut lister: Lister) -> Result<(Lister, Vec<Entry>), opendal::Error> {
    let mut entries = Vec::new();
    while entries.len() < ENTRIES_PER_STEP
        && let Some(entry) = lister.try_next().await?
    {
        entries.push(entry);
    }
    Ok((lister, entries))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;

    use std::time::SystemTime;

    use roadstead_oci::Algorithm;
    use roadstead_runtime::Timestamp;

    use super::*;
    use crate::ObjectKey;
    use crate::fixture::{Fixture, id, stage};

    const ALL: NonZeroU16 = NonZeroU16::MAX;

    #[tokio::test]
    async fn objects_are_listed_by_shard_in_order_and_in_pages_of_any_size() {
        let fixture = Fixture::new().await;
        let mut expected = BTreeSet::new();
        // Enough names for several steps, all of one shard.
        let shard = Shard::new(Algorithm::Sha256, 0xab);
        fs::create_dir_all(fixture.path("sha256/ab")).unwrap();
        for number in 0..150_usize {
            let digest: Digest = format!("sha256:ab{:062x}", number * 7919 % 150)
                .parse()
                .unwrap();
            fs::write(
                fixture.path(&ObjectKey::Blob(digest.clone()).path()),
                vec![0; number],
            )
            .unwrap();
            expected.insert((digest, number as u64));
        }
        fixture.put(b"of another shard").await;
        for limit in [1, 64, 149, 150, 151] {
            let limit = NonZeroU16::new(limit).unwrap();
            let (mut listed, mut after) = (Vec::new(), None);
            loop {
                let page = fixture
                    .location
                    .list_objects(shard, after.as_ref(), limit)
                    .await
                    .unwrap();
                assert!(page.objects.len() <= usize::from(limit.get()));
                listed.extend(
                    page.objects
                        .into_iter()
                        .map(|object| (object.digest, object.size)),
                );
                after = page.next;
                if after.is_none() {
                    break;
                }
            }
            assert!(listed.iter().eq(&expected), "pages of {limit}");
        }
    }

    #[tokio::test]
    async fn what_does_not_belong_is_counted_and_not_listed() {
        let fixture = Fixture::new().await;
        let key = fixture.put(b"layer").await;
        let digest = Digest::of(Algorithm::Sha256, b"layer");
        let shard = Shard::of(&digest);
        let folder = fixture.path(&shard.to_string());
        fs::write(folder.join("lost+found"), b"").unwrap();
        fs::create_dir(folder.join("folder")).unwrap();
        fs::write(folder.join("f".repeat(64)), b"of another shard").unwrap();
        let page = fixture
            .location
            .list_objects(shard, None, ALL)
            .await
            .unwrap();
        assert_eq!(page.objects.len(), 1);
        let object = &page.objects[0];
        assert_eq!((&object.digest, object.size), (&digest, 5));
        let written = fs::metadata(fixture.path(&key.path())).unwrap();
        let modified = Timestamp::from(written.modified().unwrap());
        assert_eq!(object.modified, Some(modified));
        assert_eq!((page.next, page.foreign), (None, 3));

        stage(&fixture.location, id(1), b"abc").await.unwrap();
        let spelled = id(2).simple().to_string();
        fs::write(fixture.path("uploads").join(spelled), b"").unwrap();
        fs::create_dir(fixture.path("uploads").join(id(3).to_string())).unwrap();
        let page = fixture.location.list_staged(None, ALL).await.unwrap();
        assert_eq!(page.uploads.len(), 1);
        assert_eq!((page.uploads[0].id, page.uploads[0].size), (id(1), 3));
        assert_eq!((page.next, page.foreign), (None, 2));
        assert!(fixture.content(&key).is_some());
    }

    #[tokio::test]
    async fn uploads_are_listed_with_their_age_until_they_are_published_or_discarded() {
        let fixture = Fixture::new().await;
        assert_eq!(
            fixture.location.list_staged(None, ALL).await.unwrap(),
            StagedPage::default()
        );
        for number in [3, 1, 2] {
            stage(&fixture.location, id(number), b"abc").await.unwrap();
        }
        let old = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000);
        let file = fs::File::options()
            .write(true)
            .open(fixture.path(&ObjectKey::Upload(id(1)).path()))
            .unwrap();
        file.set_modified(old).unwrap();
        let first = fixture
            .location
            .list_staged(None, NonZeroU16::new(2).unwrap())
            .await
            .unwrap();
        let ids: Vec<_> = first.uploads.iter().map(|upload| upload.id).collect();
        assert_eq!((ids, first.next), (vec![id(1), id(2)], Some(id(2))));
        assert_eq!(first.uploads[0].modified, Timestamp::from(old));
        assert!(first.uploads[1].modified > first.uploads[0].modified);
        fixture.location.discard(id(3)).await.unwrap();
        let second = fixture.location.list_staged(first.next, ALL).await.unwrap();
        assert_eq!(second, StagedPage::default());
    }

    #[tokio::test]
    async fn an_empty_shard_is_empty() {
        let fixture = Fixture::new().await;
        let shard = Shard::new(Algorithm::Sha512, 7);
        let page = fixture
            .location
            .list_objects(shard, None, ALL)
            .await
            .unwrap();
        assert_eq!(page, ObjectPage::default());
    }
}
