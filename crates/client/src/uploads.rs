//! Uploads in steps: start, send chunks, ask how far it is, finish or cancel.

use bytes::Bytes;
use http::header::{CONTENT_RANGE, LOCATION, RANGE};
use http::{Method, StatusCode, Uri};
use roadstead_oci::{Digest, RepositoryName};

use crate::authorization::Scope;
use crate::blobs::octets;
use crate::exchange::{RequestBody, header_value};
use crate::link::with_parameter;
use crate::{Answer, Client, ClientError};

/// An upload that the registry has begun. It lives on the registry; dropping this leaves it there until it is cleaned up.
#[derive(Clone, Debug)]
pub struct Upload {
    repository: RepositoryName,
    location: Uri,
    offset: u64,
    chunk_bytes_min: usize,
}

impl Upload {
    /// Reads the answer that begins an upload.
    pub(crate) fn begun(repository: &RepositoryName, answer: &Answer) -> Result<Self, ClientError> {
        let chunk_bytes_min = answer
            .header("oci-chunk-min-length")
            .and_then(|length| length.parse().ok())
            .unwrap_or(0);
        Ok(Self {
            repository: repository.clone(),
            location: answer.location()?,
            offset: 0,
            chunk_bytes_min,
        })
    }

    /// Where the next request goes.
    pub fn location(&self) -> &Uri {
        &self.location
    }

    /// How many bytes the registry has acknowledged.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// The least size of a chunk that is not the last, from `OCI-Chunk-Min-Length`; 0 if the registry does not say.
    pub fn chunk_bytes_min(&self) -> usize {
        self.chunk_bytes_min
    }

    /// Takes over location and offset from an answer.
    fn advance(&mut self, answer: &Answer, sent: Option<u64>) -> Result<(), ClientError> {
        if answer.headers.contains_key(LOCATION) {
            self.location = answer.location()?;
        }
        let Some(range) = answer.header(RANGE.as_str()) else {
            return Err(answer.breach("it has no Range"));
        };
        let last = range
            .strip_prefix("bytes=")
            .unwrap_or(range)
            .strip_prefix("0-")
            .and_then(|last| last.parse::<u64>().ok())
            .ok_or_else(|| answer.breach(format!("its Range {range:?} is not 0-LAST")))?;
        // `0-0` is one byte, and also what registries say of an empty upload; what was sent tells which.
        let offset = if last == 0 && sent.unwrap_or(self.offset) == 0 {
            0
        } else {
            last.saturating_add(1)
        };
        if let Some(sent) = sent
            && offset != sent
        {
            return Err(answer.breach(format!("it acknowledges {offset} bytes of {sent}")));
        }
        self.offset = offset;
        Ok(())
    }
}

impl Client {
    /// Begins an upload: end-4a of the distribution specification.
    pub async fn start_upload(&self, repository: &RepositoryName) -> Result<Upload, ClientError> {
        let uri = self.uri(&format!("/v2/{repository}/blobs/uploads/"));
        let request = octets(Method::POST, uri, RequestBody::empty());
        let answer = self
            .send_authorized(request, &Scope::push(repository))
            .await?;
        let answer = answer.expect([StatusCode::ACCEPTED]).await?;
        Upload::begun(repository, &answer)
    }

    /// Sends the next chunk and says where it belongs: end-5. An empty chunk is not sent.
    ///
    /// # Errors
    /// [`ClientError::Refused`] with 416 when the registry is elsewhere; [`Client::upload_status`] tells where.
    pub async fn upload_chunk(&self, upload: &mut Upload, chunk: Bytes) -> Result<(), ClientError> {
        let Some(last) = (upload.offset + chunk.len() as u64)
            .checked_sub(1)
            .filter(|_| !chunk.is_empty())
        else {
            return Ok(());
        };
        let range = format!("{}-{last}", upload.offset);
        let mut request = octets(
            Method::PATCH,
            upload.location.clone(),
            RequestBody::bytes(chunk),
        );
        let range = header_value(&range);
        request.headers_mut().insert(CONTENT_RANGE, range);
        let answer = self
            .send_authorized(request, &Scope::push(&upload.repository))
            .await?;
        let answer = answer.expect([StatusCode::ACCEPTED]).await?;
        upload.advance(&answer, Some(last + 1))
    }

    /// Sends the next bytes without saying where they belong: the streamed upload that Docker's clients use.
    pub async fn upload_stream(
        &self,
        upload: &mut Upload,
        body: RequestBody,
    ) -> Result<(), ClientError> {
        let sent = body.length().map(|length| upload.offset + length);
        let request = octets(Method::PATCH, upload.location.clone(), body);
        let answer = self
            .send_authorized(request, &Scope::push(&upload.repository))
            .await?;
        let answer = answer.expect([StatusCode::ACCEPTED]).await?;
        upload.advance(&answer, sent)
    }

    /// Asks how many bytes the registry has: end-13. An upload whose [`Upload::offset`] is 0 and of which the registry has one
    /// byte looks empty.
    pub async fn upload_status(&self, upload: &mut Upload) -> Result<u64, ClientError> {
        let request = octets(Method::GET, upload.location.clone(), RequestBody::empty());
        let answer = self
            .send_authorized(request, &Scope::push(&upload.repository))
            .await?;
        let answer = answer.expect([StatusCode::NO_CONTENT]).await?;
        upload.advance(&answer, None)?;
        Ok(upload.offset)
    }

    /// Makes the upload a blob: end-6.
    pub async fn finish_upload(&self, upload: Upload, digest: &Digest) -> Result<(), ClientError> {
        self.finish_upload_with(upload, digest, RequestBody::empty())
            .await
    }

    /// Sends the last bytes and makes the upload a blob: end-6.
    pub async fn finish_upload_with(
        &self,
        upload: Upload,
        digest: &Digest,
        last: RequestBody,
    ) -> Result<(), ClientError> {
        let uri = with_parameter(&upload.location, "digest", digest.as_str());
        let request = octets(Method::PUT, uri, last);
        let answer = self
            .send_authorized(request, &Scope::push(&upload.repository))
            .await?;
        answer.expect([StatusCode::CREATED]).await?;
        Ok(())
    }

    /// Gives the upload up: end-14 of the newest specification. Returns whether it was there.
    pub async fn cancel_upload(&self, upload: Upload) -> Result<bool, ClientError> {
        let request = octets(Method::DELETE, upload.location, RequestBody::empty());
        let answer = self
            .send_authorized(request, &Scope::push(&upload.repository))
            .await?;
        let answer = answer
            .expect([StatusCode::NO_CONTENT, StatusCode::NOT_FOUND])
            .await?;
        Ok(answer.status == StatusCode::NO_CONTENT)
    }
}
