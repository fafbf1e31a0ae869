//! `/v2/<name>/tags/list` (end-8).

use http::header::LINK;
use http::{Response, StatusCode};
use roadstead_oci::RepositoryName;
use serde::Serialize;
use serde_json::value::RawValue;

use crate::body::Body;
use crate::error::ApiError;
use crate::links::Links;
use crate::pagination::page_request;
use crate::response::{With as _, json_response};
use crate::service::{Head, Inner};

#[derive(Serialize)]
struct TagList<'a> {
    name: &'a str,
    tags: &'a RawValue,
}

/// A page of the repository's tags, in byte order, with a `Link` to the next one if there is more.
pub(crate) async fn answer(
    inner: &Inner,
    head: &Head,
    name: &RepositoryName,
) -> Result<Response<Body>, ApiError> {
    if !head.is_read() {
        return Err(ApiError::Method {
            allowed: "GET, HEAD".into(),
        });
    }
    let query = head.query()?;
    let page = page_request(&query)?;
    let (admitted, asked) = inner.admit_to_read(head, name).await?;
    let found = inner
        .registry
        .tags()
        .asked(asked)
        .list(&admitted.repository, page.last.as_deref(), page.entries)
        .await?;
    let link = match found.entries.last() {
        Some(last) if found.more => {
            let number = found.entries.len().to_string();
            let path = format!("/v2/{name}/tags/list");
            Some(
                Links(inner.options.external_url.as_ref())
                    .next_page(&path, &[("n", &number), ("last", last)]),
            )
        }
        Some(_) | None => None,
    };
    let list = TagList {
        name: name.as_str(),
        tags: found.written(),
    };
    let response = json_response(StatusCode::OK, &list);
    Ok(match link {
        Some(link) => response.with(LINK, link),
        None => response,
    })
}
