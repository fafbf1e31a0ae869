//! The codes in the registry's error bodies. Which HTTP status goes with a code, and the body itself, are the API's.

use std::fmt;

/// Identifies an error to clients, as in the table "Error Codes" of the distribution specification.
///
/// Beyond that table there are the codes of Docker's registry API v2 and of Quay that clients know; each variant says whose it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorCode {
    /// code-1: no such blob in the repository.
    BlobUnknown,
    /// code-2: the upload cannot go on as asked.
    BlobUploadInvalid,
    /// code-3: no such upload in the repository.
    BlobUploadUnknown,
    /// code-4: the digest is malformed, or is not that of the content.
    DigestInvalid,
    /// code-5: a manifest refers to a blob or manifest that the repository does not have.
    ManifestBlobUnknown,
    /// code-6: the manifest breaks its format.
    ManifestInvalid,
    /// code-7: no such manifest in the repository.
    ManifestUnknown,
    /// code-8: the repository name breaks the grammar.
    NameInvalid,
    /// code-9: no such repository.
    NameUnknown,
    /// code-10: the length is not that of the content, or is beyond a limit.
    SizeInvalid,
    /// code-11: the client has to say who it is.
    Unauthorized,
    /// code-12: the client may not do this.
    Denied,
    /// code-13: the registry does not do this.
    Unsupported,
    /// code-14: the client asks too often.
    TooManyRequests,
    /// Docker: the tag breaks the grammar.
    TagInvalid,
    /// Docker: the bytes sent do not continue the upload.
    RangeInvalid,
    /// Docker: `n` is not a number of results.
    PaginationNumberInvalid,
    /// Quay: the tag was there and has expired.
    TagExpired,
    /// Quay: the tag may not be moved or deleted.
    TagImmutable,
    /// Docker's `UNKNOWN`: the registry failed; the reason is in its log.
    InternalError,
    /// Docker: the registry cannot do this at present.
    Unavailable,
}

impl ErrorCode {
    /// The code as it stands in an error body.
    pub const fn as_str(self) -> &'static str {
        self.wire_and_description().0
    }

    /// What the code means, in the words of the specification where it has any: the message when there is no better one.
    pub const fn description(self) -> &'static str {
        self.wire_and_description().1
    }

    const fn wire_and_description(self) -> (&'static str, &'static str) {
        match self {
            Self::BlobUnknown => ("BLOB_UNKNOWN", "blob unknown to registry"),
            Self::BlobUploadInvalid => ("BLOB_UPLOAD_INVALID", "blob upload invalid"),
            Self::BlobUploadUnknown => ("BLOB_UPLOAD_UNKNOWN", "blob upload unknown to registry"),
            Self::DigestInvalid => (
                "DIGEST_INVALID",
                "provided digest did not match uploaded content",
            ),
            Self::ManifestBlobUnknown => (
                "MANIFEST_BLOB_UNKNOWN",
                "manifest references a manifest or blob unknown to registry",
            ),
            Self::ManifestInvalid => ("MANIFEST_INVALID", "manifest invalid"),
            Self::ManifestUnknown => ("MANIFEST_UNKNOWN", "manifest unknown to registry"),
            Self::NameInvalid => ("NAME_INVALID", "invalid repository name"),
            Self::NameUnknown => ("NAME_UNKNOWN", "repository name not known to registry"),
            Self::SizeInvalid => (
                "SIZE_INVALID",
                "provided length did not match content length",
            ),
            Self::Unauthorized => ("UNAUTHORIZED", "authentication required"),
            Self::Denied => ("DENIED", "requested access to the resource is denied"),
            Self::Unsupported => ("UNSUPPORTED", "the operation is unsupported"),
            Self::TooManyRequests => ("TOOMANYREQUESTS", "too many requests"),
            Self::TagInvalid => ("TAG_INVALID", "invalid tag"),
            Self::RangeInvalid => ("RANGE_INVALID", "range does not continue the upload"),
            Self::PaginationNumberInvalid => (
                "PAGINATION_NUMBER_INVALID",
                "invalid number of results requested",
            ),
            Self::TagExpired => ("TAG_EXPIRED", "tag has expired"),
            Self::TagImmutable => (
                "TAG_IMMUTABLE",
                "tag is immutable and cannot be overwritten",
            ),
            Self::InternalError => ("UNKNOWN", "the registry failed"),
            Self::Unavailable => ("UNAVAILABLE", "the registry cannot do this at present"),
        }
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_upper_case_letters_and_underscores() {
        for code in [
            ErrorCode::BlobUnknown,
            ErrorCode::TooManyRequests,
            ErrorCode::InternalError,
            ErrorCode::PaginationNumberInvalid,
        ] {
            let wire = code.to_string();
            assert!(
                wire.bytes()
                    .all(|byte| byte.is_ascii_uppercase() || byte == b'_'),
                "{wire}"
            );
            assert!(!code.description().is_empty());
        }
    }
}
