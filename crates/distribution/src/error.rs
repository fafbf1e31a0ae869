//! What can go wrong, in the specification's words. Each enum is closed: a caller can act on every variant.

use roadstead_metadata::MetadataError;
use roadstead_oci::{Digest, ErrorCode, Reference, Tag};
use roadstead_placement::LocationName;
use roadstead_storage::{StorageError, StorageErrorKind};
use uuid::Uuid;

use crate::body::BodyError;
use crate::refusal::Refusal;
use crate::spread::Shortfall;

/// Why a blob was not taken. What a session held before the request it still holds, if the session still exists.
#[derive(Debug, thiserror::Error)]
pub enum PushError {
    /// Nothing may be changed here.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// There is no such upload in this repository: never started, finished, cancelled, given up, or another repository's.
    #[error("upload `{id}` is not known in this repository; start a new one")]
    UploadUnknown {
        /// The upload.
        id: Uuid,
    },
    /// Another program that shares the database, Quay, began the upload. Only it can read where the bytes are.
    #[error(
        "upload `{id}` was begun by another registry program, which alone can go on with it; start a new one"
    )]
    UploadForeign {
        /// The upload.
        id: Uuid,
    },
    /// The store no longer has the bytes that were acknowledged.
    #[error("the bytes of upload `{id}` are gone; start a new one")]
    UploadLost {
        /// The upload.
        id: Uuid,
    },
    /// Another request is writing to the upload, or has just moved it on.
    #[error("another request is writing to upload `{id}`; ask for its offset and go on from there")]
    SessionBusy {
        /// The upload.
        id: Uuid,
    },
    /// The chunk does not begin where the upload ends. The specification's 416.
    #[error("the chunk does not continue the upload, which has {offset} bytes; go on from there")]
    RangeNotContiguous {
        /// How many bytes the upload has.
        offset: u64,
    },
    /// The body is shorter or longer than was announced.
    #[error("{announced} bytes were announced and {received} were sent")]
    SizeInvalid {
        /// Bytes that were announced.
        announced: u64,
        /// Bytes that came, up to where that was noticed.
        received: u64,
    },
    /// The blob is larger than the registry takes.
    #[error("the blob has more than {limit} bytes, the most that this registry takes")]
    TooLarge {
        /// The most bytes of a blob.
        limit: u64,
    },
    /// The bytes have another digest than the client says.
    #[error("the content has the digest {actual} and not {expected}; send it again")]
    DigestMismatch {
        /// What the client says.
        expected: Digest,
        /// What the bytes have.
        actual: Digest,
    },
    /// The client stopped sending. `offset` bytes are kept.
    #[error("the body broke off; the upload has {offset} bytes and can go on from there")]
    BodyInterrupted {
        /// How many bytes the upload has.
        offset: u64,
        /// What happened.
        #[source]
        source: BodyError,
    },
    /// No location takes new bytes at present.
    #[error("no location takes new bytes at present; try again later")]
    NoLocation {
        /// Why the last one did not, if it was asked.
        #[source]
        source: Option<StorageError>,
    },
    /// The repository is confined to locations of which none takes new bytes at present.
    #[error(
        "the repository may only be stored at {}, and no location of these takes new bytes at present; try again later",
        names(allowed)
    )]
    NoAllowedLocation {
        /// The locations that it is confined to.
        allowed: Vec<LocationName>,
        /// Why the last one did not, if it was asked.
        #[source]
        source: Option<Box<StorageError>>,
    },
    /// An older object of the same digest is being deleted at the location, and that takes long.
    #[error(
        "an older object of {digest} is being deleted at location `{location}`; try again in a moment"
    )]
    ObjectBusy {
        /// The digest.
        digest: Digest,
        /// The location.
        location: LocationName,
    },
    /// The upload's location takes no new bytes any more: it is being removed, or is not configured here.
    #[error("location `{location}` of the upload takes no new bytes any more; start a new upload")]
    LocationClosed {
        /// The location.
        location: LocationName,
    },
    /// The upload's location failed.
    #[error("the bytes could not be stored")]
    Storage {
        /// Where and how.
        #[source]
        source: StorageError,
    },
    /// The metadata could not be read or changed.
    #[error("the metadata could not be read or changed")]
    Metadata {
        /// How.
        #[source]
        source: MetadataError,
    },
}

impl PushError {
    /// The code to answer a client with.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Refused(refusal) => refusal.code(),
            Self::UploadUnknown { .. }
            | Self::UploadForeign { .. }
            | Self::UploadLost { .. }
            | Self::LocationClosed { .. } => ErrorCode::BlobUploadUnknown,
            Self::SessionBusy { .. } | Self::BodyInterrupted { .. } => ErrorCode::BlobUploadInvalid,
            Self::RangeNotContiguous { .. } => ErrorCode::RangeInvalid,
            Self::SizeInvalid { .. } | Self::TooLarge { .. } => ErrorCode::SizeInvalid,
            Self::DigestMismatch { .. } => ErrorCode::DigestInvalid,
            Self::NoLocation { .. } | Self::NoAllowedLocation { .. } | Self::ObjectBusy { .. } => {
                ErrorCode::Unavailable
            }
            Self::Storage { source } => code_of_storage(source),
            Self::Metadata { source } => code_of_metadata(source),
        }
    }
}

/// Why a manifest was not taken. Nothing has changed then, but for [`ManifestPushError::TooFewLocations`].
#[derive(Debug, thiserror::Error)]
pub enum ManifestPushError {
    /// Nothing may be changed here.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The manifest has another digest than the one it was pushed by.
    #[error("the manifest has the digest {actual} and not {expected}; push it by its own")]
    DigestMismatch {
        /// What the client says.
        expected: Digest,
        /// What the bytes have.
        actual: Digest,
    },
    /// More tags came with the manifest than are taken at once.
    #[error("{tags} tags came with the manifest; at most {limit} are taken at once")]
    TooManyTags {
        /// How many came.
        tags: usize,
        /// How many are taken.
        limit: usize,
    },
    /// The repository does not have these blobs of the manifest.
    #[error("the repository does not have {} blobs of the manifest, {} among them; push them first", .0.len(), first(.0))]
    BlobsUnknown(Vec<Digest>),
    /// The repository does not have these manifests of the index.
    #[error("the repository does not have {} manifests of the index, {} among them; push them first", .0.len(), first(.0))]
    ManifestsUnknown(Vec<Digest>),
    /// A tag exists and cannot be moved.
    #[error("tag `{tag}` is immutable and cannot be overwritten")]
    TagImmutable {
        /// The tag.
        tag: Tag,
    },
    /// The manifest is stored and can be pulled, but fewer locations hold it than its namespace demands.
    #[error("{0}")]
    TooFewLocations(Box<Shortfall>),
    /// The metadata could not be read or changed.
    #[error("the metadata could not be read or changed")]
    Metadata {
        /// How.
        #[source]
        source: MetadataError,
    },
}

impl ManifestPushError {
    /// The code to answer a client with.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Refused(refusal) => refusal.code(),
            Self::DigestMismatch { .. } => ErrorCode::DigestInvalid,
            Self::TooManyTags { .. } => ErrorCode::TagInvalid,
            Self::BlobsUnknown(_) | Self::ManifestsUnknown(_) => ErrorCode::ManifestBlobUnknown,
            Self::TagImmutable { .. } => ErrorCode::TagImmutable,
            Self::TooFewLocations(_) => ErrorCode::Unavailable,
            Self::Metadata { source } => code_of_metadata(source),
        }
    }
}

/// Why something could not be read.
#[derive(Debug, thiserror::Error)]
pub enum PullError {
    /// The repository has no such blob.
    #[error("blob {digest} is not known in this repository")]
    BlobUnknown {
        /// The blob.
        digest: Digest,
    },
    /// The repository has no such manifest or tag.
    #[error("manifest `{reference}` is not known in this repository")]
    ManifestUnknown {
        /// What was asked for.
        reference: Reference,
    },
    /// The tag was there and its time is over.
    #[error("tag `{tag}` has expired; restore it from the repository's history while that is kept")]
    TagExpired {
        /// The tag.
        tag: Tag,
    },
    /// The range is not inside the blob.
    #[error("the range is not inside the blob, which has {size} bytes")]
    RangeNotSatisfiable {
        /// The blob's size.
        size: u64,
    },
    /// No location that has a copy can be read at present. Before the first byte or in the middle of a stream.
    #[error("no copy of blob {digest} can be read at present; try again later")]
    NoCopy {
        /// The blob.
        digest: Digest,
        /// Why the last location that was asked could not deliver, if one was asked.
        #[source]
        source: Option<StorageError>,
    },
    /// The bytes that were read do not have the blob's digest. The end of the blob has not been delivered.
    #[error(
        "the stored bytes of blob {expected} have the digest {actual}; they were not delivered whole"
    )]
    Corrupt {
        /// The blob.
        expected: Digest,
        /// What its bytes have.
        actual: Digest,
    },
    /// The metadata could not be read.
    #[error("the metadata could not be read")]
    Metadata {
        /// How.
        #[source]
        source: MetadataError,
    },
}

impl PullError {
    /// The code to answer a client with.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::BlobUnknown { .. } => ErrorCode::BlobUnknown,
            Self::ManifestUnknown { .. } => ErrorCode::ManifestUnknown,
            Self::TagExpired { .. } => ErrorCode::TagExpired,
            Self::RangeNotSatisfiable { .. } => ErrorCode::RangeInvalid,
            Self::NoCopy { .. } => ErrorCode::Unavailable,
            Self::Corrupt { .. } => ErrorCode::InternalError,
            Self::Metadata { source } => code_of_metadata(source),
        }
    }
}

/// Why something was not deleted. Nothing has changed then.
#[derive(Debug, thiserror::Error)]
pub enum DeleteError {
    /// Nothing may be changed here.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The repository has no such blob.
    #[error("blob {digest} is not known in this repository")]
    BlobUnknown {
        /// The blob.
        digest: Digest,
    },
    /// Manifests of the repository refer to the blob.
    #[error("blob {digest} belongs to manifests of this repository; delete these first: {}", manifests.join(", "))]
    BlobInUse {
        /// The blob.
        digest: Digest,
        /// The digests of a few of the manifests.
        manifests: Vec<String>,
    },
    /// The repository has no such manifest or tag.
    #[error("manifest `{reference}` is not known in this repository")]
    ManifestUnknown {
        /// What was to be deleted.
        reference: Reference,
    },
    /// A tag that cannot be deleted points to the manifest, or to an index above it.
    #[error("tag `{tag}` is immutable and cannot be deleted")]
    TagImmutable {
        /// The tag.
        tag: String,
    },
    /// The metadata could not be read or changed.
    #[error("the metadata could not be read or changed")]
    Metadata {
        /// How.
        #[source]
        source: MetadataError,
    },
}

impl DeleteError {
    /// The code to answer a client with.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Refused(refusal) => refusal.code(),
            Self::BlobUnknown { .. } => ErrorCode::BlobUnknown,
            Self::BlobInUse { .. } => ErrorCode::Denied,
            Self::ManifestUnknown { .. } => ErrorCode::ManifestUnknown,
            Self::TagImmutable { .. } => ErrorCode::TagImmutable,
            Self::Metadata { source } => code_of_metadata(source),
        }
    }
}

/// Why a tag was not changed. Nothing has changed then.
#[derive(Debug, thiserror::Error)]
pub enum TagChangeError {
    /// Nothing may be changed here.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The repository has no such manifest, or its time machine has it no longer.
    #[error(
        "manifest {digest} is not known in this repository, or its time is over; push it again"
    )]
    ManifestUnknown {
        /// The manifest.
        digest: Digest,
    },
    /// There is no such live tag.
    #[error("there is no tag `{tag}`")]
    Unknown {
        /// The tag.
        tag: Tag,
    },
    /// The tag cannot be moved or deleted, and so it does not end at another time either.
    #[error("tag `{tag}` is immutable; an administrator of the repository can make it mutable")]
    Immutable {
        /// The tag.
        tag: Tag,
    },
    /// The tag ends, and immutable tags do not.
    #[error("tag `{tag}` ends by itself and cannot be made immutable; have it not end first")]
    Ends {
        /// The tag.
        tag: Tag,
    },
    /// A tag cannot end in the past.
    #[error("the time at which a tag ends has to be to come; delete the tag to end it now")]
    Past,
    /// The metadata could not be read or changed.
    #[error("the metadata could not be read or changed")]
    Metadata {
        /// How.
        #[source]
        source: MetadataError,
    },
}

impl TagChangeError {
    /// The code to answer a client with.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Refused(refusal) => refusal.code(),
            Self::ManifestUnknown { .. } | Self::Unknown { .. } => ErrorCode::ManifestUnknown,
            Self::Immutable { .. } | Self::Ends { .. } => ErrorCode::TagImmutable,
            Self::Past => ErrorCode::TagInvalid,
            Self::Metadata { source } => code_of_metadata(source),
        }
    }
}

/// Why the labels of a manifest were not changed. Nothing has changed then.
#[derive(Debug, thiserror::Error)]
pub enum LabelError {
    /// Nothing may be changed here.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The manifest has no such label, or is gone.
    #[error("the manifest has no label `{id}`")]
    Unknown {
        /// The label.
        id: String,
    },
    /// The label came with the manifest.
    #[error("label `{id}` is a part of the manifest; push another one without it")]
    OfManifest {
        /// The label.
        id: String,
    },
    /// There are too many.
    #[error("the manifest has as many labels as one may have; take one away first")]
    TooMany,
    /// The metadata could not be read or changed.
    #[error("the metadata could not be read or changed")]
    Metadata {
        /// How.
        #[source]
        source: MetadataError,
    },
}

impl LabelError {
    /// The code to answer a client with.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Refused(refusal) => refusal.code(),
            Self::Unknown { .. } => ErrorCode::ManifestUnknown,
            Self::OfManifest { .. } | Self::TooMany => ErrorCode::ManifestInvalid,
            Self::Metadata { source } => code_of_metadata(source),
        }
    }
}

/// Takes a failure of the metadata over into each error.
macro_rules! from_metadata {
    ($($error:ident),*) => {
        $(impl From<MetadataError> for $error {
            fn from(source: MetadataError) -> Self {
                Self::Metadata { source }
            }
        })*
    };
}
from_metadata!(
    PushError,
    LabelError,
    ManifestPushError,
    PullError,
    DeleteError,
    TagChangeError
);

fn code_of_metadata(error: &MetadataError) -> ErrorCode {
    if error.is_temporary() {
        ErrorCode::Unavailable
    } else {
        ErrorCode::InternalError
    }
}

fn code_of_storage(error: &StorageError) -> ErrorCode {
    match error.kind() {
        StorageErrorKind::Unavailable
        | StorageErrorKind::Full
        | StorageErrorKind::Denied
        | StorageErrorKind::Timeout
        | StorageErrorKind::Interrupted
        | StorageErrorKind::Throttled
        | StorageErrorKind::ServerError
        | StorageErrorKind::Misconfigured
        | StorageErrorKind::Busy => ErrorCode::Unavailable,
        StorageErrorKind::NotFound
        | StorageErrorKind::Corrupt
        | StorageErrorKind::StagedShort { .. }
        | StorageErrorKind::Unexpected => ErrorCode::InternalError,
    }
}

fn names(locations: &[LocationName]) -> String {
    let quoted: Vec<String> = locations.iter().map(|name| format!("`{name}`")).collect();
    quoted.join(", ")
}

fn first(digests: &[Digest]) -> &str {
    digests.first().map_or("none", Digest::as_str)
}
