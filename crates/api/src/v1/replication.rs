//! `/api/v1/replication`: the state and the control of copying, for superusers. The same as `admin replication`, by what the database says.
//!
//! | request | answer |
//! |---|---|
//! | `GET /api/v1/replication` | what is missing where; with `location` of that one; with `image` where that image is |
//! | `GET .../at-risk/<location>` | the images that would be lost with it, with the totals on the first page |
//! | `GET .../failed` | the copies whose last attempt failed; `location` |
//! | `POST .../retry` | tries them again at once: `{"location", "digest"}` |
//! | `POST .../pause`, `POST .../resume` | copying rests, goes on: `{"location"}`, or everywhere |
//! | `GET .../limit` | what is paused and limited |
//! | `PUT .../limit` | limits it: `{"location"}` or `{"source", "target"}` or neither, `"bytes_per_second"`, `"between"` |
//!
//! What is below `webhooks` and `events` is `webhooks`' business. Lists have `limit` entries and go on with `next_page`.

use http::header::CACHE_CONTROL;
use http::{Method, Response, StatusCode};
use roadstead_oci::Digest;
use roadstead_replication::{
    AT_RISK_PAGE_MAX, ControlDocument, CopyLimit, DailyWindow, ExposedImages, ExposedPosition,
    Exposure, FAILED_PAGE_MAX, FailedQuery, ImageName, LimitDocument, StatusOptions,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::authorization::Presented;
use crate::body::Body;
use crate::error::ApiError;
use crate::query::Query;
use crate::request_body::RequestBody;
use crate::response::{With as _, json_response};
use crate::route::ReplicationRoute;
use crate::service::{Head, Inner, NOT_KEPT};
use crate::v1::webhooks;

/// The most bytes of a document: three names of locations, all escaped, and some numbers.
const DOCUMENT_BYTES_MAX: usize = 8 << 10;

/// How many entries a page of a list has unless `limit` says otherwise.
const PAGE: u32 = 100;

/// Listing every object of every location takes too long for a request; `admin replication status` does it.
const BY_DATABASE: StatusOptions = StatusOptions { store_check: false };

/// What is paused or resumed.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Extent {
    location: Option<String>,
}

/// What is tried again.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Again {
    location: Option<String>,
    digest: Option<Digest>,
}

#[derive(Serialize)]
struct AtRiskAnswer {
    #[serde(flatten)]
    totals: Option<Exposure>,
    #[serde(flatten)]
    page: ExposedImages,
}

pub(crate) async fn answer(
    inner: &Inner,
    head: &Head,
    body: RequestBody,
    route: &ReplicationRoute,
) -> Result<Response<Body>, ApiError> {
    let allowed = allowed(route);
    if !allowed
        .split(", ")
        .any(|method| method == head.method.as_str())
    {
        return Err(ApiError::Method { allowed });
    }
    admit(inner, head).await?;
    let replication = &inner.replication;
    let query = head.query()?;
    let response = match route {
        ReplicationRoute::Status => return status(inner, &query).await,
        ReplicationRoute::AtRisk { location } => at_risk(inner, location, &query).await?,
        ReplicationRoute::Failed => {
            let location = query.get("location")?;
            let after = match query.get("next_page")? {
                None => 0,
                Some(page) => page.parse().map_err(|_| no_page("next_page", &page))?,
            };
            let found = replication
                .failed(FailedQuery {
                    location: location.as_deref(),
                    after,
                    limit: limit(&query, FAILED_PAGE_MAX)?,
                })
                .await?;
            json_response(StatusCode::OK, &found)
        }
        ReplicationRoute::Retry => {
            let again: Again = document(inner, body).await?;
            let location = again.location.as_deref();
            let retried = replication.retry(location, again.digest.as_ref()).await?;
            json_response(StatusCode::OK, &json!({ "retried": retried }))
        }
        ReplicationRoute::Pause => {
            let extent: Extent = document(inner, body).await?;
            replication.pause(extent.location.as_deref()).await?;
            control(inner).await?
        }
        ReplicationRoute::Resume => {
            let extent: Extent = document(inner, body).await?;
            replication.resume(extent.location.as_deref()).await?;
            control(inner).await?
        }
        ReplicationRoute::Limit if head.method == Method::PUT => {
            let limit: LimitDocument = document(inner, body).await?;
            set_limit(inner, &limit).await?;
            control(inner).await?
        }
        ReplicationRoute::Limit => control(inner).await?,
        ReplicationRoute::Webhooks => webhooks::webhooks(inner, head, body).await?,
        ReplicationRoute::Webhook { id } => webhooks::remove(inner, *id).await?,
        ReplicationRoute::Events => webhooks::events(inner, &query).await?,
    };
    Ok(response.with(CACHE_CONTROL, NOT_KEPT))
}

const fn allowed(route: &ReplicationRoute) -> &'static str {
    match route {
        ReplicationRoute::Status
        | ReplicationRoute::AtRisk { .. }
        | ReplicationRoute::Failed
        | ReplicationRoute::Events => "GET, HEAD",
        ReplicationRoute::Webhooks => "GET, HEAD, POST",
        ReplicationRoute::Webhook { .. } => "DELETE",
        ReplicationRoute::Retry | ReplicationRoute::Pause | ReplicationRoute::Resume => "POST",
        ReplicationRoute::Limit => "GET, HEAD, PUT",
    }
}

/// Lets superusers in.
async fn admit(inner: &Inner, head: &Head) -> Result<(), ApiError> {
    let caller = inner.caller(head, &[]).await?;
    if caller.access.is_superuser() {
        return Ok(());
    }
    Err(match caller.presented {
        Presented::Nothing => inner.unauthorized(head, &[], None, "authentication required"),
        Presented::Token | Presented::Password => ApiError::NotSuperuser,
    })
}

async fn status(inner: &Inner, query: &Query<'_>) -> Result<Response<Body>, ApiError> {
    let replication = &inner.replication;
    let location = match query.get("location")? {
        Some(name) => Some(replication.find_location(&name).await?),
        None => None,
    };
    let response = match (query.get("image")?, &location) {
        (Some(image), location) => {
            let image: ImageName = image.parse()?;
            let status = replication
                .image_status(&image, location.as_ref(), BY_DATABASE)
                .await?;
            json_response(StatusCode::OK, &status)
        }
        (None, Some(location)) => {
            let report = replication.location_status(location, BY_DATABASE).await?;
            json_response(StatusCode::OK, &report)
        }
        (None, None) => json_response(StatusCode::OK, &replication.status(BY_DATABASE).await?),
    };
    Ok(response.with(CACHE_CONTROL, NOT_KEPT))
}

/// A page of what would be lost with a location. Only the first one counts everything, which takes as long as a page.
async fn at_risk(
    inner: &Inner,
    location: &str,
    query: &Query<'_>,
) -> Result<Response<Body>, ApiError> {
    let replication = &inner.replication;
    let location = replication.find_location(location).await?;
    let (totals, after) = match query.get("next_page")? {
        None => (
            Some(replication.exposure(location.as_str()).await?),
            ExposedPosition::default(),
        ),
        Some(page) => (
            None,
            ExposedPosition::parse(&page).ok_or_else(|| no_page("next_page", &page))?,
        ),
    };
    let limit = limit(query, AT_RISK_PAGE_MAX)?;
    let page = replication.exposed_images(&location, after, limit).await?;
    Ok(json_response(
        StatusCode::OK,
        &AtRiskAnswer { totals, page },
    ))
}

async fn set_limit(inner: &Inner, document: &LimitDocument) -> Result<(), ApiError> {
    let link = document.link().ok_or_else(|| ApiError::Malformed {
        problem: "name `location`, or both `source` and `target`, or none of them".to_owned(),
    })?;
    let window: Option<DailyWindow> = match &document.between {
        Some(between) => Some(between.parse().map_err(malformed("`between`"))?),
        None => None,
    };
    match document.bytes_per_second {
        Some(bytes_per_second) => {
            let limit = CopyLimit {
                link,
                bytes_per_second,
                window,
            };
            inner.replication.limit(&limit).await?;
        }
        None => {
            inner.replication.unlimit(&link, window).await?;
        }
    }
    Ok(())
}

/// What is paused and limited now.
async fn control(inner: &Inner) -> Result<Response<Body>, ApiError> {
    let control = inner.replication.control().await?;
    let document = ControlDocument::from(&control);
    Ok(json_response(StatusCode::OK, &document))
}

/// Reads a document. An empty body says nothing in particular.
pub(super) async fn document<T: DeserializeOwned>(
    inner: &Inner,
    body: RequestBody,
) -> Result<T, ApiError> {
    let (idle, clock) = (inner.options.body_idle_timeout, &*inner.environment.clock);
    let bytes = body.collect(DOCUMENT_BYTES_MAX, idle, clock).await?;
    let text: &[u8] = if bytes.is_empty() { b"{}" } else { &bytes };
    serde_json::from_slice(text).map_err(malformed("the document"))
}

/// The entries of a page, at most `most`.
pub(super) fn limit(query: &Query<'_>, most: u32) -> Result<u32, ApiError> {
    match query.get("limit")? {
        None => Ok(PAGE),
        Some(text) => text
            .parse()
            .ok()
            .filter(|limit| (1..=most).contains(limit))
            .ok_or_else(|| ApiError::Malformed {
                problem: format!("`limit` is a number between 1 and {most}"),
            }),
    }
}

fn malformed<E: std::fmt::Display>(what: &'static str) -> impl FnOnce(E) -> ApiError {
    move |error| ApiError::Malformed {
        problem: format!("{what} cannot be read: {error}"),
    }
}

pub(super) fn no_page(parameter: &str, page: &str) -> ApiError {
    ApiError::Malformed {
        problem: format!(
            "`{parameter}` is not one that this list gave: {}",
            page.escape_debug().take(40).collect::<String>()
        ),
    }
}
