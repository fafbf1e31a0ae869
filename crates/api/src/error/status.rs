//! Which status and which code of the distribution specification each error has.

use http::StatusCode;
use roadstead_auth::{
    GrantError, IssueError, KeyError, LoginError, ScopeError, TokenError, TokenRefusal,
};
use roadstead_distribution::{
    BodyError, DeleteError, LabelError, ManifestPushError, PushError, Refusal, TagChangeError,
};
use roadstead_management::ManagementError;
use roadstead_metadata::MetadataError;
use roadstead_oci::{ErrorCode, ManifestError};
use roadstead_replication::{ControlError, DemandError, ImageNameError, ImageStatusError};
use roadstead_storage::StorageErrorKind;
use roadstead_webhooks::AddError;

use super::ApiError;
use crate::query::QueryError;
use crate::request_body::CollectError;
use crate::route::{PathPart, RouteError};
use crate::storage_proxy::ProxyError;

impl ApiError {
    /// The status and the code: the table of this API.
    #[expect(clippy::match_same_arms, reason = "a table has a line for each case")]
    pub(super) fn status_and_code(&self) -> (StatusCode, ErrorCode) {
        use StatusCode as S;
        match self {
            Self::Route(error) => route(error),
            Self::Method { .. } => (S::METHOD_NOT_ALLOWED, ErrorCode::Unsupported),
            Self::Query(QueryError::TooMany) => (S::URI_TOO_LONG, ErrorCode::Unsupported),
            Self::Query(QueryError::Encoding { name, .. }) => {
                (S::BAD_REQUEST, code_of_parameter(name))
            }
            Self::Page(_) => usual(ErrorCode::PaginationNumberInvalid),
            Self::Digest(_) | Self::DigestMissing => usual(ErrorCode::DigestInvalid),
            Self::Name(_) => usual(ErrorCode::NameInvalid),
            Self::Tag(_) => usual(ErrorCode::TagInvalid),
            Self::MediaType(error) => usual(error.code()),
            Self::ContentRange(_) => usual(ErrorCode::BlobUploadInvalid),
            Self::Collect(CollectError::TooLarge { .. })
            | Self::Manifest(ManifestError::TooLarge { .. }) => {
                (S::PAYLOAD_TOO_LARGE, ErrorCode::SizeInvalid)
            }
            Self::Collect(CollectError::Length { .. }) => usual(ErrorCode::SizeInvalid),
            Self::Collect(CollectError::Broken(BodyError::TimedOut)) => {
                (S::REQUEST_TIMEOUT, ErrorCode::SizeInvalid)
            }
            Self::Collect(CollectError::Broken(BodyError::Interrupted { .. })) => {
                usual(ErrorCode::SizeInvalid)
            }
            Self::RangeNotSatisfiable { .. } => usual(ErrorCode::RangeInvalid),
            Self::PreconditionFailed => (S::PRECONDITION_FAILED, ErrorCode::Unsupported),
            Self::TokenForm { .. } => (S::BAD_REQUEST, ErrorCode::Unsupported),
            Self::Unauthorized { .. } => usual(ErrorCode::Unauthorized),
            Self::Denied { .. } => usual(ErrorCode::Denied),
            Self::NameUnknown { .. } => usual(ErrorCode::NameUnknown),
            Self::Token(TokenError::Busy | TokenError::Backend { .. }) => {
                usual(ErrorCode::Unavailable)
            }
            Self::Token(_) => usual(ErrorCode::Unauthorized),
            Self::TokenRefusal(refusal) => token_refusal(refusal),
            Self::Push(error) | Self::Upload { source: error, .. } => push(error),
            Self::Manifest(error) => usual(error.code()),
            Self::ManifestPush(ManifestPushError::Refused(refusal)) => refused(refusal),
            Self::ManifestPush(error @ ManifestPushError::TooManyTags { .. }) => {
                (S::URI_TOO_LONG, error.code())
            }
            Self::ManifestPush(error) => usual(error.code()),
            Self::Pull(error) => usual(error.code()),
            Self::Delete(DeleteError::Refused(refusal)) => refused(refusal),
            Self::Delete(error @ DeleteError::BlobInUse { .. }) => (S::CONFLICT, error.code()),
            Self::Delete(error) => usual(error.code()),
            Self::TagChange(TagChangeError::Refused(refusal)) => refused(refusal),
            Self::TagChange(error) => usual(error.code()),
            Self::Label(LabelError::Refused(refusal)) => refused(refusal),
            Self::Label(error) => usual(error.code()),
            Self::Demand(error) => demand(error),
            Self::Proxy(ProxyError::Range { .. }) => usual(ErrorCode::RangeInvalid),
            Self::Proxy(error) if error.is_temporary() => usual(ErrorCode::Unavailable),
            Self::Proxy(_) => (S::BAD_GATEWAY, ErrorCode::Unavailable),
            Self::SignIn | Self::UnusableCredentials => usual(ErrorCode::Unauthorized),
            Self::Forbidden | Self::ForeignSite => usual(ErrorCode::Denied),
            Self::Refused(refusal) => refused(refusal),
            Self::Login(error) => login(error),
            Self::Management(error) => management(error),
            Self::Image(ImageNameError::Reference(error)) => usual(error.code()),
            Self::Image(_) => usual(ErrorCode::NameInvalid),
            Self::ImageStatus(ImageStatusError::Unknown { .. }) => {
                usual(ErrorCode::ManifestUnknown)
            }
            Self::Control(ControlError::Unknown(_)) => usual(ErrorCode::NameUnknown),
            Self::Control(ControlError::NoLink { .. }) | Self::Malformed { .. } => {
                (S::BAD_REQUEST, ErrorCode::Unsupported)
            }
            Self::Control(ControlError::Metadata(MetadataError::Conflict { .. }))
            | Self::Webhook(AddError::Metadata(MetadataError::Conflict { .. })) => {
                (S::CONFLICT, ErrorCode::Denied)
            }
            Self::NoWebhook { .. } => (S::NOT_FOUND, ErrorCode::Unsupported),
            Self::Webhook(AddError::UnknownNamespace { .. }) => usual(ErrorCode::NameUnknown),
            Self::Metadata(error)
            | Self::Control(ControlError::Metadata(error))
            | Self::Webhook(AddError::Metadata(error))
            | Self::ImageStatus(ImageStatusError::Metadata(error))
                if error.is_temporary() =>
            {
                usual(ErrorCode::Unavailable)
            }
            Self::Control(_) | Self::ImageStatus(_) | Self::Webhook(AddError::Metadata(_)) => {
                usual(ErrorCode::InternalError)
            }
            Self::Webhook(_) => (S::BAD_REQUEST, ErrorCode::Unsupported),
            Self::Metadata(_) => usual(ErrorCode::InternalError),
            Self::RateLimited { .. } => usual(ErrorCode::TooManyRequests),
            Self::Crowded | Self::CutOff => usual(ErrorCode::Unavailable),
        }
    }
}

/// The status that a code usually goes with.
const fn usual(code: ErrorCode) -> (StatusCode, ErrorCode) {
    let status = match code {
        ErrorCode::BlobUploadInvalid
        | ErrorCode::DigestInvalid
        | ErrorCode::ManifestInvalid
        | ErrorCode::NameInvalid
        | ErrorCode::SizeInvalid
        | ErrorCode::TagInvalid
        | ErrorCode::PaginationNumberInvalid => StatusCode::BAD_REQUEST,
        ErrorCode::Unauthorized => StatusCode::UNAUTHORIZED,
        ErrorCode::Denied => StatusCode::FORBIDDEN,
        ErrorCode::BlobUnknown
        | ErrorCode::BlobUploadUnknown
        // end-7 of the specification's table "Endpoints" knows 404 for it and not 400.
        | ErrorCode::ManifestBlobUnknown
        | ErrorCode::ManifestUnknown
        | ErrorCode::NameUnknown
        | ErrorCode::TagExpired => StatusCode::NOT_FOUND,
        ErrorCode::Unsupported => StatusCode::METHOD_NOT_ALLOWED,
        ErrorCode::TagImmutable => StatusCode::CONFLICT,
        ErrorCode::RangeInvalid => StatusCode::RANGE_NOT_SATISFIABLE,
        ErrorCode::TooManyRequests => StatusCode::TOO_MANY_REQUESTS,
        ErrorCode::InternalError => StatusCode::INTERNAL_SERVER_ERROR,
        ErrorCode::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
    };
    (status, code)
}

fn route(error: &RouteError) -> (StatusCode, ErrorCode) {
    match error {
        RouteError::NotFound => (StatusCode::NOT_FOUND, ErrorCode::Unsupported),
        RouteError::UploadId => usual(ErrorCode::BlobUploadUnknown),
        RouteError::Name(error) => usual(error.code()),
        RouteError::Reference(error) => usual(error.code()),
        RouteError::Digest(error) => usual(error.code()),
        RouteError::Encoding { part, .. } => match part {
            PathPart::Name | PathPart::Path => usual(ErrorCode::NameInvalid),
            PathPart::Reference => usual(ErrorCode::TagInvalid),
            PathPart::Digest => usual(ErrorCode::DigestInvalid),
            PathPart::UploadId => usual(ErrorCode::BlobUploadUnknown),
        },
    }
}

/// Quay answers names that are taken with 400, like everything else that is wrong with what was sent.
fn management(error: &ManagementError) -> (StatusCode, ErrorCode) {
    match error {
        ManagementError::Unknown { .. } => (StatusCode::NOT_FOUND, ErrorCode::NameUnknown),
        ManagementError::Taken { .. }
        | ManagementError::Invalid { .. }
        | ManagementError::Refused { .. }
        | ManagementError::NotConfigured { .. } => {
            (StatusCode::BAD_REQUEST, ErrorCode::Unsupported)
        }
        ManagementError::Busy => usual(ErrorCode::Unavailable),
        ManagementError::Metadata(error) if error.is_temporary() => usual(ErrorCode::Unavailable),
        ManagementError::Metadata(_) => usual(ErrorCode::InternalError),
    }
}

/// What is to be where: what cannot be is the caller's mistake.
fn demand(error: &DemandError) -> (StatusCode, ErrorCode) {
    match error {
        DemandError::UnknownNamespace { .. }
        | DemandError::UnknownRepository { .. }
        | DemandError::NoRule { .. } => (StatusCode::NOT_FOUND, ErrorCode::NameUnknown),
        DemandError::UnknownLocations { .. }
        | DemandError::Tags(_)
        | DemandError::Rule(_)
        | DemandError::MinLocations { .. }
        | DemandError::NoWait
        | DemandError::NotReplicated => (StatusCode::BAD_REQUEST, ErrorCode::Unsupported),
        DemandError::Metadata(MetadataError::Conflict { .. }) => {
            (StatusCode::CONFLICT, ErrorCode::Denied)
        }
        DemandError::Metadata(error) if error.is_temporary() => usual(ErrorCode::Unavailable),
        DemandError::Metadata(_) => usual(ErrorCode::InternalError),
    }
}

fn login(error: &LoginError) -> (StatusCode, ErrorCode) {
    match error {
        LoginError::Locked { .. } => usual(ErrorCode::TooManyRequests),
        LoginError::Busy { .. } => usual(ErrorCode::Unavailable),
        LoginError::Backend { source } if source.is_temporary() => usual(ErrorCode::Unavailable),
        LoginError::Backend { .. } => usual(ErrorCode::InternalError),
        _ => usual(ErrorCode::Unauthorized),
    }
}

/// The code for a query parameter that cannot be read at all.
fn code_of_parameter(name: &str) -> ErrorCode {
    match name {
        "digest" | "mount" | "digest-algorithm" => ErrorCode::DigestInvalid,
        "from" => ErrorCode::NameInvalid,
        "tag" => ErrorCode::TagInvalid,
        "n" | "last" => ErrorCode::PaginationNumberInvalid,
        _ => ErrorCode::Unsupported,
    }
}

fn push(error: &PushError) -> (StatusCode, ErrorCode) {
    match error {
        PushError::Refused(refusal) => refused(refusal),
        PushError::SessionBusy { .. } => (StatusCode::CONFLICT, error.code()),
        PushError::TooLarge { .. } => (StatusCode::PAYLOAD_TOO_LARGE, error.code()),
        PushError::BodyInterrupted {
            source: BodyError::TimedOut,
            ..
        } => (StatusCode::REQUEST_TIMEOUT, error.code()),
        PushError::Storage { source } if source.kind() == StorageErrorKind::Full => {
            (StatusCode::INSUFFICIENT_STORAGE, error.code())
        }
        _ => usual(error.code()),
    }
}

/// Nothing may be changed here by anybody: 405, as in Quay; beyond a quota 403.
fn refused(refusal: &Refusal) -> (StatusCode, ErrorCode) {
    match refusal {
        Refusal::QuotaExceeded => usual(refusal.code()),
        _ => (StatusCode::METHOD_NOT_ALLOWED, refusal.code()),
    }
}

#[expect(clippy::match_same_arms, reason = "a table has a line for each case")]
fn token_refusal(refusal: &TokenRefusal) -> (StatusCode, ErrorCode) {
    match refusal {
        TokenRefusal::LoginRequired
        | TokenRefusal::Login(
            LoginError::Invalid { .. }
            | LoginError::NoSuchRobot
            | LoginError::RobotOwnerDisabled { .. }
            | LoginError::RobotsDisallowed
            | LoginError::Expired
            | LoginError::Unencrypted
            | LoginError::Disabled,
        ) => usual(ErrorCode::Unauthorized),
        TokenRefusal::Login(LoginError::Locked { .. }) => usual(ErrorCode::TooManyRequests),
        TokenRefusal::Login(LoginError::Busy { .. }) => usual(ErrorCode::Unavailable),
        TokenRefusal::Scope(ScopeError::Name { .. }) => usual(ErrorCode::NameInvalid),
        TokenRefusal::Scope(ScopeError::Malformed { .. } | ScopeError::TooMany) => {
            (StatusCode::BAD_REQUEST, ErrorCode::Unsupported)
        }
        TokenRefusal::Grant(GrantError::NamespaceDisabled { .. }) => {
            (StatusCode::METHOD_NOT_ALLOWED, ErrorCode::Denied)
        }
        TokenRefusal::Grant(GrantError::NoImages { .. }) => usual(ErrorCode::Unsupported),
        TokenRefusal::Issue(IssueError::Audience { .. }) => {
            (StatusCode::BAD_REQUEST, ErrorCode::Unsupported)
        }
        TokenRefusal::Login(LoginError::Backend { source })
        | TokenRefusal::Grant(GrantError::Backend { source }) => {
            if source.is_temporary() {
                usual(ErrorCode::Unavailable)
            } else {
                usual(ErrorCode::InternalError)
            }
        }
        TokenRefusal::Issue(IssueError::Key(KeyError::NotReady)) => usual(ErrorCode::Unavailable),
        TokenRefusal::Issue(IssueError::Key(KeyError::Share { source }))
            if source.is_temporary() =>
        {
            usual(ErrorCode::Unavailable)
        }
        TokenRefusal::Issue(_) => usual(ErrorCode::InternalError),
    }
}
