//! Health checks over HTTP: everybody gets what Quay says, superusers its details too.

use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderName, HeaderValue, Response, StatusCode};
use roadstead_auth::{Need, Subject};

use crate::body::Body;
use crate::error::ApiError;
use crate::response::With as _;
use crate::route::{HealthRoute, RouteError};
use crate::service::{Head, Inner};
use crate::v1;

/// How many seconds ago the oldest answer came that this one goes by.
const AGE: HeaderName = HeaderName::from_static("x-roadstead-health-age");

/// How long it may take to find out who asks; then nobody in particular has. A password takes a tenth of a second, a database that hangs for ever.
const PATIENCE: Duration = Duration::from_millis(800);

/// Answers a health check. Who is nobody in particular is answered without a wait, and others within a second.
pub(crate) async fn answer(inner: &Inner, head: &Head, route: HealthRoute) -> Response<Body> {
    let detailed = is_superuser(inner, head).await;
    let report = inner.health.check(route);
    let body = if detailed {
        let key_id = inner.authenticator.keys().key_id();
        report.body_with_details(&inner.health.options.details, key_id.as_deref())
    } else {
        report.body()
    };
    let response = json(report.status(), body);
    match report.age() {
        Some(age) => response.with(AGE, age.as_secs().into()),
        None => response,
    }
}

/// Answers `/health/dbrevision`.
pub(crate) fn answer_revision(inner: &Inner) -> Result<Response<Body>, ApiError> {
    let report = inner.health.check_revision().ok_or(RouteError::NotFound)?;
    Ok(json(report.status(), report.body()))
}

async fn is_superuser(inner: &Inner, head: &Head) -> bool {
    if !head.headers.contains_key(AUTHORIZATION) {
        return false;
    }
    let found_out = async {
        let identity = v1::identify(inner, head).await?;
        let permit = inner
            .authenticator
            .permit(&identity, Need::SuperuserRead, Subject::Registry);
        permit.await.map_err(ApiError::from)
    };
    tokio::select! {
        found = found_out => found.is_ok(),
        () = inner.environment.clock.sleep(PATIENCE) => false,
    }
}

fn json(status: StatusCode, body: Bytes) -> Response<Body> {
    let mut response = Response::new(Body::whole(body));
    *response.status_mut() = status;
    response.with(CONTENT_TYPE, HeaderValue::from_static("application/json"))
}
