//! From the configured stores to locations.

use roadstead_config::{
    Driver, LocalStorage, Location as Configured, S3Credentials as ConfiguredCredentials, S3Keys,
    S3Store, Storage,
};
use roadstead_placement::LocationName;
use roadstead_runtime::Environment;
use roadstead_secrets::Secret;
use roadstead_storage::{
    HttpClient, LocalOptions, Location, S3Credentials, S3Options, StorageError, StoreOptions,
};

use crate::deployment::OpenLocal;
use crate::error::StartError;

/// What all stores of a process are opened with.
pub(crate) struct Opening<'a> {
    /// Makes a location of a local directory.
    pub(crate) open_local: &'a OpenLocal,
    /// What object stores are reached with.
    pub(crate) http: HttpClient,
    /// Time, ids, chance.
    pub(crate) environment: Environment,
}

impl Opening<'_> {
    /// The location of a configured store. No store is asked for anything.
    pub(crate) fn open(
        &self,
        storage: &Storage,
        configured: &Configured,
    ) -> Result<Location, StartError> {
        let name = location_name(&configured.name)?;
        let options = StoreOptions {
            upload_memory_bytes: storage.upload_memory_bytes,
            ..StoreOptions::default()
        };
        Ok(match &configured.driver {
            Driver::LocalStorage(LocalStorage { storage_path }) => {
                (self.open_local)(name, storage_path.clone(), LocalOptions::default())?
            }
            Driver::S3Storage(store)
            | Driver::GoogleCloudStorage(store)
            | Driver::RadosGWStorage(store)
            | Driver::RHOCSStorage(store)
            | Driver::IBMCloudStorage(store)
            | Driver::STSS3Storage(store)
            | Driver::CloudFrontedS3Storage { store, .. }
            | Driver::CloudFlareStorage { store, .. }
            | Driver::AkamaiS3Storage { store, .. } => self.s3(name, store, options)?,
            Driver::MultiCDNStorage(multi) => {
                self.s3(name, &multi.default_provider.store, options)?
            }
            Driver::SwiftStorage(_) | Driver::AzureStorage(_) => todo!(),
        })
    }

    fn s3(
        &self,
        name: LocationName,
        store: &S3Store,
        options: StoreOptions,
    ) -> Result<Location, StorageError> {
        Location::s3(
            name,
            &s3_options(store),
            options,
            &self.http,
            self.environment.clone(),
        )
    }
}

fn s3_options(store: &S3Store) -> S3Options {
    let keys = |keys: &S3Keys| {
        (
            Secret::new(keys.access_key.expose().as_str()),
            Secret::new(keys.secret_key.expose().as_str()),
        )
    };
    S3Options {
        endpoint: store.endpoint.to_string(),
        region: store.region.clone(),
        bucket: store.bucket.clone(),
        storage_path: store.key_prefix.clone(),
        credentials: match &store.credentials {
            ConfiguredCredentials::DefaultChain => S3Credentials::Machine,
            ConfiguredCredentials::Keys(pair) => {
                let (access_key, secret_key) = keys(pair);
                S3Credentials::Keys {
                    access_key,
                    secret_key,
                    session_token: pair
                        .session_token
                        .as_ref()
                        .map(|token| Secret::new(token.expose().as_str())),
                }
            }
            ConfiguredCredentials::AssumedRole { arn, by } => S3Credentials::Role {
                role_arn: arn.clone(),
                keys: by.as_ref().map(keys),
            },
        },
        server_side_encryption: store.server_side_aes256,
        server_side_assembly: store.server_side_assembly,
    }
}

pub(crate) fn location_name(name: &str) -> Result<LocationName, StartError> {
    LocationName::new(name).map_err(|source| StartError::LocationName {
        name: name.to_owned(),
        source,
    })
}
