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
//! Lists have `limit` entries and go on with `next_page`.

use http::{Method, Response, StatusCode};
use roadstead_auth::Need;
use roadstead_oci::Digest;
use roadstead_replication::{
    AT_RISK_PAGE_MAX, ControlDocument, CopyLimit, DailyWindow, ExposedImages, ExposedPosition,
    Exposure, FAILED_PAGE_MAX, FailedQuery, ImageName, LimitDocument, StatusOptions,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::body::Body;
use crate::error::ApiError;
use crate::response::json_response;
use crate::service::Inner;
use crate::v1::call::{Call, malformed};
use crate::v1::operation::{Object, Operation, QueryKind, QueryParameter};

const LOCATION: QueryParameter = QueryParameter {
    name: "location",
    kind: QueryKind::Text,
    summary: "Only of this location.",
};

/// All operations. They are superusers', those that only read read-only superusers' too.
pub(super) fn operations() -> Vec<Operation> {
    vec![
        Operation::new(
            Method::GET,
            "/replication",
            "getReplication",
            Need::SuperuserRead,
            |inner, call| Box::pin(status(inner, call)),
        )
        .summary("What is missing where; with `image` where that image is.")
        .query(&[
            LOCATION,
            QueryParameter {
                name: "image",
                kind: QueryKind::Text,
                summary: "Only of this image: a repository with a tag or digest.",
            },
        ])
        .gives::<Object>(StatusCode::OK),
        Operation::new(
            Method::GET,
            "/replication/at-risk/{location}",
            "getReplicationAtRisk",
            Need::SuperuserRead,
            |inner, call| Box::pin(at_risk(inner, call)),
        )
        .summary(
            "The images that would be lost with a location, with the totals on the first page.",
        )
        .query(&[
            QueryParameter {
                name: "limit",
                kind: QueryKind::Entries {
                    default: PAGE,
                    most: AT_RISK_PAGE_MAX,
                },
                summary: "The most images.",
            },
            NEXT_PAGE,
        ])
        .gives::<Object>(StatusCode::OK),
        Operation::new(
            Method::GET,
            "/replication/failed",
            "listFailedCopies",
            Need::SuperuserRead,
            |inner, call| Box::pin(failed(inner, call)),
        )
        .summary("The copies whose last attempt failed.")
        .query(&[
            LOCATION,
            QueryParameter {
                name: "limit",
                kind: QueryKind::Entries {
                    default: PAGE,
                    most: FAILED_PAGE_MAX,
                },
                summary: "The most copies.",
            },
            NEXT_PAGE,
        ])
        .gives::<Object>(StatusCode::OK),
        Operation::new(
            Method::POST,
            "/replication/retry",
            "retryCopies",
            Need::Superuser,
            |inner, call| Box::pin(retry(inner, call)),
        )
        .summary("Tries copies that failed again at once.")
        .changes_no_rights()
        .while_read_only()
        .takes::<Again>()
        .gives::<Retried>(StatusCode::OK),
        Operation::new(
            Method::POST,
            "/replication/pause",
            "pauseCopies",
            Need::Superuser,
            |inner, call| Box::pin(pause(inner, call)),
        )
        .summary("Lets copying rest, from and to a location or everywhere.")
        .changes_no_rights()
        .while_read_only()
        .takes::<Extent>()
        .gives::<Object>(StatusCode::OK),
        Operation::new(
            Method::POST,
            "/replication/resume",
            "resumeCopies",
            Need::Superuser,
            |inner, call| Box::pin(resume(inner, call)),
        )
        .summary("Lets copying go on.")
        .changes_no_rights()
        .while_read_only()
        .takes::<Extent>()
        .gives::<Object>(StatusCode::OK),
        Operation::new(
            Method::GET,
            "/replication/limit",
            "getCopyLimits",
            Need::SuperuserRead,
            |inner, _| Box::pin(control(inner)),
        )
        .summary("What is paused and limited.")
        .gives::<Object>(StatusCode::OK),
        Operation::new(
            Method::PUT,
            "/replication/limit",
            "limitCopies",
            Need::Superuser,
            |inner, call| Box::pin(limit(inner, call)),
        )
        .summary("Limits how fast copies are, or takes a limit away.")
        .changes_no_rights()
        .while_read_only()
        .takes::<Limit>()
        .gives::<Object>(StatusCode::OK),
    ]
}

pub(super) const NEXT_PAGE: QueryParameter = QueryParameter {
    name: "next_page",
    kind: QueryKind::Text,
    summary: "Where the list goes on, from the page before.",
};

/// How many entries a page of a list has unless `limit` says otherwise.
const PAGE: u32 = 100;

/// Listing every object of every location takes too long for a request; `admin replication status` does it.
const BY_DATABASE: StatusOptions = StatusOptions { store_check: false };

/// What is paused or resumed.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Extent {
    /// Everything, if none.
    location: Option<String>,
}

/// What is tried again.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Again {
    /// Only what goes there.
    location: Option<String>,
    /// Only this blob.
    #[schemars(with = "Option<String>")]
    digest: Option<Digest>,
}

/// How many copies are tried again.
#[derive(Debug, JsonSchema, Serialize)]
struct Retried {
    retried: u64,
}

/// A limit. It is about everything unless it names either `location` or both `source` and `target`.
#[expect(
    dead_code,
    reason = "the form of `LimitDocument`, whose crate makes no schemas"
)]
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Limit {
    /// What is copied from and to this location.
    location: Option<String>,
    /// What is copied from here to `target`.
    source: Option<String>,
    /// What is copied from `source` to here.
    target: Option<String>,
    /// How fast: bytes a second. Without it the limit goes.
    #[schemars(range(min = 1))]
    bytes_per_second: Option<u64>,
    /// The part of the day in UTC in which it holds, `HH:MM-HH:MM`; always if none.
    between: Option<String>,
}

#[derive(Serialize)]
struct AtRiskAnswer {
    #[serde(flatten)]
    totals: Option<Exposure>,
    #[serde(flatten)]
    page: ExposedImages,
}

async fn status(inner: &Inner, call: Call<'_>) -> Result<Response<Body>, ApiError> {
    let replication = &inner.replication;
    let location = match call.text("location")? {
        Some(name) => Some(replication.find_location(&name).await?),
        None => None,
    };
    Ok(match (call.text("image")?, &location) {
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
    })
}

/// A page of what would be lost with a location. Only the first one counts everything, which takes as long as a page.
async fn at_risk(inner: &Inner, call: Call<'_>) -> Result<Response<Body>, ApiError> {
    let replication = &inner.replication;
    let location = replication
        .find_location(call.parameter("location"))
        .await?;
    let (totals, after) = match call.next_page("next_page")? {
        None => (
            Some(replication.exposure(location.as_str()).await?),
            ExposedPosition::default(),
        ),
        Some(position) => (None, position),
    };
    let limit = call.number("limit")?;
    let page = replication.exposed_images(&location, after, limit).await?;
    Ok(json_response(
        StatusCode::OK,
        &AtRiskAnswer { totals, page },
    ))
}

async fn failed(inner: &Inner, call: Call<'_>) -> Result<Response<Body>, ApiError> {
    let location = call.text("location")?;
    let found = inner
        .replication
        .failed(FailedQuery {
            location: location.as_deref(),
            after: call.next_page("next_page")?.unwrap_or_default(),
            limit: call.number("limit")?,
        })
        .await?;
    Ok(json_response(StatusCode::OK, &found))
}

async fn retry(inner: &Inner, mut call: Call<'_>) -> Result<Response<Body>, ApiError> {
    let again: Again = call.document(inner).await?;
    let location = again.location.as_deref();
    let retried = inner
        .replication
        .retry(location, again.digest.as_ref())
        .await?;
    Ok(json_response(StatusCode::OK, &Retried { retried }))
}

async fn pause(inner: &Inner, mut call: Call<'_>) -> Result<Response<Body>, ApiError> {
    let extent: Extent = call.document(inner).await?;
    inner.replication.pause(extent.location.as_deref()).await?;
    control(inner).await
}

async fn resume(inner: &Inner, mut call: Call<'_>) -> Result<Response<Body>, ApiError> {
    let extent: Extent = call.document(inner).await?;
    inner.replication.resume(extent.location.as_deref()).await?;
    control(inner).await
}

async fn limit(inner: &Inner, mut call: Call<'_>) -> Result<Response<Body>, ApiError> {
    let document: LimitDocument = call.document(inner).await?;
    let link = document.link().ok_or_else(|| {
        malformed("name `location`, or both `source` and `target`, or none of them")
    })?;
    let window: Option<DailyWindow> = match &document.between {
        Some(between) => Some(
            between
                .parse()
                .map_err(|error| malformed(format!("`between` cannot be read: {error}")))?,
        ),
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
    control(inner).await
}

/// What is paused and limited now.
async fn control(inner: &Inner) -> Result<Response<Body>, ApiError> {
    let control = inner.replication.control().await?;
    let document = ControlDocument::from(&control);
    Ok(json_response(StatusCode::OK, &document))
}
