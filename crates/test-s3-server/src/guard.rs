//! What is refused before the store is asked: strangers, buckets that are not there, keys that would not stay what they are as paths.

use std::path::PathBuf;

use s3s::access::{S3Access, S3AccessContext};
use s3s::path::S3Path;
use s3s::{S3Result, s3_error};

use crate::layout::is_key;

/// Looks at each request once its signature has been found right.
#[derive(Debug)]
pub(crate) struct Guard {
    root: PathBuf,
}

impl Guard {
    pub(crate) const fn new(root: PathBuf) -> Self {
        Self { root }
    }
}

#[async_trait::async_trait]
impl S3Access for Guard {
    async fn check(&self, request: &mut S3AccessContext<'_>) -> S3Result<()> {
        if request.credentials().is_none() {
            return Err(s3_error!(AccessDenied, "anonymous requests are refused"));
        }
        let (bucket, key) = match request.s3_path() {
            S3Path::Root => return Ok(()),
            S3Path::Bucket { bucket } => (bucket, None),
            S3Path::Object { bucket, key } => (bucket, Some(key)),
        };
        // The store would make a bucket for whoever writes into it.
        if request.s3_op().name() != "CreateBucket" && !self.root.join(&**bucket).is_dir() {
            return Err(s3_error!(NoSuchBucket, "there is no bucket {bucket}"));
        }
        match key {
            Some(key) => is_key(bucket, key),
            None => Ok(()),
        }
    }
}
