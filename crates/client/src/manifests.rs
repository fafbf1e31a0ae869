//! Manifests: get, head, put, delete.

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_LENGTH, CONTENT_TYPE};
use http::{Method, Request, StatusCode};
use roadstead_oci::{Algorithm, Digest, MediaType, Reference, RepositoryName};

use crate::authorization::Scope;
use crate::exchange::{RequestBody, header_value};
use crate::{Answer, Client, ClientError};

const DIGEST_HEADER: &str = "docker-content-digest";

/// A manifest as the registry sent it.
#[derive(Clone, Debug)]
pub struct PulledManifest {
    /// Its media type, from the answer's `Content-Type`.
    pub media_type: MediaType,
    /// Its digest, computed from the bytes: in the algorithm that was asked for, or that the registry named, else sha256.
    pub digest: Digest,
    /// Its bytes.
    pub bytes: Bytes,
}

/// What a registry says of a manifest without sending it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManifestHead {
    /// Its media type.
    pub media_type: MediaType,
    /// Its digest, if the registry names it.
    pub digest: Option<Digest>,
    /// Its size in bytes.
    pub size: u64,
}

/// What a registry says to a push.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PushedManifest {
    /// The digest under which it is stored, if the registry names it.
    pub digest: Option<Digest>,
    /// `OCI-Subject`: the registry has entered it as a referrer of this digest.
    pub subject: Option<Digest>,
}

impl Client {
    /// Gets a manifest of any type that [`MediaType::MANIFESTS`] has: end-3 of the distribution specification. What is asked for
    /// by digest is checked against it; what is asked for by tag, against the digest that the registry names.
    pub async fn get_manifest(
        &self,
        repository: &RepositoryName,
        reference: &Reference,
    ) -> Result<PulledManifest, ClientError> {
        let answer = self
            .read_manifest(Method::GET, repository, reference)
            .await?;
        let answer = answer.expect([StatusCode::OK]).await?;
        let media_type = media_type(&answer)?;
        let named = named_digest(&answer, DIGEST_HEADER)?;
        let expected = reference.digest().cloned().or(named);
        let bytes = answer.bytes(self.options().document_bytes_max).await?;
        let algorithm = expected
            .as_ref()
            .map_or(Algorithm::Sha256, Digest::algorithm);
        let digest = Digest::of(algorithm, &bytes);
        match expected {
            Some(expected) if expected != digest => Err(ClientError::DigestMismatch {
                expected,
                actual: digest,
            }),
            _ => Ok(PulledManifest {
                media_type,
                digest,
                bytes,
            }),
        }
    }

    /// What the registry says of a manifest; `None` if it is not there.
    pub async fn head_manifest(
        &self,
        repository: &RepositoryName,
        reference: &Reference,
    ) -> Result<Option<ManifestHead>, ClientError> {
        let answer = self
            .read_manifest(Method::HEAD, repository, reference)
            .await?;
        if answer.status == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        let answer = answer.expect([StatusCode::OK]).await?;
        let size = answer
            .header(CONTENT_LENGTH.as_str())
            .and_then(|length| length.parse().ok())
            .ok_or_else(|| answer.breach("it has no Content-Length"))?;
        Ok(Some(ManifestHead {
            media_type: media_type(&answer)?,
            digest: named_digest(&answer, DIGEST_HEADER)?,
            size,
        }))
    }

    /// Puts a manifest: end-7. The bytes are sent as they are.
    pub async fn put_manifest(
        &self,
        repository: &RepositoryName,
        reference: &Reference,
        media_type: &MediaType,
        bytes: Bytes,
    ) -> Result<PushedManifest, ClientError> {
        let mut request = Request::new(RequestBody::bytes(bytes));
        *request.method_mut() = Method::PUT;
        *request.uri_mut() = self.uri(&manifest_path(repository, reference));
        let content_type = header_value(media_type.as_str());
        request.headers_mut().insert(CONTENT_TYPE, content_type);
        let answer = self
            .send_authorized(request, &Scope::push(repository))
            .await?;
        let answer = answer.expect([StatusCode::CREATED]).await?;
        Ok(PushedManifest {
            digest: named_digest(&answer, DIGEST_HEADER)?,
            subject: named_digest(&answer, "oci-subject")?,
        })
    }

    /// Deletes a tag, or a manifest with all its tags: end-9. Returns whether it was there.
    pub async fn delete_manifest(
        &self,
        repository: &RepositoryName,
        reference: &Reference,
    ) -> Result<bool, ClientError> {
        let path = manifest_path(repository, reference);
        let answer = self
            .request(Method::DELETE, &path, &Scope::delete(repository))
            .await?;
        let answer = answer
            .expect([StatusCode::ACCEPTED, StatusCode::NOT_FOUND])
            .await?;
        Ok(answer.status == StatusCode::ACCEPTED)
    }

    async fn read_manifest(
        &self,
        method: Method,
        repository: &RepositoryName,
        reference: &Reference,
    ) -> Result<Answer, ClientError> {
        let mut request = Request::new(());
        *request.method_mut() = method;
        *request.uri_mut() = self.uri(&manifest_path(repository, reference));
        for media_type in MediaType::MANIFESTS {
            let accepted = header_value(media_type.as_str());
            request.headers_mut().append(ACCEPT, accepted);
        }
        self.read(request, &Scope::pull(repository)).await
    }
}

fn manifest_path(repository: &RepositoryName, reference: &Reference) -> String {
    format!("/v2/{repository}/manifests/{reference}")
}

fn media_type(answer: &Answer) -> Result<MediaType, ClientError> {
    answer
        .header(CONTENT_TYPE.as_str())
        .and_then(|value| MediaType::from_header(value).ok())
        .ok_or_else(|| answer.breach("it has no Content-Type that is a media type"))
}

/// The digest in a header, if it is there.
fn named_digest(answer: &Answer, header: &str) -> Result<Option<Digest>, ClientError> {
    let Some(value) = answer.header(header) else {
        return Ok(None);
    };
    value
        .parse()
        .map(Some)
        .map_err(|_| answer.breach(format!("its {header} {value:?} is not a digest")))
}
