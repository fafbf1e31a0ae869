//! The words of the OCI specifications as types: digests and the hashers that make them, repository names, tags, references,
//! media types, descriptors, manifests and error codes.
//!
//! Each type is a proof: whoever holds a [`RepositoryName`] or a [`Manifest`] holds one that follows the grammar and the limits.
//! Text from clients is checked once, here. The error types say what was wrong in words that may be sent to a client: what they
//! quote is escaped and cut, and each names the [`ErrorCode`] to send it under.
//!
//! Invariant: no I/O, no async, no clock; a manifest is never written anew, its bytes are kept as they came.

mod descriptor;
mod digest;
mod digester;
mod error_code;
mod image_config;
mod json;
mod manifest;
mod media_type;
mod name;
mod reference;
mod text;

pub use descriptor::{Descriptor, Platform};
pub use digest::{Algorithm, Digest, DigestError};
pub use digester::{DigestState, DigestStateError, Digester};
pub use error_code::ErrorCode;
pub use image_config::image_labels;
pub use manifest::{Manifest, ManifestError, ManifestKind, ManifestLimits};
pub use media_type::{MediaType, MediaTypeError};
pub use name::{NameError, RepositoryName};
pub use reference::{Reference, ReferenceError, Tag, TagError};
