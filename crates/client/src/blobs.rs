//! Blobs: is it there, get it, put it there, mount it, delete it. Uploads in several steps are in [`crate::uploads`].

use std::io;
use std::ops::Range;

use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt as _};
use http::header::{CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, RANGE};
use http::{HeaderValue, Method, Request, StatusCode};
use roadstead_oci::{Digest, RepositoryName};

use crate::authorization::Scope;
use crate::exchange::{RequestBody, header_value};
use crate::link::with_parameter;
use crate::{Answer, BlobStream, Client, ClientError, Upload, VerifiedStream};

/// What came of [`Client::mount_blob`].
#[derive(Debug)]
pub enum Mounted {
    /// The repository has the blob now.
    Yes,
    /// The registry wants the bytes and has begun an upload for them.
    No(Upload),
}

impl Client {
    /// The size of a blob; `None` if the repository does not have it: end-2 of the distribution specification, with HEAD.
    pub async fn stat_blob(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
    ) -> Result<Option<u64>, ClientError> {
        let answer = self
            .read_blob(Method::HEAD, repository, digest, None)
            .await?;
        if answer.status == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        let answer = answer.expect([StatusCode::OK]).await?;
        let size =
            content_length(&answer).ok_or_else(|| answer.breach("it has no Content-Length"))?;
        Ok(Some(size))
    }

    /// The bytes of a blob, or those of `range`, unchecked: end-2.
    ///
    /// # Errors
    /// [`ClientError::Refused`] with 404 when it is not there, with 416 when the range is not; [`ClientError::Protocol`] when the
    /// registry sends something else than the range.
    pub async fn pull_blob(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
        range: Option<Range<u64>>,
    ) -> Result<BlobStream, ClientError> {
        let answer = self
            .read_blob(Method::GET, repository, digest, range.as_ref())
            .await?;
        let answer = match range {
            None => answer.expect([StatusCode::OK]).await?,
            Some(range) => {
                let answer = answer
                    .expect([StatusCode::OK, StatusCode::PARTIAL_CONTENT])
                    .await?;
                let sent = answer.header(CONTENT_RANGE.as_str()).and_then(range_sent);
                if answer.status == StatusCode::OK
                    || sent.is_none_or(|sent| sent.start != range.start || sent.end > range.end)
                {
                    return Err(answer.breach("it is not the range that was asked for"));
                }
                answer
            }
        };
        Ok(BlobStream {
            length: content_length(&answer),
            body: answer.body,
        })
    }

    /// The bytes of a blob, hashed on the way: whoever reads to the end without an error has the blob.
    pub async fn pull_verified(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
    ) -> Result<VerifiedStream, ClientError> {
        let blob = self.pull_blob(repository, digest, None).await?;
        Ok(VerifiedStream::new(blob, digest.clone()))
    }

    /// Pushes a blob by a POST and a PUT: end-4a and end-6.
    pub async fn push_blob(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
        body: RequestBody,
    ) -> Result<(), ClientError> {
        let upload = self.start_upload(repository).await?;
        self.finish_upload_with(upload, digest, body).await
    }

    /// Pushes a blob by a single POST: end-4b. Returns `false` if the registry does not do this (it answers 202, as the
    /// specification allows), in which case the body is spent and nothing is stored.
    pub async fn push_blob_at_once(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
        body: RequestBody,
    ) -> Result<bool, ClientError> {
        let uri = self.uri(&format!("/v2/{repository}/blobs/uploads/"));
        let request = octets(
            Method::POST,
            with_parameter(&uri, "digest", digest.as_str()),
            body,
        );
        let answer = self
            .send_authorized(request, &Scope::push(repository))
            .await?;
        let answer = answer
            .expect([StatusCode::CREATED, StatusCode::ACCEPTED])
            .await?;
        Ok(answer.status == StatusCode::CREATED)
    }

    /// Pushes a blob by PATCH requests of `chunk_bytes` each, or of what the registry wants at least, the last one shorter: end-5.
    /// Holds one chunk.
    pub async fn push_blob_chunked<S>(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
        content: S,
        chunk_bytes: usize,
    ) -> Result<(), ClientError>
    where
        S: Stream<Item = io::Result<Bytes>> + Send + Unpin,
    {
        let mut content = content;
        let mut upload = self.start_upload(repository).await?;
        let chunk_bytes = chunk_bytes.max(upload.chunk_bytes_min()).max(1);
        let mut gathered = BytesMut::new();
        while let Some(piece) = content.next().await {
            let mut piece = piece.map_err(|source| ClientError::Body {
                request: format!("upload to {repository}"),
                source,
            })?;
            while !piece.is_empty() {
                let fits = piece.len().min(chunk_bytes - gathered.len());
                gathered.extend_from_slice(&piece.split_to(fits));
                if gathered.len() == chunk_bytes {
                    self.upload_chunk(&mut upload, gathered.split().freeze())
                        .await?;
                }
            }
        }
        if !gathered.is_empty() {
            self.upload_chunk(&mut upload, gathered.freeze()).await?;
        }
        self.finish_upload(upload, digest).await
    }

    /// Makes a blob of another repository, or of any if `source` is `None`, one of this repository: end-11.
    pub async fn mount_blob(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
        source: Option<&RepositoryName>,
    ) -> Result<Mounted, ClientError> {
        let mut uri = self.uri(&format!("/v2/{repository}/blobs/uploads/"));
        uri = with_parameter(&uri, "mount", digest.as_str());
        let mut scope = Scope::push(repository);
        if let Some(source) = source {
            uri = with_parameter(&uri, "from", source.as_str());
            scope = Scope::mount(repository, source);
        }
        let request = octets(Method::POST, uri, RequestBody::empty());
        let answer = self.send_authorized(request, &scope).await?;
        let answer = answer
            .expect([StatusCode::CREATED, StatusCode::ACCEPTED])
            .await?;
        if answer.status == StatusCode::CREATED {
            return Ok(Mounted::Yes);
        }
        Upload::begun(repository, &answer).map(Mounted::No)
    }

    /// Takes a blob out of the repository: end-10. Returns whether it was there.
    pub async fn delete_blob(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
    ) -> Result<bool, ClientError> {
        let path = format!("/v2/{repository}/blobs/{digest}");
        let answer = self
            .request(Method::DELETE, &path, &Scope::delete(repository))
            .await?;
        let answer = answer
            .expect([StatusCode::ACCEPTED, StatusCode::NOT_FOUND])
            .await?;
        Ok(answer.status == StatusCode::ACCEPTED)
    }

    async fn read_blob(
        &self,
        method: Method,
        repository: &RepositoryName,
        digest: &Digest,
        range: Option<&Range<u64>>,
    ) -> Result<Answer, ClientError> {
        let mut request = Request::new(());
        *request.method_mut() = method;
        *request.uri_mut() = self.uri(&format!("/v2/{repository}/blobs/{digest}"));
        if let Some(range) = range {
            // The last byte is named, not the one behind it (RFC 9110 section 14.1.2).
            let value = format!("bytes={}-{}", range.start, range.end.saturating_sub(1));
            let value = header_value(&value);
            request.headers_mut().insert(RANGE, value);
        }
        self.read(request, &Scope::pull(repository)).await
    }
}

/// A request whose body is a blob or a part of one.
pub(crate) fn octets(method: Method, uri: http::Uri, body: RequestBody) -> Request<RequestBody> {
    let mut request = Request::new(body);
    *request.method_mut() = method;
    *request.uri_mut() = uri;
    request.headers_mut().insert(
        CONTENT_TYPE,
        HeaderValue::from_static("application/octet-stream"),
    );
    request
}

fn content_length(answer: &Answer) -> Option<u64> {
    answer.header(CONTENT_LENGTH.as_str())?.parse().ok()
}

/// The range of `Content-Range: bytes 0-9/100`, its end exclusive.
fn range_sent(value: &str) -> Option<Range<u64>> {
    let (first, last) = value
        .strip_prefix("bytes ")?
        .split_once('/')?
        .0
        .split_once('-')?;
    let last: u64 = last.parse().ok()?;
    Some(first.parse().ok()?..last.checked_add(1)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_range_that_was_sent_is_read() {
        assert_eq!(range_sent("bytes 0-9/100"), Some(0..10));
        assert_eq!(range_sent("bytes 5-5/*"), Some(5..6));
        for wrong in [
            "",
            "bytes */100",
            "0-9/100",
            "bytes 0-18446744073709551615/x",
            "bytes a-b/c",
        ] {
            assert_eq!(range_sent(wrong), None, "{wrong}");
        }
    }
}
