//! Which drivers there are, which parameters each knows, and who reads them.

use figment::value::{Dict, Value};

use super::azure::{self, AzureStorage};
use super::cdn::{self, Akamai, CloudFlare, CloudFront};
use super::local::{self, LocalStorage};
use super::multi_cdn::{self, MultiCdnStorage};
use super::parameters::{Layer, Parameters, refuse_unknown};
use super::s3::{S3Store, amazon, compatible};
use super::swift::{self, SwiftStorage};
use crate::reader::{Keys, Remark, did_you_mean};

/// How a store is reached: one of Quay's drivers with its parameters.
///
/// The parameters are checked and resolved to what a client of the store needs, but nothing has been asked of the store itself.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::enum_variant_names, reason = "the names are Quay's")]
pub enum Driver {
    /// `LocalStorage`: a directory of this machine.
    LocalStorage(LocalStorage),
    /// `S3Storage`: a bucket of Amazon's, or of another S3 server.
    S3Storage(Box<S3Store>),
    /// `GoogleCloudStorage`: a bucket of Google's, by its S3 interface with HMAC keys.
    GoogleCloudStorage(Box<S3Store>),
    /// `RadosGWStorage`: a bucket of Ceph's object gateway, or of another S3 server.
    RadosGWStorage(Box<S3Store>),
    /// `RHOCSStorage`: a bucket of OpenShift Data Foundation; as `RadosGWStorage`.
    RHOCSStorage(Box<S3Store>),
    /// `IBMCloudStorage`: a bucket of IBM's.
    IBMCloudStorage(Box<S3Store>),
    /// `STSS3Storage`: a bucket of Amazon's, reached in a role.
    STSS3Storage(Box<S3Store>),
    /// `SwiftStorage`: a container of OpenStack Swift.
    SwiftStorage(Box<SwiftStorage>),
    /// `AzureStorage`: a container of Azure Blob Storage.
    AzureStorage(Box<AzureStorage>),
    /// `CloudFrontedS3Storage`: a bucket of Amazon's behind CloudFront.
    CloudFrontedS3Storage {
        /// The bucket. Its region is known.
        store: Box<S3Store>,
        /// The CDN in front of it.
        cdn: CloudFront,
    },
    /// `CloudFlareStorage`: a bucket of Amazon's behind Cloudflare.
    CloudFlareStorage {
        /// The bucket. Its region is known.
        store: Box<S3Store>,
        /// The CDN in front of it.
        cdn: CloudFlare,
    },
    /// `AkamaiS3Storage`: a bucket of Amazon's behind Akamai.
    AkamaiS3Storage {
        /// The bucket. Its region is known.
        store: Box<S3Store>,
        /// The CDN in front of it.
        cdn: Akamai,
    },
    /// `MultiCDNStorage`: a bucket of Amazon's behind several CDNs.
    MultiCDNStorage(Box<MultiCdnStorage>),
}

impl Driver {
    /// As it stands in the configuration.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::LocalStorage(_) => "LocalStorage",
            Self::S3Storage(_) => "S3Storage",
            Self::GoogleCloudStorage(_) => "GoogleCloudStorage",
            Self::RadosGWStorage(_) => "RadosGWStorage",
            Self::RHOCSStorage(_) => "RHOCSStorage",
            Self::IBMCloudStorage(_) => "IBMCloudStorage",
            Self::STSS3Storage(_) => "STSS3Storage",
            Self::SwiftStorage(_) => "SwiftStorage",
            Self::AzureStorage(_) => "AzureStorage",
            Self::CloudFrontedS3Storage { .. } => "CloudFrontedS3Storage",
            Self::CloudFlareStorage { .. } => "CloudFlareStorage",
            Self::AkamaiS3Storage { .. } => "AkamaiS3Storage",
            Self::MultiCDNStorage(_) => "MultiCDNStorage",
        }
    }

    /// The bucket that is read and written, of the drivers that speak S3; of `MultiCDNStorage` that of the default provider.
    pub fn s3(&self) -> Option<&S3Store> {
        match self {
            Self::S3Storage(store)
            | Self::GoogleCloudStorage(store)
            | Self::RadosGWStorage(store)
            | Self::RHOCSStorage(store)
            | Self::IBMCloudStorage(store)
            | Self::STSS3Storage(store)
            | Self::CloudFrontedS3Storage { store, .. }
            | Self::CloudFlareStorage { store, .. }
            | Self::AkamaiS3Storage { store, .. } => Some(store),
            Self::MultiCDNStorage(multi) => Some(&multi.default_provider.store),
            Self::LocalStorage(_) | Self::SwiftStorage(_) | Self::AzureStorage(_) => None,
        }
    }
}

/// What stands under an id.
pub(super) const FORM: &str = "[DRIVER, {PARAMETER: VALUE}]";

type Read = fn(&mut Parameters<'_, '_>) -> Option<Driver>;

/// Quay's drivers, with the names of their parameters in one or two lists.
const DRIVERS: [(&str, [&[&str]; 2], Read); 13] = [
    ("LocalStorage", [&local::PARAMETERS, &[]], local::read),
    ("S3Storage", [&amazon::PARAMETERS, &[]], amazon::read),
    (
        "GoogleCloudStorage",
        [&compatible::OF_GOOGLE, &[]],
        compatible::read_google,
    ),
    (
        "RadosGWStorage",
        [&compatible::OF_RADOS, &[]],
        compatible::read_rados,
    ),
    (
        "RHOCSStorage",
        [&compatible::OF_RADOS, &[]],
        compatible::read_rhocs,
    ),
    (
        "IBMCloudStorage",
        [&compatible::OF_IBM, &[]],
        compatible::read_ibm,
    ),
    ("STSS3Storage", [&amazon::OF_STS, &[]], amazon::read_sts),
    ("SwiftStorage", [&swift::PARAMETERS, &[]], swift::read),
    ("AzureStorage", [&azure::PARAMETERS, &[]], azure::read),
    (
        "CloudFrontedS3Storage",
        [&amazon::PARAMETERS, &cdn::OF_CLOUD_FRONT],
        cdn::read_cloud_fronted,
    ),
    (
        "CloudFlareStorage",
        [&amazon::PARAMETERS, &cdn::OF_CLOUD_FLARE],
        cdn::read_cloud_flare,
    ),
    (
        "AkamaiS3Storage",
        [&amazon::PARAMETERS, &cdn::OF_AKAMAI],
        cdn::read_akamai,
    ),
    (
        "MultiCDNStorage",
        [&multi_cdn::PARAMETERS, &[]],
        multi_cdn::read,
    ),
];

/// Every driver with the names of its parameters, by name.
pub(crate) fn drivers() -> impl Iterator<Item = (&'static str, Vec<&'static str>)> {
    DRIVERS.iter().map(|(name, parameters, _)| {
        let mut parameters = parameters.concat();
        parameters.sort_unstable();
        (*name, parameters)
    })
}

/// Reads what stands under the id at `path`. `None`: it was refused.
pub(super) fn read(keys: &mut Keys, path: &str, entry: &Value) -> Option<Driver> {
    let (driver, parameters) = split(keys, path, entry)?;
    let driver_path = format!("{path}[0]");
    let name = keys.text_of(&driver_path, driver)?;
    let Some((name, known, read)) = DRIVERS.iter().find(|(driver, ..)| *driver == name) else {
        let names = DRIVERS.map(|(name, ..)| name);
        let remark = Remark::new(
            "unknown driver",
            names.join(", "),
            did_you_mean(&name, names),
        );
        keys.refuse(&driver_path, Some(driver), remark);
        return None;
    };
    let path = format!("{path}[1]");
    let none = Dict::new();
    let entries = match parameters {
        Some(Value::Dict(_, entries)) => entries,
        None | Some(Value::Empty(..)) => &none,
        Some(other) => {
            keys.mismatch(&path, other, "a map of parameters", "correct it");
            return None;
        }
    };
    refuse_unknown(keys, name, &path, entries, &known.concat());
    let layer = Layer {
        path,
        around: entry,
        entries,
    };
    read(&mut Parameters::new(keys, vec![layer]))
}

/// The driver's name and its parameters.
pub(super) fn split<'v>(
    keys: &mut Keys,
    path: &str,
    entry: &'v Value,
) -> Option<(&'v Value, Option<&'v Value>)> {
    if let Value::Array(_, items) = entry
        && let [driver] | [driver, _] = items.as_slice()
    {
        return Some((driver, items.get(1)));
    }
    let remark = Remark::new(
        "not a driver and its parameters",
        FORM,
        "write it as a list of the two",
    );
    match entry {
        // What parameters hold is shown only where their names tell which of them are secret.
        Value::Dict(..) | Value::Array(..) => keys.refuse_absent(path, entry, remark),
        _ => keys.refuse(path, Some(entry), remark),
    }
    None
}
