//! `OpenStack` Swift, and what speaks its language, such as Ceph: a container, where its account is found, and who asks.
//!
//! The requests are ours, behind `OpenDAL`'s trait of a service: its own Swift takes a token that never ends and a fixed address, knows no
//! `simple_path_concat`, and tells a container that is not there from an object that is not there as little as a full store from a broken
//! one.

mod container;
mod identity;
mod large_objects;
mod service;
mod temp_url;
mod tokens;

use std::fmt;
use std::sync::Arc;

use roadstead_placement::LocationName;
use roadstead_runtime::Environment;
use roadstead_secrets::Secret;

pub(crate) use self::container::Container;
pub(crate) use self::large_objects::{Content, ListedPart};
use super::{Assembly, UrlSigner};
use crate::error::{Failure, Operation, StorageError};
use crate::http::HttpClient;
use crate::location::{Capabilities, Location, PublicationCost};
use crate::objects::ObjectStore;
use crate::options::StoreOptions;

/// A container and how it is reached: Quay's parameters, read and checked.
///
/// Not here: `ca_cert_path` and `connect_timeout` are the [`HttpClient`]'s; `retry_count` and `retry_on_ratelimit` have no effect, because
/// whoever waits for a store that does not answer has another location to go to.
#[derive(Clone, Debug)]
pub struct SwiftOptions {
    /// Where tokens are given out. A path that does not end in a version of the identity service gets `v2.0` or `v3`.
    pub auth_url: String,
    /// How they are given out.
    pub auth_version: SwiftAuthVersion,
    /// Who asks: `ACCOUNT:USER` with version 1, else the user's name.
    pub user: String,
    /// The password, or the key of version 1.
    pub password: Secret,
    /// What else the identity service wants to know.
    pub os_options: OpenStackOptions,
    /// The container. It is never made.
    pub container: String,
    /// What stands right before every key, with the slash behind it if there is one.
    pub key_prefix: String,
    /// What URLs for reading are signed with.
    pub temp_url_key: Option<Secret>,
}

/// How Swift gives out tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SwiftAuthVersion {
    /// Its own way, by `X-Auth-User` and `X-Auth-Key`.
    V1,
    /// Keystone's, with tenants.
    V2,
    /// Keystone's, with projects and domains.
    V3,
}

impl fmt::Display for SwiftAuthVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V1 => "1",
            Self::V2 => "2",
            Self::V3 => "3",
        })
    }
}

/// Quay's `os_options`. Where a name and an id are given, the id counts.
#[derive(Clone, Debug, Default)]
pub struct OpenStackOptions {
    /// The project or tenant, by its id.
    pub project_id: Option<String>,
    /// The project or tenant, by its name.
    pub project_name: Option<String>,
    /// The domain that the project's name is of, by its id. Without any: `default`.
    pub project_domain_id: Option<String>,
    /// The domain that the project's name is of, by its name.
    pub project_domain_name: Option<String>,
    /// The user, by its id, instead of [`SwiftOptions::user`].
    pub user_id: Option<String>,
    /// The domain that the user's name is of, by its id. Without any: `default`.
    pub user_domain_id: Option<String>,
    /// The domain that the user's name is of, by its name.
    pub user_domain_name: Option<String>,
    /// Of the catalogue's endpoints that of this region; else the first.
    pub region_name: Option<String>,
    /// The service's type in the catalogue. Without: `object-store`.
    pub service_type: Option<String>,
    /// Which of the service's endpoints: `public`, `internal` or `admin`, with or without `URL` behind it. Without: `public`.
    pub endpoint_type: Option<String>,
    /// Where the account's containers are, whatever the identity service says.
    pub object_storage_url: Option<String>,
    /// A token that is there already. Used together with [`OpenStackOptions::object_storage_url`], until the store refuses it.
    pub auth_token: Option<Secret>,
}

impl Location {
    /// A location in a container. Nothing is asked of the store or its identity service yet, so that a process starts although they are
    /// down.
    ///
    /// # Errors
    /// [`StorageErrorKind::Misconfigured`](crate::StorageErrorKind::Misconfigured) when no client can be made of this.
    pub fn swift(
        name: LocationName,
        swift: &SwiftOptions,
        options: StoreOptions,
        http: &HttpClient,
        environment: Environment,
    ) -> Result<Self, StorageError> {
        let container = Container::new(swift, http, &environment);
        let container = container.map(Arc::new).map_err(|failure| {
            StorageError::new(Operation::Open, &name, &swift.container, failure)
        })?;
        let operator = service::operator(Arc::clone(&container)).map_err(|error| {
            StorageError::new(
                Operation::Open,
                &name,
                &swift.container,
                Failure::from(error),
            )
        })?;
        let signed_urls = swift.temp_url_key.is_some();
        let urls = if signed_urls {
            UrlSigner::TempUrl(Arc::clone(&container))
        } else {
            UrlSigner::Nobody
        };
        let capabilities = Capabilities {
            signed_urls,
            checked_writes: false,
            publication: PublicationCost::InPlace,
        };
        let assembly = Assembly::ListParts(container);
        let store = ObjectStore::new(name.clone(), operator, assembly, options, environment);
        Ok(Self::in_objects(name, capabilities, store.with_urls(urls)))
    }
}

#[cfg(test)]
mod mock;
#[cfg(test)]
mod tests;
