//! Objects that are lists of parts, in Swift: how parts become one without being moved, and how their fate is decided afterwards.
//!
//! The parts of an upload lie at `segments/<upload>/...` and stay there when it is published. So no place says whether a part is needed;
//! these objects do:
//!
//! - `uploads/<upload>`, the *mark*: there is something to look at. Written before the first part, deleted once the object is published.
//!   Only a leak follows from one that is lost, and nothing from one too many.
//! - `segments/owners/<upload>`, the *owner*: which object the parts are about to become or are. Written before the object, deleted with the
//!   parts.
//! - `uploads/<upload>/discarded`: somebody is about to delete the parts.
//!
//! Whoever publishes writes the owner and then looks for a discard; whoever discards announces it and then looks for an owner. A look is at
//! what was written last, so at least one sees the other. Parts with an owner are deleted only when the owner is old and the object, looked
//! at itself, does not consist of them. The reasons are in `docs/decisions/0014-swift-segments.md`.

use std::collections::HashSet;
use std::time::SystemTime;

use chrono::TimeDelta;
use futures_util::{StreamExt, TryStreamExt, stream};
use opendal::Buffer;
use roadstead_oci::Digest;
use roadstead_runtime::Timestamp;
use uuid::Uuid;

use super::ObjectStore;
use super::calls::Calls;
use super::publish::AT_ONCE;
use crate::drivers::{Container, Content, ListedPart};
use crate::error::{Failure, Operation, StorageError, StorageErrorKind};
use crate::inspect::{ListedObject, StagedUpload};
use crate::object_key::{ObjectKey, SEGMENTS};
use crate::staged::Staged;

/// How many parts one list names. A store takes 1,000 at least, unless told otherwise, and looks at each of them before it answers, two at a
/// time: with 500 that is some seconds. More parts are lists of lists.
const LISTED_PARTS_MAX: usize = 500;

/// How old an owner is at least when its object is believed not to come any more. A publication has minutes; a day is also longer than any
/// machine sleeps in the middle of one.
const OWNER_IS_OLD: TimeDelta = TimeDelta::hours(24);

/// Says that there is an upload.
pub(super) async fn mark_upload(calls: &Calls, id: Uuid) -> Result<(), StorageError> {
    let mark = mark_of(id);
    let written = calls.retried(Operation::Write, &mark, || {
        calls.operator().write(&mark, Buffer::new())
    });
    written.await.map(|_| ())
}

impl ObjectStore {
    /// Makes the parts of an upload an object, in their places.
    ///
    /// [`StorageErrorKind::NotFound`] when a part is missing or the upload is being discarded.
    pub(super) async fn list_parts(
        &self,
        container: &Container,
        id: Uuid,
        staged: &Staged,
        path: &str,
    ) -> Result<(), StorageError> {
        self.write_note(&owner_of(id), path.to_owned()).await?;
        let discarded = discard_of(id);
        let is_discarded = self
            .calls
            .retried(Operation::Publish, &discarded, || {
                container.head(&discarded, true)
            })
            .await?
            .is_some();
        if is_discarded {
            let problem = "the upload is being discarded";
            let failure = Failure::because(StorageErrorKind::NotFound, problem);
            return Err(self.calls.error(Operation::Publish, path, failure));
        }
        let parts = staged.parts.iter().map(|part| ListedPart {
            path: self.parts.path_of(id, part),
            bytes: part.bytes,
        });
        let mut parts: Vec<ListedPart> = parts.collect();
        if parts.len() > LISTED_PARTS_MAX {
            let mut lists = vec![];
            for (number, parts) in parts.chunks(LISTED_PARTS_MAX).enumerate() {
                let list = list_of(&self.parts.of(id), number);
                self.write_list(container, &list, parts).await?;
                lists.push(ListedPart {
                    path: list,
                    bytes: parts.iter().map(|part| part.bytes).sum(),
                });
            }
            parts = lists;
        }
        self.write_list(container, path, &parts).await
    }

    async fn write_list(
        &self,
        container: &Container,
        path: &str,
        parts: &[ListedPart],
    ) -> Result<(), StorageError> {
        let deadline = self.calls.options().assembly_timeout;
        self.calls
            .retried_within(Operation::Publish, path, deadline, || {
                container.write_list(path, parts)
            })
            .await
    }

    async fn write_note(&self, path: &str, text: String) -> Result<(), StorageError> {
        let text = Buffer::from(text);
        let written = self.calls.retried(Operation::Publish, path, || {
            self.calls.operator().write(path, text.clone())
        });
        written.await.map(|_| ())
    }

    /// Sees to it that the segments of an object that is about to be replaced are cleaned up when nobody reads them any more, and not before
    /// it is replaced.
    pub(super) async fn keep_replaced(
        &self,
        container: &Container,
        id: Uuid,
        path: &str,
    ) -> Result<(), StorageError> {
        let calls = &self.calls;
        let replaced = calls
            .retried(Operation::Publish, path, || container.content(path))
            .await?;
        for replaced in replaced.uploads() {
            if replaced == id {
                continue;
            }
            let owner = owner_of(replaced);
            let has_owner = calls
                .retried(Operation::Publish, &owner, || container.head(&owner, true))
                .await?
                .is_some();
            // An owner that is there keeps its age.
            if !has_owner {
                self.write_note(&owner, path.to_owned()).await?;
            }
            mark_upload(calls, replaced).await?;
        }
        Ok(())
    }

    /// After a publication: deletes what was staged and is not part of the object, and the mark.
    pub(super) async fn delete_unlisted(
        &self,
        id: Uuid,
        staged: &Staged,
    ) -> Result<(), StorageError> {
        let folder = self.parts.of(id);
        let is_list = staged.parts.count() > 1;
        let listed: HashSet<String> = staged
            .parts
            .iter()
            .filter(|_| is_list)
            .map(|part| self.parts.path_of(id, part))
            .collect();
        self.delete_below(&folder, |path| {
            !listed.contains(path) && !is_list_in(&folder, path)
        })
        .await?;
        self.delete_all(vec![mark_of(id)]).await
    }

    /// Deletes what was staged of an upload, unless it has become an object or may yet.
    pub(super) async fn discard_unlisted(
        &self,
        container: &Container,
        id: Uuid,
    ) -> Result<(), StorageError> {
        let calls = &self.calls;
        let (mark, owner, discard) = (mark_of(id), owner_of(id), discard_of(id));
        let is_marked = calls
            .retried(Operation::Discard, &mark, || container.head(&mark, true))
            .await?
            .is_some();
        if !is_marked {
            // Published, discarded before, or Quay's, which may be part of an object that nobody here knows of.
            return self.delete_all(vec![discard]).await;
        }
        calls
            .retried(Operation::Discard, &discard, || {
                calls.operator().write(&discard, Buffer::new())
            })
            .await?;
        let owned = calls
            .retried(Operation::Discard, &owner, || container.read_note(&owner))
            .await?;
        if let Some((held, object)) = owned {
            let object = String::from_utf8_lossy(&object).into_owned();
            let content = calls
                .retried(Operation::Discard, &object, || container.content(&object))
                .await?;
            if content.uploads().contains(&id) {
                return self.delete_all(vec![mark, discard]).await;
            }
            if held.age().is_none_or(|age| age < OWNER_IS_OLD) {
                tracing::debug!(
                    upload.id = %id,
                    "Leaving the parts of upload {id}: they may just be becoming an object"
                );
                return Ok(());
            }
        }
        self.delete_below(&self.parts.of(id), |_| true).await?;
        for path in [owner, mark, discard] {
            self.delete_all(vec![path]).await?;
        }
        Ok(())
    }

    /// Deletes an object and what it consists of. Segments go first, so that a second attempt finds what a first one left.
    pub(super) async fn delete_with_parts(
        &self,
        container: &Container,
        path: &str,
    ) -> Result<(), StorageError> {
        let calls = &self.calls;
        let content = calls
            .retried(Operation::Delete, path, || container.content(path))
            .await?;
        match &content {
            Content::Absent => return Ok(()),
            Content::Plain => return self.delete_path(Operation::Delete, path).await,
            Content::List { uploads } => {
                for id in uploads {
                    self.delete_owned(container, *id, path).await?;
                }
                let deadline = calls.options().assembly_timeout;
                return calls
                    .retried_within(Operation::Delete, path, deadline, || {
                        container.delete_list(path)
                    })
                    .await;
            }
            Content::Prefix { text, .. } => {
                if let Some(prefix) = container.segments_prefix(text) {
                    self.delete_below(prefix, |_| true).await?;
                } else {
                    tracing::warn!(
                        object.path = path,
                        "Deleting {path} without its segments: they do not lie below `{SEGMENTS}/` but at `{text}`"
                    );
                }
            }
        }
        for id in content.uploads() {
            self.delete_all(vec![owner_of(id), mark_of(id)]).await?;
        }
        self.delete_path(Operation::Delete, path).await
    }

    /// Deletes all that was ever staged of an upload whose parts are this object's, acknowledged or not. Lists stay: they name what the
    /// listing of a folder does not show yet.
    async fn delete_owned(
        &self,
        container: &Container,
        id: Uuid,
        object: &str,
    ) -> Result<(), StorageError> {
        let owner = owner_of(id);
        let owned = self
            .calls
            .retried(Operation::Delete, &owner, || container.read_note(&owner))
            .await?;
        if owned.is_none_or(|(_, text)| text != object.as_bytes()) {
            return Ok(());
        }
        let folder = self.parts.of(id);
        self.delete_below(&folder, |path| !is_list_in(&folder, path))
            .await?;
        self.delete_all(vec![mark_of(id), owner]).await
    }

    /// Uploads with what was staged of them, which their marks do not say.
    pub(super) async fn with_parts(
        &self,
        uploads: impl Iterator<Item = StagedUpload> + Send,
    ) -> Result<Vec<StagedUpload>, StorageError> {
        stream::iter(uploads)
            .map(|upload| async move {
                let StagedUpload {
                    id,
                    mut size,
                    mut modified,
                } = upload;
                self.each(&self.parts.of(id), None, |entry| {
                    let metadata = entry.metadata();
                    size += metadata.content_length();
                    let written = metadata.last_modified().map(SystemTime::from);
                    if let Some(written) = written.map(Timestamp::from) {
                        modified = modified.max(written);
                    }
                    true
                })
                .await?;
                Ok(StagedUpload { id, size, modified })
            })
            .buffered(AT_ONCE)
            .try_collect()
            .await
    }

    /// Objects with their sizes: Quay's are listed as empty.
    pub(super) async fn with_sizes(
        &self,
        objects: impl Iterator<Item = ListedObject> + Send,
    ) -> Result<Vec<ListedObject>, StorageError> {
        let sized = stream::iter(objects)
            .map(|object| async move {
                if object.size > 0 || object.digest == Digest::of(object.digest.algorithm(), b"") {
                    return Ok(Some(object));
                }
                let size = self.stat(&ObjectKey::Blob(object.digest.clone())).await?;
                Ok(size.map(|size| ListedObject { size, ..object }))
            })
            .buffered(AT_ONCE)
            .try_collect::<Vec<_>>()
            .await?;
        Ok(sized.into_iter().flatten().collect())
    }
}

fn mark_of(id: Uuid) -> String {
    ObjectKey::Upload(id).path()
}

fn discard_of(id: Uuid) -> String {
    format!("{}/discarded", mark_of(id))
}

/// Not below the folder of the upload: whatever lies there belongs to an object of Quay's.
fn owner_of(id: Uuid) -> String {
    format!("{SEGMENTS}/owners/{}", id.hyphenated())
}

const LIST: &str = "list-";

fn list_of(folder: &str, number: usize) -> String {
    format!("{folder}{LIST}{number:06}")
}

fn is_list_in(folder: &str, path: &str) -> bool {
    path.strip_prefix(folder)
        .is_some_and(|name| name.starts_with(LIST))
}
