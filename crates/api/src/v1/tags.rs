//! `/api/v1/repository/<repository>/tag`: tags and their history, at Quay's addresses. What a push may not do to a tag is not done here either.

use http::{Method, Response, StatusCode};
use roadstead_auth::Need;
use roadstead_management::{Expiration, TagChanges, TagList, TagListing, TagRestoration};
use roadstead_metadata::RepositoryRole;
use roadstead_oci::{Digest, Reference, Tag};
use serde_json::json;

use crate::body::Body;
use crate::error::ApiError;
use crate::response::{empty, json_response};
use crate::service::Inner;
use crate::v1::call::Call;
use crate::v1::operation::{Object, Operation, QueryKind, QueryParameter};
use crate::v1::repositories::{REPOSITORY, named};

const TAG: &str = "/repository/{repository}/tag/{tag}";

/// All operations.
pub(super) fn operations() -> Vec<Operation> {
    vec![
        Operation::new(
            Method::GET,
            "/repository/{repository}/tag/",
            "listRepoTags",
            Need::RepositoryRead,
            |inner, call| Box::pin(list(inner, call)),
        )
        .summary("What tags point and pointed to, the youngest first.")
        .about(REPOSITORY)
        .query(&[
            QueryParameter {
                name: "limit",
                kind: QueryKind::Entries {
                    default: 50,
                    most: 100,
                },
                summary: "The most tags of a page.",
            },
            QueryParameter {
                name: "page",
                kind: QueryKind::Page,
                summary: "Which page.",
            },
            QueryParameter {
                name: "onlyActiveTags",
                kind: QueryKind::Flag,
                summary: "Only those that are live.",
            },
            QueryParameter {
                name: "specificTag",
                kind: QueryKind::Text,
                summary: "Only this one.",
            },
            QueryParameter {
                name: "filter_tag_name",
                kind: QueryKind::Text,
                summary: "Only those whose names are (`eq:`) or hold (`like:`) what follows.",
            },
        ])
        .gives::<TagList>(StatusCode::OK),
        Operation::new(
            Method::PUT,
            TAG,
            "changeTag",
            Need::RepositoryWrite,
            |inner, call| Box::pin(change(inner, call)),
        )
        .summary(
            "Protects a tag, ends it at a time, or points it, which need not exist then, to a manifest of the repository.",
        )
        .changes_no_rights()
        .about(REPOSITORY)
        .takes::<TagChanges>()
        .gives::<String>(StatusCode::CREATED),
        Operation::new(
            Method::DELETE,
            TAG,
            "deleteFullTag",
            Need::RepositoryWrite,
            |inner, call| Box::pin(delete(inner, call)),
        )
        .summary("Deletes a tag. It can be brought back while the time machine keeps it.")
        .changes_no_rights()
        .about(REPOSITORY),
        Operation::new(
            Method::POST,
            "/repository/{repository}/tag/{tag}/restore",
            "restoreTag",
            Need::RepositoryWrite,
            |inner, call| Box::pin(restore(inner, call)),
        )
        .summary("Brings a manifest back under a tag while the time machine keeps it.")
        .changes_no_rights()
        .about(REPOSITORY)
        .takes::<TagRestoration>()
        .gives::<Object>(StatusCode::OK),
    ]
}

async fn list(inner: &Inner, call: Call<'_>) -> Result<Response<Body>, ApiError> {
    let repository = named(inner, call.repository()?).await?;
    let (specific, filter) = (call.text("specificTag")?, call.text("filter_tag_name")?);
    let given = |text: &'_ str| !text.is_empty();
    let listing = TagListing {
        specific: specific.as_deref().filter(|text| given(text)),
        filter: filter.as_deref().filter(|text| given(text)),
        active_only: call.flag("onlyActiveTags")?,
        page: call.number("page")?,
        limit: call.number("limit")?,
    };
    let found = inner.management.list_tags(&repository, &listing).await?;
    Ok(json_response(StatusCode::OK, &found))
}

async fn change(inner: &Inner, mut call: Call<'_>) -> Result<Response<Body>, ApiError> {
    let changes: TagChanges = call.document(inner).await?;
    let tag: Tag = call.parameter("tag").parse()?;
    let digest: Option<Digest> = match &changes.manifest_digest {
        Some(digest) => Some(digest.parse()?),
        None => None,
    };
    // Who may only push could otherwise take away what was to be kept from pushes.
    if changes.immutable == Some(false) && call.grounds.role != Some(RepositoryRole::Admin) {
        return Err(ApiError::Forbidden);
    }
    let repository = named(inner, call.repository()?).await?;
    let (tags, actor) = (inner.registry.tags(), call.actor());
    if let Some(immutable) = changes.immutable {
        tags.set_immutable(&repository, &tag, immutable, &actor)
            .await?;
    }
    match changes.expiration {
        Expiration::Unchanged => {}
        Expiration::Never => tags.end_at(&repository, &tag, None, &actor).await?,
        Expiration::At(end) => tags.end_at(&repository, &tag, Some(end), &actor).await?,
    }
    if let Some(digest) = &digest {
        let copies = tags.point(&repository, &tag, digest, &actor).await?;
        if copies > 0 {
            inner.wake_up.wake();
        }
    }
    Ok(json_response(StatusCode::CREATED, &"Updated"))
}

async fn delete(inner: &Inner, call: Call<'_>) -> Result<Response<Body>, ApiError> {
    let tag: Tag = call.parameter("tag").parse()?;
    let repository = named(inner, call.repository()?).await?;
    inner
        .registry
        .manifests()
        .delete(&repository, &Reference::Tag(tag), &call.actor())
        .await?;
    Ok(empty(StatusCode::NO_CONTENT))
}

async fn restore(inner: &Inner, mut call: Call<'_>) -> Result<Response<Body>, ApiError> {
    let restoration: TagRestoration = call.document(inner).await?;
    let tag: Tag = call.parameter("tag").parse()?;
    let digest: Digest = restoration.manifest_digest.parse()?;
    let repository = named(inner, call.repository()?).await?;
    let copies = inner
        .registry
        .tags()
        .restore(&repository, &tag, &digest, &call.actor())
        .await?;
    if copies > 0 {
        inner.wake_up.wake();
    }
    Ok(json_response(StatusCode::OK, &json!({})))
}
