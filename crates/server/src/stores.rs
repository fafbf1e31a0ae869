//! From the configured stores to locations.

use std::path::Path;
use std::sync::Arc;

use roadstead_config::{
    AzureCredentials as ConfiguredAzure, AzureStorage, Cdn, CdnProvider as ConfiguredProvider,
    Continent as ConfiguredContinent, Driver, LocalStorage, Location as Configured,
    MultiCdnStorage, S3Credentials as ConfiguredCredentials, S3Keys, S3Store, Storage,
    SwiftAuthVersion as ConfiguredSwiftVersion, SwiftStorage,
};
use roadstead_placement::LocationName;
use roadstead_runtime::Environment;
use roadstead_secrets::Secret;
use roadstead_storage::{
    AkamaiOptions, AzureCredentials, AzureOptions, CdnOptions, CdnProvider, CdnRule,
    CloudFlareOptions, CloudFrontOptions, Continent, HttpClient, LocalOptions, Location,
    MultiCdnOptions, OpenStackOptions, S3Credentials, S3Options, StoreOptions, SwiftAuthVersion,
    SwiftOptions,
};

use crate::deployment::OpenLocal;
use crate::error::StartError;
use crate::trust::Trust;

/// What all stores of a process are opened with.
pub(crate) struct Opening<'a> {
    /// Makes a location of a local directory.
    pub(crate) open_local: &'a OpenLocal,
    /// What object stores are reached with.
    pub(crate) http: HttpClient,
    /// Which certificate authorities are trusted besides the system's.
    pub(crate) trust: &'a Trust,
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
            | Driver::STSS3Storage(store) => {
                let store = s3_options(store);
                Location::s3(name, &store, options, &self.http, self.environment.clone())?
            }
            Driver::CloudFrontedS3Storage { store, cdn } => {
                self.behind_cdn(name, store, &Cdn::CloudFront(cdn.clone()), options)?
            }
            Driver::CloudFlareStorage { store, cdn } => {
                self.behind_cdn(name, store, &Cdn::CloudFlare(cdn.clone()), options)?
            }
            Driver::AkamaiS3Storage { store, cdn } => {
                self.behind_cdn(name, store, &Cdn::Akamai(cdn.clone()), options)?
            }
            Driver::MultiCDNStorage(multi) => {
                let cdns = multi_cdn_options(multi)?;
                let environment = self.environment.clone();
                Location::behind_cdns(name, &cdns, options, &self.http, environment)?
            }
            Driver::AzureStorage(azure) => {
                let azure = azure_options(azure);
                Location::azure(name, &azure, options, &self.http, self.environment.clone())?
            }
            Driver::SwiftStorage(swift) => {
                let http = match &swift.ca_certificate {
                    None => self.http.clone(),
                    Some(path) => {
                        let mut authorities = self.trust.named();
                        authorities.push(read_certificate(path)?);
                        HttpClient::new(&authorities)?
                    }
                };
                let swift = swift_options(swift);
                Location::swift(name, &swift, options, &http, self.environment.clone())?
            }
        })
    }

    fn behind_cdn(
        &self,
        name: LocationName,
        store: &S3Store,
        cdn: &Cdn,
        options: StoreOptions,
    ) -> Result<Location, StartError> {
        let provider = CdnProvider {
            store: s3_options(store),
            cdn: cdn_options(cdn)?,
        };
        let environment = self.environment.clone();
        Ok(Location::behind_cdn(
            name,
            provider,
            options,
            &self.http,
            environment,
        )?)
    }
}

fn s3_options(store: &S3Store) -> S3Options {
    let keys = |keys: &S3Keys| (secret(&keys.access_key), secret(&keys.secret_key));
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
                    session_token: pair.session_token.as_ref().map(secret),
                }
            }
            ConfiguredCredentials::AssumedRole { arn, by } => S3Credentials::Role {
                role_arn: arn.clone(),
                keys: by.as_ref().map(keys),
            },
        },
        server_side_encryption: store.server_side_aes256,
        server_side_assembly: store.server_side_assembly,
        cross_origin_urls: store.cross_origin_urls,
    }
}

/// Secret text as the stores take it.
fn secret(text: &roadstead_config::Secret<String>) -> Secret {
    Secret::new(text.expose().as_str())
}

fn azure_options(azure: &AzureStorage) -> AzureOptions {
    AzureOptions {
        endpoint: azure.endpoint.to_string(),
        account_name: azure.account_name.clone(),
        container: azure.container.clone(),
        storage_path: azure.key_prefix.clone(),
        credentials: match &azure.credentials {
            ConfiguredAzure::AccountKey(key) => AzureCredentials::AccountKey(secret(key)),
            ConfiguredAzure::SasToken(token) => AzureCredentials::SasToken(secret(token)),
        },
    }
}

fn swift_options(swift: &SwiftStorage) -> SwiftOptions {
    let os = swift.options.clone();
    SwiftOptions {
        auth_url: swift.auth_url.to_string(),
        auth_version: match swift.auth_version {
            ConfiguredSwiftVersion::V1 => SwiftAuthVersion::V1,
            ConfiguredSwiftVersion::V2 => SwiftAuthVersion::V2,
            ConfiguredSwiftVersion::V3 => SwiftAuthVersion::V3,
        },
        user: swift.user.clone(),
        password: secret(&swift.password),
        os_options: OpenStackOptions {
            project_id: os.project_id,
            project_name: os.project_name,
            project_domain_id: os.project_domain_id,
            project_domain_name: os.project_domain_name,
            user_id: os.user_id,
            user_domain_id: os.user_domain_id,
            user_domain_name: os.user_domain_name,
            region_name: os.region_name,
            service_type: os.service_type,
            endpoint_type: os.endpoint_type,
            object_storage_url: os.object_storage_url.map(|url| url.to_string()),
            auth_token: os.auth_token.as_ref().map(secret),
        },
        container: swift.container.clone(),
        key_prefix: swift.key_prefix.clone(),
        temp_url_key: swift.temp_url_key.as_ref().map(secret),
    }
}

fn cdn_options(cdn: &Cdn) -> Result<CdnOptions, StartError> {
    Ok(match cdn {
        Cdn::CloudFront(cdn) => CdnOptions::CloudFront(CloudFrontOptions {
            domain: cdn.domain.clone(),
            key_id: cdn.key_id.clone(),
            private_key: read_key(&cdn.private_key)?,
            domains_of_namespaces: cdn.domains_of_namespaces.clone(),
        }),
        Cdn::CloudFlare(cdn) => CdnOptions::CloudFlare(CloudFlareOptions {
            domain: cdn.domain.clone(),
            private_key: read_key(&cdn.private_key)?,
        }),
        Cdn::Akamai(cdn) => CdnOptions::Akamai(AkamaiOptions {
            domain: cdn.domain.clone(),
            shared_secret: secret(&cdn.shared_secret),
        }),
    })
}

fn multi_cdn_options(multi: &MultiCdnStorage) -> Result<MultiCdnOptions, StartError> {
    // Providers that several rules name are made once.
    let mut made: Vec<(Arc<ConfiguredProvider>, Arc<CdnProvider>)> = Vec::new();
    let mut provider = |configured: &Arc<ConfiguredProvider>| {
        if let Some((_, made)) = made.iter().find(|(of, _)| Arc::ptr_eq(of, configured)) {
            return Ok::<_, StartError>(Arc::clone(made));
        }
        let new = Arc::new(CdnProvider {
            store: s3_options(&configured.store),
            cdn: cdn_options(&configured.cdn)?,
        });
        made.push((Arc::clone(configured), Arc::clone(&new)));
        Ok(new)
    };
    Ok(MultiCdnOptions {
        default_provider: provider(&multi.default_provider)?,
        rules: multi
            .rules
            .iter()
            .map(|rule| {
                Ok(CdnRule {
                    namespace: rule.namespace.clone(),
                    continent: rule.continent.map(continent),
                    host: rule.host.clone(),
                    provider: provider(&rule.provider)?,
                })
            })
            .collect::<Result<_, StartError>>()?,
    })
}

fn continent(configured: ConfiguredContinent) -> Continent {
    match configured {
        ConfiguredContinent::Africa => Continent::Africa,
        ConfiguredContinent::Antarctica => Continent::Antarctica,
        ConfiguredContinent::Asia => Continent::Asia,
        ConfiguredContinent::Europe => Continent::Europe,
        ConfiguredContinent::NorthAmerica => Continent::NorthAmerica,
        ConfiguredContinent::Oceania => Continent::Oceania,
        ConfiguredContinent::SouthAmerica => Continent::SouthAmerica,
    }
}

/// A file with certificates and what it is called.
fn read_certificate(path: &Path) -> Result<(String, Vec<u8>), StartError> {
    let pem = std::fs::read(path).map_err(|source| StartError::KeyFile {
        path: path.to_owned(),
        source,
    })?;
    Ok((path.display().to_string(), pem))
}

fn read_key(path: &Path) -> Result<Secret, StartError> {
    std::fs::read_to_string(path)
        .map(Secret::new)
        .map_err(|source| StartError::KeyFile {
            path: path.to_owned(),
            source,
        })
}

pub(crate) fn location_name(name: &str) -> Result<LocationName, StartError> {
    LocationName::new(name).map_err(|source| StartError::LocationName {
        name: name.to_owned(),
        source,
    })
}
