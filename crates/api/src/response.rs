//! Building answers.

use http::header::{CONTENT_LENGTH, CONTENT_TYPE, LOCATION};
use http::{HeaderName, HeaderValue, Method, Response, StatusCode};
use http_body::Body as _;
use roadstead_oci::Digest;
use serde::Serialize;

use crate::body::Body;
use crate::headers::CONTENT_DIGEST;

const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// An answer without a body.
pub(crate) fn empty(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}

/// An answer whose body is JSON, without spaces.
pub(crate) fn json_response(status: StatusCode, content: &impl Serialize) -> Response<Body> {
    let content =
        serde_json::to_vec(content).expect("answers have text keys and no other failing parts");
    let mut response = Response::new(Body::whole(content));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, JSON);
    response
}

/// Sets headers one by one.
pub(crate) trait With {
    fn with(self, name: HeaderName, value: HeaderValue) -> Self;
    /// With the digest of the content.
    fn with_digest(self, digest: &Digest) -> Self;
    /// With where the thing is.
    fn with_location(self, location: HeaderValue) -> Self;
}

impl With for Response<Body> {
    fn with(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers_mut().insert(name, value);
        self
    }

    fn with_digest(self, digest: &Digest) -> Self {
        self.with(CONTENT_DIGEST, digest_value(digest))
    }

    fn with_location(self, location: HeaderValue) -> Self {
        self.with(LOCATION, location)
    }
}

pub(crate) fn digest_value(digest: &Digest) -> HeaderValue {
    HeaderValue::from_str(digest.as_str()).expect("a digest is letters, digits and a colon")
}

/// Makes an answer fit its request: `Content-Length` where there may be one, and no body for HEAD.
pub(crate) fn finish(mut response: Response<Body>, method: &Method) -> Response<Body> {
    let status = response.status();
    let bodiless = status == StatusCode::NO_CONTENT
        || status == StatusCode::NOT_MODIFIED
        || status.is_informational();
    if !bodiless
        && !response.headers().contains_key(CONTENT_LENGTH)
        && let Some(length) = response.body().size_hint().exact()
    {
        response
            .headers_mut()
            .insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
    if method == Method::HEAD || bodiless {
        *response.body_mut() = Body::empty();
    }
    response
}
