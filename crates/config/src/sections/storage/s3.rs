//! What the drivers of buckets with an S3 interface have in common.
//!
//! Which of Quay's drivers fills it in how is in [`amazon`] and [`compatible`].

pub(super) mod amazon;
pub(super) mod compatible;

use std::time::Duration;

use super::endpoint::Endpoint;
use super::parameters::Parameters;
use crate::reader::{Remark, did_you_mean};
use crate::secret::Secret;

/// A bucket with an S3 interface, with what a client of it needs.
///
/// Requests are signed with Signature Version 4, whatever `signature_version` says. What differs otherwise from driver to driver is resolved
/// to these fields; parameters are named as `S3Storage` does / as the others do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct S3Store {
    /// Where it answers. With `s3_region` it is `https://s3.REGION.amazonaws.com` (in China `.com.cn`); else `endpoint_url`, or `host` and
    /// `port` with `https`; else `https://s3.amazonaws.com`. Of others `is_secure`, `hostname` and `port`; of Google
    /// `https://storage.googleapis.com`. The bucket is part of the path, not of the host.
    pub endpoint: Endpoint,
    /// `s3_region` / `region_name`: what requests are signed for. `None`: Amazon tells the bucket's, others take `us-east-1`.
    pub region: Option<String>,
    /// `s3_bucket` / `bucket_name`: its name.
    pub bucket: String,
    /// `storage_path`, as it stands right before every key (`sha256/...`): without a slash in front, with one behind unless it is empty.
    pub key_prefix: String,
    /// Who asks.
    pub credentials: S3Credentials,
    /// `minimum_chunk_size_mb`, in bytes (default: 5 MiB): the least size of a part that is not the last, 5 MiB to 5 GiB.
    pub minimum_chunk_bytes: u64,
    /// `maximum_chunk_size_gb` (default: 5 GiB) / `maximum_chunk_size_mb` (default: 100 MiB, and no less than the minimum), in bytes: the largest
    /// piece that the store is asked to copy at once, up to 5 GiB.
    pub maximum_chunk_bytes: u64,
    /// Whether the store can put an object together from pieces of others. `server_side_assembly` of `RadosGWStorage` and `RHOCSStorage`
    /// (default: true); false for Google, true for all others.
    pub server_side_assembly: bool,
    /// Whether objects are written with `x-amz-server-side-encryption: AES256`: all but those of Google, RadosGW, RHOCS and IBM.
    pub server_side_aes256: bool,
    /// Whether pages of another origin may be given a signed URL, which needs CORS at the store: all but RadosGW and RHOCS. Every other client
    /// may be redirected to a signed URL with each of the drivers.
    pub cross_origin_urls: bool,
    /// For how long a connection may take, and then each answer to begin or go on: `boto_timeout` of Google in seconds, 10 min for RadosGW and
    /// RHOCS without `server_side_assembly`, else 60 s.
    pub timeout: Duration,
}

/// Who asks for objects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum S3Credentials {
    /// The default chain of Amazon's tools: environment, profile, web identity, container, instance.
    DefaultChain,
    /// These keys.
    Keys(S3Keys),
    /// `sts_role_arn`: keys for a while, of this role, assumed under the session name `quay`.
    AssumedRole {
        /// The role.
        arn: String,
        /// `sts_user_access_key` and `sts_user_secret_key`: who assumes it; `None`: whom the default chain names.
        by: Option<S3Keys>,
    },
}

/// A pair of keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct S3Keys {
    /// `s3_access_key` / `access_key`.
    pub access_key: Secret<String>,
    /// `s3_secret_key` / `secret_key`.
    pub secret_key: Secret<String>,
    /// `aws_session_token`: makes keys valid that hold for a while only.
    pub session_token: Option<Secret<String>>,
}

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// The least and the largest part of S3: <https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html>.
const PART_BYTES_MIN: u64 = 5 * MIB;
const PART_BYTES_MAX: u64 = 5 * GIB;

/// The time limit where nothing else is said: that of Quay's library.
const TIMEOUT: Duration = Duration::from_mins(1);

/// The names of two parameters that make a pair of keys, or one of them nothing.
#[derive(Clone, Copy)]
struct KeyNames {
    access: &'static str,
    secret: &'static str,
}

/// Two keys, or none; half of them is refused. `None`: nothing was given, or it was refused.
fn read_keys(parameters: &mut Parameters<'_, '_>, names: KeyNames) -> Option<S3Keys> {
    let access_key = parameters.secret(names.access);
    let secret_key = parameters.secret(names.secret);
    for (there, name, other) in [
        (parameters.given(names.access), names.secret, names.access),
        (parameters.given(names.secret), names.access, names.secret),
    ] {
        if there.is_some() && parameters.given(name).is_none() {
            let problem = format!("it is missing, and {other} is given");
            let action =
                format!("add it, or take {other} out to use the credentials around the process");
            let remark = Remark::new(problem, "both keys, or neither", action);
            parameters.refuse_absent(name, remark);
        }
    }
    Some(S3Keys {
        access_key: access_key?,
        secret_key: secret_key?,
        session_token: None,
    })
}

/// Two keys that have to be there.
fn read_required_keys(parameters: &mut Parameters<'_, '_>, names: KeyNames) -> Option<S3Keys> {
    let access_key = parameters.required_secret(names.access, "an access key");
    let secret_key = parameters.required_secret(names.secret, "a secret key");
    Some(S3Keys {
        access_key: access_key?,
        secret_key: secret_key?,
        session_token: None,
    })
}

/// A parameter that holds a size of parts, and its unit.
#[derive(Clone, Copy)]
struct ChunkName {
    name: &'static str,
    unit: &'static str,
    unit_bytes: u64,
}

const MINIMUM: ChunkName = ChunkName {
    name: "minimum_chunk_size_mb",
    unit: "MiB",
    unit_bytes: MIB,
};

/// The least size of a part, and the largest; `default` is that of the latter.
fn read_chunks(
    parameters: &mut Parameters<'_, '_>,
    minimum: Option<ChunkName>,
    maximum: Option<ChunkName>,
    default: u64,
) -> (u64, u64) {
    let least = minimum.and_then(|chunk| read_chunk(parameters, chunk));
    let largest = maximum.and_then(|chunk| read_chunk(parameters, chunk));
    if let (Some(minimum), Some(maximum), Some(least), Some(largest)) =
        (minimum, maximum, least, largest)
        && least > largest
    {
        let problem = format!("it is more than {}", maximum.name);
        let allowed = format!(
            "up to {} {}, which {} says",
            largest / minimum.unit_bytes,
            minimum.unit,
            maximum.name
        );
        let remark = Remark::new(problem, allowed, "change one of the two");
        parameters.refuse(minimum.name, remark);
    }
    let least = least.unwrap_or(PART_BYTES_MIN);
    // Whoever raises only the minimum, as large layers ask for, means no contradiction to a default.
    (least, largest.unwrap_or_else(|| default.max(least)))
}

fn read_chunk(parameters: &mut Parameters<'_, '_>, chunk: ChunkName) -> Option<u64> {
    /// Far above what S3 takes in either unit: what is more is a mistake in the unit.
    const NUMBER_MAX: u64 = 1_000_000;
    let bytes = parameters.number(chunk.name, 1..=NUMBER_MAX)? * chunk.unit_bytes;
    let used = bytes.clamp(PART_BYTES_MIN, PART_BYTES_MAX);
    if used != bytes {
        let which = if used > bytes { "least" } else { "largest" };
        let problem = format!(
            "S3 has no such parts: {} MiB, the {which} of them, counts",
            used / MIB
        );
        parameters.warn(chunk.name, Remark::new(problem, "", "change it"));
    }
    Some(used)
}

/// `signature_version`: only 4 is there, in whatever spelling, and 2 is worth a warning. Nothing else is known to Quay's library.
fn check_signature_version(parameters: &mut Parameters<'_, '_>) {
    const NAME: &str = "signature_version";
    const FOUR: [&str; 4] = ["s3v4", "v4", "s3v4-query", "v4-query"];
    const TWO: [&str; 5] = ["s3", "s3v2", "v2", "s3-query", "v2-query"];
    let Some(text) = parameters.text(NAME) else {
        return;
    };
    if TWO.contains(&text.as_str()) {
        let remark = Remark::new(
            "Signature Version 2 is not available: requests are signed with version 4",
            "",
            "make sure that the store takes it, and write s3v4",
        );
        parameters.warn(NAME, remark);
    } else if !FOUR.contains(&text.as_str()) {
        let hint = did_you_mean(&text, ["s3v4"]);
        parameters.refuse(NAME, Remark::new("unknown signature version", "s3v4", hint));
    }
}

/// What requests are signed for; it becomes part of a host name.
fn checked_region(
    parameters: &mut Parameters<'_, '_>,
    name: &str,
    region: String,
) -> Option<String> {
    let is_plain = region
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_');
    if is_plain && region.len() <= 63 {
        return Some(region);
    }
    let remark = Remark::new(
        "not a region",
        "letters, digits, - and _, such as us-east-1",
        "correct it",
    );
    parameters.refuse(name, remark);
    None
}
