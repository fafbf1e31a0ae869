//! Other stores with an S3 interface: `GoogleCloudStorage`, `RadosGWStorage`, `RHOCSStorage` and `IBMCloudStorage`.

use std::time::Duration;

use super::{
    ChunkName, KeyNames, MIB, MINIMUM, PART_BYTES_MAX, S3Credentials, S3Store, TIMEOUT,
    check_signature_version, checked_region, read_chunks, read_required_keys,
};
use crate::sections::storage::driver::Driver;
use crate::sections::storage::endpoint::{self, Endpoint, HostAndPort};
use crate::sections::storage::key_prefix::{self, Rule};
use crate::sections::storage::parameters::Parameters;

/// Of `GoogleCloudStorage`.
pub(in crate::sections::storage) const OF_GOOGLE: [&str; 7] = [
    KEYS.access,
    TIMEOUT_NAME,
    BUCKET,
    MINIMUM.name,
    KEYS.secret,
    "signature_version",
    "storage_path",
];

/// Of `RadosGWStorage` and `RHOCSStorage`.
pub(in crate::sections::storage) const OF_RADOS: [&str; 12] = [
    KEYS.access,
    BUCKET,
    HOST.host,
    "is_secure",
    MAXIMUM.name,
    MINIMUM.name,
    HOST.port,
    REGION,
    KEYS.secret,
    ASSEMBLY,
    "signature_version",
    "storage_path",
];

/// Of `IBMCloudStorage`.
pub(in crate::sections::storage) const OF_IBM: [&str; 9] = [
    KEYS.access,
    BUCKET,
    HOST.host,
    "is_secure",
    MAXIMUM.name,
    HOST.port,
    KEYS.secret,
    "signature_version",
    "storage_path",
];

const ASSEMBLY: &str = "server_side_assembly";
const BUCKET: &str = "bucket_name";
const REGION: &str = "region_name";
const TIMEOUT_NAME: &str = "boto_timeout";

const HOST: HostAndPort<'static> = HostAndPort {
    host: "hostname",
    port: "port",
    is_secure: Some("is_secure"),
};

const KEYS: KeyNames = KeyNames {
    access: "access_key",
    secret: "secret_key",
};

const MAXIMUM: ChunkName = ChunkName {
    name: "maximum_chunk_size_mb",
    unit: "MiB",
    unit_bytes: MIB,
};

/// The default of [`MAXIMUM`], in bytes.
const MAXIMUM_BYTES: u64 = 100 * MIB;

/// The time limit where blobs are put together from here: a store answers late to a large one that it is sent whole.
const TIMEOUT_WITHOUT_ASSEMBLY: Duration = Duration::from_mins(10);

pub(in crate::sections::storage) fn read_google(
    parameters: &mut Parameters<'_, '_>,
) -> Option<Driver> {
    let chunks = read_chunks(parameters, Some(MINIMUM), None, PART_BYTES_MAX);
    let timeout = parameters.seconds(TIMEOUT_NAME, TIMEOUT);
    let endpoint = Some(Endpoint::https("storage.googleapis.com"));
    let store = read_bucket(parameters, endpoint, chunks)?;
    Some(Driver::GoogleCloudStorage(Box::new(S3Store {
        server_side_assembly: false,
        timeout,
        ..store
    })))
}

pub(in crate::sections::storage) fn read_rados(
    parameters: &mut Parameters<'_, '_>,
) -> Option<Driver> {
    read_gateway(parameters).map(|store| Driver::RadosGWStorage(Box::new(store)))
}

pub(in crate::sections::storage) fn read_rhocs(
    parameters: &mut Parameters<'_, '_>,
) -> Option<Driver> {
    read_gateway(parameters).map(|store| Driver::RHOCSStorage(Box::new(store)))
}

fn read_gateway(parameters: &mut Parameters<'_, '_>) -> Option<S3Store> {
    let chunks = read_chunks(parameters, Some(MINIMUM), Some(MAXIMUM), MAXIMUM_BYTES);
    let server_side_assembly = parameters.flag(ASSEMBLY, true);
    let region = parameters
        .text(REGION)
        .and_then(|region| checked_region(parameters, REGION, region));
    let endpoint = endpoint::read_host(parameters, &HOST);
    let store = read_bucket(parameters, endpoint, chunks)?;
    Some(S3Store {
        region,
        server_side_assembly,
        cross_origin_urls: false,
        timeout: if server_side_assembly {
            TIMEOUT
        } else {
            TIMEOUT_WITHOUT_ASSEMBLY
        },
        ..store
    })
}

pub(in crate::sections::storage) fn read_ibm(
    parameters: &mut Parameters<'_, '_>,
) -> Option<Driver> {
    let chunks = read_chunks(parameters, None, Some(MAXIMUM), MAXIMUM_BYTES);
    let endpoint = endpoint::read_host(parameters, &HOST);
    let store = read_bucket(parameters, endpoint, chunks)?;
    Some(Driver::IBMCloudStorage(Box::new(store)))
}

/// What the four have in common.
fn read_bucket(
    parameters: &mut Parameters<'_, '_>,
    endpoint: Option<Endpoint>,
    (minimum_chunk_bytes, maximum_chunk_bytes): (u64, u64),
) -> Option<S3Store> {
    check_signature_version(parameters);
    let bucket = parameters.container(BUCKET);
    let key_prefix = key_prefix::read(parameters, Rule::DropOne);
    let keys = read_required_keys(parameters, KEYS);
    Some(S3Store {
        endpoint: endpoint?,
        region: None,
        bucket: bucket?,
        key_prefix: key_prefix?,
        credentials: S3Credentials::Keys(keys?),
        minimum_chunk_bytes,
        maximum_chunk_bytes,
        server_side_assembly: true,
        server_side_aes256: false,
        cross_origin_urls: true,
        timeout: TIMEOUT,
    })
}
