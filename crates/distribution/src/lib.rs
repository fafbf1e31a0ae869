//! What a registry does, as plain async functions: push, mount, pull, manifests, tags, referrers, deletes, the catalog and
//! the clean-up of uploads that nobody finished.
//!
//! [`Registry`] hands out a handle per noun: [`Registry::uploads`], [`Registry::blobs`], [`Registry::manifests`],
//! [`Registry::tags`]. Callers have already settled who asks and whether they may: the functions take a
//! [`Repository`](roadstead_metadata::Repository) that was found, and decide only what the repository's and the registry's
//! state allow. What they promise:
//!
//! - What is acknowledged is durable: an offset that a client is told survives a power cut, a blob or manifest that was
//!   stored can be read back.
//! - Bytes of two clients are never mixed in one upload, and a blob is visible only when its bytes have its digest.
//! - A read goes on at another location when one fails, and never delivers the whole of a blob whose bytes are wrong.
//! - What was pulled here lately can still be pulled while the database is not available, for a stated time.
//! - Memory does not grow with the size of a blob, and every list has a bound.
//!
//! Each function says what a dropped future leaves behind.
//!
//! ```no_run
//! # use bytes::Bytes;
//! # use futures_util::stream;
//! # use roadstead_distribution::{Announced, BodyError, PullError, PushError, Registry};
//! # use roadstead_oci::{Algorithm, Digest};
//! # async fn example(registry: Registry, repository: roadstead_metadata::Repository) -> Result<(), Box<dyn std::error::Error>> {
//! let digest = Digest::of(Algorithm::Sha256, b"layer");
//! let body = stream::iter([Ok::<_, BodyError>(Bytes::from_static(b"layer"))]);
//! let upload = registry.uploads().start(&repository, None).await?;
//! registry.uploads().append(&repository, upload.id, Announced::NOTHING, body).await?;
//! registry.uploads().finish(&repository, upload.id, &digest, Announced::NOTHING, stream::empty()).await?;
//!
//! let blob = registry.blobs().find(&repository, &digest).await?;
//! let stream = registry.blobs().open(&blob, 0..blob.size).await?;
//! assert_eq!(stream.remaining(), 5);
//! # Ok(())
//! # }
//! ```
//!
//! Invariant: nothing here knows HTTP, a driver or SQL, or reads the system's clock.

mod blobs;
mod body;
mod catalog;
mod commits;
mod error;
mod garbage;
mod labels;
mod lately;
mod manifests;
mod memory;
mod metrics;
mod options;
mod pull_log;
mod quota;
mod referrers;
mod refusal;
mod registry;
mod spread;
mod tags;
#[cfg(test)]
mod tests;
mod uploads;

pub use blobs::{BlobStream, Blobs};
pub use body::{Announced, BodyError, ChunkRange};
pub use error::{DeleteError, LabelError, ManifestPushError, PullError, PushError, TagChangeError};
pub use garbage::{
    GarbageCollector, GarbageOptions, GarbageParts, GarbageReport, GarbageRound, WaitingAt,
};
pub use lately::{Asked, ContentChange, ContentListener};
pub use manifests::{Manifests, PushedManifest};
pub use options::{DistributionOptions, OutageOptions, Writes};
pub use referrers::{ReferrersAfter, ReferrersPage};
pub use refusal::Refusal;
pub use registry::{Page, Registry, RegistryParts};
pub use spread::Shortfall;
pub use tags::{TagPage, Tags};
pub use uploads::{Abandoned, PushedBlob, UploadStatus, Uploads};
