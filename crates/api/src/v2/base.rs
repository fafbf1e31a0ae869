//! `/v2/` (end-1): whether this is a registry, and whether the client is logged in.

use http::{Response, StatusCode};

use crate::authorization::Presented;
use crate::body::Body;
use crate::error::ApiError;
use crate::response::json_response;
use crate::service::{Head, Inner};

/// 200 for those who have a token or a password that is good, 401 with a challenge for everybody else: that is how clients find
/// the token endpoint. The body is Quay's.
pub(crate) async fn answer(inner: &Inner, head: &Head) -> Result<Response<Body>, ApiError> {
    if !head.is_read() {
        return Err(ApiError::Method {
            allowed: "GET, HEAD".into(),
        });
    }
    let caller = inner.caller(head, &[]).await?;
    if caller.presented == Presented::Nothing {
        return Err(inner.unauthorized(head, &[], None, "authentication required"));
    }
    Ok(json_response(StatusCode::OK, &true))
}
