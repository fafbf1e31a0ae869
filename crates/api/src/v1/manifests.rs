//! `/api/v1/repository/<repository>/manifest`: manifests and their labels, at Quay's addresses.

use http::{Method, Response, StatusCode};
use roadstead_auth::Need;
use roadstead_management::{LabelList, LabelView, ManifestView, NewLabelDocument, OneLabel};
use roadstead_metadata::{NewLabel, Repository, RepositoryPath, StoredManifest};
use roadstead_oci::Digest;

use crate::body::Body;
use crate::error::ApiError;
use crate::response::{empty, json_response};
use crate::service::Inner;
use crate::v1::call::Call;
use crate::v1::operation::{Operation, QueryKind, QueryParameter};
use crate::v1::repositories::{REPOSITORY, named};

const LABELS: &str = "/repository/{repository}/manifest/{manifestref}/labels";
const LABEL: &str = "/repository/{repository}/manifest/{manifestref}/labels/{labelid}";

/// All operations.
pub(super) fn operations() -> Vec<Operation> {
    vec![
        Operation::new(
            Method::GET,
            "/repository/{repository}/manifest/{manifestref}",
            "getRepoManifest",
            Need::RepositoryRead,
            |inner, call| Box::pin(view(inner, call)),
        )
        .summary("A manifest, by its digest.")
        .about(REPOSITORY)
        .gives::<ManifestView>(StatusCode::OK),
        Operation::new(
            Method::GET,
            LABELS,
            "listManifestLabels",
            Need::RepositoryRead,
            |inner, call| Box::pin(list(inner, call)),
        )
        .summary("The labels of a manifest.")
        .about(REPOSITORY)
        .query(&[QueryParameter {
            name: "filter",
            kind: QueryKind::Text,
            summary: "Only those whose keys begin with this.",
        }])
        .gives::<LabelList>(StatusCode::OK),
        Operation::new(
            Method::POST,
            LABELS,
            "addManifestLabel",
            Need::RepositoryWrite,
            |inner, call| Box::pin(add(inner, call)),
        )
        .summary("Adds a label to a manifest.")
        .changes_no_rights()
        .about(REPOSITORY)
        .takes::<NewLabelDocument>()
        .gives::<OneLabel>(StatusCode::CREATED),
        Operation::new(
            Method::GET,
            LABEL,
            "getManifestLabel",
            Need::RepositoryRead,
            |inner, call| Box::pin(get(inner, call)),
        )
        .summary("A label of a manifest.")
        .about(REPOSITORY)
        .gives::<LabelView>(StatusCode::OK),
        Operation::new(
            Method::DELETE,
            LABEL,
            "deleteManifestLabel",
            Need::RepositoryWrite,
            |inner, call| Box::pin(delete(inner, call)),
        )
        .summary("Takes a label away that somebody added.")
        .changes_no_rights()
        .about(REPOSITORY),
    ]
}

/// The manifest that the path names, and its repository.
async fn find(
    inner: &Inner,
    path: RepositoryPath,
    digest: Digest,
) -> Result<(Repository, StoredManifest), ApiError> {
    let repository = named(inner, path).await?;
    let manifests = inner.registry.manifests();
    let manifest = manifests.get(&repository, &digest.into()).await?;
    Ok((repository, manifest))
}

fn digest(call: &Call<'_>) -> Result<Digest, ApiError> {
    Ok(call.parameter("manifestref").parse()?)
}

async fn view(inner: &Inner, call: Call<'_>) -> Result<Response<Body>, ApiError> {
    let (_, manifest) = find(inner, call.repository()?, digest(&call)?).await?;
    Ok(json_response(
        StatusCode::OK,
        &ManifestView::from(&manifest),
    ))
}

async fn list(inner: &Inner, call: Call<'_>) -> Result<Response<Body>, ApiError> {
    let (_, manifest) = find(inner, call.repository()?, digest(&call)?).await?;
    let prefix = call.text("filter")?.unwrap_or_default();
    let found = inner.management.list_labels(&manifest, &prefix).await?;
    Ok(json_response(StatusCode::OK, &found))
}

async fn get(inner: &Inner, call: Call<'_>) -> Result<Response<Body>, ApiError> {
    let (_, manifest) = find(inner, call.repository()?, digest(&call)?).await?;
    let id = call.parameter("labelid");
    let found = inner.management.label(&manifest, id).await?;
    Ok(json_response(StatusCode::OK, &found))
}

async fn add(inner: &Inner, mut call: Call<'_>) -> Result<Response<Body>, ApiError> {
    let document: NewLabelDocument = call.document(inner).await?;
    let media_type = document.checked()?;
    let (repository, manifest) = find(inner, call.repository()?, digest(&call)?).await?;
    let new = NewLabel {
        key: &document.key,
        value: &document.value,
        media_type,
    };
    let manifests = inner.registry.manifests();
    let label = manifests
        .add_label(&repository, &manifest, &new, &call.actor())
        .await?;
    let added = OneLabel {
        label: label.into(),
    };
    Ok(json_response(StatusCode::CREATED, &added))
}

async fn delete(inner: &Inner, call: Call<'_>) -> Result<Response<Body>, ApiError> {
    let (repository, manifest) = find(inner, call.repository()?, digest(&call)?).await?;
    let (id, actor) = (call.parameter("labelid"), call.actor());
    let manifests = inner.registry.manifests();
    manifests
        .delete_label(&repository, &manifest, id, &actor)
        .await?;
    Ok(empty(StatusCode::NO_CONTENT))
}
