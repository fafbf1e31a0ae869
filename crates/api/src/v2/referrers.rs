//! `/v2/<name>/referrers/<digest>` (end-12): what refers to a manifest, as an index.

use std::collections::BTreeMap;

use http::header::{CONTENT_TYPE, HeaderValue, LINK};
use http::{Response, StatusCode};
use roadstead_auth::Action;
use roadstead_distribution::ReferrersAfter;
use roadstead_metadata::Referrer;
use roadstead_oci::{Digest, MediaType, RepositoryName};
use serde::Serialize;

use crate::authorization::Wants;
use crate::body::Body;
use crate::error::ApiError;
use crate::headers::FILTERS_APPLIED;
use crate::links::Links;
use crate::pagination::{PageNumberError, page_request};
use crate::response::{With as _, json_response};
use crate::service::{Head, Inner};

/// The query parameter by which our own links go on.
const AFTER: &str = "after";

/// Names this file's media type in the answer.
const INDEX: HeaderValue = HeaderValue::from_static("application/vnd.oci.image.index.v1+json");

#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Index<'a> {
    schema_version: u8,
    media_type: &'a str,
    manifests: Vec<Entry<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Entry<'a> {
    media_type: &'a str,
    digest: &'a str,
    size: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    artifact_type: Option<&'a str>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    annotations: &'a BTreeMap<String, String>,
}

impl<'a> From<&'a Referrer> for Entry<'a> {
    fn from(referrer: &'a Referrer) -> Self {
        Self {
            media_type: referrer.media_type.as_str(),
            digest: referrer.digest.as_str(),
            size: referrer.size,
            artifact_type: referrer.artifact_type.as_deref(),
            annotations: &referrer.annotations,
        }
    }
}

/// A page of the list. It is empty for a subject that does not exist, and for a repository that does not, as far as the client
/// may know: a registry that has this endpoint must not answer it with 404.
pub(crate) async fn answer(
    inner: &Inner,
    head: &Head,
    name: &RepositoryName,
    subject: &Digest,
) -> Result<Response<Body>, ApiError> {
    if !head.is_read() {
        return Err(ApiError::Method {
            allowed: "GET, HEAD".into(),
        });
    }
    let query = head.query()?;
    let page = page_request(&query)?;
    let filter = query
        .get("artifactType")?
        .filter(|artifact_type| !artifact_type.is_empty());
    let after: Option<ReferrersAfter> = match query.get(AFTER)? {
        Some(after) => Some(after.parse().map_err(|_| PageNumberError)?),
        None => None,
    };
    let (_, repository) = inner
        .admit_missing(head, Wants::to(Action::Pull, name))
        .await?;
    let found = match &repository {
        Some(repository) => Some(
            inner
                .registry
                .manifests()
                .referrers(repository, subject, filter.as_deref(), after, page.entries)
                .await?,
        ),
        None => None,
    };
    let referrers = found.as_ref().map_or(&[][..], |page| &page.referrers);
    let index = Index {
        schema_version: 2,
        media_type: MediaType::OCI_INDEX.as_str(),
        manifests: referrers.iter().map(Entry::from).collect(),
    };
    let mut response = json_response(StatusCode::OK, &index).with(CONTENT_TYPE, INDEX);
    if filter.is_some() {
        response = response.with(FILTERS_APPLIED, HeaderValue::from_static("artifactType"));
    }
    if let Some(next) = found.as_ref().and_then(|page| page.next) {
        let path = format!("/v2/{name}/referrers/{subject}");
        let (next, number) = (
            next.to_string(),
            page.entries.map(|number| number.to_string()),
        );
        let parameters: Vec<_> = [
            filter.as_deref().map(|filter| ("artifactType", filter)),
            number.as_deref().map(|number| ("n", number)),
            Some((AFTER, next.as_str())),
        ]
        .into_iter()
        .flatten()
        .collect();
        let links = Links(inner.options.external_url.as_ref());
        response = response.with(LINK, links.next_page(&path, &parameters));
    }
    Ok(response)
}
