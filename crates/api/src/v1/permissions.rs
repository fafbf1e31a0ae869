//! `/api/v1/repository/<repository>/permissions`: who may do what in a repository, at Quay's addresses.

use http::{Method, Response, StatusCode};
use roadstead_auth::Need;
use roadstead_management::{
    PermissionDocument, TeamPermissionView, TeamPermissions, TransitivePermissions,
    UserPermissionView, UserPermissions,
};

use crate::body::Body;
use crate::error::ApiError;
use crate::response::{empty, json_response};
use crate::service::Inner;
use crate::v1::call::Call;
use crate::v1::operation::Operation;
use crate::v1::repositories::{REPOSITORY, named};

const USER: &str = "/repository/{repository}/permissions/user/{username}";
const TEAM: &str = "/repository/{repository}/permissions/team/{teamname}";

/// All operations.
pub(super) fn operations() -> Vec<Operation> {
    vec![
        Operation::new(
            Method::GET,
            "/repository/{repository}/permissions/user/",
            "listRepoUserPermissions",
            Need::RepositoryInspect,
            |inner, call| Box::pin(list_users(inner, call)),
        )
        .summary("The permissions of users and robots.")
        .about(REPOSITORY)
        .gives::<UserPermissions>(StatusCode::OK),
        Operation::new(
            Method::GET,
            USER,
            "getUserPermissions",
            Need::RepositoryInspect,
            |inner, call| Box::pin(get_user(inner, call)),
        )
        .summary("The permission of a user or a robot.")
        .about(REPOSITORY)
        .gives::<UserPermissionView>(StatusCode::OK),
        Operation::new(
            Method::PUT,
            USER,
            "changeUserPermissions",
            Need::RepositoryAdmin,
            |inner, call| Box::pin(set_user(inner, call)),
        )
        .summary("Gives a user or a robot a permission, or changes it.")
        .about(REPOSITORY)
        .takes::<PermissionDocument>()
        .gives::<UserPermissionView>(StatusCode::OK),
        Operation::new(
            Method::DELETE,
            USER,
            "deleteUserPermissions",
            Need::RepositoryAdmin,
            |inner, call| Box::pin(delete_user(inner, call)),
        )
        .summary("Takes the permission of a user or a robot.")
        .about(REPOSITORY),
        Operation::new(
            Method::GET,
            "/repository/{repository}/permissions/user/{username}/transitive",
            "getUserTransitivePermission",
            Need::RepositoryInspect,
            |inner, call| Box::pin(transitive(inner, call)),
        )
        .summary("What a user or a robot may do, by itself or as the member of teams.")
        .about(REPOSITORY)
        .gives::<TransitivePermissions>(StatusCode::OK),
        Operation::new(
            Method::GET,
            "/repository/{repository}/permissions/team/",
            "listRepoTeamPermissions",
            Need::RepositoryInspect,
            |inner, call| Box::pin(list_teams(inner, call)),
        )
        .summary("The permissions of teams.")
        .about(REPOSITORY)
        .gives::<TeamPermissions>(StatusCode::OK),
        Operation::new(
            Method::GET,
            TEAM,
            "getTeamPermissions",
            Need::RepositoryInspect,
            |inner, call| Box::pin(get_team(inner, call)),
        )
        .summary("The permission of a team.")
        .about(REPOSITORY)
        .gives::<TeamPermissionView>(StatusCode::OK),
        Operation::new(
            Method::PUT,
            TEAM,
            "changeTeamPermissions",
            Need::RepositoryAdmin,
            |inner, call| Box::pin(set_team(inner, call)),
        )
        .summary("Gives a team of the organization a permission, or changes it.")
        .about(REPOSITORY)
        .takes::<PermissionDocument>()
        .gives::<TeamPermissionView>(StatusCode::OK),
        Operation::new(
            Method::DELETE,
            TEAM,
            "deleteTeamPermissions",
            Need::RepositoryAdmin,
            |inner, call| Box::pin(delete_team(inner, call)),
        )
        .summary("Takes the permission of a team.")
        .about(REPOSITORY),
    ]
}

async fn list_users(inner: &Inner, call: Call<'_>) -> Result<Response<Body>, ApiError> {
    let repository = named(inner, call.repository()?).await?;
    let found = inner.management.permissions_of_users(&repository).await?;
    Ok(json_response(StatusCode::OK, &found))
}

async fn get_user(inner: &Inner, call: Call<'_>) -> Result<Response<Body>, ApiError> {
    let repository = named(inner, call.repository()?).await?;
    let username = call.parameter("username");
    let found = inner
        .management
        .user_permission(&repository, username)
        .await?;
    Ok(json_response(StatusCode::OK, &found))
}

async fn set_user(inner: &Inner, mut call: Call<'_>) -> Result<Response<Body>, ApiError> {
    let document: PermissionDocument = call.document(inner).await?;
    let repository = named(inner, call.repository()?).await?;
    let username = call.parameter("username");
    let given = inner
        .management
        .set_user_permission(&repository, username, document, &call.actor())
        .await?;
    Ok(json_response(StatusCode::OK, &given))
}

async fn delete_user(inner: &Inner, call: Call<'_>) -> Result<Response<Body>, ApiError> {
    let repository = named(inner, call.repository()?).await?;
    let username = call.parameter("username");
    inner
        .management
        .delete_user_permission(&repository, username, &call.actor())
        .await?;
    Ok(empty(StatusCode::NO_CONTENT))
}

async fn transitive(inner: &Inner, call: Call<'_>) -> Result<Response<Body>, ApiError> {
    let repository = named(inner, call.repository()?).await?;
    let username = call.parameter("username");
    let found = inner
        .management
        .transitive_permissions(&repository, username)
        .await?;
    Ok(json_response(StatusCode::OK, &found))
}

async fn list_teams(inner: &Inner, call: Call<'_>) -> Result<Response<Body>, ApiError> {
    let repository = named(inner, call.repository()?).await?;
    let found = inner.management.permissions_of_teams(&repository).await?;
    Ok(json_response(StatusCode::OK, &found))
}

async fn get_team(inner: &Inner, call: Call<'_>) -> Result<Response<Body>, ApiError> {
    let repository = named(inner, call.repository()?).await?;
    let team = call.parameter("teamname");
    let found = inner.management.team_permission(&repository, team).await?;
    Ok(json_response(StatusCode::OK, &found))
}

async fn set_team(inner: &Inner, mut call: Call<'_>) -> Result<Response<Body>, ApiError> {
    let document: PermissionDocument = call.document(inner).await?;
    let repository = named(inner, call.repository()?).await?;
    let team = call.parameter("teamname");
    let given = inner
        .management
        .set_team_permission(&repository, team, document, &call.actor())
        .await?;
    Ok(json_response(StatusCode::OK, &given))
}

async fn delete_team(inner: &Inner, call: Call<'_>) -> Result<Response<Body>, ApiError> {
    let repository = named(inner, call.repository()?).await?;
    let team = call.parameter("teamname");
    inner
        .management
        .delete_team_permission(&repository, team, &call.actor())
        .await?;
    Ok(empty(StatusCode::NO_CONTENT))
}
