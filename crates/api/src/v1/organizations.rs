//! Organizations and their members.

use http::{Method, Response, StatusCode};
use roadstead_auth::{Identity, Need};
use roadstead_management::{
    Collaborators, Member, Members, NewOrganizationDocument, OrganizationChanges,
    OrganizationDocument, Sight,
};

use crate::body::Body;
use crate::error::ApiError;
use crate::response::{empty, json_response};
use crate::service::Inner;
use crate::v1::call::Call;
use crate::v1::operation::{About, Operation};
use crate::v1::standing::{administers, belongs, inspects};

/// All operations.
pub(super) fn operations() -> Vec<Operation> {
    vec![
        Operation::new(
            Method::POST,
            "/organization/",
            "createOrganization",
            Need::NewOrganization,
            |inner, call| Box::pin(create(inner, call)),
        )
        .summary("Makes an organization that the one who asks administers.")
        .takes::<NewOrganizationDocument>()
        .gives::<String>(StatusCode::CREATED),
        Operation::new(
            Method::GET,
            "/organization/{orgname}",
            "getOrganization",
            Need::Account,
            |inner, call| Box::pin(get(inner, call)),
        )
        .summary("An organization, as much of it as the one who asks may see.")
        .gives::<OrganizationDocument>(StatusCode::OK),
        Operation::new(
            Method::PUT,
            "/organization/{orgname}",
            "changeOrganizationDetails",
            Need::NamespaceAdmin,
            |inner, call| Box::pin(change(inner, call)),
        )
        .summary("Changes an organization: its address, how long deleted tags are kept.")
        .about(About::Namespace("orgname"))
        .takes::<OrganizationChanges>()
        .gives::<OrganizationDocument>(StatusCode::OK),
        Operation::new(
            Method::DELETE,
            "/organization/{orgname}",
            "deleteAdminedOrganization",
            Need::NamespaceAdmin,
            |inner, call| Box::pin(delete(inner, call)),
        )
        .summary("Deletes an organization with everything in it.")
        .about(About::Namespace("orgname")),
        Operation::new(
            Method::GET,
            "/organization/{orgname}/members",
            "getOrganizationMembers",
            Need::NamespaceInspect,
            |inner, call| Box::pin(members(inner, call)),
        )
        .summary("The people who are in teams of an organization.")
        .about(About::Namespace("orgname"))
        .gives::<Members>(StatusCode::OK),
        Operation::new(
            Method::GET,
            "/organization/{orgname}/members/{membername}",
            "getOrganizationMember",
            Need::NamespaceInspect,
            |inner, call| Box::pin(member(inner, call)),
        )
        .summary("Somebody who is in teams of an organization, or a robot of it.")
        .about(About::Namespace("orgname"))
        .gives::<Member>(StatusCode::OK),
        Operation::new(
            Method::DELETE,
            "/organization/{orgname}/members/{membername}",
            "removeOrganizationMember",
            Need::NamespaceAdmin,
            |inner, call| Box::pin(remove_member(inner, call)),
        )
        .summary("Takes somebody out of every team and every repository of an organization.")
        .about(About::Namespace("orgname")),
        Operation::new(
            Method::GET,
            "/organization/{orgname}/collaborators",
            "getOrganizationCollaborators",
            Need::NamespaceInspect,
            |inner, call| Box::pin(collaborators(inner, call)),
        )
        .summary("Those who are in no team of an organization but have a role in some of its repositories.")
        .about(About::Namespace("orgname"))
        .gives::<Collaborators>(StatusCode::OK),
    ]
}

async fn create(inner: &Inner, mut call: Call<'_>) -> Result<Response<Body>, ApiError> {
    let document: NewOrganizationDocument = call.document(inner).await?;
    inner
        .management
        .create_organization(&document, call.username(), &call.actor())
        .await?;
    Ok(json_response(StatusCode::CREATED, &"Created"))
}

async fn get(inner: &Inner, call: Call<'_>) -> Result<Response<Body>, ApiError> {
    show(inner, &call.identity, call.parameter("orgname")).await
}

async fn show(inner: &Inner, identity: &Identity, name: &str) -> Result<Response<Body>, ApiError> {
    let sight = Sight {
        viewer: identity.id(),
        member: belongs(inner, identity, name).await?,
        admin: administers(inner, identity, name).await? || inspects(inner, identity, name).await?,
    };
    let organization = inner.management.organization(name, sight).await?;
    Ok(json_response(StatusCode::OK, &organization))
}

async fn change(inner: &Inner, mut call: Call<'_>) -> Result<Response<Body>, ApiError> {
    let document: OrganizationChanges = call.document(inner).await?;
    inner
        .management
        .change_organization(call.parameter("orgname"), &document, &call.actor())
        .await?;
    show(inner, &call.identity, call.parameter("orgname")).await
}

async fn delete(inner: &Inner, call: Call<'_>) -> Result<Response<Body>, ApiError> {
    inner
        .management
        .delete_organization(call.parameter("orgname"), &call.actor())
        .await?;
    Ok(empty(StatusCode::NO_CONTENT))
}

async fn members(inner: &Inner, call: Call<'_>) -> Result<Response<Body>, ApiError> {
    let members = inner.management.members(call.parameter("orgname")).await?;
    Ok(json_response(StatusCode::OK, &members))
}

async fn member(inner: &Inner, call: Call<'_>) -> Result<Response<Body>, ApiError> {
    let (name, member) = (call.parameter("orgname"), call.parameter("membername"));
    let member = inner.management.member(name, member).await?;
    Ok(json_response(StatusCode::OK, &member))
}

async fn remove_member(inner: &Inner, call: Call<'_>) -> Result<Response<Body>, ApiError> {
    let (name, member) = (call.parameter("orgname"), call.parameter("membername"));
    inner
        .management
        .remove_member(name, member, &call.actor())
        .await?;
    Ok(empty(StatusCode::NO_CONTENT))
}

async fn collaborators(inner: &Inner, call: Call<'_>) -> Result<Response<Body>, ApiError> {
    let collaborators = inner
        .management
        .collaborators(call.parameter("orgname"))
        .await?;
    Ok(json_response(StatusCode::OK, &collaborators))
}
