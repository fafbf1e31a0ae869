//! Amazon's S3: `S3Storage`, which the drivers of CDNs stand on, and `STSS3Storage`.

use super::{
    ChunkName, GIB, KeyNames, MINIMUM, PART_BYTES_MAX, S3Credentials, S3Store, TIMEOUT,
    check_signature_version, checked_region, read_chunks, read_keys,
};
use crate::reader::Remark;
use crate::sections::storage::driver::Driver;
use crate::sections::storage::endpoint::{self, Endpoint, HostAndPort};
use crate::sections::storage::key_prefix::{self, Rule};
use crate::sections::storage::parameters::Parameters;

/// Of `S3Storage`.
pub(in crate::sections::storage) const PARAMETERS: [&str; 12] = [
    "aws_session_token",
    ENDPOINT_URL,
    HOST,
    MAXIMUM.name,
    MINIMUM.name,
    PORT,
    KEYS.access,
    "s3_bucket",
    REGION,
    KEYS.secret,
    "signature_version",
    "storage_path",
];

/// Of `STSS3Storage`.
pub(in crate::sections::storage) const OF_STS: [&str; 9] = [
    ENDPOINT_URL,
    MAXIMUM.name,
    "s3_bucket",
    REGION,
    "signature_version",
    "storage_path",
    ROLE,
    STS_KEYS.access,
    STS_KEYS.secret,
];

const ENDPOINT_URL: &str = "endpoint_url";
const HOST: &str = "host";
const PORT: &str = "port";
const REGION: &str = "s3_region";
const ROLE: &str = "sts_role_arn";

const MAXIMUM: ChunkName = ChunkName {
    name: "maximum_chunk_size_gb",
    unit: "GiB",
    unit_bytes: GIB,
};

const KEYS: KeyNames = KeyNames {
    access: "s3_access_key",
    secret: "s3_secret_key",
};

const STS_KEYS: KeyNames = KeyNames {
    access: "sts_user_access_key",
    secret: "sts_user_secret_key",
};

/// Whether a region has to be named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::sections::storage) enum Region {
    /// It has to be.
    Required,
    /// It may be.
    Optional,
}

pub(in crate::sections::storage) fn read(parameters: &mut Parameters<'_, '_>) -> Option<Driver> {
    let store = read_store(parameters, Region::Optional)?;
    Some(Driver::S3Storage(Box::new(store)))
}

/// The bucket of `S3Storage` and of the CDNs.
pub(in crate::sections::storage) fn read_store(
    parameters: &mut Parameters<'_, '_>,
    region: Region,
) -> Option<S3Store> {
    const TOKEN: &str = "aws_session_token";
    let session_token = parameters.secret(TOKEN);
    let credentials = if let Some(mut keys) = read_keys(parameters, KEYS) {
        keys.session_token = session_token;
        S3Credentials::Keys(keys)
    } else {
        if session_token.is_some() && parameters.given(KEYS.access).is_none() {
            let remark = Remark::new(
                "it belongs to keys, and there are none",
                "a token with s3_access_key and s3_secret_key",
                "add the keys, or take it out",
            );
            parameters.refuse(TOKEN, remark);
        }
        S3Credentials::DefaultChain
    };
    read_bucket(parameters, region, credentials)
}

pub(in crate::sections::storage) fn read_sts(
    parameters: &mut Parameters<'_, '_>,
) -> Option<Driver> {
    let role = parameters.text(ROLE);
    let by = read_keys(parameters, STS_KEYS);
    let credentials = if let Some(arn) = role {
        if !arn.starts_with("arn:") {
            let allowed = "a role's name, such as arn:aws:iam::123456789012:role/registry";
            parameters.refuse(ROLE, Remark::new("not an ARN", allowed, "correct it"));
        }
        S3Credentials::AssumedRole { arn, by }
    } else {
        if by.is_some() {
            let remark = Remark::new(
                "without effect: there is no role to assume, and the credentials around the process count",
                "",
                "name the role in sts_role_arn, or use S3Storage",
            );
            parameters.warn(STS_KEYS.access, remark);
        }
        S3Credentials::DefaultChain
    };
    let store = read_bucket(parameters, Region::Optional, credentials)?;
    Some(Driver::STSS3Storage(Box::new(store)))
}

fn read_bucket(
    parameters: &mut Parameters<'_, '_>,
    region: Region,
    credentials: S3Credentials,
) -> Option<S3Store> {
    check_signature_version(parameters);
    let written = match region {
        Region::Required => parameters.required_text(REGION, "a region, such as us-east-1"),
        Region::Optional => parameters.text(REGION),
    };
    let is_wanted = written.is_some() || region == Region::Required;
    let region = written.and_then(|region| checked_region(parameters, REGION, region));
    let endpoint = read_endpoint(parameters, region.as_deref());
    let bucket = parameters.container("s3_bucket");
    let key_prefix = key_prefix::read(parameters, Rule::DropOne);
    let (minimum_chunk_bytes, maximum_chunk_bytes) =
        read_chunks(parameters, Some(MINIMUM), Some(MAXIMUM), PART_BYTES_MAX);
    if is_wanted && region.is_none() {
        return None;
    }
    Some(S3Store {
        endpoint: endpoint?,
        region,
        bucket: bucket?,
        key_prefix: key_prefix?,
        credentials,
        minimum_chunk_bytes,
        maximum_chunk_bytes,
        server_side_assembly: true,
        server_side_aes256: true,
        cross_origin_urls: true,
        timeout: TIMEOUT,
    })
}

/// As in Quay, a region leads to Amazon whatever else there is.
fn read_endpoint(parameters: &mut Parameters<'_, '_>, region: Option<&str>) -> Option<Endpoint> {
    let of_host = [HOST, PORT];
    if let Some(region) = region {
        let host = match region {
            "cn-north-1" | "cn-northwest-1" => format!("s3.{region}.amazonaws.com.cn"),
            _ => format!("s3.{region}.amazonaws.com"),
        };
        let endpoint = Endpoint::https(host);
        let why = format!("s3_region leads to {endpoint}");
        warn_of_ignored(parameters, &[ENDPOINT_URL, HOST, PORT], &why);
        return Some(endpoint);
    }
    if parameters.given(ENDPOINT_URL).is_some() {
        warn_of_ignored(parameters, &of_host, "endpoint_url counts");
        return endpoint::read_url(parameters, ENDPOINT_URL);
    }
    if parameters.given(HOST).is_some() {
        let names = HostAndPort {
            host: HOST,
            port: PORT,
            is_secure: None,
        };
        return endpoint::read_host(parameters, &names);
    }
    warn_of_ignored(
        parameters,
        &[PORT],
        "it belongs to host, which is not given",
    );
    Some(Endpoint::https("s3.amazonaws.com"))
}

fn warn_of_ignored(parameters: &mut Parameters<'_, '_>, names: &[&str], why: &str) {
    for name in names
        .iter()
        .filter(|name| parameters.given(name).is_some())
        .copied()
        .collect::<Vec<_>>()
    {
        let remark = Remark::new(
            format!("without effect: {why}"),
            "",
            "take out what is not meant",
        );
        parameters.warn(name, remark);
    }
}
