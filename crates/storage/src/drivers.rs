//! Which store a location is in, and what follows from that. Everything else in this crate asks [`Capabilities`](crate::Capabilities).

mod s3;

pub use self::s3::{S3Credentials, S3Options};

/// How an object is put together from the parts of an upload.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Assembly {
    /// The store copies each part into the object.
    CopyParts,
    /// The parts are read and written once more.
    Stream,
}
