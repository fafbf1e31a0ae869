//! Whether two locations are the same store, judged by what their parameters say: nothing is asked of a store or a disk.
//!
//! Drivers of one family are compared, so that a bucket is the same whether it is reached with `S3Storage`, in a role, or behind a CDN. Two names of
//! one host are not seen through.

use std::fmt;

use super::driver::Driver;
use super::endpoint::Endpoint;
use super::local;
use super::s3::S3Store;
use super::swift::SwiftStorage;

/// Where the objects of a location are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    family: Family,
    /// Host, port and account: what container names are unique in.
    server: String,
    /// Bucket or container.
    container: String,
    /// What all keys, or names of files, begin with.
    prefix: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Family {
    Directory,
    Bucket,
    AzureContainer,
    SwiftContainer,
}

/// How one place is to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Relation {
    /// Nothing of the one is in the other.
    Apart,
    /// They are the same.
    Same,
    /// It is a part of the other.
    Inside,
    /// The other is a part of it.
    Around,
}

impl Place {
    /// Where the objects of `driver` are.
    pub(super) fn of(driver: &Driver) -> Self {
        if let Some(store) = driver.s3() {
            return Self::of_bucket(store);
        }
        match driver {
            Driver::LocalStorage(directory) => Self {
                family: Family::Directory,
                server: String::new(),
                container: String::new(),
                prefix: local::normalised(&directory.storage_path),
            },
            Driver::AzureStorage(azure) => Self {
                family: Family::AzureContainer,
                server: server(&azure.endpoint) + &azure.endpoint.path,
                container: azure.container.clone(),
                prefix: azure.key_prefix.clone(),
            },
            Driver::SwiftStorage(swift) => Self {
                family: Family::SwiftContainer,
                server: account(swift),
                container: swift.container.clone(),
                prefix: swift.key_prefix.clone(),
            },
            Driver::S3Storage(store)
            | Driver::GoogleCloudStorage(store)
            | Driver::RadosGWStorage(store)
            | Driver::RHOCSStorage(store)
            | Driver::IBMCloudStorage(store)
            | Driver::STSS3Storage(store)
            | Driver::CloudFrontedS3Storage { store, .. }
            | Driver::CloudFlareStorage { store, .. }
            | Driver::AkamaiS3Storage { store, .. } => Self::of_bucket(store),
            Driver::MultiCDNStorage(multi) => Self::of_bucket(&multi.default_provider.store),
        }
    }

    /// Where the objects of a bucket are.
    pub(super) fn of_bucket(store: &S3Store) -> Self {
        Self {
            family: Family::Bucket,
            server: amazon(&store.endpoint).unwrap_or_else(|| server(&store.endpoint)),
            container: store.bucket.clone(),
            prefix: store.key_prefix.clone(),
        }
    }

    pub(super) fn relation(&self, other: &Self) -> Relation {
        let is_apart = self.family != other.family
            || self.server != other.server
            || self.container != other.container;
        if is_apart {
            Relation::Apart
        } else if self.prefix == other.prefix {
            Relation::Same
        } else if self.prefix.starts_with(&other.prefix) {
            Relation::Inside
        } else if other.prefix.starts_with(&self.prefix) {
            Relation::Around
        } else {
            Relation::Apart
        }
    }

    /// What kind of thing it is.
    pub(super) const fn noun(&self) -> &'static str {
        match self.family {
            Family::Directory => "directory",
            Family::Bucket => "bucket and storage_path",
            Family::AzureContainer | Family::SwiftContainer => "container and storage_path",
        }
    }
}

/// As what it is spoken of: `bucket NAME below PATH at HOST`.
impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.family {
            // Its path is in the configuration beside the message.
            Family::Directory => return formatter.write_str("directory"),
            Family::Bucket => "bucket",
            Family::AzureContainer | Family::SwiftContainer => "container",
        };
        write!(
            formatter,
            "{kind} {} (storage_path /{}) at {}",
            self.container, self.prefix, self.server
        )
    }
}

/// Host and port. Which of the two schemes it is makes no other store.
fn server(endpoint: &Endpoint) -> String {
    let host = endpoint.host.trim_end_matches('.');
    if endpoint.has_default_port() {
        host.to_owned()
    } else {
        format!("{host}:{}", endpoint.port)
    }
}

/// The part of Amazon's cloud in which there is no second bucket of that name, whatever the region.
fn amazon(endpoint: &Endpoint) -> Option<String> {
    let host = endpoint.host.trim_end_matches('.');
    let is_china = host.ends_with(".amazonaws.com.cn");
    let is_s3 = host.starts_with("s3.") || host.starts_with("s3-");
    let is_amazon = is_s3 && (is_china || host.ends_with(".amazonaws.com"));
    is_amazon.then(|| {
        let partition = match (is_china, host.contains("us-gov-")) {
            (true, _) => "amazonaws.com.cn",
            (false, true) => "the government's amazonaws.com",
            (false, false) => "amazonaws.com",
        };
        partition.to_owned()
    })
}

/// The account that a container of Swift is in.
fn account(swift: &SwiftStorage) -> String {
    let options = &swift.options;
    if let Some(url) = &options.object_storage_url {
        return server(url) + &url.path;
    }
    let account = options
        .project_id
        .as_deref()
        .or(options.project_name.as_deref())
        .or_else(|| swift.user.split_once(':').map(|(account, _)| account))
        .unwrap_or(&swift.user);
    format!("{} of {account}", server(&swift.auth_url))
}
