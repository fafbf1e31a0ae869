//! One location: the place where a region keeps its objects.
//!
//! A [`Location`] reads, lists and deletes objects through an `OpenDAL` operator, and takes new bytes through a staging
//! area of its own: an upload is written once, at the offset that was acknowledged, flushed to the disk, and becomes
//! an object by a rename. What it promises:
//!
//! - After [`StagedWriter::sync`] the bytes up to [`StagedWriter::offset`] survive a power cut; after
//!   [`Location::publish`] the object does, whole, under its key and nowhere else.
//! - Every call has a deadline, and a store that hangs costs a bounded number of threads.
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
//! # use roadstead_storage::{ByteRange, LocalOptions, Location, ObjectKey, StorageError};
//! # async fn example(name: roadstead_placement::LocationName, id: uuid::Uuid) -> Result<(), StorageError> {
//! let location = Location::local(name, PathBuf::from("/srv/registry/us"), LocalOptions::default())?;
//! let mut writer = location.stage(id, 0).await?;
//! writer.write(Bytes::from_static(b"layer")).await?;
//! writer.sync().await?;
//! drop(writer);
//! let key = ObjectKey::Blob(Digest::of(Algorithm::Sha256, b"layer"));
//! location.publish(id, 5, &key).await?;
//! let stream = location.read(&key, ByteRange::ALL).await?;
//! assert_eq!(stream.remaining(), 5);
//! # Ok(())
//! # }
//! ```
//!
//! Invariant: nothing here knows two locations, a database or HTTP, and nothing outside names `opendal`.

mod calls;
mod directories;
mod error;
#[cfg(feature = "faults")]
pub mod faults;
#[cfg(test)]
mod fixture;
mod hook;
mod inspect;
mod location;
mod object_key;
mod options;
mod probe;
mod publish;
mod read;
mod staging;

pub use error::{Operation, StorageError, StorageErrorKind};
pub use inspect::{ListedObject, ObjectPage, StagedPage, StagedUpload, Verification};
pub use location::{Capabilities, Location, ObjectStat};
pub use object_key::{ObjectKey, Shard};
pub use options::LocalOptions;
pub use read::{ByteRange, ObjectStream};
pub use staging::StagedWriter;
