//! The store: `s3s-fs`, with what a client of S3 may rely on and it does not do.

use std::collections::HashSet;
use std::fs;
use std::io::{self, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http::StatusCode;
use roadstead_runtime::Tasks;
use s3s::dto::{
    AbortMultipartUploadInput, AbortMultipartUploadOutput, CompleteMultipartUploadInput,
    CompleteMultipartUploadOutput, CopyObjectInput, CopyObjectOutput, CopySource,
    CreateBucketInput, CreateBucketOutput, CreateMultipartUploadInput, CreateMultipartUploadOutput,
    DeleteBucketInput, DeleteBucketOutput, DeleteObjectInput, DeleteObjectOutput,
    DeleteObjectsInput, DeleteObjectsOutput, ETag, ETagCondition, GetBucketLocationInput,
    GetBucketLocationOutput, GetObjectInput, GetObjectOutput, HeadBucketInput, HeadBucketOutput,
    HeadObjectInput, HeadObjectOutput, ListBucketsInput, ListBucketsOutput,
    ListMultipartUploadsInput, ListMultipartUploadsOutput, ListObjectsInput, ListObjectsOutput,
    ListObjectsV2Input, ListObjectsV2Output, ListPartsInput, ListPartsOutput, MultipartUpload,
    PutObjectInput, PutObjectOutput, StreamingBlob, UploadPartCopyInput, UploadPartCopyOutput,
    UploadPartInput, UploadPartOutput,
};
use s3s::{S3, S3Error, S3ErrorCode, S3Request, S3Response, S3Result, s3_error};
use s3s_fs::FileSystem;
use tokio::fs::File;
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};
use tokio::sync::oneshot;
use tokio_util::io::ReaderStream;

use crate::uploads::{self, SetAside, failed};
use crate::{layout, listing};

/// The most that one page of a list of parts or uploads holds, as in S3.
const PAGE_MAX: usize = 1000;

/// How much of an object is read at once.
const READ_BYTES: usize = 256 * 1024;

/// See the module.
#[derive(Clone, Debug)]
pub(crate) struct Store {
    root: PathBuf,
    files: Arc<FileSystem>,
    tasks: Tasks,
    /// Files that somebody is about to make, on condition that they are not there.
    claimed: Arc<Mutex<HashSet<PathBuf>>>,
}

/// A file that nobody else makes, on condition that it is not there, as long as this lives.
struct Claim<'store> {
    store: &'store Store,
    file: PathBuf,
}

impl Store {
    /// The store in a directory, tidied up after a process that was killed.
    pub(crate) fn open(root: &Path, tasks: Tasks) -> anyhow::Result<Self> {
        uploads::restore_all(root)?;
        let files = FileSystem::new(root)
            .map_err(|error| anyhow::anyhow!("the store cannot be opened: {error:?}"))?;
        Ok(Self {
            root: root.to_owned(),
            files: Arc::new(files),
            tasks,
            claimed: Arc::default(),
        })
    }

    /// Refuses keys that stand for a directory, whose length the store would tell.
    fn check_object(&self, bucket: &str, key: &str) -> S3Result<()> {
        if layout::object(&self.root, bucket, key).is_file() {
            return Ok(());
        }
        if !self.root.join(bucket).is_dir() {
            return Err(s3_error!(NoSuchBucket, "there is no bucket {bucket}"));
        }
        Err(s3_error!(NoSuchKey, "there is no object {key}"))
    }

    fn check_source(&self, source: &CopySource) -> S3Result<()> {
        match source {
            CopySource::Bucket { bucket, key, .. } => {
                layout::is_key(bucket, key)?;
                self.check_object(bucket, key)
            }
            CopySource::AccessPoint { .. } | CopySource::Outpost { .. } => {
                Err(s3_error!(NotImplemented))
            }
        }
    }

    /// Of two that would make the same object if it is not there, one gets a conflict, as in S3: the store looks before and not after the bytes
    /// have come.
    fn claim(
        &self,
        condition: Option<&ETagCondition>,
        bucket: &str,
        key: &str,
    ) -> S3Result<Option<Claim<'_>>> {
        if condition.is_none() {
            return Ok(None);
        }
        let file = layout::object(&self.root, bucket, key);
        if !self.claimed().insert(file.clone()) {
            return Err(s3_error!(
                ConditionalRequestConflict,
                "{key} is being written"
            ));
        }
        Ok(Some(Claim { store: self, file }))
    }

    fn claimed(&self) -> MutexGuard<'_, HashSet<PathBuf>> {
        // A set is whole whoever panicked.
        self.claimed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets what is known of an object besides its bytes, which the store would give to the next one of this key.
    fn forget_sidecars(&self, bucket: &str, key: &str) -> S3Result<()> {
        for file in layout::object_sidecars(&self.root, bucket, key) {
            match fs::remove_file(file) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
                _ => {}
            }
        }
        Ok(())
    }

    async fn complete(
        self,
        request: S3Request<CompleteMultipartUploadInput>,
    ) -> S3Result<S3Response<CompleteMultipartUploadOutput>> {
        let input = &request.input;
        let id = uploads::open(&self.root, &input.bucket, &input.key, &input.upload_id)?;
        let parts = uploads::check_completion(&self.root, id, input.multipart_upload.as_ref())?;
        let claim = self.claim(input.if_none_match.as_ref(), &input.bucket, &input.key)?;
        let aside = SetAside::new(&self.root, (&input.bucket, &input.key), id, &parts)?;
        let answer = self.files.complete_multipart_upload(request).await;
        match &answer {
            Ok(_) => aside.forget(),
            Err(_) => aside.restore(),
        }
        .map_err(failed)?;
        drop(claim);
        answer
    }
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        self.store.claimed().remove(&self.file);
    }
}

/// The bytes of an object, or of the range of it that `Content-Range` says. The store reads 4 KiB at a time, each on another thread.
async fn read(file: &Path, range: Option<&str>, length: i64) -> io::Result<StreamingBlob> {
    let first = range
        .and_then(|range| {
            range
                .strip_prefix("bytes ")?
                .split_once('-')?
                .0
                .parse()
                .ok()
        })
        .unwrap_or_default();
    let mut file = File::open(file).await?;
    file.seek(SeekFrom::Start(first)).await?;
    let length = u64::try_from(length).unwrap_or_default();
    let reader = ReaderStream::with_capacity(file.take(length), READ_BYTES);
    Ok(StreamingBlob::wrap(reader))
}

/// Whether a read goes on that asked for it only if the object is, or is not, the one that it knows.
fn check_conditions(
    found: Option<&ETag>,
    if_match: Option<&ETagCondition>,
    if_none_match: Option<&ETagCondition>,
) -> S3Result<()> {
    let is = |condition: &ETagCondition| match condition {
        ETagCondition::Any => true,
        ETagCondition::ETag(wanted) => found.is_some_and(|found| found.strong_cmp(wanted)),
    };
    if if_match.is_some_and(|condition| !is(condition)) {
        return Err(s3_error!(PreconditionFailed));
    }
    if if_none_match.is_some_and(is) {
        return Err(s3_error!(NotModified));
    }
    Ok(())
}

/// The store's failure while it took bytes: those that are not what the signature says are the client's fault, as in S3.
fn refused(mut error: S3Error) -> S3Error {
    let is_mismatch = format!("{:?}", error.source()).contains("Sha256Mismatch");
    if is_mismatch {
        error.set_code(S3ErrorCode::Custom("XAmzContentSHA256Mismatch".into()));
        error.set_status_code(StatusCode::BAD_REQUEST);
    }
    error
}

/// The size of a page for which a client has asked.
fn page_size(asked: Option<i32>) -> usize {
    asked
        .and_then(|asked| usize::try_from(asked).ok())
        .map_or(PAGE_MAX, |asked| asked.min(PAGE_MAX))
}

#[async_trait::async_trait]
impl S3 for Store {
    async fn create_bucket(
        &self,
        request: S3Request<CreateBucketInput>,
    ) -> S3Result<S3Response<CreateBucketOutput>> {
        self.files.create_bucket(request).await
    }

    async fn delete_bucket(
        &self,
        request: S3Request<DeleteBucketInput>,
    ) -> S3Result<S3Response<DeleteBucketOutput>> {
        self.files.delete_bucket(request).await
    }

    async fn head_bucket(
        &self,
        request: S3Request<HeadBucketInput>,
    ) -> S3Result<S3Response<HeadBucketOutput>> {
        self.files.head_bucket(request).await
    }

    async fn list_buckets(
        &self,
        request: S3Request<ListBucketsInput>,
    ) -> S3Result<S3Response<ListBucketsOutput>> {
        self.files.list_buckets(request).await
    }

    async fn get_bucket_location(
        &self,
        request: S3Request<GetBucketLocationInput>,
    ) -> S3Result<S3Response<GetBucketLocationOutput>> {
        self.files.get_bucket_location(request).await
    }

    async fn list_objects(
        &self,
        mut request: S3Request<ListObjectsInput>,
    ) -> S3Result<S3Response<ListObjectsOutput>> {
        request.input.encoding_type = None;
        self.files.list_objects(request).await
    }

    async fn list_objects_v2(
        &self,
        mut request: S3Request<ListObjectsV2Input>,
    ) -> S3Result<S3Response<ListObjectsV2Output>> {
        // The store would say that it encodes keys, and does not.
        request.input.encoding_type = None;
        let input = &request.input;
        if input.delimiter.is_none() && self.root.join(&input.bucket).is_dir() {
            let page = listing::page(&self.root.join(&input.bucket), input).map_err(failed)?;
            return Ok(S3Response::new(page));
        }
        self.files.list_objects_v2(request).await
    }

    async fn put_object(
        &self,
        request: S3Request<PutObjectInput>,
    ) -> S3Result<S3Response<PutObjectOutput>> {
        let input = &request.input;
        let claim = self.claim(input.if_none_match.as_ref(), &input.bucket, &input.key)?;
        let answer = self.files.put_object(request).await.map_err(refused);
        drop(claim);
        answer
    }

    async fn get_object(
        &self,
        request: S3Request<GetObjectInput>,
    ) -> S3Result<S3Response<GetObjectOutput>> {
        let input = &request.input;
        self.check_object(&input.bucket, &input.key)?;
        let if_match = input.if_match.clone();
        let if_none_match = input.if_none_match.clone();
        let file = layout::object(&self.root, &input.bucket, &input.key);
        let mut answer = self.files.get_object(request).await?;
        let output = &mut answer.output;
        let tag = output.e_tag.as_ref();
        check_conditions(tag, if_match.as_ref(), if_none_match.as_ref())?;
        let length = output.content_length.unwrap_or_default();
        let body = read(&file, output.content_range.as_deref(), length).await;
        output.body = Some(body.map_err(failed)?);
        Ok(answer)
    }

    async fn head_object(
        &self,
        request: S3Request<HeadObjectInput>,
    ) -> S3Result<S3Response<HeadObjectOutput>> {
        let input = &request.input;
        self.check_object(&input.bucket, &input.key)?;
        let if_match = input.if_match.clone();
        let if_none_match = input.if_none_match.clone();
        let answer = self.files.head_object(request).await?;
        let tag = answer.output.e_tag.as_ref();
        check_conditions(tag, if_match.as_ref(), if_none_match.as_ref())?;
        Ok(answer)
    }

    async fn copy_object(
        &self,
        request: S3Request<CopyObjectInput>,
    ) -> S3Result<S3Response<CopyObjectOutput>> {
        let input = &request.input;
        self.check_source(&input.copy_source)?;
        let is_there = layout::object(&self.root, &input.bucket, &input.key).is_file();
        if is_there && request.headers.contains_key("if-none-match") {
            return Err(s3_error!(PreconditionFailed));
        }
        self.files.copy_object(request).await
    }

    async fn delete_object(
        &self,
        request: S3Request<DeleteObjectInput>,
    ) -> S3Result<S3Response<DeleteObjectOutput>> {
        let (bucket, key) = (request.input.bucket.clone(), request.input.key.clone());
        if layout::object(&self.root, &bucket, &key).is_dir() {
            // There is no such object, which is as good as deleted.
            return Ok(S3Response::new(DeleteObjectOutput::default()));
        }
        let answer = self.files.delete_object(request).await?;
        self.forget_sidecars(&bucket, &key)?;
        Ok(answer)
    }

    async fn delete_objects(
        &self,
        request: S3Request<DeleteObjectsInput>,
    ) -> S3Result<S3Response<DeleteObjectsOutput>> {
        let bucket = request.input.bucket.clone();
        let keys: Vec<String> = (request.input.delete.objects.iter())
            .map(|object| object.key.clone())
            .collect();
        for key in &keys {
            layout::is_key(&bucket, key)?;
        }
        let answer = self.files.delete_objects(request).await?;
        for key in &keys {
            self.forget_sidecars(&bucket, key)?;
        }
        Ok(answer)
    }

    async fn create_multipart_upload(
        &self,
        request: S3Request<CreateMultipartUploadInput>,
    ) -> S3Result<S3Response<CreateMultipartUploadOutput>> {
        self.files.create_multipart_upload(request).await
    }

    async fn upload_part(
        &self,
        request: S3Request<UploadPartInput>,
    ) -> S3Result<S3Response<UploadPartOutput>> {
        let input = &request.input;
        let number = input.part_number;
        uploads::check_number(number)?;
        let id = uploads::open(&self.root, &input.bucket, &input.key, &input.upload_id)?;
        let answer = self.files.upload_part(request).await.map_err(refused)?;
        uploads::note_part(&self.root, id, number, answer.output.e_tag.as_ref())?;
        Ok(answer)
    }

    async fn upload_part_copy(
        &self,
        request: S3Request<UploadPartCopyInput>,
    ) -> S3Result<S3Response<UploadPartCopyOutput>> {
        let input = &request.input;
        let number = input.part_number;
        uploads::check_number(number)?;
        let id = uploads::open(&self.root, &input.bucket, &input.key, &input.upload_id)?;
        self.check_source(&input.copy_source)?;
        let answer = self.files.upload_part_copy(request).await?;
        let copied = answer.output.copy_part_result.as_ref();
        let tag = copied.and_then(|copied| copied.e_tag.as_ref());
        uploads::note_part(&self.root, id, number, tag)?;
        Ok(answer)
    }

    async fn list_parts(
        &self,
        request: S3Request<ListPartsInput>,
    ) -> S3Result<S3Response<ListPartsOutput>> {
        let input = request.input;
        let id = uploads::open(&self.root, &input.bucket, &input.key, &input.upload_id)?;
        let mut parts = uploads::parts(&self.root, id)?;
        parts.retain(|part| part.part_number > input.part_number_marker);
        let size = page_size(input.max_parts);
        let is_truncated = parts.len() > size;
        parts.truncate(size);
        Ok(S3Response::new(ListPartsOutput {
            bucket: Some(input.bucket),
            key: Some(input.key),
            upload_id: Some(input.upload_id),
            part_number_marker: input.part_number_marker,
            next_part_number_marker: parts.last().and_then(|part| part.part_number),
            max_parts: i32::try_from(size).ok(),
            is_truncated: Some(is_truncated),
            parts: Some(parts),
            ..ListPartsOutput::default()
        }))
    }

    async fn list_multipart_uploads(
        &self,
        request: S3Request<ListMultipartUploadsInput>,
    ) -> S3Result<S3Response<ListMultipartUploadsOutput>> {
        let input = request.input;
        if input.delimiter.is_some() {
            return Err(s3_error!(
                NotImplemented,
                "this server lists uploads without delimiters"
            ));
        }
        let prefix = input.prefix.clone().unwrap_or_default();
        // Without an upload to go on from, all of the key that is named are passed.
        let marker = input
            .key_marker
            .as_deref()
            .map(|key| (key, input.upload_id_marker.as_deref()));
        let mut uploads = uploads::of_bucket(&self.root, &input.bucket)?;
        uploads.retain(|(key, id, _)| {
            let id = id.to_string();
            let comes_later = match marker {
                None => true,
                Some((marker, None)) => key.as_str() > marker,
                Some((marker, Some(after))) => (key.as_str(), id.as_str()) > (marker, after),
            };
            comes_later && key.starts_with(&prefix)
        });
        let size = page_size(input.max_uploads);
        let is_truncated = uploads.len() > size;
        uploads.truncate(size);
        let last = uploads.last().filter(|_| is_truncated);
        Ok(S3Response::new(ListMultipartUploadsOutput {
            bucket: Some(input.bucket),
            prefix: input.prefix,
            key_marker: input.key_marker,
            upload_id_marker: input.upload_id_marker,
            next_key_marker: last.map(|(key, _, _)| key.clone()),
            next_upload_id_marker: last.map(|(_, id, _)| id.to_string()),
            max_uploads: i32::try_from(size).ok(),
            is_truncated: Some(is_truncated),
            uploads: Some(
                uploads
                    .into_iter()
                    .map(|(key, id, begun)| MultipartUpload {
                        key: Some(key),
                        upload_id: Some(id.to_string()),
                        initiated: Some(begun),
                        ..MultipartUpload::default()
                    })
                    .collect(),
            ),
            ..ListMultipartUploadsOutput::default()
        }))
    }

    async fn complete_multipart_upload(
        &self,
        request: S3Request<CompleteMultipartUploadInput>,
    ) -> S3Result<S3Response<CompleteMultipartUploadOutput>> {
        // As in S3, a completion that has begun goes on when its client is gone.
        let (sender, receiver) = oneshot::channel();
        let store = self.clone();
        self.tasks.spawn(async move {
            sender.send(store.complete(request).await).ok();
        });
        receiver.await.map_err(|_| s3_error!(InternalError))?
    }

    async fn abort_multipart_upload(
        &self,
        request: S3Request<AbortMultipartUploadInput>,
    ) -> S3Result<S3Response<AbortMultipartUploadOutput>> {
        let input = &request.input;
        uploads::open(&self.root, &input.bucket, &input.key, &input.upload_id)?;
        self.files.abort_multipart_upload(request).await
    }
}
