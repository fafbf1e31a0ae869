//! Teams of organizations.

use http::{Method, Response, StatusCode};
use roadstead_auth::Need;
use roadstead_management::{
    GrantedPermissions, TeamChanges, TeamDocument, TeamMember, TeamMembers,
};

use crate::body::Body;
use crate::error::ApiError;
use crate::response::{empty, json_response};
use crate::service::Inner;
use crate::v1::call::Call;
use crate::v1::operation::{About, Operation, QueryKind, QueryParameter};
use crate::v1::standing::administers;

/// All operations.
pub(super) fn operations() -> Vec<Operation> {
    vec![
        Operation::new(
            Method::PUT,
            "/organization/{orgname}/team/{teamname}",
            "updateOrganizationTeam",
            Need::NamespaceAdmin,
            |inner, call| Box::pin(put(inner, call)),
        )
        .summary("Makes a team, or changes its role and what it is for.")
        .about(About::Namespace("orgname"))
        .takes::<TeamChanges>()
        .gives::<TeamDocument>(StatusCode::OK),
        Operation::new(
            Method::DELETE,
            "/organization/{orgname}/team/{teamname}",
            "deleteOrganizationTeam",
            Need::NamespaceAdmin,
            |inner, call| Box::pin(delete(inner, call)),
        )
        .summary("Removes a team, with its roles in repositories.")
        .about(About::Namespace("orgname")),
        Operation::new(
            Method::GET,
            "/organization/{orgname}/team/{teamname}/members",
            "getOrganizationTeamMembers",
            Need::NamespaceMember,
            |inner, call| Box::pin(members(inner, call)),
        )
        .summary("The members of a team.")
        .about(About::Namespace("orgname"))
        .query(&[QueryParameter {
            name: "includePending",
            kind: QueryKind::Flag,
            summary: "Taken for Quay's sake: everybody who is added is in the team at once.",
        }])
        .gives::<TeamMembers>(StatusCode::OK),
        Operation::new(
            Method::PUT,
            "/organization/{orgname}/team/{teamname}/members/{membername}",
            "updateOrganizationTeamMember",
            Need::NamespaceAdmin,
            |inner, call| Box::pin(add(inner, call)),
        )
        .summary("Takes a person, or a robot of the organization, into a team.")
        .about(About::Namespace("orgname"))
        .gives::<TeamMember>(StatusCode::OK),
        Operation::new(
            Method::DELETE,
            "/organization/{orgname}/team/{teamname}/members/{membername}",
            "deleteOrganizationTeamMember",
            Need::NamespaceAdmin,
            |inner, call| Box::pin(remove(inner, call)),
        )
        .summary("Takes somebody out of a team.")
        .about(About::Namespace("orgname")),
        Operation::new(
            Method::GET,
            "/organization/{orgname}/team/{teamname}/permissions",
            "getOrganizationTeamPermissions",
            Need::NamespaceInspect,
            |inner, call| Box::pin(permissions(inner, call)),
        )
        .summary("In which repositories a team has which role.")
        .about(About::Namespace("orgname"))
        .gives::<GrantedPermissions>(StatusCode::OK),
    ]
}

async fn put(inner: &Inner, mut call: Call<'_>) -> Result<Response<Body>, ApiError> {
    let document: TeamChanges = call.document(inner).await?;
    let (organization, team) = (call.parameter("orgname"), call.parameter("teamname"));
    let team = inner
        .management
        .put_team(organization, team, &document, &call.actor())
        .await?;
    Ok(json_response(StatusCode::OK, &team))
}

async fn delete(inner: &Inner, call: Call<'_>) -> Result<Response<Body>, ApiError> {
    let (organization, team) = (call.parameter("orgname"), call.parameter("teamname"));
    inner
        .management
        .delete_team(organization, team, &call.actor())
        .await?;
    Ok(empty(StatusCode::NO_CONTENT))
}

async fn members(inner: &Inner, call: Call<'_>) -> Result<Response<Body>, ApiError> {
    let (organization, team) = (call.parameter("orgname"), call.parameter("teamname"));
    // Nobody is ever only invited, so there is nobody to leave out.
    call.flag("includePending")?;
    let can_edit = administers(inner, &call.identity, organization).await?;
    let members = inner
        .management
        .team_members(organization, team, can_edit)
        .await?;
    Ok(json_response(StatusCode::OK, &members))
}

async fn add(inner: &Inner, call: Call<'_>) -> Result<Response<Body>, ApiError> {
    let (organization, team) = (call.parameter("orgname"), call.parameter("teamname"));
    let member = inner
        .management
        .add_team_member(
            organization,
            team,
            call.parameter("membername"),
            &call.actor(),
        )
        .await?;
    Ok(json_response(StatusCode::OK, &member))
}

async fn remove(inner: &Inner, call: Call<'_>) -> Result<Response<Body>, ApiError> {
    let (organization, team) = (call.parameter("orgname"), call.parameter("teamname"));
    let member = call.parameter("membername");
    inner
        .management
        .remove_team_member(organization, team, member, &call.actor())
        .await?;
    Ok(empty(StatusCode::NO_CONTENT))
}

async fn permissions(inner: &Inner, call: Call<'_>) -> Result<Response<Body>, ApiError> {
    let (organization, team) = (call.parameter("orgname"), call.parameter("teamname"));
    let permissions = inner
        .management
        .team_permissions(organization, team)
        .await?;
    Ok(json_response(StatusCode::OK, &permissions))
}
