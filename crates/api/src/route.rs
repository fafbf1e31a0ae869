//! Which endpoint a path names. Methods, rights and query parameters are not looked at.
//!
//! Names of repositories hold slashes, so paths under `/v2/` are read from the right end: the last two or three segments say what
//! is meant, all before them is the name. `end-N` are the rows of the table "Endpoints" of the distribution specification.
//!
//! | path | route |
//! |---|---|
//! | `/v2`, `/v2/` | [`Route::Base`] (end-1) |
//! | `/v2/auth` | [`Route::Token`] (Quay's token endpoint) |
//! | `/v2/_catalog` | [`Route::Catalog`] (Docker) |
//! | `/v2/<name>/tags/list` | [`Route::Tags`] (end-8) |
//! | `/v2/<name>/manifests/<tag or digest>` | [`Route::Manifest`] (end-3, end-7, end-9) |
//! | `/v2/<name>/blobs/<digest>` | [`Route::Blob`] (end-2, end-10) |
//! | `/v2/<name>/blobs/uploads`, `/v2/<name>/blobs/uploads/` | [`Route::Uploads`] (end-4, end-11) |
//! | `/v2/<name>/blobs/uploads/<id>` | [`Route::Upload`] (end-5, end-6, end-13, end-14) |
//! | `/v2/<name>/referrers/<digest>` | [`Route::Referrers`] (end-12) |
//! | `/health`, `/health/instance`, `/health/endtoend`, `/status`, `/health/warning`, `/health/ready/pull`, `/health/ready/push` | [`Route::Health`] |
//! | `/health/dbrevision` | [`Route::DatabaseRevision`] (Quay) |
//! | `/health/locations` | [`Route::Locations`] |
//! | `/api/v1/...` | [`Route::Api`], which `v1` reads on |
//! | `/_internal_ping`, `/v1/_internal_ping` | [`Route::InternalPing`] |
//! | `/v1/_ping` | [`Route::LegacyPing`] |
//! | `/_storage_proxy/...` | [`Route::StorageProxy`] (Quay) |
//! | `/_storage_proxy_auth` | [`Route::StorageProxyAuth`] (Quay) |
//!
//! What follows `/_storage_proxy/` is taken as it stands and read elsewhere, with the query: it has to be the address that was signed. Elsewhere every segment is percent-decoded once, after the path was divided; nothing is normalised. So `..`, `%2e%2e`, NUL and encoded
//! slashes reach the grammars of names and references, which know none of them, and bytes that are not UTF-8 are refused.

use roadstead_oci::{Digest, DigestError, NameError, Reference, ReferenceError, RepositoryName};
use uuid::Uuid;

use crate::percent::{EncodingFault, decode};

/// What every path of the storage proxy begins with.
pub(crate) const STORAGE_PROXY: &str = "/_storage_proxy/";

/// What every path of the API begins with.
const API: &str = "/api/v1/";

/// What a path names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route {
    /// The registry itself: does it speak this protocol, is the client logged in.
    Base,
    /// The token endpoint.
    Token,
    /// The list of repositories.
    Catalog,
    /// The list of a repository's tags.
    Tags {
        /// The repository.
        name: RepositoryName,
    },
    /// A manifest.
    Manifest {
        /// The repository.
        name: RepositoryName,
        /// The tag or digest.
        reference: Reference,
    },
    /// A blob.
    Blob {
        /// The repository.
        name: RepositoryName,
        /// The blob.
        digest: Digest,
    },
    /// Where uploads start.
    Uploads {
        /// The repository.
        name: RepositoryName,
    },
    /// An upload under way.
    Upload {
        /// The repository.
        name: RepositoryName,
        /// The upload.
        id: Uuid,
    },
    /// The manifests whose subject is this digest.
    Referrers {
        /// The repository.
        name: RepositoryName,
        /// The subject.
        digest: Digest,
    },
    /// A health check.
    Health(HealthRoute),
    /// Whether the database has the schema that this program knows.
    DatabaseRevision,
    /// How every storage location fares.
    Locations,
    /// An operation of the API, which the route does not hold: see `v1`.
    Api,
    /// Does this process answer at all.
    InternalPing,
    /// What clients of Docker's API v1 ask first.
    LegacyPing,
    /// A blob, by the store's own address in the path and query, which the route does not hold.
    StorageProxy,
    /// Whether somebody else may answer a request for a [`Route::StorageProxy`].
    StorageProxyAuth,
}

/// Which health check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HealthRoute {
    /// This process and what it cannot do without.
    Instance,
    /// The services that all regions share, and this region's storage.
    EndToEnd,
    /// What will need an operator soon.
    Warning,
    /// Whether pulls can be answered.
    ReadyToPull,
    /// Whether pushes can be taken.
    ReadyToPush,
}

/// Why a path names nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RouteError {
    /// No endpoint has such a path.
    #[error("there is nothing at this path")]
    NotFound,
    /// A part of the path is wrongly encoded.
    #[error("the {part} in the path cannot be read: {fault}")]
    Encoding {
        /// Which part.
        part: PathPart,
        /// What is wrong with it.
        fault: EncodingFault,
    },
    /// The repository name breaks the grammar.
    #[error(transparent)]
    Name(#[from] NameError),
    /// The tag or digest of a manifest breaks the grammar.
    #[error(transparent)]
    Reference(#[from] ReferenceError),
    /// The digest of a blob or subject breaks the grammar.
    #[error(transparent)]
    Digest(#[from] DigestError),
    /// The upload id is not one that this registry gives out.
    #[error(
        "the upload id is not a UUID; start an upload with POST and use the location in its answer"
    )]
    UploadId,
}

/// A part of a path that clients fill in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathPart {
    /// The repository name.
    Name,
    /// The tag or digest of a manifest.
    Reference,
    /// The digest of a blob or subject.
    Digest,
    /// The id of an upload.
    UploadId,
    /// The whole of it.
    Path,
}

impl std::fmt::Display for PathPart {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::Name => "repository name",
            Self::Reference => "tag or digest",
            Self::Digest => "digest",
            Self::UploadId => "upload id",
            Self::Path => "text",
        })
    }
}

impl Route {
    /// Reads the path of a request as it stands there: still percent-encoded, without the query.
    ///
    /// Looks at each byte of the path at most a few times and allocates no more than its parts need.
    pub fn parse(path: &str) -> Result<Self, RouteError> {
        match path.strip_prefix("/v2/") {
            Some(rest) => Self::parse_v2(rest),
            None => Self::parse_other(path),
        }
    }

    /// The repository that the path names, if any.
    pub fn repository(&self) -> Option<&RepositoryName> {
        match self {
            Self::Tags { name }
            | Self::Manifest { name, .. }
            | Self::Blob { name, .. }
            | Self::Uploads { name }
            | Self::Upload { name, .. }
            | Self::Referrers { name, .. } => Some(name),
            Self::Base
            | Self::Token
            | Self::Catalog
            | Self::Health(_)
            | Self::DatabaseRevision
            | Self::Locations
            | Self::Api
            | Self::InternalPing
            | Self::LegacyPing
            | Self::StorageProxy
            | Self::StorageProxyAuth => None,
        }
    }

    /// What the request log calls the route.
    pub const fn label(&self) -> &'static str {
        match self {
            Self::Base => "base",
            Self::Token => "token",
            Self::Catalog => "catalog",
            Self::Tags { .. } => "tags",
            Self::Manifest { .. } => "manifest",
            Self::Blob { .. } => "blob",
            Self::Uploads { .. } => "uploads",
            Self::Upload { .. } => "upload",
            Self::Referrers { .. } => "referrers",
            Self::Health(_) | Self::DatabaseRevision | Self::Locations => "health",
            Self::Api => "api",
            Self::InternalPing | Self::LegacyPing => "ping",
            Self::StorageProxy => "storage-proxy",
            Self::StorageProxyAuth => "storage-proxy-auth",
        }
    }

    /// The form of its paths.
    pub(crate) const fn template(&self) -> &'static str {
        match self {
            Self::Base => "/v2/",
            Self::Token => "/v2/auth",
            Self::Catalog => "/v2/_catalog",
            Self::Tags { .. } => "/v2/{name}/tags/list",
            Self::Manifest { .. } => "/v2/{name}/manifests/{reference}",
            Self::Blob { .. } => "/v2/{name}/blobs/{digest}",
            Self::Uploads { .. } => "/v2/{name}/blobs/uploads/",
            Self::Upload { .. } => "/v2/{name}/blobs/uploads/{id}",
            Self::Referrers { .. } => "/v2/{name}/referrers/{digest}",
            Self::Health(_) => "/health/{what}",
            Self::DatabaseRevision => "/health/dbrevision",
            Self::Locations => "/health/locations",
            Self::Api => "/api/v1/{operation}",
            Self::InternalPing => "/_internal_ping",
            Self::LegacyPing => "/v1/_ping",
            Self::StorageProxy => "/_storage_proxy/{address}",
            Self::StorageProxyAuth => "/_storage_proxy_auth",
        }
    }

    fn parse_other(path: &str) -> Result<Self, RouteError> {
        if path.starts_with(API) {
            return Ok(Self::Api);
        }
        Ok(match path {
            "/v2" => Self::Base,
            "/health" | "/health/instance" => Self::Health(HealthRoute::Instance),
            "/health/endtoend" | "/status" => Self::Health(HealthRoute::EndToEnd),
            "/health/locations" => Self::Locations,
            "/health/warning" => Self::Health(HealthRoute::Warning),
            "/health/ready/pull" => Self::Health(HealthRoute::ReadyToPull),
            "/health/ready/push" => Self::Health(HealthRoute::ReadyToPush),
            "/health/dbrevision" => Self::DatabaseRevision,
            "/_internal_ping" | "/v1/_internal_ping" => Self::InternalPing,
            "/v1/_ping" => Self::LegacyPing,
            "/_storage_proxy_auth" => Self::StorageProxyAuth,
            _ if path.starts_with(STORAGE_PROXY) => Self::StorageProxy,
            _ => return Err(RouteError::NotFound),
        })
    }

    /// Reads what follows `/v2/`.
    fn parse_v2(rest: &str) -> Result<Self, RouteError> {
        let Some((front, last)) = rest.rsplit_once('/') else {
            return match rest {
                "" => Ok(Self::Base),
                "auth" => Ok(Self::Token),
                "_catalog" => Ok(Self::Catalog),
                _ => Err(RouteError::NotFound),
            };
        };
        let (before, keyword) = front.rsplit_once('/').ok_or(RouteError::NotFound)?;
        match (keyword, last) {
            ("tags", "list") => Ok(Self::Tags {
                name: name(before)?,
            }),
            ("blobs", "uploads") => Ok(Self::Uploads {
                name: name(before)?,
            }),
            ("uploads", "") => Ok(Self::Uploads {
                name: name(before.strip_suffix("/blobs").ok_or(RouteError::NotFound)?)?,
            }),
            (_, "") => Err(RouteError::NotFound),
            ("manifests", reference) => Ok(Self::Manifest {
                name: name(before)?,
                reference: part(PathPart::Reference, reference)?.parse()?,
            }),
            ("blobs", digest) => Ok(Self::Blob {
                name: name(before)?,
                digest: part(PathPart::Digest, digest)?.parse()?,
            }),
            ("referrers", digest) => Ok(Self::Referrers {
                name: name(before)?,
                digest: part(PathPart::Digest, digest)?.parse()?,
            }),
            ("uploads", id) => Ok(Self::Upload {
                name: name(before.strip_suffix("/blobs").ok_or(RouteError::NotFound)?)?,
                id: upload_id(&part(PathPart::UploadId, id)?)?,
            }),
            _ => Err(RouteError::NotFound),
        }
    }
}

/// Reads a repository name, which may be of several segments.
fn name(text: &str) -> Result<RepositoryName, RouteError> {
    let fault = |fault| RouteError::Encoding {
        part: PathPart::Name,
        fault,
    };
    let decoded = decode(text).map_err(fault)?;
    // An encoded slash would be one more slash than the path has.
    if slashes(&decoded) != slashes(text) {
        return Err(fault(EncodingFault::Slash));
    }
    Ok(decoded.parse()?)
}

fn slashes(text: &str) -> usize {
    text.bytes().filter(|byte| *byte == b'/').count()
}

fn part(part: PathPart, text: &str) -> Result<std::borrow::Cow<'_, str>, RouteError> {
    decode(text).map_err(|fault| RouteError::Encoding { part, fault })
}

/// Reads an upload id in the one form that this registry writes: lower case, with dashes.
fn upload_id(text: &str) -> Result<Uuid, RouteError> {
    match Uuid::try_parse(text) {
        Ok(id) if text.len() == 36 && id.hyphenated().to_string() == text => Ok(id),
        Ok(_) | Err(_) => Err(RouteError::UploadId),
    }
}

#[cfg(test)]
mod tests;
