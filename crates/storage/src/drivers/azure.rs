//! Azure Blob Storage.
//!
//! Objects are looked up, read, listed, deleted and written through the operator. It has no way to put an object together from others, so that
//! is here: each part becomes a block of the object, copied by the store from a URL that is signed for a while (`Put Block From URL`), and the
//! list of the blocks becomes the object at once (`Put Block List`).
//!
//! The operator's own signed URLs are not used: whatever is asked of them, they let whoever has one write and delete for an hour.

mod blocks;
mod shared_access;

use std::sync::Arc;

use opendal::Operator;
use opendal::services::Azblob;
use roadstead_placement::LocationName;
use roadstead_runtime::Environment;
use roadstead_secrets::Secret;

pub(crate) use self::blocks::{AzureBlocks, BlockCopy, BlockId, Commit};
pub(crate) use self::shared_access::SharedAccess;
use super::{Assembly, UrlSigner};
use crate::error::{Failure, Operation, StorageError, StorageErrorKind};
use crate::http::HttpClient;
use crate::location::{Capabilities, Location, PublicationCost};
use crate::objects::ObjectStore;
use crate::options::StoreOptions;

/// A container and how it is reached.
#[derive(Clone, Debug)]
pub struct AzureOptions {
    /// Where the account answers: `https://ACCOUNT.blob.core.windows.net`. The path of an emulator begins with the account.
    pub endpoint: String,
    /// The account.
    pub account_name: String,
    /// The container. It is never made.
    pub container: String,
    /// Quay's `storage_path`: what all keys begin with. Leading slashes do not count.
    pub storage_path: String,
    /// Who we are.
    pub credentials: AzureCredentials,
}

/// What proves to Azure who asks.
#[derive(Clone, Debug)]
pub enum AzureCredentials {
    /// The key of the account, in base64 as Azure shows it.
    AccountKey(Secret),
    /// A shared access signature, without a question mark in front. It needs the rights `rwdlac`. Clients are never given it: it says nothing
    /// about a single object. So there are no signed URLs, and blobs are streamed.
    SasToken(Secret),
}

impl Location {
    /// A location in a container of Azure's. Nothing is asked of the store yet, so that a process starts although it is down.
    ///
    /// A store that cannot copy parts by itself, such as an emulator or one whose firewall keeps it from its own objects, is found out with the
    /// first upload; from then on, until the process ends, parts are read and written once more.
    ///
    /// # Errors
    /// [`StorageErrorKind::Misconfigured`] when no client can be made of this.
    pub fn azure(
        name: LocationName,
        azure: &AzureOptions,
        options: StoreOptions,
        http: &HttpClient,
        environment: Environment,
    ) -> Result<Self, StorageError> {
        let refused =
            |failure| StorageError::new(Operation::Open, &name, &azure.container, failure);
        let operator = operator(azure, http).map_err(|error| refused(Failure::from(error)))?;
        let access = SharedAccess::new(azure)
            .map_err(|problem| Failure::because(StorageErrorKind::Misconfigured, problem))
            .map_err(refused)?;
        let blocks = AzureBlocks::new(access.clone(), http.clone());
        let urls = if access.is_per_object() {
            UrlSigner::SharedAccess(access)
        } else {
            UrlSigner::Nobody
        };
        let capabilities = Capabilities {
            signed_urls: matches!(urls, UrlSigner::SharedAccess(_)),
            checked_writes: false,
            publication: PublicationCost::StoreCopies,
        };
        let assembly = Assembly::CopyBlocks(Arc::new(blocks));
        let store = ObjectStore::new(name.clone(), operator, assembly, options, environment);
        Ok(Self::in_objects(name, capabilities, store.with_urls(urls)))
    }
}

fn operator(azure: &AzureOptions, http: &HttpClient) -> Result<Operator, opendal::Error> {
    let builder = Azblob::default()
        .endpoint(&azure.endpoint)
        .container(&azure.container)
        .root(&azure.storage_path)
        .account_name(&azure.account_name);
    let builder = match &azure.credentials {
        AzureCredentials::AccountKey(key) => builder.account_key(key.expose()),
        AzureCredentials::SasToken(token) => builder.sas_token(token.expose()),
    };
    Ok(Operator::new(builder)?.with_context(http.context()))
}
