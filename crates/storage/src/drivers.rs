//! Which store a location is in, and what follows from that. Everything else in this crate asks [`Capabilities`](crate::Capabilities).

pub(crate) mod azure;
pub(crate) mod cdn;
mod s3;
mod swift;

use std::sync::Arc;

use self::azure::{AzureBlocks, SharedAccess};
pub use self::azure::{AzureCredentials, AzureOptions};
use self::cdn::CdnRoutes;
pub use self::cdn::{
    AkamaiOptions, CdnOptions, CdnProvider, CdnRule, CloudFlareOptions, CloudFrontOptions,
    MultiCdnOptions,
};
pub(crate) use self::s3::{Bucket, Checksum, OpenUpload};
pub use self::s3::{S3Credentials, S3Options};
pub(crate) use self::swift::{Container, Content, ListedPart};
pub use self::swift::{OpenStackOptions, SwiftAuthVersion, SwiftOptions};

/// How an object is put together from the parts of an upload.
#[derive(Clone, Debug)]
pub(crate) enum Assembly {
    /// The store copies each part into the object.
    CopyParts,
    /// The store copies each part into a block, and the blocks become the object.
    CopyBlocks(Arc<AzureBlocks>),
    /// The parts are read and written once more.
    Stream,
    /// The parts stay where they are, and the object is a list of them.
    ListParts(Arc<Container>),
}

impl Assembly {
    /// The container whose objects are lists of parts, if it is one.
    pub(crate) fn lists_parts(&self) -> Option<&Arc<Container>> {
        match self {
            Self::ListParts(container) => Some(container),
            Self::CopyParts | Self::CopyBlocks(_) | Self::Stream => None,
        }
    }
}

/// Who signs the URLs that clients read objects with.
#[derive(Debug)]
pub(crate) enum UrlSigner {
    /// There are none.
    Nobody,
    /// The store's own signature.
    Store {
        /// Whether pages of another origin may be given one.
        cross_origin: bool,
    },
    /// A shared access signature of Azure's.
    SharedAccess(SharedAccess),
    /// A temporary URL of Swift's.
    TempUrl(Arc<Container>),
    /// A CDN in front of the store.
    Cdn(CdnRoutes),
}
