//! What else becomes of copies in a bucket: given up, found after they were forgotten, or made by the store itself.

use futures_util::{StreamExt, TryStreamExt, stream};
use roadstead_oci::{Algorithm, Digest};
use roadstead_runtime::Timestamp;
use uuid::Uuid;

use super::ObjectStore;
use super::publish::AT_ONCE;
use crate::drivers::{Bucket, OpenUpload};
use crate::error::{Operation, StorageError, StorageErrorKind};
use crate::location::ServerCopy;
use crate::object_key::{ObjectKey, Shard};
use crate::staged::Staged;

/// How much of an object is copied in one request at least.
const RANGE_BYTES_MIN: u64 = 8 << 20;

/// The most parts that an object can be made of.
const PARTS_MAX: u64 = 10_000;

impl ObjectStore {
    /// Throws away what was staged of a copy.
    pub(crate) async fn discard_copy(
        &self,
        id: Uuid,
        digest: &Digest,
        staged: &Staged,
    ) -> Result<(), StorageError> {
        let path = ObjectKey::Blob(digest.clone()).path();
        match (&self.bucket, staged.parts.multipart()) {
            (Some(bucket), Some(upload)) => self.abort(bucket, &path, &upload.id).await,
            // A multipart upload begins with the first part.
            (Some(_), None) if staged.offset == 0 => Ok(()),
            _ => self.discard(id).await,
        }
    }

    /// Whether the store can copy objects of `source` here.
    pub(crate) fn copies_from(&self, source: &Self) -> bool {
        self.buckets(source).is_some()
    }

    fn buckets<'a>(&'a self, source: &'a Self) -> Option<(&'a Bucket, &'a Bucket)> {
        let (here, there) = (self.bucket.as_deref()?, source.bucket.as_deref()?);
        here.copies_from(there).then_some((here, there))
    }

    /// Lets the store copy a blob here, where nothing is in its place. None when something is, or it cannot.
    pub(crate) async fn copy_within(
        &self,
        source: &Self,
        digest: &Digest,
        size: u64,
    ) -> Result<Option<ServerCopy>, StorageError> {
        let Some((here, there)) = self.buckets(source) else {
            return Ok(None);
        };
        let key = ObjectKey::Blob(digest.clone());
        // What lies here may be verified by somebody else, and these bytes are not yet.
        if size == 0 || self.stat(&key).await?.is_some() {
            return Ok(None);
        }
        let path = key.path();
        let copied = if size <= self.calls.options().whole_copy_bytes_max {
            let sha256 = Some(digest)
                .filter(|digest| digest.algorithm() == Algorithm::Sha256)
                .map(Digest::hex);
            let deadline = self.calls.options().assembly_timeout;
            self.calls
                .retried_within(Operation::Publish, &path, deadline, || {
                    here.copy_object((there, &path), &path, sha256)
                })
                .await
        } else {
            self.copy_ranges((here, there), &path, size)
                .await
                .map(|()| ServerCopy::Unproven)
        };
        match copied {
            Err(error) if error.kind() == StorageErrorKind::Busy => Ok(None),
            copied => copied.map(Some),
        }
    }

    async fn copy_ranges(
        &self,
        (here, there): (&Bucket, &Bucket),
        path: &str,
        size: u64,
    ) -> Result<(), StorageError> {
        let calls = &self.calls;
        let deadline = calls.options().assembly_timeout;
        let upload = calls
            .retried(Operation::Publish, path, || here.begin_multipart(path))
            .await?;
        let upload = upload.as_str();
        let bytes = (calls.options().whole_copy_bytes_max / 4)
            .max(RANGE_BYTES_MIN)
            .max(size.div_ceil(PARTS_MAX));
        let ranges =
            (0..size.div_ceil(bytes)).map(|part| part * bytes..size.min((part + 1) * bytes));
        let completed = async {
            let tags: Vec<String> = stream::iter((1..).zip(ranges))
                .map(|(number, range)| async move {
                    calls
                        .retried_within(Operation::Publish, path, deadline, || {
                            here.copy_part((there, path), path, upload, number, range.clone())
                        })
                        .await
                })
                .buffered(AT_ONCE)
                .try_collect()
                .await?;
            calls
                .retried_within(Operation::Publish, path, deadline, || {
                    here.complete_multipart(path, upload, tags.iter().map(String::as_str), true)
                })
                .await
        }
        .await;
        if completed.is_err() {
            self.abort_or_leave(here, path, upload).await;
        }
        completed
    }

    /// Gives up an upload that failed.
    async fn abort_or_leave(&self, bucket: &Bucket, path: &str, upload: &str) {
        if let Err(error) = self.abort(bucket, path, upload).await {
            tracing::debug!(
                error = &error as &dyn std::error::Error,
                "Could not give a multipart upload up; it is cleaned up later",
            );
        }
    }

    /// Gives up the multipart uploads to keys of blobs of which nothing was written since `before`, and says how many.
    pub(crate) async fn abort_stale_copies(&self, before: Timestamp) -> Result<u64, StorageError> {
        let Some(bucket) = self.bucket.as_deref() else {
            return Ok(0);
        };
        let mut aborted = 0;
        for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
            let folder = format!("{algorithm}/");
            let mut after = None;
            loop {
                let page = self
                    .calls
                    .retried(Operation::List, &folder, || {
                        bucket.open_uploads(&folder, after.as_ref())
                    })
                    .await?;
                for upload in page.uploads {
                    if self.is_stale(bucket, &upload, before).await? {
                        self.abort(bucket, &upload.path, &upload.id).await?;
                        aborted += 1;
                    }
                }
                after = page.next;
                if after.is_none() {
                    break;
                }
            }
        }
        Ok(aborted)
    }

    async fn is_stale(
        &self,
        bucket: &Bucket,
        upload: &OpenUpload,
        before: Timestamp,
    ) -> Result<bool, StorageError> {
        let old = |at: Option<Timestamp>| at.is_some_and(|at| at < before);
        if !old(upload.begun) || Shard::blob_at(&upload.path).is_none() {
            return Ok(false);
        }
        // A large copy over a slow line takes days.
        let path = &upload.path;
        let last = self.calls.retried(Operation::List, path, || {
            bucket.last_part_written(path, &upload.id)
        });
        match last.await {
            Ok(last) => Ok(last.is_none() || old(last)),
            // It has ended meanwhile.
            Err(error) if error.kind() == StorageErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }
}
