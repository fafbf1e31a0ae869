//! Where the blobs are: the locations, the order this region prefers them in, and which of them get everything.

mod azure;
mod cdn;
mod driver;
mod endpoint;
mod key_prefix;
mod local;
mod locations;
mod multi_cdn;
mod parameters;
mod preference;
mod s3;
mod same_store;
mod swift;

pub use azure::{AzureCredentials, AzureStorage};
pub use cdn::{Akamai, Cdn, CloudFlare, CloudFront};
pub use driver::Driver;
pub(crate) use driver::drivers;
pub use endpoint::Endpoint;
pub use local::LocalStorage;
pub use locations::Location;
pub use multi_cdn::{CdnProvider, CdnRule, Continent, MultiCdnStorage};
pub use s3::{S3Credentials, S3Keys, S3Store};
pub use swift::{OpenStackOptions, SwiftAuthVersion, SwiftStorage};

use crate::reader::{Keys, Remark};

/// Where the blobs are.
///
/// `DISTRIBUTED_STORAGE_VALIDATE_ENDTOEND` and `DISTRIBUTED_STORAGE_REQUIRES_ALL_AVAILABLE` have no effect, as in Quay.
#[derive(Clone, Debug, PartialEq)]
pub struct Storage {
    /// `DISTRIBUTED_STORAGE_CONFIG`: every location, in the order of the file. Required with a configuration; a registry
    /// without one has the directories `usstorage` and `eustorage` under its data directory. Never empty.
    pub locations: Vec<Location>,
    /// `DISTRIBUTED_STORAGE_PREFERENCE`: ids in the order this region prefers them: the first gets what is pushed here, and
    /// reads go to the first that has the blob. The environment variable `QUAY_DISTRIBUTED_STORAGE_PREFERENCE` replaces it.
    /// Without a preference: all locations in the order of the file, which replication does not allow.
    pub preference: Vec<String>,
    /// `DISTRIBUTED_STORAGE_DEFAULT_LOCATIONS`: ids of the locations that get a copy of every blob, in the order given.
    pub default_locations: Vec<String>,
    /// `ROADSTEAD_UPLOAD_MEMORY_BYTES`: the most memory that one upload holds in parts on their way to a store, in bytes, 16M to 16G
    /// (default: `64M`).
    pub upload_memory_bytes: u64,
}

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// The least memory of an upload: three parts of 5 MiB, the least that S3 takes, of which one is being filled and two are on their way.
const UPLOAD_MEMORY_BYTES_MIN: u64 = 16 * MIB;

impl Storage {
    pub(super) fn read(keys: &mut Keys, replication: bool) -> Self {
        let (locations, names) = locations::read(keys);
        let preference = preference::read_preference(keys, replication, &names);
        let default_locations = preference::read_defaults(keys, replication, &names);
        if keys.data_dir().is_none() {
            warn_without_replication(keys, replication, &default_locations);
        }
        Self {
            preference,
            default_locations,
            upload_memory_bytes: keys.size(
                "ROADSTEAD_UPLOAD_MEMORY_BYTES",
                64 * MIB,
                UPLOAD_MEMORY_BYTES_MIN..=16 * GIB,
            ),
            locations,
        }
    }
}

/// Locations that shall hold everything, and nothing that copies to them: hardly ever meant, and a missing key looks the same.
fn warn_without_replication(keys: &mut Keys, replication: bool, default_locations: &[String]) {
    const KEY: &str = "FEATURE_STORAGE_REPLICATION";
    if !replication && default_locations.len() > 1 && keys.value(KEY).is_none() {
        let remark = Remark::new(
            "it is missing: nothing is copied to DISTRIBUTED_STORAGE_DEFAULT_LOCATIONS",
            "true or false",
            "set it",
        );
        keys.warn(KEY, None, remark);
    }
}
