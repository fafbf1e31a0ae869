//! Names of headers that are not HTTP's own, and the values that are always the same.

use http::{HeaderName, HeaderValue};

/// The digest of the content, in the algorithm that it was asked for or pushed by.
pub(crate) const CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");
/// The id of an upload.
pub(crate) const UPLOAD_UUID: HeaderName = HeaderName::from_static("docker-upload-uuid");
/// By which Docker's clients know a registry.
pub(crate) const API_VERSION: HeaderName =
    HeaderName::from_static("docker-distribution-api-version");
/// The one version.
pub(crate) const API_VERSION_VALUE: HeaderValue = HeaderValue::from_static("registry/2.0");
/// The least length of a chunk that is not the last.
pub(crate) const CHUNK_MIN_LENGTH: HeaderName = HeaderName::from_static("oci-chunk-min-length");
/// The subject of a manifest that was pushed.
pub(crate) const SUBJECT: HeaderName = HeaderName::from_static("oci-subject");
/// A tag that was set by a push by digest.
pub(crate) const TAG: HeaderName = HeaderName::from_static("oci-tag");
/// The filters that a list of referrers went through.
pub(crate) const FILTERS_APPLIED: HeaderName = HeaderName::from_static("oci-filters-applied");
/// The id by which the log knows a request.
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// The path and query that nginx was asked for, where it asks whether it may answer.
pub(crate) const ORIGINAL_URI: HeaderName = HeaderName::from_static("x-original-uri");
/// What the container of a blob is: nobody's business.
pub(crate) const OCTET_STREAM: HeaderValue = HeaderValue::from_static("application/octet-stream");
