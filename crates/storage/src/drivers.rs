//! Which store a location is in, and what follows from that. Everything else in this crate asks [`Capabilities`](crate::Capabilities).

mod s3;
mod swift;

use std::sync::Arc;

pub use self::s3::{S3Credentials, S3Options};
pub(crate) use self::swift::{Container, Content, ListedPart};
pub use self::swift::{OpenStackOptions, SwiftAuthVersion, SwiftOptions};
use crate::location::PublicationCost;

/// How an object is put together from the parts of an upload.
#[derive(Clone, Debug)]
pub(crate) enum Assembly {
    /// The store copies each part into the object.
    CopyParts,
    /// The parts are read and written once more.
    Stream,
    /// The parts stay where they are, and the object is a list of them.
    ListParts(Arc<Container>),
}

impl Assembly {
    /// What it costs.
    pub(crate) fn cost(&self) -> PublicationCost {
        match self {
            Self::CopyParts => PublicationCost::StoreCopies,
            Self::Stream => PublicationCost::Streamed,
            Self::ListParts(_) => PublicationCost::InPlace,
        }
    }

    /// The container whose objects are lists of parts, if it is one.
    pub(crate) fn lists_parts(&self) -> Option<&Arc<Container>> {
        match self {
            Self::ListParts(container) => Some(container),
            Self::CopyParts | Self::Stream => None,
        }
    }
}
