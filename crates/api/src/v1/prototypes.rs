//! Default permissions: the roles that people, robots and teams get in every new repository of an organization.

use http::{Method, Response, StatusCode};
use roadstead_auth::Need;
use roadstead_management::{NewPrototype, PrototypeChanges, PrototypeDocument, Prototypes};

use crate::body::Body;
use crate::error::ApiError;
use crate::response::{empty, json_response};
use crate::service::Inner;
use crate::v1::call::Call;
use crate::v1::operation::{About, Operation};

/// All operations.
pub(super) fn operations() -> Vec<Operation> {
    vec![
        Operation::new(
            Method::GET,
            "/organization/{orgname}/prototypes",
            "getOrganizationPrototypePermissions",
            Need::NamespaceInspect,
            |inner, call| Box::pin(list(inner, call)),
        )
        .summary("The default permissions of an organization's new repositories.")
        .about(About::Namespace("orgname"))
        .gives::<Prototypes>(StatusCode::OK),
        Operation::new(
            Method::POST,
            "/organization/{orgname}/prototypes",
            "createOrganizationPrototypePermission",
            Need::NamespaceAdmin,
            |inner, call| Box::pin(create(inner, call)),
        )
        .summary("Makes a default permission.")
        .about(About::Namespace("orgname"))
        .takes::<NewPrototype>()
        .gives::<PrototypeDocument>(StatusCode::OK),
        Operation::new(
            Method::PUT,
            "/organization/{orgname}/prototypes/{prototypeid}",
            "updateOrganizationPrototypePermission",
            Need::NamespaceAdmin,
            |inner, call| Box::pin(change(inner, call)),
        )
        .summary("Gives a default permission another role.")
        .about(About::Namespace("orgname"))
        .takes::<PrototypeChanges>()
        .gives::<PrototypeDocument>(StatusCode::OK),
        Operation::new(
            Method::DELETE,
            "/organization/{orgname}/prototypes/{prototypeid}",
            "deleteOrganizationPrototypePermission",
            Need::NamespaceAdmin,
            |inner, call| Box::pin(delete(inner, call)),
        )
        .summary("Removes a default permission.")
        .about(About::Namespace("orgname")),
    ]
}

async fn list(inner: &Inner, call: Call<'_>) -> Result<Response<Body>, ApiError> {
    let prototypes = inner
        .management
        .prototypes(call.parameter("orgname"))
        .await?;
    Ok(json_response(StatusCode::OK, &prototypes))
}

async fn create(inner: &Inner, mut call: Call<'_>) -> Result<Response<Body>, ApiError> {
    let document: NewPrototype = call.document(inner).await?;
    let prototype = inner
        .management
        .create_prototype(call.parameter("orgname"), &document, &call.actor())
        .await?;
    Ok(json_response(StatusCode::OK, &prototype))
}

async fn change(inner: &Inner, mut call: Call<'_>) -> Result<Response<Body>, ApiError> {
    let document: PrototypeChanges = call.document(inner).await?;
    let (name, id) = (call.parameter("orgname"), call.parameter("prototypeid"));
    let prototype = inner
        .management
        .change_prototype(name, id, document, &call.actor())
        .await?;
    Ok(json_response(StatusCode::OK, &prototype))
}

async fn delete(inner: &Inner, call: Call<'_>) -> Result<Response<Body>, ApiError> {
    let (name, id) = (call.parameter("orgname"), call.parameter("prototypeid"));
    inner
        .management
        .delete_prototype(name, id, &call.actor())
        .await?;
    Ok(empty(StatusCode::NO_CONTENT))
}
