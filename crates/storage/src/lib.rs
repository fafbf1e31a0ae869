//! One location: the place where a region keeps its objects.
//!
//! A [`Location`] reads, lists and deletes objects through an `OpenDAL` operator, and takes new bytes through a staging
//! area of its own. In a directory an upload is written once, at the offset that was acknowledged, flushed to the disk, and becomes
//! an object by a rename. In an object store it is written as parts, which the store makes the object of. What it promises:
//!
//! - After [`StagedWriter::sync`] the bytes of [`StagedWriter::staged`] survive a power cut; after
//!   [`Location::publish`] the object does, whole, under its key and nowhere else. Any process can go on from what was acknowledged.
//! - Every call has a deadline, and a store that hangs costs a bounded number of threads or connections.
//! - A root directory that is not there is [`StorageErrorKind::Unavailable`], never an empty store, and is never made
//!   again behind the operator's back.
//! - Memory does not grow with the size of an object.
//!
//! Object keys are Quay's, so that both can share a store: see [`ObjectKey`].
//!
//! ```no_run
//! # use std::path::PathBuf;
//! # use bytes::Bytes;
//! # use roadstead_oci::{Algorithm, Digest};
//! # use roadstead_storage::{ByteRange, LocalOptions, Location, ObjectKey, Staged, StorageError};
//! # async fn example(name: roadstead_placement::LocationName, id: uuid::Uuid) -> Result<(), StorageError> {
//! let location = Location::local(name, PathBuf::from("/srv/registry/us"), LocalOptions::default())?;
//! let mut writer = location.stage(id, &Staged::NOTHING).await?;
//! writer.write(Bytes::from_static(b"layer")).await?;
//! writer.sync().await?;
//! let staged = writer.staged();
//! drop(writer);
//! let key = ObjectKey::Blob(Digest::of(Algorithm::Sha256, b"layer"));
//! location.publish(id, &staged, &key).await?;
//! let stream = location.read(&key, ByteRange::ALL).await?;
//! assert_eq!(stream.remaining(), 5);
//! # Ok(())
//! # }
//! ```
//!
//! Invariant: nothing here knows two locations, a database or HTTP, and nothing outside names `opendal`.

mod directory;
mod drivers;
mod error;
mod exclusive;
#[cfg(feature = "faults")]
pub mod faults;
#[cfg(test)]
mod fixture;
mod gathered;
mod http;
mod inspect;
mod location;
mod object_key;
mod objects;
mod observer;
mod options;
mod probe;
mod query;
mod read;
mod signed_url;
mod staged;
mod trial;
mod writer;

pub use self::http::{FetchError, FetchRequest, Fetched, HttpClient, HttpClientError};
pub use drivers::{
    AkamaiOptions, AzureCredentials, AzureOptions, CdnOptions, CdnProvider, CdnRule,
    CloudFlareOptions, CloudFrontOptions, MultiCdnOptions, OpenStackOptions, S3Credentials,
    S3Options, SwiftAuthVersion, SwiftOptions,
};
pub use error::{Operation, StorageError, StorageErrorKind};
pub use inspect::{ListedObject, ObjectPage, StagedPage, StagedUpload, Verification};
pub use location::{Capabilities, Location, ObjectStat, PublicationCost, ServerCopy};
pub use object_key::{ObjectKey, Shard};
pub use observer::{Observation, Observer};
pub use options::{LocalOptions, StoreOptions};
pub use read::{ByteRange, ObjectStream, ObjectVersion};
pub use signed_url::{Continent, SignedUrl, UrlMethod, UrlRequest};
pub use staged::{Staged, StagedParts, StagedPartsError};
pub use writer::{StagedHold, StagedWriter};
