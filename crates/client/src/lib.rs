//! A client of OCI registries: the distribution specification v1.1 as functions.
//!
//! Content streams in both directions; what is held of it is one chunk (and for a chunked push the chunk that is being sent).
//! Every step has a deadline ([`ClientOptions`]), every answer that is read whole has a limit, every list a maximum.
//! Whoever is asked for credentials gives them by the token flow or, failing that, by Basic authentication, only to the
//! registry itself. Plain HTTP for the time being; an address that needs TLS is refused.
//!
//! ```no_run
//! # use roadstead_client::{Client, ClientError, Credentials};
//! # use roadstead_oci::{Reference, RepositoryName};
//! # async fn example(repository: RepositoryName, reference: Reference) -> Result<(), ClientError> {
//! let client = Client::new("http://127.0.0.1:8080", Some(Credentials::new("admin", "secret")))?;
//! let manifest = client.get_manifest(&repository, &reference).await?;
//! println!("{} {} bytes", manifest.digest, manifest.bytes.len());
//! # Ok(())
//! # }
//! ```
//!
//! Deliberately not here: what to copy from where, retries of whole operations, progress. They are the caller's.
//!
//! Invariant: a blob that [`Client::pull_verified`] has handed out to its end, and a manifest that was got by digest, hash to the
//! digest that was asked for; credentials leave only for the address the client was made for and the token service it names.

mod authorization;
mod blobs;
mod challenge;
mod client;
mod credentials;
mod download;
mod error;
mod exchange;
mod link;
mod listing;
mod manifests;
mod options;
#[cfg(test)]
mod scripted;
mod uploads;

pub use blobs::Mounted;
pub use client::Client;
pub use credentials::Credentials;
pub use download::{BlobStream, VerifiedStream};
pub use error::{ClientError, RegistryError};
pub use exchange::{Answer, RequestBody};
pub use listing::TagsPage;
pub use manifests::{ManifestHead, PulledManifest, PushedManifest};
pub use options::ClientOptions;
pub use uploads::Upload;
