//! Listing what a store holds.

use std::collections::BTreeMap;
use std::num::NonZeroU16;
use std::time::SystemTime;

use futures_util::TryStreamExt;
use opendal::Entry;
use roadstead_oci::Digest;
use roadstead_runtime::Timestamp;
use uuid::Uuid;

use super::ObjectStore;
use crate::error::{Operation, StorageError};
use crate::inspect::{
    ListedObject, ObjectPage, Smallest, StagedPage, StagedUpload, upload_of_file,
};
use crate::object_key::{Shard, UPLOADS};

impl ObjectStore {
    /// Every part of the uploads of a page is looked at. A store that lists in order begins behind `after`.
    pub(crate) async fn list_staged(
        &self,
        after: Option<Uuid>,
        limit: NonZeroU16,
    ) -> Result<StagedPage, StorageError> {
        let folder = format!("{UPLOADS}/");
        // Behind everything in the folder of that upload: `0` is the byte after `/`.
        let start = after.map(|after| format!("{folder}{}0", after.hyphenated()));
        let limit = usize::from(limit.get());
        let mut found: BTreeMap<Uuid, (u64, Timestamp)> = BTreeMap::new();
        let mut foreign = 0;
        let mut more = false;
        self.each(&folder, start, |entry| {
            let name = entry.path().strip_prefix(&folder).unwrap_or_default();
            let upload = name.split('/').next().unwrap_or_default();
            let metadata = entry.metadata();
            let modified = metadata.last_modified().map(SystemTime::from);
            let (Some(id), Some(modified)) = (upload_of_file(upload), modified) else {
                foreign += 1;
                return true;
            };
            if after.is_some_and(|after| id <= after) {
                return true;
            }
            let modified = Timestamp::from(modified);
            found
                .entry(id)
                .and_modify(|(size, latest)| {
                    *size += metadata.content_length();
                    *latest = modified.max(*latest);
                })
                .or_insert((metadata.content_length(), modified));
            if found.len() > limit {
                found.pop_last();
                more = true;
                // In order, everything that follows belongs to later pages.
                return !self.lists_in_order();
            }
            true
        })
        .await?;
        let next = found
            .last_key_value()
            .filter(|_| more)
            .map(|(last, _)| *last);
        let uploads = found
            .into_iter()
            .map(|(id, (size, modified))| StagedUpload { id, size, modified });
        let uploads = match self.assembly.lists_parts() {
            Some(_) => self.with_parts(uploads).await?,
            None => uploads.collect(),
        };
        Ok(StagedPage {
            uploads,
            next,
            foreign,
        })
    }

    pub(crate) async fn list_objects(
        &self,
        shard: Shard,
        after: Option<&Digest>,
        limit: NonZeroU16,
    ) -> Result<ObjectPage, StorageError> {
        let folder = format!("{shard}/");
        let start = after.map(|after| format!("{folder}{}", after.hex()));
        let mut smallest = Smallest::new(limit);
        let mut foreign = 0;
        self.each(&folder, start, |entry| {
            let name = entry.path().strip_prefix(&folder).unwrap_or_default();
            match shard.digest_of_file(name) {
                Some(digest) if after.is_none_or(|after| digest > *after) => {
                    let metadata = entry.metadata();
                    let modified = metadata.last_modified().map(SystemTime::from);
                    smallest.offer(digest, (metadata.content_length(), modified));
                }
                Some(_) => {}
                None => foreign += 1,
            }
            !(self.lists_in_order() && smallest.more)
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
        let objects = match self.assembly.lists_parts() {
            Some(_) => self.with_sizes(objects).await?,
            None => objects.collect(),
        };
        Ok(ObjectPage {
            objects,
            next,
            foreign,
        })
    }

    fn lists_in_order(&self) -> bool {
        self.calls
            .operator()
            .info()
            .capability()
            .list_with_start_after
    }

    /// Shows every object below a folder, from behind `start` where the store can begin there, until `show` has seen enough.
    pub(super) async fn each(
        &self,
        folder: &str,
        start: Option<String>,
        mut show: impl FnMut(&Entry) -> bool + Send,
    ) -> Result<(), StorageError> {
        let calls = &self.calls;
        let deadline = calls.options().step_timeout;
        let mut listing = calls.operator().lister_with(folder).recursive(true);
        if let Some(start) = start.filter(|_| self.lists_in_order()) {
            listing = listing.start_after(&start);
        }
        let mut lister = calls
            .once(Operation::List, folder, deadline, listing)
            .await?;
        loop {
            let next = calls.once(Operation::List, folder, deadline, lister.try_next());
            match next.await? {
                None => return Ok(()),
                Some(entry) if entry.path() == folder => {}
                Some(entry) => {
                    if !show(&entry) {
                        return Ok(());
                    }
                }
            }
        }
    }
}
