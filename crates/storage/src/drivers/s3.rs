//! Stores that speak S3: Amazon's own, and those of Ceph, `OpenShift`, IBM, Google (in its interoperability mode) and others.

mod answers;
mod bucket;
mod signer;

use std::sync::Arc;

use opendal::Operator;
use opendal::layers::CapabilityOverrideLayer;
use opendal::services::S3;
use roadstead_placement::LocationName;
use roadstead_runtime::Environment;
use roadstead_secrets::Secret;

pub(crate) use self::bucket::{Bucket, Checksum, OpenUpload};
use super::{Assembly, UrlSigner};
use crate::error::{Failure, Operation, StorageError};
use crate::http::HttpClient;
use crate::location::{Capabilities, Location, PublicationCost};
use crate::objects::ObjectStore;
use crate::options::StoreOptions;

/// The region that requests are signed for where none is configured. Stores other than Amazon's take any.
const REGION_DEFAULT: &str = "us-east-1";

/// The session of a role that is taken on, as it shows in the store's logs. Quay's.
const ROLE_SESSION: &str = "quay";

/// What the operator sends along with a written object, so that the store compares it with what has arrived: the header `Content-MD5`, which
/// all that speak S3 know (<https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutObject.html>).
const CHECKSUM: &str = "md5";

/// A bucket and how it is reached.
#[derive(Clone, Debug)]
pub struct S3Options {
    /// Scheme, host and port, without a path: `https://s3.eu-west-1.amazonaws.com`.
    pub endpoint: String,
    /// The region that requests are signed for.
    pub region: Option<String>,
    /// The bucket. It is never made.
    pub bucket: String,
    /// Quay's `storage_path`: what all keys begin with. One leading `/` does not count.
    pub storage_path: String,
    /// Who we are.
    pub credentials: S3Credentials,
    /// Whether objects are encrypted by the store with keys of its own (`x-amz-server-side-encryption: AES256`).
    pub server_side_encryption: bool,
    /// Whether pages of another origin may be given a signed URL, which needs CORS at the store: all but `RadosGWStorage` and `RHOCSStorage`.
    pub cross_origin_urls: bool,
    /// Whether the store copies parts into objects (`UploadPartCopy`). Google's interoperability mode does not.
    pub server_side_assembly: bool,
}

/// Who a bucket's user is.
#[derive(Clone, Debug)]
pub enum S3Credentials {
    /// A pair of keys.
    Keys {
        /// The public half.
        access_key: Secret,
        /// The secret half.
        secret_key: Secret,
        /// With temporary keys, what proves them.
        session_token: Option<Secret>,
    },
    /// What the machine says: environment variables, a profile, a web identity, the instance's role. Asked again before it expires.
    Machine,
    /// A role that is taken on with other credentials, and again before it expires.
    Role {
        /// The role.
        role_arn: String,
        /// With which keys; with those of the machine if there are none.
        keys: Option<(Secret, Secret)>,
    },
}

impl S3Credentials {
    /// Whether both are the same user's.
    fn are(&self, other: &Self) -> bool {
        let are_keys = |(access, secret): (&Secret, &Secret), other: (&Secret, &Secret)| {
            access.matches(other.0) && secret.matches(other.1)
        };
        match (self, other) {
            (
                Self::Keys {
                    access_key,
                    secret_key,
                    session_token,
                },
                Self::Keys {
                    access_key: other_access,
                    secret_key: other_secret,
                    session_token: other_token,
                },
            ) => {
                let tokens = match (session_token, other_token) {
                    (None, None) => true,
                    (Some(one), Some(other)) => one.matches(other),
                    _ => false,
                };
                tokens && are_keys((access_key, secret_key), (other_access, other_secret))
            }
            (Self::Machine, Self::Machine) => true,
            (
                Self::Role { role_arn, keys },
                Self::Role {
                    role_arn: other_arn,
                    keys: other_keys,
                },
            ) => {
                let keys = match (keys, other_keys) {
                    (None, None) => true,
                    (Some(one), Some(other)) => are_keys((&one.0, &one.1), (&other.0, &other.1)),
                    _ => false,
                };
                keys && role_arn == other_arn
            }
            _ => false,
        }
    }
}

impl Location {
    /// A location in a bucket. Nothing is asked of the store yet, so that a process starts although it is down.
    ///
    /// # Errors
    /// [`StorageErrorKind::Misconfigured`](crate::StorageErrorKind::Misconfigured) when no client can be made of this.
    pub fn s3(
        name: LocationName,
        s3: &S3Options,
        options: StoreOptions,
        http: &HttpClient,
        environment: Environment,
    ) -> Result<Self, StorageError> {
        let urls = UrlSigner::Store {
            cross_origin: s3.cross_origin_urls,
        };
        Self::in_bucket(name, s3, http, urls, options, environment)
    }

    pub(super) fn in_bucket(
        name: LocationName,
        s3: &S3Options,
        http: &HttpClient,
        urls: UrlSigner,
        options: StoreOptions,
        environment: Environment,
    ) -> Result<Self, StorageError> {
        let unusable =
            |error| StorageError::new(Operation::Open, &name, &s3.bucket, Failure::from(error));
        let place = bucket_place(s3);
        let mut operator = operator(s3, place, http).map_err(unusable)?;
        let checking =
            built(builder(s3, place).checksum_algorithm(CHECKSUM), http).map_err(unusable)?;
        let (assembly, publication) = if s3.server_side_assembly {
            (Assembly::CopyParts, PublicationCost::StoreCopies)
        } else {
            operator = operator.layer(CapabilityOverrideLayer::new(|mut capability| {
                capability.write_can_copy_from = false;
                capability
            }));
            (Assembly::Stream, PublicationCost::Streamed)
        };
        let capabilities = Capabilities {
            signed_urls: true,
            checked_writes: true,
            publication,
        };
        let store = ObjectStore::new(name.clone(), operator, assembly, options, environment)
            .with_checked_writes(checking)
            .with_bucket(Arc::new(Bucket::new(s3, place, http)))
            .with_urls(urls);
        Ok(Self::in_objects(name, capabilities, store))
    }
}

/// Where a bucket is named in a URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BucketPlace {
    /// In front of the host.
    Host,
    /// In front of the path.
    Path,
}

pub(super) fn operator(
    s3: &S3Options,
    place: BucketPlace,
    http: &HttpClient,
) -> Result<Operator, opendal::Error> {
    built(builder(s3, place), http)
}

fn built(builder: S3, http: &HttpClient) -> Result<Operator, opendal::Error> {
    Ok(Operator::new(builder)?.with_context(http.context()))
}

fn builder(s3: &S3Options, place: BucketPlace) -> S3 {
    let mut builder = S3::default()
        .endpoint(&s3.endpoint)
        .region(region(s3))
        .bucket(&s3.bucket)
        .root(&s3.storage_path);
    if place == BucketPlace::Host {
        builder = builder.enable_virtual_host_style();
    }
    if s3.server_side_encryption {
        builder = builder.server_side_encryption_with_s3_key();
    }
    builder = match &s3.credentials {
        S3Credentials::Keys {
            access_key,
            secret_key,
            session_token,
        } => {
            // The machine's own credentials must not stand in for the configured ones.
            let builder = builder
                .access_key_id(access_key.expose())
                .secret_access_key(secret_key.expose())
                .disable_config_load()
                .disable_ec2_metadata();
            match session_token {
                Some(token) => builder.session_token(token.expose()),
                None => builder,
            }
        }
        S3Credentials::Machine => builder,
        S3Credentials::Role { role_arn, keys } => {
            let builder = builder.role_arn(role_arn).role_session_name(ROLE_SESSION);
            match keys {
                Some((access_key, secret_key)) => builder
                    .access_key_id(access_key.expose())
                    .secret_access_key(secret_key.expose()),
                None => builder,
            }
        }
    };
    builder
}

/// What requests are signed for.
pub(super) fn region(s3: &S3Options) -> &str {
    s3.region.as_deref().unwrap_or(REGION_DEFAULT)
}

/// Where the store wants it: Amazon in the host, everybody else takes it in the path. A bucket with a dot fits no certificate.
pub(super) fn bucket_place(s3: &S3Options) -> BucketPlace {
    let host = s3
        .endpoint
        .split_once("://")
        .map_or(s3.endpoint.as_str(), |(_, rest)| rest);
    let amazon = host.ends_with(".amazonaws.com") || host.ends_with(".amazonaws.com.cn");
    let letters =
        |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '-';
    if amazon && s3.bucket.chars().all(letters) {
        BucketPlace::Host
    } else {
        BucketPlace::Path
    }
}
