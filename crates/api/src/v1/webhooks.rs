//! `/api/v1/replication/webhooks` and `/api/v1/replication/events`: who is told that images are complete, and what they were told.
//!
//! | request | answer |
//! |---|---|
//! | `GET .../webhooks` | the webhooks, and how they fare |
//! | `POST .../webhooks` | adds one: `{"url", "secret", "location", "namespace"}`, all but the first optional; 201 and its number |
//! | `DELETE .../webhooks/<id>` | removes one; 204 |
//! | `GET .../events` | the events that are kept, the oldest first, behind `after` |

use http::{Method, Response, StatusCode};
use roadstead_auth::Need;
use roadstead_secrets::Secret;
use roadstead_webhooks::NewHook;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::body::Body;
use crate::error::ApiError;
use crate::response::{empty, json_response};
use crate::service::Inner;
use crate::v1::call::Call;
use crate::v1::operation::{Object, Operation, QueryKind, QueryParameter};

/// The most entries of a page of events.
const EVENTS_PAGE_MAX: u32 = 1_000;

/// All operations: superusers'.
pub(super) fn operations() -> Vec<Operation> {
    vec![
        Operation::new(
            Method::GET,
            "/replication/webhooks",
            "listReplicationWebhooks",
            Need::Superuser,
            |inner, _| Box::pin(list(inner)),
        )
        .summary("Who is told that images are complete, and how that fares.")
        .gives::<Object>(StatusCode::OK),
        Operation::new(
            Method::POST,
            "/replication/webhooks",
            "createReplicationWebhook",
            Need::Superuser,
            |inner, call| Box::pin(add(inner, call)),
        )
        .summary("Has somebody told.")
        .changes_no_rights()
        .while_read_only()
        .takes::<Addition>()
        .gives::<Added>(StatusCode::CREATED),
        Operation::new(
            Method::DELETE,
            "/replication/webhooks/{webhook_id}",
            "deleteReplicationWebhook",
            Need::Superuser,
            |inner, call| Box::pin(remove(inner, call)),
        )
        .summary("Has somebody not told any more.")
        .changes_no_rights()
        .while_read_only(),
        Operation::new(
            Method::GET,
            "/replication/events",
            "listReplicationEvents",
            Need::SuperuserRead,
            |inner, call| Box::pin(events(inner, call)),
        )
        .summary("Which images became complete where: the oldest first.")
        .query(&[
            QueryParameter {
                name: "after",
                kind: QueryKind::Text,
                summary: "Only what comes behind the event of this number.",
            },
            QueryParameter {
                name: "limit",
                kind: QueryKind::Entries {
                    default: 100,
                    most: EVENTS_PAGE_MAX,
                },
                summary: "The most events.",
            },
        ])
        .gives::<Object>(StatusCode::OK),
    ]
}

/// Whom to tell. Not to be printed: address and secret are nobody else's.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Addition {
    /// Where the notice is posted to.
    url: String,
    /// What it is signed with.
    secret: Option<String>,
    /// Only of this location.
    location: Option<String>,
    /// Only of this namespace.
    namespace: Option<String>,
}

/// The number of a new webhook.
#[derive(JsonSchema, Serialize)]
struct Added {
    id: i64,
}

async fn list(inner: &Inner) -> Result<Response<Body>, ApiError> {
    let webhooks = inner.webhooks.list().await?;
    let list = json!({ "webhooks": webhooks });
    Ok(json_response(StatusCode::OK, &list))
}

async fn add(inner: &Inner, mut call: Call<'_>) -> Result<Response<Body>, ApiError> {
    let addition: Addition = call.document(inner).await?;
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
    Ok(json_response(StatusCode::CREATED, &Added { id }))
}

async fn remove(inner: &Inner, call: Call<'_>) -> Result<Response<Body>, ApiError> {
    let id = call.parameter("webhook_id");
    let removed = match id.parse() {
        Ok(id) => inner.webhooks.remove(id).await?,
        Err(_) => false,
    };
    if removed {
        Ok(empty(StatusCode::NO_CONTENT))
    } else {
        Err(ApiError::NoWebhook { id: id.to_owned() })
    }
}

async fn events(inner: &Inner, call: Call<'_>) -> Result<Response<Body>, ApiError> {
    let after = call.next_page("after")?.unwrap_or_default();
    let events = inner.webhooks.events(after, call.number("limit")?).await?;
    Ok(json_response(StatusCode::OK, &json!({ "events": events })))
}
