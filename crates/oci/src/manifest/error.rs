//! Why a manifest is refused, in words for the client that pushed it.

use crate::text::{cut, excerpt};
use crate::{Digest, ErrorCode, MediaType};

/// The most characters of the JSON reader's message, which may repeat the document, in ours.
const REASON_CHARACTERS_MAX: usize = 160;

/// Why a manifest is refused. The messages are for the client; what they repeat of the manifest is escaped and cut.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// It is too large. To be answered with status 413.
    #[error("manifest has {bytes} bytes; at most {bytes_max} are allowed")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The limit.
        bytes_max: usize,
    },
    /// It is not text.
    #[error("manifest is not UTF-8 text")]
    NotUtf8,
    /// It is not a JSON object.
    #[error("manifest is not a JSON object: {reason}")]
    NotJson {
        /// What the JSON reader says, quoted and cut.
        reason: String,
    },
    /// Its JSON is nested too deep.
    #[error("manifest nests arrays and objects deeper than the {depth_max} levels allowed")]
    TooDeep {
        /// The limit.
        depth_max: usize,
    },
    /// Neither what came with it nor its members say what it is.
    #[error(
        "manifest has neither a Content-Type nor a `mediaType`; set one of them to {}",
        MediaType::OCI_MANIFEST
    )]
    NoMediaType,
    /// It is something that is not taken as a manifest. To be answered with status 415 or 400.
    #[error(
        "media type {media_type} is not one of a manifest that this registry takes; those are {}, {}, {} and {}",
        MediaType::OCI_MANIFEST,
        MediaType::OCI_INDEX,
        MediaType::DOCKER_MANIFEST,
        MediaType::DOCKER_MANIFEST_LIST
    )]
    UnsupportedMediaType {
        /// What it is.
        media_type: MediaType,
    },
    /// It is a Docker manifest of schema 1.
    #[error(
        "Docker manifests of schema 1 are not taken any more; push the image with a client that writes schema 2 or OCI manifests"
    )]
    Schema1,
    /// Its `mediaType` is not that of the `Content-Type` header.
    #[error(
        "manifest has `mediaType` {media_type}, but came with Content-Type {content_type}; they must be equal"
    )]
    MediaTypeMismatch {
        /// The header.
        content_type: MediaType,
        /// The member, quoted and cut.
        media_type: String,
    },
    /// It has members of an image and of an index, so that readers could take it for either.
    #[error(
        "manifest mixes an image and an index: `manifests` may not stand beside `config`, `layers` or `fsLayers`, nor in an image"
    )]
    ImageAndIndex,
    /// It lacks a member that its type needs.
    #[error("manifest of type {media_type} has no `{member}`")]
    MissingMember {
        /// Its type.
        media_type: MediaType,
        /// The member.
        member: &'static str,
    },
    /// One of its members is wrong.
    #[error("manifest is invalid: {path} {reason}")]
    Invalid {
        /// Where, such as `layers[3].digest`.
        path: String,
        /// What is wrong there, in words that follow the path.
        reason: String,
    },
    /// It gives the same content two sizes.
    #[error("manifest gives {digest} two different sizes")]
    SizesDisagree {
        /// The content.
        digest: Digest,
    },
}

impl ManifestError {
    /// The code to answer a client with.
    #[expect(
        clippy::unused_self,
        reason = "each error says its code, those with one code for all as well"
    )]
    pub const fn code(&self) -> ErrorCode {
        ErrorCode::ManifestInvalid
    }

    pub(super) fn not_json(error: &serde_json::Error) -> Self {
        Self::NotJson {
            reason: cut(&error.to_string(), REASON_CHARACTERS_MAX),
        }
    }

    pub(super) fn media_type_mismatch(content_type: &MediaType, own: &str) -> Self {
        Self::MediaTypeMismatch {
            content_type: content_type.clone(),
            media_type: excerpt(own),
        }
    }
}
