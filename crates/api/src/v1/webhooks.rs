//! `/api/v1/replication/webhooks` and `/api/v1/replication/events`: who is told that images are complete, and what they were told. For superusers, by
//! `replication`'s own guard.
//!
//! | request | answer |
//! |---|---|
//! | `GET .../webhooks` | the webhooks, and how they fare |
//! | `POST .../webhooks` | adds one: `{"url", "secret", "location", "namespace"}`, all but the first optional; 201 and its number |
//! | `DELETE .../webhooks/<id>` | removes one; 204 |
//! | `GET .../events` | the events that are kept, the oldest first, behind `after` |

use http::{Method, Response, StatusCode};
use roadstead_secrets::Secret;
use roadstead_webhooks::NewHook;
use serde::Deserialize;
use serde_json::json;

use super::replication::{document, limit, no_page};
use crate::body::Body;
use crate::error::ApiError;
use crate::query::Query;
use crate::request_body::RequestBody;
use crate::response::{empty, json_response};
use crate::service::{Head, Inner};

/// The most entries of a page of events.
const EVENTS_PAGE_MAX: u32 = 1_000;

/// Whom to tell. Not to be printed: address and secret are nobody else's.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Addition {
    url: String,
    secret: Option<String>,
    location: Option<String>,
    namespace: Option<String>,
}

/// The list, or a new one.
pub(super) async fn webhooks(
    inner: &Inner,
    head: &Head,
    body: RequestBody,
) -> Result<Response<Body>, ApiError> {
    if head.method != Method::POST {
        let webhooks = inner.webhooks.list().await?;
        let list = json!({ "webhooks": webhooks });
        return Ok(json_response(StatusCode::OK, &list));
    }
    let addition: Addition = document(inner, body).await?;
    let location = match &addition.location {
        Some(name) => Some(inner.replication.find_location(name).await?),
        None => None,
    };
    let new = NewHook {
        url: Secret::new(addition.url),
        secret: addition.secret.map(Secret::new),
        location,
        namespace: addition.namespace,
    };
    let id = inner.webhooks.add(&new).await?;
    Ok(json_response(StatusCode::CREATED, &json!({ "id": id })))
}

pub(super) async fn remove(inner: &Inner, id: i64) -> Result<Response<Body>, ApiError> {
    if inner.webhooks.remove(id).await? {
        Ok(empty(StatusCode::NO_CONTENT))
    } else {
        Err(ApiError::NoWebhook { id })
    }
}

pub(super) async fn events(inner: &Inner, query: &Query<'_>) -> Result<Response<Body>, ApiError> {
    let after = match query.get("after")? {
        None => 0,
        Some(after) => after.parse().map_err(|_| no_page("after", &after))?,
    };
    let events = inner
        .webhooks
        .events(after, limit(query, EVENTS_PAGE_MAX)?)
        .await?;
    Ok(json_response(StatusCode::OK, &json!({ "events": events })))
}
