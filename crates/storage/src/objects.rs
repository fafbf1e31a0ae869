//! A location in an object store: what it is made of, and objects looked up, read and deleted. Uploads, publication, listings, probes and
//! signed URLs add their methods in the files below; which store it is, is `drivers`'.

mod body;
mod calls;
mod checks;
mod copies;
mod listed;
mod listing;
mod multipart;
mod probe;
mod publish;
mod segments;
mod urls;

use std::sync::Arc;

use bytes::Bytes;
use opendal::{Buffer, Operator};
use roadstead_oci::Digest;
use roadstead_placement::LocationName;
use roadstead_runtime::Environment;
use uuid::Uuid;

pub(crate) use self::body::BodyStream;
use self::calls::Calls;
use self::checks::compares_sha256;
pub(crate) use self::multipart::MultipartWriter;
pub(crate) use self::segments::SegmentWriter;
use crate::drivers::{Assembly, Bucket, Checksum, UrlSigner};
use crate::error::{Operation, StorageError, StorageErrorKind};
use crate::exclusive::{Exclusive, Uploads};
use crate::object_key::{ObjectKey, SEGMENTS, UPLOADS};
use crate::observer::Watch;
use crate::options::StoreOptions;
use crate::read::ByteRange;
use crate::staged::{Part, Staged};

/// The store and what this process has open in it.
#[derive(Debug)]
pub(crate) struct ObjectStore {
    calls: Arc<Calls>,
    parts: PartsFolder,
    assembly: Assembly,
    /// For what the operator has no call for, in a store that speaks S3.
    bucket: Option<Arc<Bucket>>,
    urls: UrlSigner,
    environment: Environment,
    uploads: Uploads,
}

impl ObjectStore {
    pub(crate) fn new(
        name: LocationName,
        operator: Operator,
        assembly: Assembly,
        options: StoreOptions,
        environment: Environment,
    ) -> Self {
        let parts = match assembly {
            Assembly::CopyParts | Assembly::CopyBlocks(_) | Assembly::Stream => {
                PartsFolder(UPLOADS)
            }
            Assembly::ListParts(_) => PartsFolder(SEGMENTS),
        };
        Self {
            parts,
            calls: Arc::new(Calls::new(
                name,
                operator,
                options,
                Arc::clone(&environment.clock),
            )),
            assembly,
            bucket: None,
            urls: UrlSigner::Nobody,
            environment,
            uploads: Uploads::default(),
        }
    }

    /// The same store, to which `checking` writes objects that it compares with a checksum.
    #[must_use]
    pub(crate) fn with_checked_writes(mut self, checking: Operator) -> Self {
        self.calls = Arc::new(
            Arc::into_inner(self.calls)
                .expect("nobody else has it yet")
                .with_checked_writes(checking),
        );
        self
    }

    /// The same store, which speaks S3.
    #[must_use]
    pub(crate) fn with_bucket(mut self, bucket: Arc<Bucket>) -> Self {
        self.bucket = Some(bucket);
        self
    }

    /// The same store, for whose objects `urls` signs URLs.
    #[must_use]
    pub(crate) fn with_urls(mut self, urls: UrlSigner) -> Self {
        self.urls = urls;
        self
    }

    pub(crate) async fn stat(&self, key: &ObjectKey) -> Result<Option<u64>, StorageError> {
        let path = key.path();
        let sized = self
            .calls
            .retried(Operation::Stat, &path, || self.calls.operator().stat(&path))
            .await;
        match sized {
            Ok(metadata) => Ok(Some(metadata.content_length())),
            Err(error) if error.kind() == StorageErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Writes an object in one request.
    pub(crate) async fn put(
        &self,
        digest: &Digest,
        chunks: Vec<Bytes>,
    ) -> Result<(), StorageError> {
        let bytes = Buffer::from(chunks);
        let path = ObjectKey::Blob(digest.clone()).path();
        if let (Some(bucket), Some(checksum)) = (&self.bucket, Checksum::of_digest(digest))
            && compares_sha256(&self.calls, bucket, || self.hash_probe()).await
        {
            let deadline = self.calls.options().part_deadline(bytes.len() as u64);
            return self
                .calls
                .retried_within(Operation::Write, &path, deadline, || {
                    bucket.put(&path, bytes.clone(), &checksum)
                })
                .await;
        }
        if let Some(container) = self.assembly.lists_parts() {
            self.keep_replaced(container, self.environment.ids.uuid(), &path)
                .await?;
        }
        self.calls.write(Operation::Write, &path, bytes).await
    }

    /// Never tried again here: another location may be faster, and the caller knows.
    pub(crate) async fn read(
        &self,
        key: &ObjectKey,
        range: ByteRange,
    ) -> Result<BodyStream, StorageError> {
        BodyStream::open(&self.calls, key.path(), range).await
    }

    pub(crate) async fn stage(
        &self,
        id: Uuid,
        staged: &Staged,
        watch: Watch,
    ) -> Result<SegmentWriter, StorageError> {
        SegmentWriter::open(self, id, staged, watch).await
    }

    /// Waits until nobody else in this process has an upload open, for a short time.
    async fn exclusively(
        &self,
        operation: Operation,
        id: Uuid,
        path: &str,
    ) -> Result<Exclusive, StorageError> {
        let lock_timeout = self.calls.options().lock_timeout;
        tokio::time::timeout(lock_timeout, self.uploads.exclusively(id))
            .await
            .map_err(|_| self.calls.error(operation, path, StorageErrorKind::Busy))
    }

    pub(crate) async fn delete(&self, key: &ObjectKey) -> Result<(), StorageError> {
        match self.assembly.lists_parts() {
            Some(container) => self.delete_with_parts(container, &key.path()).await,
            None => self.delete_path(Operation::Delete, &key.path()).await,
        }
    }

    async fn delete_path(&self, operation: Operation, path: &str) -> Result<(), StorageError> {
        let deleted = self
            .calls
            .retried(operation, path, || self.calls.operator().delete(path))
            .await;
        match deleted {
            Err(error) if error.kind() == StorageErrorKind::NotFound => Ok(()),
            deleted => deleted,
        }
    }
}

/// The folder that the parts of uploads lie in, a folder for each.
#[derive(Clone, Copy, Debug)]
struct PartsFolder(&'static str);

impl PartsFolder {
    /// The folder of what was staged of an upload.
    fn of(self, id: Uuid) -> String {
        format!("{}/{}/", self.0, id.hyphenated())
    }

    /// The object of a part.
    fn path_of(self, id: Uuid, part: Part) -> String {
        format!("{}{:015}-{:016x}", self.of(id), part.start, part.writer)
    }
}
