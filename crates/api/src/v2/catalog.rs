//! `/v2/_catalog`, of Docker's API: the repositories that the client may see.

use http::header::LINK;
use http::{Response, StatusCode};
use serde::Serialize;

use crate::authorization::{CATALOG_SCOPE, Presented};
use crate::body::Body;
use crate::error::ApiError;
use crate::links::Links;
use crate::pagination::page_request;
use crate::response::{With as _, json_response};
use crate::service::{Head, Inner};

#[derive(Serialize)]
struct Catalog {
    repositories: Vec<String>,
}

/// A page of the list. Those who send nothing are asked to sign in, unless the catalog is public: without an account there would be
/// nothing to see, and clients that ask without a token first would never learn that there is more.
pub(crate) async fn answer(inner: &Inner, head: &Head) -> Result<Response<Body>, ApiError> {
    if !head.is_read() {
        return Err(ApiError::Method {
            allowed: "GET, HEAD".into(),
        });
    }
    let query = head.query()?;
    let page = page_request(&query)?;
    let caller = inner.caller(head, &[]).await?;
    if caller.presented == Presented::Nothing && !inner.authenticator.options().public_catalog {
        return Err(inner.unauthorized(
            head,
            &[CATALOG_SCOPE.to_owned()],
            None,
            "authentication required",
        ));
    }
    let Some(viewer) = inner.authenticator.catalog_viewer(&caller.access).await? else {
        return Ok(json_response(
            StatusCode::OK,
            &Catalog {
                repositories: Vec::new(),
            },
        ));
    };
    let found = inner
        .registry
        .catalog(&viewer, page.last.as_deref(), page.entries)
        .await?;
    let link = match found.entries.last() {
        Some(last) if found.more => {
            let number = found.entries.len().to_string();
            Some(
                Links(inner.options.external_url.as_ref())
                    .next_page("/v2/_catalog", &[("n", &number), ("last", last)]),
            )
        }
        Some(_) | None => None,
    };
    let response = json_response(
        StatusCode::OK,
        &Catalog {
            repositories: found.entries,
        },
    );
    Ok(match link {
        Some(link) => response.with(LINK, link),
        None => response,
    })
}
