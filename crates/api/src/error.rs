//! The one place that turns what went wrong into an answer: status, headers and the JSON of section "Error Codes" of the
//! distribution specification.
//!
//! What a client can do something about is told in the body. What only an operator can do something about goes to the log, with
//! all its causes and the request's id, and the body says no more than that id.

mod status;

use std::borrow::Cow;

use http::header::{
    ACCEPT_RANGES, ALLOW, CONNECTION, CONTENT_RANGE, HeaderValue, LOCATION, RANGE, RETRY_AFTER,
    WWW_AUTHENTICATE,
};
use http::{HeaderMap, Response, StatusCode};
use roadstead_auth::{LoginError, NotPermitted, TokenError, TokenRefusal};
use roadstead_distribution::{
    DeleteError, LabelError, ManifestPushError, PullError, PushError, Refusal, Shortfall,
    TagChangeError,
};
use roadstead_management::ManagementError;
use roadstead_metadata::MetadataError;
use roadstead_oci::{
    Digest, DigestError, ErrorCode, ManifestError, MediaTypeError, NameError, RepositoryName,
    TagError,
};
use roadstead_replication::{
    ControlError, DemandError, ImageNameError, ImageStatusError, StatusError,
};
use roadstead_storage::StorageErrorKind;
use roadstead_webhooks::AddError;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Value, json};
use std::time::Duration;

use crate::body::Body;
use crate::headers::UPLOAD_UUID;
use crate::pagination::PageNumberError;
use crate::query::QueryError;
use crate::range::{ContentRangeError, upload_range};
use crate::request_body::CollectError;
use crate::request_log::Chain;
use crate::response::json_response;
use crate::route::RouteError;
use crate::storage_proxy::ProxyError;

/// The most missing digests that one answer names.
const MISSING_MAX: usize = 100;

/// Why a request was not done.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ApiError {
    #[error(transparent)]
    Route(#[from] RouteError),
    #[error("the method is not allowed here; allowed are {allowed}")]
    Method { allowed: Cow<'static, str> },
    #[error(transparent)]
    Query(#[from] QueryError),
    #[error(transparent)]
    Page(#[from] PageNumberError),
    #[error(transparent)]
    Digest(#[from] DigestError),
    #[error("add the query parameter `digest` with the digest of the whole blob")]
    DigestMissing,
    #[error(transparent)]
    Name(#[from] NameError),
    #[error(transparent)]
    Tag(#[from] TagError),
    #[error(transparent)]
    MediaType(#[from] MediaTypeError),
    #[error(transparent)]
    ContentRange(#[from] ContentRangeError),
    #[error(transparent)]
    Collect(#[from] CollectError),
    #[error("the range is not inside the blob, which has {size} bytes")]
    RangeNotSatisfiable { size: u64 },
    #[error("the content is not the one that If-Match names")]
    PreconditionFailed,
    #[error("the form of the request for a token cannot be read: {reason}")]
    TokenForm { reason: &'static str },

    /// The client has to say who it is, or to get a token that reaches further.
    #[error("{message}")]
    Unauthorized {
        challenge: HeaderValue,
        message: String,
    },
    /// Who the client is, is known, and not enough.
    #[error("you may not do this in repository `{name}`")]
    Denied { name: RepositoryName },
    #[error("repository `{name}` does not exist")]
    NameUnknown { name: RepositoryName },
    #[error(transparent)]
    Token(TokenError),
    #[error(transparent)]
    TokenRefusal(#[from] TokenRefusal),

    #[error(transparent)]
    Push(#[from] PushError),
    /// An upload stands elsewhere than the client thinks, or another client is writing to it.
    #[error("upload `{}` cannot go on like that", upload.id)]
    Upload {
        source: PushError,
        upload: Box<UploadState>,
    },
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    #[error(transparent)]
    ManifestPush(#[from] ManifestPushError),
    #[error(transparent)]
    Pull(#[from] PullError),
    #[error(transparent)]
    Delete(#[from] DeleteError),
    #[error(transparent)]
    TagChange(#[from] TagChangeError),
    #[error(transparent)]
    Label(#[from] LabelError),
    #[error(transparent)]
    Proxy(#[from] ProxyError),
    /// An operation of the API needs an account.
    #[error("sign in with a name and a password, or with an OAuth access token")]
    SignIn,
    /// What was sent to sign in to the API is neither.
    #[error(
        "the API takes a name and a password, or an OAuth access token; tokens of /v2/auth are for pushing and pulling"
    )]
    UnusableCredentials,
    /// Who calls is known, and not enough, or what it is about does not exist: which of the two is not said.
    #[error("you may not do this, or there is no such thing")]
    Forbidden,
    /// A browser says that the page of another site sends a change.
    #[error("changes are not taken from the pages of other sites")]
    ForeignSite,
    #[error(transparent)]
    Refused(Refusal),
    #[error(transparent)]
    Login(#[from] LoginError),
    #[error(transparent)]
    Management(#[from] ManagementError),
    #[error(transparent)]
    Image(#[from] ImageNameError),
    #[error(transparent)]
    ImageStatus(#[from] ImageStatusError),
    #[error(transparent)]
    Control(#[from] ControlError),
    #[error(transparent)]
    Demand(#[from] DemandError),
    #[error(transparent)]
    Webhook(#[from] AddError),
    #[error("there is no webhook `{id}`")]
    NoWebhook { id: String },
    /// A document or a parameter of the replication's API is not what it has to be.
    #[error("{problem}")]
    Malformed { problem: String },
    #[error("the metadata could not be read or changed")]
    Metadata(#[from] MetadataError),
    /// One address or one account sends too many requests.
    #[error("too many requests; wait as long as Retry-After says")]
    RateLimited { retry_after: Duration },
    /// This process answers as many requests at once as it may.
    #[error("the registry has too much to do at present; come back as late as Retry-After says")]
    Crowded,
    /// A task of ours ended before it had an answer.
    #[error("the work on the request was cut off")]
    CutOff,
}

impl From<NotPermitted> for ApiError {
    fn from(error: NotPermitted) -> Self {
        match error {
            NotPermitted::SignIn => Self::SignIn,
            NotPermitted::Forbidden => Self::Forbidden,
            NotPermitted::Backend { source } => Self::Metadata(source),
        }
    }
}

impl From<StatusError> for ApiError {
    fn from(error: StatusError) -> Self {
        Self::Metadata(error.into())
    }
}

/// What a client needs to go on with an upload.
#[derive(Debug)]
pub(crate) struct UploadState {
    pub(crate) location: HeaderValue,
    pub(crate) id: uuid::Uuid,
    /// How many bytes are safe, where that is known.
    pub(crate) offset: Option<u64>,
}

/// What the answer depends on besides the error.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ErrorContext<'a> {
    pub(crate) request_id: &'a str,
    pub(crate) retry_after: Duration,
    pub(crate) form: ErrorForm<'a>,
}

/// The form of an error.
#[derive(Clone, Copy, Debug)]
pub(crate) enum ErrorForm<'a> {
    /// The distribution specification's.
    Distribution,
    /// That of Quay's API, for what is below `/api/v1/`.
    Problem {
        /// Scheme and host of the registry, if they are known.
        base: &'a str,
    },
}

/// An error as Quay's API tells it: `detail` and `title`, and for older clients the same once more.
#[derive(Debug, JsonSchema, Serialize)]
pub(crate) struct Problem {
    /// What is wrong, and what to do.
    detail: String,
    /// The same.
    error_message: String,
    /// Which sort of error.
    error_type: &'static str,
    /// The same.
    title: &'static str,
    /// The same, as an address.
    r#type: String,
    /// The status of the answer.
    status: u16,
}

/// One member of `errors`.
#[derive(Debug, Serialize)]
struct Entry {
    code: &'static str,
    message: String,
    detail: Value,
}

#[derive(Debug, Serialize)]
struct Errors {
    errors: Vec<Entry>,
}

impl ApiError {
    /// The answer. Logs what only an operator can do something about.
    pub(crate) fn into_response(self, context: ErrorContext<'_>) -> Response<Body> {
        let (status, code) = self.status_and_code();
        let mut response = match context.form {
            ErrorForm::Distribution => {
                json_response(status, &self.errors(status, code, context.request_id))
            }
            ErrorForm::Problem { base } => json_response(
                status,
                &self.problem(status, code, context.request_id, base),
            ),
        };
        let headers = response.headers_mut();
        self.add_headers(headers, status);
        let retry_after = self.retry_after(status, context.retry_after);
        if let Some(delay) = retry_after {
            headers.insert(RETRY_AFTER, HeaderValue::from(delay));
        }
        response
    }

    /// The answer of the distribution specification.
    fn errors(&self, status: StatusCode, code: ErrorCode, request_id: &str) -> Errors {
        let errors =
            if let Self::ManifestPush(ManifestPushError::TooFewLocations(shortfall)) = &self {
                self.log(status, request_id);
                vec![Entry {
                    code: code.as_str(),
                    message: shortfall.to_string(),
                    detail: spread(shortfall),
                }]
            } else if self.is_for_operators(status) {
                vec![Entry {
                    code: code.as_str(),
                    message: self.failure(status, code, request_id),
                    detail: json!({ "request_id": request_id }),
                }]
            } else {
                self.entries(code)
            };
        Errors { errors }
    }

    /// The answer of Quay's API.
    fn problem(
        &self,
        status: StatusCode,
        code: ErrorCode,
        request_id: &str,
        base: &str,
    ) -> Problem {
        let detail = if self.is_for_operators(status) {
            self.failure(status, code, request_id)
        } else {
            self.client_message()
        };
        let kind = match status {
            StatusCode::UNAUTHORIZED => "invalid_token",
            StatusCode::FORBIDDEN => "insufficient_scope",
            StatusCode::NOT_FOUND => "not_found",
            status if status.is_server_error() => "downstream_issue",
            _ => "invalid_request",
        };
        Problem {
            error_message: detail.clone(),
            detail,
            error_type: kind,
            title: kind,
            r#type: format!("{base}/api/v1/error/{kind}"),
            status: status.as_u16(),
        }
    }

    /// Whether only an operator can do something about it. Requests that are too many are counted: a line more for each would be more
    /// to do.
    fn is_for_operators(&self, status: StatusCode) -> bool {
        status.is_server_error() && !matches!(self, Self::Crowded)
    }

    /// What is told of a failure that is ours. It is logged.
    fn failure(&self, status: StatusCode, code: ErrorCode, request_id: &str) -> String {
        self.log(status, request_id);
        format!("{}; request id {request_id}", self.public_reason(code))
    }

    /// The members of `errors` for a client.
    fn entries(&self, code: ErrorCode) -> Vec<Entry> {
        let missing = |digests: &[Digest], what: &str| {
            let entry = |digest: &Digest| Entry {
                code: code.as_str(),
                message: format!("the repository does not have {what} {digest}; push it first"),
                detail: json!({ "digest": digest.as_str() }),
            };
            digests.iter().take(MISSING_MAX).map(entry).collect()
        };
        match self {
            Self::ManifestPush(ManifestPushError::BlobsUnknown(digests)) => {
                missing(digests, "blob")
            }
            Self::ManifestPush(ManifestPushError::ManifestsUnknown(digests)) => {
                missing(digests, "manifest")
            }
            // Quay's words, for what reads them.
            Self::ManifestPush(ManifestPushError::TagImmutable { .. })
            | Self::Delete(DeleteError::TagImmutable { .. }) => vec![Entry {
                code: code.as_str(),
                message: code.description().to_owned(),
                detail: self.detail(),
            }],
            _ => vec![Entry {
                code: code.as_str(),
                message: self.client_message(),
                detail: self.detail(),
            }],
        }
    }

    /// What the client is told in words.
    fn client_message(&self) -> String {
        match self {
            Self::Upload { source, .. } => source.to_string(),
            Self::Token(error) => error.client_message().to_owned(),
            Self::Login(error) => error.client_message(),
            Self::TokenRefusal(refusal) => match refusal {
                TokenRefusal::LoginRequired => "authentication required".to_owned(),
                TokenRefusal::Login(error) => error.client_message(),
                TokenRefusal::Scope(error) => error.client_message(),
                TokenRefusal::Grant(error) => error.client_message(),
                TokenRefusal::Issue(error) => error.to_string(),
            },
            _ => self.to_string(),
        }
    }

    fn detail(&self) -> Value {
        match self {
            Self::Upload { upload, .. } => upload
                .offset
                .map_or_else(|| json!({}), |offset| json!({ "offset": offset })),
            Self::Push(PushError::DigestMismatch { expected, actual })
            | Self::ManifestPush(ManifestPushError::DigestMismatch { expected, actual }) => {
                json!({ "expected": expected.as_str(), "actual": actual.as_str() })
            }
            Self::Delete(DeleteError::BlobInUse { manifests, .. }) => {
                json!({ "manifests": manifests })
            }
            Self::ManifestPush(ManifestPushError::TagImmutable { tag }) => immutable(tag.as_str()),
            Self::Delete(DeleteError::TagImmutable { tag }) => immutable(tag),
            Self::Page(PageNumberError) => json!({ "parameter": "n" }),
            Self::NameUnknown { name } | Self::Denied { name } => json!({ "name": name.as_str() }),
            _ => json!({}),
        }
    }

    /// What is told of a failure that is ours.
    fn public_reason(&self, code: ErrorCode) -> &'static str {
        match self {
            Self::Push(PushError::NoLocation { .. }) => {
                "no storage location takes new bytes at present"
            }
            Self::Push(PushError::NoAllowedLocation { .. }) => {
                "none of the storage locations that this repository is confined to takes new bytes at present"
            }
            Self::Push(PushError::Storage { source })
            | Self::Upload {
                source: PushError::Storage { source },
                ..
            } if source.kind() == StorageErrorKind::Full => {
                "no space is left in the storage location"
            }
            Self::Proxy(_) => {
                "the store of the blob could not be read; ask the registry for the blob again"
            }
            Self::Pull(PullError::NoCopy { .. }) => "no copy of the blob can be read at present",
            _ => code.description(),
        }
    }

    fn log(&self, status: StatusCode, request_id: &str) {
        let error = Chain(self);
        if status == StatusCode::INTERNAL_SERVER_ERROR {
            tracing::error!(request.id = request_id, error = %error, "A request failed");
        } else {
            tracing::warn!(request.id = request_id, error = %error, "A request could not be served at present");
        }
    }

    fn add_headers(&self, headers: &mut HeaderMap, status: StatusCode) {
        match self {
            Self::Method { allowed } => {
                if let Ok(allowed) = HeaderValue::from_str(allowed) {
                    headers.insert(ALLOW, allowed);
                }
            }
            Self::Refused(_)
            | Self::Push(PushError::Refused(_))
            | Self::ManifestPush(ManifestPushError::Refused(_))
            | Self::Delete(DeleteError::Refused(_))
                if status == StatusCode::METHOD_NOT_ALLOWED =>
            {
                headers.insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            }
            Self::Unauthorized { challenge, .. } => {
                headers.insert(WWW_AUTHENTICATE, challenge.clone());
            }
            // Not Basic, for which browsers ask their users and which they then send with whatever any page asks for.
            Self::SignIn | Self::UnusableCredentials | Self::Login(_)
                if status == StatusCode::UNAUTHORIZED =>
            {
                headers.insert(
                    WWW_AUTHENTICATE,
                    HeaderValue::from_static("Bearer realm=\"api\""),
                );
            }
            Self::TokenRefusal(_) if status == StatusCode::UNAUTHORIZED => {
                headers.insert(
                    WWW_AUTHENTICATE,
                    HeaderValue::from_static("Basic realm=\"registry\""),
                );
            }
            Self::Upload { source, upload } => {
                if matches!(source, PushError::BodyInterrupted { .. }) {
                    close(headers);
                }
                headers.insert(LOCATION, upload.location.clone());
                headers.insert(UPLOAD_UUID, text(upload.id.to_string()));
                if let Some(offset) = upload.offset {
                    headers.insert(RANGE, text(upload_range(offset)));
                }
            }
            Self::RangeNotSatisfiable { size } => {
                headers.insert(CONTENT_RANGE, text(format!("bytes */{size}")));
                headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
            }
            Self::Proxy(ProxyError::Range { size }) => {
                if let Some(size) = size {
                    headers.insert(CONTENT_RANGE, size.clone());
                }
                headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
            }
            Self::Collect(CollectError::Broken(_))
            | Self::Push(PushError::BodyInterrupted { .. }) => close(headers),
            _ => {}
        }
    }

    /// When to try again, in whole seconds, at least one.
    fn retry_after(&self, status: StatusCode, usual: Duration) -> Option<u64> {
        let delay = match self {
            Self::Login(LoginError::Locked { retry_after } | LoginError::Busy { retry_after })
            | Self::TokenRefusal(TokenRefusal::Login(
                LoginError::Locked { retry_after } | LoginError::Busy { retry_after },
            ))
            | Self::RateLimited { retry_after } => *retry_after,
            Self::Token(TokenError::Busy) => Duration::from_secs(1),
            _ if matches!(
                status,
                StatusCode::SERVICE_UNAVAILABLE
                    | StatusCode::TOO_MANY_REQUESTS
                    | StatusCode::INSUFFICIENT_STORAGE
            ) =>
            {
                usual
            }
            _ => return None,
        };
        Some(delay.as_secs() + u64::from(delay.subsec_nanos() > 0)).map(|seconds| seconds.max(1))
    }
}

/// How far an image has come whose push has waited in vain.
fn spread(shortfall: &Shortfall) -> Value {
    let lacking: Vec<Value> = shortfall
        .lacking
        .iter()
        .map(|unspread| {
            json!({ "location": unspread.location, "blobs": unspread.blobs, "failing": unspread.failing })
        })
        .collect();
    json!({
        "digest": shortfall.manifest.as_str(),
        "stored": true,
        "locations_demanded": shortfall.demanded,
        "blobs": shortfall.blobs,
        "blobs_in_too_few_locations": shortfall.short,
        "lacking": lacking,
    })
}

fn immutable(tag: &str) -> Value {
    json!({ "message": format!("tag '{tag}' is immutable") })
}

/// The rest of the body will not come, or not in time: this connection is of no use any more.
fn close(headers: &mut HeaderMap) {
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
}

fn text(text: String) -> HeaderValue {
    HeaderValue::try_from(text).expect("ids, numbers and ranges are visible ASCII")
}
