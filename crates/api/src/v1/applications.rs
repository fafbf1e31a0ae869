//! OAuth applications of organizations.

use http::{Method, Response, StatusCode};
use roadstead_auth::Need;
use roadstead_management::{
    ApplicationChanges, ApplicationDocument, Applications, NewApplicationDocument,
};

use crate::body::Body;
use crate::error::ApiError;
use crate::response::{empty, json_response};
use crate::service::Inner;
use crate::v1::call::Call;
use crate::v1::operation::{About, Operation};
use crate::v1::standing::administers;

/// All operations.
pub(super) fn operations() -> Vec<Operation> {
    vec![
        Operation::new(
            Method::GET,
            "/organization/{orgname}/applications",
            "getOrganizationApplications",
            Need::NamespaceInspect,
            |inner, call| Box::pin(list(inner, call)),
        )
        .summary("The OAuth applications of an organization.")
        .about(About::Namespace("orgname"))
        .gives::<Applications>(StatusCode::OK),
        Operation::new(
            Method::POST,
            "/organization/{orgname}/applications",
            "createOrganizationApplication",
            Need::NamespaceAdmin,
            |inner, call| Box::pin(create(inner, call)),
        )
        .summary("Makes an OAuth application.")
        .about(About::Namespace("orgname"))
        .takes::<NewApplicationDocument>()
        .gives::<ApplicationDocument>(StatusCode::OK),
        Operation::new(
            Method::GET,
            "/organization/{orgname}/applications/{client_id}",
            "getOrganizationApplication",
            Need::NamespaceInspect,
            |inner, call| Box::pin(get(inner, call)),
        )
        .summary("An OAuth application.")
        .about(About::Namespace("orgname"))
        .gives::<ApplicationDocument>(StatusCode::OK),
        Operation::new(
            Method::PUT,
            "/organization/{orgname}/applications/{client_id}",
            "updateOrganizationApplication",
            Need::NamespaceAdmin,
            |inner, call| Box::pin(change(inner, call)),
        )
        .summary("Says other things of an OAuth application.")
        .about(About::Namespace("orgname"))
        .takes::<ApplicationChanges>()
        .gives::<ApplicationDocument>(StatusCode::OK),
        Operation::new(
            Method::DELETE,
            "/organization/{orgname}/applications/{client_id}",
            "deleteOrganizationApplication",
            Need::NamespaceAdmin,
            |inner, call| Box::pin(delete(inner, call)),
        )
        .summary("Removes an OAuth application with the tokens for it, which end.")
        .about(About::Namespace("orgname")),
        Operation::new(
            Method::POST,
            "/organization/{orgname}/applications/{client_id}/resetclientsecret",
            "resetOrganizationApplicationClientSecret",
            Need::NamespaceAdmin,
            |inner, call| Box::pin(reset(inner, call)),
        )
        .summary("Gives an OAuth application another secret.")
        .about(About::Namespace("orgname"))
        .gives::<ApplicationDocument>(StatusCode::OK),
    ]
}

async fn list(inner: &Inner, call: Call<'_>) -> Result<Response<Body>, ApiError> {
    let name = call.parameter("orgname");
    let secrets = administers(inner, &call.identity, name).await?;
    let applications = inner.management.applications(name, secrets).await?;
    Ok(json_response(StatusCode::OK, &applications))
}

async fn get(inner: &Inner, call: Call<'_>) -> Result<Response<Body>, ApiError> {
    let (name, client_id) = (call.parameter("orgname"), call.parameter("client_id"));
    let secrets = administers(inner, &call.identity, name).await?;
    let application = inner
        .management
        .application(name, client_id, secrets)
        .await?;
    Ok(json_response(StatusCode::OK, &application))
}

async fn create(inner: &Inner, mut call: Call<'_>) -> Result<Response<Body>, ApiError> {
    let document: NewApplicationDocument = call.document(inner).await?;
    let application = inner
        .management
        .create_application(call.parameter("orgname"), &document, &call.actor())
        .await?;
    Ok(json_response(StatusCode::OK, &application))
}

async fn change(inner: &Inner, mut call: Call<'_>) -> Result<Response<Body>, ApiError> {
    let document: ApplicationChanges = call.document(inner).await?;
    let (name, client_id) = (call.parameter("orgname"), call.parameter("client_id"));
    let application = inner
        .management
        .change_application(name, client_id, &document, &call.actor())
        .await?;
    Ok(json_response(StatusCode::OK, &application))
}

async fn reset(inner: &Inner, call: Call<'_>) -> Result<Response<Body>, ApiError> {
    let (name, client_id) = (call.parameter("orgname"), call.parameter("client_id"));
    let application = inner
        .management
        .reset_client_secret(name, client_id, &call.actor())
        .await?;
    Ok(json_response(StatusCode::OK, &application))
}

async fn delete(inner: &Inner, call: Call<'_>) -> Result<Response<Body>, ApiError> {
    let (name, client_id) = (call.parameter("orgname"), call.parameter("client_id"));
    inner
        .management
        .delete_application(name, client_id, &call.actor())
        .await?;
    Ok(empty(StatusCode::NO_CONTENT))
}
